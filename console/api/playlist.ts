import { z } from 'zod'
import { failure } from '../../lib/errors.ts'
import type { CameraAddress } from '../../wire/topics.ts'
import { notFound } from '../access/demand.ts'
import type { Context } from '../context.ts'
import type { Clip } from '../database/clip.ts'
import { clipsWithin, type Span } from '../database/clips.ts'
import type { Database } from '../database/database.ts'
import { playlistOf } from '../recordings/playlist.ts'
import { unfoldedOf } from '../recordings/unfolding.ts'
import { content, problems, unchanged } from './answers.ts'
import { asked } from './asked.ts'
import { cameraNamed, clipAddress, stretchShape } from './recordings.ts'
import type { Api } from './server.ts'
import { spanOf } from './span.ts'
import { Views } from './views.ts'

/** A stretch of a recording for players: `/playlist.m3u8` (HLS). */

/** What a player is given where it does not say how much it wants; and at most. */
const SPAN_MS = 3_600_000
export const PLAYLIST_MS_MAX = 6 * 3_600_000
const CHUNKS_MAX = 10_000
/** How far back a chunk is looked for that plays without the one before. */
const BEGINNING_MS_MAX = 120_000
/** An end so near, or later, is still to come: the chunk of it is on its way. */
const LATE_MS = 60_000
/** For so long after that players may still follow it: none of what they have seen changes its place. */
const FOLLOWED_MS = 5 * 60_000

export const playlistQuerySchema = z.strictObject({
  camera: stretchShape.camera,
  from: stretchShape.from,
  to: stretchShape.to.optional(),
})
export type PlaylistQuery = z.input<typeof playlistQuerySchema>

export const PLAYLIST_TYPE = 'application/vnd.apple.mpegurl'

export function playlistRoutes(api: Api, { access, bucket, config, database }: Context): void {
  const views = Views.of(access)
  const { signedFor, signedAddresses } = config.recordings

  api.get(
    '/playlist.m3u8',
    {
      config: { right: 'recordings' },
      schema: {
        operationId: 'getPlaylist',
        tags: ['recordings'],
        summary: 'A stretch of a recording, for players (HLS)',
        description:
          'Of an hour where "to" is left out, and at most of six. Where the end is still to come, what comes is added at the end, and what comes too late for its place is left out. EXT-X-PROGRAM-DATE-TIME says when each chunk was captured.',
        querystring: playlistQuerySchema,
        response: {
          200: content(PLAYLIST_TYPE, 'M3U8', 'text'),
          304: unchanged,
          ...problems(404),
        },
      },
    },
    async (request, reply) => {
      const caller = asked(access, request)
      const { camera: path, from, to = from + SPAN_MS } = request.query
      const span = spanOf(from, to, PLAYLIST_MS_MAX)
      const { camera, id } = await cameraNamed(database, path, caller.rows)
      const all = await playable(database, id, camera, span)
      const nowMs = Date.now()
      const isOpen = to > nowMs - LATE_MS
      const clips = to > nowMs - LATE_MS - FOLLOWED_MS ? begun(unfoldedOf(all, nowMs)) : all
      if (clips.length === 0) throw notFound()
      await views.looked(caller, camera, from)
      // Whoever has such an address may open it until it ends.
      const signed = new Map<string, string>()
      if (signedAddresses && bucket.signedUrl)
        for (const clip of clips)
          signed.set(clip.id, await bucket.signedUrl(clip.key, Math.ceil(signedFor / 1000)))
      return reply.type(PLAYLIST_TYPE).send(
        playlistOf({
          clips,
          addressOf: ({ id }) => signed.get(id) ?? clipAddress(id),
          startMs: from,
          isOpen,
        }),
      )
    },
  )
}

/**
 * A camera's chunks of a span, with what is needed before it for its first one to play; from the first on that plays where
 * there is none. Errors: PARAMETER_INVALID where they are too many.
 */
export async function playable(
  database: Database,
  cameraId: number,
  camera: CameraAddress,
  span: Span,
): Promise<readonly Clip[]> {
  const { read } = database
  const clips = await clipsWithin(read, cameraId, camera, span, CHUNKS_MAX + 1)
  if (clips.length > CHUNKS_MAX)
    throw failure(
      'PARAMETER_INVALID',
      `"to" must be nearer to "from": there are more than ${CHUNKS_MAX} chunks.`,
    )
  const [first] = clips
  if (!first || first.independent) return clips
  const earlier = await clipsWithin(
    read,
    cameraId,
    camera,
    { fromMs: first.atMs - BEGINNING_MS_MAX, beforeMs: first.atMs },
    CHUNKS_MAX,
  )
  const begins = earlier.findLastIndex(({ independent }) => independent)
  const lead = begins < 0 ? [] : earlier.slice(begins)
  if (lead.length > 0 && lead.every(({ run }) => run === first.run)) return [...lead, ...clips]
  return begun(clips)
}

/** From the first on that plays without the one before. */
function begun(clips: readonly Clip[]): readonly Clip[] {
  const plays = clips.findIndex(({ independent }) => independent)
  return plays < 0 ? [] : clips.slice(plays)
}

import { Readable } from 'node:stream'
import type { FastifyInstance, FastifyReply } from 'fastify'
import type { Bucket } from '../../lib/buckets/bucket.ts'
import { failure } from '../../lib/errors.ts'
import { ID_PATTERN } from '../../wire/id.ts'
import { sendClip } from '../api/clip-file.ts'
import type { Clip } from '../database/clip.ts'
import { cameraIdOf, clipsOf, clipsWithin } from '../database/clips.ts'
import type { Scope } from '../database/scope.ts'
import { begunFileOf, planOf } from '../recordings/export.ts'
import { playlistOf } from '../recordings/playlist.ts'
import { html, sendPage } from './html.ts'
import { nothing, rowsOf, type SharePagesOptions, timeText, tooLong } from './share-pages.ts'
import type { OpenShare, SharedStretch, ShareTarget } from './shares.ts'

/**
 * `/s/SECRET` of a stretch of a recording: a video that plays without a script. Where the browser knows HLS it seeks; others
 * are given one MP4, played as it comes. Nothing but chunks of the stretch is reachable.
 */

const CHUNKS_MAX = 10_000
/** MP4s that are put together at a time, for everybody, and for one link: one that reads slowly must not take all places. */
const FILES_MAX = 8
const FILES_OF_SHARE_MAX = 2
const RETRY_AFTER_S = 10
const PLAYLIST_TYPE = 'application/vnd.apple.mpegurl'

interface Opened {
  readonly id: string
  readonly createdAtMs: number
  readonly scope: Scope
  readonly recording: SharedStretch
}

type Recording = Extract<ShareTarget, { recording: SharedStretch }>

export function showRecording(
  reply: FastifyReply,
  secret: string,
  { share }: OpenShare,
  { recording }: Recording,
): FastifyReply {
  const { camera, fromMs, toMs } = recording
  return sendPage(
    reply,
    `${share.name} - Sightline`,
    html`<main>
<h1>${share.name}</h1>
<p class="quiet">Anyone who has this link sees this page, until ${timeText(share.expiresAtMs)}.</p>
<video controls playsinline preload="metadata">
<source src="/s/${secret}/playlist.m3u8" type="${PLAYLIST_TYPE}">
<source src="/s/${secret}/video.mp4" type="video/mp4">
</video>
<p>${camera}, ${timeText(fromMs)} to ${timeText(toMs)}</p>
</main>`,
  )
}

/** What its page asks for. */
export async function shareRecordings(pages: FastifyInstance, options: SharePagesOptions): Promise<void> {
  const { shares, database, bucket, log, exportBytesMax } = options
  /** Files that are put together now, by the id of the share. */
  const running = new Map<string, number>()

  /** @returns undefined where it is no share of a recording, or is one no longer */
  const opened = async (secret: string): Promise<Opened | undefined> => {
    const open = await shares.open(secret, false)
    if (!open || !('recording' in open.share.target)) return undefined
    const { id, createdAtMs, target } = open.share
    return { id, createdAtMs, scope: rowsOf(open.scope), recording: target.recording }
  }

  /** Its chunks, from the first on that plays by itself. */
  const chunksOf = async (open: Opened | undefined): Promise<readonly Clip[]> => {
    if (!open) return []
    const { fromMs, toMs } = open.recording
    const camera = addressOf(open.recording)
    const id = await cameraIdOf(database.read, camera, open.scope)
    if (id === undefined) return []
    const within = await clipsWithin(database.read, id, camera, { fromMs, beforeMs: toMs }, CHUNKS_MAX)
    const clips = within.filter((clip) => isOf(clip, open))
    const first = clips.findIndex(({ independent }) => independent)
    return first < 0 ? [] : clips.slice(first)
  }

  pages.get<{ Params: { secret: string } }>('/s/:secret/playlist.m3u8', async (request, reply) => {
    const { secret } = request.params
    const clips = await chunksOf(await opened(secret))
    const [first] = clips
    if (!first) return nothing(reply)
    return reply
      .header('cache-control', 'no-store')
      .type(PLAYLIST_TYPE)
      .send(
        playlistOf({
          clips,
          addressOf: ({ id }) => `/s/${secret}/chunk/${id}.mp4`,
          startMs: first.atMs,
          isOpen: false,
        }),
      )
  })

  pages.get<{ Params: { secret: string; name: string } }>(
    '/s/:secret/chunk/:name',
    async (request, reply) => {
      const { secret, name } = request.params
      const id = name.replace(/\.mp4$/, '')
      const open = ID_PATTERN.test(id) ? await opened(secret) : undefined
      const [clip] = open ? await clipsOf(database.read, [id]) : []
      if (!open || !clip || !isOf(clip, open)) return nothing(reply)
      if ((await cameraIdOf(database.read, clip, open.scope)) === undefined) return nothing(reply)
      // Not kept: it may be taken back.
      return sendClip({ bucket, database, log }, request, reply, clip, 'no-store')
    },
  )

  pages.get<{ Params: { secret: string } }>('/s/:secret/video.mp4', async (request, reply) => {
    const { secret } = request.params
    const open = await opened(secret)
    const clips = await chunksOf(open)
    if (!open || clips.length === 0) return nothing(reply)
    const ofAll = [...running.values()].reduce((sum, count) => sum + count, 0)
    const ofShare = running.get(open.id) ?? 0
    if (ofAll >= FILES_MAX || ofShare >= FILES_OF_SHARE_MAX)
      return reply.code(503).header('retry-after', RETRY_AFTER_S).send()
    running.set(open.id, ofShare + 1)
    let isOver = false
    const free = () => {
      if (isOver) return
      isOver = true
      const left = (running.get(open.id) ?? 0) - 1
      if (left > 0) running.set(open.id, left)
      else running.delete(open.id)
    }
    try {
      const { parts } = await planOf(bucket, clips, request.signal)
      const [part] = parts
      if (!part) {
        free()
        return nothing(reply)
      }
      if (part.bytes > exportBytesMax) {
        free()
        return tooLong(reply)
      }
      const stream = Readable.from(await begunFileOf({ read: readOpen(secret) }, part, request.signal), {
        objectMode: false,
        highWaterMark: 1,
      })
      stream.once('close', free)
      reply.raw.once('close', () => stream.destroy())
      return reply.header('cache-control', 'no-store').type('video/mp4').send(stream)
    } catch (error) {
      free()
      throw error
    }
  })

  /** Reads a chunk while the share is one: it may be taken back while it is played. */
  const readOpen =
    (secret: string): Bucket['read'] =>
    async (key, signal) => {
      if (!(await opened(secret))) throw failure('NOT_FOUND', 'The link was taken back.')
      return bucket.read(key, signal)
    }
}

/** Of the stretch, and in the bucket when it was shared: what a device was keeping back does not come to it later. */
const isOf = (
  { site, device, camera, atMs, endMs, storedAtMs }: Clip,
  { createdAtMs, recording: { camera: path, fromMs, toMs } }: Opened,
) => `${site}/${device}/${camera}` === path && atMs < toMs && endMs > fromMs && storedAtMs <= createdAtMs

function addressOf({ camera: path }: SharedStretch) {
  const [site = '', device = '', camera = ''] = path.split('/')
  return { site, device, camera }
}

import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { z } from 'zod'
import { failure } from '../../lib/errors.ts'
import { GAP_REASONS } from '../../wire/clip.ts'
import { isCameraPath } from '../../wire/users.ts'
import { notFound } from '../access/demand.ts'
import type { Context } from '../context.ts'
import type { Clip } from '../database/clip.ts'
import {
  cameraIdOf,
  clipBeside,
  clipsWithin,
  facesWithin,
  keptOf,
  movedWithin,
  type Span,
  type Stretched,
  stretchesWithin,
} from '../database/clips.ts'
import type { Database } from '../database/database.ts'
import type { Scope } from '../database/scope.ts'
import { problems, unchanged } from './answers.ts'
import { asked } from './asked.ts'
import { cameraAddressShape, idSchema, severalOf, timeMsSchema, timeParameter } from './query.ts'
import { cameraOfPath, clipSchema, clipShown } from './recordings.ts'
import type { Api } from './server.ts'
import { spanOf } from './span.ts'

/** What is recorded of cameras, and what was seen, over a span: `/timeline`. */

const CAMERAS_MAX = 16
const SPAN_MS_MAX = 32 * 86_400_000
/** A span as short as this is told chunk by chunk. */
const CHUNKS_SPAN_MS_MAX = 20 * 60_000
const CHUNKS_MAX = 2000
/** Parts of the span, of each of which the most motion is told. */
const SLOTS = 480
const FACES_MAX = 1000
/** Of one camera; of more, short gaps are passed over. */
const STRETCHES_MAX = 1500
/** A shorter answer is not worth the work. */
const GZIP_BYTES_MIN = 2000

/** `missing`: it was recorded and is not here: on its way, forgotten, expired or lost. */
export const SHOWN_GAP_REASONS = [...GAP_REASONS, 'missing'] as const

export const stretchSchema = z
  .object({
    fromMs: timeMsSchema,
    toMs: timeMsSchema,
    clips: z.number().int(),
    bytes: z.number().int(),
  })
  .meta({ id: 'RecordedStretch', description: 'Recorded without a break.' })

export const gapSchema = z
  .object({
    fromMs: timeMsSchema,
    toMs: timeMsSchema,
    why: z.enum(SHOWN_GAP_REASONS).nullable().meta({
      description:
        'missing: it was recorded, and is not here (on its way, forgotten, expired or lost). null: nothing is known of it.',
    }),
  })
  .meta({ id: 'RecordingGap', description: 'Nothing to be played, and why.' })

export const keptStretchSchema = z
  .object({ fromMs: timeMsSchema, toMs: timeMsSchema, by: z.string(), atMs: timeMsSchema })
  .meta({ id: 'KeptStretch', description: 'Retention leaves it alone.' })

export const cameraTimelineSchema = z
  .object({
    ...cameraAddressShape,
    stretches: z.array(stretchSchema).meta({ description: 'What is recorded, oldest first.' }),
    gaps: z.array(gapSchema).meta({ description: 'What lies between, from the beginning to the end.' }),
    shorterMs: z.number().int().meta({
      description: 'Gaps shorter than this are not told, where there would be too many; otherwise 0.',
    }),
    motion: z
      .array(z.number().nullable())
      .meta({ description: 'By part of the span ("slotMs"): the most motion, 0 to 1; null: not known.' }),
    people: z
      .array(z.number().int().nullable())
      .meta({ description: 'By part of the span: the most faces at once; null: not known.' }),
    faces: z
      .array(z.object({ id: idSchema, atMs: timeMsSchema, count: z.number().int() }))
      .meta({ description: 'Detections; where they are many, one stands for "count" that lie close.' }),
    kept: z.array(keptStretchSchema),
    chunks: z
      .array(clipSchema)
      .nullable()
      .meta({ description: 'The chunks of a span of at most 20 minutes; null for a longer one.' }),
  })
  .meta({ id: 'CameraTimeline' })
export type CameraTimeline = z.infer<typeof cameraTimelineSchema>

export const timelineSchema = z
  .object({
    fromMs: timeMsSchema,
    toMs: timeMsSchema,
    slotMs: z.number().int().meta({ description: 'How long a part is: of motion and people.' }),
    cameras: z
      .array(cameraTimelineSchema)
      .meta({ description: 'In the order in which they were asked for.' }),
  })
  .meta({ id: 'Timeline' })
export type Timeline = z.infer<typeof timelineSchema>

export const timelineQuerySchema = z.strictObject({
  camera: severalOf(
    z.string().refine(isCameraPath, 'must be a camera, as site/device/camera'),
    `A camera, as site/device/camera; several times: several, at most ${CAMERAS_MAX}.`,
  ),
  from: timeParameter('From this time on.'),
  to: timeParameter('Before this time.'),
})
export type TimelineQuery = z.input<typeof timelineQuerySchema>

const compress = promisify(gzip)

export function timelineRoutes(api: Api, { access, database }: Context): void {
  api.get(
    '/timeline',
    {
      config: { right: ['see', 'recordings'] },
      schema: {
        operationId: 'getTimeline',
        tags: ['recordings'],
        summary: 'What is recorded of cameras, where gaps are and why, and what was seen',
        querystring: timelineQuerySchema,
        response: { 200: timelineSchema, 304: unchanged, ...problems(404) },
      },
    },
    async (request) => {
      const { rows } = asked(access, request)
      const { camera: paths = [], from, to } = request.query
      if (paths.length === 0 || paths.length > CAMERAS_MAX)
        throw failure('PARAMETER_INVALID', `"camera" must be given, at most ${CAMERAS_MAX} times.`)
      const span = spanOf(from, to, SPAN_MS_MAX)
      const slotMs = Math.max(1000, Math.ceil((to - from) / SLOTS))
      const cameras: CameraTimeline[] = []
      // One after the other: many at once would only wait for each other, and for everybody else.
      for (const path of paths) cameras.push(await cameraTimeline(database, path, rows, span, slotMs))
      return { fromMs: from, toMs: to, slotMs, cameras }
    },
  )
  api.addHook('onSend', async (request, reply, payload) => {
    if (request.routeOptions.url?.endsWith('/timeline') !== true) return payload
    if (typeof payload !== 'string' || payload.length < GZIP_BYTES_MIN || reply.statusCode !== 200)
      return payload
    reply.header('vary', 'Cookie, Authorization, Accept-Encoding')
    if (!/\bgzip\b/.test(String(request.headers['accept-encoding'] ?? ''))) return payload
    reply.header('content-encoding', 'gzip').removeHeader('content-length')
    return compress(payload, { level: 4 })
  })
}

/** Errors: NOT_FOUND */
async function cameraTimeline(
  database: Database,
  path: string,
  scope: Scope,
  span: Span,
  slotMs: number,
): Promise<CameraTimeline> {
  const camera = cameraOfPath(path)
  const { read } = database
  const id = await cameraIdOf(read, camera, scope)
  if (id === undefined) throw notFound()
  const { fromMs, beforeMs } = span
  const isShort = beforeMs - fromMs <= CHUNKS_SPAN_MS_MAX
  const faceSlotMs = Math.max(1, Math.ceil((beforeMs - fromMs) / FACES_MAX))
  const [all, after, moved, faces, kept, clips] = await Promise.all([
    stretchesWithin(read, id, span, 0),
    clipBeside(read, id, camera, beforeMs, 'after'),
    movedWithin(read, id, span, slotMs),
    facesWithin(read, id, span, faceSlotMs),
    keptOf(read, id),
    isShort ? clipsWithin(read, id, camera, span, CHUNKS_MAX) : undefined,
  ])
  const shorterMs = all.length > STRETCHES_MAX ? Math.ceil((beforeMs - fromMs) / STRETCHES_MAX) : 0
  const stretches = shorterMs === 0 ? all : await stretchesWithin(read, id, span, shorterMs)
  const slots = Math.ceil((beforeMs - fromMs) / slotMs)
  const motion = Array.from({ length: slots }, (): number | null => null)
  const people = Array.from({ length: slots }, (): number | null => null)
  for (const { slot, motion: most, faces: crowd } of moved) {
    motion[slot] = most === null ? null : Math.round(most * 1000) / 1000
    people[slot] = crowd
  }
  return {
    ...camera,
    stretches: stretches.map(({ fromMs, toMs, clips, bytes }) => ({ fromMs, toMs, clips, bytes })),
    gaps: gapsOf(stretches, after, span),
    shorterMs,
    motion,
    people,
    faces: [...faces],
    kept: kept
      .filter((it) => it.toMs > fromMs && it.fromMs < beforeMs)
      .map(({ fromMs, toMs, by, atMs }) => ({ fromMs, toMs, by, atMs })),
    chunks: clips ? clips.map(clipShown) : null,
  }
}

/**
 * What lies between the stretches of a span, and at its ends. Where the device told of a gap that began later than the stretch
 * before ended, chunks between are missing: that is told apart. Pure.
 * @param after the next chunk behind the span
 */
export function gapsOf(
  stretches: readonly Pick<Stretched, 'fromMs' | 'toMs' | 'gapFromMs' | 'gapWhy'>[],
  after: Pick<Clip, 'atMs' | 'gap'> | undefined,
  { fromMs, beforeMs }: Span,
): CameraTimeline['gaps'] {
  const gaps: CameraTimeline['gaps'] = []
  const add = (from: number, to: number, why: CameraTimeline['gaps'][number]['why']) => {
    const clipped = { fromMs: Math.max(from, fromMs), toMs: Math.min(to, beforeMs), why }
    if (clipped.toMs > clipped.fromMs) gaps.push(clipped)
  }
  /** @param isFirst nothing is known of what was before */
  const between = (
    from: number,
    to: number,
    said: { readonly fromMs: number | null; readonly why: string | null } | undefined,
    isFirst: boolean,
  ) => {
    const why = (said?.why ?? 'missing') as CameraTimeline['gaps'][number]['why']
    const since = said?.fromMs ?? null
    if (why === 'missing') add(from, to, isFirst ? null : 'missing')
    else if (since === null || since <= from + MISSING_MS_MIN) add(from, to, why)
    else {
      add(from, since, isFirst ? null : 'missing')
      add(since, to, why)
    }
  }
  let end = fromMs
  for (const [n, it] of stretches.entries()) {
    if (it.fromMs > end) between(end, it.fromMs, { fromMs: it.gapFromMs, why: it.gapWhy }, n === 0)
    end = Math.max(end, it.toMs)
  }
  if (end < beforeMs) {
    if (!after) add(end, beforeMs, null)
    else
      between(
        end,
        after.atMs,
        after.gap && { fromMs: after.gap.fromMs, why: after.gap.why },
        stretches.length === 0,
      )
  }
  return gaps
}

/** Clocks and rounding. */
const MISSING_MS_MIN = 1000

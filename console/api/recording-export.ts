import { Readable } from 'node:stream'
import { z } from 'zod'
import { failure } from '../../lib/errors.ts'
import { notFound } from '../access/demand.ts'
import type { Context } from '../context.ts'
import { markLost } from '../database/clips.ts'
import { begunFileOf, type Plan, planOf } from '../recordings/export.ts'
import { API_PREFIX } from './addresses.ts'
import { content, problems } from './answers.ts'
import { type Asked, asked } from './asked.ts'
import { playable } from './playlist.ts'
import { timeMsSchema } from './query.ts'
import { cameraNamed, cameraOfPath, stretchQuerySchema } from './recordings.ts'
import type { Api } from './server.ts'
import { spanOf } from './span.ts'

/** A stretch of a recording as one file, as the camera sent it: `/recordings/export.mp4`; and what would be in it. */

const SPAN_MS_MAX = 24 * 3_600_000
/** When to ask again while others export. */
const RETRY_AFTER_S = 10
/** Of gaps and parts that are told. */
const TOLD_MAX = 1000

export const exportPlanSchema = z
  .object({
    parts: z
      .array(
        z.object({
          fromMs: timeMsSchema,
          toMs: timeMsSchema,
          bytes: z.number().int(),
          chunks: z.number().int(),
          width: z.number().int(),
          height: z.number().int(),
          codecs: z.string(),
          address: z.string().meta({ description: 'Of the file, without the host.' }),
        }),
      )
      .meta({
        description: 'Files that it takes: one, or more where the picture changes its size or its codec.',
      }),
    gaps: z
      .array(z.object({ fromMs: timeMsSchema, toMs: timeMsSchema, why: z.string() }))
      .meta({ description: 'Of which nothing is there; in the file, what follows comes at once.' }),
    lost: z.number().int().meta({ description: 'Chunks that the bucket should have, and does not.' }),
  })
  .meta({ id: 'ExportPlan' })
export type ExportPlan = z.infer<typeof exportPlanSchema>

const tags = ['recordings']

export function recordingExportRoutes(api: Api, { access, bucket, config, database, log }: Context): void {
  let running = 0

  /** Errors: NOT_FOUND, PARAMETER_INVALID, RECORDING_TOO_LONG */
  const plan = async (
    caller: Asked,
    { camera: path, from, to }: z.output<typeof stretchQuerySchema>,
    signal: AbortSignal,
  ): Promise<Plan> => {
    const span = spanOf(from, to, SPAN_MS_MAX)
    const { camera, id } = await cameraNamed(database, path, caller.rows)
    const clips = await playable(database, id, camera, span)
    const made = await planOf(bucket, clips, signal)
    const unmarked = made.lost.filter(({ isLost }) => !isLost)
    if (unmarked.length > 0) {
      await markLost(
        database.write,
        unmarked.map(({ id }) => id),
        Date.now(),
      )
      log.warn(
        { camera: path, count: unmarked.length },
        'the bucket does not have chunks that were announced',
      )
    }
    if (made.parts.length === 0) throw notFound()
    return made
  }

  api.get(
    '/recordings/export',
    {
      config: { right: ['recordings', 'export'] },
      schema: {
        operationId: 'planRecordingExport',
        tags,
        summary: 'What an export of a stretch has: its files, and the gaps in it',
        querystring: stretchQuerySchema,
        response: { 200: exportPlanSchema, ...problems(404, 409) },
      },
    },
    async (request) => {
      const { camera } = request.query
      const made = await plan(asked(access, request), request.query, request.signal)
      return {
        parts: made.parts.slice(0, TOLD_MAX).map(({ clips, fromMs, toMs, bytes }) => {
          const [width = 0, height = 0] = clips[0]?.frame ?? []
          const codecs = clips[0]?.codecs ?? ''
          const address = `${API_PREFIX}/recordings/export.mp4?${new URLSearchParams({ camera, from: String(fromMs), to: String(toMs) })}`
          return { fromMs, toMs, bytes, chunks: clips.length, width, height, codecs, address }
        }),
        gaps: made.gaps.slice(0, TOLD_MAX),
        lost: made.lost.length,
      }
    },
  )

  api.get(
    '/recordings/export.mp4',
    {
      config: { right: ['recordings', 'export'] },
      exposeHeadRoute: false,
      schema: {
        operationId: 'exportRecording',
        tags,
        summary: 'A stretch as one MP4, as the camera sent it',
        description:
          'Whole chunks: it may begin a little earlier and end a little later. Where nothing is recorded, what follows comes at once: X-Gaps says how many such places there are, and /recordings/export where. If the picture changes its size or its codec: 409, and there are the parts. If the connection breaks off, the file is incomplete.',
        querystring: stretchQuerySchema,
        response: { 200: content('video/mp4', 'MP4'), ...problems(404, 409) },
      },
    },
    async (request, reply) => {
      const caller = asked(access, request)
      const { exportsMax } = config.limits
      if (running >= exportsMax) {
        reply.header('retry-after', RETRY_AFTER_S)
        throw failure('TOO_MANY', `${exportsMax} exports are running. Try again in a moment.`)
      }
      running += 1
      const { camera, from, to } = request.query
      const hold = access.hold(caller, 'export', cameraOfPath(camera))
      let isOver = false
      const free = () => {
        if (isOver) return
        isOver = true
        running -= 1
        hold[Symbol.dispose]()
      }
      try {
        const signal = AbortSignal.any([hold.signal, request.signal])
        const made = await plan(caller, request.query, signal)
        const [part, next] = made.parts
        if (!part) throw notFound()
        if (next) {
          const [a, b] = [part.clips[0], next.clips[0]]
          throw failure(
            'RECORDING_CHANGES',
            `The video changes at ${iso(next.fromMs)}, from ${a?.frame.join('x')} (${a?.codecs}) to ${b?.frame.join('x')} (${b?.codecs}), so it cannot be one file without encoding it anew. /recordings/export names its ${made.parts.length} parts.`,
          )
        }
        if (part.bytes > config.recordings.exportBytesMax)
          throw failure(
            'RECORDING_TOO_LONG',
            `The stretch has ${part.bytes} bytes, and an export at most ${config.recordings.exportBytesMax}. Choose a shorter one.`,
          )
        await access.record(caller, {
          what: 'recording.export',
          target: camera,
          detail: { from: iso(from), to: iso(to), bytes: part.bytes },
        })
        const stream = Readable.from(await begunFileOf(bucket, part, signal), {
          objectMode: false,
          highWaterMark: 1,
        })
        stream.once('close', free)
        reply.raw.once('close', () => stream.destroy())
        return reply
          .type('video/mp4')
          .headers({
            'content-disposition': `attachment; filename="${fileName(camera, part.fromMs)}"`,
            'cache-control': 'no-store',
            'x-from-ms': String(part.fromMs),
            'x-to-ms': String(part.toMs),
            'x-gaps': String(made.gaps.length),
          })
          .send(stream)
      } catch (error) {
        free()
        throw error
      }
    },
  )
}

const iso = (ms: number) => new Date(ms).toISOString()

/** `gate_edge-1_door_2026-11-28T09-30-00Z.mp4`: names have only letters, digits, dash and underscore. */
const fileName = (camera: string, fromMs: number) =>
  `${camera.replaceAll('/', '_')}_${iso(fromMs)
    .replace(/\.\d+Z$/, 'Z')
    .replaceAll(':', '-')}.mp4`

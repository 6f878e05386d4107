import { z } from 'zod'
import { isCameraPath } from '../../wire/users.ts'
import { notFound } from '../access/demand.ts'
import type { Context } from '../context.ts'
import { keptOf, sumWithin } from '../database/clips.ts'
import { problems, unchanged } from './answers.ts'
import { asked } from './asked.ts'
import { timeMsSchema } from './query.ts'
import { cameraNamed, stretchShape } from './recordings.ts'
import type { Api } from './server.ts'
import { spanOf } from './span.ts'
import { keptStretchSchema } from './timeline.ts'

/** Stretches that retention leaves alone: `/recordings/kept`. */

const SPAN_MS_MAX = 31 * 86_400_000

export const keptStretchesSchema = z
  .object({
    isConfirmed: z.boolean().meta({
      description: 'false: the subscriber has not answered yet, and does it as soon as it can.',
    }),
    items: z.array(keptStretchSchema).meta({ description: 'What of the camera is kept, oldest first.' }),
  })
  .meta({ id: 'KeptStretches' })
export type KeptStretches = z.infer<typeof keptStretchesSchema>

export const keepSchema = z
  .strictObject({
    camera: z.string().refine(isCameraPath, 'must be a camera, as site/device/camera'),
    fromMs: timeMsSchema,
    toMs: timeMsSchema,
    keep: z.boolean().meta({ description: 'false: it is kept no longer.' }),
  })
  .meta({ id: 'Keep' })
export type Keep = z.input<typeof keepSchema>

const tags = ['recordings']

export function keepsRoutes(api: Api, { access, database, line }: Context): void {
  api.get(
    '/recordings/kept',
    {
      config: { right: 'recordings' },
      schema: {
        operationId: 'listKeptRecordings',
        tags,
        summary: 'What of a camera is kept against retention',
        querystring: z.strictObject({ camera: stretchShape.camera }),
        response: { 200: keptStretchesSchema, 304: unchanged, ...problems(404) },
      },
    },
    async (request) => {
      const { id } = await cameraNamed(database, request.query.camera, asked(access, request).rows)
      return { isConfirmed: true, items: [...(await keptOf(database.read, id))] }
    },
  )

  api.post(
    '/recordings/kept',
    {
      config: { right: ['recordings', 'command'] },
      schema: {
        operationId: 'keepRecording',
        tags,
        summary: 'Keep a stretch against retention, or keep it no longer',
        description:
          'Chunks that have any part in it are kept. 202: it was asked for, and is not confirmed yet.',
        body: keepSchema,
        response: { 200: keptStretchesSchema, 202: keptStretchesSchema, ...problems(404, 413, 415, 502) },
      },
    },
    async (request, reply) => {
      const caller = asked(access, request)
      const { camera: path, fromMs, toMs, keep } = request.body
      const span = spanOf(fromMs, toMs, SPAN_MS_MAX)
      const { camera, id } = await cameraNamed(database, path, caller.rows)
      const { subscribers } = await sumWithin(database.read, id, span)
      const kept = await keptOf(database.read, id)
      // What is kept no longer may have been deleted by hand meanwhile.
      const whose = subscribers.length > 0 || keep ? subscribers : await subscribersOfKept(database, id)
      if (whose.length === 0 || (!keep && kept.length === 0)) throw notFound()
      await access.record(caller, {
        what: keep ? 'recording.keep' : 'recording.unkeep',
        target: path,
        detail: { from: new Date(fromMs).toISOString(), to: new Date(toMs).toISOString() },
      })
      const wanted = { ...camera, keep, fromMs, toMs, by: caller.person.name }
      const answers = await Promise.all(whose.map((name) => line.keep(name, wanted, request.signal)))
      const isConfirmed = answers.every(Boolean)
      const items = [...(await keptOf(database.write, id))]
      return reply.code(isConfirmed ? 200 : 202).send({ isConfirmed, items })
    },
  )
}

async function subscribersOfKept({ read }: Context['database'], cameraId: number): Promise<string[]> {
  const rows = await read
    .selectFrom('keeps')
    .select('subscriber')
    .where('camera_id', '=', cameraId)
    .orderBy('subscriber')
    .execute()
  return rows.map(({ subscriber }) => subscriber)
}

import type { Selectable } from 'kysely'
import { z } from 'zod'
import { notFound } from '../access/demand.ts'
import type { Context } from '../context.ts'
import type { Database } from '../database/database.ts'
import { cursorOf, readCursor } from '../database/detection.ts'
import type { HealthEventsTable } from '../database/tables.ts'
import { problems, unchanged } from './answers.ts'
import { asked } from './asked.ts'
import { flagParameter, idSchema, pageOf, pageShape, timeMsSchema, timeParameter } from './query.ts'
import type { Api } from './server.ts'

/** What went wrong, from when to when: `/health-events`. */

export const healthEventSchema = z
  .object({
    id: idSchema,
    atMs: timeMsSchema.meta({ description: 'When it began, ms since 1970, UTC.' }),
    endedAtMs: timeMsSchema.nullable().meta({ description: 'null while it lasts.' }),
    kind: z.string().meta({ examples: ['camera-down'] }),
    level: z.enum(['info', 'warning', 'problem']),
    subject: z.string().meta({
      description: 'What it is about: site/device/camera, site/device, or a program and its queue.',
    }),
    site: z.string().nullable(),
    camera: z.string().nullable().meta({ description: 'As site/device/camera.' }),
    text: z.string().meta({ description: 'A sentence for people.' }),
    reviewedBy: z.string().nullable().meta({ description: 'Who has reviewed it; one mark for everybody.' }),
    reviewedAtMs: timeMsSchema.nullable(),
  })
  .meta({ id: 'HealthEvent' })
export type HealthEvent = z.infer<typeof healthEventSchema>

export const healthEventsQuerySchema = z.strictObject({
  from: timeParameter('Began at this time or later.').optional(),
  to: timeParameter('Began before this time.').optional(),
  open: flagParameter('Whether it still lasts.').optional(),
  kind: z
    .string()
    .regex(/^[a-z][a-z0-9-]{0,63}$/, 'must be a kind such as camera-down')
    .optional(),
  level: z.enum(['info', 'warning', 'problem'], 'must be info, warning or problem').optional(),
  reviewed: flagParameter('Whether somebody has marked it.').optional(),
  ...pageShape,
})
export type HealthEventsQuery = z.input<typeof healthEventsQuerySchema>

export const healthEventsPageSchema = z.object(pageOf(healthEventSchema)).meta({ id: 'HealthEventsPage' })
export type HealthEventsPage = z.infer<typeof healthEventsPageSchema>

const idParamsSchema = z.strictObject({ id: idSchema })
const tags = ['line']

export function healthEventsRoutes(api: Api, { access, database }: Context): void {
  api.get(
    '/health-events',
    {
      config: { right: 'flow' },
      schema: {
        operationId: 'listHealthEvents',
        tags,
        summary: 'What went wrong, from when to when, newest first',
        querystring: healthEventsQuerySchema,
        response: { 200: healthEventsPageSchema, 304: unchanged, ...problems() },
      },
    },
    async (request) => {
      const { from, to, open, kind, level, reviewed, cursor, limit } = request.query
      const place = cursor === undefined ? undefined : readCursor(cursor)
      let rows = database.read
        .selectFrom('health_events')
        .selectAll()
        .orderBy('at_ms', 'desc')
        .orderBy('id', 'desc')
        .limit(limit + 1)
      if (from !== undefined) rows = rows.where('at_ms', '>=', from)
      if (to !== undefined) rows = rows.where('at_ms', '<', to)
      if (open !== undefined) rows = rows.where('ended_at_ms', open ? 'is' : 'is not', null)
      if (kind !== undefined) rows = rows.where('kind', '=', kind)
      if (level !== undefined) rows = rows.where('level', '=', level)
      if (reviewed !== undefined) rows = rows.where('reviewed_by', reviewed ? 'is not' : 'is', null)
      if (place)
        rows = rows.where((either) =>
          either.or([
            either('at_ms', '<', place.atMs),
            either.and([either('at_ms', '=', place.atMs), either('id', '<', place.id)]),
          ]),
        )
      const found = (await rows.execute()).map(eventOf)
      const items = found.slice(0, limit)
      const last = items.at(-1)
      return { items, next: found.length > limit && last ? cursorOf(last) : null }
    },
  )

  for (const [method, operationId, summary] of [
    ['PUT', 'reviewHealthEvent', 'Mark it as reviewed, for everybody'],
    ['DELETE', 'unreviewHealthEvent', 'Remove the mark'],
  ] as const)
    api.route({
      method,
      url: '/health-events/:id/review',
      config: { right: ['flow', 'review'] },
      schema: {
        operationId,
        tags,
        summary,
        params: idParamsSchema,
        response: { 200: healthEventSchema, ...problems(404) },
      },
      handler: async (request) => {
        const { person } = asked(access, request)
        const mark =
          method === 'PUT'
            ? { reviewed_by: person.name, reviewed_at_ms: Date.now() }
            : { reviewed_by: null, reviewed_at_ms: null }
        const row = await database.write
          .updateTable('health_events')
          .set(mark)
          .where('id', '=', request.params.id)
          .returningAll()
          .executeTakeFirst()
        if (!row) throw notFound()
        return eventOf(row)
      },
    })
}

/** What lasts, or has been, and nobody has reviewed: the worst first. */
export async function openProblems(
  { read }: Pick<Database, 'read'>,
  most: number,
): Promise<{ readonly items: HealthEvent[]; readonly count: number }> {
  const open = read
    .selectFrom('health_events')
    .where('ended_at_ms', 'is', null)
    .where('reviewed_by', 'is', null)
    .where('level', 'in', ['problem', 'warning'])
  const [rows, counted] = await Promise.all([
    open
      .selectAll()
      .orderBy((by) => by.case().when('level', '=', 'problem').then(0).else(1).end())
      .orderBy('at_ms', 'desc')
      .limit(most)
      .execute(),
    open.select(({ fn }) => fn.countAll().as('count')).executeTakeFirst(),
  ])
  return { items: rows.map(eventOf), count: Number(counted?.count ?? 0) }
}

function eventOf(row: Selectable<HealthEventsTable>): HealthEvent {
  return {
    id: row.id,
    atMs: Number(row.at_ms),
    endedAtMs: row.ended_at_ms === null ? null : Number(row.ended_at_ms),
    kind: row.kind,
    level: row.level,
    subject: row.subject,
    site: row.site,
    camera: row.camera,
    text: row.text,
    reviewedBy: row.reviewed_by,
    reviewedAtMs: row.reviewed_at_ms === null ? null : Number(row.reviewed_at_ms),
  }
}

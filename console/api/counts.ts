import { z } from 'zod'
import { failure } from '../../lib/errors.ts'
import type { CameraAddress } from '../../wire/topics.ts'
import { isInScope, may } from '../access/may.ts'
import type { CameraSeen, Context } from '../context.ts'
import { beginnings } from '../database/calendar.ts'
import { SPANS_MAX } from '../database/counts.ts'
import { problems, unchanged } from './answers.ts'
import { asked } from './asked.ts'
import { cameraOf, cameraSchema } from './cameras.ts'
import { detectionOf, detectionSchema, placeShape, placesOf } from './detections.ts'
import { healthEventSchema, openProblems } from './health-events.ts'
import { cameraAddressSchema, timeMsSchema, zoneParameter } from './query.ts'
import type { Api } from './server.ts'

/** How many: `/counts`, for charts, and `/overview`. */

export const countsQuerySchema = z.strictObject({
  ...placeShape,
  by: z.enum(['hour', 'day', 'week', 'month'], 'must be hour, day, week or month').meta({
    description: 'How long each span is; a week begins on Monday.',
  }),
  tz: zoneParameter(),
  split: z
    .enum(['none', 'camera', 'masked'], 'must be none, camera or masked')
    .default('none')
    .meta({ description: 'Counts of each camera, or of each answer to whether the face is masked.' }),
})
export type CountsQuery = z.input<typeof countsQuerySchema>

export const countSchema = z
  .object({
    fromMs: timeMsSchema.meta({ description: 'When the span begins, ms since 1970, UTC.' }),
    camera: cameraAddressSchema.optional().meta({ description: 'With split=camera.' }),
    masked: z.boolean().nullable().optional().meta({ description: 'With split=masked; null: not known.' }),
    count: z.number().int(),
  })
  .meta({ id: 'Count' })
export type Count = z.infer<typeof countSchema>

export const countsSchema = z
  .object({
    by: z.enum(['hour', 'day', 'week', 'month']),
    tz: z.string(),
    total: z.number().int(),
    items: z.array(countSchema).meta({ description: 'Oldest first; spans without faces are left out.' }),
  })
  .meta({ id: 'Counts' })
export type Counts = z.infer<typeof countsSchema>

export const overviewQuerySchema = z.strictObject({ tz: zoneParameter() })

export const overviewSchema = z
  .object({
    today: z.object({
      fromMs: timeMsSchema,
      total: z.number().int(),
      masked: z.number().int(),
      notMasked: z.number().int(),
      maskedShare: z
        .number()
        .nullable()
        .meta({ description: 'Of the faces whose mask is known; null without any.' }),
    }),
    cameras: z.object({ live: z.number().int(), all: z.number().int() }),
    newest: detectionSchema.nullable(),
    needs: z
      .array(
        z.discriminatedUnion('is', [
          z.object({ is: z.literal('camera'), camera: cameraSchema }),
          z.object({ is: z.literal('health'), event: healthEventSchema }),
        ]),
      )
      .meta({ description: 'Cameras and events that need attention, worst first, at most 20.' }),
    needsCount: z.number().int(),
  })
  .meta({ id: 'Overview' })
export type Overview = z.infer<typeof overviewSchema>

/** Spans of one answer, where each camera has its own: more would be megabytes that no chart shows. */
const SPANS_BY_CAMERA_MAX = 1000
const HOUR_MS = 3_600_000
const SPAN_MS = { hour: HOUR_MS, day: 24 * HOUR_MS, week: 168 * HOUR_MS, month: 672 * HOUR_MS } as const
/** Looked back where "from" is left out. */
const SPANS_SHOWN = { hour: 48, day: 31, week: 53, month: 24 } as const
/** What a person looks at first; the rest is counted. */
const NEEDS_MAX = 20

const tags = ['counts']

export function countsRoutes(api: Api, context: Context): void {
  const { access, database, fleet } = context

  api.get(
    '/counts',
    {
      config: { right: 'see' },
      schema: {
        operationId: 'count',
        tags,
        summary: 'How many, by hour, day, week or month',
        description:
          'Without "to": until now. Without "from": two days of hours, a month of days, a year of weeks, two years of months.',
        querystring: countsQuerySchema,
        response: { 200: countsSchema, 304: unchanged, ...problems() },
      },
    },
    async (request) => {
      const { rows: scope } = asked(access, request)
      const { by, tz, split, to = Date.now(), from } = request.query
      const fromMs = from ?? Math.max(0, to - SPANS_SHOWN[by] * SPAN_MS[by])
      if (fromMs >= to) throw failure('PARAMETER_INVALID', '"from" must be before "to".')
      const isTooMuch =
        (to - fromMs) / (by === 'hour' ? SPAN_MS.hour : SPAN_MS.day) > SPANS_MAX ||
        (split === 'camera' && (to - fromMs) / SPAN_MS[by] > SPANS_BY_CAMERA_MAX)
      if (isTooMuch)
        throw failure(
          'PARAMETER_INVALID',
          `"from" is too long before "to" for counts by ${by}. Ask for less time.`,
        )
      const counts = await database.counts({
        scope,
        fromMs,
        beforeMs: to,
        by,
        timeZone: tz,
        ...placesOf(request.query),
        split: split === 'none' ? undefined : split,
      })
      return {
        by,
        tz,
        total: counts.reduce((sum, { count }) => sum + count, 0),
        items: counts.map(({ fromMs, count, camera, masked }) => ({
          fromMs,
          count,
          ...(camera === undefined ? {} : { camera: addressOf(camera) }),
          ...(masked === undefined ? {} : { masked }),
        })),
      }
    },
  )

  api.get(
    '/overview',
    {
      config: { right: 'see' },
      schema: {
        operationId: 'getOverview',
        tags,
        summary: 'Today at a glance, and what needs attention',
        querystring: overviewQuerySchema,
        response: { 200: overviewSchema, 304: unchanged, ...problems() },
      },
    },
    async (request) => {
      const { person, rows: scope } = asked(access, request)
      const { tz } = request.query
      const nowMs = Date.now()
      const fromMs = beginnings(nowMs, nowMs + 1, 'day', tz)[0] ?? nowMs
      const cameras = fleet.cameras.filter((camera) => isInScope(person.scope, camera))
      const [today, newest, needs] = await Promise.all([
        database.totals({ scope, fromMs, beforeMs: nowMs + 1, by: 'day', timeZone: tz }),
        database.page({ filter: {}, scope, limit: 1 }),
        may(person, 'flow') ? healthNeeds(context) : cameraNeeds(cameras),
      ])
      const [row] = newest.detections
      const reviewed = row ? await database.reviewed(person.name, [row.id]) : undefined
      const known = today.masked + today.unmasked
      return {
        today: {
          fromMs,
          total: today.count,
          masked: today.masked,
          notMasked: today.unmasked,
          maskedShare: known === 0 ? null : today.masked / known,
        },
        cameras: { live: cameras.filter((camera) => camera.is === 'live').length, all: cameras.length },
        newest: row && reviewed ? detectionOf(row, reviewed.has(row.id)) : null,
        ...needs,
      }
    },
  )
}

type Needs = Pick<Overview, 'needs' | 'needsCount'>

/** Who sees no events of health sees his cameras. */
function cameraNeeds(cameras: readonly CameraSeen[]): Needs {
  const down = cameras.filter((camera) => camera.is === 'down' || camera.is === 'offline')
  return {
    needs: down.slice(0, NEEDS_MAX).map((camera) => ({ is: 'camera', camera: cameraOf(camera, undefined) })),
    needsCount: down.length,
  }
}

async function healthNeeds({ database }: Context): Promise<Needs> {
  const { items, count } = await openProblems(database, NEEDS_MAX)
  return { needs: items.map((event) => ({ is: 'health', event })), needsCount: count }
}

function addressOf(path: string): CameraAddress {
  const [site = '', device = '', camera = ''] = path.split('/')
  return { site, device, camera }
}

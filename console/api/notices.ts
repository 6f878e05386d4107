import type { Selectable } from 'kysely'
import { z } from 'zod'
import { noticeSchema as saidSchema } from '../../wire/notice.ts'
import { isCameraPath } from '../../wire/users.ts'
import { notFound } from '../access/demand.ts'
import { may, type Person } from '../access/may.ts'
import type { Context } from '../context.ts'
import type { Database } from '../database/database.ts'
import { cursorOf, readCursor } from '../database/detection.ts'
import type { AttemptsTable, DeliveriesTable, NoticesTable } from '../database/tables.ts'
import type { KeptNotice } from '../notices/book.ts'
import { maySee } from '../notices/push.ts'
import { pictureAddress } from './addresses.ts'
import { done, problems, unchanged } from './answers.ts'
import { asked } from './asked.ts'
import {
  idSchema,
  isCursor,
  nameSchema,
  PAGE_ITEMS,
  PAGE_ITEMS_MAX,
  timeMsSchema,
  wholeParameter,
} from './query.ts'
import type { Api } from './server.ts'

/** What was noticed, and what became of it on each channel: `/notices`. Of cameras that the caller sees. */

const STATES = ['waiting', 'sent', 'given up', 'not sent'] as const

const deliverySchema = z.object({
  id: idSchema,
  revision: z.number().int(),
  channel: z.object({
    id: z.string(),
    name: z.string().meta({ description: 'Its id, where it was deleted.' }),
    type: z.string().meta({ description: 'deleted, where it was.' }),
  }),
  target: z.string().nullable().meta({
    description: 'The browser, where the channel is push, for who has the right "scenarios"; else null.',
  }),
  state: z.enum(STATES),
  attempts: z.number().int(),
  madeAtMs: timeMsSchema,
  dueAtMs: timeMsSchema.meta({ description: 'When it is tried next, where it waits.' }),
  giveUpAtMs: timeMsSchema,
  doneAtMs: timeMsSchema.nullable(),
  why: z.string().nullable().meta({
    description:
      'Why it was given up, not sent, or has to wait. What a receiver has to do with it is for who sees channels.',
  }),
})

const attemptSchema = z.object({
  number: z.number().int().meta({ description: 'From 1. Of many, those in the middle are not kept.' }),
  atMs: timeMsSchema,
  durationMs: z.number().int(),
  status: z.number().int().nullable().meta({ description: 'Of HTTP or SMTP.' }),
  code: z.string().nullable(),
  answer: z.string().nullable().meta({
    description: 'The beginning of what was answered, for who has the right "scenarios"; else null.',
  }),
})

const { v: _v, madeAtMs: _madeAtMs, picture: _picture, url: _url, object, ...said } = saidSchema.shape
const noticeShape = {
  ...said,
  object,
  changedAtMs: timeMsSchema,
  picture: z.string().nullable().meta({ description: 'The address of its picture, without the host.' }),
}
export const noticeSchema = z
  .object({ ...noticeShape, deliveries: z.array(deliverySchema) })
  .meta({ id: 'Notice' })
export const noticeDetailSchema = z
  .object({
    ...noticeShape,
    deliveries: z.array(deliverySchema.extend({ tries: z.array(attemptSchema) })),
  })
  .meta({ id: 'NoticeDetail' })
export const noticesPageSchema = z
  .object({
    items: z.array(noticeSchema),
    next: z.string().nullable().meta({ description: 'For "before"; null on the last page.' }),
  })
  .meta({ id: 'NoticesPage' })

const noticesQuerySchema = z.strictObject({
  before: z
    .string()
    .refine(isCursor, 'must be "next" of the page before')
    .optional()
    .meta({ description: 'Where to continue: "next" of the page before.' }),
  scenario: nameSchema.optional(),
  camera: z
    .string()
    .refine(isCameraPath, 'must be a camera, as site/device/camera')
    .optional()
    .meta({ description: 'As site/device/camera.' }),
  level: z.enum(['info', 'warning', 'problem'], 'must be info, warning or problem').optional(),
  state: z
    .enum(STATES, `must be ${STATES.join(', ')}`)
    .optional()
    .meta({ description: 'With a delivery that is so.' }),
  limit: wholeParameter(`How many at most; ${PAGE_ITEMS} where it is left out.`, {
    min: 1,
    max: PAGE_ITEMS_MAX,
  }).default(PAGE_ITEMS),
})

const tags = ['notices']
const idParamsSchema = z.strictObject({ id: idSchema })

type NoticeRow = Selectable<NoticesTable>
type DeliveryRow = Selectable<DeliveriesTable>

export function noticesRoutes(api: Api, { access, database, notices }: Context): void {
  api.get(
    '/notices',
    {
      config: { right: 'notices' },
      schema: {
        operationId: 'listNotices',
        tags,
        summary: 'What was noticed, the newest first',
        querystring: noticesQuerySchema,
        response: { 200: noticesPageSchema, 304: unchanged, ...problems() },
      },
    },
    async (request) => {
      const { person, rows } = asked(access, request)
      const { before, scenario, camera, level, state, limit } = request.query
      let query = database.read
        .selectFrom('notices')
        .selectAll()
        .orderBy('at_ms', 'desc')
        .orderBy('id', 'desc')
        .limit(limit + 1)
      if (!rows.all)
        query = query.where((it) =>
          it.or([it('site', 'in', ['', ...rows.sites]), it('camera', 'in', ['', ...rows.cameras])]),
        )
      if (scenario !== undefined) query = query.where('scenario', '=', scenario)
      if (camera !== undefined) query = query.where('camera', '=', camera)
      if (level !== undefined) query = query.where('level', '=', level)
      if (state !== undefined)
        query = query.where(({ exists, selectFrom }) =>
          exists(
            selectFrom('deliveries')
              .select('deliveries.id')
              .whereRef('deliveries.notice', '=', 'notices.id')
              .where('deliveries.state', '=', state),
          ),
        )
      const place = before === undefined ? undefined : readCursor(before)
      if (place)
        query = query.where((it) =>
          it.or([
            it('at_ms', '<', place.atMs),
            it.and([it('at_ms', '=', place.atMs), it('id', '<', place.id)]),
          ]),
        )
      const found = await query.execute()
      const page = found.slice(0, limit)
      const last = page.at(-1)
      return {
        items: await shown(database, page, person),
        next: found.length > limit && last ? cursorOf({ atMs: last.at_ms, id: last.id }) : null,
      }
    },
  )

  const seen = async (id: string, person: Person): Promise<NoticeRow> => {
    const row = await database.write.selectFrom('notices').selectAll().where('id', '=', id).executeTakeFirst()
    if (!row || !maySee(person, placeOf(row))) throw notFound()
    return row
  }

  api.get(
    '/notices/:id',
    {
      config: { right: 'notices' },
      schema: {
        operationId: 'getNotice',
        tags,
        summary: 'A notice, its deliveries, and what was answered to each attempt',
        params: idParamsSchema,
        response: { 200: noticeDetailSchema, 304: unchanged, ...problems(404) },
      },
    },
    async (request) => {
      const { person } = asked(access, request)
      const row = await seen(request.params.id, person)
      const [notice] = await shown(database, [row], person)
      if (!notice) throw notFound()
      const tries = await triesOf(
        database,
        notice.deliveries.map(({ id }) => id),
      )
      const isInside = knowsChannels(person)
      return {
        ...notice,
        deliveries: notice.deliveries.map((delivery) => ({
          ...delivery,
          tries: (tries.get(delivery.id) ?? []).map((it) => attemptOf(it, isInside)),
        })),
      }
    },
  )

  api.post(
    '/notices/:id/deliveries/:delivery/again',
    {
      config: { right: ['notices', 'scenarios'] },
      schema: {
        operationId: 'sendNoticeAgain',
        tags,
        summary: 'Send a delivery once more, now',
        params: z.strictObject({ id: idSchema, delivery: idSchema }),
        response: { 204: done, ...problems(404) },
      },
    },
    async (request, reply) => {
      const caller = asked(access, request)
      const { id, delivery } = request.params
      await seen(id, caller.person)
      await access.record(caller, { what: 'notice.again', target: id, detail: { delivery } })
      await notices.again(id, delivery)
      return reply.code(204).send()
    },
  )
}

/** Channels, and what receivers answer, are for who may write them. */
const knowsChannels = (person: Person) => may(person, 'scenarios') && person.scope.all

function placeOf({ site, camera: path }: NoticeRow) {
  const [, device, camera] = path?.split('/') ?? []
  return {
    ...(site !== null && { site }),
    ...(device !== undefined && { device }),
    ...(camera !== undefined && { camera }),
  }
}

async function shown(database: Database, rows: readonly NoticeRow[], person: Person) {
  if (rows.length === 0) return []
  const deliveries = await database.read
    .selectFrom('deliveries')
    .selectAll()
    .where(
      'notice',
      'in',
      rows.map(({ id }) => id),
    )
    .orderBy('id')
    .execute()
  const channels = await channelNames(database, [...new Set(deliveries.map(({ channel }) => channel))])
  const browsers = knowsChannels(person)
    ? await browserNames(database, deliveries)
    : new Map<string, string>()
  const said = rows.map((row) => JSON.parse(row.notice_json) as KeptNotice)
  const pictures = await database.which(said.flatMap(({ detection }) => (detection ? [detection] : [])))
  return rows.map((row, n) => {
    const notice = said[n] as KeptNotice
    return {
      ...notice,
      revision: row.revision,
      changedAtMs: row.changed_at_ms,
      picture:
        notice.detection !== undefined && pictures.has(notice.detection)
          ? pictureAddress(notice.detection)
          : null,
      deliveries: deliveries
        .filter((it) => it.notice === row.id)
        .map((it) => deliveryOf(it, channels.get(it.channel), browsers.get(it.target), person)),
    }
  })
}

const deliveryOf = (
  row: DeliveryRow,
  channel: { readonly name: string; readonly type: string } | undefined,
  browser: string | undefined,
  person: Person,
) => ({
  id: row.id,
  revision: row.revision,
  channel: { id: row.channel, name: channel?.name ?? row.channel, type: channel?.type ?? 'deleted' },
  target: row.target === '' ? null : (browser ?? null),
  state: row.state,
  attempts: row.attempts,
  madeAtMs: row.made_at_ms,
  dueAtMs: row.due_at_ms,
  giveUpAtMs: row.give_up_at_ms,
  doneAtMs: row.done_at_ms,
  why: row.why === null || knowsChannels(person) || isOurs(row) ? row.why : 'It could not be delivered.',
})

/** Why it says no more than we do: neither what a receiver answers nor whom there is. */
const isOurs = ({ state, target }: DeliveryRow) => state === 'not sent' && target === ''

const attemptOf = (row: Selectable<AttemptsTable>, isInside: boolean) => ({
  number: row.number,
  atMs: row.at_ms,
  durationMs: row.duration_ms,
  status: row.status,
  code: row.code,
  answer: isInside ? row.answer : null,
})

async function channelNames({ read }: Database, ids: readonly string[]) {
  if (ids.length === 0) return new Map<string, { name: string; type: string }>()
  const rows = await read
    .selectFrom('documents')
    .select(['id', 'name', 'document_json'])
    .where('kind', '=', 'channel')
    .where('id', 'in', [...ids])
    .execute()
  return new Map(
    rows.map(({ id, name, document_json }) => [
      id,
      { name, type: (JSON.parse(document_json) as { type: string }).type },
    ]),
  )
}

async function browserNames({ read }: Database, deliveries: readonly DeliveryRow[]) {
  const ids = [...new Set(deliveries.map(({ target }) => target))].filter((it) => it !== '')
  if (ids.length === 0) return new Map<string, string>()
  const rows = await read
    .selectFrom('push_subscriptions')
    .select(['id', 'user', 'name'])
    .where('id', 'in', ids)
    .execute()
  return new Map(rows.map(({ id, user, name }) => [id, `${name} of ${user}`]))
}

async function triesOf({ read }: Database, deliveries: readonly string[]) {
  const tries = new Map<string, Selectable<AttemptsTable>[]>()
  if (deliveries.length === 0) return tries
  const rows = await read
    .selectFrom('attempts')
    .selectAll()
    .where('delivery', 'in', [...deliveries])
    .orderBy('number')
    .execute()
  for (const row of rows) tries.set(row.delivery, [...(tries.get(row.delivery) ?? []), row])
  return tries
}

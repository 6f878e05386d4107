import { z } from 'zod'
import { demand, notFound } from '../access/demand.ts'
import { may } from '../access/may.ts'
import { type Share as KeptShare, SHARE_MS_MAX } from '../access/shares.ts'
import type { Context } from '../context.ts'
import { done, problems, unchanged } from './answers.ts'
import { asked } from './asked.ts'
import { filterOf, filterSchema } from './detections.ts'
import { idSchema, timeMsSchema } from './query.ts'
import { titleSchema, whoseParameter } from './rights.ts'
import type { Api } from './server.ts'

/** Links for people without an account: `/shares`. What they show is in ../access/share-pages.ts. */

const EXPIRES_S_MIN = 60

export const shareSchema = z
  .object({
    id: idSchema,
    name: z.string(),
    user: z.string().meta({ description: 'Who made it. It never shows more than they may see.' }),
    detection: idSchema.nullable().meta({ description: 'What it shows: this one; null: a search.' }),
    createdAtMs: timeMsSchema,
    expiresAtMs: timeMsSchema,
    views: z.number().int().meta({ description: 'How often its page was opened.' }),
    viewedAtMs: timeMsSchema.nullable().meta({ description: 'When it was last opened; null: never.' }),
  })
  .meta({ id: 'Share' })
export type Share = z.infer<typeof shareSchema>

export const sharesSchema = z.object({ items: z.array(shareSchema) }).meta({ id: 'Shares' })
export type Shares = z.infer<typeof sharesSchema>

export const newShareSchema = z
  .strictObject({
    name: titleSchema.meta({ description: 'Its title; the recipient sees it.' }),
    detection: idSchema.optional().meta({ description: 'This one; or "filter".' }),
    filter: filterSchema.optional().meta({
      description: 'What a search finds now; or "detection". The same parameters as of the list.',
    }),
    expiresInS: z
      .number()
      .int()
      .min(EXPIRES_S_MIN)
      .max(SHARE_MS_MAX / 1000),
  })
  .refine(({ detection, filter }) => (detection === undefined) !== (filter === undefined), {
    message: 'must name a detection or a filter, one of them',
    path: ['detection'],
  })
  .meta({ id: 'NewShare' })
export type NewShare = z.input<typeof newShareSchema>

export const shareMadeSchema = z
  .object({
    share: shareSchema,
    address: z.string().meta({ description: 'Of the page, without the host. It is shown only here.' }),
  })
  .meta({ id: 'ShareMade' })
export type ShareMade = z.infer<typeof shareMadeSchema>

const tags = ['access']

export function sharesRoutes(api: Api, { access, database }: Context): void {
  api.get(
    '/shares',
    {
      config: { right: 'share' },
      schema: {
        operationId: 'listShares',
        tags,
        summary: 'Shares, the newest first',
        querystring: z.strictObject({ whose: whoseParameter }),
        response: { 200: sharesSchema, 304: unchanged, ...problems() },
      },
    },
    async (request) => {
      const { person } = access.caller(request)
      const { whose } = request.query
      if (whose === 'all') demand(person, 'people')
      const shares = await access.shares.list(whose === 'all' ? undefined : person.name)
      return { items: shares.map(shareOf) }
    },
  )

  api.post(
    '/shares',
    {
      config: { right: ['see', 'share'] },
      schema: {
        operationId: 'makeShare',
        tags,
        summary: 'Make a link to a detection, or to what a search finds now',
        body: newShareSchema,
        response: { 201: shareMadeSchema, ...problems(404, 413, 415) },
      },
    },
    async (request, reply) => {
      const caller = asked(access, request)
      const { name, detection, filter = {}, expiresInS } = request.body
      if (detection !== undefined && !(await database.detection(detection, caller.rows))) throw notFound()
      const target = detection === undefined ? { filter: filterOf(filter, caller.person) } : { detection }
      await access.record(caller, { what: 'share.create', target: name, detail: { ...target, expiresInS } })
      const { share, secret } = await access.shares.create(caller.person, {
        name,
        target,
        expiresInMs: expiresInS * 1000,
      })
      return reply
        .code(201)
        .header('cache-control', 'no-store')
        .send({ share: shareOf(share), address: `/s/${secret}` })
    },
  )

  api.delete(
    '/shares/:id',
    {
      config: { right: 'any' },
      schema: {
        operationId: 'revokeShare',
        tags,
        summary: 'Revoke a link: it ends at once',
        params: z.strictObject({ id: idSchema }),
        response: { 204: done, ...problems(404) },
      },
    },
    async (request, reply) => {
      const caller = access.caller(request)
      const { id } = request.params
      if (caller.by === 'token') demand(caller.person, 'share')
      const whose = may(caller.person, 'people') ? undefined : caller.person.name
      const share = await access.shares.revoke(id, whose)
      if (!share) throw notFound()
      await access.record(caller, {
        what: 'share.revoke',
        target: id,
        detail: { name: share.name, user: share.user },
      })
      return reply.code(204).send()
    },
  )
}

function shareOf({ target, viewedAtMs, ...share }: KeptShare): Share {
  return {
    ...share,
    detection: 'detection' in target ? target.detection : null,
    viewedAtMs: viewedAtMs ?? null,
  }
}

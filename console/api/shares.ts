import { z } from 'zod'
import { isCameraPath } from '../../wire/users.ts'
import { demand, notFound } from '../access/demand.ts'
import { may } from '../access/may.ts'
import { type Share as KeptShare, SHARE_MS_MAX, type SharedStretch } from '../access/shares.ts'
import type { Context } from '../context.ts'
import { sumWithin } from '../database/clips.ts'
import { done, problems, unchanged } from './answers.ts'
import { type Asked, asked } from './asked.ts'
import { filterOf, filterSchema } from './detections.ts'
import { PLAYLIST_MS_MAX } from './playlist.ts'
import { idSchema, timeMsSchema } from './query.ts'
import { cameraNamed } from './recordings.ts'
import { titleSchema, whoseParameter } from './rights.ts'
import type { Api } from './server.ts'
import { spanOf } from './span.ts'

/** Links for people without an account: `/shares`. What they show is in ../access/share-pages.ts. */

const EXPIRES_S_MIN = 60

export const shareSchema = z
  .object({
    id: idSchema,
    name: z.string(),
    user: z.string().meta({ description: 'Who made it. It never shows more than they may see.' }),
    detection: idSchema
      .nullable()
      .meta({ description: 'What it shows: this one; null: a search or a recording.' }),
    recording: z
      .object({ camera: z.string(), fromMs: timeMsSchema, toMs: timeMsSchema })
      .nullable()
      .meta({ description: 'What it shows: this stretch; null: a detection or a search.' }),
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
    recording: z
      .strictObject({
        camera: z.string().refine(isCameraPath, 'must be a camera, as site/device/camera'),
        fromMs: timeMsSchema,
        toMs: timeMsSchema,
      })
      .optional()
      .meta({
        description: 'A stretch of a recording, at most six hours. It needs the right "recordings".',
      }),
    expiresInS: z
      .number()
      .int()
      .min(EXPIRES_S_MIN)
      .max(SHARE_MS_MAX / 1000),
  })
  .refine((it) => [it.detection, it.filter, it.recording].filter((one) => one !== undefined).length === 1, {
    message: 'must name a detection, a filter or a recording, one of them',
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
        summary: 'Make a link to a detection, to what a search finds now, or to a stretch of a recording',
        body: newShareSchema,
        response: { 201: shareMadeSchema, ...problems(404, 413, 415) },
      },
    },
    async (request, reply) => {
      const caller = asked(access, request)
      const { name, detection, filter = {}, recording, expiresInS } = request.body
      if (detection !== undefined && !(await database.detection(detection, caller.rows))) throw notFound()
      if (recording) await checkStretch(database, recording, caller)
      const target = recording
        ? { recording: { ...recording, toMs: Math.min(recording.toMs, Date.now()) } }
        : detection === undefined
          ? { filter: filterOf(filter, caller.person) }
          : { detection }
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

/** Errors: NOT_ALLOWED, NOT_FOUND, PARAMETER_INVALID */
async function checkStretch(
  database: Context['database'],
  { camera, fromMs, toMs }: SharedStretch,
  { person, rows }: Asked,
): Promise<void> {
  demand(person, 'recordings')
  const span = spanOf(fromMs, toMs, PLAYLIST_MS_MAX)
  const { id } = await cameraNamed(database, camera, rows)
  if ((await sumWithin(database.read, id, span)).clips === 0) throw notFound()
}

function shareOf({ target, viewedAtMs, ...share }: KeptShare): Share {
  return {
    ...share,
    detection: 'detection' in target ? target.detection : null,
    recording: 'recording' in target ? target.recording : null,
    viewedAtMs: viewedAtMs ?? null,
  }
}

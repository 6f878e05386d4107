import { z } from 'zod'
import { failure } from '../../lib/errors.ts'
import { demand } from '../access/demand.ts'
import type { Person } from '../access/may.ts'
import type { Context } from '../context.ts'
import type { Database } from '../database/database.ts'
import { type Channel, channelSchema, SECRET } from '../notices/channel.ts'
import { CHANNELS_MAX } from '../notices/outbox.ts'
import { newWebhookSecret } from '../notices/signature.ts'
import { type ChannelStanding, channelStandings, NO_STANDING } from '../notices/standing.ts'
import type { Kept } from '../scenarios/documents.ts'
import { masked, unmasked } from '../scenarios/secrets.ts'
import { done, problems, unchanged } from './answers.ts'
import { asked } from './asked.ts'
import { nameSchema, timeMsSchema } from './query.ts'
import type { Api } from './server.ts'

/**
 * Ways on which notices go out: `/channels`. They carry notices of all cameras, so they are for who sees all of them. Secrets
 * come in, and do not come out.
 */

const booksSchema = z
  .object({
    made: z.number().int(),
    sent: z.number().int(),
    givenUp: z.number().int(),
    notSent: z.number().int(),
    waiting: z.number().int(),
  })
  .meta({ description: 'Deliveries since ever: made = sent + givenUp + notSent + waiting.' })

export const channelDocumentSchema = z
  .object({
    id: z.string(),
    name: z.string(),
    state: z.string(),
    revision: z.number().int().meta({ description: 'For a change: of which one it is a change.' }),
    changedAtMs: timeMsSchema,
    changedBy: z.string(),
    document: z.record(z.string(), z.unknown()).meta({
      description: `As it was written; each secret is ${SECRET}, which sent back leaves it as it is.`,
    }),
    books: booksSchema,
    hour: z
      .object({
        sent: z.number().int(),
        waiting: z.number().int(),
        givenUp: z.number().int(),
        notSent: z.number().int(),
      })
      .meta({ description: 'What became of the deliveries that were made in the last hour.' }),
    failingSinceMs: timeMsSchema.nullable().meta({
      description: 'Since when nothing gets through; null: it works, as far as is known.',
    }),
    lastError: z.string().nullable().meta({ description: 'Why, in a sentence.' }),
    secret: z.string().optional().meta({
      description: 'What signs, where it was made just now. It is told only here.',
    }),
  })
  .meta({ id: 'ChannelDocument' })

export type ChannelDocument = z.infer<typeof channelDocumentSchema>

const channelsSchema = z.object({ items: z.array(channelDocumentSchema) }).meta({ id: 'Channels' })
const document = channelSchema.meta({ description: 'A way on which notices go out.' })
const newChannelSchema = z.strictObject({ id: nameSchema.optional(), document })
export type NewChannel = z.input<typeof newChannelSchema>
const changedChannelSchema = z.strictObject({ revision: z.number().int().positive(), document })
export type ChangedChannel = z.input<typeof changedChannelSchema>
const unsavedChannelSchema = z.strictObject({
  id: nameSchema.optional().meta({ description: 'Whose secrets it has, where they are masked in it.' }),
  document,
})

const previewSchema = z
  .object({
    method: z.string(),
    url: z.string(),
    headers: z.record(z.string(), z.string()),
    body: z.string(),
  })
  .meta({ id: 'ChannelPreview', description: 'What would be sent; secrets are masked.' })

export type ChannelPreview = z.infer<typeof previewSchema>

const testedSchema = z
  .object({
    items: z.array(
      z.object({
        is: z.enum(['sent', 'failed', 'not sent']),
        status: z.number().int().nullable(),
        code: z.string().nullable(),
        answer: z.string().nullable(),
        why: z.string().nullable(),
      }),
    ),
  })
  .meta({ id: 'ChannelTested', description: 'What came back; of push, from each of your browsers.' })

export type ChannelTested = z.infer<typeof testedSchema>

const tags = ['notices']
const idParamsSchema = z.strictObject({ id: nameSchema })
const right = 'scenarios'

export function channelsRoutes(api: Api, { access, database, documents, notices }: Context): void {
  const bounded = (person: Person) => {
    demand(person, right)
    if (!person.scope.all)
      throw failure('NOT_ALLOWED', 'Channels carry notices of all cameras: this is for who sees all of them.')
  }
  const kept = async (id: string): Promise<Kept<Channel>> => {
    const channel = await documents.get('channel', id)
    if (!channel) throw failure('NOT_FOUND', `There is no channel "${id}".`)
    return channel
  }
  /** With its secrets. Errors: NOT_FOUND, PARAMETER_INVALID */
  const whole = async (id: string | undefined, sent: Channel): Promise<Channel> => {
    const before = id === undefined ? undefined : (await kept(id)).document
    const { document: channel, missing } = unmasked('channel', sent, before)
    if (missing.length > 0)
      throw failure('PARAMETER_INVALID', `There is no secret yet at ${missing.join(', ')}. Give it in full.`)
    return channel
  }

  api.get(
    '/channels',
    {
      config: { right },
      schema: {
        operationId: 'listChannels',
        tags,
        summary: 'Ways on which notices go out, by their names',
        response: { 200: channelsSchema, 304: unchanged, ...problems() },
      },
    },
    async (request) => {
      bounded(asked(access, request).person)
      const now = await nowOf(database)
      return { items: (await documents.list('channel')).map((it) => channelOf(it, now)) }
    },
  )

  api.post(
    '/channels',
    {
      config: { right },
      schema: {
        operationId: 'makeChannel',
        tags,
        summary: 'Add a way on which notices go out',
        body: newChannelSchema,
        response: { 201: channelDocumentSchema, ...problems(409, 413, 415) },
      },
    },
    async (request, reply) => {
      const caller = asked(access, request)
      bounded(caller.person)
      const all = await documents.list('channel')
      if (all.length >= CHANNELS_MAX)
        throw failure('TOO_MANY', `There are ${all.length} channels, the maximum. Delete one first.`)
      const { id } = request.body
      const { channel, secret } = signed(await whole(undefined, request.body.document))
      checkComplete(channel)
      await access.record(caller, { what: 'channel.create', target: id ?? channel.name })
      const made = await documents.create('channel', {
        document: channel,
        by: caller.person.name,
        ...(id !== undefined && { id }),
      })
      return reply
        .code(201)
        .header('cache-control', 'no-store')
        .send({ ...channelOf(made, await nowOf(database)), ...(secret !== undefined && { secret }) })
    },
  )

  api.get(
    '/channels/:id',
    {
      config: { right },
      schema: {
        operationId: 'getChannel',
        tags,
        summary: 'A channel, without its secrets',
        params: idParamsSchema,
        response: { 200: channelDocumentSchema, 304: unchanged, ...problems(404) },
      },
    },
    async (request) => {
      bounded(asked(access, request).person)
      return channelOf(await kept(request.params.id), await nowOf(database))
    },
  )

  api.put(
    '/channels/:id',
    {
      config: { right },
      schema: {
        operationId: 'changeChannel',
        tags,
        summary: 'Change a channel; what waits goes out as it is then',
        params: idParamsSchema,
        body: changedChannelSchema,
        response: { 200: channelDocumentSchema, ...problems(404, 409, 413, 415) },
      },
    },
    async (request, reply) => {
      const caller = asked(access, request)
      bounded(caller.person)
      const { id } = request.params
      const { revision, document: sent } = request.body
      const { channel, secret } = signed(sent)
      checkComplete(channel)
      await access.record(caller, { what: 'channel.change', target: id, detail: { revision } })
      const changed = await documents.change('channel', id, {
        revision,
        document: channel,
        by: caller.person.name,
      })
      notices.wake()
      return reply
        .header('cache-control', 'no-store')
        .send({ ...channelOf(changed, await nowOf(database)), ...(secret !== undefined && { secret }) })
    },
  )

  api.delete(
    '/channels/:id',
    {
      config: { right },
      schema: {
        operationId: 'deleteChannel',
        tags,
        summary: 'Delete a channel: what waits for it is not sent',
        params: idParamsSchema,
        response: { 204: done, ...problems(404) },
      },
    },
    async (request, reply) => {
      const caller = asked(access, request)
      bounded(caller.person)
      const { id } = request.params
      await access.record(caller, { what: 'channel.delete', target: id })
      await documents.remove('channel', id, { by: caller.person.name })
      notices.wake()
      return reply.code(204).send()
    },
  )

  api.post(
    '/channels/:id/test',
    {
      config: { right },
      schema: {
        operationId: 'testChannel',
        tags,
        summary: 'Send a test notice now, and hear what came back',
        params: idParamsSchema,
        response: { 200: testedSchema, ...problems(404) },
      },
    },
    async (request) => {
      const caller = asked(access, request)
      bounded(caller.person)
      const { id } = request.params
      const { document: channel } = await kept(id)
      await access.record(caller, { what: 'channel.test', target: id })
      const outcomes = await notices.test(channel, caller.person.name, request.signal)
      return {
        items: outcomes.map((it) => ({
          is: it.is,
          status: ('status' in it ? it.status : undefined) ?? null,
          code: ('code' in it ? it.code : undefined) ?? null,
          answer: ('answer' in it ? it.answer : undefined) ?? null,
          why: ('why' in it ? it.why : undefined) ?? null,
        })),
      }
    },
  )

  api.post(
    '/channels/preview',
    {
      config: { right },
      schema: {
        operationId: 'previewChannel',
        tags,
        summary: 'What a channel, saved or not, would send',
        body: unsavedChannelSchema,
        response: { 200: previewSchema, ...problems(404, 413, 415) },
      },
    },
    async (request) => {
      bounded(asked(access, request).person)
      const { id, document: sent } = request.body
      const channel = await whole(id, sent)
      return maskedPreview(channel, await notices.preview(channel))
    },
  )
}

/** A webhook of ours is always signed. */
function signed(channel: Channel): { readonly channel: Channel; readonly secret?: string } {
  if (channel.type !== 'webhook' || channel.template !== 'sightline' || channel.secret !== undefined)
    return { channel }
  const secret = newWebhookSecret()
  return { channel: { ...channel, secret }, secret }
}

/** Errors: PARAMETER_INVALID */
function checkComplete(channel: Channel): void {
  if (channel.type !== 'webhook') return
  const missing = {
    sightline: undefined,
    slack: undefined,
    discord: undefined,
    ntfy: channel.topic === undefined ? 'topic' : undefined,
    gotify: channel.token === undefined ? 'token' : undefined,
    telegram: channel.token === undefined ? 'token' : channel.chat === undefined ? 'chat' : undefined,
  }[channel.template]
  if (missing !== undefined)
    throw failure('PARAMETER_INVALID', `"document.${missing}" is needed for ${channel.template}.`)
}

type Preview = z.infer<typeof previewSchema>

function maskedPreview(channel: Channel, preview: Preview): Preview {
  if (channel.type !== 'webhook') return preview
  const base = channel.url.replace(/\/+$/, '')
  const hidden = masked('channel', channel)
  const shownBase = hidden.type === 'webhook' ? hidden.url.replace(/\/+$/, '') : SECRET
  const rest = preview.url.startsWith(base) ? preview.url.slice(base.length) : ''
  const { token } = channel
  const without = (text: string) =>
    token === undefined ? text : text.replaceAll(token, SECRET).replaceAll(encodeURIComponent(token), SECRET)
  return {
    method: preview.method,
    url: `${shownBase}${without(rest)}`,
    headers: Object.fromEntries(
      Object.entries(preview.headers).map(([name, value]) => [name, without(value)]),
    ),
    body: without(preview.body),
  }
}

type Books = z.infer<typeof booksSchema>

async function booksOf({ write }: Database): Promise<ReadonlyMap<string, Books>> {
  const rows = await write.selectFrom('notice_books').selectAll().execute()
  return new Map(
    rows.map(({ channel, made, sent, given_up: givenUp, not_sent: notSent }) => [
      channel,
      { made, sent, givenUp, notSent, waiting: made - sent - givenUp - notSent },
    ]),
  )
}

const NO_BOOKS: Books = { made: 0, sent: 0, givenUp: 0, notSent: 0, waiting: 0 }

interface Now {
  readonly books: ReadonlyMap<string, Books>
  readonly standings: ReadonlyMap<string, ChannelStanding>
}

const nowOf = async (database: Database): Promise<Now> => ({
  books: await booksOf(database),
  standings: await channelStandings(database),
})

const channelOf = (it: Kept<Channel>, { books, standings }: Now) => ({
  id: it.id,
  name: it.name,
  state: it.state,
  revision: it.revision,
  changedAtMs: it.changedAtMs,
  changedBy: it.changedBy,
  document: masked('channel', it.document) as Record<string, unknown>,
  books: books.get(it.id) ?? NO_BOOKS,
  ...(standings.get(it.id) ?? NO_STANDING),
})

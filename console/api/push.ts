import { z } from 'zod'
import { notFound } from '../access/demand.ts'
import type { Context } from '../context.ts'
import { type Browser, subscriptionSchema } from '../notices/push.ts'
import { done, problems, unchanged } from './answers.ts'
import { asked } from './asked.ts'
import { idSchema, timeMsSchema } from './query.ts'
import type { Api } from './server.ts'

/** Browsers that have asked for notices: `/push`. One's own. */

const browserSchema = z
  .object({
    id: idSchema,
    name: z.string(),
    createdAtMs: timeMsSchema,
    lastSentMs: timeMsSchema.nullable().meta({ description: 'When a notice last went to it; null: never.' }),
  })
  .meta({ id: 'PushBrowser' })
const browsersSchema = z.object({ items: z.array(browserSchema) }).meta({ id: 'PushBrowsers' })
const keySchema = z
  .object({ key: z.string().meta({ description: 'base64url: "applicationServerKey" of a subscription.' }) })
  .meta({ id: 'PushKey' })
const newBrowserSchema = subscriptionSchema.extend({
  name: z.string().min(1).max(100).optional().meta({ description: 'For people: which browser.' }),
})

const tags = ['notices']
const right = 'notices'
const BROWSER_NAMES = [
  ['Edge', /\bEdg/],
  ['Firefox', /\bFirefox\//],
  ['Chrome', /\bChrome\//],
  ['Safari', /\bSafari\//],
] as const

export function pushRoutes(api: Api, { access, notices }: Context): void {
  api.get(
    '/push/key',
    {
      config: { right },
      schema: {
        operationId: 'getPushKey',
        tags,
        summary: 'What a browser subscribes with',
        response: { 200: keySchema, 304: unchanged, ...problems() },
      },
    },
    async () => ({ key: notices.push.publicKey }),
  )

  api.get(
    '/push',
    {
      config: { right },
      schema: {
        operationId: 'listPushBrowsers',
        tags,
        summary: 'Your browsers that have asked for notices',
        response: { 200: browsersSchema, 304: unchanged, ...problems() },
      },
    },
    async (request) => {
      const { person } = asked(access, request)
      return { items: (await notices.push.list(person.name)).map(browserOf) }
    },
  )

  api.post(
    '/push',
    {
      config: { right },
      schema: {
        operationId: 'addPushBrowser',
        tags,
        summary: 'Send notices to this browser too; the same again changes nothing',
        body: newBrowserSchema,
        response: { 201: browserSchema, ...problems(413, 415) },
      },
    },
    async (request, reply) => {
      const caller = asked(access, request)
      const { name, ...subscription } = request.body
      const agent = request.headers['user-agent'] ?? ''
      const called = name ?? BROWSER_NAMES.find(([, pattern]) => pattern.test(agent))?.[0] ?? 'A browser'
      const browser = await notices.push.add(caller.person.name, subscription, called)
      await access.record(caller, { what: 'push.add', target: browser.id, detail: { name: called } })
      return reply.code(201).send(browserOf(browser))
    },
  )

  api.delete(
    '/push',
    {
      config: { right },
      schema: {
        operationId: 'removePushEndpoint',
        tags,
        summary: 'Send no more notices to the browser with this endpoint',
        querystring: z.strictObject({ endpoint: z.string().min(1).max(2000) }),
        response: { 204: done, ...problems(404) },
      },
    },
    async (request, reply) => {
      const caller = asked(access, request)
      const { endpoint } = request.query
      if (!(await notices.push.remove(caller.person.name, { endpoint }))) throw notFound()
      // Not the endpoint: whoever has it could send there.
      await access.record(caller, { what: 'push.remove', target: new URL(endpoint).host })
      return reply.code(204).send()
    },
  )

  api.delete(
    '/push/:id',
    {
      config: { right },
      schema: {
        operationId: 'removePushBrowser',
        tags,
        summary: 'Send no more notices to one of your browsers',
        params: z.strictObject({ id: idSchema }),
        response: { 204: done, ...problems(404) },
      },
    },
    async (request, reply) => {
      const caller = asked(access, request)
      const { id } = request.params
      if (!(await notices.push.remove(caller.person.name, { id }))) throw notFound()
      await access.record(caller, { what: 'push.remove', target: id })
      return reply.code(204).send()
    },
  )
}

const browserOf = ({ id, name, createdAtMs, lastSentMs }: Browser) => ({
  id,
  name,
  createdAtMs,
  lastSentMs: lastSentMs ?? null,
})

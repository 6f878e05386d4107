import { z } from 'zod'
import { demand, demandPresence, notFound } from '../access/demand.ts'
import { may, RIGHTS } from '../access/may.ts'
import type { Token as KeptToken } from '../access/tokens.ts'
import type { Context } from '../context.ts'
import { done, problems, unchanged } from './answers.ts'
import { idSchema, timeMsSchema } from './query.ts'
import {
  camerasSchema,
  rightSchema,
  scopeAnswerShape,
  sitesSchema,
  titleSchema,
  whoseParameter,
} from './rights.ts'
import type { Api } from './server.ts'

/** What programs show instead of a password: `/tokens`. */

const EXPIRES_S_MIN = 60
const EXPIRES_S_MAX = 10 * 366 * 86_400

export const tokenSchema = z
  .object({
    id: idSchema,
    user: z.string().meta({ description: 'Whose it is. It never has more rights than that user.' }),
    name: z.string(),
    rights: z.array(rightSchema),
    ...scopeAnswerShape,
    createdAtMs: timeMsSchema,
    expiresAtMs: timeMsSchema,
    usedAtMs: timeMsSchema
      .nullable()
      .meta({ description: 'When it was last used, to the minute; null: never.' }),
  })
  .meta({ id: 'Token' })
export type Token = z.infer<typeof tokenSchema>

export const tokensSchema = z.object({ items: z.array(tokenSchema) }).meta({ id: 'Tokens' })
export type Tokens = z.infer<typeof tokensSchema>

export const newTokenSchema = z
  .strictObject({
    name: titleSchema,
    rights: z
      .array(rightSchema)
      .min(1)
      .max(RIGHTS.length)
      .meta({ description: 'Those of your rights that it has.' }),
    sites: sitesSchema.optional().meta({ description: 'Only what these have; left out: all that you see.' }),
    cameras: camerasSchema
      .optional()
      .meta({ description: 'Only what these have; left out: all that you see.' }),
    expiresInS: z.number().int().min(EXPIRES_S_MIN).max(EXPIRES_S_MAX),
  })
  .meta({ id: 'NewToken' })
export type NewToken = z.infer<typeof newTokenSchema>

export const tokenMadeSchema = z
  .object({
    token: tokenSchema,
    secret: z.string().meta({ description: 'What the program sends. It is shown only here.' }),
  })
  .meta({ id: 'TokenMade' })
export type TokenMade = z.infer<typeof tokenMadeSchema>

const tags = ['access']

export function tokensRoutes(api: Api, { access }: Context): void {
  api.get(
    '/tokens',
    {
      config: { right: 'any' },
      schema: {
        operationId: 'listTokens',
        tags,
        summary: 'Tokens, the newest first',
        querystring: z.strictObject({ whose: whoseParameter }),
        response: { 200: tokensSchema, 304: unchanged, ...problems() },
      },
    },
    async (request) => {
      const { person } = access.caller(request)
      const { whose } = request.query
      if (whose === 'all') demand(person, 'people')
      const tokens = await access.tokens.list(whose === 'all' ? undefined : person.name)
      return { items: tokens.map(tokenOf) }
    },
  )

  api.post(
    '/tokens',
    {
      config: { right: 'any' },
      schema: {
        operationId: 'makeToken',
        tags,
        summary: 'Make a token, for a program',
        body: newTokenSchema,
        response: { 201: tokenMadeSchema, ...problems(413, 415) },
      },
    },
    async (request, reply) => {
      const caller = access.caller(request)
      demandPresence(caller)
      const { expiresInS, ...wanted } = request.body
      await access.record(caller, { what: 'token.create', target: wanted.name, detail: request.body })
      const { token, secret } = await access.tokens.create(caller.person, {
        ...wanted,
        expiresInMs: expiresInS * 1000,
      })
      return reply
        .code(201)
        .header('cache-control', 'no-store')
        .send({ token: tokenOf(token), secret })
    },
  )

  api.delete(
    '/tokens/:id',
    {
      config: { right: 'any' },
      schema: {
        operationId: 'revokeToken',
        tags,
        summary: 'Revoke a token: it ends at once',
        params: z.strictObject({ id: idSchema }),
        response: { 204: done, ...problems(404) },
      },
    },
    async (request, reply) => {
      const caller = access.caller(request)
      const { id } = request.params
      // A token ends itself, and no other.
      if (caller.id !== id) demandPresence(caller)
      const whose = may(caller.person, 'people') ? undefined : caller.person.name
      const token = await access.tokens.revoke(id, whose)
      if (!token) throw notFound()
      await access.ended()
      await access.record(caller, {
        what: 'token.revoke',
        target: id,
        detail: { name: token.name, user: token.user },
      })
      return reply.code(204).send()
    },
  )
}

function tokenOf({ sites, cameras, rights, usedAtMs, ...token }: KeptToken): Token {
  const isNarrow = sites !== undefined || cameras !== undefined
  return {
    ...token,
    rights: [...rights],
    sites: isNarrow ? [...(sites ?? [])] : null,
    cameras: isNarrow ? [...(cameras ?? [])] : null,
    usedAtMs: usedAtMs ?? null,
  }
}

import { z } from 'zod'
import type { Context } from '../context.ts'
import { done, problems } from './answers.ts'
import { meOf, meSchema } from './me.ts'
import type { Api } from './server.ts'
import { passwordSchema } from './users.ts'

/** Signing in and out, as pages do: `/session`. Programs have tokens. */

const NAME_CHARACTERS_MAX = 200

export const signInSchema = z
  .strictObject({ name: z.string().min(1).max(NAME_CHARACTERS_MAX), password: passwordSchema })
  .meta({ id: 'SignIn' })
export type SignIn = z.infer<typeof signInSchema>

const tags = ['access']

export function sessionRoutes(api: Api, { access }: Context): void {
  api.post(
    '/session',
    {
      config: { isOpen: true },
      schema: {
        operationId: 'signIn',
        tags,
        summary: 'Sign in; the answer sets a cookie',
        security: [],
        body: signInSchema,
        response: { 200: meSchema, ...problems(413, 415) },
      },
    },
    async (request, reply) => {
      const { name, password } = request.body
      const known = await access.signIn(name, password, request.ip)
      await access.startSession(request, reply, known)
      reply.header('cache-control', 'no-store')
      const changesPassword = await access.people.canChange()
      return { ...meOf({ person: known.person, by: 'session' }), changesPassword }
    },
  )

  api.delete(
    '/session',
    {
      config: { right: 'any' },
      schema: {
        operationId: 'signOut',
        tags,
        summary: 'Sign out: the session ends',
        response: { 204: done, ...problems() },
      },
    },
    async (request, reply) => {
      await access.endSession(reply, access.caller(request))
      return reply.code(204).send()
    },
  )
}

import { z } from 'zod'
import type { Caller } from '../access/access.ts'
import { demandPresence } from '../access/demand.ts'
import { may, RIGHTS } from '../access/may.ts'
import type { Context } from '../context.ts'
import { done, problems, unchanged } from './answers.ts'
import { rightSchema, scopeAnswerShape } from './rights.ts'
import type { Api } from './server.ts'
import { newPasswordSchema, passwordSchema, roleSchema, userNameSchema } from './users.ts'

/** Who asks, and what he may: `/me`. */

export const meSchema = z
  .object({
    name: userNameSchema,
    role: roleSchema,
    rights: z.array(rightSchema).meta({ description: 'What role, user and token allow together.' }),
    ...scopeAnswerShape,
    by: z.enum(['session', 'token', 'run']).meta({ description: 'How you signed in.' }),
    changesPassword: z
      .boolean()
      .meta({ description: 'Whether you have a password that you can change here.' }),
  })
  .meta({ id: 'Me', description: 'You, and your rights.' })
export type Me = z.infer<typeof meSchema>

export const ownPasswordSchema = z
  .strictObject({ current: passwordSchema, password: newPasswordSchema })
  .meta({ id: 'OwnPassword' })

const tags = ['access']

export function meRoutes(api: Api, { access }: Context): void {
  api.get(
    '/me',
    {
      config: { right: 'any' },
      schema: {
        operationId: 'getMe',
        tags,
        summary: 'You, and your rights',
        response: { 200: meSchema, 304: unchanged, ...problems() },
      },
    },
    async (request) => {
      const caller = access.caller(request)
      const changesPassword =
        caller.by === 'session' &&
        access.people.secretOf(caller.person.name) !== undefined &&
        (await access.people.canChange())
      return { ...meOf(caller), changesPassword }
    },
  )

  api.put(
    '/me/password',
    {
      config: { right: 'any' },
      schema: {
        operationId: 'changeOwnPassword',
        tags,
        summary: 'Change your password; all your other sessions end',
        body: ownPasswordSchema,
        response: { 204: done, ...problems(404, 409, 413, 415) },
      },
    },
    async (request, reply) => {
      const caller = access.caller(request)
      demandPresence(caller)
      const { name } = caller.person
      const { current, password } = request.body
      await access.signIn(name, current, request.ip)
      await access.record(caller, { what: 'user.password', target: name })
      await access.people.setPassword(name, password)
      // The one that asked ended too: it was of the password before.
      const known = await access.people.find(name)
      if (known) await access.startSession(request, reply, known)
      await access.ended()
      return reply.code(204).send()
    },
  )
}

export function meOf({ person, by }: Pick<Caller, 'person' | 'by'>): Omit<Me, 'changesPassword'> {
  const { name, role, scope } = person
  return {
    name,
    role,
    rights: RIGHTS.filter((right) => may(person, right)),
    sites: scope.all ? null : [...scope.sites],
    cameras: scope.all ? null : [...scope.cameras],
    by,
  }
}

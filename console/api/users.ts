import { randomBytes } from 'node:crypto'
import { z } from 'zod'
import { PASSWORD_BYTES_MAX } from '../../lib/access/passwords.ts'
import type { FileUser } from '../../lib/access/users.ts'
import { EXTRA_RIGHTS, EXTRA_RIGHTS_OF, PERSON_ROLES, type PersonRole, userShape } from '../../wire/users.ts'
import { demandPresence, notFound } from '../access/demand.ts'
import { type OpenIdPerson, PASSWORD_CHARACTERS_MIN } from '../access/people.ts'
import type { Context } from '../context.ts'
import { done, problems, unchanged } from './answers.ts'
import { timeMsSchema } from './query.ts'
import { camerasSchema, scopeAnswerShape, sitesSchema } from './rights.ts'
import type { Api } from './server.ts'

/** People and what they may: `/users`. They are written to the users file, as `sightline users` writes them. */

const PASSWORD_BYTES = 16

export const roleSchema = z.enum(PERSON_ROLES).meta({ id: 'Role' })
export const userNameSchema = userShape.name
export const passwordSchema = z.string().min(1).max(PASSWORD_BYTES_MAX)
export const newPasswordSchema = z
  .string()
  .refine(
    (text) => [...text].length >= PASSWORD_CHARACTERS_MIN,
    `must have at least ${PASSWORD_CHARACTERS_MIN} characters`,
  )
  .refine(
    (text) => Buffer.byteLength(text) <= PASSWORD_BYTES_MAX,
    `must have at most ${PASSWORD_BYTES_MAX} bytes`,
  )
const extraRightSchema = z.enum(EXTRA_RIGHTS)

export const userSchema = z
  .object({
    name: userNameSchema,
    role: roleSchema,
    ...scopeAnswerShape,
    rights: z
      .array(extraRightSchema)
      .meta({ description: 'Of live, recordings and export, which are given on their own.' }),
    signsInBy: z
      .enum(['password', 'openid', 'certificate'])
      .meta({ description: 'certificate: the user has no password, and cannot sign in here.' }),
    signedInAtMs: timeMsSchema
      .nullable()
      .meta({ description: 'Users of an OpenID provider: the latest sign-in.' }),
  })
  .meta({ id: 'User' })
export type User = z.infer<typeof userSchema>

export const usersSchema = z
  .object({
    items: z.array(userSchema),
    canChange: z.boolean().meta({ description: 'Whether there is a users file, and it can be written.' }),
  })
  .meta({ id: 'Users' })
export type Users = z.infer<typeof usersSchema>

const rightsShape = {
  sites: sitesSchema.nullable().optional().meta({ description: 'null: no limit.' }),
  cameras: camerasSchema.nullable().optional().meta({ description: 'null: no limit.' }),
  rights: z
    .array(extraRightSchema)
    .nullable()
    .optional()
    .meta({ description: 'null: those that the role has.' }),
}

export const newUserSchema = z
  .strictObject({
    name: userNameSchema,
    role: roleSchema,
    ...rightsShape,
    password: newPasswordSchema
      .optional()
      .meta({ description: 'If left out, one is generated and shown once.' }),
  })
  .meta({ id: 'NewUser' })
export type NewUser = z.input<typeof newUserSchema>

export const userMadeSchema = z
  .object({
    user: userSchema,
    password: z.string().nullable().meta({ description: 'The generated one; it is shown only here.' }),
  })
  .meta({ id: 'UserMade' })
export type UserMade = z.infer<typeof userMadeSchema>

export const userChangeSchema = z
  .strictObject({ role: roleSchema.optional(), ...rightsShape })
  .meta({ id: 'UserChange', description: 'What is left out stays.' })
export type UserChange = z.input<typeof userChangeSchema>

export const passwordChangeSchema = z
  .strictObject({ password: newPasswordSchema.optional() })
  .meta({ id: 'PasswordChange', description: 'Without a password one is generated.' })

export const passwordMadeSchema = z
  .object({
    password: z.string().nullable().meta({ description: 'The generated one; it is shown only here.' }),
  })
  .meta({ id: 'PasswordMade' })

const paramsSchema = z.strictObject({ name: userNameSchema })
const tags = ['access']

export function usersRoutes(api: Api, { access }: Context): void {
  const { people } = access
  const userNamed = (name: string): User => {
    const user = people.users.find((it) => it.name === name)
    if (!user) throw notFound()
    return fileUserOf(user)
  }

  api.get(
    '/users',
    {
      config: { right: 'people' },
      schema: {
        operationId: 'listUsers',
        tags,
        summary: 'Users and their rights',
        response: { 200: usersSchema, 304: unchanged, ...problems() },
      },
    },
    async () => ({
      items: [...people.users.map(fileUserOf), ...(await people.openIdUsers()).map(openIdUserOf)],
      canChange: await people.canChange(),
    }),
  )

  api.post(
    '/users',
    {
      config: { right: 'people' },
      schema: {
        operationId: 'addUser',
        tags,
        summary: 'Add a user',
        body: newUserSchema,
        response: { 201: userMadeSchema, ...problems(409, 413, 415) },
      },
    },
    async (request, reply) => {
      const caller = access.caller(request)
      demandPresence(caller)
      const { name, password = randomBytes(PASSWORD_BYTES).toString('hex'), ...rights } = request.body
      await access.record(caller, { what: 'user.add', target: name, detail: rights })
      await people.add(name, rights, password)
      const made = request.body.password === undefined ? password : null
      return reply
        .code(201)
        .header('cache-control', 'no-store')
        .send({ user: userNamed(name), password: made })
    },
  )

  api.patch(
    '/users/:name',
    {
      config: { right: 'people' },
      schema: {
        operationId: 'changeUser',
        tags,
        summary: 'Change what a user may: it takes effect at once',
        params: paramsSchema,
        body: userChangeSchema,
        response: { 200: userSchema, ...problems(404, 409, 413, 415) },
      },
    },
    async (request) => {
      const caller = access.caller(request)
      demandPresence(caller)
      const { name } = request.params
      await access.record(caller, { what: 'user.change', target: name, detail: request.body })
      await people.change(name, request.body)
      await access.ended()
      return userNamed(name)
    },
  )

  api.put(
    '/users/:name/password',
    {
      config: { right: 'people' },
      schema: {
        operationId: 'setPassword',
        tags,
        summary: "Set a user's password; the user's sessions end",
        params: paramsSchema,
        body: passwordChangeSchema,
        response: { 200: passwordMadeSchema, ...problems(404, 409, 413, 415) },
      },
    },
    async (request, reply) => {
      const caller = access.caller(request)
      demandPresence(caller)
      const { name } = request.params
      const { password = randomBytes(PASSWORD_BYTES).toString('hex') } = request.body
      await access.record(caller, { what: 'user.password', target: name })
      await people.setPassword(name, password)
      await access.ended()
      reply.header('cache-control', 'no-store')
      return { password: request.body.password === undefined ? password : null }
    },
  )

  api.delete(
    '/users/:name',
    {
      config: { right: 'people' },
      schema: {
        operationId: 'removeUser',
        tags,
        summary: "Remove a user: the user's sessions, tokens and shares end",
        params: paramsSchema,
        response: { 204: done, ...problems(404, 409) },
      },
    },
    async (request, reply) => {
      const caller = access.caller(request)
      demandPresence(caller)
      const { name } = request.params
      await access.record(caller, { what: 'user.remove', target: name })
      await people.remove(name)
      await access.forget(name)
      return reply.code(204).send()
    },
  )
}

function fileUserOf({ name, role, sites, cameras, rights, password }: FileUser): User {
  const person = role as PersonRole
  const isConfined = sites !== undefined || cameras !== undefined
  return {
    name,
    role: person,
    sites: isConfined ? [...(sites ?? [])] : null,
    cameras: isConfined ? [...(cameras ?? [])] : null,
    rights: [...(rights ?? EXTRA_RIGHTS_OF[person])],
    signsInBy: password === undefined ? 'certificate' : 'password',
    signedInAtMs: null,
  }
}

function openIdUserOf({ name, role, sites, signedInAtMs }: OpenIdPerson & { signedInAtMs: number }): User {
  return {
    name,
    role,
    sites: sites === undefined ? null : [...sites],
    cameras: sites === undefined ? null : [],
    rights: [...EXTRA_RIGHTS_OF[role]],
    signsInBy: 'openid',
    signedInAtMs,
  }
}

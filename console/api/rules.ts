import { z } from 'zod'
import { failure } from '../../lib/errors.ts'
import { isCameraPath } from '../../wire/users.ts'
import { demand, notFound } from '../access/demand.ts'
import { isInScope, type Person } from '../access/may.ts'
import type { Context } from '../context.ts'
import type { DecisionsTable } from '../database/tables.ts'
import { CONDITIONS_OF, isLasting, STATES_OF } from '../rules/conditions.ts'
import { checkExpression } from '../rules/expression.ts'
import type { Suspension as KeptSuspension } from '../rules/held-back.ts'
import { PLACEHOLDERS } from '../rules/placeholders.ts'
import { EXPRESSION_CHARACTERS_MAX, FACTS } from '../rules/rule.ts'
import { addressOf } from '../rules/rules.ts'
import { SUSPENSION_MS_MAX } from '../rules/suspensions.ts'
import { VARIABLES } from '../rules/variables.ts'
import { done, problems, unchanged } from './answers.ts'
import { asked } from './asked.ts'
import { cameraAddressSchema, idSchema, nameSchema, pageOf, pageShape, timeMsSchema } from './query.ts'
import type { Api } from './server.ts'

/** What rules may look at, what they decided, and which of them are silent for a while. */

const factSchema = z.enum(FACTS)
const cameraPathSchema = z.string().refine(isCameraPath, 'must be a camera, as site/device/camera')

export const ruleVariablesSchema = z
  .object({
    items: z.array(
      z.object({
        on: factSchema,
        lasting: z.boolean().meta({ description: 'It lasts for a while: it can be held, and ends.' }),
        conditions: z.array(z.string()).meta({ description: 'The conditions that a rule on it knows.' }),
        states: z.array(z.string()).meta({ description: 'For the condition "states"; else empty.' }),
        variables: z.array(
          z.object({
            name: z.string(),
            type: z.string().meta({ description: 'Of CEL.' }),
            text: z.string().meta({ description: 'What it is, in a sentence.' }),
          }),
        ),
      }),
    ),
    placeholders: z
      .array(z.string())
      .meta({ description: 'What a title and a text may have in braces, such as {camera}.' }),
  })
  .meta({ id: 'RuleVariables' })
export type RuleVariables = z.infer<typeof ruleVariablesSchema>

export const expressionSchema = z
  .strictObject({
    on: factSchema,
    expression: z.string().min(1).max(EXPRESSION_CHARACTERS_MAX),
  })
  .meta({ id: 'RuleExpression' })
export type RuleExpression = z.infer<typeof expressionSchema>

export const expressionCheckSchema = z
  .object({
    ok: z.boolean(),
    problem: z
      .object({
        code: z.enum(['syntax', 'too large', 'too costly', 'not allowed', 'unknown variable', 'wrong type']),
        message: z.string(),
        start: z.number().int().meta({ description: 'Where it is wrong: from this character,' }),
        end: z.number().int().meta({ description: 'and before this one.' }),
      })
      .nullable(),
  })
  .meta({ id: 'RuleExpressionCheck' })
export type ExpressionCheck = z.infer<typeof expressionCheckSchema>

export const decisionSchema = z
  .object({
    id: idSchema,
    atMs: timeMsSchema,
    scenario: z.string(),
    rule: z.string(),
    camera: cameraAddressSchema.nullable(),
    track: idSchema.nullable(),
    what: z.string().meta({
      description:
        'sent, updated, cooldown, quiet hours, suspended, outside schedule, holding, no channel, rule error, too many, too late.',
    }),
    untilMs: timeMsSchema.nullable(),
    text: z.string(),
    times: z.number().int().meta({ description: 'How often it was within its minute.' }),
  })
  .meta({ id: 'RuleDecision' })
export type RuleDecision = z.infer<typeof decisionSchema>
export const decisionsPageSchema = z.object(pageOf(decisionSchema)).meta({ id: 'RuleDecisionsPage' })
export type DecisionsPage = z.infer<typeof decisionsPageSchema>

export const decisionsQuerySchema = z.strictObject({
  scenario: nameSchema.optional().meta({ description: 'Of this scenario.' }),
  rule: nameSchema.optional().meta({ description: 'Of this rule.' }),
  camera: cameraPathSchema.optional().meta({ description: 'Of this camera, as site/device/camera.' }),
  cursor: idSchema.optional().meta({ description: 'Where to continue: "next" of the page before.' }),
  limit: pageShape.limit,
})
export type DecisionsQuery = z.input<typeof decisionsQuerySchema>

export const suspensionSchema = z
  .object({
    scenario: z.string(),
    rule: z.string().nullable().meta({ description: 'null: all of its rules.' }),
    camera: cameraAddressSchema.nullable().meta({ description: 'null: all of its cameras.' }),
    untilMs: timeMsSchema,
    by: z.string(),
  })
  .meta({ id: 'Suspension' })
export type Suspension = z.infer<typeof suspensionSchema>
export const suspensionsSchema = z.object({ items: z.array(suspensionSchema) }).meta({ id: 'Suspensions' })
export type Suspensions = z.infer<typeof suspensionsSchema>

export const newSuspensionSchema = z
  .strictObject({
    scenario: nameSchema,
    rule: nameSchema.optional().meta({ description: 'Left out: all of its rules.' }),
    camera: cameraPathSchema.optional().meta({ description: 'As site/device/camera; left out: all.' }),
    forS: z
      .number()
      .int()
      .min(1)
      .max(SUSPENSION_MS_MAX / 1000)
      .meta({ description: 'For how long, seconds.' }),
  })
  .meta({ id: 'NewSuspension' })
export type NewSuspension = z.infer<typeof newSuspensionSchema>

/** In an address: all of them. */
const ALL = '-'
const nameOrAll = z.union([nameSchema, z.literal(ALL)])
const suspensionParamsSchema = z.strictObject({
  scenario: nameSchema,
  rule: nameOrAll,
  site: nameOrAll,
  device: nameOrAll,
  camera: nameOrAll,
})

/** Read at a time, where a scope leaves out most. */
const ROWS_A_STATEMENT = 500
const tags = ['scenarios']

export function rulesRoutes(api: Api, { access, database, rules }: Context): void {
  api.get(
    '/rules/variables',
    {
      config: { right: 'scenarios' },
      schema: {
        operationId: 'listRuleVariables',
        tags,
        summary: 'What rules can look at, by what they are on',
        response: { 200: ruleVariablesSchema, 304: unchanged, ...problems() },
      },
    },
    async () => ({
      items: FACTS.map((on) => ({
        on,
        lasting: isLasting(on),
        conditions: [...CONDITIONS_OF[on]],
        states: on === 'camera' || on === 'device' || on === 'keeper' ? [...STATES_OF[on]] : [],
        variables: VARIABLES[on].map((it) => ({ ...it })),
      })),
      placeholders: [...PLACEHOLDERS],
    }),
  )

  api.post(
    '/rules/check',
    {
      config: { right: 'scenarios' },
      schema: {
        operationId: 'checkRuleExpression',
        tags,
        summary: 'Check an expression (CEL): whether it can be saved, or where it is wrong',
        body: expressionSchema,
        response: { 200: expressionCheckSchema, ...problems(413, 415) },
      },
    },
    async (request) => {
      const { on, expression } = request.body
      const checked = checkExpression(expression, on)
      return { ok: checked.ok, problem: checked.ok ? null : checked.fault }
    },
  )

  api.get(
    '/decisions',
    {
      config: { right: 'notices' },
      schema: {
        operationId: 'listDecisions',
        tags,
        summary: 'Why rules made a notice, or none, the newest first',
        querystring: decisionsQuerySchema,
        response: { 200: decisionsPageSchema, 304: unchanged, ...problems() },
      },
    },
    async (request) => {
      const { person } = asked(access, request)
      const { limit, ...query } = request.query
      const found: DecisionsTable[] = []
      for (let before = query.cursor; found.length <= limit; ) {
        let rows = database.write.selectFrom('decisions').selectAll()
        if (before !== undefined) rows = rows.where('id', '<', before)
        for (const name of ['scenario', 'rule', 'camera'] as const)
          if (query[name] !== undefined) rows = rows.where(name, '=', query[name])
        const some = await rows.orderBy('id', 'desc').limit(ROWS_A_STATEMENT).execute()
        found.push(...some.filter((row) => mayHear(person, row.camera)))
        before = some.at(-1)?.id
        if (some.length < ROWS_A_STATEMENT) break
      }
      const items = found.slice(0, limit).map(decisionOf)
      return { items, next: found.length > limit ? (items.at(-1)?.id ?? null) : null }
    },
  )

  api.get(
    '/suspensions',
    {
      config: { right: 'notices' },
      schema: {
        operationId: 'listSuspensions',
        tags,
        summary: 'Which rules are silent for a while',
        response: { 200: suspensionsSchema, 304: unchanged, ...problems() },
      },
    },
    async (request) => {
      const { person } = asked(access, request)
      const all = await rules.suspensions()
      return {
        // What is silent everywhere is so for everybody's cameras.
        items: all
          .filter(({ camera }) => camera === undefined || mayHear(person, camera))
          .map((it) => suspensionOf(it)),
      }
    },
  )

  api.post(
    '/suspensions',
    {
      config: { right: 'scenarios' },
      schema: {
        operationId: 'suspend',
        tags,
        summary: 'Let a scenario, a rule or a camera of it be silent for a while',
        body: newSuspensionSchema,
        response: { 201: suspensionSchema, ...problems(404, 413, 415) },
      },
    },
    async (request, reply) => {
      const caller = asked(access, request)
      const { forS, ...about } = request.body
      demandAll(caller.person, about.camera)
      const row = await database.write
        .selectFrom('documents')
        .select('document_json')
        .where('kind', '=', 'scenario')
        .where('id', '=', about.scenario)
        .executeTakeFirst()
      const { rules: written = [] } = row
        ? (JSON.parse(row.document_json) as { rules?: readonly { id: string }[] })
        : {}
      if (!row || (about.rule !== undefined && !written.some(({ id }) => id === about.rule))) throw notFound()
      const suspension = { ...about, untilMs: Date.now() + forS * 1000, by: caller.person.name }
      await access.record(caller, { what: 'suspension.create', target: targetOf(about), detail: { forS } })
      await rules.suspend(suspension)
      return reply.code(201).send(suspensionOf(suspension))
    },
  )

  api.delete(
    '/suspensions/:scenario/:rule/:site/:device/:camera',
    {
      config: { right: 'scenarios' },
      schema: {
        operationId: 'endSuspension',
        tags,
        summary: 'End a suspension; "-" in place of a rule, or of site, device and camera: of all',
        params: suspensionParamsSchema,
        response: { 204: done, ...problems(404) },
      },
    },
    async (request, reply) => {
      const caller = asked(access, request)
      const { scenario, rule, site, device, camera } = request.params
      const named = [site, device, camera].filter((part) => part !== ALL)
      if (named.length !== 0 && named.length !== 3)
        throw failure('PARAMETER_INVALID', 'Name a camera by site, device and camera, or "-" for each.')
      const about = {
        scenario,
        ...(rule !== ALL && { rule }),
        ...(named.length === 3 && { camera: named.join('/') }),
      }
      demandAll(caller.person, about.camera)
      if (!(await rules.resume(about))) throw notFound()
      await access.record(caller, { what: 'suspension.end', target: targetOf(about) })
      return reply.code(204).send()
    },
  )
}

/** What concerns no camera, or all, is for who sees all. */
const mayHear = ({ scope }: Person, camera: string | null) =>
  camera === null ? scope.all : isInScope(scope, addressOf(camera))

function demandAll(person: Person, camera: string | undefined): void {
  if (camera !== undefined) demand(person, 'scenarios', addressOf(camera))
  else if (!person.scope.all)
    throw failure('NOT_ALLOWED', 'Name a camera: whoever sees some of them suspends for these alone.')
}

const targetOf = ({ scenario, rule, camera }: Omit<KeptSuspension, 'untilMs'>) =>
  [scenario, rule ?? ALL, camera ?? ALL].join(' ')

const suspensionOf = ({ scenario, rule, camera, untilMs, by }: KeptSuspension & { readonly by: string }) => ({
  scenario,
  rule: rule ?? null,
  camera: camera === undefined ? null : addressOf(camera),
  untilMs,
  by,
})

const decisionOf = (row: DecisionsTable): RuleDecision => ({
  id: row.id,
  atMs: row.at_ms,
  scenario: row.scenario,
  rule: row.rule,
  camera: row.camera === null ? null : addressOf(row.camera),
  track: row.track,
  what: row.what,
  untilMs: row.until_ms,
  text: row.text,
  times: row.times,
})

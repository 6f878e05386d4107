import { z } from 'zod'
import { failure } from '../../lib/errors.ts'
import { demand, notFound } from '../access/demand.ts'
import { isInScope, type Person } from '../access/may.ts'
import type { Context } from '../context.ts'
import { checkScenario, issuesOf, type Problem } from '../scenarios/check.ts'
import {
  demandRecordings,
  demandWithin,
  isWithin,
  recordingProblems,
  worldWithin,
} from '../scenarios/confined.ts'
import { SCENARIO_STATES, type Scenario, scenarioSchema } from '../scenarios/document.ts'
import { DOCUMENT_BYTES_MAX, demandRevision, type Kept } from '../scenarios/documents.ts'
import { PROVIDED } from '../scenarios/provided.ts'
import { demandScene } from '../scenarios/scene.ts'
import { pathOf } from '../scenarios/selection.ts'
import { TRY_HOURS_MAX, tryScenario } from '../scenarios/try.ts'
import { worldOf } from '../scenarios/world.ts'
import { done, problems, unchanged } from './answers.ts'
import { type Asked, asked } from './asked.ts'
import { nameSchema, timeMsSchema, wholeParameter } from './query.ts'
import type { Api } from './server.ts'

/** Scenarios: `/scenarios`. Whoever does not see everything has those whose cameras are all his. */

const REVISION_MAX = 2 ** 31 - 1
export const revisionSchema = z
  .number()
  .int()
  .min(0)
  .max(REVISION_MAX)
  .meta({ description: 'Which one it is; it grows with each change.' })

export const problemsSchema = z
  .array(
    z.object({
      path: z.array(z.union([z.string(), z.number()])).meta({ description: 'In the document.' }),
      message: z.string(),
      kind: z.enum(['error', 'conflict', 'warning']).meta({
        description: 'error: it cannot be published so. conflict: another one says otherwise.',
      }),
    }),
  )
  .meta({ id: 'DocumentProblems' })

const documentSchema = scenarioSchema.meta({ id: 'ScenarioDocument' })
/** As it is sent: what is left out is as it is by itself. */
const newDocumentSchema = scenarioSchema.meta({ id: 'NewScenarioDocument' })

export const scenarioAnswerSchema = z
  .object({
    id: nameSchema,
    name: z.string(),
    state: z.enum(SCENARIO_STATES),
    revision: revisionSchema,
    changedAtMs: timeMsSchema,
    changedBy: z.string(),
    document: documentSchema,
  })
  .meta({ id: 'Scenario' })

const savedSchema = scenarioAnswerSchema
  .extend({ problems: problemsSchema.optional() })
  .meta({ id: 'SavedScenario' })

/** Of any document. */
export const differencesSchema = z.array(
  z.object({ path: z.string(), before: z.unknown().optional(), after: z.unknown().optional() }),
)
export const documentRevisionSchema = z
  .object({
    revision: revisionSchema,
    atMs: timeMsSchema,
    by: z.string(),
    what: z.string(),
    state: z.string(),
    changes: differencesSchema.meta({ description: 'From the revision before it; without secrets.' }),
  })
  .meta({ id: 'DocumentRevision' })
export type DocumentRevision = z.infer<typeof documentRevisionSchema>
export const documentRevisionsSchema = z
  .object({ items: z.array(documentRevisionSchema) })
  .meta({ id: 'DocumentRevisions' })
/** The newest first. */
export const revisionsQuerySchema = z.strictObject({
  before: wholeParameter('Only those with a lower number.', { min: 1, max: REVISION_MAX }).optional(),
})
export const revisionParameter = wholeParameter('The number of a revision.', { min: 1, max: REVISION_MAX })

const checkedSchema = z
  .object({
    problems: problemsSchema,
    cameras: z.array(z.string()).meta({ description: 'Those that it covers now, site/device/camera.' }),
  })
  .meta({ id: 'ScenarioChecked' })

const triedSchema = z
  .object({
    rules: z.array(
      z.object({
        id: nameSchema,
        count: z.number().int(),
        examples: z.array(
          z.object({
            atMs: timeMsSchema,
            camera: z.string(),
            detection: z.string().optional(),
            why: z.string(),
          }),
        ),
        looked: z
          .number()
          .int()
          .meta({ description: 'Faces, cameras or devices that it looked at, each once.' }),
        excludedBy: z
          .object({
            condition: z.string().meta({
              description: 'A condition, or expression, schedule, quiet, cooldownMs, holdMs, moreThan.',
            }),
            count: z.number().int().meta({ description: 'How many of them.' }),
          })
          .optional()
          .meta({ description: 'What kept out most of them; absent: nothing did.' }),
        untried: z
          .string()
          .optional()
          .meta({ description: 'Why there is nothing, or only a part, to try it on.' }),
      }),
    ),
    looked: z.number().int().meta({ description: 'Detections and events of health that were looked at.' }),
    fromMs: timeMsSchema.meta({ description: 'Since when; later than asked for where there was too much.' }),
  })
  .meta({ id: 'ScenarioTried' })

const params = z.strictObject({ id: nameSchema })
const tags = ['scenarios']
const config = { right: 'scenarios' as const }
const bodyLimit = DOCUMENT_BYTES_MAX + 1024
const BODY = [404, 409, 413, 415]

export function scenariosRoutes(api: Api, context: Context): void {
  const { access, documents, scenarios } = context

  /** Errors: NOT_FOUND, also where it is not his. */
  const ownOf = async ({ scope }: Person, id: string): Promise<Kept<Scenario>> => {
    const kept = await documents.get('scenario', id)
    if (!kept || !isWithin(kept.document.cameras, scope)) throw notFound()
    return kept
  }
  const check = async (document: unknown, person: Person, id?: string) => {
    const checked = checkScenario(document, worldWithin(await worldOf(context), person.scope), id)
    if (!checked.document) return checked
    return { ...checked, problems: [...checked.problems, ...recordingProblems(checked.document, person)] }
  }
  /** Errors: NOT_ALLOWED */
  const demandOwn = (document: Scenario, person: Person) => {
    demandWithin(document, person.scope)
    demandRecordings(document, person)
  }
  /** What holds has no errors. Errors: SCENARIO_INVALID */
  const sound = async (document: Scenario, person: Person, id: string): Promise<readonly Problem[]> => {
    const { problems: found } = await check(document, person, id)
    const [error] = found.filter(({ kind }) => kind === 'error')
    if (error) throw failure('SCENARIO_INVALID', `It cannot be published so: ${error.path}: ${error.message}`)
    return found
  }
  /** What is answered when it holds for rules and devices too. */
  const answer = async (kept: Kept<Scenario>, found?: readonly Problem[]) => {
    await scenarios.reload()
    return { ...answerOf(kept), ...(found && { problems: found.map(problemOf) }) }
  }
  const record = (caller: Asked, what: string, target: string, detail: object = {}) =>
    access.record(caller, { what: `scenario.${what}`, target, detail: { ...detail } })

  api.get(
    '/scenarios',
    {
      config,
      schema: {
        operationId: 'listScenarios',
        tags,
        summary: 'All scenarios, by their names',
        response: {
          200: z.object({ items: z.array(scenarioAnswerSchema) }).meta({ id: 'Scenarios' }),
          304: unchanged,
          ...problems(),
        },
      },
    },
    async (request) => {
      const { scope } = asked(access, request).person
      const all = await documents.list('scenario')
      return { items: all.filter((it) => isWithin(it.document.cameras, scope)).map(answerOf) }
    },
  )

  api.post(
    '/scenarios',
    {
      config,
      bodyLimit,
      schema: {
        operationId: 'makeScenario',
        tags,
        summary: 'Make a scenario: a draft, which does nothing yet',
        body: z.strictObject({ document: newDocumentSchema }).meta({ id: 'NewScenario' }),
        response: { 201: savedSchema, ...problems(...BODY) },
      },
    },
    async (request, reply) => {
      const caller = asked(access, request)
      const { document } = request.body
      demandOwn(document, caller.person)
      const { problems: found } = await check(document, caller.person)
      await record(caller, 'create', document.name)
      const kept = await documents.create('scenario', { document, by: caller.person.name, state: 'draft' })
      return reply.code(201).send(await answer(kept, found))
    },
  )

  api.get(
    '/scenarios/provided',
    {
      config,
      schema: {
        operationId: 'listProvidedScenarios',
        tags,
        summary: 'Scenarios to begin with',
        response: {
          200: z
            .object({
              items: z.array(
                z.object({
                  id: nameSchema,
                  name: z.string(),
                  description: z.string(),
                  document: documentSchema,
                }),
              ),
            })
            .meta({ id: 'ProvidedScenarios' }),
          304: unchanged,
          ...problems(),
        },
      },
    },
    async () => ({ items: [...PROVIDED] }),
  )

  api.post(
    '/scenarios/check',
    {
      config,
      bodyLimit,
      schema: {
        operationId: 'checkScenario',
        tags,
        summary: 'What is wrong with a scenario, saved or not, and which cameras it covers',
        body: z
          .strictObject({
            document: z.unknown().meta({ description: 'A ScenarioDocument, or what is to become one.' }),
            id: nameSchema.optional().meta({ description: 'Its own, where it has one.' }),
          })
          .meta({ id: 'ScenarioToCheck' }),
        response: { 200: checkedSchema, ...problems(413, 415) },
      },
    },
    async (request) => {
      const { person } = asked(access, request)
      const { problems: found, cameras } = await check(request.body.document, person, request.body.id)
      return { problems: found.map(problemOf), cameras: cameras.map(pathOf) }
    },
  )

  api.post(
    '/scenarios/try',
    {
      config: { right: ['scenarios', 'see'] },
      bodyLimit,
      schema: {
        operationId: 'tryScenario',
        tags,
        summary: 'What a scenario, saved or not, would have told of',
        description:
          'Its rules are run over what is stored, with its zones as they are drawn now. What is not stored cannot be tried: those rules say so.',
        body: z
          .strictObject({
            document: newDocumentSchema,
            hours: z.number().min(1).max(TRY_HOURS_MAX).default(24),
          })
          .meta({ id: 'ScenarioToTry' }),
        response: { 200: triedSchema, ...problems(413, 415) },
      },
    },
    async (request) => {
      const { person, rows } = asked(access, request)
      const { document, hours } = request.body
      demandWithin(document, person.scope)
      const world = await worldOf(context)
      const tried = await tryScenario(document, hours, {
        database: context.database,
        cameras: world.cameras.filter((camera) => isInScope(person.scope, camera)),
        labelsOf: world.labelsOf,
        scope: rows,
        nowMs: world.nowMs,
        signal: request.signal,
      })
      return { ...tried, rules: tried.rules.map((rule) => ({ ...rule, examples: [...rule.examples] })) }
    },
  )

  api.get(
    '/scenarios/:id',
    {
      config,
      schema: {
        operationId: 'getScenario',
        tags,
        summary: 'A scenario',
        params,
        response: { 200: scenarioAnswerSchema, 304: unchanged, ...problems(404) },
      },
    },
    async (request) => answerOf(await ownOf(asked(access, request).person, request.params.id)),
  )

  api.put(
    '/scenarios/:id',
    {
      config,
      bodyLimit,
      schema: {
        operationId: 'changeScenario',
        tags,
        summary: 'Change a scenario: at once where it is published',
        params,
        body: z
          .strictObject({ revision: revisionSchema, document: newDocumentSchema })
          .meta({ id: 'ScenarioChange' }),
        response: { 200: savedSchema, ...problems(...BODY) },
      },
    },
    async (request) => {
      const caller = asked(access, request)
      const { id } = request.params
      const { revision, document } = request.body
      const { state, ...current } = await ownOf(caller.person, id)
      demandRevision(current, revision)
      demandOwn(document, caller.person)
      if (state === 'published') demandScene(caller.person, current.document, document)
      const found =
        state === 'published'
          ? await sound(document, caller.person, id)
          : (await check(document, caller.person, id)).problems
      await record(caller, 'change', id, { revision })
      const kept = await documents.change('scenario', id, { revision, document, by: caller.person.name })
      return answer(kept, found)
    },
  )

  api.delete(
    '/scenarios/:id',
    {
      config,
      schema: {
        operationId: 'deleteScenario',
        tags,
        summary: 'Delete a scenario; its history stays',
        params,
        response: { 204: done, ...problems(404, 409) },
      },
    },
    async (request, reply) => {
      const caller = asked(access, request)
      const { id } = request.params
      const { name, state, document } = await ownOf(caller.person, id)
      if (state === 'published') demandScene(caller.person, document)
      await record(caller, 'delete', id, { name })
      await documents.remove('scenario', id, { by: caller.person.name })
      await scenarios.reload()
      return reply.code(204).send()
    },
  )

  for (const [what, state, summary] of [
    ['publish', 'published', 'Publish a scenario: it holds from now on, within its schedule'],
    ['pause', 'paused', 'Pause a scenario: it does not hold until it is published again'],
  ] as const)
    api.post(
      `/scenarios/:id/${what}`,
      {
        config,
        schema: {
          operationId: `${what}Scenario`,
          tags,
          summary,
          params,
          response: { 200: savedSchema, ...problems(404, 409) },
        },
      },
      async (request) => {
        const caller = asked(access, request)
        const { id } = request.params
        const { document, revision } = await ownOf(caller.person, id)
        demandWithin(document, caller.person.scope)
        demandScene(caller.person, document)
        if (what === 'publish') demandRecordings(document, caller.person)
        const found = what === 'publish' ? await sound(document, caller.person, id) : undefined
        await record(caller, what, id, { revision })
        // Only what was looked at.
        const change = { state, what, by: caller.person.name, revision }
        return answer(await documents.setState('scenario', id, change), found)
      },
    )

  api.post(
    '/scenarios/:id/copy',
    {
      config,
      schema: {
        operationId: 'copyScenario',
        tags,
        summary: 'Make a draft that says the same',
        params,
        response: { 201: savedSchema, ...problems(404, 409) },
      },
    },
    async (request, reply) => {
      const caller = asked(access, request)
      const { id } = request.params
      const { document } = await ownOf(caller.person, id)
      demandRecordings(document, caller.person)
      const name = `Copy of ${document.name}`.slice(0, 200)
      await record(caller, 'copy', id, { name })
      const kept = await documents.create('scenario', {
        document: { ...document, name },
        by: caller.person.name,
        state: 'draft',
        what: `copy of ${id}`,
      })
      return reply.code(201).send(await answer(kept))
    },
  )

  api.post(
    '/scenarios/:id/rollback',
    {
      config,
      schema: {
        operationId: 'rollBackScenario',
        tags,
        summary: 'Make what a revision said hold again, as a new revision',
        params,
        body: z
          .strictObject({ revision: revisionSchema.min(1) })
          .meta({ id: 'ScenarioRollBack', description: 'Back to which one.' }),
        response: { 200: savedSchema, ...problems(...BODY) },
      },
    },
    async (request) => {
      const caller = asked(access, request)
      const { id } = request.params
      const { revision: to } = request.body
      const current = await ownOf(caller.person, id)
      const was = readScenario((await documents.revision('scenario', id, to)).document, to)
      demandOwn(was, caller.person)
      if (current.state === 'published') demandScene(caller.person, current.document, was)
      const found =
        current.state === 'published'
          ? await sound(was, caller.person, id)
          : (await check(was, caller.person, id)).problems
      await record(caller, 'rollback', id, { to })
      const kept = await documents.rollBack('scenario', id, {
        to,
        by: caller.person.name,
        revision: current.revision,
        check: (document) => readScenario(document, to),
      })
      return answer(kept, found)
    },
  )

  api.get(
    '/scenarios/:id/revisions',
    {
      config,
      schema: {
        operationId: 'listScenarioRevisions',
        tags,
        summary: 'What a scenario was, the newest first, and who changed what',
        params,
        querystring: revisionsQuerySchema,
        response: { 200: documentRevisionsSchema, 304: unchanged, ...problems(404) },
      },
    },
    async (request) => {
      const { person } = asked(access, request)
      const { id } = request.params
      await seeHistory(person, id)
      const items = await documents.revisions('scenario', id, request.query.before)
      if (items.length === 0) throw notFound()
      return { items: items.map((it) => ({ ...it, changes: [...it.changes] })) }
    },
  )

  api.get(
    '/scenarios/:id/revisions/:revision',
    {
      config,
      schema: {
        operationId: 'getScenarioRevision',
        tags,
        summary: 'What a scenario was',
        params: params.extend({ revision: revisionParameter }),
        response: {
          200: documentRevisionSchema
            .omit({ changes: true })
            .extend({ document: z.unknown() })
            .meta({ id: 'ScenarioRevision' }),
          304: unchanged,
          ...problems(404),
        },
      },
    },
    async (request) => {
      const { person } = asked(access, request)
      const { id, revision } = request.params
      await seeHistory(person, id)
      const found = await documents.revision('scenario', id, revision)
      const read = scenarioSchema.safeParse(found.document).data
      if (!person.scope.all && (!read || !isWithin(read.cameras, person.scope))) throw notFound()
      return found
    },
  )

  /** Of a deleted one only who sees everything: nobody can tell any more whose it was. Errors: NOT_FOUND */
  async function seeHistory(person: Person, id: string): Promise<void> {
    demand(person, 'scenarios')
    if (!person.scope.all) await ownOf(person, id)
  }
}

/** A revision may be of a time at which scenarios could say other things. Errors: SCENARIO_INVALID */
function readScenario(document: unknown, revision: number): Scenario {
  const read = scenarioSchema.safeParse(document)
  if (read.success) return read.data
  const [problem] = issuesOf(read.error)
  throw failure(
    'SCENARIO_INVALID',
    `Revision ${revision} is not valid any more: ${problem?.path}: ${problem?.message}`,
  )
}

const answerOf = ({ id, name, state, revision, changedAtMs, changedBy, document }: Kept<Scenario>) => ({
  id,
  name,
  state: state as (typeof SCENARIO_STATES)[number],
  revision,
  changedAtMs,
  changedBy,
  document,
})

export const problemOf = ({ path, message, kind }: Problem) => ({
  path: path.split('.').map((name) => (/^\d+$/.test(name) ? Number(name) : name)),
  message,
  kind,
})

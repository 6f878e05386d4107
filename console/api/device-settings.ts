import { z } from 'zod'
import { failure } from '../../lib/errors.ts'
import { DESIRED_VERSION, desiredContentSchema } from '../../wire/desired.ts'
import { notFound } from '../access/demand.ts'
import { may, type Person } from '../access/may.ts'
import type { Context } from '../context.ts'
import { withoutPictures } from '../desired/desired.ts'
import { DESIRED_STATES, undone } from '../desired/judge.ts'
import { readAnswer } from '../desired/store.ts'
import { checkDevice, issuesOf } from '../scenarios/check.ts'
import { isWithin } from '../scenarios/confined.ts'
import { type DeviceDocument, deviceDocumentSchema } from '../scenarios/document.ts'
import { DOCUMENT_BYTES_MAX, demandRevision, type Kept } from '../scenarios/documents.ts'
import { demandSceneOfDevice } from '../scenarios/scene.ts'
import { masked } from '../scenarios/secrets.ts'
import { worldOf } from '../scenarios/world.ts'
import { done, problems, unchanged } from './answers.ts'
import { asked } from './asked.ts'
import { nameSchema, timeMsSchema } from './query.ts'
import {
  documentRevisionSchema,
  documentRevisionsSchema,
  problemOf,
  problemsSchema,
  revisionParameter,
  revisionSchema,
  revisionsQuerySchema,
} from './scenarios.ts'
import type { Api } from './server.ts'

/** What a device shall be, and what it says that it is: `/devices/:site/:device/desired`. For who sees its whole site. */

/** As it is sent. */
const newDocumentSchema = deviceDocumentSchema.meta({ id: 'NewDeviceDocument' })
const stateSchema = z.enum(DESIRED_STATES)

const desiredSchema = z
  .object({
    state: stateSchema,
    why: z.string().nullable().meta({ description: 'Why it is refused, or differs.' }),
    fault: z
      .string()
      .nullable()
      .meta({ description: 'Why nothing newer is said to it although something should be.' }),
    revision: revisionSchema.meta({ description: 'Of the document; 0: nobody has written one yet.' }),
    changedAtMs: timeMsSchema.nullable(),
    changedBy: z.string().nullable(),
    document: deviceDocumentSchema.meta({
      id: 'DeviceDocument',
      description: 'What the device is beside scenarios. Secrets are masked; sent back so, they stay.',
    }),
    desired: z
      .object({
        version: z.number().int(),
        atMs: timeMsSchema,
        by: z.string(),
        content: desiredContentSchema.meta({ id: 'DesiredContent' }),
        scenarios: z.array(z.object({ id: nameSchema, name: z.string() })),
      })
      .nullable()
      .meta({ description: 'What it was told last: the document, and the scenarios that hold over it.' }),
    reported: z.unknown().nullable().meta({ description: 'What it answered last, as it came.' }),
    reportedAtMs: timeMsSchema.nullable(),
    differences: z
      .array(
        z.object({
          path: z.string(),
          desired: z.unknown().optional(),
          effective: z.unknown().optional(),
        }),
      )
      .meta({ description: 'Where what holds is not what it was told.' }),
    problems: problemsSchema.optional(),
  })
  .meta({ id: 'DeviceDesired' })
export type DeviceDesired = z.infer<typeof desiredSchema>

const params = z.strictObject({ site: nameSchema, device: nameSchema })
const tags = ['devices']
const config = { right: 'scenarios' as const }
const bodyLimit = DOCUMENT_BYTES_MAX + 1024
const NOTHING: DeviceDocument = { labels: [], cameraLabels: {}, content: {} }

export function deviceSettingsRoutes(api: Api, context: Context): void {
  const { access, documents, scenarios, desired, fleet, database } = context

  /** Settings of a device are of all its cameras. Errors: NOT_FOUND */
  const known = ({ scope }: Person, place: { readonly site: string; readonly device: string }) => {
    if (!scope.all && !scope.sites.has(place.site)) throw notFound()
    const isSame = (it: { readonly site: string; readonly device: string }) =>
      it.site === place.site && it.device === place.device
    const isKnown =
      fleet.devices.some(isSame) ||
      fleet.cameras.some(isSame) ||
      scenarios.devices.has(`${place.site}/${place.device}`) ||
      desired?.told(place) ||
      desired?.answer(place)
    if (!isKnown) throw notFound()
    return `${place.site}/${place.device}`
  }
  const answer = async (
    person: Person,
    place: { readonly site: string; readonly device: string },
    kept: Kept<DeviceDocument> | undefined,
  ) => {
    const { scope } = person
    const told = desired?.told(place)
    const whole = await readAnswer(database, place.site, place.device)
    // The newest may not be in the database yet; it has the pictures.
    const newest = desired?.answer(place)
    const reply = whole && whole.receivedAtMs >= (newest?.receivedAtMs ?? 0) ? whole : newest
    const judgement = desired?.judge(place) ?? { state: 'none' as const, why: undefined }
    const names = new Map(
      scenarios.published
        .filter((it) => isWithin(it.scenario.cameras, scope))
        .map(({ id, scenario }) => [id, scenario.name]),
    )
    return {
      state: judgement.state,
      why: judgement.why ?? null,
      fault: desired?.fault(place)?.message ?? null,
      revision: kept?.revision ?? 0,
      changedAtMs: kept?.changedAtMs ?? null,
      changedBy: kept?.changedBy ?? null,
      document: masked('device', kept?.document ?? NOTHING),
      desired: told
        ? {
            version: told.version,
            atMs: told.atMs,
            by: told.by,
            content: masked('device', told.content),
            scenarios: told.scenarios.map((id) => ({ id, name: names.get(id) ?? id })),
          }
        : null,
      reported:
        (reply && may(person, 'see') ? reply.reported : reply && withoutPictures(reply.reported)) ?? null,
      reportedAtMs: reply?.receivedAtMs ?? null,
      differences:
        told && reply
          ? undone(masked('device', told.content), reply.reported).map(({ path, before, after }) => ({
              path,
              ...(before !== undefined && { desired: before }),
              ...(after !== undefined && { effective: after }),
            }))
          : [],
    }
  }
  /** What is answered when devices are told. */
  const settled = async () => {
    await scenarios.reload()
    await desired?.settled()
  }

  api.get(
    '/devices/:site/:device/desired',
    {
      config,
      schema: {
        operationId: 'getDeviceDesired',
        tags,
        summary: 'What a device shall be, and what it says that it is',
        params,
        response: { 200: desiredSchema, 304: unchanged, ...problems(404) },
      },
    },
    async (request) => {
      const { person } = asked(access, request)
      const id = known(person, request.params)
      return answer(person, request.params, await documents.get('device', id))
    },
  )

  api.put(
    '/devices/:site/:device/desired',
    {
      config,
      bodyLimit,
      schema: {
        operationId: 'changeDeviceDesired',
        tags,
        summary: 'Change what a device is beside scenarios; it is told at once',
        params,
        body: z
          .strictObject({
            revision: revisionSchema.meta({
              description: 'Which one it is a change of; 0: it is the first.',
            }),
            document: newDocumentSchema,
          })
          .meta({ id: 'DeviceChange' }),
        response: { 200: desiredSchema, ...problems(404, 409, 413, 415) },
      },
    },
    async (request) => {
      const caller = asked(access, request)
      const id = known(caller.person, request.params)
      const { revision, document } = request.body
      const { name: by } = caller.person
      const { problems: found } = checkDevice(document, request.params, await worldOf(context))
      const current = await documents.get('device', id)
      demandRevision(current ?? { id, revision: 0, changedBy: '' }, revision)
      demandSceneOfDevice(caller.person, current?.document, document)
      await access.record(caller, { what: 'device.change', target: id, detail: { revision } })
      const kept =
        revision === 0
          ? await documents.create('device', { id, document, by }).catch((error: unknown) => {
              throw isTaken(error)
                ? failure('REVISION_CHANGED', `What ${id} shall be was written meanwhile. Look at it again.`)
                : error
            })
          : await documents.change('device', id, { revision, document, by })
      await settled()
      return { ...(await answer(caller.person, request.params, kept)), problems: found.map(problemOf) }
    },
  )

  api.post(
    '/devices/:site/:device/desired/check',
    {
      config,
      bodyLimit,
      schema: {
        operationId: 'checkDeviceDesired',
        tags,
        summary: 'What is wrong with what a device shall be, before it is written',
        params,
        body: z.strictObject({ document: z.unknown() }).meta({ id: 'DeviceToCheck' }),
        response: {
          200: z.object({ problems: problemsSchema }).meta({ id: 'DeviceChecked' }),
          ...problems(404, 413, 415),
        },
      },
    },
    async (request) => {
      known(asked(access, request).person, request.params)
      const { problems: found } = checkDevice(request.body.document, request.params, await worldOf(context))
      return { problems: found.map(problemOf) }
    },
  )

  api.post(
    '/devices/:site/:device/desired/again',
    {
      config,
      schema: {
        operationId: 'tellDeviceAgain',
        tags,
        summary: 'Tell a device the same again, as a new version, so that it tries it anew',
        params,
        response: { 204: done, ...problems(404) },
      },
    },
    async (request, reply) => {
      const caller = asked(access, request)
      const id = known(caller.person, request.params)
      if (!desired?.told(request.params)) throw notFound()
      await access.record(caller, { what: 'device.again', target: id, detail: {} })
      await desired.tryAgain(request.params, caller.person.name)
      return reply.code(204).send()
    },
  )

  api.post(
    '/devices/:site/:device/desired/rollback',
    {
      config,
      schema: {
        operationId: 'rollBackDeviceDesired',
        tags,
        summary: 'Make what a revision said hold again, as a new revision',
        description: `Revisions keep no secrets: they stay as they are now. Devices of this version read documents of form ${DESIRED_VERSION}; an older one refuses what it does not know, and says what.`,
        params,
        body: z.strictObject({ revision: revisionSchema.min(1) }).meta({ id: 'DeviceRollBack' }),
        response: { 200: desiredSchema, ...problems(404, 409, 413, 415) },
      },
    },
    async (request) => {
      const caller = asked(access, request)
      const id = known(caller.person, request.params)
      const { revision: to } = request.body
      const { document: was } = await documents.revision('device', id, to)
      const { problems: found } = checkDevice(was, request.params, await worldOf(context))
      const current = await documents.get('device', id)
      demandSceneOfDevice(caller.person, current?.document, readDevice(was, to))
      await access.record(caller, { what: 'device.rollback', target: id, detail: { to } })
      const kept = await documents.rollBack('device', id, {
        to,
        by: caller.person.name,
        ...(current && { revision: current.revision }),
        check: (document) => readDevice(document, to),
      })
      await settled()
      return { ...(await answer(caller.person, request.params, kept)), problems: found.map(problemOf) }
    },
  )

  api.get(
    '/devices/:site/:device/desired/revisions',
    {
      config,
      schema: {
        operationId: 'listDeviceRevisions',
        tags,
        summary: 'What a device was to be, the newest first, and who changed what',
        params,
        querystring: revisionsQuerySchema,
        response: { 200: documentRevisionsSchema, 304: unchanged, ...problems(404) },
      },
    },
    async (request) => {
      const id = known(asked(access, request).person, request.params)
      const items = await documents.revisions('device', id, request.query.before)
      return { items: items.map((it) => ({ ...it, changes: [...it.changes] })) }
    },
  )

  api.get(
    '/devices/:site/:device/desired/revisions/:revision',
    {
      config,
      schema: {
        operationId: 'getDeviceRevision',
        tags,
        summary: 'What a device was to be, without secrets',
        params: params.extend({ revision: revisionParameter }),
        response: {
          200: documentRevisionSchema
            .omit({ changes: true })
            .extend({ document: z.unknown() })
            .meta({ id: 'DeviceRevision' }),
          304: unchanged,
          ...problems(404),
        },
      },
    },
    async (request) => {
      const id = known(asked(access, request).person, request.params)
      return documents.revision('device', id, request.params.revision)
    },
  )
}

const isTaken = (error: unknown) => error instanceof Error && 'code' in error && error.code === 'NAME_TAKEN'

/** Errors: SCENARIO_INVALID */
function readDevice(document: unknown, revision: number): DeviceDocument {
  const read = deviceDocumentSchema.safeParse(document)
  if (read.success) return read.data
  const [problem] = issuesOf(read.error)
  throw failure(
    'SCENARIO_INVALID',
    `Revision ${revision} is not valid any more: ${problem?.path}: ${problem?.message}`,
  )
}

import fc from 'fast-check'
import t, { type Test } from 'tap'
import { z } from 'zod'
import { API_PREFIX } from '../../console/api/addresses.ts'
import { deviceDocumentSchema, type Scenario } from '../../console/scenarios/document.ts'
import { PROVIDED } from '../../console/scenarios/provided.ts'
import { newId } from '../../wire/id.ts'
import { makeClip } from '../kit/clips.ts'
import { tinyJpeg } from '../kit/crops.ts'
import { makeRealClips } from '../kit/real-clips.ts'
import { type ApiServer, apiServer, cameraSeen, NORTH, SOUTH, stateOf } from './api-server.ts'

/** The API against its own document: what it says of each operation is what it does. */

interface Schema {
  readonly type?: string | readonly string[]
  readonly pattern?: string
  readonly minimum?: number
  readonly maximum?: number
  readonly enum?: readonly unknown[]
  readonly items?: Schema
  readonly properties?: Readonly<Record<string, Schema>>
  readonly $ref?: string
  readonly anyOf?: readonly Schema[]
}
interface Parameter {
  readonly in: 'path' | 'query' | 'header' | 'cookie'
  readonly name: string
  readonly required?: boolean
  readonly schema: Schema
}
type Content = Readonly<Record<string, { readonly schema: Schema }>>
interface Operation {
  readonly operationId: string
  readonly tags?: readonly string[]
  readonly parameters?: readonly Parameter[]
  readonly requestBody?: { readonly content: Content }
  readonly responses: Readonly<Record<string, { readonly content?: Content }>>
  readonly security?: readonly unknown[]
}
interface Document {
  readonly openapi: string
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> }
}

/** What is answered to everybody. */
const OPEN = ['getDocument', 'signIn']
/** How often each operation is tried. */
const RUNS = 50

async function documentOf({ url }: ApiServer): Promise<Document> {
  return (await (await fetch(`${url}/openapi.json`)).json()) as Document
}

const operationsOf = ({ paths }: Document) =>
  Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method: method.toUpperCase(), operation })),
  )

t.test(
  'the document is whole: each operation has a name of its own, a summary, and its problems',
  async (t) => {
    const server = await apiServer(t)
    const document = await documentOf(server)
    t.equal(document.openapi, '3.1.0')
    const operations = operationsOf(document)
    t.ok(operations.length >= 20)
    t.equal(new Set(operations.map(({ operation }) => operation.operationId)).size, operations.length)
    for (const { method, path, operation } of operations) {
      t.match(operation, { summary: /\w/, tags: [/\w/] }, `${method} ${path}`)
      if (operation.operationId === 'getDocument') continue
      for (const status of [400, 401, 429, 500, 503])
        t.ok(
          operation.responses[status]?.content?.['application/problem+json'],
          `${method} ${path} ${status}`,
        )
    }
    const text = JSON.stringify(document)
    for (const [, name = ''] of text.matchAll(/"#\/components\/schemas\/([^"]+)"/g))
      if (!document.components.schemas[name]) t.fail(`${name} is referred to, and is not there`)
    for (const name of ['Detection', 'Camera', 'Keeper', 'Problem', 'Command', 'Overview'])
      t.ok(document.components.schemas[name], name)
    t.notMatch(Object.keys(document.components.schemas).join(), 'Input')
  },
)

t.test('no operation answers who is nobody, but those that are for everybody', async (t) => {
  const server = await apiServer(t)
  const [stored] = await server.store({ ...NORTH })
  for (const { path, method, operation } of operationsOf(await documentOf(server))) {
    const at = path
      .replace('{id}', stored?.id ?? '')
      .replace('{site}/{device}/{camera}', 'north/pi/gate')
      .replace('{name}', 'vera')
    const body = operation.requestBody ? { body: '{}', headers: { 'content-type': 'application/json' } } : {}
    for (const authorization of [undefined, 'Bearer slt_none', 'Basic YWRhOnB3']) {
      const answer = await fetch(`${server.url}${at}`, {
        method,
        ...body,
        headers: {
          // As a page of ours: others are refused before they are asked who they are.
          origin: new URL(server.url).origin,
          ...body.headers,
          ...(authorization === undefined ? {} : { authorization }),
        },
      })
      const isOpen = OPEN.includes(operation.operationId)
      t.equal(answer.status === 401, !isOpen, `${method} ${path} ${authorization}: ${answer.status}`)
      t.equal(operation.security?.length === 0, isOpen, `${method} ${path} says so`)
      await answer.body?.cancel()
    }
  }
})

t.test('a route that does not say what it takes is none', async (t) => {
  await t.rejects(
    apiServer(t, {}, [(api) => void api.get('/more', async () => 'x')]),
    /does not say what right it takes/,
  )
})

const HOSTILE = [
  '',
  ' ',
  '\0',
  '../../etc/passwd',
  '%2e%2e%2f',
  "' or 1=1 --",
  '<script>alert(1)</script>',
  '{"$ne":1}',
  '__proto__',
  'constructor',
  '9'.repeat(400),
  '-1',
  '1e309',
  'NaN',
  'null',
  'true',
  '\u202e',
  '\ud800',
  '𝔘',
  'x'.repeat(3000),
]

/** Values that suit, more or less: each operation must be reached, and be asked amiss. */
function valueFor(name: string, schema: Schema, known: Readonly<Record<string, readonly unknown[]>>) {
  const suits: fc.Arbitrary<unknown>[] = []
  if (known[name]) return mostly(fc.constantFrom(...known[name]))
  if (schema.enum) suits.push(fc.constantFrom(...schema.enum))
  const { minimum: min = -2, maximum: max = 300 } = schema
  if (schema.type === 'integer' || schema.type === 'number') suits.push(fc.integer({ min, max }), fc.double())
  if (schema.type === 'number') suits.push(fc.double({ min, max, noNaN: true }))
  if (schema.pattern !== undefined && !/^\^\\P/.test(schema.pattern))
    suits.push(fc.stringMatching(new RegExp(schema.pattern, 'u')))
  if (schema.type === 'boolean') suits.push(fc.boolean())
  if (/^(from|to)$/.test(name))
    suits.push(
      fc.integer({ min: 0, max: 253_402_300_799_999 }),
      fc.constantFrom('2026-11-28', '2026-11-28T09:00:00Z', '1970-01-01', '9999-12-31T23:59:59.999Z'),
    )
  return mostly(suits.length > 0 ? fc.oneof(...suits) : fc.string())
}

const mostly = (arbitrary: fc.Arbitrary<unknown>) =>
  fc.oneof(
    { weight: 8, arbitrary },
    { weight: 1, arbitrary: fc.constantFrom(...HOSTILE) },
    { weight: 1, arbitrary: fc.string({ unit: 'binary' }) },
  )

/** Bodies near what a schema says. */
function bodyFor(
  schema: Schema,
  document: Document,
  known: Readonly<Record<string, readonly unknown[]>>,
  depth = 0,
): fc.Arbitrary<unknown> {
  const { $ref, properties, items, anyOf } = schema
  if ($ref) {
    const name = $ref.split('/').at(-1) ?? ''
    const near = bodyFor(document.components.schemas[name] ?? {}, document, known, depth)
    // What hardly any near one would be.
    const whole = known[name]
    return whole ? fc.oneof(fc.constantFrom(...whole), near) : near
  }
  if (anyOf) return fc.oneof(...anyOf.map((one) => bodyFor(one, document, known, depth)))
  if (properties && depth < 4) {
    const near = fc.record(
      Object.fromEntries(
        Object.entries(properties).map(([name, value]) => [
          name,
          value.type === undefined || value.type === 'object' || value.type === 'array'
            ? bodyFor(value, document, known, depth + 1)
            : valueFor(name, value, known),
        ]),
      ),
      { requiredKeys: [] },
    )
    return fc.oneof({ weight: 6, arbitrary: near }, { weight: 1, arbitrary: fc.jsonValue() })
  }
  if (items)
    return fc.array(fc.oneof(bodyFor(items, document, known, depth + 1), valueFor('id', items, known)))
  return valueFor('', schema, known)
}

const encoded = (value: unknown) => encodeURIComponent(String(value).toWellFormed())

t.test('whatever is asked, the answer is one of the document’s, and never a 500', async (t) => {
  const server = await apiServer(t, { limits: { requestsPerMinuteMax: 1_000_000 } })
  const stored = await server.store({ ...NORTH }, { ...SOUTH, masked: true })
  const clips = await server.record(
    ...(await makeRealClips({ ...NORTH, chunks: 1, chunkMs: 1000 })),
    makeClip({ ...SOUTH }),
  )
  const fromMs = (clips[0]?.filedAtMs ?? 0) - 100
  const event = {
    id: newId(),
    at_ms: 1,
    kind: 'camera-down',
    subject: 'north/pi/gate',
    site: 'north',
    camera: 'north/pi/gate',
    level: 'problem' as const,
    text: '<b>down</b>',
    ended_at_ms: null,
    reviewed_by: null,
    reviewed_at_ms: null,
  }
  await server.database.write.insertInto('health_events').values(event).execute()
  const stream = { owner: 'ada', active: true, takeOver: false, lastUsedMs: null, from: null, live: null }
  const phone = { ...NORTH, camera: 'phone' }
  server.fleet.cameras = [
    cameraSeen(NORTH),
    cameraSeen(SOUTH, 'down'),
    { ...cameraSeen(phone, 'waiting'), state: stateOf(phone, { state: 'waiting', stream }) },
  ]
  server.live.newest = { bytes: tinyJpeg, capturedAtMs: undefined, receivedAtMs: 1 }
  const { documents, scenarios } = server.context
  const whole = PROVIDED.map((it) => it.document)
  const kept = await Promise.all(
    Array.from({ length: 60 }, (_, n) =>
      documents.create('scenario', { document: whole[n % whole.length] as Scenario, by: 'ada' }),
    ),
  )
  const labelled = deviceDocumentSchema.parse({ labels: ['inside'], content: { detect: { sizeMin: 20 } } })
  for (const id of ['north/pi', 'south/pi'])
    await documents.create('device', { id, document: labelled, by: 'ada' })
  await scenarios.reload()
  await server.desired.settled()
  const document = await documentOf(server)
  const known = {
    NewScenarioDocument: whole,
    NewDeviceDocument: [labelled],
    DeviceChange: [1, 2].map((revision) => ({ revision, document: labelled })),
    DeviceRollBack: [{ revision: 1 }],
    ScenarioRollBack: [{ revision: 1 }],
    revision: [0, 1, 2],
    id: [...stored.map(({ id }) => id), ...clips.map(({ id }) => id), event.id, newId()],
    site: ['north', 'south', 'west'],
    device: ['pi'],
    camera: ['gate', 'door', 'phone', 'new'],
    'query device': ['north/pi', 'south/pi'],
    'query camera': ['north/pi/gate'],
    track: [newId()],
    tz: ['UTC', 'Asia/Kathmandu', 'America/St_Johns'],
    cursor: stored.map(({ id, filedAtMs }) => `${filedAtMs}.${id}`),
    attribute: ['mood', 'mood:calm'],
    command: ['pause', 'snapshot'],
    ids: stored.map(({ id }) => id),
  }
  // Signing out and removing users would leave nobody to ask; h of its password, slow hashes.
  const left = [
    'signOut',
    'signIn',
    'removeUser',
    'setPassword',
    'changeOwnPassword',
    'addUser',
    'changeUser',
    'revokeToken',
  ]
  const ofRecordings = {
    ...known,
    camera: ['north/pi/gate', 'south/pi/door'],
    from: [fromMs, fromMs + 200],
    to: [fromMs + 10_000],
    fromMs: [fromMs],
    toMs: [fromMs + 10_000],
    keep: [true, false],
  }
  // All operations are asked of the same ones, in the same order: what was deleted could not be published.
  const ids = kept.map(({ id }) => id)
  const ofScenarios = { ...known, id: ids.slice(20) }
  const toDelete = { ...known, id: ids.slice(0, 20) }
  const ofSuspensions = {
    ...known,
    scenario: ids.slice(-1),
    ...Object.fromEntries(['rule', 'site', 'device', 'camera'].map((name) => [name, ['-']])),
    NewSuspension: [{ scenario: ids.at(-1), forS: 600 }],
  }
  const seen = new Set<string>()
  for (const { path, method, operation } of operationsOf(document)) {
    if (left.includes(operation.operationId)) continue
    const { parameters = [], requestBody } = operation
    const body = requestBody?.content['application/json']?.schema
    const { tags = [] } = operation
    const here = tags.includes('recordings')
      ? ofRecordings
      : operation.operationId === 'deleteScenario'
        ? toDelete
        : /^(suspend|endSuspension)$/.test(operation.operationId)
          ? ofSuspensions
          : tags.includes('scenarios')
            ? ofScenarios
            : known
    const asked = fc.record({
      user: fc.constantFrom('ada', 'otto', 'nora', 'carl', 'vera'),
      parameters: fc.record(
        Object.fromEntries(
          parameters.map(({ in: place, name, schema }) => [
            name,
            schema.type === 'array'
              ? fc.array(valueFor(`${place} ${name}`, schema.items ?? {}, here), { maxLength: 3 })
              : valueFor(name, schema, here),
          ]),
        ),
      ),
      // All of many optional ones would hardly ever suit.
      chosen: fc.subarray(
        parameters.map(({ name }) => name),
        { maxLength: Math.min(3, parameters.length) },
      ),
      more: fc.oneof(
        { weight: 9, arbitrary: fc.constant(undefined) },
        { weight: 1, arbitrary: fc.record({ name: fc.string({ minLength: 1 }), value: fc.string() }) },
      ),
      body: body ? bodyFor(body, document, here) : fc.constant(undefined),
    })
    await fc.assert(
      fc.asyncProperty(asked, async ({ user, parameters: values, chosen, more, body: sent }) => {
        const query = parameters
          .filter((it) => it.in === 'query' && (it.required || chosen.includes(it.name)))
          .flatMap(({ name }) =>
            [values[name]].flat().map((value) => `${encodeURIComponent(name)}=${encoded(value)}`),
          )
        if (more) query.push(`${encoded(more.name)}=${encoded(more.value)}`)
        const at = path.replace(/\{(\w+)\}/g, (_whole, name: string) => encoded(values[name] ?? ''))
        const leaving = new AbortController()
        const answer = await server.get(`${at}${query.length > 0 ? `?${query.join('&')}` : ''}`, user, {
          method,
          signal: leaving.signal,
          ...(sent === undefined
            ? {}
            : { body: JSON.stringify(sent), headers: { 'content-type': 'application/json' } }),
        })
        seen.add(`${operation.operationId} ${answer.status}`)
        await check(operation, document, answer, at)
        leaving.abort()
      }),
      { numRuns: RUNS, seed: 14, endOnFailure: false },
    )
  }
  for (const { operation } of operationsOf(document))
    if (
      !left.includes(operation.operationId) &&
      // What takes a body that is whole, or something of another's: test/console/notices/api.test.ts.
      !/Share|Token|verifyRecording|addStream|keepRecording|Channel$|Push|getNotice|sendNoticeAgain/.test(
        operation.operationId,
      )
    )
      t.ok(
        [200, 201, 204].some((status) => seen.has(`${operation.operationId} ${status}`)),
        `${operation.operationId} was reached`,
      )
  t.comment([...seen].sort().join(', '))
})

const validators = new Map<Schema, z.ZodType>()

/** Against the schema of the document itself. */
function validate(schema: Schema, document: Document, value: unknown): void {
  let validator = validators.get(schema)
  if (!validator) {
    const whole = JSON.stringify({ ...schema, $defs: document.components.schemas })
    validator = z.fromJSONSchema(JSON.parse(whole.replaceAll('#/components/schemas/', '#/$defs/')))
    validators.set(schema, validator)
  }
  validator.parse(value)
}

async function check(
  operation: Operation,
  document: Document,
  answer: Response,
  path: string,
): Promise<void> {
  const where = `${operation.operationId} ${path} ${answer.status}`
  // Names that an address cannot hold (`..`, nothing) lead to another one.
  const isElsewhere =
    answer.status === 404 && answer.headers.get('content-type') === 'application/problem+json'
  const described = operation.responses[answer.status] ?? (isElsewhere ? { content: {} } : undefined)
  if (!described || answer.status === 500) throw new Error(`${where}: ${await answer.text()}`)
  const { content = {} } = described
  const type = answer.headers.get('content-type')?.replace(/;.*/, '') ?? ''
  if (answer.status === 204 || answer.status === 304) return
  const schema =
    content[type]?.schema ?? Object.entries(content).find(([it]) => it.startsWith(type))?.[1].schema
  if (!schema && !isElsewhere) throw new Error(`${where}: ${type} is not of the document`)
  if (schema && /json$/.test(type) && type !== 'application/x-ndjson')
    validate(schema, document, await answer.json())
}

t.test('the checks of the test above can fail', async (t: Test) => {
  const server = await apiServer(t)
  const document = await documentOf(server)
  const operation = document.paths['/cameras']?.get as Operation
  const json = (status: number, value: unknown) =>
    new Response(JSON.stringify(value), { status, headers: { 'content-type': 'application/json' } })
  await check(operation, document, json(200, { items: [] }), '')
  await t.rejects(check(operation, document, json(200, { items: [{ site: 'x' }] }), ''))
  await t.rejects(check(operation, document, json(500, {}), ''))
  await t.rejects(check(operation, document, json(418, {}), ''))
  await t.rejects(
    check(operation, document, new Response('x', { headers: { 'content-type': 'text/plain' } }), ''),
  )
  t.match(server.url, API_PREFIX)
})

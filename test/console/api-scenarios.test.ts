import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { SECRET } from '../../console/notices/channel.ts'
import { PROVIDED } from '../../console/scenarios/provided.ts'
import type { CropMetadata } from '../../wire/crop.ts'
import { digestOf, type Reported } from '../../wire/desired.ts'
import { newId } from '../../wire/id.ts'
import { makeReported } from '../kit/desired.ts'
import { type ApiServer, apiServer, cameraSeen, NORTH, SOUTH, tokenOf } from './api-server.ts'

interface Kept {
  readonly id: string
  readonly state: string
  readonly revision: number
  readonly document: { readonly name: string }
  readonly problems?: readonly Problem[]
}
interface Problem {
  readonly path: readonly (string | number)[]
  readonly kind: string
  readonly message: string
}
interface Desired {
  readonly state: string
  readonly why: string | null
  readonly revision: number
  readonly document: { readonly content: { readonly cameras?: Record<string, { password?: string }> } }
  readonly desired: { readonly version: number; readonly by: string; readonly scenarios: unknown[] } | null
  readonly differences: readonly { path: string; desired?: unknown; effective?: unknown }[]
  readonly problems?: readonly Problem[]
}

const night = (settings: Record<string, unknown> = {}) => ({
  name: 'Night',
  cameras: { sites: ['north'] },
  settings: { record: { mode: 'always' } },
  ...settings,
})

const send = (method: string, body?: unknown): RequestInit => ({
  method,
  ...(body !== undefined && { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
})

async function answer<Body>(
  t: Test,
  server: ApiServer,
  status: number,
  [method, path, body]: [string, string, unknown?],
  user = 'ada',
): Promise<Body> {
  const got = await server.get(path, user, send(method, body))
  const text = await got.text()
  t.equal(got.status, status, `${method} ${path} as ${user}: ${text.slice(0, 300)}`)
  return (text === '' ? undefined : JSON.parse(text)) as Body
}

const reported = (settings: Partial<Reported> = {}): Reported =>
  makeReported(
    { site: 'north', device: 'pi' },
    {
      effective: {
        detect: { model: 'yunet' },
        process: [],
        cameras: { gate: { from: 'file', source: 'file' } },
      },
      models: ['yunet', 'ultraface-rfb-640-masked'],
      ...settings,
    },
  )

const say = ({ desired }: ApiServer, settings: Partial<Reported> = {}) =>
  desired.take({ site: 'north', device: 'pi' }, Buffer.from(JSON.stringify(reported(settings))))

const camerasOf = (desired: { readonly content?: unknown } | undefined) =>
  Object.keys((desired?.content as { cameras?: object } | undefined)?.cameras ?? {})

/** Until the broker has what holds. */
async function told({ desired, published }: ApiServer) {
  await desired.settled()
  await sleep(5)
  return published.at(-1)?.desired
}

t.test(
  'a scenario from draft to history: each change is one of a revision, and is in the audit log',
  async (t) => {
    const server = await apiServer(t)
    const made = await answer<Kept>(t, server, 201, ['POST', '/scenarios', { document: night() }])
    t.match(made, { id: 'night', state: 'draft', revision: 1, problems: [{ kind: 'warning' }] })
    t.equal(server.published.length, 0, 'a draft does nothing')
    await answer(t, server, 200, ['POST', '/scenarios/night/publish'], 'otto')
    t.match(await told(server), {
      site: 'north',
      content: { cameras: { gate: { record: { mode: 'always' } } } },
    })
    await answer(t, server, 409, ['PUT', '/scenarios/night', { revision: 1, document: night() }])
    const changed = night({ settings: { record: { mode: 'faces' } } })
    await answer(t, server, 200, ['PUT', '/scenarios/night', { revision: 2, document: changed }])
    t.match(await told(server), { by: 'ada', content: { cameras: { gate: { record: { mode: 'faces' } } } } })
    await answer(t, server, 200, ['POST', '/scenarios/night/rollback', { revision: 1 }])
    t.match(await told(server), { content: { cameras: { gate: { record: { mode: 'always' } } } } })
    await answer(t, server, 200, ['POST', '/scenarios/night/pause'])
    t.strictSame((await told(server))?.content, {}, 'what it asked for is taken back')
    const copy = await answer<Kept>(t, server, 201, ['POST', '/scenarios/night/copy'])
    t.match(copy, { id: 'copy-of-night', state: 'draft', document: { name: 'Copy of Night' } })
    await answer(t, server, 204, ['DELETE', '/scenarios/night'])
    await answer(t, server, 404, ['GET', '/scenarios/night'])
    const { items } = await server.json<{
      items: { what: string; by: string; changes: { path: string }[] }[]
    }>('/scenarios/night/revisions')
    t.strictSame(
      items.map((it) => [it.what, it.by, it.changes.map(({ path }) => path).join()]),
      [
        ['delete', 'ada', ''],
        ['pause', 'ada', ''],
        ['roll back to 1', 'ada', 'settings.record.mode'],
        ['change', 'ada', 'settings.record.mode'],
        ['publish', 'otto', ''],
        ['create', 'ada', ''],
      ],
    )
    const audit = await server.json<{ items: { what: string }[] }>('/audit?limit=50')
    t.strictSame(
      audit.items.map(({ what }) => what).filter((it) => it.startsWith('scenario.')),
      ['delete', 'copy', 'pause', 'rollback', 'change', 'publish', 'create'].map((it) => `scenario.${it}`),
    )
    const versions = server.published.map(({ desired }) => desired.version)
    t.strictSame(
      versions,
      [...new Set(versions)].toSorted((a, b) => a - b),
      'versions only grow',
    )
  },
)

t.test('what is wrong with a scenario is said before it is published, and keeps it from being', async (t) => {
  const server = await apiServer(t)
  say(server)
  const document = {
    name: 'Wrong',
    cameras: { sites: ['nowhere'], cameras: ['north/pi/gate', 'north/pi/none'], labels: [] },
    detect: { model: 'retina' },
    zones: [
      {
        name: 'desk',
        camera: 'south/pi/door',
        points: [
          [0, 0],
          [1, 0],
          [1, 1],
        ],
      },
    ],
    rules: [
      { id: 'a', name: 'A', on: 'face', conditions: { zones: ['shelf'] }, notify: ['phone'] },
      { id: 'b', name: 'B', on: 'presence', conditions: { moreThan: 4, fewerThan: 3 } },
      { id: 'c', name: 'C', on: 'face', expression: 'score >' },
    ],
  }
  const checked = await answer<{ problems: Problem[]; cameras: string[] }>(t, server, 200, [
    'POST',
    '/scenarios/check',
    { document },
  ])
  t.strictSame(checked.cameras, ['north/pi/gate'])
  const errors = checked.problems.filter(({ kind }) => kind === 'error').map(({ path }) => path.join('.'))
  for (const path of [
    'cameras.sites.0',
    'cameras.cameras.1',
    'zones.0.camera',
    'detect.model',
    'rules.0.conditions.zones.0',
    'rules.0.notify.0',
    'rules.1.conditions.fewerThan',
    'rules.2.expression',
  ])
    t.ok(errors.includes(path), `${path} is named: ${errors.join(', ')}`)
  await answer(t, server, 201, ['POST', '/scenarios', { document }])
  const refused = await answer<{ code: string }>(t, server, 409, ['POST', '/scenarios/wrong/publish'])
  t.equal(refused.code, 'SCENARIO_INVALID')
  const formless = await answer<{ problems: Problem[] }>(t, server, 200, [
    'POST',
    '/scenarios/check',
    { document: { name: '', cameras: {}, settings: { colour: 'red' } } },
  ])
  t.ok(formless.problems.some(({ path }) => path.join('.') === 'settings.colour'))
  for (const { id, document } of PROVIDED) {
    const it = await answer<{ problems: Problem[] }>(t, server, 200, [
      'POST',
      '/scenarios/check',
      { document },
    ])
    t.strictSame(
      it.problems.filter(({ path }) => path[0] !== 'cameras'),
      [],
      `${id} has no problem of its own`,
    )
  }
})

t.test('who may not see recordings cannot have their addresses sent to anybody', async (t) => {
  const server = await apiServer(t)
  const arrivals = (kinds?: string[]) =>
    night({
      settings: {}, // what is recorded takes that right as well
      rules: [{ id: 'all', name: 'All', on: 'arrival', ...(kinds && { conditions: { kinds } }) }],
    })
  const refused = async (call: [string, string, unknown?], path: RegExp) => {
    const { detail } = await answer<{ detail: string }>(t, server, 403, call, 'olga')
    t.match(detail, path)
    t.match(detail, /needs the right "recordings"/)
  }
  const CLIPS = /rules\.0\.conditions\.kinds/
  await refused(['POST', '/scenarios', { document: arrivals(['crop', 'clip']) }], CLIPS)
  await refused(['POST', '/scenarios', { document: arrivals() }], /rules\.0\.on/)
  const { problems } = await answer<{ problems: Problem[] }>(
    t,
    server,
    200,
    ['POST', '/scenarios/check', { document: arrivals(['clip']) }],
    'olga',
  )
  t.match(
    problems.filter(({ kind }) => kind === 'error'),
    [{ path: ['rules', 0, 'conditions', 'kinds'], message: /"recordings"/ }],
  )
  const own = { document: arrivals(['crop']) }
  await answer(t, server, 201, ['POST', '/scenarios', own], 'olga')
  await refused(['PUT', '/scenarios/night', { revision: 1, document: arrivals(['clip']) }], CLIPS)

  await answer(t, server, 200, ['PUT', '/scenarios/night', { revision: 1, document: arrivals(['clip']) }])
  await refused(['POST', '/scenarios/night/publish'], CLIPS)
  await refused(['POST', '/scenarios/night/copy'], CLIPS)
  await answer(t, server, 200, ['POST', '/scenarios/night/publish'])
  await answer(t, server, 200, ['POST', '/scenarios/night/pause'], 'olga')
  await answer(t, server, 200, ['POST', '/scenarios/night/rollback', { revision: 1 }], 'olga')
  await refused(['POST', '/scenarios/night/rollback', { revision: 2 }], CLIPS)
})

t.test('a scenario whose name is a word of the addresses can be asked for all the same', async (t) => {
  const server = await apiServer(t)
  for (const name of ['Provided', 'check', 'TRY']) {
    const { id } = await answer<Kept>(t, server, 201, ['POST', '/scenarios', { document: night({ name }) }])
    t.equal(id, `${name.toLowerCase()}-2`)
    t.equal((await server.json<Kept>(`/scenarios/${id}`)).document.name, name)
  }
})

t.test('two scenarios that say different things of a camera are named, with where and when', async (t) => {
  const server = await apiServer(t)
  await answer(t, server, 201, ['POST', '/scenarios', { document: night() }])
  await answer(t, server, 200, ['POST', '/scenarios/night/publish'])
  const shop = (schedule?: unknown) => ({
    name: 'Shop',
    cameras: { cameras: ['north/pi/gate'] },
    settings: { record: { mode: 'off' }, scoreMin: 0.4 },
    ...(schedule !== undefined && { schedule }),
  })
  const conflicts = async (document: unknown) =>
    (
      await answer<{ problems: Problem[] }>(t, server, 200, ['POST', '/scenarios/check', { document }])
    ).problems.filter(({ kind }) => kind === 'conflict')
  const [one, ...more] = await conflicts(shop())
  t.strictSame(more, [])
  t.match(one?.message, /^"Shop" and "Night" both set record\.mode of north\/pi\/gate: off, always\./)
  t.strictSame(one?.path, ['settings', 'record', 'mode'])
  const monday = { timeZone: 'Europe/Zurich', hours: [{ days: ['mon'], from: '08:00', to: '18:00' }] }
  t.match(
    (await conflicts(shop(monday)))[0]?.message,
    /Their hours meet, next on \d+ \w+ \d{4} at \d\d:\d\d \(\w+/,
  )
  await answer(t, server, 200, [
    'PUT',
    '/scenarios/night',
    {
      revision: 2,
      document: night({ schedule: { ...monday, hours: [{ days: ['tue'], from: '00:00', to: '24:00' }] } }),
    },
  ])
  t.strictSame(await conflicts(shop(monday)), [], 'hours that never meet')
})

t.test('an operator of some sites has the scenarios of these, and no others', async (t) => {
  const server = await apiServer(t)
  await answer(t, server, 201, ['POST', '/scenarios', { document: { ...night(), cameras: { all: true } } }])
  await answer(t, server, 201, ['POST', '/scenarios', { document: night({ name: 'Mine' }) }], 'nora')
  const { items } = await server.json<{ items: Kept[] }>('/scenarios', 'nora')
  t.strictSame(
    items.map(({ id }) => id),
    ['mine'],
  )
  await answer(t, server, 404, ['GET', '/scenarios/night'], 'nora')
  await answer(t, server, 404, ['POST', '/scenarios/night/publish'], 'nora')
  await answer(t, server, 404, ['DELETE', '/scenarios/night'], 'nora')
  await answer(t, server, 404, ['GET', '/scenarios/night/revisions'], 'nora')
  for (const cameras of [{ all: true }, { labels: ['x'] }, { sites: ['south'] }, { devices: ['south/pi'] }]) {
    await answer(t, server, 403, ['POST', '/scenarios', { document: night({ cameras }) }], 'nora')
    await answer(
      t,
      server,
      403,
      ['PUT', '/scenarios/mine', { revision: 1, document: night({ cameras }) }],
      'nora',
    )
    await answer(t, server, 403, ['POST', '/scenarios/try', { document: night({ cameras }) }], 'nora')
  }
  for (const user of ['vera', 'anna']) await answer(t, server, 403, ['GET', '/scenarios'], user)
  const checked = await answer<{ cameras: string[] }>(
    t,
    server,
    200,
    ['POST', '/scenarios/check', { document: night({ cameras: { all: true } }) }],
    'nora',
  )
  t.strictSame(checked.cameras, ['north/pi/gate'], 'what she may not see is not there')
  await answer(t, server, 404, ['GET', '/devices/south/pi/desired'], 'nora')
  await answer(t, server, 200, ['GET', '/devices/north/pi/desired'], 'nora')
})

t.test(
  'trying a scenario says what of the last day it would have told of, in its zones as they are drawn',
  async (t) => {
    const server = await apiServer(t)
    const nowMs = Date.now()
    const [track, other] = [newId(), newId()]
    const crop = (settings: Partial<CropMetadata>): Partial<CropMetadata> => ({
      ...NORTH,
      frame: [1000, 1000],
      capturedAtMs: nowMs - 3_600_000,
      ...settings,
    })
    await server.store(
      crop({ box: [100, 100, 100, 100], track }),
      crop({ box: [120, 120, 100, 100], track, capturedAtMs: nowMs - 3_599_000 }),
      crop({ box: [800, 800, 100, 100], track: other }),
      crop({ box: [100, 100, 100, 100], capturedAtMs: nowMs - 30 * 3_600_000 }),
      { ...crop({ box: [100, 100, 100, 100] }), ...SOUTH },
    )
    const document = {
      name: 'Corner',
      cameras: { sites: ['north'] },
      zones: [
        {
          name: 'corner',
          points: [
            [0, 0],
            [0.5, 0],
            [0.5, 0.5],
            [0, 0.5],
          ],
        },
      ],
      rules: [
        { id: 'corner', name: 'In the corner', on: 'face', conditions: { zones: ['corner'] } },
        {
          id: 'enters',
          name: 'Comes in',
          on: 'zone',
          conditions: { zones: ['corner'], zoneEvents: ['enter'] },
        },
        { id: 'any', name: 'Any', on: 'face' },
        { id: 'crowd', name: 'Crowd', on: 'presence', conditions: { moreThan: 3 } },
        { id: 'huge', name: 'Huge', on: 'face', conditions: { scoreMin: 0.01, sizeMin: 5000 } },
      ],
    }
    interface Tried {
      rules: {
        id: string
        count: number
        examples: { camera: string; detection?: string; atMs: number }[]
        looked: number
        excludedBy?: { condition: string; count: number }
        untried?: string
      }[]
      looked: number
      fromMs: number
    }
    const tried = await answer<Tried>(t, server, 200, ['POST', '/scenarios/try', { document, hours: 24 }])
    t.strictSame(
      tried.rules.map(({ id, count }) => [id, count]),
      [
        ['corner', 1],
        ['enters', 1],
        ['any', 2],
        ['crowd', 0],
        ['huge', 0],
      ],
      'a face is one, whatever pictures there are of it',
    )
    t.equal(tried.looked, 3)
    t.match(tried.rules[0]?.examples, [{ camera: 'north/pi/gate', detection: /./ }])
    t.match(tried.rules[3]?.untried, /not stored/)
    t.match(
      tried.rules.map(({ looked, excludedBy }) => [looked, excludedBy]),
      [
        [2, { condition: 'zones', count: 1 }],
        [1, undefined],
        [2, undefined],
        [0, undefined],
      ],
      'how many faces each looked at, and what kept out most',
    )
    t.ok(tried.fromMs >= nowMs - 24 * 3_600_000 - 1000)
    const longer = await answer<Tried>(t, server, 200, ['POST', '/scenarios/try', { document, hours: 48 }])
    t.equal(longer.rules[0]?.count, 2)
    await answer(t, server, 400, ['POST', '/scenarios/try', { document, hours: 1000 }])

    for (const [id, kind, subject, at_ms, ended_at_ms] of [
      ['a', 'camera-down', 'north/pi/gate', nowMs - 30 * 3_600_000, nowMs - 3_600_000],
      ['b', 'device-offline', 'north/pi', nowMs - 90 * 3_600_000, null],
      ['c', 'device-offline', 'north/pi', nowMs - 99 * 3_600_000, nowMs - 98 * 3_600_000],
    ] as const)
      await server.database.write
        .insertInto('health_events')
        .values({ id, kind, subject, at_ms, ended_at_ms, level: 'problem', text: '' })
        .execute()
    const states = await answer<Tried>(t, server, 200, [
      'POST',
      '/scenarios/try',
      {
        document: {
          ...document,
          rules: [
            { id: 'down', name: 'Down', on: 'camera', conditions: { states: ['down', 'covered'] } },
            { id: 'gone', name: 'Gone', on: 'device', conditions: { states: ['offline'] } },
            { id: 'sure', name: 'Sure', on: 'face', conditions: { scoreMin: 1 }, cooldownMs: 1 },
            { id: 'all', name: 'All', on: 'arrival' },
            { id: 'told', name: 'Told', on: 'track', conditions: { trackEvents: ['new', 'end'] } },
            { id: 'clips', name: 'Clips', on: 'arrival', conditions: { kinds: ['clip'] } },
            { id: 'new', name: 'New', on: 'track', conditions: { trackEvents: ['new'] } },
          ],
        },
        hours: 24,
      },
    ])
    t.strictSame(
      states.rules.map(({ id, count }) => [id, count]),
      [
        ['down', 1],
        ['gone', 1],
        ['sure', 0],
        ['all', 3],
        ['told', 2],
        ['clips', 0],
        ['new', 2],
      ],
      'what began before the time and lasted into it counts',
    )
    t.strictSame(
      states.rules.map(({ untried = '' }) =>
        untried.includes('in part') ? 'part' : untried === '' ? 'all' : 'none',
      ),
      ['part', 'all', 'all', 'part', 'part', 'none', 'all'],
    )
    t.strictSame(states.rules[2]?.excludedBy, { condition: 'scoreMin', count: 2 })
  },
)

t.test('what shows or keeps the scene takes the right to recordings, also in documents', async (t) => {
  const server = await apiServer(t)
  const token = await tokenOf(server.context.access, 'otto', ['scenarios'])
  const ask = async (status: number, method: string, path: string, body?: unknown) => {
    const got = await fetch(`${server.url}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        ...(body !== undefined && { 'content-type': 'application/json' }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    })
    const text = await got.text()
    t.equal(got.status, status, `${method} ${path}: ${text.slice(0, 200)}`)
    return text
  }
  const effect = { view: { effect: 'pixelate' as const } }
  const written = night({ settings: effect })
  await answer(t, server, 201, ['POST', '/scenarios', { document: written }], 'otto')
  await ask(403, 'POST', '/scenarios/night/publish')
  await answer(t, server, 200, ['POST', '/scenarios/night/publish'], 'otto')
  const plain = night({ settings: {} })
  await ask(403, 'PUT', '/scenarios/night', { revision: 2, document: plain })
  await ask(403, 'PUT', '/scenarios/night', {
    revision: 2,
    document: { ...written, cameras: { sites: ['south'] } },
  })
  await ask(403, 'POST', '/scenarios/night/pause')
  await ask(403, 'POST', '/scenarios/night/rollback', { revision: 1 })
  await ask(403, 'DELETE', '/scenarios/night')
  await answer(t, server, 200, ['POST', '/scenarios/night/pause'], 'otto')
  await ask(200, 'PUT', '/scenarios/night', { revision: 3, document: plain })
  await ask(200, 'POST', '/scenarios/night/publish')

  const at = '/devices/north/pi/desired'
  const device = (settings: object, more: object = {}) => ({
    content: { cameras: { gate: settings }, ...more },
  })
  await ask(403, 'PUT', at, { revision: 0, document: device({ record: { mode: 'always' } }) })
  await ask(403, 'PUT', at, { revision: 0, document: device({ masks: [] }) })
  await ask(403, 'PUT', at, {
    revision: 0,
    document: device({}, { streams: { bell: { keyHash: 'a'.repeat(64) } } }),
  })
  await ask(200, 'PUT', at, { revision: 0, document: device({ scoreMin: 0.5 }) })
  const hidden = device(effect)
  await answer(t, server, 200, ['PUT', at, { revision: 1, document: hidden }], 'otto')
  await ask(403, 'POST', `${at}/rollback`, { revision: 1 })
  await ask(200, 'PUT', at, { revision: 2, document: device({ ...effect, scoreMin: 0.6 }) })

  const picture = Buffer.from('a picture').toString('base64')
  say(server, { opened: { gate: { picture, frame: [4, 3] } } })
  t.match(await answer(t, server, 200, ['GET', at], 'otto'), { reported: { opened: { gate: { picture } } } })
  const seen = await ask(200, 'GET', at)
  t.match(seen, '"gate":{"frame":[4,3]}')
  t.notMatch(seen, picture, 'pictures are for who may see them')
})

t.test('what a device shall be: told, answered, compared; secrets are neither shown nor lost', async (t) => {
  const server = await apiServer(t)
  const path = '/devices/north/pi/desired'
  const before = await answer<Desired>(t, server, 200, ['GET', path])
  t.match(before, { state: 'none', revision: 0, desired: null })
  say(server)
  const document = {
    labels: ['inside'],
    content: {
      cameras: {
        gate: { record: { mode: 'always' } },
        yard: { source: 'rtsp://me:hunter2@192.0.2.7/1', password: 'hunter3' },
      },
    },
  }
  const written = await answer<Desired>(t, server, 200, ['PUT', path, { revision: 0, document }])
  t.match(written, {
    state: 'pending',
    revision: 1,
    document: { content: { cameras: { yard: { password: SECRET } } } },
  })
  t.notMatch(JSON.stringify(written), /hunter/)
  const first = await told(server)
  t.match(
    first?.content,
    { cameras: { yard: { password: 'hunter3', source: /hunter2/ } } },
    'the device has them',
  )
  t.equal(first?.digest, digestOf(first?.content))
  await answer(t, server, 409, ['PUT', path, { revision: 0, document }])
  const back = structuredClone(written.document) as Record<string, unknown>
  await answer(t, server, 200, ['PUT', path, { revision: 1, document: { ...back, labels: ['outside'] } }])
  t.equal(server.published.length, 1, 'labels are not sent: nothing new is told')
  const applied = { version: first?.version ?? 0, digest: first?.digest ?? '', atMs: 1 }
  const effective = {
    detect: { model: 'yunet' },
    cameras: {
      gate: { from: 'file' as const, source: 'file', record: { mode: 'off' } },
      yard: { from: 'desired' as const, source: 'rtsp://192.0.2.7/1' },
    },
  }
  say(server, { state: 'applied', version: applied.version, applied, effective })
  t.match(await answer<Desired>(t, server, 200, ['GET', path]), {
    state: 'applied',
    differences: [{ path: 'cameras.gate.record.mode', desired: 'always', effective: 'off' }],
  })
  const { items } = await server.json<{
    items: { device: string; site: string; desired: { state: string } }[]
  }>('/devices')
  t.match(
    items.find((it) => it.site === 'north'),
    { desired: { state: 'applied', program: '0.1.0' } },
  )
  const history = await server.json<unknown>(`${path}/revisions`)
  const audit = await server.json<unknown>('/audit')
  t.notMatch(JSON.stringify([history, audit]), /hunter/)
  await answer(t, server, 204, ['POST', `${path}/again`])
  await told(server)
  t.ok(
    (server.published.at(-1)?.desired.version ?? 0) > applied.version,
    'a new version, so that it is tried',
  )
  t.equal(server.published.at(-1)?.desired.digest, applied.digest, 'of the same')
  t.equal((await answer<Desired>(t, server, 200, ['GET', path])).state, 'pending')
  say(server, {
    state: 'refused',
    version: server.published.at(-1)?.desired.version,
    refused: {
      code: 'SOURCE_UNAVAILABLE',
      message: 'The camera does not answer.',
      path: ['cameras', 'yard'],
    },
    applied,
    opened: { yard: { error: { code: 'SOURCE_UNAVAILABLE', message: 'no' } } },
  })
  t.match(await answer<Desired>(t, server, 200, ['GET', path]), {
    state: 'refused',
    why: 'The camera does not answer.',
  })
  const wrong = await answer<Desired>(t, server, 200, [
    'POST',
    `${path}/check`,
    {
      document: {
        content: { cameras: { none: { paused: true } }, streams: { x: { keyHash: 'a'.repeat(64) } } },
      },
    },
  ])
  t.ok(
    wrong.problems?.some(({ message }) => /has no camera "none"/.test(message)),
    JSON.stringify(wrong.problems),
  )
  await answer(t, server, 404, ['GET', '/devices/north/none/desired'])
  await answer(t, server, 403, ['GET', path], 'vera')
})

t.test('a camera that comes to a device is told what the scenarios ask of it', async (t) => {
  const server = await apiServer(t)
  await answer(t, server, 201, ['POST', '/scenarios', { document: night() }])
  await answer(t, server, 200, ['POST', '/scenarios/night/publish'])
  t.strictSame(camerasOf(await told(server)), ['gate'])
  const yard = cameraSeen({ ...NORTH, camera: 'yard' })
  server.fleet.cameras = [...server.fleet.cameras, yard]
  server.desired.camera(yard, undefined)
  t.strictSame(camerasOf(await told(server)), ['gate', 'yard'])
})

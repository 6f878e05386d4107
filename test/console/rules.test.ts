import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { sql } from 'kysely'
import t, { type Test } from 'tap'
import { NODE_FLAGS } from '../../bin/runtime.js'
import type { CameraSeen, DeviceSeen, KeeperSeen, NoticeBook } from '../../console/context.ts'
import { Database } from '../../console/database/database.ts'
import { Book } from '../../console/notices/book.ts'
import { FaceEvents } from '../../console/rules/events.ts'
import { ruleSchema } from '../../console/rules/rule.ts'
import { Rules, type RulesParts } from '../../console/rules/rules.ts'
import { scenarioSchema } from '../../console/scenarios/document.ts'
import { isActive, nextChange } from '../../console/scenarios/schedule.ts'
import { failure } from '../../lib/errors.ts'
import { openLog } from '../../lib/log.ts'
import { Store } from '../../store/store.ts'
import { newId } from '../../wire/id.ts'
import { announcementLine } from '../../wire/stored.ts'
import { makeStored } from '../kit/announcements.ts'
import { until } from '../kit/wait.ts'
import { keepChannel } from './notices/notices-kit.ts'
import { camera, DOOR, event, publish, trackAt, view } from './rule-cases.ts'

interface Held {
  readonly cameras: CameraSeen[]
  readonly devices: DeviceSeen[]
  readonly keepers: KeeperSeen[]
}

const open = async (t: Test) => {
  const file = join(t.testdir(), 'console.sqlite')
  const database = await Database.open({ type: 'sqlite', file })
  t.teardown(() => database[Symbol.asyncDispose]())
  return database
}

async function rulesOf(
  t: Test,
  database: Database,
  written: readonly object[],
  settings: Partial<RulesParts> = {},
) {
  const fleet: Held = { cameras: [], devices: [], keepers: [] }
  const scenarios = {
    published: [publish(written)],
    changed: () => {},
    follow(changed: () => void) {
      this.changed = changed
      return () => {}
    },
  }
  const rules = await Rules.open({
    database,
    scenarios,
    fleet,
    notices: new Book({ onWake: () => {} }),
    schedule: { holds: isActive, changesAtMs: nextChange },
    log: openLog('test', 'silent'),
    ...settings,
  })
  let isClosed = false
  const close = async () => {
    if (!isClosed) await rules[Symbol.asyncDispose]()
    isClosed = true
  }
  t.teardown(close)
  const index = (...crops: Parameters<Database['apply']>[0]) =>
    rules.indexing((within) => database.apply(crops, 'north', within))
  return { rules, fleet, scenarios, index, close }
}

const noticesOf = (database: Database) =>
  database.write.selectFrom('notices').selectAll().orderBy('at_ms').execute()
const decisionsOf = async (database: Database, rules: Rules) => {
  await rules.settled()
  return database.write.selectFrom('decisions').selectAll().orderBy('id').execute()
}

t.test('a face is in the database with its notice, and announced again it makes none', async (t) => {
  const database = await open(t)
  await keepChannel(database, 'c', { type: 'mqtt' })
  const { rules, index } = await rulesOf(t, database, [{ on: 'face' }])
  const crop = makeStored({ track: newId(), shot: 'first' })
  const better = makeStored({ ...crop, id: newId(), key: undefined, shot: 'best' })
  await index(crop)
  await index(crop)
  t.equal((await noticesOf(database)).length, 1)
  await index(better)
  const [notice] = await noticesOf(database)
  t.match(notice, { revision: 1, camera: 'home/pi/door', rule: 'r0' })
  t.match(JSON.parse(notice?.notice_json ?? ''), { detection: better.id, is: 'updated' })
  const deliveries = await database.write.selectFrom('deliveries').selectAll().execute()
  t.equal(deliveries.length, 1, 'the channel wants no updates')
  t.strictSame(
    (await decisionsOf(database, rules)).map(({ what }) => what),
    ['sent', 'updated'],
  )
})

t.test('what the bucket has shown to hold is put in without a word', async (t) => {
  const database = await open(t)
  await rulesOf(t, database, [{ on: 'face' }])
  await database.restore([makeStored()], 'north')
  t.strictSame(await noticesOf(database), [])
})

t.test('a transaction that is tried again makes a notice once, and one that fails makes none', async (t) => {
  const database = await open(t)
  const { rules, index } = await rulesOf(t, database, [{ on: 'face', per: 'camera', cooldownMs: 60_000 }])
  const crop = makeStored()
  await t.rejects(
    rules.indexing(async (within) => {
      await database.apply([crop], 'north', async (transaction, applied) => {
        await within(transaction, applied)
        throw failure('DATABASE_UNREACHABLE', 'It is away.')
      })
      throw new Error('not reached')
    }),
    { code: 'DATABASE_UNREACHABLE' },
  )
  t.strictSame(await noticesOf(database), [])
  let tries = 0
  await rules.indexing((within) =>
    database.apply([crop], 'north', async (transaction, applied) => {
      await within(transaction, applied)
      tries += 1
      if (tries < 3) throw failure('DATABASE_BUSY', 'Another was first.')
    }),
  )
  t.equal(tries, 3)
  t.equal((await noticesOf(database)).length, 1, 'also no cooldown is left of what never was')
  await index(makeStored())
  t.equal((await noticesOf(database)).length, 1)
})

t.test('notices that cannot be written keep no face out of the database', async (t) => {
  const database = await open(t)
  const broken: NoticeBook = {
    write: async (transaction) => {
      await sql`insert into nowhere values (1)`.execute(transaction)
    },
    wake: () => {},
  }
  const { index } = await rulesOf(t, database, [{ on: 'face' }], { notices: broken })
  const crop = makeStored()
  const { added } = await index(crop)
  t.equal(added.length, 1)
  t.ok(await database.detection(crop.id, { all: true }))
})

t.test('live facts: an event, a camera that is covered for a while, and what ends', async (t) => {
  const database = await open(t)
  const { rules, fleet } = await rulesOf(t, database, [
    { on: 'track' },
    { on: 'camera', conditions: { states: ['covered'] }, holdMs: 100 },
  ])
  const atMs = Date.now()
  const track = trackAt(0)
  const seen = event(0, 'new', track)
  if (seen.is === 'event') {
    const after = { ...seen.event.after, seenMs: atMs }
    rules.take({ is: 'event', event: { ...seen.event, after } })
  }
  const covered = view('covered')
  rules.take(covered)
  await until('two notices', async () => (await noticesOf(database)).length === 2)
  rules.take(view('clear'))
  await until('an end', async () => (await noticesOf(database)).some(({ revision }) => revision === 1))
  const states = await database.write.selectFrom('rule_states').selectAll().execute()
  t.strictSame(
    states.map(({ key }) => key),
    [`o:${track}`],
    'what has ended is not kept',
  )
  t.equal(fleet.cameras.length, 0)
})

t.test('a restart tells nothing twice, and tells of what ended meanwhile', async (t) => {
  const database = await open(t)
  const written = [
    { on: 'camera', conditions: { states: ['down'] } },
    { on: 'face', per: 'camera', cooldownMs: 600_000 },
  ]
  const first = await rulesOf(t, database, written)
  const down = camera({ is: 'down', state: 'down', why: 'no route' })
  const up = camera()
  first.rules.take(down)
  await first.index(makeStored())
  await until('two notices', async () => (await noticesOf(database)).length === 2)
  await first.close()

  const cameras = down.is === 'camera' ? [down.camera] : []
  const second = await rulesOf(t, database, written, { fleet: { cameras, devices: [], keepers: [] } })
  await second.index(makeStored())
  await second.rules.settled()
  t.equal((await noticesOf(database)).length, 2)
  await second.close()

  const back = up.is === 'camera' ? [up.camera] : []
  const third = await rulesOf(t, database, written, { fleet: { cameras: back, devices: [], keepers: [] } })
  await third.rules.settled()
  t.match(
    (await noticesOf(database))
      .filter(({ rule }) => rule === 'r0')
      .map((it) => JSON.parse(it.notice_json).is),
    ['ended'],
  )
})

t.test('counted faces of before a restart count', async (t) => {
  const database = await open(t)
  const written = [{ on: 'count', conditions: { moreThan: 2, windowMs: 3_600_000 } }]
  const first = await rulesOf(t, database, written)
  await first.index(makeStored(), makeStored())
  await first.close()
  const second = await rulesOf(t, database, written)
  await second.index(makeStored())
  const [notice] = await noticesOf(database)
  t.equal(notice && JSON.parse(notice.notice_json).count, 3)
})

t.test('suspended: told until when, over a restart, and heard again after', async (t) => {
  const database = await open(t)
  const written = [{ on: 'face' }]
  const untilMs = Date.now() + 600_000
  const first = await rulesOf(t, database, written)
  await first.rules.suspend({ scenario: 'visitors', camera: 'home/pi/door', untilMs, by: 'otto' })
  await first.index(makeStored(), makeStored({ camera: 'yard' }))
  t.strictSame(
    (await noticesOf(database)).map(({ camera: of }) => of),
    ['home/pi/yard'],
  )
  await first.close()
  const { rules, index } = await rulesOf(t, database, written)
  await index(makeStored())
  t.match(
    (await decisionsOf(database, rules)).filter(({ what }) => what === 'suspended'),
    [{ until_ms: untilMs, camera: 'home/pi/door' }, { until_ms: untilMs }],
  )
  t.strictSame(await rules.suspensions(), [
    { scenario: 'visitors', camera: 'home/pi/door', untilMs, by: 'otto' },
  ])
  t.equal(await rules.resume({ scenario: 'visitors', camera: 'home/pi/door' }), true)
  t.equal(await rules.resume({ scenario: 'visitors', camera: 'home/pi/door' }), false)
  await index(makeStored())
  t.equal((await noticesOf(database)).length, 2)
})

t.test('the same decision again within a minute is one, with how often', async (t) => {
  const database = await open(t)
  const { rules, index } = await rulesOf(t, database, [{ on: 'face', per: 'camera', cooldownMs: 600_000 }])
  for (let n = 0; n < 5; n += 1) await index(makeStored())
  const before = await decisionsOf(database, rules)
  t.strictSame(
    before.map(({ what, times }) => [what, times]),
    [
      ['sent', 1],
      ['cooldown', 4],
    ],
  )
  await index(makeStored())
  t.strictSame(
    (await decisionsOf(database, rules)).map(({ times }) => times),
    [1, 5],
  )
})

t.test('scenarios that are taken away take what was kept of their rules', async (t) => {
  const database = await open(t)
  const { rules, index, scenarios } = await rulesOf(t, database, [{ on: 'face' }])
  await index(makeStored())
  scenarios.published = []
  scenarios.changed()
  await rules.settled()
  await until(
    'states are gone',
    async () => (await database.write.selectFrom('rule_states').selectAll().execute()).length === 0,
  )
  await index(makeStored())
  t.equal((await noticesOf(database)).length, 1)
})

t.test(
  'events off the line: only what is one, of the camera whose topic it is, and not too many',
  async (t) => {
    let atMs = 0
    const events = new FaceEvents(() => atMs)
    const seen = event(0, 'new', trackAt(0))
    const payload = Buffer.from(JSON.stringify(seen.is === 'event' ? seen.event : undefined))
    t.ok(events.take(DOOR, payload))
    t.equal(events.take({ ...DOOR, camera: 'yard' }, payload), undefined)
    const dropped = events.dropped
    const said = { v: 1, type: 'plugin', ...DOOR, atMs: 1, plugin: 'light', by: 'light@1.0', name: 'dark' }
    t.equal(events.take(DOOR, Buffer.from(JSON.stringify(said))), undefined)
    t.equal(events.dropped, dropped, 'what plugins say is passed over')
    t.equal(events.take(DOOR, Buffer.from('{')), undefined)
    t.equal(events.take(DOOR, Buffer.from('null')), undefined)
    t.equal(events.take(DOOR, Buffer.alloc(20_000, ' ')), undefined)
    t.equal(events.dropped, 4)
    const ofPlugin = {
      ...{ v: 1, type: 'plugin', ...DOOR, atMs: 1 },
      plugin: 'mine',
      by: 'mine@1',
      name: 'dark',
    }
    t.equal(events.take(DOOR, Buffer.from(JSON.stringify(ofPlugin))), undefined, 'plugins are passed over')
    t.equal(events.dropped, 4)
    let taken = 0
    for (let n = 0; n < 2000; n += 1) if (events.take(DOOR, payload)) taken += 1
    t.ok(taken < 510, `${taken} at once`)
    const other = { ...DOOR, camera: 'other' }
    t.equal(events.take(other, payload), undefined)
    atMs += 1000
    t.ok(events.take(DOOR, payload), 'and goes on after')
  },
)

t.test('events of one device crowd out no other, however many cameras it says it has', async (t) => {
  let atMs = 0
  const events = new FaceEvents(() => atMs)
  const it = event(0, 'new', trackAt(0))
  const face = it.is === 'event' ? it.event.after : undefined
  const sent = (place: typeof DOOR) => {
    const of = { ...face, ...place }
    return events.take(place, Buffer.from(JSON.stringify({ v: 1, type: 'new', before: of, after: of })))
  }
  let taken = 0
  for (let n = 0; n < 30_000; n += 1) if (sent({ ...DOOR, camera: `c${n % 500}` })) taken += 1
  t.ok(taken > 1000 && taken < 5100, `${taken} at once`)
  t.ok(sent({ ...DOOR, device: 'other' }), 'another is heard')
  // Names that come and go.
  let others = 0
  for (let n = 0; n < 25_000; n += 1) {
    atMs += 1
    if (sent({ ...DOOR, device: `d${n % 50}`, camera: `c${n}` })) others += 1
  }
  t.equal(others, 25_000)
})

t.test('after a restart cooldowns hold, however many faces there were', async (t) => {
  const database = await open(t)
  const written = [{ on: 'face' }, { on: 'face', per: 'camera', cooldownMs: 600_000 }]
  const now = Date.now()
  const rows = Array.from({ length: 100_000 }, () => ({
    ...{ scenario: 'visitors', rule: 'r0', key: `o:${newId()}` },
    ...{ noticed_at_ms: now, since_ms: null, notice: null },
  }))
  await database.write.transaction().execute(async (db) => {
    for (let at = 0; at < rows.length; at += 5000)
      await db
        .insertInto('rule_states')
        .values(rows.slice(at, at + 5000))
        .execute()
  })
  const first = await rulesOf(t, database, written)
  await first.index(makeStored())
  t.equal((await noticesOf(database)).length, 2)
  await first.close()
  const second = await rulesOf(t, database, written)
  await second.index(makeStored())
  t.same((await noticesOf(database)).map(({ rule }) => rule).sort(), ['r0', 'r0', 'r1'])
})

t.test('killed again and again: each face has its one notice, and none is forgotten', async (t) => {
  const folder = t.testdir()
  const CROPS = 600
  {
    await using database = await Database.open({ type: 'sqlite', file: join(folder, 'console.sqlite') })
    await keepChannel(database, 'c', { type: 'mqtt', perHourMax: 100_000 })
    const scenario = scenarioSchema.parse({
      name: 'Visitors',
      cameras: { all: true },
      rules: [ruleSchema.parse({ id: 'r0', name: 'Faces', on: 'face', notify: ['c'] })],
    })
    await database.write
      .insertInto('documents')
      .values({
        kind: 'scenario',
        id: 'visitors',
        name: 'Visitors',
        state: 'published',
        revision: 1,
        document_json: JSON.stringify(scenario),
        created_at_ms: 0,
        created_by: 'test',
        changed_at_ms: 0,
        changed_by: 'test',
      })
      .execute()
    await using store = await Store.open({ folder: join(folder, 'inbox') })
    const bounds = {
      bytesMax: 1e9,
      entriesMax: 1e6,
      ageMsMax: Number.POSITIVE_INFINITY,
      whenFull: 'reject',
    } as const
    const inbox = store.queue('inbox', bounds)
    const header = Buffer.from(JSON.stringify({ topic: 'sightline/stored/north', receivedAtMs: Date.now() }))
    // Every second one has a better picture that follows, and each message comes twice.
    for (let n = 0; n < CROPS; n += 1) {
      const first = makeStored({ track: newId(), shot: 'first', camera: `c${n % 5}` })
      const best = makeStored({ ...first, id: newId(), key: undefined, shot: 'best' })
      const body = Buffer.from([first, ...(n % 2 === 0 ? [best] : [])].map(announcementLine).join(''))
      for (let times = 0; times < 2; times += 1) await store.accept({ header, body }, [inbox])
    }
  }
  const places = ['before', 'after', 'committed', 'before', 'after', 'committed', 'never']
  for (const [n, place] of places.entries()) {
    const child = fork(join(import.meta.dirname, 'rules-child.ts'), [folder, place, String(1 + (n % 2))], {
      execArgv: [...NODE_FLAGS],
      silent: true,
    })
    const exited = once(child, 'exit')
    let said = ''
    child.stdout?.on('data', (data) => {
      said += data
    })
    const word = place === 'never' ? 'empty' : 'stopped'
    await until(`${place}: ${word}`, () => said.includes(word) || child.exitCode !== null, 60_000)
    child.kill('SIGKILL')
    await exited
  }
  await using database = await Database.open({ type: 'sqlite', file: join(folder, 'console.sqlite') })
  const faces = await database.write.selectFrom('detections').select(['track', 'shot', 'id']).execute()
  t.equal(faces.length, CROPS * 1.5)
  const notices = await noticesOf(database)
  t.equal(notices.length, CROPS)
  t.equal(new Set(notices.map(({ notice_json }) => JSON.parse(notice_json).track)).size, CROPS)
  t.equal(notices.filter(({ revision }) => revision === 1).length, CROPS / 2)
  t.notOk(notices.some(({ revision }) => revision > 1))
  const deliveries = await database.write.selectFrom('deliveries').selectAll().execute()
  t.equal(new Set(deliveries.map(({ notice }) => notice)).size, CROPS)
  t.equal(deliveries.length, CROPS)
})

import { verify, X509Certificate } from 'node:crypto'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { CameraSeen, Fleet } from '../../console/context.ts'
import { Database, type DatabaseOptions } from '../../console/database/database.ts'
import { DesiredBook } from '../../console/desired/desired.ts'
import { DesiredSigner } from '../../console/desired/signing.ts'
import { readAnswer } from '../../console/desired/store.ts'
import { deviceDocumentSchema, scenarioSchema } from '../../console/scenarios/document.ts'
import { Documents } from '../../console/scenarios/documents.ts'
import { LiveScenarios } from '../../console/scenarios/scenarios.ts'
import { failure } from '../../lib/errors.ts'
import { openLog } from '../../lib/log.ts'
import { type Desired, digestOf, type Reported, signedText } from '../../wire/desired.ts'
import { openAuthority } from '../kit/certificates.ts'
import { makeReported } from '../kit/desired.ts'
import { freshPostgres, POSTGRES_URL } from '../kit/postgres.ts'
import { until } from '../kit/wait.ts'
import { cameraSeen } from './api-server.ts'

const PI = { site: 'home', device: 'pi' }
const log = openLog('test', 'silent')

interface Opened {
  readonly book: DesiredBook
  readonly documents: Documents
  readonly scenarios: LiveScenarios
  readonly published: Desired[]
  readonly refused: (string | undefined)[]
  readonly dropped: string[]
  clock(toMs: number): void
  /** What was said since the last time it was asked. */
  news(): Promise<Desired[]>
  write(content: Record<string, unknown>): Promise<void>
}

async function open(
  t: Test,
  database: Database,
  { signer, fails = () => false }: { signer?: DesiredSigner; fails?: () => boolean } = {},
): Promise<Opened> {
  let nowMs = 1_800_000_000_000
  const now = () => nowMs
  const { read, write } = database
  const documents = new Documents({ read, write, now })
  const scenarios = await LiveScenarios.open({ documents, log, now })
  const cameras: CameraSeen[] = [cameraSeen({ ...PI, camera: 'door' })]
  const fleet: Fleet = { keepers: [], devices: [], cameras, camera: () => undefined }
  const published: Desired[] = []
  const refused: (string | undefined)[] = []
  const dropped: string[] = []
  const book = await DesiredBook.open({
    topicPrefix: 'p',
    database,
    documents,
    scenarios,
    fleet,
    publish: async (_topic, payload) => {
      if (fails()) throw failure('BROKER_UNREACHABLE', 'away')
      published.push(JSON.parse(payload.toString()))
    },
    signer,
    events: {
      changed: () => {},
      refused: (_place, why) => refused.push(why),
      dropped: (why) => dropped.push(why),
    },
    log,
    now,
  })
  t.teardown(async () => {
    await book[Symbol.asyncDispose]()
    await scenarios[Symbol.asyncDispose]()
  })
  let seen = 0
  return {
    book,
    documents,
    scenarios,
    published,
    refused,
    dropped,
    clock: (toMs) => {
      nowMs = toMs
    },
    async news() {
      await scenarios.reload()
      await book.settled()
      await new Promise((resolve) => setTimeout(resolve, 20))
      const since = published.slice(seen)
      seen = published.length
      return since
    },
    async write(content) {
      const document = deviceDocumentSchema.parse({ content })
      const kept = await documents.get('device', 'home/pi')
      if (kept) await documents.change('device', 'home/pi', { revision: kept.revision, document, by: 'ada' })
      else await documents.create('device', { id: 'home/pi', document, by: 'ada' })
    },
  }
}

const answer = (settings: Partial<Reported>): Buffer =>
  Buffer.from(JSON.stringify(makeReported(PI, settings)))

const applied = ({ version, digest }: Desired): Partial<Reported> => ({
  state: 'applied',
  version,
  applied: { version, digest, atMs: 0 },
})

function contract(t: Test, place: (t: Test) => Promise<DatabaseOptions>): void {
  const fresh = async (t: Test) => {
    const database = await Database.open(await place(t))
    t.teardown(() => database[Symbol.asyncDispose]())
    return database
  }

  t.test(
    'what was told and answered is there after a restart, pictures included, and is told no new',
    async (t) => {
      const database = await fresh(t)
      const one = await open(t, database)
      one.book.connected()
      await one.write({ detect: { sizeMin: 20 } })
      const [told, ...more] = await one.news()
      t.strictSame(more, [])
      t.match(told, { ...PI, version: 1_800_000_000_000, by: 'ada', content: { detect: { sizeMin: 20 } } })
      const picture = Buffer.from('a picture').toString('base64')
      one.book.take(PI, answer({ ...applied(told as Desired), opened: { door: { picture } } }))
      t.equal(one.book.answer(PI)?.reported.opened?.door?.picture, undefined, 'not in memory')
      await one.book[Symbol.asyncDispose]()
      t.equal((await readAnswer(database, 'home', 'pi'))?.reported.opened?.door?.picture, picture)
      const two = await open(t, database)
      t.equal(two.book.judge(PI).state, 'applied')
      two.book.connected()
      const [again, ...others] = await two.news()
      t.strictSame(others, [])
      t.equal(again?.version, told?.version, 'the same is said again, in case the broker has lost it')
      two.clock(1_700_000_000_000)
      await two.write({ detect: { sizeMin: 21 } })
      t.equal(
        (await two.news())[0]?.version,
        (told?.version ?? 0) + 1,
        'a clock that was put back makes no older one',
      )
      two.book.take(PI, Buffer.alloc(0))
      t.equal(two.book.answer(PI), undefined)
      await two.book[Symbol.asyncDispose]()
      t.equal(await readAnswer(database, 'home', 'pi'), undefined, 'an answer that is taken away is gone')
    },
  )

  t.test('without a broker it is kept, and said when there is one', async (t) => {
    let isAway = true
    const { book, write, news, published } = await open(t, await fresh(t), { fails: () => isAway })
    await write({ detect: { sizeMin: 20 } })
    t.strictSame(await news(), [], 'not connected')
    book.connected()
    t.strictSame(await news(), [], 'and not acknowledged')
    isAway = false
    book.connected()
    await until('it is said', () => published.length > 0, 5000)
    await write({})
    t.match(await news(), [{ content: { detect: { sizeMin: 20 } } }, { content: {} }], 'and then taken back')
  })
}

t.test('SQLite', (t) => {
  contract(t, async (t) => ({ type: 'sqlite', file: join(t.testdir(), 'console.db') }))
  t.end()
})

t.test('PostgreSQL', { skip: POSTGRES_URL ? false : 'SIGHTLINE_TEST_POSTGRES is not set' }, (t) => {
  contract(t, async (t) => ({ type: 'postgres', url: await freshPostgres(t) }))
  t.end()
})

const sqlite = async (t: Test) => {
  const database = await Database.open({ type: 'sqlite', file: join(t.testdir(), 'console.db') })
  t.teardown(() => database[Symbol.asyncDispose]())
  return database
}

t.test(
  'a device that returns is told again what it does not have; what it could not open, as a new version',
  async (t) => {
    const { book, write, news, refused, clock } = await open(t, await sqlite(t))
    book.connected()
    await write({ cameras: { yard: { source: 'rtsp://192.0.2.1/1' } } })
    const [told] = (await news()) as [Desired]
    book.returned(PI)
    t.strictSame(
      (await news()).map(({ version }) => version),
      [told.version],
      'pending: the same',
    )
    const notOpened = (version: number) =>
      answer({
        state: 'refused',
        version,
        refused: { code: 'SOURCE_UNAVAILABLE', message: 'No picture.', path: ['cameras', 'yard'] },
        opened: { yard: { error: { code: 'SOURCE_UNAVAILABLE', message: 'No picture.' } } },
      })
    book.take(PI, notOpened(told.version))
    t.equal(refused.at(-1), 'No picture.')
    book.returned(PI)
    book.returned(PI)
    const [anew, ...more] = await news()
    t.strictSame(more, [], 'once')
    t.equal(anew?.digest, told.digest)
    t.ok((anew?.version ?? 0) > told.version)
    t.equal(refused.at(-1), undefined, 'what is tried anew is not refused yet')
    book.take(PI, notOpened(anew?.version ?? 0))
    book.returned(PI)
    t.strictSame(await news(), [], 'not more than once a minute')
    clock(1_800_000_100_000)
    book.take(
      PI,
      answer({
        state: 'refused',
        version: anew?.version ?? 0,
        refused: { code: 'NOT_ALLOWED', message: 'No.', path: [] },
      }),
    )
    book.returned(PI)
    t.strictSame(await news(), [], 'what was refused for good is not tried again by itself')
  },
)

t.test('a device that says otherwise is told again, at most once a minute', async (t) => {
  const { book, write, news, clock, dropped } = await open(t, await sqlite(t))
  book.connected()
  await write({ detect: { sizeMin: 20 } })
  const [told] = (await news()) as [Desired]
  const lie = answer({
    state: 'applied',
    version: told.version,
    applied: { version: told.version, digest: 'f'.repeat(64), atMs: 0 },
  })
  book.take(PI, lie)
  book.take(PI, lie)
  t.strictSame(
    (await news()).map(({ version }) => version),
    [told.version],
  )
  t.equal(book.judge(PI).state, 'differs')
  clock(1_800_000_061_000)
  book.take(PI, lie)
  t.equal((await news()).length, 1)
  // As after an older copy of the database was put back: what it was told last is not known any more.
  clock(1_800_000_200_000)
  const later = { version: 1_800_000_150_000, digest: 'e'.repeat(64), atMs: 0 }
  book.take(PI, answer({ state: 'applied', version: later.version, applied: later }))
  const [newer] = await news()
  t.ok((newer?.version ?? 0) > later.version, 'with a version that it takes')
  t.equal(newer?.digest, told.digest)
  book.take({ site: 'home', device: 'nuc' }, lie)
  book.take(PI, Buffer.from('{'))
  book.take(PI, Buffer.alloc(600_000, 32))
  t.strictSame(dropped, ['foreign', 'invalid', 'invalid'])
  t.equal(book.answer({ site: 'home', device: 'nuc' }), undefined)
})

t.test('an answer that is nested without end is dropped, and harms nothing', async (t) => {
  const { book, dropped } = await open(t, await sqlite(t))
  const nested = (more: string) =>
    Buffer.from(answer({}).toString().replace('"effective":{', `"effective":{"more":${more},`))
  for (const depth of [64, 100_000]) book.take(PI, nested(`${'['.repeat(depth)}${']'.repeat(depth)}`))
  t.strictSame(dropped, ['invalid', 'invalid'])
  t.equal(book.answer(PI), undefined)
  const text = `"${'['.repeat(100)}`
  book.take(PI, nested(JSON.stringify(text)))
  t.equal(book.answer(PI)?.reported.effective.more, text, 'brackets in a text are none')
})

t.test('what a clock that was ahead has given is given anew, by a clock that is right', async (t) => {
  const { book, write, news, clock } = await open(t, await sqlite(t))
  book.connected()
  clock(1_900_000_000_000)
  await write({ detect: { sizeMin: 20 } })
  const [ahead] = (await news()) as [Desired]
  t.equal(ahead.version, 1_900_000_000_000)
  clock(1_800_000_000_000)
  book.take(
    PI,
    answer({
      state: 'refused',
      version: ahead.version,
      refused: { code: 'DESIRED_AHEAD', message: 'No.', path: [] },
    }),
  )
  const [anew] = (await news()) as [Desired]
  t.match(anew, { version: 1_800_000_000_000, digest: ahead.digest })
  // What a device says is plausible for a day ahead, such as of somebody else who told it.
  const other = { version: 1_800_000_000_000 + 80_000_000, digest: 'e'.repeat(64), atMs: 0 }
  clock(1_800_000_100_000)
  book.take(PI, answer({ state: 'applied', version: other.version, applied: other }))
  t.equal((await news())[0]?.version, other.version + 1)
})

t.test('what would be wrong is not told: what holds stays, and why is said', async (t) => {
  const { book, write, news, documents } = await open(t, await sqlite(t))
  book.connected()
  await write({ detect: { sizeMin: 20 } })
  t.equal((await news()).length, 1)
  const zones = (of: string) =>
    Array.from({ length: 10 }, (_, n) => ({
      name: `${of}${n}`,
      points: [
        [0, 0],
        [1, 0],
        [1, 1],
      ],
    }))
  for (const name of ['a', 'b']) {
    const document = scenarioSchema.parse({ name, cameras: { all: true }, zones: zones(name) })
    await documents.create('scenario', { document, by: 'ada' })
  }
  await news()
  t.match(book.fault(PI)?.message, /wrong at cameras\.door\.zones/)
  await documents.setState('scenario', 'b', { state: 'paused', what: 'pause', by: 'ada' })
  await news()
  t.equal(book.fault(PI), undefined)
  t.match(book.told(PI)?.scenarios, ['a'])
})

t.test('what is told is signed, for whose it is and for its version', async (t) => {
  const authority = await openAuthority(t)
  const pair = await authority.signer('control/console')
  const { book, write, news } = await open(t, await sqlite(t), { signer: DesiredSigner.open(pair) })
  book.connected()
  await write({ detect: { sizeMin: 20 } })
  const [told] = (await news()) as [Desired]
  t.equal(told.digest, digestOf(told.content))
  const { publicKey } = new X509Certificate(told.signature?.certificate ?? '')
  const isSigned = (desired: Desired) =>
    verify(
      null,
      Buffer.from(signedText(desired)),
      publicKey,
      Buffer.from(told.signature?.value ?? '', 'base64'),
    )
  t.ok(isSigned(told))
  for (const other of [{ device: 'nuc' }, { version: told.version + 1 }, { digest: digestOf({}) }])
    t.notOk(isSigned({ ...told, ...other }), JSON.stringify(other))
  const another = await authority.signer('control/another')
  const server = await authority.server('web')
  t.throws(() => DesiredSigner.open({ ...pair, keyFile: another.keyFile }), { code: 'CERTIFICATE_UNUSABLE' })
  t.throws(() => DesiredSigner.open(server), { code: 'CERTIFICATE_UNUSABLE', message: /signer/ })
  t.throws(() => DesiredSigner.open({ ...pair, keyFile: '/none' }), { code: 'CERTIFICATE_NOT_FOUND' })
})

t.test('a schedule that begins tells devices, and one that ends takes it back', async (t) => {
  const { book, documents, news, clock, scenarios } = await open(t, await sqlite(t))
  book.connected()
  // 2027-01-15 08:00 UTC, a Friday.
  const document = scenarioSchema.parse({
    name: 'Day',
    cameras: { all: true },
    settings: { paused: true },
    schedule: { timeZone: 'UTC', hours: [{ days: ['fri'], from: '08:30', to: '09:00' }] },
  })
  await documents.create('scenario', { document, by: 'ada' })
  t.strictSame(await news(), [])
  clock(Date.parse('2027-01-15T08:30:00Z'))
  await scenarios.reload()
  t.match(await news(), [{ content: { cameras: { door: { paused: true } } } }])
  clock(Date.parse('2027-01-15T09:00:00Z'))
  await scenarios.reload()
  t.match(await news(), [{ content: {}, by: 'schedule' }])
})

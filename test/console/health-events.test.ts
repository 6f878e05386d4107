import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pino from 'pino'
import t, { type Test } from 'tap'
import type { CameraSeen, KeeperSeen } from '../../console/context.ts'
import { Database } from '../../console/database/database.ts'
import { HealthEvents } from '../../console/health-events.ts'
import type { KeeperReport, QueueBooks } from '../../wire/keepers.ts'
import { temporaryFolder } from '../kit/programs.ts'
import { until } from '../kit/wait.ts'

const PATIENCE_MS = 100
const log = pino({ level: 'silent' })

async function open(t: Test, file = join(temporaryFolder(t), 'console.sqlite')) {
  const database = await Database.open({ type: 'sqlite', file })
  const changes: string[] = []
  const events = await HealthEvents.open({
    database,
    onChange: (id) => void changes.push(id),
    log,
    patienceMs: PATIENCE_MS,
  })
  t.teardown(async () => {
    await events[Symbol.asyncDispose]()
    await database[Symbol.asyncDispose]()
  })
  const rows = () => database.write.selectFrom('health_events').selectAll().orderBy('at_ms').execute()
  return { file, database, events, changes, rows }
}

const camera = (is: CameraSeen['is'], why: string | null = null): CameraSeen => ({
  site: 'home',
  device: 'pi',
  camera: 'door',
  is,
  stateAtMs: 1,
  state: { why } as CameraSeen['state'],
})

function keeper(changed: Partial<KeeperReport> = {}, isSilent = false): KeeperSeen {
  const report: KeeperReport = {
    v: 1,
    keeper: 'broker-edge-1',
    program: 'broker',
    name: 'edge',
    version: '0.1.0',
    startedAtMs: 1,
    atMs: Date.now(),
    everyMs: 10_000,
    ok: true,
    checks: {},
    queues: [],
    links: [],
    ...changed,
  }
  return { report, seenAtMs: Date.now(), isSilent, forwardedPerS: {} }
}

const queue = (changed: Partial<QueueBooks>): QueueBooks => ({
  name: 'bridge/cloud',
  accepted: 0,
  forwarded: 0,
  pending: 0,
  dropped: {},
  bytes: 0,
  oldestAtMs: null,
  ...changed,
})

t.test('a camera that is down is one event, from when it went down until it is back', async (t) => {
  const { events, rows, changes } = await open(t)
  events.camera(camera('live'))
  events.camera(camera('down', 'connection refused'))
  events.camera(camera('down', 'connection refused'))
  await until('it is opened', () => changes.length === 1)
  t.match(await rows(), [
    {
      kind: 'camera-down',
      subject: 'home/pi/door',
      site: 'home',
      camera: 'home/pi/door',
      text: 'connection refused',
      ended_at_ms: null,
    },
  ])
  events.camera(camera('down', 'no route to host'))
  await until('why is written', () => changes.length === 2)
  events.camera(camera('live'))
  await until('it is closed', () => changes.length === 3)
  const [event, ...others] = await rows()
  t.strictSame(others, [])
  t.match(event, { text: 'no route to host' })
  t.ok((event?.ended_at_ms ?? 0) >= (event?.at_ms ?? Infinity))
})

t.test('who looks for faces is an event of health where it is not who should', async (t) => {
  const { events, rows, changes } = await open(t)
  const seen = (state: Partial<NonNullable<CameraSeen['state']>>, is: CameraSeen['is'] = 'live') => ({
    ...camera(is),
    state: { why: null, ...state } as CameraSeen['state'],
  })
  const why = 'No inference server can be asked.'
  const mask = { name: 'mask', state: 'down', why: 'It has ended.' } as const
  events.camera(seen({ detect: { on: 'remote', why: null, sinceMs: 1 } }))
  events.camera(seen({ detect: { on: 'local', why, sinceMs: 1 }, process: [mask] }))
  await until('both are opened', () => changes.length === 2)
  events.camera(seen({ detect: { on: 'none', why, sinceMs: 1 } }))
  await until('two are over, and one is opened', () => changes.length === 5)
  events.camera(seen({ detect: { on: 'none', why, sinceMs: 1 } }, 'down'))
  await until('a camera that is down says why itself', () => changes.length === 7)
  t.strictSame(
    (await rows())
      .map(({ kind, level, text, ended_at_ms }) => [kind, level, text, ended_at_ms !== null])
      .sort(),
    [
      ['camera-down', 'problem', 'No picture from the camera.', false],
      ['not-looking', 'problem', `Nobody looks for faces. ${why}`, true],
      ['processor-down', 'problem', '"mask" does not work. It has ended.', true],
      ['servers-away', 'warning', `Its device looks for faces itself. ${why}`, true],
    ],
  )
})

t.test('what passes at once is no event', async (t) => {
  const { events, rows } = await open(t)
  events.keeper(keeper({ ok: false, checks: { broker: 'connecting' } }), undefined)
  events.keeper(keeper(), undefined)
  events.device({ site: 'home', device: 'pi', isOnline: false, changedAtMs: 1 })
  events.device({ site: 'home', device: 'pi', isOnline: true, changedAtMs: 1 })
  await sleep(3 * PATIENCE_MS)
  t.strictSame(await rows(), [])
})

t.test('programs, queues, quarantine, losses and certificates', async (t) => {
  const { events, rows, changes } = await open(t)
  const atMs = Date.now()
  const before = keeper({ queues: [queue({ name: 'inbox', dropped: { expired: 2, replaced: 1 } })] })
  const now = keeper({
    ok: false,
    checks: { store: 'ok', bridge: 'disconnected' },
    queues: [
      queue({ pending: 9, oldestAtMs: atMs - 120_000 }),
      queue({ name: 'session/x', pending: 9, oldestAtMs: atMs - 5_000 }),
      queue({ name: 'quarantine/cloud', pending: 2, oldestAtMs: atMs - 9e9 }),
      queue({ name: 'inbox', dropped: { expired: 5, replaced: 50 } }),
    ],
    certificates: [
      { name: 'broker.pem', endsAtMs: atMs + 3 * 86_400_000 },
      { name: 'ca.pem', endsAtMs: atMs + 900 * 86_400_000 },
    ],
  })
  events.keeper(before, undefined)
  events.keeper(now, before)
  await until('they are written', () => changes.length === 5)
  const found = (await rows()).map(({ kind, subject, text }) => `${kind} ${subject}: ${text}`).sort()
  t.match(found, [
    /^certificate-ends broker-edge-1 broker\.pem: The certificate broker\.pem ends on /,
    'dropped broker-edge-1 inbox: 3 messages of inbox were dropped: expired.',
    /^keeper-unwell broker-edge-1: store: ok; bridge: disconnected/,
    'quarantine broker-edge-1 quarantine/cloud: 2 messages in quarantine/cloud. See: sightline quarantine',
    /^queue-growing broker-edge-1 bridge\/cloud: 9 wait in bridge\/cloud, the oldest for 120 s\./,
  ])
  t.equal(found.length, 5)
})

t.test(
  'what a report does not name any more is over, and so is what is of a report that was taken away',
  async (t) => {
    const { events, rows, changes } = await open(t)
    const atMs = Date.now()
    const waiting = (name: string) => queue({ name, pending: 1, oldestAtMs: atMs - 120_000 })
    events.keeper(keeper({ queues: [waiting('session/a'), waiting('session/b')] }), undefined)
    await until('both are opened', () => changes.length === 2)
    events.keeper(keeper({ queues: [waiting('session/b')] }), undefined)
    await until('one is over', () => changes.length === 3)
    events.gone(keeper())
    await until('so is the other', () => changes.length === 4)
    t.ok((await rows()).every(({ ended_at_ms }) => ended_at_ms !== null))
    const many = Array.from({ length: 900 }, (_, n) => waiting(`session/${n}`))
    events.keeper(keeper({ queues: many }), undefined)
    await until('some are opened', () => changes.length >= 104)
    await sleep(3 * PATIENCE_MS)
    t.equal((await rows()).length, 102, 'of one program not without end')
  },
)

t.test('while the database is away nothing is forgotten', async (t) => {
  const { events, database, rows, changes } = await open(t)
  await database.write.schema.alterTable('health_events').renameTo('elsewhere').execute()
  events.camera(camera('down', 'x'))
  await sleep(4 * PATIENCE_MS)
  await database.write.schema.alterTable('elsewhere').renameTo('health_events').execute()
  await until('it is opened', () => changes.length === 1)
  t.match(await rows(), [{ kind: 'camera-down', ended_at_ms: null }])
})

t.test('one that lasts over a restart is the same, and ends after it', async (t) => {
  const { file, events, database, changes } = await open(t)
  events.keeper(keeper({}, true), undefined)
  await until('it is opened', () => changes.length === 1)
  await events[Symbol.asyncDispose]()
  await database[Symbol.asyncDispose]()
  const again = await open(t, file)
  again.events.keeper(keeper({}, true), undefined)
  await sleep(3 * PATIENCE_MS)
  t.equal((await again.rows()).length, 1)
  again.events.keeper(keeper(), undefined)
  await until('it is closed', () => again.changes.length === 1)
  t.match(await again.rows(), [{ kind: 'keeper-silent', ended_at_ms: Number }])
})

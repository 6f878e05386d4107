import t, { type Test } from 'tap'
import { MqttLink } from '../../lib/mqtt/link.ts'
import { type Desired, desiredSchema, digestOf, type Reported } from '../../wire/desired.ts'
import { makeReported } from '../kit/desired.ts'
import { brokerConfig, consoleConfig, consoleEnvironment, Program, RUN_TOKEN } from '../kit/programs.ts'
import { until as untilWithin } from '../kit/wait.ts'

/** The console as it runs, and devices as they answer: a real broker between them. */

const PREFIX = 'sightline/v1'

const until = (what: string, test: () => boolean | Promise<boolean>) => untilWithin(what, test, 20_000)

interface Told {
  readonly topic: string
  readonly desired: Desired
}

async function open(t: Test, settings: Record<string, unknown> = {}) {
  const broker = await Program.start(
    t,
    'broker',
    brokerConfig(t, { queues: [{ clientId: 'sightline-console', topics: [`${PREFIX}/stored/+`] }] }),
  )
  const console = await Program.start(t, 'console', consoleConfig(t, broker.url, settings), {
    env: consoleEnvironment,
  })
  const told: Told[] = []
  let clients = 0
  const connect = async () => {
    clients += 1
    const link = await MqttLink.open({
      url: broker.url,
      clientId: `device-${clients}`,
      protocol: 4,
      clean: true,
      packetBytesMax: 1e6,
      keepaliveS: 30,
      connectMsMax: 5000,
    })
    t.teardown(() => link.destroy())
    link.on('publish', ({ topic, payload, messageId }) => {
      if (messageId !== undefined) link.puback(messageId)
      const desired = payload.length === 0 ? undefined : desiredSchema.parse(JSON.parse(payload.toString()))
      if (desired) told.push({ topic: topic.slice(PREFIX.length + 1), desired })
    })
    await link.subscribe(`${PREFIX}/+/+/desired`, 1)
    return link
  }
  const link = await connect()
  const publish = (topic: string, payload: string) =>
    link.publish({
      topic: `${PREFIX}/${topic}`,
      payload: Buffer.from(payload),
      messageId: 1 + (Date.now() % 60_000),
      dup: false,
      retain: true,
    })
  const say = (topic: string, payload: object) => publish(topic, JSON.stringify(payload))
  const ask = async <Answer>(method: string, path: string, body?: unknown): Promise<Answer> => {
    const answer = await fetch(`${console.http}/api/v1${path}`, {
      method,
      headers: {
        authorization: `Bearer ${RUN_TOKEN}`,
        ...(body !== undefined && { 'content-type': 'application/json' }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    })
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`)
    return (answer.status === 204 ? undefined : await answer.json()) as Answer
  }
  return { broker, console, told, publish, say, ask, connect }
}

const online = { state: 'online' }
const cameraState = (device: string, camera: string) => ({
  v: 1,
  site: 'home',
  device,
  camera,
  state: 'up',
  why: null,
  paused: false,
  threshold: 'auto',
  scoreMin: 0.5,
  rate: 'unlimited',
  crops: 0,
  lastCrop: null,
})

const reported = (device: string, settings: Partial<Reported> = {}): Reported =>
  makeReported({ site: 'home', device }, settings)

const applied = ({ desired }: Told): Partial<Reported> => ({
  state: 'applied',
  version: desired.version,
  applied: { version: desired.version, digest: desired.digest, atMs: Date.now() },
})

interface Shown {
  readonly state: string
  readonly why: string | null
  readonly desired: { readonly version: number }
}

t.test('a scenario reaches devices and their answers come back, whoever is away meanwhile', async (t) => {
  const { broker, console, told, publish, say, ask, connect } = await open(t)
  for (const device of ['pi', 'nuc']) {
    say(`home/${device}/status`, online)
    say(`home/${device}/door/state`, cameraState(device, 'door'))
    say(`home/${device}/reported`, reported(device))
  }
  await until(
    'two devices are known',
    async () => (await ask<{ items: unknown[] }>('GET', '/devices')).items.length === 2,
  )
  const document = {
    name: 'Night',
    cameras: { sites: ['home'] },
    settings: { record: { mode: 'always' } },
    zones: [
      {
        name: 'step',
        camera: 'home/pi/door',
        points: [
          [0, 0],
          [1, 0],
          [1, 1],
        ],
      },
    ],
  }
  await ask('POST', '/scenarios', { document })
  await ask('POST', '/scenarios/night/publish')
  await until('both are told', () => told.length === 2)
  const pi = told.find(({ topic }) => topic === 'home/pi/desired') as Told
  const nuc = told.find(({ topic }) => topic === 'home/nuc/desired') as Told
  t.match(pi.desired, {
    site: 'home',
    device: 'pi',
    content: { cameras: { door: { record: { mode: 'always' }, zones: [{ name: 'step' }] } } },
  })
  t.strictSame(nuc.desired.content, { cameras: { door: { record: { mode: 'always' } } } })
  t.equal(pi.desired.digest, digestOf(pi.desired.content))

  const show = () => ask<Shown>('GET', '/devices/home/pi/desired')
  t.equal((await show()).state, 'pending')
  say('home/pi/reported', reported('pi', applied(pi)))
  await until('pi has applied it', async () => (await show()).state === 'applied')

  // Another's answer, and one that is none.
  say('home/pi/reported', reported('nuc', { ...applied(nuc), state: 'refused' }))
  say('home/pi/reported', { v: 1 })
  say(
    'home/nuc/reported',
    reported('nuc', {
      ...applied(nuc),
      state: 'refused',
      refused: { code: 'NOT_ALLOWED', message: 'No.', path: ['cameras', 'door'] },
    }),
  )
  await until(
    'nuc has refused it',
    async () => (await ask<Shown>('GET', '/devices/home/nuc/desired')).state === 'refused',
  )
  t.equal((await show()).state, 'applied', 'what says that it is another’s is not taken')
  const metrics = await (
    await fetch(`${console.http}/metrics`, { headers: { authorization: `Bearer ${RUN_TOKEN}` } })
  ).text()
  t.match(metrics, /console_reported_dropped_total\{why="foreign".*\} 1/)
  t.match(metrics, /console_reported_dropped_total\{why="invalid".*\} 1/)
  t.match(metrics, /console_desired\{state="applied".*\} 1/)

  // A device that comes later has it from the broker.
  const before = told.length
  await connect()
  await until('a device that comes later is told', () => told.length === before + 2)

  await console.kill()
  await console.start()
  t.equal((await show()).state, 'applied', 'what was told and answered outlasts a restart')
  t.equal((await show()).desired.version, pi.desired.version, 'and is no new version')

  // A lie.
  const highest = () =>
    Math.max(...told.filter(({ topic }) => topic === 'home/pi/desired').map(({ desired }) => desired.version))
  say(
    'home/pi/reported',
    reported('pi', {
      state: 'applied',
      version: 9e15,
      applied: { version: 9e15, digest: pi.desired.digest, atMs: 1 },
    }),
  )
  await until('pi lies', async () => (await show()).state === 'differs')
  t.match((await show()).why, /version 9000000000000000/)
  t.ok(highest() < 1e14, 'a lie does not use versions up')
  say(
    'home/pi/reported',
    reported('pi', {
      ...applied(pi),
      applied: { version: pi.desired.version, digest: 'f'.repeat(64), atMs: 1 },
    }),
  )
  await until('pi has another content', async () => /another content/.test((await show()).why ?? ''))

  // A broker that has lost what it had.
  publish('home/pi/desired', '')
  await until('the broker has nothing', async () => {
    const from = told.length
    await connect()
    await untilWithin('the other', () => told.length > from)
    return told.slice(from).every(({ topic }) => topic !== 'home/pi/desired')
  })
  await broker.kill()
  const lost = told.length
  await broker.start()
  await until('the broker has it again', async () => {
    await connect()
    return told.slice(lost).some(({ topic }) => topic === 'home/pi/desired')
  })
  const again = told.findLast(({ topic }) => topic === 'home/pi/desired')
  t.equal(again?.desired.digest, pi.desired.digest)
})

t.test('a schedule that begins tells devices, and one that ends takes it back', async (t) => {
  const { told, say, ask } = await open(t)
  say('home/pi/status', online)
  say('home/pi/door/state', cameraState('pi', 'door'))
  await until(
    'the device is known',
    async () => (await ask<{ items: unknown[] }>('GET', '/devices')).items.length === 1,
  )
  const day = new Date(Date.now()).toISOString().slice(0, 10)
  const document = (is: 'on' | 'off') => ({
    name: 'Days',
    cameras: { all: true },
    settings: { paused: true },
    schedule: { timeZone: 'UTC', exceptions: [{ from: day, to: '2099-01-01', is }] },
  })
  await ask('POST', '/scenarios', { document: document('on') })
  await ask('POST', '/scenarios/days/publish')
  await until('it is told', () => told.length === 1)
  t.strictSame(told[0]?.desired.content, { cameras: { door: { paused: true } } })
  await ask('POST', '/scenarios/days/pause')
  await until('it is taken back', () => told.length === 2)
  t.strictSame(told[1]?.desired.content, {})
})

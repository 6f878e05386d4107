import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { Aedes } from 'aedes'
import { connectAsync, type MqttClient } from 'mqtt'
import sharp from 'sharp'
import t, { type Test } from 'tap'
import { type CameraState, cameraStateSchema } from '../../wire/camera-state.ts'
import { brokerConfig, Program, temporaryFolder } from '../kit/programs.ts'
import { until } from '../kit/wait.ts'

/** The agent and a broker of ours, as programs; commands as anybody would publish them. */

const BASE = 'sightline/v1/lab/bench1'

interface Message {
  readonly topic: string
  readonly payload: Buffer
  readonly retain: boolean
  readonly atMs: number
}

/** Somebody at the broker who reads all. */
async function watch(t: Test, url: string, login: { username?: string; password?: string } = {}) {
  const client = await connectAsync(url, { ...login, reconnectPeriod: 0 })
  t.teardown(() => client.endAsync(true))
  const came: Message[] = []
  client.on('message', (topic, payload, { retain }) => {
    came.push({ topic, payload, retain, atMs: performance.now() })
  })
  const of = (kind: string, camera = 'card') =>
    came.filter(({ topic }) => topic === `${BASE}/${camera}/${kind}`)
  const states = () =>
    of('state').map(({ payload }) => cameraStateSchema.parse(JSON.parse(payload.toString('utf8'))))
  const stateBecomes = async (what: string, test: (state: CameraState) => boolean) => {
    await until(what, () => {
      const last = states().at(-1)
      return last !== undefined && test(last)
    })
    return states().at(-1) as CameraState
  }
  return { client, came, of, states, stateBecomes }
}

const command = (client: MqttClient, what: string, payload: string, camera = 'card') =>
  client.publishAsync(`${BASE}/${camera}/set/${what}`, payload, { qos: 1 })

const deviceConfig = (url: string, settings: Record<string, unknown> = {}) => ({
  site: 'lab',
  device: 'bench1',
  cameras: [{ name: 'card', source: 'testcard' }],
  emit: { mode: 'every' },
  http: { port: 0 },
  ...settings,
  broker: { url, backoff: { min: '20ms', max: '200ms' }, ...(settings.broker as object) },
})

const served = ({ msg }: { msg?: string }) => msg === 'health and metrics are served'
const startDevice = (t: Test, url: string, settings?: Record<string, unknown>) =>
  Program.waiting(t, 'device', deviceConfig(url, settings), served)

async function metric(device: Program, name: string): Promise<number> {
  const { url } = await device.line(served)
  const text = await (await fetch(`${url}/metrics`)).text()
  return text
    .split('\n')
    .filter((line) => line.startsWith(`sightline_${name}`))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0)
}

t.test('commands are followed, and the retained state says what holds', async (t) => {
  const broker = await Program.start(t, 'broker', brokerConfig(t))
  const eye = await watch(t, broker.url)
  await eye.client.subscribeAsync('sightline/v1/#', { qos: 1 })
  const device = await startDevice(t, broker.url)
  const up = await eye.stateBecomes('crops are counted', ({ state, crops }) => state === 'up' && crops > 5)
  t.match(up, { camera: 'card', why: null, paused: false, threshold: 'auto', rate: 30 })
  const ids = eye.of('crop').map(({ payload }) => payload.includes(up.lastCrop?.id ?? 'none'))
  t.ok(ids.includes(true), 'the last crop is one that was published')

  await command(eye.client, 'pause', 'ON')
  await eye.stateBecomes('paused', ({ paused }) => paused)
  await sleep(300)
  const cropsBefore = eye.of('crop').length
  await sleep(700)
  t.equal(eye.of('crop').length, cropsBefore, 'no crop while it is paused')
  await command(eye.client, 'snapshot', '')
  await device.line(({ reason }) => reason === 'paused')
  t.equal(eye.of('snapshot').length, 0, 'and no snapshot')
  await command(eye.client, 'resume', '')
  await eye.stateBecomes('resumed', ({ paused }) => !paused)
  await until('crops come again', () => eye.of('crop').length > cropsBefore)

  await command(eye.client, 'threshold', '0.99')
  t.match(await eye.stateBecomes('set', ({ threshold }) => threshold === 0.99), { scoreMin: 0.99 })
  await sleep(300)
  const strict = eye.of('crop').length
  await sleep(700)
  t.equal(eye.of('crop').length, strict, 'no drawn face scores as much')
  await command(eye.client, 'threshold', '0')
  const low = await eye.stateBecomes('set', ({ threshold }) => threshold === 0)
  t.ok(low.scoreMin > 0 && low.scoreMin < up.scoreMin, 'the state says what holds, not what was asked for')
  await command(eye.client, 'threshold', 'auto')
  t.match(await eye.stateBecomes('set', ({ threshold }) => threshold === 'auto'), { scoreMin: up.scoreMin })

  await command(eye.client, 'rate', '2')
  await eye.stateBecomes('set', ({ rate }) => rate === 2)
  await sleep(1500) // what the limit lets through at once at its beginning
  const slow = eye.of('crop').length
  await sleep(2000)
  const made = eye.of('crop').length - slow
  t.ok(made >= 2 && made <= 6, `${made} crops in two seconds`)

  await command(eye.client, 'snapshot', 'PRESS')
  await until('a snapshot', () => eye.of('snapshot').length > 0)
  const [snapshot] = eye.of('snapshot') as [Message]
  t.match(await sharp(snapshot.payload).metadata(), { format: 'jpeg', width: 1280, height: 720 })
  t.ok(snapshot.payload.length < 2e6)

  const late = await watch(t, broker.url)
  await late.client.subscribeAsync('sightline/v1/#', { qos: 1 })
  await until('what is retained', () => late.states().length > 0)
  t.equal(late.of('state')[0]?.retain, true)
  await sleep(200)
  t.equal(late.of('snapshot').length, 0, 'a snapshot is not retained')

  const times = eye.of('state').map(({ atMs }) => atMs)
  for (const [index, atMs] of times.entries())
    if (index > 0) t.ok(atMs - (times[index - 1] as number) > 850, 'at most one state a second')
  await device.stop()
  await eye.stateBecomes('ended', ({ state }) => state === 'ended')
})

t.test('what is not understood is ignored, counted and said; what held still holds', async (t) => {
  const broker = await Program.start(t, 'broker', brokerConfig(t))
  const eye = await watch(t, broker.url)
  await eye.client.publishAsync(`${BASE}/card/set/pause`, 'ON', { qos: 1, retain: true })
  await eye.client.subscribeAsync(`${BASE}/#`, { qos: 1 })
  const device = await startDevice(t, broker.url)
  await eye.stateBecomes('up', ({ state }) => state === 'up')
  const said = async (reason: string, text: RegExp) =>
    t.match((await device.line((line) => line.reason === reason)).msg, text)
  await said('retained', /retain flag/)
  for (const [what, payload, camera, reason, text] of [
    ['threshold', 'high', 'card', 'payload', /threshold takes a number from 0 to 1, or auto/],
    ['explode', '', 'card', 'unknown command', /There are: pause, resume/],
    ['pause', 'ON', 'cellar', 'unknown camera', /It has: card\./],
  ] as const) {
    await sleep(1100) // one line a second
    await command(eye.client, what, payload, camera)
    await said(reason, text)
  }
  for (const topic of [
    `${BASE}/set/pause`,
    `${BASE}/card/pause`,
    `${BASE}/card/set/pause/now`,
    'card/set/pause',
  ])
    await eye.client.publishAsync(topic, 'ON', { qos: 1 })
  await sleep(300)
  t.equal(await metric(device, 'commands_ignored_total'), 4)
  t.equal(await metric(device, 'commands_taken_total'), 0)
  t.match(eye.states().at(-1), { paused: false, threshold: 'auto', rate: 30 })
})

t.test('a command that is sent while the device is away arrives when it is back', async (t) => {
  const broker = await Program.start(t, 'broker', brokerConfig(t))
  const eye = await watch(t, broker.url)
  await eye.client.subscribeAsync(`${BASE}/#`, { qos: 1 })
  const device = await startDevice(t, broker.url)
  await eye.stateBecomes('up', ({ state }) => state === 'up')
  await device.kill()
  await until('the will', () =>
    eye.came.some(({ topic, payload }) => topic === `${BASE}/status` && payload.includes('offline')),
  )
  await command(eye.client, 'rate', '3')
  await command(eye.client, 'pause', 'ON')
  await startDevice(t, broker.url)
  t.match(await eye.stateBecomes('paused', ({ paused }) => paused), { rate: 3 })
})

t.test('without remote control no command is followed and no state is published', async (t) => {
  const broker = await Program.start(t, 'broker', brokerConfig(t))
  const eye = await watch(t, broker.url)
  await eye.client.subscribeAsync(`${BASE}/#`, { qos: 1 })
  await startDevice(t, broker.url, { remote: { enabled: false } })
  await until('crops', () => eye.of('crop').length > 3)
  await command(eye.client, 'pause', 'ON')
  await sleep(300)
  const before = eye.of('crop').length
  await until('still crops', () => eye.of('crop').length > before + 3)
  t.equal(eye.of('state').length, 0)
})

t.test('who has the right commands, and a device without it goes on with its crops', async (t) => {
  const broker = await Program.start(
    t,
    'broker',
    brokerConfig(t, {
      users: [
        { name: 'bench1', role: 'device', site: 'lab', password: 'secret-1' },
        { name: 'bench2', role: 'device', site: 'lab', password: 'secret-2' },
        { name: 'ha', role: 'operator', password: 'secret-3' },
        {
          name: 'old',
          publish: [`${BASE}/+/crop`, `${BASE}/status`, `${BASE}/+/event`],
          password: 'secret-4',
        },
      ],
    }),
  )
  const eye = await watch(t, broker.url, { username: 'ha', password: 'secret-3' })
  for (const kind of ['crop', 'state'])
    await eye.client.subscribeAsync(`sightline/v1/+/+/+/${kind}`, { qos: 1 })
  const device = await startDevice(t, broker.url, { broker: { username: 'bench1', password: 'secret-1' } })
  await eye.stateBecomes('up', ({ state }) => state === 'up')
  const other = await watch(t, broker.url, { username: 'bench2', password: 'secret-2' })
  other.client.on('error', () => {})
  await command(other.client, 'pause', 'ON').catch(() => {})
  await sleep(300)
  t.equal(eye.states().at(-1)?.paused, false, 'another device may not')
  await command(eye.client, 'pause', 'ON')
  await eye.stateBecomes('paused', ({ paused }) => paused)
  await device.stop()

  const count = eye.of('crop').length
  const states = eye.of('state').length
  const old = await startDevice(t, broker.url, {
    broker: { username: 'old', password: 'secret-4', clientId: 'old' },
  })
  t.match((await old.line(({ code }) => code === 'BROKER_REFUSED')).msg, /role "device"/)
  await until('its crops', () => eye.of('crop').length > count + 3)
  t.equal(
    eye.of('state').length,
    states,
    'and it publishes no state, over which the broker would end the connection',
  )
})

t.test('a broker that ends the connection over the subscription gets crops all the same', async (t) => {
  const aedes = await Aedes.createBroker({
    authorizeSubscribe: (client, _subscription, callback) => {
      client.close()
      callback(new Error('no'))
    },
  })
  const crops = new Set<string>()
  aedes.on('publish', (packet, client) => {
    if (client && packet.topic.endsWith('/crop')) crops.add(packet.payload.toString('latin1'))
  })
  const server = createServer((socket) => {
    socket.on('error', () => {})
    aedes.handle(socket)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    aedes.close()
    server.close()
  })
  const device = await startDevice(t, `mqtt://127.0.0.1:${(server.address() as AddressInfo).port}`)
  t.match((await device.line(({ code }) => code === 'BROKER_REFUSED')).msg, /whenever this device subscribes/)
  await until('crops', () => crops.size > 10)
})

t.test('a file of which no frame may be lost waits while it is paused', async (t) => {
  const broker = await Program.start(t, 'broker', brokerConfig(t))
  const eye = await watch(t, broker.url)
  await eye.client.subscribeAsync(`${BASE}/#`, { qos: 1 })
  const folder = temporaryFolder(t)
  const { writeClip } = await import('./clip.ts')
  const frames = 60
  await writeClip({ file: `${folder}/a.mkv`, frames })
  // A device that is away has a session already: it starts paused.
  const first = await startDevice(t, broker.url)
  await eye.stateBecomes('up', ({ state }) => state === 'up')
  await first.stop()
  await command(eye.client, 'pause', 'ON')
  const device = await startDevice(t, broker.url, {
    cameras: [{ name: 'card', source: `${folder}/a.mkv`, pace: 'asfast' }],
    drain: { deadline: '5s' },
  })
  await eye.stateBecomes('paused', ({ paused }) => paused)
  await sleep(500)
  const before = await metric(device, 'frames_captured_total')
  t.ok(before < frames, `${before} frames were quicker than the command`)
  t.equal(await metric(device, 'frames_skipped_total'), 0)
  await command(eye.client, 'resume', '')
  const books = await device.line(({ msg }) => msg === 'books')
  t.equal(books.captured, frames)
})

import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { Aedes } from 'aedes'
import t from 'tap'
import { brokerConfig, Program, temporaryFolder } from '../kit/programs.ts'
import { until } from '../kit/wait.ts'
import { writeClip } from './clip.ts'
import { BASE, command, metric, startDevice, watch } from './commanded.ts'

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
  const ended = new Promise<void>((resolve) => void other.client.once('close', () => resolve()))
  command(other.client, 'pause', 'ON').catch(() => {}) // never acknowledged
  await ended
  await sleep(1200)
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

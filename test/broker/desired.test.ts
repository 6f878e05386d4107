import t from 'tap'
import { desiredTopic, reportedTopic } from '../../wire/desired.ts'
import { TOPIC_PREFIX_DEFAULT as PREFIX } from '../../wire/topics.ts'
import { makeDesired } from '../kit/desired.ts'
import { Mosquitto, skipWithoutMosquitto } from '../kit/mosquitto.ts'
import { bridgeConfig, brokerConfig, Program, type Test } from '../kit/programs.ts'
import { TcpProxy } from '../kit/proxy.ts'
import { RawClient } from '../kit/raw-client.ts'
import { until } from '../kit/wait.ts'

/** The way of what devices shall be (down, retained) and of their answers (up, retained). */

const PI = { site: 'home', device: 'pi' }
const DESIRED = desiredTopic(PREFIX, PI)
const REPORTED = reportedTopic(PREFIX, PI)
const TOPICS = [
  { filter: 'sightline/v1/+/+/reported' },
  { filter: 'sightline/v1/home/+/+/set/+', direction: 'down' },
  { filter: 'sightline/v1/home/+/desired', direction: 'down' },
]

const document = (version: number) => JSON.stringify(makeDesired(PI, version))

async function line(t: Test, port: number, settings: Record<string, unknown> = {}) {
  const proxy = await TcpProxy.open({ host: '127.0.0.1', port, mqtt: true })
  t.after(() => proxy[Symbol.asyncDispose]())
  const bridge = bridgeConfig(proxy.url, { topics: TOPICS, ...settings })
  const edge = await Program.start(t, 'broker', brokerConfig(t, { name: 'edge', bridges: [bridge] }))
  const up = () =>
    until('the way down is connected', async () => /^connected, \d+ waiting$/.test(await said(edge)))
  await up()
  const cut = async () => {
    proxy.refuse()
    proxy.cut()
    await until('the edge says so', async () => /downlink: /.test(await said(edge)))
  }
  return { proxy, edge, up, cut }
}

/** What /healthz says of the bridge. */
const said = async (edge: Program) => (await edge.health()).checks['bridge cloud'] ?? ''

/** Retained, at QoS 1, one acknowledged after the other. */
async function publish(t: Test, port: number, topic: string, payloads: readonly string[]): Promise<void> {
  const client = await RawClient.open(t, port, 'publisher', { clean: true })
  for (const [n, payload] of payloads.entries()) {
    client.publish(topic, payload, { messageId: n + 1, retain: true })
    await until('it is acknowledged', () => client.received.length > n)
  }
  await client.disconnect()
}

/** What a broker retains under a topic, as one who comes now is told; undefined where that is nothing. */
async function retained(t: Test, port: number, topic: string): Promise<string | undefined> {
  const client = await RawClient.open(t, port, `late-${Math.random()}`, { clean: true })
  await client.subscribe(topic, 1)
  // Behind what is retained: this one comes last.
  await client.subscribe('marks', 1)
  client.publish('marks', 'end', { messageId: 9 })
  await until('the mark has come', () => client.publishes.some((it) => it.topic === 'marks'))
  await client.disconnect()
  return client.publishes.find((it) => it.topic === topic && it.retain)?.payload.toString()
}

const reached = (t: Test, port: number, topic: string, payload: string | undefined) =>
  until('it is retained there', async () => (await retained(t, port, topic)) === payload)

const texts = (client: RawClient) => client.publishes.map(({ payload }) => payload.toString())

t.test(
  'a device that starts later gets it at its edge, without a link, after a kill of the edge broker',
  async (t) => {
    const cloud = await Program.start(t, 'broker', brokerConfig(t, { name: 'cloud' }))
    const { edge, cut } = await line(t, cloud.port)
    const live = await RawClient.open(t, edge.port, 'live', { clean: true })
    await live.subscribe(DESIRED, 1)
    await publish(t, cloud.port, DESIRED, [document(1)])
    await live.publishesReached(1)
    t.match(live.publishes[0], { retain: false, topic: DESIRED }, 'who is there hears of it')
    await cut()
    await edge.restart()
    t.equal(await retained(t, edge.port, DESIRED), document(1))
  },
)

t.test('what was retained at the cloud before the edge broker first came reaches it', async (t) => {
  const cloud = await Program.start(t, 'broker', brokerConfig(t, { name: 'cloud' }))
  await publish(t, cloud.port, DESIRED, [document(1), document(2)])
  const { edge } = await line(t, cloud.port)
  await reached(t, edge.port, DESIRED, document(2))
})

t.test(
  'of two that were published during an outage a device hears the newest, and never an older one after it',
  async (t) => {
    const cloud = await Program.start(t, 'broker', brokerConfig(t, { name: 'cloud' }))
    const { edge, cut, proxy, up } = await line(t, cloud.port)
    await publish(t, cloud.port, DESIRED, [document(1)])
    const device = await RawClient.open(t, edge.port, 'device', { clean: true })
    await device.subscribe(DESIRED, 1)
    await device.publishesReached(1)
    for (const round of [1, 2, 3]) {
      await cut()
      await publish(t, cloud.port, DESIRED, [document(2 * round), document(2 * round + 1)])
      await proxy.accept()
      await up()
      await reached(t, edge.port, DESIRED, document(2 * round + 1))
    }
    const versions = texts(device).map((text) => JSON.parse(text).version as number)
    t.strictSame(
      versions,
      versions.toSorted((a, b) => a - b),
      'they only grow',
    )
    t.equal(
      new Set(versions).size,
      versions.length,
      'and none comes twice, with each connection of the bridge',
    )
    t.equal(versions.at(-1), 7)
  },
)

t.test(
  'an older one that comes after a newer one is let go of; garbage passes, for the device to refuse',
  async (t) => {
    const cloud = await Program.start(t, 'broker', brokerConfig(t, { name: 'cloud' }))
    const { edge } = await line(t, cloud.port)
    const device = await RawClient.open(t, edge.port, 'device', { clean: true })
    await device.subscribe(DESIRED, 1)
    const given = [document(5), document(4), document(5), '{"v":1}', document(4), document(6)]
    for (const payload of given) await publish(t, cloud.port, DESIRED, [payload])
    await device.publishesReached(4)
    t.strictSame(texts(device), [document(5), '{"v":1}', document(4), document(6)])
    t.equal(await retained(t, edge.port, DESIRED), document(6))
    await edge.line((it) => /older than the one here/.test(it.msg ?? '') && it.version === 4)
  },
)

t.test('one that is cleared is cleared at the edge too, during an outage also', async (t) => {
  const cloud = await Program.start(t, 'broker', brokerConfig(t, { name: 'cloud' }))
  const { edge, cut, proxy, up } = await line(t, cloud.port)
  await publish(t, cloud.port, DESIRED, [document(1)])
  await reached(t, edge.port, DESIRED, document(1))
  await publish(t, cloud.port, DESIRED, [''])
  await reached(t, edge.port, DESIRED, undefined)
  await publish(t, cloud.port, DESIRED, [document(2)])
  await reached(t, edge.port, DESIRED, document(2))
  await cut()
  await publish(t, cloud.port, DESIRED, [''])
  await proxy.accept()
  await up()
  await reached(t, edge.port, DESIRED, undefined)
})

t.test('of those that wait for a device that is away only the newest is kept', async (t) => {
  const broker = await Program.start(t, 'broker', brokerConfig(t))
  const device = await RawClient.open(t, broker.port, 'device')
  await device.subscribe(DESIRED, 1)
  await device.disconnect()
  await publish(t, broker.port, DESIRED, [1, 2, 3, 4].map(document))
  t.match(await broker.books('session/device'), { accepted: 4, pending: 1, dropped: { replaced: 3 } })
  const back = await RawClient.open(t, broker.port, 'device')
  await back.publishesReached(1)
  t.strictSame(texts(back), [document(4)])
})

t.test(
  'an answer is retained at the cloud, the newest of those that waited for the link, the largest too',
  async (t) => {
    const cloud = await Program.start(t, 'broker', brokerConfig(t, { name: 'cloud' }))
    const { edge, cut, proxy } = await line(t, cloud.port)
    await publish(t, edge.port, REPORTED, ['one'])
    await reached(t, cloud.port, REPORTED, 'one')
    await cut()
    const largest = 'x'.repeat(512 * 1024)
    await publish(t, edge.port, REPORTED, ['two', 'three', largest])
    await proxy.accept()
    await reached(t, cloud.port, REPORTED, largest)
    t.match(await edge.books('bridge/cloud'), { accepted: 4, forwarded: 2, dropped: { replaced: 2 } })
    await cloud.restart()
    t.equal(await retained(t, cloud.port, REPORTED), largest, 'after a kill of the cloud broker')
  },
)

t.test('answers with pictures of many devices reach a console that starts, at its own pace', async (t) => {
  const broker = await Program.start(t, 'broker', brokerConfig(t))
  const publisher = await RawClient.open(t, broker.port, 'publisher', { clean: true })
  const devices = Array.from({ length: 60 }, (_, at) =>
    reportedTopic(PREFIX, { site: 'home', device: `pi-${at}` }),
  )
  for (const [at, topic] of devices.entries()) {
    publisher.publish(topic, 'x'.repeat(500 * 1024), { messageId: at + 1, retain: true })
    await until('it is acknowledged', () => publisher.received.length > at)
  }
  const console = await RawClient.open(t, broker.port, 'console', { clean: true })
  await console.subscribe('marks', 1)
  console.socket.pause() // 30 MB wait for it, of which 8 would be too many for what is live
  console.send({
    cmd: 'subscribe',
    messageId: 2,
    subscriptions: [{ topic: reportedTopic(PREFIX, { site: '+', device: '+' }), qos: 1 }],
  })
  publisher.publish('marks', 'live goes on', { messageId: 100 })
  await until('it is acknowledged', () => publisher.received.length > devices.length)
  console.socket.resume()
  await console.publishesReached(devices.length + 1)
  t.strictSame(new Set(console.publishes.map(({ topic }) => topic)), new Set([...devices, 'marks']))
  t.notOk(console.closed)
})

t.test(
  'a cloud that lets the bridge read commands alone: those come, and what is refused is said',
  async (t) => {
    const users = [
      {
        name: 'edge',
        password: 'secret-of-edge',
        publish: ['sightline/#'],
        subscribe: ['sightline/v1/home/+/+/set/+'],
      },
      { name: 'console', password: 'secret-of-console', role: 'console' },
    ]
    const cloud = await Program.start(t, 'broker', brokerConfig(t, { name: 'cloud', users }))
    const bridge = bridgeConfig(cloud.url, { topics: TOPICS, username: 'edge', password: 'secret-of-edge' })
    const edge = await Program.start(t, 'broker', brokerConfig(t, { name: 'edge', bridges: [bridge] }))
    await until('it says so', async () => /downlink: .* denies .*desired/.test(await said(edge)))
    const device = await RawClient.open(t, edge.port, 'device', { clean: true })
    await device.subscribe('sightline/v1/home/pi/+/set/+', 1)
    const console = await RawClient.open(t, cloud.port, 'console', {
      clean: true,
      username: 'console',
      password: Buffer.from('secret-of-console'),
    })
    console.publish('sightline/v1/home/pi/door/set/pause', '1', { messageId: 1 })
    await device.publishesReached(1)
  },
)

t.test('Mosquitto as the cloud broker', { skip: skipWithoutMosquitto }, async (t) => {
  const cloud = await Mosquitto.start(t)
  const { edge, cut, proxy, up } = await line(t, cloud.port)
  await publish(t, cloud.port, DESIRED, [document(1)])
  await reached(t, edge.port, DESIRED, document(1))
  await cut()
  await publish(t, cloud.port, DESIRED, [document(2), document(3)])
  await publish(t, edge.port, REPORTED, ['one'])
  await proxy.accept()
  await up()
  await reached(t, edge.port, DESIRED, document(3))
  await reached(t, cloud.port, REPORTED, 'one')
})

for (const cleansession of [true, false])
  t.test(
    `Mosquitto as the edge broker, cleansession ${cleansession}`,
    { skip: skipWithoutMosquitto },
    async (t) => {
      const cloud = await Program.start(t, 'broker', brokerConfig(t, { name: 'cloud' }))
      await publish(t, cloud.port, DESIRED, [document(1)])
      const edge = await Mosquitto.start(t, [
        'connection cloud',
        `address 127.0.0.1:${cloud.port}`,
        'topic sightline/v1/home/+/desired in 1',
        'topic sightline/v1/home/+/reported out 1',
        `cleansession ${cleansession}`,
        'restart_timeout 1 1',
        'notifications false',
      ])
      await reached(t, edge.port, DESIRED, document(1))
      await publish(t, cloud.port, DESIRED, [document(2)])
      await reached(t, edge.port, DESIRED, document(2))
      await publish(t, edge.port, REPORTED, ['one'])
      await reached(t, cloud.port, REPORTED, 'one')
      await publish(t, cloud.port, DESIRED, [''])
      await reached(t, edge.port, DESIRED, undefined)
    },
  )

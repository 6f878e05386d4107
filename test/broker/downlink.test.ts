import t from 'tap'
import { brokerSchema, checkBrokerConfig } from '../../broker/config.ts'
import { Mosquitto, skipWithoutMosquitto } from '../kit/mosquitto.ts'
import { bridgeConfig, brokerConfig, Program, type Test } from '../kit/programs.ts'
import { TcpProxy } from '../kit/proxy.ts'
import { RawClient } from '../kit/raw-client.ts'
import { until } from '../kit/wait.ts'

const UP = { filter: 'sightline/v1/+/+/+/crop' }
const DOWN = { filter: 'sightline/v1/home/+/+/set/#', direction: 'down' }
const COMMAND = 'sightline/v1/home/pi/door/set/pause'

async function line(t: Test, port: number, settings: Record<string, unknown> = {}) {
  const proxy = await TcpProxy.open({ host: '127.0.0.1', port, mqtt: true })
  t.after(() => proxy[Symbol.asyncDispose]())
  const bridge = bridgeConfig(proxy.url, { topics: [UP, DOWN], ...settings })
  const edge = await Program.start(t, 'broker', brokerConfig(t, { name: 'edge', bridges: [bridge] }))
  const up = () => until('the way down is connected', async () => (await said(edge)) === undefined)
  await up()
  return { proxy, edge, up }
}

/** What /healthz says of the way down. */
async function said(edge: Program): Promise<string | undefined> {
  const bridge = (await edge.health()).checks['bridge cloud'] ?? ''
  return bridge.split('; ').find((part) => part.startsWith('downlink: '))
}

/** Publishes at QoS 1, one acknowledged after the other. */
async function command(t: Test, port: number, topic: string, payloads: readonly string[]): Promise<void> {
  const client = await RawClient.open(t, port, 'console', { clean: true })
  for (const [n, payload] of payloads.entries()) {
    client.publish(topic, payload, { messageId: n + 1 })
    await until('it is acknowledged', () => client.received.length > n)
  }
  await client.disconnect()
}

const texts = (client: RawClient) => client.publishes.map(({ payload }) => payload.toString())
const numbered = (count: number) => Array.from({ length: count }, (_, n) => `${n}`)

t.test('commands come down to who listens, and to who comes later', async (t) => {
  const cloud = await Program.start(t, 'broker', brokerConfig(t, { name: 'cloud' }))
  const { edge } = await line(t, cloud.port)
  const live = await RawClient.open(t, edge.port, 'live', { clean: true })
  await live.subscribe('sightline/v1/home/pi/+/set/#', 1)
  const sleeper = await RawClient.open(t, edge.port, 'sleeper')
  await sleeper.subscribe('sightline/v1/home/pi/+/set/#', 1)
  await sleeper.disconnect()
  await command(t, cloud.port, COMMAND, numbered(20))
  await live.publishesReached(20)
  t.strictSame(texts(live), numbered(20))
  const awake = await RawClient.open(t, edge.port, 'sleeper')
  await awake.publishesReached(20)
  t.strictSame(texts(awake), numbered(20))
})

t.test('sent while the link is down, or cut in between, each comes once it is up again', async (t) => {
  const cloud = await Program.start(t, 'broker', brokerConfig(t, { name: 'cloud' }))
  const { proxy, edge, up } = await line(t, cloud.port)
  const reader = await RawClient.open(t, edge.port, 'reader', { clean: true })
  await reader.subscribe('#', 1)
  proxy.refuse()
  proxy.cut()
  await until('the edge says so', async () => (await said(edge)) !== undefined)
  await command(t, cloud.port, COMMAND, numbered(30))
  void proxy.cutWhen((packet, direction) => packet.cmd === 'puback' && direction === 'up')
  await proxy.accept()
  await up()
  await until('all have come', () => new Set(texts(reader)).size === 30)
  t.strictSame([...new Set(texts(reader))], numbered(30), 'in order; what was cut before PUBACK comes again')
})

t.test('nothing goes in circles: what came down does not go up', async (t) => {
  const cloud = await Program.start(t, 'broker', brokerConfig(t, { name: 'cloud' }))
  const { edge } = await line(t, cloud.port, {
    topics: [{ filter: 'up/#' }, { filter: 'down/#', direction: 'down' }],
  })
  const watcher = await RawClient.open(t, cloud.port, 'watcher', { clean: true })
  await watcher.subscribe('#', 1)
  const reader = await RawClient.open(t, edge.port, 'reader', { clean: true })
  await reader.subscribe('#', 1)
  await command(t, cloud.port, 'down/a', ['1'])
  await command(t, edge.port, 'up/a', ['2'])
  await command(t, edge.port, 'down/a', ['3'])
  await reader.publishesReached(3)
  await watcher.publishesReached(2)
  t.strictSame(texts(reader), ['1', '2', '3'])
  t.strictSame(texts(watcher), ['1', '2'])
  t.match(await edge.books('bridge/cloud'), { accepted: 1 })
})

t.test('topics are mapped back, and what is retained stays so on the way up', async (t) => {
  const cloud = await Program.start(t, 'broker', brokerConfig(t, { name: 'cloud' }))
  const { edge } = await line(t, cloud.port, {
    topics: [
      { filter: 'here/state', from: 'here', to: 'there/edge' },
      { filter: 'here/set/#', from: 'here', to: 'there/edge', direction: 'down' },
    ],
  })
  const reader = await RawClient.open(t, edge.port, 'reader', { clean: true })
  await reader.subscribe('here/#', 1)
  await command(t, cloud.port, 'there/edge/set/rate', ['5'])
  await reader.publishesReached(1)
  t.equal(reader.publishes[0]?.topic, 'here/set/rate')
  const device = await RawClient.open(t, edge.port, 'device', { clean: true })
  device.publish('here/state', 'paused', { messageId: 1, retain: true })
  await until('it is up', async () => (await edge.books('bridge/cloud')).forwarded === 1)
  const late = await RawClient.open(t, cloud.port, 'late', { clean: true })
  await late.subscribe('there/edge/state', 1)
  await late.publishesReached(1)
  t.match(late.publishes[0], { retain: true, topic: 'there/edge/state' })
})

t.test('a way down that is refused is said; the way up goes on', async (t) => {
  const cloud = await Program.start(
    t,
    'broker',
    brokerConfig(t, {
      name: 'cloud',
      queues: [{ clientId: 'reader', topics: ['sightline/#'] }],
      users: [{ name: 'edge', password: 'secret-of-edge', publish: ['sightline/#'], subscribe: [] }],
    }),
  )
  const bridge = bridgeConfig(cloud.url, { topics: [UP, DOWN], username: 'edge', password: 'secret-of-edge' })
  const edge = await Program.start(t, 'broker', brokerConfig(t, { name: 'edge', bridges: [bridge] }))
  await until('it says so', async () => /denies client .*-down/.test((await said(edge)) ?? ''))
  await command(t, edge.port, 'sightline/v1/home/pi/door/crop', ['x'])
  await until('it is up', async () => (await edge.books('bridge/cloud')).forwarded === 1)
})

t.test('from Mosquitto', { skip: skipWithoutMosquitto }, async (t) => {
  const cloud = await Mosquitto.start(t)
  const { edge } = await line(t, cloud.port)
  const reader = await RawClient.open(t, edge.port, 'reader', { clean: true })
  await reader.subscribe('#', 1)
  await command(t, cloud.port, COMMAND, numbered(10))
  await reader.publishesReached(10)
  t.strictSame(texts(reader), numbered(10))
})

t.test('a topic that would go up and down is refused, and said', async (t) => {
  const check = (...topics: object[]) =>
    checkBrokerConfig(brokerSchema.parse({ bridges: [{ url: 'mqtt://cloud.example:1883', topics }] }))
  for (const [up, down] of [
    ['#', 'a/set'],
    ['a/+/crop', 'a/b/#'],
    ['a/#', 'a'],
    ['a/+', '+/b'],
  ])
    t.throws(() => check({ filter: up }, { filter: down, direction: 'down' }), { code: 'CONFIG_INVALID' })
  t.doesNotThrow(() => check(UP, DOWN))
  t.doesNotThrow(() => check({ filter: 'a/+' }, { filter: 'a/+/b', direction: 'down' }))
})

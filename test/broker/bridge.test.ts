import type { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import mqtt from 'mqtt-packet'
import t from 'tap'
import { callProgram } from '../../lib/control.ts'
import { QUARANTINE_COMMAND } from '../../store/quarantine.ts'
import { toBounds } from '../../store/queue.ts'
import { Store } from '../../store/store.ts'
import { readCrop } from '../../wire/crop.ts'
import { makeCrop } from '../kit/crops.ts'
import { FakeBroker } from '../kit/fake-broker.ts'
import { Mosquitto, skipWithoutMosquitto } from '../kit/mosquitto.ts'
import { freePort } from '../kit/ports.ts'
import { bridgeConfig, brokerConfig, missing, Program, type Test } from '../kit/programs.ts'
import { TcpProxy } from '../kit/proxy.ts'
import { RawClient } from '../kit/raw-client.ts'
import { until } from '../kit/wait.ts'

// Each has brokers of its own, and half of the time waits for one of them.
t.jobs = 2

const numbered = (count: number, from = 0) => Array.from({ length: count }, (_, n) => `${from + n}`)
const firsts = (texts: readonly string[]) => [...new Set(texts)]

/** Publishes at QoS 1; resolves when all are acknowledged. */
async function publishAll(t: Test, port: number, topic: string, payloads: readonly string[]): Promise<void> {
  const client = await RawClient.open(t, port, 'publisher', { clean: true })
  for (const [n, payload] of payloads.entries()) client.publish(topic, payload, { messageId: n + 1 })
  await until('all are acknowledged', () => client.received.length === payloads.length)
  await client.disconnect()
}

/** Reads and acknowledges everything under one client id, across restarts of the broker. */
class Reader {
  readonly came: { topic: string; text: string }[] = []
  #client: RawClient | undefined

  get texts(): string[] {
    return this.came.map(({ text }) => text)
  }

  async connect(t: Test, port: number): Promise<void> {
    const client = await RawClient.open(t, port, 'reader')
    this.#client = client
    const take = (packet: (typeof client.received)[number]) => {
      if (packet.cmd !== 'publish') return
      this.came.push({ topic: packet.topic, text: packet.payload.toString() })
      client.send({ cmd: 'puback', messageId: packet.messageId as number })
    }
    client.onPacket = take
    for (const packet of client.received) take(packet)
  }

  async disconnect(): Promise<void> {
    await this.#client?.disconnect()
  }
}

const cloudConfig = (t: Test, settings: Record<string, unknown> = {}) =>
  brokerConfig(t, { name: 'cloud', queues: [{ clientId: 'reader', topics: ['#'] }], ...settings })

async function line(t: Test, bridge: Record<string, unknown> = {}) {
  const cloud = await Program.start(t, 'broker', cloudConfig(t))
  const proxy = await TcpProxy.open({ host: '127.0.0.1', port: cloud.port, mqtt: true })
  t.after(() => proxy[Symbol.asyncDispose]())
  const edge = await Program.start(
    t,
    'broker',
    brokerConfig(t, { name: 'edge', bridges: [bridgeConfig(proxy.url, bridge)] }),
  )
  return { cloud, proxy, edge }
}

t.test('over a bad link', async (t) => {
  const whole = t
  const { cloud, proxy, edge } = await line(t, {
    inFlightMax: 50,
    keepalive: '2s',
    acknowledgeTimeout: '700ms',
  })
  let sent = 0
  const reader = new Reader()
  await reader.connect(t, cloud.port)

  /** Publishes more, waits until they are on the other side, and looks at what came. */
  async function pass(t: Tap, count: number, meanwhile: () => Promise<void>): Promise<string[]> {
    const payloads = numbered(count, sent)
    sent += count
    const before = reader.came.length
    await publishAll(t, edge.port, 'sightline/x', payloads)
    await meanwhile()
    await until('all have crossed', () => new Set(reader.texts).size === sent)
    await until('the bridge has let go of them', async () => (await edge.books('bridge/cloud')).pending === 0)
    const came = reader.texts.slice(before)
    t.strictSame(firsts(came), payloads, 'all, and in order')
    return came
  }
  type Tap = Test & { strictSame(found: unknown, wanted: unknown, message: string): boolean }

  await t.test('what is published while the link is down crosses when it is up, in order', async (t) => {
    proxy.refuse()
    proxy.cut()
    const came = await pass(t, 200, async () => {
      t.match(await edge.books('bridge/cloud'), { pending: 200 })
      const { checks } = await edge.health()
      t.match(
        checks['bridge cloud'],
        /^disconnected \(Cannot connect to .*: connection refused.*\), 200 waiting$/,
      )
      t.equal(reader.came.length, 0)
      await proxy.accept()
    })
    t.equal(came.length, 200, 'each once: nothing was in flight')
  })

  await t.test('a link that is cut between PUBLISH and PUBACK: sent again, none missing', async (t) => {
    let acknowledged = 0
    const cut = proxy.cutWhen(({ cmd }, direction) => {
      if (cmd === 'puback' && direction === 'down') acknowledged += 1
      return acknowledged > 20
    })
    const came = await pass(t, 100, () => cut)
    t.ok(came.length > 100, `${came.length} came for 100: what was not acknowledged came again`)
  })

  await t.test('a link that is cut and reset again and again', async (t) => {
    proxy.latencyMs = 10
    await pass(t, 400, async () => {
      for (let n = 0; n < 6; n += 1) {
        await sleep(40)
        if (n % 2 === 0) proxy.cut()
        else proxy.reset()
      }
    })
    proxy.latencyMs = 0
  })

  await t.test('a link on which nothing moves is given up and made anew', async (t) => {
    await pass(t, 1, async () => {}) // the last reset is over
    const opened = proxy.opened
    proxy.stall()
    await pass(t, 60, async () => {
      await until('it is given up', () => proxy.connections === 0 || proxy.opened > opened)
      proxy.resume()
    })
    await edge.line(({ msg }) => /No acknowledgement from .* for 700 ms/.test(msg ?? ''))
  })

  await t.test('a link that swallows everything without a word is given up and made anew', async (t) => {
    const opened = proxy.opened
    proxy.halfOpen()
    await pass(t, 60, () => until('it comes back', () => proxy.opened > opened))
  })

  await t.test('a quiet link that went dead is noticed before anybody has something to send', async (t) => {
    const opened = proxy.opened
    proxy.halfOpen()
    await until('it comes back by itself', () => proxy.opened > opened, 12_000)
    await pass(t, 10, async () => {})
  })

  await t.test('either broker killed with -9 in the middle', async (t) => {
    proxy.latencyMs = 20
    await pass(t, 400, async () => {
      await sleep(30)
      await edge.kill()
      await edge.start()
    })
    await pass(t, 400, async () => {
      await sleep(30)
      await cloud.kill()
      await cloud.start()
      await reader.connect(whole, cloud.port)
    })
    proxy.latencyMs = 0
  })

  await t.test('told to stop, the edge waits for what is in flight: nothing crosses twice', async (t) => {
    proxy.latencyMs = 60
    const came = await pass(t, 300, async () => {
      await sleep(150)
      t.equal(await edge.stop(), 0)
      await edge.start()
    })
    t.equal(came.length, 300)
    proxy.latencyMs = 0
  })

  const books = await edge.books('bridge/cloud')
  t.match(books, { accepted: sent, forwarded: sent, pending: 0 })
  t.equal(missing(books), 0)
})

t.test('topics are mapped by the entry that they match', async (t) => {
  const { cloud, edge } = await line(t, {
    topics: [
      { filter: 'v1/home/#', from: 'v1', to: 'v2/site' },
      { filter: 'v1/asis/#' },
      { filter: 'strip/me/#', from: 'strip/me', to: '' },
      { filter: 'add/#', from: '', to: 'in/front' },
    ],
  })
  const reader = new Reader()
  await reader.connect(t, cloud.port)
  const topics = {
    'v1/home/pi': 'v2/site/home/pi',
    'v1/asis/pi': 'v1/asis/pi',
    'strip/me/a/b': 'a/b',
    'add/a': 'in/front/add/a',
  }
  for (const topic of [...Object.keys(topics), 'v1/elsewhere', 'v10/home/pi'])
    await publishAll(t, edge.port, topic, [topic])
  await until('they have crossed', () => reader.came.length === 4)
  await sleep(100)
  t.strictSame(
    reader.came,
    Object.entries(topics).map(([text, topic]) => ({ topic, text })),
  )
})

t.test('two brokers that bridge everything to each other do not send it in circles', async (t) => {
  const ports = [await freePort(), await freePort()] as const
  const [one, other] = (await Promise.all(
    ports.map((port, n) =>
      Program.start(
        t,
        'broker',
        brokerConfig(t, {
          name: `broker-${n}`,
          listeners: [{ port }],
          bridges: [bridgeConfig(`mqtt://127.0.0.1:${ports[1 - n]}`)],
        }),
      ),
    ),
  )) as [Program, Program]
  const readers = await Promise.all(
    ports.map(async (port) => {
      const client = await RawClient.open(t, port, 'watcher')
      await client.subscribe('#', 1)
      return client
    }),
  )
  await publishAll(t, one.port, 'from/one', ['a', 'b'])
  await publishAll(t, other.port, 'from/other', ['c'])
  for (const reader of readers) await reader.publishesReached(3)
  await sleep(500)
  for (const reader of readers)
    t.strictSame(reader.publishes.map(({ payload }) => payload.toString()).sort(), ['a', 'b', 'c'])
  t.match(await one.books('bridge/cloud'), { accepted: 2, forwarded: 2 })
  t.match(await other.books('bridge/cloud'), { accepted: 1, forwarded: 1 })
})

t.test(
  'an uplink that is full refuses: publishers keep the message, and the books say what there is',
  async (t) => {
    const port = await freePort()
    const edge = await Program.start(
      t,
      'broker',
      brokerConfig(t, {
        name: 'edge',
        bridges: [bridgeConfig(`mqtt://127.0.0.1:${port}`, { entriesMax: 5 })],
      }),
    )
    await publishAll(t, edge.port, 'x', numbered(5))
    const device = await RawClient.open(t, edge.port, 'device', { clean: true })
    device.publish('x', 'one too many')
    await device.ended()
    t.strictSame(device.received, [])
    await edge.line(({ code, msg }) => code === 'QUEUE_FULL' && /"bridge\/cloud" is full/.test(msg ?? ''))
    t.strictSame(await edge.books('bridge/cloud'), { accepted: 5, forwarded: 0, pending: 5, dropped: {} })
    // The other broker comes, and it goes on.
    const cloud = await Program.start(t, 'broker', cloudConfig(t, { listeners: [{ port }] }))
    const reader = new Reader()
    await reader.connect(t, cloud.port)
    await until('the five have crossed', () => reader.came.length === 5)
    await until('and are let go', async () => (await edge.books('bridge/cloud')).pending === 0)
    await publishAll(t, edge.port, 'x', ['5'])
    await until('the sixth too', () => reader.came.length === 6)
    t.strictSame(reader.texts, numbered(6))
  },
)

t.test('a far broker that refuses the user is said to, and nothing is lost meanwhile', async (t) => {
  const users = [{ name: 'edge', password: 'right', publish: ['#'] }]
  const cloud = await Program.start(
    t,
    'broker',
    cloudConfig(t, { users: [...users, { name: 'reader', password: 'r', subscribe: ['#'] }] }),
  )
  const bridge = bridgeConfig(cloud.url, { username: 'edge', password: 'wrong' })
  const edge = await Program.start(t, 'broker', brokerConfig(t, { name: 'edge', bridges: [bridge] }))
  await publishAll(t, edge.port, 'x', numbered(3))
  await edge.line(
    ({ code, msg }) => code === 'BROKER_REFUSED' && /user name or the password is wrong/.test(msg ?? ''),
  )
  t.match((await edge.health()).checks['bridge cloud'], /password is wrong.*3 waiting/)
  edge.config.bridges = [{ ...bridge, password: 'right' }]
  await edge.stop()
  await edge.start()
  await until('they have crossed', async () => (await cloud.books('session/reader')).pending === 3)
})

t.test('what the far broker will never take is set aside, whole, and the rest flows, in order', async (t) => {
  const users = [
    { name: 'edge', password: 'e', publish: ['home/#'] },
    { name: 'reader', password: 'r', subscribe: ['#'] },
  ]
  const cloud = await Program.start(
    t,
    'broker',
    cloudConfig(t, {
      users,
      limits: { packetMax: '100KB' },
      queues: [
        { clientId: 'reader', topics: ['#'] },
        { clientId: 'away', topics: ['home/full'], entriesMax: 2 },
      ],
    }),
  )
  const bridge = bridgeConfig(cloud.url, { username: 'edge', password: 'e' })
  const edge = await Program.start(t, 'broker', brokerConfig(t, { name: 'edge', bridges: [bridge] }))
  const large = 'x'.repeat(150_000)
  const poison: Record<string, string> = {
    '3': 'away/cam',
    '40': 'home/large',
    '41': 'away/cam',
    '99': 'home/large',
  }
  const device = await RawClient.open(t, edge.port, 'device', { clean: true })
  for (const [n, text] of numbered(100).entries())
    device.publish(poison[text] ?? 'home/cam', poison[text] === 'home/large' ? text + large : text, {
      messageId: n + 1,
    })
  await until('it has let go of all', async () => {
    const books = await edge.books('bridge/cloud')
    return books.accepted === 100 && books.pending === 0
  })
  t.match(await edge.books('bridge/cloud'), { forwarded: 96, dropped: { quarantined: 4 } })
  t.match(await edge.books('quarantine/cloud'), { accepted: 4, pending: 4 })
  t.match((await edge.health()).checks['bridge cloud'], /^connected, 0 waiting; 4 in quarantine$/)
  t.equal(edge.log.filter(({ msg }) => msg === 'bridge connected').length, 1, 'over one connection')
  for (let n = 0; n < 5; n += 1) device.publish('home/full', `${n}`, { messageId: 200 + n })
  await cloud.line(({ code }) => code === 'QUEUE_FULL')
  await until('it has come back', () => edge.log.filter(({ msg }) => msg === 'bridge connected').length > 2)
  t.match(await edge.books('quarantine/cloud'), { accepted: 4 }, 'a queue that is full passes')
  t.equal((await edge.books('bridge/cloud')).pending, 3)
  const reader = await RawClient.open(t, cloud.port, 'reader', {
    username: 'reader',
    password: Buffer.from('r'),
  })
  await reader.publishesReached(64)
  t.strictSame(
    reader.publishes.map(({ payload }) => payload.toString()).slice(0, 64),
    numbered(100)
      .filter((text) => poison[text] === undefined)
      .slice(0, 64),
  )
  await edge.stop()
  const store = await Store.open({ folder: (edge.config.store as { folder: string }).folder })
  t.after(() => store[Symbol.asyncDispose]())
  const quarantine = store.queue(
    'quarantine/cloud',
    toBounds({ bytesMax: 1e9, entriesMax: 10, ageMax: 1e9, whenFull: 'reject' }),
  )
  const kept = []
  for (let at = quarantine.take(); at !== undefined; at = quarantine.take()) {
    const { header, body } = quarantine.read(at) as { header: Buffer; body: Buffer }
    kept.push({ ...JSON.parse(header.toString()), text: body.toString() })
  }
  kept.sort((a, b) => Number.parseInt(a.text, 10) - Number.parseInt(b.text, 10))
  t.match(kept, [
    { topic: 'away/cam', reason: 'not allowed', detail: /may not publish to away\/cam/, text: '3' },
    {
      topic: 'home/large',
      reason: 'too large',
      detail: /150\d\d\d bytes; the limit of .* is 100000/,
      text: `40${large}`,
    },
    { topic: 'away/cam', reason: 'not allowed', text: '41' },
    { topic: 'home/large', reason: 'too large', text: `99${large}` },
  ])
})

t.test('whichever way a message comes, what the far broker refuses is set aside', async (t) => {
  const users = [
    { name: 'edge', role: 'bridge', site: 'home', password: 'x' },
    { name: 'looks', role: 'subscriber', password: 'x' },
  ]
  const crops = 'sightline/v1/home/+/+/crop'
  const cloud = await Program.start(
    t,
    'broker',
    cloudConfig(t, { users, queues: [{ clientId: 'sub', topics: [crops] }] }),
  )
  // Somebody who looks at crops as they come: then they go through aedes.
  const live = await RawClient.open(t, cloud.port, 'live', {
    username: 'looks',
    password: Buffer.from('x'),
    clean: true,
  })
  await live.subscribe('sightline/v1/+/+/+/crop', 1)
  const bridge = bridgeConfig(cloud.url, { username: 'edge', password: 'x' })
  const edge = await Program.start(t, 'broker', brokerConfig(t, { name: 'edge', bridges: [bridge] }))
  const device = await RawClient.open(t, edge.port, 'device', { clean: true })
  const [status, home] = ['sightline/v1/office/dev9/status', 'sightline/v1/home/dev1/door/crop']
  device.publish(status, 'retained', { retain: true, messageId: 1 })
  device.publish('homeassistant/x', 'retained at QoS 0', { retain: true, qos: 0, messageId: undefined })
  device.publish(home, '1', { messageId: 2 })
  device.publish(status, 'at QoS 2', { qos: 2, messageId: 3 })
  device.publish(`${'a/'.repeat(98)}b`, 'deep', { messageId: 4 })
  const dying = await RawClient.open(t, edge.port, 'dying', {
    clean: true,
    will: { topic: status, payload: Buffer.from('will'), qos: 1, retain: true },
  })
  await dying.cut()
  await until('the will has gone up', async () => (await edge.books('quarantine/cloud')).accepted >= 5)
  for (let n = 2; n <= 10; n += 1) device.publish(home, `${n}`, { messageId: 10 + n })
  await until('all crops are across', async () => (await edge.books('bridge/cloud')).pending === 0)
  t.match(await edge.books('bridge/cloud'), { accepted: 15, forwarded: 10, dropped: { quarantined: 5 } })
  t.equal(edge.log.filter(({ msg }) => msg === 'bridge connected').length, 1, 'over one connection')
  await live.publishesReached(10)
  // What is tried again keeps what it is.
  const away = edge.log.length
  await cloud.stop()
  cloud.config.users = [{ name: 'edge', password: 'x', publish: ['#'], subscribe: ['#'] }]
  await cloud.start()
  await edge.line(({ msg }) => msg === 'bridge connected', 10_000, away)
  for await (const _ of (await callProgram(
    (edge.config.store as { folder: string }).folder,
    QUARANTINE_COMMAND,
    { action: 'retry', numbers: 'all' },
  )) ?? []);
  const late = await RawClient.open(t, cloud.port, 'late', {
    username: 'edge',
    password: Buffer.from('x'),
    clean: true,
  })
  await until('it is retained there', async () => {
    await late.subscribe('sightline/v1/office/#', 1)
    return late.publishes.some(({ retain, payload }) => retain && payload.toString() === 'will')
  })
})

t.test(
  'QoS 0 crosses while the link is up, behind crops; retained, it is there after an outage',
  async (t) => {
    const { cloud, proxy, edge } = await line(t)
    const live = await RawClient.open(t, cloud.port, 'live', { clean: true })
    await live.subscribe('#', 0)
    const texts = () => live.publishes.map(({ payload }) => payload.toString())
    const outcome = async (name: string) =>
      Number(
        new RegExp(`^sightline_bridge_live_total{[^}]*outcome="${name}"[^}]*} (\\d+)$`, 'm').exec(
          await (await fetch(`${edge.http}/metrics`)).text(),
        )?.[1] ?? 0,
      )
    const device = await RawClient.open(t, edge.port, 'device', { clean: true })
    const say = (topic: string, text: string | Buffer, retain = false) =>
      device.publish(topic, text, { qos: 0, retain, messageId: undefined })
    for (let n = 0; n < 50; n += 1) say('event', `${n}`)
    await until('they have crossed', () => texts().length === 50)
    t.strictSame(texts(), numbered(50), 'in order')
    t.equal(await outcome('sent'), 50)

    // More than the line takes: bounded, the newest kept, each one counted; and crops first.
    proxy.stall()
    for (let n = 0; n < 3000; n += 1) say('event', `${n} ${'x'.repeat(5000)}`)
    for (let n = 1; n <= 5; n += 1) device.publish('crop', `crop ${n}`, { messageId: n })
    await until('it is bounded', async () => (await outcome('too slow')) > 2000)
    proxy.resume()
    await until('the newest has crossed', () => texts().some((text) => text.startsWith('2999 ')), 20_000)
    const crops = texts().indexOf('crop 5')
    t.ok(
      crops > 0 && crops < texts().findIndex((text) => text.startsWith('2999 ')),
      'crops did not wait for all of it',
    )
    await until('each is counted', async () => (await outcome('sent')) + (await outcome('too slow')) === 3050)

    proxy.cut()
    proxy.refuse()
    await until('it is away', async () =>
      /disconnected/.test((await edge.health()).checks['bridge cloud'] ?? ''),
    )
    const before = await outcome('no connection')
    say('event', 'into nothing')
    for (let n = 0; n < 100; n += 1) say('status', `${n}`, true)
    say('other', 'a', true)
    await until('it is counted', async () => (await outcome('no connection')) === before + 1)
    const waiting = await edge.books('bridge/cloud')
    t.match(waiting, { pending: 2, dropped: { replaced: 99 } }, 'the last of each topic waits')
    await edge.restart()
    await proxy.accept()
    const late = await RawClient.open(t, cloud.port, 'late', { clean: true })
    await until('both are retained there', async () => {
      late.received.length = 0
      await late.subscribe('#', 1)
      return ['99', 'a'].every((text) =>
        late.publishes.some((it) => it.retain && it.payload.toString() === text),
      )
    })
  },
)

t.test('a message at QoS 0 goes before no crop that waits', async (t) => {
  const { cloud, proxy, edge } = await line(t, { inFlightMax: 2 })
  const live = await RawClient.open(t, cloud.port, 'live', { clean: true })
  await live.subscribe('#', 0)
  await edge.line(({ msg }) => msg === 'bridge connected')
  proxy.latencyMs = 20
  const device = await RawClient.open(t, edge.port, 'device', { clean: true })
  for (let n = 1; n <= 40; n += 1) {
    if (n === 20) device.publish('event', 'event', { qos: 0, messageId: undefined })
    device.publish('crop', `${n}`, { messageId: n })
  }
  await live.publishesReached(41)
  const at = live.publishes.findIndex(({ topic }) => topic === 'event')
  // The last two crops were on their way when it was sent; their acknowledgement waits for the disk there.
  t.ok(at >= 38, `it came after ${at} crops`)
})

t.test('a message at QoS 0 that the far broker refuses ends no connection', async (t) => {
  const users = [
    { name: 'edge', role: 'bridge', site: 'home', password: 'x' },
    { name: 'looks', role: 'subscriber', password: 'x' },
  ]
  const cloud = await Program.start(t, 'broker', cloudConfig(t, { users, queues: [] }))
  const bridge = bridgeConfig(cloud.url, { username: 'edge', password: 'x' })
  const edge = await Program.start(t, 'broker', brokerConfig(t, { name: 'edge', bridges: [bridge] }))
  await edge.line(({ msg }) => msg === 'bridge connected')
  const live = await RawClient.open(t, cloud.port, 'live', {
    username: 'looks',
    password: Buffer.from('x'),
    clean: true,
  })
  await live.subscribe('sightline/v1/+/+/+/event', 0)
  const device = await RawClient.open(t, edge.port, 'device', { clean: true })
  const say = (site: string) =>
    device.publish(`sightline/v1/${site}/dev1/door/event`, site, { qos: 0, messageId: undefined })
  for (const site of ['work', 'home', 'work', 'home']) say(site)
  await live.publishesReached(2)
  t.strictSame(
    live.publishes.map(({ payload }) => payload.toString()),
    ['home', 'home'],
  )
  await sleep(500)
  t.equal(edge.log.filter(({ msg }) => msg === 'bridge connected').length, 1)
})

t.test('a broker that closes at a topic that it does not know gets messages all the same', async (t) => {
  const far = await FakeBroker.start(t)
  far.onPacket = (packet, client) => {
    if (packet.cmd === 'subscribe' && packet.subscriptions[0]?.topic.startsWith('$')) client.destroy()
    else if (packet.cmd === 'publish' && packet.qos === 1)
      mqtt.writeToStream({ cmd: 'puback', messageId: packet.messageId }, client)
  }
  const edge = await Program.start(t, 'broker', brokerConfig(t, { bridges: [bridgeConfig(far.url)] }))
  await publishAll(t, edge.port, 'x', numbered(20))
  await until('all are across', async () => (await edge.books('bridge/cloud')).forwarded === 20)
})

t.test('until it knows the line, no more is on its way than a slow one takes in half a second', async (t) => {
  const far = await FakeBroker.start(t)
  const edge = await Program.start(t, 'broker', brokerConfig(t, { bridges: [bridgeConfig(far.url)] }))
  const backlog = numbered(100).map((text) => text.padEnd(20_000, 'x'))
  await publishAll(t, edge.port, 'x', backlog)
  const came = () => far.received.filter((packet) => packet.cmd === 'publish')
  await until('it sends', () => came().length >= 4)
  await sleep(300)
  t.equal(came().length, 4, '64 KB, of crops of 20 KB')
  const acknowledge = (packet: mqtt.Packet) => {
    if (packet.cmd === 'publish') mqtt.writeToStream({ cmd: 'puback', messageId: packet.messageId }, socket)
  }
  const socket = far.client as Socket
  far.onPacket = acknowledge
  for (const packet of came()) acknowledge(packet)
  await until('all are across', async () => (await edge.books('bridge/cloud')).forwarded === 100)
  t.strictSame(
    came().map(({ payload }) => payload.toString()),
    backlog,
  )
})

t.test('a clock that is set breaks no connection', async (t) => {
  const cloud = await Program.start(t, 'broker', cloudConfig(t))
  // Something is in flight most of the time.
  const proxy = await TcpProxy.open({ host: '127.0.0.1', port: cloud.port, latencyMs: 300 })
  t.after(() => proxy[Symbol.asyncDispose]())
  // Date leaps ahead by an hour each second, as a machine without a battery does once when it hears the time.
  const leaping = `const now = Date.now, start = now(); Date.now = () => now() + 3600000 * Math.floor((now() - start) / 1000)`
  const edge = await Program.start(
    t,
    'broker',
    brokerConfig(t, {
      name: 'edge',
      bridges: [bridgeConfig(proxy.url, { keepalive: '1s', acknowledgeTimeout: '10s' })],
    }),
    { env: { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(leaping)}` } },
  )
  for (let n = 0; n < 10; n += 1) {
    await publishAll(t, edge.port, 'x', numbered(3, 3 * n))
    await sleep(300)
  }
  await until('all are across', async () => (await edge.books('bridge/cloud')).forwarded === 30)
  t.equal(edge.log.filter(({ msg }) => msg === 'bridge connected').length, 1)
})

t.test('a refusal names what refused, each time', async (t) => {
  const queues = ['first', 'second'].map((clientId) => ({ clientId, topics: [clientId], entriesMax: 1 }))
  const broker = await Program.start(t, 'broker', brokerConfig(t, { queues }))
  for (const topic of ['first', 'second']) {
    const client = await RawClient.open(t, broker.port, 'client', { clean: true })
    for (let n = 1; n <= 3; n += 1) client.publish(topic, 'x', { messageId: n })
    await client.ended()
    await broker.line(({ code, msg }) => code === 'QUEUE_FULL' && (msg ?? '').includes(`session/${topic}`))
    await sleep(1100)
  }
})

t.test('a bridge of another kind does not get its own messages back', async (t) => {
  const broker = await Program.start(t, 'broker', brokerConfig(t))
  const bridge = await RawClient.open(t, broker.port, 'foreign', { bridgeMode: true })
  await bridge.subscribe('both/#', 1)
  await publishAll(t, broker.port, 'both/x', ['theirs'])
  bridge.publish('both/x', 'own')
  await publishAll(t, broker.port, 'both/x', ['theirs too'])
  await bridge.publishesReached(2)
  t.strictSame(
    bridge.publishes.map(({ payload }) => payload.toString()),
    ['theirs', 'theirs too'],
  )
})

for (const tryPrivate of [true, false])
  t.test(
    `from Mosquitto's bridge, which ${tryPrivate ? 'says' : 'does not say'} that it is one`,
    { skip: skipWithoutMosquitto },
    async (t) => {
      const cloud = await Program.start(t, 'broker', cloudConfig(t))
      const edge = await Mosquitto.start(t, [
        'connection cloud',
        `address 127.0.0.1:${cloud.port}`,
        'topic # out 1',
        `try_private ${tryPrivate}`,
        'cleansession false',
        'restart_timeout 1 1',
        'max_inflight_messages 100',
        'notifications false',
      ])
      const crops = Array.from({ length: 300 }, () => makeCrop())
      const publish = async (part: typeof crops) => {
        const device = await RawClient.open(t, edge.port, 'device', { clean: true })
        for (const [n, { topic, payload }] of part.entries())
          device.publish(topic, payload, { messageId: n + 1 })
        await until('all are acknowledged', () => device.received.length === part.length)
        await device.disconnect()
      }
      await publish(crops.slice(0, 100))
      await until('some have crossed', async () => (await cloud.books('session/reader')).accepted > 0)
      await publish(crops.slice(100, 200))
      await cloud.kill()
      await publish(crops.slice(200))
      await cloud.start()
      await edge.restart()
      const reader = await RawClient.open(t, cloud.port, 'reader')
      const came: Buffer[] = []
      reader.onPacket = (packet) => {
        if (packet.cmd !== 'publish') return
        came.push(packet.payload as Buffer)
        reader.send({ cmd: 'puback', messageId: packet.messageId as number })
      }
      for (const packet of reader.received) reader.onPacket(packet)
      const ids = () => firsts(came.map((payload) => JSON.stringify(readCrop(payload))))
      await until('all have crossed', () => ids().length === crops.length, 20_000)
      t.strictSame(ids().sort(), crops.map(({ metadata }) => JSON.stringify({ crop: metadata })).sort())
    },
  )

t.test('to Mosquitto', { skip: skipWithoutMosquitto }, async (t) => {
  const far = await Mosquitto.start(t)
  const edge = await Program.start(
    t,
    'broker',
    brokerConfig(t, { name: 'edge', bridges: [bridgeConfig(far.url)] }),
  )
  const reader = await RawClient.open(t, far.port, 'reader')
  await reader.subscribe('#', 1)
  await publishAll(t, edge.port, 'x', numbered(300))
  await reader.publishesReached(20)
  await far.restart()
  await publishAll(t, edge.port, 'x', numbered(300, 300))
  const again = new Reader()
  await again.connect(t, far.port)
  await until('all have crossed', () => new Set(again.texts).size === 600)
  t.strictSame(firsts(again.texts), numbered(600))
  await until('the bridge has let go', async () => (await edge.books('bridge/cloud')).pending === 0)
})

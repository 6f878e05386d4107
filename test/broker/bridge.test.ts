import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { Store, toBounds } from '../../lib/queue.ts'
import { readCrop } from '../../wire/crop.ts'
import { makeCrop } from '../kit/crops.ts'
import { Mosquitto, skipWithoutMosquitto } from '../kit/mosquitto.ts'
import { freePort } from '../kit/ports.ts'
import { bridgeConfig, brokerConfig, missing, Program, type Test } from '../kit/programs.ts'
import { TcpProxy } from '../kit/proxy.ts'
import { RawClient } from '../kit/raw-client.ts'
import { until } from '../kit/wait.ts'

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
      t.match(checks['bridge cloud'], /^away \(Nothing listens at .*\), 200 waiting$/)
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
    await edge.line(({ msg }) => /has acknowledged nothing for 700 ms/.test(msg ?? ''))
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
      detail: /150\d\d\d bytes, and .* takes 100000/,
      text: `40${large}`,
    },
    { topic: 'away/cam', reason: 'not allowed', text: '41' },
    { topic: 'home/large', reason: 'too large', text: `99${large}` },
  ])
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

import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { Aedes, type AedesOptions } from 'aedes'
import t, { type Test } from 'tap'
import { EVENTS_IN_FLIGHT_MAX } from '../../device/limits.ts'
import { Publisher, type PublisherOptions } from '../../device/link/publish.ts'
import { openLog } from '../../lib/log.ts'
import { TcpProxy } from '../kit/proxy.ts'
import { until as waitUntil } from '../kit/wait.ts'

interface Broker {
  readonly url: string
  readonly server: Server
  readonly aedes: Aedes
  /** Payloads of crops in the order the broker got them, as text. */
  readonly received: string[]
  readonly statuses: { payload: string; retain: boolean }[]
  readonly sockets: Set<Socket>
}

async function openBroker(t: Test, options: AedesOptions = {}, port = 0): Promise<Broker> {
  const aedes = await Aedes.createBroker(options)
  const received: string[] = []
  const statuses: { payload: string; retain: boolean }[] = []
  aedes.on('publish', (packet, client) => {
    if (packet.topic.endsWith('/crop') && client) received.push(packet.payload.toString())
    if (packet.topic.endsWith('/status'))
      statuses.push({ payload: packet.payload.toString(), retain: packet.retain })
  })
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    aedes.handle(socket)
  }).listen(port, '127.0.0.1')
  await once(server, 'listening')
  const close = () => {
    for (const socket of sockets) socket.destroy()
    aedes.close()
    server.close()
  }
  t.teardown(close)
  const url = `mqtt://127.0.0.1:${(server.address() as AddressInfo).port}`
  return { url, server, aedes, received, statuses, sockets }
}

function openPublisher(t: Test, url: string, more: Partial<PublisherOptions> = {}) {
  const books = {
    offered: 0,
    acknowledged: 0,
    dropped: {} as Record<string, number>,
    said: 0,
    unsaid: {} as Record<string, number>,
  }
  const publisher = new Publisher({
    url,
    clientId: 'test',
    keepaliveMs: 15_000,
    window: 64,
    payloadBytesMax: 1000,
    backoff: { delayMsMin: 20, delayMsMax: 100 },
    pending: { bytesMax: 1_000_000, entriesMax: 1000 },
    statusTopic: 'sightline/v1/s/d/status',
    log: openLog('test', 'silent'),
    events: {
      acknowledged: () => {
        books.acknowledged += 1
      },
      dropped: (_camera, reason) => {
        books.dropped[reason] = (books.dropped[reason] ?? 0) + 1
      },
      said: () => {
        books.said += 1
      },
      unsaid: (_camera, reason) => {
        books.unsaid[reason] = (books.unsaid[reason] ?? 0) + 1
      },
    },
    ...more,
  })
  const offer = (text: string) => {
    books.offered += 1
    publisher.offer({ camera: 'c', topic: 'sightline/v1/s/d/c/crop', payload: Buffer.from(text) })
  }
  const balanced = () => {
    const dropped = Object.values(books.dropped).reduce((sum, it) => sum + it, 0)
    t.equal(books.offered, books.acknowledged + publisher.pending + dropped, 'the books balance')
  }
  t.teardown(() => publisher[Symbol.asyncDispose]())
  return { publisher, books, offer, balanced }
}

/** What the broker has received, once it is so many: stock aedes acknowledges before it publishes. */
async function receivedBy({ received }: Broker, count: number): Promise<string[]> {
  await until(() => received.length >= count)
  return received
}

const drained = (publisher: Publisher, ms = 5000) => publisher.drain(AbortSignal.timeout(ms))
const numbers = (count: number) => Array.from({ length: count }, (_, i) => String(i))
const until = (condition: () => boolean) => waitUntil(String(condition), condition)

t.test('crops arrive once each, in order, and are acknowledged', async (t) => {
  const broker = await openBroker(t)
  const { publisher, books, offer, balanced } = openPublisher(t, broker.url)
  publisher.run().catch(t.fail)
  for (const text of numbers(500)) offer(text)
  t.equal(await drained(publisher), 0)
  t.strictSame(await receivedBy(broker, 500), numbers(500))
  t.equal(books.acknowledged, 500)
  balanced()
})

t.test('no more than the window is in flight', async (t) => {
  let [inGate, most] = [0, 0]
  const broker = await openBroker(t, {
    authorizePublish: (_client, packet, callback) => {
      if (!packet.topic.endsWith('/crop')) return callback(null)
      inGate += 1
      most = Math.max(most, inGate)
      setTimeout(() => {
        inGate -= 1
        callback(null)
      }, 2)
    },
  })
  const { publisher, offer } = openPublisher(t, broker.url, { window: 5 })
  publisher.run().catch(t.fail)
  for (const text of numbers(100)) offer(text)
  t.equal(await drained(publisher), 0)
  t.ok(most > 1 && most <= 5, `${most} at once`)
})

t.test('crops whose acknowledgement is lost with the connection are sent again on the next', async (t) => {
  const broker = await openBroker(t)
  // A proxy that lets the first crops through and cuts the line before any PUBACK of theirs gets back.
  let cuts = 0
  const proxy = createServer((near) => {
    const far = connect((broker.server.address() as AddressInfo).port, '127.0.0.1')
    const end = () => {
      near.destroy()
      far.destroy()
    }
    for (const socket of [near, far]) socket.on('error', end).on('close', end)
    const cutting = cuts < 3
    near.on('data', (data) => far.write(data))
    far.on('data', (data) => {
      if (cutting && data[0] === 0x40) {
        cuts += 1
        end()
      } else near.write(data)
    })
  }).listen(0, '127.0.0.1')
  await once(proxy, 'listening')
  t.teardown(() => proxy.close())
  const { publisher, books, offer, balanced } = openPublisher(
    t,
    `mqtt://127.0.0.1:${(proxy.address() as AddressInfo).port}`,
    { window: 8 },
  )
  publisher.run().catch(t.fail)
  for (const text of numbers(50)) offer(text)
  t.equal(await drained(publisher), 0)
  t.equal(cuts, 3)
  t.equal(books.acknowledged, 50)
  await until(() => new Set(broker.received).size >= 50)
  t.strictSame([...new Set(broker.received)], numbers(50), 'every one, the first of each in order')
  t.ok(broker.received.length > 50, 'some came twice')
  balanced()
})

t.test('while the broker is away crops wait, the newest are kept, and the lost are counted', async (t) => {
  const { publisher, books, offer, balanced } = openPublisher(t, 'mqtt://127.0.0.1:1', {
    pending: { bytesMax: 1_000_000, entriesMax: 10 },
  })
  publisher.run().catch(t.fail)
  for (const text of numbers(25)) offer(text)
  t.equal(publisher.pending, 10)
  t.strictSame(books.dropped, { 'pending full': 15 })
  await until(() => publisher.trouble !== 'connecting')
  t.match(publisher.trouble, /connection refused/)
  balanced()
})

t.test('what waited for the broker is the newest, sent in order when it comes', async (t) => {
  const place = createServer().listen(0, '127.0.0.1')
  await once(place, 'listening')
  const { port } = place.address() as AddressInfo
  place.close()
  const { publisher, offer } = openPublisher(t, `mqtt://127.0.0.1:${port}`, {
    pending: { bytesMax: 1_000_000, entriesMax: 10 },
  })
  publisher.run().catch(t.fail)
  for (const text of numbers(25)) offer(text)
  const broker = await openBroker(t, {}, port)
  t.equal(await drained(publisher), 0)
  t.strictSame(await receivedBy(broker, 10), numbers(25).slice(15))
  t.equal(publisher.trouble, undefined)
})

t.test('pending bytes are bounded as entries are', async (t) => {
  const { publisher, books, offer, balanced } = openPublisher(t, 'mqtt://127.0.0.1:1', {
    pending: { bytesMax: 1000, entriesMax: 1000 },
  })
  for (let i = 0; i < 20; i += 1) offer('x'.repeat(100))
  t.equal(publisher.pending, 10)
  t.equal(publisher.pendingBytes, 1000)
  t.strictSame(books.dropped, { 'pending full': 10 })
  balanced()
})

t.test('a crop larger than the broker takes is dropped and counted, not sent', async (t) => {
  const broker = await openBroker(t)
  const { publisher, books, offer, balanced } = openPublisher(t, broker.url)
  publisher.run().catch(t.fail)
  offer('x'.repeat(1001))
  offer('fits')
  t.equal(await drained(publisher), 0)
  t.strictSame(await receivedBy(broker, 1), ['fits'])
  t.strictSame(books.dropped, { 'too large': 1 })
  balanced()
})

t.test('room makes a giver wait instead of losing anything', async (t) => {
  const broker = await openBroker(t)
  const { publisher, books, offer, balanced } = openPublisher(t, broker.url, {
    window: 4,
    pending: { bytesMax: 1_000_000, entriesMax: 10 },
  })
  publisher.run().catch(t.fail)
  const signal = AbortSignal.timeout(5000)
  for (const text of numbers(200)) {
    await publisher.room(signal)
    offer(text)
  }
  t.equal(await drained(publisher), 0)
  t.strictSame(await receivedBy(broker, 200), numbers(200))
  t.strictSame(books.dropped, {})
  balanced()
})

t.test('a first connection that the broker refuses for good is an error', async (t) => {
  const broker = await openBroker(t, {
    authenticate: (_client, _user, _password, callback) =>
      callback(Object.assign(new Error('no'), { returnCode: 4 }) as never, false),
  })
  const { publisher } = openPublisher(t, broker.url, { username: 'u', password: 'wrong' })
  await t.rejects(publisher.run(), {
    code: 'BROKER_REFUSED',
    message: /the user name or the password is wrong/,
  })
})

t.test('a refusal after a good connection is tried again, and crops wait', async (t) => {
  let refuse = false
  const broker = await openBroker(t, {
    authenticate: (_client, _user, _password, callback) =>
      refuse
        ? callback(Object.assign(new Error('no'), { returnCode: 5 }) as never, false)
        : callback(null, true),
  })
  const { publisher, offer } = openPublisher(t, broker.url)
  publisher.run().catch(t.fail)
  await until(() => publisher.trouble === undefined)
  refuse = true
  for (const socket of broker.sockets) socket.destroy()
  await until(() => /not authorized/i.test(publisher.trouble ?? ''))
  t.match(publisher.trouble, /not authorized/i)
  offer('kept')
  refuse = false
  t.equal(await drained(publisher), 0)
  t.strictSame(await receivedBy(broker, 1), ['kept'])
})

t.test('a broker that ends the connection at every crop is called by its name', async (t) => {
  const broker = await openBroker(t, {
    authorizePublish: (_client, packet, callback) =>
      callback(packet.topic.endsWith('/crop') ? new Error('not here') : null),
  })
  const { publisher, books, offer, balanced } = openPublisher(t, broker.url)
  publisher.run().catch(t.fail)
  offer('unwanted')
  await until(() => /whenever a crop/.test(publisher.trouble ?? ''))
  t.match(publisher.trouble, /whenever a crop is published/)
  t.equal(await drained(publisher, 50), 1)
  t.strictSame(books.dropped, { shutdown: 1 })
  balanced()
})

t.test('the status is retained: online with what is said, offline at leaving, and as the will', async (t) => {
  const broker = await openBroker(t)
  {
    const { publisher } = openPublisher(t, broker.url)
    publisher.run().catch(t.fail)
    publisher.setStatus({ cameras: { door: 'up' } })
    await until(() => broker.statuses.length >= 1)
    await publisher[Symbol.asyncDispose]()
  }
  const said = broker.statuses.map(({ payload }) => JSON.parse(payload))
  t.match(said[0], { v: 1, state: 'online', cameras: { door: 'up' } })
  t.match(said.at(-1), { v: 1, state: 'offline', cameras: { door: 'up' } })
  t.ok(broker.statuses.every(({ retain }) => retain))
  const { publisher } = openPublisher(t, broker.url)
  publisher.run().catch(t.fail)
  await until(() => publisher.trouble === undefined)
  const before = broker.statuses.length
  for (const socket of broker.sockets) socket.destroy()
  await until(() => broker.statuses.slice(before).some(({ payload }) => /connection lost/.test(payload)))
  t.ok(broker.statuses.slice(before).some(({ payload }) => /"offline".*connection lost/.test(payload)))
})

t.test('draining gives up when told to, and counts what it leaves', async (t) => {
  const { publisher, books, offer, balanced } = openPublisher(t, 'mqtt://127.0.0.1:1')
  publisher.run().catch(t.fail)
  for (const text of numbers(7)) offer(text)
  const start = performance.now()
  t.equal(await drained(publisher, 100), 7)
  t.ok(performance.now() - start < 1000)
  t.strictSame(books.dropped, { shutdown: 7 })
  t.equal(publisher.pending, 0)
  balanced()
})

t.test('events go out while there is a connection, are dropped and counted without one', async (t) => {
  const broker = await openBroker(t)
  const events: { payload: string; qos: number; retain: boolean }[] = []
  broker.aedes.on('publish', ({ topic, payload, qos, retain }) => {
    if (topic.endsWith('/event')) events.push({ payload: payload.toString(), qos, retain })
  })
  const { publisher, books } = openPublisher(t, broker.url)
  const say = (payload: string, qos: 0 | 1 = 0) =>
    publisher.say({ camera: 'c', topic: 'sightline/v1/s/d/c/event', payload, qos })
  say('too soon')
  t.strictSame(books.unsaid, { 'not connected': 1 })
  publisher.run().catch(t.fail)
  await until(() => publisher.trouble === undefined)
  say('a')
  say('b', 1)
  await until(() => events.length === 2 && books.said === 2)
  t.strictSame(events, [
    { payload: 'a', qos: 0, retain: false },
    { payload: 'b', qos: 1, retain: false },
  ])
  for (let i = 0; i < 2 * EVENTS_IN_FLIGHT_MAX; i += 1) say(String(i), 1)
  t.equal(books.unsaid.busy, EVENTS_IN_FLIGHT_MAX)
  await until(() => books.said === 2 + EVENTS_IN_FLIGHT_MAX)
  t.equal(books.said, 2 + EVENTS_IN_FLIGHT_MAX)
  t.equal(publisher.pending, 0, 'crops alone are waited for')
})

t.test('a broker that is slow with events delays no crop', async (t) => {
  const broker = await openBroker(t, {
    authorizePublish: (_client, packet, callback) => {
      if (!packet.topic.endsWith('/event')) return callback(null)
      setTimeout(() => callback(null), 3000).unref() // the acknowledgement of events hangs
    },
  })
  const { publisher, books, offer } = openPublisher(t, broker.url)
  publisher.run().catch(t.fail)
  await until(() => publisher.trouble === undefined)
  for (let i = 0; i < 50; i += 1)
    publisher.say({ camera: 'c', topic: 'sightline/v1/s/d/c/event', payload: 'slow', qos: 0 })
  for (const text of numbers(20)) offer(text)
  t.equal(await drained(publisher, 2000), 0)
  t.equal(books.acknowledged, 20)
})

t.test(
  'live pictures: two that the broker has not read, and no more; none waits, none comes later',
  async (t) => {
    const broker = await openBroker(t)
    const pictures: string[] = []
    broker.aedes.on('publish', ({ topic, payload }) => {
      if (topic === 'live') pictures.push(payload.toString())
    })
    const proxy = await TcpProxy.open({
      host: '127.0.0.1',
      port: (broker.server.address() as AddressInfo).port,
    })
    t.teardown(() => proxy[Symbol.asyncDispose]())
    const { publisher, offer } = openPublisher(t, proxy.url, { window: 1 })
    t.equal(publisher.show('live', Buffer.from('early')), 'not connected')
    publisher.run().catch(t.fail)
    await until(() => publisher.trouble === undefined)
    const show = (text: string) => publisher.show('live', Buffer.from(text))
    for (const text of numbers(20)) {
      await until(() => publisher.mayShow)
      t.equal(show(text), undefined)
    }
    await until(() => pictures.length === 20)
    await until(() => publisher.mayShow)
    proxy.stall()
    t.strictSame(['a', 'b', 'c', 'd'].map(show), [undefined, undefined, 'slow line', 'slow line'])
    proxy.resume()
    await until(() => publisher.mayShow)
    proxy.stall()
    for (const text of ['crop 1', 'crop 2']) offer(text) // one in the window, one waits
    t.equal(show('e'), 'slow line', 'crops first')
    proxy.resume()
    await until(() => publisher.mayShow)
    t.equal(show('f'), undefined)
    await until(() => pictures.includes('f'))
    t.strictSame(pictures.slice(20), ['a', 'b', 'f'])
    t.match(publisher.books, {
      offered: 2,
      acknowledged: 2,
      pending: 0,
      dropped: {},
      bytes: 0,
      oldestAtMs: null,
    })
  },
)

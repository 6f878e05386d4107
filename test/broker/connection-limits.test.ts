import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Client } from 'aedes'
import mqtt from 'mqtt-packet'
import t from 'tap'
import { Connection, type ConnectionOptions } from '../../broker/connection.ts'
import { readingFrom } from '../../broker/listeners.ts'
import { READ_BUFFER } from '../../lib/mqtt/packets.ts'
import type { Test } from '../kit/programs.ts'
import { until } from '../kit/wait.ts'

/**
 * How much a connection reads of what a client sends: a real socket, with a gate and an aedes that do only what a test
 * says. A limit is looked at after each read, so that it may be exceeded by one.
 */
const A_READ_BYTES = READ_BUFFER.length

const UNLIMITED = {
  packetBytesMax: 1e6,
  unacknowledgedBytesMax: 1e9,
  packetsPerSecondMax: 1e9,
  bytesPerSecondMax: 1e9,
}

interface Held {
  readonly client: Socket
  readonly connection: Connection
  /** The broker's end. */
  readonly socket: Socket
  /** Read so far, bytes. */
  readonly readBytes: () => number
  /** Messages that the gate was asked to take, in order, and what lets one through. */
  readonly accepted: {
    readonly messageId: number
    readonly done: () => void
    readonly fail: (error: Error) => void
  }[]
  /** Whether aedes comes when it is told that there is something, and the gate lets through what comes. */
  readonly takes: {
    aedes: boolean
    gate: boolean
    /** The message that the gate refuses at once, and whether its sender can be told. */
    refuses: number | undefined
    tells: boolean
  }
  /** As aedes does then. */
  readonly come: () => void
  /** What aedes has taken, bytes. */
  readonly aedesBytes: () => number
  /** So many bytes or packets more were read than the rate allows from the first one on, at most. */
  readonly overRate: { bytes: number; packets: number }
  /** Packets that were refused, and what they could have had, bytes. */
  readonly tooLarge: [number, number][]
  readonly refused: number[]
}

async function open(t: Test, limits: Partial<ConnectionOptions> = {}): Promise<Held> {
  const { bytesPerSecondMax, packetsPerSecondMax } = { ...UNLIMITED, ...limits }
  let readBytes = 0
  let aedesBytes = 0
  let firstAtMs: number | undefined
  let come = () => {}
  const accepted: Held['accepted'] = []
  const takes: Held['takes'] = { aedes: true, gate: true, refuses: undefined, tells: false }
  const overRate = { bytes: 0, packets: 0 }
  const tooLarge: Held['tooLarge'] = []
  const refused: number[] = []
  const opened = Promise.withResolvers<Pick<Held, 'connection' | 'socket'>>()
  const server = createServer({ noDelay: true, pauseOnConnect: true }, (incoming) => {
    const socket = readingFrom(incoming, (bytes) => {
      firstAtMs ??= performance.now()
      readBytes += bytes.length
      const goesOn = connection.receive(bytes)
      const seconds = 1 + (performance.now() - firstAtMs) / 1000
      overRate.bytes = Math.max(overRate.bytes, readBytes - seconds * bytesPerSecondMax)
      overRate.packets = Math.max(overRate.packets, accepted.length - seconds * packetsPerSecondMax)
      return goesOn
    })
    const connection = new Connection({
      ...UNLIMITED,
      ...limits,
      socket,
      handler: {
        accept: (_client, { messageId }) => {
          if (takes.refuses === messageId) throw new Error('no room')
          const { promise, resolve, reject } = Promise.withResolvers<void>()
          accepted.push({ messageId, done: resolve, fail: reject })
          if (takes.gate) resolve()
          return promise
        },
        acknowledge: () => true,
        canTell: () => takes.tells,
        refused: (_client, _error, messageId) => refused.push(messageId),
        tooLarge: (_client, bytes, bytesMax) => tooLarge.push([bytes, bytesMax]),
      },
    })
    socket.on('error', () => {})
    come = () => {
      for (let bytes = socket.read(); bytes; bytes = socket.read()) aedesBytes += bytes.length
    }
    socket.on('readable', () => takes.aedes && come())
    socket.resume()
    t.after(() => void socket.destroy())
    opened.resolve({ connection, socket })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => void server.close())
  const client = connect({ host: '127.0.0.1', port: (server.address() as AddressInfo).port, noDelay: true })
  t.after(() => void client.destroy())
  client.on('error', () => {})
  client.resume()
  return {
    ...(await opened.promise),
    client,
    accepted,
    takes,
    overRate,
    tooLarge,
    refused,
    come,
    readBytes: () => readBytes,
    aedesBytes: () => aedesBytes,
  }
}

const PAYLOAD_BYTES = 10_000
const publishes = (count: number, settings: Partial<mqtt.IPublishPacket> = {}) =>
  Buffer.concat(
    Array.from({ length: count }, (_, n) =>
      mqtt.generate({
        cmd: 'publish',
        topic: 'a',
        payload: Buffer.alloc(PAYLOAD_BYTES, n),
        qos: 1,
        messageId: n + 1,
        dup: false,
        retain: false,
        ...settings,
      }),
    ),
  )
const AT_QOS_0 = { qos: 0, messageId: undefined } as const

/** Until nothing more has been read for a while: longer than a read takes, however busy the machine is. */
async function settled({ readBytes }: Held): Promise<number> {
  for (let before = -1; before !== readBytes(); ) {
    before = readBytes()
    await sleep(150)
  }
  return readBytes()
}

t.test('what waits for its acknowledgement is bounded; when half of it is done there is more', async (t) => {
  const max = 200_000
  const held = await open(t, { unacknowledgedBytesMax: max })
  const { client, connection, accepted, takes, readBytes } = held
  takes.gate = false
  connection.ready({} as Client)
  const sent = publishes(400)
  client.write(sent)
  const read = await settled(held)
  t.ok(read > max && read <= max + A_READ_BYTES, `${read} bytes were read`)
  const packetBytes = sent.length / 400
  let waiting = accepted.length
  let done = 0
  for (; (waiting - 1) * packetBytes > max / 2; waiting -= 1) accepted[done++]?.done()
  t.equal(await settled(held), read, 'not while more than half of it waits')
  accepted[done++]?.done()
  await until('it reads on', () => readBytes() > read)
  takes.gate = true
  await until('all have come', () => {
    while (done < accepted.length) accepted[done++]?.done()
    return accepted.length === 400
  })
  t.strictSame(
    accepted.map(({ messageId }) => messageId),
    Array.from({ length: 400 }, (_, n) => n + 1),
  )
})

t.test(
  'what aedes has not come for is bounded, whatever the gate does, and all of it gets there',
  async (t) => {
    const held = await open(t)
    const { client, connection, accepted, takes, come, aedesBytes } = held
    takes.aedes = false
    takes.gate = false
    connection.ready({} as Client)
    client.write(publishes(5))
    await until('they are at the gate', () => accepted.length === 5)
    const before = held.readBytes()
    const sent = publishes(400, AT_QOS_0)
    client.write(sent)
    const read = (await settled(held)) - before
    t.ok(read >= 256 * 1024 && read <= 256 * 1024 + A_READ_BYTES, `${read} of ${sent.length} bytes were read`)
    for (const { done } of accepted) done()
    t.equal((await settled(held)) - before, read, 'what the gate has done makes no room here')
    takes.aedes = true
    come()
    await until('aedes has all of it', () => aedesBytes() === sent.length)
  },
)

t.test('who has not been let in yet is read so far, and no further before that', async (t) => {
  const held = await open(t)
  const { client, connection, takes, come, aedesBytes } = held
  takes.aedes = false // it comes late
  const sent = publishes(400, AT_QOS_0)
  client.write(sent)
  for (let before = -1; before !== aedesBytes(); ) {
    before = aedesBytes()
    await settled(held)
    come()
  }
  const read = await settled(held)
  t.ok(read > 1024 * 1024 && read <= 1024 * 1024 + A_READ_BYTES, `${read} of ${sent.length} bytes were read`)
  takes.aedes = true
  connection.ready({} as Client)
  await until('aedes has the rest', () => aedesBytes() === sent.length)
})

t.test('nobody is given room for a message before CONNECT', async (t) => {
  for (const [first, bytesMax] of [
    [0x32, 128 * 1024],
    [0x10, 128 * 1024],
  ] as const) {
    const { client, tooLarge } = await open(t)
    client.write(Buffer.from([first, 0x80, 0x80, 0x20])) // 512 KB
    await once(client, 'close')
    t.strictSame(tooLarge, [[512 * 1024, bytesMax]])
  }
  const { client, connection, accepted, tooLarge } = await open(t)
  client.write(mqtt.generate({ cmd: 'pingreq' }))
  connection.ready({} as Client)
  client.write(publishes(1, { payload: Buffer.alloc(512 * 1024) }))
  await until('a message of that size comes after it', () => accepted.length === 1)
  t.strictSame(tooLarge, [])
})

for (const [limit, limits] of [
  ['bytesPerSecondMax', { bytesPerSecondMax: 1_000_000 }],
  ['packetsPerSecondMax', { packetsPerSecondMax: 100 }],
] as const)
  t.test(`${limit}: no more, a burst of one second aside, and all of it arrives`, async (t) => {
    const { client, connection, accepted, overRate } = await open(t, limits)
    connection.ready({} as Client)
    await sleep(1000) // what was not used by then makes no larger burst
    const begin = performance.now()
    client.write(publishes(250))
    await until('all have come', () => accepted.length === 250)
    const seconds = (performance.now() - begin) / 1000
    t.ok(seconds > 0.9, `it took ${seconds} s`)
    // The read that comes after a silence, and the one that ends the burst.
    t.ok(overRate.bytes <= 2 * A_READ_BYTES, `${overRate.bytes} bytes over the rate`)
    t.ok(overRate.packets <= (2 * A_READ_BYTES) / PAYLOAD_BYTES, `${overRate.packets} packets over the rate`)
  })

t.test('behind a message that turns out to be refused nothing is acknowledged', async (t) => {
  const { client, connection, accepted, takes, refused } = await open(t)
  takes.gate = false
  connection.ready({} as Client)
  const parser = mqtt.parser()
  const acknowledged: (number | undefined)[] = []
  parser.on('packet', ({ messageId }) => acknowledged.push(messageId))
  client.on('data', (bytes) => parser.parse(bytes))
  client.write(publishes(5))
  await until('all are at the gate', () => accepted.length === 5)
  for (const n of [4, 3, 1, 0]) accepted[n]?.done()
  accepted[2]?.fail(new Error('no room'))
  await once(client, 'close')
  t.strictSame([acknowledged, refused], [[1, 2], [3]])
})

t.test('a message that is refused is the last that is taken, unless its sender can be told', async (t) => {
  for (const tells of [false, true]) {
    const { client, connection, accepted, takes, refused } = await open(t)
    Object.assign(takes, { refuses: 3, tells })
    connection.ready({} as Client)
    client.write(publishes(5))
    await (tells ? until('the others are taken', () => accepted.length >= 4) : once(client, 'close'))
    t.strictSame(
      accepted.map(({ messageId }) => messageId),
      tells ? [1, 2, 4, 5] : [1, 2],
    )
    t.strictSame([refused, client.closed], [[3], !tells])
  }
})

t.test('who refuses to read does not stay because of what it would have to be told', async (t) => {
  const { client, connection, socket, takes } = await open(t)
  takes.refuses = 1
  connection.ready({} as Client)
  client.pause()
  socket.write(Buffer.alloc(64 * 1024 * 1024))
  client.write(publishes(1))
  await until('it is closed', () => socket.destroyed, 3000)
})

t.test('nor behind one that went through aedes, which ends the connection in its own time', async (t) => {
  const held = await open(t)
  const { client, connection, accepted } = held
  connection.ready({} as Client)
  const gate = Promise.withResolvers<void>()
  const turns: string[] = []
  const taken = () => void turns.push('taken')
  const refused = () => void turns.push('refused')
  connection.inTurn(Promise.resolve(), 1, 1000, taken, refused)
  connection.inTurn(gate.promise, 2, 1000, taken, refused)
  connection.inTurn(Promise.resolve(), 3, 1000, taken, refused)
  let answers = 0
  client.on('data', (bytes) => {
    answers += bytes.length
  })
  client.write(publishes(5))
  await until('all are accepted', () => accepted.length === 5)
  gate.reject(new Error('no room'))
  await until('it is refused', () => turns.length > 1)
  await settled(held)
  t.strictSame([turns, answers], [['taken', 'refused'], 0])
})

t.test('a connection that is held ends like any other', async (t) => {
  const held = await open(t, { unacknowledgedBytesMax: 10_000 })
  held.takes.gate = false
  held.connection.ready({} as Client)
  held.client.write(publishes(400))
  await settled(held)
  held.client.destroy()
  await once(held.client, 'close')
  for (const { done } of held.accepted) done()
  await settled(held)
  t.ok(held.accepted.length > 0)
})

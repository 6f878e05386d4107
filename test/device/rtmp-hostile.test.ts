import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { Doorkeeper } from '../../device/listen/publication.ts'
import { type AmfValue, readAmf, writeAmf } from '../../device/listen/rtmp/amf.ts'
import { AGGREGATE, COMMAND_AMF0, chunksOf, VIDEO } from '../../device/listen/rtmp/chunks.ts'
import { RtmpMedia } from '../../device/listen/rtmp/media.ts'
import { RtmpServer } from '../../device/listen/rtmp/server.ts'
import { RtmpFault, RtmpSession, STRANGER_BYTES_MAX } from '../../device/listen/rtmp/session.ts'
import { openLog } from '../../lib/log.ts'
import { seeded, until } from '../kit/wait.ts'

/** What nobody should send: every input is drawn from a seed, so that a failure can be had again. */

const SEED = 20_261_128
const INPUTS = 100_000
const HELD_BYTES_MAX = 300_000
/** On a machine that is busy with more than this, ms. */
const PATIENCE_MS = 25_000
const PATIENT = { timeout: 4 * PATIENCE_MS }
const log = openLog('test', 'silent')
const command = (...values: readonly AmfValue[]) =>
  chunksOf({ type: COMMAND_AMF0, messageStream: 0, payload: writeAmf(...values) }, 3, 128)
const GREETING = Buffer.concat([Buffer.from([3]), Buffer.alloc(2 * 1536)])
const CONNECT = command('connect', 1, { app: 'live', tcUrl: 'rtmp://h/live', fourCcList: ['av01', 'hvc1'] })
const PUBLISH = command('publish', 5, null, 'key', 'live')
const KEY_FRAME = chunksOf(
  { type: VIDEO, messageStream: 1, payload: Buffer.from([0x17, 1, 0, 0, 0, 0, 0, 0, 1, 9]) },
  4,
  128,
)

const doorkeeper: Doorkeeper = {
  admit: (key) =>
    key === 'key'
      ? { camera: 'door', publish: (publication) => publication.end('none of this') }
      : { refusal: { is: 'unknown key' } },
}

function session() {
  const media = new RtmpMedia({
    begin: () => ({ write() {}, close() {} }),
    unsupported() {},
  })
  return new RtmpSession({
    send() {},
    end() {},
    admit: (key) => doorkeeper.admit(key, 'rtmp', ''),
    published() {},
    unpublished() {},
    video: (payload, timestampMs) => media.video(payload, timestampMs, 0),
    audio: (payload, timestampMs) => media.audio(payload, timestampMs, 0),
    refused() {},
  })
}

t.test('100,000 hostile inputs: refused or passed over, and memory stays bounded', PATIENT, async (t) => {
  // Where each fault was found is half of the time that this takes.
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 0
  t.teardown(() => {
    Error.stackTraceLimit = stackTraceLimit
  })
  const random = seeded(SEED)
  const below = (limit: number) => Math.floor(random() * limit)
  const noise = Buffer.from(Array.from({ length: 65_536 }, () => below(256)))
  const beginnings = [
    Buffer.alloc(0),
    GREETING,
    Buffer.concat([GREETING, CONNECT]),
    Buffer.concat([GREETING, CONNECT, PUBLISH]),
  ]
  const samples = [CONNECT, PUBLISH, KEY_FRAME, command('createStream', 4, null), GREETING.subarray(0, 200)]
  const noiseOf = (length: number) => {
    const at = below(noise.length - length)
    return Buffer.from(noise.subarray(at, at + length))
  }
  let faults = 0
  let heldMax = 0
  for (let input = 0; input < INPUTS; input += 1) {
    const it = session()
    try {
      it.push(beginnings[below(beginnings.length)] as Buffer)
      for (let part = 0; part < 3; part += 1) {
        const bytes =
          random() < 0.3 ? noiseOf(below(60)) : Buffer.from(samples[below(samples.length)] as Buffer)
        for (let flips = below(4); flips > 0 && bytes.length > 0; flips -= 1)
          bytes[below(bytes.length)] = random() < 0.3 ? 0xff : below(256)
        const cut = random() < 0.3 ? bytes.subarray(0, below(bytes.length)) : bytes
        const middle = below(cut.length + 1)
        it.push(cut.subarray(0, middle))
        it.push(cut.subarray(middle))
        heldMax = Math.max(heldMax, it.held)
      }
    } catch (error) {
      if (!(error instanceof RtmpFault)) throw error
      faults += 1
    }
  }
  t.ok(faults > INPUTS / 20, `${faults} faults`)
  t.ok(faults < INPUTS, `${faults} faults`)
  t.ok(heldMax < HELD_BYTES_MAX, `${heldMax} bytes held`)
})

t.test('AMF that is deep, long or cut off is a fault, and costs little', async (t) => {
  const deep = Buffer.concat([...Array(1000).fill(Buffer.from([3, 0, 1, 97])), Buffer.from([5])])
  t.throws(() => readAmf(deep), /too deep/)
  t.throws(() => readAmf(Buffer.from([0x0a, 0xff, 0xff, 0xff, 0xff])), /too many values/)
  t.throws(() => readAmf(Buffer.alloc(5000, 5)), /too many values/)
  t.throws(() => readAmf(Buffer.from([2, 0xff, 0xff, 65])), /cut off/)
  const said = ['a', 1.5, true, null, { b: { c: 'ü' } }, [1, 'x']] as const
  t.strictSame(readAmf(writeAmf(...said)), said)
})

t.test('who has no key gets no memory: messages that are announced and never come', async (t) => {
  const it = session()
  it.push(Buffer.concat([GREETING, CONNECT]))
  t.throws(() => it.push(Buffer.from([4, 0, 0, 0, 0xff, 0xff, 0xff, 9, 1, 0, 0, 0])), /16777215 bytes/)
  const other = session()
  other.push(Buffer.concat([GREETING, CONNECT]))
  t.throws(() => {
    for (let at = 0; at < STRANGER_BYTES_MAX; at += 1000)
      other.push(Buffer.concat(Array(10).fill(command('_checkbw', at, null, 'x'.repeat(60)))))
  }, /without a stream key/)
})

/** A server with that key, and a connection to it that has shown it. */
async function publishing(t: Test, door: Doorkeeper) {
  const refused: string[] = []
  const server = await RtmpServer.open({
    host: '127.0.0.1',
    port: 0,
    connectionsMax: 100,
    connectionsPerAddressMax: 100,
    doorkeeper: door,
    log,
    refused: (why) => refused.push(why),
  })
  t.teardown(() => server[Symbol.asyncDispose]())
  const port = Number(new URL(server.url.replace(/^rtmp/, 'http')).port)
  const come = async (key = 'key') => {
    const socket = connect(port, '127.0.0.1').on('error', () => {})
    t.teardown(() => socket.destroy())
    await once(socket, 'connect')
    let said = ''
    socket.on('data', (data) => {
      said += data.toString('latin1')
    })
    socket.write(Buffer.concat([GREETING, CONNECT, command('publish', 5, null, key, 'live')]))
    await until('it is answered', () => /Publish\.(Start|BadName)/.test(said), PATIENCE_MS)
    return { socket, said: () => said }
  }
  return { refused, come }
}

t.test('a publisher who asks and asks and reads nothing is sent away', PATIENT, async (t) => {
  const { refused, come } = await publishing(t, doorkeeper)
  const { socket } = await come()
  socket.pause()
  const asks = Buffer.concat(Array(2000).fill(command('FCPublish', 4, null, 'x')))
  let isGone = false
  socket.once('close', () => {
    isGone = true
  })
  const endMs = Date.now() + PATIENCE_MS
  // Both sides' kernels hold some megabytes before anything stays with us.
  while (!isGone && Date.now() < endMs) {
    socket.write(asks)
    await sleep(5)
  }
  t.equal(isGone, true)
  t.strictSame(refused, ['protocol'])
})

t.test('an aggregate of very many small messages is a fault', async (t) => {
  const it = session()
  it.push(Buffer.concat([GREETING, CONNECT, PUBLISH]))
  const empty = Buffer.alloc(15)
  empty[0] = VIDEO
  const payload = Buffer.concat(Array(20_000).fill(empty))
  const aggregate = chunksOf({ type: AGGREGATE, messageStream: 1, payload }, 4, 128)
  t.throws(() => it.push(aggregate), /too many messages/)
})

t.test('a thousand connections without a key do no harm, and one with a key gets in', PATIENT, async (t) => {
  const refused = new Map<string, number>()
  let published = 0
  await using server = await RtmpServer.open({
    host: '127.0.0.1',
    port: 0,
    connectionsMax: 100,
    connectionsPerAddressMax: 1100,
    doorkeeper: {
      admit: (key) => {
        if (key === 'key') published += 1
        return doorkeeper.admit(key, 'rtmp', '')
      },
    },
    log,
    refused: (why) => refused.set(why, (refused.get(why) ?? 0) + 1),
  })
  const port = Number(new URL(server.url.replace(/^rtmp/, 'http')).port)
  const random = seeded(SEED)
  const sockets: Socket[] = []
  for (let number = 0; number < 1000; number += 1) {
    const socket = connect(port, '127.0.0.1').on('error', () => {})
    socket.on('data', () => {})
    sockets.push(socket)
    const bytes = Buffer.concat([GREETING, CONNECT]).subarray(0, Math.floor(random() * 4000))
    if (random() < 0.8) socket.write(bytes)
    if (random() < 0.2)
      socket.write(Buffer.from(Array.from({ length: 50 }, () => Math.floor(random() * 256))))
    // No more at once than wait at a port until they are taken.
    if (number % 100 === 99)
      await until('they came', () => sockets.every((it) => !it.connecting), PATIENCE_MS)
  }
  await until('most were sent away', () => sockets.filter((it) => it.closed).length >= 900, PATIENCE_MS)
  const publisher = connect({ port, host: '127.0.0.1', localAddress: '127.0.0.2' })
  publisher.on('error', () => {}).on('data', () => {})
  await once(publisher, 'connect')
  publisher.write(Buffer.concat([GREETING, CONNECT, PUBLISH]))
  await until('it is let in', () => published === 1, PATIENCE_MS)
  for (const socket of [...sockets, publisher]) socket.destroy()
  t.ok((refused.get('too many connections') ?? 0) >= 800)
})

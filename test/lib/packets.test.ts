import { PassThrough } from 'node:stream'
import mqtt, { type Packet } from 'mqtt-packet'
import t from 'tap'
import {
  carriesCrop,
  PacketReader,
  PUBACK,
  PubackWriter,
  readPuback,
  readPublish,
  writePublish,
} from '../../lib/mqtt/packets.ts'
import { seeded } from '../kit/wait.ts'

const publish = (bytes: number, more: Partial<Packet> = {}) =>
  mqtt.generate({
    cmd: 'publish',
    topic: 'a',
    payload: Buffer.alloc(bytes, bytes % 251),
    qos: 1,
    messageId: 1 + (bytes % 65_535),
    dup: false,
    retain: false,
    ...more,
  } as Packet)
/** Remaining length: topic (3), message id (2), payload. */
const remaining = (bytes: number) => bytes + 5

/**
 * Feeds a stream through one buffer that is overwritten with each read, as sockets do it.
 * @returns packets that were wanted and the rest, in the order they came, and the size that was refused
 */
function feed(bytesMax: number, stream: Buffer, cuts: () => number, wants = carriesCrop) {
  const reader = new PacketReader(bytesMax)
  const shared = Buffer.alloc(stream.length)
  const came: { wanted: boolean; bytes: Buffer; bodyAt: number }[] = []
  for (let at = 0; at < stream.length; ) {
    const end = Math.min(stream.length, at + Math.max(1, cuts()))
    stream.copy(shared, 0, at, end)
    const tooLarge = reader.read(shared.subarray(0, end - at), {
      wants,
      packet: (bytes, bodyAt) => came.push({ wanted: true, bytes, bodyAt }),
      rest: (bytes) => came.push({ wanted: false, bytes: Buffer.from(bytes), bodyAt: 0 }),
    })
    shared.fill(0xee, 0, end - at)
    if (tooLarge > 0) return { came, tooLarge }
    at = end
  }
  return { came, tooLarge: 0 }
}

t.test('the packets that are wanted come whole and the rest byte for byte, however cut', async (t) => {
  const random = seeded(3)
  const packets = [0, 1, 122, 123, 16_378, 16_379, 100_000, 1_200_000, 5, 0].flatMap((bytes) => [
    publish(bytes),
    mqtt.generate({ cmd: 'pingreq' }),
    publish(bytes, { retain: true }),
    publish(bytes, { qos: 0 }),
    publish(bytes, { dup: true }),
  ])
  const stream = Buffer.concat(packets)
  const wanted = packets.filter(([first]) => carriesCrop(first as number))
  const check = (cuts: () => number, name: string) => {
    const { came, tooLarge } = feed(2_000_000, stream, cuts)
    const whole = came.filter((it) => it.wanted).map(({ bytes }) => bytes)
    if (tooLarge !== 0 || !Buffer.concat(came.map(({ bytes }) => bytes)).equals(stream))
      t.fail(`${name}: not the same stream`)
    if (whole.length !== wanted.length || !whole.every((bytes, n) => bytes.equals(wanted[n] as Buffer)))
      t.fail(`${name}: not the same packets`)
  }
  for (const cut of [7, 1000, 65_536, stream.length]) check(() => cut, `cut into ${cut}`)
  for (let round = 0; round < 20; round += 1)
    check(() => Math.floor(random() ** 4 * 200_000), `round ${round}`)
  const few = Buffer.concat(packets.slice(0, 8))
  const { came } = feed(2_000_000, few, () => 1)
  t.ok(Buffer.concat(came.map(({ bytes }) => bytes)).equals(few), 'byte by byte')
})

t.test('one byte over the limit is told from its header alone', async (t) => {
  const stream = Buffer.concat([publish(10), publish(200_001).subarray(0, 5)])
  for (const cut of [1, 2, 1000])
    t.equal(feed(remaining(200_000), stream, () => cut).tooLarge, remaining(200_001))
  t.equal(feed(remaining(200_001), stream, () => 1000).tooLarge, 0)
})

t.test('each kind of packet may have a limit of its own', async (t) => {
  const reader = new PacketReader((first) => (first === 0x32 ? 1000 : 10))
  const sink = { wants: () => false, packet: () => {}, rest: () => {} }
  const large = publish(500)
  t.equal(reader.read(large, sink), 0)
  t.ok(reader.read(publish(500, { qos: 0 }), sink) > 10)
  t.equal(reader.bytesMax, 10)
})

t.test('a length that no packet can have is too large', async (t) => {
  const endless = Buffer.from([0x30, 0xff, 0xff, 0xff, 0xff, 0x01])
  t.ok(feed(2 ** 28, endless, () => 100).tooLarge > 2 ** 28)
  t.ok(feed(1000, endless, () => 1).tooLarge > 1000)
})

t.test('PUBLISH and PUBACK read and written here are those of mqtt-packet, in both versions', async (t) => {
  const random = seeded(5)
  for (const protocolVersion of [4, 5] as const) {
    for (let n = 0; n < 300; n += 1) {
      const topic = ['a', 'sightline/v1/home/pi/door/crop', 'größe/☃/𝄞', 'x'.repeat(200)][n % 4] as string
      const payload = Buffer.alloc(Math.floor(random() ** 3 * 40_000), n)
      const message = { topic, payload, messageId: 1 + Math.floor(random() * 65_535), dup: n % 3 === 0 }
      const packet = { cmd: 'publish', qos: 1, retain: false, ...message } as const
      const theirs = mqtt.generate(packet, { protocolVersion })
      const stream = new PassThrough({ highWaterMark: 1e6 })
      writePublish(stream, message, protocolVersion)
      await new Promise((resolve) => process.nextTick(resolve))
      if (!(stream.read() as Buffer).equals(theirs)) t.fail(`written otherwise: ${topic}, ${payload.length}`)
      const [{ bytes, bodyAt } = { bytes: theirs, bodyAt: 0 }] = feed(1e6, theirs, () => 1e6).came
      const read = readPublish(bytes, bodyAt, protocolVersion)
      if (
        read?.topic !== topic ||
        !read.payload.equals(payload) ||
        read.messageId !== message.messageId ||
        read.dup !== message.dup
      )
        t.fail(`read otherwise: ${topic}, ${payload.length}`)
    }
    const puback = mqtt.generate({ cmd: 'puback', messageId: 4711 }, { protocolVersion })
    t.strictSame(readPuback(puback, 2), { messageId: 4711, reasonCode: 0 })
  }
  const refused = mqtt.generate({ cmd: 'puback', messageId: 9, reasonCode: 0x97 }, { protocolVersion: 5 })
  t.strictSame(readPuback(refused, 2), { messageId: 9, reasonCode: 0x97 })
  const properties = mqtt.generate(
    {
      cmd: 'publish',
      topic: 'a',
      payload: Buffer.from('b'),
      qos: 1,
      messageId: 3,
      dup: false,
      retain: false,
      properties: { userProperties: { a: 'b' }, messageExpiryInterval: 4 },
    },
    { protocolVersion: 5 },
  )
  t.match(readPublish(properties, 2, 5), { topic: 'a', payload: Buffer.from('b'), messageId: 3 })
})

t.test('what is no PUBLISH is left to the codec, which says what is wrong', async (t) => {
  const good = publish(10)
  t.ok(readPublish(good, 2, 4))
  for (let length = 0; length < 7; length += 1)
    t.equal(readPublish(good.subarray(0, length), 2, 4), undefined, `cut off after ${length} bytes`)
  const noId = Buffer.from(good)
  noId.writeUInt16BE(0, 5)
  t.equal(readPublish(noId, 2, 4), undefined, 'message id 0 [MQTT-2.3.1-1]')
  const noTopic = Buffer.from([0x32, 4, 0, 0, 0, 1])
  t.equal(readPublish(noTopic, 2, 4), undefined, 'an empty topic [MQTT-4.7.3-1]')
  const tooLong = Buffer.from([0x32, 6, 0, 200, 97, 0, 1, 98])
  t.equal(readPublish(tooLong, 2, 4), undefined, 'a topic longer than its packet')
  t.equal(readPuback(Buffer.from([PUBACK, 1, 0]), 2), undefined)
})

t.test('acknowledgements of one turn go out together, in order', async (t) => {
  const stream = new PassThrough()
  const writer = new PubackWriter(stream)
  const chunks: Buffer[] = []
  stream.on('data', (chunk: Buffer) => chunks.push(chunk))
  for (const id of [3, 1, 65_535]) writer.write(id)
  await new Promise((resolve) => setImmediate(resolve))
  t.equal(chunks.length, 1)
  t.equal(
    Buffer.concat(chunks).toString('hex'),
    Buffer.concat([3, 1, 65_535].map((messageId) => mqtt.generate({ cmd: 'puback', messageId }))).toString(
      'hex',
    ),
  )
  writer.write(7)
  writer.flush()
  t.equal(chunks.length, 2, 'at once where asked')
})

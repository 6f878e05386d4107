import mqtt from 'mqtt-packet'
import t from 'tap'
import { PacketGuard } from '../../broker/packet-guard.ts'
import { seeded } from '../kit/wait.ts'

const publish = (bytes: number) =>
  mqtt.generate({
    cmd: 'publish',
    topic: 'a',
    payload: Buffer.alloc(bytes),
    qos: 1,
    messageId: 1,
    dup: false,
    retain: false,
  })
/** Remaining length: topic (3), message id (2), payload. */
const remaining = (bytes: number) => bytes + 5

function inspect(guard: PacketGuard, bytes: Buffer, cuts: () => number): number {
  for (let at = 0; at < bytes.length; ) {
    const end = at + Math.max(1, cuts())
    const tooLarge = guard.inspect(bytes.subarray(at, end))
    if (tooLarge > 0) return tooLarge
    at = end
  }
  return 0
}

t.test('packets up to the limit pass, however the stream is cut', async (t) => {
  const random = seeded(3)
  const stream = Buffer.concat(
    [0, 1, 122, 123, 16_378, 16_379, 100_000, 5, 0].flatMap((bytes) => [
      publish(bytes),
      mqtt.generate({ cmd: 'pingreq' }),
    ]),
  )
  for (const cut of [1, 2, 3, 7, 1000, stream.length])
    t.equal(
      inspect(new PacketGuard(remaining(100_000)), stream, () => cut),
      0,
      `cut into ${cut}`,
    )
  for (let round = 0; round < 20; round += 1) {
    const cuts = () => Math.floor(random() ** 4 * 5000)
    if (inspect(new PacketGuard(remaining(100_000)), stream, cuts) !== 0) t.fail(`round ${round}`)
  }
})

t.test('one byte over the limit is told from its header alone', async (t) => {
  const stream = Buffer.concat([publish(10), publish(200_001).subarray(0, 5)])
  for (const cut of [1, 2, 1000])
    t.equal(
      inspect(new PacketGuard(remaining(200_000)), stream, () => cut),
      remaining(200_001),
    )
})

t.test('a length that no packet can have is too large', async (t) => {
  const endless = Buffer.from([0x30, 0xff, 0xff, 0xff, 0xff, 0x01])
  t.ok(new PacketGuard(2 ** 28).inspect(endless) > 2 ** 28)
  t.ok(new PacketGuard(1000).inspect(endless) > 1000)
})

import t from 'tap'
import { ChunkReader, type Message, VIDEO } from '../../device/listen/rtmp/chunks.ts'
import { RtmpMedia } from '../../device/listen/rtmp/media.ts'

/** What the field sends: chunks and times as cameras, phones and OBS have them. */

const bytes = (...parts: (number | number[] | Buffer)[]) =>
  Buffer.concat(parts.map((part) => (Buffer.isBuffer(part) ? part : Buffer.from([part].flat()))))

function read(...pieces: Buffer[]): Message[] {
  const messages: Message[] = []
  const reader = new ChunkReader(100_000, (message) => messages.push(message))
  for (const piece of pieces) reader.push(piece)
  return messages
}

t.test('chunks of all four formats, in whatever pieces', async (t) => {
  const stream = bytes(
    bytes(0x04, [0, 0, 100], [0, 0, 2], VIDEO, [1, 0, 0, 0], [1, 2]), // whole header, at 100
    bytes(0x44, [0, 0, 40], [0, 0, 3], VIDEO, [3, 4, 5]), // 40 ms later, another length
    bytes(0x84, [0, 0, 33], [6, 7, 8]), // 33 ms later
    bytes(0xc4, [9, 10, 11]), // and again
  )
  const whole = read(stream).map(({ timestampMs, payload }) => [timestampMs, ...payload])
  t.strictSame(whole, [
    [100, 1, 2],
    [140, 3, 4, 5],
    [173, 6, 7, 8],
    [206, 9, 10, 11],
  ])
  const single = read(...[...stream].map((byte) => Buffer.from([byte])))
  t.strictSame(
    single.map(({ timestampMs, payload }) => [timestampMs, ...payload]),
    whole,
  )
})

t.test('extended timestamps, repeated in the chunks that follow or not', async (t) => {
  const at = 0x01020304
  const payload = Buffer.alloc(200, 7)
  const head = bytes(0x04, [0xff, 0xff, 0xff], [0, 0, 200], VIDEO, [1, 0, 0, 0], [1, 2, 3, 4])
  for (const again of [[1, 2, 3, 4], []]) {
    const [message] = read(bytes(head, payload.subarray(0, 128), 0xc4, again, payload.subarray(128)))
    t.equal(message?.timestampMs, at)
    t.strictSame(message?.payload, payload)
  }
  const boundary = bytes(0x04, [0xff, 0xff, 0xff], [0, 0, 1], VIDEO, [1, 0, 0, 0], [0, 0xff, 0xff, 0xff], 9)
  t.equal(read(boundary)[0]?.timestampMs, 0xffffff)
})

t.test('an abort gives up a message, and a new header one that is not whole', async (t) => {
  const begun = bytes(0x04, [0, 0, 0], [0, 1, 0], VIDEO, [1, 0, 0, 0], Buffer.alloc(128, 1))
  const abort = bytes(0x02, [0, 0, 0], [0, 0, 4], 2, [0, 0, 0, 0], [0, 0, 0, 4])
  const next = bytes(0x04, [0, 0, 5], [0, 0, 1], VIDEO, [1, 0, 0, 0], 2)
  for (const stream of [bytes(begun, abort, next), bytes(begun, next)])
    t.match(read(stream), [{ timestampMs: 5, payload: Buffer.from([2]) }])
  t.throws(() => read(bytes(0xc5, 1, 2, 3)), /without a header/)
  t.throws(() => read(bytes(0x02, [0, 0, 0], [0, 0, 4], 1, [0, 0, 0, 0], [0, 0, 0, 1])), /chunks of 1 bytes/)
})

/** The tags of each file: type, time, first byte of what it holds. */
function media() {
  const files: (readonly [type: number, timeMs: number, first: number])[][] = []
  const unsupported: string[] = []
  const it = new RtmpMedia({
    begin: () => {
      const file: (typeof files)[number] = []
      files.push(file)
      const write = (data: Buffer) => {
        let at = data.subarray(0, 3).toString() === 'FLV' ? 13 : 0
        while (at < data.length) {
          const size = data.readUIntBE(at + 1, 3)
          const time = data.readUIntBE(at + 4, 3) + (data[at + 7] as number) * 2 ** 24
          file.push([data[at] as number, time, data[at + 11] as number])
          at += 11 + size + 4
        }
      }
      return { write, close() {} }
    },
    unsupported: (codec) => unsupported.push(codec),
  })
  return { it, files, unsupported }
}
const header = (more = 1) => Buffer.from([0x17, 0, 0, 0, 0, more])
const key = Buffer.from([0x17, 1, 0, 0, 0, 9])
const frame = Buffer.from([0x27, 1, 0, 0, 0, 9])
const soundHeader = Buffer.from([0xaf, 0, 0x12, 0x10])
const sound = Buffer.from([0xaf, 1, 5])

t.test('sound first, and pictures before the first key frame, are left out', async (t) => {
  const { it, files } = media()
  it.audio(soundHeader, 0, 0)
  it.audio(sound, 10, 10)
  it.video(frame, 20, 20)
  it.video(header(), 20, 20)
  it.video(frame, 40, 40)
  it.video(key, 60, 60)
  it.audio(sound, 65, 65)
  it.video(frame, 100, 100)
  t.strictSame(files, [
    [
      [8, 0, 0xaf],
      [9, 0, 0x17],
      [9, 0, 0x17],
      [8, 5, 0xaf],
      [9, 40, 0x27],
    ],
  ])
})

t.test(
  'times that jump, stand, go back a little, and pass the end of 32 bits: they go forward',
  async (t) => {
    const times = (raw: readonly number[], stepMs = 40) => {
      const { it, files } = media()
      it.video(header(), 0, 0)
      raw.forEach((at, number) => void it.video(number === 0 ? key : frame, at >>> 0, number * stepMs))
      return files.flatMap((file) => file.slice(1).map(([, at]) => at))
    }
    t.strictSame(times([5000, 5040, 5080]), [0, 40, 80])
    t.strictSame(times([0, 40, 3_600_000, 3_600_040]), [0, 40, 80, 120], 'a jump ahead')
    t.strictSame(times([900_000, 900_040, 0, 40]), [0, 40, 80, 120], 'a jump back')
    t.strictSame(times([0, 40, 40, 35, 80]), [0, 40, 41, 42, 82], 'out of order by a little')
    t.strictSame(times([2 ** 32 - 40, 0, 40]), [0, 40, 80], 'over the end of 32 bits')
    t.strictSame(times([0xffffff - 40, 0xffffff, 0xffffff + 40]), [0, 40, 80])
    t.strictSame(times([0, 40, 20_040], 10_000), [0, 40, 20_040], 'a real gap stays one')
  },
)

t.test(
  'another size or codec begins another file, with its key frame; the same header again does not',
  async (t) => {
    const { it, files, unsupported } = media()
    it.video(header(), 0, 0)
    it.video(key, 0, 0)
    it.video(header(), 40, 40)
    it.video(frame, 40, 40)
    it.video(header(2), 80, 80)
    it.video(frame, 80, 80)
    it.video(key, 120, 120)
    it.video(Buffer.from([0x90, ...Buffer.from('hvc1'), 1]), 160, 160)
    it.video(Buffer.from([0x93, ...Buffer.from('hvc1'), 1]), 160, 160)
    t.strictSame(
      files.map((file) => file.map(([, , first]) => first)),
      [
        [0x17, 0x17, 0x27],
        [0x17, 0x17],
        [0x90, 0x93],
      ],
    )
    it.video(Buffer.from([0x12, 0, 0, 0, 0]), 200, 200)
    it.video(Buffer.from([0x90, ...Buffer.from('vvc1')]), 200, 200)
    t.strictSame(unsupported, ['Sorenson H.263', 'vvc1'])
  },
)

t.test('H.265 by its old number is given its name', async (t) => {
  const { it, files } = media()
  it.video(Buffer.from([0x1c, 0, 0, 0, 0, 1]), 0, 0)
  it.video(Buffer.from([0x1c, 1, 0, 0, 0, 1]), 0, 0)
  t.strictSame(
    files.map((file) => file.map(([, , first]) => first)),
    [[0x90, 0x91]],
  )
})

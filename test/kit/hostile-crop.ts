import { type CropMetadata, cropMetadataSchema, readCrop, writeCrop } from '../../wire/crop.ts'
import { isName } from '../../wire/names.ts'
import { objectKey } from '../../wire/object-key.ts'
import { cropMetadata, tinyJpeg } from './crops.ts'
import { Mutator } from './mutate.ts'

/** Payloads that look like crops and mean harm, and what must hold whatever they are. */

/** One reading may take so long, ms of the processor's time; the median of a few where the first took longer. */
export const READ_MS_MAX = 20
const AGAIN = 5
/** Where a crop has its headers, bytes. */
const FRONT_BYTES = 700
const SEGMENT_BYTES_MAX = 0xffff
/** Now and then a large one: so that work that grows faster than the input shows. */
const LARGE_BYTES = 1_000_000

const KEYS = Object.keys(cropMetadataSchema.shape)

/** The input of this seed. */
export function hostileCrop(seed: number): Buffer {
  const m = new Mutator(seed)
  const crop = writeCrop(tinyJpeg, cropMetadata())
  return m.of([
    () => m.bytes(crop, [tinyJpeg], FRONT_BYTES),
    () => m.bytes(crop, [tinyJpeg], FRONT_BYTES),
    () => withComment(m, Buffer.from(hostileJson(m))),
    () => withComment(m, m.bytes(Buffer.from(JSON.stringify(metadataWith(m))))),
    () => segmentsShuffled(m, m.chance(0.5) ? crop : withComment(m, Buffer.from(hostileJson(m)))),
    () => m.bytes(withComment(m, Buffer.from(hostileJson(m))), [crop], FRONT_BYTES),
    () => (m.chance(0.05) ? large(m) : m.noise(m.few(400))),
    () => Buffer.concat([Buffer.from([0xff, 0xd8, 0xff]), m.noise(m.few(400)), Buffer.from([0xff, 0xd9])]),
  ])()
}

/** A crop's metadata with some values that it must not have, as the writer of our own would write them. */
function metadataWith(m: Mutator): Record<string, unknown> {
  const metadata: Record<string, unknown> = { format: 'sightline', ...cropMetadata() }
  for (let change = m.few(4); change >= 0; change -= 1) {
    const key = m.of([...KEYS, ...KEYS, 'format', 'constructor', 'toString', 'extra'])
    if (m.chance(0.15)) delete metadata[key]
    else metadata[key] = value(m)
  }
  return metadata
}

function value(m: Mutator): unknown {
  return m.of<() => unknown>([
    () => m.text(),
    () => m.of([0, -0, -1, 0.5, 1e308, -1e308, 2 ** 53, 2 ** 53 + 2, 253_402_300_799_999, 8.64e15, 5e-324]),
    () => m.of([null, true, false, {}, [], [[]], [[1, 2, 3]]]),
    () => Array.from({ length: m.of([1, 2, 3, 4, 5, 128, 129, 3000]) }, () => m.edge(2)),
    () => Array.from({ length: m.of([1, 128, 129]) }, () => [m.edge(2), m.edge(4)]),
    () => 'x'.repeat(m.of([62, 63, 64, 200, 201, 30_000])),
    () => '0190a4b0-0000-7000-8000-000000000000'.replace(/0/g, () => m.of([...'0123456789abcdefABCDEF-/'])),
  ])()
}

/** JSON as text, with what no writer would write. */
function hostileJson(m: Mutator): string {
  const valid = JSON.stringify(metadataWith(m))
  const front = (text: string) => `{${text},${valid.slice(1)}`
  return m.of([
    () => valid,
    () => front(`"__proto__":{"polluted":true,"site":"a/b"}`),
    () => front(`"constructor":{"prototype":{"polluted":true}}`),
    () => front(`"x":${'['.repeat(m.pick(30_000))}`),
    () => {
      const depth = m.pick(30_000)
      return front(`"x":${'['.repeat(depth)}${']'.repeat(depth)}`)
    },
    () => front(`"x":${'{"a":'.repeat(m.pick(10_000))}`),
    () => front(`"capturedAtMs":1e${m.pick(999)}`),
    () => `${valid.slice(0, -1)},"score":${'9'.repeat(m.few(400))}.${'9'.repeat(m.few(400))}}`,
    () => `${valid.slice(0, -1)},"site":"\\ud800","model":"\\udfff\\u0000\\u001b[2J"}`,
    () =>
      `${valid.slice(0, -1)},"v":${m.of(['2', '1.5', '"1"', '1e400', '-0', '[1]', '99999999999999999999'])}}`,
    () => `\ufeff${valid}`,
    () => valid.slice(0, m.pick(valid.length)),
    () => m.of(['null', '1', '"sightline"', '[]', '{}', '{"format":"sightline"}', '']),
    () => m.text(),
  ])()
}

/** A crop whose EXIF is written here, with fields that may lie. */
function withComment(m: Mutator, json: Buffer): Buffer {
  const code = m.chance(0.9) ? Buffer.from('ASCII\0\0\0', 'latin1') : m.noise(m.pick(9))
  const comment = Buffer.concat([code, json.subarray(0, SEGMENT_BYTES_MAX - 80)])
  const big = m.chance(0.5)
  const tiff = Buffer.alloc(44 + comment.length)
  tiff.write(big ? 'MM\0*' : 'II*\0', 0, 'latin1')
  const u16 = (at: number, number: number) =>
    void (big ? tiff.writeUInt16BE(number, at) : tiff.writeUInt16LE(number, at))
  const u32 = (at: number, number: number) =>
    void (big ? tiff.writeUInt32BE(number, at) : tiff.writeUInt32LE(number, at))
  const lie = (bytes: 2 | 4, truth: number) => (m.chance(0.03) ? m.edge(bytes) : truth)
  u32(4, lie(4, 8))
  for (const [at, tag, type, count, target] of [
    [8, 0x8769, 4, 1, 26],
    [26, 0x9286, 7, comment.length, 44],
  ] as const) {
    u16(at, lie(2, 1))
    u16(at + 2, lie(2, tag))
    u16(at + 4, lie(2, type))
    u32(at + 6, lie(4, count))
    u32(at + 10, lie(4, target))
    u32(at + 14, lie(4, 0))
  }
  comment.copy(tiff, 44)
  return Buffer.concat([tinyJpeg.subarray(0, 2), segment(0xe1, 'Exif\0\0', tiff), tinyJpeg.subarray(2)])
}

function segment(marker: number, head: string, content: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(head, 'latin1'), content])
  const length = Math.min(SEGMENT_BYTES_MAX, 2 + body.length)
  return Buffer.concat([Buffer.from([0xff, marker, length >> 8, length & 0xff]), body])
}

/** The same segments in another order, some of them gone, some there twice. */
function segmentsShuffled(m: Mutator, jpeg: Buffer): Buffer {
  const segments: Buffer[] = []
  let at = 2
  while (at + 4 <= jpeg.length && jpeg[at] === 0xff && jpeg[at + 1] !== 0xda) {
    const end = at + 2 + jpeg.readUInt16BE(at + 2)
    segments.push(jpeg.subarray(at, end))
    at = end
  }
  const scan = jpeg.subarray(at)
  const shuffled = Array.from({ length: m.few(30) + 1 }, () =>
    m.chance(0.9) && segments.length > 0 ? m.of(segments) : segment(m.pick(256), '', m.noise(m.few(30))),
  )
  if (m.chance(0.5)) shuffled.push(...segments)
  return Buffer.concat([
    jpeg.subarray(0, 2),
    ...shuffled.flatMap((piece) => (m.chance(0.1) ? [Buffer.alloc(m.few(9), 0xff), piece] : [piece])),
    ...(m.chance(0.8) ? [scan] : []),
  ])
}

/** Large, and all of it headers. */
function large(m: Mutator): Buffer {
  const start = Buffer.from([0xff, 0xd8])
  const exif = withComment(m, Buffer.from('{}')).subarray(2, 60)
  const piece = m.of([
    Buffer.from([0xff]),
    Buffer.from([0xff, 0xe1, 0, 2]),
    segment(0xe1, 'Exif\0\0', Buffer.from('MM\0*\0\0\0\x08\xff\xff', 'latin1')),
    segment(0xe1, 'Exif\0\0', Buffer.alloc(60_000, Buffer.from('MM\0*\0\0\0\x08\xff\xff', 'latin1'))),
    segment(0xc0, '', Buffer.alloc(10)),
    Buffer.concat([Buffer.from([0xff, 0xda, 0, 2]), exif]),
    Buffer.from([0xff, 0xda, 0, 2, 0xff, 0xff]),
  ])
  return Buffer.concat([start, Buffer.alloc(LARGE_BYTES, piece)])
}

export interface Outcome {
  /** What must not be; undefined where all is well. */
  readonly broken?: string
  /** `crop`, or the kind of fault that the reader found. */
  readonly kind: string
  readonly ms: number
}

/** Reads it, and says what must not be. */
export function judgeReading(bytes: Buffer): Outcome {
  const times: number[] = []
  let reading: ReturnType<typeof readCrop>
  do {
    const start = process.threadCpuUsage()
    try {
      reading = readCrop(bytes)
    } catch (error) {
      return { broken: `it threw ${error}`, kind: 'thrown', ms: 0 }
    }
    const { user, system } = process.threadCpuUsage(start)
    times.push((user + system) / 1000)
  } while ((times[0] as number) > READ_MS_MAX && times.length < AGAIN)
  const ms = times.sort((a, b) => a - b)[times.length >> 1] as number
  const kind = 'crop' in reading ? 'crop' : reading.fault
  const broken =
    ms > READ_MS_MAX
      ? `it took ${ms.toFixed(0)} ms`
      : 'polluted' in {}
        ? 'Object.prototype was changed'
        : 'crop' in reading
          ? wrongWith(reading.crop)
          : undefined
  return { broken, kind, ms }
}

function wrongWith(crop: CropMetadata): string | undefined {
  const again = cropMetadataSchema.safeParse(crop)
  if (!again.success) return `metadata against the schema: ${again.error.issues[0]?.path.join('.')}`
  const unknown = Object.keys(crop).find((key) => !KEYS.includes(key))
  if (unknown !== undefined) return `metadata with a key of its own, ${JSON.stringify(unknown)}`
  if (Object.getPrototypeOf(crop) !== Object.prototype) return 'metadata with a prototype of its own'
  const name = [crop.site, crop.device, crop.camera].find((text) => !isName(text))
  if (name !== undefined) return `a name that is none: ${JSON.stringify(name)}`
  const key = objectKey(crop, crop.capturedAtMs)
  if (!/^([\w-]+\/){3}\d{4}\/\d\d\/\d\d\/\d\d\/[0-9a-f-]{36}\.jpg$/.test(key))
    return `the key ${JSON.stringify(key)}`
  return undefined
}

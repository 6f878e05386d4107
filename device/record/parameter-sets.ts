import { AV_CODEC_ID_H264, AV_CODEC_ID_HEVC } from 'node-av/constants'

const START_CODE = Buffer.from([0, 0, 1])
/** Parameter sets that one stream may have, bytes: they come before the picture, which is not searched. */
const SEARCHED_BYTES_MAX = 16_384

/**
 * The parameter sets of a stream with start codes (H.264 Annex B, as RTP, MPEG-TS and plain streams have it): what its
 * pictures need, and what changes with their size.
 * @returns `all`: those before the first picture, as they lie there; `sequence`: the SPS among them. Undefined without any
 */
export function parameterSetsOf(
  data: Buffer,
  codecId: number,
): { readonly all: Buffer; readonly sequence: Buffer } | undefined {
  const sets = SETS.get(codecId)
  if (!sets || !hasStartCode(data)) return undefined
  const head = data.subarray(0, SEARCHED_BYTES_MAX)
  const all: Buffer[] = []
  const sequence: Buffer[] = []
  for (let at = head.indexOf(START_CODE); at >= 0; ) {
    const next = head.indexOf(START_CODE, at + 3)
    const unit = data.subarray(at + 3, next < 0 ? head.length : next)
    const type = sets.typeOf(unit[0] ?? 0)
    if (sets.isPicture(type)) break
    if (sets.all.includes(type)) all.push(Buffer.from([0]), START_CODE, withoutZeros(unit))
    if (type === sets.sequence) sequence.push(withoutZeros(unit))
    at = next
  }
  return sequence.length > 0 ? { all: Buffer.concat(all), sequence: Buffer.concat(sequence) } : undefined
}

const SETS: ReadonlyMap<
  number,
  {
    readonly typeOf: (first: number) => number
    readonly all: readonly number[]
    readonly sequence: number
    readonly isPicture: (type: number) => boolean
  }
> = new Map([
  [
    AV_CODEC_ID_H264,
    {
      typeOf: (first) => first & 0x1f,
      all: [7, 8],
      sequence: 7,
      isPicture: (type) => type >= 1 && type <= 5,
    },
  ],
  [
    AV_CODEC_ID_HEVC,
    {
      typeOf: (first) => (first >> 1) & 0x3f,
      all: [32, 33, 34],
      sequence: 33,
      isPicture: (type) => type < 32,
    },
  ],
])

const hasStartCode = (data: Buffer) =>
  data.length > 4 && data[0] === 0 && data[1] === 0 && (data[2] === 1 || (data[2] === 0 && data[3] === 1))

/** A zero before a start code belongs to that. */
function withoutZeros(unit: Buffer): Buffer {
  let end = unit.length
  while (end > 0 && unit[end - 1] === 0) end -= 1
  return unit.subarray(0, end)
}

import { WHIP_FRAME_UNITS_MAX } from '../limits.ts'

/** H.264 out of RTP (RFC 6184, packetization modes 0 and 1), as FLV wants it: each NAL unit after its length. Pure. */

const TYPE_SLICE = 1
const TYPE_IDR = 5
const TYPE_SPS = 7
const TYPE_PPS = 8
const TYPE_DELIMITER = 9
const TYPE_FILLER = 12
const TYPE_STAP_A = 24
const TYPE_FU_A = 28
const PARAMETER_SETS_MAX = 31

/** A picture. */
export interface H264Frame {
  readonly isKey: boolean
  /** NAL units, each with its length in four bytes before it; without parameter sets. */
  readonly units: Buffer
  /** An AVCDecoderConfigurationRecord, where it is not the one of the picture before. */
  readonly configuration: Buffer | undefined
}

/** The parameter sets that are in force. */
export class H264 {
  readonly #sps = new Map<number, Buffer>()
  readonly #pps = new Map<number, Buffer>()
  #configuration: Buffer | undefined

  /**
   * @param payloads of all packets of one picture, in order, none missing
   * @returns `nothing` where there is no picture in it: parameter sets alone
   */
  frame(payloads: readonly Buffer[]): H264Frame | 'nothing' | 'damaged' {
    const units = unitsOf(payloads)
    if (!units) return 'damaged'
    const parts: Buffer[] = []
    let isKey = false
    let hasSlice = false
    for (const unit of units) {
      const type = (unit[0] ?? 0) & 0x1f
      if (type === TYPE_SPS && unit.length >= 4) keep(this.#sps, unit)
      else if (type === TYPE_PPS && unit.length >= 2) keep(this.#pps, unit)
      else if (type >= 1 && type < TYPE_DELIMITER) {
        const isSlice = type === TYPE_SLICE || type === TYPE_IDR
        // The first slice begins with the first block, the number 0, written as a single 1. Otherwise one before it is lost.
        if (isSlice && !hasSlice && ((unit[1] ?? 0) & 0x80) === 0) return 'damaged'
        if (isSlice) hasSlice = true
        if (type === TYPE_IDR) isKey = true
        parts.push(lengthOf(unit, 4), unit)
      }
    }
    if (!hasSlice) return 'nothing'
    return { isKey, units: Buffer.concat(parts), configuration: isKey ? this.#changed() : undefined }
  }

  /** A picture that is no whole key picture can be understood only with them. */
  get isConfigured(): boolean {
    return this.#configuration !== undefined
  }

  #changed(): Buffer | undefined {
    const [sps] = this.#sps.values()
    if (!sps || this.#pps.size === 0) return undefined
    const sets = (of: ReadonlyMap<number, Buffer>) =>
      [...of.values()].flatMap((set) => [lengthOf(set, 2), set])
    const configuration = Buffer.concat([
      // Profile, what it is constrained to, level: as the first set says. Then: lengths of four bytes.
      Buffer.from([1, sps[1] ?? 0, sps[2] ?? 0, sps[3] ?? 0, 0xff, 0xe0 | this.#sps.size]),
      ...sets(this.#sps),
      Buffer.from([this.#pps.size]),
      ...sets(this.#pps),
    ])
    if (this.#configuration?.equals(configuration)) return undefined
    this.#configuration = configuration
    return configuration
  }
}

/** By the set's own number, the first thing it says. */
function keep(sets: Map<number, Buffer>, unit: Buffer): void {
  const type = (unit[0] ?? 0) & 0x1f
  const number = firstGolomb(unit.subarray(type === TYPE_SPS ? 4 : 1))
  if (number === undefined || (!sets.has(number) && sets.size >= PARAMETER_SETS_MAX)) return
  sets.set(number, Buffer.from(unit))
}

/** An unsigned Exp-Golomb number at the beginning; small ones only. */
function firstGolomb(bytes: Buffer): number | undefined {
  if (bytes.length === 0) return undefined
  const bits =
    bytes.length >= 4 ? bytes.readUInt32BE(0) : bytes.readUIntBE(0, bytes.length) << (8 * (4 - bytes.length))
  const zeros = Math.clz32(bits)
  return zeros > 8 ? undefined : ((bits << zeros) >>> (31 - zeros)) - 1
}

function unitsOf(payloads: readonly Buffer[]): Buffer[] | undefined {
  const units: Buffer[] = []
  let fragments: Buffer[] | undefined
  for (const payload of payloads) {
    if (units.length > WHIP_FRAME_UNITS_MAX) return undefined
    const first = payload[0]
    if (first === undefined) continue
    const type = first & 0x1f
    if (type === TYPE_FU_A) {
      const head = payload[1]
      if (head === undefined) return undefined
      if ((head & 0x80) !== 0) fragments = [Buffer.from([(first & 0xe0) | (head & 0x1f)])]
      if (!fragments) return undefined
      fragments.push(payload.subarray(2))
      if ((head & 0x40) === 0) continue
      units.push(Buffer.concat(fragments))
      fragments = undefined
    } else if (type === TYPE_STAP_A) {
      let at = 1
      while (at + 2 <= payload.length) {
        const bytes = payload.readUInt16BE(at)
        if (at + 2 + bytes > payload.length) return undefined
        if (bytes > 0) units.push(payload.subarray(at + 2, at + 2 + bytes))
        at += 2 + bytes
      }
    } else if (type >= 1 && type < TYPE_STAP_A && type !== TYPE_FILLER) units.push(payload)
  }
  return fragments ? undefined : units
}

function lengthOf({ length }: Buffer, bytes: 2 | 4): Buffer {
  const written = Buffer.alloc(bytes)
  written.writeUIntBE(length, 0, bytes)
  return written
}

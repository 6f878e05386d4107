import { crc32 } from 'node:zlib'

/**
 * What lies in a store's trees, byte by byte. Everything carries a checksum, because LMDB has none: a page that a power
 * cut or a bad disk left behind can look like a sound one.
 *
 *   bodies      sequence number: the body
 *   references  queue id, sequence number: see encodeReference
 *   queues      name: JSON of a QueueRecord, with its checksum as "seal"
 *   names       queue id: its name, 4 bytes checksum; seldom written, where the books always are: if a page with
 *               books is lost, it is known still whose entries those are
 *   tables      table, key: the value, 4 bytes checksum
 *   (root)      version, sequence; sealedFrom: older references (of version 1) have no checksum
 */

export const STORE_VERSION = 2
/** The first byte of a time is below this; one above says that there are checksums. */
const SEALED = 0x80
/** Of a reference of version 1. */
const OLD_START_BYTES = 13
const START_BYTES = 17
const SEAL_BYTES = 4

/** @internal As it is on disk. */
export interface QueueRecord {
  id: number
  accepted: number
  forwarded: number
  dropped: Record<string, number>
}

export interface Reference {
  /** When it was accepted, ms since 1970. */
  readonly atMs: number
  /** Of the body. */
  readonly bytes: number
  /** Of the body; undefined in a reference of version 1. */
  readonly checksum: number | undefined
  readonly key: string | undefined
  readonly header: Buffer
}

/**
 * 8 bytes time (the first bit: there are checksums), 4 bytes size of the body, 4 bytes its CRC-32, 1 byte length of the
 * key, the key, the header, 4 bytes CRC-32 of all this, begun with the sequence number.
 */
export function encodeReference(
  sequence: number,
  atMs: number,
  { header, body }: { readonly header: Buffer; readonly body: Buffer },
  key = '',
): Buffer {
  const keyEnd = START_BYTES + Buffer.byteLength(key)
  const end = keyEnd + header.length
  const reference = Buffer.allocUnsafe(end + SEAL_BYTES)
  reference.writeDoubleBE(Math.max(0, atMs), 0)
  reference[0] = (reference[0] as number) | SEALED
  reference.writeUInt32BE(body.length, 8)
  reference.writeUInt32BE(crc32(body), 12)
  reference.writeUInt8(keyEnd - START_BYTES, 16)
  reference.write(key, START_BYTES)
  header.copy(reference, keyEnd)
  reference.writeUInt32BE(crc32(reference.subarray(0, end), sequence >>> 0), end)
  return reference
}

/** Does not look at the checksum: `isReference` does. */
export function decodeReference(value: Uint8Array): Reference {
  const reference = Buffer.from(value.buffer, value.byteOffset, value.byteLength)
  const sealed = isSealed(reference)
  const start = sealed ? START_BYTES : OLD_START_BYTES
  const keyEnd = start + reference.readUInt8(start - 1)
  const atMs = reference.readDoubleBE(0)
  return {
    atMs: sealed ? -atMs : atMs,
    bytes: reference.readUInt32BE(8),
    checksum: sealed ? reference.readUInt32BE(12) : undefined,
    key: keyEnd > start ? reference.toString('utf8', start, keyEnd) : undefined,
    header: reference.subarray(keyEnd, sealed ? -SEAL_BYTES : undefined),
  }
}

/** Whether a reference is as it was written; one without checksum, whether it could be. */
export function isReference(reference: Buffer, sequence: number, sealedFrom: number): boolean {
  if (reference.length < OLD_START_BYTES) return false
  if (!isSealed(reference))
    return (
      sequence < sealedFrom &&
      OLD_START_BYTES + reference.readUInt8(12) <= reference.length &&
      reference.readDoubleBE(0) < LATEST_MS
    )
  const end = reference.length - SEAL_BYTES
  return (
    end >= START_BYTES && reference.readUInt32BE(end) === crc32(reference.subarray(0, end), sequence >>> 0)
  )
}

const isSealed = (reference: Buffer) => ((reference[0] ?? 0) & SEALED) !== 0
/** The year 2286. */
const LATEST_MS = 1e13

/** Whether a body is the one that its reference speaks of; without a checksum, whether it has its size. */
export function isBody(
  body: Uint8Array,
  { bytes, checksum }: Pick<Reference, 'bytes' | 'checksum'>,
): boolean {
  return body.length === bytes && (checksum === undefined || checksum === crc32(body))
}

/** A queue's record with its checksum, to be written as JSON. */
export function sealRecord(name: string, { id, accepted, forwarded, dropped }: QueueRecord) {
  const record = { id, accepted, forwarded, dropped }
  return { ...record, seal: crc32(name + JSON.stringify(record)) }
}

/** @returns undefined where it is not as it was written. @param sealed false in a store of version 1 */
export function openRecord(name: string, json: string, sealed: boolean): QueueRecord | undefined {
  try {
    const { id, accepted, forwarded, dropped, seal } = JSON.parse(json)
    const counts = [id, accepted, forwarded, ...Object.values(dropped)]
    if (!counts.every((count) => Number.isSafeInteger(count) && (count as number) >= 0)) return undefined
    const record = { id, accepted, forwarded, dropped } as QueueRecord
    return !sealed || seal === sealRecord(name, record).seal ? record : undefined
  } catch {
    return undefined // no JSON, or of another kind: it is not as it was written
  }
}

export function sealValue(value: Uint8Array): Buffer {
  const sealed = Buffer.allocUnsafe(value.length + SEAL_BYTES)
  sealed.set(value)
  sealed.writeUInt32BE(crc32(value), value.length)
  return sealed
}

/** @returns undefined where it is not as it was written */
export function openValue(sealed: Uint8Array): Uint8Array | undefined {
  const end = sealed.length - SEAL_BYTES
  if (end < 0) return undefined
  const value = sealed.subarray(0, end)
  const seal = Buffer.from(sealed.buffer, sealed.byteOffset + end, SEAL_BYTES).readUInt32BE()
  return seal === crc32(value) ? value : undefined
}

/** What pends by a queue's books. */
export function pendingOf({ accepted, forwarded, dropped }: QueueRecord): number {
  return accepted - forwarded - Object.values(dropped).reduce((sum, count) => sum + count, 0)
}

/** Length of a number as part of a key, after which a 0 follows. */
const NUMBER_BYTES = 9
/** Of a reference's key. */
export const PAIR_BYTES = 2 * NUMBER_BYTES + 1

/**
 * A whole number above 0 as lmdb writes it in a key (`ordered-binary`: an IEEE double, moved on by 4 bits).
 * @param bytes 9 in a pair; by itself it ends where only zeros would follow
 * @returns 0 where it is none
 */
export function readNumber(key: Buffer, at: number, bytes: number): number {
  if (bytes !== 9 && bytes !== 8 && bytes !== 6 && bytes !== 4) return 0
  const first = key.readUInt32BE(at)
  if (first >>> 28 !== 1) return 0
  const second = bytes >= 8 ? key.readUInt32BE(at + 4) : bytes === 6 ? key.readUInt16BE(at + 4) << 16 : 0
  const last = bytes === 9 ? (key[at + 8] as number) >>> 4 : 0
  WORDS[1] = (first << 4) | (second >>> 28)
  WORDS[0] = (second << 4) | last
  const number = DOUBLE[0] as number
  return number >= 1 && Number.isSafeInteger(number) ? number : 0
}

/** How long a number's key is that stands alone. */
export function numberBytes(number: number): number {
  DOUBLE[0] = number
  const [low, high] = WORDS as unknown as [number, number]
  return low & 0xf ? 9 : low & 0xfffff ? 8 : low || high & 0xf ? 6 : 4
}

/** The key of a body. */
export function numberKey(number: number): Buffer {
  const key = Buffer.alloc(NUMBER_BYTES)
  DOUBLE[0] = number
  const [low, high] = WORDS as unknown as [number, number]
  key.writeUInt32BE(((high >>> 4) | 0x1000_0000) >>> 0, 0)
  key.writeUInt32BE(((low >>> 4) | (high << 28)) >>> 0, 4)
  key[8] = (low & 0xf) << 4
  return key.subarray(0, numberBytes(number))
}

const DOUBLE = new Float64Array(1)
/** Little endian, like every machine that the runtime exists for. */
const WORDS = new Uint32Array(DOUBLE.buffer)

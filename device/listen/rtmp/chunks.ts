/**
 * RTMP's chunk streams (section 5.3 of its specification): messages, cut into chunks that take turns. Memory is taken as
 * bytes come, never as they are announced. Pure.
 */

export interface Message {
  /** The chunk stream it came on. */
  readonly chunkStream: number
  readonly type: number
  /** ms, modulo 2^32. */
  readonly timestampMs: number
  readonly messageStream: number
  readonly payload: Buffer
}

export const SET_CHUNK_SIZE = 1
export const ABORT = 2
export const ACKNOWLEDGEMENT = 3
export const USER_CONTROL = 4
export const WINDOW_SIZE = 5
export const PEER_BANDWIDTH = 6
export const AUDIO = 8
export const VIDEO = 9
export const DATA_AMF3 = 15
export const COMMAND_AMF3 = 17
export const DATA_AMF0 = 18
export const COMMAND_AMF0 = 20
export const AGGREGATE = 22

const CHUNK_BYTES_DEFAULT = 128
/** Smaller ones make a chunk of every few bytes; larger ones than a message there are not. */
const CHUNK_BYTES_MIN = 64
const CHUNK_BYTES_MAX = 0xffffff
const CHUNK_STREAMS_MAX = 32
const GROWN_FROM_BYTES = 512
const EXTENDED = 0xffffff
const NOTHING: Buffer = Buffer.alloc(0)
/** Of the headers by format, without the basic one and the extended timestamp. */
const HEADER_BYTES = [11, 7, 3, 0] as const

/** What breaks the protocol, or a limit of it: the connection ends. */
export class ChunkFault extends Error {}

/** The last header of a chunk stream, and the message that is not whole yet. */
interface ChunkStream {
  type: number
  length: number
  messageStream: number
  timestampMs: number
  /** Added for a message that says no time of its own. */
  deltaMs: number
  /** What stood in the extended timestamp; undefined where there was none. */
  extended: number | undefined
  /** Grows as its bytes come. */
  buffer: Buffer
  filled: number
  isInMessage: boolean
}

/** Reads chunks, in whatever pieces they come, and gives whole messages. */
export class ChunkReader {
  readonly #streams = new Map<number, ChunkStream>()
  readonly #take: (message: Message) => void
  #rest: Buffer = NOTHING
  #chunkBytes = CHUNK_BYTES_DEFAULT
  #current: { readonly id: number; readonly stream: ChunkStream; left: number } | undefined
  /** A message of more bytes is a fault, and twice as many in all that are not whole yet. To be raised once the publisher is known. */
  messageBytesMax: number
  /** Of the messages that are not whole yet. */
  #held = 0

  constructor(messageBytesMax: number, take: (message: Message) => void) {
    this.messageBytesMax = messageBytesMax
    this.#take = take
  }

  /** Bytes of memory that it holds. */
  get bytes(): number {
    return this.#rest.length + this.#held
  }

  /** Gives up what is not whole: nothing more is pushed. */
  clear(): void {
    this.#rest = NOTHING
    this.#current = undefined
    for (const stream of this.#streams.values()) this.#empty(stream)
  }

  /** Throws ChunkFault; and what `take` throws. */
  push(data: Buffer): void {
    const bytes = this.#rest.length > 0 ? Buffer.concat([this.#rest, data]) : data
    let at = 0
    for (;;) {
      const current = this.#current
      if (current) {
        const taken = Math.min(current.left, bytes.length - at)
        this.#fill(current.stream, bytes.subarray(at, at + taken))
        at += taken
        current.left -= taken
        if (current.left > 0) break
        this.#current = undefined
        if (current.stream.filled === current.stream.length) this.#whole(current.id, current.stream)
        continue
      }
      const size = this.#header(bytes, at)
      if (size === undefined) break
      at += size
    }
    // Less than a header. A copy: the rest of the bytes is not kept for it.
    this.#rest = at < bytes.length ? Buffer.from(bytes.subarray(at)) : NOTHING
  }

  /** @returns its length; undefined: it is not all there */
  #header(bytes: Buffer, start: number): number | undefined {
    const first = bytes[start]
    if (first === undefined) return undefined
    const low = first & 0x3f
    const basic = low === 0 ? 2 : low === 1 ? 3 : 1
    if (start + basic > bytes.length) return undefined
    const id =
      low > 1 ? low : 64 + (bytes[start + 1] as number) + (low === 1 ? 256 * (bytes[start + 2] as number) : 0)
    const format = (first >> 6) as 0 | 1 | 2 | 3
    const at = start + basic
    let end = at + HEADER_BYTES[format]
    const known = this.#streams.get(id)
    if (end > bytes.length) return undefined
    // librtmp begins some with format 1.
    if (!known && format > 1) throw new ChunkFault('a chunk stream that begins without a header')
    let extended: number | undefined
    const field = format < 3 ? bytes.readUIntBE(at, 3) : undefined
    if (field === EXTENDED || (format === 3 && known?.extended !== undefined)) {
      if (end + 4 > bytes.length) return undefined
      extended = bytes.readUInt32BE(end)
      // Some do not repeat it in the chunks that follow: then this is the message already.
      if (format === 3 && extended !== known?.extended) extended = undefined
      else end += 4
    }
    if (!known && this.#streams.size >= CHUNK_STREAMS_MAX) throw new ChunkFault('too many chunk streams')
    const stream = known ?? newStream()
    if (format < 3 || !stream.isInMessage) {
      this.#begin(stream, format, { field, extended, bytes, at })
      this.#streams.set(id, stream)
    }
    this.#current = {
      id,
      stream,
      left: Math.min(this.#chunkBytes, stream.length - stream.filled),
    }
    return end - start
  }

  /** A message begins; one that was not whole is given up. */
  #begin(
    stream: ChunkStream,
    format: 0 | 1 | 2 | 3,
    {
      field,
      extended,
      bytes,
      at,
    }: {
      readonly field: number | undefined
      readonly extended: number | undefined
      readonly bytes: Buffer
      readonly at: number
    },
  ): void {
    if (format < 2) {
      stream.length = bytes.readUIntBE(at + 3, 3)
      stream.type = bytes[at + 6] as number
    }
    if (format === 0) stream.messageStream = bytes.readUInt32LE(at + 7)
    if (format < 3) {
      stream.deltaMs = extended ?? field ?? 0
      stream.extended = extended
    }
    stream.timestampMs = format === 0 ? stream.deltaMs : (stream.timestampMs + stream.deltaMs) >>> 0
    if (stream.length > this.messageBytesMax) throw new ChunkFault(`a message of ${stream.length} bytes`)
    this.#empty(stream)
    stream.isInMessage = true
  }

  #fill(stream: ChunkStream, part: Buffer): void {
    const needed = stream.filled + part.length
    if (needed > stream.buffer.length) {
      const size = Math.min(stream.length, Math.max(needed, GROWN_FROM_BYTES, stream.buffer.length * 2))
      const grown = Buffer.allocUnsafeSlow(size)
      this.#held += size - stream.buffer.length
      if (this.#held > 2 * this.messageBytesMax) throw new ChunkFault('too many messages begun')
      stream.buffer.copy(grown, 0, 0, stream.filled)
      stream.buffer = grown
    }
    part.copy(stream.buffer, stream.filled)
    stream.filled = needed
  }

  #whole(id: number, stream: ChunkStream): void {
    const { type, timestampMs, messageStream, filled } = stream
    const payload = stream.buffer.subarray(0, filled)
    this.#empty(stream)
    if (type === SET_CHUNK_SIZE) this.#setChunkBytes(payload)
    else if (type === ABORT && payload.length >= 4) this.#abort(payload.readUInt32BE(0))
    else this.#take({ chunkStream: id, type, timestampMs, messageStream, payload })
  }

  #setChunkBytes(payload: Buffer): void {
    const size = payload.length >= 4 ? payload.readUInt32BE(0) : 0
    if (size < CHUNK_BYTES_MIN || size > 0x7fffffff) throw new ChunkFault(`chunks of ${size} bytes`)
    this.#chunkBytes = Math.min(size, CHUNK_BYTES_MAX)
  }

  #abort(id: number): void {
    const stream = this.#streams.get(id)
    if (stream) this.#empty(stream)
  }

  #empty(stream: ChunkStream): void {
    this.#held -= stream.buffer.length
    stream.buffer = NOTHING
    stream.filled = 0
    stream.isInMessage = false
  }
}

const newStream = (): ChunkStream => ({
  type: 0,
  length: 0,
  messageStream: 0,
  timestampMs: 0,
  deltaMs: 0,
  extended: undefined,
  buffer: NOTHING,
  filled: 0,
  isInMessage: false,
})

/** A message in chunks: each with a whole header, no timestamp. For answers, which are short. */
export function chunksOf(
  { type, messageStream, payload }: Pick<Message, 'type' | 'messageStream' | 'payload'>,
  chunkStream: number,
  chunkBytes: number,
): Buffer {
  const head = Buffer.alloc(12)
  head[0] = chunkStream
  head.writeUIntBE(payload.length, 4, 3)
  head[7] = type
  head.writeUInt32LE(messageStream, 8)
  const parts: Buffer[] = [head]
  for (let at = 0; at < payload.length; at += chunkBytes) {
    if (at > 0) parts.push(Buffer.from([0xc0 | chunkStream]))
    parts.push(payload.subarray(at, at + chunkBytes))
  }
  return Buffer.concat(parts)
}

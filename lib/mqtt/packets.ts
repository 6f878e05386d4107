import type { Writable } from 'node:stream'

/**
 * The packets that carry crops, PUBLISH at QoS 1 and PUBACK (MQTT 3.1.1, 3.3 and 3.4; MQTT 5 the same with
 * properties), read and written without the detour over a general codec. Everything else is mqtt-packet's.
 *
 * Every connection of a program reads into one buffer (`READ_BUFFER`, net.Socket's `onread`), and a packet that is wanted
 * is copied out of it once. A new buffer for each read, as sockets make it by default, is garbage outside V8's heap, and
 * collecting that was a third of what a crop cost in a broker.
 */

export type Protocol = 4 | 5

const TYPE_MASK = 0xf0
export const PUBLISH = 0x30
export const PUBACK = 0x40
const DUP = 0x08
const QOS_1 = 0x02
const RETAIN = 0x01
/** Any flags but DUP: QoS 1, not retained. */
const CARRIES_CROP_MASK = 0xff & ~DUP
/** What may wait in a socket before its writer has to wait for `drain`, bytes. */
const WRITE_AHEAD_BYTES = 256 * 1024
/** A packet beyond it is gathered as it comes, instead of in a buffer of the size that its header promises. */
const PROMISE_BYTES_MAX = 1024 * 1024

/** What sockets read into; whoever is called with it takes what it wants before it returns. */
export const READ_BUFFER = Buffer.allocUnsafeSlow(256 * 1024)

export const isPublish = (first: number) => (first & TYPE_MASK) === PUBLISH
/** A PUBLISH at QoS 1 that is not retained: the kind that only durable queues care about. */
export const carriesCrop = (first: number) => (first & CARRIES_CROP_MASK) === (PUBLISH | QOS_1)

export interface Publish {
  readonly topic: string
  readonly payload: Buffer
  readonly messageId: number
  readonly dup: boolean
}

export interface PacketSink {
  /** Whether the packet that starts with this byte is wanted whole. Asked once a packet, in their order. */
  wants(first: number): boolean
  /** @param bodyAt where its variable header starts */
  packet(packet: Buffer, bodyAt: number): void
  /** Bytes of packets that are not wanted, as they come, however they are cut: a view of the chunk, to be copied. */
  rest(bytes: Buffer): void
}

/**
 * Cuts a stream of bytes into MQTT packets, and judges the size of each by its fixed header, before anything is
 * gathered.
 */
export class PacketReader {
  readonly #bytesMaxOf: (first: number) => number
  /** Of the present packet. */
  #bytesMax = 0
  /** Where the fixed header is: 0 before its first byte, then the digits of the remaining length, -1 behind it. */
  #digit = 0
  #length = 0
  #headerBytes = 0
  /** Bytes of the present packet's body that are still to come. */
  #left = 0
  #wanted = false
  /** A wanted packet that did not come in one chunk: room for all of it, or its pieces so far. */
  #room: Buffer | undefined
  #filled = 0
  #pieces: Buffer[] = []

  /** @param bytesMax the largest remaining length (MQTT 3.1.1, section 2.2.3) that is let through, of packets that start so */
  constructor(bytesMax: number | ((first: number) => number)) {
    this.#bytesMaxOf = typeof bytesMax === 'number' ? () => bytesMax : bytesMax
  }

  /** What the packet that was too large could have had. */
  get bytesMax(): number {
    return this.#bytesMax
  }

  /** @returns the size of a packet that is too large, bytes; 0 where all is well. A malformed length counts as too large */
  read(chunk: Buffer, sink: PacketSink): number {
    let at = 0
    let start = 0
    while (at < chunk.length) {
      if (this.#digit === 0) {
        const wanted = sink.wants(chunk[at] as number)
        if (wanted) {
          if (start < at) sink.rest(chunk.subarray(start, at))
          start = at
        }
        this.#wanted = wanted
        this.#bytesMax = this.#bytesMaxOf(chunk[at] as number)
        this.#digit = 1
        this.#headerBytes = 1
        at += 1
        continue
      }
      if (this.#digit > 0) {
        const digit = chunk[at] as number
        at += 1
        this.#length += (digit & 0x7f) * 128 ** (this.#digit - 1)
        this.#headerBytes += 1
        this.#digit += 1
        if (this.#length > this.#bytesMax || (digit & 0x80 && this.#digit > 4))
          return Math.max(this.#length, this.#bytesMax + 1)
        if (digit & 0x80) continue
        this.#left = this.#length
        this.#length = 0
        this.#digit = -1
      }
      const taken = Math.min(this.#left, chunk.length - at)
      this.#left -= taken
      at += taken
      if (this.#left > 0) break
      this.#digit = 0
      if (!this.#wanted) continue
      const packet = this.#whole(chunk.subarray(start, at))
      start = at
      sink.packet(packet, this.#headerBytes)
    }
    if (start < at) {
      if (this.#wanted && this.#digit !== 0) this.#gather(chunk.subarray(start, at))
      else sink.rest(chunk.subarray(start, at))
    }
    return 0
  }

  #gather(piece: Buffer): void {
    if (!this.#room) {
      const bytes = piece.length + this.#left
      if (this.#digit > 0 || this.#pieces.length > 0 || bytes > PROMISE_BYTES_MAX) {
        this.#pieces.push(Buffer.from(piece))
        return
      }
      this.#room = Buffer.allocUnsafeSlow(bytes)
      this.#filled = 0
    }
    this.#filled += piece.copy(this.#room, this.#filled)
  }

  /** The packet that ends with this piece, in memory of its own. */
  #whole(last: Buffer): Buffer {
    const { length } = this.#pieces
    if (length > 0) return Buffer.concat([...this.#pieces.splice(0, length), last])
    const packet = this.#room ?? Buffer.allocUnsafeSlow(last.length)
    last.copy(packet, this.#room ? this.#filled : 0)
    this.#room = undefined
    return packet
  }
}

/** A PUBLISH at QoS 1, or undefined where it is malformed (mqtt-packet then says how). */
export function readPublish(packet: Buffer, bodyAt: number, protocol: Protocol): Publish | undefined {
  const topicAt = bodyAt + 2
  if (topicAt > packet.length) return undefined
  const idAt = topicAt + packet.readUInt16BE(bodyAt)
  let payloadAt = idAt + 2
  if (payloadAt > packet.length) return undefined
  if (protocol === 5) {
    const properties = packet[payloadAt]
    // More than 127 bytes of properties: not from us, and the codec knows how.
    if (properties === undefined || properties > 0x7f) return undefined
    payloadAt += 1 + properties
    if (payloadAt > packet.length) return undefined
  }
  const messageId = packet.readUInt16BE(idAt)
  if (idAt === topicAt || messageId === 0) return undefined
  return {
    topic: packet.toString('utf8', topicAt, idAt),
    payload: packet.subarray(payloadAt),
    messageId,
    dup: ((packet[0] as number) & DUP) !== 0,
  }
}

/** @returns what MQTT 5 calls the reason code (0: taken), or undefined where it is malformed */
export function readPuback(
  packet: Buffer,
  bodyAt: number,
): { messageId: number; reasonCode: number } | undefined {
  if (packet.length < bodyAt + 2) return undefined
  return { messageId: packet.readUInt16BE(bodyAt), reasonCode: packet[bodyAt + 2] ?? 0 }
}

/** What stands before the payload of a PUBLISH at QoS 1. */
export function publishHead(
  { topic, payload, messageId, dup, retain }: Publish & { readonly retain?: boolean },
  protocol: Protocol,
): Buffer {
  const topicBytes = Buffer.byteLength(topic)
  const remaining = 4 + topicBytes + (protocol === 5 ? 1 : 0) + payload.length
  const lengthBytes = remaining < 128 ? 1 : remaining < 16_384 ? 2 : remaining < 2_097_152 ? 3 : 4
  const head = Buffer.allocUnsafe(1 + lengthBytes + remaining - payload.length)
  head[0] = PUBLISH | QOS_1 | (dup ? DUP : 0) | (retain ? RETAIN : 0)
  let at = 1
  for (let left = remaining; at <= lengthBytes; left = Math.floor(left / 128), at += 1)
    head[at] = (left % 128) | (at < lengthBytes ? 0x80 : 0)
  head.writeUInt16BE(topicBytes, at)
  head.write(topic, at + 2)
  head.writeUInt16BE(messageId, at + 2 + topicBytes)
  if (protocol === 5) head[at + 4 + topicBytes] = 0 // no properties
  return head
}

/** @returns false where the stream has enough: wait for `drain` before the next one */
export function writePublish(
  stream: Writable,
  message: Publish & { readonly retain?: boolean },
  protocol: Protocol,
): boolean {
  if (stream.writableCorked === 0) {
    // What is published in this turn of the event loop goes out in one system call.
    stream.cork()
    process.nextTick(uncork, stream)
  }
  stream.write(publishHead(message, protocol))
  stream.write(message.payload)
  return stream.writableLength < WRITE_AHEAD_BYTES
}

const uncork = (stream: Writable) => stream.uncork()

/** PUBACKs of one turn of the event loop, written together. */
export class PubackWriter {
  readonly #stream: Writable
  #ids: number[] = []

  constructor(stream: Writable) {
    this.#stream = stream
  }

  write(messageId: number): void {
    this.#ids.push(messageId)
    if (this.#ids.length === 1) process.nextTick(() => this.flush())
  }

  /** Now: before something is written that must come after them. */
  flush(): void {
    if (this.#ids.length === 0) return
    const packets = Buffer.allocUnsafe(4 * this.#ids.length)
    this.#ids.forEach((messageId, n) => {
      packets.writeUInt16BE((PUBACK << 8) | 2, 4 * n)
      packets.writeUInt16BE(messageId, 4 * n + 2)
    })
    this.#ids = []
    if (!this.#stream.destroyed) this.#stream.write(packets)
  }
}

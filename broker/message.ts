import type { Message } from '../lib/queue.ts'

/**
 * An MQTT message as it lies in the store: the payload as it came, and a header.
 *
 *   byte 0      flags: QoS (bits 0 and 1), payload was a string (2), came from a bridge (3), carries a stamp (4),
 *               retained (5)
 *   if stamped  1 byte length and broker id, 8 bytes counter (aedes' own mark, kept for its persistence contract)
 *   the rest    topic, UTF-8
 */
export interface StoredMessage {
  readonly topic: string
  readonly payload: Buffer
  readonly qos: 0 | 1 | 2
  readonly payloadIsString?: boolean
  /** A bridge delivered it: it is not bridged on, so that two brokers cannot send it in circles. */
  readonly bridged?: boolean
  /** It was published to be retained; a bridge passes that on [MQTT-3.3.1-5]. */
  readonly retain?: boolean
  readonly stamp?: { readonly brokerId: string; readonly counter: number }
}

const PAYLOAD_IS_STRING = 4
const BRIDGED = 8
const STAMPED = 16
const RETAIN = 32

export function encodeMessage({
  topic,
  payload,
  qos,
  payloadIsString,
  bridged,
  retain,
  stamp,
}: StoredMessage): Message {
  const idBytes = stamp ? Buffer.byteLength(stamp.brokerId) : 0
  const topicStart = 1 + (stamp ? 9 + idBytes : 0)
  const header = Buffer.allocUnsafe(topicStart + Buffer.byteLength(topic))
  header[0] =
    qos |
    (payloadIsString ? PAYLOAD_IS_STRING : 0) |
    (bridged ? BRIDGED : 0) |
    (stamp ? STAMPED : 0) |
    (retain ? RETAIN : 0)
  if (stamp) {
    header[1] = idBytes
    header.write(stamp.brokerId, 2)
    header.writeDoubleBE(stamp.counter, 2 + idBytes)
  }
  header.write(topic, topicStart)
  return { header, body: payload }
}

/** Levels of a topic that say who sends: `sightline/v1/<site>/<device>`. */
const SENDER_LEVELS = 4

/**
 * Whose message it is, for queues that senders share fairly: a topic's first four levels, where it has more. Other
 * topics are one sender's.
 */
export function senderOf(header: Buffer): string {
  if (((header[0] as number) & STAMPED) !== 0) return ''
  let levels = 0
  for (let at = 1; at < header.length; at += 1) {
    if (header[at] !== SLASH) continue
    levels += 1
    if (levels === SENDER_LEVELS) return header.toString('utf8', 1, at)
  }
  return ''
}

export const senderOfTopic = (topic: string) => senderOf(Buffer.from(`\0${topic}`))

const SLASH = 0x2f

export function decodeMessage({ header, body: payload }: Message): StoredMessage {
  const flags = header[0] as number
  const message = {
    payload,
    qos: (flags & 3) as 0 | 1 | 2,
    payloadIsString: (flags & PAYLOAD_IS_STRING) !== 0,
    bridged: (flags & BRIDGED) !== 0,
    retain: (flags & RETAIN) !== 0,
  }
  if ((flags & STAMPED) === 0) return { ...message, topic: header.toString('utf8', 1) }
  const idEnd = 2 + (header[1] as number)
  const stamp = { brokerId: header.toString('utf8', 2, idEnd), counter: header.readDoubleBE(idEnd) }
  return { ...message, stamp, topic: header.toString('utf8', idEnd + 8) }
}

/** Header and payload in one, for what lies outside the queues: 2 bytes length of the header, header, payload. */
export function packMessage(message: StoredMessage): Buffer {
  const { header, body } = encodeMessage(message)
  const length = Buffer.allocUnsafe(2)
  length.writeUInt16BE(header.length)
  return Buffer.concat([length, header, body])
}

export function unpackMessage(bytes: Uint8Array): StoredMessage {
  const buffer = Buffer.from(bytes) // a copy: what LMDB hands out is only lent
  const end = 2 + buffer.readUInt16BE(0)
  return decodeMessage({ header: buffer.subarray(2, end), body: buffer.subarray(end) })
}

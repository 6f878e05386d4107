import type { Message } from '../store/queue.ts'
import { FROM_SOMEWHERE, NOWHERE, type Via } from './via.ts'

/**
 * An MQTT message as it lies in the store: the payload as it came, and a header.
 *
 *   byte 0      flags: QoS (bits 0 and 1), retained (5), has passed other brokers (6); of earlier versions: came from a
 *               bridge (3), carries a stamp (4)
 *   if stamped  1 byte length and broker id, 8 bytes counter (aedes' own mark; a retained will has one)
 *   if passed   1 byte length and the ids of those brokers, with commas between them
 *   the rest    topic, UTF-8
 */
export interface StoredMessage {
  readonly topic: string
  readonly payload: Buffer
  readonly qos: 0 | 1 | 2
  /** The brokers that it has passed before this one. */
  readonly via?: Via
  /** It was published to be retained; a bridge passes that on [MQTT-3.3.1-5]. */
  readonly retain?: boolean
}

const BRIDGED = 8
const STAMPED = 16
const RETAIN = 32
const PASSED = 64

export function encodeMessage({ topic, payload, qos, via = NOWHERE, retain }: StoredMessage): Message {
  const passed = via.join(',')
  const topicStart = 1 + (passed === '' ? 0 : 1 + passed.length)
  const header = Buffer.allocUnsafe(topicStart + Buffer.byteLength(topic))
  header[0] = qos | (retain ? RETAIN : 0) | (passed === '' ? 0 : PASSED)
  if (passed !== '') {
    header[1] = passed.length
    header.write(passed, 2, 'latin1')
  }
  header.write(topic, topicStart)
  return { header, body: payload }
}

/** Where the brokers that it has passed stand, if it has passed any. */
const viaStartOf = (header: Buffer) =>
  ((header[0] as number) & STAMPED) === 0 ? 1 : 10 + (header[1] as number)

function topicStartOf(header: Buffer): number {
  const viaStart = viaStartOf(header)
  return ((header[0] as number) & PASSED) === 0 ? viaStart : viaStart + 1 + (header[viaStart] as number)
}

/**
 * Whose message it is, for queues that senders share fairly: the levels of a topic that stand before its last one, but no
 * more of them than name a device (`<prefix>/<site>/<device>`).
 */
export interface Senders {
  readonly ofHeader: (header: Buffer) => string
  readonly ofTopic: (topic: string) => string
}

export function sendersBelow(topicPrefix: string): Senders {
  const levelsMax = topicPrefix.split('/').length + 2
  const ofTopic = (topic: string) => {
    let end = -1
    for (let level = 0; level < levelsMax; level += 1) {
      const next = topic.indexOf('/', end + 1)
      if (next < 0) break
      end = next
    }
    return end < 0 ? topic : topic.slice(0, end)
  }
  return { ofTopic, ofHeader: (header) => ofTopic(header.toString('utf8', topicStartOf(header))) }
}

export function decodeMessage({ header, body: payload }: Message): StoredMessage {
  const flags = header[0] as number
  return {
    payload,
    qos: (flags & 3) as 0 | 1 | 2,
    via: viaOf(header),
    retain: (flags & RETAIN) !== 0,
    topic: header.toString('utf8', topicStartOf(header)),
  }
}

function viaOf(header: Buffer): Via {
  const flags = header[0] as number
  if ((flags & PASSED) === 0) return (flags & BRIDGED) === 0 ? NOWHERE : FROM_SOMEWHERE
  const start = viaStartOf(header)
  return header.toString('latin1', start + 1, start + 1 + (header[start] as number)).split(',')
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

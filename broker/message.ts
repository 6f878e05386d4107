/**
 * An MQTT message as it lies in the store: a header, then the payload as it came.
 *
 *   byte 0      flags: QoS (bits 0 and 1), payload was a string (2), came from a bridge (3), carries a stamp (4)
 *   2 bytes     length of the topic; then the topic, UTF-8
 *   if stamped  1 byte length and broker id, 8 bytes counter (aedes' own mark, kept for its persistence contract)
 *   the rest    payload
 */
export interface StoredMessage {
  readonly topic: string
  readonly payload: Buffer
  readonly qos: 0 | 1 | 2
  readonly payloadIsString?: boolean
  /** A bridge delivered it: it is not bridged on, so that two brokers cannot send it in circles. */
  readonly bridged?: boolean
  readonly stamp?: { readonly brokerId: string; readonly counter: number }
}

const PAYLOAD_IS_STRING = 4
const BRIDGED = 8
const STAMPED = 16

export function encodeMessage({
  topic,
  payload,
  qos,
  payloadIsString,
  bridged,
  stamp,
}: StoredMessage): Buffer {
  const topicBytes = Buffer.byteLength(topic)
  const idBytes = stamp ? Buffer.byteLength(stamp.brokerId) : 0
  const headerBytes = 3 + topicBytes + (stamp ? 9 + idBytes : 0)
  const body = Buffer.allocUnsafeSlow(headerBytes + payload.length)
  body[0] = qos | (payloadIsString ? PAYLOAD_IS_STRING : 0) | (bridged ? BRIDGED : 0) | (stamp ? STAMPED : 0)
  body.writeUInt16BE(topicBytes, 1)
  body.write(topic, 3)
  if (stamp) {
    const at = 3 + topicBytes
    body[at] = idBytes
    body.write(stamp.brokerId, at + 1)
    body.writeDoubleBE(stamp.counter, at + 1 + idBytes)
  }
  payload.copy(body, headerBytes)
  return body
}

/** The payload is a view into the body. */
export function decodeMessage(body: Uint8Array): StoredMessage {
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength)
  const flags = bytes[0] as number
  const topicEnd = 3 + bytes.readUInt16BE(1)
  const topic = bytes.toString('utf8', 3, topicEnd)
  const qos = (flags & 3) as 0 | 1 | 2
  const common = {
    topic,
    qos,
    payloadIsString: (flags & PAYLOAD_IS_STRING) !== 0,
    bridged: (flags & BRIDGED) !== 0,
  }
  if ((flags & STAMPED) === 0) return { ...common, payload: bytes.subarray(topicEnd) }
  const idEnd = topicEnd + 1 + (bytes[topicEnd] as number)
  const stamp = { brokerId: bytes.toString('utf8', topicEnd + 1, idEnd), counter: bytes.readDoubleBE(idEnd) }
  return { ...common, stamp, payload: bytes.subarray(idEnd + 8) }
}

/** An FLV file as it comes: what listeners hand on (Adobe's FLV 10.1, and Enhanced RTMP v2 for what that lacks). Pure. */

export const FLV_AUDIO = 8
export const FLV_VIDEO = 9
export const FLV_SCRIPT = 18
/** The size of a tag takes 24 bits. */
export const FLV_TAG_BYTES_MAX = 0xffffff

/** What a file begins with: it may hold both, and says so late. */
export function flvHeader(): Buffer {
  return Buffer.from([0x46, 0x4c, 0x56, 1, 0x05, 0, 0, 0, 9, 0, 0, 0, 0])
}

/** One tag, with the size that follows it. @param timestampMs taken modulo 2^32 */
export function flvTag(type: number, timestampMs: number, payload: Uint8Array): Buffer {
  const size = payload.length
  if (size > FLV_TAG_BYTES_MAX) throw new RangeError(`a tag of ${size} bytes`)
  const tag = Buffer.allocUnsafe(11 + size + 4)
  tag[0] = type
  tag.writeUIntBE(size, 1, 3)
  const time = timestampMs >>> 0
  tag.writeUIntBE(time & 0xffffff, 4, 3)
  tag[7] = time >>> 24
  tag.writeUIntBE(0, 8, 3)
  tag.set(payload, 11)
  tag.writeUInt32BE(11 + size, 11 + size)
  return tag
}

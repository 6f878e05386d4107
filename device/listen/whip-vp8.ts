/** VP8 out of RTP (RFC 7741). Pure. */

export interface Vp8Frame {
  readonly isKey: boolean
  readonly bytes: Buffer
  /** Of a key frame. */
  readonly size: { readonly width: number; readonly height: number } | undefined
}

/**
 * @param payloads of all packets of one picture, in order, none missing
 * @returns undefined where it is damaged
 */
export function vp8Frame(payloads: readonly Buffer[]): Vp8Frame | undefined {
  const parts: Buffer[] = []
  for (const [index, payload] of payloads.entries()) {
    const found = withoutDescriptor(payload)
    if (!found || (index === 0 && !found.isStart)) return undefined
    parts.push(found.rest)
  }
  const bytes = Buffer.concat(parts)
  const [first] = bytes
  if (first === undefined) return undefined
  // A frame tag's lowest bit is 0 for a key frame; a start code and the size follow it (RFC 6386, 9.1).
  if ((first & 1) !== 0) return { isKey: false, bytes, size: undefined }
  if (bytes.length < 10 || bytes.readUIntBE(3, 3) !== 0x9d012a) return undefined
  const size = { width: bytes.readUInt16LE(6) & 0x3fff, height: bytes.readUInt16LE(8) & 0x3fff }
  return size.width > 0 && size.height > 0 ? { isKey: true, bytes, size } : undefined
}

function withoutDescriptor(
  payload: Buffer,
): { readonly isStart: boolean; readonly rest: Buffer } | undefined {
  const [first] = payload
  if (first === undefined) return undefined
  let at = 1
  if ((first & 0x80) !== 0) {
    const extension = payload[at] ?? 0
    at += 1
    if ((extension & 0x80) !== 0) at += ((payload[at] ?? 0) & 0x80) !== 0 ? 2 : 1
    if ((extension & 0x40) !== 0) at += 1
    if ((extension & 0x30) !== 0) at += 1
  }
  if (at >= payload.length) return undefined
  return { isStart: (first & 0x10) !== 0 && (first & 0x07) === 0, rest: payload.subarray(at) }
}

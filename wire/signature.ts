import { z } from 'zod'
import { SIGNATURE_UUID, signatureIn, uuidBox } from './clip.ts'

/**
 * A device's signature under a crop or a clip: Ed25519 (RFC 8032, pure) over 53 bytes: SIGNATURE_CONTEXT, then SHA-256 of the
 * file without the signature, so over picture and metadata alike. The metadata names the signer's key (`signer`) and the
 * camera's file of the same kind that was signed before (`previous`, SHA-256 of that whole file, signature included): what was
 * cut out or put elsewhere breaks the chain.
 *
 *     clip   the last box, `uuid`
 *     crop   a comment segment (COM) right behind the segment with the metadata
 *
 * There is one way to write a signature: JSON without blanks, its keys in the order of the schema. Any other is none, so
 * that nobody without the key can change a single bit of a file.
 * Pure: where it is and what is signed. Keys are the device's (device/link/sign.ts) and the verifier's (lib/signatures/).
 */
export const SIGNATURE_VERSION = 1
/** What is signed begins with it, so that no signature for another purpose passes for one. */
export const SIGNATURE_CONTEXT = 'sightline-signature-1'

/** What Ed25519 signs. @param digest SHA-256 of the file without the signature, 32 bytes */
export const signedMessage = (digest: Uint8Array): Buffer =>
  Buffer.concat([Buffer.from(SIGNATURE_CONTEXT, 'latin1'), digest])

export const signatureSchema = z.object({
  v: z.literal(SIGNATURE_VERSION),
  /** SHA-256 of the public key (DER, SPKI), hex: the metadata's `signer`. */
  key: z.string().regex(/^[0-9a-f]{64}$/),
  /** Base64, 64 bytes. */
  signature: z.string().regex(/^[A-Za-z0-9+/]{86}==$/),
})
export type Signature = z.infer<typeof signatureSchema>

const COMMENT = Buffer.from('sightline-signature ', 'latin1')
const COMMENT_BYTES_MAX = 512

/** A file taken apart: what is signed, and the signature where there is one. */
export interface Signed {
  /** The file without its signature, in the parts to be hashed in order. */
  readonly content: readonly Buffer[]
  /** As it stands; not yet verified. */
  readonly signature: Signature | undefined
}

/** Of a clip or a crop, by its first bytes. Never throws. */
export function takeApart(payload: Uint8Array): Signed {
  const file = Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength)
  if (file[0] === 0xff && file[1] === 0xd8) {
    const at = commentAt(file)
    if (at === undefined) return { content: [file], signature: undefined }
    const length = 2 + file.readUInt16BE(at + 2)
    const content = [file.subarray(0, at), file.subarray(at + length)]
    return { content, signature: parse(file.subarray(at + 4 + COMMENT.length, at + length)) }
  }
  const box = signatureIn(file)
  if (!box) return { content: [file], signature: undefined }
  return { content: [file.subarray(0, box.at)], signature: parse(box.content) }
}

/** The file with the signature in it, as a new buffer. It must have none yet. */
export function putSignature(file: Buffer, signature: Signature): Buffer {
  const json = Buffer.from(write(signature), 'latin1')
  if (!(file[0] === 0xff && file[1] === 0xd8)) return Buffer.concat([file, uuidBox(SIGNATURE_UUID, json)])
  const at = behindMetadata(file)
  if (at === undefined) throw new TypeError('putSignature: the crop has no metadata')
  const head = Buffer.from([0xff, 0xfe, 0, 0])
  head.writeUInt16BE(2 + COMMENT.length + json.length, 2)
  return Buffer.concat([file.subarray(0, at), head, COMMENT, json, file.subarray(at)])
}

/** Behind the first segment, which is the one with the metadata (crop.ts). */
function behindMetadata(jpeg: Buffer): number | undefined {
  if (jpeg.length < 6 || jpeg[2] !== 0xff || jpeg[3] !== 0xe1) return undefined
  const at = 4 + jpeg.readUInt16BE(4)
  return at + 4 <= jpeg.length ? at : undefined
}

function commentAt(jpeg: Buffer): number | undefined {
  const at = behindMetadata(jpeg)
  if (at === undefined || jpeg[at] !== 0xff || jpeg[at + 1] !== 0xfe) return undefined
  const length = jpeg.readUInt16BE(at + 2)
  const isOurs = jpeg.subarray(at + 4, at + 4 + COMMENT.length).equals(COMMENT)
  return isOurs && length <= COMMENT_BYTES_MAX && at + 2 + length <= jpeg.length ? at : undefined
}

function parse(json: Buffer): Signature | undefined {
  try {
    const text = json.toString('latin1')
    const signature = signatureSchema.safeParse(JSON.parse(text)).data
    return signature && text === write(signature) ? signature : undefined
  } catch {
    return undefined
  }
}

/** The one way: base64, too, has several for the same bytes. */
const write = ({ v, key, signature }: Signature) =>
  JSON.stringify({ v, key, signature: Buffer.from(signature, 'base64').toString('base64') })

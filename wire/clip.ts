import { z } from 'zod'
import { ID_PATTERN } from './id.ts'
import { NAME_PATTERN } from './names.ts'

/**
 * The clip is the message: a chunk of a recording, a fragmented MP4 that plays by itself, with the metadata as JSON in a
 * `uuid` box (ISO/IEC 14496-12, 11.1). Pure: bytes in, bytes out.
 *
 *     ftyp moov           the first `initBytes`, the same in all chunks of a run
 *     uuid (metadata)     ours
 *     moof mdat ...       time stamps go on from chunk to chunk of a run
 *     uuid (signature)    where the device signs: signature.ts
 *
 * Chunks of one run that follow each other play as one: the first as it is, of the others what follows `initBytes`.
 */
export const CLIP_VERSION = 1

const name = z.string().regex(NAME_PATTERN)
const id = z.string().regex(ID_PATTERN)
const timeMs = z.number().int().nonnegative().max(253_402_300_799_999)
const count = z.number().int().nonnegative().max(1_000_000_000)
const side = z.number().int().positive().max(65_535)
/** SHA-256, hex. */
export const DIGEST_PATTERN = /^[0-9a-f]{64}$/

/** Why nothing was recorded between a chunk and the one before it. */
export const GAP_REASONS = [
  /** The recording began here: the agent started, or was told to record. */
  'start',
  /** The camera was away, or its stream broke. */
  'camera down',
  /** Nobody was seen (mode `faces`). */
  'no faces',
  /** It was paused, or told not to record. */
  'paused',
  /** Chunks were lost at the device: no room, or they could not be written. */
  'lost',
  /** The device's clock was set. */
  'clock set',
] as const
export type GapReason = (typeof GAP_REASONS)[number]

export const clipMetadataSchema = z.object({
  v: z.literal(CLIP_VERSION),
  /** UUIDv7, minted when its first frame came. */
  id,
  site: name,
  device: name,
  camera: name,
  /** When its first frame was captured, and when its last one ended: milliseconds since 1970, by the device's clock. */
  capturedAtMs: timeMs,
  endMs: timeMs,
  /** False where the device knew that its clock had not been set. */
  clockSane: z.boolean(),
  /** By the time stamps inside, ms: exact, where the two above are rounded. */
  durationMs: z.number().positive().max(86_400_000),
  /** Of the video. */
  frames: count.min(1),
  /** Width and height of the video, pixels, as it is coded. */
  frame: z.tuple([side, side]),
  /** Degrees clockwise by which players turn it. */
  rotation: z.literal([0, 90, 180, 270]).optional(),
  codec: z.enum(['h264', 'hevc', 'av1']),
  /** RFC 6381, as a playlist says it: `avc1.64001f`, `avc1.64001f,mp4a.40.2`. */
  codecs: z
    .string()
    .max(200)
    .regex(/^[A-Za-z0-9.,-]+$/),
  audio: z
    .object({
      codec: z.enum(['aac', 'opus']),
      sampleRate: z.number().int().positive().max(384_000),
      channels: z.number().int().positive().max(32),
    })
    .optional(),
  /** ftyp and moov, which it begins with. */
  initBytes: z.number().int().positive().max(1_000_000),
  /** It begins with a key frame: it plays without the chunk before. */
  independent: z.boolean(),
  /** The device encoded it; false: as the camera sent it. */
  encoded: z.boolean(),
  /** Chunks with the same beginning, whose time stamps go on: UUIDv7. */
  run: id,
  /** Counts up from 0 in its run, chunks that were lost included. */
  sequence: count,
  /** Between the end of the camera's chunk before and this one: since when nothing is recorded, and why. Absent where it follows. */
  gap: z.object({ fromMs: timeMs.nullable(), why: z.enum(GAP_REASONS) }).optional(),
  /** Why it was kept. */
  because: z.enum(['always', 'faces']),
  /** The most faces that were seen at once, and the share of its frames in which the scene moved, 0 to 1; where somebody looked. */
  faces: count.optional(),
  motion: z.number().min(0).max(1).optional(),
  /** Who signed it: SHA-256 of the public key (DER, SPKI), hex. And of the camera's chunk before, its whole file. */
  signer: z.string().regex(DIGEST_PATTERN).optional(),
  previous: z.string().regex(DIGEST_PATTERN).optional(),
})

export type ClipMetadata = z.infer<typeof clipMetadataSchema>

export type ClipFault =
  | 'not an MP4'
  | 'truncated MP4'
  | 'no metadata'
  | 'metadata of a newer version'
  | 'invalid metadata'

export type ClipReading =
  | { readonly clip: ClipMetadata }
  | { readonly fault: ClipFault; readonly detail: string }

/** Names our boxes among other programs' `uuid` boxes: made once, at random. */
const METADATA_UUID = Buffer.from('5c1f0e3a9d6b4c7e8a42f6d1b0937e55', 'hex')
export const SIGNATURE_UUID = Buffer.from('e2b7a4d05f184f0c9be1763c08d25a91', 'hex')
const METADATA_BYTES_MAX = 65_536
/** Before the video: ftyp, moov, uuid, and what others may have put between. */
const BOXES_MAX = 1000
/** A fragment of 3 s has two or three; a chunk of a stream without key frames may have many. */
const BOX_TYPES = new Set(['ftyp', 'moov', 'moof', 'mdat', 'uuid', 'styp', 'sidx', 'free', 'prft', 'emsg'])

export interface Box {
  readonly type: string
  /** Of the whole box in the file, header included. */
  readonly at: number
  readonly bytes: number
}

/** The boxes of a file, outermost only. @returns as far as it can be read, and whether that is all */
export function boxesOf(file: Buffer): { readonly boxes: readonly Box[]; readonly whole: boolean } {
  const boxes: Box[] = []
  for (let at = 0; at < file.length; ) {
    if (at + 8 > file.length || boxes.length >= BOXES_MAX) return { boxes, whole: false }
    const bytes = file.readUInt32BE(at)
    const type = file.toString('latin1', at + 4, at + 8)
    // Sizes of 64 bits (1) and "to the end" (0) are in no chunk of ours.
    if (bytes < 8 || at + bytes > file.length || !BOX_TYPES.has(type)) return { boxes, whole: false }
    boxes.push({ type, at, bytes })
    at += bytes
  }
  return { boxes, whole: true }
}

const isOurs = (file: Buffer, { type, at, bytes }: Box, uuid: Buffer) =>
  type === 'uuid' && bytes >= 24 && file.subarray(at + 8, at + 24).equals(uuid)

/** The JSON in a box of ours. */
const contentOf = (file: Buffer, { at, bytes }: Box) => file.subarray(at + 24, at + bytes)

/** A `uuid` box of ours. */
export function uuidBox(uuid: Buffer, content: Buffer): Buffer {
  const head = Buffer.alloc(8)
  head.writeUInt32BE(24 + content.length, 0)
  head.write('uuid', 4, 'latin1')
  return Buffer.concat([head, uuid, content])
}

/**
 * The chunk as it travels.
 * @param init ftyp and moov
 * @param fragments moof and mdat, one or more
 */
export function writeClip(init: Buffer, fragments: readonly Buffer[], metadata: ClipMetadata): Buffer {
  if (init.length !== metadata.initBytes) throw new RangeError('writeClip: initBytes is not its length')
  const json = Buffer.from(JSON.stringify(metadata), 'utf8')
  if (json.length > METADATA_BYTES_MAX) throw new RangeError('writeClip: the metadata is too long')
  return Buffer.concat([init, uuidBox(METADATA_UUID, json), ...fragments])
}

/** The signature's box content, where the file ends with one. */
export function signatureIn(file: Buffer): { readonly content: Buffer; readonly at: number } | undefined {
  const { boxes, whole } = boxesOf(file)
  const last = boxes.at(-1)
  if (!whole || !last || !isOurs(file, last, SIGNATURE_UUID)) return undefined
  return { content: contentOf(file, last), at: last.at }
}

/** The metadata of a chunk, or why there is none to be had. Never throws, whatever the bytes. */
export function readClip(payload: Uint8Array): ClipReading {
  const file = Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength)
  const { boxes, whole } = boxesOf(file)
  if (boxes[0]?.type !== 'ftyp') return fault('not an MP4', 'the first box is no ftyp')
  if (!whole) return fault('truncated MP4', `it cannot be read beyond ${boxes.length} boxes`)
  if (boxes[1]?.type !== 'moov') return fault('not an MP4', 'the second box is no moov')
  if (!boxes.some(({ type }) => type === 'moof') || !boxes.some(({ type }) => type === 'mdat'))
    return fault('truncated MP4', 'there is no fragment in it')
  const initBytes = boxes[0].bytes + boxes[1].bytes
  const box = boxes.find((it) => isOurs(file, it, METADATA_UUID))
  if (!box) return fault('no metadata', 'there is no box of ours in it')
  if (box.bytes > METADATA_BYTES_MAX + 24) return fault('invalid metadata', 'the metadata is too long')
  let json: unknown
  try {
    json = JSON.parse(contentOf(file, box).toString('utf8'))
  } catch {
    return fault('invalid metadata', 'the metadata is not JSON')
  }
  const version = (json as { v?: unknown } | null)?.v
  if (typeof version === 'number' && version > CLIP_VERSION)
    return fault('metadata of a newer version', `version ${version}; this program reads ${CLIP_VERSION}`)
  const reading = clipMetadataSchema.safeParse(json)
  if (!reading.success) {
    const [issue] = reading.error.issues
    return fault(
      'invalid metadata',
      `${issue?.path.join('.') || 'the whole'}: ${issue?.message ?? 'invalid'}`,
    )
  }
  const clip = reading.data
  if (clip.initBytes !== initBytes)
    return fault('invalid metadata', `initBytes is ${clip.initBytes}, but ftyp and moov have ${initBytes}`)
  if (clip.endMs < clip.capturedAtMs) return fault('invalid metadata', 'endMs is before capturedAtMs')
  return { clip }
}

const fault = (fault: ClipFault, detail: string) => ({ fault, detail })

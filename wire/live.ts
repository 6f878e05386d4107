import { z } from 'zod'
import { EFFECTS } from './commands.ts'

/**
 * A live picture: a JPEG whose first segment is a comment (COM) with JSON, so that whoever shows it knows how old it is.
 * The faces are drawn into it. Pure.
 */
export const LIVE_VERSION = 1
/** Of a picture, its comment included. */
export const LIVE_BYTES_MAX = 100_000

export const liveSchema = z.object({
  v: z.literal(LIVE_VERSION),
  /** Of the frame, milliseconds since 1970, by the device's clock; where it is paused, of the picture. */
  capturedAtMs: z.number().int().nonnegative().max(253_402_300_799_999),
  /** Width and height of the frame, pixels; the picture may be smaller. Absent where it is paused. */
  frame: z.tuple([z.number().int().positive(), z.number().int().positive()]).optional(),
  /** How many are marked in it. */
  faces: z.number().int().nonnegative(),
  /** What was done to it (commands.ts); absent: nothing. */
  effect: z.enum(EFFECTS).optional(),
  /** The camera is paused: this is a picture that says so. */
  paused: z.boolean(),
})

export type LiveMetadata = z.infer<typeof liveSchema>

const START = Buffer.from([0xff, 0xd8])
const COMMENT_MARKER = Buffer.from([0xff, 0xfe])
/** Names what the JSON is, so that other programs' comments are not taken for ours. */
const FORMAT = Buffer.from('sightline-live ', 'latin1')
const COMMENT_BYTES_MAX = 1024

/** The JPEG with the metadata in it, as a new buffer. */
export function writeLive(jpeg: Uint8Array, metadata: LiveMetadata): Buffer {
  if (jpeg[0] !== START[0] || jpeg[1] !== START[1])
    throw new TypeError('writeLive: the picture is not a JPEG')
  const comment = Buffer.concat([FORMAT, Buffer.from(JSON.stringify(metadata), 'latin1')])
  const length = Buffer.alloc(2)
  length.writeUInt16BE(2 + comment.length)
  return Buffer.concat([START, COMMENT_MARKER, length, comment, jpeg.subarray(2)])
}

/** Never throws, whatever the bytes. @returns undefined where it is none of ours, or too large: a snapshot may be larger */
export function readLive(payload: Uint8Array, bytesMax = LIVE_BYTES_MAX): LiveMetadata | undefined {
  const jpeg = Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength)
  if (jpeg.length > bytesMax || jpeg.length < 6) return undefined
  if (!jpeg.subarray(0, 2).equals(START) || !jpeg.subarray(2, 4).equals(COMMENT_MARKER)) return undefined
  const end = 4 + jpeg.readUInt16BE(4)
  const comment = jpeg.subarray(6, end)
  if (
    end > jpeg.length ||
    comment.length > COMMENT_BYTES_MAX ||
    !comment.subarray(0, FORMAT.length).equals(FORMAT)
  )
    return undefined
  try {
    return liveSchema.safeParse(JSON.parse(comment.subarray(FORMAT.length).toString('latin1'))).data
  } catch {
    return undefined
  }
}

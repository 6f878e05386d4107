import { z } from 'zod'
import { ATTRIBUTES_MAX, type Attribute, attributesSchema } from './attributes.ts'
import { DIGEST_PATTERN } from './clip.ts'
import { ID_PATTERN } from './id.ts'
import { NAME_PATTERN } from './names.ts'
import { zoneNamesSchema } from './zones.ts'

/**
 * The crop is the message: a plain JPEG whose EXIF UserComment holds the metadata as JSON with a version.
 * Pure: bytes in, bytes out. EXIF per CIPA DC-008 (Exif 2.32): an APP1 segment with a TIFF structure; the
 * UserComment (0x9286) starts with an 8-byte character code and sits in the Exif IFD (pointer 0x8769).
 */
export const CROP_VERSION = 1

const pixels = z.number().finite()
const point = z.tuple([pixels, pixels])
const name = z.string().regex(NAME_PATTERN)
const share = z.number().min(0).max(1)
/** Of a frame: no picture format of a camera has more. */
const side = z.number().int().positive().max(65_535)
/** Without control characters: databases refuse U+0000 in a text, and a terminal obeys others. */
const PRINTABLE = /^\P{Cc}*$/u

/** UTF-16 units: as long as names of files may be (255 bytes, or on Windows 255 units). */
export const FILE_NAME_UNITS_MAX = 255
/** What no name of a file has here: control characters, what turns the direction of writing, and folders. */
const FILE_NAME_REFUSED = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069/\\]/u

/** The name of a file as it stands in metadata: of a path its last part, without what is refused; undefined where nothing is left. */
export function fileNameOf(path: string): string | undefined {
  const name = path
    .replace(/^.*[/\\]/s, '')
    .replace(new RegExp(FILE_NAME_REFUSED, 'gu'), '_')
    .slice(-FILE_NAME_UNITS_MAX)
    // Where a pair of units was cut in two.
    .replace(/^\p{Cs}/u, '')
  return name === '' ? undefined : name
}

export const cropMetadataSchema = z.object({
  v: z.literal(CROP_VERSION),
  /** UUIDv7, minted at capture. */
  id: z.string().regex(ID_PATTERN),
  site: name,
  device: name,
  camera: name,
  /** Milliseconds since 1970, by the device's clock; up to the year 9999, the last with four digits in a key. */
  capturedAtMs: z.number().int().nonnegative().max(253_402_300_799_999),
  /** False where the device knew that its clock had not been set (a Pi without a battery starts in the past). */
  clockSane: z.boolean(),
  /** The face in full-frame pixels: left, top, width, height. */
  box: z.tuple([pixels, pixels, pixels, pixels]),
  /** What the picture shows of the frame (the box and its margin), full-frame pixels: left, top, width, height. */
  region: z.tuple([pixels, pixels, pixels, pixels]),
  /** The detector's confidence, 0 to 1. */
  score: z.number().min(0).max(1),
  /** Points the model gives (eyes, nose, mouth corners), full-frame pixels, in the model's order. */
  landmarks: z.array(point).max(128).optional(),
  /** The face that was followed, UUIDv7: the same in all of its crops and events. Absent in photos. */
  track: z.string().regex(ID_PATTERN).optional(),
  /** How good a picture it is, 0 to 1, where it was chosen as the best: all together, and what that is made of. */
  quality: z.object({ total: share, size: share, sharpness: share, frontality: share }).optional(),
  /**
   * Of a camera that sends a face's first good picture at once: `first`, and `best` for what follows of the same track, which
   * takes the place of the first.
   */
  shot: z.enum(['first', 'best']).optional(),
  /** The zones (zones.ts) that the face is in and, of a track, has been in since its crop before (a `first` aside). */
  zones: zoneNamesSchema.optional(),
  /** Whether the face wears a mask, where the model can tell. */
  masked: z.boolean().optional(),
  /** What classifiers and plugins say of it. Absent where none looked, or none of them had anything to say. */
  attributes: attributesSchema.optional(),
  /** The model's name. */
  model: z.string().max(200).regex(PRINTABLE),
  /** The name of the photo's file, without folders. Absent where frames are no files. */
  file: z
    .string()
    .min(1)
    .max(FILE_NAME_UNITS_MAX)
    .refine((text) => !FILE_NAME_REFUSED.test(text), { error: 'must be the name of a file, printable' })
    .optional(),
  /** Width and height of the frame, pixels. */
  frame: z.tuple([side, side]),
  /** Who signed it: SHA-256 of the public key (DER, SPKI), hex. And of the camera's crop before, its whole file: signature.ts. */
  signer: z.string().regex(DIGEST_PATTERN).optional(),
  previous: z.string().regex(DIGEST_PATTERN).optional(),
})

export type CropMetadata = z.infer<typeof cropMetadataSchema>

export type CropFault =
  | 'not a JPEG'
  | 'truncated JPEG'
  | 'no metadata'
  | 'foreign metadata'
  | 'metadata of a newer version'
  | 'invalid metadata'

export type CropReading =
  | { readonly crop: CropMetadata }
  | { readonly fault: CropFault; readonly detail: string }

const TAG_EXIF_IFD = 0x8769
const TAG_USER_COMMENT = 0x9286
const TYPE_LONG = 4
const TYPE_UNDEFINED = 7
const CHARACTER_CODE = Buffer.from('ASCII\0\0\0', 'latin1')
const EXIF_HEADER = Buffer.from('Exif\0\0', 'latin1')
/** An APP1 segment's length field has 16 bits and counts itself. */
const SEGMENT_BYTES_MAX = 0xffff
/** Segments before the scan; a long ICC profile has some 250. A payload of nothing else took 150 ms to walk through. */
const SEGMENTS_MAX = 1000
/** Names what the JSON is, so that other programs' comments are not taken for ours. */
const FORMAT = 'sightline'

/**
 * The JPEG with the metadata in it, as a new buffer. An APP1 EXIF segment that it had is left behind ours
 * untouched; readers take the first.
 */
export function writeCrop(jpeg: Uint8Array, metadata: CropMetadata): Buffer {
  if (jpeg[0] !== 0xff || jpeg[1] !== 0xd8) throw new TypeError('writeCrop: the picture is not a JPEG')
  const json = asciiJson({ format: FORMAT, ...metadata })
  const comment = Buffer.concat([CHARACTER_CODE, Buffer.from(json, 'latin1')])
  // TIFF: header (8), IFD0 with one entry (18), Exif IFD with one entry (18), then the comment.
  const tiff = Buffer.alloc(44 + comment.length)
  tiff.write('MM\0*', 0, 'latin1')
  tiff.writeUInt32BE(8, 4)
  writeIfdEntry(tiff, 8, TAG_EXIF_IFD, TYPE_LONG, 1, 26)
  writeIfdEntry(tiff, 26, TAG_USER_COMMENT, TYPE_UNDEFINED, comment.length, 44)
  comment.copy(tiff, 44)
  const length = 2 + EXIF_HEADER.length + tiff.length
  if (length > SEGMENT_BYTES_MAX) throw new RangeError('writeCrop: the metadata does not fit an EXIF segment')
  const marker = Buffer.from([0xff, 0xd8, 0xff, 0xe1, length >> 8, length & 0xff])
  return Buffer.concat([marker, EXIF_HEADER, tiff, jpeg.subarray(2)])
}

/** JSON escapes beyond ASCII, so that the character code tells the truth. */
const asciiJson = (value: unknown) =>
  JSON.stringify(value).replace(
    /[\u0080-\uffff]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )

/** Who signed it, the crop before, and whatever else is added once the attributes are known. */
const ADDED_BYTES_MAX = 4096
/** The segment's length and Exif header, the TIFF structure, the character code. */
const AROUND_BYTES = 2 + EXIF_HEADER.length + 44 + CHARACTER_CODE.length

/**
 * Of the attributes those that fit beside the other metadata, the first ones first: 32 of the longest, in letters beyond ASCII, are
 * more than a segment takes.
 */
export function fittingAttributes(
  metadata: CropMetadata,
  attributes: readonly Attribute[],
): readonly Attribute[] {
  const others = asciiJson({ format: FORMAT, ...metadata, attributes: [] }).length
  let room = SEGMENT_BYTES_MAX - AROUND_BYTES - ADDED_BYTES_MAX - others
  return attributes.slice(0, ATTRIBUTES_MAX).filter((attribute) => {
    const bytes = asciiJson(attribute).length + 1 // a comma
    if (bytes > room) return false
    room -= bytes
    return true
  })
}

function writeIfdEntry(
  tiff: Buffer,
  at: number,
  tag: number,
  type: number,
  count: number,
  value: number,
): void {
  tiff.writeUInt16BE(1, at)
  tiff.writeUInt16BE(tag, at + 2)
  tiff.writeUInt16BE(type, at + 4)
  tiff.writeUInt32BE(count, at + 6)
  tiff.writeUInt32BE(value, at + 10)
  tiff.writeUInt32BE(0, at + 14)
}

/** The metadata of a crop, or why there is none to be had. Never throws, whatever the bytes. */
export function readCrop(payload: Uint8Array): CropReading {
  const jpeg = Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength)
  if (jpeg.length < 4 || jpeg[0] !== 0xff || jpeg[1] !== 0xd8)
    return fault('not a JPEG', 'the first bytes do not start a JPEG')
  let comment: Buffer | undefined
  let frameSeen = false
  let at = 2
  for (let segments = 0; ; ) {
    if (at + 4 > jpeg.length)
      return fault('truncated JPEG', `it ends at byte ${jpeg.length}, inside its headers`)
    if (jpeg[at] !== 0xff) return fault('not a JPEG', `no marker at byte ${at}`)
    const marker = jpeg[at + 1] as number
    if (marker === 0xff) {
      at += 1 // a fill byte before a marker
      continue
    }
    segments += 1
    if (segments > SEGMENTS_MAX)
      return fault('not a JPEG', `more than ${SEGMENTS_MAX} segments before the scan`)
    const length = jpeg.readUInt16BE(at + 2)
    if (length < 2) return fault('not a JPEG', `a segment of length ${length} at byte ${at}`)
    if (at + 2 + length > jpeg.length)
      return fault('truncated JPEG', `it ends at byte ${jpeg.length}, inside its headers`)
    if (marker === 0xda) break // start of scan: entropy-coded data follows
    if (marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc)
      frameSeen = true
    if (marker === 0xe1 && comment === undefined)
      comment = userComment(jpeg.subarray(at + 4, at + 2 + length))
    at += 2 + length
  }
  if (!frameSeen) return fault('not a JPEG', 'no frame header before the scan')
  // Some writers pad after the end marker; a cut transfer has none at all.
  if (jpeg.lastIndexOf(Buffer.from([0xff, 0xd9])) < at)
    return fault('truncated JPEG', 'the end marker is missing')
  if (comment === undefined) return fault('no metadata', 'no EXIF UserComment')
  return parseMetadata(comment)
}

function parseMetadata(comment: Buffer): CropReading {
  let json: unknown
  try {
    json = JSON.parse(comment.toString('utf8'))
  } catch {
    return fault('foreign metadata', 'the EXIF UserComment is not JSON')
  }
  if (typeof json !== 'object' || json === null || !('format' in json) || json.format !== FORMAT) {
    return fault('foreign metadata', 'the EXIF UserComment was not written by Sightline')
  }
  const version = 'v' in json ? json.v : undefined
  if (typeof version === 'number' && Number.isInteger(version) && version > CROP_VERSION) {
    return fault(
      'metadata of a newer version',
      `version ${version}; this program reads up to ${CROP_VERSION}`,
    )
  }
  const result = cropMetadataSchema.safeParse(json)
  if (result.success) return { crop: result.data }
  const issue = result.error.issues[0]
  return fault('invalid metadata', `${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`)
}

const fault = (kind: CropFault, detail: string): CropReading => ({ fault: kind, detail })

/** The UserComment's bytes behind its character code, out of an APP1 segment's content; bounds-checked throughout. */
function userComment(segment: Buffer): Buffer | undefined {
  if (segment.length < 14 || !segment.subarray(0, 6).equals(EXIF_HEADER)) return undefined
  const tiff = segment.subarray(6)
  const order = tiff.toString('latin1', 0, 2)
  if (order !== 'MM' && order !== 'II') return undefined
  const big = order === 'MM'
  const u16 = (at: number) => (big ? tiff.readUInt16BE(at) : tiff.readUInt16LE(at))
  const u32 = (at: number) => (big ? tiff.readUInt32BE(at) : tiff.readUInt32LE(at))
  const find = (ifd: number, tag: number): number | undefined => {
    if (ifd + 2 > tiff.length) return undefined
    const count = u16(ifd)
    for (let i = 0, at = ifd + 2; i < count && at + 12 <= tiff.length; i += 1, at += 12)
      if (u16(at) === tag) return at
    return undefined
  }
  const pointer = find(u32(4), TAG_EXIF_IFD)
  if (pointer === undefined) return undefined
  const entry = find(u32(pointer + 8), TAG_USER_COMMENT)
  if (entry === undefined) return undefined
  const count = u32(entry + 4)
  const offset = u32(entry + 8)
  if (count <= CHARACTER_CODE.length || offset + count > tiff.length) return undefined
  return tiff.subarray(offset + CHARACTER_CODE.length, offset + count)
}

import { open, stat } from 'node:fs/promises'
import { failure } from '../lib/errors.ts'
import type { Size } from './faces/crop.ts'
import { PICTURE_PIXELS_MAX } from './limits.ts'
import { sharp } from './sharp.ts'

/** Pictures from outside: files of a folder, of the command line, and what a webcam's program gives. */

/** A picture in memory: RGB, 8 bits, rows from the top without padding. */
export interface Picture extends Size {
  readonly data: Uint8Array
}

/** The formats that are read. By content: a name may say anything. */
export const PICTURES_READ = 'JPEG, PNG, WebP, AVIF, GIF and TIFF'
/** So many bytes tell what a file is. */
export const HEAD_BYTES = 16

/** The decoder that we have has no HEVC: it is known, to be refused in words. */
const HEIC_BRANDS = ['heic', 'heix', 'heim', 'heis', 'hevc', 'hevx']
const AVIF_BRANDS = ['avif', 'avis', 'mif1']

/** What a file's first bytes say that it is; undefined for all else. */
export function pictureKind(head: Uint8Array): 'read' | 'HEIC' | undefined {
  const text = Buffer.from(head.buffer, head.byteOffset, head.byteLength).toString('latin1', 0, HEAD_BYTES)
  const brand = text.slice(4, 8) === 'ftyp' ? text.slice(8, 12) : ''
  if (HEIC_BRANDS.includes(brand)) return 'HEIC'
  const isRead =
    text.startsWith('\xff\xd8\xff') ||
    text.startsWith('\x89PNG\r\n\x1a\n') ||
    /^GIF8[79]a/.test(text) ||
    (text.startsWith('RIFF') && text.slice(8, 12) === 'WEBP') ||
    /^(II[*+]\0|MM\0[*+])/.test(text) ||
    AVIF_BRANDS.includes(brand)
  return isRead ? 'read' : undefined
}

/**
 * Reads a photo, turned upright as its EXIF says.
 * @param input a path, or the file's bytes
 * @param name for people
 * Errors: SOURCE_UNREADABLE for one that is of no format that is read, or has too many pixels; sharp's own, or the
 * system's, for one that is damaged or cannot be opened.
 */
export async function readPicture(input: string | Buffer, name: string): Promise<Picture> {
  const kind = pictureKind(typeof input === 'string' ? await headOf(input, name) : input)
  if (kind === undefined)
    throw failure('SOURCE_UNREADABLE', `${name} is not a supported picture. Supported: ${PICTURES_READ}.`)
  if (kind === 'HEIC')
    throw failure('SOURCE_UNREADABLE', `${name} is HEIC, which is not supported. Save it as JPEG.`)
  // Sharp's own limit would come without the size; `metadata` reads the header alone.
  const { width: wide, height: high } = await sharp(input, { limitInputPixels: false }).metadata()
  if (wide * high > PICTURE_PIXELS_MAX)
    throw failure(
      'SOURCE_UNREADABLE',
      `${name} has ${wide} x ${high} pixels; the limit is ${PICTURE_PIXELS_MAX / 1e6} million. Make it smaller.`,
    )
  // With the limit once more: by now a file may be another.
  const { data, info } = await sharp(input, { limitInputPixels: PICTURE_PIXELS_MAX, failOn: 'error' })
    .autoOrient()
    .flatten({ background: '#808080' })
    .toColourspace('srgb')
    .raw({ depth: 'uchar' })
    .toBuffer({ resolveWithObject: true })
  if (info.channels !== 3) throw new Error(`it has ${info.channels} channels instead of 3`)
  return { data, width: info.width, height: info.height }
}

async function headOf(path: string, name: string): Promise<Uint8Array> {
  // A pipe would be waited for, and for ever.
  if (!(await stat(path)).isFile()) throw failure('SOURCE_UNREADABLE', `${name} is not a file.`)
  await using file = await open(path)
  const { buffer, bytesRead } = await file.read(Buffer.alloc(HEAD_BYTES), 0, HEAD_BYTES, 0)
  return buffer.subarray(0, bytesRead)
}

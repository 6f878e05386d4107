import { stat } from 'node:fs/promises'
import sharp from 'sharp'
import { failure, SightlineError, systemCode } from '../../lib/errors.ts'
import { fitInto } from '../crop.ts'
import { PICTURE_PIXELS_MAX } from '../limits.ts'
import type { Input, Picture } from './detector.ts'

const VIDEO = /\.(avi|flv|m4v|mkv|mov|mp4|mpe?g|ts|webm)$/i

/** A photo from disk, upright, and as the detector wants it. */
export interface Photo {
  readonly file: string
  readonly width: number
  readonly height: number
  /** RGB, 8 bits, rows without padding. */
  readonly data: Uint8Array
  /** Fitted into the detector's input as a source does it: `fitInto(photo, input)`. */
  readonly scaled: Picture
}

/** Errors: SOURCE_NOT_FOUND, SOURCE_UNREADABLE. */
export async function readPhoto(file: string, input: Input): Promise<Photo> {
  await lookAt(file)
  try {
    const about = await sharp(file, { limitInputPixels: false }).metadata()
    if (about.width * about.height > PICTURE_PIXELS_MAX)
      throw failure(
        'SOURCE_UNREADABLE',
        `${file} has ${about.width}x${about.height} pixels; at most ${PICTURE_PIXELS_MAX / 1e6} million are read. Make it smaller.`,
      )
    const { data, info } = await sharp(file, { limitInputPixels: PICTURE_PIXELS_MAX, failOn: 'error' })
      .autoOrient()
      .flatten({ background: '#808080' })
      .toColourspace('srgb')
      .raw({ depth: 'uchar' })
      .toBuffer({ resolveWithObject: true })
    const { width, height, channels } = info
    if (channels !== 3) throw new Error(`it has ${channels} channels instead of 3`)
    const fitted = fitInto(info, input)
    const scaled = await sharp(data, {
      raw: { width, height, channels },
      limitInputPixels: PICTURE_PIXELS_MAX,
    })
      .resize({ ...fitted, fit: 'fill' })
      .raw()
      .toBuffer()
    return { file, width, height, data, scaled: { data: scaled, ...fitted } }
  } catch (error) {
    if (error instanceof SightlineError) throw error
    throw failure(
      'SOURCE_UNREADABLE',
      `${file} is no picture that can be read, or it is damaged. JPEG, PNG, WebP, AVIF, GIF and TIFF can be read.${VIDEO.test(file) ? ` It may be a video: sightline preview --source ${file}` : ''}`,
      error,
    )
  }
}

async function lookAt(file: string): Promise<void> {
  try {
    const found = await stat(file)
    if (found.isDirectory())
      throw failure('SOURCE_UNREADABLE', `${file} is a folder. Give the pictures in it: ${file}/*.jpg.`)
    if (found.size === 0) throw failure('SOURCE_UNREADABLE', `${file} is empty. Copy it again.`)
  } catch (error) {
    if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR')
      throw failure('SOURCE_NOT_FOUND', `${file} does not exist. Check its path.`, error)
    if (systemCode(error) === 'EACCES')
      throw failure('SOURCE_UNREADABLE', `${file} may not be read by this user.`, error)
    throw error
  }
}

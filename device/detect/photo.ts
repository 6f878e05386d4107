import { stat } from 'node:fs/promises'
import { failure, SightlineError, systemCode } from '../../lib/errors.ts'
import { fitInto } from '../faces/crop.ts'
import { PICTURE_PIXELS_MAX } from '../limits.ts'
import { PICTURES_READ, readPicture } from '../picture.ts'
import { sharp } from '../sharp.ts'
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
    const { data, width, height } = await readPicture(file, file)
    const fitted = fitInto({ width, height }, input)
    const scaled = await sharp(data, {
      raw: { width, height, channels: 3 },
      limitInputPixels: PICTURE_PIXELS_MAX,
    })
      .resize({ ...fitted, fit: 'fill' })
      .raw()
      .toBuffer()
    return { file, width, height, data, scaled: { data: scaled, ...fitted } }
  } catch (error) {
    if (error instanceof SightlineError && !VIDEO.test(file)) throw error
    if (systemCode(error) === 'EACCES') throw unreadable(file, error)
    throw failure(
      'SOURCE_UNREADABLE',
      `${file} is not a readable picture, or it is damaged. Supported: ${PICTURES_READ}.${VIDEO.test(file) ? ` It may be a video: sightline preview --source ${file}` : ''}`,
      error,
    )
  }
}

const unreadable = (file: string, cause: unknown) =>
  failure('SOURCE_UNREADABLE', `Cannot read ${file}: permission denied.`, cause)

async function lookAt(file: string): Promise<void> {
  try {
    const found = await stat(file)
    if (found.isDirectory())
      throw failure('SOURCE_UNREADABLE', `${file} is a folder. Give the pictures in it: ${file}/*.jpg.`)
    if (found.size === 0) throw failure('SOURCE_UNREADABLE', `${file} is empty. Copy it again.`)
  } catch (error) {
    if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR')
      throw failure('SOURCE_NOT_FOUND', `${file} does not exist. Check its path.`, error)
    if (systemCode(error) === 'EACCES') throw unreadable(file, error)
    throw error
  }
}

import sharp from 'sharp'
import { failure } from '../../lib/errors.ts'
import type { Region, Size } from '../crop.ts'
import type { Frame } from '../frame.ts'
import { PICTURE_PIXELS_MAX } from '../limits.ts'
import { View, type ViewSettings } from './view.ts'

/** A picture in memory: RGB, 8 bits, rows from the top without padding. */
export interface Picture extends Size {
  readonly data: Uint8Array
}

/**
 * Reads a photo, turned upright as its EXIF says.
 * @param input a path, or the file's bytes
 * @param name for people
 * Errors: SOURCE_UNREADABLE for one that has too many pixels, and sharp's own for one that is none.
 */
export async function readPicture(input: string | Buffer, name: string): Promise<Picture> {
  // Sharp's own limit would come without the size; `metadata` reads the header alone.
  const photo = sharp(input, { limitInputPixels: false, failOn: 'error' })
  const { width: wide, height: high } = await photo.metadata()
  if (wide * high > PICTURE_PIXELS_MAX)
    throw failure(
      'SOURCE_UNREADABLE',
      `${name} has ${wide} x ${high} pixels; ${PICTURE_PIXELS_MAX / 1e6} million are the limit. Make it smaller.`,
    )
  const { data, info } = await photo
    .autoOrient()
    .flatten({ background: '#808080' })
    .toColourspace('srgb')
    .raw({ depth: 'uchar' })
    .toBuffer({ resolveWithObject: true })
  if (info.channels !== 3) throw new Error(`it has ${info.channels} channels instead of 3`)
  return { data, width: info.width, height: info.height }
}

/** A picture as a frame. */
export async function frameOf(
  picture: Picture,
  { settings, input }: { readonly settings: ViewSettings; readonly input: Size },
  when: Pick<Frame, 'sequence' | 'capturedAtMs' | 'atMs'>,
): Promise<Frame> {
  const { data, width, height } = picture
  const view = new View(settings, picture)
  const fitted = view.scaledSize(input)
  const scaled = await sharp(data, { raw: { width, height, channels: 3 }, limitInputPixels: false })
    .extract(view.storedRegion)
    .resize({ ...fitted.stored, fit: 'fill' })
    .raw()
    .toBuffer()
  return {
    ...when,
    ...view.size,
    ...(!view.isWhole && { region: view.region }),
    scaled: { data: view.finish(scaled, fitted.stored), ...fitted.turned },
    cut: async (left, top, wide, high) =>
      view.cut({ left, top, width: wide, height: high }, (region) => cutRgb(picture, region)),
    [Symbol.dispose]() {},
  }
}

/** A region of a picture, copied. */
function cutRgb({ data, width: stride }: Picture, { left, top, width, height }: Region): Uint8Array {
  const rgb = new Uint8Array(width * height * 3)
  for (let y = 0; y < height; y += 1) {
    const from = ((top + y) * stride + left) * 3
    rgb.set(data.subarray(from, from + width * 3), y * width * 3)
  }
  return rgb
}

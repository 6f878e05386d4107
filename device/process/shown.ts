import type { Rgb } from '../../models/tensor.ts'
import type { CropMetadata } from '../../wire/crop.ts'
import { type Box, cropRegion } from '../faces/crop.ts'
import { sharp } from '../sharp.ts'
import type { Classifier } from './classifier.ts'

/**
 * The part of a crop's pixels that a classifier is shown: the face's box and `margin` of its sides around it, as far as the crop
 * goes; all of it where `margin` is undefined. A copy, whose memory may be given away.
 * @param pixels the crop's; of its region, at any scale
 */
export function shownOf(
  pixels: Rgb,
  { box, region }: Pick<CropMetadata, 'box' | 'region'>,
  margin: number | undefined,
): Rgb {
  const { data, width, height } = pixels
  const [left, top, regionWidth, regionHeight] = region
  const [across, down] = [width / regionWidth, height / regionHeight]
  const inCrop: Box = [(box[0] - left) * across, (box[1] - top) * down, box[2] * across, box[3] * down]
  const part = margin === undefined ? undefined : cropRegion(inCrop, margin, pixels)
  if (part === undefined || (part.width === width && part.height === height))
    return { data: data.slice(), width, height }
  const cut = new Uint8Array(part.width * part.height * 3)
  for (let row = 0; row < part.height; row += 1) {
    const from = ((part.top + row) * width + part.left) * 3
    cut.set(data.subarray(from, from + part.width * 3), row * part.width * 3)
  }
  return { data: cut, width: part.width, height: part.height }
}

const FITS = { stretch: 'fill', letterbox: 'contain', cover: 'cover' } as const

/** A picture as RGB of exactly the input's size. */
export async function fitted(picture: Rgb, { width, height, fit }: Classifier['input']): Promise<Uint8Array> {
  if (picture.width === width && picture.height === height) return picture.data
  return await sharp(picture.data, {
    raw: { width: picture.width, height: picture.height, channels: 3 },
  })
    .resize({ width, height, fit: FITS[fit], kernel: 'linear', background: '#000000' })
    .raw()
    .toBuffer()
}

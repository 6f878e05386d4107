import type { Rgb } from '../../models/tensor.ts'
import type { CropMetadata } from '../../wire/crop.ts'
import { type Box, cropRegion, type Region } from '../faces/crop.ts'
import type { Classifier } from './classifier.ts'
import { resized } from './resize.ts'

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
  return cut(pixels, part)
}

/** A picture as RGB of exactly the input's size. */
export function fitted(picture: Rgb, { width, height, fit }: Classifier['input']): Uint8Array {
  if (fit === 'stretch') return resized(picture, { width, height })
  const scales = [width / picture.width, height / picture.height] as const
  const scale = fit === 'cover' ? Math.max(...scales) : Math.min(...scales)
  if (fit === 'cover') {
    const part = {
      width: sideOf(width / scale, picture.width),
      height: sideOf(height / scale, picture.height),
    }
    const left = (picture.width - part.width) >> 1
    const top = (picture.height - part.height) >> 1
    return resized(cut(picture, { ...part, left, top }), { width, height })
  }
  const size = { width: sideOf(picture.width * scale, width), height: sideOf(picture.height * scale, height) }
  const small = resized(picture, size)
  const left = (width - size.width) >> 1
  const top = (height - size.height) >> 1
  const canvas = new Uint8Array(width * height * 3)
  for (let row = 0; row < size.height; row += 1)
    canvas.set(
      small.subarray(row * size.width * 3, (row + 1) * size.width * 3),
      ((top + row) * width + left) * 3,
    )
  return canvas
}

const sideOf = (pixels: number, max: number) => Math.min(max, Math.max(1, Math.round(pixels)))

/** A copy of a part. */
function cut({ data, width }: Rgb, part: Region): Rgb {
  const out = new Uint8Array(part.width * part.height * 3)
  for (let row = 0; row < part.height; row += 1) {
    const from = ((part.top + row) * width + part.left) * 3
    out.set(data.subarray(from, from + part.width * 3), row * part.width * 3)
  }
  return { data: out, width: part.width, height: part.height }
}

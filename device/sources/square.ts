import type { Region, Size } from '../faces/crop.ts'
import { PICTURE_PIXELS_MAX, PIXEL_ASPECT_MAX, PIXEL_ASPECT_MIN } from '../limits.ts'

/** Whether pixels of that shape (width by height) are to be made square, and can be: no camera has them longer. */
export function isStretched(pixelAspect: number): boolean {
  const longer = Math.max(pixelAspect, 1 / pixelAspect)
  return longer >= PIXEL_ASPECT_MIN && longer <= PIXEL_ASPECT_MAX
}

/** The size with square pixels: the side that is too short grows, so that nothing is lost. */
export function squareSize(stored: Size, pixelAspect: number): Size {
  const { width, height } = stored
  if (!isStretched(pixelAspect)) return stored
  const size =
    pixelAspect > 1
      ? { width: Math.round(width * pixelAspect), height }
      : { width, height: Math.round(height / pixelAspect) }
  return size.width * size.height > PICTURE_PIXELS_MAX ? stored : size
}

/**
 * A region of a picture with square pixels, out of the stored one, by linear interpolation. A pixel comes out the same
 * whatever region it is a part of. 10 ns a pixel.
 * @param place in the square picture
 * @param read gives a region of the stored picture, RGB
 */
export function stretchRgb(
  place: Region,
  stored: Size,
  squared: Size,
  read: (region: Region) => Uint8Array,
): Uint8Array {
  const xs = taps(place.left, place.width, stored.width, squared.width)
  const ys = taps(place.top, place.height, stored.height, squared.height)
  const from = { left: xs.first, top: ys.first, width: xs.count, height: ys.count }
  const rgb = read(from)
  const out = new Uint8Array(place.width * place.height * 3)
  // Only one side is ever stretched. Parts are sixteen bits of fixed point.
  const mix = (to: number, a: number, b: number, part: number) => {
    out[to] = ((rgb[a] as number) * (0x10000 - part) + (rgb[b] as number) * part + 0x8000) >> 16
    out[to + 1] = ((rgb[a + 1] as number) * (0x10000 - part) + (rgb[b + 1] as number) * part + 0x8000) >> 16
    out[to + 2] = ((rgb[a + 2] as number) * (0x10000 - part) + (rgb[b + 2] as number) * part + 0x8000) >> 16
  }
  const isWider = squared.width !== stored.width
  for (let y = 0, to = 0; y < place.height; y += 1) {
    const row = (ys.before[y] as number) * from.width
    const below = (ys.after[y] as number) * from.width
    const part = ys.parts[y] as number
    if (isWider)
      for (let x = 0; x < place.width; x += 1, to += 3)
        mix(to, (row + at(xs.before, x)) * 3, (row + at(xs.after, x)) * 3, at(xs.parts, x))
    else for (let x = 0; x < place.width; x += 1, to += 3) mix(to, (row + x) * 3, (below + x) * 3, part)
  }
  return out
}

const at = (table: Int32Array, index: number) => table[index] as number

/** For each pixel of a side the stored ones around it, counted from the `first` that is needed, and the second's part. */
function taps(start: number, length: number, stored: number, squared: number) {
  const before = new Int32Array(length)
  const after = new Int32Array(length)
  const parts = new Int32Array(length)
  for (let i = 0; i < length; i += 1) {
    const at = Math.min(stored - 1, Math.max(0, ((start + i + 0.5) * stored) / squared - 0.5))
    before[i] = Math.floor(at)
    after[i] = Math.min(stored - 1, Math.floor(at) + 1)
    parts[i] = Math.round((at - Math.floor(at)) * 0x10000)
  }
  const first = before[0] as number
  const count = (after[length - 1] as number) - first + 1
  for (let i = 0; i < length; i += 1) {
    before[i] = (before[i] as number) - first
    after[i] = (after[i] as number) - first
  }
  return { first, count, before, after, parts }
}

import type { Region, Size } from '../crop.ts'
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
 * whatever region it is a part of. 6 ns a pixel.
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
  const isWider = squared.width !== stored.width
  for (let y = 0, to = 0; y < place.height; y += 1) {
    const row = (ys.before[y] as number) * from.width * 3
    const below = (ys.after[y] as number) * from.width * 3 - row
    const partY = ys.parts[y] as number
    for (let x = 0; x < place.width; x += 1, to += 3) {
      const a = row + (xs.before[x] as number) * 3
      const b = isWider ? row + (xs.after[x] as number) * 3 : a + below
      const part = isWider ? (xs.parts[x] as number) : partY
      // Sixteen bits of fixed point; only one side is ever stretched.
      for (let i = 0; i < 3; i += 1) {
        const first = rgb[a + i] as number
        out[to + i] = first + ((((rgb[b + i] as number) - first) * part + 0x8000) >> 16)
      }
    }
  }
  return out
}

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

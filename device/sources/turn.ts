import type { Region } from '../crop.ts'

/** RGB turned clockwise by quarters of a turn, as phones ask for in the videos they write. */
export function turnRgb(
  rgb: Uint8Array,
  { width, height }: { readonly width: number; readonly height: number },
  quarters: number,
): Uint8Array {
  if (quarters % 4 === 0) return rgb
  const out = new Uint8Array(rgb.length)
  const turnedWidth = quarters % 2 === 1 ? height : width
  for (let y = 0, from = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1, from += 3) {
      const [tx, ty] =
        quarters === 1
          ? [height - 1 - y, x]
          : quarters === 2
            ? [width - 1 - x, height - 1 - y]
            : [y, width - 1 - x]
      const to = (ty * turnedWidth + tx) * 3
      out[to] = rgb[from] as number
      out[to + 1] = rgb[from + 1] as number
      out[to + 2] = rgb[from + 2] as number
    }
  }
  return out
}

/** Where a region of the turned picture lies in the picture as it was stored (`stored` is its size). */
export function untilTurned(
  region: Region,
  stored: { readonly width: number; readonly height: number },
  quarters: number,
): Region {
  const { left, top, width, height } = region
  switch (quarters % 4) {
    case 1:
      return { left: top, top: stored.height - left - width, width: height, height: width }
    case 2:
      return { left: stored.width - left - width, top: stored.height - top - height, width, height }
    case 3:
      return { left: stored.width - top - height, top: left, width: height, height: width }
    default:
      return region
  }
}

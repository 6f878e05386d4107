import type { Region, Size } from '../faces/crop.ts'

/** How a stored picture is to be seen: turned clockwise by quarters of a turn, then, if mirrored, left for right. */
export interface Orientation {
  readonly quarters: number
  readonly mirrored: boolean
}

export const UPRIGHT: Orientation = { quarters: 0, mirrored: false }

/** First one, then the other, in one. */
export function turnedThen(first: Orientation, then: Orientation): Orientation {
  // What was mirrored turns the other way: a quarter to the right after it is one to the left before it.
  const quarters = first.mirrored ? first.quarters - then.quarters : first.quarters + then.quarters
  return { quarters: ((quarters % 4) + 4) % 4, mirrored: first.mirrored !== then.mirrored }
}

/**
 * What a display matrix asks for (libavutil/display.h: three rows of three, 32 bits, fixed point). Its upper left moves a
 * point (x, y) to (ax + cy, bx + dy), y downwards; a negative determinant mirrors. Angles between quarters of a turn become
 * the nearest.
 */
export function orientationOf(matrix: Buffer | undefined | null): Orientation {
  if (!matrix || matrix.length < 36) return UPRIGHT
  const [a, b, c, d] = [0, 4, 12, 16].map((at) => matrix.readInt32LE(at)) as [number, number, number, number]
  const mirrored = a * d - b * c < 0
  // Mirroring comes last, so it is taken off before the angle is read.
  const degrees = (Math.atan2(b, mirrored ? -a : a) * 180) / Math.PI
  return { quarters: ((Math.round(degrees / 90) % 4) + 4) % 4, mirrored }
}

/** Whether a picture is seen as it is stored. */
export const isUpright = ({ quarters, mirrored }: Orientation) => quarters % 4 === 0 && !mirrored

/** The size once turned. */
export function turnedSize({ width, height }: Size, { quarters }: Orientation): Size {
  return quarters % 2 === 1 ? { width: height, height: width } : { width, height }
}

/** RGB as it is to be seen, into `out` (another array of the same length); `size` is the stored picture's. */
export function turnRgb(
  rgb: Uint8Array,
  size: Size,
  orientation: Orientation,
  out: Uint8Array = new Uint8Array(rgb.length),
): Uint8Array {
  const { width, height } = size
  const turned = turnedSize(size, orientation).width
  const place = (x: number, y: number) => {
    const { left, top } = turnRegion({ left: x, top: y, width: 1, height: 1 }, size, orientation)
    return (top * turned + left) * 3
  }
  // Every step to the right, and every step down, goes the same way in the turned picture.
  const start = place(0, 0)
  const right = place(1, 0) - start
  const down = place(0, 1) - start
  for (let y = 0, from = 0; y < height; y += 1) {
    let to = start + y * down
    for (let x = 0; x < width; x += 1, from += 3, to += right) {
      out[to] = rgb[from] as number
      out[to + 1] = rgb[from + 1] as number
      out[to + 2] = rgb[from + 2] as number
    }
  }
  return out
}

/** Where a region of the stored picture lies in the turned one (`stored` is the stored picture's size). */
export function turnRegion(region: Region, stored: Size, { quarters, mirrored }: Orientation): Region {
  const { left, top, width, height } = region
  const right = stored.width - left - width
  const bottom = stored.height - top - height
  const turned = (
    [
      region,
      { left: bottom, top: left, width: height, height: width },
      { left: right, top: bottom, width, height },
      { left: top, top: right, width: height, height: width },
    ] as const
  )[quarters % 4] as Region
  if (!mirrored) return turned
  const across = quarters % 2 === 1 ? stored.height : stored.width
  return { ...turned, left: across - turned.left - turned.width }
}

/** Where a region of the turned picture lies in the picture as it was stored (`stored` is its size). */
export function untilTurned(region: Region, stored: Size, orientation: Orientation): Region {
  const turned = turnedSize(stored, orientation)
  const { quarters, mirrored } = orientation
  const { top, width, height } = region
  const left = mirrored ? turned.width - region.left - width : region.left
  return turnRegion({ left, top, width, height }, turned, {
    quarters: (4 - (quarters % 4)) % 4,
    mirrored: false,
  })
}

import type { Box, Point, Region, Size } from './crop.ts'

/** How good a picture of a face is: size, sharpness, frontality and the detector's score, each 0 to 1. Pure. */
export interface Quality {
  /** All of it together: what the best shot is chosen by. */
  readonly total: number
  readonly size: number
  readonly sharpness: number
  readonly frontality: number
}

/** A face of this side (root of its area, pixels) is half as good as an endless one. */
const SIDE_HALF = 80
/** The same for the variance of the Laplacian of grey values (0 to 255). */
const VARIANCE_HALF = 150
/** What a blurred picture, or one from the side, is still worth. */
const WORTH_MIN = 0.25
/** Sharpness is measured at this size, so that large and small faces compare. */
const SHARPNESS_SIDE = 48
/** Pixels looked at for each of those, by side: more say nothing new. */
const SAMPLES_MAX = 4
/** A face seen from the side has its eyes closer together than this part of its width. */
const EYES_APART_MIN = 0.08

/** @param sharpness undefined where it has not been measured: the most it could be */
export function qualityOf(
  face: { readonly box: Box; readonly score: number; readonly landmarks: readonly Point[] },
  frame: Size,
  sharpness = 1,
): Quality {
  const [left, top, width, height] = face.box
  const shownWidth = Math.min(frame.width, left + width) - Math.max(0, left)
  const shownHeight = Math.min(frame.height, top + height) - Math.max(0, top)
  const shown = Math.max(0, shownWidth * shownHeight) / (width * height)
  const side = Math.sqrt(width * height)
  // A face that the picture's edge cuts off is worth less than its size.
  const size = (side / (side + SIDE_HALF)) * shown ** 2
  const frontality = frontalityOf(face.landmarks, width)
  const worth = (value: number) => WORTH_MIN + (1 - WORTH_MIN) * value
  return { total: size * worth(sharpness) * worth(frontality) * face.score, size, sharpness, frontality }
}

/**
 * How much the face looks at the camera: 1 with the nose in the middle between the eyes, 0 with it beyond one of
 * them, less where the head is tilted. Landmarks begin with right eye, left eye, nose; 1 where the model has none.
 */
export function frontalityOf(landmarks: readonly Point[], width: number): number {
  const [right, left, nose] = landmarks
  if (!right || !left || !nose) return 1
  const [x, y] = [left[0] - right[0], left[1] - right[1]]
  const apart = Math.hypot(x, y)
  if (!(apart > EYES_APART_MIN * width)) return 0
  // Where the nose's foot falls on the line between the eyes: 0 at one, 1 at the other.
  const along = ((nose[0] - right[0]) * x + (nose[1] - right[1]) * y) / apart ** 2
  return Math.max(0, 1 - 2 * Math.abs(along - 0.5)) * Math.max(0, Math.abs(x) / apart)
}

/**
 * Sharpness of the face inside a picture: the variance of the Laplacian (Pech-Pacheco et al., 2000) of its grey
 * values at a fixed size, as 0 to 1.
 * @param rgb the region's pixels, three bytes each
 * @param box the face, in the coordinates that the region has
 */
export function sharpnessOf(rgb: Uint8Array, region: Region, box: Box): number {
  const left = Math.max(0, Math.round(box[0]) - region.left)
  const top = Math.max(0, Math.round(box[1]) - region.top)
  const right = Math.min(region.width, Math.round(box[0] + box[2]) - region.left)
  const bottom = Math.min(region.height, Math.round(box[1] + box[3]) - region.top)
  if (right - left < 3 || bottom - top < 3) return 0
  const side = SHARPNESS_SIDE
  const grey = new Float32Array(side * side)
  const columns = cells(left, right, side)
  const rows = cells(top, bottom, side)
  for (let y = 0; y < side; y += 1) {
    const ys = rows[y] as readonly number[]
    for (let x = 0; x < side; x += 1) {
      const xs = columns[x] as readonly number[]
      let sum = 0
      for (const row of ys) {
        for (const column of xs) {
          const at = (row * region.width + column) * 3
          sum +=
            0.299 * (rgb[at] as number) + 0.587 * (rgb[at + 1] as number) + 0.114 * (rgb[at + 2] as number)
        }
      }
      grey[y * side + x] = sum / (ys.length * xs.length)
    }
  }
  let sum = 0
  let squares = 0
  for (let y = 1; y < side - 1; y += 1) {
    for (let x = 1; x < side - 1; x += 1) {
      const at = y * side + x
      const value =
        (grey[at - 1] as number) +
        (grey[at + 1] as number) +
        (grey[at - side] as number) +
        (grey[at + side] as number) -
        4 * (grey[at] as number)
      sum += value
      squares += value * value
    }
  }
  const count = (side - 2) ** 2
  const variance = squares / count - (sum / count) ** 2
  return variance / (variance + VARIANCE_HALF)
}

/** For each of `count` cells between two pixels, which pixels to average. */
function cells(from: number, to: number, count: number): number[][] {
  const step = (to - from) / count
  const samples = Math.max(1, Math.min(SAMPLES_MAX, Math.round(step)))
  return Array.from({ length: count }, (_, cell) =>
    Array.from({ length: samples }, (_, sample) =>
      Math.min(to - 1, Math.floor(from + step * (cell + (sample + 0.5) / samples))),
    ),
  )
}

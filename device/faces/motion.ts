import { MOTION_HOLD_MS, MOTION_LEVELS, MOTION_SETTLE_MS } from '../limits.ts'
import type { Size } from './crop.ts'

export interface MotionOptions {
  /** The part of the picture, 0 to 1, that must have changed. */
  readonly threshold: number
  /** A still scene is looked at so often all the same, ms. */
  readonly checkEvery: number
}

/** The grey picture that is compared, cells. */
const WIDTH = 64
const HEIGHT = 36
const CELLS = WIDTH * HEIGHT

/**
 * Says whether a frame is worth a detection: whether the scene has moved against a reference that follows it slowly.
 *
 * Both are grey pictures of 64 x 36 cells, each the mean of its pixels, so that a sensor's noise is averaged away. Before
 * they are compared, the brightness and contrast that fit best are taken out (least squares over all cells, then once
 * more without those that stand out): a cloud, an automatic exposure or a lamp changes the whole picture, a person a
 * part of it. What has moved and stays becomes the reference within some seconds.
 *
 * Time is an argument, ms on the source's own clock.
 */
export class MotionGate {
  readonly #options: MotionOptions
  readonly #reference = new Float32Array(CELLS)
  readonly #cells = new Float32Array(CELLS)
  #size: Size = { width: 0, height: 0 }
  #lastMs = 0
  #movedMs = -Infinity
  #openedMs = -Infinity

  constructor(options: MotionOptions) {
    this.#options = options
  }

  /** Whether to look at this picture (RGB, rows without padding). */
  take(picture: Size & { readonly data: Uint8Array }, nowMs: number): boolean {
    shrink(picture, this.#cells)
    const isFirst = picture.width !== this.#size.width || picture.height !== this.#size.height
    this.#size = { width: picture.width, height: picture.height }
    // A clock that goes back is one that started anew: a clip that is looped.
    const elapsedMs = nowMs - this.#lastMs
    this.#lastMs = nowMs
    if (isFirst || elapsedMs < 0) {
      this.#reference.set(this.#cells)
      this.#movedMs = nowMs
    } else {
      if (changedPart(this.#cells, this.#reference) >= this.#options.threshold) this.#movedMs = nowMs
      const share = 1 - Math.exp(-elapsedMs / MOTION_SETTLE_MS)
      for (let i = 0; i < CELLS; i += 1)
        this.#reference[i] = at(this.#reference, i) + share * (at(this.#cells, i) - at(this.#reference, i))
    }
    const isOpen =
      nowMs - this.#movedMs <= MOTION_HOLD_MS || nowMs - this.#openedMs >= this.#options.checkEvery
    if (isOpen) this.#openedMs = nowMs
    return isOpen
  }
}

const at = (cells: Float32Array, i: number) => cells[i] as number

/** The part of the cells, 0 to 1, that differ once brightness and contrast are taken out. */
function changedPart(cells: Float32Array, reference: Float32Array): number {
  let fit = { gain: 1, offset: 0 }
  // The second round leaves out what moved, which would pull the fit towards itself.
  for (const limit of [Infinity, 2 * MOTION_LEVELS]) fit = fitOf(cells, reference, fit, limit)
  let changed = 0
  for (let i = 0; i < CELLS; i += 1)
    if (Math.abs(at(cells, i) - fit.gain * at(reference, i) - fit.offset) > MOTION_LEVELS) changed += 1
  return changed / CELLS
}

/** Least squares of `cells = gain * reference + offset`, over the cells that the fit before misses by less than `limit`. */
function fitOf(
  cells: Float32Array,
  reference: Float32Array,
  before: { readonly gain: number; readonly offset: number },
  limit: number,
): { gain: number; offset: number } {
  let [n, sumX, sumY, sumXX, sumXY] = [0, 0, 0, 0, 0]
  for (let i = 0; i < CELLS; i += 1) {
    const [x, y] = [at(reference, i), at(cells, i)]
    if (Math.abs(y - before.gain * x - before.offset) > limit) continue
    n += 1
    sumX += x
    sumY += y
    sumXX += x * x
    sumXY += x * y
  }
  if (n < CELLS / 4) return before
  const variance = sumXX / n - (sumX / n) ** 2
  // In a picture of one colour there is no contrast to speak of.
  const gain =
    variance < 4 ? 1 : Math.min(3, Math.max(1 / 3, (sumXY / n - (sumX / n) * (sumY / n)) / variance))
  return { gain, offset: sumY / n - (gain * sumX) / n }
}

/** Grey means of the cells. Green stands for grey: it is 59 % of it, and has the least noise. */
function shrink({ data, width, height }: Size & { readonly data: Uint8Array }, cells: Float32Array): void {
  for (let cy = 0; cy < HEIGHT; cy += 1) {
    const top = Math.floor((cy * height) / HEIGHT)
    const bottom = Math.max(top + 1, Math.floor(((cy + 1) * height) / HEIGHT))
    for (let cx = 0; cx < WIDTH; cx += 1) {
      const left = Math.floor((cx * width) / WIDTH)
      const right = Math.max(left + 1, Math.floor(((cx + 1) * width) / WIDTH))
      let sum = 0
      for (let y = top; y < bottom; y += 1) {
        const end = (y * width + right) * 3
        for (let i = (y * width + left) * 3 + 1; i < end; i += 3) sum += data[i] as number
      }
      cells[cy * WIDTH + cx] = sum / ((bottom - top) * (right - left))
    }
  }
}

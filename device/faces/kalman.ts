import type { Box } from './crop.ts'

/**
 * A Kalman filter (Kalman, 1960) that follows a box: constant velocity of centre, width and height, as in SORT
 * (Bewley et al., 2016) and ByteTrack (Zhang et al., 2022), but in seconds instead of frames, so that skipped frames
 * and a changing rate do no harm. All noise is in proportion to the box's size. The four axes share no noise, so the
 * filter of eight dimensions is four of two, and no matrix is needed.
 */

/** What a detector's box is off by, as a part of the box's side. */
const MEASURED_CENTRE = 0.06
const MEASURED_SIDE = 0.08
/** Velocity changes by so many sides a second within a second (white noise acceleration). */
const DRIFT_CENTRE = 0.9
const DRIFT_SIDE = 0.1
/** What a velocity may be when nothing is known of it, sides a second. */
const UNKNOWN_CENTRE = 4
const UNKNOWN_SIDE = 0.3
/** A side never shrinks below so many pixels. */
const SIDE_MIN = 1

/** Position and velocity, and their covariance. */
interface Axis {
  x: number
  v: number
  xx: number
  xv: number
  vv: number
}

export class BoxFilter {
  readonly #centreX: Axis
  readonly #centreY: Axis
  readonly #width: Axis
  readonly #height: Axis

  constructor([left, top, width, height]: Box) {
    const side = sideOf(width, height)
    const axis = (x: number, measured: number, unknown: number): Axis => ({
      x,
      v: 0,
      xx: (measured * side) ** 2,
      xv: 0,
      vv: (unknown * side) ** 2,
    })
    this.#centreX = axis(left + width / 2, MEASURED_CENTRE, UNKNOWN_CENTRE)
    this.#centreY = axis(top + height / 2, MEASURED_CENTRE, UNKNOWN_CENTRE)
    this.#width = axis(width, MEASURED_SIDE, UNKNOWN_SIDE)
    this.#height = axis(height, MEASURED_SIDE, UNKNOWN_SIDE)
  }

  /** Left, top, width, height. */
  get box(): Box {
    const width = Math.max(SIDE_MIN, this.#width.x)
    const height = Math.max(SIDE_MIN, this.#height.x)
    return [this.#centreX.x - width / 2, this.#centreY.x - height / 2, width, height]
  }

  /** Pixels a second. */
  get velocity(): readonly [x: number, y: number] {
    return [this.#centreX.v, this.#centreY.v]
  }

  /** What a detected centre is off by from the predicted one, standard deviation, pixels. */
  get deviation(): number {
    const measured = (MEASURED_CENTRE * sideOf(this.#width.x, this.#height.x)) ** 2
    return Math.sqrt((this.#centreX.xx + this.#centreY.xx) / 2 + measured)
  }

  /** Time goes by. @param holdSize while nothing is seen: what the side last did is no guide for long */
  predict(seconds: number, holdSize: boolean): void {
    const side = sideOf(this.#width.x, this.#height.x)
    if (holdSize) {
      this.#width.v = 0
      this.#height.v = 0
    }
    for (const axis of [this.#centreX, this.#centreY]) predict(axis, seconds, (DRIFT_CENTRE * side) ** 2)
    for (const axis of [this.#width, this.#height]) predict(axis, seconds, (DRIFT_SIDE * side) ** 2)
  }

  /** A box was seen. @param doubt how many times less exact than a detector's box is it? 1 for a good one */
  correct([left, top, width, height]: Box, doubt = 1): void {
    const side = sideOf(this.#width.x, this.#height.x) * doubt
    // Something in front of a face cuts its box on one side, and so moves the centre: that is no movement.
    const cutX = width - this.#width.x
    const cutY = height - this.#height.x
    correct(this.#centreX, left + width / 2, (MEASURED_CENTRE * side) ** 2 + cutX ** 2)
    correct(this.#centreY, top + height / 2, (MEASURED_CENTRE * side) ** 2 + cutY ** 2)
    correct(this.#width, width, (MEASURED_SIDE * side) ** 2)
    correct(this.#height, height, (MEASURED_SIDE * side) ** 2)
  }
}

const sideOf = (width: number, height: number) => Math.max(SIDE_MIN, (width + height) / 2)

function predict(axis: Axis, seconds: number, noise: number): void {
  axis.x += axis.v * seconds
  axis.xx += 2 * seconds * axis.xv + seconds ** 2 * axis.vv + (noise * seconds ** 3) / 3
  axis.xv += seconds * axis.vv + (noise * seconds ** 2) / 2
  axis.vv += noise * seconds
}

function correct(axis: Axis, measured: number, noise: number): void {
  const off = measured - axis.x
  const gain = axis.xx / (axis.xx + noise)
  const gainOfVelocity = axis.xv / (axis.xx + noise)
  axis.x += gain * off
  axis.v += gainOfVelocity * off
  axis.vv -= gainOfVelocity * axis.xv
  axis.xv *= 1 - gain
  axis.xx *= 1 - gain
}

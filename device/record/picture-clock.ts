import { CLOCK_AHEAD_FRAMES_MAX, CLOCK_AHEAD_S_MAX } from '../limits.ts'

/** A step that is shorter counts as so long, s: times of an encoder ascend. */
const STEP_S_MIN = 0.001

/**
 * Times for pictures that are encoded: those of the source as long as they go on, and where they jump or the source was
 * opened again, the time that has passed here.
 */
export class PictureClock {
  readonly #paced: boolean
  #seconds = 0
  #source: number | undefined
  #steadyMs: number | undefined
  #usual: number
  /** What a time of the source's is moved by, s. */
  offset = 0

  /** @param paced pictures come when they are taken @param usual how long one lasts, s */
  constructor(paced: boolean, usual: number) {
    this.#paced = paced
    this.#usual = usual
  }

  /** The source's times begin anew. */
  restart(): void {
    this.#source = undefined
  }

  /** @param seconds by the source; undefined: it knows none @param steadyMs on a clock of ours that nobody sets */
  next(seconds: number | undefined, steadyMs: number): number {
    const step = this.#step(seconds, steadyMs)
    this.#seconds += step
    this.#source = seconds
    this.#steadyMs = steadyMs
    this.offset = this.#seconds - (seconds ?? this.#seconds)
    return this.#seconds
  }

  #step(seconds: number | undefined, steadyMs: number): number {
    if (this.#steadyMs === undefined) return 0
    const step = seconds === undefined || this.#source === undefined ? undefined : seconds - this.#source
    const most = Math.max(CLOCK_AHEAD_S_MAX, CLOCK_AHEAD_FRAMES_MAX * this.#usual)
    if (step !== undefined && step > 0 && step <= most) {
      this.#usual = step
      return Math.max(STEP_S_MIN, step)
    }
    return Math.max(STEP_S_MIN, this.#paced ? (steadyMs - this.#steadyMs) / 1000 : this.#usual)
  }
}

import { CLOCK_AHEAD_FRAMES_MAX, CLOCK_AHEAD_S_MAX, CLOCK_BACK_S_MAX, FRAME_S_MIN } from '../limits.ts'

/** When a frame is, seconds. */
export interface Tick {
  /** Since the recording, or a part of it, began. */
  readonly seconds: number
  /** Since the first frame of all: runs on over jumps and passes, as if each frame followed on the one before. */
  readonly playSeconds: number
  /** By how much the recording's own clock has just been set. */
  readonly jumpSeconds?: number
}

/**
 * The times that a decoder gives, as a clock that only runs forward: it begins at 0, and begins again where the recording
 * begins again or its own clock has been set (a recorder's reboot, hours that nothing was recorded). There nobody knows
 * how much time has passed, and nobody waits for it.
 */
export class Clock {
  /** What the decoder's time is taken off; undefined before the first frame. */
  #zero: number | undefined
  #last = 0
  #playSeconds = 0
  /** How long the last frame lasted that one followed on: what containers say is a mean, over gaps of hours too. */
  #usual: number | undefined
  #isFirst = true

  /** The recording begins again, with what follows. */
  restart(): void {
    this.#zero = undefined
  }

  /**
   * @param time as the decoder has it, seconds; undefined where it has none
   * @param said how long a frame lasts, as the container says, seconds
   */
  next(time: number | undefined, said: number): Tick {
    const frame = Math.max(FRAME_S_MIN, this.#usual ?? said)
    if (this.#zero === undefined) return this.#begin(time ?? 0, frame)
    const seconds = time === undefined ? this.#last + frame : time - this.#zero
    const step = seconds - this.#last
    if (step > Math.max(CLOCK_AHEAD_S_MAX, CLOCK_AHEAD_FRAMES_MAX * frame) || step < -CLOCK_BACK_S_MAX)
      return { ...this.#begin(time ?? 0, frame), jumpSeconds: step }
    // Where times are out of order by a little, it stands.
    const passed = Math.max(0, step)
    if (passed > 0) this.#usual = passed
    this.#last += passed
    this.#playSeconds += passed
    return { seconds: this.#last, playSeconds: this.#playSeconds }
  }

  #begin(time: number, frame: number): Tick {
    if (!this.#isFirst) this.#playSeconds += frame
    // A part of one frame takes the next one in: or a clock that always says 0 would seem to stand.
    this.#last = !this.#isFirst && this.#last === 0 ? frame : 0
    this.#isFirst = false
    this.#zero = time - this.#last
    return { seconds: this.#last, playSeconds: this.#playSeconds }
  }
}

import { CLOCK_AHEAD_FRAMES_MAX, CLOCK_AHEAD_S_MAX, CLOCK_BACK_S_MAX } from '../limits.ts'

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
  #isFirst = true

  /** The recording begins again, with what follows. */
  restart(): void {
    this.#zero = undefined
  }

  /**
   * @param time as the decoder has it, seconds; undefined where it has none
   * @param frameSeconds how long a frame lasts
   */
  next(time: number | undefined, frameSeconds: number): Tick {
    const ahead = Math.max(CLOCK_AHEAD_S_MAX, CLOCK_AHEAD_FRAMES_MAX * frameSeconds)
    if (this.#zero === undefined) return this.#begin(time ?? 0, frameSeconds)
    const expected = this.#last + frameSeconds
    const seconds = time === undefined ? expected : time - this.#zero
    const step = seconds - this.#last
    if (step > ahead || step < -CLOCK_BACK_S_MAX)
      return { ...this.#begin(time ?? 0, frameSeconds), jumpSeconds: step }
    // Where times are out of order by a little, it stands.
    const passed = Math.max(0, step)
    this.#last += passed
    this.#playSeconds += passed
    return { seconds: this.#last, playSeconds: this.#playSeconds }
  }

  #begin(time: number, frameSeconds: number): Tick {
    if (!this.#isFirst) this.#playSeconds += frameSeconds
    this.#isFirst = false
    this.#zero = time
    this.#last = 0
    return { seconds: 0, playSeconds: this.#playSeconds }
  }
}

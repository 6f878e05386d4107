/**
 * How fast something may go that is never to be in the way, over a line that others use: as fast as the line takes it
 * without a queue building up. After LEDBAT (RFC 6817): the round trip of a probe beyond the shortest of late is what lies in
 * the line's buffers; the rate follows the difference to a small target. All times in ms, of one clock.
 */
export class BackgroundRate {
  /** Bytes a second. */
  #rate = RATE_START
  /** The line has not been full yet: the rate may double quickly. */
  #starting = true
  /** The shortest round trips of this period and of the one before. */
  #base = Number.POSITIVE_INFINITY
  #baseBefore = Number.POSITIVE_INFINITY
  #periodMs = Number.NEGATIVE_INFINITY
  readonly #late: number[] = []

  get bytesPerSecond(): number {
    return this.#rate
  }

  /** How long what is sent now would lie in the line's buffers, ms; as of the last probes. */
  get queuedMs(): number {
    return this.#late.length === 0 ? 0 : Math.min(...this.#late) - this.#baseMs
  }

  get #baseMs(): number {
    return Math.min(this.#base, this.#baseBefore)
  }

  /**
   * A probe has come back, on whose way nothing else was but what goes at this rate.
   * @param used whether the rate was what limited it
   */
  probed(roundTripMs: number, used: boolean, nowMs: number): void {
    if (nowMs - this.#periodMs > BASE_PERIOD_MS) {
      this.#periodMs = nowMs
      this.#baseBefore = this.#base
      this.#base = Number.POSITIVE_INFINITY
    }
    this.#base = Math.min(this.#base, roundTripMs)
    this.#late.push(roundTripMs)
    // One that took long may have met a busy far end: the shortest of several tells of the line.
    if (this.#late.length > FILTERED) this.#late.shift()
    const targetMs = Math.min(TARGET_MS_MAX, Math.max(TARGET_MS_MIN, this.#baseMs / 4))
    const off = Math.max(-1, 1 - this.queuedMs / targetMs)
    if (off < 0) {
      this.#rate *= this.#starting ? 1 / START_GAIN ** FILTERED : 1 + DECREASE * off
      if (this.#starting) this.#late.length = 0
      this.#starting = false
    } else if (used) this.#rate *= 1 + (this.#starting ? START_GAIN - 1 : INCREASE) * off
    this.#rate = Math.min(RATE_MAX, Math.max(RATE_MIN, this.#rate))
  }

  /** Nothing was sent for a while: the line may be another one by now, and TCP begins anew too. */
  rested(): void {
    this.#late.length = 0
    this.#rate = Math.max(RATE_START, this.#rate / 2)
    this.#starting = true
  }
}

/** Bytes a second: what nearly every line takes; the least, so that it goes on at all; and what needs no limit. */
const RATE_START = 128 * 1024
const RATE_MIN = 64 * 1024
const RATE_MAX = 1024 * 1024 * 1024
/** So long may what is sent lie in the line's buffers, ms: a quarter of a round trip, but no less and no more. */
const TARGET_MS_MIN = 8
const TARGET_MS_MAX = 50
const BASE_PERIOD_MS = 60_000
const FILTERED = 4
/** For each probe. */
const START_GAIN = 1.15
const INCREASE = 0.02
const DECREASE = 0.1

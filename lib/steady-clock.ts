/**
 * The time of day for what cannot be undone. A machine's clock that leaps ahead (a wrong NTP server, a battery, a hand)
 * is not followed until it has kept to the new time for a day; back, it is followed at once.
 */
export class SteadyClock {
  readonly #clocks: Clocks
  /** Wall clock minus the time since the start: constant for as long as nobody sets the clock. */
  #offsetMs: number
  #leap: { readonly sinceMs: number; readonly offsetMs: number } | undefined

  constructor(clocks: Clocks = { wallMs: Date.now, monotonicMs: () => performance.now() }) {
    this.#clocks = clocks
    this.#offsetMs = clocks.wallMs() - clocks.monotonicMs()
  }

  /** Milliseconds since 1970. */
  nowMs(): number {
    const monotonicMs = this.#clocks.monotonicMs()
    const offsetMs = this.#clocks.wallMs() - monotonicMs
    if (offsetMs - this.#offsetMs <= LEAP_MS) {
      this.#offsetMs = offsetMs
      this.#leap = undefined
    } else if (this.#leap === undefined || Math.abs(offsetMs - this.#leap.offsetMs) > LEAP_MS) {
      this.#leap = { sinceMs: monotonicMs, offsetMs }
    } else if (monotonicMs - this.#leap.sinceMs >= BELIEVED_AFTER_MS) {
      this.#offsetMs = offsetMs
      this.#leap = undefined
    }
    return monotonicMs + this.#offsetMs
  }

  /** By how much the machine's clock is ahead of what is believed, ms; 0 where it is not. */
  get leapMs(): number {
    return this.#leap === undefined ? 0 : this.#leap.offsetMs - this.#offsetMs
  }
}

interface Clocks {
  readonly wallMs: () => number
  /** Goes on evenly, whatever the wall clock does. */
  readonly monotonicMs: () => number
}

/** More in one go than any clock is corrected by in passing, or a suspended machine misses between two looks, say. */
const LEAP_MS = 2 * 3_600_000
const BELIEVED_AFTER_MS = 24 * 3_600_000

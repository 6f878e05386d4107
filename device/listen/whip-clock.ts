/**
 * RTP times of one track as ms since the session began. Tracks start by when their first packets came; sender reports then say
 * how they belong together, and audio moves to where it belongs. Pure.
 */
export class TrackClock {
  readonly #ticksPerMs: number
  #first: { readonly ticks: number; readonly atMs: number } | undefined
  /** Unwrapped. */
  #newest = 0
  #lastMs = 0
  #shiftMs = 0
  #report: { readonly ticks: number; readonly ntpMs: number } | undefined

  constructor(ticksPerSecond: number) {
    this.#ticksPerMs = ticksPerSecond / 1000
  }

  /** @param nowMs when the packet came, ms since the session began; never goes back */
  msOf(timestamp: number, nowMs: number): number {
    this.#first ??= { ticks: timestamp, atMs: nowMs }
    if (this.#first.ticks === timestamp && this.#newest === 0) this.#newest = timestamp
    const ticks = this.#unwrap(timestamp)
    let ms = this.#plain(ticks) + this.#shiftMs
    // A sender whose clock has jumped starts again by when it comes.
    if (Math.abs(ms - nowMs) > JUMP_MS_MAX) {
      this.#first = { ticks, atMs: nowMs - this.#shiftMs }
      this.#report = undefined
      ms = nowMs
    }
    this.#newest = Math.max(this.#newest, ticks)
    this.#lastMs = Math.max(this.#lastMs, Math.round(ms))
    return this.#lastMs
  }

  /** A sender report. @param ntpMs by the sender's clock, ms */
  report(timestamp: number, ntpMs: number): void {
    if (this.#first) this.#report = { ticks: this.#unwrap(timestamp), ntpMs }
  }

  /** Moves this track to where it belongs beside another one, as far as both have been reported on. */
  follow(other: TrackClock): void {
    if (!this.#report || !other.#report) return
    const wanted = other.#plain(other.#report.ticks) - other.#report.ntpMs
    const is = this.#plain(this.#report.ticks) - this.#report.ntpMs
    const shiftMs = wanted + other.#shiftMs - is
    if (Math.abs(shiftMs - this.#shiftMs) >= SHIFT_MS_MIN && Math.abs(shiftMs) <= SHIFT_MS_MAX)
      this.#shiftMs = shiftMs
  }

  #plain(ticks: number): number {
    return this.#first ? this.#first.atMs + (ticks - this.#first.ticks) / this.#ticksPerMs : 0
  }

  /** 32 bits go round every 13 h at 90 kHz. */
  #unwrap(timestamp: number): number {
    const delta = (timestamp - this.#newest) | 0
    return this.#newest + delta
  }
}

/** Further off than this from when it comes, a time is not believed, ms. */
const JUMP_MS_MAX = 10_000
/** What nobody hears, ms; and what is not believed. */
const SHIFT_MS_MIN = 15
const SHIFT_MS_MAX = 3000

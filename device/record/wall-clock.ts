import {
  CLOCK_SET_MS_MIN,
  WALL_LAG_FOR_MS_MAX,
  WALL_LAG_MS_MAX,
  WALL_SLEW_FAST_MAX,
  WALL_SLEW_MAX,
} from '../limits.ts'

/**
 * What time it was when something on a stream's own clock was captured. A camera's clock runs a little faster or slower
 * than ours, and packets come late, never early: the packet that came with the least delay tells the most. So the distance
 * between the two clocks follows the least delay of each chunk, by small steps: times stay right over hours, and a chunk
 * never ends before it begins.
 */
export class WallClock {
  /** Ours less the stream's, ms; undefined before the first chunk has ended. */
  #offsetMs: number | undefined
  /** The least distance since the last `settle`. */
  #leastMs = Infinity
  /** For how long the stream has lagged behind, ms. */
  #laggedMs = 0
  /** The system's clock less the one that nobody sets, at the last packet. */
  #setMs: number | undefined

  /** Nothing was heard yet. */
  get isNew(): boolean {
    return this.#offsetMs === undefined && this.#leastMs === Infinity
  }

  /**
   * A packet has come.
   * @param mediaMs its time on the stream's own clock
   * @param receivedAtMs ms since 1970
   */
  heard(mediaMs: number, receivedAtMs: number): void {
    this.#leastMs = Math.min(this.#leastMs, receivedAtMs - mediaMs)
  }

  /**
   * Whether the system's clock was set since the last time, and by how much, ms; undefined where it was not.
   * Asked with each packet, before `heard`.
   * @param steadyMs the same time on a clock that nobody sets
   */
  set(receivedAtMs: number, steadyMs: number): number | undefined {
    const now = receivedAtMs - steadyMs
    const before = this.#setMs ?? now
    this.#setMs = now
    return Math.abs(now - before) >= CLOCK_SET_MS_MIN ? now - before : undefined
  }

  /**
   * Where a chunk ends: follows what was heard during it.
   * @param elapsedMs how long the chunk is
   * @returns how much time is missing in the stream, ms: it has lagged for long by more than a line's hiccups explain
   */
  settle(elapsedMs: number): number {
    const least = this.#leastMs
    this.#leastMs = Infinity
    if (least === Infinity) return 0
    if (this.#offsetMs === undefined) {
      this.#offsetMs = least
      return 0
    }
    const off = least - this.#offsetMs
    this.#laggedMs = off > WALL_LAG_MS_MAX ? this.#laggedMs + elapsedMs : 0
    if (this.#laggedMs > WALL_LAG_FOR_MS_MAX) {
      this.#laggedMs = 0
      this.#offsetMs = least
      return off
    }
    const stepMs = elapsedMs * (off < -WALL_LAG_MS_MAX ? WALL_SLEW_FAST_MAX : WALL_SLEW_MAX)
    this.#offsetMs += Math.max(-stepMs, Math.min(stepMs, off))
    return 0
  }

  /** Milliseconds since 1970, not rounded. */
  at(mediaMs: number): number {
    return mediaMs + (this.#offsetMs ?? (this.#leastMs === Infinity ? 0 : this.#leastMs))
  }

  /** The stream's clock, or ours, is another one from here on: what was learnt is void. */
  restart(): void {
    this.#offsetMs = undefined
    this.#leastMs = Infinity
    this.#laggedMs = 0
  }
}

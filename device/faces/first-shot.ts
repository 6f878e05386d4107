import { FIRST_WAIT_MS_MAX } from '../limits.ts'
import type { Quality } from './best-shot.ts'

/** From here on a picture is good enough to go out without waiting for a better one: what it is worth beside its size, 0 to 1. */
const WORTH_ENOUGH = 0.6

/**
 * When the first picture of a followed face goes out (`emit.first`): at once where it is good enough, and otherwise the best
 * of the FIRST_WAIT_MS_MAX after the face was sure. Pure: times are arguments, ms.
 */
export class FirstShot {
  #sureAtMs: number | undefined
  #sureNowMs = 0
  #sent: Quality | undefined

  /**
   * The face is sure; only the first call counts.
   * @param atMs by the frames' clock
   * @param nowMs by a clock that goes on when frames stop
   */
  sure(atMs: number, nowMs: number): void {
    if (this.#sureAtMs !== undefined) return
    this.#sureAtMs = atMs
    this.#sureNowMs = nowMs
  }

  /** By the clock that goes on when frames stop: when it is late. Undefined before the face is sure. */
  get lateAtNowMs(): number | undefined {
    return this.#sureAtMs === undefined ? undefined : this.#sureNowMs + FIRST_WAIT_MS_MAX
  }

  /**
   * @param quality of the best picture so far
   * @param intervalMs to the next frame, as it seems
   * @param nowMs undefined where only the frames' clock counts
   */
  isDue(quality: Quality, atMs: number, intervalMs: number, nowMs: number | undefined): boolean {
    if (this.#sureAtMs === undefined || this.isSent) return false
    if (worthOf(quality) >= WORTH_ENOUGH) return true
    // The next frame would come too late.
    if (atMs + intervalMs - this.#sureAtMs > FIRST_WAIT_MS_MAX) return true
    return nowMs !== undefined && nowMs - this.#sureNowMs >= FIRST_WAIT_MS_MAX
  }

  sent(quality: Quality): void {
    this.#sent = quality
  }

  get isSent(): boolean {
    return this.#sent !== undefined
  }

  /** What a picture has to surpass to be worth sending after it, 0 to 1; -1 before it was sent. */
  get total(): number {
    return this.#sent?.total ?? -1
  }
}

/** Waiting half a second makes no face much larger; it may turn, hold still, or come in from the edge. */
const worthOf = ({ total, size }: Quality): number => (size > 0 ? total / size : 0)

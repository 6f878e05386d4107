import { setTimeout as sleep } from 'node:timers/promises'

export interface BackoffOptions {
  readonly delayMsMin: number
  readonly delayMsMax: number
}

/**
 * Waits between attempts: exponential with full jitter, so that a thousand devices that lost the same broker
 * do not come back in step. (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.)
 */
export class Backoff {
  readonly #options: BackoffOptions
  #attempts = 0

  constructor(options: BackoffOptions) {
    this.#options = options
  }

  get attempts(): number {
    return this.#attempts
  }

  /** Call after success: the next failure starts again at the shortest wait. */
  reset(): void {
    this.#attempts = 0
  }

  /** The next delay, ms: between half of the current ceiling and the ceiling. */
  nextMs(random: () => number = Math.random): number {
    const { delayMsMin, delayMsMax } = this.#options
    const ceilingMs = Math.min(delayMsMax, delayMsMin * 2 ** Math.min(this.#attempts, 30))
    this.#attempts += 1
    return ceilingMs / 2 + (random() * ceilingMs) / 2
  }

  /** Waits for the next delay. Rejects with the signal's reason when it is aborted. */
  async wait(signal: AbortSignal): Promise<void> {
    await sleep(this.nextMs(), undefined, { signal })
  }
}

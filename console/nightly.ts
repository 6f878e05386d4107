import { setTimeout as sleep } from 'node:timers/promises'
import { asFailure, type SightlineError } from '../lib/errors.ts'
import type { Log } from '../lib/log.ts'

/**
 * Once a night, at an hour (UTC), the database is compared with the bucket and mended. It is a check: announcements bring
 * everything by themselves, but a bucket has other visitors.
 */

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
/** `setTimeout` and clocks that are set: it is looked again this often. */
const LOOK_INTERVAL_MS = 60_000

export interface NightlyOptions {
  /** null: never. */
  readonly atHour: number | null
  readonly run: (signal: AbortSignal) => Promise<void>
  readonly log: Log
}

export class Nightly implements AsyncDisposable {
  readonly #abort = new AbortController()
  readonly #running: Promise<void>
  #fault: SightlineError | undefined

  private constructor(options: NightlyOptions) {
    this.#running = this.#run(options)
  }

  static open(options: NightlyOptions): Nightly {
    return new Nightly(options)
  }

  /** Why the last one failed. */
  get fault(): string | undefined {
    return this.#fault?.message
  }

  async #run({ atHour, run, log }: NightlyOptions): Promise<void> {
    const { signal } = this.#abort
    if (atHour === null) return
    let dueMs = nextMs(Date.now(), atHour)
    while (!signal.aborted) {
      await sleep(LOOK_INTERVAL_MS, undefined, { signal, ref: false }).catch(() => {})
      if (signal.aborted || Date.now() < dueMs) continue
      try {
        await run(signal)
        this.#fault = undefined
      } catch (error) {
        if (signal.aborted) return
        this.#fault = asFailure(error)
        log.warn(
          { code: this.#fault.code },
          `could not compare the database with the bucket; the next try is tomorrow: ${this.#fault.message}`,
        )
      }
      dueMs = nextMs(Date.now(), atHour)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort()
    await this.#running
  }
}

/** The next time that it is this hour, UTC. */
export function nextMs(nowMs: number, atHour: number): number {
  const today = Math.floor(nowMs / DAY_MS) * DAY_MS + atHour * HOUR_MS
  return today > nowMs ? today : today + DAY_MS
}

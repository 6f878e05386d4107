import { networkOf } from '../../lib/access/logins.ts'
import { hashOf } from './secrets.ts'

/**
 * Whoever makes up cookies and tokens costs a query each: after so many in a minute, what comes from his network is not
 * looked up until that minute is over, but for what was good a while ago, as colleagues may share his address.
 */

const FAILURES_MAX = 300
const WINDOW_MS = 60_000
/** Networks that are counted, and secrets that were good; the oldest go. */
const COUNTED_MAX = 20_000
const GOOD_MAX = 20_000

export class Strangers {
  readonly #failures = new Map<string, { count: number; readonly endMs: number }>()
  readonly #good = new Set<string>()

  /** Whether it is not to be looked up. */
  tooMany(address: string, secret: string, nowMs = performance.now()): boolean {
    const failures = this.#failures.get(networkOf(address))
    return (
      failures !== undefined &&
      failures.count >= FAILURES_MAX &&
      nowMs < failures.endMs &&
      !this.#good.has(keyOf(secret))
    )
  }

  failed(address: string, secret: string, nowMs = performance.now()): void {
    this.#good.delete(keyOf(secret))
    const network = networkOf(address)
    const failures = this.#failures.get(network)
    if (failures && nowMs < failures.endMs) {
      failures.count += 1
      return
    }
    this.#failures.delete(network)
    const [oldest] = this.#failures.keys()
    if (oldest !== undefined && this.#failures.size >= COUNTED_MAX) this.#failures.delete(oldest)
    this.#failures.set(network, { count: 1, endMs: nowMs + WINDOW_MS })
  }

  succeeded(secret: string): void {
    const key = keyOf(secret)
    if (this.#good.has(key)) return
    const [oldest] = this.#good
    if (oldest !== undefined && this.#good.size >= GOOD_MAX) this.#good.delete(oldest)
    this.#good.add(key)
  }
}

const keyOf = (secret: string) => hashOf(secret).toString('base64url')

import { isIPv6 } from 'node:net'
import { PasswordVerifier, type Verdict } from './passwords.ts'

/** Logins with name and password, over MQTT as over HTTP: guessing is made slow, and everybody else is let in. */

/** Of one name from one address: a device with an old password must not keep out the others that share its address. */
const FAILURES_MAX = 10
const FAILURES_PER_ADDRESS_MAX = 100
const FAILURES_WINDOW_MS = 60_000
/** Addresses, and names at addresses, that are remembered; the oldest go. */
const COUNTED_MAX = 20_000

/**
 * Counts failed logins by remote address, and by address and name. After ten (a hundred) within a minute there are no
 * more until that minute is over.
 */
export class FailedLogins {
  readonly #failures = new Map<string, { count: number; readonly endMs: number }>()

  tooMany(address: string, name: string, nowMs = performance.now()): boolean {
    const network = networkOf(address)
    const reached = (key: string, countMax: number) => {
      const failures = this.#failures.get(key)
      return failures !== undefined && failures.count >= countMax && nowMs < failures.endMs
    }
    return reached(network, FAILURES_PER_ADDRESS_MAX) || reached(atAddress(network, name), FAILURES_MAX)
  }

  add(address: string, name: string, nowMs = performance.now()): void {
    const network = networkOf(address)
    for (const key of [network, atAddress(network, name)]) this.#count(key, nowMs)
  }

  #count(key: string, nowMs: number): void {
    const failures = this.#failures.get(key)
    if (failures && nowMs < failures.endMs) {
      failures.count += 1
      return
    }
    this.#failures.delete(key)
    const [oldest] = this.#failures.keys()
    if (oldest !== undefined && this.#failures.size >= COUNTED_MAX) this.#failures.delete(oldest)
    this.#failures.set(key, { count: 1, endMs: nowMs + FAILURES_WINDOW_MS })
  }
}

/** As sent, a name may have 64 KB; no user's has more than this. */
const atAddress = (network: string, name: string) => `${network} ${name.slice(0, 200)}`

/** Who has one IPv6 address has all of its /64. */
export function networkOf(address: string): string {
  const plain = address.replace(/^::ffff:(?=\d+\.)/i, '')
  if (!isIPv6(plain)) return plain
  const [head = '', tail] = plain.replace(/%.*$/, '').split('::')
  const groups = head === '' ? [] : head.split(':')
  const rest = tail === undefined || tail === '' ? [] : tail.split(':')
  if (tail !== undefined)
    groups.push(...Array(Math.max(0, 8 - groups.length - rest.length)).fill('0'), ...rest)
  return groups
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':')
}

export interface Login {
  readonly name: string
  readonly password: Buffer
  /** What the password is compared with (lib/access/passwords.ts); undefined where there is no such user. */
  readonly secret: string | undefined
  /** Where the login comes from, as an IP address. */
  readonly address: string
}

export class Logins {
  readonly #verifier = new PasswordVerifier()
  readonly #failures = new FailedLogins()

  /** @returns busy where it was not even looked at: too many at once, or too many failures from that address */
  async check({ name, password, secret, address }: Login): Promise<Verdict> {
    if (this.#failures.tooMany(address, name)) return 'busy'
    const verdict = await this.#verifier.verify(name, secret, password)
    if (verdict === 'wrong') this.#failures.add(address, name)
    return verdict
  }

  keepOnly(names: ReadonlySet<string>): void {
    this.#verifier.keepOnly(names)
  }
}

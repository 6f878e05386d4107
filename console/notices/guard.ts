import { lookup as systemLookup } from 'node:dns'
import { Agent as HttpAgent } from 'node:http'
import { Agent as HttpsAgent } from 'node:https'
import { isIP, type LookupFunction } from 'node:net'
import { rootCertificates } from 'node:tls'
import { failure } from '../../lib/errors.ts'
import { AllowedNetworks } from '../../lib/networks.ts'

/**
 * What notices may be sent to: the internet, and what the operator's file names. Whoever may write a channel must not reach
 * through it what only this machine reaches. Each new connection resolves its host once, judges every address, and connects to
 * one of those that were judged, so that a name that answers otherwise the second time gains nothing.
 */

export type Resolve = (host: string) => Promise<readonly string[]>

/** To one host, besides; what is idle is closed. */
const CONNECTIONS_MAX = 16
const IDLE_CONNECTIONS_MAX = 4
const IDLE_MS_MAX = 10_000
/** Below, a public host has what speaks no HTTP: mail, file shares, shells. */
const FREE_PORT_MIN = 1024

export interface GuardOptions {
  /** Host names, addresses, networks. */
  readonly allow: readonly string[]
  /** PEM, beside the public authorities. */
  readonly ca?: string
  readonly resolve?: Resolve
}

export class Guard implements Disposable {
  readonly http: HttpAgent
  readonly https: HttpsAgent
  readonly #allowed: AllowedNetworks
  readonly #resolve: Resolve

  private constructor({ allow, ca, resolve = resolveBySystem }: GuardOptions) {
    this.#resolve = resolve
    this.#allowed = new AllowedNetworks(allow, { ownBy: 'any' })
    const options = {
      keepAlive: true,
      maxSockets: CONNECTIONS_MAX,
      maxFreeSockets: IDLE_CONNECTIONS_MAX,
      timeout: IDLE_MS_MAX,
      lookup: this.#lookup,
    }
    this.http = new HttpAgent(options)
    this.https = new HttpsAgent({ ...options, ...(ca !== undefined && { ca: [...rootCertificates, ca] }) })
  }

  static open(options: GuardOptions): Guard {
    return new Guard(options)
  }

  /** What can be said before a name is resolved; the rest is said as it connects. Errors: ADDRESS_NOT_ALLOWED */
  check(address: string): URL {
    const url = URL.parse(address)
    if (!url || (url.protocol !== 'http:' && url.protocol !== 'https:'))
      throw failure('ADDRESS_NOT_ALLOWED', 'Only http and https addresses can be called.')
    const host = hostOf(url)
    if (isIP(host) !== 0 && !this.#allowed.allows(host)) throw refused(host, [host])
    const port = Number(url.port || (url.protocol === 'https:' ? 443 : 80))
    if (port < FREE_PORT_MIN && port !== 80 && port !== 443 && !this.#allowed.names(host))
      throw failure(
        'ADDRESS_NOT_ALLOWED',
        `Port ${port} is not called: only 80, 443 and those from ${FREE_PORT_MIN}, unless "notices.allow" in the console's configuration names ${host}.`,
      )
    return url
  }

  /** Of a new connection: only addresses that were judged come back, and no other is connected to. */
  readonly #lookup: LookupFunction = (host, options, answer) => {
    this.#judged(host).then(
      (addresses) => {
        if (options.all) answer(null, addresses)
        else answer(null, (addresses[0] as { address: string }).address, addresses[0]?.family)
      },
      (error: unknown) => answer(error as NodeJS.ErrnoException, '', 0),
    )
  }

  async #judged(host: string): Promise<{ address: string; family: number }[]> {
    const found = await this.#resolve(host)
    const allowed = found.filter((it) => this.#allowed.allows(it, host))
    if (allowed.length === 0) throw refused(host, found)
    return allowed.map((address) => ({ address, family: isIP(address) }))
  }

  [Symbol.dispose](): void {
    this.http.destroy()
    this.https.destroy()
  }
}

const refused = (host: string, addresses: readonly string[]) =>
  failure(
    'ADDRESS_NOT_ALLOWED',
    `${host}${addresses.includes(host) ? '' : ` (${addresses.slice(0, 4).join(', ')})`} is a private address, and is not called. An operator allows it with "notices.allow" in the console's configuration.`,
  )

/** Without brackets. */
const hostOf = (url: URL) => url.hostname.replace(/^\[|\]$/g, '')

const resolveBySystem: Resolve = (host) =>
  new Promise((resolve, reject) =>
    systemLookup(host, { all: true }, (error, addresses) => {
      if (error) reject(error)
      else resolve(addresses.map(({ address }) => address))
    }),
  )

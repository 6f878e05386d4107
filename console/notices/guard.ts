import { lookup as systemLookup } from 'node:dns'
import { Agent as HttpAgent } from 'node:http'
import { Agent as HttpsAgent } from 'node:https'
import { isIP, type LookupFunction } from 'node:net'
import { rootCertificates } from 'node:tls'
import ipaddr from 'ipaddr.js'
import { failure } from '../../lib/errors.ts'

/**
 * What notices may be sent to: the internet, and what the operator's file names. Whoever may write a channel must not reach
 * through it what only this machine reaches. Each new connection resolves its host once, judges every address, and connects to
 * one of those that were judged, so that a name that answers otherwise the second time gains nothing.
 */

type Address = ReturnType<typeof ipaddr.parse>
export type Resolve = (host: string) => Promise<readonly string[]>

/** To one host, besides; what is idle is closed. */
const CONNECTIONS_MAX = 16
const IDLE_CONNECTIONS_MAX = 4
const IDLE_MS_MAX = 10_000
/** Below, a public host has what speaks no HTTP: mail, file shares, shells. */
const FREE_PORT_MIN = 1024

const HOST_PATTERN = /^(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$/i

/** Whether an entry of `notices.allow` is one. */
export const isAllowable = (entry: string) =>
  ipaddr.isValid(entry) || ipaddr.isValidCIDR(entry) || (HOST_PATTERN.test(entry) && !/^[\d.]+$/.test(entry))

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
  readonly #hosts: ReadonlySet<string>
  readonly #networks: readonly [Address, number][]
  readonly #resolve: Resolve

  private constructor({ allow, ca, resolve = resolveBySystem }: GuardOptions) {
    this.#resolve = resolve
    this.#hosts = new Set(allow.filter((it) => !isNetwork(it)).map(plainHost))
    this.#networks = allow.filter(isNetwork).map(networkOf)
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
    if (isIP(host) !== 0 && !this.allows(host)) throw refused(host, [host])
    const port = Number(url.port || (url.protocol === 'https:' ? 443 : 80))
    if (port < FREE_PORT_MIN && port !== 80 && port !== 443 && !this.#isNamed(host))
      throw failure(
        'ADDRESS_NOT_ALLOWED',
        `Port ${port} is not called: only 80, 443 and those from ${FREE_PORT_MIN}, unless "notices.allow" in the console's configuration names ${host}.`,
      )
    return url
  }

  /** An address, not a name. */
  allows(address: string): boolean {
    if (!ipaddr.isValid(address)) return false
    const parsed = ipaddr.process(address)
    return this.#isNetworkNamed(parsed) || isPublic(parsed)
  }

  #isNamed(host: string): boolean {
    return (
      this.#hosts.has(plainHost(host)) || (ipaddr.isValid(host) && this.#isNetworkNamed(ipaddr.process(host)))
    )
  }

  #isNetworkNamed(address: Address): boolean {
    return this.#networks.some(
      ([network, bits]) => network.kind() === address.kind() && address.match([network, bits]),
    )
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
    const allowed = this.#hosts.has(plainHost(host)) ? found : found.filter((it) => this.allows(it))
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

/** Reached by everybody. What embeds an IPv4 address is what that is. */
function isPublic(address: Address): boolean {
  if (address.kind() === 'ipv4') return address.range() === 'unicast'
  const it = address as ipaddr.IPv6
  // NAT64 (RFC 6052): how an IPv6-only host reaches the IPv4 internet.
  if (it.range() === 'rfc6052') return isPublic(ipaddr.fromByteArray(it.toByteArray().slice(12)))
  // 2000::/3 is what is routed at all; ranges in it that are of something else are named.
  return it.range() === 'unicast' && it.match([ipaddr.IPv6.parse('2000::'), 3])
}

const isNetwork = (entry: string) => ipaddr.isValid(entry) || ipaddr.isValidCIDR(entry)

function networkOf(entry: string): [Address, number] {
  if (ipaddr.isValidCIDR(entry)) return ipaddr.parseCIDR(entry)
  const address = ipaddr.process(entry)
  return [address, address.kind() === 'ipv4' ? 32 : 128]
}

const plainHost = (host: string) => host.toLowerCase().replace(/\.$/, '')
/** Without brackets. */
const hostOf = (url: URL) => url.hostname.replace(/^\[|\]$/g, '')

const resolveBySystem: Resolve = (host) =>
  new Promise((resolve, reject) =>
    systemLookup(host, { all: true }, (error, addresses) => {
      if (error) reject(error)
      else resolve(addresses.map(({ address }) => address))
    }),
  )

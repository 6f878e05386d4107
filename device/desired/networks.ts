import type { LookupAddress } from 'node:dns'
import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import { failure } from '../../lib/errors.ts'
import { AllowedNetworks, isHostName, plainHost } from '../../lib/networks.ts'
import { RESOLVE_MS_MAX } from '../limits.ts'

/**
 * Where a camera that the console adds, or a model that it names, may be. Addresses of the internet may be called; those of private networks only where
 * the device's own file names them, and those of this machine and of its link only where they are named themselves: the
 * console is not to look around in a network that it is not in.
 */

export interface Host {
  readonly name: string
  /** Undefined where it has to be looked up. */
  readonly address: string | undefined
}

/**
 * Whom an address calls. Of what could be read in two ways, none is taken: user and password have settings of their own.
 * @returns undefined where it is not `scheme://host[:port]/...`
 */
export function hostOf(source: string): Host | undefined {
  const [, authority = ''] = /^[a-z]+:\/\/([^/?#\s\\]+)(?:[/?#][^\s\\]*)?$/i.exec(source) ?? []
  const [, name] = /^(\[[0-9a-f:.]+\]|[^:@[\]]+)(?::\d{1,5})?$/i.exec(authority) ?? []
  if (name === undefined) return undefined
  const bare = name.replace(/^\[|\]$/g, '')
  if (isIP(bare) !== 0) return { name: bare, address: bare }
  return isHostName(bare) ? { name: plainHost(bare), address: undefined } : undefined
}

export class Networks {
  readonly #allowed: AllowedNetworks
  readonly #lookup: typeof lookup

  /** @param allowed as in `remote.desired.networks` */
  constructor(allowed: readonly string[], look: typeof lookup = lookup) {
    this.#allowed = new AllowedNetworks(allowed, { ownBy: 'own' })
    this.#lookup = look
  }

  /** What can be said of a source without asking anybody. Errors: ADDRESS_NOT_ALLOWED. */
  judge(source: string): void {
    const host = hostOf(source)
    if (!host)
      throw failure(
        'ADDRESS_NOT_ALLOWED',
        'The address must be scheme://host:port/path, without a user in it: there are username and password.',
      )
    if (host.address !== undefined && !this.#allowed.allows(host.address)) throw refused(host.name)
  }

  /** The same once its name is looked up. Errors: ADDRESS_NOT_ALLOWED, SOURCE_UNAVAILABLE. */
  async check(source: string): Promise<void> {
    this.judge(source)
    const { name, address } = hostOf(source) as Host
    if (address === undefined) await this.addressesOf(name)
  }

  /** Of a host, each of which may be called. Errors: ADDRESS_NOT_ALLOWED, SOURCE_UNAVAILABLE. */
  async addressesOf(name: string): Promise<readonly LookupAddress[]> {
    const found = await Promise.race([
      this.#lookup(name, { all: true }).catch((error: unknown) => {
        throw failure('SOURCE_UNAVAILABLE', `The host ${name} cannot be found. Check the address.`, error)
      }),
      new Promise<never>((_, reject) =>
        setTimeout(
          () => reject(failure('SOURCE_UNAVAILABLE', `Looking up ${name} took too long. Try again.`)),
          RESOLVE_MS_MAX,
        ).unref(),
      ),
    ])
    // Whichever of them is taken.
    const inside = found.find((it) => !this.#allowed.allows(it.address, name))
    if (inside) throw refused(`${name} (${inside.address})`)
    return found
  }
}

const refused = (host: string) =>
  failure(
    'ADDRESS_NOT_ALLOWED',
    `${host} is not on the internet, and this device may not be told to call it. Its own file names the private networks that it may: remote.desired.networks.`,
  )

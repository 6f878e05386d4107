import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import ipaddr from 'ipaddr.js'
import { failure } from '../../lib/errors.ts'
import { RESOLVE_MS_MAX } from '../limits.ts'

/**
 * Where a camera that the console adds may be. Addresses of the internet may be called; those of private networks only where
 * the device's own file names them, and those of this machine and of its link only where they are named themselves: the
 * console is not to look around in a network that it is not in.
 */

type Address = ReturnType<typeof ipaddr.process>
type Block = readonly [Address, number]

const HOST_PATTERN =
  /^(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*\.?$/i

/** Whether that can be said of a network: an address, a block, a host. */
export function isNetwork(text: string): boolean {
  return blockOf(text) !== undefined || (HOST_PATTERN.test(text) && !/^[\d.]+$/.test(text))
}

function blockOf(text: string): Block | undefined {
  const [, address = '', bits] = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(text) ?? []
  const version = isIP(address)
  if (version === 0) return undefined
  const bitsMax = version === 4 ? 32 : 128
  const length = bits === undefined ? bitsMax : Number(bits)
  return length <= bitsMax ? [ipaddr.parse(address), length] : undefined
}

/** This machine itself, and what is on its link without anybody having given it an address: bits of the whole range. */
const OWN_BITS: Readonly<Record<string, Readonly<Record<'ipv4' | 'ipv6', number>>>> = {
  loopback: { ipv4: 8, ipv6: 128 },
  linkLocal: { ipv4: 16, ipv6: 10 },
  unspecified: { ipv4: 32, ipv6: 128 },
}

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
  return HOST_PATTERN.test(bare)
    ? { name: bare.toLowerCase().replace(/\.$/, ''), address: undefined }
    : undefined
}

export class Networks {
  readonly #blocks: readonly Block[]
  readonly #hosts: ReadonlySet<string>
  readonly #lookup: typeof lookup

  /** @param allowed as in `remote.desired.networks` */
  constructor(allowed: readonly string[], look: typeof lookup = lookup) {
    this.#blocks = allowed.map(blockOf).filter((it) => it !== undefined)
    this.#hosts = new Set(
      allowed.filter((text) => !blockOf(text)).map((text) => text.toLowerCase().replace(/\.$/, '')),
    )
    this.#lookup = look
  }

  /** Whether an IP address may be called. @param name by which it was found */
  allows(address: string, name?: string): boolean {
    const parsed = ipaddr.process(address) // an IPv4 address in IPv6 clothes is one of IPv4
    const range = parsed.range()
    if (range === 'unicast') return true
    const isOwn = Object.hasOwn(OWN_BITS, range)
    if (name !== undefined && this.#hosts.has(name) && (!isOwn || name === 'localhost')) return true
    return this.#blocks.some(
      ([base, bits]) =>
        base.kind() === parsed.kind() &&
        parsed.match(base, bits) &&
        (!isOwn || isWithin([base, bits], range)),
    )
  }

  /** What can be said of a source without asking anybody. Errors: ADDRESS_NOT_ALLOWED. */
  judge(source: string): void {
    const host = hostOf(source)
    if (!host)
      throw failure(
        'ADDRESS_NOT_ALLOWED',
        'The address must be scheme://host:port/path, without a user in it: there are username and password.',
      )
    if (host.address !== undefined && !this.allows(host.address)) throw refused(host.name)
  }

  /** The same once its name is looked up. Errors: ADDRESS_NOT_ALLOWED, SOURCE_UNAVAILABLE. */
  async check(source: string): Promise<void> {
    this.judge(source)
    const { name, address } = hostOf(source) as Host
    if (address !== undefined) return
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
    const inside = found.find((it) => !this.allows(it.address, name))
    if (inside) throw refused(`${name} (${inside.address})`)
  }
}

/** Whether all of a block is of this range. */
function isWithin([base, bits]: Block, range: string): boolean {
  if (base.range() !== range) return false
  return bits >= (OWN_BITS[range]?.[base.kind()] ?? Number.POSITIVE_INFINITY)
}

const refused = (host: string) =>
  failure(
    'ADDRESS_NOT_ALLOWED',
    `${host} is not on the internet, and this device may not be told to call it. Its own file names the private networks that it may: remote.desired.networks.`,
  )

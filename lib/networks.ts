import { isIP } from 'node:net'
import ipaddr from 'ipaddr.js'

/**
 * Whom a program may call when somebody from afar says so: everybody's internet, and what an operator's file names. Pure: names
 * are looked up by who calls.
 */

type Address = ReturnType<typeof ipaddr.parse>
type Block = readonly [Address, number]

const HOST_PATTERN =
  /^(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*\.?$/i

/** A name, and no address, however that is written. */
export const isHostName = (text: string) => HOST_PATTERN.test(text) && !/^[\d.]+$/.test(text)

/** As names are compared. */
export const plainHost = (name: string) => name.toLowerCase().replace(/\.$/, '')

/** Whether an entry of such a list is one: an address, a block, a host. */
export const isAllowable = (entry: string) => blockOf(entry) !== undefined || isHostName(entry)

/** Reached by everybody. What embeds an IPv4 address is what that is. */
export const isPublic = (address: string) =>
  ipaddr.isValid(address) && isPublicAddress(ipaddr.process(address))

function isPublicAddress(address: Address): boolean {
  if (address.kind() === 'ipv4') return address.range() === 'unicast'
  const it = address as ipaddr.IPv6
  // NAT64 (RFC 6052): how an IPv6-only host reaches the IPv4 internet.
  if (it.range() === 'rfc6052') return isPublicAddress(ipaddr.fromByteArray(it.toByteArray().slice(12)))
  // 2000::/3 is what is routed at all; ranges in it that are of something else are named.
  return it.range() === 'unicast' && it.match([ipaddr.IPv6.parse('2000::'), 3])
}

/** This machine itself, and what is on its link without anybody having given it an address: bits of the whole range. */
const OWN_BITS: Readonly<Record<string, Readonly<Record<'ipv4' | 'ipv6', number>>>> = {
  loopback: { ipv4: 8, ipv6: 128 },
  linkLocal: { ipv4: 16, ipv6: 10 },
  unspecified: { ipv4: 32, ipv6: 128 },
}

export interface AllowedNetworksOptions {
  /**
   * What allows this machine itself and its link. `any`: what allows other addresses too. `own`: only a block that lies in their
   * range, or the name `localhost`; neither 0.0.0.0/0 nor another name.
   */
  readonly ownBy: 'any' | 'own'
}

export class AllowedNetworks {
  readonly #blocks: readonly Block[]
  readonly #hosts: ReadonlySet<string>
  readonly #ownBy: AllowedNetworksOptions['ownBy']

  /** @param entries as `isAllowable` */
  constructor(entries: readonly string[], { ownBy }: AllowedNetworksOptions) {
    this.#blocks = entries.map(blockOf).filter((it) => it !== undefined)
    this.#hosts = new Set(entries.filter((it) => !blockOf(it)).map(plainHost))
    this.#ownBy = ownBy
  }

  /** Whether an address may be called; what is none may not. @param host by which it was found */
  allows(address: string, host?: string): boolean {
    return isPublic(address) || (host !== undefined && this.#namesHost(host, address)) || this.names(address)
  }

  /** Whether the list names it: a host, or an address by a block. */
  names(host: string): boolean {
    if (!ipaddr.isValid(host)) return this.#hosts.has(plainHost(host))
    const address = ipaddr.process(host) // an IPv4 address in IPv6 clothes is one of IPv4
    const isFree = this.#ownBy === 'any' || !isOwn(address)
    return this.#blocks.some((block) => isIn(address, block) && (isFree || isWithin(block, address.range())))
  }

  #namesHost(host: string, address: string): boolean {
    if (!ipaddr.isValid(address) || !this.#hosts.has(plainHost(host))) return false
    return this.#ownBy === 'any' || plainHost(host) === 'localhost' || !isOwn(ipaddr.process(address))
  }
}

function blockOf(text: string): Block | undefined {
  const [, written = '', bits] = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(text) ?? []
  if (isIP(written) === 0) return undefined
  const address = bits === undefined ? ipaddr.process(written) : ipaddr.parse(written)
  const bitsMax = address.kind() === 'ipv4' ? 32 : 128
  const length = bits === undefined ? bitsMax : Number(bits)
  return length <= bitsMax ? [address, length] : undefined
}

const isIn = (address: Address, [base, bits]: Block) =>
  base.kind() === address.kind() && address.match(base, bits)

const isOwn = (address: Address) => Object.hasOwn(OWN_BITS, address.range())

/** Whether all of a block is of this range. */
const isWithin = ([base, bits]: Block, range: string) =>
  base.range() === range && bits >= (OWN_BITS[range]?.[base.kind()] ?? Number.POSITIVE_INFINITY)

import { createHash, createHmac, timingSafeEqual } from 'node:crypto'

/** What OpenSSH's known_hosts files say of a host (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"). Pure. */

export interface KnownHost {
  /** `|1|salt|hash`, or names and patterns with commas between them. */
  readonly hosts: string
  readonly revoked: boolean
  /** Such as ssh-ed25519. */
  readonly type: string
  readonly key: Buffer
}

/** `changed`: another key of that kind is known. */
export type Verdict = 'known' | 'unknown' | 'changed' | 'revoked'

/** Lines that say nothing of plain host keys (comments, certificate authorities, broken ones) are passed over. */
export function parseKnownHosts(text: string): KnownHost[] {
  return text.split('\n').flatMap((line) => {
    const words = line.trim().split(/\s+/)
    const marker = words[0]?.startsWith('@') ? words.shift() : undefined
    const [hosts, type, base64] = words
    if (!hosts || hosts.startsWith('#') || !type || !base64) return []
    if (marker !== undefined && marker !== '@revoked') return []
    return [{ hosts, revoked: marker === '@revoked', type, key: Buffer.from(base64, 'base64') }]
  })
}

/** @param key as it comes over the wire (RFC 4253, 6.6): its kind first */
export function judgeHostKey(
  known: readonly KnownHost[],
  address: { readonly host: string; readonly port: number },
  key: Buffer,
): Verdict {
  const about = known.filter(({ hosts }) => names(hosts, nameOf(address)))
  if (about.some((it) => it.revoked && it.key.equals(key))) return 'revoked'
  const valid = about.filter((it) => !it.revoked)
  if (valid.some((it) => it.key.equals(key))) return 'known'
  const type = typeOf(key)
  return valid.some((it) => it.type === type) ? 'changed' : 'unknown'
}

/** The kinds of keys that are known of a host: those are what to ask it for. */
export function knownTypes(
  known: readonly KnownHost[],
  address: { readonly host: string; readonly port: number },
): string[] {
  const types = known.filter((it) => !it.revoked && names(it.hosts, nameOf(address))).map(({ type }) => type)
  return [...new Set(types)]
}

/** As `ssh-keygen -l` shows it. */
export function fingerprint(key: Buffer): string {
  return `SHA256:${createHash('sha256').update(key).digest('base64').replace(/=+$/, '')}`
}

export function typeOf(key: Buffer): string {
  if (key.length < 4) return ''
  return key.subarray(4, 4 + key.readUInt32BE(0)).toString('latin1')
}

function nameOf({ host, port }: { readonly host: string; readonly port: number }): string {
  const name = host.toLowerCase()
  return port === 22 ? name : `[${name}]:${port}`
}

function names(hosts: string, name: string): boolean {
  if (hosts.startsWith('|')) {
    const [, version, salt, hash] = hosts.split('|')
    if (version !== '1' || !salt || !hash) return false
    const expected = Buffer.from(hash, 'base64')
    const actual = createHmac('sha1', Buffer.from(salt, 'base64')).update(name).digest()
    return expected.length === actual.length && timingSafeEqual(expected, actual)
  }
  const patterns = hosts.split(',')
  if (patterns.some((it) => it.startsWith('!') && fits(it.slice(1), name))) return false
  return patterns.some((it) => !it.startsWith('!') && fits(it, name))
}

function fits(pattern: string, name: string): boolean {
  const source = pattern
    .toLowerCase()
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.')
  return new RegExp(`^${source}$`).test(name)
}

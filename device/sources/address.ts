import { readSecret } from '../../lib/config.ts'

/** What a camera's `source` says, without looking at the world. */

export type Kind = 'testcard' | 'stream' | 'camera' | 'still' | 'pushed' | 'path'

/** The test card where faces get lost. */
export const CROSSINGS = 'testcard:crossings'
export const STILL = 'still:'
/** A stream that comes to the device, with its name. */
export const PUSHED = 'push:'

export function kindOf(source: string): Kind {
  if (source === 'testcard' || source === CROSSINGS) return 'testcard'
  if (/^(rtsps?|rtmps?|https?):\/\//i.test(source)) return 'stream'
  if (/^\/dev\/video\d+$|^\/dev\/v4l\//.test(source)) return 'camera'
  if (source.startsWith(STILL)) return 'still'
  if (source.startsWith(PUSHED)) return 'pushed'
  return 'path'
}

/** A camera's user and password: into the address when it is opened, and nowhere else. */
export interface Credentials {
  readonly username?: string
  readonly password?: string
  readonly passwordFile?: string
}

/** Scheme, user and password with the @, and the rest. */
interface Parts {
  readonly scheme: string
  readonly user: string
  readonly rest: string
}

/**
 * A password with a slash in it, not written as %2F, would pass for a part of the path: then everything up to the last @
 * counts as user and password. Better a name that says too little.
 */
function split(address: string): Parts | undefined {
  const scheme = /^[a-z][a-z0-9+.-]*:\/\//i.exec(address)?.[0]
  if (scheme === undefined) return undefined
  const after = address.slice(scheme.length)
  const authority = /^[^/?#]*/.exec(after)?.[0] ?? ''
  const isPlain = /^(\[[^\]]*\]|[^:@]*)(:\d*)?$/.test(authority)
  const at = isPlain ? -1 : authority.includes('@') ? authority.lastIndexOf('@') : after.lastIndexOf('@')
  return { scheme, user: after.slice(0, at + 1), rest: after.slice(at + 1) }
}

/** The source's name for people: without user and password, and without the query, which may hold a token. */
export function nameOf(source: string): string {
  const parts = split(source)
  if (!parts) return source
  return (parts.scheme + parts.rest).replace(/\?[^#]*/, '')
}

/** Whether an address has a user or a password in it. */
export function hasCredentials(source: string): boolean {
  return (split(source)?.user.length ?? 0) > 1
}

/** The address to open. Errors: CONFIG_NOT_FOUND, where the password's file cannot be read. */
export function addressOf(source: string, owner: string, credentials: Credentials): string {
  const { username } = credentials
  const parts = split(source)
  if (username === undefined || !parts) return source
  const password = readSecret(owner, credentials)
  const user = [username, ...(password === undefined ? [] : [password])].map(encode).join(':')
  return `${parts.scheme}${user}@${parts.rest}`
}

/** A text of FFmpeg's, without what it may have put into it: addresses with passwords. */
export function scrub(text: string): string {
  return text.replace(/[a-z][a-z0-9+.-]*:\/\/[^\s'"<>]+/gi, nameOf)
}

/** Also what encodeURIComponent leaves: a quote would end the address in a message of FFmpeg's. */
const encode = (text: string) =>
  encodeURIComponent(text).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  )

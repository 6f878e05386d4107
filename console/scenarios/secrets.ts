import { SECRET } from '../notices/channel.ts'
import type { DocumentKind } from './documents.ts'

/**
 * Secrets in documents: passwords of cameras, what signs and opens a channel. They are kept with the document alone; its
 * revisions, answers and the audit log have SECRET in their place. Pure.
 */

const NAMES: Readonly<Record<DocumentKind, ReadonlySet<string>>> = {
  scenario: new Set(),
  device: new Set(['password']),
  channel: new Set(['secret', 'token']),
}
/** Fields that are addresses, in which there may be a secret. */
const ADDRESSES: Readonly<Record<DocumentKind, ReadonlySet<string>>> = {
  scenario: new Set(),
  device: new Set(['source']),
  channel: new Set(['url']),
}

/** The document with SECRET in place of each secret. */
export function masked<Document>(kind: DocumentKind, document: Document): Document {
  return walk(kind, document, '') as Document
}

/**
 * What was sent, with the secrets of `current` where SECRET stands in their place.
 * @returns the document, and where there is no secret to put back
 */
export function unmasked<Document>(
  kind: DocumentKind,
  sent: Document,
  current: unknown,
): { readonly document: Document; readonly missing: readonly string[] } {
  const missing: string[] = []
  const restore = (value: unknown, was: unknown, path: readonly string[], elsewhere = false): unknown => {
    const field = path.at(-1) ?? ''
    if (typeof value === 'string' && isMasked(kind, field, value)) {
      const isThere = typeof was === 'string' && !was.includes(SECRET) && hidden(kind, field, was) === value
      // A secret does not go to another host than the one that it was given for. One that signs does not go anywhere.
      if (isThere && (!elsewhere || field === 'secret')) return was
      missing.push(path.join('.'))
      return value
    }
    if (Array.isArray(value))
      return value.map((item, n) =>
        restore(item, Array.isArray(was) ? was[n] : undefined, [...path, String(n)]),
      )
    if (typeof value !== 'object' || value === null) return value
    const moved = [...ADDRESSES[kind]].some(
      (name) => hostOf(fieldOf(value, name)) !== hostOf(fieldOf(was, name)),
    )
    return Object.fromEntries(
      Object.entries(value).map(([name, item]) => [
        name,
        restore(item, fieldOf(was, name), [...path, name], moved),
      ]),
    )
  }
  return { document: restore(sent, current, []) as Document, missing }
}

function walk(kind: DocumentKind, value: unknown, field: string): unknown {
  if (typeof value === 'string') return hidden(kind, field, value)
  if (Array.isArray(value)) return value.map((item) => walk(kind, item, ''))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, walk(kind, item, name)]))
}

function hidden(kind: DocumentKind, field: string, value: string): string {
  if (NAMES[kind].has(field)) return SECRET
  return ADDRESSES[kind].has(field) ? hiddenAddress(kind, value) : value
}

const isMasked = (kind: DocumentKind, field: string, value: string) =>
  (NAMES[kind].has(field) || ADDRESSES[kind].has(field)) && value.includes(SECRET)

/** Of a camera the password; of a channel all that is behind the host, which is what lets anybody send (Slack, Discord). */
function hiddenAddress(kind: DocumentKind, address: string): string {
  const [, scheme = '', user = '', host = '', rest = ''] =
    /^([a-z][a-z0-9+.-]*:\/\/)(?:([^/?#]*)@)?([^/?#@]*)(.*)$/is.exec(address) ?? []
  if (scheme === '') return SECRET
  const isChannel = kind === 'channel'
  const who = user === '' ? '' : `${isChannel ? SECRET : user.replace(/:.*$/s, `:${SECRET}`)}@`
  const behind =
    isChannel && rest.length > 1 ? `/${SECRET}` : isChannel ? rest : rest.replace(/\?.*$/s, `?${SECRET}`)
  return `${scheme}${who}${host}${behind}`
}

/** Whom it calls, and how: as whoever calls it reads it, not as it looks. */
function hostOf(address: unknown): string | undefined {
  if (typeof address !== 'string') return undefined
  const url = URL.parse(address)
  return url ? `${url.protocol}//${url.host}` : address
}

const fieldOf = (value: unknown, name: string): unknown =>
  typeof value === 'object' && value !== null && Object.hasOwn(value, name)
    ? (value as Record<string, unknown>)[name]
    : undefined

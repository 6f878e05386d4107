import { failure } from '../errors.ts'

/** S3's own limit for a key; every file system of ours takes 255 bytes a part. */
const KEY_BYTES_MAX = 1024
/** No empty part, no leading dot (so no `.`, no `..`, nothing hidden), nothing that needs escaping anywhere. */
const KEY_PATTERN = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}(?:\/[A-Za-z0-9_-][A-Za-z0-9._-]{0,254})*$/

/** True for a key that is safe as a path below a folder, as an S3 key and as a part of a URL. */
export function isKey(text: string): boolean {
  return text.length <= KEY_BYTES_MAX && KEY_PATTERN.test(text)
}

/** Our own code makes the keys; this is the second lock on the door. Errors: NAME_INVALID. */
export function assertKey(key: string): void {
  if (isKey(key)) return
  throw failure(
    'NAME_INVALID',
    `Invalid object key ${JSON.stringify(key.slice(0, 200))}: use parts of letters, digits, dot, dash and underscore, ` +
      'joined by single slashes, none starting with a dot.',
  )
}

/** A prefix is nothing, a key, or a key and a slash. Errors: NAME_INVALID. */
export function assertPrefix(prefix: string): void {
  if (prefix !== '') assertKey(prefix.replace(/\/$/, ''))
}

/** The address of an object below a base address, whether or not that ends with a slash. */
export function objectUrl(base: string, key: string): string {
  assertKey(key)
  return `${base.replace(/\/+$/, '')}/${key}`
}

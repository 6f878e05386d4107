import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { linkSync, mkdirSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Bucket, isPrivate } from '../lib/buckets/bucket.ts'
import { failure, systemCode } from '../lib/errors.ts'

/**
 * Addresses that open one crop or one clip, without a login, until they expire:
 * `<address>/<key>?expires=<unix seconds>&signature=<HMAC-SHA256 of both, base64url>`. Nothing is kept of them; whoever
 * deletes the file with the key (and starts the subscriber again) ends them all.
 */

/** As long as S3 allows, for both kinds of bucket. */
export const LINK_MS_MAX = 7 * 24 * 3_600_000
const FILE = 'link.key'
const KEY_BYTES = 32

export interface LinkQuery {
  readonly expires?: unknown
  readonly signature?: unknown
}
export type LinkState =
  | { readonly is: 'none' | 'wrong' | 'expired' }
  | { readonly is: 'valid'; readonly leftS: number }

export class SignedLinks {
  readonly #secret: Buffer

  private constructor(secret: Buffer) {
    this.#secret = secret
  }

  /**
   * Reads the key, or makes one that only this user may read. Errors: FOLDER_UNWRITABLE, CONFIG_INVALID.
   * @param folder the inbox's
   */
  static open(folder: string): SignedLinks {
    const path = join(folder, FILE)
    let secret: Buffer
    try {
      secret = readKey(path) ?? makeKey(folder, path)
    } catch (error) {
      throw failure(
        'FOLDER_UNWRITABLE',
        `The key of signed links, ${path}, cannot be read or made (${systemCode(error)}). Run this as the user that the subscriber runs as.`,
        error,
      )
    }
    if (secret.length !== KEY_BYTES)
      throw failure(
        'CONFIG_INVALID',
        `Invalid key of signed links: ${path}. Delete it: a new one is made; earlier links stop working.`,
      )
    return new SignedLinks(secret)
  }

  /** What follows the address of an object: `?expires=...&signature=...` */
  sign(key: string, expiresAtMs: number): string {
    const expires = String(Math.floor(expiresAtMs / 1000))
    return `?expires=${expires}&signature=${this.#signature(key, expires).toString('base64url')}`
  }

  /** What a request for an object shows: no signature at all, one of ours and still good, or another. */
  check(key: string, { expires, signature }: LinkQuery, nowMs: number): LinkState {
    if (expires === undefined && signature === undefined) return { is: 'none' }
    if (typeof expires !== 'string' || typeof signature !== 'string' || !/^\d{1,12}$/.test(expires))
      return { is: 'wrong' }
    const shown = Buffer.from(signature, 'base64url')
    const right = this.#signature(key, expires)
    if (shown.length !== right.length || !timingSafeEqual(shown, right)) return { is: 'wrong' }
    const leftS = Number(expires) - Math.floor(nowMs / 1000)
    return leftS > 0 ? { is: 'valid', leftS } : { is: 'expired' }
  }

  #signature(key: string, expires: string): Buffer {
    return createHmac('sha256', this.#secret).update(`${key}\n${expires}`).digest()
  }
}

/**
 * The address under which an object can be opened for so long; of a crop in a public bucket the plain one, which always can.
 * @param links of a folder's objects. Errors: those of the bucket
 */
export async function openingAddress(
  bucket: Pick<Bucket, 'url' | 'signedUrl'>,
  key: string,
  forMs: number,
  { publicRead, links }: { readonly publicRead: boolean; readonly links: () => SignedLinks },
): Promise<{ readonly address: string; readonly expires: boolean }> {
  if (publicRead && !isPrivate(key)) return { address: bucket.url(key), expires: false }
  const address = bucket.signedUrl
    ? await bucket.signedUrl(key, Math.floor(forMs / 1000))
    : bucket.url(key) + links().sign(key, Date.now() + forMs)
  return { address, expires: true }
}

function readKey(path: string): Buffer | undefined {
  try {
    return readFileSync(path)
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined
    throw error
  }
}

/** Under another name first: whoever else looks meanwhile sees a whole key or none. The first to link it wins. */
function makeKey(folder: string, path: string): Buffer {
  mkdirSync(folder, { recursive: true })
  const temporary = `${path}.${process.pid}-${randomBytes(4).toString('hex')}`
  writeFileSync(temporary, randomBytes(KEY_BYTES), { mode: 0o600, flag: 'wx', flush: true })
  try {
    linkSync(temporary, path)
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw error
  } finally {
    unlinkSync(temporary)
  }
  return readFileSync(path)
}

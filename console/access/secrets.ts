import { createHash, randomBytes } from 'node:crypto'

/** Sessions, tokens and shares are known by a secret that nobody can guess; only its hash is kept. */

const SECRET_BYTES = 32

/** 43 characters of A-Z, a-z, 0-9, dash and underscore. */
export function newSecret(): string {
  return randomBytes(SECRET_BYTES).toString('base64url')
}

/**
 * SHA-256. Looking a hash up tells by its time nothing of a secret; and what is random in 256 bits needs no slow hash.
 */
export function hashOf(secret: string): Buffer {
  return createHash('sha256').update(secret).digest()
}

import { scryptSync } from 'node:crypto'

const SALT = Buffer.from('salt of the tests')
const text = (bytes: Buffer) => bytes.toString('base64').replace(/=+$/, '')

/** A password's hash as in a users file, at the lowest cost that is taken: 2 ms instead of 100. */
export function cheapHash(password: string, ln = 10): string {
  const hash = scryptSync(password, SALT, 32, { N: 2 ** ln, r: 8, p: 1, maxmem: 2 ** ln * 2048 })
  return `$scrypt$ln=${ln},r=8,p=1$${text(SALT)}$${text(hash)}`
}

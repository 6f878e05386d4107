import { createHmac, randomBytes, type ScryptOptions, scrypt, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'
import { failure } from '../errors.ts'

/**
 * Passwords are kept as scrypt hashes in the PHC string format: `$scrypt$ln=15,r=8,p=1$<salt>$<hash>`, base64 without
 * padding. N is 2^ln; a hash takes 128 * N * r bytes of memory while it is computed (RFC 7914), here 32 MiB.
 */

const LN = 15
const R = 8
const P = 1
const SALT_BYTES = 16
const HASH_BYTES = 32

/** Of the parameters that are read back: a hash that somebody else wrote must not take more than this. */
const SCRYPT_BYTES_MAX = 64 * 1024 * 1024
const LN_MIN = 10
const LN_MAX = 20
const R_MAX = 32
const P_MAX = 4

/** Longer ones are no passwords. */
export const PASSWORD_BYTES_MAX = 1024

const PHC_PATTERN =
  /^\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d)\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{22,86})$/
export const PHC_PREFIX = '$scrypt$'

const derive = promisify<string | Buffer, Buffer, number, ScryptOptions, Buffer>(scrypt)

interface ScryptHash {
  readonly ln: number
  readonly r: number
  readonly p: number
  readonly salt: Buffer
  readonly hash: Buffer
}

function parseHash(text: string): ScryptHash | undefined {
  const match = PHC_PATTERN.exec(text)
  if (!match) return undefined
  const [ln, r, p] = [Number(match[1]), Number(match[2]), Number(match[3])]
  if (ln < LN_MIN || ln > LN_MAX || r < 1 || r > R_MAX || p < 1 || p > P_MAX) return undefined
  if (128 * 2 ** ln * r > SCRYPT_BYTES_MAX) return undefined
  const salt = Buffer.from(match[4] as string, 'base64')
  return { ln, r, p, salt, hash: Buffer.from(match[5] as string, 'base64') }
}

/** True for a hash that is well formed and affordable. */
export function isPasswordHash(text: string): boolean {
  return parseHash(text) !== undefined
}

function scryptOf(password: Buffer, { ln, r, p, salt, hash }: ScryptHash): Promise<Buffer> {
  // OpenSSL's own count is somewhat above 128 * N * r.
  const maxmem = 128 * r * (2 ** ln + p + 2) + 1024
  return derive(password, salt, hash.length, { N: 2 ** ln, r, p, maxmem })
}

/** Takes a tenth of a second and 32 MiB. Errors: USAGE for a password that is empty or too long. */
export async function hashPassword(password: string): Promise<string> {
  const bytes = Buffer.from(password)
  if (bytes.length === 0 || bytes.length > PASSWORD_BYTES_MAX)
    throw failure('USAGE', `A password must have 1 to ${PASSWORD_BYTES_MAX} bytes.`)
  const salt = randomBytes(SALT_BYTES)
  const hash = await scryptOf(bytes, { ln: LN, r: R, p: P, salt, hash: Buffer.alloc(HASH_BYTES) })
  return `${PHC_PREFIX}ln=${LN},r=${R},p=${P}$${unpadded(salt)}$${unpadded(hash)}`
}

const unpadded = (bytes: Buffer) => bytes.toString('base64').replace(/=+$/, '')

/** What a password for a user that does not exist is compared with. */
const NOBODY: ScryptHash = {
  ln: LN,
  r: R,
  p: P,
  salt: randomBytes(SALT_BYTES),
  hash: randomBytes(HASH_BYTES),
}

/** In this process, whoever asks: each takes a core and 32 MiB. */
const SCRYPTS_AT_ONCE_MAX = 2
/** On a slow machine (0.3 s each) the last of them waits for 5 s, half of what clients wait for a broker's answer. */
const SCRYPTS_WAITING_MAX = 32

let scrypts = 0
const waiting: (() => void)[] = []

async function inTurn<T>(work: () => Promise<T>): Promise<T> {
  if (scrypts < SCRYPTS_AT_ONCE_MAX) scrypts += 1
  else await new Promise<void>((resolve) => waiting.push(resolve))
  try {
    return await work()
  } finally {
    const next = waiting.shift() // which takes this one's place
    if (next) next()
    else scrypts -= 1
  }
}

export type Verdict = 'right' | 'wrong' | 'busy'

/**
 * Verifies passwords. It remembers, by user, a digest of the password that was right last (under a key that only this
 * process has): a thousand devices that come back after a network failure must not cost a thousand scrypts.
 */
export class PasswordVerifier {
  readonly #key = randomBytes(32)
  readonly #remembered = new Map<string, Buffer>()
  /** The same question, asked again while it is being answered. */
  readonly #underway = new Map<string, Promise<Verdict>>()

  /**
   * Takes as long for a user that does not exist, or has no password, as for one with another password.
   * @param secret a hash, or (of a configuration that holds one) a password in plain text; undefined where there is none
   */
  async verify(name: string, secret: string | undefined, password: Buffer): Promise<Verdict> {
    if (password.length > PASSWORD_BYTES_MAX) return 'wrong'
    const digest = this.#digest(name, secret, password)
    const stored = secret === undefined ? undefined : parseHash(secret)
    const right =
      secret === undefined || stored
        ? this.#remembered.get(name)
        : this.#digest(name, secret, Buffer.from(secret))
    if (right && timingSafeEqual(right, digest)) return 'right'
    const question = digest.toString('base64')
    let answer = this.#underway.get(question)
    if (!answer) {
      if (scrypts >= SCRYPTS_AT_ONCE_MAX && waiting.length >= SCRYPTS_WAITING_MAX) return 'busy'
      answer = this.#compare(name, stored, digest, password).finally(() => this.#underway.delete(question))
      this.#underway.set(question, answer)
    }
    return answer
  }

  /** Forgets everybody else. */
  keepOnly(names: ReadonlySet<string>): void {
    for (const name of this.#remembered.keys()) if (!names.has(name)) this.#remembered.delete(name)
  }

  async #compare(
    name: string,
    stored: ScryptHash | undefined,
    digest: Buffer,
    password: Buffer,
  ): Promise<Verdict> {
    const against = stored ?? NOBODY
    let hash: Buffer
    try {
      hash = await inTurn(() => scryptOf(password, against))
    } catch {
      return 'busy' // its parameters are known to be good: what is missing is memory
    }
    if (!timingSafeEqual(hash, against.hash) || !stored) return 'wrong'
    this.#remembered.set(name, digest)
    return 'right'
  }

  /** Of all three, so that a changed secret makes what was remembered worthless. */
  #digest(name: string, secret: string | undefined, password: Buffer): Buffer {
    return createHmac('sha256', this.#key)
      .update(`${JSON.stringify([name, secret ?? null])}\n`)
      .update(password)
      .digest()
  }
}

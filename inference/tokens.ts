import { createHash, timingSafeEqual } from 'node:crypto'
import { FailedLogins } from '../lib/access/logins.ts'
import { readNamedFile } from '../lib/config.ts'
import { failure } from '../lib/errors.ts'
import { type InferenceConfig, TOKEN_PATTERN, TOKEN_UNITS_MAX, TOKEN_UNITS_MIN } from './config.ts'
import { Refusal } from './refusal.ts'

const digest = (token: string) => createHash('sha256').update(token).digest()

/** Who may ask: whoever shows one of the tokens, or everybody, where there are none. */
export class Tokens {
  readonly #digests: readonly Buffer[]
  readonly #failures = new FailedLogins()

  constructor(tokens: readonly string[]) {
    this.#digests = tokens.map(digest)
  }

  /** One a line; empty lines, and those that begin with #, say nothing. Errors: CONFIG_INVALID. */
  static read({ tokens, tokensFile }: Pick<InferenceConfig, 'tokens' | 'tokensFile'>): Tokens {
    const lines = (readNamedFile(tokensFile, 'tokensFile')?.toString('utf8') ?? '').split(/\r?\n/)
    const listed: string[] = []
    for (const [index, line] of lines.entries()) {
      const token = line.trim()
      if (token === '' || token.startsWith('#')) continue
      if (token.length < TOKEN_UNITS_MIN || token.length > TOKEN_UNITS_MAX || !TOKEN_PATTERN.test(token))
        throw failure(
          'CONFIG_INVALID',
          `${tokensFile}:${index + 1}: a token must be ${TOKEN_UNITS_MIN} to ${TOKEN_UNITS_MAX} letters, digits and signs, without spaces.`,
        )
      listed.push(token)
    }
    if (tokensFile !== undefined && listed.length === 0)
      throw failure('CONFIG_INVALID', `The file ${tokensFile}, named by tokensFile, has no token.`)
    return new Tokens([...tokens, ...listed])
  }

  /**
   * @param authorization the header: `Bearer TOKEN`
   * @param address of the client
   * Errors: Refusal (stranger; tooManyFailures, also of a token that is right)
   */
  check(authorization: string | undefined, address: string): void {
    if (this.#digests.length === 0) return
    const token = /^Bearer +(\S+)$/i.exec(authorization ?? '')?.[1]
    if (token === undefined)
      throw new Refusal('stranger', 'A token is needed: "Authorization: Bearer TOKEN".')
    const shown = digest(token)
    // A client with an old token does not keep out the others that share its address.
    const name = shown.toString('base64url')
    if (this.#failures.tooMany(address, name))
      throw new Refusal('tooManyFailures', 'Too many wrong tokens. Wait a minute.', 60)
    let isKnown = false
    // All of them, so that the time tells nothing.
    for (const known of this.#digests) if (timingSafeEqual(known, shown)) isKnown = true
    if (isKnown) return
    this.#failures.add(address, name)
    throw new Refusal('stranger', 'The token is not known here.')
  }
}

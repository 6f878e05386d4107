import { createHash, timingSafeEqual } from 'node:crypto'
import { statSync } from 'node:fs'
import { FailedLogins } from '../lib/access/logins.ts'
import { readNamedFile } from '../lib/config.ts'
import { asFailure, failure } from '../lib/errors.ts'
import type { Log } from '../lib/log.ts'
import { type InferenceConfig, TOKEN_PATTERN, TOKEN_UNITS_MAX, TOKEN_UNITS_MIN } from './config.ts'
import { TOKENS_LOOK_MS } from './limits.ts'
import { Refusal } from './refusal.ts'

const digest = (token: string) => createHash('sha256').update(token).digest()

type Named = Pick<InferenceConfig, 'tokens' | 'tokensFile'>

/** Who may ask: whoever shows one of the tokens, or everybody, where there are none. */
export class Tokens {
  readonly #named: Named
  readonly #log: Log | undefined
  readonly #failures = new FailedLogins()
  #digests: readonly Buffer[]
  /** Of the file when it was last looked at. */
  #seen: string
  #lookedMs = performance.now()

  private constructor(named: Named, log: Log | undefined) {
    this.#named = named
    this.#log = log
    this.#seen = stateOf(named)
    this.#digests = read(named)
  }

  /**
   * Of the file one a line; empty lines, and those that begin with #, say nothing. It is read again once it has changed; one that
   * cannot be used then stays as it was. Errors: CONFIG_INVALID.
   */
  static read(named: Named, log?: Log): Tokens {
    return new Tokens(named, log)
  }

  #look(): void {
    if (this.#named.tokensFile === undefined || performance.now() - this.#lookedMs < TOKENS_LOOK_MS) return
    this.#lookedMs = performance.now()
    const state = stateOf(this.#named) // before it is read: what changes meanwhile is seen the next time
    if (state === this.#seen) return
    this.#seen = state
    try {
      this.#digests = read(this.#named)
      this.#log?.info({ tokens: this.#digests.length }, 'the tokens have changed')
    } catch (error) {
      const { code, message } = asFailure(error)
      this.#log?.error({ code }, `${message} The tokens from before stay in use.`)
    }
  }

  /**
   * @param authorization the header: `Bearer TOKEN`
   * @param address of the client
   * Errors: Refusal (stranger; tooManyFailures, also of a token that is right)
   */
  check(authorization: string | undefined, address: string): void {
    this.#look()
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

/** Errors: CONFIG_INVALID. */
function read({ tokens, tokensFile }: Named): readonly Buffer[] {
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
  // Without any, everybody could ask.
  if (tokensFile !== undefined && listed.length === 0)
    throw failure('CONFIG_INVALID', `The file ${tokensFile}, named by tokensFile, has no token.`)
  return [...tokens, ...listed].map(digest)
}

/** Different once the file was written or replaced. */
function stateOf({ tokensFile }: Named): string {
  if (tokensFile === undefined) return ''
  const found = statSync(tokensFile, { throwIfNoEntry: false })
  return found ? `${found.mtimeMs} ${found.size} ${found.ino}` : '-' // reading it says what is wrong
}

import type { Kysely } from 'kysely'
import { failure } from '../../lib/errors.ts'
import { newId } from '../../wire/id.ts'
import type { AccessTables, TokenTable } from '../database/access-tables.ts'
import { may, type Person, RIGHTS, type Right } from './may.ts'
import { covers, type Narrowing } from './scope.ts'
import { hashOf, newSecret } from './secrets.ts'

/** For programs: what a person may, or less, until a day. */

/** So that whoever finds one (a scanner of repositories, say) knows what it is. */
export const TOKEN_PREFIX = 'slt_'
const TOKENS_PER_USER_MAX = 100
/** More often nobody writes down that a token was used. */
const USED_INTERVAL_MS = 60_000

export interface Token extends Narrowing {
  readonly id: string
  readonly user: string
  readonly name: string
  readonly rights: readonly Right[]
  readonly createdAtMs: number
  readonly expiresAtMs: number
  readonly usedAtMs: number | undefined
}

export interface NewToken extends Narrowing {
  readonly name: string
  readonly rights: readonly Right[]
  readonly expiresInMs: number
}

export interface TokensOptions {
  readonly db: Kysely<AccessTables>
  readonly ageMsMax: number
  readonly complain: (error: unknown) => void
  readonly now: () => number
}

export class Tokens {
  readonly #options: TokensOptions

  constructor(options: TokensOptions) {
    this.#options = options
  }

  /**
   * @returns the token's own text as well: it is kept nowhere
   *   Errors: NOT_ALLOWED (more than the person has), TOO_MANY, USAGE (it would last too long)
   */
  async create(person: Person, wanted: NewToken): Promise<{ token: Token; secret: string }> {
    const { db, ageMsMax } = this.#options
    const more = wanted.rights.find((right) => !may(person, right))
    if (more !== undefined)
      throw failure('NOT_ALLOWED', `You do not have the right "${more}" yourself, so no token can get it.`)
    if (!covers(person.scope, wanted))
      throw failure('NOT_ALLOWED', 'Some of these sites or cameras you do not see yourself.')
    if (wanted.expiresInMs > ageMsMax)
      throw failure('USAGE', `A token lasts ${Math.floor(ageMsMax / 86_400_000)} days at most.`)
    const own = await this.list(person.name)
    if (own.length >= TOKENS_PER_USER_MAX)
      throw failure('TOO_MANY', `You have ${own.length} tokens, which is the most. Revoke one first.`)
    const secret = `${TOKEN_PREFIX}${newSecret()}`
    const nowMs = this.#options.now()
    const row: TokenTable = {
      id: newId(),
      hash: hashOf(secret),
      user_name: person.name,
      name: wanted.name,
      rights: JSON.stringify(RIGHTS.filter((right) => wanted.rights.includes(right))),
      sites: wanted.sites === undefined ? null : JSON.stringify(wanted.sites),
      cameras: wanted.cameras === undefined ? null : JSON.stringify(wanted.cameras),
      created_at_ms: nowMs,
      expires_at_ms: nowMs + wanted.expiresInMs,
      used_at_ms: null,
    }
    await db.insertInto('tokens').values(row).execute()
    return { token: tokenOf(row), secret }
  }

  /** @returns undefined for one that is unknown, revoked or expired */
  async find(secret: string): Promise<Token | undefined> {
    if (!secret.startsWith(TOKEN_PREFIX)) return undefined
    return this.#valid('hash', hashOf(secret), true)
  }

  async byId(id: string): Promise<Token | undefined> {
    return this.#valid('id', id, false)
  }

  async #valid(column: 'hash' | 'id', value: string, isUse: boolean): Promise<Token | undefined> {
    const { db, complain } = this.#options
    const row = await db.selectFrom('tokens').selectAll().where(column, '=', value).executeTakeFirst()
    const nowMs = this.#options.now()
    if (!row || nowMs >= row.expires_at_ms) return undefined
    if (isUse && (row.used_at_ms === null || nowMs >= row.used_at_ms + USED_INTERVAL_MS))
      await db.updateTable('tokens').set({ used_at_ms: nowMs }).where('id', '=', row.id).execute().catch(complain)
    return tokenOf(row)
  }

  /** @param user undefined: everybody's. The newest first. */
  async list(user: string | undefined): Promise<Token[]> {
    let query = this.#options.db.selectFrom('tokens').selectAll().orderBy('id', 'desc')
    if (user !== undefined) query = query.where('user_name', '=', user)
    return (await query.execute()).map(tokenOf)
  }

  /** @param user whose it must be; undefined: anybody's. @returns it; undefined where there is no such token */
  async revoke(id: string, user: string | undefined): Promise<Token | undefined> {
    let query = this.#options.db.deleteFrom('tokens').where('id', '=', id)
    if (user !== undefined) query = query.where('user_name', '=', user)
    const row = await query.returningAll().executeTakeFirst()
    return row && tokenOf(row)
  }

  async revokeAllOf(user: string): Promise<void> {
    await this.#options.db.deleteFrom('tokens').where('user_name', '=', user).execute()
  }
}

function tokenOf(row: TokenTable): Token {
  return {
    id: row.id,
    user: row.user_name,
    name: row.name,
    // A right that a later version does not know any more is none.
    rights: (JSON.parse(row.rights) as Right[]).filter((right) => RIGHTS.includes(right)),
    ...(row.sites === null ? {} : { sites: JSON.parse(row.sites) as string[] }),
    ...(row.cameras === null ? {} : { cameras: JSON.parse(row.cameras) as string[] }),
    createdAtMs: row.created_at_ms,
    expiresAtMs: row.expires_at_ms,
    usedAtMs: row.used_at_ms ?? undefined,
  }
}

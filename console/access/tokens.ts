import { failure } from '../../lib/errors.ts'
import { newId } from '../../wire/id.ts'
import type { TokensTable } from '../database/tables.ts'
import { may, type Person, RIGHTS, type Right } from './may.ts'
import { covers, type Narrowing } from './scope.ts'
import { hashOf, newSecret } from './secrets.ts'
import type { Store } from './sessions.ts'

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

/** Of `scopes_json`. */
interface Scopes extends Narrowing {
  readonly rights: readonly Right[]
}

export class Tokens {
  readonly #store: Store
  readonly #ageMsMax: number

  constructor(store: Store, ageMsMax: number) {
    this.#store = store
    this.#ageMsMax = ageMsMax
  }

  /**
   * @returns the token's own text as well: it is kept nowhere
   *   Errors: NOT_ALLOWED (more than the person has), TOO_MANY, PARAMETER_INVALID (it would last too long)
   */
  async create(person: Person, wanted: NewToken): Promise<{ token: Token; secret: string }> {
    const { write, now } = this.#store
    const more = wanted.rights.find((right) => !may(person, right))
    if (more !== undefined)
      throw failure('NOT_ALLOWED', `You do not have the right "${more}", so your tokens cannot have it.`)
    if (!covers(person.scope, wanted))
      throw failure('NOT_ALLOWED', 'You may not see all of these sites and cameras.')
    if (wanted.expiresInMs > this.#ageMsMax)
      throw failure(
        'PARAMETER_INVALID',
        `A token lasts at most ${days(this.#ageMsMax)} days ("access.tokenMax"). Ask for less.`,
      )
    const own = await this.list(person.name)
    if (own.length >= TOKENS_PER_USER_MAX)
      throw failure('TOO_MANY', `You have ${own.length} tokens, the maximum. Revoke one first.`)
    const secret = `${TOKEN_PREFIX}${newSecret()}`
    const nowMs = now()
    const { sites, cameras } = wanted
    const scopes: Scopes = { rights: RIGHTS.filter((right) => wanted.rights.includes(right)), sites, cameras }
    const row: TokensTable = {
      id: newId(),
      hash: hashOf(secret),
      name: wanted.name,
      user: person.name,
      scopes_json: JSON.stringify(scopes),
      created_at_ms: nowMs,
      expires_at_ms: nowMs + wanted.expiresInMs,
      last_used_ms: null,
      revoked_at_ms: null,
    }
    await write.insertInto('tokens').values(row).execute()
    return { token: tokenOf(row), secret }
  }

  /** Counts as use. @returns undefined for one that is unknown, revoked or expired */
  async find(secret: string): Promise<Token | undefined> {
    if (!secret.startsWith(TOKEN_PREFIX)) return undefined
    const { read, write, now, complain } = this.#store
    const hash = hashOf(secret)
    const row = await read.selectFrom('tokens').selectAll().where('hash', '=', hash).executeTakeFirst()
    const nowMs = now()
    if (!row || !isValid(row, nowMs)) return undefined
    if (row.last_used_ms === null || nowMs >= row.last_used_ms + USED_INTERVAL_MS)
      await write
        .updateTable('tokens')
        .set({ last_used_ms: nowMs })
        .where('id', '=', row.id)
        .execute()
        .catch(complain)
    return tokenOf(row)
  }

  async byId(id: string): Promise<Token | undefined> {
    const { read, now } = this.#store
    const row = await read.selectFrom('tokens').selectAll().where('id', '=', id).executeTakeFirst()
    return row && isValid(row, now()) ? tokenOf(row) : undefined
  }

  /** Those that were not revoked, the newest first. @param user undefined: everybody's */
  async list(user: string | undefined): Promise<Token[]> {
    let query = this.#store.write.selectFrom('tokens').selectAll().where('revoked_at_ms', 'is', null)
    if (user !== undefined) query = query.where('user', '=', user)
    return (await query.orderBy('id', 'desc').execute()).map(tokenOf)
  }

  /** @param user whose it must be; undefined: anybody's. @returns it; undefined where there is no such token */
  async revoke(id: string, user: string | undefined): Promise<Token | undefined> {
    const { write, now } = this.#store
    let query = write
      .updateTable('tokens')
      .set({ revoked_at_ms: now() })
      .where('id', '=', id)
      .where('revoked_at_ms', 'is', null)
    if (user !== undefined) query = query.where('user', '=', user)
    const row = await query.returningAll().executeTakeFirst()
    return row && tokenOf(row)
  }

  async revokeAllOf(user: string): Promise<void> {
    const { write, now } = this.#store
    await write
      .updateTable('tokens')
      .set({ revoked_at_ms: now() })
      .where('user', '=', user)
      .where('revoked_at_ms', 'is', null)
      .execute()
  }

  /** Whose there are. */
  async owners(): Promise<string[]> {
    const rows = await this.#store.read
      .selectFrom('tokens')
      .select('user')
      .distinct()
      .where('revoked_at_ms', 'is', null)
      .execute()
    return rows.map(({ user }) => user)
  }
}

/** One digit is enough, for limits shorter than a day. */
const days = (ms: number) => Math.floor(ms / 8_640_000) / 10

const isValid = (row: TokensTable, nowMs: number) =>
  row.revoked_at_ms === null && row.expires_at_ms !== null && nowMs < row.expires_at_ms

function tokenOf(row: TokensTable): Token {
  const { rights, sites, cameras } = JSON.parse(row.scopes_json) as Scopes
  return {
    id: row.id,
    user: row.user,
    name: row.name,
    // One that another version of this program knew is none here.
    rights: rights.filter((right) => RIGHTS.includes(right)),
    ...(sites === undefined ? {} : { sites }),
    ...(cameras === undefined ? {} : { cameras }),
    createdAtMs: row.created_at_ms,
    expiresAtMs: row.expires_at_ms ?? 0,
    usedAtMs: row.last_used_ms ?? undefined,
  }
}

import type { Kysely } from 'kysely'
import type { SessionsTable, Tables } from '../database/tables.ts'
import { hashOf, newSecret } from './secrets.ts'

/** Who is signed in. What he may is never kept here: that is asked anew at each request. */

/** Of one user; the longest unused make way. */
const SESSIONS_PER_USER_MAX = 50
/** More often nobody writes down that a session was used. */
const USED_INTERVAL_MS = 60_000

export type SignedInBy = 'password' | 'oidc' | 'demo'

export interface Session {
  /** The hash of its secret, base64url. */
  readonly id: string
  readonly user: string
  readonly by: SignedInBy
  /** What the user's secret was then. */
  readonly fingerprint: string
  readonly expiresAtMs: number
}

/** Where sessions, tokens, shares and the audit log are kept. */
export interface Store {
  readonly read: Kysely<Tables>
  readonly write: Kysely<Tables>
  /** What could not be noted of use; the use goes on. */
  readonly complain: (error: unknown) => void
  readonly now: () => number
}

export class Sessions {
  readonly #store: Store
  readonly #ageMsMax: number
  readonly #idleMsMax: number

  constructor(store: Store, { ageMsMax, idleMsMax }: { ageMsMax: number; idleMsMax: number }) {
    this.#store = store
    this.#ageMsMax = ageMsMax
    this.#idleMsMax = idleMsMax
  }

  /** @returns its secret, for the cookie: it is kept nowhere else */
  async start(user: string, by: SignedInBy, fingerprint: string): Promise<string> {
    const { write, now } = this.#store
    const secret = newSecret()
    const nowMs = now()
    await write.transaction().execute(async (tx) => {
      await tx
        .deleteFrom('sessions')
        .where((is) =>
          is.or([is('expires_at_ms', '<=', nowMs), is('last_used_ms', '<=', nowMs - this.#idleMsMax)]),
        )
        .execute()
      const surplus = await tx
        .selectFrom('sessions')
        .select('hash')
        .where('user', '=', user)
        .orderBy('last_used_ms', 'desc')
        .limit(SESSIONS_PER_USER_MAX)
        .offset(SESSIONS_PER_USER_MAX - 1)
        .execute()
      const hashes = surplus.map(({ hash }) => hash)
      if (hashes.length > 0) await tx.deleteFrom('sessions').where('hash', 'in', hashes).execute()
      await tx
        .insertInto('sessions')
        .values({
          hash: hashOf(secret),
          user,
          fingerprint,
          by,
          person_json: null,
          created_at_ms: nowMs,
          last_used_ms: nowMs,
          expires_at_ms: nowMs + this.#ageMsMax,
        })
        .execute()
    })
    return secret
  }

  /** Counts as use. @returns undefined for one that is unknown or over */
  async find(secret: string): Promise<Session | undefined> {
    const hash = hashOf(secret)
    const row = await this.#valid(hash)
    if (!row) return undefined
    const { write, now, complain } = this.#store
    const nowMs = now()
    if (nowMs >= row.last_used_ms + Math.min(USED_INTERVAL_MS, this.#idleMsMax / 2))
      await write
        .updateTable('sessions')
        .set({ last_used_ms: nowMs })
        .where('hash', '=', hash)
        .execute()
        .catch(complain)
    return sessionOf(row)
  }

  async byId(id: string): Promise<Session | undefined> {
    const row = await this.#valid(Buffer.from(id, 'base64url'))
    return row && sessionOf(row)
  }

  async #valid(hash: Uint8Array): Promise<SessionsTable | undefined> {
    const { read, now } = this.#store
    const row = await read.selectFrom('sessions').selectAll().where('hash', '=', hash).executeTakeFirst()
    const nowMs = now()
    return row && nowMs < row.expires_at_ms && nowMs < row.last_used_ms + this.#idleMsMax ? row : undefined
  }

  async end(id: string): Promise<void> {
    await this.#store.write.deleteFrom('sessions').where('hash', '=', Buffer.from(id, 'base64url')).execute()
  }

  /** Whose there are. */
  async owners(): Promise<string[]> {
    const rows = await this.#store.read.selectFrom('sessions').select('user').distinct().execute()
    return rows.map(({ user }) => user)
  }

  async endAllOf(user: string): Promise<void> {
    await this.#store.write.deleteFrom('sessions').where('user', '=', user).execute()
  }
}

function sessionOf(row: SessionsTable): Session {
  return {
    id: Buffer.from(row.hash).toString('base64url'),
    user: row.user,
    by: row.by as SignedInBy,
    fingerprint: row.fingerprint,
    expiresAtMs: row.expires_at_ms,
  }
}

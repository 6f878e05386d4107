import type { Kysely } from 'kysely'
import type { AccessTables } from '../database/access-tables.ts'
import { hashOf, newSecret } from './secrets.ts'

/** Who is signed in. What he may is never kept here: that is asked anew at each request. */

/** Of one user; the longest unused make way. */
const SESSIONS_PER_USER_MAX = 50
/** More often nobody writes down that a session was used. */
export const SEEN_INTERVAL_MS = 60_000

export interface Session {
  /** The hash of its secret. */
  readonly id: string
  readonly user: string
  readonly credential: string
  readonly endsAtMs: number
}

export interface SessionsOptions {
  readonly db: Kysely<AccessTables>
  readonly ageMsMax: number
  readonly idleMsMax: number
  /** What could not be noted; the session holds all the same. */
  readonly complain: (error: unknown) => void
  readonly now: () => number
}

export class Sessions {
  readonly #options: SessionsOptions

  constructor(options: SessionsOptions) {
    this.#options = options
  }

  /** @returns its secret, for the cookie: it is kept nowhere else */
  async start(user: string, credential: string): Promise<{ secret: string; endsAtMs: number }> {
    const { db, ageMsMax } = this.#options
    const secret = newSecret()
    const nowMs = this.#options.now()
    const endsAtMs = nowMs + ageMsMax
    await db.transaction().execute(async (tx) => {
      await tx.deleteFrom('sessions').where((is) => this.#isOver(is, nowMs)).execute()
      const others = await tx
        .selectFrom('sessions')
        .select('id')
        .where('user_name', '=', user)
        .orderBy('seen_at_ms', 'desc')
        .offset(SESSIONS_PER_USER_MAX - 1)
        .limit(SESSIONS_PER_USER_MAX)
        .execute()
      if (others.length > 0)
        await tx
          .deleteFrom('sessions')
          .where('id', 'in', others.map(({ id }) => id))
          .execute()
      await tx
        .insertInto('sessions')
        .values({
          id: hashOf(secret),
          user_name: user,
          credential,
          created_at_ms: nowMs,
          seen_at_ms: nowMs,
          expires_at_ms: endsAtMs,
        })
        .execute()
    })
    return { secret, endsAtMs }
  }

  find(secret: string): Promise<Session | undefined> {
    return this.byId(hashOf(secret), true)
  }

  /** @param isUse whether this counts as use of it */
  async byId(id: string, isUse: boolean): Promise<Session | undefined> {
    const { db, idleMsMax, complain } = this.#options
    const row = await db.selectFrom('sessions').selectAll().where('id', '=', id).executeTakeFirst()
    const nowMs = this.#options.now()
    if (!row || nowMs >= row.expires_at_ms || nowMs >= row.seen_at_ms + idleMsMax) return undefined
    if (isUse && nowMs >= row.seen_at_ms + Math.min(SEEN_INTERVAL_MS, idleMsMax / 2))
      await db
        .updateTable('sessions')
        .set({ seen_at_ms: nowMs })
        .where('id', '=', id)
        .execute()
        .catch(complain)
    return { id, user: row.user_name, credential: row.credential, endsAtMs: row.expires_at_ms }
  }

  async end(id: string): Promise<void> {
    await this.#options.db.deleteFrom('sessions').where('id', '=', id).execute()
  }

  /** @param but one that stays */
  async endAllOf(user: string, but?: string): Promise<void> {
    let query = this.#options.db.deleteFrom('sessions').where('user_name', '=', user)
    if (but !== undefined) query = query.where('id', '!=', but)
    await query.execute()
  }

  #isOver(is: import('kysely').ExpressionBuilder<AccessTables, 'sessions'>, nowMs: number) {
    return is.or([
      is('expires_at_ms', '<=', nowMs),
      is('seen_at_ms', '<=', nowMs - this.#options.idleMsMax),
    ])
  }
}

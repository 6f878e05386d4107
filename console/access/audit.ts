import type { Kysely } from 'kysely'
import { newId } from '../../wire/id.ts'
import type { AccessTables } from '../database/access-tables.ts'

/** What was done or looked at, and by whom. Rows are added; nothing here, and no statement on the database, changes one. */

export interface Entry {
  readonly id: string
  readonly atMs: number
  /** A user's name, as it was given: nobody of that name need exist. */
  readonly who: string
  /** Such as `signin`, `signin.failed`, `token.create`, `recording.view`. */
  readonly what: string
  readonly target: string | undefined
  readonly detail: Readonly<Record<string, unknown>> | undefined
  readonly address: string | undefined
}

export interface AuditFilter {
  readonly who?: string
  readonly what?: string
  readonly fromMs?: number
  readonly toMs?: number
}

export const AUDIT_PAGE_MAX = 500
const WHO_CHARACTERS_MAX = 200
const TARGET_CHARACTERS_MAX = 500
const DETAIL_CHARACTERS_MAX = 4000

export class Audit {
  readonly #db: Kysely<AccessTables>
  readonly #now: () => number

  constructor(db: Kysely<AccessTables>, now: () => number = Date.now) {
    this.#db = db
    this.#now = now
  }

  /** Errors: those of the database. Then what it tells of must not happen. */
  async add(entry: {
    readonly who: string
    readonly what: string
    readonly target?: string
    readonly detail?: Readonly<Record<string, unknown>>
    readonly address?: string
  }): Promise<void> {
    const detail = entry.detail === undefined ? undefined : JSON.stringify(entry.detail)
    await this.#db
      .insertInto('audit')
      .values({
        id: newId(),
        at_ms: this.#now(),
        who: stored(entry.who, WHO_CHARACTERS_MAX),
        what: entry.what,
        target: entry.target === undefined ? null : stored(entry.target, TARGET_CHARACTERS_MAX),
        detail:
          detail !== undefined && detail.length > DETAIL_CHARACTERS_MAX
            ? JSON.stringify({ cutOff: detail.slice(0, DETAIL_CHARACTERS_MAX) })
            : (detail ?? null),
        address: entry.address ?? null,
      })
      .execute()
  }

  /**
   * The newest first.
   * @param beforeId the last of the page before
   * @param countMax at most AUDIT_PAGE_MAX
   */
  async page(
    { who, what, fromMs, toMs }: AuditFilter,
    beforeId: string | undefined,
    countMax: number,
  ): Promise<Entry[]> {
    let query = this.#db.selectFrom('audit').selectAll().orderBy('id', 'desc')
    if (who !== undefined) query = query.where('who', '=', who)
    if (what !== undefined) query = query.where('what', '=', what)
    if (fromMs !== undefined) query = query.where('at_ms', '>=', fromMs)
    if (toMs !== undefined) query = query.where('at_ms', '<', toMs)
    if (beforeId !== undefined) query = query.where('id', '<', beforeId)
    const rows = await query.limit(Math.min(countMax, AUDIT_PAGE_MAX)).execute()
    return rows.map((row) => ({
      id: row.id,
      atMs: row.at_ms,
      who: row.who,
      what: row.what,
      target: row.target ?? undefined,
      detail: row.detail === null ? undefined : (JSON.parse(row.detail) as Record<string, unknown>),
      address: row.address ?? undefined,
    }))
  }
}

/** PostgreSQL keeps no NUL. */
const stored = (text: string, charactersMax: number) => text.replaceAll('\0', '\ufffd').slice(0, charactersMax)

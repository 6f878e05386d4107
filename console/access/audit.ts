import { newId } from '../../wire/id.ts'
import type { Store } from './sessions.ts'

/** What was done or looked at, and by whom. Rows are added; nothing here, and no statement on the database, changes one. */

export interface NewEntry {
  /** A user's name, as it was given: nobody of that name need exist. */
  readonly user: string
  /** `session`, `token ID`, `share ID`, `run`, or how somebody tried to sign in: `password`, `openid`. */
  readonly by: string
  readonly address?: string
  /** Such as `sign-in`, `sign-in.failed`, `token.create`, `recording.view`. */
  readonly action: string
  /** What it was done to; empty where it is the user himself. */
  readonly subject?: string
  readonly details?: Readonly<Record<string, unknown>>
}

export interface Entry extends NewEntry {
  /** UUIDv7: ids ascend. */
  readonly id: string
  readonly atMs: number
}

export interface AuditFilter {
  readonly user?: string
  readonly action?: string
  readonly fromMs?: number
  readonly beforeMs?: number
}

const USER_CHARACTERS_MAX = 200
const SUBJECT_CHARACTERS_MAX = 500
const DETAILS_CHARACTERS_MAX = 4000

export class Audit {
  readonly #store: Store

  constructor(store: Store) {
    this.#store = store
  }

  /** Errors: those of the database. Then what it tells of must not happen. */
  async add({ user, by, address, action, subject = '', details }: NewEntry): Promise<void> {
    const { write, now } = this.#store
    await write
      .insertInto('audit')
      .values({
        id: newId(),
        at_ms: now(),
        user: stored(user, USER_CHARACTERS_MAX),
        by,
        address: address ?? null,
        action,
        subject: stored(subject, SUBJECT_CHARACTERS_MAX),
        details_json: details === undefined ? null : detailsText(details),
      })
      .execute()
  }

  /** The newest first. @param beforeId the last of the page before */
  async page(filter: AuditFilter, beforeId: string | undefined, limit: number): Promise<Entry[]> {
    const { user, action, fromMs, beforeMs } = filter
    let query = this.#store.read.selectFrom('audit').selectAll()
    if (user !== undefined) query = query.where('user', '=', user)
    if (action !== undefined) query = query.where('action', '=', action)
    if (fromMs !== undefined) query = query.where('at_ms', '>=', fromMs)
    if (beforeMs !== undefined) query = query.where('at_ms', '<', beforeMs)
    if (beforeId !== undefined) query = query.where('id', '<', beforeId)
    const rows = await query.orderBy('id', 'desc').limit(limit).execute()
    return rows.map((row) => ({
      id: row.id,
      atMs: row.at_ms,
      user: row.user,
      by: row.by,
      address: row.address ?? undefined,
      action: row.action,
      subject: row.subject,
      details: row.details_json === null ? undefined : JSON.parse(row.details_json),
    }))
  }
}

function detailsText(details: Readonly<Record<string, unknown>>): string {
  const text = JSON.stringify(details)
  return text.length <= DETAILS_CHARACTERS_MAX
    ? text
    : JSON.stringify({ cutOff: text.slice(0, DETAILS_CHARACTERS_MAX) })
}

/** PostgreSQL keeps no NUL. */
const stored = (text: string, charactersMax: number) =>
  text.replaceAll('\0', '\ufffd').slice(0, charactersMax)

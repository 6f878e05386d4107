import { failure } from '../../lib/errors.ts'
import { newId } from '../../wire/id.ts'
import type { DetectionFilter } from '../database/detection.ts'
import type { SharesTable } from '../database/tables.ts'
import { may, type Person, type Right, type Scope } from './may.ts'
import type { People } from './people.ts'
import { type Narrowing, narrowed } from './scope.ts'
import { hashOf, newSecret } from './secrets.ts'
import type { Store } from './sessions.ts'

/** Links to a face, to a search, or to a stretch of a recording, for people without an account. */

export const SHARE_MS_MAX = 90 * 86_400_000
const SHARES_PER_USER_MAX = 1000

export type ShareTarget =
  | { readonly detection: string }
  /** What was there when the share was made: it has an end, so that nobody is watched through it later. */
  | { readonly filter: DetectionFilter & { readonly beforeMs: number } }
  | { readonly recording: SharedStretch }

/** Of one camera, `site/device/camera`; nothing before or after it is shown. */
export interface SharedStretch {
  readonly camera: string
  readonly fromMs: number
  readonly toMs: number
}

export interface Share {
  readonly id: string
  readonly name: string
  /** Who made it. */
  readonly user: string
  readonly target: ShareTarget
  readonly createdAtMs: number
  readonly expiresAtMs: number
  readonly views: number
  readonly viewedAtMs: number | undefined
}

/** A share that somebody has opened, and what may be seen through it now. */
export interface OpenShare {
  readonly share: Share
  readonly scope: Scope
}

interface Target extends Narrowing {
  readonly name: string
  readonly target: ShareTarget
}

export class Shares {
  readonly #store: Store
  readonly #people: People

  constructor(store: Store, people: People) {
    this.#store = store
    this.#people = people
  }

  /**
   * Whether there is such a detection for that person is the caller's to ask.
   * @returns its secret as well, for the link: it is kept nowhere. Errors: NOT_ALLOWED, PARAMETER_INVALID, TOO_MANY
   */
  async create(
    person: Person,
    wanted: {
      readonly name: string
      readonly target:
        | { readonly detection: string }
        | { readonly filter: DetectionFilter }
        | { readonly recording: SharedStretch }
      readonly expiresInMs: number
    },
  ): Promise<{ share: Share; secret: string }> {
    const { write, now } = this.#store
    const { name, expiresInMs } = wanted
    for (const right of rightsOf(wanted.target))
      if (!may(person, right)) throw failure('NOT_ALLOWED', `You do not have the right "${right}".`)
    if (expiresInMs > SHARE_MS_MAX)
      throw failure('PARAMETER_INVALID', `A share lasts at most ${SHARE_MS_MAX / 86_400_000} days.`)
    const own = await this.list(person.name)
    if (own.length >= SHARES_PER_USER_MAX)
      throw failure('TOO_MANY', `You have ${own.length} shares, the maximum. Revoke one first.`)
    const secret = newSecret()
    const nowMs = now()
    const target: ShareTarget = !('filter' in wanted.target)
      ? wanted.target
      : {
          filter: {
            ...wanted.target.filter,
            beforeMs: Math.min(nowMs, wanted.target.filter.beforeMs ?? nowMs),
            // What a device was keeping back is filed under when it was captured.
            storedAtMsMax: nowMs,
          },
        }
    const kept: Target = { name, target, ...narrowingOf(person.scope) }
    const row: SharesTable = {
      id: newId(),
      hash: hashOf(secret),
      kind: 'detection' in target ? 'detection' : 'filter' in target ? 'search' : 'recording',
      target_json: JSON.stringify(kept),
      by: person.name,
      created_at_ms: nowMs,
      expires_at_ms: nowMs + expiresInMs,
      opened: 0,
      opened_max: null,
      last_opened_ms: null,
      revoked_at_ms: null,
    }
    await write.insertInto('shares').values(row).execute()
    return { share: shareOf(row), secret }
  }

  /**
   * @param isView whether to count it: the page, not its pictures
   * @returns undefined where it is unknown, over, taken back, or its maker may not share any more
   */
  async open(secret: string, isView: boolean): Promise<OpenShare | undefined> {
    const { read, write, now, complain } = this.#store
    const hash = hashOf(secret)
    const row = await read.selectFrom('shares').selectAll().where('hash', '=', hash).executeTakeFirst()
    const nowMs = now()
    if (!row || row.revoked_at_ms !== null || nowMs >= row.expires_at_ms) return undefined
    const maker = (await this.#people.find(row.by))?.person
    if (!maker || !rightsOf(targetOf(row).target).every((right) => may(maker, right))) return undefined
    if (isView)
      await write
        .updateTable('shares')
        .set((is) => ({ opened: is('opened', '+', 1), last_opened_ms: nowMs }))
        .where('id', '=', row.id)
        .execute()
        .catch(complain)
    return { share: shareOf(row), scope: narrowed(maker.scope, targetOf(row)) }
  }

  /** Those that were not taken back, the newest first. @param user undefined: everybody's */
  async list(user: string | undefined): Promise<Share[]> {
    let query = this.#store.write.selectFrom('shares').selectAll().where('revoked_at_ms', 'is', null)
    if (user !== undefined) query = query.where('by', '=', user)
    return (await query.orderBy('id', 'desc').execute()).map(shareOf)
  }

  /** @param user whose it must be; undefined: anybody's. @returns it; undefined where there is no such share */
  async revoke(id: string, user: string | undefined): Promise<Share | undefined> {
    const { write, now } = this.#store
    let query = write
      .updateTable('shares')
      .set({ revoked_at_ms: now() })
      .where('id', '=', id)
      .where('revoked_at_ms', 'is', null)
    if (user !== undefined) query = query.where('by', '=', user)
    const row = await query.returningAll().executeTakeFirst()
    return row && shareOf(row)
  }

  async revokeAllOf(user: string): Promise<void> {
    const { write, now } = this.#store
    await write
      .updateTable('shares')
      .set({ revoked_at_ms: now() })
      .where('by', '=', user)
      .where('revoked_at_ms', 'is', null)
      .execute()
  }

  /** Whose there are. */
  async owners(): Promise<string[]> {
    const rows = await this.#store.read
      .selectFrom('shares')
      .select('by')
      .distinct()
      .where('revoked_at_ms', 'is', null)
      .execute()
    return rows.map(({ by }) => by)
  }
}

/** What its maker must have, when it is made and when it is opened. */
const rightsOf = (target: object): readonly Right[] =>
  'recording' in target ? ['share', 'recordings'] : ['share']

/** So that a share that was made with a narrow token, or by somebody who later sees more, does not grow. */
const narrowingOf = (scope: Scope): Narrowing =>
  scope.all ? {} : { sites: [...scope.sites], cameras: [...scope.cameras] }

const targetOf = (row: SharesTable) => JSON.parse(row.target_json) as Target

function shareOf(row: SharesTable): Share {
  const { name, target } = targetOf(row)
  return {
    id: row.id,
    name,
    user: row.by,
    target,
    createdAtMs: row.created_at_ms,
    expiresAtMs: row.expires_at_ms,
    views: row.opened,
    viewedAtMs: row.last_opened_ms ?? undefined,
  }
}

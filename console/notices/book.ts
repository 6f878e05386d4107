import { type Kysely, sql, type Transaction } from 'kysely'
import { newId } from '../../wire/id.ts'
import type { Notice } from '../../wire/notice.ts'
import type { NoticeBook } from '../context.ts'
import type { DeliveriesTable, NoticesTable, Tables } from '../database/tables.ts'
import type { NewNotice } from '../rules/fact.ts'
import type { Channel } from './channel.ts'

/**
 * Writes notices down, and what is to be delivered of them, in the transaction of what caused them: either all of it has
 * happened or nothing. What is kept of a notice is what it says now; each delivery carries that, under its own revision.
 */

/** Of one statement: SQLite takes 32,766 values, PostgreSQL 65,535. */
const ROWS_A_STATEMENT = 256
const KEYS_A_STATEMENT = 1000
/** As wire/notice.ts has them. */
const TITLE_CHARACTERS_MAX = 200
const TEXT_CHARACTERS_MAX = 2000
const HOUR_MS = 3_600_000
/**
 * Of a rule on arrivals nothing is left out for what people read in an hour: each stored object is told. What waits for one
 * channel is bounded by this, and by the channel's time to give up; more are not sent, and that is said.
 */
export const ARRIVALS_WAITING_MAX = 1_000_000
/** Browsers that hear of one notice. */
export const BROWSERS_MAX = 1000

export type KeptNotice = Omit<Notice, 'v' | 'revision' | 'madeAtMs' | 'picture' | 'url'>
export type BookColumn = 'made' | 'sent' | 'given_up' | 'not_sent'
type Delivery = DeliveriesTable

export interface BookParts {
  readonly now?: () => number
  /** Something may be due. */
  readonly onWake: () => void
}

export class Book implements NoticeBook {
  readonly #now: () => number
  readonly #onWake: () => void

  constructor({ now = Date.now, onWake }: BookParts) {
    this.#now = now
    this.#onWake = onWake
  }

  wake(): void {
    this.#onWake()
  }

  /** Errors: those of the database. */
  async write(db: Transaction<Tables>, notices: readonly NewNotice[]): Promise<void> {
    if (notices.length === 0) return
    const page = await Page.open(db, notices, this.#now())
    for (const it of notices) await page.take(it)
    await page.write()
  }
}

interface Entry {
  readonly row: NoticesTable
  is: 'there' | 'new' | 'changed'
}

/** What one call writes. */
class Page {
  readonly #db: Transaction<Tables>
  readonly #nowMs: number
  readonly #entries: Map<string, Entry>
  readonly #channels: ReadonlyMap<string, Channel>
  readonly #deliveries: Delivery[] = []
  /** Deliveries that were there before, of which a newer revision takes the place: notice and channel. */
  readonly #replaced: { readonly notice: string; readonly channel: string; readonly revision: number }[] = []
  /** Of each channel, how many more this hour takes. */
  readonly #left = new Map<string, number>()
  /** And how many more may wait, of arrivals. */
  readonly #room = new Map<string, number>()
  readonly #browsers = new Map<string, readonly string[]>()

  private constructor(
    db: Transaction<Tables>,
    nowMs: number,
    entries: Map<string, Entry>,
    channels: ReadonlyMap<string, Channel>,
  ) {
    this.#db = db
    this.#nowMs = nowMs
    this.#entries = entries
    this.#channels = channels
  }

  static async open(db: Transaction<Tables>, notices: readonly NewNotice[], nowMs: number): Promise<Page> {
    const entries = new Map<string, Entry>()
    const keys = [...new Set(notices.map(({ key }) => key))].sort()
    for (const part of parts(keys, KEYS_A_STATEMENT))
      for (const row of await db.selectFrom('notices').selectAll().where('key', 'in', part).execute())
        entries.set(row.key, { row, is: 'there' })
    const ids = [...new Set(notices.flatMap(({ channels }) => channels))]
    return new Page(db, nowMs, entries, await channelsOf(db, ids))
  }

  async take(it: NewNotice): Promise<void> {
    const { key, notice, channels, camera } = it
    const before = this.#entries.get(key)
    const kept: KeptNotice = {
      ...notice,
      id: before?.row.id ?? notice.id,
      title: notice.title.slice(0, TITLE_CHARACTERS_MAX),
      text: notice.text.slice(0, TEXT_CHARACTERS_MAX),
    }
    if (before && saysTheSame(JSON.parse(before.row.notice_json) as KeptNotice, kept)) return
    const place = camera ?? placeOf(notice)
    const row: NoticesTable = {
      id: kept.id,
      key,
      at_ms: before?.row.at_ms ?? notice.atMs,
      changed_at_ms: this.#nowMs,
      revision: before ? before.row.revision + 1 : 0,
      scenario: notice.scenario.id,
      rule: notice.rule.id,
      level: notice.level,
      site: place?.site ?? notice.site ?? null,
      camera: place ? `${place.site}/${place.device}/${place.camera}` : null,
      object: notice.detection ?? notice.object?.id ?? null,
      notice_json: JSON.stringify(kept),
    }
    this.#entries.set(key, { row, is: before === undefined || before.is === 'new' ? 'new' : 'changed' })
    const isArrival = notice.object !== undefined
    for (const id of new Set(channels))
      await this.#deliver(row, id, { isUpdate: before !== undefined, isArrival })
  }

  async #deliver(
    row: NoticesTable,
    id: string,
    { isUpdate, isArrival }: { readonly isUpdate: boolean; readonly isArrival: boolean },
  ): Promise<void> {
    const channel = this.#channels.get(id)
    // What still waits says what the notice says now when it goes out.
    if (isUpdate && channel && !channel.updates) return
    if (isUpdate) this.#replace(row, id)
    const line = channel?.ordered && row.camera !== null ? row.camera : row.id
    const delivery = (target: string, why?: string): Delivery => ({
      id: newId(),
      notice: row.id,
      revision: row.revision,
      channel: id,
      target,
      line,
      state: why === undefined ? 'waiting' : 'not sent',
      attempts: 0,
      due_at_ms: this.#nowMs,
      give_up_at_ms: this.#nowMs + (channel?.giveUpAfterMs ?? 0),
      made_at_ms: this.#nowMs,
      done_at_ms: why === undefined ? null : this.#nowMs,
      why: why ?? null,
      is_arrival: isArrival ? 1 : 0,
    })
    if (!channel) {
      this.#deliveries.push(delivery('', `There is no channel "${id}".`))
      return
    }
    if (!channel.enabled) {
      this.#deliveries.push(delivery('', `The channel "${channel.name}" is turned off.`))
      return
    }
    const left = isArrival ? await this.#roomOf(id) : await this.#leftOf(id, channel)
    if (left <= 0) {
      const why = isArrival
        ? `${ARRIVALS_WAITING_MAX} notices wait for the channel "${channel.name}", the maximum.`
        : `The channel "${channel.name}" takes ${channel.perHourMax} notices an hour, and has had them.`
      this.#deliveries.push(delivery('', why))
      return
    }
    ;(isArrival ? this.#room : this.#left).set(id, left - 1)
    if (channel.type !== 'push') {
      this.#deliveries.push(delivery(''))
      return
    }
    const browsers = await this.#browsersOf(id, channel.users)
    for (const browser of browsers) this.#deliveries.push(delivery(browser))
    if (browsers.length === 0) this.#deliveries.push(delivery('', 'No browser has asked for notices.'))
  }

  /** A newer revision is never overtaken by an older one. */
  #replace({ id: notice, revision }: NoticesTable, channel: string): void {
    for (const [n, it] of this.#deliveries.entries())
      if (it.notice === notice && it.channel === channel && it.state === 'waiting')
        this.#deliveries[n] = { ...it, state: 'not sent', done_at_ms: this.#nowMs, why: replacedBy(revision) }
    this.#replaced.push({ notice, channel, revision })
  }

  async #leftOf(id: string, channel: Channel): Promise<number> {
    const known = this.#left.get(id)
    if (known !== undefined) return known
    const made = this.#db
      .selectFrom('deliveries')
      .select(['notice'])
      .where('channel', '=', id)
      .where('is_arrival', '=', 0)
      .where('made_at_ms', '>', this.#nowMs - HOUR_MS)
      .where('state', '!=', 'not sent')
    const { count } = await this.#db
      .selectFrom((channel.type === 'push' ? made.distinct() : made).limit(channel.perHourMax).as('made'))
      .select((it) => it.fn.countAll<number>().as('count'))
      .executeTakeFirstOrThrow()
    return channel.perHourMax - Number(count)
  }

  async #roomOf(id: string): Promise<number> {
    const known = this.#room.get(id)
    if (known !== undefined) return known
    const books = await this.#db
      .selectFrom('notice_books')
      .select(sql<number>`made - sent - given_up - not_sent`.as('waiting'))
      .where('channel', '=', id)
      .executeTakeFirst()
    return ARRIVALS_WAITING_MAX - Number(books?.waiting ?? 0)
  }

  async #browsersOf(id: string, users: readonly string[] | undefined): Promise<readonly string[]> {
    const known = this.#browsers.get(id)
    if (known) return known
    let query = this.#db.selectFrom('push_subscriptions').select('id')
    if (users) query = query.where('user', 'in', users.length === 0 ? [''] : [...users])
    const found = (await query.orderBy('id').limit(BROWSERS_MAX).execute()).map((it) => it.id)
    this.#browsers.set(id, found)
    return found
  }

  async write(): Promise<void> {
    const db = this.#db
    const all = [...this.#entries.values()]
    for (const part of parts(
      all.filter(({ is }) => is === 'new').map(({ row }) => row),
      ROWS_A_STATEMENT,
    ))
      await db.insertInto('notices').values(part).execute()
    for (const { row, is } of all)
      if (is === 'changed') {
        const { id, key: _key, at_ms: _at, ...changed } = row
        await db.updateTable('notices').set(changed).where('id', '=', id).execute()
      }
    const counts = new Map<string, { made: number; not_sent: number }>()
    const count = (channel: string) => {
      const of = counts.get(channel) ?? { made: 0, not_sent: 0 }
      counts.set(channel, of)
      return of
    }
    for (const { notice, channel, revision } of this.#replaced) {
      const gone = await db
        .updateTable('deliveries')
        .set({ state: 'not sent', done_at_ms: this.#nowMs, why: replacedBy(revision) })
        .where('notice', '=', notice)
        .where('channel', '=', channel)
        .where('state', '=', 'waiting')
        .returning('id')
        .execute()
      count(channel).not_sent += gone.length
    }
    for (const part of parts(this.#deliveries, ROWS_A_STATEMENT))
      await db.insertInto('deliveries').values(part).execute()
    for (const { channel, state } of this.#deliveries) {
      const of = count(channel)
      of.made += 1
      if (state === 'not sent') of.not_sent += 1
    }
    for (const channel of [...counts.keys()].sort()) await enter(db, channel, count(channel))
  }
}

const replacedBy = (revision: number) => `Revision ${revision} took its place.`

/** Enters in the books of a channel. Callers go by channel in the order of their names: two never wait for each other. */
export async function enter(
  db: Kysely<Tables>,
  channel: string,
  by: Readonly<Partial<Record<BookColumn, number>>>,
): Promise<void> {
  const { made = 0, sent = 0, given_up = 0, not_sent = 0 } = by
  const plus = (column: BookColumn) =>
    sql<number>`${sql.ref(`notice_books.${column}`)} + ${sql.ref(`excluded.${column}`)}`
  await db
    .insertInto('notice_books')
    .values({ channel, made, sent, given_up, not_sent })
    .onConflict((it) =>
      it.column('channel').doUpdateSet({
        made: plus('made'),
        sent: plus('sent'),
        given_up: plus('given_up'),
        not_sent: plus('not_sent'),
      }),
    )
    .execute()
}

/** Those of these ids that there are. */
export async function channelsOf(
  db: Kysely<Tables>,
  ids: readonly string[],
): Promise<ReadonlyMap<string, Channel>> {
  if (ids.length === 0) return new Map()
  const rows = await db
    .selectFrom('documents')
    .select(['id', 'document_json'])
    .where('kind', '=', 'channel')
    .where('id', 'in', [...ids])
    .execute()
  return new Map(rows.map(({ id, document_json }) => [id, JSON.parse(document_json) as Channel]))
}

/** Whether there is nothing new in it. What it is called (`new`, `updated`) is not news; that it has ended is. */
function saysTheSame(before: KeptNotice, after: KeptNotice): boolean {
  const plain = ({ is, ...rest }: KeptNotice) =>
    JSON.stringify(Object.entries({ ...rest, ended: is === 'ended' }).sort(([a], [b]) => (a < b ? -1 : 1)))
  return plain(before) === plain(after)
}

export function placeOf({ site, device, camera }: KeptNotice) {
  return site !== undefined && device !== undefined && camera !== undefined
    ? { site, device, camera }
    : undefined
}

export function* parts<Item>(items: readonly Item[], size: number): Generator<Item[]> {
  for (let at = 0; at < items.length; at += size) yield items.slice(at, at + size)
}

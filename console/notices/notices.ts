import type { Transaction } from 'kysely'
import { failure } from '../../lib/errors.ts'
import type { Log } from '../../lib/log.ts'
import { counter, gauge, type Registry } from '../../lib/metrics.ts'
import { newId } from '../../wire/id.ts'
import type { QueueBooks } from '../../wire/keepers.ts'
import type { CameraAddress } from '../../wire/topics.ts'
import type { NewsItem, NoticeBook } from '../context.ts'
import type { Database } from '../database/database.ts'
import type { Tables } from '../database/tables.ts'
import type { NewNotice } from '../rules/fact.ts'
import { Book, enter, type KeptNotice } from './book.ts'
import type { Channel } from './channel.ts'
import type { Settled } from './ledger.ts'
import { Outbox, type OutboxParts } from './outbox.ts'
import type { Outcome } from './outcome.ts'
import type { Push } from './push.ts'
import { Retention } from './retention.ts'
import type { Preview, Ways } from './ways.ts'

/** Notices: what is written down, what becomes of it, and what somebody asks of it. */

export interface NoticesParts {
  readonly database: Database
  readonly ways: Ways
  readonly push: Push
  readonly keepMs: number
  /** Tells pages. */
  readonly onNews: (item: NewsItem) => void
  readonly log: Log
  readonly metrics?: Registry
  readonly now?: () => number
  readonly retry?: OutboxParts['retry']
}

/** Somebody waits for the answer to a test. */
const TEST_MS_MAX = 15_000
/** The books are read this often, for reports that are made at any time. */
const BOOKS_MS = 1_000
/** Of arrivals there may be a thousand a second, which nobody reads one by one. */
const NEWS_AT_ONCE_MAX = 100

export class Notices implements NoticeBook, AsyncDisposable {
  readonly push: Push
  readonly #parts: NoticesParts
  readonly #book: Book
  readonly #outbox: Outbox
  #retention: Retention | undefined
  #timer: NodeJS.Timeout | undefined
  readonly #written = new Map<string, CameraAddress | undefined>()
  readonly #count: (state: string, by: number) => void
  #books: QueueBooks = {
    ...NAME,
    accepted: 0,
    forwarded: 0,
    pending: 0,
    dropped: {},
    bytes: 0,
    oldestAtMs: null,
  }
  #reading: Promise<void> | undefined

  private constructor(parts: NoticesParts) {
    const { database, ways, metrics, log, now, retry } = parts
    this.#parts = parts
    this.push = parts.push
    this.#count = metrics ? countersOf(metrics, () => this.#books) : () => {}
    this.#book = new Book({ now, onWake: () => this.#outbox.wake() })
    this.#outbox = Outbox.open({
      database,
      deliver: ({ delivery, channel, notice, changedAtMs }, signal) =>
        ways.send(
          channel,
          delivery.target,
          { notice, revision: delivery.revision, madeAtMs: changedAtMs },
          signal,
        ),
      onSettled: (settled) => this.#tell(settled),
      log,
      now,
      retry,
    })
  }

  static open(parts: NoticesParts): Notices {
    return new Notices(parts)
  }

  /** Begins to deliver, and to sweep what is old: once, when everything else is there. */
  start(): void {
    const { database, keepMs, log, now } = this.#parts
    this.#outbox.start()
    this.#retention ??= Retention.open({ write: database.write, keepMs, log, now })
    this.#timer ??= setInterval(() => void this.readBooks(), BOOKS_MS).unref()
  }

  /** Why notices wait, for people; undefined: they do not. */
  get fault(): string | undefined {
    return this.#outbox.fault
  }

  /** Of all channels, since ever: accepted = forwarded + pending + given up + not sent. At most a second old. */
  get books(): QueueBooks {
    return this.#books
  }

  async write(transaction: Transaction<Tables>, notices: readonly NewNotice[]): Promise<void> {
    await this.#book.write(transaction, notices)
    // Pages hear of it once it is committed.
    for (const { notice, camera } of notices.slice(-NEWS_AT_ONCE_MAX)) this.#written.set(notice.id, camera)
  }

  wake(): void {
    this.#book.wake()
    for (const [id, camera] of [...this.#written].slice(-NEWS_AT_ONCE_MAX))
      this.#parts.onNews({ is: 'notice', id, camera })
    this.#written.clear()
  }

  /** Sends a notice of nothing, and waits for what comes of it. @param user whose browsers hear it, of push */
  async test(channel: Channel, user: string, signal: AbortSignal): Promise<readonly Outcome[]> {
    const { ways, push } = this.#parts
    const going = { notice: this.sample(channel.name, 'test'), revision: 0, madeAtMs: Date.now() }
    const late = AbortSignal.any([signal, AbortSignal.timeout(TEST_MS_MAX)])
    const targets = channel.type === 'push' ? (await push.list(user)).map(({ id }) => id) : ['']
    if (targets.length === 0) return [{ is: 'not sent', why: 'None of your browsers has asked for notices.' }]
    return Promise.all(
      targets.map((target) =>
        ways.send(channel, target, going, late).catch((error: unknown): Outcome => {
          if (signal.aborted) throw error
          return {
            is: 'failed',
            final: false,
            code: 'TIMEOUT',
            why: `There was no answer within ${TEST_MS_MAX / 1000} s.`,
          }
        }),
      ),
    )
  }

  /** Errors: PARAMETER_INVALID */
  preview(channel: Channel): Promise<Preview> {
    return this.#parts.ways.preview(channel, {
      notice: this.sample(channel.name, 'new'),
      revision: 0,
      madeAtMs: Date.now(),
    })
  }

  /** A notice of nothing that has happened. */
  sample(name: string, is: 'new' | 'test'): KeptNotice {
    return {
      id: newId(),
      is,
      atMs: Date.now(),
      scenario: { id: 'test', name: 'Test' },
      rule: { id: 'test', name: 'Test' },
      level: 'info',
      title: `A test of "${name}"`.slice(0, 200),
      text: 'Somebody tries whether notices arrive here. Nothing has happened.',
    }
  }

  /**
   * Sends it once more, now; what waits does not wait any longer.
   * Errors: NOT_FOUND, PARAMETER_INVALID (a newer revision took its place)
   */
  async again(notice: string, delivery: string): Promise<void> {
    const { database, now = Date.now } = this.#parts
    await database.write.transaction().execute(async (db) => {
      const row = await db
        .selectFrom('deliveries')
        .selectAll()
        .where('id', '=', delivery)
        .where('notice', '=', notice)
        .executeTakeFirst()
      if (!row) throw failure('NOT_FOUND', 'There is no such delivery.')
      const newer = await db
        .selectFrom('deliveries')
        .select('revision')
        .where('notice', '=', notice)
        .where('channel', '=', row.channel)
        .where('target', '=', row.target)
        .where('revision', '>', row.revision)
        .executeTakeFirst()
      if (newer)
        throw failure('PARAMETER_INVALID', `Revision ${newer.revision} took its place: send that one again.`)
      const document = await db
        .selectFrom('documents')
        .select('document_json')
        .where('kind', '=', 'channel')
        .where('id', '=', row.channel)
        .executeTakeFirst()
      if (!document) throw failure('NOT_FOUND', `The channel "${row.channel}" was deleted.`)
      const { giveUpAfterMs } = JSON.parse(document.document_json) as Channel
      const changed = await db
        .updateTable('deliveries')
        .set({
          state: 'waiting',
          due_at_ms: now(),
          give_up_at_ms: now() + giveUpAfterMs,
          done_at_ms: null,
          why: null,
        })
        .where('id', '=', delivery)
        .where('state', '=', row.state)
        .returning('id')
        .execute()
      if (changed.length > 0 && row.state !== 'waiting') await enter(db, row.channel, { made: 1 })
    })
    this.#outbox.wake()
    this.#parts.onNews({ is: 'notice', id: notice, camera: undefined })
  }

  #tell(settled: readonly Settled[]): void {
    const ids = new Set<string>()
    for (const { delivery, state } of settled) {
      ids.add(delivery.notice)
      this.#count(state === 'waiting' ? 'failed' : state, 1)
    }
    for (const id of ids) this.#parts.onNews({ is: 'notice', id, camera: cameraOf(settled, id) })
  }

  /** Never rejects. */
  readBooks(): Promise<void> {
    this.#reading ??= this.#readBooks()
      .catch(() => {}) // the outbox says so
      .finally(() => {
        this.#reading = undefined
      })
    return this.#reading
  }

  async #readBooks(): Promise<void> {
    const { write } = this.#parts.database
    const { made, sent, givenUp, notSent } = await write
      .selectFrom('notice_books')
      .select(({ fn }) => [
        fn.sum<number>('made').as('made'),
        fn.sum<number>('sent').as('sent'),
        fn.sum<number>('given_up').as('givenUp'),
        fn.sum<number>('not_sent').as('notSent'),
      ])
      .executeTakeFirstOrThrow()
    const oldest = await write
      .selectFrom('deliveries')
      .select(({ fn }) => fn.min('made_at_ms').as('at'))
      .where('state', '=', 'waiting')
      .executeTakeFirst()
    const [accepted, forwarded, up, not] = [made, sent, givenUp, notSent].map(Number) as [
      number,
      number,
      number,
      number,
    ]
    this.#books = {
      ...NAME,
      accepted,
      forwarded,
      pending: accepted - forwarded - up - not,
      dropped: { ...(up > 0 && { 'given up': up }), ...(not > 0 && { 'not sent': not }) },
      bytes: 0,
      oldestAtMs: oldest?.at == null ? null : Number(oldest.at),
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer)
    await this.#retention?.[Symbol.asyncDispose]()
    await this.#outbox[Symbol.asyncDispose]()
    await this.#reading
  }
}

const NAME = { name: 'notices' }

function cameraOf(settled: readonly Settled[], notice: string): CameraAddress | undefined {
  return settled.find(({ delivery }) => delivery.notice === notice)?.camera
}

function countersOf(metrics: Registry, books: () => QueueBooks): (state: string, by: number) => void {
  const attempts = counter(
    metrics,
    'console_notice_deliveries_total',
    'Attempts to deliver notices, by what came of them; failed: it is tried again',
    ['outcome'],
  )
  gauge(
    metrics,
    'console_notices',
    'The books of notices: made = sent + given up + not sent + waiting',
    ['is'],
    (made) => {
      const { accepted, forwarded, pending, dropped } = books()
      made.set({ is: 'made' }, accepted)
      made.set({ is: 'sent' }, forwarded)
      made.set({ is: 'waiting' }, pending)
      for (const is of ['given up', 'not sent']) made.set({ is }, dropped[is] ?? 0)
    },
  )
  return (outcome, by) => attempts.inc({ outcome }, by)
}

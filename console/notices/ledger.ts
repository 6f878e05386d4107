import type { Kysely, Transaction } from 'kysely'
import { Backoff } from '../../lib/backoff.ts'
import type { CameraAddress } from '../../wire/topics.ts'
import type { DeliveriesTable, Tables } from '../database/tables.ts'
import { type BookColumn, enter } from './book.ts'
import type { Outcome } from './outcome.ts'

/** Writes down what came of attempts: many in one transaction, since each of them waits for the disk. */

export interface Result {
  readonly delivery: DeliveriesTable
  readonly camera: CameraAddress | undefined
  readonly atMs: number
  readonly durationMs: number
  readonly outcome: Outcome
  /** The receiver takes others: what fails is tried again soon. */
  readonly isWell?: boolean
}

/** A delivery as it is now. */
export interface Settled {
  readonly delivery: DeliveriesTable
  readonly state: DeliveriesTable['state']
  readonly why: string | null
  /** Of its notice. */
  readonly camera: CameraAddress | undefined
}

export interface LedgerParts {
  readonly write: Kysely<Tables>
  readonly onSettled: (settled: readonly Settled[]) => void
  readonly onFault: (error: unknown) => void
  readonly now: () => number
  readonly retry: { readonly delayMsMin: number; readonly delayMsMax: number }
}

const RESULTS_A_TRANSACTION = 256
const DATABASE_RETRY = { delayMsMin: 100, delayMsMax: 5_000 }
/** Of one delivery, the first and the last attempts are kept: a receiver that is away for a week must not fill the database. */
const FIRST_ATTEMPTS_KEPT = 5
const LAST_ATTEMPTS_KEPT = 20
const OVERDUE_A_LOOK = 500
const WELL_RETRY_MS_MAX = 60_000

interface Waiting {
  readonly result: Result
  readonly done: PromiseWithResolvers<void>
  readonly signal: AbortSignal
}

export class Ledger implements AsyncDisposable {
  readonly #parts: LedgerParts
  #waiting: Waiting[] = []
  #writing: Promise<void> | undefined

  private constructor(parts: LedgerParts) {
    this.#parts = parts
  }

  static open(parts: LedgerParts): Ledger {
    return new Ledger(parts)
  }

  /** @returns when it is on the disk. Rejects where the signal ends it before: it is tried again until then. */
  write(result: Result, signal: AbortSignal): Promise<void> {
    const done = Promise.withResolvers<void>()
    this.#waiting.push({ result, done, signal })
    this.#writing ??= this.#writeAll().finally(() => {
      this.#writing = undefined
    })
    return done.promise
  }

  async #writeAll(): Promise<void> {
    const backoff = new Backoff(DATABASE_RETRY)
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.slice(0, RESULTS_A_TRANSACTION)
      try {
        const settled = await this.#parts.write.transaction().execute((db) =>
          this.#settle(
            db,
            batch.map(({ result }) => result),
          ),
        )
        this.#waiting = this.#waiting.slice(batch.length)
        this.#parts.onSettled(settled)
        for (const { done } of batch) done.resolve()
        backoff.reset()
      } catch (error) {
        this.#parts.onFault(error)
        const over = this.#waiting.filter(({ signal }) => signal.aborted)
        this.#waiting = this.#waiting.filter(({ signal }) => !signal.aborted)
        for (const { done } of over) done.reject(error)
        const signal = this.#waiting[0]?.signal
        if (signal) await backoff.wait(signal).catch(() => {})
      }
    }
  }

  async #settle(db: Transaction<Tables>, results: readonly Result[]): Promise<Settled[]> {
    const settled: Settled[] = []
    const books = new Map<string, Partial<Record<BookColumn, number>>>()
    const count = (channel: string, columns: readonly BookColumn[]) => {
      const of = books.get(channel) ?? {}
      books.set(channel, of)
      for (const column of columns) of[column] = (of[column] ?? 0) + 1
    }
    await keepAttempts(db, results)
    const sentNow = await this.#settleSent(db, results)
    for (const result of results) {
      const { delivery, outcome } = result
      const number = delivery.attempts + 1
      const next = this.#next(result)
      if (sentNow.has(delivery.id)) {
        count(delivery.channel, ['sent'])
        settled.push({ delivery, state: next.state, why: next.why, camera: result.camera })
        continue
      }
      const changed = await db
        .updateTable('deliveries')
        .set({ ...next, attempts: outcome.is === 'not sent' ? delivery.attempts : number })
        .where('id', '=', delivery.id)
        .where('state', '=', 'waiting')
        .returning('id')
        .execute()
      if (changed.length > 0) {
        if (next.state !== 'waiting') count(delivery.channel, [COLUMN_OF[next.state]])
      } else if (outcome.is === 'sent') {
        // A newer revision has taken its place meanwhile, and it was sent all the same: that counts as one more.
        const sent = await db
          .updateTable('deliveries')
          .set({ state: 'sent', done_at_ms: this.#parts.now(), attempts: number, why: null })
          .where('id', '=', delivery.id)
          .returning('id')
          .execute()
        if (sent.length > 0) count(delivery.channel, ['made', 'sent'])
      }
      settled.push({ delivery, state: next.state, why: next.why, camera: result.camera })
    }
    for (const channel of [...books.keys()].sort())
      await enter(db, channel, books.get(channel) as Partial<Record<BookColumn, number>>)
    return settled
  }

  /** Most are: all in one statement. @returns their ids */
  async #settleSent(db: Transaction<Tables>, results: readonly Result[]): Promise<ReadonlySet<string>> {
    const ids = results.flatMap(({ delivery, outcome }) => (outcome.is === 'sent' ? [delivery.id] : []))
    if (ids.length === 0) return new Set()
    const rows = await db
      .updateTable('deliveries')
      .set((it) => ({
        state: 'sent',
        done_at_ms: this.#parts.now(),
        attempts: it('attempts', '+', 1),
        why: null,
      }))
      .where('id', 'in', ids)
      .where('state', '=', 'waiting')
      .returning('id')
      .execute()
    return new Set(rows.map(({ id }) => id))
  }

  #next({
    delivery,
    outcome,
    isWell = false,
  }: Result): Pick<DeliveriesTable, 'state' | 'due_at_ms' | 'done_at_ms' | 'why'> {
    const nowMs = this.#parts.now()
    const { due_at_ms } = delivery
    if (outcome.is === 'sent') return { state: 'sent', due_at_ms, done_at_ms: nowMs, why: null }
    if (outcome.is === 'not sent')
      return { state: 'not sent', due_at_ms, done_at_ms: nowMs, why: outcome.why }
    if (outcome.final) return { state: 'given up', due_at_ms, done_at_ms: nowMs, why: outcome.why }
    const { delayMsMin, delayMsMax } = this.#parts.retry
    const ceilingMs = Math.min(
      isWell ? WELL_RETRY_MS_MAX : delayMsMax,
      delayMsMax,
      delayMsMin * 2 ** Math.min(delivery.attempts, 30),
    )
    const delayMs = Math.max(outcome.retryAfterMs ?? 0, ceilingMs / 2 + (Math.random() * ceilingMs) / 2)
    const dueAtMs = Math.round(nowMs + delayMs)
    if (dueAtMs < delivery.give_up_at_ms)
      return { state: 'waiting', due_at_ms: dueAtMs, done_at_ms: null, why: outcome.why }
    const why = `Not delivered within ${inWords(delivery.give_up_at_ms - delivery.made_at_ms)}. ${outcome.why}`
    return { state: 'given up', due_at_ms, done_at_ms: nowMs, why }
  }

  /** What waited too long, behind others of its line or because this program was not there. */
  async giveUpOverdue(underWay: readonly string[]): Promise<void> {
    const nowMs = this.#parts.now()
    const { write } = this.#parts
    let query = write
      .selectFrom('deliveries')
      .selectAll()
      .where('state', '=', 'waiting')
      .where('give_up_at_ms', '<=', nowMs)
    if (underWay.length > 0) query = query.where('id', 'not in', [...underWay])
    const overdue = await query.limit(OVERDUE_A_LOOK).execute()
    if (overdue.length === 0) return
    const settled = await write.transaction().execute(async (db) => {
      const books = new Map<string, number>()
      const gone: Settled[] = []
      for (const delivery of overdue) {
        const why = `Not delivered within ${inWords(delivery.give_up_at_ms - delivery.made_at_ms)}.${delivery.why === null ? '' : ` ${delivery.why}`}`
        const changed = await db
          .updateTable('deliveries')
          .set({ state: 'given up', done_at_ms: nowMs, why })
          .where('id', '=', delivery.id)
          .where('state', '=', 'waiting')
          .returning('id')
          .execute()
        if (changed.length === 0) continue
        books.set(delivery.channel, (books.get(delivery.channel) ?? 0) + 1)
        gone.push({ delivery, state: 'given up', why, camera: undefined })
      }
      for (const channel of [...books.keys()].sort())
        await enter(db, channel, { given_up: books.get(channel) })
      return gone
    })
    this.#parts.onSettled(settled)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writing
  }
}

async function keepAttempts(db: Transaction<Tables>, results: readonly Result[]): Promise<void> {
  const rows = results.flatMap(({ delivery, atMs, durationMs, outcome }) =>
    outcome.is === 'not sent'
      ? []
      : [
          {
            delivery: delivery.id,
            number: delivery.attempts + 1,
            at_ms: atMs,
            duration_ms: durationMs,
            status: outcome.status ?? null,
            code: outcome.is === 'failed' ? (outcome.code ?? null) : null,
            answer: outcome.answer ?? null,
          },
        ],
  )
  if (rows.length > 0)
    await db
      .insertInto('attempts')
      .values(rows)
      .onConflict((it) => it.columns(['delivery', 'number']).doNothing())
      .execute()
  for (const { delivery, number } of rows)
    if (number - LAST_ATTEMPTS_KEPT > FIRST_ATTEMPTS_KEPT)
      await db
        .deleteFrom('attempts')
        .where('delivery', '=', delivery)
        .where('number', '=', number - LAST_ATTEMPTS_KEPT)
        .execute()
}

const COLUMN_OF = { sent: 'sent', 'given up': 'given_up', 'not sent': 'not_sent' } as const

const UNITS = [
  ['day', 86_400_000],
  ['hour', 3_600_000],
  ['minute', 60_000],
  ['second', 1000],
] as const

/** `24 hours`, `90 minutes`. */
function inWords(exactMs: number): string {
  const ms = Math.round(exactMs / 1000) * 1000
  const [unit, unitMs] = UNITS.find(([, size]) => ms >= 2 * size) ?? ['second', 1000]
  return `${Math.round(ms / unitMs)} ${unit}s`
}

import { setTimeout as sleep } from 'node:timers/promises'
import { type Kysely, sql } from 'kysely'
import { Backoff } from '../../lib/backoff.ts'
import { asFailure, type SightlineError } from '../../lib/errors.ts'
import { type Log, throttled } from '../../lib/log.ts'
import type { Database } from '../database/database.ts'
import type { DeliveriesTable, Tables } from '../database/tables.ts'
import { channelsOf, type KeptNotice, placeOf } from './book.ts'
import type { Channel } from './channel.ts'
import { Ledger, type Result, type Settled } from './ledger.ts'
import type { Outcome } from './outcome.ts'
import { Targets } from './targets.ts'
import { Width } from './width.ts'

/**
 * Delivers what the book has: what is due is taken from the database, tried, and what came of it is written down before the
 * next of its line goes out. A kill in between leaves it waiting, and it goes out again under the same id: at least once. A
 * database that is away holds it up, and loses nothing.
 */

export interface Due {
  readonly delivery: DeliveriesTable
  readonly channel: Channel
  readonly notice: KeptNotice
  readonly changedAtMs: number
}

export interface OutboxParts {
  readonly database: Pick<Database, 'read' | 'write'>
  /** Never rejects but when the signal is aborted. */
  readonly deliver: (due: Due, signal: AbortSignal) => Promise<Outcome>
  readonly onSettled: (settled: readonly Settled[]) => void
  readonly log: Log
  readonly now?: () => number
  readonly retry?: { readonly delayMsMin: number; readonly delayMsMax: number }
}

/** Under way at once, all channels together; there are at most CHANNELS_MAX, and each has one place for sure. */
const UNDER_WAY_MAX = 256
export const CHANNELS_MAX = 200
/** Of one push channel: many receivers in one. */
const PUSH_UNDER_WAY_MAX = 64
/** A quick one follows a wake; without one it looks this often, for clocks that are set and what other programs wrote. */
const LOOK_MS_MAX = 5_000
/** What ends within it is followed by one look, not many. */
const GATHER_MS = 4
const OVERDUE_LOOK_MS = 1_000
/** What is under way at the end may still be answered within this time; then it goes out again at the next start. */
const DRAIN_MS_MAX = 3_000
export const RETRY = { delayMsMin: 1_000, delayMsMax: 900_000 }
const DATABASE_RETRY = { delayMsMin: 200, delayMsMax: 15_000 }

export class Outbox implements AsyncDisposable {
  readonly #parts: OutboxParts
  readonly #now: () => number
  readonly #stopping = new AbortController()
  readonly #ending = new AbortController()
  readonly #ledger: Ledger
  /** By delivery. */
  readonly #underWay = new Map<string, Promise<void>>()
  readonly #busyLines = new Set<string>()
  readonly #widths = new Map<string, Width>()
  readonly #targets: Targets
  #running: Promise<void> | undefined
  #wake: () => void = () => {}
  #isWoken = false
  #swept = Number.NEGATIVE_INFINITY
  #fault: SightlineError | undefined

  private constructor(parts: OutboxParts) {
    this.#parts = parts
    this.#now = parts.now ?? Date.now
    this.#targets = new Targets((parts.retry ?? RETRY).delayMsMin)
    this.#ledger = Ledger.open({
      write: parts.database.write,
      onSettled: parts.onSettled,
      onFault: (error) => this.#complain(error),
      now: this.#now,
      retry: parts.retry ?? RETRY,
    })
  }

  static open(parts: OutboxParts): Outbox {
    return new Outbox(parts)
  }

  /** Begins to deliver: what waits since the last run takes nothing from who starts beside it. */
  start(): void {
    if (!this.#stopping.signal.aborted) this.#running ??= this.#run()
  }

  /** Why it stands still, for people. */
  get fault(): string | undefined {
    return this.#fault?.message
  }

  get underWay(): number {
    return this.#underWay.size
  }

  wake(): void {
    this.#isWoken = true
    this.#wake()
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping
    const backoff = new Backoff(DATABASE_RETRY)
    while (!signal.aborted)
      try {
        this.#isWoken = false
        const nextMs = await this.#look()
        this.#fault = undefined
        backoff.reset()
        await sleep(GATHER_MS, undefined, { signal }).catch(() => {})
        await this.#rest(nextMs)
      } catch (error) {
        this.#complain(error)
        await backoff.wait(signal).catch(() => {})
      }
  }

  #complain(error: unknown): void {
    this.#fault = asFailure(error)
    this.#warn()
  }

  readonly #warn = throttled((count) =>
    this.#parts.log.error(
      { code: this.#fault?.code, count },
      `notices wait: ${this.#fault?.message ?? 'the database does not answer'}`,
    ),
  )

  async #rest(ms: number): Promise<void> {
    const { signal } = this.#stopping
    if (this.#isWoken || signal.aborted) return
    const woken = Promise.withResolvers<void>()
    this.#wake = woken.resolve
    const timer = setTimeout(woken.resolve, ms)
    signal.addEventListener('abort', woken.resolve as () => void, { once: true })
    await woken.promise
    signal.removeEventListener('abort', woken.resolve as () => void)
    clearTimeout(timer)
  }

  /** Starts what is due. @returns when there will be more, ms from now */
  async #look(): Promise<number> {
    // What is read was written before: nothing here waits for the disk. What ends meanwhile is known by `own` (#dueOf).
    const { read } = this.#parts.database
    const nowMs = this.#now()
    if (performance.now() - this.#swept >= OVERDUE_LOOK_MS) {
      this.#swept = performance.now()
      await this.#ledger.giveUpOverdue([...this.#underWay.keys()])
    }
    const waiting = await waitingChannels(read)
    const ready = waiting.filter(
      ({ channel, due_at_ms, target }) =>
        Number(due_at_ms) <= nowMs && this.#widthOf(channel, Boolean(target)).free > 0,
    )
    const channels = await channelsOf(
      read,
      ready.map(({ channel }) => channel),
    )
    let nextMs = LOOK_MS_MAX
    for (const { due_at_ms } of waiting)
      if (Number(due_at_ms) > nowMs) nextMs = Math.min(nextMs, Number(due_at_ms) - nowMs)
    for (const { channel } of ready) {
      const width = this.#widthOf(channel, false)
      const free = Math.min(width.free, UNDER_WAY_MAX - this.#underWay.size)
      if (free <= 0) continue // one that ends wakes
      nextMs = Math.min(nextMs, await this.#start(channel, channels.get(channel), width, free, nowMs))
    }
    return Math.max(nextMs, 1)
  }

  /** @returns when the channel's next is due, as far as that is known */
  async #start(
    id: string,
    channel: Channel | undefined,
    width: Width,
    free: number,
    nowMs: number,
  ): Promise<number> {
    const { due, more } = await this.#dueOf(id, free, nowMs)
    const notices = await this.#noticesOf(due)
    for (const delivery of due) {
      const notice = notices.get(delivery.notice)
      if (!channel?.enabled || !notice)
        this.#settle(delivery, width, {
          is: 'not sent',
          why: !channel
            ? `The channel "${id}" was deleted.`
            : notice
              ? `The channel "${channel.name}" is turned off.`
              : 'The notice was deleted.',
        })
      else
        this.#settle(delivery, width, {
          delivery,
          channel,
          notice: JSON.parse(notice.notice_json) as KeptNotice,
          changedAtMs: notice.changed_at_ms,
        })
    }
    if (more) return 1
    // There may be more: what ends looks again.
    if (due.length === free) return LOOK_MS_MAX
    // Those in retry; what is behind others of its line is looked for as they end.
    const next = await this.#parts.database.read
      .selectFrom('deliveries')
      .select(({ fn }) => fn.min('due_at_ms').as('at'))
      .where('channel', '=', id)
      .where('state', '=', 'waiting')
      .where('due_at_ms', '>', nowMs)
      .executeTakeFirst()
    return next?.at == null ? LOOK_MS_MAX : Number(next.at) - nowMs
  }

  /** The first ones of their lines, the oldest first. `more`: behind those of browsers that have one under way now */
  async #dueOf(
    channel: string,
    free: number,
    nowMs: number,
  ): Promise<{ readonly due: DeliveriesTable[]; readonly more: boolean }> {
    const busy = this.#targets.busy(nowMs)
    const own = [...this.#underWay.keys()]
    let query = this.#parts.database.read
      .selectFrom('deliveries as it')
      .selectAll('it')
      .where('it.channel', '=', channel)
      .where('it.state', '=', 'waiting')
      .where('it.due_at_ms', '<=', nowMs)
      .where(({ not, exists, selectFrom }) =>
        not(
          exists(
            selectFrom('deliveries as before')
              .select('before.id')
              .where('before.state', '=', 'waiting')
              .whereRef('before.channel', '=', 'it.channel')
              .whereRef('before.target', '=', 'it.target')
              .whereRef('before.line', '=', 'it.line')
              .whereRef('before.id', '<', 'it.id'),
          ),
        ),
      )
    if (own.length > 0) query = query.where('it.id', 'not in', own)
    if (busy.length > 0) query = query.where('it.target', 'not in', busy)
    const rows = await query.orderBy('it.due_at_ms').orderBy('it.id').limit(free).execute()
    // One that was replaced while it was under way does not wait any more, and yet its line is busy.
    const due: DeliveriesTable[] = []
    let passed = 0
    for (const row of rows) {
      if (this.#busyLines.has(lineOf(row))) continue
      if (row.target !== '') {
        if (!this.#targets.isFree(row.target, nowMs)) {
          passed += 1
          continue
        }
        this.#targets.begin(row.target)
      }
      due.push(row)
    }
    return { due, more: passed > 0 && rows.length === free && due.length > 0 }
  }

  async #noticesOf(due: readonly DeliveriesTable[]) {
    if (due.length === 0) return new Map<string, { notice_json: string; changed_at_ms: number }>()
    const rows = await this.#parts.database.read
      .selectFrom('notices')
      .select(['id', 'notice_json', 'changed_at_ms'])
      .where('id', 'in', [...new Set(due.map(({ notice }) => notice))])
      .execute()
    return new Map(rows.map((row) => [row.id, row]))
  }

  #settle(delivery: DeliveriesTable, width: Width, what: Due | Outcome): void {
    const line = lineOf(delivery)
    width.begin()
    this.#busyLines.add(line)
    const working = this.#work(delivery, what, width)
      .then((outcome) => {
        const isGood = outcome.is !== 'failed'
        // Of a browser that fails, others have nothing to do with it.
        width.end(delivery.target !== '' && !isGood ? undefined : isGood)
        if (delivery.target !== '') this.#targets.end(delivery.target, isGood, this.#now())
      })
      // Only where the program stops: the next start finds it waiting.
      .catch(() => width.end(false))
      .finally(() => {
        this.#underWay.delete(delivery.id)
        this.#busyLines.delete(line)
        this.wake()
      })
    this.#underWay.set(delivery.id, working)
  }

  async #work(delivery: DeliveriesTable, what: Due | Outcome, width: Width): Promise<Outcome> {
    const atMs = this.#now()
    const began = performance.now()
    const outcome = 'is' in what ? what : await this.#parts.deliver(what, this.#ending.signal)
    const durationMs = Math.round(performance.now() - began)
    const camera = 'notice' in what ? placeOf(what.notice) : undefined
    const result: Result = { delivery, camera, atMs, durationMs, outcome, isWell: width.isWell }
    await this.#ledger.write(result, this.#ending.signal)
    return outcome
  }

  #widthOf(channel: string, isPush: boolean): Width {
    const known = this.#widths.get(channel)
    if (known) return known
    // Of channels that are gone: those that have nothing under way say nothing any more.
    if (this.#widths.size >= 2 * CHANNELS_MAX)
      for (const [id, width] of this.#widths) if (width.underWay === 0) this.#widths.delete(id)
    const width = new Width(isPush ? PUSH_UNDER_WAY_MAX : undefined)
    this.#widths.set(channel, width)
    return width
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort(new Error('the console is stopping'))
    await this.#running
    const drained = new AbortController()
    await Promise.race([
      Promise.all(this.#underWay.values()),
      sleep(DRAIN_MS_MAX, undefined, { signal: drained.signal }).catch(() => {}),
    ])
    drained.abort()
    this.#ending.abort(new Error('the console is stopping'))
    await Promise.all(this.#underWay.values())
    await this.#ledger[Symbol.asyncDispose]()
  }
}

/** From one channel to the next along the index of what waits: as a grouping, all that waits would be read each time. */
async function waitingChannels(read: Kysely<Tables>) {
  const { rows } = await sql<{
    channel: string
    due_at_ms: number
    target: string
  }>`with recursive found(channel) as (
      select min(channel) from deliveries where state = 'waiting'
      union all
      select (select min(d.channel) from deliveries as d where d.state = 'waiting' and d.channel > found.channel)
        from found where found.channel is not null)
    select channel, (select min(d.due_at_ms) from deliveries as d
        where d.state = 'waiting' and d.channel = found.channel) as due_at_ms,
      -- Of push all have one, of others none.
      (select d.target from deliveries as d
        where d.state = 'waiting' and d.channel = found.channel limit 1) as target
      from found where channel is not null order by channel`.execute(read)
  // One may have been delivered meanwhile.
  return rows.filter(({ due_at_ms }) => due_at_ms !== null)
}

const lineOf = ({ channel, target, line }: DeliveriesTable) => JSON.stringify([channel, target, line])

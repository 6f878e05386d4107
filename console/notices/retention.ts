import { setTimeout as sleep } from 'node:timers/promises'
import type { Kysely, Transaction } from 'kysely'
import { asFailure } from '../../lib/errors.ts'
import { type Log, throttled } from '../../lib/log.ts'
import type { Tables } from '../database/tables.ts'
import { enter, type KeptNotice, parts } from './book.ts'

/** How long notices are kept: a time, and no more than a number, so that a rule on arrivals does not fill the disk. */

export const NOTICES_KEPT_MAX = 1_000_000
const LOOK_MS = 300_000
/** Small transactions, and others get in between. */
const NOTICES_A_TRANSACTION = 200
const PAUSE_MS = 20
const IDS_A_STATEMENT = 1000

export interface RetentionParts {
  readonly write: Kysely<Tables>
  readonly keepMs: number
  readonly keptMax?: number
  readonly log: Log
  readonly now?: () => number
  readonly everyMs?: number
}

export class Retention implements AsyncDisposable {
  readonly #parts: RetentionParts
  readonly #abort = new AbortController()
  readonly #running: Promise<void>

  private constructor(parts: RetentionParts) {
    this.#parts = parts
    this.#running = this.#run()
  }

  static open(parts: RetentionParts): Retention {
    return new Retention(parts)
  }

  async #run(): Promise<void> {
    const { log, everyMs = LOOK_MS } = this.#parts
    const { signal } = this.#abort
    let fault: unknown
    const warn = throttled((count) =>
      log.warn(
        { count, code: asFailure(fault).code },
        `old notices stay for now: ${asFailure(fault).message}`,
      ),
    )
    while (!signal.aborted) {
      try {
        await this.#sweep()
      } catch (error) {
        if (signal.aborted) return
        fault = error
        warn()
      }
      await sleep(everyMs, undefined, { signal, ref: false }).catch(() => {})
    }
  }

  async #sweep(): Promise<void> {
    const { write, keepMs, keptMax = NOTICES_KEPT_MAX, now = Date.now } = this.#parts
    const { signal } = this.#abort
    const { count } = await write
      .selectFrom('notices')
      .select((it) => it.fn.countAll<number>().as('count'))
      .executeTakeFirstOrThrow()
    let excess = Number(count) - keptMax
    while (!signal.aborted) {
      // The oldest; what is still to be delivered stays until it was, or was given up.
      let query = write
        .selectFrom('notices')
        .select('id')
        .where(({ not, exists, selectFrom }) =>
          not(
            exists(
              selectFrom('deliveries')
                .select('deliveries.id')
                .whereRef('deliveries.notice', '=', 'notices.id')
                .where('deliveries.state', '=', 'waiting'),
            ),
          ),
        )
      if (excess <= 0) query = query.where('changed_at_ms', '<', now() - keepMs)
      const rows = await query
        .orderBy('changed_at_ms')
        .orderBy('id')
        .limit(excess > 0 ? Math.min(excess, NOTICES_A_TRANSACTION) : NOTICES_A_TRANSACTION)
        .execute()
      if (rows.length === 0) return
      await write.transaction().execute((db) =>
        remove(
          db,
          rows.map(({ id }) => id),
        ),
      )
      excess -= rows.length
      await sleep(PAUSE_MS, undefined, { signal }).catch(() => {})
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort()
    await this.#running
  }
}

async function remove(db: Transaction<Tables>, ids: readonly string[]): Promise<void> {
  await db
    .deleteFrom('attempts')
    .where('delivery', 'in', (it) =>
      it
        .selectFrom('deliveries')
        .select('id')
        .where('notice', 'in', [...ids]),
    )
    .execute()
  await db
    .deleteFrom('deliveries')
    .where('notice', 'in', [...ids])
    .execute()
  await db
    .deleteFrom('notices')
    .where('id', 'in', [...ids])
    .execute()
}

/**
 * What is forgotten is gone from notices too: they no longer name it, and what only told of it (an arrival) goes out no
 * more. In the transaction in which it is forgotten. @param ids of detections and chunks of recordings
 */
export async function forgetInNotices(
  db: Transaction<Tables>,
  ids: readonly string[],
  nowMs: number,
): Promise<void> {
  for (const part of parts(ids, IDS_A_STATEMENT)) {
    const rows = await db
      .selectFrom('notices')
      .select(['id', 'notice_json'])
      .where('object', 'in', part)
      .execute()
    for (const { id, notice_json } of rows) {
      const { detection: _detection, object, track: _track, ...rest } = JSON.parse(notice_json) as KeptNotice
      await db
        .updateTable('notices')
        .set({ object: null, notice_json: JSON.stringify(rest) })
        .where('id', '=', id)
        .execute()
      if (!object) continue
      const gone = await db
        .updateTable('deliveries')
        .set({ state: 'not sent', done_at_ms: nowMs, why: 'What it told of was deleted.' })
        .where('notice', '=', id)
        .where('state', '=', 'waiting')
        .returning('channel')
        .execute()
      for (const channel of [...new Set(gone.map((it) => it.channel))].sort())
        await enter(db, channel, { not_sent: gone.filter((it) => it.channel === channel).length })
    }
  }
}

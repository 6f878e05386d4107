import { asFailure } from '../../lib/errors.ts'
import { type Log, throttled } from '../../lib/log.ts'
import { newId } from '../../wire/id.ts'
import type { Database } from '../database/database.ts'
import type { Decision } from './fact.ts'
import { pathOf } from './looked.ts'

/**
 * Why something was sent, and why not: the newest decisions of all rules, in a table. The same of a rule and a camera is written
 * once a minute, with how often it was. They are written in batches, and beside everything else: what a program that is
 * killed did not write yet is lost, which notices never are.
 */

export const DECISIONS_MAX = 10_000
/** The same again within this time only counts. */
const SAME_MS = 60_000
const WRITE_INTERVAL_MS = 2_000
/** Not written yet: more are passed over while the database is away. */
const WAITING_MAX = 5_000
const ROWS_A_STATEMENT = 256
/** The table is cut to its size once in so many rows. */
const TRIM_ROWS = 500

interface Waiting {
  readonly id: string
  readonly decision: Decision
  times: number
  /** It is in the table, with so many times. */
  written: number
}

export interface DecisionsParts {
  readonly database: Database
  readonly log: Log
  readonly writeIntervalMs?: number
}

export class Decisions implements AsyncDisposable {
  readonly #parts: DecisionsParts
  /** By what makes them the same; oldest first. */
  readonly #recent = new Map<string, Waiting>()
  readonly #unwritten = new Set<Waiting>()
  readonly #timer: NodeJS.Timeout
  readonly #warn: () => void
  #writing: Promise<void> | undefined
  #sinceTrim = TRIM_ROWS
  #fault = ''

  private constructor(parts: DecisionsParts) {
    this.#parts = parts
    this.#warn = throttled((count) =>
      parts.log.warn({ count }, `decisions of rules wait for the database: ${this.#fault}`),
    )
    this.#timer = setInterval(() => void this.flush(), parts.writeIntervalMs ?? WRITE_INTERVAL_MS).unref()
  }

  static open(parts: DecisionsParts): Decisions {
    return new Decisions(parts)
  }

  add(decisions: readonly Decision[]): void {
    for (const decision of decisions) {
      const { scenario, rule, camera, what, atMs } = decision
      const key = `${scenario} ${rule} ${camera ? pathOf(camera) : ''} ${what}`
      const same = this.#recent.get(key)
      if (same && atMs - same.decision.atMs < SAME_MS) {
        same.times += 1
        this.#unwritten.add(same)
        continue
      }
      if (this.#unwritten.size >= WAITING_MAX) continue
      const made = { id: newId(), decision, times: 1, written: 0 }
      this.#recent.delete(key)
      this.#recent.set(key, made)
      this.#unwritten.add(made)
      for (const [oldest, { decision: old }] of this.#recent) {
        if (atMs - old.atMs < SAME_MS && this.#recent.size <= WAITING_MAX) break
        this.#recent.delete(oldest)
      }
    }
  }

  /** Resolves when what was added so far is in the table, or could not be written. */
  async flush(): Promise<void> {
    await this.#writing
    if (this.#unwritten.size === 0) return
    this.#writing = this.#write().finally(() => {
      this.#writing = undefined
    })
    await this.#writing
  }

  async #write(): Promise<void> {
    const due = [...this.#unwritten].map((waiting) => ({ waiting, times: waiting.times }))
    this.#unwritten.clear()
    try {
      await this.#parts.database.write.transaction().execute(async (transaction) => {
        const fresh = due.filter(({ waiting }) => waiting.written === 0)
        for (let at = 0; at < fresh.length; at += ROWS_A_STATEMENT)
          await transaction
            .insertInto('decisions')
            .values(
              fresh
                .slice(at, at + ROWS_A_STATEMENT)
                .map(({ waiting: { id, decision }, times }) => rowOf(id, decision, times)),
            )
            .execute()
        for (const { waiting, times } of due)
          if (waiting.written > 0)
            await transaction.updateTable('decisions').set({ times }).where('id', '=', waiting.id).execute()
        this.#sinceTrim += fresh.length
        if (this.#sinceTrim < TRIM_ROWS) return
        await transaction
          .deleteFrom('decisions')
          .where('id', '<=', (it) =>
            it.selectFrom('decisions').select('id').orderBy('id', 'desc').limit(1).offset(DECISIONS_MAX),
          )
          .execute()
        this.#sinceTrim = 0
      })
      for (const { waiting, times } of due) waiting.written = times
    } catch (error) {
      for (const { waiting } of due) this.#unwritten.add(waiting)
      this.#fault = asFailure(error).message
      this.#warn()
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer)
    await this.flush()
  }
}

const rowOf = (id: string, it: Decision, times: number) => ({
  id,
  at_ms: it.atMs,
  scenario: it.scenario,
  rule: it.rule,
  camera: it.camera ? pathOf(it.camera) : null,
  track: it.track ?? null,
  what: it.what,
  until_ms: it.untilMs ?? null,
  text: it.text,
  times,
})

import type { Transaction } from 'kysely'
import { asFailure } from '../../lib/errors.ts'
import { type Log, throttled } from '../../lib/log.ts'
import type { CameraAddress } from '../../wire/topics.ts'
import type { Fleet, NoticeBook, PublishedScenarios } from '../context.ts'
import type { Applied } from '../database/announcements.ts'
import type { Database } from '../database/database.ts'
import { EVERYTHING } from '../database/scope.ts'
import type { Tables } from '../database/tables.ts'
import { Decisions } from './decisions.ts'
import { type Draft, type EngineOptions, RuleEngine } from './engine.ts'
import type { Fact } from './fact.ts'
import type { Suspension } from './held-back.ts'
import type { Outcome, StateChange } from './journal.ts'
import type { Said } from './memory.ts'
import { endSuspension, type KeptSuspension, listSuspensions, writeSuspension } from './suspensions.ts'

/**
 * Rules at work. What the indexer writes they see in its transaction, and their notices are written there: both are on disk, or
 * neither. What is live (events, states, reports) goes through a queue, and is written in a transaction of its own. One at a
 * time, whichever it is: whoever has its turn asks for the transaction then, never the other way round.
 */

/** Live facts that wait; more, and the oldest are lost, as on their way. */
const WAITING_MAX = 20_000
const FACTS_A_TURN = 500
const RETRY_MS = 1_000
/** Timers count to this at most. */
const SLEEP_MS_MAX = 60_000
/** Of faces; and of all else. */
const STATES_MAX = 100_000
/** Faces of before a restart that are counted at most. */
const RECALLED_MAX = 20_000
const STATES_A_STATEMENT = 200
const TIDY_INTERVAL_MS = 3_600_000
const FACE_KEPT_MS = 2 * 3_600_000
const COOLDOWN_KEPT_MS = 8 * 86_400_000
/** Passing: the same is tried again. */
const PASSING = new Set([
  'DATABASE_UNREACHABLE',
  'DATABASE_DENIED',
  'DATABASE_TIMEOUT',
  'DATABASE_BUSY',
  'DATABASE_DAMAGED',
  'DISK_FULL',
])

export interface RulesParts {
  readonly database: Database
  readonly scenarios: PublishedScenarios
  readonly notices: NoticeBook
  readonly fleet: Pick<Fleet, 'cameras' | 'devices' | 'keepers'>
  readonly log: Log
  readonly schedule: Pick<EngineOptions, 'holds' | 'changesAtMs'>
  readonly now?: () => number
}

/** In the transaction, after what is announced. */
export type Within = (transaction: Transaction<Tables>, applied: Applied) => Promise<void>

export class Rules implements AsyncDisposable {
  readonly #parts: RulesParts
  readonly #now: () => number
  readonly #engine: RuleEngine
  readonly #decisions: Decisions
  readonly #abort = new AbortController()
  readonly #timers: NodeJS.Timeout[] = []
  readonly #warn: () => void
  readonly #unfollow: () => void
  #waiting: Fact[] = []
  #lost = 0
  #turn: Promise<unknown> = Promise.resolve()
  #draining: Promise<void> | undefined
  #alarm: NodeJS.Timeout | undefined
  #fault: string | undefined

  private constructor(parts: RulesParts) {
    this.#parts = parts
    this.#now = parts.now ?? Date.now
    const { database, log, fleet, schedule, scenarios } = parts
    this.#engine = new RuleEngine({ ...schedule, cameras: () => fleet.cameras })
    this.#decisions = Decisions.open({ database, log })
    this.#warn = throttled((count) =>
      log.error({ count, lost: this.#lost }, `rules wait: ${this.#fault ?? 'something failed'}`),
    )
    this.#unfollow = scenarios.follow(() => void this.#changed())
  }

  /** Goes on where the last run ended. Errors: those of the database */
  static async open(parts: RulesParts): Promise<Rules> {
    const rules = new Rules(parts)
    try {
      await rules.#start()
    } catch (error) {
      await rules[Symbol.asyncDispose]()
      throw error
    }
    return rules
  }

  /** Whether a rule looks at events of faces. */
  get wantsEvents(): boolean {
    return this.#engine.wantsEvents
  }

  /** Why something waits, for people; undefined: nothing does. */
  get fault(): string | undefined {
    return this.#fault
  }

  async #start(): Promise<void> {
    const { database, scenarios } = this.#parts
    this.#engine.setScenarios(scenarios.published)
    await this.#tidy()
    // Faces, of which a device can make any number, leave room for cooldowns and for what lasts.
    const rows = database.write.selectFrom('rule_states').selectAll().limit(STATES_MAX)
    const others = await rows.where('key', 'not like', 'o:%').execute()
    const faces = await rows.where('key', 'like', 'o:%').orderBy('noticed_at_ms', 'desc').execute()
    this.#engine.load([...others, ...faces.reverse()].map(stateOf), this.#now())
    await this.#loadSuspensions()
    await this.#recall()
    this.#look()
    this.#timers.push(setInterval(() => void this.#tidy().catch(() => {}), TIDY_INTERVAL_MS).unref())
  }

  /**
   * For who writes announcements: rules see what is new in it, in its transaction.
   * @param apply is given what is to be called in the transaction, each time that it is tried
   */
  async indexing(apply: (within: Within) => Promise<Applied>): Promise<Applied> {
    if (this.#engine.rules === 0) return apply(async () => {})
    return this.#inTurn(async () => {
      let draft: Draft | undefined
      let own: unknown
      const within: Within = async (transaction, applied) => {
        // Another try: the last one never was.
        draft?.rollback()
        draft = this.#engine.draft()
        try {
          this.#consider(draft, factsOf(applied))
          await this.#write(transaction, draft.outcome)
        } catch (error) {
          own = error
          throw error
        }
      }
      try {
        const applied = await apply(within)
        this.#committed(draft)
        return applied
      } catch (error) {
        draft?.rollback()
        if (own === undefined || own !== error || PASSING.has(asFailure(error).code)) throw error
        // What rules make of it must not keep it out of the database.
        this.#parts.log.error(
          { code: asFailure(error).code },
          `notices could not be written, and were left out: ${asFailure(error).message}`,
        )
        return apply(async () => {})
      }
    })
  }

  /** Something that is live. */
  take(fact: Fact): void {
    if (this.#engine.rules === 0 || this.#abort.signal.aborted) return
    this.#waiting.push(fact)
    if (this.#waiting.length > WAITING_MAX) {
      this.#waiting.splice(0, this.#waiting.length - WAITING_MAX)
      this.#lost += 1
      this.#fault ??= 'there are more facts than can be looked at'
      this.#warn()
    }
    this.#wake()
  }

  suspensions(): Promise<readonly KeptSuspension[]> {
    return listSuspensions(this.#parts.database, this.#now())
  }

  async suspend(suspension: KeptSuspension): Promise<void> {
    await writeSuspension(this.#parts.database, suspension, this.#now())
    await this.#loadSuspensions()
  }

  /** @returns false where there is none */
  async resume(suspension: Omit<Suspension, 'untilMs'>): Promise<boolean> {
    const was = await endSuspension(this.#parts.database, suspension)
    await this.#loadSuspensions()
    return was
  }

  /** Resolves when all that came so far was looked at, and decisions are in the database. */
  async settled(): Promise<void> {
    while (this.#draining) await this.#draining
    await this.#turn.catch(() => {})
    await this.#decisions.flush()
  }

  async #loadSuspensions(): Promise<void> {
    this.#engine.setSuspensions(await listSuspensions(this.#parts.database, this.#now()))
    this.#wake()
  }

  /** Scenarios were changed. */
  #changed(): Promise<void> {
    return this.#inTurn(async () => {
      const forgotten = this.#engine.setScenarios(this.#parts.scenarios.published)
      this.#look()
      try {
        for (const { scenario, rule } of forgotten)
          await this.#parts.database.write
            .deleteFrom('rule_states')
            .where('scenario', '=', scenario)
            .where('rule', '=', rule)
            .execute()
      } catch (error) {
        this.#parts.log.warn({ code: asFailure(error).code }, asFailure(error).message)
      }
    }).catch((error: unknown) => {
      this.#parts.log.error({ error: String(error) }, 'rules could not be changed')
    })
  }

  /** Everything as it is now. */
  #look(): void {
    const { cameras, devices, keepers } = this.#parts.fleet
    for (const device of devices) this.take({ is: 'device', device })
    for (const camera of cameras) this.take({ is: 'camera', camera })
    for (const keeper of keepers) this.take({ is: 'keeper', keeper })
    this.#wake()
  }

  /** Faces that are counted still. */
  async #recall(): Promise<void> {
    const windowMs = this.#engine.windowMsMax
    if (windowMs === 0) return
    const faces = []
    const fromMs = this.#now() - windowMs
    for await (const page of this.#parts.database.export({ fromMs }, EVERYTHING, this.#abort.signal)) {
      faces.push(...page)
      if (faces.length >= RECALLED_MAX) break
    }
    for (const face of faces.reverse()) this.#engine.recall(face, this.#now())
  }

  async #tidy(): Promise<void> {
    const now = this.#now()
    const { database } = this.#parts
    for (const [keys, keptMs] of [
      ['o:%', FACE_KEPT_MS],
      ['c:%', COOLDOWN_KEPT_MS],
    ] as const)
      await database.write
        .deleteFrom('rule_states')
        .where('key', 'like', keys)
        .where('noticed_at_ms', '<', now - keptMs)
        .execute()
    await database.write.deleteFrom('suspensions').where('until_ms', '<=', now).execute()
  }

  #wake(): void {
    if (this.#draining || this.#abort.signal.aborted) return
    this.#draining = this.#drain().finally(() => {
      this.#draining = undefined
      this.#arm()
      if (this.#waiting.length > 0) this.#wake()
    })
  }

  /** For what becomes due. */
  #arm(): void {
    clearTimeout(this.#alarm)
    const dueMs = this.#engine.nextDueMs
    if (dueMs === undefined || this.#abort.signal.aborted) return
    const inMs = Math.min(Math.max(0, dueMs - this.#now()), SLEEP_MS_MAX)
    this.#alarm = setTimeout(() => this.#wake(), inMs).unref()
  }

  async #drain(): Promise<void> {
    do {
      const facts = this.#waiting.splice(0, FACTS_A_TURN)
      try {
        await this.#inTurn(() => this.#takeLive(facts))
        this.#fault = undefined
      } catch (error) {
        const { code, message } = asFailure(error)
        this.#fault = message
        this.#warn()
        if (!PASSING.has(code)) continue // what cannot be written holds up nothing else
        this.#waiting.unshift(...facts)
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, RETRY_MS)
          this.#abort.signal.addEventListener('abort', () => resolve(clearTimeout(timer)), { once: true })
        })
      }
    } while (this.#waiting.length > 0 && !this.#abort.signal.aborted)
  }

  async #takeLive(facts: readonly Fact[]): Promise<void> {
    const draft = this.#engine.draft()
    try {
      this.#consider(draft, facts)
      const { notices, states } = draft.outcome
      if (notices.length + states.length > 0)
        await this.#parts.database.write
          .transaction()
          .execute((transaction) => this.#write(transaction, draft.outcome))
    } catch (error) {
      draft.rollback()
      throw error
    }
    this.#committed(draft)
  }

  /** A fact that a rule fails at is passed over: the others go on. */
  #consider(draft: Draft, facts: readonly Fact[]): void {
    const now = this.#now()
    const attempt = (work: () => void) => {
      try {
        work()
      } catch (error) {
        this.#parts.log.error({ error: String(error) }, 'a rule failed at a fact, which was passed over')
      }
    }
    attempt(() => draft.look(now))
    for (const fact of facts) attempt(() => draft.take(fact, now))
  }

  async #write(transaction: Transaction<Tables>, { notices, states }: Outcome): Promise<void> {
    if (notices.length > 0) await this.#parts.notices.write(transaction, notices)
    // The last of each key is what holds.
    const last = new Map(states.map((it) => [`${it.scenario} ${it.rule} ${it.key}`, it]))
    const rows = [...last.values()].sort((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1))
    const kept = rows.flatMap((it) => (it.row ? [rowOf(it, it.row)] : []))
    for (let at = 0; at < kept.length; at += STATES_A_STATEMENT)
      await transaction
        .insertInto('rule_states')
        .values(kept.slice(at, at + STATES_A_STATEMENT))
        .onConflict((it) =>
          it.columns(['scenario', 'rule', 'key']).doUpdateSet(({ ref }) => ({
            noticed_at_ms: ref('excluded.noticed_at_ms'),
            since_ms: ref('excluded.since_ms'),
            notice: ref('excluded.notice'),
          })),
        )
        .execute()
    for (const { scenario, rule, key, row } of rows)
      if (!row)
        await transaction
          .deleteFrom('rule_states')
          .where('scenario', '=', scenario)
          .where('rule', '=', rule)
          .where('key', '=', key)
          .execute()
  }

  #committed(draft: Draft | undefined): void {
    if (!draft) return
    draft.commit()
    const { notices, decisions } = draft.outcome
    this.#decisions.add(decisions)
    if (notices.length > 0) this.#parts.notices.wake()
    this.#arm()
  }

  #inTurn<Result>(work: () => Promise<Result>): Promise<Result> {
    const result = this.#turn.then(work, work)
    this.#turn = result.catch(() => {})
    return result
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#unfollow()
    this.#abort.abort(new Error('the console is stopping'))
    for (const timer of this.#timers) clearInterval(timer)
    clearTimeout(this.#alarm)
    await this.#draining
    await this.#turn
    await this.#decisions[Symbol.asyncDispose]()
  }
}

const factsOf = ({ added, addedClips }: Applied): Fact[] => [
  ...added.map((detection): Fact => ({ is: 'face', detection })),
  ...addedClips.map((clip): Fact => ({ is: 'clip', clip })),
]

const nameOf = ({ scenario, rule, key }: StateChange) => `${scenario} ${rule} ${key}`

const rowOf = (
  { scenario, rule, key }: StateChange,
  { noticedAtMs, sinceMs, said }: NonNullable<StateChange['row']>,
) => ({
  scenario,
  rule,
  key,
  noticed_at_ms: noticedAtMs,
  since_ms: sinceMs,
  notice: said && JSON.stringify(said),
})

function stateOf(row: Tables['rule_states']): StateChange {
  const { scenario, rule, key, noticed_at_ms: noticedAtMs, since_ms: sinceMs, notice } = row
  return {
    scenario,
    rule,
    key,
    row: { noticedAtMs, sinceMs, said: notice === null ? null : (JSON.parse(notice) as Said) },
  }
}

/** Cameras as they are in decisions and suspensions. */
export function addressOf(path: string): CameraAddress {
  const [site = '', device = '', camera = ''] = path.split('/')
  return { site, device, camera }
}

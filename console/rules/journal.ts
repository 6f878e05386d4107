import type { Decision, NewNotice } from './fact.ts'
import type { Compiled, Said } from './memory.ts'
import type { Subject } from './subject.ts'

/** What is kept of a rule across a restart; `row` undefined: it is over. */
export interface StateChange {
  readonly scenario: string
  readonly rule: string
  readonly key: string
  readonly row:
    | { readonly noticedAtMs: number | null; readonly sinceMs: number | null; readonly said: Said | null }
    | undefined
}

export interface Outcome {
  readonly notices: readonly NewNotice[]
  readonly states: readonly StateChange[]
  readonly decisions: readonly Decision[]
}

/** What comes of the facts of one draft, and how to take back what it changed in memory. */
export class Journal {
  #undo: (() => void)[] | undefined
  #outcome: { notices: NewNotice[]; states: StateChange[]; decisions: Decision[] } = emptyOutcome()

  /** One draft at a time. @returns what comes of it */
  begin(): Outcome {
    if (this.#undo) throw new Error('there is a draft already')
    this.#undo = []
    this.#outcome = emptyOutcome()
    return this.#outcome
  }

  commit(): void {
    this.#undo = undefined
  }

  rollback(): void {
    const steps = this.#undo ?? []
    this.#undo = undefined
    for (const step of steps.reverse()) step()
  }

  /** @param step takes back what was just changed */
  undo(step: () => void): void {
    this.#undo?.push(step)
  }

  set<Value>(map: Map<string, Value>, key: string, value: Value): void {
    const before = map.get(key)
    this.undo(() => {
      if (before === undefined) map.delete(key)
      else map.set(key, before)
    })
    map.set(key, value)
  }

  delete<Value>(map: Map<string, Value>, key: string): void {
    const before = map.get(key)
    if (before === undefined) return
    this.undo(() => map.set(key, before))
    map.delete(key)
  }

  notice(notice: NewNotice): void {
    this.#outcome.notices.push(notice)
  }

  decide(
    { published, rule }: Compiled,
    { camera, track }: Pick<Subject, 'camera' | 'track'>,
    what: Decision['what'],
    atMs: number,
    text: string,
    untilMs?: number,
  ): void {
    this.#outcome.decisions.push({
      atMs,
      scenario: published.id,
      rule: rule.id,
      camera,
      track,
      what,
      ...(untilMs !== undefined && { untilMs }),
      text,
    })
  }

  keep({ published, rule }: Compiled, key: string, row: StateChange['row']): void {
    this.#outcome.states.push({ scenario: published.id, rule: rule.id, key, row })
  }
}

const emptyOutcome = () => ({ notices: [], states: [], decisions: [] })

import type { CameraAddress } from '../../wire/topics.ts'
import type { Schedule } from '../scenarios/schedule.ts'
import type { Decision } from './fact.ts'
import { pathOf } from './looked.ts'
import type { Compiled, Memory } from './memory.ts'
import { duration } from './sentences.ts'
import type { Subject } from './subject.ts'

/** Of one rule: a hundred a second is a flood, not something that anybody hears of. Of arrivals each one is told. */
const NOTICES_A_MINUTE_MAX = 6_000
const MINUTE_MS = 60_000

export interface Hours {
  /** Whether a schedule holds then. */
  readonly holds: (schedule: Schedule, atMs: number) => boolean
  /** When one begins or ends to hold next. Absent, or undefined: it is looked at again and again. */
  readonly changesAtMs?: (schedule: Schedule, atMs: number) => number | undefined
}

export interface Suspension {
  readonly scenario: string
  /** Absent: of all. */
  readonly rule?: string
  readonly camera?: string
  readonly untilMs: number
}

/** When notices are suspended until, by scenario, rule and camera. */
export class Suspended {
  readonly #untilMs: ReadonlyMap<string, number>

  constructor(suspensions: readonly Suspension[]) {
    this.#untilMs = new Map(
      suspensions.map(({ scenario, rule = '', camera = '', untilMs }) => [
        `${scenario} ${rule} ${camera}`,
        untilMs,
      ]),
    )
  }

  /** 0: they are not. */
  untilMs(scenario: string, rule: string, camera: CameraAddress | undefined): number {
    if (this.#untilMs.size === 0) return 0
    let untilMs = 0
    for (const of of camera ? ['', pathOf(camera)] : [''])
      for (const one of ['', rule])
        untilMs = Math.max(untilMs, this.#untilMs.get(`${scenario} ${one} ${of}`) ?? 0)
    return untilMs
  }
}

/** What is in the way of a notice. @param cooldownKey what it is one of */
export function heldBack(
  { published, rule, memory }: Compiled,
  cooldownKey: string,
  { atMs, camera }: Subject,
  nowMs: number,
  { holds, changesAtMs, suspended }: Hours & { readonly suspended: Suspended },
): (Pick<Decision, 'what' | 'text'> & { readonly untilMs?: number | undefined }) | undefined {
  if (!published.isActive(Math.min(atMs, nowMs)))
    return {
      what: 'outside schedule',
      text: "It is outside the scenario's schedule.",
      untilMs: published.scenario.schedule && changesAtMs?.(published.scenario.schedule, nowMs),
    }
  const untilMs = suspended.untilMs(published.id, rule.id, camera)
  if (untilMs > nowMs) return { what: 'suspended', untilMs, text: 'Notices are suspended.' }
  if (rule.quiet && holds(rule.quiet, nowMs))
    return {
      what: 'quiet hours',
      text: 'These are quiet hours of the rule.',
      untilMs: changesAtMs?.(rule.quiet, nowMs),
    }
  const noticedMs = memory.noticedAtMs.get(cooldownKey)
  if (noticedMs !== undefined && noticedMs + rule.cooldownMs > nowMs)
    return {
      what: 'cooldown',
      untilMs: noticedMs + rule.cooldownMs,
      text: `There was a notice less than ${duration(rule.cooldownMs)} ago.`,
    }
  const { minute } = memory
  if (rule.on !== 'arrival' && nowMs - minute.startMs < MINUTE_MS && minute.notices >= NOTICES_A_MINUTE_MAX)
    return {
      what: 'too many',
      untilMs: minute.startMs + MINUTE_MS,
      text: `The rule has made ${NOTICES_A_MINUTE_MAX} notices within a minute.`,
    }
  return undefined
}

/** One more of this minute. */
export function countNotice({ minute }: Memory, nowMs: number): void {
  if (nowMs - minute.startMs >= MINUTE_MS) {
    minute.startMs = nowMs
    minute.notices = 0
  }
  minute.notices += 1
}

import type { CameraAddress } from '../../wire/topics.ts'
import type { PublishedScenario } from '../context.ts'
import { COUNTED_MAX, type Test, testOf } from './conditions.ts'
import { compileExpression, type Values } from './expression.ts'
import type { Decision, NewNotice } from './fact.ts'
import type { Rule } from './rule.ts'
import type { Subject } from './subject.ts'

/** A rule as the engine has it, and what it remembers. */

/** Faces that one rule counts, of all cameras together. */
const COUNTED_OF_RULE_MAX = 100_000

/** A notice that was made, for what changes it later. */
export interface Said {
  readonly key: string
  /** Of its picture: a greater one is better. */
  readonly rank: number
  readonly notice: NewNotice['notice']
  readonly camera?: CameraAddress
}

/** Of a face, a photo, an object. */
export interface Occurrence {
  readonly touchedMs: number
  readonly said?: Said
  /** It becomes so unless something comes between. */
  readonly pending?: { readonly dueMs: number; readonly subject: Subject; readonly zone: string | undefined }
}

/** What is so, since when; and whether that was said. */
export interface Lasting {
  readonly sinceMs: number
  readonly dueMs: number | undefined
  readonly heldBack: Decision['what'] | undefined
  readonly said: Said | undefined
  readonly subject: Subject | undefined
}

export interface Memory {
  readonly occurrences: Map<string, Occurrence>
  readonly lasting: Map<string, Lasting>
  readonly noticedAtMs: Map<string, number>
  /** By key, who was counted, and when; oldest first. */
  readonly windows: Map<string, Map<string, number>>
  counted: number
  /** Windows that are looked at when their oldest is too old. */
  readonly aging: Set<string>
  /** Of rules for a whole scenario: what each camera, device or program adds. */
  readonly members: Map<string, number>
  hasFailed: boolean
  readonly minute: { startMs: number; notices: number }
}

export interface Compiled {
  readonly published: PublishedScenario
  readonly rule: Rule
  readonly test: Test
  /** Without what kind of event it is: whether what is held is still so. */
  readonly still: Test
  readonly expression: ((values: Values) => boolean) | undefined
  readonly fingerprint: string
  readonly memory: Memory
}

export const nameOf = ({ published, rule }: Pick<Compiled, 'published' | 'rule'>) =>
  `${published.id}/${rule.id}`

export function compile(published: PublishedScenario, rule: Rule, known: Compiled | undefined): Compiled {
  const { on, conditions, expression, holdMs, per } = rule
  const fingerprint = JSON.stringify([on, conditions, expression, holdMs, per])
  const { trackEvents, zoneEvents, ...others } = conditions
  return {
    published,
    rule,
    test: testOf(rule),
    still: testOf({ on, conditions: others }),
    expression: expression === undefined ? undefined : compileExpression(expression, on),
    fingerprint,
    memory: known?.fingerprint === fingerprint ? known.memory : emptyMemory(),
  }
}

const emptyMemory = (): Memory => ({
  occurrences: new Map(),
  lasting: new Map(),
  noticedAtMs: new Map(),
  windows: new Map(),
  counted: 0,
  aging: new Set(),
  members: new Map(),
  hasFailed: false,
  minute: { startMs: 0, notices: 0 },
})

/** All that was timed by a clock that was set back. When faces were counted is by their devices' clocks. */
export function setBack({ occurrences, lasting, noticedAtMs, minute }: Memory, byMs: number): void {
  for (const [key, it] of occurrences) {
    const { touchedMs, pending } = it
    occurrences.set(key, {
      ...it,
      touchedMs: touchedMs - byMs,
      ...(pending && { pending: { ...pending, dueMs: pending.dueMs - byMs } }),
    })
  }
  for (const [key, it] of lasting)
    lasting.set(key, {
      ...it,
      sinceMs: it.sinceMs - byMs,
      dueMs: it.dueMs === undefined ? undefined : it.dueMs - byMs,
    })
  for (const [key, atMs] of noticedAtMs) noticedAtMs.set(key, atMs - byMs)
  minute.startMs -= byMs
}

/** Cameras that a scenario has no more: nobody will say that it has ended there. */
export function forgetUncovered({ published, rule, memory }: Compiled): void {
  if (rule.on === 'device' || rule.on === 'keeper') return
  const isUncovered = (key: string) => {
    const [site = '', device = '', camera, ...rest] = key.split('/')
    return camera !== undefined && rest.length === 0 && !published.covers({ site, device, camera })
  }
  for (const map of [memory.lasting, memory.windows, memory.members])
    for (const key of map.keys()) if (isUncovered(key)) map.delete(key)
}

function uncount(memory: Memory, key: string, who: string, before: number | undefined): void {
  const window = memory.windows.get(key)
  if (!window?.has(who)) return
  if (before === undefined) {
    window.delete(who)
    memory.counted -= 1
  } else {
    window.set(who, before)
    memory.windows.set(key, new Map([...window].sort(([, a], [, b]) => a - b)))
  }
}

/** Of what lasts and is not for the whole scenario: each camera, device or program. */
export const memberKey = ({ per }: Rule, path: string) => (per === 'scenario' ? '' : path)

/** Counts somebody once more. @returns what takes it back, as long as he was not counted again */
export function countIn(memory: Memory, key: string, who: string, atMs: number): () => void {
  let window = memory.windows.get(key)
  if (!window) {
    window = new Map()
    memory.windows.set(key, window)
  }
  // Moved to the end: oldest first.
  const before = window.get(who)
  if (before === undefined) memory.counted += 1
  else window.delete(who)
  window.set(who, Math.max(atMs, before ?? 0))
  if (window.size > COUNTED_MAX || memory.counted > COUNTED_OF_RULE_MAX) {
    for (const oldest of window.keys()) {
      window.delete(oldest)
      memory.counted -= 1
      break
    }
  }
  return () => uncount(memory, key, who, before)
}

/** How many there are still. */
export function countedOf({ rule, memory }: Compiled, key: string, nowMs: number): number {
  const window = memory.windows.get(key)
  if (!window) return 0
  const fromMs = nowMs - (rule.conditions.windowMs ?? 0)
  for (const [who, atMs] of window) {
    if (atMs > fromMs) break
    window.delete(who)
    memory.counted -= 1
  }
  if (window.size === 0) memory.windows.delete(key)
  return window.size
}

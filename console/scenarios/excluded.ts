import { testOf } from '../rules/conditions.ts'
import { compileExpression } from '../rules/expression.ts'
import type { Decision, Fact } from '../rules/fact.ts'
import { type Looked, lookAtCamera, lookAtDevice, lookAtEvent, lookAtFace } from '../rules/looked.ts'
import type { Conditions, Rule } from '../rules/rule.ts'

/** Why a rule that is tried tells of so little: which of its conditions kept out most of what it looked at. Pure. */

export interface Excluded {
  /** As a rule has it: `zones`, `scoreMin`, `expression`, `cooldownMs`, `quiet`, `holdMs`; of its scenario `schedule`. */
  readonly condition: string
  /** Of how many it was not so, or which it held back. */
  readonly count: number
}

type Test = (it: Looked) => boolean

/** Those are of many facts together. */
const NOT_OF_ONE = new Set(['moreThan', 'fewerThan', 'windowMs'])
const CONDITION_OF: Partial<Record<Decision['what'], string>> = {
  'outside schedule': 'schedule',
  'quiet hours': 'quiet',
  cooldown: 'cooldownMs',
}

export class Exclusions {
  readonly #rule: Rule
  readonly #tests: readonly (readonly [string, Test])[]
  /** By face, camera or device: what some of it did not meet; undefined: it met everything once. */
  readonly #seen = new Map<string, Set<string> | undefined>()
  readonly #heldBack = new Map<string, number>()

  constructor(rule: Rule) {
    this.#rule = rule
    const { on, conditions, expression } = rule
    const names = Object.keys(conditions) as (keyof Conditions)[]
    this.#tests = names
      .filter((name) => conditions[name] !== undefined && !NOT_OF_ONE.has(name))
      .map((name) => [name, testOf({ on, conditions: { [name]: conditions[name] } })] as const)
    if (expression !== undefined) {
      const says = compileExpression(expression, on)
      this.#tests = [...this.#tests, ['expression', (it) => isSo(() => says(it.values()))]]
    }
  }

  /** Faces, cameras or devices that the rule looked at, each one once. */
  get looked(): number {
    return this.#seen.size
  }

  look(fact: Fact): void {
    const seen = seenBy(this.#rule, fact)
    if (!seen) return
    const [key, looked] = seen
    const failed = this.#tests.filter(([, test]) => !test(looked)).map(([name]) => name)
    if (failed.length === 0) this.#seen.set(key, undefined)
    else if (!this.#seen.has(key)) this.#seen.set(key, new Set(failed))
    else for (const name of failed) this.#seen.get(key)?.add(name)
  }

  decided({ what }: Decision): void {
    const name = CONDITION_OF[what]
    if (name !== undefined) this.#heldBack.set(name, (this.#heldBack.get(name) ?? 0) + 1)
  }

  /** @param count how many notices it would have made */
  most(count: number): Excluded | undefined {
    const counts = new Map(this.#heldBack)
    let passed = 0
    for (const failed of this.#seen.values())
      if (!failed) passed += 1
      else for (const name of failed) counts.set(name, (counts.get(name) ?? 0) + 1)
    if (count === 0 && passed > 0 && this.#heldBack.size === 0) {
      const { on, holdMs } = this.#rule
      const name = on === 'count' ? 'moreThan' : holdMs > 0 ? 'holdMs' : undefined
      if (name !== undefined) counts.set(name, passed)
    }
    const [most] = [...counts].sort(([, a], [, b]) => b - a)
    return most && { condition: most[0], count: most[1] }
  }
}

/** Which one it is, and what a rule sees of it; undefined: it does not look at such. */
function seenBy({ on }: Rule, fact: Fact): readonly [string, Looked] | undefined {
  switch (fact.is) {
    case 'face':
      if (on !== 'face' && on !== 'count' && on !== 'arrival') return undefined
      return [
        on === 'arrival' ? fact.detection.id : (fact.detection.track ?? fact.detection.id),
        lookAtFace(fact.detection),
      ]
    case 'event': {
      const { type, after } = fact.event
      const isOfZone = type === 'enter' || type === 'leave' || type === 'stay'
      return on === (isOfZone ? 'zone' : 'track') ? [after.id, lookAtEvent(fact.event)] : undefined
    }
    case 'camera': {
      const looked = lookAtCamera(fact.camera)
      return on === 'camera' ? [looked.path, looked] : undefined
    }
    case 'device': {
      const looked = lookAtDevice(fact.device)
      return on === 'device' ? [looked.path, looked] : undefined
    }
    default:
      return undefined
  }
}

/** What cannot be evaluated is not so. */
function isSo(says: () => boolean): boolean {
  try {
    return says()
  } catch {
    return false
  }
}

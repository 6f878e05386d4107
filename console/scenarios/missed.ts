import type { Detection } from '../database/detection.ts'
import { testOf } from '../rules/conditions.ts'
import { compileExpression } from '../rules/expression.ts'
import { lookAtFace } from '../rules/looked.ts'
import type { Conditions, Rule } from '../rules/rule.ts'

/** Why a rule that was tried has found nothing: at how many faces it looked, and what most of them did not meet. Pure. */

export interface Missed {
  /** Faces of the scenario's cameras, each picture one, the newest. */
  readonly faces: number
  /** The condition that most of them did not meet, and how many did not; absent where each one alone was met by all. */
  readonly most?: { readonly condition: keyof Conditions | 'expression'; readonly faces: number }
}

/** The newest are enough to say what stands in the way; a rule looks at them in one go. */
const FACES_MAX = 5000

/** What can be asked of a single picture. */
const OF_PICTURES = ['zones', 'scoreMin', 'qualityMin', 'sizeMin', 'masked', 'attributes'] as const

/** @returns undefined for rules that do not look at faces */
export function missedBy(rule: Rule, faces: readonly Detection[]): Missed | undefined {
  const { on, conditions, expression } = rule
  if (on !== 'face' && on !== 'track' && on !== 'zone' && on !== 'count') return undefined
  const looked = faces.slice(-FACES_MAX).map(lookAtFace)
  const tests = OF_PICTURES.filter((name) => conditions[name] !== undefined).map((name) => ({
    condition: name as keyof Conditions | 'expression',
    test: testOf({ on: 'face', conditions: { [name]: conditions[name] } }),
  }))
  if (expression !== undefined && on === 'face') {
    const holds = compileExpression(expression, on)
    tests.push({ condition: 'expression', test: (it) => isSo(() => holds(it.values())) })
  }
  const [most] = tests
    .map(({ condition, test }) => ({ condition, faces: looked.filter((it) => !test(it)).length }))
    .filter(({ faces }) => faces > 0)
    .sort((a, b) => b.faces - a.faces)
  return { faces: looked.length, ...(most && { most }) }
}

/** What cannot be said of a face is not so. */
function isSo(ask: () => boolean): boolean {
  try {
    return ask()
  } catch {
    return false
  }
}

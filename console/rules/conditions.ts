import { checkExpression, type ExpressionProblem } from './expression.ts'
import type { Looked } from './looked.ts'
import type { Conditions, FactKind, Rule } from './rule.ts'

/** Conditions of a rule to what tells whether a fact meets them; and what is wrong with a rule as it is written. Pure. */

const OF_FACES = ['zones', 'scoreMin', 'qualityMin', 'sizeMin', 'masked', 'attributes'] as const

/** Which conditions each kind of fact knows. */
export const CONDITIONS_OF: Readonly<Record<FactKind, readonly (keyof Conditions)[]>> = {
  face: OF_FACES,
  track: ['zones', 'trackEvents', 'scoreMin', 'sizeMin'],
  zone: ['zones', 'zoneEvents', 'scoreMin', 'sizeMin'],
  presence: ['zones', 'moreThan', 'fewerThan'],
  count: [...OF_FACES, 'moreThan', 'windowMs'],
  camera: ['states'],
  device: ['states'],
  keeper: ['states', 'programs'],
  arrival: ['kinds'],
}

type State = NonNullable<Conditions['states']>[number]

export const STATES_OF: Readonly<Record<'camera' | 'device' | 'keeper', readonly State[]>> = {
  camera: [
    ...(['down', 'offline', 'paused', 'waiting', 'ended', 'covered', 'turned', 'frozen'] as const),
    ...(['not recording', 'not looking', 'without servers', 'processor down'] as const),
  ],
  device: ['offline'],
  keeper: ['unwell', 'silent'],
}

/** How many faces a rule may count: each is remembered for its time. */
export const COUNTED_MAX = 10_000

/** What is so for a while, rather than in a moment: it begins, may be held, and ends. */
export const isLasting = (kind: FactKind) =>
  kind === 'presence' || kind === 'count' || kind === 'camera' || kind === 'device' || kind === 'keeper'

export interface RuleProblem {
  /** In the rule: `conditions.zones`, `expression`, `holdMs`. */
  readonly path: string
  readonly message: string
  /** Of an expression: where in it. */
  readonly expression?: ExpressionProblem
}

/** What is wrong with it beyond its form; none: it can be published. */
export function ruleProblems(rule: Rule): RuleProblem[] {
  const { on, conditions, expression, holdMs } = rule
  const problems: RuleProblem[] = []
  const wrong = (path: string, message: string) => problems.push({ path, message })
  const has = (name: keyof Conditions) => conditions[name] !== undefined
  for (const [name, value] of Object.entries(conditions))
    if (value !== undefined && !(CONDITIONS_OF[on] as readonly string[]).includes(name))
      wrong(
        `conditions.${name}`,
        `A rule on "${on}" does not know this condition. It knows: ${CONDITIONS_OF[on].join(', ')}.`,
      )
  if (on === 'presence' && !has('moreThan') && !has('fewerThan') && expression === undefined)
    wrong('conditions', 'A rule on "presence" needs "moreThan", "fewerThan" or an expression.')
  if (on === 'count') {
    if (!has('windowMs') || conditions.windowMs === 0)
      wrong('conditions.windowMs', 'A rule on "count" needs the time within which it counts.')
    if (!has('moreThan')) wrong('conditions.moreThan', 'A rule on "count" needs "moreThan".')
    else if ((conditions.moreThan ?? 0) >= COUNTED_MAX)
      wrong('conditions.moreThan', `A rule counts to at most ${COUNTED_MAX}.`)
  }
  if (on === 'camera' || on === 'device' || on === 'keeper') {
    if (!conditions.states?.length && expression === undefined)
      wrong('conditions.states', `A rule on "${on}" needs a state or an expression.`)
    for (const state of conditions.states ?? [])
      if (!STATES_OF[on].includes(state))
        wrong(
          'conditions.states',
          `"${state}" is no state of a ${on === 'keeper' ? 'program' : on}. Known are: ${STATES_OF[on].join(', ')}.`,
        )
  }
  for (const name of ['zones', 'zoneEvents', 'trackEvents', 'states', 'programs', 'kinds'] as const)
    if (conditions[name]?.length === 0)
      wrong(`conditions.${name}`, 'It is empty, so that nothing would meet it. Leave it out.')
  if (holdMs > 0 && (on === 'face' || on === 'arrival'))
    wrong(
      'holdMs',
      `A rule on "${on}" looks at single ${on === 'face' ? 'pictures' : 'objects'}, which do not last. Use "track", "zone" or "presence".`,
    )
  if (expression !== undefined) {
    const checked = checkExpression(expression, on)
    if (!checked.ok)
      problems.push({ path: 'expression', message: checked.fault.message, expression: checked.fault })
  }
  return problems
}

export type Test = (it: Looked) => boolean

/** All conditions that ask for one fact alone; `moreThan`, `fewerThan` and `windowMs` are the engine's. */
export function testOf({ conditions, on }: Pick<Rule, 'conditions' | 'on'>): Test {
  const tests: Test[] = []
  const { zones, zoneEvents, trackEvents, scoreMin, qualityMin, sizeMin, masked } = conditions
  // Of a zone event it is the zone that it is about; the face may have left it.
  if (zones && on !== 'presence') {
    const wanted = new Set(zones)
    tests.push(
      on === 'zone'
        ? (it) => it.zone !== undefined && wanted.has(it.zone)
        : (it) => it.zones.some((zone) => wanted.has(zone)),
    )
  }
  if (zoneEvents) tests.push(isOneOf(zoneEvents, (it) => it.event))
  if (trackEvents) tests.push(isOneOf(trackEvents, (it) => it.event))
  if (scoreMin !== undefined) tests.push((it) => it.score >= scoreMin)
  if (qualityMin !== undefined) tests.push((it) => it.quality >= qualityMin)
  if (sizeMin !== undefined) tests.push((it) => it.size >= sizeMin)
  if (masked !== undefined) tests.push((it) => it.masked === masked)
  for (const { name, labels, scoreMin: least = 0 } of conditions.attributes ?? []) {
    const wanted = new Set(labels)
    tests.push(({ attributes }) =>
      attributes.some((one) => one.name === name && wanted.has(one.label) && one.score >= least),
    )
  }
  const { states, programs, kinds } = conditions
  if (states) {
    const wanted = new Set<string>(states)
    tests.push((it) => it.states.some((state) => wanted.has(state)))
  }
  if (programs) tests.push(isOneOf(programs, (it) => it.program))
  if (kinds) tests.push(isOneOf(kinds, (it) => it.kind))
  return every(tests)
}

function isOneOf(list: readonly string[], of: (it: Looked) => string | undefined): Test {
  const wanted = new Set(list)
  return (it) => {
    const value = of(it)
    return value !== undefined && wanted.has(value)
  }
}

function every(tests: readonly Test[]): Test {
  const [first, second, ...more] = tests
  if (!first) return () => true
  if (!second) return first
  const rest = every(more)
  return more.length === 0 ? (it) => first(it) && second(it) : (it) => first(it) && second(it) && rest(it)
}

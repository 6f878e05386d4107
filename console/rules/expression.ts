import { type ASTNode, Environment, EvaluationError, ParseError } from '@marcbachmann/cel-js'
import { failure } from '../../lib/errors.ts'
import { EXPRESSION_CHARACTERS_MAX, type FactKind } from './rule.ts'
import { ELEMENTS_MAX, VARIABLES } from './variables.ts'

/**
 * Expressions of rules, in CEL: read, checked and bounded when they are saved, so that one costs microseconds whatever is
 * written in it. Only what is named here may be called: what grows texts in loops, and patterns, which can take for ever, is
 * not. Pure; nothing is compiled to code.
 */

const LIMITS = {
  maxAstNodes: 200,
  maxDepth: 20,
  maxListElements: 64,
  maxMapEntries: 16,
  maxCallArguments: 4,
}
/** Steps that one evaluation may take at most; a loop takes those of its body for each element that there may be. */
const STEPS_MAX = 10_000

const CALLS = new Set([
  'has',
  'size',
  'startsWith',
  'endsWith',
  'contains',
  'lowerAscii',
  'upperAscii',
  'trim',
  'int',
  'double',
  'string',
])
const LOOPS = new Set(['all', 'exists', 'exists_one', 'filter'])

export type Values = Readonly<Record<string, unknown>>

export type Checked =
  | {
      readonly ok: true
      /** @throws ExpressionFault where it cannot be said: a label that is not there, a number that is too large */
      readonly holds: (values: Values) => boolean
    }
  | { readonly ok: false; readonly fault: ExpressionProblem }

export interface ExpressionProblem {
  readonly code: 'syntax' | 'too large' | 'too costly' | 'not allowed' | 'unknown variable' | 'wrong type'
  /** A sentence. */
  readonly message: string
  /** Where, in characters from the beginning: from, and before. */
  readonly start: number
  readonly end: number
}

/** What an evaluation could not say. */
export class ExpressionFault extends Error {}

const environments = new Map<FactKind, Environment>()

function environmentOf(kind: FactKind): Environment {
  const known = environments.get(kind)
  if (known) return known
  const made = new Environment({ limits: LIMITS })
  for (const { name, type } of VARIABLES[kind]) made.registerVariable(name, type)
  environments.set(kind, made)
  return made
}

/** Reads and checks it. Never throws, whatever the text. */
export function checkExpression(text: string, kind: FactKind): Checked {
  if (text.length > EXPRESSION_CHARACTERS_MAX)
    return wrong(
      'too large',
      `The expression must have at most ${EXPRESSION_CHARACTERS_MAX} characters; it has ${text.length}.`,
      EXPRESSION_CHARACTERS_MAX,
      text.length,
    )
  try {
    const parsed = environmentOf(kind).parse(text)
    const cost = costOf(parsed.ast, knownOf(kind))
    if (cost.steps > STEPS_MAX)
      return wrong(
        'too costly',
        'The expression may take too many steps: put fewer loops into each other.',
        0,
        text.length,
      )
    const { valid, type, error } = parsed.check()
    if (!valid) return { ok: false, fault: problemOf(error, text) }
    if (type !== 'bool')
      return wrong(
        'wrong type',
        `The expression must be true or false; it is ${type ?? 'something else'}.`,
        0,
        text.length,
      )
    return { ok: true, holds: (values) => evaluate(parsed, values) }
  } catch (error) {
    if (error instanceof NotAllowed)
      return wrong('not allowed', error.message, error.node.start, error.node.end)
    return { ok: false, fault: problemOf(error, text) }
  }
}

/** Errors: EXPRESSION_INVALID */
export function compileExpression(text: string, kind: FactKind): (values: Values) => boolean {
  const checked = checkExpression(text, kind)
  if (!checked.ok) throw failure('EXPRESSION_INVALID', checked.fault.message)
  return checked.holds
}

function evaluate(parsed: (values: Values) => unknown, values: Values): boolean {
  try {
    return parsed(values) === true
  } catch (error) {
    if (error instanceof EvaluationError) throw new ExpressionFault(sentence(error.summary))
    throw new ExpressionFault(error instanceof Error ? error.message : String(error))
  }
}

const wrong = (code: ExpressionProblem['code'], message: string, start: number, end: number) =>
  ({ ok: false, fault: { code, message, start, end } }) as const

class NotAllowed extends Error {
  readonly node: ASTNode
  constructor(message: string, node: ASTNode) {
    super(message)
    this.node = node
  }
}

interface Cost {
  readonly steps: number
  /** How many elements its value may have, where it is a list or a map; and each of these. */
  readonly elements: number
  readonly inner: number
}

/** Names, and what they may hold. */
type Known = ReadonlyMap<string, Pick<Cost, 'elements' | 'inner'>>

const SINGLE = { elements: 0, inner: 0 }

const knownOf = (kind: FactKind): Known =>
  new Map(
    VARIABLES[kind].map(({ name, type }) => [
      name,
      /^(list|map)</.test(type) ? { elements: ELEMENTS_MAX, inner: 0 } : SINGLE,
    ]),
  )

/** What a node costs at most. */
function costOf(node: ASTNode, known: Known): Cost {
  const of = (part: ASTNode) => costOf(part, known)
  switch (node.op) {
    case 'value':
      return { steps: 1, ...SINGLE }
    case 'id':
      return { steps: 1, ...(known.get(node.args) ?? SINGLE) }
    case '.':
    case '.?': {
      const { steps, inner } = of(node.args[0])
      return { steps: steps + 1, elements: inner, inner }
    }
    case '[]':
    case '[?]': {
      const [from, at] = node.args.map(of) as [Cost, Cost]
      return { steps: 1 + from.steps + at.steps, elements: from.inner, inner: from.inner }
    }
    case 'list':
    case 'map': {
      const parts = (node.op === 'list' ? node.args : node.args.flat()).map(of)
      const inner = Math.max(0, ...parts.map((part) => Math.max(part.elements, part.inner)))
      return { steps: 1 + sum(parts), elements: node.args.length, inner }
    }
    case 'call':
    case 'rcall':
      return costOfCall(node, known)
    case '!_':
    case '-_':
      return { steps: 1 + of(node.args).steps, ...SINGLE }
    case '?:': {
      const parts = node.args.map(of)
      return { steps: 1 + sum(parts), ...widest(parts) }
    }
    default: {
      const parts = node.args.map(of)
      const { inner } = widest(parts)
      // Lists are compared, searched and joined element by element.
      const elements = parts.reduce((all, part) => all + part.elements, 0)
      return { steps: 1 + sum(parts) + elements * (1 + inner), elements, inner }
    }
  }
}

const widest = (parts: readonly Cost[]) => ({
  elements: Math.max(0, ...parts.map(({ elements }) => elements)),
  inner: Math.max(0, ...parts.map(({ inner }) => inner)),
})

function costOfCall(node: Extract<ASTNode, { op: 'call' | 'rcall' }>, known: Known): Cost {
  const name = node.args[0]
  if (node.op === 'rcall' && LOOPS.has(name)) {
    const [, list, [variable, body]] = node.args
    if (!variable || !body || variable.op !== 'id' || node.args[2].length !== 2)
      throw new NotAllowed(
        `"${name}" takes a name and what has to be so for it: zones.${name}(it, it == "door").`,
        node,
      )
    const over = costOf(list, known)
    const one = { elements: over.inner, inner: over.inner }
    const each = costOf(body, new Map(known).set(variable.args, one))
    return {
      steps: 1 + over.steps + over.elements * (1 + each.steps),
      elements: over.elements,
      inner: over.inner,
    }
  }
  if (!CALLS.has(name))
    throw new NotAllowed(
      `"${name}" is not known here. Known are: ${[...CALLS, ...LOOPS].sort().join(', ')}.`,
      node,
    )
  const parts = (node.op === 'rcall' ? [node.args[1], ...node.args[2]] : node.args[1]).map((it) =>
    costOf(it, known),
  )
  return { steps: 1 + sum(parts), ...SINGLE }
}

const sum = (costs: readonly Cost[]) => costs.reduce((all, { steps }) => all + steps, 0)

/** What the library says, in our words and with its place. */
function problemOf(error: unknown, text: string): ExpressionProblem {
  const said = error as Partial<InstanceType<typeof ParseError>>
  const { start = 0, end = text.length } = said.range ?? {}
  const message = sentence(said.summary ?? said.message ?? 'The expression cannot be read.')
  const code =
    said.code === 'limit_exceeded'
      ? 'too large'
      : said.code === 'unknown_variable'
        ? 'unknown variable'
        : error instanceof ParseError
          ? 'syntax'
          : 'wrong type'
  return { code, message, start, end }
}

const sentence = (text: string) => {
  const begun = text.charAt(0).toUpperCase() + text.slice(1)
  return /[.!?]$/.test(begun) ? begun : `${begun}.`
}

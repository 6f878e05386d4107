import fc from 'fast-check'
import t from 'tap'
import { checkExpression, type ExpressionProblem } from '../../console/rules/expression.ts'
import { FACTS } from '../../console/rules/rule.ts'
import { VARIABLES } from '../../console/rules/variables.ts'

const problem = (text: string, on: Parameters<typeof checkExpression>[1] = 'face') => {
  const checked = checkExpression(text, on)
  return checked.ok ? undefined : checked.fault
}

t.test('what may be written', async (t) => {
  for (const text of [
    'true',
    'score >= 0.9 && "door" in zones',
    'zones.exists(z, z.startsWith("door")) || size > 100',
    'zones.filter(z, z != "yard").size() > 1',
    'has(labels.glasses) && labels.glasses == "yes" && labelScores.glasses > 0.5',
    'site == "home" && camera in ["door", "yard"] ? masked : unmasked',
    '!(shot == "first") && quality > 0.2',
    'double(size) / 2.0 > 20.0',
    'zones.all(z, z == camera) == false',
  ])
    t.equal(problem(text), undefined, text)
})

t.test('what may not is refused with what is wrong, and where', async (t) => {
  const cases: [text: string, code: ExpressionProblem['code'], at?: readonly [number, number]][] = [
    ['score >', 'syntax'],
    ['score > "a', 'syntax'],
    ['', 'syntax'],
    ['nose > 1', 'unknown variable', [0, 4]],
    ['score > 0.5 && nose', 'unknown variable', [15, 19]],
    ['score == "high"', 'wrong type', [0, 15]],
    ['score', 'wrong type'],
    ['"yes"', 'wrong type'],
    ['zones', 'wrong type'],
    ['dyn(score)', 'not allowed'],
    ['file.matches("^(a+)+$")', 'not allowed', [0, 23]],
    ['zones.map(z, z + z).size() > 1', 'not allowed'],
    ['cel.bind(a, file + file, a == file)', 'not allowed'],
    ['file.split("").size() > 1', 'not allowed'],
    ['b"{}".json() == b"{}".json()', 'not allowed'],
    ['timestamp(0).getHours("Nowhere/Land") > 1', 'not allowed'],
    ['constructor == "x"', 'unknown variable'],
    ['__proto__ == "x"', 'syntax'],
    ['zones.exists(z + z, true)', 'syntax'],
    ['zones.nothing()', 'not allowed'],
    [`${'('.repeat(500)}true${')'.repeat(500)}`, 'too large'],
    [`${'!'.repeat(1900)}true`, 'too large'],
    [Array.from({ length: 300 }, () => 'true').join(' && '), 'too large'],
    [`[${'1,'.repeat(500)}1].exists(x, x == 1)`, 'too large'],
    ['a'.repeat(2001), 'too large'],
    ['zones.all(a, zones.all(b, zones.all(c, zones.all(d, a == b && c == d))))', 'too costly'],
  ]
  for (const [text, code, at] of cases) {
    const found = problem(text)
    t.equal(found?.code, code, `${text.slice(0, 60)}: ${found?.message}`)
    t.match(found?.message ?? '', /^[A-Z"'].*[.!?]$/s, 'a sentence')
    if (at) t.strictSame([found?.start, found?.end], at)
  }
})

t.test('each kind of fact has its own variables', async (t) => {
  t.equal(problem('count > 2', 'face')?.code, 'unknown variable')
  t.equal(problem('count > 2', 'presence'), undefined)
  t.equal(problem('online', 'device'), undefined)
  for (const on of FACTS)
    for (const { name, type } of VARIABLES[on]) {
      const text = type === 'bool' ? name : type === 'string' ? `${name} == ""` : `${name} == ${name}`
      t.equal(problem(text, on), undefined, `${on}: ${text}`)
    }
})

t.test('whatever is written: an answer, at once, and no evaluation takes long', async (t) => {
  const parts = [
    'zones',
    'score',
    'labels',
    '"a"',
    '1',
    '1.0',
    'true',
    '.exists(',
    '.all(',
    '.filter(',
    'z,',
    'z',
    ')',
    '(',
    '[',
    ']',
    '{',
    '}',
    '&&',
    '||',
    '==',
    '<',
    '+',
    '-',
    '!',
    '?',
    ':',
    '.',
    ' in ',
    'size(',
    'has(',
    'matches(',
    '\\',
    '\u0000',
    '€',
    '"',
  ]
  const values = {
    zones: Array.from({ length: 16 }, (_, n) => `zone${n}`),
    score: 0.5,
    labels: { glasses: 'yes' },
  }
  let slowestMs = 0
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...parts), { maxLength: 60 }), (some) => {
      const startedMs = performance.now()
      const checked = checkExpression(some.join(''), 'face')
      if (checked.ok)
        try {
          checked.holds(values)
        } catch {
          // a value that is missing
        }
      slowestMs = Math.max(slowestMs, performance.now() - startedMs)
    }),
    { numRuns: 2000 },
  )
  t.ok(slowestMs < 500, `${slowestMs.toFixed(1)} ms`)
  // As costly as one may be.
  const costly = checkExpression('zones.all(a, zones.all(b, a + b != "x"))', 'face')
  t.equal(costly.ok, true)
  const startedMs = performance.now()
  if (costly.ok) for (let n = 0; n < 100; n += 1) costly.holds(values)
  t.ok(performance.now() - startedMs < 2000)
})

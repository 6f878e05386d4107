import t from 'tap'
import type { Detection } from '../../device/detect/detector.ts'
import { averagePrecision, evaluate, judge, sum } from '../../device/detect/evaluate.ts'
import { type Box, overlap, suppress } from '../../device/detect/suppress.ts'

const face = (box: Box, score: number): Detection => ({ box, score, landmarks: [] })

t.test('IoU is the share that two boxes have in common', async (t) => {
  t.equal(overlap([0, 0, 10, 10], [0, 0, 10, 10]), 1, 'the same')
  t.equal(overlap([0, 0, 10, 10], [10, 0, 10, 10]), 0, 'side by side')
  t.equal(overlap([0, 0, 10, 10], [0, 30, 10, 10]), 0, 'one below the other')
  t.equal(overlap([0, 0, 10, 10], [5, 0, 10, 10]), 50 / 150, 'half over the other')
  t.equal(overlap([0, 0, 10, 10], [2, 2, 5, 5]), 25 / 100, 'one inside the other')
  t.equal(overlap([-5, -5, 10, 10], [0, 0, 5, 5]), 25 / 100, 'beyond the edge')
  t.equal(overlap([0, 0, 0, 0], [0, 0, 0, 0]), 0, 'empty boxes')
})

t.test('of boxes on one face the best is kept; neighbours stay; best first', async (t) => {
  const best = face([0, 0, 10, 10], 0.9)
  const same = face([1, 1, 10, 10], 0.8)
  const neighbour = face([9, 0, 10, 10], 0.95)
  const given = [same, best, neighbour]
  t.same(suppress(given, 0.3), [neighbour, best])
  t.same(given, [same, best, neighbour], 'the given array is left as it was')
  t.same(suppress([], 0.3), [])
})

t.test('what was suppressed suppresses nothing itself', async (t) => {
  const chain = [face([0, 0, 10, 10], 0.9), face([4, 0, 10, 10], 0.8), face([8, 0, 10, 10], 0.7)]
  t.same(suppress(chain, 0.3), [chain[0], chain[2]])
})

t.test('detections are matched one to one with true boxes', async (t) => {
  const truth: Box[] = [
    [0, 0, 10, 10],
    [50, 50, 10, 10],
  ]
  const result = evaluate(
    [face([0, 0, 10, 10], 0.9), face([1, 0, 10, 10], 0.8), face([90, 90, 5, 5], 0.7)],
    truth,
    0.4,
  )
  t.match(result, { truePositives: 1, falsePositives: 2, falseNegatives: 1, recall: 0.5, precision: 1 / 3 })
  t.match(evaluate([], truth, 0.4), { recall: 0, precision: 1 })
  t.match(evaluate([], [], 0.4), { recall: 1, precision: 1 })
  t.match(sum([result, evaluate([face([0, 0, 10, 10], 1)], truth.slice(0, 1), 0.4)]), {
    truePositives: 2,
    falsePositives: 2,
    falseNegatives: 1,
    recall: 2 / 3,
    precision: 0.5,
  })
})

t.test('average precision is the area under precision by recall', async (t) => {
  const judged = (...rights: boolean[]) => rights.map((right, at) => ({ right, score: 1 - at / 100 }))
  t.equal(averagePrecision(judged(true, true), 2), 1)
  t.equal(
    averagePrecision(judged(true, true, false, false), 2),
    1,
    'wrong ones behind the last face cost nothing',
  )
  t.equal(averagePrecision(judged(true, false), 2), 0.5, 'half is never found')
  t.equal(averagePrecision(judged(false, true), 1), 0.5)
  // Right, wrong, right: precision 1 up to a recall of 1/2, 2/3 up to 1.
  t.ok(Math.abs(averagePrecision(judged(true, false, true), 2) - (1 / 2 + 1 / 3)) < 1e-12)
  t.equal(
    averagePrecision(judged(true, false, true).toReversed(), 2),
    averagePrecision(judged(true, false, true), 2),
  )
  t.equal(averagePrecision([], 3), 0)
  t.equal(averagePrecision([], 0), 1)
  t.same(judge([face([0, 0, 10, 10], 0.2), face([0, 0, 10, 10], 0.9)], [[0, 0, 10, 10]], 0.4), [
    { score: 0.9, right: true },
    { score: 0.2, right: false },
  ])
})

import t from 'tap'
import { assign } from '../../device/faces/assign.ts'
import { seeded } from '../kit/wait.ts'

/** The least sum of costs, by trying everything. */
function least(
  costs: readonly (readonly number[])[],
  costMax: number,
  row = 0,
  taken = new Set<number>(),
): number {
  if (row === costs.length) return 0
  let best = costMax + least(costs, costMax, row + 1, taken)
  for (const [column, cost] of (costs[row] as number[]).entries()) {
    if (taken.has(column) || cost >= costMax) continue
    taken.add(column)
    best = Math.min(best, cost + least(costs, costMax, row + 1, taken))
    taken.delete(column)
  }
  return best
}

t.test('the sum of costs is the least there is, and each column is taken once', async (t) => {
  const next = seeded(1)
  for (let round = 0; round < 400; round += 1) {
    const rows = Math.floor(next() * 6)
    const columns = Math.floor(next() * 6)
    const costs = Array.from({ length: rows }, () => Array.from({ length: columns }, () => next() * 1.4))
    const cost = (row: number, column: number) => (costs[row] as number[])[column] as number
    const pairs = assign(rows, columns, cost, 1)
    t.equal(pairs.length, rows) || t.bailout()
    const taken = pairs.filter((column) => column >= 0)
    t.equal(new Set(taken).size, taken.length) || t.bailout()
    const sum = pairs.reduce((total, column, row) => total + (column < 0 ? 1 : cost(row, column)), 0)
    t.ok(Math.abs(sum - least(costs, 1)) < 1e-9, `${sum} for ${JSON.stringify(costs)}`) || t.bailout()
    t.ok(pairs.every((column, row) => column < 0 || cost(row, column) < 1)) || t.bailout()
  }
})

t.test('one good match is not given up for two poor ones', async (t) => {
  const costs = [
    [0.1, 0.9],
    [0.9, 1],
  ]
  t.strictSame(
    assign(2, 2, (row, column) => (costs[row] as number[])[column] as number, 1),
    [0, -1],
  )
})

t.test('a crowd of 100 takes a few milliseconds', async (t) => {
  const next = seeded(2)
  const costs = Array.from({ length: 100 * 100 }, next)
  const run = () => assign(100, 100, (row, column) => costs[row * 100 + column] as number, 1)
  for (let warm = 0; warm < 10; warm += 1) run()
  const start = performance.now()
  for (let round = 0; round < 5; round += 1) t.ok(run().every((column) => column >= 0))
  const ms = (performance.now() - start) / 5
  t.ok(ms < 60, `${ms} ms`)
})

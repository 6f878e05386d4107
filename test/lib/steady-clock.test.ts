import t from 'tap'
import { SteadyClock } from '../../lib/steady-clock.ts'

const HOUR_MS = 3_600_000

function clocks() {
  const now = { wall: Date.UTC(2026, 0, 1), monotonic: 0 }
  const clock = new SteadyClock({ wallMs: () => now.wall, monotonicMs: () => now.monotonic })
  const pass = (hours: number) => {
    now.wall += hours * HOUR_MS
    now.monotonic += hours * HOUR_MS
  }
  return { now, clock, pass }
}

t.test('it is the machine’s clock, small corrections and those backwards included', async (t) => {
  const { now, clock, pass } = clocks()
  pass(1000)
  t.equal(clock.nowMs(), now.wall)
  now.wall += HOUR_MS
  t.equal(clock.nowMs(), now.wall)
  now.wall -= 5000 * HOUR_MS
  t.equal(clock.nowMs(), now.wall)
  t.equal(clock.leapMs, 0)
})

t.test('a leap ahead is believed only once it has held for a day', async (t) => {
  const { now, clock, pass } = clocks()
  const truth = now.wall
  now.wall += 2000 * HOUR_MS
  t.equal(clock.nowMs(), truth)
  t.equal(clock.leapMs, 2000 * HOUR_MS)
  for (let hours = 1; hours < 24; hours += 1) {
    pass(1)
    t.equal(clock.nowMs(), truth + hours * HOUR_MS)
  }
  pass(1)
  t.equal(clock.nowMs(), now.wall)
  t.equal(clock.leapMs, 0)
})

t.test('set right again in time, nothing has happened', async (t) => {
  const { now, clock, pass } = clocks()
  now.wall += 2000 * HOUR_MS
  clock.nowMs()
  pass(20)
  now.wall -= 2000 * HOUR_MS
  t.equal(clock.nowMs(), now.wall)
  pass(20)
  t.equal(clock.nowMs(), now.wall)
})

import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { throttled } from '../../lib/log.ts'

t.test('an event that repeats is a line at once and then a line an interval, with how often', async (t) => {
  const lines: number[] = []
  const event = throttled((count) => lines.push(count), 100)
  event()
  t.strictSame(lines, [1], 'the first is not held back')
  for (let n = 0; n < 50; n += 1) event()
  t.strictSame(lines, [1])
  await sleep(150)
  t.strictSame(lines, [1, 50])
  await sleep(250)
  t.strictSame(lines, [1, 50], 'no line for nothing')
  event()
  t.strictSame(lines, [1, 50, 1])
})

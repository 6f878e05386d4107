import { setTimeout as sleep } from 'node:timers/promises'
import { stripVTControlCharacters } from 'node:util'
import t from 'tap'
import { readable, throttled } from '../../lib/log.ts'

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

t.test('at a terminal a line is for a person: when, how serious, what, and the rest', async (t) => {
  const now = new Date(2026, 10, 20, 9, 8, 7)
  const line = (fields: object) =>
    stripVTControlCharacters(
      readable(JSON.stringify({ level: 30, time: 'x', program: 'edge', name: 'edge', ...fields }), now),
    )
  t.equal(line({ msg: 'broker ready', waiting: 3 }), '09:08:07 info  broker ready waiting=3\n')
  t.equal(
    line({ level: 60, code: 'PORT_TAKEN', msg: 'It is in use.', cause: 'Error: no' }),
    '09:08:07 fatal PORT_TAKEN: It is in use. cause=Error: no\n',
  )
  t.equal(
    line({ msg: 'books', queues: { a: { accepted: 1 } } }),
    '09:08:07 info  books queues={"a":{"accepted":1}}\n',
  )
})

t.test('what came from outside gives a terminal no orders', async (t) => {
  const text = readable(
    JSON.stringify({
      level: 40,
      msg: 'refused a\x1b[2J',
      clientId: 'x\x07\x9b1m\u202e\nfaked line',
      n: ['\x7f'],
    }),
    new Date(2026, 10, 20, 9, 8, 7),
  )
  t.equal(
    stripVTControlCharacters(text),
    '09:08:07 warn  refused a\\u001b[2J clientId=x\\u0007\\u009b1m\\u202e\\nfaked line n=["\\u007f"]\n',
  )
})

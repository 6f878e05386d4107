import t from 'tap'
import { Backoff } from '../../lib/backoff.ts'

t.test('waits double up to a limit, and begin again after success', async (t) => {
  const backoff = new Backoff({ delayMsMin: 100, delayMsMax: 1000 })
  const longest = () => backoff.nextMs(() => 1)
  t.strictSame(
    [longest(), longest(), longest(), longest(), longest(), longest()],
    [100, 200, 400, 800, 1000, 1000],
  )
  backoff.reset()
  t.equal(longest(), 100)
})

t.test('a wait is at least half of its longest, so that it cannot turn into a busy loop', async (t) => {
  const backoff = new Backoff({ delayMsMin: 100, delayMsMax: 1000 })
  t.equal(
    backoff.nextMs(() => 0),
    50,
  )
  for (let attempt = 0; attempt < 2000; attempt += 1) backoff.nextMs()
  t.equal(
    backoff.nextMs(() => 0),
    500,
    'and a thousand failures do not overflow it',
  )
})

t.test('two that fail together do not come back together', async (t) => {
  const waits = Array.from({ length: 20 }, () => new Backoff({ delayMsMin: 1000, delayMsMax: 1000 }).nextMs())
  t.equal(new Set(waits).size, 20)
})

t.test('waiting ends at once when it is aborted', async (t) => {
  const abort = new AbortController()
  const waiting = new Backoff({ delayMsMin: 60_000, delayMsMax: 60_000 }).wait(abort.signal)
  abort.abort()
  await t.rejects(waiting)
})

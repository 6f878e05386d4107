import t from 'tap'
import { NewestDesired } from '../../broker/newest-desired.ts'
import { DESIRED_AHEAD_MS_MAX } from '../../wire/desired.ts'
import { makeDesired } from '../kit/desired.ts'

const NOW_MS = Date.UTC(2027, 0, 15)
const PI = { site: 'home', device: 'pi' }
const document = (version: number) => Buffer.from(JSON.stringify(makeDesired(PI, version)))

t.test('one of the far future keeps none out, unless the clock was never set', async (t) => {
  let nowMs = NOW_MS
  let here: Buffer | undefined
  const older: number[] = []
  const newest = new NewestDesired({
    retained: () => here,
    older: (_topic, version) => older.push(version),
    now: () => nowMs,
  })
  const take = (version: number) =>
    newest.take('t', document(version), async () => {
      here = document(version)
    })
  await take(NOW_MS + DESIRED_AHEAD_MS_MAX)
  await take(NOW_MS)
  t.strictSame(older, [NOW_MS], 'a day ahead may be a clock')
  await take(NOW_MS + DESIRED_AHEAD_MS_MAX + 1)
  nowMs = 1000
  await take(NOW_MS)
  t.equal(older.length, 2)
  nowMs = NOW_MS
  await take(NOW_MS)
  t.equal(older.length, 2)
  t.ok(here?.equals(document(NOW_MS)))
})

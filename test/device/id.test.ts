import t from 'tap'
import { idMinter } from '../../wire/id.ts'

const PATTERN = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

t.test('ids are UUIDv7 with the time in front', async (t) => {
  const id = idMinter(() => 0x0192_3456_789a)()
  t.match(id, PATTERN)
  t.ok(id.startsWith('01923456-789a-7'))
})

t.test('ids ascend within a millisecond, past a full counter, and when the clock steps back', async (t) => {
  let now = 1_700_000_000_000
  const mint = idMinter(() => now)
  const ids = Array.from({ length: 20_000 }, () => mint())
  now -= 60_000
  ids.push(mint(), mint())
  t.strictSame(ids, ids.toSorted())
  t.equal(new Set(ids).size, ids.length)
  t.ok(ids.every((id) => PATTERN.test(id)))
})

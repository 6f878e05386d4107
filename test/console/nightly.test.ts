import t from 'tap'
import { nextMs } from '../../console/nightly.ts'

t.test('the next time that it is an hour, whatever time it is', async (t) => {
  const at = (text: string) => Date.parse(`${text}Z`)
  t.equal(nextMs(at('2026-11-28T02:59:59'), 3), at('2026-11-28T03:00:00'))
  t.equal(nextMs(at('2026-11-28T03:00:00'), 3), at('2026-11-29T03:00:00'), 'not twice in one night')
  t.equal(nextMs(at('2026-12-31T23:30:00'), 0), at('2027-01-01T00:00:00'))
})

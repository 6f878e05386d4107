import t from 'tap'
import { byteRate, timeOfDay } from '../../lib/config.ts'
import { rateAt } from '../../lib/rate-schedule.ts'

// The machine's time zone, for this process.
process.env.TZ = 'Europe/Berlin'

const NIGHT = { from: 22 * 60, to: 6 * 60, rateMax: Infinity }
const at = (rates: Parameters<typeof rateAt>[0], local: string) => rateAt(rates, new Date(local).getTime())

t.test('a period over midnight begins and ends on its minute', async (t) => {
  const rates = { rateMax: 0, schedule: [NIGHT] }
  t.equal(at(rates, '2026-11-28T21:59:59'), 0)
  t.equal(at(rates, '2026-11-28T22:00:00'), Infinity)
  t.equal(at(rates, '2026-11-29T00:00:00'), Infinity)
  t.equal(at(rates, '2026-11-29T05:59:59'), Infinity)
  t.equal(at(rates, '2026-11-29T06:00:00'), 0)
})

t.test('the first period that has the time counts', async (t) => {
  const noon = { from: 12 * 60, to: 13 * 60, rateMax: 5 }
  const rates = { rateMax: 1, schedule: [noon, { from: 11 * 60, to: 14 * 60, rateMax: 7 }] }
  t.strictSame(
    ['10:59', '11:00', '12:00', '13:00', '14:00'].map((time) => at(rates, `2026-11-28T${time}:00`)),
    [1, 7, 5, 7, 1],
  )
})

t.test('the clock is the wall’s, also in the nights in which it is changed', async (t) => {
  const rates = { rateMax: 1, schedule: [{ from: 2 * 60, to: 3 * 60, rateMax: 9 }] }
  const hours = (firstUtc: string) =>
    [0, 1, 2, 3].map((hour) => rateAt(rates, Date.parse(firstUtc) + hour * 3_600_000))
  t.strictSame(hours('2026-03-29T00:30:00Z'), [1, 1, 1, 1], 'from 1:30 to 3:30: it does not come')
  t.strictSame(hours('2026-10-24T23:30:00Z'), [1, 9, 9, 1], '2:30 comes twice')
})

t.test('rates and times as they are written', async (t) => {
  const rates = ['2Mbit/s', '250KB/s', '1.5 MB/s', 'unlimited', 'paused'].map((it) => byteRate().parse(it))
  t.strictSame(rates, [250_000, 250_000, 1_500_000, Infinity, 0])
  for (const wrong of ['2 Mbit', '-1KB/s', '0', '10B/s', 5, ''])
    t.notOk(byteRate().safeParse(wrong).success, String(wrong))
  t.equal(timeOfDay().parse('06:05'), 365)
  for (const wrong of ['24:00', '6:00', '06:60', 600])
    t.notOk(timeOfDay().safeParse(wrong).success, String(wrong))
})

import fc from 'fast-check'
import t from 'tap'
import {
  firstOverlap,
  hoursSchema,
  isActive,
  nextChange,
  type Schedule,
  scheduleSchema,
  WEEKDAYS,
} from '../../console/scenarios/schedule.ts'

const schedule = (timeZone: string, settings: Record<string, unknown> = {}): Schedule =>
  scheduleSchema.parse({ timeZone, ...settings })
const daily = (from: string, to: string, days: readonly string[] = WEEKDAYS) => ({ days, from, to })
const at = (text: string) => Date.parse(text)

/** From one change to the next, as many as are asked for. */
function changes(it: Schedule, fromMs: number, count: number): string[] {
  const found: string[] = []
  let ms: number | undefined = fromMs
  while (found.length < count) {
    ms = nextChange(it, ms)
    if (ms === undefined) break
    found.push(`${new Date(ms).toISOString().slice(0, 16)}Z ${isActive(it, ms) ? 'on' : 'off'}`)
  }
  return found
}

t.test('hours are by the clock on the wall, in winter and in summer', async (t) => {
  const it = schedule('Europe/Zurich', { hours: [daily('07:30', '17:00', ['mon', 'tue'])] })
  t.notOk(isActive(it, at('2026-01-12T06:29:59Z')), 'a Monday in winter, 07:29:59 there')
  t.ok(isActive(it, at('2026-01-12T06:30:00Z')))
  t.ok(isActive(it, at('2026-07-13T05:30:00Z')), 'a Monday in summer, 07:30 there')
  t.notOk(isActive(it, at('2026-07-13T15:00:00Z')), 'to is not in it')
  t.notOk(isActive(it, at('2026-07-15T08:00:00Z')), 'a Wednesday')
  t.ok(isActive(undefined, 0), 'none: always')
  t.ok(isActive(schedule('UTC'), 0), 'without hours: always')
})

t.test(
  'the days on which the clocks change in Zurich: what begins in the hour that is not, and the one that is twice',
  async (t) => {
    // 2026-03-29: 02:00 becomes 03:00, at 01:00 UTC.
    const spring = schedule('Europe/Zurich', { hours: [daily('02:30', '05:00')] })
    t.strictSame(changes(spring, at('2026-03-28T12:00:00Z'), 4), [
      '2026-03-29T01:00Z on',
      '2026-03-29T03:00Z off',
      '2026-03-30T00:30Z on',
      '2026-03-30T03:00Z off',
    ])
    const gone = schedule('Europe/Zurich', { hours: [daily('02:10', '02:50')] })
    t.strictSame(
      changes(gone, at('2026-03-28T12:00:00Z'), 2),
      ['2026-03-30T00:10Z on', '2026-03-30T00:50Z off'],
      'what lies in the hour that is not is not',
    )
    // 2026-10-25: 03:00 becomes 02:00, at 01:00 UTC.
    const autumn = schedule('Europe/Zurich', { hours: [daily('02:10', '02:50')] })
    t.strictSame(
      changes(autumn, at('2026-10-24T12:00:00Z'), 6),
      [
        '2026-10-25T00:10Z on',
        '2026-10-25T00:50Z off',
        '2026-10-25T01:10Z on',
        '2026-10-25T01:50Z off',
        '2026-10-26T01:10Z on',
        '2026-10-26T01:50Z off',
      ],
      'what lies in the hour that is twice is twice',
    )
    const night = schedule('Europe/Zurich', { hours: [daily('22:00', '06:00', ['sat'])] })
    t.strictSame(
      changes(night, at('2026-03-27T12:00:00Z'), 2),
      ['2026-03-28T21:00Z on', '2026-03-29T04:00Z off'],
      'a night of seven hours',
    )
    t.strictSame(
      changes(night, at('2026-10-23T12:00:00Z'), 2),
      ['2026-10-24T20:00Z on', '2026-10-25T05:00Z off'],
      'and one of nine',
    )
  },
)

t.test('half hours: Kolkata, and Lord Howe, whose summer is half an hour', async (t) => {
  const kolkata = schedule('Asia/Kolkata', { hours: [daily('00:00', '24:00', ['mon'])] })
  t.strictSame(changes(kolkata, at('2026-06-06T00:00:00Z'), 2), [
    '2026-06-07T18:30Z on',
    '2026-06-08T18:30Z off',
  ])
  // 2026-04-05: 02:00 (+11:00) becomes 01:30 (+10:30), at 15:00 UTC of the day before.
  const howe = schedule('Australia/Lord_Howe', { hours: [daily('01:30', '02:00')] })
  t.strictSame(changes(howe, at('2026-04-03T20:00:00Z'), 4), [
    '2026-04-04T14:30Z on',
    // Both half hours from 01:30 to 02:00, one after the other.
    '2026-04-04T15:30Z off',
    '2026-04-05T15:00Z on',
    '2026-04-05T15:30Z off',
  ])
  // 2026-10-04: 02:00 (+10:30) becomes 02:30 (+11:00), at 15:30 UTC of the day before.
  const spring = schedule('Australia/Lord_Howe', { hours: [daily('02:00', '03:00')] })
  t.strictSame(changes(spring, at('2026-10-03T00:00:00Z'), 2), [
    '2026-10-03T15:30Z on',
    '2026-10-03T16:00Z off',
  ])
})

t.test('over midnight hours belong to the day on which they begin, and exceptions go before', async (t) => {
  const it = schedule('UTC', {
    hours: [daily('22:00', '06:00', ['fri'])],
    exceptions: [
      { from: '2026-06-19', to: '2026-06-19', is: 'off', name: 'holiday' },
      { from: '2026-06-27', to: '2026-06-28', is: 'on' },
    ],
  })
  t.strictSame(changes(it, at('2026-06-10T00:00:00Z'), 6), [
    '2026-06-12T22:00Z on',
    '2026-06-13T06:00Z off',
    // The Friday that is off has no night. The next one goes on into two days that are on.
    '2026-06-26T22:00Z on',
    '2026-06-29T00:00Z off',
    '2026-07-03T22:00Z on',
    '2026-07-04T06:00Z off',
  ])
  t.ok(isActive(schedule('UTC', { hours: [daily('07:00', '07:00', ['fri'])] }), at('2026-06-12T00:00:00Z')))
  const always = schedule('UTC', { exceptions: [{ from: '2026-12-24', to: '2026-12-26', is: 'off' }] })
  t.strictSame(changes(always, at('2026-06-01T00:00:00Z'), 9), [
    '2026-12-24T00:00Z off',
    '2026-12-27T00:00Z on',
  ])
})

t.test('the next change is the first moment that is otherwise, whatever the schedule', async () => {
  const zones = ['Europe/Zurich', 'Asia/Kolkata', 'Australia/Lord_Howe', 'America/New_York', 'UTC']
  const time = fc
    .tuple(fc.integer({ min: 0, max: 23 }), fc.integer({ min: 0, max: 59 }))
    .map((it) => it.map((n) => String(n).padStart(2, '0')).join(':'))
  const hours = fc
    .record({ days: fc.subarray([...WEEKDAYS], { minLength: 1 }), from: time, to: time })
    .map((it) => hoursSchema.parse(it))
  fc.assert(
    fc.property(
      fc.constantFrom(...zones),
      fc.array(hours, { minLength: 1, maxLength: 3 }),
      // Around days on which clocks change.
      fc.constantFrom('2026-03-28', '2026-10-24', '2026-04-04', '2026-10-03', '2026-03-07', '2026-06-10'),
      fc.integer({ min: 0, max: 2879 }),
      (timeZone, list, day, minute) => {
        const it = schedule(timeZone, { hours: list })
        const fromMs = at(`${day}T00:00:00Z`) + minute * 60_000
        const next = nextChange(it, fromMs) ?? Number.POSITIVE_INFINITY
        const was = isActive(it, fromMs)
        for (let ms = fromMs; ms < Math.min(next, fromMs + 2 * 86_400_000); ms += 60_000)
          if (isActive(it, ms) !== was) return false
        return next === Number.POSITIVE_INFINITY || isActive(it, next) !== was
      },
    ),
    { numRuns: 60 },
  )
})

t.test('two overlap where there is a moment at which both hold', async (t) => {
  const day = schedule('Europe/Zurich', { hours: [daily('08:00', '18:00', ['mon'])] })
  const night = schedule('Europe/Zurich', { hours: [daily('18:00', '08:00')] })
  const abroad = schedule('Asia/Kolkata', { hours: [daily('20:00', '23:00', ['mon'])] })
  const from = at('2026-06-10T00:00:00Z')
  t.equal(firstOverlap(day, night, from), undefined)
  t.equal(firstOverlap(day, undefined, from), at('2026-06-15T06:00:00Z'))
  t.equal(firstOverlap(undefined, undefined, from), from)
  t.equal(firstOverlap(day, abroad, from), at('2026-06-15T14:30:00Z'), '20:00 in Kolkata is 16:30 in Zurich')
})

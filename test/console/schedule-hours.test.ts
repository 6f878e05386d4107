import t from 'tap'
import { differences } from '../../console/pages/views/document-difference.ts'
import {
  DAYS,
  daysWords,
  type Hours,
  hoursOf,
  isActive,
  nextChange,
  painted,
  scheduleWords,
  shareOf,
  timeOf,
  weekOf,
} from '../../console/pages/views/schedule-hours.ts'
import { scenarioSchema } from '../../console/scenarios/document.ts'
import * as server from '../../console/scenarios/schedule.ts'

/** What the page Scenarios reckons for itself: hours that are painted, and what is different between two versions. */

const MINUTE_MS = 60_000
const HOUR_MS = 3_600_000
const WEEK_MS = 7 * 24 * HOUR_MS
const NIGHT: Hours = { days: ['mon', 'fri', 'sun'], from: '22:30', to: '06:00' }

t.test('hours are the same after they were painted and written down again', async (t) => {
  for (const hours of [
    [],
    [NIGHT],
    [{ days: ['sat', 'sun'], from: '00:00', to: '24:00' }],
    [{ days: [...DAYS], from: '08:00', to: '08:00' }],
    [NIGHT, { days: ['mon'], from: '05:00', to: '09:15' }],
  ] as Hours[][])
    t.strictSame(weekOf(hoursOf(weekOf(hours))), weekOf(hours), JSON.stringify(hours))
  t.strictSame(hoursOf(weekOf([NIGHT])), [NIGHT], 'a night stays one entry')
})

t.test('an hour that is taken away leaves what was typed beside it', async (t) => {
  const week = painted(weekOf([{ days: ['mon'], from: '07:20', to: '11:40' }]), 0, 540, 600, false)
  t.strictSame(hoursOf(week), [
    { days: ['mon'], from: '07:20', to: '09:00' },
    { days: ['mon'], from: '10:00', to: '11:40' },
  ])
  t.equal(shareOf(week, 0, 9), 0)
  t.equal(Math.round(shareOf(week, 0, 7) * 60), 40)
})

t.test(
  'whether a schedule holds, and until when, is said as the console says it, over a change of clock',
  async (t) => {
    const schedules = [
      { hours: [NIGHT], exceptions: [] },
      { hours: [{ days: ['sat', 'sun'], from: '01:30', to: '03:15' }], exceptions: [] },
      {
        hours: [{ days: [...DAYS], from: '08:00', to: '18:00' }],
        exceptions: [{ from: '2026-10-24', to: '2026-10-25', is: 'off' }],
      },
    ].map((it) => server.scheduleSchema.parse({ timeZone: 'Europe/Zurich', ...it }))
    // Sunday, 25 October 2026: three o'clock comes twice.
    const begin = Date.UTC(2026, 9, 21)
    for (const [index, schedule] of schedules.entries()) {
      let wrong = 0
      for (let atMs = begin; atMs < begin + WEEK_MS; atMs += 5 * MINUTE_MS)
        if (isActive(schedule, atMs) !== server.isActive(schedule, atMs)) wrong += 1
      t.equal(wrong, 0, `schedule ${index}`)
      for (let atMs = begin; atMs < begin + WEEK_MS; atMs += 11 * HOUR_MS)
        t.equal(nextChange(schedule, atMs), server.nextChange(schedule, atMs), new Date(atMs).toISOString())
    }
    t.equal(isActive(undefined, begin), true)
    t.equal(nextChange(undefined, begin), undefined)
  },
)

t.test('times are read as people type them, and no others', async (t) => {
  t.strictSame(['7', '730', '7:30', '07:30', '24', '24:00', ' 9 '].map(timeOf), [
    '07:00',
    '07:30',
    '07:30',
    '07:30',
    '24:00',
    '24:00',
    '09:00',
  ])
  t.strictSame(
    ['', '25', '24:01', '7:60', '-1', 'noon', '7:3'].map(timeOf),
    Array.from({ length: 7 }, () => undefined),
  )
})

t.test('hours in words', async (t) => {
  t.equal(daysWords(['sun', 'mon', 'tue', 'wed']), 'Mon–Wed, Sun')
  t.equal(daysWords([...DAYS]), 'Every day')
  const holidays = { from: '2026-12-24', to: '2026-12-26', is: 'off' as const }
  t.equal(
    scheduleWords({ timeZone: 'UTC', hours: [NIGHT], exceptions: [holidays] }),
    'Mon, Fri, Sun 22:30–06:00, with an exception (UTC)',
  )
})

t.test('what is different between two versions is found by name, and said in words', async (t) => {
  const before = scenarioSchema.parse({
    name: 'Door',
    cameras: { all: true },
    settings: { scoreMin: 0.5 },
    rules: [
      { id: 'a', name: 'First', on: 'face' },
      { id: 'b', name: 'Second', on: 'zone', cooldownMs: 60_000 },
    ],
  })
  const [first, second] = before.rules
  const now = scenarioSchema.parse({
    ...before,
    settings: { emit: { first: true } },
    schedule: { timeZone: 'UTC', hours: [NIGHT] },
    // Another order is no difference.
    rules: [{ ...second, cooldownMs: 300_000 }, first],
    zones: [
      {
        ...{ camera: 'north/pi/gate', name: 'entrance' },
        points: [
          [0, 0],
          [1, 0],
          [1, 1],
        ],
      },
    ],
  })
  t.strictSame(differences(before, before), [])
  const lines = differences(before, now).map(
    ({ where, before: old, now: next }) => `${where.join(' › ')}: ${old ?? '-'} → ${next ?? '-'}`,
  )
  t.strictSame(lines.toSorted(), [
    'Rules › Second › None after a notice for: 60 s → 300 s',
    'Settings › First picture at once: - → a first picture at once',
    'Settings › How sure it has to be: 50 % → -',
    'When: - → Mon, Fri, Sun 22:30–06:00 (UTC)',
    'Zones › entrance (north/pi/gate): - → entrance',
  ])
})

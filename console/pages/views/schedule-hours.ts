import type { Schedule } from '../scenario-types.ts'

/** Hours of weekdays as stretches of minutes, which are painted, and back again; and whether a schedule holds. Pure. */

export const DAYS = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const
export type Day = (typeof DAYS)[number]
export const DAY_WORDS: Readonly<Record<Day, string>> = {
  mon: 'Monday',
  tue: 'Tuesday',
  wed: 'Wednesday',
  thu: 'Thursday',
  fri: 'Friday',
  sat: 'Saturday',
  sun: 'Sunday',
}
export type Hours = Schedule['hours'][number]
/** From minute to minute of a day. */
type Stretch = readonly [from: number, to: number]
/** By weekday, from Monday: in order, and none touches another. */
export type Week = readonly (readonly Stretch[])[]

const DAY_MIN = 24 * 60
const TIME = /^([01]?\d|2[0-4])(?::?([0-5]\d))?$/

/** `7`, `730`, `7:30` as `07:30`; undefined: no time. */
export function timeOf(text: string): string | undefined {
  const found = TIME.exec(text.trim())
  if (!found) return undefined
  const minutes = Number(found[1]) * 60 + Number(found[2] ?? 0)
  return minutes > DAY_MIN ? undefined : textOf(minutes)
}
const textOf = (minutes: number) =>
  `${String(Math.floor(minutes / 60)).padStart(2, '0')}:${String(minutes % 60).padStart(2, '0')}`
const minutesOf = (text: string) => {
  const [hours, minutes] = text.split(':')
  return Number(hours) * 60 + Number(minutes)
}

export function weekOf(hours: readonly Hours[]): Week {
  const week: Stretch[][] = DAYS.map(() => [])
  for (const { days, from, to } of hours)
    for (const day of days) {
      const index = DAYS.indexOf(day)
      const [begin, end] = [minutesOf(from), minutesOf(to)]
      if (begin === end) week[index]?.push([0, DAY_MIN])
      else if (begin < end) week[index]?.push([begin, end])
      else {
        week[index]?.push([begin, DAY_MIN])
        week[(index + 1) % 7]?.push([0, end])
      }
    }
  return week.map(joined)
}

function joined(stretches: readonly Stretch[]): Stretch[] {
  const result: Stretch[] = []
  for (const [from, to] of stretches.filter(([a, b]) => a < b).toSorted(([a], [b]) => a - b)) {
    const last = result.at(-1)
    if (last && from <= last[1]) result[result.length - 1] = [last[0], Math.max(last[1], to)]
    else result.push([from, to])
  }
  return result
}

/** @param from minutes of that day */
export function painted(week: Week, day: number, from: number, to: number, isOn: boolean): Week {
  return week.map((stretches, index) => {
    if (index !== day) return stretches
    if (isOn) return joined([...stretches, [from, to]])
    return joined(
      stretches.flatMap(([a, b]): Stretch[] => [
        [a, Math.min(b, from)],
        [Math.max(a, to), b],
      ]),
    )
  })
}

/** How much of an hour is in it, 0 to 1. */
export function shareOf(week: Week, day: number, hour: number): number {
  let minutes = 0
  for (const [from, to] of week[day] ?? [])
    minutes += Math.max(0, Math.min(to, hour * 60 + 60) - Math.max(from, hour * 60))
  return minutes / 60
}

/** As few entries as say it; a night is one that ends on the next day. */
export function hoursOf(week: Week): Hours[] {
  const left = week.map((stretches) => [...stretches])
  const found = new Map<string, { days: Day[]; from: string; to: string }>()
  const add = (day: number, from: number, to: number) => {
    const key = `${from} ${to}`
    const entry = found.get(key) ?? { days: [], from: textOf(from), to: textOf(to) }
    entry.days.push(DAYS[day] as Day)
    found.set(key, entry)
  }
  const isWhole = (stretch: Stretch) => stretch[0] === 0 && stretch[1] === DAY_MIN
  const over = new Map<number, number>()
  for (const [day, stretches] of left.entries()) {
    const evening = stretches.at(-1)
    const next = left[(day + 1) % 7] ?? []
    const [morning] = next
    if (!evening || !morning || isWhole(evening) || isWhole(morning)) continue
    if (evening[1] !== DAY_MIN || morning[0] !== 0 || morning[1] >= evening[0]) continue
    over.set(day, morning[1])
  }
  for (const [day, stretches] of left.entries())
    for (const [from, to] of stretches) {
      // The end of a night that began the day before.
      if (from === 0 && over.has((day + 6) % 7) && over.get((day + 6) % 7) === to) continue
      const night = to === DAY_MIN ? over.get(day) : undefined
      add(day, from, night ?? to)
    }
  return [...found.values()].map(({ days, ...times }) => ({ ...times, days: sorted(days) }))
}

const sorted = (days: readonly Day[]) => DAYS.filter((day) => days.includes(day))

/** `Mon–Fri, Sun` */
export function daysWords(days: readonly Day[]): string {
  const short = (day: Day) => DAY_WORDS[day].slice(0, 3)
  const ordered = sorted(days)
  if (ordered.length === 7) return 'Every day'
  const parts: string[] = []
  let run: Day[] = []
  const end = () => {
    const [first] = run
    const last = run.at(-1)
    if (first && last)
      parts.push(run.length > 2 ? `${short(first)}–${short(last)}` : run.map(short).join(', '))
    run = []
  }
  for (const day of DAYS)
    if (ordered.includes(day)) run.push(day)
    else end()
  end()
  return parts.join(', ')
}

export const hoursWords = ({ days, from, to }: Hours) =>
  `${daysWords(days)} ${from === to || (from === '00:00' && to === '24:00') ? 'all day' : `${from}–${to}`}`

export function scheduleWords({ hours, exceptions, timeZone }: Schedule): string {
  const when = hours.length === 0 ? 'Always' : hours.map(hoursWords).join('; ')
  const but =
    exceptions.length === 0
      ? ''
      : `, with ${exceptions.length === 1 ? 'an exception' : `${exceptions.length} exceptions`}`
  return `${when}${but} (${timeZone})`
}

const formats = new Map<string, Intl.DateTimeFormat>()
function wallOf(timeZone: string, atMs: number): { date: string; day: number; minute: number } {
  let format = formats.get(timeZone)
  if (!format) {
    format = new Intl.DateTimeFormat('en-CA', {
      ...{ timeZone, hourCycle: 'h23', weekday: 'short' },
      ...{ year: 'numeric', month: '2-digit', day: '2-digit', hour: '2-digit', minute: '2-digit' },
    })
    formats.set(timeZone, format)
  }
  const parts = new Map(format.formatToParts(atMs).map(({ type, value }) => [type, value]))
  return {
    date: `${parts.get('year')}-${parts.get('month')}-${parts.get('day')}`,
    day: DAYS.indexOf((parts.get('weekday') ?? '').toLowerCase() as Day),
    minute: Number(parts.get('hour')) * 60 + Number(parts.get('minute')),
  }
}

export function isActive(schedule: Schedule | undefined, atMs: number): boolean {
  return schedule === undefined || holds(schedule, weekOf(schedule.hours), atMs)
}

function holds({ timeZone, hours, exceptions }: Schedule, week: Week, atMs: number): boolean {
  const { date, day, minute } = wallOf(timeZone, atMs)
  const exception = exceptions.find(({ from, to }) => from <= date && date <= to)
  if (exception) return exception.is === 'on'
  return hours.length === 0 || (week[day] ?? []).some(([from, to]) => from <= minute && minute < to)
}

const LOOK_MS_MAX = 8 * 86_400_000
const LOOK_STEP_MS = 10 * 60_000

/** When it is otherwise next, to the minute; undefined: not within eight days. */
export function nextChange(schedule: Schedule | undefined, atMs: number): number | undefined {
  if (!schedule || (schedule.hours.length === 0 && schedule.exceptions.length === 0)) return undefined
  const week = weekOf(schedule.hours)
  const now = holds(schedule, week, atMs)
  const begin = Math.floor(atMs / 60_000) * 60_000
  for (let at = begin + LOOK_STEP_MS; at < begin + LOOK_MS_MAX; at += LOOK_STEP_MS) {
    if (holds(schedule, week, at) === now) continue
    let [low, high] = [at - LOOK_STEP_MS, at]
    while (high - low > 60_000) {
      const middle = Math.floor((low + high) / 2 / 60_000) * 60_000
      if (holds(schedule, week, middle) === now) low = middle
      else high = middle
    }
    return high
  }
  return undefined
}

import { z } from 'zod'

/** When something holds: hours of weekdays in a time zone, and days that are otherwise. Pure. */

export const WEEKDAYS = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const
const timeOfDay = z
  .string()
  .regex(/^([01]\d|2[0-3]):[0-5]\d$|^24:00$/, 'must be a time of the day, such as 07:30')
const date = z.iso.date()

function isTimeZone(text: string): boolean {
  try {
    new Intl.DateTimeFormat('en', { timeZone: text })
    return true
  } catch {
    return false
  }
}

export const hoursSchema = z.strictObject({
  days: z.array(z.enum(WEEKDAYS)).min(1).max(7),
  /** By the clock on the wall there. One that ends before it begins ends on the next day; two that are equal: the whole day. */
  from: timeOfDay,
  to: timeOfDay,
})

export const scheduleSchema = z.strictObject({
  timeZone: z.string().max(64).refine(isTimeZone, 'must be a time zone, such as Europe/Zurich or UTC'),
  /** Any of them; none: always. */
  hours: z.array(hoursSchema).max(50).default([]),
  /** Whole days, both included, which go before the hours. */
  exceptions: z
    .array(
      z.strictObject({
        from: date,
        to: date,
        is: z.enum(['on', 'off']),
        name: z.string().max(100).optional(),
      }),
    )
    .max(200)
    .default([]),
})
export type Schedule = z.output<typeof scheduleSchema>

const MINUTE_MS = 60_000
const DAY_MS = 86_400_000
/** How far ahead a change is looked for. */
export const AHEAD_MS_MAX = 400 * DAY_MS

/** Whether it holds. An exception of a day also takes the hours that begin on it. @param atMs milliseconds since 1970 */
export function isActive(schedule: Schedule | undefined, atMs: number): boolean {
  if (!schedule) return true
  return isActiveAt(schedule, atMs + offsetMs(schedule.timeZone, atMs))
}

/**
 * When it next begins or ends to hold, after `atMs`, ms since 1970; at a change of the clocks also in the middle of hours.
 * @returns undefined where it does not within AHEAD_MS_MAX
 */
export function nextChange(schedule: Schedule | undefined, atMs: number): number | undefined {
  if (!schedule) return undefined
  const { timeZone } = schedule
  const was = isActive(schedule, atMs)
  const minutes = new Set([0])
  for (const { from, to } of schedule.hours)
    for (const time of [from, to]) minutes.add(minutesOf(time) % 1440)
  const sorted = [...minutes].sort((a, b) => a - b)
  let fromMs = atMs
  while (fromMs < atMs + AHEAD_MS_MAX) {
    // As far as the clock on the wall runs as the one that never changes.
    const offset = offsetMs(timeZone, fromMs)
    const toMs = offsetEndMs(timeZone, fromMs, fromMs + DAY_MS, offset)
    if (fromMs > atMs && isActiveAt(schedule, fromMs + offset) !== was) return fromMs
    for (let day = startOfDay(fromMs + offset); day < toMs + offset; day += DAY_MS)
      for (const minute of sorted) {
        const wallMs = day + minute * MINUTE_MS
        if (wallMs <= fromMs + offset || wallMs >= toMs + offset) continue
        if (isActiveAt(schedule, wallMs) !== was) return wallMs - offset
      }
    fromMs = toMs
  }
  return undefined
}

/** When two first hold at once from `atMs` on, ms since 1970; undefined: not within AHEAD_MS_MAX. */
export function firstOverlap(
  a: Schedule | undefined,
  b: Schedule | undefined,
  atMs: number,
): number | undefined {
  const endMs = atMs + AHEAD_MS_MAX
  for (let ms = atMs; ms < endMs; ) {
    const [isA, isB] = [isActive(a, ms), isActive(b, ms)]
    if (isA && isB) return ms
    // Nothing comes of it before the one that does not hold does.
    const next = Math.max(isA ? 0 : (nextChange(a, ms) ?? endMs), isB ? 0 : (nextChange(b, ms) ?? endMs))
    ms = next
  }
  return undefined
}

/** @param wallMs what the clock on the wall shows, as if it were UTC */
function isActiveAt({ hours, exceptions }: Schedule, wallMs: number): boolean {
  const day = startOfDay(wallMs)
  const exceptionOf = (dayMs: number) => {
    const text = new Date(dayMs).toISOString().slice(0, 10)
    // Of several the last.
    return exceptions.findLast(({ from, to }) => from <= text && text <= to)?.is
  }
  const today = exceptionOf(day)
  if (today !== undefined) return today === 'on'
  if (hours.length === 0) return true
  const minute = (wallMs - day) / MINUTE_MS
  const yesterday = day - DAY_MS
  return hours.some(({ days, from: fromText, to: toText }) => {
    const [from, to] = [minutesOf(fromText), minutesOf(toText)]
    const begins = (dayMs: number) => days.includes(WEEKDAYS[weekdayOf(dayMs)] as (typeof WEEKDAYS)[number])
    if (from === to) return begins(day)
    if (from < to) return begins(day) && minute >= from && minute < to
    if (begins(day) && minute >= from) return true
    return minute < to && begins(yesterday) && exceptionOf(yesterday) !== 'off'
  })
}

const startOfDay = (wallMs: number) => Math.floor(wallMs / DAY_MS) * DAY_MS

/** 0: Monday. 1970 began on a Thursday. */
const weekdayOf = (dayMs: number) => (((dayMs / DAY_MS + 3) % 7) + 7) % 7

function minutesOf(time: string): number {
  const [hours = 0, minutes = 0] = time.split(':').map(Number)
  return hours * 60 + minutes
}

interface Zone {
  readonly format: Intl.DateTimeFormat
  /** What was last asked for: clocks are changed at full quarters of an hour. */
  quarter: number
  offset: number
}

const zones = new Map<string, Zone>()
const ZONES_MAX = 1000
const QUARTER_MS = 15 * MINUTE_MS

/** How far the clock on the wall is ahead of UTC then. */
function offsetMs(timeZone: string, atMs: number): number {
  let zone = zones.get(timeZone)
  if (!zone) {
    if (zones.size >= ZONES_MAX) zones.clear()
    const format = new Intl.DateTimeFormat('en-US', {
      timeZone,
      hourCycle: 'h23',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    })
    zone = { format, quarter: Number.NaN, offset: 0 }
    zones.set(timeZone, zone)
  }
  const quarter = Math.floor(atMs / QUARTER_MS)
  if (zone.quarter === quarter) return zone.offset
  const parts: Partial<Record<Intl.DateTimeFormatPartTypes, number>> = {}
  for (const { type, value } of zone.format.formatToParts(atMs)) parts[type] = Number(value)
  const { year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0 } = parts
  zone.offset = Date.UTC(year, month - 1, day, hour, minute, second) - Math.floor(atMs / 1000) * 1000
  zone.quarter = quarter
  return zone.offset
}

/** Until when an offset holds, between two times of which the first has it, to the second. */
function offsetEndMs(timeZone: string, fromMs: number, toMs: number, offset: number): number {
  if (offsetMs(timeZone, toMs) === offset) return toMs
  let [low, high] = [Math.floor(fromMs / 1000), Math.ceil(toMs / 1000)]
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2)
    if (offsetMs(timeZone, middle * 1000) === offset) low = middle
    else high = middle
  }
  return high * 1000
}

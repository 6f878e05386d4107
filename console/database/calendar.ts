/** When hours, days, weeks and months begin in a time zone. Pure. */

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const formats = new Map<string, Intl.DateTimeFormat>()
const FORMATS_MAX = 100

/** Whether the name of a zone is known here. */
export function isTimeZone(name: string): boolean {
  try {
    formatOf(name)
    return true
  } catch {
    return false
  }
}

function formatOf(timeZone: string): Intl.DateTimeFormat {
  let format = formats.get(timeZone)
  if (!format) {
    format = new Intl.DateTimeFormat('en-GB', {
      timeZone,
      calendar: 'iso8601',
      hourCycle: 'h23',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    })
    if (formats.size >= FORMATS_MAX) formats.clear()
    formats.set(timeZone, format)
  }
  return format
}

/** What a clock on the wall shows, as if it were UTC. */
function wallMs(atMs: number, timeZone: string): number {
  const parts = Object.fromEntries(
    formatOf(timeZone)
      .formatToParts(atMs)
      .map(({ type, value }) => [type, Number(value)]),
  )
  const { year = 1970, month = 1, day = 1, hour = 0, minute = 0, second = 0 } = parts
  return Date.UTC(year, month - 1, day, hour, minute, second) + (((atMs % 1000) + 1000) % 1000)
}

/** When the wall first shows this, or, where a clock is put forward over it, what comes next. */
function momentOf(wall: number, timeZone: string, offsets: Map<number, number>): number {
  const offsetAt = (atMs: number) => {
    let offset = offsets.get(atMs)
    if (offset === undefined) {
      offset = wallMs(atMs, timeZone) - atMs
      offsets.set(atMs, offset)
    }
    return offset
  }
  const around = [wall - offsetAt(wall - DAY_MS), wall - offsetAt(wall + DAY_MS)] as const
  if (around[0] === around[1]) return around[0]
  const exact = around.filter((it) => wallMs(it, timeZone) === wall)
  return exact.length > 0 ? Math.min(...exact) : Math.max(...around)
}

export type Span = 'hour' | 'day' | 'week' | 'month'

/** The beginning of the span that a moment is in, on the wall. */
function wallBeginning(wall: number, by: Exclude<Span, 'hour'>): number {
  const date = new Date(wall)
  const day = Date.UTC(date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate())
  if (by === 'day') return day
  if (by === 'week') return day - ((date.getUTCDay() + 6) % 7) * DAY_MS
  return Date.UTC(date.getUTCFullYear(), date.getUTCMonth(), 1)
}

function next(wall: number, by: Exclude<Span, 'hour'>): number {
  if (by === 'day') return wall + DAY_MS
  if (by === 'week') return wall + 7 * DAY_MS
  const date = new Date(wall)
  return Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1, 1)
}

/**
 * The beginnings of all spans from the one that `fromMs` is in to the one that the moment before `beforeMs` is in, and of
 * the one behind; at full hours UTC.
 */
export function beginnings(fromMs: number, beforeMs: number, by: Span, timeZone: string): number[] {
  if (by === 'hour') {
    const first = Math.floor(fromMs / HOUR_MS)
    const count = Math.max(1, Math.ceil(beforeMs / HOUR_MS) - first)
    return Array.from({ length: count + 1 }, (_, n) => (first + n) * HOUR_MS)
  }
  const all: number[] = []
  const offsets = new Map<number, number>()
  let wall = wallBeginning(wallMs(fromMs, timeZone), by)
  for (;;) {
    const atMs = Math.floor(momentOf(wall, timeZone, offsets) / HOUR_MS) * HOUR_MS
    if (all.length === 0 || atMs > (all.at(-1) as number)) all.push(atMs)
    if (atMs >= beforeMs && all.length > 1) return all
    wall = next(wall, by)
  }
}

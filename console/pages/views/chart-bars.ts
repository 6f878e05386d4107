import type { Counts } from '../../api/counts.ts'
import { cameraKey } from '../words.ts'

/** Counts as bars: every span of the time that is looked at, also those without any. Pure, in the reader's time zone. */

export interface Bars {
  /** When each span begins, ms; ascending. */
  readonly starts: readonly number[]
  readonly series: readonly {
    readonly title: string
    readonly is: 'all' | 'masked' | 'bare' | 'unknown' | 'others' | 'camera'
    readonly counts: readonly number[]
  }[]
  readonly totals: readonly number[]
}

/** More cannot be told apart by colour: the rest is one. */
const CAMERAS_MAX = 6

type By = Counts['by']

const HOUR_MS = 3_600_000
const midnight = (ms: number) => {
  const date = new Date(ms)
  date.setHours(0, 0, 0, 0)
  return date
}
const daysBack = (date: Date, days: number) => {
  date.setDate(date.getDate() - days)
  return date
}

export const SPANS: Readonly<
  Record<
    By,
    {
      readonly title: string
      readonly shown: string
      readonly from: (nowMs: number) => number
      readonly next: (startMs: number) => number
    }
  >
> = {
  hour: {
    title: 'Hours',
    shown: 'The last two days.',
    from: (nowMs) => Math.floor(nowMs / HOUR_MS) * HOUR_MS - 47 * HOUR_MS,
    next: (startMs) => startMs + HOUR_MS,
  },
  day: {
    title: 'Days',
    shown: 'The last 30 days.',
    from: (nowMs) => daysBack(midnight(nowMs), 29).getTime(),
    next: (startMs) => daysBack(new Date(startMs), -1).getTime(),
  },
  week: {
    title: 'Weeks',
    shown: 'The last 26 weeks.',
    from: (nowMs) => {
      const monday = daysBack(midnight(nowMs), (new Date(nowMs).getDay() + 6) % 7)
      return daysBack(monday, 25 * 7).getTime()
    },
    next: (startMs) => daysBack(new Date(startMs), -7).getTime(),
  },
  month: {
    title: 'Months',
    shown: 'The last two years.',
    from: (nowMs) => {
      const first = midnight(nowMs)
      first.setDate(1)
      first.setMonth(first.getMonth() - 23)
      return first.getTime()
    },
    next: (startMs) => {
      const date = new Date(startMs)
      date.setMonth(date.getMonth() + 1)
      return date.getTime()
    },
  },
}

const TITLES: Readonly<Record<By, Intl.DateTimeFormat>> = {
  hour: new Intl.DateTimeFormat(undefined, { weekday: 'short', hour: '2-digit', minute: '2-digit' }),
  day: new Intl.DateTimeFormat(undefined, { weekday: 'short', day: 'numeric', month: 'short' }),
  week: new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' }),
  month: new Intl.DateTimeFormat(undefined, { month: 'short', year: 'numeric' }),
}

export const spanTitle = (startMs: number, by: By) =>
  `${by === 'week' ? 'the week from ' : ''}${TITLES[by].format(startMs)}`

export function barsOf(
  { items, by }: Counts,
  split: 'none' | 'masked' | 'camera',
  fromMs: number,
  nowMs: number,
): Bars {
  const starts = new Set(items.map((item) => item.fromMs))
  for (let start = fromMs; start <= nowMs; start = SPANS[by].next(start)) starts.add(start)
  const sorted = [...starts].sort((a, b) => a - b)
  const at = new Map(sorted.map((start, index) => [start, index]))
  const bySeries = new Map<string, number[]>()
  for (const item of items) {
    const name =
      split === 'camera'
        ? item.camera
          ? cameraKey(item.camera)
          : ''
        : split === 'masked'
          ? String(item.masked)
          : 'all'
    const counts = bySeries.get(name) ?? new Array<number>(sorted.length).fill(0)
    const index = at.get(item.fromMs)
    if (index !== undefined) counts[index] = (counts[index] ?? 0) + item.count
    bySeries.set(name, counts)
  }
  return {
    starts: sorted,
    series: seriesOf(split, bySeries),
    totals: sorted.map((_, index) =>
      [...bySeries.values()].reduce((sum, counts) => sum + (counts[index] ?? 0), 0),
    ),
  }
}

function seriesOf(
  split: 'none' | 'masked' | 'camera',
  counts: ReadonlyMap<string, readonly number[]>,
): Bars['series'] {
  if (split === 'none') return [{ title: 'Faces', is: 'all', counts: counts.get('all') ?? [] }]
  if (split === 'masked')
    return (
      [
        ['With a mask', 'masked', 'true'],
        ['Without', 'bare', 'false'],
        ['Not known', 'unknown', 'null'],
      ] as const
    ).flatMap(([title, is, key]) => {
      const own = counts.get(key)
      return own ? [{ title, is, counts: own }] : []
    })
  const sorted = [...counts].sort(([, a], [, b]) => sum(b) - sum(a))
  const rest = sorted.slice(CAMERAS_MAX)
  const names = sorted.slice(0, CAMERAS_MAX).map(([name]) => name)
  return [
    ...sorted
      .slice(0, CAMERAS_MAX)
      .map(([name, own]) => ({ title: shortName(name, names), is: 'camera' as const, counts: own })),
    ...(rest.length === 0
      ? []
      : [
          {
            title: `${rest.length} others`,
            is: 'others' as const,
            counts: (rest[0]?.[1] ?? []).map((_, index) =>
              rest.reduce((all, [, own]) => all + (own[index] ?? 0), 0),
            ),
          },
        ]),
  ]
}

/** The camera's own name where that is enough to tell it. */
function shortName(name: string, names: readonly string[]): string {
  const short = name.split('/').at(-1) ?? name
  return names.filter((other) => other.split('/').at(-1) === short).length > 1 ? name : short
}

const sum = (values: readonly number[]) => values.reduce((all, value) => all + value, 0)

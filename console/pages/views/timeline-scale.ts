/** A stretch of time on so many pixels: where a moment stands, what a pixel means, and where the marks of the ruler are. Pure. */

export interface View {
  readonly fromMs: number
  readonly toMs: number
}

export const HOUR_MS = 3_600_000
export const MINUTE_MS = 60_000
/** Closer than this nothing more is seen: a chunk is seconds long. */
export const SPAN_MS_MIN = 20_000
/** A label of the ruler is this wide, with air. */
const LABEL_PX = 78
const STEPS_MS = [
  1000,
  5000,
  10_000,
  30_000,
  MINUTE_MS,
  5 * MINUTE_MS,
  10 * MINUTE_MS,
  30 * MINUTE_MS,
  HOUR_MS,
  2 * HOUR_MS,
  3 * HOUR_MS,
  6 * HOUR_MS,
  12 * HOUR_MS,
] as const

export const spanOf = ({ fromMs, toMs }: View) => toMs - fromMs
export const clamp = (value: number, min: number, max: number) => Math.min(max, Math.max(min, value))

export const xOf = (view: View, width: number, atMs: number) => ((atMs - view.fromMs) / spanOf(view)) * width
export const timeAt = (view: View, width: number, x: number) =>
  view.fromMs + (x / Math.max(1, width)) * spanOf(view)

/** Closer (below 1) or wider (above 1), with what is at `aroundMs` staying where it is. Never beyond the day. */
export function zoomed(view: View, day: View, factor: number, aroundMs: number): View {
  const span = clamp(spanOf(view) * factor, SPAN_MS_MIN, spanOf(day))
  const share = clamp((aroundMs - view.fromMs) / spanOf(view), 0, 1)
  return within({ fromMs: aroundMs - span * share, toMs: aroundMs + span * (1 - share) }, day)
}

/** So wide, with `aroundMs` in the middle. */
export const spanned = (day: View, span: number, aroundMs: number): View =>
  within({ fromMs: aroundMs - span / 2, toMs: aroundMs + span / 2 }, day)

export const moved = (view: View, day: View, byMs: number): View =>
  within({ fromMs: view.fromMs + byMs, toMs: view.toMs + byMs }, day)

/** Turned on by a page where the moment has left what is seen. */
export function following(view: View, day: View, atMs: number): View {
  if (atMs >= view.fromMs && atMs <= view.toMs) return view
  const span = spanOf(view)
  // A jump lands in the middle; playing turns the page.
  const isNext = atMs > view.toMs && atMs - view.toMs < span / 4
  return within(
    { fromMs: atMs - span * (isNext ? 0.05 : 0.5), toMs: atMs + span * (isNext ? 0.95 : 0.5) },
    day,
  )
}

function within({ fromMs, toMs }: View, day: View): View {
  const span = Math.min(toMs - fromMs, spanOf(day))
  const from = clamp(fromMs, day.fromMs, day.toMs - span)
  return { fromMs: from, toMs: from + span }
}

export interface Tick {
  readonly atMs: number
  readonly withSeconds: boolean
}

/**
 * Round times of the reader's clock, as many as there is room for.
 * @param offsetMs what that clock is ahead of UTC at a moment: it changes twice a year
 */
export function ticksOf(view: View, width: number, offsetMs: (atMs: number) => number): readonly Tick[] {
  const count = Math.max(1, Math.floor(width / LABEL_PX))
  const step = STEPS_MS.find((it) => spanOf(view) / it <= count) ?? 12 * HOUR_MS
  const ticks: Tick[] = []
  const roundUp = (atMs: number) => {
    const local = atMs + offsetMs(atMs)
    return Math.ceil(local / step) * step - offsetMs(atMs)
  }
  for (let atMs = roundUp(view.fromMs); atMs <= view.toMs; ) {
    // Where the clock was set between the two, the hour is no longer round.
    const off = (atMs + offsetMs(atMs)) % step
    if (off === 0) ticks.push({ atMs, withSeconds: step < MINUTE_MS })
    atMs += off === 0 ? step : step - off
  }
  return ticks
}

/** The day that a moment belongs to, by the reader's clock: 23 to 25 hours. */
export function dayOf(atMs: number): View {
  const date = new Date(atMs)
  const [year, month, day] = [date.getFullYear(), date.getMonth(), date.getDate()]
  return { fromMs: new Date(year, month, day).getTime(), toMs: new Date(year, month, day + 1).getTime() }
}

/** Of a field for a date, `2026-11-28`; undefined where it is none. */
export function dayNamed(text: string): View | undefined {
  const [, year, month, day] = /^(\d{4})-(\d{2})-(\d{2})$/.exec(text) ?? []
  if (day === undefined) return undefined
  const at = new Date(Number(year), Number(month) - 1, Number(day)).getTime()
  return Number.isNaN(at) ? undefined : dayOf(at)
}

export function dayName(atMs: number): string {
  const date = new Date(atMs)
  const two = (value: number) => String(value).padStart(2, '0')
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`
}

/** Numbers and times as people read them. Pure, but for the reader's own language and time zone. */

const whole = new Intl.NumberFormat()
export const number = (value: number) => whole.format(value)

/** `1 face`, `2 faces`. */
export const count = (value: number, one: string, many = `${one}s`) =>
  `${number(value)} ${value === 1 ? one : many}`

export const percent = (part: number, of: number) => (of === 0 ? '–' : `${Math.round((part / of) * 100)} %`)

export const share = (value: number) => `${Math.round(value * 100)} %`

/** Of crops a second: `0`, `0.3`, `12`. */
export function rate(perS: number): string {
  if (perS <= 0) return '0'
  if (perS < 0.095) return '< 0.1'
  return perS < 10 ? perS.toFixed(1).replace(/\.0$/, '') : number(Math.round(perS))
}

export function bytes(value: number): string {
  if (value < 1000) return `${value} bytes`
  const units = ['kB', 'MB', 'GB', 'TB']
  let scaled = value / 1000
  let unit = 0
  while (scaled >= 999.5 && unit < units.length - 1) {
    scaled /= 1000
    unit += 1
  }
  return `${scaled < 10 ? scaled.toFixed(1) : Math.round(scaled)} ${units[unit]}`
}

/** `1.4 Mbit/s` */
export function bitrate(bitsPerSecond: number): string {
  if (bitsPerSecond < 1_000_000) return `${Math.round(bitsPerSecond / 1000)} kbit/s`
  const mbit = bitsPerSecond / 1_000_000
  return `${mbit < 10 ? mbit.toFixed(1) : Math.round(mbit)} Mbit/s`
}

const STEPS: readonly (readonly [ms: number, one: string, many: string])[] = [
  [86_400_000, 'day', 'days'],
  [3_600_000, 'hour', 'hours'],
  [60_000, 'minute', 'minutes'],
  [1000, 'second', 'seconds'],
]

/** `3 minutes`, `2 days`: the largest unit that fits. */
export function duration(ms: number): string {
  const [step, one, many] = STEPS.find(([step]) => ms >= step) ?? [1000, 'second', 'seconds']
  const value = Math.max(0, Math.floor(ms / step))
  return `${value} ${value === 1 ? one : many}`
}

/** `1 h 2 min 3 s`: to the second, without what is zero. */
export function exactDuration(ms: number): string {
  const seconds = Math.round(ms / 1000)
  const parts = [
    [Math.floor(seconds / 3600), 'h'],
    [Math.floor(seconds / 60) % 60, 'min'],
    [seconds % 60, 's'],
  ] as const
  const said = parts.flatMap(([value, unit]) => (value > 0 ? [`${value} ${unit}`] : []))
  return said.length === 0 ? '0 s' : said.join(' ')
}

/** `just now`, `3 minutes ago`, `in 2 days`. */
export function ago(atMs: number, nowMs: number): string {
  const ms = nowMs - atMs
  if (ms < -5000) return `in ${duration(-ms)}`
  return ms < 5000 ? 'just now' : `${duration(ms)} ago`
}

const exactly = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'medium' })
export const exact = (atMs: number) => exactly.format(atMs)
const daily = new Intl.DateTimeFormat(undefined, { weekday: 'long', day: 'numeric', month: 'long' })
export const day = (atMs: number) => daily.format(atMs)
const timely = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' })
export const clock = (atMs: number) => timely.format(atMs)
const secondly = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit' })
export const clockWithSeconds = (atMs: number) => secondly.format(atMs)
const dayAndTime = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' })
export const dayAndClock = (atMs: number) => dayAndTime.format(atMs)
const weekly = new Intl.DateTimeFormat(undefined, { weekday: 'long', hour: '2-digit', minute: '2-digit' })
/** Of what is within a week. */
export const weekdayAndClock = (atMs: number) => weekly.format(atMs)
const dated = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium' })
export const date = (atMs: number) => dated.format(atMs)

/** `site/device/camera` as a person reads it. */
export const cameraTitle = ({ camera }: { readonly camera: string }) => camera
export const cameraPlace = ({ site, device }: { readonly site: string; readonly device: string }) =>
  `${site} · ${device}`
export const cameraKey = (of: { readonly site: string; readonly device: string; readonly camera: string }) =>
  `${of.site}/${of.device}/${of.camera}`

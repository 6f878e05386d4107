/** When days begin, zone by zone. */

const HOUR_MS = 3_600_000

/**
 * @param zone of the IANA database
 * @returns when the day that `atMs` lies in begins there, ms since 1970. Pure.
 */
export function dayBeginning(atMs: number, zone: string): number {
  const format = new Intl.DateTimeFormat('en-CA', {
    timeZone: zone,
    year: 'numeric',
    month: '2-digit',
    day: '2-digit',
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
    hourCycle: 'h23',
  })
  /** What the clocks there show, as if it were UTC. */
  const shown = (ms: number): number => {
    const part = Object.fromEntries(format.formatToParts(ms).map(({ type, value }) => [type, Number(value)]))
    const { year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0 } = part
    return Date.UTC(year, month - 1, day, hour, minute, second)
  }
  const midnight = Math.floor(shown(atMs) / (24 * HOUR_MS)) * 24 * HOUR_MS
  // Clocks may have been changed since; where midnight itself was skipped, the day begins an hour later.
  let beginMs = midnight - (shown(atMs) - Math.floor(atMs / 1000) * 1000)
  for (let at = 0; at < 2; at += 1) beginMs += midnight - shown(beginMs)
  return shown(beginMs) < midnight ? beginMs + HOUR_MS : beginMs
}

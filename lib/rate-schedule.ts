/** How much a second is allowed, by the time of day of this machine. */

export interface RatePeriod {
  /** Minutes since midnight. A period may go over midnight; its end belongs to the next. */
  readonly from: number
  readonly to: number
  readonly rateMax: number
}

/**
 * By the wall clock, asked each time: in the night in which clocks go back, the hour that comes twice is the same period
 * twice; where they go forward, a period within the hour that is left out does not come.
 * @param rateMax outside of all periods @param periods the first that has the time counts
 */
export function rateAt(
  { rateMax, schedule }: { readonly rateMax: number; readonly schedule: readonly RatePeriod[] },
  nowMs: number,
): number {
  if (schedule.length === 0) return rateMax
  const now = new Date(nowMs)
  const minute = now.getHours() * 60 + now.getMinutes()
  const period = schedule.find(({ from, to }) =>
    from < to ? from <= minute && minute < to : from <= minute || minute < to,
  )
  return period?.rateMax ?? rateMax
}

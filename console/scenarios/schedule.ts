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

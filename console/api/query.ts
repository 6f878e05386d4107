import { z } from 'zod'
import { ID_PATTERN } from '../../wire/id.ts'
import { NAME_PATTERN } from '../../wire/names.ts'
import { isTimeZone } from '../database/calendar.ts'
import { readCursor } from '../database/detection.ts'

/** What the parameters of several resources are made of. Values of a query are text. */

/** The year 9999, as the wire has it. */
const TIME_MS_MAX = 253_402_300_799_999
export const PAGE_ITEMS_MAX = 200
export const PAGE_ITEMS = 50

export const idSchema = z.string().regex(ID_PATTERN, 'must be an id (UUIDv7, lower case)')
export const nameSchema = z
  .string()
  .regex(NAME_PATTERN, 'must be a name: letters, digits, dash and underscore')
export const timeMsSchema = z
  .number()
  .int()
  .nonnegative()
  .meta({ description: 'Milliseconds since 1970, UTC.' })

/** Milliseconds since 1970, or a time or a day (its beginning, UTC) as ISO 8601 writes it; becomes milliseconds. */
export const timeParameter = (description: string) =>
  z
    .string()
    .max(40)
    .transform((text, context) => {
      const ms = readTime(text)
      if (ms !== undefined && ms >= 0 && ms <= TIME_MS_MAX) return ms
      context.addIssue({
        code: 'custom',
        message: ms === undefined ? TIME_RULE : 'must be between the years 1970 and 9999',
      })
      return z.NEVER
    })
    .meta({
      description: `${description} ISO 8601, or milliseconds since 1970.`,
      examples: ['2026-11-28T09:30:00Z'],
    })

const TIME_RULE =
  'must be a time such as 2026-11-28T09:30:00Z, a day such as 2026-11-28, or milliseconds since 1970'
const isoTime = z.union([z.iso.datetime({ offset: true }), z.iso.date()])

function readTime(text: string): number | undefined {
  if (/^\d{1,15}$/.test(text)) return Number(text)
  return isoTime.safeParse(text).success ? Date.parse(text) : undefined
}

// Values of a query are text; the document says what they stand for, so that clients take numbers and truth values.

/** Becomes a number. */
export const numberParameter = (description: string, { min, max }: { min: number; max: number }) =>
  z
    .string()
    .regex(/^\d{1,9}(\.\d{1,16})?(e-\d{1,3})?$/i, `must be a number from ${min} to ${max}`)
    .transform(Number)
    .refine((value) => value >= min && value <= max, `must be from ${min} to ${max}`)
    .meta({ description, type: 'number', pattern: undefined, minimum: min, maximum: max })

/** Becomes a whole number. */
export const wholeParameter = (description: string, { min, max }: { min: number; max: number }) =>
  z
    .string()
    .regex(/^\d{1,9}$/, `must be a whole number from ${min} to ${max}`)
    .transform(Number)
    .refine((value) => value >= min && value <= max, `must be from ${min} to ${max}`)
    .meta({ description, type: 'integer', pattern: undefined, minimum: min, maximum: max })

/** Becomes true or false. */
export const flagParameter = (description: string) =>
  z
    .enum(['true', 'false'], 'must be true or false')
    .transform((text) => text === 'true')
    .meta({ description, type: 'boolean', enum: undefined })

/** How often a parameter may stand in a query. */
const SEVERAL_MAX = 100

/** A parameter that may stand there several times; becomes a list. */
export const severalOf = <Item extends z.ZodType>(item: Item, description: string) =>
  z
    .preprocess(
      (value: z.input<Item> | readonly z.input<Item>[]) => (Array.isArray(value) ? value : [value]),
      z.array(item).max(SEVERAL_MAX),
    )
    .optional()
    .meta({ description })

/** A zone of the IANA database; where days, weeks and months begin. */
export const zoneParameter = () =>
  z
    .string()
    .max(64)
    .refine(isTimeZone, 'must be a time zone such as Europe/Berlin')
    .default('UTC')
    .meta({
      description: 'Where days, weeks and months begin: a time zone of the IANA database.',
      examples: ['Europe/Berlin'],
    })

export const isCursor = (text: string) => readCursor(text) !== undefined

export const pageShape = {
  cursor: z
    .string()
    .refine(isCursor, 'must be a cursor: "next" of the page before')
    .optional()
    .meta({ description: 'Where to continue: "next" of the page before.' }),
  limit: wholeParameter(`How many at most; ${PAGE_ITEMS} where it is left out.`, {
    min: 1,
    max: PAGE_ITEMS_MAX,
  }).default(PAGE_ITEMS),
}

/** Cut short, newest first. */
export const pageOf = <Item extends z.ZodType>(item: Item) => ({
  items: z.array(item),
  next: z.string().nullable().meta({ description: 'The cursor of the next page; null on the last page.' }),
})

export const cameraAddressShape = { site: nameSchema, device: nameSchema, camera: nameSchema }
export const cameraAddressSchema = z.object(cameraAddressShape).meta({ id: 'CameraAddress' })

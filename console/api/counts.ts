import { z } from 'zod'
import { cameraSchema } from './cameras.ts'
import { detectionSchema, placeShape } from './detections.ts'
import { healthEventSchema } from './health-events.ts'
import { cameraAddressSchema, timeMsSchema, zoneParameter } from './query.ts'

/** How many: `/counts`, for charts, and `/overview`. */

export const countsQuerySchema = z.strictObject({
  ...placeShape,
  by: z.enum(['hour', 'day', 'week', 'month'], 'must be hour, day, week or month').meta({
    description: 'How long each span is; a week begins on Monday.',
  }),
  tz: zoneParameter(),
  split: z
    .enum(['none', 'camera', 'masked'], 'must be none, camera or masked')
    .default('none')
    .meta({ description: 'Counts of each camera, or of each answer to whether the face is masked.' }),
})
export type CountsQuery = z.input<typeof countsQuerySchema>

export const countSchema = z
  .object({
    fromMs: timeMsSchema.meta({ description: 'When the span begins, ms since 1970, UTC.' }),
    camera: cameraAddressSchema.optional().meta({ description: 'With split=camera.' }),
    masked: z.boolean().nullable().optional().meta({ description: 'With split=masked; null: not known.' }),
    count: z.number().int(),
  })
  .meta({ id: 'Count' })
export type Count = z.infer<typeof countSchema>

export const countsSchema = z
  .object({
    by: z.enum(['hour', 'day', 'week', 'month']),
    tz: z.string(),
    total: z.number().int(),
    items: z.array(countSchema).meta({ description: 'Oldest first; a span without any is left out.' }),
  })
  .meta({ id: 'Counts' })
export type Counts = z.infer<typeof countsSchema>

export const overviewQuerySchema = z.strictObject({ tz: zoneParameter() })

export const overviewSchema = z
  .object({
    today: z.object({
      fromMs: timeMsSchema,
      total: z.number().int(),
      masked: z.number().int(),
      notMasked: z.number().int(),
      maskedShare: z
        .number()
        .nullable()
        .meta({ description: 'Of those that the model can tell; null where it can of none.' }),
    }),
    cameras: z.object({ live: z.number().int(), all: z.number().int() }),
    newest: detectionSchema.nullable(),
    needs: z
      .array(
        z.discriminatedUnion('is', [
          z.object({ is: z.literal('camera'), camera: cameraSchema }),
          z.object({ is: z.literal('health'), event: healthEventSchema }),
        ]),
      )
      .meta({ description: 'What a person should look at, worst first, some at most.' }),
    needsCount: z.number().int(),
  })
  .meta({ id: 'Overview' })
export type Overview = z.infer<typeof overviewSchema>

import { z } from 'zod'
import { flagParameter, idSchema, pageOf, pageShape, timeMsSchema, timeParameter } from './query.ts'

/** What went wrong, from when to when: `/health-events`. */

export const healthEventSchema = z
  .object({
    id: idSchema,
    atMs: timeMsSchema.meta({ description: 'When it began, ms since 1970, UTC.' }),
    endedAtMs: timeMsSchema.nullable().meta({ description: 'null while it lasts.' }),
    kind: z.string().meta({ examples: ['camera-down'] }),
    level: z.enum(['info', 'warning', 'problem']),
    subject: z.string().meta({
      description: 'What it is about: site/device/camera, site/device, or a program and its queue.',
    }),
    site: z.string().nullable(),
    camera: z.string().nullable().meta({ description: 'As site/device/camera.' }),
    text: z.string().meta({ description: 'A sentence for people.' }),
    reviewedBy: z.string().nullable().meta({ description: 'Who has seen to it; a mark for all.' }),
    reviewedAtMs: timeMsSchema.nullable(),
  })
  .meta({ id: 'HealthEvent' })
export type HealthEvent = z.infer<typeof healthEventSchema>

export const healthEventsQuerySchema = z.strictObject({
  from: timeParameter('Began at this time or later.').optional(),
  to: timeParameter('Began before this time.').optional(),
  open: flagParameter('Whether it still lasts.').optional(),
  kind: z
    .string()
    .regex(/^[a-z][a-z0-9-]{0,63}$/, 'must be a kind such as camera-down')
    .optional(),
  level: z.enum(['info', 'warning', 'problem'], 'must be info, warning or problem').optional(),
  reviewed: flagParameter('Whether somebody has marked it.').optional(),
  ...pageShape,
})
export type HealthEventsQuery = z.input<typeof healthEventsQuerySchema>

export const healthEventsPageSchema = z.object(pageOf(healthEventSchema)).meta({ id: 'HealthEventsPage' })
export type HealthEventsPage = z.infer<typeof healthEventsPageSchema>

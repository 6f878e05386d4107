import { z } from 'zod'
import { flagParameter, idSchema, nameSchema, pageOf, pageShape, timeMsSchema } from './query.ts'

/** What went wrong, from when to when: `/health-events`. */

export const HEALTH_KINDS = [
  'camera-down',
  'device-offline',
  'keeper-silent',
  'keeper-unwell',
  'queue-growing',
  'quarantine',
  'certificate-ends',
] as const

export const healthEventSchema = z
  .object({
    id: idSchema,
    kind: z.string().meta({ examples: [...HEALTH_KINDS] }),
    subject: z
      .string()
      .meta({
        description: 'A camera as site/device/camera, a device as site/device, a keeper by its name.',
      }),
    site: nameSchema.nullable(),
    device: nameSchema.nullable(),
    camera: nameSchema.nullable(),
    what: z.string().meta({ description: 'A sentence for people.' }),
    openedAtMs: timeMsSchema,
    closedAtMs: timeMsSchema.nullable().meta({ description: 'null while it lasts.' }),
    reviewed: z.boolean().meta({ description: 'Whether you have marked it.' }),
  })
  .meta({ id: 'HealthEvent' })
export type HealthEvent = z.infer<typeof healthEventSchema>

export const healthEventsQuerySchema = z.strictObject({
  open: flagParameter('Whether it still lasts.').optional(),
  kind: z.enum(HEALTH_KINDS, `must be one of ${HEALTH_KINDS.join(', ')}`).optional(),
  reviewed: flagParameter('Whether you have marked it.').optional(),
  ...pageShape,
})
export type HealthEventsQuery = z.input<typeof healthEventsQuerySchema>

export const healthEventsPageSchema = z.object(pageOf(healthEventSchema)).meta({ id: 'HealthEventsPage' })
export type HealthEventsPage = z.infer<typeof healthEventsPageSchema>

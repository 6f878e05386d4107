import { z } from 'zod'
import { cameraSchema } from './cameras.ts'
import { detectionSchema } from './detections.ts'
import { keeperSchema } from './keepers.ts'
import { cameraAddressSchema, cameraAddressShape, idSchema } from './query.ts'

/** What has just happened, as Server-Sent Events: `/events`. */

/** By the event's name: what its `data` holds, as JSON. */
export const eventSchemas = {
  detection: detectionSchema,
  removed: z.object({ id: idSchema, ...cameraAddressShape }),
  camera: cameraSchema,
  keeper: keeperSchema,
  /** Ask for it by its id. */
  health: z.object({ id: idSchema, camera: cameraAddressSchema.nullable() }),
  /** Something was missed: look anew. */
  reset: z.object({}),
}
export type EventName = keyof typeof eventSchemas
export type EventData<Name extends EventName> = z.infer<(typeof eventSchemas)[Name]>

import { z } from 'zod'
import { nameSchema, timeMsSchema } from './query.ts'

/** Devices: `/devices`. */

export const deviceSchema = z
  .object({
    site: nameSchema,
    device: nameSchema,
    online: z.boolean(),
    changedAtMs: timeMsSchema.meta({ description: 'Since when it is so, ms since 1970, UTC.' }),
    cameras: z.array(nameSchema).meta({ description: 'Those that you may see.' }),
  })
  .meta({ id: 'Device' })
export type Device = z.infer<typeof deviceSchema>

export const devicesSchema = z.object({ items: z.array(deviceSchema) }).meta({ id: 'Devices' })
export type Devices = z.infer<typeof devicesSchema>

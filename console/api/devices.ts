import { z } from 'zod'
import { isInScope } from '../access/may.ts'
import type { Context } from '../context.ts'
import { problems, unchanged } from './answers.ts'
import { asked } from './asked.ts'
import { nameSchema, timeMsSchema } from './query.ts'
import type { Api } from './server.ts'

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

export function devicesRoutes(api: Api, { access, fleet }: Context): void {
  api.get(
    '/devices',
    {
      config: { right: 'see' },
      schema: {
        operationId: 'listDevices',
        tags: ['line'],
        summary: 'All devices, and whether they are online',
        response: { 200: devicesSchema, 304: unchanged, ...problems() },
      },
    },
    async (request) => {
      const { scope } = asked(access, request).person
      const cameras = fleet.cameras.filter((camera) => isInScope(scope, camera))
      const items = fleet.devices.map(({ site, device, isOnline, changedAtMs }) => ({
        site,
        device,
        online: isOnline,
        changedAtMs,
        cameras: cameras.filter((it) => it.site === site && it.device === device).map((it) => it.camera),
      }))
      // A device that one sees nothing of does not exist.
      return { items: items.filter((it) => scope.all || scope.sites.has(it.site) || it.cameras.length > 0) }
    },
  )
}

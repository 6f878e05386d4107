import { z } from 'zod'
import { isInScope, type Scope } from '../access/may.ts'
import type { Context } from '../context.ts'
import type { DesiredBook } from '../desired/desired.ts'
import { DESIRED_STATES } from '../desired/judge.ts'
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
    desired: z
      .object({
        state: z.enum(DESIRED_STATES).meta({
          description:
            'What it says of what it was told last. pending: nothing yet. differs: it says of one that it was never told, or of another content.',
        }),
        version: z
          .number()
          .int()
          .nullable()
          .meta({ description: 'Of what it was told last; null: nothing.' }),
        atMs: timeMsSchema.nullable(),
        reportedAtMs: timeMsSchema.nullable().meta({ description: 'When it last answered; null: never.' }),
        program: z.string().nullable().meta({ description: 'The version of its program.' }),
        refused: z
          .object({
            code: z.string(),
            message: z.string(),
            path: z.array(z.union([z.string(), z.number()])),
          })
          .nullable()
          .meta({ description: 'Why, and at which setting; for who sees the whole site.' }),
      })
      .optional()
      .meta({ description: 'Absent where devices are told nothing ("desired.enabled").' }),
  })
  .meta({ id: 'Device' })
export type Device = z.infer<typeof deviceSchema>

export const devicesSchema = z.object({ items: z.array(deviceSchema) }).meta({ id: 'Devices' })
export type Devices = z.infer<typeof devicesSchema>

export function devicesRoutes(api: Api, { access, fleet, desired }: Context): void {
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
        ...(desired && { desired: desiredOf(desired, { site, device }, scope) }),
      }))
      // A device that one sees nothing of does not exist.
      return { items: items.filter((it) => scope.all || scope.sites.has(it.site) || it.cameras.length > 0) }
    },
  )
}

function desiredOf(
  desired: DesiredBook,
  place: { readonly site: string; readonly device: string },
  scope: Scope,
): Device['desired'] {
  const told = desired.told(place)
  const { reported, receivedAtMs } = desired.answer(place) ?? {}
  const { state } = desired.judge(place)
  const isAllTheirs = scope.all || scope.sites.has(place.site)
  return {
    state,
    version: told?.version ?? null,
    atMs: told?.atMs ?? null,
    reportedAtMs: receivedAtMs ?? null,
    program: reported?.program ?? null,
    refused: (isAllTheirs && state === 'refused' && reported?.refused) || null,
  }
}

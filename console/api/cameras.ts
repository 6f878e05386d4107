import { z } from 'zod'
import { cameraStateSchema } from '../../wire/camera-state.ts'
import { COMMAND_BYTES_MAX } from '../../wire/commands.ts'
import { cameraAddressShape, idSchema, timeMsSchema } from './query.ts'

/** Cameras, their pictures, and what they are told: `/cameras`. */

/** `live` is asked for by who looks. */
export const CAMERA_COMMANDS = ['pause', 'resume', 'threshold', 'rate', 'snapshot'] as const

export const cameraSchema = z
  .object({
    ...cameraAddressShape,
    is: z
      .enum(['live', 'paused', 'opening', 'down', 'ended', 'offline', 'unknown'])
      .meta({ description: 'Whether it works now. unknown: only its detections are known.' }),
    state: cameraStateSchema
      .omit({ v: true, site: true, device: true, camera: true })
      .nullable()
      .meta({ description: 'As the camera last said: what is set, and what is wrong.' }),
    stateAtMs: timeMsSchema.nullable().meta({ description: 'When it last said so, ms since 1970, UTC.' }),
    newest: z
      .object({ id: idSchema, capturedAtMs: timeMsSchema, picture: z.string() })
      .nullable()
      .meta({ description: 'Its newest detection.' }),
  })
  .meta({ id: 'Camera' })
export type Camera = z.infer<typeof cameraSchema>

export const camerasSchema = z.object({ items: z.array(cameraSchema) }).meta({ id: 'Cameras' })
export type Cameras = z.infer<typeof camerasSchema>

export const cameraParamsSchema = z.strictObject(cameraAddressShape)

export const commandSchema = z
  .strictObject({
    command: z.enum(CAMERA_COMMANDS, `must be one of ${CAMERA_COMMANDS.join(', ')}`),
    value: z.string().max(COMMAND_BYTES_MAX).default('').meta({
      description: 'threshold: 0 to 1, or auto. rate: crops a second, or unlimited. Otherwise nothing.',
    }),
  })
  .meta({ id: 'Command' })
export type Command = z.input<typeof commandSchema>

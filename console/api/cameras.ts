import { z } from 'zod'
import { failure } from '../../lib/errors.ts'
import { type CameraState, cameraStateSchema } from '../../wire/camera-state.ts'
import { COMMAND_BYTES_MAX, readCommand } from '../../wire/commands.ts'
import type { CameraAddress } from '../../wire/topics.ts'
import { demand, notFound } from '../access/demand.ts'
import { isInScope } from '../access/may.ts'
import type { CameraSeen, Context } from '../context.ts'
import type { Detection as Row } from '../database/detection.ts'
import type { Scope } from '../database/scope.ts'
import { pictureAddress } from './addresses.ts'
import { problems, unchanged } from './answers.ts'
import { asked } from './asked.ts'
import { cameraAddressShape, idSchema, timeMsSchema } from './query.ts'
import type { Api } from './server.ts'

/** Cameras, their pictures, and what they are told: `/cameras`. */

/** `live` is asked for by who looks. */
export const CAMERA_COMMANDS = [
  'pause',
  'resume',
  'threshold',
  'rate',
  'snapshot',
  'record',
  'effect',
] as const
/** What shows or keeps the scene as it is. */
const OF_RECORDINGS: ReadonlySet<string> = new Set(['record', 'effect'])

export const cameraSchema = z
  .object({
    ...cameraAddressShape,
    is: z
      .enum(['live', 'paused', 'opening', 'waiting', 'down', 'ended', 'offline', 'unknown'])
      .meta({ description: 'Whether it works now. unknown: only its detections are known.' }),
    state: cameraStateSchema
      .omit({ v: true, site: true, device: true, camera: true, stream: true })
      .nullable()
      .meta({ description: 'As the camera last reported: what is set, and what is wrong.' }),
    stateAtMs: timeMsSchema.nullable().meta({ description: 'When it last reported, ms since 1970, UTC.' }),
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
    value: z.string().max(COMMAND_BYTES_MAX).optional().meta({
      description:
        'threshold: 0 to 1, or auto. rate: crops a second, or unlimited. record: off, always or faces. effect: none, pixelate or outline. Other commands take none.',
    }),
  })
  .meta({ id: 'Command' })
export type Command = z.input<typeof commandSchema>

const tags = ['cameras']

export function camerasRoutes(api: Api, { access, database, fleet, line }: Context): void {
  api.get(
    '/cameras',
    {
      config: { right: 'see' },
      schema: {
        operationId: 'listCameras',
        tags,
        summary: 'All cameras and their state',
        response: { 200: camerasSchema, 304: unchanged, ...problems() },
      },
    },
    async (request) => {
      const { person, rows } = asked(access, request)
      const newest = new Map((await database.newest(rows)).map((row) => [cameraPath(row), row]))
      const cameras = fleet.cameras.filter((camera) => isInScope(person.scope, camera))
      return {
        items: cameras
          .map((camera) => cameraOf(camera, newest.get(cameraPath(camera))))
          .toSorted((a, b) => (cameraPath(a) < cameraPath(b) ? -1 : 1)),
      }
    },
  )

  /** Errors: NOT_FOUND */
  const camera = async (address: CameraAddress, rows: Scope): Promise<Camera> => {
    const seen = fleet.camera(address)
    if (!seen) throw notFound()
    const filter = { cameras: [cameraPath(address)] }
    const { detections } = await database.page({ filter, scope: rows, limit: 1 })
    return cameraOf(seen, detections[0])
  }

  api.get(
    '/cameras/:site/:device/:camera',
    {
      config: { right: 'see' },
      schema: {
        operationId: 'getCamera',
        tags,
        summary: 'One camera and its state',
        params: cameraParamsSchema,
        response: { 200: cameraSchema, 304: unchanged, ...problems(404) },
      },
    },
    (request) => camera(request.params, asked(access, request).rows),
  )

  api.post(
    '/cameras/:site/:device/:camera/commands',
    {
      config: { right: ['see', 'command'] },
      schema: {
        operationId: 'commandCamera',
        tags,
        summary: 'Send a command to a camera',
        description: 'Answered when the camera has confirmed it.',
        params: cameraParamsSchema,
        body: commandSchema,
        response: { 200: cameraSchema, ...problems(404, 409, 413, 415, 504) },
      },
    },
    async (request) => {
      const caller = asked(access, request)
      const { command, value = '' } = request.body
      // What comes of it is a picture of now.
      if (command === 'snapshot') demand(caller.person, 'live', request.params)
      if (OF_RECORDINGS.has(command)) demand(caller.person, 'recordings', request.params)
      const seen = fleet.camera(request.params)
      if (!seen) throw notFound()
      const reading = readCommand(command, Buffer.from(value))
      if (reading.is === 'wrong')
        throw failure('PARAMETER_INVALID', `"value" must be ${reading.takes} with "${command}".`)
      await access.record(caller, {
        what: 'camera.command',
        target: cameraPath(request.params),
        detail: { command, value },
      })
      const state = await line.command(request.params, command, value, request.signal)
      const answer = await camera(request.params, caller.rows)
      return { ...answer, state: stateOf(state), stateAtMs: Date.now() }
    },
  )
}

/** As it is answered; without its newest detection where that is not asked for. */
export function cameraOf(seen: CameraSeen, newest: Row | undefined): Camera {
  return {
    site: seen.site,
    device: seen.device,
    camera: seen.camera,
    is: seen.is,
    state: seen.state ? stateOf(seen.state) : null,
    stateAtMs: seen.stateAtMs ?? null,
    newest: newest
      ? { id: newest.id, capturedAtMs: newest.capturedAtMs, picture: pictureAddress(newest.id) }
      : null,
  }
}

/** Who publishes is for `/streams` to say. */
function stateOf({ v, site, device, camera, stream, ...state }: CameraState) {
  return state
}

export const cameraPath = ({ site, device, camera }: CameraAddress) => `${site}/${device}/${camera}`

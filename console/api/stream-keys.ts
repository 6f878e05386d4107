import { createHash, randomBytes } from 'node:crypto'
import { z } from 'zod'
import { asFailure, failure } from '../../lib/errors.ts'
import { type StreamChange, streamStateSchema } from '../../wire/stream.ts'
import type { CameraAddress } from '../../wire/topics.ts'
import type { Caller } from '../access/access.ts'
import { demand, notFound } from '../access/demand.ts'
import { may, type Person } from '../access/may.ts'
import type { CameraSeen, Context } from '../context.ts'
import { done, problems, unchanged } from './answers.ts'
import { asked } from './asked.ts'
import { cameraParamsSchema, cameraPath } from './cameras.ts'
import { cameraAddressShape } from './query.ts'
import type { Api } from './server.ts'

/**
 * Cameras that come to a device, and their keys: `/streams`. A key is made here, told once, and kept nowhere: the device has
 * its hash. Whoever may command cameras manages all; others their own.
 */

/** base64url: what STREAM_KEY_PATTERN asks for. */
const KEY_BYTES = 16

export const streamSchema = z
  .object({
    ...cameraAddressShape,
    is: z
      .enum(['live', 'paused', 'opening', 'waiting', 'down', 'ended', 'offline', 'unknown'])
      .meta({ description: 'waiting: nobody publishes now.' }),
    ...streamStateSchema.shape,
    isOwn: z.boolean(),
  })
  .meta({ id: 'Stream', description: 'A camera that comes to a device.' })
export type Stream = z.infer<typeof streamSchema>

export const streamsSchema = z.object({ items: z.array(streamSchema) }).meta({ id: 'Streams' })
export type Streams = z.infer<typeof streamsSchema>

export const newStreamSchema = z
  .strictObject({
    ...cameraAddressShape,
    owner: z
      .string()
      .min(1)
      .max(200)
      .regex(/^[^\p{C}:]+$/u, 'must be the name of a user')
      .optional()
      .meta({ description: 'Whose it is; you where it is left out. Others need the right "command".' }),
    takeOver: z.boolean().optional().meta({
      description: 'Whether a second publisher with the same key ends the first; otherwise it is refused.',
    }),
  })
  .meta({ id: 'NewStream' })
export type NewStream = z.input<typeof newStreamSchema>

export const streamKeySchema = z
  .object({
    stream: streamSchema,
    isConfirmed: z.boolean().meta({
      description: 'false: the device has not answered yet, and takes the key as soon as it can.',
    }),
    key: z.string().meta({ description: 'What the publisher sends. It is told only here.' }),
  })
  .meta({ id: 'StreamKey' })
export type StreamKey = z.infer<typeof streamKeySchema>

export const streamSettingsSchema = z
  .strictObject({ active: z.boolean().optional(), takeOver: z.boolean().optional() })
  .refine(({ active, takeOver }) => active !== undefined || takeOver !== undefined, {
    message: 'must be given, or "takeOver"',
    path: ['active'],
  })
  .meta({ id: 'StreamSettings' })
export type StreamSettings = z.input<typeof streamSettingsSchema>

const tags = ['streams']

export function streamKeysRoutes(api: Api, { access, fleet, line }: Context): void {
  const shown = (seen: CameraSeen | undefined, person: Person): Stream | undefined => {
    const stream = seen?.state?.stream
    if (!seen || !stream) return undefined
    const isOwn = stream.owner === person.name
    if (!isOwn && !may(person, 'command', seen)) return undefined
    const { site, device, camera, is } = seen
    return { site, device, camera, is, ...stream, isOwn }
  }

  /** What he may manage. Errors: NOT_FOUND */
  const managed = (address: CameraAddress, person: Person): Stream => {
    const stream = shown(fleet.camera(address), person)
    if (!stream) throw notFound()
    return stream
  }

  const tell = async (
    caller: Caller,
    address: CameraAddress,
    change: StreamChange,
    signal: AbortSignal,
  ): Promise<Stream | undefined> => {
    const { keyHash, ...detail } = { keyHash: undefined, ...change }
    await access.record(caller, { what: `stream.${change.do}`, target: cameraPath(address), detail })
    const state = await line.stream(address, change, signal)
    const seen = fleet.camera(address)
    const now = state && { ...address, state, stateAtMs: Date.now(), is: seen?.is ?? 'waiting' }
    return shown(now, caller.person)
  }

  api.get(
    '/streams',
    {
      config: { right: ['see', 'streams'] },
      schema: {
        operationId: 'listStreams',
        tags,
        summary: 'Cameras that come to a device: yours, or all if you may command cameras',
        response: { 200: streamsSchema, 304: unchanged, ...problems() },
      },
    },
    async (request) => {
      const { person } = asked(access, request)
      return {
        items: fleet.cameras
          .filter((camera) => may(person, 'streams', camera))
          .map((camera) => shown(camera, person))
          .filter((it) => it !== undefined)
          .toSorted((a, b) => (cameraPath(a) < cameraPath(b) ? -1 : 1)),
      }
    },
  )

  api.post(
    '/streams',
    {
      config: { right: ['see', 'streams'] },
      schema: {
        operationId: 'addStream',
        tags,
        summary: 'Add a camera that comes to a device; its key is told once',
        body: newStreamSchema,
        response: { 201: streamKeySchema, ...problems(404, 409, 413, 415, 504) },
      },
    },
    async (request, reply) => {
      const caller = asked(access, request)
      const { owner = caller.person.name, takeOver, ...address } = request.body
      demand(caller.person, 'streams', address)
      if (owner !== caller.person.name) demand(caller.person, 'command', address)
      const device = fleet.devices.find((it) => it.site === address.site && it.device === address.device)
      if (!device) throw notFound()
      if (!device.isOnline)
        throw failure('CAMERA_OFFLINE', `The device ${address.site}/${address.device} is offline.`)
      if (fleet.camera(address)?.state)
        throw failure('NAME_TAKEN', `The device has a camera "${address.camera}". Choose another name.`)
      const key = newKey()
      const change: StreamChange = {
        do: 'add',
        keyHash: hashOfKey(key),
        owner,
        ...(takeOver !== undefined && { takeOver }),
      }
      const stream = await tell(caller, address, change, request.signal)
      if (!stream) throw failure('NOT_CONFIRMED', 'The device has not confirmed the stream.')
      return reply.code(201).header('cache-control', 'no-store').send({ stream, isConfirmed: true, key })
    },
  )

  api.post(
    '/streams/:site/:device/:camera/key',
    {
      config: { right: ['see', 'streams'] },
      schema: {
        operationId: 'rotateStreamKey',
        tags,
        summary: 'Give it another key; who publishes with the old one is cut off',
        params: cameraParamsSchema,
        response: { 200: streamKeySchema, ...problems(404, 409) },
      },
    },
    async (request, reply) => {
      const caller = asked(access, request)
      const before = managed(request.params, caller.person)
      const key = newKey()
      const change = { do: 'rotate', keyHash: hashOfKey(key) } as const
      // It is on its way, and told nowhere else: an answer that is late must not cost it.
      const stream = await tell(caller, request.params, change, request.signal).catch((error: unknown) => {
        if (asFailure(error).code === 'NOT_CONFIRMED') return undefined
        throw error
      })
      return reply
        .header('cache-control', 'no-store')
        .send({ stream: stream ?? before, isConfirmed: stream !== undefined, key })
    },
  )

  api.patch(
    '/streams/:site/:device/:camera',
    {
      config: { right: ['see', 'streams'] },
      schema: {
        operationId: 'changeStream',
        tags,
        summary: 'Activate or deactivate it, or say what a second publisher may',
        params: cameraParamsSchema,
        body: streamSettingsSchema,
        response: { 200: streamSchema, ...problems(404, 409, 413, 415, 504) },
      },
    },
    async (request) => {
      const caller = asked(access, request)
      let stream = managed(request.params, caller.person)
      const { active, takeOver } = request.body
      const changes: StreamChange[] = [
        ...(takeOver === undefined ? [] : [{ do: 'settings', takeOver } as const]),
        ...(active === undefined ? [] : [{ do: active ? 'activate' : 'deactivate' } as const]),
      ]
      for (const change of changes)
        stream = (await tell(caller, request.params, change, request.signal)) ?? stream
      return stream
    },
  )

  api.delete(
    '/streams/:site/:device/:camera',
    {
      config: { right: ['see', 'streams'] },
      schema: {
        operationId: 'removeStream',
        tags,
        summary: 'Remove it with its key; what is kept of it stays',
        params: cameraParamsSchema,
        response: { 204: done, ...problems(404, 409, 504) },
      },
    },
    async (request, reply) => {
      const caller = asked(access, request)
      managed(request.params, caller.person)
      await tell(caller, request.params, { do: 'remove' }, request.signal)
      return reply.code(204).send()
    },
  )
}

const newKey = () => randomBytes(KEY_BYTES).toString('base64url')

const hashOfKey = (key: string) => createHash('sha256').update(key).digest('hex')

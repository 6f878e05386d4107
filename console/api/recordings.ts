import { z } from 'zod'
import { failure } from '../../lib/errors.ts'
import { GAP_REASONS } from '../../wire/clip.ts'
import type { CameraAddress } from '../../wire/topics.ts'
import { isCameraPath } from '../../wire/users.ts'
import { notFound } from '../access/demand.ts'
import type { Context } from '../context.ts'
import type { Clip } from '../database/clip.ts'
import { cameraIdOf, clipDays, clipsOf, recordedCameras } from '../database/clips.ts'
import type { Database } from '../database/database.ts'
import { inScope, type Scope } from '../database/scope.ts'
import { API_PREFIX } from './addresses.ts'
import { content, problems, unchanged } from './answers.ts'
import { asked } from './asked.ts'
import { sendClip } from './clip-file.ts'
import { forgottenSchema } from './detections.ts'
import { cameraAddressShape, idSchema, timeMsSchema, timeParameter } from './query.ts'
import type { Api } from './server.ts'
import { spanOf } from './span.ts'
import { Views } from './views.ts'

/** Chunks of recordings: `/recordings`. */

const DAY_MS = 86_400_000
const DAYS_MAX = 400
const FORGET_SPAN_MS_MAX = 31 * DAY_MS

export const clipSchema = z
  .object({
    id: idSchema,
    ...cameraAddressShape,
    atMs: timeMsSchema.meta({
      description: 'Where it stands on the timeline: of capture; if the clock was wrong, of arrival.',
    }),
    endMs: timeMsSchema,
    durationMs: z.number().meta({ description: 'By the time stamps inside: exact.' }),
    frames: z.number().int(),
    width: z.number().int(),
    height: z.number().int(),
    rotation: z.number().int().meta({ description: 'Degrees clockwise by which players turn it.' }),
    codecs: z.string().meta({ description: 'RFC 6381.', examples: ['avc1.64001f,mp4a.40.2'] }),
    encoded: z.boolean().meta({ description: 'false: as the camera sent it.' }),
    independent: z.boolean().meta({ description: 'It plays without the chunk before.' }),
    run: idSchema.meta({ description: 'Chunks of one run play as one.' }),
    sequence: z.number().int(),
    gap: z
      .object({ fromMs: timeMsSchema.nullable(), why: z.enum(GAP_REASONS) })
      .nullable()
      .meta({ description: 'Before it: since when nothing is recorded, and why. null: it follows.' }),
    because: z.enum(['always', 'faces']),
    faces: z.number().int().nullable(),
    motion: z.number().nullable(),
    signer: z.string().nullable().meta({ description: 'SHA-256 of the public key it is signed with, hex.' }),
    bytes: z.number().int(),
    sha256: z.string(),
    isLost: z.boolean().meta({ description: 'The bucket was seen not to have it.' }),
    file: z.string().meta({ description: 'The address of the MP4, without the host.' }),
  })
  .meta({ id: 'RecordingChunk' })
export type RecordingChunk = z.infer<typeof clipSchema>

export const clipShown = (clip: Clip): RecordingChunk => ({
  id: clip.id,
  site: clip.site,
  device: clip.device,
  camera: clip.camera,
  atMs: clip.atMs,
  endMs: clip.endMs,
  durationMs: clip.durationMs,
  frames: clip.frames,
  width: clip.frame[0],
  height: clip.frame[1],
  rotation: clip.rotation ?? 0,
  codecs: clip.codecs,
  encoded: clip.encoded,
  independent: clip.independent,
  run: clip.run,
  sequence: clip.sequence,
  gap: clip.gap ?? null,
  because: clip.because,
  faces: clip.faces ?? null,
  motion: clip.motion ?? null,
  signer: clip.signer ?? null,
  bytes: clip.bytes,
  sha256: clip.sha256,
  isLost: clip.isLost,
  file: clipAddress(clip.id),
})

export const clipAddress = (id: string) => `${API_PREFIX}/recordings/${id}/file`

export const recordedCamerasSchema = z
  .object({
    items: z.array(
      z.object({
        ...cameraAddressShape,
        clips: z.number().int(),
        bytes: z.number().int(),
        durationMs: z.number().int(),
        firstMs: timeMsSchema.meta({ description: 'The beginning of the first day (UTC) with a recording.' }),
        lastMs: timeMsSchema.meta({ description: 'The end of the last day (UTC) with a recording.' }),
      }),
    ),
  })
  .meta({ id: 'RecordedCameras' })
export type RecordedCameras = z.infer<typeof recordedCamerasSchema>

export const recordedDaysSchema = z
  .object({
    items: z.array(
      z.object({
        fromMs: timeMsSchema.meta({ description: 'The beginning of the day, UTC.' }),
        clips: z.number().int(),
        bytes: z.number().int(),
        durationMs: z.number().int(),
      }),
    ),
  })
  .meta({ id: 'RecordedDays' })
export type RecordedDays = z.infer<typeof recordedDaysSchema>

/** A stretch of one camera, as the query of several routes names it. */
export const stretchShape = {
  camera: z
    .string()
    .refine(isCameraPath, 'must be a camera, as site/device/camera')
    .meta({ description: 'Which camera, as site/device/camera.' }),
  from: timeParameter('From this time on.'),
  to: timeParameter('Before this time.'),
}
export const stretchQuerySchema = z.strictObject(stretchShape)
/** As a program writes it into an address. */
export type StretchQuery = z.input<typeof stretchQuerySchema>

const idParamsSchema = z.strictObject({ id: idSchema })
const tags = ['recordings']

export function recordingsRoutes(api: Api, context: Context): void {
  const { access, database, line } = context
  const views = Views.of(access)

  api.get(
    '/recordings',
    {
      config: { right: 'recordings' },
      schema: {
        operationId: 'listRecordedCameras',
        tags,
        summary: 'Cameras of which something is recorded, and how much',
        response: { 200: recordedCamerasSchema, 304: unchanged, ...problems() },
      },
    },
    async (request) => ({
      items: (await recordedCameras(database.read, asked(access, request).rows)).map(
        ({ firstDay, lastDay, ...camera }) => ({
          ...camera,
          firstMs: firstDay * DAY_MS,
          lastMs: (lastDay + 1) * DAY_MS,
        }),
      ),
    }),
  )

  api.get(
    '/recordings/days',
    {
      config: { right: 'recordings' },
      schema: {
        operationId: 'listRecordedDays',
        tags,
        summary: 'Days (UTC) of which something of a camera is recorded, and how much',
        querystring: stretchQuerySchema,
        response: { 200: recordedDaysSchema, 304: unchanged, ...problems(404) },
      },
    },
    async (request) => {
      const { camera, from, to } = request.query
      const fromDay = Math.floor(from / DAY_MS)
      const beforeDay = Math.ceil(to / DAY_MS)
      if (beforeDay - fromDay > DAYS_MAX)
        throw failure('PARAMETER_INVALID', `"to" must be at most ${DAYS_MAX} days later than "from".`)
      const { id } = await cameraNamed(database, camera, asked(access, request).rows)
      const days = await clipDays(database.read, id, fromDay, beforeDay)
      return { items: days.map(({ day, ...rest }) => ({ fromMs: day * DAY_MS, ...rest })) }
    },
  )

  api.delete(
    '/recordings',
    {
      config: { right: ['recordings', 'forget'] },
      schema: {
        operationId: 'forgetRecordings',
        tags,
        summary: 'Forget a stretch: each chunk that has any part in it, kept ones too',
        description:
          'Faces that were seen meanwhile stay. What devices and brokers still have of it is not reached, and comes: for that, sightline forget there first.',
        querystring: stretchQuerySchema,
        response: { 200: forgottenSchema, ...problems(404, 502, 504) },
      },
    },
    async (request) => {
      const caller = asked(access, request)
      const { camera: path, from, to } = request.query
      const { fromMs, beforeMs: toMs } = spanOf(from, to, FORGET_SPAN_MS_MAX)
      const { camera } = await cameraNamed(database, path, caller.rows)
      const detail = { from: new Date(fromMs).toISOString(), to: new Date(toMs).toISOString() }
      await access.record(caller, { what: 'recording.forget', target: path, detail })
      const wanted = { kind: 'stretch', ...camera, fromMs, toMs } as const
      const places = await line.forget(wanted, caller.person.name, request.signal)
      return { places: places.map(({ place, count, left = false }) => ({ place, count, left })) }
    },
  )

  /** Errors: NOT_FOUND */
  const clip = async (id: string, scope: Scope): Promise<Clip> => {
    const [found] = await clipsOf(database.read, [id])
    if (!found || !inScope(scope, found)) throw notFound()
    return found
  }

  api.get(
    '/recordings/:id',
    {
      config: { right: 'recordings' },
      schema: {
        operationId: 'getRecordingChunk',
        tags,
        summary: 'One chunk',
        params: idParamsSchema,
        response: { 200: clipSchema, 304: unchanged, ...problems(404) },
      },
    },
    async (request) => clipShown(await clip(request.params.id, asked(access, request).rows)),
  )

  api.get(
    '/recordings/:id/file',
    {
      config: { right: 'recordings' },
      schema: {
        operationId: 'getRecordingFile',
        tags,
        summary: 'The chunk as it lies in the bucket, MP4; also by ranges',
        description: 'It plays by itself, and holds its metadata.',
        params: idParamsSchema,
        response: {
          200: content('video/mp4', 'MP4'),
          206: content('video/mp4', 'A part of it (Range).'),
          304: unchanged,
          ...problems(404),
        },
      },
    },
    async (request, reply) => {
      const caller = asked(access, request)
      const found = await clip(request.params.id, caller.rows)
      await views.looked(caller, found, found.atMs)
      return sendClip(context, request, reply, found)
    },
  )

  api.delete(
    '/recordings/:id',
    {
      config: { right: ['recordings', 'forget'] },
      schema: {
        operationId: 'forgetRecordingChunk',
        tags,
        summary: 'Forget a chunk: delete it from the bucket and from every queue of the subscribers',
        params: idParamsSchema,
        response: { 200: forgottenSchema, ...problems(404, 502, 504) },
      },
    },
    async (request) => {
      const caller = asked(access, request)
      const found = await clip(request.params.id, caller.rows)
      await access.record(caller, { what: 'recording.forget', target: found.id, detail: { key: found.key } })
      const places = await line.forget({ kind: 'id', id: found.id }, caller.person.name, request.signal)
      return { places: places.map(({ place, count, left = false }) => ({ place, count, left })) }
    },
  )
}

/** Of a path that `isCameraPath`. */
export function cameraOfPath(path: string): CameraAddress {
  const [site = '', device = '', camera = ''] = path.split('/')
  return { site, device, camera }
}

/** Errors: NOT_FOUND */
export async function cameraNamed(
  database: Database,
  path: string,
  scope: Scope,
): Promise<{ readonly camera: CameraAddress; readonly id: number }> {
  const camera = cameraOfPath(path)
  const id = await cameraIdOf(database.read, camera, scope)
  if (id === undefined) throw notFound()
  return { camera, id }
}

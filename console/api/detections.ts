import { z } from 'zod'
import { failure } from '../../lib/errors.ts'
import { attributeSchema } from '../../wire/attributes.ts'
import { isCameraPath } from '../../wire/users.ts'
import { notFound } from '../access/demand.ts'
import type { Person } from '../access/may.ts'
import type { Context } from '../context.ts'
import type { DetectionFilter, NamedAttribute, Detection as Row } from '../database/detection.ts'
import { pictureAddress } from './addresses.ts'
import { content, done, problems, unchanged } from './answers.ts'
import { asked } from './asked.ts'
import { cameraPath } from './cameras.ts'
import { isKnown } from './entity-tags.ts'
import {
  cameraAddressShape,
  flagParameter,
  idSchema,
  isCursor,
  nameSchema,
  numberParameter,
  pageOf,
  pageShape,
  severalOf,
  timeMsSchema,
  timeParameter,
} from './query.ts'
import type { Api } from './server.ts'

/** What was seen: `/detections`. */

export const REVIEWS_MAX = 1000

/** Pairs and rectangles, as lists of one kind: few generators of clients know "prefixItems". */
const listOf = (type: 'number' | 'integer', length: number, description: string) => ({
  description,
  prefixItems: undefined,
  items: { type },
  minItems: length,
  maxItems: length,
})
const pixels = z.tuple([z.number(), z.number(), z.number(), z.number()])
const isDevicePath = (text: string) => isCameraPath(`${text}/camera`)
const share = z.number().min(0).max(1)

export const detectionSchema = z
  .object({
    id: idSchema,
    ...cameraAddressShape,
    atMs: timeMsSchema.meta({
      description:
        'The time for sorting and searching, ms since 1970, UTC: of capture; if the clock was wrong, of arrival.',
    }),
    capturedAtMs: timeMsSchema.meta({ description: 'By the clock of the device, ms since 1970, UTC.' }),
    clockSane: z.boolean().meta({ description: 'False if the device knew that its clock was not set.' }),
    storedAtMs: timeMsSchema.meta({ description: 'When it reached the bucket, ms since 1970, UTC.' }),
    score: share.meta({ description: 'How sure the detector was.' }),
    masked: z.boolean().nullable().meta({ description: 'null where the model cannot tell.' }),
    attributes: z.array(attributeSchema),
    track: idSchema
      .nullable()
      .meta({ description: 'The track: the same in all pictures of one passing face.' }),
    shot: z.enum(['first', 'best']).nullable().meta({
      description:
        'Of a camera that sends a picture at once: first, or best, which takes its place at the end.',
    }),
    superseded: z.boolean().meta({
      description: 'The best picture of its track is there: searches and counts leave this one out.',
    }),
    zones: z.array(z.string()).nullable().meta({
      description: 'The zones that the face was in; null where the camera has none.',
    }),
    quality: z.object({ total: share, size: share, sharpness: share, frontality: share }).nullable(),
    box: pixels.meta(listOf('number', 4, 'The face, in pixels of its frame: left, top, width, height.')),
    region: pixels.meta(
      listOf('number', 4, 'What the picture shows of the frame: left, top, width, height.'),
    ),
    frame: z
      .tuple([z.number().int(), z.number().int()])
      .meta(listOf('integer', 2, 'Width and height of the frame, pixels.')),
    model: z.string(),
    file: z.string().nullable().meta({ description: 'The name of the photo it was found in.' }),
    bytes: z.number().int(),
    sha256: z.string().meta({ description: 'Of the picture, hex.' }),
    picture: z.string().meta({ description: 'The address of the picture, without the host.' }),
    reviewed: z.boolean().meta({ description: 'Whether you have marked it.' }),
  })
  .meta({ id: 'Detection', description: 'A face that a camera saw.' })
export type Detection = z.infer<typeof detectionSchema>

/** What is searched for: all that is named has to hold; of several places, one. */
export const placeShape = {
  from: timeParameter('At this time or later.').optional(),
  to: timeParameter('Before this time.').optional(),
  site: severalOf(nameSchema, 'Of this site; several times: of any of these places.'),
  device: severalOf(
    z.string().refine(isDevicePath, 'must be a device, as site/device'),
    'Of this device, as site/device.',
  ),
  camera: severalOf(
    z.string().refine(isCameraPath, 'must be a camera, as site/device/camera'),
    'Of this camera, as site/device/camera.',
  ),
}
export const filterShape = {
  ...placeShape,
  track: idSchema.optional().meta({ description: 'Of this track.' }),
  masked: z
    .enum(['true', 'false', 'unknown'], 'must be true, false or unknown')
    .optional()
    .meta({ description: 'Whether the face wears a mask; unknown: the model cannot tell.' }),
  attribute: z
    .string()
    .regex(/^.{1,129}$/u, 'must be an attribute, as name or name:label')
    .optional()
    .meta({ description: 'What a classifier or a plugin said, as name or name:label.' }),
  attributeScoreMin: numberParameter('With "attribute": how sure it was of that, at least.', {
    min: 0,
    max: 1,
  }).optional(),
  scoreMin: numberParameter('The score at least.', { min: 0, max: 1 }).optional(),
  scoreMax: numberParameter('The score at most.', { min: 0, max: 1 }).optional(),
  sizeMin: numberParameter('The shorter side of the face at least, pixels.', {
    min: 0,
    max: 100_000,
  }).optional(),
  reviewed: flagParameter('Whether you have marked it.').optional(),
  file: z.string().min(1).max(255).optional().meta({ description: 'Part of the name of the photo.' }),
  zone: nameSchema.optional().meta({ description: 'The zone that the face was in.' }),
  superseded: flagParameter(
    'Also first pictures whose best one is there; left out: without them.',
  ).optional(),
}
export const filterSchema = z.strictObject(filterShape)
export const detectionsQuerySchema = z.strictObject({
  ...filterShape,
  ...pageShape,
  after: z.string().refine(isCursor, 'must be a cursor').optional().meta({
    description:
      'Instead of "cursor": detections that are newer than this place, the nearest ones; "next" then leads to newer ones. The place of a detection is <atMs>.<id>.',
  }),
})
/** As a program writes it into an address. */
export type DetectionsQuery = z.input<typeof detectionsQuerySchema>
export type DetectionFilterQuery = z.input<typeof filterSchema>

export const detectionsPageSchema = z
  .object({
    ...pageOf(detectionSchema),
    searchedToMs: timeMsSchema.nullable().meta({
      description:
        'If the search stopped early: it went back to here, and continues with "next". Otherwise null.',
    }),
  })
  .meta({ id: 'DetectionsPage' })
export type DetectionsPage = z.infer<typeof detectionsPageSchema>

export const detectionDetailSchema = detectionSchema
  .extend({
    trackOthers: z.array(detectionSchema).meta({
      description: 'Other pictures of the same track, newest first, at most 50.',
    }),
    best: idSchema.nullable().meta({
      description: 'If it is superseded: the best picture, which is shown in its place.',
    }),
    newer: idSchema.nullable().meta({ description: 'The next newer one of the same camera.' }),
    older: idSchema.nullable().meta({ description: 'The next older one of the same camera.' }),
  })
  .meta({ id: 'DetectionDetail' })
export type DetectionDetail = z.infer<typeof detectionDetailSchema>

export const forgottenSchema = z
  .object({
    places: z.array(
      z.object({
        place: z.string(),
        count: z.number().int(),
        left: z
          .boolean()
          .meta({ description: 'It is still there: another program has to release it first.' }),
      }),
    ),
  })
  .meta({ id: 'Forgotten', description: 'What was deleted, place by place.' })
export type Forgotten = z.infer<typeof forgottenSchema>

export const reviewsSchema = z
  .strictObject({
    ids: z.array(idSchema).min(1).max(REVIEWS_MAX),
    reviewed: z.boolean(),
  })
  .meta({ id: 'Reviews' })
export type Reviews = z.infer<typeof reviewsSchema>

export const reviewsDoneSchema = z
  .object({
    changed: z.number().int().meta({
      description: 'How many marks changed. Ids that do not exist, or that you may not see, are skipped.',
    }),
  })
  .meta({ id: 'ReviewsDone' })
export type ReviewsDone = z.infer<typeof reviewsDoneSchema>

const idParamsSchema = z.strictObject({ id: idSchema })
const pictureQuerySchema = z.strictObject({
  download: z
    .enum(['', 'true', 'false'], 'must be true or false')
    .optional()
    .meta({ description: 'As a file, for download.', type: 'boolean', enum: undefined }),
})

/** Other pictures of a face that was followed, with the one that is opened. */
const TRACK_OTHERS_MAX = 50
/** A browser asks again after an hour: what was forgotten is not shown for longer. */
const PICTURE_CACHE_S = 3600

const tags = ['detections']

export function detectionsRoutes(api: Api, { access, bucket, database, line }: Context): void {
  /** @returns each with its mark */
  const marked = async (rows: readonly Row[], { name }: Person): Promise<Detection[]> => {
    const ids = rows.map(({ id }) => id)
    const reviewed = ids.length === 0 ? new Set() : await database.reviewed(name, ids)
    return rows.map((row) => detectionOf(row, reviewed.has(row.id)))
  }

  api.get(
    '/detections',
    {
      config: { right: 'see' },
      schema: {
        operationId: 'listDetections',
        tags,
        summary: 'Search detections, newest first',
        querystring: detectionsQuerySchema,
        response: { 200: detectionsPageSchema, 304: unchanged, ...problems() },
      },
    },
    async (request) => {
      const { person, rows: scope } = asked(access, request)
      const { cursor, after, limit, ...query } = request.query
      if (cursor !== undefined && after !== undefined)
        throw failure('PARAMETER_INVALID', 'Give "cursor" or "after", not both.')
      const page = await database.page(
        { filter: filterOf(query, person), scope, before: cursor, after, limit },
        request.signal,
      )
      return {
        items: await marked(page.detections, person),
        next: page.next ?? null,
        searchedToMs: page.searchedToMs ?? null,
      }
    },
  )

  api.get(
    '/detections/:id',
    {
      config: { right: 'see' },
      schema: {
        operationId: 'getDetection',
        tags,
        summary: 'One detection, with its track and its neighbours',
        params: idParamsSchema,
        response: { 200: detectionDetailSchema, 304: unchanged, ...problems(404) },
      },
    },
    async (request) => {
      const { person, rows: scope } = asked(access, request)
      const row = await database.detection(request.params.id, scope)
      if (!row) throw notFound()
      const [others, { newer, older }] = await Promise.all([
        row.track === undefined ? [] : database.track(row.track, scope),
        database.neighbours(row, { cameras: [cameraPath(row)] }, scope),
      ])
      const trackRows = others.filter(({ id }) => id !== row.id).slice(-TRACK_OTHERS_MAX)
      const best = row.superseded
        ? others.findLast(({ shot, camera }) => shot === 'best' && camera === row.camera)
        : undefined
      const [one, ...rest] = await marked([row, ...trackRows.toReversed()], person)
      return {
        ...(one as Detection),
        trackOthers: rest,
        best: best?.id ?? null,
        newer: newer?.id ?? null,
        older: older?.id ?? null,
      }
    },
  )

  api.get(
    '/detections/:id/picture',
    {
      config: { right: 'see' },
      schema: {
        operationId: 'getDetectionPicture',
        tags,
        summary: 'The picture of a face, JPEG',
        description: 'Its EXIF UserComment holds the metadata.',
        params: idParamsSchema,
        querystring: pictureQuerySchema,
        response: { 200: content('image/jpeg', 'JPEG'), 304: unchanged, ...problems(404) },
      },
    },
    async (request, reply) => {
      const row = await database.detection(request.params.id, asked(access, request).rows)
      if (!row) throw notFound()
      const tag = `"${row.sha256}"`
      reply.headers({ etag: tag, 'cache-control': `private, max-age=${PICTURE_CACHE_S}` })
      if (isKnown(request.headers['if-none-match'], tag)) return reply.code(304).send()
      const bytes = await bucket.read(row.key, request.signal)
      if (!bytes) throw notFound()
      const { download = 'false' } = request.query
      if (download !== 'false')
        reply.header('content-disposition', `attachment; filename="${fileNameOf(row)}"`)
      return reply.type('image/jpeg').send(bytes)
    },
  )

  api.delete(
    '/detections/:id',
    {
      config: { right: 'forget' },
      schema: {
        operationId: 'forgetDetection',
        tags,
        summary: 'Forget: delete it from the bucket and from every queue of the subscribers',
        params: idParamsSchema,
        response: { 200: forgottenSchema, ...problems(404, 502, 504) },
      },
    },
    async (request) => {
      const caller = asked(access, request)
      const row = await database.detection(request.params.id, caller.rows)
      if (!row) throw notFound()
      await access.record(caller, { what: 'detection.forget', target: row.id, detail: { key: row.key } })
      const places = await line.forget({ kind: 'id', id: row.id }, caller.person.name, request.signal)
      return { places: places.map(({ place, count, left = false }) => ({ place, count, left })) }
    },
  )

  for (const [method, operationId, summary] of [
    ['PUT', 'reviewDetection', 'Mark it as reviewed by you'],
    ['DELETE', 'unreviewDetection', 'Remove your mark'],
  ] as const)
    api.route({
      method,
      url: '/detections/:id/review',
      config: { right: ['see', 'review'] },
      schema: {
        operationId,
        tags,
        summary,
        params: idParamsSchema,
        response: { 204: done, ...problems(404) },
      },
      handler: async (request, reply) => {
        const { person, rows: scope } = asked(access, request)
        const { id } = request.params
        if (!(await database.detection(id, scope))) throw notFound()
        if (method === 'PUT') await database.review(person.name, [id], scope, Date.now())
        else await database.unreview(person.name, [id])
        return reply.code(204).send()
      },
    })

  api.post(
    '/detections/reviews',
    {
      config: { right: ['see', 'review'] },
      schema: {
        operationId: 'reviewDetections',
        tags,
        summary: 'Mark many, or remove the marks',
        body: reviewsSchema,
        response: { 200: reviewsDoneSchema, ...problems(413, 415) },
      },
    },
    async (request) => {
      const { person, rows: scope } = asked(access, request)
      const { ids, reviewed } = request.body
      const changed = reviewed
        ? await database.review(person.name, ids, scope, Date.now())
        : await database.unreview(person.name, ids)
      return { changed }
    },
  )
}

type ReadFilter = z.output<typeof filterSchema>

/** What the parameters mean. */
export function filterOf(query: ReadFilter, { name }: Person): DetectionFilter {
  const { from, to, site, device, camera, masked, attribute, attributeScoreMin, reviewed, ...rest } = query
  if (attributeScoreMin !== undefined && attribute === undefined)
    throw failure('PARAMETER_INVALID', '"attributeScoreMin" needs an "attribute".')
  return {
    ...rest,
    fromMs: from,
    beforeMs: to,
    ...placesOf(query),
    masked: masked === undefined ? undefined : masked === 'unknown' ? null : masked === 'true',
    attribute:
      attribute === undefined ? undefined : { ...readingsOf(attribute), scoreMin: attributeScoreMin },
    reviewed: reviewed === undefined ? undefined : { by: name, is: reviewed },
  }
}

/** A name alone, or name:label. Both may have colons. */
function readingsOf(text: string): NonNullable<DetectionFilter['attribute']> {
  const readings: NamedAttribute[] = []
  for (let at = text.indexOf(':'); at >= 0; at = text.indexOf(':', at + 1))
    if (at > 0 && at < text.length - 1) readings.push({ name: text.slice(0, at), label: text.slice(at + 1) })
  const [first, ...or] = [...readings, { name: text }]
  return { ...(first as NamedAttribute), or }
}

export const placesOf = ({
  site,
  device,
  camera,
}: {
  readonly site?: readonly string[]
  readonly device?: readonly string[]
  readonly camera?: readonly string[]
}) => ({ sites: site, devices: device, cameras: camera })

/** As it is answered. */
export function detectionOf(row: Row, reviewed: boolean): Detection {
  return {
    id: row.id,
    site: row.site,
    device: row.device,
    camera: row.camera,
    atMs: row.atMs,
    capturedAtMs: row.capturedAtMs,
    clockSane: row.clockSane,
    storedAtMs: row.storedAtMs,
    score: row.score,
    masked: row.masked ?? null,
    attributes: [...row.attributes],
    track: row.track ?? null,
    shot: row.shot ?? null,
    superseded: row.superseded ?? false,
    zones: row.zones ? [...row.zones] : null,
    quality: row.quality ?? null,
    box: row.box,
    region: row.region,
    frame: row.frame,
    model: row.model,
    file: row.file ?? null,
    bytes: row.bytes,
    sha256: row.sha256,
    picture: pictureAddress(row.id),
    reviewed,
  }
}

/** `gate_edge-1_door_2026-11-28T09-30-00Z.jpg`: names have only letters, digits, dash and underscore. */
function fileNameOf({ site, device, camera, capturedAtMs }: Row): string {
  const time = new Date(capturedAtMs)
    .toISOString()
    .replace(/\.\d+Z$/, 'Z')
    .replaceAll(':', '-')
  return `${site}_${device}_${camera}_${time}.jpg`
}

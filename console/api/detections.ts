import { z } from 'zod'
import { attributeSchema } from '../../wire/stored.ts'
import { isCameraPath } from '../../wire/users.ts'
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

/** What was seen: `/detections`. */

export const REVIEWS_MAX = 1000

const pixels = z.tuple([z.number(), z.number(), z.number(), z.number()])
const isDevicePath = (text: string) => isCameraPath(`${text}/camera`)
const share = z.number().min(0).max(1)

export const detectionSchema = z
  .object({
    id: idSchema,
    ...cameraAddressShape,
    atMs: timeMsSchema.meta({
      description:
        'By which all are sorted and searched, ms since 1970, UTC: the time of capture; where the clock was wrong, that of arrival.',
    }),
    capturedAtMs: timeMsSchema.meta({ description: 'By the clock of the device, ms since 1970, UTC.' }),
    clockSane: z.boolean().meta({ description: 'False where the device knew that its clock was not set.' }),
    storedAtMs: timeMsSchema.meta({ description: 'When it reached the bucket, ms since 1970, UTC.' }),
    score: share.meta({ description: 'How sure the detector was.' }),
    masked: z.boolean().nullable().meta({ description: 'null where the model cannot tell.' }),
    attributes: z.array(attributeSchema),
    track: idSchema
      .nullable()
      .meta({ description: 'The face that was followed: the same in all of its pictures.' }),
    quality: z.object({ total: share, size: share, sharpness: share, frontality: share }).nullable(),
    box: pixels.meta({ description: 'The face, in pixels of its frame: left, top, width, height.' }),
    region: pixels.meta({ description: 'What the picture shows of the frame: left, top, width, height.' }),
    frame: z
      .tuple([z.number().int(), z.number().int()])
      .meta({ description: 'Width and height of the frame, pixels.' }),
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
  track: idSchema.optional().meta({ description: 'Of this face that was followed.' }),
  masked: z
    .enum(['true', 'false', 'unknown'], 'must be true, false or unknown')
    .optional()
    .meta({ description: 'Whether the face wears a mask; unknown: the model cannot tell.' }),
  attribute: z
    .string()
    .regex(/^[^:]{1,64}(:.{1,64})?$/, 'must be an attribute, as name or name:label')
    .optional()
    .meta({ description: 'What a classifier said, as name or name:label.' }),
  scoreMin: numberParameter('The score at least.', { min: 0, max: 1 }).optional(),
  scoreMax: numberParameter('The score at most.', { min: 0, max: 1 }).optional(),
  sizeMin: numberParameter('The shorter side of the face at least, pixels.', {
    min: 0,
    max: 100_000,
  }).optional(),
  reviewed: flagParameter('Whether you have marked it.').optional(),
  file: z.string().min(1).max(255).optional().meta({ description: 'Part of the name of the photo.' }),
}
export const filterSchema = z.strictObject(filterShape)
export const detectionsQuerySchema = z.strictObject({
  ...filterShape,
  ...pageShape,
  after: z.string().refine(isCursor, 'must be a cursor').optional().meta({
    description:
      'Instead of "cursor": what is newer than this place, the nearest; "next" then goes on to newer ones. The place of a detection is <atMs>.<id>.',
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
        'Where a search for something rare took too long: it went back to here, and goes on with "next". Otherwise null.',
    }),
  })
  .meta({ id: 'DetectionsPage' })
export type DetectionsPage = z.infer<typeof detectionsPageSchema>

export const detectionDetailSchema = detectionSchema
  .extend({
    trackOthers: z.array(detectionSchema).meta({
      description: 'Other pictures of the same face that was followed, newest first, some at most.',
    }),
    newer: idSchema.nullable().meta({ description: 'The next one of the same camera.' }),
    older: idSchema.nullable().meta({ description: 'The one before of the same camera.' }),
  })
  .meta({ id: 'DetectionDetail' })
export type DetectionDetail = z.infer<typeof detectionDetailSchema>

export const forgottenSchema = z
  .object({
    places: z.array(
      z.object({
        place: z.string(),
        count: z.number().int(),
        left: z.boolean().meta({ description: 'It is still there: another program has to let go of it.' }),
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
      description:
        'How many are marked otherwise than before. Those that you may not see, or that there are not, are passed over.',
    }),
  })
  .meta({ id: 'ReviewsDone' })
export type ReviewsDone = z.infer<typeof reviewsDoneSchema>

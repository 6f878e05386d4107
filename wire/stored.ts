import { z } from 'zod'
import { clipMetadataSchema } from './clip.ts'
import { cropMetadataSchema } from './crop.ts'
import { ID_PATTERN } from './id.ts'
import { STRETCHES_MAX, stretchSchema } from './keep.ts'
import { CLIP, CROP } from './kinds.ts'
import { NAME_PATTERN } from './names.ts'
import { parseObjectKey } from './object-key.ts'

/**
 * What a bucket has, as its subscriber says it: on `<prefix>/stored/<subscriber>`, QoS 1, batches of JSON lines. An entry
 * is announced when the bucket has flushed it; whoever reads these keeps an index of the bucket. Entries may come twice,
 * and in any order; those of one object say the same. Pure.
 */
export const STORED_VERSION = 1
/** Of one message; a subscriber gathers what 100 ms brought, and sends sooner where it is more than this. */
export const STORED_BATCH_BYTES_MAX = 256 * 1024

const id = z.string().regex(ID_PATTERN)
const timeMs = z.number().int().nonnegative().max(253_402_300_799_999)
const v = z.literal(STORED_VERSION)
/** The object's key in the bucket (object-key.ts). */
const key = z.string().min(1).max(1024)

/** What a key says, and what stands beside it: whoever may see the one sees the other. */
const ofKey = 'not what the key says'

/** An object is in the bucket: what is said of every kind. */
const ofObject = {
  v,
  is: z.literal('stored'),
  key,
  /** The hour of its key, and when it reached the bucket. */
  filedAtMs: timeMs,
  storedAtMs: timeMs,
  bytes: z.number().int().nonnegative(),
  /** Of the object, hex. */
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
}

interface OfKey {
  readonly kind: string
  readonly key: string
  readonly id: string
  readonly site: string
  readonly device: string
  readonly camera: string
}

const isOfKey = ({ kind, key, id, site, device, camera }: OfKey) => {
  const said = parseObjectKey(key)
  return (
    said?.kind.name === kind &&
    said.id === id &&
    said.site === site &&
    said.device === device &&
    said.camera === camera
  )
}

export const storedCropSchema = z
  .object({
    ...ofObject,
    kind: z.literal(CROP.name),
    ...cropMetadataSchema.omit({ v: true, landmarks: true }).shape,
  })
  .refine(isOfKey, { error: ofKey, path: ['key'] })

/** A chunk of a recording. */
export const storedClipSchema = z
  .object({ ...ofObject, kind: z.literal(CLIP.name), ...clipMetadataSchema.omit({ v: true }).shape })
  .refine(isOfKey, { error: ofKey, path: ['key'] })

export const storedSchema = z.discriminatedUnion('kind', [storedCropSchema, storedClipSchema])

/** An object is no longer there, or never will be. */
export const removedSchema = z
  .object({
    v,
    is: z.literal('removed'),
    id,
    key,
    why: z.enum(['forgotten', 'expired']),
  })
  .refine(({ key, id }) => parseObjectKey(key)?.id === id, { error: ofKey, path: ['key'] })

/**
 * Every crop that is filed below this moment (a day's beginning, UTC) is gone, or goes within the day: retention. Of clips,
 * which have a retention for each camera, each one that goes is `removed`.
 */
export const expiredSchema = z.object({ v, is: z.literal('expired'), filedBeforeMs: timeMs })

/** What of a camera's recordings is kept, all of it: retention leaves it alone. Of two, the one with the greater `atMs` holds. */
export const keptSchema = z.object({
  v,
  is: z.literal('kept'),
  site: z.string().regex(NAME_PATTERN),
  device: z.string().regex(NAME_PATTERN),
  camera: z.string().regex(NAME_PATTERN),
  atMs: timeMs,
  stretches: z.array(stretchSchema).max(STRETCHES_MAX),
  /** What asked for it (keep.ts); and why it could not be done, where it could not. */
  request: id.optional(),
  error: z.object({ code: z.string().max(64), message: z.string().max(2000) }).optional(),
})

/** The answer to a request on `<prefix>/forget/<subscriber>`: what was removed, place by place; or why it could not be. */
export const forgotSchema = z.object({
  v,
  is: z.literal('forgot'),
  /** Of the request. */
  request: id,
  places: z
    .array(
      z.object({
        place: z.string().max(300),
        count: z.number().int().nonnegative(),
        left: z.boolean().optional(),
      }),
    )
    .max(100),
  error: z.object({ code: z.string().max(64), message: z.string().max(2000) }).optional(),
})

export const announcementSchema = z.discriminatedUnion('is', [
  storedSchema,
  removedSchema,
  expiredSchema,
  keptSchema,
  forgotSchema,
])

export type Stored = z.infer<typeof storedSchema>
export type StoredCrop = z.infer<typeof storedCropSchema>
export type StoredClip = z.infer<typeof storedClipSchema>
export type Removed = z.infer<typeof removedSchema>
export type Announcement = z.infer<typeof announcementSchema>

/** Of a subscriber. */
export const storedTopic = (prefix: string, subscriber: string) => `${prefix}/stored/${subscriber}`
/** Asks a subscriber to forget a selection (forget.ts), JSON: forgetMessageSchema. QoS 1. */
export const forgetTopic = (prefix: string, subscriber: string) => `${prefix}/forget/${subscriber}`

export interface Batch {
  readonly announcements: readonly Announcement[]
  /** Lines that are none of ours, each with what is wrong: damaged, or of a newer version. */
  readonly faults: readonly { readonly line: string; readonly why: string }[]
}

/** Never throws, whatever the bytes. */
export function readBatch(payload: Uint8Array): Batch {
  const announcements: Announcement[] = []
  const faults: { line: string; why: string }[] = []
  const text = Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength).toString('utf8')
  for (const line of text.split('\n')) {
    if (line === '') continue
    let json: unknown
    try {
      json = JSON.parse(line)
    } catch {
      faults.push({ line, why: 'not JSON' })
      continue
    }
    const reading = announcementSchema.safeParse(json)
    if (reading.success) announcements.push(reading.data)
    else {
      const [issue] = reading.error.issues
      faults.push({ line, why: `${issue?.path.join('.') || 'the line'}: ${issue?.message ?? 'invalid'}` })
    }
  }
  return { announcements, faults }
}

export const announcementLine = (announcement: Announcement) => `${JSON.stringify(announcement)}\n`

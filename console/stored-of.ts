import { createHash } from 'node:crypto'
import type { Bucket, ListedObject } from '../lib/buckets/bucket.ts'
import { KEEP_VERSION, keepKey, keptStretchesSchema } from '../wire/keep.ts'
import { CLIP, kindOfKey } from '../wire/kinds.ts'
import { parseObjectKey } from '../wire/object-key.ts'
import { type Announcement, keptSchema, STORED_VERSION, type Stored, storedSchema } from '../wire/stored.ts'
import type { CameraAddress } from '../wire/topics.ts'

const HOUR_MS = 3_600_000

/** What the console needs of a bucket: it only reads. */
export type ReadBucket = Pick<Bucket, 'description' | 'list' | 'folders' | 'read'>

export type StoredReading = { readonly stored: Stored } | { readonly fault: string }

/**
 * The announcement that an object would have had, from the object alone: it is its own metadata.
 * @returns undefined where it is gone. Errors: those of the bucket.
 */
export async function storedOf(
  bucket: ReadBucket,
  { key, modifiedAtMs }: ListedObject,
  signal?: AbortSignal,
): Promise<StoredReading | undefined> {
  const parsed = parseObjectKey(key)
  const kind = kindOfKey(key)
  if (!parsed || !kind) return { fault: 'a key that is none of ours' }
  const bytes = await bucket.read(key, signal)
  if (!bytes) return undefined
  const reading = kind.read(bytes)
  if ('fault' in reading) return { fault: `${reading.fault}: ${reading.detail}` }
  const { metadata } = reading
  for (const part of ['id', 'site', 'device', 'camera'] as const)
    if (metadata[part] !== parsed[part]) return { fault: `its key says another ${part} than its metadata` }
  // What the schema does not know (landmarks) stays in the object.
  const { data, error } = storedSchema.safeParse({
    ...metadata,
    v: STORED_VERSION,
    is: 'stored',
    kind: kind.name,
    key,
    filedAtMs: filedAtMs(key, metadata.capturedAtMs, modifiedAtMs),
    storedAtMs: Math.max(0, Math.round(modifiedAtMs)),
    bytes: bytes.byteLength,
    sha256: createHash('sha256').update(bytes).digest('hex'),
  })
  return data ? { stored: data } : { fault: error.issues[0]?.message ?? 'invalid metadata' }
}

/** What of a camera's recordings is kept, as its bucket says; undefined where it does not. Errors: those of the bucket. */
export async function keptOf(
  bucket: ReadBucket,
  camera: CameraAddress,
  signal?: AbortSignal,
): Promise<Announcement | undefined> {
  const key = keepKey(camera)
  for await (const object of bucket.list(key, signal)) {
    if (object.key !== key) continue
    const bytes = await bucket.read(key, signal)
    if (!bytes) return undefined
    let json: unknown
    try {
      json = JSON.parse(Buffer.from(bytes).toString('utf8'))
    } catch {
      return undefined // its subscriber complains of it
    }
    const file = keptStretchesSchema.safeParse(json).data
    if (file?.v !== KEEP_VERSION) return undefined
    const { site, device, camera: name } = camera
    const atMs = Math.max(0, Math.round(object.modifiedAtMs))
    const { stretches } = file
    return keptSchema.safeParse({
      v: STORED_VERSION,
      is: 'kept',
      site,
      device,
      camera: name,
      atMs,
      stretches,
    }).data
  }
  return undefined
}

/** Of its key: the beginning of its hour, `<site>/<device>/<camera>/2026/11/20/13/<id>.jpg`, behind the root of its kind. */
export function hourOfKey(key: string): number {
  const path = key.startsWith(CLIP.root) ? key.slice(CLIP.root.length) : key
  const [, , , year, month, day, hour] = path.split('/').map(Number)
  return Date.UTC(year as number, (month as number) - 1, day, hour)
}

/**
 * The hour stands in the key. Within it: when it was captured; where the device's clock was wrong, when it was stored, if that
 * was in this hour; else its beginning.
 */
function filedAtMs(key: string, capturedAtMs: number, modifiedAtMs: number): number {
  const hourMs = hourOfKey(key)
  for (const atMs of [capturedAtMs, Math.round(modifiedAtMs)])
    if (atMs >= hourMs && atMs < hourMs + HOUR_MS) return atMs
  return hourMs
}

import { createHash } from 'node:crypto'
import type { Bucket, ListedObject } from '../lib/buckets/bucket.ts'
import { kindOfKey } from '../wire/kinds.ts'
import { parseObjectKey } from '../wire/object-key.ts'
import { STORED_VERSION, type Stored, storedSchema } from '../wire/stored.ts'

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

/** Of its key: the beginning of its hour, `<site>/<device>/<camera>/2026/11/20/13/<id>.jpg`. */
export function hourOfKey(key: string): number {
  const [, , , year, month, day, hour] = key.split('/').map(Number)
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

import { mintedAtMs } from '../wire/id.ts'
import { objectKey } from '../wire/object-key.ts'
import type { Bucket } from './buckets/bucket.ts'
import { isKey } from './buckets/key.ts'
import { cameras } from './cameras.ts'

const HOUR_MS = 3_600_000

/**
 * The key of a crop of which only the id is known. The id carries the time it was minted at, so every camera's hour of
 * it, and the one before, is looked at first; what was filed under another (the device's clock was wrong) is found by
 * looking through the whole bucket. Errors: those of the bucket.
 * @param id a UUIDv7, lower case
 */
export async function findCrop(
  bucket: Bucket,
  id: string,
  signal?: AbortSignal,
): Promise<string | undefined> {
  const mintedMs = mintedAtMs(id)
  for await (const prefix of cameras(bucket, signal)) {
    const [site = '', device = '', camera = ''] = prefix.split('/')
    for (const atMs of [mintedMs, mintedMs - HOUR_MS]) {
      const key = objectKey({ id, site, device, camera }, atMs)
      if (!isKey(key)) continue // a time that no calendar has
      for await (const found of bucket.list(key, signal)) if (found.key === key) return key
    }
  }
  for await (const { key } of bucket.list('', signal)) if (key.endsWith(`/${id}.jpg`)) return key
  return undefined
}

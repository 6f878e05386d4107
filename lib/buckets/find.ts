import { mintedAtMs } from '../../wire/id.ts'
import { KINDS } from '../../wire/kinds.ts'
import { objectKey, parseObjectKey } from '../../wire/object-key.ts'
import type { Bucket } from './bucket.ts'
import { cameras } from './cameras.ts'
import { isKey } from './key.ts'

const HOUR_MS = 3_600_000

/**
 * The keys of a crop or a clip of which only the id is known. The id carries the time it was minted at, so every camera's hour of
 * it, and the one before, is looked at first; what was filed under another (the device's clock was wrong; perhaps more
 * than once) is found by looking through all that its camera has, or the whole bucket. Errors: those of the bucket.
 * @param id a UUIDv7, lower case
 */
export async function* keysWithId(bucket: Bucket, id: string, signal?: AbortSignal): AsyncGenerator<string> {
  const mintedMs = mintedAtMs(id)
  const found = new Set<string>()
  const places = new Set<string>()
  for (const kind of KINDS)
    for await (const prefix of cameras(bucket, signal, kind)) {
      const [site = '', device = '', camera = ''] = prefix.slice(kind.root.length).split('/')
      for (const atMs of [mintedMs, mintedMs - HOUR_MS]) {
        const expected = objectKey({ id, site, device, camera }, atMs, kind)
        if (!isKey(expected)) continue // a time that no calendar has
        for await (const { key } of bucket.list(expected, signal))
          if (key === expected) {
            found.add(key)
            places.add(prefix)
            yield key
          }
      }
    }
  // Where it came twice, from a camera whose clock was ahead, once it was its time by then (filed-at.ts).
  for (const place of places.size > 0 ? places : [''])
    for await (const { key } of bucket.list(place, signal))
      if (parseObjectKey(key)?.id === id && !found.has(key)) yield key
}

/** The first of these keys. */
export async function findCrop(
  bucket: Bucket,
  id: string,
  signal?: AbortSignal,
): Promise<string | undefined> {
  for await (const key of keysWithId(bucket, id, signal)) return key
  return undefined
}

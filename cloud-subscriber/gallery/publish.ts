import type { Bucket } from '../../lib/buckets/bucket.ts'
import { readPage } from './page.ts'

/**
 * Puts the gallery's page into the bucket, where people open it at `bucket.url('gallery/index.html')`.
 * A file that is there already, byte for byte, is left alone. Errors: those of the bucket.
 * @returns the keys that were written
 */
export async function publishGallery(bucket: Bucket, signal?: AbortSignal): Promise<string[]> {
  const written: string[] = []
  for (const object of await readPage()) {
    const there = await bucket.read(object.key, signal)
    if (there && Buffer.from(object.body).equals(there)) continue
    await bucket.replace(object, signal)
    written.push(object.key)
  }
  return written
}

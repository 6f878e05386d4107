import type { Bucket } from '../../lib/buckets/bucket.ts'
import { CLIP } from '../../wire/kinds.ts'

/**
 * From where browsers fetch what the bucket signs. @returns undefined for a bucket that cannot sign. Errors: those of
 * `signedUrl`
 */
export async function signedOriginOf(bucket: Pick<Bucket, 'signedUrl'>): Promise<string | undefined> {
  if (!bucket.signedUrl) return undefined
  return new URL(await bucket.signedUrl(`${CLIP.root}origin`, 1)).origin
}

import type { SubscriberConfig } from '../config.ts'
import type { Bucket } from './bucket.ts'
import { FolderBucket } from './folder.ts'

/** The bucket that a configuration names. Errors: those of the bucket. */
export async function openBucket(
  { bucket, http }: Pick<SubscriberConfig, 'bucket' | 'http'>,
  signal?: AbortSignal,
): Promise<Bucket> {
  if (bucket.type === 'folder')
    return FolderBucket.open({
      ...bucket,
      publicUrl: bucket.publicUrl ?? `${http.tls ? 'https' : 'http'}://${http.host}:${http.port}`,
    })
  const { S3Bucket } = await import('./s3.ts') // its SDK is large: only where it is used
  return S3Bucket.open(bucket, signal)
}

import type { Access, Bucket } from './bucket.ts'
import type { BucketConfig } from './config.ts'
import { FolderBucket } from './folder.ts'

/** Of a program's own HTTP listener, which serves a folder's objects. */
export interface ServedAt {
  readonly host: string
  readonly port: number
  readonly tls?: unknown
}

/**
 * The bucket that a configuration names. For reading it is not looked at before it is read, so that a bucket that is away
 * stops no start. Errors: those of the bucket.
 */
export async function openBucket(
  { bucket, http }: { readonly bucket: BucketConfig; readonly http: ServedAt },
  signal?: AbortSignal,
  access: Access = 'write',
): Promise<Bucket> {
  if (bucket.type === 'folder')
    return FolderBucket.open({
      ...bucket,
      access,
      publicUrl: bucket.publicUrl ?? `${http.tls ? 'https' : 'http'}://${http.host}:${http.port}`,
    })
  const { S3Bucket } = await import('./s3.ts') // its SDK is large: only where it is used
  return S3Bucket.open({ ...bucket, access }, signal)
}

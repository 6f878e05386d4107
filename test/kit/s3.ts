import { randomBytes } from 'node:crypto'
import { CreateBucketCommand, DeleteObjectsCommand, ListObjectsV2Command, S3Client } from '@aws-sdk/client-s3'

/**
 * A real S3 server for tests: SIGHTLINE_TEST_S3=http://127.0.0.1:7480 names it, AWS_ACCESS_KEY_ID and
 * AWS_SECRET_ACCESS_KEY (default testkey, testsecret) open it. Where it is unset the tests that need it say so and
 * are skipped. One that works: a Ceph object gateway on one machine (Debian: radosgw, ceph-mon, ceph-osd).
 */
export const s3Endpoint: string | undefined = process.env.SIGHTLINE_TEST_S3 || undefined
/** For tap's `skip`. */
export const skipWithoutS3: string | false = s3Endpoint ? false : 'SIGHTLINE_TEST_S3 names no S3 server'

process.env.AWS_ACCESS_KEY_ID ??= 'testkey'
process.env.AWS_SECRET_ACCESS_KEY ??= 'testsecret'

/** A client past our own code, to look at what our code did. */
export function s3Client(): S3Client {
  return new S3Client({
    endpoint: s3Endpoint,
    region: 'us-east-1',
    forcePathStyle: true,
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
  })
}

/** A new, empty bucket. */
export async function makeS3Bucket(): Promise<string> {
  const client = s3Client()
  const bucket = `sightline-test-${randomBytes(6).toString('hex')}`
  await client.send(new CreateBucketCommand({ Bucket: bucket }))
  client.destroy()
  return bucket
}

/** Empties a test's bucket (an empty one is left: some stores take minutes to let go of the name). */
export async function emptyS3Bucket(bucket: string): Promise<void> {
  const client = s3Client()
  for (;;) {
    const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: bucket })) // 1,000 at most
    if (Contents.length === 0) break
    const Objects = Contents.map(({ Key }) => ({ Key }))
    await client.send(new DeleteObjectsCommand({ Bucket: bucket, Delete: { Objects } }))
  }
  client.destroy()
}

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { GetObjectCommand, ListObjectsV2Command, type S3Client } from '@aws-sdk/client-s3'
import { storedKeys } from '../test/kit/bucket-folder.ts'
import { emptyS3Bucket, makeS3Bucket, s3Client } from '../test/kit/s3.ts'

/** Where a line's crops end up, seen past our own code. */
export interface LineBucket {
  /** The subscriber's `bucket`. */
  readonly config: object
  /** Where it is a folder. */
  readonly path?: string
  /** Of the crops. */
  keys(): Promise<string[]>
  read(key: string): Promise<Uint8Array>
}

export class FolderBucketView implements LineBucket {
  readonly config: object
  readonly path: string

  constructor(path: string) {
    this.config = { type: 'folder', path }
    this.path = path
  }

  async keys(): Promise<string[]> {
    return storedKeys(this.path)
  }

  async read(key: string): Promise<Uint8Array> {
    return readFileSync(join(this.path, key))
  }
}

export class S3BucketView implements LineBucket, AsyncDisposable {
  readonly config: object
  readonly #bucket: string
  readonly #client: S3Client

  private constructor(bucket: string, config: object) {
    this.#bucket = bucket
    this.#client = s3Client()
    this.config = { type: 's3', bucket, ...config }
  }

  /** A new one. @param config endpoint and more, as the subscriber is to have it */
  static async make(config: object): Promise<S3BucketView> {
    return new S3BucketView(await makeS3Bucket(), config)
  }

  async keys(): Promise<string[]> {
    const keys: string[] = []
    for (let token: string | undefined, more = true; more; more = token !== undefined) {
      const { Contents = [], NextContinuationToken } = await this.#client.send(
        new ListObjectsV2Command({ Bucket: this.#bucket, ContinuationToken: token }),
      )
      for (const { Key } of Contents) if (Key?.endsWith('.jpg')) keys.push(Key)
      token = NextContinuationToken
    }
    return keys
  }

  async read(key: string): Promise<Uint8Array> {
    const { Body } = await this.#client.send(new GetObjectCommand({ Bucket: this.#bucket, Key: key }))
    if (!Body) throw new Error(`${key} has no body`)
    return Body.transformToByteArray()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#client.destroy()
    await emptyS3Bucket(this.#bucket)
  }
}

import { setTimeout as sleep } from 'node:timers/promises'
import {
  type CORSRule,
  DeleteBucketCorsCommand,
  DeleteBucketLifecycleCommand,
  DeleteBucketPolicyCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetBucketCorsCommand,
  GetBucketLifecycleConfigurationCommand,
  GetBucketPolicyCommand,
  GetObjectCommand,
  type LifecycleRule,
  ListObjectsV2Command,
  type ListObjectsV2CommandInput,
  type ListObjectsV2CommandOutput,
  PutBucketCorsCommand,
  PutBucketLifecycleConfigurationCommand,
  PutBucketPolicyCommand,
  PutObjectCommand,
  S3Client,
  S3ServiceException,
} from '@aws-sdk/client-s3'
import { KINDS } from '../../wire/kinds.ts'
import { Backoff } from '../backoff.ts'
import { connectionFault } from '../connection-faults.ts'
import { failure, systemCode } from '../errors.ts'
import { type Access, type Bucket, CACHE_CROP_S, type ListedObject, type ObjectToStore } from './bucket.ts'
import { assertKey, assertPrefix, isKey, objectUrl } from './key.ts'

/** Credentials come from where every AWS program looks (environment, shared files, the machine's role), never from us. */
export interface S3Options {
  readonly bucket: string
  /** For stores other than AWS: `https://minio.example:9000`. */
  readonly endpoint?: string
  /** None: what the AWS environment says; `us-east-1` where there is an endpoint. */
  readonly region?: string
  /** `https://host/bucket/key` instead of `https://bucket.host/key`. Default: true where there is an endpoint. */
  readonly forcePathStyle?: boolean
  /** Put before every key: `cameras/`. */
  readonly prefix?: string
  /** The address that people reach the bucket (and prefix) under, where it is not the store's own. */
  readonly publicUrl?: string
  /** Lets anyone read crops and gallery, but not list them, and other sites' pages fetch them (CORS). */
  readonly publicRead: boolean
  /** How long one request may take, its answer included, ms. Default: 20 s. */
  readonly requestTimeout?: number
  /** `read`: the bucket is not asked when it is opened. */
  readonly access?: Access
}

const CONNECTION_MS_MAX = 5_000
const REQUEST_MS_MAX = 20_000
const SOCKETS_MAX = 64
/** Attempts of the SDK at one request, with its exponential backoff and jitter, before the caller hears of it. */
const ATTEMPTS_MAX = 4
/** 409: two conditional writes of one key met. */
const CONFLICTS_MAX = 5
/** S3's own limit for one DeleteObjects. */
const REMOVE_BATCH = 1000
/** Where the store has no DeleteObjects. */
const REMOVES_AT_ONCE = 8
const CONFLICT_DELAY = { delayMsMin: 50, delayMsMax: 1_000 }

/**
 * Written at start, never deleted: asking with `If-None-Match: *` whether it may be written answers at once whether
 * the store knows the header and whether we may write. It says what it is to whoever finds it.
 */
const MARK = 'sightline.txt'
const MARK_TEXT =
  'Sightline writes into this bucket: crops under <site>/<device>/<camera>/, the gallery under gallery/, recordings under recordings.private/.\n'
/** Names our part of the bucket policy and of the CORS rules; everyone else's stays. */
const POLICY_SID = 'SightlinePublicRead'
const CORS_ID = 'sightline-read'
/** Lifecycle rules of ours: this and what they are for, `sightline-<prefix><site>`. */
const LIFECYCLE_ID = 'sightline-'
/** S3's own limit for a bucket. */
const LIFECYCLE_RULES_MAX = 1000
/** Not built, not allowed, or not in the form that this store knows. */
const NO_RULES: ReadonlySet<number> = new Set([400, 403, 405, 501])

export class S3Bucket implements Bucket {
  readonly description: string
  /** Whether the store honours `If-None-Match: *`. Without it a crop delivered twice is written twice, the same. */
  readonly conditionalWrites: boolean
  readonly #client: S3Client
  readonly #options: S3Options
  readonly #place: Place
  readonly #prefix: string
  readonly #base: string
  #closed = false

  private constructor(client: S3Client, options: S3Options, place: Place, conditionalWrites: boolean) {
    this.#client = client
    this.#options = options
    this.#place = place
    this.#prefix = place.prefix
    this.#base = options.publicUrl ?? place.base
    this.description = place.description
    this.conditionalWrites = conditionalWrites
  }

  /** Errors: BUCKET_NOT_FOUND, BUCKET_DENIED, BUCKET_UNREACHABLE, BUCKET_REFUSED, NAME_INVALID (prefix), CONFIG_INVALID (endpoint). */
  static async open(options: S3Options, signal?: AbortSignal): Promise<S3Bucket> {
    const region = options.region ?? (options.endpoint === undefined ? undefined : 'us-east-1')
    const client = new S3Client({
      region,
      endpoint: options.endpoint,
      forcePathStyle: options.forcePathStyle ?? options.endpoint !== undefined,
      followRegionRedirects: options.endpoint === undefined,
      maxAttempts: ATTEMPTS_MAX,
      retryMode: 'standard',
      // The CRC32 that the SDK adds by default is refused by many stores that are not AWS.
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
      requestHandler: {
        connectionTimeout: CONNECTION_MS_MAX,
        requestTimeout: options.requestTimeout ?? REQUEST_MS_MAX,
        throwOnRequestTimeout: true,
        httpAgent: { keepAlive: true, maxSockets: SOCKETS_MAX },
        httpsAgent: { keepAlive: true, maxSockets: SOCKETS_MAX },
      },
    })
    let known = options
    let place = placeOf(options, region ?? 'unknown')
    try {
      const signedFor = await client.config.region()
      known = { ...options, region: signedFor }
      place = placeOf(known, signedFor)
      if (options.access === 'read') return new S3Bucket(client, known, place, false)
      const conditionalWrites = await probe(client, options.bucket, place, signal)
      if (options.publicRead) await allowPublicRead(client, known, place, signal)
      return new S3Bucket(client, known, place, conditionalWrites)
    } catch (error) {
      client.destroy()
      signal?.throwIfAborted()
      throw s3Failure(error, place.description, known)
    }
  }

  /** Opens crops and gallery to everyone, as `publicRead` does. @returns what takes it back, where it was not so before */
  async allowPublicRead(signal?: AbortSignal): Promise<AsyncDisposable> {
    this.#assertOpen()
    try {
      return await allowPublicRead(this.#client, this.#options, this.#place, signal)
    } catch (error) {
      throw this.#failure(error, signal)
    }
  }

  async create(object: ObjectToStore, signal?: AbortSignal): Promise<'stored' | 'already-there'> {
    const backoff = new Backoff(CONFLICT_DELAY)
    for (;;) {
      try {
        await this.#put(object, this.conditionalWrites, signal)
        return 'stored'
      } catch (error) {
        if (statusOf(error) === 412) return 'already-there'
        if (statusOf(error) !== 409 || backoff.attempts >= CONFLICTS_MAX) throw this.#failure(error, signal)
        await sleep(backoff.nextMs(), undefined, { signal })
      }
    }
  }

  async replace(object: ObjectToStore, signal?: AbortSignal): Promise<void> {
    try {
      await this.#put(object, false, signal)
    } catch (error) {
      throw this.#failure(error, signal)
    }
  }

  async read(key: string, signal?: AbortSignal): Promise<Uint8Array | undefined> {
    assertKey(key)
    this.#assertOpen()
    try {
      const answer = await this.#client.send(
        new GetObjectCommand({ Bucket: this.#options.bucket, Key: this.#prefix + key }),
        { abortSignal: signal },
      )
      this.#assertStore(answer)
      return await answer.Body?.transformToByteArray()
    } catch (error) {
      if (error instanceof S3ServiceException && error.name === 'NoSuchKey') return undefined
      throw this.#failure(error, signal)
    }
  }

  async *list(prefix: string, signal?: AbortSignal): AsyncGenerator<ListedObject> {
    assertPrefix(prefix)
    for await (const { Contents = [] } of this.#pages({ Prefix: this.#prefix + prefix }, signal))
      for (const { Key = '', LastModified, Size } of Contents) {
        const key = Key.slice(this.#prefix.length)
        if (isKey(key)) yield { key, modifiedAtMs: LastModified?.getTime() ?? 0, bytes: Size ?? 0 }
      }
  }

  async *folders(prefix: string, signal?: AbortSignal): AsyncGenerator<string> {
    assertPrefix(prefix)
    const below = this.#prefix + prefix
    for await (const { CommonPrefixes = [] } of this.#pages({ Prefix: below, Delimiter: '/' }, signal))
      for (const { Prefix = '' } of CommonPrefixes) {
        const name = Prefix.slice(below.length, -1)
        if (isKey(name)) yield name
      }
  }

  async remove(keys: readonly string[], signal?: AbortSignal): Promise<void> {
    for (const key of keys) assertKey(key)
    for (let at = 0; at < keys.length; at += REMOVE_BATCH) {
      this.#assertOpen()
      signal?.throwIfAborted()
      try {
        await this.#removeBatch(keys.slice(at, at + REMOVE_BATCH), signal)
      } catch (error) {
        throw this.#failure(error, signal)
      }
    }
  }

  async #removeBatch(keys: readonly string[], signal: AbortSignal | undefined): Promise<void> {
    const Bucket = this.#options.bucket
    try {
      const Objects = keys.map((key) => ({ Key: this.#prefix + key }))
      const { Errors = [] } = await this.#client.send(
        new DeleteObjectsCommand({ Bucket, Delete: { Objects, Quiet: true } }),
        { abortSignal: signal },
      )
      const fault = Errors.find(({ Code }) => Code !== 'NoSuchKey')
      if (fault) throw Object.assign(new Error('DeleteObjects'), { name: fault.Code ?? 'InternalError' })
    } catch (error) {
      const status = statusOf(error)
      // 400: a store that wants Content-MD5, which the SDK no longer sends.
      if (status !== 501 && status !== 405 && status !== 400) throw error
      const left = keys.values()
      await Promise.all(
        Array.from({ length: REMOVES_AT_ONCE }, async () => {
          for (const key of left)
            await this.#client.send(new DeleteObjectCommand({ Bucket, Key: this.#prefix + key }), {
              abortSignal: signal,
            })
        }),
      )
    }
  }

  async expire(sites: ReadonlySet<string>, days: number | undefined, signal?: AbortSignal): Promise<boolean> {
    this.#assertOpen()
    const Bucket = this.#options.bucket
    try {
      const { present, ours, TransitionDefaultMinimumObjectSize } = await this.#lifecycle(signal)
      const prefixes = new Set([
        ...ours.map(prefixOf),
        ...[...sites].map((site) => `${this.#prefix}${site}/`),
      ])
      const wanted =
        days === undefined ? [] : [...prefixes].sort().map((prefix) => lifecycleRule(prefix, days))
      if (
        wanted.length === ours.length &&
        wanted.every((rule) => ours.some((known) => isSameRule(known, rule)))
      )
        return true
      const rules = [...present.filter((rule) => !ours.includes(rule)), ...wanted]
      if (rules.length > LIFECYCLE_RULES_MAX) return false
      await (rules.length === 0
        ? this.#client.send(new DeleteBucketLifecycleCommand({ Bucket }), { abortSignal: signal })
        : this.#client.send(
            new PutBucketLifecycleConfigurationCommand({
              Bucket,
              LifecycleConfiguration: { Rules: rules },
              TransitionDefaultMinimumObjectSize,
            }),
            { abortSignal: signal },
          ))
      return true
    } catch (error) {
      if (NO_RULES.has(statusOf(error) ?? 0)) return false
      throw this.#failure(error, signal)
    }
  }

  /** Our own rules as they are; undefined where this store has none, or does not let us see them. */
  async expiryRules(
    signal?: AbortSignal,
  ): Promise<{ prefix: string; days: number | undefined }[] | undefined> {
    this.#assertOpen()
    try {
      const { ours } = await this.#lifecycle(signal)
      return ours.map((rule) => ({ prefix: prefixOf(rule), days: rule.Expiration?.Days }))
    } catch (error) {
      if (NO_RULES.has(statusOf(error) ?? 0)) return undefined
      throw this.#failure(error, signal)
    }
  }

  async #lifecycle(signal: AbortSignal | undefined) {
    const { Rules: present = [], TransitionDefaultMinimumObjectSize } = await this.#client
      .send(new GetBucketLifecycleConfigurationCommand({ Bucket: this.#options.bucket }), {
        abortSignal: signal,
      })
      .catch((error: unknown) => {
        if (error instanceof S3ServiceException && error.name === 'NoSuchLifecycleConfiguration')
          return { Rules: [], TransitionDefaultMinimumObjectSize: undefined }
        throw error
      })
    const ours = present.filter(
      (rule) => rule.ID === lifecycleId(prefixOf(rule)) && this.#isSite(prefixOf(rule)),
    )
    return { present, ours, TransitionDefaultMinimumObjectSize }
  }

  /** Whether a prefix of a rule is one that we make: our own and a single name. */
  #isSite(prefix: string): boolean {
    return prefix.startsWith(this.#prefix) && /^[^/]+\/$/.test(prefix.slice(this.#prefix.length))
  }

  async *#pages(
    input: Pick<ListObjectsV2CommandInput, 'Prefix' | 'Delimiter'>,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<ListObjectsV2CommandOutput> {
    let ContinuationToken: string | undefined
    do {
      this.#assertOpen()
      let page: ListObjectsV2CommandOutput
      try {
        page = await this.#client.send(
          new ListObjectsV2Command({ Bucket: this.#options.bucket, ...input, ContinuationToken }),
          { abortSignal: signal },
        )
      } catch (error) {
        throw this.#failure(error, signal)
      }
      yield page
      ContinuationToken = page.NextContinuationToken
    } while (ContinuationToken !== undefined)
  }

  /** The store answers when it has the object: nothing is left to do. */
  async sync(): Promise<void> {
    this.#assertOpen()
  }

  url(key: string): string {
    return objectUrl(this.#base, key)
  }

  async signedUrl(key: string, forS: number): Promise<string> {
    assertKey(key)
    this.#assertOpen()
    const { getSignedUrl } = await import('@aws-sdk/s3-request-presigner')
    try {
      return await getSignedUrl(
        this.#client,
        new GetObjectCommand({
          Bucket: this.#options.bucket,
          Key: this.#prefix + key,
          // No cache keeps it for longer than the link opens it.
          ResponseCacheControl: `private, max-age=${Math.min(forS, CACHE_CROP_S)}`,
        }),
        { expiresIn: forS },
      )
    } catch (error) {
      throw this.#failure(error, undefined)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true
    this.#client.destroy()
  }

  async #put(object: ObjectToStore, conditional: boolean, signal: AbortSignal | undefined): Promise<void> {
    assertKey(object.key)
    this.#assertOpen()
    signal?.throwIfAborted()
    const answer = await this.#client.send(
      new PutObjectCommand({
        Bucket: this.#options.bucket,
        Key: this.#prefix + object.key,
        Body: object.body,
        ContentType: object.contentType,
        CacheControl: object.cacheControl,
        ...(conditional ? { IfNoneMatch: '*' } : {}),
      }),
      { abortSignal: signal },
    )
    this.#assertStore(answer)
  }

  #assertStore(answer: Answer): void {
    assertStore(answer, this.description)
  }

  #assertOpen(): void {
    if (this.#closed) throw failure('BUCKET_REFUSED', `The ${this.description} is closed.`)
  }

  #failure(error: unknown, signal: AbortSignal | undefined): Error {
    if (signal?.aborted && error instanceof Error) return error
    return s3Failure(error, this.description, this.#options)
  }
}

interface Place {
  readonly description: string
  /** Ends with a slash, or is empty. */
  readonly prefix: string
  /** The address of the bucket and prefix. */
  readonly base: string
}

function placeOf(options: S3Options, region: string): Place {
  const prefix = options.prefix?.replace(/^\/+|\/+$/g, '') ?? ''
  if (prefix !== '') assertKey(prefix)
  const address = options.endpoint ?? `https://s3.${region}.amazonaws.com`
  // Not repeated: whoever writes a password into an address finds it in no log of ours.
  if (!URL.canParse(address) || !/^https?:/.test(address))
    throw failure(
      'CONFIG_INVALID',
      '"bucket.endpoint" is not a valid address. Example: https://minio.example:9000.',
    )
  const store = new URL(address)
  // Credentials in an address would end up in messages and links.
  store.username = ''
  store.password = ''
  const base = new URL(store)
  // A bucket name with a dot does not match the store's wildcard certificate.
  const pathStyle = options.forcePathStyle ?? (options.endpoint !== undefined || options.bucket.includes('.'))
  if (!pathStyle) base.host = `${options.bucket}.${store.host}`
  base.pathname = [...(pathStyle ? [store.pathname, options.bucket] : [store.pathname]), prefix]
    .map((part) => part.replace(/^\/+|\/+$/g, ''))
    .filter((part) => part !== '')
    .join('/')
  return {
    description: `s3 ${options.bucket} at ${store.href.replace(/\/$/, '')}`,
    prefix: prefix === '' ? '' : `${prefix}/`,
    base: base.href,
  }
}

/**
 * Whether the store honours `If-None-Match: *`. The first write makes the mark where it is missing; a store that
 * honours the header then refuses the second (412), one that ignores it answers 200, one that does not know it 501.
 */
async function probe(
  client: S3Client,
  bucket: string,
  { prefix, description }: Place,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const mark = async (conditional: boolean) => {
    const answer = await client.send(
      new PutObjectCommand({
        Bucket: bucket,
        Key: prefix + MARK,
        Body: Buffer.from(MARK_TEXT),
        ContentType: 'text/plain; charset=utf-8',
        ...(conditional ? { IfNoneMatch: '*' } : {}),
      }),
      { abortSignal: signal },
    )
    assertStore(answer, description)
  }
  for (let attempt = 0; attempt < CONFLICTS_MAX; attempt += 1) {
    try {
      await mark(true)
      // Made, or the header was ignored: the next round tells.
      if (attempt > 0) return false
    } catch (error) {
      const status = statusOf(error)
      if (status === 412) return true
      if (status === 409) {
        await sleep(CONFLICT_DELAY.delayMsMin, undefined, { signal })
        continue
      }
      if (status !== 501 && status !== 400) throw error
      await mark(false) // throws where writing itself is what was refused
      return false
    }
  }
  return false
}

interface PolicyDocument {
  Version?: string
  Statement?: { Sid?: string }[] | { Sid?: string }
}

/**
 * Anyone may read crops (`*.jpg`) and the gallery, not list, and not read what else is there: recordings.
 * Statements and rules that are not ours stay. @returns what takes back what was not so before
 */
async function allowPublicRead(
  client: S3Client,
  options: S3Options,
  place: Place,
  signal: AbortSignal | undefined,
): Promise<AsyncDisposable> {
  await using undo = new AsyncDisposableStack()
  undo.defer(await openPolicy(client, options, place, signal))
  undo.defer(await openCors(client, options, place, signal))
  return undo.move()
}

async function openPolicy(
  client: S3Client,
  { bucket: Bucket }: S3Options,
  place: Place,
  signal: AbortSignal | undefined,
): Promise<() => Promise<void>> {
  const objects = `arn:aws:s3:::${Bucket}/${place.prefix}`
  const statement = {
    Sid: POLICY_SID,
    Effect: 'Allow',
    Principal: '*',
    Action: ['s3:GetObject'],
    Resource: [
      ...KINDS.filter((kind) => !kind.private).map(({ extension }) => `${objects}*.${extension}`),
      `${objects}gallery/*`,
    ],
  }
  const put = (policy: PolicyDocument, abortSignal?: AbortSignal) =>
    client.send(new PutBucketPolicyCommand({ Bucket, Policy: JSON.stringify(policy) }), { abortSignal })
  try {
    const present = await client
      .send(new GetBucketPolicyCommand({ Bucket }), { abortSignal: signal })
      .then(({ Policy }) => JSON.parse(Policy ?? '{}') as PolicyDocument)
      .catch((error: unknown): PolicyDocument => {
        if (error instanceof S3ServiceException && error.name === 'NoSuchBucketPolicy') return {}
        throw error
      })
    const statements = [present.Statement ?? []].flat()
    const others = statements.filter(({ Sid }) => Sid !== POLICY_SID)
    await put({ ...present, Version: '2012-10-17', Statement: [...others, statement] }, signal)
    return async () => {
      if (statements.length === 0) await client.send(new DeleteBucketPolicyCommand({ Bucket }))
      else if (others.length === statements.length) await put(present)
    }
  } catch (error) {
    const status = statusOf(error)
    if (status === 403)
      throw failure(
        'BUCKET_DENIED',
        `Cannot make the ${place.description} public: these credentials lack s3:GetBucketPolicy or ` +
          's3:PutBucketPolicy, or "Block public access" is on. Allow it, or set "bucket.publicRead: false".',
        error,
      )
    if (!isRefusal(status)) throw error
    throw failure(
      'BUCKET_REFUSED',
      `The ${place.description} rejects the policy that makes a bucket public ` +
        `(${error instanceof Error ? error.name : error}, ${status}). Set "bucket.publicRead: false": the subscriber then serves the gallery itself.`,
      error,
    )
  }
}

async function openCors(
  client: S3Client,
  { bucket: Bucket }: S3Options,
  place: Place,
  signal: AbortSignal | undefined,
): Promise<() => Promise<void>> {
  const rule = {
    ID: CORS_ID,
    AllowedMethods: ['GET', 'HEAD'],
    AllowedOrigins: ['*'],
    AllowedHeaders: ['*'],
    ExposeHeaders: ['ETag'],
    MaxAgeSeconds: 3600,
  }
  const put = (CORSRules: CORSRule[], abortSignal?: AbortSignal) =>
    client.send(new PutBucketCorsCommand({ Bucket, CORSConfiguration: { CORSRules } }), { abortSignal })
  try {
    const present = await client
      .send(new GetBucketCorsCommand({ Bucket }), { abortSignal: signal })
      .then(({ CORSRules }) => CORSRules ?? [])
      .catch((error: unknown) => {
        if (error instanceof S3ServiceException && error.name === 'NoSuchCORSConfiguration') return []
        throw error
      })
    const others = present.filter(({ ID }) => ID !== CORS_ID)
    await put([...others, rule], signal)
    return async () => {
      if (present.length === 0) await client.send(new DeleteBucketCorsCommand({ Bucket }))
      else if (others.length === present.length) await put(present)
    }
  } catch (error) {
    // Some stores have no CORS per bucket (MinIO sets it for all). The gallery lies in the bucket and needs none.
    const status = statusOf(error)
    if (status === 501 || status === 405 || status === 400) return async () => {}
    if (status !== 403) throw error
    throw failure(
      'BUCKET_DENIED',
      `Cannot set CORS of the ${place.description}: these credentials lack ` +
        's3:GetBucketCORS or s3:PutBucketCORS. Allow it, or set "bucket.publicRead: false".',
      error,
    )
  }
}

const lifecycleId = (prefix: string) => LIFECYCLE_ID + prefix.replace(/\/$/, '')

function lifecycleRule(prefix: string, days: number): LifecycleRule {
  return {
    ID: lifecycleId(prefix),
    Status: 'Enabled',
    Filter: { Prefix: prefix },
    Expiration: { Days: days },
    // In a bucket with versions, deleting alone keeps the face.
    NoncurrentVersionExpiration: { NoncurrentDays: 1 },
  }
}

/** Stores that are not AWS may answer in the older form. */
function prefixOf(rule: LifecycleRule): string {
  return rule.Filter?.Prefix ?? rule.Prefix ?? ''
}

function isSameRule(a: LifecycleRule, b: LifecycleRule): boolean {
  return (
    a.ID === b.ID &&
    a.Status === b.Status &&
    prefixOf(a) === prefixOf(b) &&
    a.Expiration?.Days === b.Expiration?.Days &&
    a.NoncurrentVersionExpiration?.NoncurrentDays === b.NoncurrentVersionExpiration?.NoncurrentDays
  )
}

/** Of an answer that a store gave; undefined where it was none of a store's, whatever its status. */
function statusOf(error: unknown): number | undefined {
  return error instanceof S3ServiceException ? error.$metadata.httpStatusCode : undefined
}

/** Of any answer: that of a proxy in between, say. */
function httpStatusOf(error: Error): number | undefined {
  return (error as Partial<S3ServiceException>).$metadata?.httpStatusCode
}

interface Answer {
  readonly ETag?: string
}

/**
 * A store says what it has stored or read: with its ETag. Who answers 200 without one is none (a login page, a proxy's
 * page of apology), and what was written is nowhere.
 */
function assertStore({ ETag }: Answer, description: string): void {
  if (ETag) return
  throw failure(
    'BUCKET_UNREACHABLE',
    `The answer from the ${description} is not an S3 store's (200 without an ETag), but perhaps a proxy's or a login page. ` +
      'Accepted crops wait on disk until the store itself answers. Check "bucket.endpoint" and the network.',
  )
}

/** What stores say to a request that was signed for, or sent to, another region. */
const WRONG_REGION = new Set([
  'AuthorizationHeaderMalformed',
  'IllegalLocationConstraintException',
  'PermanentRedirect',
])

/** The right region, where the answer has it: in its body, in a header, or in words. */
function regionIn(error: Error): string | undefined {
  const { Region, $response } = error as Error & {
    readonly Region?: unknown
    readonly $response?: { readonly headers?: Readonly<Record<string, string>> }
  }
  const [, inWords] = /expect(?:ing|ed)[: ]+'?([a-z0-9-]+)/i.exec(error.message) ?? []
  return [Region, $response?.headers?.['x-amz-bucket-region'], inWords].find(
    (it): it is string => typeof it === 'string' && /^[a-z0-9-]{1,64}$/i.test(it),
  )
}

const DENIED = new Set([
  'AccessDenied',
  'AccountProblem',
  'AllAccessDisabled',
  'CredentialsProviderError',
  'ExpiredToken',
  'InvalidAccessKeyId',
  'InvalidToken',
  'SignatureDoesNotMatch',
  'TokenProviderError',
])
const UNREACHABLE = new Set([
  'InternalError',
  'RequestTimeout',
  'ServiceUnavailable',
  'SlowDown',
  'TimeoutError',
  'TooManyRequestsException',
])

/** A sentence of ours for what the store said. The SDK's own messages can hold the access key id: they stay in `cause`. */
function s3Failure(
  error: unknown,
  description: string,
  { bucket, endpoint, region, prefix }: S3Options,
): Error {
  if (!(error instanceof Error) || error.name === 'SightlineError') return error as Error
  const name = error.name
  const status = httpStatusOf(error)
  const said = status === undefined ? name : `${name}, ${status}`
  if (WRONG_REGION.has(name)) {
    const theirs = regionIn(error)
    return failure(
      'BUCKET_REFUSED',
      theirs === undefined || theirs === region
        ? `The ${description} rejects the region "${region}" (${said}) and does not name the right one. Set "bucket.region" to the bucket's region.`
        : `The bucket "${bucket}" is in the region "${theirs}", not in "${region}" (${said}). Set "bucket.region: ${theirs}".`,
      error,
    )
  }
  if (name === 'NoSuchBucket' || name === 'InvalidBucketName')
    return failure(
      'BUCKET_NOT_FOUND',
      `Bucket "${bucket}" not found at ${endpoint ? new URL(endpoint).host : 'AWS'} (${said}). ` +
        'Create it there, or correct "bucket.bucket", "bucket.region" or "bucket.endpoint".',
      error,
    )
  if (error.message === 'Region is missing')
    return failure(
      'BUCKET_REFUSED',
      `Unknown region of the bucket "${bucket}". Set "bucket.region" or AWS_REGION.`,
      error,
    )
  if (name === 'CredentialsProviderError')
    return failure(
      'BUCKET_DENIED',
      `No credentials for the ${description}. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, ` +
        'or give this machine a role.',
      error,
    )
  if (name === 'RequestTimeTooSkewed')
    return failure(
      'BUCKET_DENIED',
      `The ${description} refuses requests because this machine's clock is wrong (${said}). Set it, for example with NTP.`,
      error,
    )
  if (DENIED.has(name) || status === 401 || status === 403)
    return failure(
      'BUCKET_DENIED',
      `The ${description} denies access (${said}). Check the AWS credentials, and that they allow s3:PutObject, ` +
        `s3:GetObject and s3:DeleteObject on ${bucket}/${prefix ? `${prefix}/` : ''}* and s3:ListBucket on ${bucket} ` +
        '(without s3:ListBucket a store answers 403 for a missing object).',
      error,
    )
  const code = systemCode(error) ?? systemCode(error.cause)
  // A refusal is a store's answer about this very object. Everything else passes: a store that is busy (409, 429, 503),
  // one that is moving (307), a proxy's page that nobody can read.
  if (UNREACHABLE.has(name) || code !== undefined || (status !== undefined && !isRefusal(statusOf(error))))
    return failure(
      'BUCKET_UNREACHABLE',
      `The ${description} is unavailable (${connectionFault(error) ?? connectionFault(error.cause) ?? code ?? said}). Accepted crops wait on disk. ` +
        'If this persists, check "bucket.endpoint" and the network.',
      error,
    )
  return failure(
    'BUCKET_REFUSED',
    `The ${description} rejected the request: ${said}. Check "bucket" in the configuration, and the store's own log.`,
    error,
  )
}

const isRefusal = (status: number | undefined) =>
  status === 501 ||
  (status !== undefined && status >= 400 && status < 500 && status !== 409 && status !== 429)

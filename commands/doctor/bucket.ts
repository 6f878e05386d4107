import { randomBytes } from 'node:crypto'
import { existsSync, readdirSync, rmdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { SubscriberConfig } from '../../cloud-subscriber/config.ts'
import type { ConsoleConfig } from '../../console/config.ts'
import { type Bucket, CACHE_REVALIDATE, cacheCrop, type ObjectToStore } from '../../lib/buckets/bucket.ts'
import { INCOMING } from '../../lib/buckets/folder.ts'
import { openBucket } from '../../lib/buckets/open.ts'
import type { S3Bucket } from '../../lib/buckets/s3.ts'
import { CLIP } from '../../wire/kinds.ts'
import { type Finding, fail, failed, ok, skip, timed, warn } from './finding.ts'
import { checkFolder, freeSpace, makeFolder } from './folders.ts'

/** The bucket, with a small object that the gallery does not show: written, read, compared, deleted. */

export const BUCKET_MS_MAX = 90_000
const WHAT = 'bucket'
const GET_MS_MAX = 10_000
const DAY_MS = 86_400_000
/** Signatures of S3 fail beyond 15 minutes; a Date header has whole seconds. */
const CLOCK_WARN_S = 5
const CLOCK_FAIL_S = 300

export async function checkBucket(config: SubscriberConfig, signal: AbortSignal): Promise<Finding[]> {
  const { bucket } = config
  try {
    if (bucket.type === 's3') return await tryBucket(config, signal)
    const what = `bucket ${bucket.path}`
    const findings = await checkFolder(what, bucket.path, 'bucket.path')
    if (findings.some(({ level }) => level === 'FAIL')) return findings
    const path = resolve(bucket.path)
    using _made = makeFolder(path)
    const isNew = readdirSync(path).length === 0
    const tried = await tryBucket(config, signal)
    if (isNew) removeIncoming(path)
    const remarks = findings.filter(({ level }) => level !== 'ok')
    return [...remarks, freeSpace(what, path, 0), ...tried]
  } catch (error) {
    return [failed(WHAT, error, 'Correct "bucket" in the configuration.')]
  }
}

/** As a program that only reads it: listed, and one object read. */
export async function checkBucketToRead(config: ConsoleConfig, signal: AbortSignal): Promise<Finding[]> {
  try {
    const { bucket: named } = config
    if (named.type === 'folder' && !existsSync(named.path))
      return [
        warn(
          `bucket ${named.path}`,
          'does not exist (yet)',
          'The subscriber makes it at its start. If it runs already: "bucket.path" must be the folder that it writes to.',
        ),
      ]
    await using bucket = await openBucket(config, signal, 'read')
    const { description } = bucket
    const listed = await timed(async () => {
      for await (const object of bucket.list('', signal)) return object.key
      return undefined
    })
    const key = listed.value
    if (key === undefined) return [ok(WHAT, `${description}: listed in ${listed.ms} ms, empty`)]
    const read = await timed(() => bucket.read(key, signal))
    return [ok(WHAT, `${description}: listed in ${listed.ms} ms, an object read in ${read.ms} ms`)]
  } catch (error) {
    return [failed(WHAT, error, 'Correct "bucket" in the configuration: as the subscriber has it.')]
  }
}

function removeIncoming(path: string): void {
  try {
    rmdirSync(join(path, INCOMING))
  } catch {
    // a subscriber has just begun to write
  }
}

async function tryBucket(config: SubscriberConfig, signal: AbortSignal): Promise<Finding[]> {
  // As private first: its policy is written below, and taken back.
  await using bucket = await openBucket({ ...config, bucket: { ...config.bucket, publicRead: false } })
  const { description } = bucket
  const object: ObjectToStore = {
    key: `gallery/doctor-${randomBytes(8).toString('hex')}.json`,
    body: Buffer.from(JSON.stringify({ from: 'sightline doctor', at: new Date().toISOString() })),
    contentType: 'application/json',
    cacheControl: CACHE_REVALIDATE,
  }
  const findings: Finding[] = []
  const written = await timed(async () => {
    await bucket.create(object, signal)
    await bucket.sync()
  })
  let times = `written in ${written.ms} ms`
  try {
    const read = await timed(() => bucket.read(object.key, signal))
    times += `, read in ${read.ms} ms`
    if (!read.value || !Buffer.from(read.value).equals(Buffer.from(object.body)))
      findings.push(
        fail(
          WHAT,
          `${description}: a written object reads back different, or not at all`,
          'Is a cache or a proxy in between? "bucket.endpoint" must be the store itself.',
        ),
      )
    if (config.bucket.type === 's3') {
      await using _open = config.bucket.publicRead
        ? await (bucket as S3Bucket).allowPublicRead(signal)
        : undefined
      findings.push(...(await checkS3(bucket as S3Bucket, object.key, config, signal)))
      findings.push(...(await checkRecordings(bucket, signal)))
    }
  } finally {
    const removed = await timed(() => bucket.remove([object.key]))
    times += `, deleted in ${removed.ms} ms`
  }
  if ((await bucket.read(object.key, signal)) !== undefined)
    findings.push(
      warn(
        WHAT,
        `${description}: ${object.key} still exists after it was deleted`,
        'Does the store, or a proxy before it, answer late? "retention" needs working deletes.',
      ),
    )
  return [ok(WHAT, `${description}: ${times}`), ...findings]
}

async function checkS3(
  bucket: S3Bucket,
  key: string,
  config: SubscriberConfig,
  signal: AbortSignal,
): Promise<Finding[]> {
  return [
    ok(
      'conditional writes',
      bucket.conditionalWrites
        ? 'the store supports If-None-Match: nothing is written twice'
        : 'the store does not support If-None-Match: a crop received twice is written twice, unchanged',
    ),
    await checkRules(bucket, config, signal),
    ...(await checkReaders(bucket, key, config, signal)),
  ]
}

/** Read, and not set: that is the subscriber's. */
async function checkRules(
  bucket: S3Bucket,
  { retention }: SubscriberConfig,
  signal: AbortSignal,
): Promise<Finding> {
  const what = 'lifecycle rules'
  const rules = await bucket.expiryRules(signal)
  if (!rules)
    return ok(what, 'none, or no permission to read them: the subscriber deletes old crops every hour')
  if (rules.length === 0) return ok(what, 'none from Sightline yet: the subscriber makes one for each site')
  const days = Number.isFinite(retention.ageMax) ? Math.ceil(retention.ageMax / DAY_MS) : undefined
  const others = rules.filter((rule) => rule.days !== days)
  const found = `${rules.length} from Sightline: ${[...new Set(rules.map((rule) => `${rule.days} days`))].join(', ')}`
  if (others.length === 0) return ok(what, found)
  return warn(
    what,
    `${found}; "retention.ageMax" says ${days === undefined ? 'forever' : `${days} days`}`,
    'The subscriber corrects them within the hour. If it does not, see its log.',
  )
}

/** Asked without credentials, as a stranger would. */
async function checkReaders(
  bucket: Bucket,
  key: string,
  { bucket: { publicRead } }: SubscriberConfig,
  signal: AbortSignal,
): Promise<Finding[]> {
  const what = 'public read'
  const findings: Finding[] = []
  let asked = false
  for (const address of await addressesOf(bucket, key)) {
    const { host } = new URL(address)
    const sentMs = Date.now()
    const answer = await askAsStranger(address, signal)
    if (!answer) {
      findings.push(
        publicRead
          ? fail(what, `${host} does not answer`, 'Correct "bucket.publicUrl" or the network.')
          : skip(what, `${host} does not answer without credentials`),
      )
      continue
    }
    if (!asked) findings.push(...compareClocks(host, answer.headers.get('date'), (sentMs + Date.now()) / 2))
    asked = true
    findings.push(judge(what, host, answer.status, publicRead))
  }
  return findings
}

/** Whatever the bucket is: something like a recording is written where recordings lie, and asked for as a stranger would. */
async function checkRecordings(bucket: Bucket, signal: AbortSignal): Promise<Finding[]> {
  const what = 'recordings'
  const key = `${CLIP.root}doctor-${randomBytes(8).toString('hex')}.${CLIP.extension}`
  await bucket.create(
    {
      key,
      body: Buffer.from('sightline doctor: not a recording'),
      contentType: CLIP.mediaType,
      cacheControl: cacheCrop(false),
    },
    signal,
  )
  try {
    const findings: Finding[] = []
    for (const address of await addressesOf(bucket, key)) {
      const { host } = new URL(address)
      const answer = await askAsStranger(address, signal)
      if (!answer) findings.push(skip(what, `${host} does not answer without credentials`))
      else if (answer.status === 200)
        findings.push(
          fail(
            what,
            `anyone can read recordings from ${host}`,
            `Remove the policy, ACL or proxy rule that opens ${CLIP.root} in the bucket, now: Sightline never makes recordings public.`,
          ),
        )
      else findings.push(ok(what, `not public (${host} answers ${answer.status})`))
    }
    return findings
  } finally {
    await bucket.remove([key])
  }
}

/** The store's own, and that which people use, without a signature. */
async function addressesOf(bucket: Bucket, key: string): Promise<ReadonlySet<string>> {
  const store = new URL((await bucket.signedUrl?.(key, 60)) ?? bucket.url(key))
  store.search = ''
  return new Set([store.href, bucket.url(key)])
}

async function askAsStranger(address: string, signal: AbortSignal): Promise<Response | undefined> {
  const answer = await fetch(address, {
    redirect: 'manual',
    signal: AbortSignal.any([signal, AbortSignal.timeout(GET_MS_MAX)]),
  }).catch(() => undefined)
  await answer?.body?.cancel()
  return answer
}

function judge(what: string, host: string, status: number, publicRead: boolean): Finding {
  const isOpen = status === 200
  if (isOpen === publicRead)
    return ok(what, isOpen ? `anyone can read, as configured (${host})` : `no (${host} answers ${status})`)
  return isOpen
    ? fail(
        what,
        `anyone can read from ${host}, but "bucket.publicRead" is false`,
        'Remove the policy or ACL that opens the bucket, now; or, if anyone may see every crop, set "bucket.publicRead: true".',
      )
    : fail(
        what,
        `"bucket.publicRead" is true, but ${host} answers ${status} without credentials`,
        'The bucket accepts the policy that opens it. Check "Block public access", and where "bucket.publicUrl" leads.',
      )
}

export function compareClocks(host: string, date: string | null, atMs: number): Finding[] {
  const what = 'clock and bucket'
  const theirsMs = Date.parse(date ?? '')
  if (Number.isNaN(theirsMs)) return [skip(what, `${host} sends no date`)]
  // Cut to seconds: half a second later, on average.
  const apartS = Math.round((atMs - theirsMs - 500) / 1000)
  if (Math.abs(apartS) <= CLOCK_WARN_S) return [ok(what, `at most ${CLOCK_WARN_S} s apart`)]
  const found = `this clock is ${Math.abs(apartS)} s ${apartS > 0 ? 'ahead of' : 'behind'} ${host}`
  if (Math.abs(apartS) <= CLOCK_FAIL_S)
    return [warn(what, found, 'Synchronise the clock with NTP: crops are filed by its time.')]
  return [fail(what, found, 'Set the clock, preferably with NTP: S3 refuses requests with a wrong time.')]
}

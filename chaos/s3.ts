import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { s3Endpoint, skipWithoutS3 } from '../test/kit/s3.ts'
import { type S3Fault, S3Proxy } from '../test/kit/s3-proxy.ts'
import { until } from '../test/kit/wait.ts'
import { Line } from './line.ts'
import { S3BucketView } from './line-bucket.ts'
import type { Trial, TrialOptions, Verdict } from './trial.ts'

/**
 * A real S3 store that is busy, slow, mute, unwilling or gone for a while, as the subscriber sees it. The promise: all
 * is stored in the end, whole and once, nothing is put aside for a fault that passes, /healthz says what is wrong while
 * it is, and the store is not overrun by attempts.
 */

interface Phase {
  readonly ms: { readonly full: number; readonly short: number }
  /** What becomes of a request; 'refuse': it has nobody to go to. */
  readonly fault: ((random: () => number) => S3Fault | undefined) | 'refuse'
  /** What /healthz says of the bucket at the end of the phase; absent where it may well be fine. */
  readonly says?: RegExp
}

interface Outage {
  readonly name: string
  readonly what: string
  readonly phases: readonly Phase[]
}

const FULL = { crops: 10_000, perSecond: 200 }
const SHORT = { crops: 300, perSecond: 150 }
const RUN_MS_MAX = 10 * 60_000
const BACK_MS_MAX = 30_000
/** A pause between two attempts, and the attempt. */
const SAID_MS_MAX = 15_000
/** Attempts while nothing works: what was under way when it began, and then a few a second (crops, and the index). */
const REQUESTS_AT_ONCE_MAX = 200
const REQUESTS_PER_SECOND_MAX = 6
const RSS_GROWTH_BYTES_MAX = 200e6
const REQUEST_TIMEOUT = '1s'

const all = (fault: S3Fault) => () => fault
const PAGE = '<html><body><h1>Sorry & good bye</body>'
const some = (faults: readonly S3Fault[], share: number) => (random: () => number) =>
  random() < share ? faults[Math.floor(random() * faults.length)] : undefined

const BUSY: readonly S3Fault[] = [
  { status: 503, code: 'SlowDown' },
  { status: 409, code: 'OperationAborted' },
  { status: 409, code: 'ConditionalRequestConflict' },
  { status: 500, code: 'InternalError' },
]
const UNREACHABLE = /is unavailable/
const DENIED = /denies access.*Check the AWS credentials/
const brief = { full: 10_000, short: 1000 }

const OUTAGES: readonly Outage[] = [
  {
    name: 's3-busy',
    what: 'S3 answers 503, 409 or 500 to 30 % of requests, then 409 to all, then a proxy 502',
    phases: [
      { ms: { full: 20_000, short: 2000 }, fault: some(BUSY, 0.3) },
      {
        ms: { full: 10_000, short: 1000 },
        fault: all({ status: 409, code: 'OperationAborted' }),
        says: UNREACHABLE,
      },
      { ms: brief, fault: all({ status: 502, page: PAGE }), says: UNREACHABLE },
    ],
  },
  {
    name: 's3-slow',
    what: 'each answer of S3 takes seconds',
    phases: [{ ms: { full: 30_000, short: 2000 }, fault: () => ({ slowMs: 900 }) }],
  },
  {
    name: 's3-lost-answer',
    what: 'S3 stores, and its answer is lost: by silence, by a cut, in its middle; then all are',
    phases: [
      { ms: { full: 20_000, short: 2000 }, fault: some(['silent', 'cut', 'truncated'], 0.3) },
      { ms: { full: 20_000, short: 1000 }, fault: all('silent'), says: UNREACHABLE },
    ],
  },
  {
    name: 's3-denied',
    what: 'S3 refuses the credentials for a while',
    phases: [
      { ms: brief, fault: all({ status: 403, code: 'InvalidAccessKeyId' }), says: DENIED },
      { ms: brief, fault: all({ status: 400, code: 'ExpiredToken' }), says: DENIED },
      { ms: brief, fault: all({ status: 403, code: 'AccessDenied' }), says: DENIED },
    ],
  },
  {
    name: 's3-vanishes',
    what: 'S3 is gone, then a login page answers for it, a redirect to itself, and nonsense',
    phases: [
      { ms: { full: 120_000, short: 2000 }, fault: 'refuse', says: UNREACHABLE },
      { ms: brief, fault: all({ status: 200, page: PAGE }), says: /not an S3 store's/ },
      { ms: brief, fault: all('redirect'), says: UNREACHABLE },
      { ms: brief, fault: all({ status: 400, page: '\u0000{{{' }), says: UNREACHABLE },
    ],
  },
]

export const S3_TRIALS: readonly Trial[] = OUTAGES.map((outage) => ({
  name: outage.name,
  what: outage.what,
  run: (options) => run(outage, options),
}))

async function run({ phases }: Outage, { short, random }: TrialOptions): Promise<Verdict> {
  if (s3Endpoint === undefined) return { faults: [], said: '', leftOut: String(skipWithoutS3) }
  const scale = short ? SHORT : FULL
  await using s3 = await S3Proxy.open(s3Endpoint)
  const config = { endpoint: s3.url, region: 'us-east-1', requestTimeout: REQUEST_TIMEOUT }
  await using bucket = await S3BucketView.make(config)
  await using line = await Line.open({ bucket, subscriber: { gallery: { enabled: true } } })
  const { subscriber } = line.keepers
  const faults: string[] = []
  let stored = 0
  let storedAtMs = 0
  s3.onStored = (path) => {
    if (!path.endsWith('.jpg')) return
    if (stored === 0) storedAtMs = performance.now()
    stored += 1
  }
  const publisher = line.publisher({
    count: scale.crops,
    perSecond: scale.perSecond,
    bytes: [2000, 30_000],
    random,
  })
  const publishing = publisher.run(AbortSignal.timeout(RUN_MS_MAX))
  await until('the first is stored', () => stored > 20, BACK_MS_MAX)
  const rssBefore = rssBytes(subscriber.pid)
  const seen: string[] = []
  for (const { ms, fault, says } of phases) {
    const requestsBefore = s3.requests
    if (fault === 'refuse') s3.refuse()
    else s3.fault = () => fault(random)
    const startMs = performance.now()
    await sleep(short ? ms.short : ms.full)
    let said: string | undefined
    if (says)
      await until(
        '/healthz says it',
        async () => {
          said = (await subscriber.health()).checks.bucket
          const wasTried = fault === 'refuse' || s3.requests > requestsBefore
          return wasTried && says.test(said ?? '')
        },
        SAID_MS_MAX,
      ).catch(() => faults.push(`/healthz said of the bucket: ${said}`))
    const seconds = Math.round((performance.now() - startMs) / 100) / 10
    const requests = s3.requests - requestsBefore
    if (says && requests > REQUESTS_AT_ONCE_MAX + seconds * REQUESTS_PER_SECOND_MAX)
      faults.push(`${requests} requests in ${seconds} s while nothing worked`)
    seen.push(`${requests} requests in ${seconds} s`)
    if (fault === 'refuse') await s3.accept()
  }
  s3.fault = () => undefined
  stored = 0
  const backAtMs = performance.now()
  await until('crops are stored again', () => stored > 0, BACK_MS_MAX).catch((error: Error) =>
    faults.push(error.message),
  )
  const backS = ((storedAtMs - backAtMs) / 1000).toFixed(1)
  await publishing
  faults.push(...(await line.faults(publisher)))
  const aside = await subscriber.books('quarantine')
  if (aside.accepted > 0) faults.push(`${aside.accepted} crops were put into quarantine`)
  const growth = rssBytes(subscriber.pid) - rssBefore
  if (growth > RSS_GROWTH_BYTES_MAX) faults.push(`the subscriber grew by ${Math.round(growth / 1e6)} MB`)
  return {
    faults,
    crops: publisher.acknowledged.size,
    said: `${publisher.acknowledged.size} acknowledged, ${seen.join(', ')}, back after ${backS} s, ${Math.round(growth / 1e6)} MB more`,
  }
}

/** Memory of a process that no file stands behind. */
function rssBytes(pid: number): number {
  const [, kilobytes = '0'] = /^RssAnon:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? []
  return Number(kilobytes) * 1024
}

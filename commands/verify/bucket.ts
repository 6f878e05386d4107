import { checkSubscriberConfig, subscriberSchema } from '../../cloud-subscriber/config.ts'
import type { Bucket } from '../../lib/buckets/bucket.ts'
import { openBucket } from '../../lib/buckets/open.ts'
import { loadConfig } from '../../lib/config.ts'
import { CLIP, KINDS } from '../../wire/kinds.ts'
import type { Read } from './report.ts'

/** What a bucket has of a camera, in the order of the keys. */

const HOUR_MS = 3_600_000
const DAY_MS = 86_400_000
/** Objects asked for before the one at hand is judged; a clip has 15 MB at most. */
const READ_AHEAD = 4

export interface Wanted {
  /** The subscriber's configuration. */
  readonly config: string | undefined
  /** `site/device/camera` */
  readonly camera: string
  /** Captured from, and before; milliseconds since 1970. Undefined: all. */
  readonly fromMs: number | undefined
  readonly toMs: number | undefined
  readonly env: NodeJS.ProcessEnv
}

/** Errors: those of loadConfig and of the bucket */
export async function* readCamera(wanted: Wanted): AsyncGenerator<Read> {
  const config = loadConfig(subscriberSchema, { file: wanted.config, env: wanted.env })
  checkSubscriberConfig(config)
  await using bucket = await openBucket(config, undefined, 'read')
  const { fromMs = Number.NEGATIVE_INFINITY, toMs = Number.POSITIVE_INFINITY } = wanted
  const within = { fromMs, toMs }
  const waiting: Promise<Read | undefined>[] = []
  const read = async (key: string, bytes: number): Promise<Read | undefined> => {
    if (bytes > CLIP.payloadBytesMax) return { at: key, bytes, payload: undefined, within }
    const payload = await bucket.read(key)
    return payload && { at: key, bytes, payload, within } // deleted meanwhile: then it is missing
  }
  for (const { root } of KINDS)
    for await (const { key, bytes } of keysOf(bucket, `${root}${wanted.camera}/`, fromMs, toMs)) {
      const reading = read(key, bytes)
      reading.catch(() => {}) // thrown when it is its turn
      waiting.push(reading)
      if (waiting.length < READ_AHEAD) continue
      const next = await waiting.shift()
      if (next) yield next
    }
  for (const reading of waiting) {
    const next = await reading
    if (next) yield next
  }
}

/** Day by day: an object is filed under the hour of its capture, and one that began an hour before may reach into it. */
async function* keysOf(bucket: Bucket, prefix: string, fromMs: number, toMs: number) {
  for await (const day of daysOf(bucket, prefix)) {
    const [year, month, date] = day.slice(prefix.length).split('/').map(Number) as [number, number, number]
    const dayMs = Date.UTC(year, month - 1, date)
    if (dayMs + DAY_MS + HOUR_MS <= fromMs || dayMs > toMs) continue
    const found: { readonly key: string; readonly bytes: number }[] = []
    for await (const { key, bytes } of bucket.list(day)) {
      const hourMs = dayMs + Number(key.slice(day.length, day.length + 2)) * HOUR_MS
      if (hourMs + 2 * HOUR_MS > fromMs && hourMs < toMs) found.push({ key, bytes })
    }
    yield* found.sort((a, b) => (a.key < b.key ? -1 : 1))
  }
}

/** `<prefix>2026/11/28/` */
async function* daysOf(bucket: Bucket, prefix: string): AsyncGenerator<string> {
  for (const year of await numbers(bucket, prefix))
    for (const month of await numbers(bucket, `${prefix}${year}/`))
      for (const day of await numbers(bucket, `${prefix}${year}/${month}/`))
        yield `${prefix}${year}/${month}/${day}/`
}

async function numbers(bucket: Bucket, prefix: string): Promise<string[]> {
  const names = await Array.fromAsync(bucket.folders(prefix))
  return names.filter((name) => /^\d+$/.test(name)).sort()
}

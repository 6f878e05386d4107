import { setTimeout as sleep } from 'node:timers/promises'
import { Backoff } from '../lib/backoff.ts'
import type { Bucket, ListedObject } from '../lib/buckets/bucket.ts'
import { cameras, names } from '../lib/buckets/cameras.ts'
import { asFailure, type SightlineError } from '../lib/errors.ts'
import type { Log } from '../lib/log.ts'
import { SteadyClock } from '../lib/steady-clock.ts'
import { mintedAtMs } from '../wire/id.ts'
import { kindOfKey } from '../wire/kinds.ts'
import { parseObjectKey } from '../wire/object-key.ts'
import type { Announcements } from './announcements.ts'
import { AHEAD_MS_MAX, CLOCK_MS_MIN } from './filed-at.ts'
import { removeIndexDays } from './gallery/index-files.ts'

/**
 * Crops leave the bucket, and the gallery's index, when the day that they are filed under (the one in their key, UTC)
 * ended longer ago than `retention.ageMax`.
 *
 * A store that can do so deletes them by a rule of its own, also while no subscriber runs. Its rule goes by when an
 * object was written, which is later than its day where a line was cut; so a sweep follows it, once a day. Where there
 * are no such rules (a folder, many S3 stores that are not AWS) the sweep comes every hour and does all of it.
 *
 * Crops filed under a day that has not come yet (an earlier version filed them by whatever a camera's clock said) go by
 * when they were written. Their days leave the index at once.
 *
 * Two subscribers on one bucket do the same work twice, and what is gone already is no error.
 */

/** The part of the gallery's index writer that is needed here. */
export interface DatedIndex {
  /** @returns days taken out */
  dropDays(endedBeforeMs: number): Promise<number>
}

export interface RetentionOptions {
  readonly bucket: Bucket
  /** Infinity keeps everything for ever, and takes back the rules that an earlier setting made. */
  readonly ageMsMax: number
  readonly index: DatedIndex | undefined
  /** Says what goes; absent where nobody is told. */
  readonly announcements?: Pick<Announcements, 'expired' | 'removed'>
  readonly log: Log
  readonly events: { readonly expired: (crops: number) => void }
}

export const DAY_MS = 24 * 3_600_000
/** The rules are looked at, and, where there are none, the bucket is swept. */
const INTERVAL_MS = 3_600_000
/** Sweeps where the store has rules. */
const SWEEP_RULED_MS = DAY_MS
/** Crops of a new site tend to come with those of others. */
const NEW_SITE_MS = 5_000
/** As many rules as S3 allows a bucket. */
const SITES_MAX = 1_000
/** Keys held and deleted in one go, and a breath between two such for those who store. */
const BATCH_MAX = 500
const BREATH_MS = 20
const RETRY_DELAY = { delayMsMin: 30_000, delayMsMax: INTERVAL_MS }
/** A site may have this name; a rule for it would delete the gallery's page and index. The sweep knows days, and does not. */
const NO_RULE_FOR = 'gallery'

export class Retention implements AsyncDisposable {
  readonly #options: RetentionOptions
  readonly #abort = new AbortController()
  readonly #sites = new Set<string>()
  readonly #clock = new SteadyClock()
  readonly #running: Promise<void>
  #woken = new AbortController()
  /** Everything filed before is gone, or goes within the day, and that is announced. */
  #expiredBeforeMs = 0
  #fault: SightlineError | undefined

  private constructor(options: RetentionOptions) {
    this.#options = options
    this.#running = this.#run()
  }

  static open(options: RetentionOptions): Retention {
    return new Retention(options)
  }

  /** Why the last turn failed; it is tried again. */
  get fault(): string | undefined {
    return this.#fault?.message
  }

  /** A crop of this site was stored: it needs a rule, where there are rules. */
  seen(site: string): void {
    if (!this.#options.bucket.expire || this.#sites.has(site) || this.#sites.size >= SITES_MAX) return
    this.#sites.add(site)
    this.#woken.abort()
  }

  async #run(): Promise<void> {
    const { ageMsMax, log } = this.#options
    const { signal } = this.#abort
    const forever = ageMsMax === Number.POSITIVE_INFINITY
    const backoff = new Backoff(RETRY_DELAY)
    let ruledBefore: boolean | undefined
    let sweptAtMs = Number.NEGATIVE_INFINITY
    while (!signal.aborted) {
      this.#woken = new AbortController()
      try {
        const ruled = await this.#rule(forever ? undefined : Math.ceil(ageMsMax / DAY_MS))
        if (forever) return
        if (ruled !== ruledBefore)
          log.info(
            { ageDaysMax: ageMsMax / DAY_MS, by: ruled ? 'rules of the store, and sweeps' : 'sweeps' },
            'retention',
          )
        ruledBefore = ruled
        await this.#announce(this.#clock.nowMs() - ageMsMax)
        if (performance.now() - sweptAtMs >= (ruled ? SWEEP_RULED_MS : INTERVAL_MS)) {
          const nowMs = this.#clock.nowMs()
          await this.#sweep({ nowMs, endedBeforeMs: nowMs - ageMsMax })
          if (this.#clock.leapMs > 0)
            log.warn(
              { code: 'CLOCK_LEAPT', aheadHours: Math.round(this.#clock.leapMs / 3_600_000) },
              'the clock of this machine jumped ahead: what would now be too old is kept for a day, in case it is wrong',
            )
          sweptAtMs = performance.now()
        }
        this.#fault = undefined
        backoff.reset()
        const woken = AbortSignal.any([signal, this.#woken.signal])
        await sleep(INTERVAL_MS, undefined, { signal: woken, ref: false }).catch(() => {})
        if (!signal.aborted) await sleep(NEW_SITE_MS, undefined, { signal, ref: false })
      } catch (error) {
        if (signal.aborted) return
        this.#fault = asFailure(error)
        log.warn(
          { code: this.#fault.code },
          `could not delete what is too old, trying again: ${this.#fault.message}`,
        )
        await backoff.wait(signal).catch(() => {})
      }
    }
  }

  /**
   * Rules are in force, or a sweep begins: days that ended before a moment are no more. An hour later it is mostly the
   * same day. Where too many announcements wait already, crops go all the same, and this is said an hour later.
   */
  async #announce(endedBeforeMs: number): Promise<void> {
    const filedBeforeMs = Math.floor(endedBeforeMs / DAY_MS) * DAY_MS
    if (filedBeforeMs <= this.#expiredBeforeMs) return
    const { announcements, log } = this.#options
    try {
      await announcements?.expired(filedBeforeMs)
    } catch (error) {
      const { code, message } = asFailure(error)
      if (code !== 'QUEUE_FULL') throw error
      log.warn({ code }, message)
      return
    }
    this.#expiredBeforeMs = filedBeforeMs
  }

  /** @returns whether the store deletes by itself what lies below every site */
  async #rule(days: number | undefined): Promise<boolean> {
    const { bucket } = this.#options
    const { signal } = this.#abort
    if (!bucket.expire) return false
    const sites = new Set(this.#sites)
    for await (const site of names(bucket, '', signal)) sites.add(site)
    sites.delete(NO_RULE_FOR)
    return bucket.expire(sites, days, signal)
  }

  async #sweep(over: Over): Promise<void> {
    const { bucket, index, announcements, log, events } = this.#options
    const { signal } = this.#abort
    const startedMs = performance.now()
    // The index first: better a crop that is not listed than an entry that leads nowhere.
    const indexDays = (await index?.dropDays(over.endedBeforeMs)) ?? 0
    await removeIndexDays(bucket, over, signal)
    const { crops, days } = await sweepDays(bucket, over, events.expired, signal, (keys) =>
      announcements?.removed(keys, 'expired'),
    )
    const tookMs = Math.round(performance.now() - startedMs)
    log.info({ crops, days, indexDays, tookMs }, 'deleted what is too old from the bucket')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort()
    await this.#running
  }
}

/** What is too old. */
export interface Over {
  readonly nowMs: number
  /** Days that ended before. */
  readonly endedBeforeMs: number
}

/**
 * Deletes the crops of every camera's days that are over, and of days that have not come yet what was written as long
 * ago. Errors: those of the bucket, and of `removing`.
 * @param removing is told of what is removed of days that have not come, before it is: nothing else says which those are
 * @returns how many crops, and days of a camera
 */
export async function sweepDays(
  bucket: Bucket,
  over: Over,
  removed: (crops: number) => void,
  signal?: AbortSignal,
  removing?: (keys: readonly string[]) => Promise<void> | undefined,
): Promise<{ crops: number; days: number }> {
  let crops = 0
  let days = 0
  for await (const camera of cameras(bucket, signal))
    for await (const { day, isAhead } of daysOver(bucket, camera, over, signal)) {
      const isOver = (crop: ListedObject) => !isAhead || writtenMs(crop, over.nowMs) <= over.endedBeforeMs
      let fromDay = 0
      for await (const keys of cropsOf(bucket, day, isOver, signal)) {
        if (isAhead) await removing?.(keys)
        await bucket.remove(keys, signal)
        fromDay += keys.length
        removed(keys.length)
        await sleep(BREATH_MS, undefined, { signal })
      }
      crops += fromDay
      if (fromDay > 0 || !isAhead) days += 1
    }
  return { crops, days }
}

/**
 * When a crop in a day that has not come was written: by the bucket's clock, or, where that was ahead too, by its id.
 * Infinity where nothing says so: then it stays.
 */
function writtenMs({ key, modifiedAtMs }: ListedObject, nowMs: number): number {
  if (modifiedAtMs <= nowMs + AHEAD_MS_MAX) return modifiedAtMs
  const id = parseObjectKey(key)?.id
  const mintedMs = id === undefined ? 0 : mintedAtMs(id)
  return mintedMs >= CLOCK_MS_MIN && mintedMs <= nowMs ? mintedMs : Number.POSITIVE_INFINITY
}

/** `<site>/<device>/<camera>/2026/11/20/` of each day that ended before a moment, or begins after now. */
async function* daysOver(
  bucket: Bucket,
  camera: string,
  { nowMs, endedBeforeMs }: Over,
  signal: AbortSignal | undefined,
): AsyncGenerator<{ day: string; isAhead: boolean }> {
  const below = (prefix: string, digits: RegExp) => numbers(bucket, prefix, digits, signal)
  const aheadMs = nowMs + AHEAD_MS_MAX
  const isBetween = (fromMs: number, toMs: number) => fromMs >= endedBeforeMs && toMs <= aheadMs
  for await (const year of below(camera, /^\d{4}$/)) {
    const [y, next] = [Number(year), Number(year) + 1]
    if (isBetween(Date.UTC(y, 0), Date.UTC(next, 0))) continue
    for await (const month of below(`${camera}${year}/`, /^\d\d$/)) {
      const m = Number(month) - 1
      if (isBetween(Date.UTC(y, m), Date.UTC(y, m + 1))) continue
      for await (const day of below(`${camera}${year}/${month}/`, /^\d\d$/)) {
        const isAhead = Date.UTC(y, m, Number(day)) > aheadMs
        if (isAhead || Date.UTC(y, m, Number(day) + 1) <= endedBeforeMs)
          yield { day: `${camera}${year}/${month}/${day}/`, isAhead }
      }
    }
  }
}

async function* numbers(
  bucket: Bucket,
  prefix: string,
  digits: RegExp,
  signal: AbortSignal | undefined,
): AsyncGenerator<string> {
  for await (const name of bucket.folders(prefix, signal)) if (digits.test(name)) yield name
}

/** The keys of those of a day's crops that are over, some at a time. */
async function* cropsOf(
  bucket: Bucket,
  day: string,
  isOver: (crop: ListedObject) => boolean,
  signal: AbortSignal | undefined,
): AsyncGenerator<string[]> {
  let keys: string[] = []
  for await (const object of bucket.list(day, signal)) {
    if (!kindOfKey(object.key)) continue // not ours
    if (!isOver(object)) continue
    if (keys.push(object.key) < BATCH_MAX) continue
    yield keys
    keys = []
  }
  if (keys.length > 0) yield keys
}

import { setTimeout as sleep } from 'node:timers/promises'
import { Backoff } from '../../lib/backoff.ts'
import type { Bucket } from '../../lib/buckets/bucket.ts'
import { cameras } from '../../lib/buckets/cameras.ts'
import { asFailure, type SightlineError } from '../../lib/errors.ts'
import { type Log, throttled } from '../../lib/log.ts'
import { SteadyClock } from '../../lib/steady-clock.ts'
import type { Stretch } from '../../wire/keep.ts'
import { CLIP } from '../../wire/kinds.ts'
import type { CameraAddress } from '../../wire/topics.ts'
import type { Announcements } from '../announcements.ts'
import { CLOCK_MS_MIN } from '../filed-at.ts'
import { type Chunk, chunkOf, HOUR_MS, hourOf, hourPath, isKept, touchesHour } from './chunks.ts'
import { cameraOfPrefix, type KeepMarks } from './keep-marks.ts'
import type { Limits } from './limits.ts'

/**
 * Chunks of recordings leave the bucket one by one, each camera's oldest first: those that are too old, and as many more as
 * a camera has too many bytes. What is kept (keep-marks.ts) stays, and does not count.
 *
 * What each camera has is remembered hour by hour: at the start the bucket is listed once (of a camera whose bytes do not
 * matter only the names of its hours), then what is stored is added. An hour's chunks are listed when the first of them is
 * to go; so a look at what is due, once a minute, lists nothing. Once a day all is counted anew: another subscriber, or a
 * hand, may have added or removed some.
 *
 * Each chunk that goes is announced first. A store's own rules (retention.ts) are no help here: they know whole days.
 */

export interface RecordingRetentionOptions {
  readonly bucket: Bucket
  readonly limitsOf: (camera: CameraAddress) => Limits
  readonly keep: Pick<KeepMarks, 'read' | 'inTurn' | 'onChanged'>
  /** Says what goes; absent where nobody is told. */
  readonly announcements?: Pick<Announcements, 'removed'>
  readonly log: Log
  readonly events: { readonly expired: (chunks: number) => void }
  /** Between two looks, ms; a minute. */
  readonly intervalMs?: number
}

const INTERVAL_MS = 60_000
const RECOUNT_MS = 24 * HOUR_MS
/** Announced and deleted in one go, and a breath between two such for those who store. */
const BATCH_MAX = 500
const BREATH_MS = 20
const RETRY_DELAY = { delayMsMin: 5_000, delayMsMax: 10 * 60_000 }

interface Hour {
  bytes: number
  /** Of those that are kept. */
  keptBytes: number
  /** It is to be listed before it counts. */
  isStale: boolean
  /** All that is in it is kept. */
  isSettled: boolean
}

interface Camera {
  readonly address: CameraAddress
  /** `recordings.private/<site>/<device>/<camera>/` */
  readonly prefix: string
  readonly limits: Limits
  readonly hours: Map<number, Hour>
  /** The chunks of the hour that goes next, the oldest first. */
  front: { readonly hourMs: number; readonly chunks: readonly Chunk[] } | undefined
  /** What is kept, as it was last read. */
  stretches: readonly Stretch[]
  /** Listings under way: what is stored meanwhile may be in them or not. */
  listing: number
}

export class RecordingRetention implements AsyncDisposable {
  readonly #options: RecordingRetentionOptions
  readonly #abort = new AbortController()
  readonly #clock = new SteadyClock()
  readonly #cameras = new Map<string, Camera>()
  readonly #running: Promise<void>
  readonly #warn: (message: string) => void
  #fault: SightlineError | undefined

  private constructor(options: RecordingRetentionOptions) {
    this.#options = options
    this.#warn = throttled((count, message) =>
      options.log.warn({ count }, `could not delete recordings that are too old, trying again: ${message}`),
    )
    options.keep.onChanged = (camera, before, after) => this.#onKeepChanged(camera, before, after)
    this.#running = this.#run()
  }

  static open(options: RecordingRetentionOptions): RecordingRetention {
    return new RecordingRetention(options)
  }

  /** Why the last look failed; it is tried again. */
  get fault(): string | undefined {
    return this.#fault?.message
  }

  /** The bucket has a clip more. */
  stored({ key, site, device, camera }: CameraAddress & { readonly key: string }, bytes: number): void {
    const chunk = chunkOf({ key, bytes })
    if (!chunk) return
    const known = this.#camera({ site, device, camera })
    const hour = addTo(known.hours, chunk, known.stretches)
    hour.isSettled = false
    if (known.listing > 0) hour.isStale = true
    if (known.front?.hourMs === chunk.hourMs) known.front = undefined
  }

  /** Somebody else has removed these. */
  removed(keys: readonly string[]): void {
    for (const key of keys) {
      const chunk = chunkOf({ key, bytes: 0 })
      if (!chunk) continue
      const known = this.#cameras.get(`${key.split('/').slice(0, 4).join('/')}/`)
      const hour = known?.hours.get(chunk.hourMs)
      if (!known || !hour) continue
      hour.isStale = true
      if (known.front?.hourMs === chunk.hourMs) known.front = undefined
    }
  }

  #onKeepChanged(address: CameraAddress, before: readonly Stretch[], after: readonly Stretch[]): void {
    const known = this.#cameras.get(prefixOf(address))
    if (!known) return
    known.stretches = after
    const stretches = [...before, ...after]
    for (const [hourMs, hour] of known.hours)
      if (stretches.some((stretch) => touchesHour(hourMs, stretch))) {
        hour.isStale = true
        hour.isSettled = false
      }
  }

  #camera(address: CameraAddress): Camera {
    const prefix = prefixOf(address)
    let camera = this.#cameras.get(prefix)
    if (!camera) {
      const limits = this.#options.limitsOf(address)
      camera = { address, prefix, limits, hours: new Map(), front: undefined, listing: 0, stretches: [] }
      this.#cameras.set(prefix, camera)
    }
    return camera
  }

  async #run(): Promise<void> {
    const { log, intervalMs = INTERVAL_MS } = this.#options
    const { signal } = this.#abort
    const backoff = new Backoff(RETRY_DELAY)
    let countedAtMs = Number.NEGATIVE_INFINITY
    while (!signal.aborted) {
      try {
        if (performance.now() - countedAtMs >= RECOUNT_MS) {
          const startedMs = performance.now()
          const counted = await this.#count()
          countedAtMs = performance.now()
          if (counted.cameras > 0)
            log.info({ ...counted, tookMs: Math.round(countedAtMs - startedMs) }, 'recordings in the bucket')
        }
        const fault = await this.#look()
        this.#fault = fault
        if (fault) throw fault
        backoff.reset()
        await sleep(intervalMs, undefined, { signal, ref: false })
      } catch (error) {
        if (signal.aborted) return
        this.#fault = asFailure(error)
        this.#warn(this.#fault.message)
        await backoff.wait(signal).catch(() => {})
      }
    }
  }

  /** What there is, camera by camera. */
  async #count(): Promise<{ cameras: number; hours: number }> {
    const { bucket } = this.#options
    const { signal } = this.#abort
    const found = new Set<string>()
    let hours = 0
    for await (const prefix of cameras(bucket, signal, CLIP)) {
      found.add(prefix)
      const camera = this.#camera(cameraOfPrefix(prefix))
      if (!isBounded(camera.limits)) continue
      await this.#countCamera(camera)
      hours += camera.hours.size
    }
    for (const [prefix, camera] of this.#cameras)
      if (!found.has(prefix) && camera.hours.size === 0) this.#cameras.delete(prefix)
    return { cameras: found.size, hours }
  }

  async #countCamera(camera: Camera): Promise<void> {
    camera.listing += 1
    try {
      // By name alone where bytes do not matter.
      if (camera.limits.bytesMax === Number.POSITIVE_INFINITY) {
        const named = new Set<number>()
        for await (const hourMs of this.#hoursOf(camera.prefix)) {
          named.add(hourMs)
          hourIn(camera, hourMs).isSettled = false
        }
        for (const [hourMs, { isStale }] of camera.hours)
          if (!named.has(hourMs) && !isStale) camera.hours.delete(hourMs)
      } else {
        const stretches = await this.#stretches(camera)
        const counted = new Map<number, Hour>()
        for await (const chunk of this.#chunks(camera.prefix)) addTo(counted, chunk, stretches)
        // What was stored meanwhile made its hour stale: that is listed once more.
        for (const [hourMs, hour] of camera.hours) if (hour.isStale) counted.set(hourMs, hour)
        camera.hours.clear()
        for (const [hourMs, hour] of counted) camera.hours.set(hourMs, hour)
      }
      camera.front = undefined
    } finally {
      camera.listing -= 1
    }
  }

  async #stretches(camera: Camera): Promise<readonly Stretch[]> {
    camera.stretches = await this.#options.keep.read(camera.address, this.#abort.signal)
    return camera.stretches
  }

  async *#chunks(prefix: string): AsyncGenerator<Chunk> {
    for await (const object of this.#options.bucket.list(prefix, this.#abort.signal)) {
      const chunk = chunkOf(object)
      if (chunk) yield chunk
    }
  }

  async *#hoursOf(prefix: string): AsyncGenerator<number> {
    const { bucket } = this.#options
    const below = async function* (at: string, digits: RegExp, signal: AbortSignal) {
      for await (const name of bucket.folders(at, signal)) if (digits.test(name)) yield name
    }
    const { signal } = this.#abort
    for await (const year of below(prefix, /^\d{4}$/, signal))
      for await (const month of below(`${prefix}${year}/`, /^\d\d$/, signal))
        for await (const day of below(`${prefix}${year}/${month}/`, /^\d\d$/, signal))
          for await (const hour of below(`${prefix}${year}/${month}/${day}/`, /^\d\d$/, signal)) {
            const hourMs = hourOf(`${year}-${month}-${day}`, hour)
            if (hourMs !== undefined) yield hourMs
          }
  }

  /** @returns why a camera could not be looked at; the others are all the same */
  async #look(): Promise<SightlineError | undefined> {
    const { log } = this.#options
    const { signal } = this.#abort
    let fault: SightlineError | undefined
    for (const camera of [...this.#cameras.values()]) {
      if (!isBounded(camera.limits)) continue
      let chunks = 0
      try {
        await this.#relist(camera)
        for (let gone = await this.#remove(camera); gone > 0; gone = await this.#remove(camera)) {
          chunks += gone
          await sleep(BREATH_MS, undefined, { signal })
        }
      } catch (error) {
        signal.throwIfAborted()
        fault = asFailure(error)
      }
      if (chunks > 0) log.info({ camera: camera.prefix, chunks }, 'deleted recordings')
    }
    return fault
  }

  /** Counts stale hours anew. */
  async #relist(camera: Camera): Promise<void> {
    const stale = [...camera.hours].filter(([, { isStale }]) => isStale).map(([hourMs]) => hourMs)
    if (stale.length === 0) return
    const stretches = await this.#stretches(camera)
    for (const hourMs of stale) {
      const hour = hourIn(camera, hourMs)
      hour.isStale = false // what is stored from here on makes it so again
      const counted = new Map<number, Hour>()
      camera.listing += 1
      try {
        for await (const chunk of this.#chunks(camera.prefix + hourPath(hourMs)))
          addTo(counted, chunk, stretches)
      } catch (error) {
        hour.isStale = true
        throw error
      } finally {
        camera.listing -= 1
      }
      const found = counted.get(hourMs)
      if (found) Object.assign(hour, { ...found, isStale: hour.isStale })
      else if (!hour.isStale) camera.hours.delete(hourMs)
    }
  }

  /** Removes some of what is due, the oldest first. @returns how many; 0 where nothing is due */
  async #remove(camera: Camera): Promise<number> {
    const nowMs = this.#clock.nowMs()
    if (nowMs < CLOCK_MS_MIN) return 0 // a clock that was not set judges nobody's age
    const limitMs = nowMs - camera.limits.ageMsMax
    const due = () => this.#oldest(camera, limitMs)
    if (due() === undefined) return 0
    const { bucket, keep, announcements, events } = this.#options
    const { signal } = this.#abort
    // In turn with who marks: what is said to be kept while this is decided would go a moment later.
    return keep.inTurn(async () => {
      const stretches = await this.#stretches(camera)
      for (let hourMs = due(); hourMs !== undefined; hourMs = due()) {
        const hour = hourIn(camera, hourMs)
        const isListedBefore = camera.front?.hourMs === hourMs
        const chunks = await this.#front(camera, hourMs)
        let overBytes = this.#overBytes(camera)
        const taken: Chunk[] = []
        for (const chunk of chunks) {
          if (taken.length >= BATCH_MAX || (chunk.atMs >= limitMs && overBytes <= 0)) break
          if (isKept(chunk, stretches)) continue
          taken.push(chunk)
          overBytes -= chunk.bytes
        }
        if (taken.length === 0) {
          const left = chunks.filter((chunk) => !isKept(chunk, stretches))
          if (left.length > 0) return 0 // they are younger than they seemed by their hour
          if (chunks.length > 0) hour.isSettled = true
          else if (!isListedBefore) camera.hours.delete(hourMs)
          camera.front = undefined // some may have come since it was listed
          continue
        }
        const keys = taken.map(({ key }) => key)
        await announcements?.removed(keys, 'expired')
        await bucket.remove(keys, signal)
        const gone = new Set(taken)
        if (camera.front?.hourMs === hourMs)
          camera.front = { hourMs, chunks: chunks.filter((chunk) => !gone.has(chunk)) }
        hour.bytes -= taken.reduce((sum, { bytes }) => sum + bytes, 0)
        events.expired(keys.length)
        return keys.length
      }
      return 0
    })
  }

  /** The oldest hour of which some chunk may be due; undefined where none is. */
  #oldest(camera: Camera, limitMs: number): number | undefined {
    let oldest: number | undefined
    for (const [hourMs, { isSettled }] of camera.hours)
      if (!isSettled && (oldest === undefined || hourMs < oldest)) oldest = hourMs
    if (oldest === undefined) return undefined
    if (this.#overBytes(camera) > 0) return oldest
    if (oldest >= limitMs) return undefined
    // Its oldest chunk is known where the hour was listed already.
    const first = camera.front?.hourMs === oldest ? camera.front.chunks : undefined
    return first?.length && first.every(({ atMs }) => atMs >= limitMs) ? undefined : oldest
  }

  #overBytes({ hours, limits: { bytesMax } }: Camera): number {
    if (bytesMax === Number.POSITIVE_INFINITY) return 0
    let bytes = 0
    for (const hour of hours.values()) bytes += hour.bytes - hour.keptBytes
    return bytes - bytesMax
  }

  async #front(camera: Camera, hourMs: number): Promise<readonly Chunk[]> {
    if (camera.front?.hourMs === hourMs) return camera.front.chunks
    const chunks = await Array.fromAsync(this.#chunks(camera.prefix + hourPath(hourMs)))
    chunks.sort((a, b) => a.atMs - b.atMs || a.mintedMs - b.mintedMs)
    camera.front = { hourMs, chunks }
    return chunks
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#options.keep.onChanged = undefined
    this.#abort.abort()
    await this.#running
  }
}

const prefixOf = ({ site, device, camera }: CameraAddress) => `${CLIP.root}${site}/${device}/${camera}/`

const isBounded = ({ ageMsMax, bytesMax }: Limits) =>
  ageMsMax !== Number.POSITIVE_INFINITY || bytesMax !== Number.POSITIVE_INFINITY

function hourIn({ hours }: Pick<Camera, 'hours'>, hourMs: number): Hour {
  let hour = hours.get(hourMs)
  if (!hour) {
    hour = { bytes: 0, keptBytes: 0, isStale: false, isSettled: false }
    hours.set(hourMs, hour)
  }
  return hour
}

function addTo(hours: Map<number, Hour>, chunk: Chunk, stretches: readonly Stretch[]): Hour {
  const hour = hourIn({ hours }, chunk.hourMs)
  hour.bytes += chunk.bytes
  if (isKept(chunk, stretches)) hour.keptBytes += chunk.bytes
  return hour
}

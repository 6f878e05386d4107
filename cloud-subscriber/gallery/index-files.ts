import { randomUUID } from 'node:crypto'
import { z } from 'zod'
import { Backoff } from '../../lib/backoff.ts'
import { type Bucket, CACHE_REVALIDATE } from '../../lib/buckets/bucket.ts'
import { asFailure, failure } from '../../lib/errors.ts'
import { type Log, throttled } from '../../lib/log.ts'
import type { IndexedAttribute } from '../../wire/kinds.ts'
import { isName, NAME_RULE } from '../../wire/names.ts'
import { dayOf } from '../../wire/object-key.ts'
import { AHEAD_MS_MAX } from '../filed-at.ts'

/**
 * The index that the gallery's page reads. Visitors may not list the bucket, so small files say what is there:
 *
 *     gallery/index/writers.json               {"v":1,"writers":["cloud-1"]}
 *     gallery/index/<writer>/head.json         the newest days it has, and how much of each; what the page polls
 *     gallery/index/<writer>/2025.json         the older ones of a year, which the page reads when it gets there
 *     gallery/index/<writer>/<day>/<n>.json    up to 250 entries each, in the order they came; one entry a line
 *
 * The head is polled, and so it is bounded whatever came: 100 days, none of them ahead of the clock, the other files by
 * the year, and 64 KB of devices' names.
 *
 * A day is the UTC day that the crop is filed under (the one in its key). Only a day's last chunk is ever rewritten:
 * at 100,000 crops a day a flush writes 80 KB at most, not 30 MB. The chunk is written before the head that counts
 * it, so the head never promises what is not there; a crash between the two is healed at the next start, which reads
 * back the last chunk and looks whether a further one exists.
 *
 * Each subscriber writes only below its own name, so two never overwrite each other. The one shared file is
 * writers.json, and a list that only grows needs no lock: read, add oneself, write, and look again after a moment and
 * then every minute. Of two that start together one may be lost from it, until its next look. (A conditional write
 * would heal it sooner, but not on stores without them, and the minute would be needed all the same.)
 *
 * An entry may be added twice (a retry after a crash): the ids of the last chunks are remembered, and the page shows
 * an id once. To forget crops is to rewrite the chunks that name them and to raise the day's revision, which tells
 * open pages to read that day again.
 */

export interface IndexEntry {
  readonly id: string
  /** The object's key; the page finds it at `../<key>`. */
  readonly key: string
  readonly site: string
  readonly device: string
  readonly camera: string
  /** By the device's clock, whatever that said. */
  readonly capturedAtMs: number
  /** What the key was made with: the capture time, or, where that cannot be (filed-at.ts), and the two differ, of receipt. */
  readonly filedAtMs: number
  readonly storedAtMs: number
  readonly score: number
  /** The face's box, pixels of the full frame. */
  readonly width: number
  readonly height: number
  /** The name of the photo's file, of crops that have one. */
  readonly file?: string
  /** Of a camera that sends first pictures (`emit.first`): the face, and which it is. The page shows the best in the first's place. */
  readonly track?: string
  readonly shot?: 'first' | 'best'
  /** What classifiers and plugins say of it, the surest first. */
  readonly attributes?: readonly IndexedAttribute[]
}

export interface IndexWriterOptions {
  readonly bucket: Bucket
  /** The name of this subscriber, another one for each that writes into the bucket. */
  readonly writer: string
  readonly log: Log
}

export const INDEX_PREFIX = 'gallery/index'
const VERSION = 1
const CHUNK_ENTRIES_MAX = 250
/** At most one flush in this time. */
const FLUSH_MS_MIN = 1_000
/** The head is written this often even when nothing comes, so that a visitor can tell quiet from dead. */
const HEARTBEAT_MS = 30_000
const WRITERS_LOOK_AGAIN_MS = 3_000
const WRITERS_LOOK_MS = 60_000
/** Entries waiting for the bucket to answer. Whoever adds more is told. */
const ENTRIES_WAITING_MAX = 20_000
/** Ids remembered against adding twice, and how much of a day is read back for that at start. */
const IDS_REMEMBERED_MAX = 20_000
const CHUNKS_READ_BACK = 4
/** Days with a chunk in memory; late crops of more days cost a read each time. */
const DAYS_OPEN_MAX = 8
/** In the head; all of 2,000 devices with names of 30 letters. Whoever was seen last is in it. */
const DEVICES_BYTES_MAX = 64 * 1024
const HEAD_DAYS_MAX = 100
const YEARS_MAX = 100
const RETRY_DELAY = { delayMsMin: 1_000, delayMsMax: 5_000 }

const DAY_PATTERN = /^\d{4,6}-\d\d-\d\d$/
const YEAR_PATTERN = /^\d{4,6}$/
const count = z.number().int().nonnegative()
const daySchema = z.object({
  chunks: count,
  /** Entries in all chunks, and in the last. */
  entries: count,
  last: count,
  /** Raised when entries were taken out. */
  revision: count,
})
const daysSchema = z.record(z.string().regex(DAY_PATTERN), daySchema)
const yearSchema = z.object({ v: z.literal(VERSION), days: daysSchema })
const headSchema = z.object({
  v: z.literal(VERSION),
  writer: z.string(),
  /** One start of the writer: two that share a name find each other out by it. */
  run: z.string(),
  aliveAtMs: z.number(),
  heartbeatMs: z.number(),
  stopped: z.boolean(),
  days: daysSchema,
  /** Years that have days which are not in here, each with the revision of its file. */
  older: z.record(z.string().regex(YEAR_PATTERN), count).default({}),
  /** `site/device`, for the page's filter. */
  devices: z.array(z.string()),
})
const writersSchema = z.object({ v: z.literal(VERSION), writers: z.array(z.string()) })
const chunkSchema = z.array(z.looseObject({ id: z.string() }))

type Day = z.infer<typeof daySchema>
type Head = z.infer<typeof headSchema>

interface OpenChunk {
  n: number
  /** Id to the entry's line. */
  rows: Map<string, string>
  dirty: boolean
  /** Entries in the chunks before this one. */
  entriesBefore: number
}

export class IndexWriter implements AsyncDisposable {
  readonly #bucket: Bucket
  readonly #writer: string
  readonly #log: Log
  readonly #run = randomUUID()
  readonly #days: Map<string, Day>
  /** The files of older days, as they were last written. */
  readonly #years = new Map<string, { readonly revision: number; readonly json: string }>()
  /** The one seen longest ago first. */
  readonly #devices = new Set<string>()
  #devicesBytes = 0
  readonly #open = new Map<string, OpenChunk>()
  readonly #idsRemembered = new Set<string>()
  readonly #backoff = new Backoff(RETRY_DELAY)
  readonly #flushFailed: () => void
  #fault: Error | undefined
  /** What waits, by the generation that the next flush takes. */
  #waiting: IndexEntry[] = []
  /** What the flush under way has taken. */
  #takenCount = 0
  #generation = newGeneration()
  #flushedAtMs = 0
  #headAtMs = 0
  #timer: NodeJS.Timeout | undefined
  #watch: NodeJS.Timeout | undefined
  /** Everything that writes takes its turn here. */
  #turn: Promise<unknown> = Promise.resolve()
  #closing: Promise<void> | undefined

  private constructor(options: IndexWriterOptions, { head, days, years }: Listing) {
    this.#bucket = options.bucket
    this.#writer = options.writer
    this.#log = options.log
    // A day after the last look at the clock was filed by a camera's clock, which an earlier version believed.
    const aheadMs = Math.max(Date.now(), head?.aliveAtMs ?? 0) + AHEAD_MS_MAX
    this.#days = new Map([...days].filter(([day]) => beginOf(day) <= aheadMs))
    for (const [year, { days }] of years)
      this.#years.set(year, { revision: head?.older[year] ?? 0, json: JSON.stringify(days) })
    for (const device of head?.devices ?? []) this.#see(device)
    this.#flushFailed = throttled((times) =>
      this.#log.warn(
        { times, waiting: this.waiting, code: asFailure(this.#fault).code },
        `could not write the gallery's index, trying again: ${this.#fault?.message}`,
      ),
    )
  }

  /** Errors: NAME_INVALID (the writer's name) and those of the bucket. */
  static async open(options: IndexWriterOptions): Promise<IndexWriter> {
    const { bucket, writer, log } = options
    if (!isName(writer))
      throw failure(
        'NAME_INVALID',
        `Invalid writer name "${writer}" for the gallery's index: use ${NAME_RULE}.`,
      )
    const index = new IndexWriter(options, await readListing(bucket, writer, log))
    await index.#enlist()
    await index.#writeHead(false)
    index.#watchOver(WRITERS_LOOK_AGAIN_MS)
    return index
  }

  /** Entries that are not in the bucket yet. */
  get waiting(): number {
    return this.#waiting.length + this.#takenCount
  }

  /**
   * Lists a crop. Resolves when the index in the bucket has it, about a second later (to survive a power cut a
   * folder needs `bucket.sync()` after that). While the bucket fails it waits; it rejects with QUEUE_FULL when too
   * many wait, and with the bucket's fault when the writer is closed before the bucket answers. Nobody has to wait
   * for it.
   */
  add(entry: IndexEntry): Promise<void> {
    let full: Error | undefined
    if (this.#closing) full = failure('QUEUE_FULL', 'The gallery index is closed.')
    else if (this.waiting >= ENTRIES_WAITING_MAX)
      full = failure(
        'QUEUE_FULL',
        `${ENTRIES_WAITING_MAX} crops wait to be listed in the gallery, and the index cannot be written: ` +
          'this one is stored but not listed until it is added again.',
        this.#fault,
      )
    if (full) return handled(Promise.reject(full))
    this.#waiting.push(entry)
    this.#schedule()
    return this.#generation.promise
  }

  /** Writes what waits now. Errors: those of the bucket; what was to be written still waits then. */
  async flush(): Promise<void> {
    await this.#inTurn(() => this.#flush(false))
  }

  /**
   * Takes entries out of every chunk of the days given, or of all. The objects themselves are the caller's to delete.
   * @returns how many were taken out
   */
  remove(matches: (entry: IndexEntry) => boolean, days?: readonly string[]): Promise<number> {
    return this.#inTurn(async () => {
      await this.#flush(false)
      this.#open.clear()
      let removed = 0
      for (const [day, known] of this.#days) {
        if (days && !days.includes(day)) continue
        let fromDay = 0
        for (let n = 0; n < known.chunks; n += 1) {
          const rows = await this.#readChunk(day, n)
          if (rows === undefined || rows === 'unreadable') continue
          const kept = new Map([...rows].filter(([, row]) => !matches(JSON.parse(row) as IndexEntry)))
          if (n === known.chunks - 1) known.last = kept.size
          if (kept.size === rows.size) continue
          fromDay += rows.size - kept.size
          await this.#writeChunk(day, n, kept)
        }
        if (fromDay === 0) continue
        removed += fromDay
        known.entries = Math.max(0, known.entries - fromDay)
        known.revision += 1
        if (known.entries === 0) this.#days.delete(day)
      }
      if (removed > 0) await this.#writeHead(false)
      return removed
    })
  }

  /** Takes a device (`site/device`) off the list that the page filters by, until something of it comes again. */
  unlist(device: string): Promise<void> {
    return this.#inTurn(async () => {
      if (!this.#devices.delete(device)) return
      this.#devicesBytes -= bytesOf(device)
      await this.#writeHead(false)
    })
  }

  /**
   * Takes the days that ended before a moment out of the head; `removeIndexDays` deletes their files.
   * @returns how many there were
   */
  dropDays(endedBeforeMs: number): Promise<number> {
    return this.#inTurn(async () => {
      await this.#flush(false)
      const ended = [...this.#days.keys()].filter((day) => endOf(day) <= endedBeforeMs)
      if (ended.length === 0) return 0
      const before = new Map(this.#days)
      for (const day of ended) {
        this.#days.delete(day)
        this.#open.delete(day)
      }
      try {
        await this.#writeHead(false)
      } catch (error) {
        for (const day of ended) this.#days.set(day, before.get(day) as Day)
        throw error
      }
      return ended.length
    })
  }

  /** Writes what waits and says in the head that it stopped. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#closing ??= this.#inTurn(async () => {
      clearTimeout(this.#timer)
      clearTimeout(this.#watch)
      try {
        await this.#flush(true)
      } catch (error) {
        this.#generation.reject(error)
        throw error
      }
    })
    return this.#closing
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work, work)
    this.#turn = handled(done)
    return done
  }

  #schedule(delayMs = this.#flushedAtMs + FLUSH_MS_MIN - performance.now()): void {
    if (this.#timer !== undefined) return
    this.#timer = setTimeout(
      () => {
        this.#timer = undefined
        void this.#inTurn(() => this.#flush(false)).then(
          () => this.#backoff.reset(),
          (error: unknown) => {
            this.#fault = asFailure(error)
            this.#flushFailed()
            if (!this.#closing) this.#schedule(this.#backoff.nextMs())
          },
        )
      },
      Math.max(0, delayMs),
    )
  }

  /** Heartbeat, and a look whether the list of writers still names us. */
  #watchOver(lookInMs: number): void {
    let lookAtMs = performance.now() + lookInMs
    const look = async () => {
      if (performance.now() >= lookAtMs) {
        lookAtMs = performance.now() + WRITERS_LOOK_MS * (0.75 + Math.random() / 2)
        await this.#enlist()
        await this.#checkAlone()
      }
      if (performance.now() - this.#headAtMs >= HEARTBEAT_MS) await this.#writeHead(false)
    }
    this.#watch = setInterval(() => {
      if (this.#closing) return
      this.#inTurn(look).catch((error: unknown) => {
        this.#fault = asFailure(error)
        this.#flushFailed()
      })
    }, WRITERS_LOOK_AGAIN_MS).unref()
  }

  async #enlist(): Promise<void> {
    const writers = (await readJson(this.#bucket, WRITERS_KEY, writersSchema, this.#log))?.writers ?? []
    if (writers.includes(this.#writer)) return
    await this.#put(WRITERS_KEY, JSON.stringify({ v: VERSION, writers: [...writers, this.#writer].sort() }))
  }

  async #checkAlone(): Promise<void> {
    const head = await readJson(this.#bucket, headKey(this.#writer), headSchema, this.#log)
    if (head && head.run !== this.#run && !head.stopped)
      this.#log.error(
        { writer: this.#writer },
        `another subscriber writes the gallery's index as "${this.#writer}" too, and they overwrite each other: ` +
          'give each its own name',
      )
  }

  async #flush(stopping: boolean): Promise<void> {
    if (this.#waiting.length === 0 && !stopping) return
    this.#flushedAtMs = performance.now()
    const taken = this.#waiting
    const generation = this.#generation
    this.#waiting = []
    this.#takenCount = taken.length
    this.#generation = newGeneration()
    try {
      const byDay = Map.groupBy(taken, ({ filedAtMs }) => dayOf(filedAtMs))
      for (const [day, entries] of byDay) await this.#addToDay(day, entries)
      for (const { site, device } of taken) this.#see(`${site}/${device}`)
      await this.#writeHead(stopping)
      generation.resolve()
    } catch (error) {
      // They wait on, in front; whoever waits for the later ones waits for these as well.
      this.#waiting = [...taken, ...this.#waiting]
      const later = this.#generation
      this.#generation = generation
      generation.promise.then(later.resolve, later.reject)
      throw error
    } finally {
      this.#takenCount = 0
    }
    this.#closeDays()
  }

  async #addToDay(day: string, entries: readonly IndexEntry[]): Promise<void> {
    const open = this.#open.get(day) ?? (await this.#openDay(day))
    this.#open.delete(day)
    this.#open.set(day, open) // most recently used last
    const write = async () => {
      if (open.dirty) await this.#writeChunk(day, open.n, open.rows)
      open.dirty = false
      for (const id of open.rows.keys()) this.#remember(id)
      this.#days.set(day, {
        chunks: open.n + 1,
        entries: open.entriesBefore + open.rows.size,
        last: open.rows.size,
        revision: this.#days.get(day)?.revision ?? 0,
      })
    }
    for (const entry of entries) {
      if (open.rows.has(entry.id) || this.#idsRemembered.has(entry.id)) continue
      if (open.rows.size >= CHUNK_ENTRIES_MAX) {
        await write()
        open.entriesBefore += open.rows.size
        open.n += 1
        open.rows = new Map()
      }
      open.rows.set(entry.id, rowOf(entry))
      open.dirty = true
    }
    await write()
  }

  /** Finds where a day's index ends, also when the head was not written after the last chunk. */
  async #openDay(day: string): Promise<OpenChunk> {
    const known = this.#days.get(day)
    let n = Math.max(0, (known?.chunks ?? 1) - 1)
    let entriesBefore = known ? known.entries - known.last : 0
    let rows = await this.#readChunk(day, n)
    for (;;) {
      const next = rows === undefined ? undefined : await this.#readChunk(day, n + 1)
      if (next === undefined) break
      if (rows instanceof Map) {
        entriesBefore += rows.size
        for (const id of rows.keys()) this.#remember(id)
      }
      n += 1
      rows = next
    }
    for (let back = n - 1; back >= 0 && back > n - CHUNKS_READ_BACK; back -= 1) {
      const before = await this.#readChunk(day, back)
      if (before instanceof Map) for (const id of before.keys()) this.#remember(id)
    }
    // What cannot be read is left to a person, and never written over.
    if (rows === 'unreadable') n += 1
    return { n, rows: rows instanceof Map ? rows : new Map(), dirty: false, entriesBefore }
  }

  async #readChunk(day: string, n: number): Promise<Map<string, string> | 'unreadable' | undefined> {
    const key = this.#chunkKey(day, n)
    const bytes = await this.#bucket.read(key)
    if (bytes === undefined) return undefined
    const entries = parseJson(bytes, chunkSchema)
    if (entries) return new Map(entries.map((entry) => [entry.id, JSON.stringify(entry)]))
    this.#log.warn({ key }, 'a file of the gallery index cannot be read; it is left unchanged')
    return 'unreadable'
  }

  async #writeChunk(day: string, n: number, rows: ReadonlyMap<string, string>): Promise<void> {
    await this.#put(this.#chunkKey(day, n), `[\n${[...rows.values()].join(',\n')}\n]\n`)
  }

  #see(device: string): void {
    if (!this.#devices.delete(device)) this.#devicesBytes += bytesOf(device)
    this.#devices.add(device)
    for (const oldest of this.#devices) {
      if (this.#devicesBytes <= DEVICES_BYTES_MAX) break
      this.#devices.delete(oldest)
      this.#devicesBytes -= bytesOf(oldest)
    }
  }

  /** The head, after what it leaves to the files of the years. */
  async #writeHead(stopped: boolean): Promise<void> {
    const aheadMs = Date.now() + AHEAD_MS_MAX
    const known = [...this.#days].filter(([day]) => beginOf(day) <= aheadMs)
    const newestFirst = known.sort(([a], [b]) => (a < b ? 1 : -1))
    const days = newestFirst.slice(0, HEAD_DAYS_MAX).reverse()
    const years = Map.groupBy(newestFirst.slice(HEAD_DAYS_MAX), ([day]) => yearOf(day))
    const older: [string, number][] = []
    for (const [year, daysOfYear] of [...years].slice(0, YEARS_MAX))
      older.push([year, await this.#writeYear(year, Object.fromEntries(daysOfYear.reverse()))])
    const head: Head = {
      v: VERSION,
      writer: this.#writer,
      run: this.#run,
      aliveAtMs: Date.now(),
      heartbeatMs: HEARTBEAT_MS,
      stopped,
      days: Object.fromEntries(days),
      older: Object.fromEntries(older),
      devices: [...this.#devices].sort(),
    }
    await this.#put(headKey(this.#writer), JSON.stringify(head))
    this.#headAtMs = performance.now()
    const gone = [...this.#years.keys()].filter((year) => !(year in head.older))
    await this.#bucket.remove(gone.map((year) => yearKey(this.#writer, year)))
    for (const year of gone) this.#years.delete(year)
  }

  /** @returns its revision */
  async #writeYear(year: string, days: Record<string, Day>): Promise<number> {
    const json = JSON.stringify(days)
    const before = this.#years.get(year)
    if (before?.json === json) return before.revision
    await this.#put(yearKey(this.#writer, year), JSON.stringify({ v: VERSION, days }))
    // By the clock: a year that was gone and comes back has no revision again that some page has read.
    const revision = Math.max(Date.now(), (before?.revision ?? 0) + 1)
    this.#years.set(year, { json, revision })
    return revision
  }

  async #put(key: string, json: string): Promise<void> {
    await this.#bucket.replace({
      key,
      body: Buffer.from(json),
      contentType: 'application/json',
      cacheControl: CACHE_REVALIDATE,
    })
  }

  #chunkKey(day: string, n: number): string {
    return chunkKey(this.#writer, day, n)
  }

  #remember(id: string): void {
    this.#idsRemembered.delete(id)
    this.#idsRemembered.add(id)
    if (this.#idsRemembered.size <= IDS_REMEMBERED_MAX) return
    const [oldest] = this.#idsRemembered
    this.#idsRemembered.delete(oldest as string)
  }

  #closeDays(): void {
    for (const day of this.#open.keys()) {
      if (this.#open.size <= DAYS_OPEN_MAX) return
      this.#open.delete(day)
    }
  }
}

/** The names of all that write the index of a bucket. */
export async function readWriters(bucket: Bucket, log: Log): Promise<readonly string[]> {
  return (await readJson(bucket, WRITERS_KEY, writersSchema, log))?.writers.filter(isName) ?? []
}

/**
 * Deletes the index files of days that ended before a moment, of every writer: one that never comes back leaves none
 * for ever. (The page takes a file that is not there for one without entries.) Of days that have not come yet go those
 * that were written before their day, and not where it is only the clock here that is behind. Errors: those of the bucket.
 */
export async function removeIndexDays(
  bucket: Bucket,
  { nowMs, endedBeforeMs }: { readonly nowMs: number; readonly endedBeforeMs: number },
  signal?: AbortSignal,
): Promise<void> {
  for await (const writer of bucket.folders(`${INDEX_PREFIX}/`, signal))
    for await (const day of bucket.folders(`${INDEX_PREFIX}/${writer}/`, signal)) {
      const isAhead = beginOf(day) > nowMs + AHEAD_MS_MAX
      if (!isAhead && !(endOf(day) <= endedBeforeMs)) continue
      const listed = await Array.fromAsync(bucket.list(`${INDEX_PREFIX}/${writer}/${day}/`, signal))
      const files = listed.filter(
        ({ modifiedAtMs }) => !isAhead || beginOf(day) > modifiedAtMs + AHEAD_MS_MAX,
      )
      await bucket.remove(
        files.map(({ key }) => key),
        signal,
      )
    }
}

/** NaN for what is no day. */
const beginOf = (day: string) => (DAY_PATTERN.test(day) ? Date.parse(day) : Number.NaN)
const endOf = (day: string) => beginOf(day) + 24 * 3_600_000
const yearOf = (day: string) => day.slice(0, day.indexOf('-'))
/** In the head, with quotes and comma. */
const bytesOf = (device: string) => Buffer.byteLength(device) + 3

/** What one writer has, by its head and the files of older days. */
interface Listing {
  readonly head: Head | undefined
  readonly days: ReadonlyMap<string, Day>
  readonly years: ReadonlyMap<string, z.infer<typeof yearSchema>>
}

async function readListing(bucket: Bucket, writer: string, log: Log): Promise<Listing> {
  const head = await readJson(bucket, headKey(writer), headSchema, log)
  const years = new Map<string, z.infer<typeof yearSchema>>()
  for (const year of Object.keys(head?.older ?? {})) {
    const read = await readJson(bucket, yearKey(writer, year), yearSchema, log)
    if (read) years.set(year, read)
  }
  const days = [...years.values(), head ?? { days: {} }].flatMap(({ days }) => Object.entries(days))
  return { head, days: new Map(days), years }
}

/** What one writer's index lists, in the bucket as it is now; of the days given, or of all. */
export async function* readIndex(
  bucket: Bucket,
  writer: string,
  log: Log,
  days?: readonly string[],
): AsyncGenerator<IndexEntry> {
  for (const [day, { chunks }] of (await readListing(bucket, writer, log)).days) {
    if (days && !days.includes(day)) continue
    for (let n = 0; n < chunks; n += 1)
      yield* ((await readJson(bucket, chunkKey(writer, day, n), chunkSchema, log)) ??
        []) as unknown as IndexEntry[]
  }
}

const WRITERS_KEY = `${INDEX_PREFIX}/writers.json`
const chunkKey = (writer: string, day: string, n: number) => `${INDEX_PREFIX}/${writer}/${day}/${n}.json`
const headKey = (writer: string) => `${INDEX_PREFIX}/${writer}/head.json`
const yearKey = (writer: string, year: string) => `${INDEX_PREFIX}/${writer}/${year}.json`

/** One line, only what the format knows, in its order. */
function rowOf(entry: IndexEntry): string {
  const { id, key, site, device, camera, capturedAtMs, filedAtMs, storedAtMs } = entry
  const { score, width, height, file, track, shot, attributes } = entry
  return JSON.stringify({
    id,
    key,
    site,
    device,
    camera,
    capturedAtMs,
    filedAtMs,
    storedAtMs,
    score: Math.round(score * 1000) / 1000,
    width: Math.round(width),
    height: Math.round(height),
    file,
    track,
    shot,
    attributes,
  })
}

/** Nobody has to listen to it: a rejection that no one awaits is no crash. */
function handled<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {})
  return promise
}

function newGeneration(): PromiseWithResolvers<void> {
  const generation = Promise.withResolvers<void>()
  void handled(generation.promise)
  return generation
}

function parseJson<S extends z.ZodType>(bytes: Uint8Array, schema: S): z.output<S> | undefined {
  try {
    return schema.parse(JSON.parse(Buffer.from(bytes).toString()))
  } catch {
    return undefined
  }
}

async function readJson<S extends z.ZodType>(
  bucket: Bucket,
  key: string,
  schema: S,
  log: Log,
): Promise<z.output<S> | undefined> {
  const bytes = await bucket.read(key)
  if (bytes === undefined) return undefined
  const value = parseJson(bytes, schema)
  if (value === undefined) log.warn({ key }, 'a file of the gallery index cannot be read; rewriting it')
  return value
}

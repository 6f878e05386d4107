import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type RawBuilder, sql } from 'kysely'
import { ENVIRONMENT, NODE_FLAGS } from '../bin/runtime.js'
import { Database, type DatabaseOptions } from '../console/database/database.ts'
import type { DetectionFilter } from '../console/database/detection.ts'
import type { Scope } from '../console/database/scope.ts'
import { HOUR_COLUMNS } from '../console/database/tables.ts'
import { seeded } from '../test/kit/wait.ts'
import { objectKey } from '../wire/object-key.ts'
import type { StoredCrop } from '../wire/stored.ts'

/**
 * The console's database, full: a year of 100 cameras. How long the first page of each kind of search takes, newest first
 * and from the middle of the year, also where few or no detections match; counts by day over the year; what can be written
 * beside it; and the memory of the process. The last week is written as announcements are, in batches; the weeks before are
 * copies of it with other times, ids and tracks, made in the database, which takes minutes instead of a quarter of an hour.
 */
const CAMERAS = 100
const SITES = 10
const WEEKS = 52
const WEEK_MS = 7 * 24 * 3_600_000
const YEAR_MS = WEEKS * WEEK_MS
const BATCH = 2000
/** A day's hours, by how many people come by. */
const CURVE = [1, 1, 1, 1, 2, 5, 15, 40, 60, 55, 50, 60, 75, 65, 55, 55, 65, 80, 70, 45, 25, 12, 6, 3]
const PAGES_A_SEARCH = 40
const LIMIT = 50
const REVIEWED = 20_000
const LIVE_BATCH = 300
const LIVE_BATCHES = 60
const ALL: Scope = { all: true }
const TIME_ZONE = 'Europe/Berlin'

export interface Timing {
  readonly name: string
  readonly p50Ms: number
  readonly p95Ms: number
  /** Of the last page: how many it had, and whether it stopped early. */
  readonly rows: number
  readonly stopped: boolean
}

export interface ConsoleDatabaseResult {
  readonly engine: string
  readonly rows: number
  readonly madeInS: number
  readonly bytes: number | undefined
  readonly pages: readonly Timing[]
  readonly counts: readonly Timing[]
  readonly insertsPerS: number
  readonly rssMb: number
}

export async function benchConsoleDatabase(
  rows: number,
  postgresUrl: string | undefined,
  keep?: string,
): Promise<ConsoleDatabaseResult[]> {
  const folder = keep ?? mkdtempSync(join(tmpdir(), 'sightline-console-database-'))
  try {
    const results = [await benchOne({ type: 'sqlite', file: join(folder, 'console.db') }, rows)]
    if (postgresUrl) results.push(await benchOne({ type: 'postgres', url: postgresUrl }, rows))
    return results
  } finally {
    if (keep === undefined) rmSync(folder, { recursive: true, force: true })
  }
}

async function benchOne(options: DatabaseOptions, rows: number): Promise<ConsoleDatabaseResult> {
  const endMs = Date.UTC(2026, 10, 1)
  const startedMs = performance.now()
  {
    await using database = await Database.open(options)
    const made = detections(Math.ceil(rows / WEEKS), endMs - WEEK_MS, endMs)
    // While one batch is written, the next is made.
    let writing: Promise<unknown> = Promise.resolve()
    for (let batch = take(made, BATCH); batch.length > 0; batch = take(made, BATCH)) {
      await writing
      writing = database.apply(batch, 'bench')
      writing.catch(() => {})
    }
    await writing
    for (let week = 1; week < WEEKS; week += 1) await copyWeek(database, week, endMs - WEEK_MS)
    await settle(database)
  }
  const madeInS = (performance.now() - startedMs) / 1000
  // In a process of its own, as the console is: its memory is what it needs, not what making the detections did.
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [...NODE_FLAGS, import.meta.filename, JSON.stringify(options), `${endMs}`],
    { env: { ...ENVIRONMENT, ...process.env } },
  )
  return {
    engine: options.type,
    rows,
    madeInS,
    bytes: options.type === 'sqlite' ? (await stat(options.file)).size : undefined,
    ...(JSON.parse(stdout) as Measured),
  }
}

type Measured = Pick<ConsoleDatabaseResult, 'pages' | 'counts' | 'insertsPerS' | 'rssMb'>

async function measure(options: DatabaseOptions, endMs: number): Promise<Measured> {
  await using database = await Database.open(options)
  const newest = await database.page({ filter: {}, scope: ALL, limit: 500 })
  const marked: string[] = []
  for await (const page of database.export({}, ALL)) {
    marked.push(...page.map(({ id }) => id))
    if (marked.length >= REVIEWED) break
  }
  for (let at = 0; at < marked.length; at += 1000)
    await database.review('anna', marked.slice(at, at + 1000), ALL, endMs)

  let memoryPeak = 0
  const watch = setInterval(() => {
    memoryPeak = Math.max(memoryPeak, process.memoryUsage.rss())
  }, 50)
  const middle = endMs - YEAR_MS / 2
  const month = { fromMs: middle, beforeMs: middle + 30 * 24 * 3_600_000 }
  const camera = 'site3/device3/camera33'
  const track = newest.detections.find((it) => it.track !== undefined)?.track ?? ''
  const some: Scope = { all: false, sites: ['site2'], cameras: [camera] }
  const one: Scope = { all: false, sites: [], cameras: [camera] }
  const searches: [string, DetectionFilter, Scope][] = [
    ['all', {}, ALL],
    ['a month, half a year ago', month, ALL],
    ['a camera', { cameras: [camera] }, ALL],
    ['a site, a month', { sites: ['site4'], ...month }, ALL],
    ['every camera by name', { sites: Array.from({ length: SITES }, (_, n) => `site${n}`) }, ALL],
    ['a track', { track }, ALL],
    ['masked', { masked: true }, ALL],
    ['masked, a camera, a month', { masked: true, cameras: [camera], ...month }, ALL],
    ['a camera that never sees masks', { masked: true, cameras: ['site0/device0/camera0'] }, ALL],
    ['score of 0.6', { scoreMin: 0.6 }, ALL],
    ['score of 0.95: few', { scoreMin: 0.95 }, ALL],
    ['score of 2: none', { scoreMin: 2 }, ALL],
    ['size of 390: few', { sizeMin: 390 }, ALL],
    ['score, size, masked: few', { scoreMin: 0.8, sizeMin: 300, masked: true, ...month }, ALL],
    ['few, in one camera', { scoreMin: 0.8, sizeMin: 300, cameras: [camera] }, ALL],
    ['an attribute', { attribute: { name: 'glasses' } }, ALL],
    ['a rare attribute', { attribute: { name: 'helmet', label: 'yes' } }, ALL],
    [
      'a rare attribute, masked, a site',
      { attribute: { name: 'helmet' }, masked: true, sites: ['site4'] },
      ALL,
    ],
    ['reviewed', { reviewed: { by: 'anna', is: true } }, ALL],
    ['not reviewed', { reviewed: { by: 'anna', is: false } }, ALL],
    ['reviewed, of a score that none has', { reviewed: { by: 'anna', is: true }, scoreMin: 2 }, ALL],
    [
      'not reviewed, masked, a camera',
      { reviewed: { by: 'anna', is: false }, masked: true, cameras: [camera] },
      ALL,
    ],
    ['name of a file', { file: 'photo_12' }, ALL],
    ['name of a file: none', { file: 'nothing like it' }, ALL],
    ['confined, all', {}, some],
    ['confined, masked, a month', { masked: true, ...month }, some],
    ['confined to one, score: few', { scoreMin: 0.95 }, one],
    ['confined, an attribute', { attribute: { name: 'glasses' } }, one],
  ]
  const pages: Timing[] = []
  for (const [name, filter, scope] of searches)
    pages.push(
      await time(name, PAGES_A_SEARCH, async () => {
        const page = await database.page({ filter, scope, limit: LIMIT })
        return { rows: page.detections.length, stopped: page.searchedToMs !== undefined }
      }),
    )
  const year = { fromMs: endMs - YEAR_MS, beforeMs: endMs, by: 'day', timeZone: TIME_ZONE } as const
  const counts: Timing[] = []
  for (const [name, query] of [
    ['by day', { ...year, scope: ALL }],
    ['by day, masked and not', { ...year, scope: ALL, split: 'masked' }],
    ['by month, each camera', { ...year, by: 'month', scope: ALL, split: 'camera' }],
    ['by day, confined to 11 cameras', { ...year, scope: some }],
    [
      'by day, 90 of 100 cameras, masked and not',
      {
        ...year,
        scope: { all: false, sites: Array.from({ length: 9 }, (_, n) => `site${n}`), cameras: [] },
        split: 'masked',
      },
    ],
    [
      'by day in Tokyo, 90 cameras',
      {
        ...year,
        timeZone: 'Asia/Tokyo',
        scope: { all: false, sites: Array.from({ length: 9 }, (_, n) => `site${n}`), cameras: [] },
      },
    ],
    ['by month', { ...year, by: 'month', scope: ALL }],
    ['by hour, a week', { ...year, by: 'hour', fromMs: endMs - 7 * 24 * 3_600_000, scope: ALL }],
  ] satisfies [string, Parameters<Database['counts']>[0]][])
    counts.push(
      await time(name, PAGES_A_SEARCH, async () => ({
        rows: (await database.counts(query)).length,
        stopped: false,
      })),
    )
  counts.push(
    await time('newest of each camera', PAGES_A_SEARCH, async () => ({
      rows: (await database.newest(ALL)).length,
      stopped: false,
    })),
  )

  const live = detections(LIVE_BATCH * LIVE_BATCHES, endMs, endMs + 60_000)
  const batches = Array.from({ length: LIVE_BATCHES }, () => take(live, LIVE_BATCH))
  const liveMs = performance.now()
  for (const batch of batches) await database.apply(batch, 'bench')
  const insertsPerS = (LIVE_BATCH * LIVE_BATCHES * 1000) / (performance.now() - liveMs)
  clearInterval(watch)
  return { pages, counts, insertsPerS, rssMb: memoryPeak / 1e6 }
}

/** So many weeks before the last. */
async function copyWeek({ engine, write }: Database, week: number, fromMs: number): Promise<void> {
  const shiftMs = sql.lit(week * WEEK_MS)
  const hexTime = (atMs: RawBuilder<unknown>) =>
    engine === 'sqlite' ? sql`printf('%012x', ${atMs})` : sql`lpad(to_hex(${atMs}), 12, '0')`
  const moved = (column: string, atMs: RawBuilder<unknown>) =>
    engine === 'sqlite'
      ? sql`unhex(${hexTime(atMs)} || hex(substr(${sql.ref(column)}, 7)))`
      : sql`decode(${hexTime(atMs)} || encode(substr(${sql.ref(column)}, 7), 'hex'), 'hex')`
  const atMs = sql`at_ms - ${shiftMs}`
  const others = [
    ...['camera_id', 'clock_sane', 'score', 'size', 'box_json', 'region_json', 'frame_width', 'frame_height'],
    ...['masked', 'model', 'file', 'quality_json', 'attributes_json', 'bytes', 'sha256', 'key', 'subscriber'],
  ].map((name) => sql.ref(name))
  const trackMs = sql.lit(fromMs - week * WEEK_MS)
  await write.transaction().execute(async (db) => {
    await sql`insert into detections (at_ms, id, captured_at_ms, stored_at_ms, track, ${sql.join(others)})
      select ${atMs}, ${moved('id', atMs)}, captured_at_ms - ${shiftMs}, stored_at_ms - ${shiftMs},
        ${moved('track', sql`${trackMs} + 0`)}, ${sql.join(others)}
      from detections where at_ms >= ${sql.lit(fromMs)} order by at_ms`.execute(db)
    await sql`insert into detection_attributes (attribute_id, at_ms, id, camera_id, masked, score, size)
      select attribute_id, ${atMs}, ${moved('id', atMs)}, camera_id, masked, score, size
      from detection_attributes where at_ms >= ${sql.lit(fromMs)}`.execute(db)
    const counts = [...['camera_id', 'masked', 'total'], ...HOUR_COLUMNS].map((name) => sql.ref(name))
    await sql`insert into days (day, ${sql.join(counts)}) select day - ${sql.lit(week * 7)}, ${sql.join(counts)}
      from days where day >= ${sql.lit(fromMs / (24 * 3_600_000))}`.execute(db)
  })
}

/** PostgreSQL does this by itself within minutes; a bench does not wait for it. */
async function settle(database: Database): Promise<void> {
  if (database.engine !== 'postgres') return
  await sql`set statement_timeout = 0`.execute(database.write)
  await sql`vacuum analyze detections`.execute(database.write)
  await sql`analyze`.execute(database.write)
}

async function time(
  name: string,
  times: number,
  work: () => Promise<{ rows: number; stopped: boolean }>,
): Promise<Timing> {
  const took: number[] = []
  let last = { rows: 0, stopped: false }
  for (let n = 0; n < times; n += 1) {
    const startedMs = performance.now()
    last = await work()
    took.push(performance.now() - startedMs)
  }
  took.sort((a, b) => a - b)
  return {
    name,
    p50Ms: took[Math.floor(times / 2)] as number,
    p95Ms: took[Math.floor(times * 0.95)] as number,
    ...last,
  }
}

function take(from: Generator<StoredCrop>, count: number): StoredCrop[] {
  const taken: StoredCrop[] = []
  while (taken.length < count) {
    const { value, done } = from.next()
    if (done) break
    taken.push(value)
  }
  return taken
}

/** Of a year, in the order of time: a day curve, tracks of some crops each, a fifth with masked known. */
function* detections(rows: number, fromMs: number, toMs: number): Generator<StoredCrop> {
  const random = seeded(7)
  const days = Math.max(1, Math.round((toMs - fromMs) / (24 * 3_600_000)))
  const perDay = rows / days
  const curveSum = CURVE.reduce((sum, it) => sum + it, 0)
  const hex = (digits: number) =>
    Math.floor(random() * 16 ** digits)
      .toString(16)
      .padStart(digits, '0')
  const idAt = (ms: number) => {
    const time = Math.floor(ms).toString(16).padStart(12, '0')
    return `${time.slice(0, 8)}-${time.slice(8)}-7${hex(3)}-8${hex(3)}-${hex(12)}`
  }
  const tracks = new Map<number, { id: string; left: number }>()
  let made = 0
  for (let day = 0; day < days; day += 1)
    for (let hour = 0; hour < 24; hour += 1) {
      const share = (perDay * (CURVE[hour] as number)) / curveSum
      const target =
        day === days - 1 && hour === 23
          ? rows
          : Math.round(
              day * perDay + (perDay * CURVE.slice(0, hour).reduce((a, b) => a + b, 0)) / curveSum + share,
            )
      const count = target - made
      const hourMs = fromMs + ((toMs - fromMs) * (day * 24 + hour)) / (days * 24)
      const hourLengthMs = (toMs - fromMs) / (days * 24)
      for (let n = 0; n < count; n += 1) {
        const atMs = Math.floor(hourMs + (hourLengthMs * n) / count)
        const number = Math.floor(random() * CAMERAS)
        let track = tracks.get(number)
        if (!track || track.left === 0) {
          track = { id: idAt(atMs), left: 1 + Math.floor(random() * 5) }
          tracks.set(number, track)
        }
        track.left -= 1
        const site = `site${number % SITES}`
        const address = { site, device: `device${number % SITES}`, camera: `camera${number}` }
        const id = idAt(atMs)
        const width = Math.round(40 + 360 * random() ** 3)
        const masked = number !== 0 && random() < 0.2 ? { masked: random() < 0.3 } : {}
        const attributes = [
          ...(random() < 0.05 ? [{ name: 'glasses', label: random() < 0.5 ? 'yes' : 'no', score: 0.9 }] : []),
          ...(random() < 0.000_05 ? [{ name: 'helmet', label: 'yes', score: 0.8 }] : []),
        ]
        made += 1
        yield {
          v: 1,
          is: 'stored',
          kind: 'crop',
          id,
          ...address,
          key: objectKey({ id, ...address }, atMs),
          filedAtMs: atMs,
          storedAtMs: atMs + 200,
          bytes: 15_000 + Math.floor(random() * 10_000),
          sha256: `${hex(12)}${hex(12)}${hex(12)}${hex(12)}${hex(12)}0000`,
          capturedAtMs: atMs,
          clockSane: true,
          box: [Math.round(random() * 1500), Math.round(random() * 700), width, Math.round(width * 1.3)],
          region: [10, 10, width * 2, width * 2],
          score: Math.round((0.999 - 0.499 * random() ** 0.2) * 10_000) / 10_000,
          track: track.id,
          quality: { total: 0.7, size: 0.8, sharpness: 0.6, frontality: 0.7 },
          ...masked,
          model: 'blazeface-back',
          ...(random() < 0.01 && { file: `photo_${made}.jpg` }),
          frame: [1920, 1080],
          ...(attributes.length > 0 && { attributes }),
        }
      }
    }
}

export function printConsoleDatabase(results: readonly ConsoleDatabaseResult[]): void {
  for (const { engine, rows, madeInS, bytes, pages, counts, insertsPerS, rssMb } of results) {
    process.stdout.write(
      `\n${engine}: ${rows.toLocaleString('en')} detections made in ${madeInS.toFixed(0)} s (${Math.round(rows / madeInS).toLocaleString('en')}/s)` +
        `${bytes === undefined ? '' : `, ${(bytes / 1e9).toFixed(2)} GB`}\n`,
    )
    for (const { name, p50Ms, p95Ms, rows: shown, stopped } of [...pages, ...counts])
      process.stdout.write(
        `  ${name.padEnd(44)} p50 ${p50Ms.toFixed(1).padStart(6)} ms   p95 ${p95Ms.toFixed(1).padStart(6)} ms   ${shown}${stopped ? ' (stopped)' : ''}\n`,
      )
    const worst = (all: readonly Timing[]) => Math.max(...all.map(({ p95Ms }) => p95Ms))
    process.stdout.write(
      `  pages: worst p95 ${worst(pages).toFixed(1)} ms (at most 50); counts: worst p95 ${worst(counts).toFixed(1)} ms (at most 100)\n` +
        `  announcements, ${LIVE_BATCH} at a time: ${Math.round(insertsPerS).toLocaleString('en')}/s (at least 3,000); memory of the process ${rssMb.toFixed(0)} MB (at most 250)\n`,
    )
  }
}

if (import.meta.main) {
  const [, , options = '', endMs = ''] = process.argv
  process.stdout.write(JSON.stringify(await measure(JSON.parse(options), Number(endMs))))
}

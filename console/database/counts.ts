import { type Kysely, type RawBuilder, sql } from 'kysely'
import { failure } from '../../lib/errors.ts'
import { beginnings } from './calendar.ts'
import type { Count, CountsQuery } from './detection.ts'
import { cameraIds, listCameras } from './places.ts'
import { HOUR_COLUMNS, type Tables } from './tables.ts'

/** Counts by hour, day, week and month out of `days`: what they cost does not depend on the number of detections. */

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
/** Hours of a leap year, and a day. */
export const SPANS_MAX = 8808
/** Fewer of all cameras are found by their index; more of them in going through the days. */
const INDEXED_SHARE = 0.25
/** Split by camera: a year of one is some hundred rows, which are not all held at once. */
const CAMERAS_AT_ONCE = 10

type DayRow = Record<string, number>

export async function countDetections(db: Kysely<Tables>, query: CountsQuery): Promise<readonly Count[]> {
  const { scope, fromMs, beforeMs, by, timeZone, split } = query
  if ((beforeMs - fromMs) / (by === 'hour' ? HOUR_MS : DAY_MS) > SPANS_MAX)
    throw failure(
      'TOO_MANY',
      `Counts by ${by} are given for at most ${SPANS_MAX} at a time. Ask for less time.`,
    )
  const starts = beginnings(fromMs, beforeMs, by, timeZone)
  const spans = starts.length - 1
  const cameras = await cameraIds(db, scope, query)
  const groups = new Map<number, number[]>()
  const countsOf = (group: number) => {
    let counts = groups.get(group)
    if (!counts) {
      counts = new Array<number>(spans).fill(0)
      groups.set(group, counts)
    }
    return counts
  }
  if (split === undefined) countsOf(0)
  const pieces = piecesOf(starts)
  const columns = columnsOf(pieces)
  const add = (rows: readonly DayRow[]) => {
    for (const row of rows) {
      const counts = countsOf(row.part ?? 0)
      for (const { fromHour, toHour, span } of pieces.get(row.day as number) ?? [])
        counts[span] = (counts[span] as number) + until(row, toHour) - until(row, fromHour)
    }
  }
  const named = split === 'camera' ? await listCameras(db, scope) : []
  if (split === 'camera') {
    const ids = cameras ?? named.map(({ id }) => id)
    for (let at = 0; at < ids.length; at += CAMERAS_AT_ONCE) {
      const some = ids.slice(at, at + CAMERAS_AT_ONCE)
      add(await daysWithin(db, starts, columns, sql`camera_id in (${sql.join(some)})`, 'camera_id'))
    }
  } else if (cameras?.length !== 0)
    add(await daysWithin(db, starts, columns, await ofCameras(db, cameras), split))
  const names = new Map(named.map(({ id, site, device, camera }) => [id, `${site}/${device}/${camera}`]))
  return starts.slice(0, spans).flatMap((start, span) =>
    [...groups].flatMap(([group, counts]) => {
      const count = counts[span] as number
      if (split === undefined) return [{ fromMs: start, count }]
      if (count === 0) return []
      if (split === 'masked') return [{ fromMs: start, count, masked: group === -1 ? null : group === 1 }]
      const camera = names.get(group)
      return camera === undefined ? [] : [{ fromMs: start, count, camera }]
    }),
  )
}

interface Piece {
  readonly fromHour: number
  readonly toHour: number
  readonly span: number
}

/** Which hours of each day (UTC) belong to which span. */
function piecesOf(starts: readonly number[]): ReadonlyMap<number, readonly Piece[]> {
  const pieces = new Map<number, Piece[]>()
  for (let span = 0; span + 1 < starts.length; span += 1) {
    const end = (starts[span + 1] as number) / HOUR_MS
    for (let hour = (starts[span] as number) / HOUR_MS; hour < end; ) {
      const day = Math.floor(hour / 24)
      const toHour = Math.min(24, end - day * 24)
      const ofDay = pieces.get(day)
      const piece = { fromHour: hour - day * 24, toHour, span }
      if (ofDay) ofDay.push(piece)
      else pieces.set(day, [piece])
      hour = day * 24 + toHour
    }
  }
  return pieces
}

/** Up to noon, hours from the day's beginning are added; later ones taken from its total: so few are read. */
const COLUMNS_UNTIL = Array.from({ length: 25 }, (_, hour) =>
  hour <= 12 ? HOUR_COLUMNS.slice(0, hour) : HOUR_COLUMNS.slice(hour),
)
const columnsUntil = (hour: number) => COLUMNS_UNTIL[hour] as readonly string[]

function until(row: DayRow, hour: number): number {
  let sum = 0
  for (const column of columnsUntil(hour)) sum += row[column] as number
  return hour <= 12 ? sum : (row.total as number) - sum
}

function columnsOf(pieces: ReadonlyMap<number, readonly Piece[]>): readonly string[] {
  const needed = new Set<string>()
  for (const ofDay of pieces.values())
    for (const { fromHour, toHour } of ofDay)
      for (const column of [...columnsUntil(fromHour), ...columnsUntil(toHour)]) needed.add(column)
  return [...needed]
}

/** Which rows belong to these cameras; to all, where none is named. */
async function ofCameras(
  db: Kysely<Tables>,
  cameras: readonly number[] | undefined,
): Promise<RawBuilder<unknown>> {
  if (!cameras) return sql`camera_id = 0`
  const { all } = await db
    .selectFrom('cameras')
    .select(({ fn }) => fn.countAll<number>().as('all'))
    .executeTakeFirstOrThrow()
  const list = sql.join(cameras)
  // The sign keeps SQLite from the index.
  return cameras.length <= all * INDEXED_SHARE ? sql`camera_id in (${list})` : sql`+camera_id in (${list})`
}

async function daysWithin(
  db: Kysely<Tables>,
  starts: readonly number[],
  columns: readonly string[],
  cameras: RawBuilder<unknown>,
  part: 'camera_id' | 'masked' | undefined,
): Promise<readonly DayRow[]> {
  const firstDay = Math.floor((starts[0] as number) / DAY_MS)
  const lastDay = Math.floor(((starts.at(-1) as number) - 1) / DAY_MS)
  const sums = ['total', ...columns].map((column) => sql`sum(${sql.ref(column)}) as ${sql.ref(column)}`)
  const grouped = part === undefined ? [sql.ref('day')] : [sql.ref('day'), sql.ref(part)]
  const { rows } = await sql<DayRow>`
    select ${sql.join([sql.ref('day'), ...(part === undefined ? [] : [sql`${sql.ref(part)} as part`]), ...sums])}
    from days where day between ${firstDay} and ${lastDay} and ${cameras}
    group by ${sql.join(grouped)}`.execute(db)
  return rows
}

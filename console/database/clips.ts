import { type Kysely, sql } from 'kysely'
import type { Stretch } from '../../wire/keep.ts'
import type { CameraAddress } from '../../wire/topics.ts'
import { type Clip, type ClipRow, clipOf, JOIN_MS_MAX } from './clip.ts'
import { cameraIds } from './places.ts'
import { idBytes, idText } from './rows.ts'
import type { Scope } from './scope.ts'
import type { Tables } from './tables.ts'

/** Recordings: queries. All of one camera go along (camera_id, at_ms). */

/** No chunk is longer: so far back is looked for one that reaches into a stretch. */
const CLIP_MS_MAX = 10 * 60_000

export interface Span {
  readonly fromMs: number
  /** Not included. */
  readonly beforeMs: number
}

/** What is recorded without a break. */
export interface Stretched {
  readonly fromMs: number
  readonly toMs: number
  readonly clips: number
  readonly bytes: number
  /** Of its first chunk: since when nothing is recorded, and why, where the device said so. */
  readonly gapFromMs: number | null
  readonly gapWhy: string | null
}

/** What was seen in a part of the time. */
export interface Moved {
  readonly slot: number
  readonly motion: number | null
  readonly faces: number | null
}

export interface ClipDay {
  /** Days since 1970, UTC. */
  readonly day: number
  readonly clips: number
  readonly bytes: number
  readonly durationMs: number
}

const pathOf = ({ site, device, camera }: CameraAddress) => `${site}/${device}/${camera}`

/** @returns undefined where it is not known, or not in scope */
export async function cameraIdOf(
  db: Kysely<Tables>,
  camera: CameraAddress,
  scope: Scope,
): Promise<number | undefined> {
  const ids = await cameraIds(db, scope, { cameras: [pathOf(camera)] })
  return ids?.[0]
}

const within = (db: Kysely<Tables>, cameraId: number, { fromMs, beforeMs }: Span) =>
  db
    .selectFrom('clips')
    .where('camera_id', '=', cameraId)
    .where('at_ms', '>', fromMs - CLIP_MS_MAX)
    .where('at_ms', '<', beforeMs)
    .where('end_ms', '>', fromMs)

/** A camera's chunks that have any part in a span, oldest first. */
export async function clipsWithin(
  db: Kysely<Tables>,
  cameraId: number,
  camera: CameraAddress,
  span: Span,
  limit: number,
): Promise<readonly Clip[]> {
  const rows = await within(db, cameraId, span)
    .selectAll()
    .orderBy('at_ms')
    .orderBy('id')
    .limit(limit)
    .execute()
  return rows.map((row) => clipOf({ ...row, ...addressOf(camera) }))
}

const addressOf = ({ site, device, camera }: CameraAddress) => ({ site, device, camera })

/** The camera's chunk before a moment, or from it on, that is nearest; as far as the span of a chunk is not asked for. */
export async function clipBeside(
  db: Kysely<Tables>,
  cameraId: number,
  camera: CameraAddress,
  atMs: number,
  side: 'before' | 'after',
): Promise<Clip | undefined> {
  let query = db.selectFrom('clips').selectAll().where('camera_id', '=', cameraId)
  query =
    side === 'before'
      ? query.where('at_ms', '<', atMs).orderBy('at_ms', 'desc').orderBy('id', 'desc')
      : query.where('at_ms', '>=', atMs).orderBy('at_ms').orderBy('id')
  const row = await query.limit(1).executeTakeFirst()
  return row && clipOf({ ...row, ...addressOf(camera) })
}

export async function clipsOf(db: Kysely<Tables>, ids: readonly string[]): Promise<readonly Clip[]> {
  if (ids.length === 0) return []
  const rows: (ClipRow & CameraAddress)[] = await db
    .selectFrom('clips')
    .innerJoin('cameras', 'cameras.id', 'clips.camera_id')
    .selectAll('clips')
    .select(['cameras.site', 'cameras.device', 'cameras.camera'])
    .where('clips.id', 'in', ids.map(idBytes))
    .execute()
  return rows.map(clipOf)
}

/**
 * What is recorded of a span, joined where chunks follow each other: a row each, not one a chunk.
 * @param shorterMs gaps that are shorter are passed over
 */
export async function stretchesWithin(
  db: Kysely<Tables>,
  cameraId: number,
  { fromMs, beforeMs }: Span,
  shorterMs: number,
): Promise<readonly Stretched[]> {
  const { rows } = await sql<{
    from_ms: number
    to_ms: number
    clips: number
    bytes: number
    gap_from_ms: number | null
    gap_why: string | null
  }>`
    with ordered as (
      select at_ms, id, end_ms, bytes, gap_from_ms, gap_why, run, sequence,
        max(end_ms) over (order by at_ms, id rows between unbounded preceding and 1 preceding) as before_ms,
        lag(run) over (order by at_ms, id) as before_run,
        lag(sequence) over (order by at_ms, id) as before_sequence
      from clips
      where camera_id = ${cameraId} and at_ms > ${fromMs - CLIP_MS_MAX} and at_ms < ${beforeMs}
        and end_ms > ${fromMs} and lost_at_ms is null
    ), marked as (
      select *, case
        when before_ms is null then 1
        when at_ms - before_ms <= ${shorterMs} then 0
        when gap_why is not null then 1
        when run = before_run then case when sequence = before_sequence + 1 then 0 else 1 end
        when at_ms - before_ms > ${JOIN_MS_MAX} then 1
        else 0 end as begins
      from ordered
    ), numbered as (
      select *, sum(begins) over (order by at_ms, id rows unbounded preceding) as stretch from marked
    )
    select min(at_ms) as from_ms, max(end_ms) as to_ms, count(*) as clips, sum(bytes) as bytes,
      max(case when begins = 1 then gap_from_ms end) as gap_from_ms,
      max(case when begins = 1 then gap_why end) as gap_why
    from numbered group by stretch order by from_ms`.execute(db)
  return rows.map((row) => ({
    fromMs: Number(row.from_ms),
    toMs: Number(row.to_ms),
    clips: Number(row.clips),
    bytes: Number(row.bytes),
    gapFromMs: row.gap_from_ms === null ? null : Number(row.gap_from_ms),
    gapWhy: row.gap_why,
  }))
}

/** The most that moved, and the most faces, in each part of the span of so many ms. */
export async function movedWithin(
  db: Kysely<Tables>,
  cameraId: number,
  { fromMs, beforeMs }: Span,
  slotMs: number,
): Promise<readonly Moved[]> {
  const { rows } = await sql<{ slot: number; motion: number | null; faces: number | null }>`
    with slotted as (
      select (at_ms - cast(${fromMs} as bigint)) / cast(${slotMs} as bigint) as slot, motion, faces
      from clips
      where camera_id = ${cameraId} and at_ms >= ${fromMs} and at_ms < ${beforeMs}
        and lost_at_ms is null and (motion is not null or faces is not null)
    )
    select slot, max(motion) as motion, max(faces) as faces from slotted group by slot order by slot`.execute(
    db,
  )
  return rows.map((row) => ({ slot: Number(row.slot), motion: row.motion, faces: row.faces }))
}

/** Faces of a camera: the first of each part of the span, and how many there are in it. */
export async function facesWithin(
  db: Kysely<Tables>,
  cameraId: number,
  { fromMs, beforeMs }: Span,
  slotMs: number,
): Promise<readonly { readonly id: string; readonly atMs: number; readonly count: number }[]> {
  const { rows } = await sql<{ id: Uint8Array; at_ms: number; count: number }>`
    with slotted as (
      select at_ms, id, (at_ms - cast(${fromMs} as bigint)) / cast(${slotMs} as bigint) as slot
      from detections
      where camera_id = ${cameraId} and at_ms >= ${fromMs} and at_ms < ${beforeMs}
    ), numbered as (
      select at_ms, id, row_number() over (partition by slot order by at_ms, id) as number,
        count(*) over (partition by slot) as count
      from slotted
    )
    select at_ms, id, count from numbered where number = 1 order by at_ms, id`.execute(db)
  return rows.map((row) => ({ id: idText(row.id), atMs: Number(row.at_ms), count: Number(row.count) }))
}

/** Stretches that are kept, by whichever subscriber; oldest first. */
export async function keptOf(db: Kysely<Tables>, cameraId: number): Promise<readonly Stretch[]> {
  const rows = await db
    .selectFrom('keeps')
    .select('stretches_json')
    .where('camera_id', '=', cameraId)
    .orderBy('subscriber')
    .execute()
  return rows
    .flatMap(({ stretches_json }) => JSON.parse(stretches_json) as Stretch[])
    .sort((a, b) => a.fromMs - b.fromMs)
}

export async function clipDays(
  db: Kysely<Tables>,
  cameraId: number,
  fromDay: number,
  beforeDay: number,
): Promise<readonly ClipDay[]> {
  const rows = await db
    .selectFrom('clip_days')
    .select(['day', 'clips', 'bytes', 'duration_ms'])
    .where('camera_id', '=', cameraId)
    .where('day', '>=', fromDay)
    .where('day', '<', beforeDay)
    .orderBy('day')
    .execute()
  return rows.map(({ duration_ms, ...day }) => ({ ...day, durationMs: duration_ms }))
}

export interface RecordedCamera extends CameraAddress {
  readonly clips: number
  readonly bytes: number
  readonly durationMs: number
  readonly firstDay: number
  readonly lastDay: number
}

/** Cameras of which something is recorded, by their names. */
export async function recordedCameras(db: Kysely<Tables>, scope: Scope): Promise<readonly RecordedCamera[]> {
  const ids = await cameraIds(db, scope, {})
  let query = db.selectFrom('clip_days').innerJoin('cameras', 'cameras.id', 'clip_days.camera_id')
  if (ids) {
    if (ids.length === 0) return []
    query = query.where('camera_id', 'in', ids)
  }
  const rows = await query
    .select(['site', 'device', 'camera'])
    .select(({ fn }) => [
      fn.sum('clips').as('clips'),
      fn.sum('bytes').as('bytes'),
      fn.sum('duration_ms').as('duration_ms'),
      fn.min('day').as('first_day'),
      fn.max('day').as('last_day'),
    ])
    .groupBy(['site', 'device', 'camera'])
    .orderBy('site')
    .orderBy('device')
    .orderBy('camera')
    .execute()
  return rows.map((row) => ({
    site: row.site,
    device: row.device,
    camera: row.camera,
    clips: Number(row.clips),
    bytes: Number(row.bytes),
    durationMs: Number(row.duration_ms),
    firstDay: Number(row.first_day),
    lastDay: Number(row.last_day),
  }))
}

/** Of a span: how many chunks, their bytes, and whose they are. */
export async function sumWithin(
  db: Kysely<Tables>,
  cameraId: number,
  span: Span,
): Promise<{ readonly clips: number; readonly bytes: number; readonly subscribers: readonly string[] }> {
  const rows = await within(db, cameraId, span)
    .select('subscriber')
    .select(({ fn }) => [fn.countAll().as('clips'), fn.sum('bytes').as('bytes')])
    .groupBy('subscriber')
    .orderBy('subscriber')
    .execute()
  return {
    clips: rows.reduce((sum, { clips }) => sum + Number(clips), 0),
    bytes: rows.reduce((sum, { bytes }) => sum + Number(bytes), 0),
    subscribers: rows.map(({ subscriber }) => subscriber),
  }
}

/** The bucket does not have it; null: it has again. */
export async function markLost(
  db: Kysely<Tables>,
  ids: readonly string[],
  atMs: number | null,
): Promise<void> {
  for (let at = 0; at < ids.length; at += 1000)
    await db
      .updateTable('clips')
      .set({ lost_at_ms: atMs })
      .where('id', 'in', ids.slice(at, at + 1000).map(idBytes))
      .execute()
}

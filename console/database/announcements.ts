import { type CompiledQuery, createQueryId, type Kysely, sql, type Transaction } from 'kysely'
import { CROP } from '../../wire/kinds.ts'
import type { Announcement, StoredClip, StoredCrop } from '../../wire/stored.ts'
import type { CameraAddress } from '../../wire/topics.ts'
import { forgetInNotices } from '../notices/retention.ts'
import { applyKept, insertClips, removeClips } from './clip-announcements.ts'
import type { Detection } from './detection.ts'
import { type DetectionRow, detectionOfStored, idBytes, idText, rowOf } from './rows.ts'
import { inTurn, type Shot, supersede } from './superseding.ts'
import { HOUR_COLUMNS, type Tables } from './tables.ts'

/** Announcements to rows, in one transaction: what is acknowledged is on disk, whole. */

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
/** Of one statement: 23 values a row, and SQLite takes 32,766, PostgreSQL 65,535. */
const ROWS_A_STATEMENT = 256
const IDS_A_STATEMENT = 1000

/** What a batch changed. */
export interface Applied {
  /** Detections that were not there before, in the order of the batch. */
  readonly added: readonly Detection[]
  /** Ids that were there and are gone. */
  readonly removed: readonly string[]
  /** Chunks of recordings that were not there before, in the order of the batch; and those that are gone. */
  readonly addedClips: readonly StoredClip[]
  readonly removedClips: readonly string[]
  /** Nothing to do: there before, removed before, or below the horizon. */
  readonly repeated: number
}

/** Cameras by `site/device/camera`, as far as they are known. */
export type KnownCameras = Map<string, number>

type Attributed = Pick<DetectionRow, 'attributes_json'>
type Attribute = Pick<NonNullable<StoredCrop['attributes']>[number], 'name' | 'label' | 'score'>
type Counted = Pick<DetectionRow, 'at_ms' | 'camera_id' | 'masked'>
type Removed = Counted & Shot & Attributed & Pick<DetectionRow, 'id' | 'superseded'>

/**
 * @param known of committed transactions; what is new is added to `learnt`, to be kept when this one is committed
 * @param restored ids that count as not removed, since the bucket has them
 */
export async function applyAnnouncements(
  db: Transaction<Tables>,
  announcements: readonly Announcement[],
  subscriber: string,
  cameras: { readonly known: KnownCameras; readonly learnt: KnownCameras },
  nowMs: number,
  restored = false,
): Promise<Applied> {
  const stored = new Map<string, StoredCrop>()
  const clips = new Map<string, StoredClip>()
  const kept: Extract<Announcement, { is: 'kept' }>[] = []
  const gone = new Map<string, 'forgotten' | 'expired'>()
  let horizonMs = 0
  for (const it of announcements) {
    if (it.is === 'stored') {
      if (it.kind === CROP.name) {
        if (!stored.has(it.id)) stored.set(it.id, it)
      } else if (!clips.has(it.id)) clips.set(it.id, it)
    } else if (it.is === 'kept') kept.push(it)
    else if (it.is === 'removed') {
      if (gone.get(it.id) !== 'forgotten') gone.set(it.id, it.why)
    } else if (it.is === 'expired') horizonMs = Math.max(horizonMs, it.filedBeforeMs)
  }
  await rememberRemoved(db, gone, nowMs)
  horizonMs = await raiseHorizon(db, subscriber, horizonMs)
  const goneIds = [...gone.keys()].map(idBytes)
  const removed = await removeRows(db, goneIds)
  const removedClips = await removeClips(db, goneIds)
  await forgetInNotices(db, [...gone.keys()], nowMs)

  // In the order of their ids: two programs that write the same rows never wait for each other in a circle.
  const all = [...stored.values()].sort((a, b) => (a.id < b.id ? -1 : 1))
  const allClips = [...clips.values()].sort((a, b) => (a.id < b.id ? -1 : 1))
  await seeCameras(db, [...all, ...allClips, ...kept.map((it) => ({ ...it, filedAtMs: it.atMs }))], cameras)
  const ids = [...all, ...allClips].map(({ id }) => idBytes(id))
  if (restored) await forgetRemoved(db, ids)
  const removedBefore = await removedAmong(db, ids)
  const wanted = all.filter(({ id, filedAtMs }) => !removedBefore.has(id) && filedAtMs >= horizonMs)
  const cameraId = ({ site, device, camera }: CameraAddress) => {
    const path = `${site}/${device}/${camera}`
    return (cameras.known.get(path) ?? cameras.learnt.get(path)) as number
  }
  const rows = wanted.map((it) => rowOf(it, cameraId(it), subscriber))
  const added = await insertRows(db, rows)
  await insertAttributes(db, added)
  const { hidden, shown } = await supersede(db, added, removed)
  await dropAttributes(db, removed)
  await count(db, [...added, ...shown], [...counted(removed), ...hidden])
  // The horizon is the crops': of clips, each one that goes is said.
  const addedClips = await insertClips(
    db,
    allClips.filter(({ id }) => !removedBefore.has(id)),
    cameraId,
    subscriber,
  )
  await applyKept(db, kept, cameraId, subscriber)

  const addedIds = new Set(added.map(({ id }) => idText(id)))
  return {
    added: [...stored.values()]
      .filter(({ id }) => addedIds.has(id))
      .map((it) => detectionOfStored(it, subscriber)),
    removed: removed.map(({ id }) => idText(id)),
    addedClips: [...clips.values()].filter(({ id }) => addedClips.has(id)),
    removedClips,
    repeated: announcements.filter((it) => it.is === 'stored').length - added.length - addedClips.size,
  }
}

async function rememberRemoved(
  db: Kysely<Tables>,
  gone: ReadonlyMap<string, 'forgotten' | 'expired'>,
  nowMs: number,
): Promise<void> {
  for (const part of parts(
    [...gone].sort(([a], [b]) => (a < b ? -1 : 1)),
    IDS_A_STATEMENT,
  ))
    await db
      .insertInto('removed')
      .values(part.map(([id, why]) => ({ id: idBytes(id), why, removed_at_ms: nowMs })))
      .onConflict((it) =>
        it
          .column('id')
          .doUpdateSet({ why: 'forgotten' })
          .where('excluded.why', '=', 'forgotten')
          .where('removed.why', '=', 'expired'),
      )
      .execute()
}

async function forgetRemoved(db: Kysely<Tables>, ids: readonly Buffer[]): Promise<void> {
  for (const part of parts(ids, IDS_A_STATEMENT))
    await db.deleteFrom('removed').where('id', 'in', part).execute()
}

async function removedAmong(db: Kysely<Tables>, ids: readonly Buffer[]): Promise<ReadonlySet<string>> {
  const found = new Set<string>()
  for (const part of parts(ids, IDS_A_STATEMENT))
    for (const { id } of await db.selectFrom('removed').select('id').where('id', 'in', part).execute())
      found.add(idText(id))
  return found
}

/** @returns the subscriber's horizon, which only rises */
async function raiseHorizon(db: Kysely<Tables>, subscriber: string, toMs: number): Promise<number> {
  if (toMs > 0)
    await db
      .insertInto('horizons')
      .values({ subscriber, filed_before_ms: toMs })
      .onConflict((it) =>
        it
          .column('subscriber')
          .doUpdateSet({ filed_before_ms: toMs })
          .where('horizons.filed_before_ms', '<', toMs),
      )
      .execute()
  const row = await db
    .selectFrom('horizons')
    .select('filed_before_ms')
    .where('subscriber', '=', subscriber)
    .executeTakeFirst()
  return row?.filed_before_ms ?? 0
}

/** Names of cameras to ids, and when each was seen. What was removed was seen too. */
async function seeCameras(
  db: Kysely<Tables>,
  all: readonly (CameraAddress & { readonly filedAtMs: number })[],
  { known, learnt }: { readonly known: KnownCameras; readonly learnt: KnownCameras },
): Promise<void> {
  const seen = new Map<
    string,
    { site: string; device: string; camera: string; first_seen_ms: number; last_seen_ms: number }
  >()
  for (const { site, device, camera, filedAtMs } of all) {
    const path = `${site}/${device}/${camera}`
    const it = seen.get(path)
    if (!it) seen.set(path, { site, device, camera, first_seen_ms: filedAtMs, last_seen_ms: filedAtMs })
    else {
      it.first_seen_ms = Math.min(it.first_seen_ms, filedAtMs)
      it.last_seen_ms = Math.max(it.last_seen_ms, filedAtMs)
    }
  }
  for (const part of parts(
    [...seen].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, it]) => it),
    ROWS_A_STATEMENT,
  )) {
    await db
      .insertInto('cameras')
      .values(part)
      .onConflict((it) =>
        it.columns(['site', 'device', 'camera']).doUpdateSet({
          // min() and least() have other names here and there.
          first_seen_ms: sql`case when excluded.first_seen_ms < cameras.first_seen_ms then excluded.first_seen_ms else cameras.first_seen_ms end`,
          last_seen_ms: sql`case when excluded.last_seen_ms > cameras.last_seen_ms then excluded.last_seen_ms else cameras.last_seen_ms end`,
        }),
      )
      .returning(['id', 'site', 'device', 'camera'])
      .execute()
      .then((rows) => {
        for (const { id, site, device, camera } of rows)
          if (!known.has(`${site}/${device}/${camera}`)) learnt.set(`${site}/${device}/${camera}`, id)
      })
  }
}

/** @returns those that were not there */
async function insertRows(db: Kysely<Tables>, rows: readonly DetectionRow[]): Promise<DetectionRow[]> {
  const added: DetectionRow[] = []
  for (let at = 0; at < rows.length; ) {
    const size = Math.min(ROWS_A_STATEMENT, 2 ** Math.floor(Math.log2(rows.length - at)))
    const part = rows.slice(at, at + size)
    at += size
    const there = (await db.executeQuery(insertion(db, part))).rows
    if (there.length === part.length) added.push(...part)
    else {
      const ids = new Set(there.map(({ id }) => idText(id)))
      added.push(...part.filter(({ id }) => ids.has(idText(id))))
    }
  }
  return added
}

/** By database kind and number of rows: compiled once, then only given other values. It was half of what a batch cost. */
const insertions = new Map<string, CompiledQuery<{ id: Uint8Array }>>()

function insertion(db: Kysely<Tables>, rows: DetectionRow[]): CompiledQuery<{ id: Uint8Array }> {
  const name = `${db.getExecutor().adapter.constructor.name} ${rows.length}`
  const known = insertions.get(name)
  if (known)
    return { ...known, queryId: createQueryId(), parameters: rows.flatMap((row) => Object.values(row)) }
  const compiled = db
    .insertInto('detections')
    .values(rows)
    .onConflict((it) => it.doNothing())
    .returning('id')
    .compile()
  insertions.set(name, { ...compiled, parameters: [] })
  return compiled
}

const attributesOf = ({ attributes_json }: Attributed): readonly Attribute[] =>
  attributes_json === null ? [] : JSON.parse(attributes_json)
const attributeKey = ({ name, label }: { name: string; label: string }) => JSON.stringify([name, label])

async function insertAttributes(db: Kysely<Tables>, added: readonly DetectionRow[]): Promise<void> {
  const pairs = added.flatMap((row) =>
    // The surest of those that say the same.
    [
      ...new Map(
        attributesOf(row)
          .toSorted((a, b) => a.score - b.score)
          .map((it) => [attributeKey(it), it]),
      ).values(),
    ].map((it) => [row, it] as const),
  )
  if (pairs.length === 0) return
  await inTurn(db)
  const ids = await attributeIds(
    db,
    pairs.map(([, it]) => it),
    true,
  )
  const rows = pairs.map(([{ at_ms, id, camera_id, masked, score, size }, it]) => ({
    attribute_id: ids.get(attributeKey(it)) as number,
    at_ms,
    id,
    camera_id,
    masked,
    score,
    size,
    attribute_score: it.score,
  }))
  for (const part of parts(rows, ROWS_A_STATEMENT))
    await db
      .insertInto('detection_attributes')
      .values(part)
      .onConflict((it) => it.doNothing())
      .execute()
}

async function attributeIds(
  db: Kysely<Tables>,
  all: readonly { name: string; label: string }[],
  make: boolean,
): Promise<ReadonlyMap<string, number>> {
  const wanted = [...new Map(all.map(({ name, label }) => [attributeKey({ name, label }), { name, label }]))]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, it]) => it)
  const ids = new Map<string, number>()
  for (const part of parts(wanted, ROWS_A_STATEMENT)) {
    if (make)
      await db
        .insertInto('attributes')
        .values(part)
        .onConflict((it) => it.doNothing())
        .execute()
    const names = [...new Set(part.map(({ name }) => name))]
    for (const { id, name, label } of await db
      .selectFrom('attributes')
      .selectAll()
      .where('name', 'in', names)
      .execute())
      ids.set(attributeKey({ name, label }), id)
  }
  return ids
}

/** A name and label that no detection has any more: what a plugin read off a face is forgotten with it. */
async function dropAttributes(db: Kysely<Tables>, removed: readonly Attributed[]): Promise<void> {
  const pairs = removed.flatMap(attributesOf)
  if (pairs.length === 0) return
  await inTurn(db)
  const ids = [...(await attributeIds(db, pairs, false)).values()]
  for (const part of parts(ids, IDS_A_STATEMENT))
    await db
      .deleteFrom('attributes')
      .where('id', 'in', part)
      .where(({ not, exists, selectFrom }) =>
        not(
          exists(
            selectFrom('detection_attributes')
              .select('detection_attributes.id')
              .whereRef('attribute_id', '=', 'attributes.id'),
          ),
        ),
      )
      .execute()
}

/** @returns those that were there; their attributes, reviews and counts go with them: see `count` */
async function removeRows(db: Kysely<Tables>, ids: readonly Buffer[]): Promise<Removed[]> {
  const removed: Removed[] = []
  for (const part of parts(ids, IDS_A_STATEMENT))
    removed.push(
      ...(await db
        .deleteFrom('detections')
        .where('id', 'in', part)
        .returning(['at_ms', 'id', 'camera_id', 'masked', 'track', 'shot', 'superseded', 'attributes_json'])
        .execute()),
    )
  const attributed = removed.filter(({ attributes_json }) => attributes_json !== null)
  const known = await attributeIds(db, attributed.flatMap(attributesOf), false)
  for (const row of attributed)
    await db
      .deleteFrom('detection_attributes')
      .where(
        'attribute_id',
        'in',
        attributesOf(row).map((it) => known.get(attributeKey(it)) as number),
      )
      .where('at_ms', '=', row.at_ms)
      .where('id', '=', row.id)
      .execute()
  for (const part of parts(removed, IDS_A_STATEMENT))
    await db
      .deleteFrom('reviews')
      .where(
        'id',
        'in',
        part.map(({ id }) => id),
      )
      .execute()
  return removed
}

/** What is superseded was not counted. */
const counted = (removed: readonly Removed[]) => removed.filter(({ superseded }) => superseded === 0)

/** Moves the counts by day: they say at any moment what the rows say. */
async function count(
  db: Kysely<Tables>,
  added: readonly Counted[],
  removed: readonly Counted[],
): Promise<void> {
  const changes = new Map<string, { day: number; camera_id: number; masked: -1 | 0 | 1; hours: number[] }>()
  const change = (row: Counted, by: number) => {
    const day = Math.floor(row.at_ms / DAY_MS)
    const hour = Math.floor((row.at_ms - day * DAY_MS) / HOUR_MS)
    const masked = row.masked ?? -1
    for (const camera_id of [0, row.camera_id]) {
      const key = `${day} ${camera_id} ${masked}`
      let it = changes.get(key)
      if (!it) {
        it = { day, camera_id, masked, hours: HOUR_COLUMNS.map(() => 0) }
        changes.set(key, it)
      }
      it.hours[hour] = (it.hours[hour] as number) + by
    }
  }
  for (const row of added) change(row, 1)
  for (const row of removed) change(row, -1)
  const rows = [...changes.values()]
    .sort((a, b) => a.day - b.day || a.camera_id - b.camera_id || a.masked - b.masked)
    .map(({ day, camera_id, masked, hours }) => ({
      day,
      camera_id,
      masked,
      total: hours.reduce((sum, it) => sum + it, 0),
      ...(Object.fromEntries(HOUR_COLUMNS.map((name, hour) => [name, hours[hour]])) as Record<
        (typeof HOUR_COLUMNS)[number],
        number
      >),
    }))
  for (const part of parts(rows, ROWS_A_STATEMENT))
    await db
      .insertInto('days')
      .values(part)
      .onConflict((it) =>
        it
          .columns(['day', 'camera_id', 'masked'])
          .doUpdateSet(
            Object.fromEntries(
              ['total', ...HOUR_COLUMNS].map((name) => [
                name,
                sql`${sql.ref(`days.${name}`)} + ${sql.ref(`excluded.${name}`)}`,
              ]),
            ),
          ),
      )
      .execute()
  if (removed.length > 0)
    await db
      .deleteFrom('days')
      .where('total', '=', 0)
      .where('day', 'in', [...new Set(removed.map(({ at_ms }) => Math.floor(at_ms / DAY_MS)))])
      .execute()
}

/**
 * Deletes some of what lies below a subscriber's horizon.
 * @returns how many; 0: there is no more
 */
export async function sweepRows(db: Transaction<Tables>, subscriber: string, limit: number): Promise<number> {
  const horizonMs = await raiseHorizon(db, subscriber, 0)
  const ids = await db
    .selectFrom('detections')
    .select('id')
    .where('at_ms', '<', horizonMs)
    .where('subscriber', '=', subscriber)
    .orderBy('at_ms')
    .limit(limit)
    .execute()
  const removed = await removeRows(
    db,
    ids.map(({ id }) => Buffer.from(id)),
  )
  const { hidden, shown } = await supersede(db, [], removed)
  await dropAttributes(db, removed)
  await count(db, shown, [...counted(removed), ...hidden])
  return ids.length
}

function* parts<Item>(items: readonly Item[], size: number): Generator<Item[]> {
  for (let at = 0; at < items.length; at += size) yield items.slice(at, at + size)
}

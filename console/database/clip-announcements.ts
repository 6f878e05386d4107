import { type Kysely, sql } from 'kysely'
import type { Announcement, StoredClip } from '../../wire/stored.ts'
import { type ClipRow, clipRowOf } from './clip.ts'
import { idText } from './rows.ts'
import type { Tables } from './tables.ts'

/** What is announced of recordings, to rows; within the transaction of announcements.ts. */

const DAY_MS = 86_400_000
/** Of one statement: 32 values a row, and SQLite takes 32,766. */
const ROWS_A_STATEMENT = 256
const IDS_A_STATEMENT = 1000

type Kept = Extract<Announcement, { is: 'kept' }>
type Counted = Pick<ClipRow, 'camera_id' | 'at_ms' | 'bytes' | 'duration_ms'>

/** @returns the ids of those that were not there */
export async function insertClips(
  db: Kysely<Tables>,
  clips: readonly StoredClip[],
  cameraId: (clip: StoredClip) => number,
  subscriber: string,
): Promise<ReadonlySet<string>> {
  const rows = clips.map((it) => clipRowOf(it, cameraId(it), subscriber))
  const added = new Set<string>()
  for (let at = 0; at < rows.length; at += ROWS_A_STATEMENT)
    for (const { id } of await db
      .insertInto('clips')
      .values(rows.slice(at, at + ROWS_A_STATEMENT))
      .onConflict((it) => it.doNothing())
      .returning('id')
      .execute())
      added.add(idText(id))
  await countClips(
    db,
    rows.filter(({ id }) => added.has(idText(id))),
    [],
  )
  return added
}

/** @returns those that were there */
export async function removeClips(db: Kysely<Tables>, ids: readonly Buffer[]): Promise<readonly string[]> {
  const removed: (Counted & { id: Uint8Array })[] = []
  for (let at = 0; at < ids.length; at += IDS_A_STATEMENT)
    removed.push(
      ...(await db
        .deleteFrom('clips')
        .where('id', 'in', ids.slice(at, at + IDS_A_STATEMENT))
        .returning(['camera_id', 'at_ms', 'bytes', 'duration_ms', 'id'])
        .execute()),
    )
  await countClips(db, [], removed)
  return removed.map(({ id }) => idText(id))
}

/** Moves the sums by day: they say at any moment what the rows say. */
async function countClips(
  db: Kysely<Tables>,
  added: readonly Counted[],
  removed: readonly Counted[],
): Promise<void> {
  const changes = new Map<
    string,
    { camera_id: number; day: number; clips: number; bytes: number; duration_ms: number }
  >()
  const change = ({ camera_id, at_ms, bytes, duration_ms }: Counted, by: 1 | -1) => {
    const day = Math.floor(at_ms / DAY_MS)
    const key = `${camera_id} ${day}`
    const it = changes.get(key) ?? { camera_id, day, clips: 0, bytes: 0, duration_ms: 0 }
    changes.set(key, it)
    it.clips += by
    it.bytes += by * bytes
    it.duration_ms += by * Math.round(duration_ms)
  }
  for (const row of added) change(row, 1)
  for (const row of removed) change(row, -1)
  const rows = [...changes.values()].sort((a, b) => a.camera_id - b.camera_id || a.day - b.day)
  for (let at = 0; at < rows.length; at += ROWS_A_STATEMENT)
    await db
      .insertInto('clip_days')
      .values(rows.slice(at, at + ROWS_A_STATEMENT))
      .onConflict((it) =>
        it
          .columns(['camera_id', 'day'])
          .doUpdateSet(
            Object.fromEntries(
              ['clips', 'bytes', 'duration_ms'].map((name) => [
                name,
                sql`${sql.ref(`clip_days.${name}`)} + ${sql.ref(`excluded.${name}`)}`,
              ]),
            ),
          ),
      )
      .execute()
  if (removed.length > 0) await db.deleteFrom('clip_days').where('clips', '=', 0).execute()
}

/** Of two announcements of a camera the later one holds, whichever comes first. */
export async function applyKept(
  db: Kysely<Tables>,
  kept: readonly Kept[],
  cameraId: (camera: Kept) => number,
  subscriber: string,
): Promise<void> {
  const newest = new Map<number, Kept>()
  for (const it of kept) {
    if (it.error) continue // nothing changed
    const id = cameraId(it)
    if ((newest.get(id)?.atMs ?? -1) <= it.atMs) newest.set(id, it)
  }
  for (const [camera_id, { atMs, stretches }] of [...newest].sort(([a], [b]) => a - b))
    await db
      .insertInto('keeps')
      .values({ camera_id, subscriber, at_ms: atMs, stretches_json: JSON.stringify(stretches) })
      .onConflict((it) =>
        it
          .columns(['camera_id', 'subscriber'])
          .doUpdateSet({ at_ms: atMs, stretches_json: JSON.stringify(stretches) })
          .where('keeps.at_ms', '<=', atMs),
      )
      .execute()
}

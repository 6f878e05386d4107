import { type Kysely, PostgresAdapter, sql } from 'kysely'
import type { Tables } from './tables.ts'

/**
 * A first picture is superseded while a best one of the same camera and track is there: searches and counts pass it over. What is
 * superseded follows from the rows alone, in whatever order they came and went.
 */

const TRACKS_A_STATEMENT = 500

/** What it needs of rows that came or went. */
export interface Shot {
  readonly camera_id: number
  readonly track: Uint8Array | null
  readonly shot: 'first' | 'best' | null
}

/** A picture that is counted from now on, or no longer. */
export interface Turned {
  readonly at_ms: number
  readonly id: Uint8Array
  readonly camera_id: number
  readonly masked: 0 | 1 | null
}

/** @returns those that are hidden now, and those that show again: for the counts */
export async function supersede(
  db: Kysely<Tables>,
  added: readonly Shot[],
  removed: readonly Shot[],
): Promise<{ readonly hidden: readonly Turned[]; readonly shown: readonly Turned[] }> {
  const came = tracksOf(added.filter(({ shot }) => shot !== null))
  const went = tracksOf(removed.filter(({ shot }) => shot === 'best'))
  if (came.length + went.length === 0) return { hidden: [], shown: [] }
  await inTurn(db)
  const best = await bestOf(db, [...came, ...went])
  const hidden = (await firstsOf(db, came, 0)).filter((it) => best.has(nameOf(it)))
  const shown = (await firstsOf(db, went, 1)).filter((it) => !best.has(nameOf(it)))
  return { hidden: await mark(db, hidden, 1), shown: await mark(db, shown, 0) }
}

/** Any number, of this alone. */
const ADVISORY_LOCK = 7_310_016

/**
 * On PostgreSQL others write at the same time (retention beside the indexer): one would hide a picture behind a best one, or
 * give it an attribute, that the other takes away. Until its commit, only one of them looks. SQLite has one writer.
 */
export async function inTurn(db: Kysely<Tables>): Promise<void> {
  if (db.getExecutor().adapter instanceof PostgresAdapter)
    await sql`select pg_advisory_xact_lock(${sql.lit(ADVISORY_LOCK)})`.execute(db)
}

/** In one order: two programs that write the same rows never wait for each other in a circle. */
function tracksOf(rows: readonly Shot[]): Uint8Array[] {
  const tracks = new Map<string, Uint8Array>()
  for (const { track } of rows) if (track) tracks.set(Buffer.from(track).toString('hex'), track)
  return [...tracks].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, track]) => track)
}

/** A device does not hide what another has seen, whatever it calls its tracks. */
const nameOf = ({ camera_id, track }: Pick<Shot, 'camera_id' | 'track'>) =>
  `${camera_id} ${track ? Buffer.from(track).toString('hex') : ''}`

/** Literally, since an index of a part of the table is taken for nothing else. */
async function bestOf(db: Kysely<Tables>, tracks: readonly Uint8Array[]): Promise<ReadonlySet<string>> {
  const names = new Set<string>()
  for (let at = 0; at < tracks.length; at += TRACKS_A_STATEMENT)
    for (const row of await db
      .selectFrom('detections')
      .select(['camera_id', 'track'])
      .distinct()
      .where('track', 'in', tracks.slice(at, at + TRACKS_A_STATEMENT))
      .where('shot', '=', sql.lit('best'))
      .execute())
      names.add(nameOf(row))
  return names
}

type First = Turned & Shot & { readonly attributes_json: string | null }

async function firstsOf(
  db: Kysely<Tables>,
  tracks: readonly Uint8Array[],
  superseded: 0 | 1,
): Promise<First[]> {
  const firsts: First[] = []
  for (let at = 0; at < tracks.length; at += TRACKS_A_STATEMENT)
    firsts.push(
      ...(await db
        .selectFrom('detections')
        .select(['at_ms', 'id', 'camera_id', 'masked', 'track', 'shot', 'attributes_json'])
        .where('track', 'in', tracks.slice(at, at + TRACKS_A_STATEMENT))
        .where('shot', '=', sql.lit('first'))
        .where('superseded', '=', superseded)
        .orderBy('at_ms')
        .orderBy('id')
        .execute()),
    )
  return firsts
}

/** @returns those that were still there, and the other way round: what another has removed meanwhile is not counted twice */
async function mark(db: Kysely<Tables>, rows: readonly First[], superseded: 0 | 1): Promise<First[]> {
  const marked: First[] = []
  for (let at = 0; at < rows.length; at += TRACKS_A_STATEMENT) {
    const part = rows.slice(at, at + TRACKS_A_STATEMENT)
    const ids = part.map(({ id }) => id)
    const changed = await db
      .updateTable('detections')
      .set({ superseded })
      .where('id', 'in', ids)
      .where('superseded', '=', superseded === 1 ? 0 : 1)
      .returning('id')
      .execute()
    const there = new Set(changed.map(({ id }) => Buffer.from(id).toString('hex')))
    marked.push(...part.filter(({ id }) => there.has(Buffer.from(id).toString('hex'))))
    await db.updateTable('reviews').set({ superseded }).where('id', 'in', ids).execute()
    for (const { at_ms, id, attributes_json } of part)
      if (attributes_json !== null) await markAttributes(db, { at_ms, id }, attributes_json, superseded)
  }
  return marked
}

async function markAttributes(
  db: Kysely<Tables>,
  { at_ms, id }: Pick<Turned, 'at_ms' | 'id'>,
  json: string,
  superseded: 0 | 1,
): Promise<void> {
  const names = [...new Set((JSON.parse(json) as { name: string }[]).map(({ name }) => name))]
  await db
    .updateTable('detection_attributes')
    .set({ superseded })
    .where('attribute_id', 'in', (it) =>
      it.selectFrom('attributes').select('attributes.id').where('name', 'in', names),
    )
    .where('at_ms', '=', at_ms)
    .where('id', '=', id)
    .execute()
}

import { type Kysely, type RawBuilder, sql } from 'kysely'
import {
  cursorOf,
  type Detection,
  type DetectionFilter,
  type NamedAttribute,
  type Page,
  type PageQuery,
  readCursor,
} from './detection.ts'
import type { Engine } from './migrations.ts'
import { cameraIds } from './places.ts'
import { detectionOf, flagOf, idBytes, idText } from './rows.ts'
import type { Scope } from './scope.ts'
import type { Tables } from './tables.ts'

/**
 * Pages of detections by filter, along an index that gives them in their order: of all, of each camera that is asked for, of
 * an attribute, of a user's reviews, of photos, of cameras with zones, or of a track. The other conditions are looked at entry by entry; each such
 * index holds what they need (`detections_search` and its like), so that only rows that are shown are read. A search whose
 * conditions few entries meet goes on in growing steps until its time is over, and then says how far it came.
 */

/** After which no further step begins. */
const SEARCH_MS_MAX = 15
const STEP_ROWS_FIRST = 2000
const STEP_ROWS_MAX = 30_000
const STEP_GROWTH = 4
/** An index is entered at most so often in one statement, once for each camera. */
const BRANCHES_MAX = 128
/** Entries of more cameras than this are picked out of those of all, where most of these are theirs. */
const FEW_BRANCHES = 32
const KEYS_A_STATEMENT = 500

interface Key {
  readonly at_ms: number
  readonly id: Uint8Array
}

/** Between two keys: its id is empty, or another's. */
interface Bound {
  readonly atMs: number
  readonly id: Uint8Array
}

interface Search {
  /** What is gone along, as `d`: at_ms, id, camera_id, masked, score and size are in it. */
  readonly along: RawBuilder<unknown>
  /** One for each entry into the index: what its first columns are. */
  readonly branches: readonly RawBuilder<unknown>[]
  /** A detection may be in more than one of them. */
  readonly overlapping: boolean
  /** What is looked at entry by entry. */
  readonly others: readonly RawBuilder<unknown>[]
  /** So is this, which most entries meet: a search for nothing else needs no steps. */
  readonly mostly: readonly RawBuilder<unknown>[]
  /** So few entries that they are looked at in one go. */
  readonly few: boolean
}

export async function searchPage(
  db: Kysely<Tables>,
  engine: Engine,
  { filter, scope, before, after, limit, searchMsMax = SEARCH_MS_MAX }: PageQuery,
  signal?: AbortSignal,
): Promise<Page> {
  const startedMs = performance.now()
  const search = await plan(db, engine, filter, scope)
  if (!search) return { detections: [] }
  const older = after === undefined
  let low: Bound = { atMs: filter.fromMs ?? 0, id: Buffer.alloc(0) }
  let high: Bound = { atMs: filter.beforeMs ?? Number.MAX_SAFE_INTEGER, id: Buffer.alloc(0) }
  if (before !== undefined) high = olderOf(high, boundOf(before))
  if (after !== undefined) low = newerOf(low, boundOf(after))
  const keys: Key[] = []
  let stoppedAt: Key | undefined
  for (let rows = STEP_ROWS_FIRST; ; rows = Math.min(rows * STEP_GROWTH, STEP_ROWS_MAX)) {
    signal?.throwIfAborted()
    const stepped = search.others.length > 0 && !search.few
    const end = stepped ? await stepEnd(db, search, low, high, older, rows) : undefined
    keys.push(...(await keysWithin(db, search, low, high, older, end, limit + 1 - keys.length)))
    if (keys.length > limit || !end) break
    if (older) high = boundOfKey(end)
    else low = boundOfKey(end)
    if (performance.now() - startedMs > searchMsMax) {
      stoppedAt = end
      break
    }
  }
  const more = keys.length > limit
  const shown = keys.slice(0, limit)
  const detections = await detectionsOf(db, shown)
  const next = more ? shown.at(-1) : stoppedAt
  return {
    detections: older ? detections : detections.reverse(),
    ...(next && { next: cursorOf({ atMs: next.at_ms, id: idText(next.id) }) }),
    ...(!more && stoppedAt && { searchedToMs: stoppedAt.at_ms }),
  }
}

/** @returns undefined where nothing can match */
async function plan(
  db: Kysely<Tables>,
  engine: Engine,
  filter: DetectionFilter,
  scope: Scope,
): Promise<Search | undefined> {
  const { track, masked, scoreMin, scoreMax, sizeMin, reviewed, file, zone, attribute, storedAtMsMax } =
    filter
  const cameras = await cameraIds(db, scope, filter)
  if (cameras?.length === 0) return undefined
  const named = attribute && [attribute, ...(attribute.or ?? [])]
  const known = named && (await attributeIds(db, named))
  if (known?.length === 0) return undefined
  // Of a name with a label for each face (what a plugin reads off them), the index would be entered once for each.
  const attributes = known && known.length <= BRANCHES_MAX ? known : undefined

  const others: RawBuilder<unknown>[] = []
  if (masked === null) others.push(sql`d.masked is null`)
  else if (masked !== undefined) others.push(sql`d.masked = ${flagOf(masked)}`)
  if (scoreMin !== undefined) others.push(sql`d.score >= ${scoreMin}`)
  if (scoreMax !== undefined) others.push(sql`d.score <= ${scoreMax}`)
  if (storedAtMsMax !== undefined) others.push(sql`d.stored_at_ms <= ${storedAtMsMax}`)
  if (sizeMin !== undefined) others.push(sql`d.size >= ${sizeMin}`)
  // The sign keeps SQLite from another index than the one that is gone along.
  const ofCameras = cameras ? [sql`+d.camera_id in (${sql.join(cameras)})`] : []
  // Asked for each entry: as "exists", PostgreSQL would first gather all marks of the user, for a page of fifty.
  const has = (asked: RawBuilder<unknown>) => sql`(${asked} limit 1) is not null`
  const isSure = (score: RawBuilder<unknown>) => sql`${score} >= ${attribute?.scoreMin ?? 0}`
  const ofAttributes = attributes
    ? [
        has(sql`select 1 from detection_attributes as a
          where a.attribute_id in (${sql.join(attributes)}) and a.at_ms = d.at_ms and a.id = d.id
            and ${isSure(sql`a.attribute_score`)}`),
      ]
    : named
      ? [
          has(sql`select 1 from detections as t, ${elementsOf(engine, sql`t.attributes_json`)} as j
            where t.at_ms = d.at_ms and t.id = d.id
              and ${anyAttribute(named, sql`j.value ->> 'name'`, sql`j.value ->> 'label'`)}
              and ${isSure(sql`cast(j.value ->> 'score' as double precision)`)}`),
        ]
      : []
  const marked =
    reviewed &&
    has(sql`select 1 from reviews as r where r."user" = ${reviewed.by} and r.at_ms = d.at_ms and r.id = d.id`)
  const ofReviews = marked ? [reviewed.is ? marked : sql`not (${marked})`] : []
  const fileLike = file === undefined ? undefined : `%${file.toLowerCase().replace(/[\\%_]/g, '\\$&')}%`
  const ofFile =
    fileLike === undefined
      ? []
      : [
          has(sql`select 1 from detections as f
            where f.at_ms = d.at_ms and f.id = d.id and lower(f.file) like ${fileLike} escape '\\'`),
        ]
  // Zones have names, in which nothing is escaped. LIKE would take "Door" for "door" on SQLite.
  const isInZone = (zones: RawBuilder<unknown>) =>
    sql`replace(${zones}, ${JSON.stringify(zone)}, '') <> ${zones}`
  const ofZone =
    zone === undefined
      ? []
      : [
          has(sql`select 1 from detections as z
            where z.at_ms = d.at_ms and z.id = d.id and ${isInZone(sql`z.zones_json`)}`),
        ]
  /** SQLite goes along the index that it is told; PostgreSQL knows from its statistics. */
  const detections = (index: string) =>
    engine === 'sqlite' ? sql`detections as d indexed by ${sql.ref(index)}` : sql`detections as d`
  const mostly = filter.superseded ? [] : [sql`d.superseded = 0`]
  const search = { overlapping: false, few: false, mostly }

  if (track !== undefined)
    return {
      ...search,
      along: detections('detections_by_track'),
      branches: [sql`d.track = ${idBytes(track)}`],
      others: [...others, ...ofCameras, ...ofAttributes, ...ofReviews, ...ofFile, ...ofZone],
      few: true,
    }
  if (attributes)
    return {
      ...search,
      along: sql`detection_attributes as d`,
      branches: attributes.map((id) => sql`d.attribute_id = ${id}`),
      overlapping: attributes.length > 1,
      others: [
        ...others,
        ...ofCameras,
        ...ofReviews,
        ...ofFile,
        ...ofZone,
        ...(attribute?.scoreMin === undefined ? [] : [isSure(sql`d.attribute_score`)]),
      ],
    }
  if (reviewed?.is)
    return {
      ...search,
      along: sql`reviews as d`,
      branches: [sql`d."user" = ${reviewed.by}`],
      others: [...others, ...ofCameras, ...ofAttributes, ...ofFile, ...ofZone],
    }
  if (fileLike !== undefined)
    return {
      ...search,
      along: detections('detections_by_file'),
      branches: [sql`d.file is not null`],
      others: [
        ...others,
        ...ofCameras,
        ...ofAttributes,
        ...ofReviews,
        ...ofZone,
        sql`lower(d.file) like ${fileLike} escape '\\'`,
      ],
    }
  if (zone !== undefined)
    return {
      ...search,
      along: detections('detections_by_zone'),
      branches: [sql`d.zones_json is not null`],
      others: [...others, ...ofCameras, ...ofAttributes, ...ofReviews, isInZone(sql`d.zones_json`)],
    }
  if (cameras && (cameras.length <= FEW_BRANCHES || !(await areMost(db, cameras))))
    return {
      ...search,
      along: detections('detections_search_camera'),
      branches: cameras.map((id) => sql`d.camera_id = ${id}`),
      others: [...others, ...ofAttributes, ...ofReviews],
    }
  return {
    ...search,
    along: detections('detections_search'),
    branches: [sql`true`],
    others: [...others, ...ofCameras, ...ofAttributes, ...ofReviews],
  }
}

/** Or too many to enter the index for each. */
async function areMost(db: Kysely<Tables>, cameras: readonly number[]): Promise<boolean> {
  if (cameras.length > BRANCHES_MAX) return true
  const { all } = await db
    .selectFrom('cameras')
    .select(({ fn }) => fn.countAll<number>().as('all'))
    .executeTakeFirstOrThrow()
  return cameras.length * 2 > all
}

/** @returns one more than BRANCHES_MAX where there are more */
async function attributeIds(db: Kysely<Tables>, named: readonly NamedAttribute[]): Promise<number[]> {
  const { rows } = await sql<{ id: number }>`select id from attributes
    where ${anyAttribute(named, sql`name`, sql`label`)} order by id limit ${BRANCHES_MAX + 1}`.execute(db)
  return rows.map(({ id }) => id)
}

const anyAttribute = (
  named: readonly NamedAttribute[],
  name: RawBuilder<unknown>,
  label: RawBuilder<unknown>,
) =>
  sql`(${sql.join(
    named.map((it) =>
      it.label === undefined
        ? sql`${name} = ${it.name}`
        : sql`(${name} = ${it.name} and ${label} = ${it.label})`,
    ),
    sql` or `,
  )})`

const elementsOf = (engine: Engine, json: RawBuilder<unknown>) =>
  engine === 'sqlite' ? sql`json_each(${json})` : sql`json_array_elements(${json}::json)`

/** Where a step of so many entries ends, the last one included; undefined where all that there is fits into it. */
async function stepEnd(
  db: Kysely<Tables>,
  { along, branches }: Search,
  low: Bound,
  high: Bound,
  older: boolean,
  rows: number,
): Promise<Key | undefined> {
  const skip = Math.max(1, Math.floor(rows / branches.length)) - 1
  const ends = await sql<Key>`${sql.join(
    branches.map(
      (branch, n) => sql`select * from (
        select d.at_ms, d.id from ${along} where ${branch} and ${within(low, high)}
        order by ${inOrder('d', older)} limit 1 offset ${skip}) as ${sql.ref(`b${n}`)}`,
    ),
    sql` union all `,
  )}`.execute(db)
  // Each branch is looked through as far as its own end: all of them are so far as the first of these.
  return ends.rows.reduce<Key | undefined>(
    (first, end) => (!first || compareKeys(end, first) > 0 === older ? end : first),
    undefined,
  )
}

async function keysWithin(
  db: Kysely<Tables>,
  { along, branches, overlapping, others, mostly }: Search,
  low: Bound,
  high: Bound,
  older: boolean,
  end: Key | undefined,
  limit: number,
): Promise<readonly Key[]> {
  const toEnd = !end
    ? []
    : [
        older
          ? sql`(d.at_ms, d.id) >= (${end.at_ms}, ${end.id})`
          : sql`(d.at_ms, d.id) <= (${end.at_ms}, ${end.id})`,
      ]
  const range = end ? (older ? [below(high)] : [above(low)]) : [within(low, high)]
  const branchKeys = branches.map(
    (branch) => sql`select d.at_ms, d.id from ${along}
      where ${sql.join([branch, ...range, ...toEnd, ...mostly, ...others], sql` and `)}
      order by ${inOrder('d', older)} limit ${limit}`,
  )
  if (branchKeys.length === 1) return (await (branchKeys[0] as RawBuilder<Key>).execute(db)).rows
  const union = sql.join(
    branchKeys.map((branch, n) => sql`select * from (${branch}) as ${sql.ref(`b${n}`)}`),
    overlapping ? sql` union ` : sql` union all `,
  )
  return (
    await sql<Key>`select * from (${union}) as u order by ${inOrder('u', older)} limit ${limit}`.execute(db)
  ).rows
}

const below = ({ atMs, id }: Bound) => sql`(d.at_ms, d.id) < (${atMs}, ${id})`
const above = ({ atMs, id }: Bound) => sql`(d.at_ms, d.id) > (${atMs}, ${id})`
const within = (low: Bound, high: Bound) => sql`${above(low)} and ${below(high)}`
const inOrder = (table: 'd' | 'u', older: boolean) =>
  older
    ? sql`${sql.ref(`${table}.at_ms`)} desc, ${sql.ref(`${table}.id`)} desc`
    : sql`${sql.ref(`${table}.at_ms`)}, ${sql.ref(`${table}.id`)}`

function boundOf(cursor: string): Bound {
  const place = readCursor(cursor)
  if (!place) throw new TypeError(`not a cursor: ${cursor}`)
  return { atMs: place.atMs, id: idBytes(place.id) }
}

const boundOfKey = ({ at_ms, id }: Key): Bound => ({ atMs: at_ms, id })
const compareKeys = (a: Key, b: Key) => a.at_ms - b.at_ms || Buffer.compare(a.id, b.id)
const compareBounds = (a: Bound, b: Bound) => a.atMs - b.atMs || Buffer.compare(a.id, b.id)
const olderOf = (a: Bound, b: Bound) => (compareBounds(a, b) < 0 ? a : b)
const newerOf = (a: Bound, b: Bound) => (compareBounds(a, b) > 0 ? a : b)

/** In the order of the keys; without those that are gone meanwhile. */
export async function detectionsOf(
  db: Kysely<Tables>,
  keys: readonly { id: Uint8Array }[],
): Promise<Detection[]> {
  const byId = new Map<string, Detection>()
  for (let at = 0; at < keys.length; at += KEYS_A_STATEMENT) {
    const rows = await db
      .selectFrom('detections')
      .innerJoin('cameras', 'cameras.id', 'detections.camera_id')
      .selectAll('detections')
      .select(['cameras.site', 'cameras.device', 'cameras.camera'])
      .where(
        'detections.id',
        'in',
        keys.slice(at, at + KEYS_A_STATEMENT).map(({ id }) => id),
      )
      .execute()
    for (const row of rows) {
      const detection = detectionOf(row)
      byId.set(detection.id, detection)
    }
  }
  return keys.map(({ id }) => byId.get(idText(id))).filter((it) => it !== undefined)
}

/** Days since 1970 (UTC) with hidden pictures of these cameras. */
export async function supersededDays(db: Kysely<Tables>, cameras: readonly number[]): Promise<number[]> {
  const { rows } = await sql<{ day: number }>`select distinct at_ms / 86400000 as day from detections
    where superseded = 1 and camera_id in (${sql.join(cameras)})`.execute(db)
  return rows.map(({ day }) => Number(day))
}

/** The newest of each of these cameras. */
export async function newestOf(
  db: Kysely<Tables>,
  cameras: readonly number[],
): Promise<readonly Detection[]> {
  const keys: Key[] = []
  for (let at = 0; at < cameras.length; at += BRANCHES_MAX) {
    const { rows } = await sql<Key>`${sql.join(
      cameras.slice(at, at + BRANCHES_MAX).map(
        (id, n) => sql`select * from (
          select d.at_ms, d.id from detections as d where d.camera_id = ${id} and d.superseded = 0
          order by d.at_ms desc, d.id desc limit 1) as ${sql.ref(`b${n}`)}`,
      ),
      sql` union all `,
    )}`.execute(db)
    keys.push(...rows)
  }
  return detectionsOf(
    db,
    keys.sort((a, b) => compareKeys(b, a)),
  )
}

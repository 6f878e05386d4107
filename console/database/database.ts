import { writeFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { Kysely, type Transaction } from 'kysely'
import { asFailure, type SightlineError } from '../../lib/errors.ts'
import { type AnyKind, CLIP, CROP } from '../../wire/kinds.ts'
import { objectKey } from '../../wire/object-key.ts'
import type { Announcement, Stored } from '../../wire/stored.ts'
import { type Applied, applyAnnouncements, type KnownCameras, sweepRows } from './announcements.ts'
import { countDetections } from './counts.ts'
import {
  type CameraRow,
  type Count,
  type CountsQuery,
  cursorOf,
  type Detection,
  type DetectionFilter,
  PAGE_LIMIT_MAX,
  type Page,
  type PageQuery,
  type Totals,
} from './detection.ts'
import { type KnownAttribute, knownAttributes } from './known-attributes.ts'
import { type Engine, migrate } from './migrations.ts'
import { cameraIds, listCameras } from './places.ts'
import { placeOf, postgresDialect } from './postgres.ts'
import { idBytes, idText } from './rows.ts'
import { EVERYTHING, inScope, type Scope } from './scope.ts'
import { detectionsOf, newestOf, searchPage, supersededDays } from './search.ts'
import { type Damage, damageMark, openSqlite } from './sqlite/open.ts'
import type { Tables } from './tables.ts'

export type DatabaseOptions =
  | {
      readonly type: 'sqlite'
      /** Its folder is made where it does not exist. */
      readonly file: string
    }
  | {
      readonly type: 'postgres'
      /** `postgres://user@host:port/database` */
      readonly url: string
      readonly password?: string
      readonly connectionsMax?: number
      readonly queryMsMax?: number
    }

/** Transactions that another program's got in the way of. */
const TRIES_MAX = 5
const TRY_AGAIN_MS = 50
/** What expired leaves in small transactions, and others get in between. */
const SWEEP_ROWS = 2000
const SWEEP_PAUSE_MS = 20
/** Queues on the way keep a message for up to 30 days. */
const REMOVED_AGE_MS_MAX = 35 * 24 * 3_600_000
const OBJECTS_A_STATEMENT = 1000
const EXPORT_SEARCH_MS_MAX = 200
const NEIGHBOUR_SEARCH_MS_MAX = 20

/** An object that the database knows of. */
export interface IndexedObject {
  readonly id: string
  readonly key: string
  readonly atMs: number
  readonly storedAtMs: number
  readonly bytes: number
}

interface Opened {
  readonly engine: Engine
  readonly description: string
  readonly read: Kysely<Tables>
  readonly write: Kysely<Tables>
  readonly damage?: Damage
  readonly file?: string
}

/**
 * The console's database: an index of the bucket, which can be built anew, and what people keep in it (tokens, shares, audit,
 * reviews). The same tables and queries on SQLite, whose calls are made in threads, and on PostgreSQL.
 *
 * Errors of all methods: DATABASE_UNREACHABLE, DATABASE_DENIED, DATABASE_TIMEOUT, DATABASE_BUSY (too many wait),
 * DATABASE_DAMAGED, DATABASE_REFUSED, DISK_FULL.
 */
export class Database implements AsyncDisposable {
  readonly engine: Engine
  /** For people; without a password. */
  readonly description: string
  /** Set where the file was damaged and is a new one: reindex must fill it. */
  readonly damage: Damage | undefined
  /** For queries of one's own: what only reads ... */
  readonly read: Kysely<Tables>
  /** ... and what writes, or must see what was just written. One transaction at a time on SQLite: keep it short. */
  readonly write: Kysely<Tables>
  readonly #file: string | undefined
  readonly #cameras: KnownCameras = new Map()
  readonly #closing = new AbortController()
  readonly #toSweep = new Set<string>()
  #sweeping: Promise<void> | undefined
  #fault: SightlineError | undefined

  private constructor({ engine, description, read, write, damage, file }: Opened) {
    this.engine = engine
    this.description = description
    this.read = read
    this.write = write
    this.damage = damage
    this.#file = file
  }

  /**
   * Opens it, and brings its schema up to date.
   * Errors: DATABASE_NEWER, DATABASE_NOT_FOUND, and those of all methods.
   */
  static async open(options: DatabaseOptions): Promise<Database> {
    if (options.type === 'sqlite') {
      const { file, ...opened } = await openSqlite(options.file)
      return new Database({ engine: 'sqlite', description: `SQLite ${file}`, file, ...opened })
    }
    let database: Database | undefined
    const dialect = await postgresDialect(options, (error) => {
      if (database) database.#fault = error
    })
    const db = new Kysely<Tables>({ dialect })
    try {
      await migrate(db, 'postgres')
    } catch (error) {
      await db.destroy()
      throw error
    }
    database = new Database({
      engine: 'postgres',
      description: `PostgreSQL ${placeOf(options.url)}`,
      read: db,
      write: db,
    })
    return database
  }

  /** What is wrong, for health; undefined: it answers. Asks the database. */
  async ailment(): Promise<SightlineError | undefined> {
    if (this.#fault?.code === 'DATABASE_DAMAGED') return this.#fault
    try {
      await this.read.selectFrom('progress').select('name').limit(1).execute()
      this.#fault = undefined
    } catch (error) {
      this.#fault = asFailure(error)
    }
    return this.#fault
  }

  /**
   * Resolves when it is safe on disk. In one transaction, idempotent by id, in any order: what was removed is not brought
   * back by a 'stored' that comes later.
   * @param within what else belongs to it: in the same transaction, each time that it is tried
   */
  async apply(
    announcements: readonly Announcement[],
    subscriber: string,
    within?: (transaction: Transaction<Tables>, applied: Applied) => Promise<void>,
  ): Promise<Applied> {
    const applied = await this.#apply(announcements, subscriber, false, within)
    if (announcements.some(({ is }) => is === 'expired')) this.#sweep(subscriber)
    return applied
  }

  /** Puts in what the bucket has, also where it was said to be removed: for who has just seen it there. */
  restore(stored: readonly Stored[], subscriber: string): Promise<Applied> {
    return this.#apply(stored, subscriber, true)
  }

  async #apply(
    announcements: readonly Announcement[],
    subscriber: string,
    restored: boolean,
    within?: (transaction: Transaction<Tables>, applied: Applied) => Promise<void>,
  ): Promise<Applied> {
    const learnt: KnownCameras = new Map()
    const applied = await this.#transaction(async (db) => {
      learnt.clear()
      const changed = await applyAnnouncements(
        db,
        announcements,
        subscriber,
        { known: this.#cameras, learnt },
        Date.now(),
        restored,
      )
      await within?.(db, changed)
      return changed
    })
    for (const [path, id] of learnt) this.#cameras.set(path, id)
    return applied
  }

  /** Resolves when all that has expired so far is deleted, which goes on behind `apply`. Call it once at the start. */
  async swept(): Promise<void> {
    if (!this.#sweeping) {
      const rows = await this.read.selectFrom('horizons').select('subscriber').execute()
      for (const { subscriber } of rows) this.#sweep(subscriber)
    }
    await this.#sweeping
  }

  #sweep(subscriber: string): void {
    this.#toSweep.add(subscriber)
    this.#sweeping ??= this.#sweepAll().finally(() => {
      this.#sweeping = undefined
    })
  }

  async #sweepAll(): Promise<void> {
    const { signal } = this.#closing
    for (const subscriber of this.#toSweep)
      try {
        while (
          !signal.aborted &&
          (await this.#transaction((db) => sweepRows(db, subscriber, SWEEP_ROWS))) > 0
        )
          await sleep(SWEEP_PAUSE_MS, undefined, { signal })
        await this.write
          .deleteFrom('removed')
          .where('removed_at_ms', '<', Date.now() - REMOVED_AGE_MS_MAX)
          .execute()
        this.#toSweep.delete(subscriber)
      } catch (error) {
        if (signal.aborted) return
        this.#toSweep.delete(subscriber) // the next day's announcement, or the next start, goes on
        this.#fault = asFailure(error)
      }
  }

  async page(query: PageQuery, signal?: AbortSignal): Promise<Page> {
    return this.#reading(() => searchPage(this.read, this.engine, query, signal))
  }

  /** undefined: not there, or not in scope. */
  async detection(id: string, scope: Scope): Promise<Detection | undefined> {
    const [detection] = await this.#reading(() => detectionsOf(this.read, [{ id: idBytes(id) }]))
    return detection && inScope(scope, detection) ? detection : undefined
  }

  /** Crops of the same track, oldest first, at most PAGE_LIMIT_MAX. */
  async track(track: string, scope: Scope): Promise<readonly Detection[]> {
    const { detections } = await this.page({ filter: { track }, scope, limit: PAGE_LIMIT_MAX })
    return detections.toReversed()
  }

  /** The next newer and the next older that the filter takes, as far as they are found in a moment. */
  async neighbours(
    { id, atMs }: Pick<Detection, 'id' | 'atMs'>,
    filter: DetectionFilter,
    scope: Scope,
  ): Promise<{ readonly newer?: Detection; readonly older?: Detection }> {
    const cursor = cursorOf({ atMs, id })
    const beside = { filter, scope, limit: 1, searchMsMax: NEIGHBOUR_SEARCH_MS_MAX }
    const [after, before] = await Promise.all([
      this.page({ ...beside, after: cursor }),
      this.page({ ...beside, before: cursor }),
    ])
    const [newer] = after.detections
    const [older] = before.detections
    return { ...(newer && { newer }), ...(older && { older }) }
  }

  /** All that match, newest first, page by page: any number, in constant memory. */
  async *export(
    filter: DetectionFilter,
    scope: Scope,
    signal?: AbortSignal,
  ): AsyncGenerator<readonly Detection[]> {
    let before: string | undefined
    do {
      const page: Page = await this.page(
        {
          filter,
          scope,
          limit: PAGE_LIMIT_MAX,
          searchMsMax: EXPORT_SEARCH_MS_MAX,
          ...(before !== undefined && { before }),
        },
        signal,
      )
      if (page.detections.length > 0) yield page.detections
      before = page.next
    } while (before !== undefined)
  }

  counts(query: CountsQuery): Promise<readonly Count[]> {
    return this.#reading(() => countDetections(this.read, query))
  }

  /** Of whole hours, days, ...: as `counts`, together. */
  async totals(query: Omit<CountsQuery, 'split'>): Promise<Totals> {
    const totals = { count: 0, masked: 0, unmasked: 0 }
    for (const { count, masked } of await this.counts({ ...query, split: 'masked' })) {
      totals.count += count
      if (masked === true) totals.masked += count
      if (masked === false) totals.unmasked += count
    }
    return totals
  }

  /** By their names. */
  cameras(scope: Scope): Promise<readonly CameraRow[]> {
    return this.#reading(async () => (await listCameras(this.read, scope)).map(({ id, ...camera }) => camera))
  }

  /** What classifiers and plugins have said of what is seen. */
  attributes(scope: Scope): Promise<readonly KnownAttribute[]> {
    return this.#reading(() => knownAttributes(this.read, scope))
  }

  /** The newest of each camera, the newest first. */
  newest(scope: Scope): Promise<readonly Detection[]> {
    return this.#reading(async () => {
      const ids = scope.all
        ? (await listCameras(this.read, scope)).map(({ id }) => id)
        : ((await cameraIds(this.read, scope, {})) ?? [])
      return newestOf(this.read, ids)
    })
  }

  /** Which of these ids are there. */
  which(ids: readonly string[]): Promise<ReadonlySet<string>> {
    return this.#reading(async () => {
      const there = new Set<string>()
      for (let at = 0; at < ids.length; at += OBJECTS_A_STATEMENT)
        for (const table of ['detections', 'clips'] as const) {
          const rows = await this.write
            .selectFrom(table)
            .select('id')
            .where('id', 'in', ids.slice(at, at + OBJECTS_A_STATEMENT).map(idBytes))
            .execute()
          for (const { id } of rows) there.add(idText(id))
        }
      return there
    })
  }

  /** What the database says of a camera's objects of a kind, from and before a time, oldest first; `site/device/camera`. */
  async *objects(
    camera: string,
    fromMs: number,
    beforeMs: number,
    kind: AnyKind = CROP,
  ): AsyncGenerator<IndexedObject> {
    const [cameraId] =
      (await cameraIds(this.read, { all: false, sites: [], cameras: [camera] }, { cameras: [camera] })) ?? []
    if (cameraId === undefined) return
    const [site = '', device = '', name = ''] = camera.split('/')
    let after: { at_ms: number; id: Uint8Array } = { at_ms: fromMs, id: Buffer.alloc(0) }
    for (;;) {
      const rows = await this.#reading(() =>
        this.read
          .selectFrom(kind === CLIP ? 'clips' : 'detections')
          .select(['at_ms', 'id', 'key', 'bytes', 'stored_at_ms'])
          .where('camera_id', '=', cameraId)
          .where(({ eb, refTuple, tuple }) => eb(refTuple('at_ms', 'id'), '>', tuple(after.at_ms, after.id)))
          .where('at_ms', '<', beforeMs)
          .orderBy('at_ms')
          .orderBy('id')
          .limit(OBJECTS_A_STATEMENT)
          .execute(),
      )
      for (const { at_ms, id, key, bytes, stored_at_ms } of rows) {
        const it = { id: idText(id), site, device, camera: name }
        yield {
          id: it.id,
          key: key ?? objectKey(it, at_ms, kind),
          atMs: at_ms,
          storedAtMs: stored_at_ms,
          bytes,
        }
      }
      const last = rows.at(-1)
      if (!last || rows.length < OBJECTS_A_STATEMENT) return
      after = last
    }
  }

  /** Days since 1970 (UTC) of which there is something of a kind of a camera. */
  async days(camera: string, kind: AnyKind = CROP): Promise<readonly number[]> {
    return this.#reading(async () => {
      const ids = await cameraIds(this.read, EVERYTHING, { cameras: [camera] })
      if (!ids || ids.length === 0) return []
      const rows = await this.read
        .selectFrom(kind === CLIP ? 'clip_days' : 'days')
        .select('day')
        .distinct()
        .where('camera_id', 'in', ids)
        .execute()
      const days = new Set(rows.map(({ day }) => day))
      // What is hidden is not counted, and is there all the same.
      if (kind !== CLIP) for (const day of await supersededDays(this.read, ids)) days.add(day)
      return [...days]
    })
  }

  /** Below it, a subscriber's bucket has nothing any more; 0: it never said so. */
  async horizon(subscriber: string): Promise<number> {
    const row = await this.read
      .selectFrom('horizons')
      .select('filed_before_ms')
      .where('subscriber', '=', subscriber)
      .executeTakeFirst()
    return row?.filed_before_ms ?? 0
  }

  /** What long work last said of itself. */
  async progress<Progress>(name: string): Promise<Progress | undefined> {
    const row = await this.write
      .selectFrom('progress')
      .select('progress_json')
      .where('name', '=', name)
      .executeTakeFirst()
    return row && (JSON.parse(row.progress_json) as Progress)
  }

  async saveProgress(name: string, progress: unknown): Promise<void> {
    const row = { at_ms: Date.now(), progress_json: JSON.stringify(progress) }
    await this.write
      .insertInto('progress')
      .values({ name, ...row })
      .onConflict((it) => it.column('name').doUpdateSet(row))
      .execute()
  }

  /** @returns how many marks are new; ids that are not there or not in scope are passed over */
  async review(user: string, ids: readonly string[], scope: Scope, atMs: number): Promise<number> {
    const cameras = await cameraIds(this.write, scope, {})
    if (ids.length === 0 || cameras?.length === 0) return 0
    return this.#transaction(async (db) => {
      let rows = db
        .selectFrom('detections')
        .select(['at_ms', 'id', 'camera_id', 'masked', 'score', 'size', 'superseded'])
        .where('id', 'in', ids.map(idBytes))
      if (cameras) rows = rows.where('camera_id', 'in', cameras)
      const found = await rows.execute()
      if (found.length === 0) return 0
      const marked = await db
        .insertInto('reviews')
        .values(found.map((row) => ({ ...row, user, reviewed_at_ms: atMs })))
        .onConflict((it) => it.doNothing())
        .returning('id')
        .execute()
      return marked.length
    })
  }

  /** @returns how many marks there were */
  async unreview(user: string, ids: readonly string[]): Promise<number> {
    if (ids.length === 0) return 0
    const gone = await this.write
      .deleteFrom('reviews')
      .where('user', '=', user)
      .where('id', 'in', ids.map(idBytes))
      .returning('id')
      .execute()
    return gone.length
  }

  /** Which of these the user has reviewed. */
  async reviewed(user: string, ids: readonly string[]): Promise<ReadonlySet<string>> {
    if (ids.length === 0) return new Set()
    const rows = await this.read
      .selectFrom('reviews')
      .select('id')
      .where('user', '=', user)
      .where('id', 'in', ids.map(idBytes))
      .execute()
    return new Set(rows.map(({ id }) => idText(id)))
  }

  /** Whole or not at all; again where another program's got in the way. */
  async #transaction<Result>(work: (db: Transaction<Tables>) => Promise<Result>): Promise<Result> {
    for (let tries = 1; ; tries += 1)
      try {
        return await this.write.transaction().execute(work)
      } catch (error) {
        if (asFailure(error).code !== 'DATABASE_BUSY' || tries >= TRIES_MAX) throw await this.#noted(error)
        await sleep(TRY_AGAIN_MS * tries)
      }
  }

  async #reading<Result>(work: () => Promise<Result>): Promise<Result> {
    try {
      return await work()
    } catch (error) {
      throw await this.#noted(error)
    }
  }

  /** Damage is remembered beside the file, for the next start; and for health until then. */
  async #noted(error: unknown): Promise<unknown> {
    const fault = asFailure(error)
    if (fault.code !== 'DATABASE_DAMAGED' || this.#fault?.code === 'DATABASE_DAMAGED') return error
    this.#fault = fault
    if (this.#file !== undefined)
      await writeFile(damageMark(this.#file), fault.message, { mode: 0o600 }).catch(() => {})
    return error
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort()
    await this.#sweeping?.catch(() => {})
    await this.read.destroy()
    if (this.write !== this.read) await this.write.destroy()
  }
}

import { access, constants, mkdir, readFile, rename, stat, unlink, writeFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { Kysely, sql } from 'kysely'
import { asFailure, failure, systemCode } from '../../../lib/errors.ts'
import { migrate } from '../migrations.ts'
import type { Tables } from '../tables.ts'
import { sqliteDialect } from './dialect.ts'

const READERS = 2
/** In a thread: what a page takes is bounded, and an export is made of pages. */
const QUERY_MS_MAX = 10_000
/** A transaction that waits for a checkpoint on a slow disk takes long, and is better waited for. */
const WRITE_MS_MAX = 120_000
/** Another process that writes (a command) is waited for. */
const BUSY_MS_MAX = 10_000
/** The system caches the file as well; this is what the program holds of it, for each connection. */
const READER_CACHE_KIB = 8 * 1024
const WRITER_CACHE_KIB = 16 * 1024
/** Of one table of a damaged file. */
const SAVED_ROWS_MAX = 1_000_000
const SAVED_ROWS_A_STATEMENT = 100

/** A damaged file that was moved aside when it was opened. */
export interface Damage {
  readonly movedTo: string
  readonly why: string
  /** Rows that were saved from it, by table (tokens, shares, audit, reviews, ...); detections come anew by reindex. */
  readonly saved: Readonly<Record<string, number>>
}

export interface SqliteDatabase {
  readonly file: string
  readonly read: Kysely<Tables>
  readonly write: Kysely<Tables>
  readonly damage: Damage | undefined
}

/** Beside the file: a query met damage, so the next start takes a new file. */
export const damageMark = (file: string) => `${file}.damage`

/** Errors: DATABASE_DENIED, DATABASE_NEWER, DISK_FULL, DATABASE_BUSY. Damage is no error: see `damage`. */
export async function openSqlite(path: string): Promise<SqliteDatabase> {
  const file = resolve(path)
  await makeFolder(file)
  const marked = await readFile(damageMark(file), 'utf8').catch(() => undefined)
  if (marked === undefined)
    try {
      return await openSound(file, undefined)
    } catch (error) {
      const { code, message } = asFailure(error)
      if (code !== 'DATABASE_DAMAGED') throw error
      return openAnew(file, message)
    }
  return openAnew(file, marked)
}

async function openSound(file: string, damage: Damage | undefined): Promise<SqliteDatabase> {
  const at = { file, busyMsMax: BUSY_MS_MAX }
  const write = new Kysely<Tables>({
    dialect: sqliteDialect({ ...at, writes: true, cacheKiB: WRITER_CACHE_KIB }, 1, WRITE_MS_MAX),
  })
  try {
    await migrate(write, 'sqlite')
  } catch (error) {
    await write.destroy()
    throw error
  }
  const read = new Kysely<Tables>({
    dialect: sqliteDialect({ ...at, writes: false, cacheKiB: READER_CACHE_KIB }, READERS, QUERY_MS_MAX),
  })
  return { file, read, write, damage }
}

async function openAnew(file: string, why: string): Promise<SqliteDatabase> {
  const movedTo = `${file}.damaged-${new Date().toISOString().replace(/[:.]/g, '-')}`
  // The log first: behind a new file of the same name, it would be taken for that one's.
  for (const suffix of ['-wal', '-shm', '']) {
    try {
      await rename(`${file}${suffix}`, `${movedTo}${suffix}`)
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') throw denied(file, error)
    }
  }
  const fresh = await openSound(file, undefined)
  const saved = await save(movedTo, fresh.write)
  await unlink(damageMark(file)).catch((error: unknown) => {
    if (systemCode(error) !== 'ENOENT') throw denied(file, error)
  })
  return { ...fresh, damage: { movedTo, why, saved } }
}

/** What the bucket does not have: what people made here. Sessions are not among it: they sign in again. */
const SAVED = [
  'tokens',
  'shares',
  'openid_users',
  'audit',
  'reviews',
  'removed',
  'horizons',
  'health_events',
  'documents',
  'document_revisions',
  'desired',
  'reported',
  'suspensions',
  'rule_states',
  'notices',
  'deliveries',
  'attempts',
  'notice_books',
  'push_subscriptions',
] as const

/** Row by row as far as they can be read: of a table whose pages are wrong, those in front of them. */
async function save(from: string, to: Kysely<Tables>): Promise<Record<string, number>> {
  const saved: Record<string, number> = {}
  let old: DatabaseSync
  try {
    old = new DatabaseSync(from, { readOnly: true })
  } catch {
    return saved // not a database at all
  }
  try {
    for (const table of SAVED) {
      const known = new Set(
        (await to.introspection.getTables())
          .find(({ name }) => name === table)
          ?.columns.map(({ name }) => name),
      )
      let rows: Record<string, unknown>[] = []
      let count = 0
      const keep = async () => {
        if (rows.length === 0) return
        const columns = Object.keys(rows[0] as object).filter(
          // Whether a picture is hidden shows when the pictures are there again.
          (name) => known.has(name) && name !== 'superseded',
        )
        await sql`insert into ${sql.table(table)} (${sql.join(columns.map((name) => sql.ref(name)))})
          values ${sql.join(
            rows.map((row) => sql`(${sql.join(columns.map((name) => row[name]))})`),
          )} on conflict do nothing`.execute(to)
        count += rows.length
        rows = []
      }
      try {
        for (const row of old.prepare(`select * from ${table} limit ${SAVED_ROWS_MAX}`).iterate()) {
          rows.push(row)
          if (rows.length >= SAVED_ROWS_A_STATEMENT) await keep()
        }
      } catch {
        // the damage: what came before it is kept
      }
      await keep().catch(() => {}) // rows that are none: no reason not to start
      if (count > 0) saved[table] = count
    }
  } finally {
    old.close()
  }
  return saved
}

async function makeFolder(file: string): Promise<void> {
  try {
    await mkdir(dirname(file), { recursive: true, mode: 0o700 })
    const there = await stat(file).catch(() => undefined)
    if (there?.isDirectory())
      throw failure('DATABASE_DENIED', `${file} is a folder. Name a file under "database.path".`)
    // SQLite would make its log and lock there; and in a file that may only be read, it fails with the first change.
    await access(dirname(file), constants.W_OK)
    if (there) await access(file, constants.R_OK | constants.W_OK)
    // With the rights of its owner only: it says who was where when, and SQLite's own files take them from this one.
    else await writeFile(file, '', { flag: 'a', mode: 0o600 })
  } catch (error) {
    throw asFailure(error).code === 'DATABASE_DENIED' ? error : denied(file, error)
  }
}

function denied(file: string, error: unknown): Error {
  const code = systemCode(error)
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return failure('DISK_FULL', `The disk of ${file} is full. Free some space and start again.`, error)
  return failure(
    'DATABASE_DENIED',
    `This user may not write the database ${file} (${code}). Change the owner of the file and its folder, or name another under "database.path".`,
    error,
  )
}

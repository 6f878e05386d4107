import { accessSync, constants, readdirSync, statSync } from 'node:fs'
import { basename, dirname, resolve } from 'node:path'
import { Kysely, sql } from 'kysely'
import type { ConsoleConfig } from '../../console/config.ts'
import { type Engine, pendingMigrations } from '../../console/database/migrations.ts'
import { placeOf, postgresDialect } from '../../console/database/postgres.ts'
import { sqliteDialect } from '../../console/database/sqlite/dialect.ts'
import { damageMark } from '../../console/database/sqlite/open.ts'
import type { Tables } from '../../console/database/tables.ts'
import { readSecret } from '../../lib/config.ts'
import { systemCode } from '../../lib/errors.ts'
import { isLoopback } from '../../lib/http/server.ts'
import { size } from '../../lib/table.ts'
import { type Finding, fail, failed, ok, timed, warn } from './finding.ts'
import { checkFolder, freeSpace } from './folders.ts'

/** The console's database: reached as the console does, and nothing in it is changed. */

const QUERY_MS_MAX = 10_000
const BUSY_MS_MAX = 5000
const CACHE_KIB = 2048
/** As the server says it: 12.0. */
const POSTGRES_VERSION_MIN = 120_000

type Config = ConsoleConfig['database']

export function checkDatabase(config: Config): Promise<Finding[]> {
  return config.type === 'sqlite' ? checkSqlite(config.path) : checkPostgres(config)
}

async function checkSqlite(path: string): Promise<Finding[]> {
  const file = resolve(path)
  const what = `database ${path}`
  const folder = await checkFolder(what, dirname(file), 'database.path')
  if (folder.some(({ level }) => level === 'FAIL')) return folder
  const findings = [...folder, freeSpace(what, dirname(file), 0)]
  if (has(damageMark(file)))
    findings.push(
      warn(
        what,
        'damage was found in it',
        'Restart the console: it moves the file aside, keeps what it can read, and fills a new one from the bucket.',
      ),
    )
  const aside = `${basename(file)}.damaged-`
  for (const name of has(dirname(file)) ? readdirSync(dirname(file)) : [])
    if (name.startsWith(aside) && !/-(wal|shm)$/.test(name))
      findings.push(
        warn(
          what,
          `a damaged one was moved aside: ${name}`,
          'Check the disk. Detections come back with "sightline console reindex"; then delete that file, and this is gone.',
        ),
      )
  if (!has(file)) return [...findings, ok(what, 'does not exist yet: the console makes it')]
  try {
    accessSync(file, constants.R_OK | constants.W_OK)
    const db = new Kysely<Tables>({
      dialect: sqliteDialect(
        { file, writes: false, busyMsMax: BUSY_MS_MAX, cacheKiB: CACHE_KIB },
        1,
        QUERY_MS_MAX,
      ),
    })
    try {
      const schema = await schemaOf(db, 'sqlite')
      findings.push(ok(what, `readable, ${size(statSync(file).size)}; ${schema}`))
    } finally {
      await db.destroy()
    }
  } catch (error) {
    findings.push(
      systemCode(error) === 'EACCES'
        ? fail(
            what,
            'this user may not read and write it',
            `Run this as the console's user, or give it the file: sudo chown ${process.getuid?.() ?? 'USER'} ${file}*`,
          )
        : failed(
            what,
            error,
            'See docs/console.md; the bucket has all detections, and reindex brings them back.',
          ),
    )
  }
  return findings
}

async function checkPostgres(config: Extract<Config, { type: 'postgres' }>): Promise<Finding[]> {
  const what = `database ${placeOf(config.url)}`
  try {
    const dialect = await postgresDialect(
      { url: config.url, password: readSecret('"database"', config) },
      () => {}, // the query that breaks says it too
    )
    const db = new Kysely<Tables>({ dialect })
    try {
      return await tryPostgres(what, db, new URL(config.url).hostname)
    } finally {
      await db.destroy()
    }
  } catch (error) {
    return [failed(what, error, 'Correct "database" in the configuration, or start the server.')]
  }
}

async function tryPostgres(what: string, db: Kysely<Tables>, host: string): Promise<Finding[]> {
  const { value, ms } = await timed(() =>
    sql<{
      version: number
      name: string
      schema: string | null
      creates: boolean | null
      encrypted: boolean
    }>`
      select current_setting('server_version_num')::int as version, current_setting('server_version') as name,
        current_schema() as schema, has_schema_privilege(current_schema(), 'create') as creates,
        coalesce((select ssl from pg_stat_ssl where pid = pg_backend_pid()), false) as encrypted`.execute(db),
  )
  const [server] = value.rows
  if (!server) return [fail(what, 'answers nothing', 'Is it PostgreSQL?')]
  const findings: Finding[] = []
  if (server.version < POSTGRES_VERSION_MIN)
    findings.push(
      fail(
        what,
        `PostgreSQL ${server.name} is too old`,
        'The console needs PostgreSQL 12 or later: upgrade it.',
      ),
    )
  if (!server.encrypted && !isLoopback(host))
    findings.push(
      warn(
        what,
        `the connection to ${host} is not encrypted`,
        'Set up TLS there, and add "?sslmode=verify-full" to "database.url".',
      ),
    )
  const schema = await schemaOf(db, 'postgres')
  if (schema !== UP_TO_DATE && server.creates !== true)
    findings.push(
      fail(
        what,
        `the user may not make tables in ${server.schema === null ? 'any schema' : `the schema "${server.schema}"`}`,
        'Make it the owner of the database, or: GRANT CREATE, USAGE ON SCHEMA public TO its name',
      ),
    )
  const { rows: closed } = await sql<{ name: string }>`
    select relname as name from pg_class where relkind = 'r' and relnamespace = to_regnamespace(current_schema())
      and relname in ('detections', 'audit', 'tokens', 'kysely_migration')
      and not (has_table_privilege(oid, 'select') and has_table_privilege(oid, 'insert')
        and has_table_privilege(oid, 'update') and has_table_privilege(oid, 'delete'))`.execute(db)
  for (const { name } of closed)
    findings.push(
      fail(
        what,
        `the user may not read and write the table "${name}"`,
        'Use the user that made the tables, or give it all rights on them.',
      ),
    )
  return [ok(what, `PostgreSQL ${server.name} answers in ${ms} ms; ${schema}`), ...findings]
}

const UP_TO_DATE = 'schema up to date'

/** Errors: DATABASE_NEWER, and those of the database. */
async function schemaOf(db: Kysely<Tables>, engine: Engine): Promise<string> {
  const pending = await pendingMigrations(db, engine)
  return pending === 0
    ? UP_TO_DATE
    : `${pending} ${pending === 1 ? 'change' : 'changes'} of its schema to make at the start`
}

const has = (file: string) => statSync(file, { throwIfNoEntry: false }) !== undefined

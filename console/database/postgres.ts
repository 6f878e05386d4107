import {
  type CompiledQuery,
  type DatabaseConnection,
  type Dialect,
  type Driver,
  PostgresDialect,
  type QueryResult,
  type TransactionSettings,
} from 'kysely'
import { failure, type SightlineError, systemCode } from '../../lib/errors.ts'

export interface PostgresOptions {
  /** `postgres://user@host:port/database` */
  readonly url: string
  readonly password?: string
  readonly connectionsMax?: number
  /** The server's limit for a statement. */
  readonly queryMsMax?: number
}

const CONNECTIONS_MAX = 8
const CONNECT_MS_MAX = 10_000
const STATEMENT_MS_MAX = 30_000
/** For the answer, beyond the server's own limit: where the server is gone. */
const ANSWER_MORE_MS_MAX = 5_000
const IDLE_IN_TRANSACTION_MS_MAX = 60_000
/** Types (pg_type.oid) that come as text, though every number of ours is an integer that JavaScript can hold. */
const INT8 = 20
const NUMERIC = 1700

/** @param onFault told of a connection that broke while nothing was asked */
export async function postgresDialect(
  { url, password, connectionsMax = CONNECTIONS_MAX, queryMsMax = STATEMENT_MS_MAX }: PostgresOptions,
  onFault: (error: SightlineError) => void,
): Promise<Dialect> {
  const { default: pg } = await import('pg') // only where it is used
  const place = placeOf(url)
  const pool = new pg.Pool({
    connectionString: withPassword(url, password),
    application_name: 'sightline-console',
    max: connectionsMax,
    connectionTimeoutMillis: CONNECT_MS_MAX,
    statement_timeout: queryMsMax,
    query_timeout: queryMsMax + ANSWER_MORE_MS_MAX,
    idle_in_transaction_session_timeout: IDLE_IN_TRANSACTION_MS_MAX,
    keepAlive: true,
    types: {
      getTypeParser: (oid: number, format?: 'text' | 'binary') =>
        oid === INT8 || oid === NUMERIC ? Number : pg.types.getTypeParser(oid, format as 'text'),
    },
  })
  const fault = (error: unknown) => onFault(postgresFailure(place, error))
  pool.on('error', fault)
  // Between two statements of a transaction nobody else listens, and an error that nobody hears ends the program.
  pool.on('connect', (client) => void client.on('error', fault))
  const dialect = new PostgresDialect({ pool })
  return {
    createAdapter: () => dialect.createAdapter(),
    createDriver: () => new TellingDriver(dialect.createDriver(), place),
    createIntrospector: (db) => dialect.createIntrospector(db),
    createQueryCompiler: () => dialect.createQueryCompiler(),
  }
}

/** The driver, with errors of ours. */
class TellingDriver implements Driver {
  readonly #driver: Driver
  readonly #place: string

  constructor(driver: Driver, place: string) {
    this.#driver = driver
    this.#place = place
  }

  init(): Promise<void> {
    return this.#told(this.#driver.init())
  }

  async acquireConnection(): Promise<DatabaseConnection> {
    return new TellingConnection(await this.#told(this.#driver.acquireConnection()), this.#place)
  }

  beginTransaction(connection: DatabaseConnection, settings: TransactionSettings): Promise<void> {
    return this.#told(this.#driver.beginTransaction(innerOf(connection), settings))
  }

  commitTransaction(connection: DatabaseConnection): Promise<void> {
    return this.#told(this.#driver.commitTransaction(innerOf(connection)))
  }

  rollbackTransaction(connection: DatabaseConnection): Promise<void> {
    // Of a connection that is gone: so is its transaction, and the first error says more.
    return this.#driver.rollbackTransaction(innerOf(connection)).catch(() => {})
  }

  releaseConnection(connection: DatabaseConnection): Promise<void> {
    return this.#driver.releaseConnection(innerOf(connection))
  }

  destroy(): Promise<void> {
    return this.#driver.destroy()
  }

  async #told<Result>(result: Promise<Result>): Promise<Result> {
    try {
      return await result
    } catch (error) {
      throw postgresFailure(this.#place, error)
    }
  }
}

const innerOf = (connection: DatabaseConnection) => (connection as TellingConnection).inner

class TellingConnection implements DatabaseConnection {
  readonly inner: DatabaseConnection
  readonly #place: string

  constructor(inner: DatabaseConnection, place: string) {
    this.inner = inner
    this.#place = place
  }

  async executeQuery<Row>(query: CompiledQuery): Promise<QueryResult<Row>> {
    try {
      return await this.inner.executeQuery<Row>(query)
    } catch (error) {
      throw postgresFailure(this.#place, error)
    }
  }

  streamQuery<Row>(query: CompiledQuery, chunkSize?: number): AsyncIterableIterator<QueryResult<Row>> {
    return this.inner.streamQuery<Row>(query, chunkSize)
  }
}

/** In the address: what stands there, nothing included, comes before a password beside it. */
function withPassword(url: string, password: string | undefined): string {
  if (password === undefined) return url
  const whole = new URL(url)
  whole.password = encodeURIComponent(password)
  return whole.href
}

/** Host, port and database: without a password. */
export function placeOf(url: string): string {
  try {
    const { host, pathname } = new URL(url)
    return `${host}${pathname}`
  } catch {
    return 'the address of the database'
  }
}

/** What PostgreSQL, or the way to it, said (postgresql.org/docs/current/errcodes-appendix.html). */
export function postgresFailure(place: string, error: unknown): SightlineError {
  const message = error instanceof Error ? error.message : String(error)
  const code = systemCode(error) ?? ''
  if (code === '3D000')
    return failure(
      'DATABASE_NOT_FOUND',
      `PostgreSQL at ${place} has no such database. Create it: createdb NAME`,
      error,
    )
  if (code.startsWith('28'))
    return failure(
      'DATABASE_DENIED',
      `PostgreSQL at ${place} refuses the user (${message}). Check user and password.`,
      error,
    )
  if (code === '42501')
    return failure(
      'DATABASE_DENIED',
      `The user of PostgreSQL at ${place} lacks a right: ${message}. Make it the owner of the database, or grant it CREATE on the schema.`,
      error,
    )
  if (code === '53100')
    return failure(
      'DISK_FULL',
      `The disk of PostgreSQL at ${place} is full. Free space there; indexing then resumes.`,
      error,
    )
  if (code === '57014' || message === 'Query read timeout')
    return failure(
      'DATABASE_TIMEOUT',
      `A query of PostgreSQL at ${place} took too long and was given up ("database.queryTimeout"). Ask for less at a time.`,
      error,
    )
  if (code === '40001' || code === '40P01' || code === '55P03')
    return failure('DATABASE_BUSY', `PostgreSQL at ${place}: ${message}. Try again.`, error)
  if (code === 'XX001' || code === 'XX002')
    return failure(
      'DATABASE_DAMAGED',
      `PostgreSQL at ${place} is damaged (${message}). Restore it from a backup, then run "sightline console reconcile --fix".`,
      error,
    )
  // Not one of the server's codes of five characters: the way to it. 08, 57P, 53: it is going, coming or full.
  if (!/^[0-9A-Z]{5}$/.test(code) || /^(08|57P|53)/.test(code))
    return failure(
      'DATABASE_UNREACHABLE',
      `PostgreSQL at ${place} cannot be reached (${message || code}). Check "database.url", and that the server runs.`,
      error,
    )
  return failure('DATABASE_REFUSED', `PostgreSQL at ${place}: ${message}`, error)
}

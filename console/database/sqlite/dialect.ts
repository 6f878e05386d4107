import {
  type DatabaseConnection,
  type Dialect,
  type Driver,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
} from 'kysely'
import { failure } from '../../../lib/errors.ts'
import { SqliteConnection } from './connection.ts'
import type { SqliteThreadData } from './thread.ts'

/** What waits for a connection; more is told to come again. */
const WAITING_MAX = 1000

/** SQLite's changes of a schema are part of a transaction: a migration that is cut off has not happened. */
class TransactionalAdapter extends SqliteAdapter {
  override get supportsTransactionalDdl(): boolean {
    return true
  }
}

/** Connections in threads: one that writes, or some that read. */
export function sqliteDialect(data: SqliteThreadData, connections: number, queryMsMax: number): Dialect {
  return {
    createAdapter: () => new TransactionalAdapter(),
    createDriver: () => new SqliteDriver(data, connections, queryMsMax),
    createIntrospector: (db) => new SqliteIntrospector(db),
    createQueryCompiler: () => new SqliteQueryCompiler(),
  }
}

class SqliteDriver implements Driver {
  readonly #data: SqliteThreadData
  readonly #connections: number
  readonly #queryMsMax: number
  readonly #idle: SqliteConnection[] = []
  readonly #waiting: ((connection: SqliteConnection) => void)[] = []
  #open = 0
  #closed = false

  constructor(data: SqliteThreadData, connections: number, queryMsMax: number) {
    this.#data = data
    this.#connections = connections
    this.#queryMsMax = queryMsMax
  }

  async init(): Promise<void> {}

  async acquireConnection(): Promise<DatabaseConnection> {
    if (this.#closed) throw failure('DATABASE_REFUSED', `The database ${this.#data.file} is closed.`)
    const idle = this.#idle.pop()
    if (idle) return idle
    if (this.#open < this.#connections) {
      this.#open += 1
      return new SqliteConnection(this.#data, this.#queryMsMax)
    }
    if (this.#waiting.length >= WAITING_MAX)
      throw failure(
        'DATABASE_BUSY',
        `More than ${WAITING_MAX} queries wait for ${this.#data.file}. Try again.`,
      )
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  async beginTransaction(connection: DatabaseConnection): Promise<void> {
    // At once, not with the first change: another process (a command) may write as well, and this one then waits for it.
    await (connection as SqliteConnection).execute(this.#data.writes ? 'begin immediate' : 'begin')
  }

  async commitTransaction(connection: DatabaseConnection): Promise<void> {
    await (connection as SqliteConnection).execute('commit')
  }

  async rollbackTransaction(connection: DatabaseConnection): Promise<void> {
    // A connection that failed takes its transaction along; and some failures (a full disk) have rolled back already.
    if ((connection as SqliteConnection).usable)
      await (connection as SqliteConnection).execute('rollback').catch(() => {})
  }

  async releaseConnection(connection: DatabaseConnection): Promise<void> {
    let free = connection as SqliteConnection
    const next = this.#waiting.shift()
    if (!free.usable) {
      if (!next) {
        this.#open -= 1
        return
      }
      free = new SqliteConnection(this.#data, this.#queryMsMax)
    }
    if (next) next(free)
    else if (this.#closed) await free.close()
    else this.#idle.push(free)
  }

  /** What is in use closes when it is released. */
  async destroy(): Promise<void> {
    this.#closed = true
    await Promise.all(this.#idle.splice(0).map((connection) => connection.close()))
  }
}

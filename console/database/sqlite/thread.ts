import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite'
import { parentPort, workerData } from 'node:worker_threads'

/** One connection to an SQLite file: its calls wait for the disk, so they are made here. */

export interface SqliteThreadData {
  readonly file: string
  readonly writes: boolean
  readonly busyMsMax: number
  readonly cacheKiB: number
}

export interface SqliteRequest {
  readonly n: number
  readonly sql: string
  readonly parameters: readonly unknown[]
}

export interface SqliteFault {
  readonly message: string
  /** SQLite's extended result code, or the system's. */
  readonly errcode?: number
  readonly code?: string
}

export type SqliteAnswer =
  /** Rows as lists: their columns' names would otherwise be copied with each of them. */
  | { readonly n: number; readonly columns: readonly string[]; readonly rows: readonly unknown[][] }
  | { readonly n: number; readonly changes: number }
  | { readonly n: number; readonly fault: SqliteFault }

/** Prepared statements, by their text. */
const STATEMENTS_MAX = 60
/** Longer ones are of many shapes, and seldom come again. An insert of many rows fits. */
const STATEMENT_LENGTH_MAX = 20_000
/** A checkpoint that many pages of 4 KB apart: with two flushes each, they would otherwise set the pace of the writer. */
const CHECKPOINT_PAGES = 4000
const LOG_BYTES_MAX = 64 * 1024 * 1024

const { file, writes, busyMsMax, cacheKiB } = workerData as SqliteThreadData
const port = parentPort
if (!port) throw new Error('sqlite/thread.ts runs in a thread')

let database: DatabaseSync | undefined
interface Prepared {
  readonly statement: StatementSync
  /** None: it changes something, and answers with how much. */
  readonly columns: readonly string[]
}

const statements = new Map<string, Prepared>()

port.on('message', (request: SqliteRequest | 'close') => {
  if (request === 'close') {
    statements.clear()
    try {
      database?.close()
    } catch {
      // what was acknowledged is in the log; the next to open finds it there
    }
    port.close()
    return
  }
  const { n, sql, parameters } = request
  try {
    port.postMessage(answer(n, statementOf(sql), parameters))
  } catch (error) {
    port.postMessage({ n, fault: faultOf(error) } satisfies SqliteAnswer)
  }
})

function open(): DatabaseSync {
  const opened = new DatabaseSync(file, { timeout: busyMsMax })
  try {
    opened.exec(`pragma cache_size = -${cacheKiB}`)
    // An acknowledgement depends on what was committed: FULL flushes the log with each transaction.
    if (writes)
      opened.exec(
        `pragma journal_mode = wal; pragma synchronous = full; pragma wal_autocheckpoint = ${CHECKPOINT_PAGES}; pragma journal_size_limit = ${LOG_BYTES_MAX}`,
      )
    else opened.exec('pragma query_only = on')
  } catch (error) {
    opened.close()
    throw error
  }
  return opened
}

function statementOf(sql: string): Prepared {
  database ??= open()
  const known = statements.get(sql)
  if (known) return known
  const statement = database.prepare(sql)
  statement.setReturnArrays(true)
  const prepared = { statement, columns: statement.columns().map(({ name }) => name) }
  if (sql.length > STATEMENT_LENGTH_MAX) return prepared
  const [oldest] = statements.keys()
  if (statements.size >= STATEMENTS_MAX && oldest !== undefined) statements.delete(oldest)
  statements.set(sql, prepared)
  return prepared
}

function answer(n: number, { statement, columns }: Prepared, parameters: readonly unknown[]): SqliteAnswer {
  const values = parameters as SQLInputValue[]
  if (columns.length === 0) return { n, changes: Number(statement.run(...values).changes) }
  return { n, columns, rows: statement.all(...values) as unknown as unknown[][] }
}

function faultOf(error: unknown): SqliteFault {
  const { message, errcode, code } = error as SqliteFault
  return { message, ...(errcode !== undefined && { errcode }), ...(code !== undefined && { code }) }
}

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
  | { readonly n: number; readonly rows: Record<string, unknown>[]; readonly changes?: number }
  | { readonly n: number; readonly fault: SqliteFault }

/** Prepared statements, by their text. */
const STATEMENTS_MAX = 200
/** Longer ones (an insert of many rows, the branches of a search) are of many shapes, and seldom come again. */
const STATEMENT_LENGTH_MAX = 4000
/** A checkpoint that many pages of 4 KB apart: with two flushes each, they would otherwise set the pace of the writer. */
const CHECKPOINT_PAGES = 4000
const LOG_BYTES_MAX = 64 * 1024 * 1024

const { file, writes, busyMsMax, cacheKiB } = workerData as SqliteThreadData
const port = parentPort
if (!port) throw new Error('sqlite/thread.ts runs in a thread')

let database: DatabaseSync | undefined
const statements = new Map<string, StatementSync>()

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

function statementOf(sql: string): StatementSync {
  database ??= open()
  const known = statements.get(sql)
  if (known) return known
  const statement = database.prepare(sql)
  if (sql.length > STATEMENT_LENGTH_MAX) return statement
  const [oldest] = statements.keys()
  if (statements.size >= STATEMENTS_MAX && oldest !== undefined) statements.delete(oldest)
  statements.set(sql, statement)
  return statement
}

function answer(n: number, statement: StatementSync, parameters: readonly unknown[]): SqliteAnswer {
  const values = parameters as SQLInputValue[]
  if (statement.columns().length > 0)
    return { n, rows: statement.all(...values) as Record<string, unknown>[] }
  return { n, rows: [], changes: Number(statement.run(...values).changes) }
}

function faultOf(error: unknown): SqliteFault {
  const { message, errcode, code } = error as SqliteFault
  return { message, ...(errcode !== undefined && { errcode }), ...(code !== undefined && { code }) }
}

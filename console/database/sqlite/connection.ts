import { extname } from 'node:path'
import { Worker } from 'node:worker_threads'
import type { DatabaseConnection, QueryResult } from 'kysely'
import { CompiledQuery } from 'kysely'
import { failure } from '../../../lib/errors.ts'
import { sqliteFailure } from './faults.ts'
import type { SqliteAnswer, SqliteRequest, SqliteThreadData } from './thread.ts'

interface Waiting {
  readonly resolve: (result: QueryResult<unknown>) => void
  readonly reject: (error: Error) => void
  readonly timer: NodeJS.Timeout
}

/**
 * A thread with a connection. A call into SQLite cannot be interrupted from outside: what takes longer than its limit is
 * given up with its thread, which ends when the call returns, and is never used again.
 */
export class SqliteConnection implements DatabaseConnection {
  readonly #thread: Worker
  readonly #data: SqliteThreadData
  readonly #queryMsMax: number
  readonly #waiting = new Map<number, Waiting>()
  #queries = 0
  #fault: Error | undefined
  readonly #ended: Promise<void>

  constructor(data: SqliteThreadData, queryMsMax: number) {
    this.#data = data
    this.#queryMsMax = queryMsMax
    this.#thread = new Worker(new URL(`./thread${extname(import.meta.url)}`, import.meta.url), {
      workerData: data,
      name: data.writes ? 'sqlite-writer' : 'sqlite-reader',
      execArgv: [],
      // Rows pass through; what they leave behind is collected soon.
      resourceLimits: { maxOldGenerationSizeMb: 48, maxYoungGenerationSizeMb: 4 },
    })
    this.#thread.on('message', (answer: SqliteAnswer) => this.#settle(answer))
    this.#thread.on('error', (error) => this.#fail(sqliteFailure(data.file, error)))
    this.#ended = new Promise((resolve) => {
      this.#thread.on('exit', () => {
        this.#fail(failure('DATABASE_REFUSED', `The connection to ${data.file} has ended.`))
        resolve()
      })
    })
  }

  /** False: it failed as a whole, and another takes its place. */
  get usable(): boolean {
    return this.#fault === undefined
  }

  executeQuery<Row>({ sql, parameters }: CompiledQuery): Promise<QueryResult<Row>> {
    return new Promise<QueryResult<unknown>>((resolve, reject) => {
      if (this.#fault) return reject(this.#fault)
      const n = this.#queries++
      const timer = setTimeout(() => this.#giveUp(), this.#queryMsMax)
      this.#waiting.set(n, { resolve, reject, timer })
      this.#thread.postMessage({ n, sql, parameters } satisfies SqliteRequest)
    }) as Promise<QueryResult<Row>>
  }

  execute(sql: string): Promise<QueryResult<unknown>> {
    return this.executeQuery(CompiledQuery.raw(sql))
  }

  // biome-ignore lint/correctness/useYield: pages by key are read instead
  async *streamQuery<Row>(): AsyncIterableIterator<QueryResult<Row>> {
    throw new Error('SQLite results are not streamed: read them page by page')
  }

  /** After what was asked for. */
  async close(): Promise<void> {
    if (this.#fault) return
    this.#thread.postMessage('close')
    await this.#ended
  }

  #giveUp(): void {
    this.#fail(
      failure(
        'DATABASE_TIMEOUT',
        `A query of ${this.#data.file} took longer than ${this.#queryMsMax / 1000} s and was given up. Ask for less at a time.`,
      ),
    )
    this.#thread.unref()
    void this.#thread.terminate()
  }

  #settle(answer: SqliteAnswer): void {
    const waiting = this.#waiting.get(answer.n)
    if (!waiting) return
    this.#waiting.delete(answer.n)
    clearTimeout(waiting.timer)
    if ('fault' in answer) waiting.reject(sqliteFailure(this.#data.file, answer.fault))
    else if ('rows' in answer) waiting.resolve({ rows: rowsOf(answer) })
    else waiting.resolve({ rows: [], numAffectedRows: BigInt(answer.changes) })
  }

  #fail(error: Error): void {
    this.#fault ??= error
    for (const { reject, timer } of this.#waiting.values()) {
      clearTimeout(timer)
      reject(this.#fault)
    }
    this.#waiting.clear()
  }
}

function rowsOf({
  columns,
  rows,
}: {
  readonly columns: readonly string[]
  readonly rows: readonly unknown[][]
}): Record<string, unknown>[] {
  return rows.map((values) => {
    const row: Record<string, unknown> = {}
    for (let n = 0; n < columns.length; n += 1) row[columns[n] as string] = values[n]
    return row
  })
}

import {
  accessSync,
  closeSync,
  constants,
  openSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { hostname } from 'node:os'
import { join, resolve } from 'node:path'
import type { DatabaseSync } from 'node:sqlite'
import { failure, systemCode } from '../lib/errors.ts'
import { isDiskFull } from './disk-room.ts'

/**
 * One process at a time in a folder. What holds it is a lock of the kernel's on the empty file `store.lock`, by way of
 * SQLite, since Node.js itself offers none: it ends with the process, however that ends, is not inherited by children,
 * and holds between containers on one volume, where process numbers say nothing. The file is never written to, so that a
 * full disk does not matter, and never deleted, or two could hold one of that name each.
 *
 * POSIX drops a process's locks on a file as soon as it closes any handle of that file. So nobody but SQLite, which
 * knows, may open it.
 */
const LOCK_FILE = 'store.lock'
/** Who holds it, in words for people; it decides nothing. */
const HOLDER_FILE = 'lock'
/** Whoever looks whether a folder is held has it for a moment. */
const WAIT_MS_MAX = 100

// https://www.sqlite.org/rescode.html
const SQLITE_BUSY = 5

export class FolderLock implements Disposable {
  readonly #folder: string
  readonly #database: DatabaseSync

  private constructor(folder: string, database: DatabaseSync) {
    this.#folder = folder
    this.#database = database
  }

  /** Errors: STORE_LOCKED, FOLDER_UNWRITABLE, DISK_FULL (where the file is not there yet), RUNTIME_TOO_OLD. */
  static take(folder: string): FolderLock {
    const file = lockFile(folder)
    let database: DatabaseSync | undefined
    try {
      make(file)
      accessSync(file, constants.W_OK) // a file that may only be read SQLite would open, and lock against nobody
      database = open(file, false)
      // Not the journal that SQLite makes before it might write: a full disk has no room for it, and a crash leaves it.
      database.exec('PRAGMA journal_mode=MEMORY; BEGIN EXCLUSIVE')
    } catch (error) {
      database?.close()
      if (isBusy(error))
        throw failure(
          'STORE_LOCKED',
          `${folder} is in use by ${describe(readHolder(folder))}. Stop that program first, or give this one its own folder.`,
        )
      if (isDiskFull(error))
        throw failure(
          'DISK_FULL',
          `The disk that holds ${folder} is full: cannot create the store's lock. Free some space and start again.`,
          error,
        )
      if (systemCode(error) === 'RUNTIME_TOO_OLD') throw error
      throw failure(
        'FOLDER_UNWRITABLE',
        `Cannot lock ${file}: ${(error as Error).message}. Give this user the right to write there, or name another folder, with a path of less than 500 bytes.`,
        error,
      )
    }
    writeHolder(folder)
    return new FolderLock(folder, database)
  }

  [Symbol.dispose](): void {
    removeHolder(this.#folder)
    this.#database.close()
  }
}

/** Whether a process holds a folder; true too where this user may not look. */
export function isHeld(folder: string): boolean {
  const file = lockFile(folder)
  try {
    using database = open(file, true)
    database.exec('BEGIN; SELECT 1 FROM sqlite_schema')
    return false
  } catch (error) {
    if (isBusy(error)) return true
    if (systemCode(error) === 'RUNTIME_TOO_OLD') throw error
    try {
      accessSync(file, constants.R_OK)
      return false // it is none, and nothing can be held by it
    } catch (denied) {
      return systemCode(denied) !== 'ENOENT'
    }
  }
}

/** Who holds a folder now, for people: "process 123"; undefined where nobody does. */
export function holderOf(folder: string): string | undefined {
  return isHeld(folder) ? describe(readHolder(folder)) : undefined
}

/** Absolute: SQLite takes some relative names for something else. */
const lockFile = (folder: string) => resolve(folder, LOCK_FILE)

/** For its owner alone: whoever could read it could hold it. */
function make(file: string): void {
  try {
    closeSync(openSync(file, 'wx', 0o600))
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw error
  }
}

function open(file: string, readOnly: boolean): DatabaseSync {
  const { DatabaseSync } = loadSqlite()
  return new DatabaseSync(file, { readOnly, timeout: WAIT_MS_MAX })
}

const isBusy = (error: unknown) => (error as { errcode?: number }).errcode === SQLITE_BUSY

function loadSqlite(): typeof import('node:sqlite') {
  const { emitWarning } = process
  process.emitWarning = () => {} // the first ones of Node 24 say while it loads that it is experimental
  try {
    const sqlite = process.getBuiltinModule('node:sqlite') as typeof import('node:sqlite') | undefined
    if (sqlite) return sqlite
  } finally {
    process.emitWarning = emitWarning
  }
  throw failure(
    'RUNTIME_TOO_OLD',
    `This Node.js (${process.version}) was built without SQLite, which locks the store. Install Node 24 from nodejs.org, or with "npm install node@24".`,
  )
}

interface Holder {
  readonly pid: number
  readonly host: string
  /** Of process numbers (Linux): a container has its own. */
  readonly namespace?: string
}

function thisProcess(): Holder {
  return { pid: process.pid, host: hostname(), namespace: namespace() }
}

function namespace(): string | undefined {
  try {
    return readlinkSync('/proc/self/ns/pid')
  } catch {
    return undefined // no /proc on this system
  }
}

function writeHolder(folder: string): void {
  removeHolder(folder)
  try {
    writeFileSync(join(folder, HOLDER_FILE), JSON.stringify(thisProcess()))
  } catch {
    removeHolder(folder) // a full disk: the folder is held all the same, by nobody knows whom
  }
}

function removeHolder(folder: string): void {
  try {
    rmSync(join(folder, HOLDER_FILE), { force: true })
  } catch {
    // it says who was here, and decides nothing
  }
}

function readHolder(folder: string): Holder | undefined {
  try {
    const { pid, host, namespace } = JSON.parse(readFileSync(join(folder, HOLDER_FILE), 'utf8')) as Holder
    return Number.isInteger(pid) && typeof host === 'string' ? { pid, host, namespace } : undefined
  } catch {
    return undefined
  }
}

function describe(holder: Holder | undefined): string {
  if (!holder) return 'another program'
  const { pid, host, namespace } = holder
  const own = thisProcess()
  if (host === own.host && namespace === own.namespace) return `process ${pid}`
  return `process ${pid} in another container or on another machine (host name ${host})`
}

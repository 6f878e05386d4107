import { closeSync, openSync, readFileSync, unlinkSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { isDiskFull } from './disk-room.ts'
import { failure, systemCode } from './errors.ts'

/**
 * One process at a time in a folder: a file that names its holder. A holder that died (its process is gone, or
 * its number now belongs to a process started at another time) does not hold it any more.
 */
export class FolderLock implements Disposable {
  readonly #file: string

  private constructor(file: string) {
    this.#file = file
  }

  /** Errors: STORE_LOCKED, FOLDER_UNWRITABLE, DISK_FULL. */
  static take(folder: string): FolderLock {
    const file = join(folder, 'lock')
    for (let attempt = 0; attempt < 3; attempt += 1) {
      try {
        make(file)
        return new FolderLock(file)
      } catch (error) {
        if (isDiskFull(error))
          throw failure(
            'DISK_FULL',
            `The disk that holds ${folder} is full: not even the lock of the store can be written. Make room, and start again.`,
            error,
          )
        if (systemCode(error) !== 'EEXIST')
          throw failure(
            'FOLDER_UNWRITABLE',
            `Cannot write to ${folder}. Give this user the right to write there, or name another folder.`,
            error,
          )
      }
      const holder = readHolder(file)
      if (holder && isAlive(holder)) {
        throw failure(
          'STORE_LOCKED',
          `${folder} is in use by process ${holder.pid}. Stop that program first, or give this one a folder of its own.`,
        )
      }
      try {
        unlinkSync(file)
      } catch (error) {
        if (systemCode(error) !== 'ENOENT')
          throw failure('FOLDER_UNWRITABLE', `Cannot remove the stale lock ${file}.`, error)
      }
    }
    throw failure(
      'STORE_LOCKED',
      `${folder} is being opened by several programs at once. Give each a folder of its own.`,
    )
  }

  [Symbol.dispose](): void {
    try {
      unlinkSync(this.#file)
    } catch {
      // gone already: nothing holds the folder, which is what was wanted
    }
  }
}

function make(file: string): void {
  const handle = openSync(file, 'wx', 0o644)
  try {
    writeSync(handle, JSON.stringify({ pid: process.pid, startedAt: startTime(process.pid) }))
  } catch (error) {
    unlinkSync(file) // an empty one would name no holder
    throw error
  } finally {
    closeSync(handle)
  }
}

/** Whether a process that runs holds a folder. */
export function isHeld(folder: string): boolean {
  const holder = readHolder(join(folder, 'lock'))
  return holder !== undefined && isAlive(holder)
}

interface Holder {
  readonly pid: number
  readonly startedAt?: string
}

function readHolder(file: string): Holder | undefined {
  try {
    const holder = JSON.parse(readFileSync(file, 'utf8')) as Holder
    return Number.isInteger(holder.pid) && holder.pid > 0 ? holder : undefined
  } catch {
    return undefined // torn by a crash while it was written: nobody holds it
  }
}

function isAlive(holder: Holder): boolean {
  try {
    process.kill(holder.pid, 0)
  } catch (error) {
    return systemCode(error) === 'EPERM'
  }
  const startedAt = startTime(holder.pid)
  // In a container every start has the same number: without a start time to compare, that is an earlier one.
  if (holder.startedAt === undefined || startedAt === undefined) return holder.pid !== process.pid
  return startedAt === holder.startedAt
}

/** When the process started, in the kernel's clock ticks since boot: tells a process from a later one with its number. */
function startTime(pid: number): string | undefined {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return `${boot}:${stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]}`
  } catch {
    return undefined // no /proc on this system: the process number alone decides
  }
}

/** The process that holds a folder now, for people; undefined where none does. */
export function holderOf(folder: string): number | undefined {
  const holder = readHolder(join(folder, 'lock'))
  return holder && isAlive(holder) ? holder.pid : undefined
}

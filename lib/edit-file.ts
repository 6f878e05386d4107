import { readFileSync, statSync, unlinkSync } from 'node:fs'
import { type FileHandle, open, realpath, rename, stat, unlink } from 'node:fs/promises'
import { hostname } from 'node:os'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { failure, systemCode } from './errors.ts'
import { flushFolder } from './keep-file.ts'

/**
 * A file that people and programs change, one at a time: it is changed as a whole or not at all, and whoever may read it
 * stays who that was.
 */

const WAIT_FOR_ANOTHER_MS_MAX = 2000
/** Whoever changes a file longer than that has ended without a word, or lost it to the next, ms. */
const EDIT_MS_MAX = 60_000

export interface Edit {
  /** The file's new text. @param before undefined: there is no such file. Throws: nothing is changed */
  readonly change: (before: string | undefined) => string
  /** Throws where what now stands in this file must not be so: nothing is changed. */
  readonly check: (file: string) => void
}

/** Errors: FOLDER_UNWRITABLE, DISK_FULL, and those of the edit. */
export async function editFile(file: string, { change, check }: Edit): Promise<void> {
  const target = await realpath(file).catch(() => file) // a link stays one
  await using lock = await Lock.take(target)
  const temporary = `${target}.new`
  await unlink(temporary).catch(() => {}) // of one who did not end well
  const handle = await openNew(target, temporary)
  try {
    const before = textOf(target)
    await handle.writeFile(change(before))
    if (before !== undefined) await keepOwner(handle, target)
    await handle.sync()
    check(temporary)
    await lock.stillHeld()
    await rename(temporary, target)
  } catch (error) {
    if (await isAt(handle, temporary)) await unlink(temporary).catch(() => {})
    if (systemCode(error) === 'ENOSPC')
      throw failure('DISK_FULL', `The disk of ${target} is full. Nothing was changed.`, error)
    throw error
  } finally {
    await handle.close()
  }
  flushFolder(dirname(target))
}

function textOf(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined
    throw failure(
      'FOLDER_UNWRITABLE',
      `${file} cannot be read, so it is not changed. Give this user the right to read it.`,
      error,
    )
  }
}

async function openNew(target: string, file: string): Promise<FileHandle> {
  try {
    return await open(file, 'wx', 0o600)
  } catch (error) {
    throw unwritable(target, error)
  }
}

/**
 * Two who write at once would lose what one of them wrote. A file says who is at it: where that process is gone, or has been
 * at it too long, the next takes over.
 */
class Lock implements AsyncDisposable {
  readonly #target: string
  readonly #file: string
  readonly #handle: FileHandle

  private constructor(target: string, file: string, handle: FileHandle) {
    this.#target = target
    this.#file = file
    this.#handle = handle
  }

  static async take(target: string): Promise<Lock> {
    const file = `${target}.lock`
    const endMs = performance.now() + WAIT_FOR_ANOTHER_MS_MAX
    for (;;) {
      let handle: FileHandle
      try {
        handle = await open(file, 'wx', 0o644)
      } catch (error) {
        if (systemCode(error) !== 'EEXIST') throw unwritable(target, error)
        if (takeAway(file)) continue
        if (performance.now() > endMs)
          throw failure(
            'FOLDER_UNWRITABLE',
            `Another process is changing ${target}: ${file} exists. Try again in a minute.`,
            error,
          )
        await sleep(50)
        continue
      }
      await handle.writeFile(ownName()).catch(() => {}) // a full disk: then its age alone counts
      return new Lock(target, file, handle)
    }
  }

  /** Throws where another has taken over. */
  async stillHeld(): Promise<void> {
    if (await isAt(this.#handle, this.#file)) return
    throw failure(
      'FOLDER_UNWRITABLE',
      `Changing ${this.#target} took too long, and another process took over. Nothing was changed. Try again.`,
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (await isAt(this.#handle, this.#file)) await unlink(this.#file).catch(() => {})
    await this.#handle.close()
  }
}

/** Whether that is still the name of what was opened, and not of another's. */
async function isAt(handle: FileHandle, file: string): Promise<boolean> {
  const [ours, there] = await Promise.all([handle.stat(), stat(file).catch(() => undefined)])
  return ours.ino === there?.ino
}

/** Of another container, which may share the folder, a process cannot be looked up: its host has another name. */
const ownName = () => `${process.pid} ${hostname()}`

/** @returns whether it was there no more, or was left behind and has been removed */
function takeAway(file: string): boolean {
  try {
    const isOld = Math.abs(Date.now() - statSync(file).mtimeMs) > EDIT_MS_MAX
    if (!isOld && isAtWork(readFileSync(file, 'utf8'))) return false
    unlinkSync(file)
    return true
  } catch (error) {
    return systemCode(error) === 'ENOENT'
  }
}

function isAtWork(name: string): boolean {
  const [text, host] = name.split(' ')
  const pid = Number(text)
  if (host !== hostname() || !Number.isSafeInteger(pid) || pid < 1) return true // nobody knows
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return systemCode(error) !== 'ESRCH'
  }
}

const unwritable = (target: string, error: unknown) =>
  failure(
    'FOLDER_UNWRITABLE',
    `Cannot write to the folder of ${target}. Create it, or give this user the right to write there.`,
    error,
  )

/** Owner, group and mode as they were: whose program reads it now must be able to read it then, and nobody else. */
async function keepOwner(handle: FileHandle, target: string): Promise<void> {
  const [was, is] = await Promise.all([stat(target), handle.stat()])
  try {
    if (was.uid !== is.uid || was.gid !== is.gid) await handle.chown(was.uid, was.gid)
  } catch (error) {
    throw failure(
      'FOLDER_UNWRITABLE',
      `${target} belongs to another user or group, which could no longer read it. Run this as its owner.`,
      error,
    )
  }
  await handle.chmod(was.mode & 0o777)
}

import { readFileSync } from 'node:fs'
import { type FileHandle, open, realpath, rename, stat, unlink } from 'node:fs/promises'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { failure, systemCode } from './errors.ts'
import { flushFolder } from './keep-file.ts'

/**
 * A file that people and programs change, one at a time: it is changed as a whole or not at all, and whoever may read it
 * stays who that was.
 */

const WAIT_FOR_ANOTHER_MS_MAX = 2000

export interface Edit {
  /** The file's new text. @param before undefined: there is no such file. Throws: nothing is changed */
  readonly change: (before: string | undefined) => string
  /** Throws where what now stands in this file must not be so: nothing is changed. */
  readonly check: (file: string) => void
}

/** Errors: FOLDER_UNWRITABLE, DISK_FULL, and those of the edit. */
export async function editFile(file: string, { change, check }: Edit): Promise<void> {
  const target = await realpath(file).catch(() => file) // a link stays one
  const temporary = `${target}.new`
  const handle = await openAlone(target, temporary)
  try {
    const before = textOf(target)
    await handle.writeFile(change(before))
    if (before !== undefined) await keepOwner(handle, target)
    await handle.sync()
    check(temporary)
    await rename(temporary, target)
  } catch (error) {
    await unlink(temporary)
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

/** The temporary file is the lock, too: two who write at once would lose what one of them wrote. */
async function openAlone(target: string, temporary: string): Promise<FileHandle> {
  const endMs = Date.now() + WAIT_FOR_ANOTHER_MS_MAX
  for (;;) {
    try {
      return await open(temporary, 'wx', 0o600)
    } catch (error) {
      if (systemCode(error) !== 'EEXIST')
        throw failure(
          'FOLDER_UNWRITABLE',
          `Cannot write to the folder of ${target}. Create it, or give this user the right to write there.`,
          error,
        )
      if (Date.now() > endMs)
        throw failure(
          'FOLDER_UNWRITABLE',
          `Another process is changing ${target}: ${temporary} exists. If none is, delete that file.`,
          error,
        )
      await sleep(50)
    }
  }
}

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

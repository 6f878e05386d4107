import { randomBytes } from 'node:crypto'
import { closeSync, fsyncSync, mkdirSync, openSync, renameSync, unlinkSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { failure, systemCode } from './errors.ts'

/**
 * Writes a file under its name once it is on the disk: who reads it has the old one or the new one whole, also after a power
 * cut. For files that are small and seldom written; it returns when that is so. Errors: DISK_FULL, FOLDER_UNWRITABLE.
 */
export function keepFile(content: Uint8Array | string, file: string, mode = 0o644): void {
  const folder = dirname(file)
  // Random: programs in two containers on one folder have the same process number.
  const temporary = `${file}.${randomBytes(6).toString('hex')}`
  try {
    mkdirSync(folder, { recursive: true })
    const opened = openSync(temporary, 'wx', mode)
    try {
      writeFileSync(opened, content)
      fsyncSync(opened)
    } finally {
      closeSync(opened)
    }
    renameSync(temporary, file)
    flushFolder(folder)
  } catch (error) {
    remove(temporary)
    throw failure(
      systemCode(error) === 'ENOSPC' ? 'DISK_FULL' : 'FOLDER_UNWRITABLE',
      `Cannot write ${file}. Check the permissions of ${folder}, and that its disk is not full.`,
      error,
    )
  }
}

/** The new name, too, is to outlive a power cut. */
export function flushFolder(folder: string): void {
  if (process.platform === 'win32') return // which cannot open folders
  const opened = openSync(folder, 'r')
  try {
    fsyncSync(opened)
  } finally {
    closeSync(opened)
  }
}

function remove(file: string): void {
  try {
    unlinkSync(file)
  } catch {
    // it may never have been made
  }
}

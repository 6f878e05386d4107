import { randomBytes } from 'node:crypto'
import { mkdir, open, rename, unlink } from 'node:fs/promises'
import { dirname } from 'node:path'
import { failure, systemCode } from './errors.ts'

/** Writes a file under its name once it is on the disk: who reads it has the old one or the new one whole. Errors: DISK_FULL, FOLDER_UNWRITABLE. */
export async function keepFile(content: Uint8Array, file: string): Promise<void> {
  const temporary = `${file}.${randomBytes(6).toString('hex')}`
  try {
    await mkdir(dirname(file), { recursive: true })
    const handle = await open(temporary, 'w')
    try {
      await handle.writeFile(content)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(temporary, file)
  } catch (error) {
    await unlink(temporary).catch(() => {}) // it may never have been made
    throw failure(
      systemCode(error) === 'ENOSPC' ? 'DISK_FULL' : 'FOLDER_UNWRITABLE',
      `${file} cannot be written. Give this user the right to write to ${dirname(file)}, and check that its disk is not full.`,
      error,
    )
  }
}

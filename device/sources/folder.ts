import type { Dirent } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { PHOTOS_MAX } from '../limits.ts'

/**
 * What a system, a file manager or a network drive puts beside people's files: what was deleted, earlier versions, small
 * copies. Besides these, all whose names begin with a dot.
 */
const NOT_FOR_PEOPLE = new Set(
  [
    '@eaDir', // Synology: small copies
    '#recycle',
    '#snapshot',
    '@Recycle', // QNAP
    '@Recently-Snapshot',
    '$RECYCLE.BIN', // Windows
    'RECYCLER',
    'System Volume Information',
    'lost+found',
    '__MACOSX', // beside what macOS packs
  ].map((name) => name.toLowerCase()),
)

const isHidden = (name: string) => name.startsWith('.') || NOT_FOR_PEOPLE.has(name.toLowerCase())

/**
 * The files of a folder and its subfolders, whatever they are, without what is hidden, at every level. The folder itself may
 * be called anything. Undefined where there are more than `PHOTOS_MAX`. Throws the system's error where the folder cannot
 * be read; subfolders that cannot be are given to `passOver`.
 */
export async function filesBelow(
  folder: string,
  passOver: (folder: string, error: unknown) => void = () => {},
): Promise<string[] | undefined> {
  const files: string[] = []
  const folders = [folder]
  for (let at = folders.pop(); at !== undefined; at = folders.pop()) {
    const parent = at
    const entries = await readdir(parent, { withFileTypes: true }).catch((error: unknown): Dirent[] => {
      if (parent === folder) throw error
      passOver(parent, error)
      return []
    })
    for (const entry of entries) {
      if (isHidden(entry.name)) continue
      const path = join(parent, entry.name)
      if (entry.isDirectory()) folders.push(path)
      else files.push(path)
      if (files.length + folders.length > PHOTOS_MAX) return undefined
    }
  }
  return files
}

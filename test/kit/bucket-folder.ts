import { readdirSync } from 'node:fs'
import { join } from 'node:path'

/** The keys of the crops in a folder bucket, sorted; the gallery's files and what is being written left out. */
export function storedKeys(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.jpg'))
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .filter((key) => !key.startsWith('.'))
    .sort()
}

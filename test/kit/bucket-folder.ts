import { readdirSync } from 'node:fs'
import { join } from 'node:path'

/** The keys of the crops (or of `mp4` clips) in a folder bucket, sorted; what is being written left out. */
export function storedKeys(folder: string, extension: 'jpg' | 'mp4' = 'jpg'): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(`.${extension}`))
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .filter((key) => !key.startsWith('.'))
    .sort()
}

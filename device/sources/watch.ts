import { stat } from 'node:fs/promises'
import { failure, systemCode } from '../../lib/errors.ts'
import { PHOTOS_MAX, WATCH_REMEMBERED_MAX, WATCH_SETTLED_MS } from '../limits.ts'
import { filesBelow } from './folder.ts'

/**
 * A folder into which files are put, and its subfolders. Each file counts once it has not changed for a second, and
 * once: what it is follows from its inode, size and time of change, so a renamed file is no new one, and one that was
 * written over is.
 *
 * It is looked at again and again rather than waiting for the system's notices, which network file systems do not send.
 */
export class WatchedFolder {
  readonly folder: string
  /** Files seen that are not complete yet, by path. */
  readonly #waiting = new Map<string, { readonly identity: string; readonly sinceMs: number }>()
  readonly #taken = new Set<string>()

  constructor(folder: string) {
    this.folder = folder
  }

  /**
   * What is complete now and was not taken before, oldest first. From here on it counts as taken.
   * Errors: SOURCE_UNAVAILABLE.
   * @param nowMs on a clock that does not jump
   */
  async look(nowMs: number): Promise<string[]> {
    const files = await this.#list()
    const ready: { readonly path: string; readonly changedMs: number }[] = []
    const present = new Set<string>()
    for (const { path, identity, bytes, changedMs } of files) {
      present.add(identity)
      if (this.#taken.has(identity)) continue
      const waiting = this.#waiting.get(path)
      if (waiting?.identity !== identity) this.#waiting.set(path, { identity, sinceMs: nowMs })
      else if (bytes > 0 && nowMs - waiting.sinceMs >= WATCH_SETTLED_MS && !this.#taken.has(identity)) {
        this.#taken.add(identity)
        ready.push({ path, changedMs })
      }
    }
    const paths = new Set(files.map(({ path }) => path))
    for (const [path, { identity }] of this.#waiting)
      if (!paths.has(path) || this.#taken.has(identity)) this.#waiting.delete(path)
    if (this.#taken.size > present.size + WATCH_REMEMBERED_MAX)
      for (const identity of this.#taken) if (!present.has(identity)) this.#taken.delete(identity)
    return ready
      .sort((a, b) => a.changedMs - b.changedMs || (a.path < b.path ? -1 : 1))
      .map(({ path }) => path)
  }

  async #list() {
    const paths = await filesBelow(this.folder).catch((error: unknown) => {
      throw failure(
        'SOURCE_UNAVAILABLE',
        `Cannot read the folder ${this.folder} (${systemCode(error) ?? 'unknown'}). Retrying.`,
        error,
      )
    })
    if (paths === undefined)
      throw failure(
        'SOURCE_UNREADABLE',
        `The folder ${this.folder} has more than ${PHOTOS_MAX} files. Move processed photos away.`,
      )
    const files: { path: string; identity: string; bytes: number; changedMs: number }[] = []
    for (const path of paths) {
      const found = await stat(path).catch(() => undefined) // gone again, or a link that leads nowhere
      if (!found?.isFile()) continue
      const { dev, ino, size, mtimeMs } = found
      files.push({ path, identity: `${dev}:${ino}:${size}:${mtimeMs}`, bytes: size, changedMs: mtimeMs })
    }
    return files
  }
}

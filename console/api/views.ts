import type { CameraAddress } from '../../wire/topics.ts'
import type { Access, Caller } from '../access/access.ts'

/** Who has looked at recordings goes to the audit log: once for a while of looking, not once a chunk. */

/** So long somebody looks at a camera, for one entry. */
const LOOK_MS = 10 * 60_000
/** And at another hour of it is another look. */
const HOUR_MS = 3_600_000
const LOOKS_MAX = 10_000

export class Views {
  readonly #access: Pick<Access, 'record'>
  /** By person and what he looks at: until when. The oldest first. */
  readonly #until = new Map<string, number>()

  private constructor(access: Pick<Access, 'record'>) {
    this.#access = access
  }

  /** One for all routes: a playlist and its chunks are one look. */
  static of(access: Pick<Access, 'record'>): Views {
    const known = VIEWS.get(access) ?? new Views(access)
    VIEWS.set(access, known)
    return known
  }

  /** Before anything is shown. Errors: those of the database; then nothing is. @param atMs of what is looked at */
  async looked(
    caller: Caller,
    { site, device, camera }: CameraAddress,
    atMs: number,
    what = 'recording.view',
  ): Promise<void> {
    const path = `${site}/${device}/${camera}`
    const hourMs = Math.floor(atMs / HOUR_MS) * HOUR_MS
    const key = `${caller.by} ${caller.id} ${caller.person.name} ${what} ${path} ${hourMs}`
    const now = performance.now()
    if ((this.#until.get(key) ?? 0) > now) return
    await this.#access.record(caller, {
      what,
      target: path,
      detail: { from: new Date(hourMs).toISOString() },
    })
    this.#until.delete(key)
    this.#until.set(key, now + LOOK_MS)
    for (const [oldest, until] of this.#until) {
      if (this.#until.size <= LOOKS_MAX && until > now) break
      this.#until.delete(oldest)
    }
  }
}

const VIEWS = new WeakMap<object, Views>()

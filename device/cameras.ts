import { isDeepStrictEqual } from 'node:util'
import { asFailure } from '../lib/errors.ts'
import type { Log } from '../lib/log.ts'
import type { CameraConfig } from './config.ts'
import { continueFolder } from './sources/open.ts'

/** Of the agent: what works on one camera. */
export interface Works {
  add(camera: CameraConfig): void | Promise<void>
  remove(name: string): void | Promise<void>
  /** Its source stays as it is. */
  change?(camera: CameraConfig): void
}

export interface CamerasOptions {
  /** Reads it. It is the last to begin and the first to end. */
  readonly agent: Works
  /** What is asked by the agent for each frame, and told by the recorder: it is there as long as those. */
  readonly others: readonly Works[]
  readonly recorder: Works
  /** What shall hold now, by name. */
  readonly wanted: () => ReadonlyMap<string, CameraConfig>
  /** Told of a camera that goes on by other settings, before it does. */
  readonly replaced?: (before: CameraConfig, after: CameraConfig) => void
  readonly log: Log
}

export interface TurnOptions {
  readonly all?: boolean
  readonly isBack?: boolean
}

/**
 * Cameras that come, go and change while the agent runs, one change of a camera after the other. One whose source or recording
 * is set otherwise is gone, with its last chunk, before it is there again, so that nothing of it works by the old settings
 * (masks, say); one of which only what is made of its frames has changed goes on, without its source being opened again.
 */
export class Cameras {
  readonly #options: CamerasOptions
  /** Cameras that work, and by which settings. */
  readonly #working = new Map<string, CameraConfig>()
  /** The last change of each that is under way. */
  readonly #changes = new Map<string, Promise<void>>()
  /** Those that have to begin anew, also where their settings are the same: of a stream that was removed and is there again. */
  readonly #anew = new Set<string>()
  /** All of them at once. */
  #turning: Promise<void> | undefined

  /** @param initial those that everything was opened with */
  constructor(options: CamerasOptions, initial: Iterable<CameraConfig>) {
    this.#options = options
    for (const camera of initial) this.#working.set(camera.name, camera)
  }

  /** A camera has come or gone, or begins anew. Resolves when it works as it should now; never rejects. */
  changed(name: string): Promise<void> {
    this.#anew.add(name)
    const change = (this.#changes.get(name) ?? Promise.resolve())
      .then(() => this.#turning)
      .then(() => this.#settle(name))
      .catch((error: unknown) => {
        const { code, message } = asFailure(error)
        this.#options.log.error({ camera: name, code }, message)
      })
    this.#changes.set(name, change)
    void change.then(() => {
      if (this.#changes.get(name) === change) this.#changes.delete(name)
    })
    return change
  }

  /** Resolves when nothing is being changed. */
  async settled(): Promise<void> {
    while (this.#turning !== undefined || this.#changes.size > 0)
      await Promise.allSettled([this.#turning, ...this.#changes.values()])
  }

  /**
   * All at once: those that cannot go on end, `turn` makes the others wanted, and then all work by these. One at a time. Rejects
   * with what fails, and what has begun by then works.
   * @param next what will be wanted, as far as that is known
   * @param options `all`: no camera can go on; `isBack`: to what was before, of which nobody is told as of something new
   */
  async turn(
    next: ReadonlyMap<string, CameraConfig>,
    turn: () => void | Promise<void>,
    options: TurnOptions = {},
  ): Promise<void> {
    while (this.#changes.size > 0) await Promise.allSettled(this.#changes.values())
    const done = this.#turn(next, turn, options)
    const turning = done
      .catch(() => {})
      .finally(() => {
        if (this.#turning === turning) this.#turning = undefined
      })
    this.#turning = turning
    await done
  }

  async #turn(
    next: ReadonlyMap<string, CameraConfig>,
    turn: () => void | Promise<void>,
    { all = false, isBack = false }: TurnOptions,
  ): Promise<void> {
    const { agent, others, wanted, replaced } = this.#options
    const before = new Map(this.#working)
    const ending = [...before].filter(([name, camera]) => {
      const after = next.get(name)
      return all || !after || !isSameSource(camera, after)
    })
    await Promise.all(ending.map(([name]) => this.#end(name)))
    await turn()
    for (const [name, after] of wanted()) {
      const had = before.get(name)
      if (had && !isBack && !isDeepStrictEqual(had, after)) replaced?.(had, after)
    }
    // At once, before anything is waited for.
    for (const [name, camera] of this.#working) {
      const after = wanted().get(name)
      if (!after || isDeepStrictEqual(camera, after)) continue
      if (this.#anew.has(name) || !isSameSource(camera, after)) continue
      this.#working.set(name, after)
      for (const it of others) it.change?.(after)
      agent.change?.(after)
    }
    for (const name of new Set([...this.#working.keys(), ...wanted().keys()])) {
      const had = before.get(name)
      const after = wanted().get(name)
      if (had && after) continueFolder(had, after)
      await this.#settle(name)
    }
  }

  async #settle(name: string): Promise<void> {
    const { agent, recorder, others, wanted } = this.#options
    const isSame = isDeepStrictEqual(this.#working.get(name), wanted().get(name))
    if (!this.#anew.delete(name) && isSame) return
    await this.#end(name)
    const camera = wanted().get(name) // by now it may be another one
    if (!camera) return
    this.#working.set(name, camera)
    for (const it of others) await it.add(camera)
    await recorder.add(camera)
    await agent.add(camera)
  }

  async #end(name: string): Promise<void> {
    const { agent, recorder, others } = this.#options
    if (!this.#working.delete(name)) return
    await agent.remove(name)
    await recorder.remove(name)
    for (const it of others) await it.remove(name)
  }
}

/** Whether one goes on as the other without its source being opened again. */
function isSameSource(a: CameraConfig, b: CameraConfig): boolean {
  return isDeepStrictEqual(sourceOf(a), sourceOf(b))
}

/** Without what is made of its frames. */
function sourceOf(camera: CameraConfig) {
  const { paused, scoreMin, sizeMin, emit, crop, zones, motion, view, record, process, ...source } = camera
  const { mode, ...recording } = record
  return { source, recording }
}

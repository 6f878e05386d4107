import { asFailure } from '../lib/errors.ts'
import type { Log } from '../lib/log.ts'
import type { CameraConfig } from './config.ts'

/** Of the agent: what works on one camera. */
interface Works {
  add(camera: CameraConfig): void | Promise<void>
  remove(name: string): void | Promise<void>
}

export interface PushedCamerasOptions {
  /** Reads it. It is the last to begin and the first to end. */
  readonly agent: Works
  /** What is asked by the agent for each frame, and told by the recorder: it is there as long as those. */
  readonly others: readonly Works[]
  readonly recorder: Works
  /** What holds now. */
  readonly camera: (name: string) => CameraConfig | undefined
  readonly log: Log
}

/**
 * Cameras that come and go while the agent runs, one change of a camera after the other: one whose settings have changed is
 * gone, with its last chunk, before it is there again, so that nothing of it works by the old ones (masks, an effect).
 */
export class PushedCameras {
  readonly #options: PushedCamerasOptions
  /** Cameras that work, and by which settings. */
  readonly #working = new Map<string, CameraConfig>()
  /** The last change of each that is under way. */
  readonly #changes = new Map<string, Promise<void>>()

  /** @param initial those that everything was opened with */
  constructor(options: PushedCamerasOptions, initial: readonly CameraConfig[]) {
    this.#options = options
    for (const camera of initial) this.#working.set(camera.name, camera)
  }

  /** Something of a camera has changed. Resolves when it works as it should now; never rejects. */
  changed(name: string): Promise<void> {
    const change = (this.#changes.get(name) ?? Promise.resolve())
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

  async #settle(name: string): Promise<void> {
    const { agent, recorder, others, camera } = this.#options
    if (this.#working.get(name) === camera(name)) return
    if (this.#working.delete(name)) {
      await agent.remove(name)
      await recorder.remove(name)
      for (const it of others) await it.remove(name)
    }
    const wanted = camera(name) // by now it may be another one
    if (!wanted) return
    this.#working.set(name, wanted)
    for (const it of others) await it.add(wanted)
    await recorder.add(wanted)
    await agent.add(wanted)
  }
}

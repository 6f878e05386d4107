import { asFailure, SightlineError } from '../../../lib/errors.ts'
import type { Log } from '../../../lib/log.ts'
import { REMOTE_TRIED_LOOKS, REMOTE_TRIED_MS } from '../../limits.ts'
import type { Detection, Detector, Input, Picture, Whereabouts } from '../detector.ts'
import { fitted } from './fitted.ts'

export interface FallbackOptions extends Pick<Detector, 'model' | 'runtime' | 'scoreMin'> {
  readonly input: Input
  /** Looks elsewhere. Errors: INFERENCE_*. */
  readonly remote: Pick<Detector, 'detect'>
  /** The servers: whether one can be asked, and why not. */
  readonly pool: { readonly isUp: boolean; readonly trouble: string | undefined } & AsyncDisposable
  /** Takes over while no server can be asked. */
  readonly local: Detector | undefined
  /** Of one look at servers, ms. */
  readonly deadlineMs: number
  readonly log: Log
  /** Called when it looks elsewhere than before. */
  readonly changed: () => void
}

/**
 * Looks at servers, and here while none can be asked.
 *
 *     remote  -- no server can be asked -->  local  -- one can: frames go both ways for a while, and all is well -->  remote
 *
 * Without a detector here, nobody looks meanwhile: `detect` fails, and never says that nobody is there.
 */
export class FallbackDetector implements Detector {
  readonly model: string
  readonly runtime: string
  readonly input: Input
  readonly scoreMin: number
  readonly #options: FallbackOptions
  readonly #local: Pick<Detector, 'detect'> | undefined
  readonly #running = new Set<Promise<unknown>>()
  #whereabouts: Whereabouts
  /** Of a server that can be asked again: since when, and what it has looked at rightly. By performance.now(). */
  #trial: { readonly sinceMs: number; looks: number } | undefined
  #isTrying = false
  #closed: Promise<void> | undefined

  constructor(options: FallbackOptions) {
    this.#options = options
    this.model = options.model
    this.runtime = options.runtime
    this.input = options.input
    this.scoreMin = options.scoreMin
    this.#local = options.local && fitted(options.local, options.input)
    this.#whereabouts = { on: 'remote', why: null, sinceMs: Date.now() }
    this.poolChanged()
  }

  get whereabouts(): Whereabouts {
    return this.#whereabouts
  }

  /** A server can be asked, or no longer. */
  poolChanged(): void {
    const { pool } = this.#options
    const { on, why } = this.#whereabouts
    if (pool.isUp) {
      if (on === 'none') this.#set('remote', null)
      if (on === 'local') this.#trial ??= { sinceMs: performance.now(), looks: 0 }
      return
    }
    this.#trial = undefined
    const now = this.#local ? 'local' : 'none'
    const trouble = pool.trouble ?? null
    if (on !== now || why !== trouble) this.#set(now, trouble)
  }

  #set(on: Whereabouts['on'], why: string | null): void {
    const { log, local, changed } = this.#options
    const before = this.#whereabouts.on
    this.#whereabouts = {
      on,
      why,
      sinceMs: on === before ? this.#whereabouts.sinceMs : Date.now(),
    }
    if (on === 'remote') this.#trial = undefined
    if (on !== before) {
      if (on === 'remote') log.info('faces are detected at the inference servers')
      else if (on === 'local')
        log.warn({ model: local?.model, runtime: local?.runtime }, `faces are detected here: ${why}`)
      else log.error(`faces are not detected: ${why}`)
    }
    changed()
  }

  async detect(picture: Picture): Promise<Detection[]> {
    if (this.#closed) throw new Error('the detector is closed')
    return await this.#track(this.#detect(picture))
  }

  async #detect(picture: Picture): Promise<Detection[]> {
    const { remote, deadlineMs } = this.#options
    if (!this.#local) return await remote.detect(picture)
    if (this.#whereabouts.on === 'local') {
      this.#try(picture)
      return await this.#here(this.#local, picture)
    }
    const startMs = performance.now()
    try {
      return await remote.detect(picture)
    } catch (error) {
      // What failed soon is looked at here; a late frame is an old one.
      const isOld = performance.now() - startMs > deadlineMs / 2
      if (isOld || !(error instanceof SightlineError) || !error.code.startsWith('INFERENCE_')) throw error
      return await this.#here(this.#local, picture)
    }
  }

  async #here(local: Pick<Detector, 'detect'>, picture: Picture): Promise<Detection[]> {
    const model = this.#options.local?.model
    const faces = await local.detect(picture)
    return model === this.model ? faces : faces.map((face) => ({ ...face, model }))
  }

  /** Asks the servers too, and goes back to them once they have answered well for a while. One frame at a time. */
  #try(picture: Picture): void {
    const trial = this.#trial
    if (!trial || this.#isTrying) return
    this.#isTrying = true
    const tried = async () => {
      try {
        await this.#options.remote.detect({ ...picture, data: picture.data.slice() })
        trial.looks += 1
        const isLong = performance.now() - trial.sinceMs >= REMOTE_TRIED_MS
        if (trial === this.#trial && trial.looks >= REMOTE_TRIED_LOOKS && isLong) this.#set('remote', null)
      } catch (error) {
        this.#options.log.debug({ code: asFailure(error).code }, asFailure(error).message)
        if (trial === this.#trial) this.#trial = { sinceMs: performance.now(), looks: 0 }
      } finally {
        this.#isTrying = false
      }
    }
    void this.#track(tried())
  }

  #track<Value>(promise: Promise<Value>): Promise<Value> {
    const running = promise.then(
      () => void this.#running.delete(running),
      () => void this.#running.delete(running),
    )
    this.#running.add(running)
    return promise
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closed ??= Promise.all(this.#running).then(async () => {
      await this.#options.pool[Symbol.asyncDispose]()
      await this.#options.local?.[Symbol.asyncDispose]()
    })
    return this.#closed
  }
}

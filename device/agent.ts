import { Backoff } from '../lib/backoff.ts'
import { asFailure, type SightlineError } from '../lib/errors.ts'
import type { Log } from '../lib/log.ts'
import { idMinter } from '../wire/id.ts'
import type { CameraConfig, DeviceConfig } from './config.ts'
import type { Detector } from './detect/detector.ts'
import { Emitter } from './emit.ts'
import { SOURCE_RETRY_MS_MAX, SOURCE_RETRY_MS_MIN } from './limits.ts'
import type { Meters } from './meters.ts'
import type { Publisher } from './publish.ts'
import { isRetried, nameOf, openSource } from './sources/open.ts'
import type { Source } from './sources/source.ts'

export interface AgentParts {
  readonly config: DeviceConfig
  readonly detector: Detector
  readonly publisher: Pick<Publisher, 'offer' | 'room' | 'say'>
  readonly meters: Meters
  readonly log: Log
  /** Opens a camera's source; `openSource` where absent. */
  readonly open?: typeof openSource
  /** Called when a camera goes up or down. */
  readonly onState: (states: ReadonlyMap<string, string>) => void
}

/**
 * The capture agent: for each camera, source -> detect -> emit (follow, choose, crop, publish).
 *
 * Three frames are on their way at a time: while one is looked at, the next is decoded and scaled, and the crops of
 * the one before are encoded. Whoever is slowest sets the pace; no queue grows.
 */
export class Agent {
  readonly #parts: AgentParts
  readonly #mint = idMinter()
  /** Pixels of best shots, of all cameras. */
  readonly #held = { bytes: 0 }
  /** By camera: `up`, `ended`, or what is wrong. */
  readonly states = new Map<string, string>()

  constructor(parts: AgentParts) {
    this.#parts = parts
  }

  /** Runs all cameras until their sources end. Throws the first failure of a file once all have ended. */
  async run(signal: AbortSignal): Promise<void> {
    for (const { name } of this.#parts.config.cameras) this.states.set(name, 'opening')
    const results = await Promise.allSettled(
      this.#parts.config.cameras.map((camera) => this.#camera(camera, signal)),
    )
    const failed = results.find((result) => result.status === 'rejected')
    if (failed) throw failed.reason
  }

  /** Opens a camera's source, and opens it again for as long as it is one that may come back. */
  async #camera(camera: CameraConfig, signal: AbortSignal): Promise<void> {
    const { log, meters, open = openSource } = this.#parts
    const { name } = camera
    const backoff = new Backoff({ delayMsMin: SOURCE_RETRY_MS_MIN, delayMsMax: SOURCE_RETRY_MS_MAX })
    while (!signal.aborted) {
      try {
        await using source = await open(camera, this.#context(name), signal)
        log.info({ camera: name, source: source.name, live: source.live }, 'camera opened')
        await this.#watch(camera, source, signal, () => {
          backoff.reset()
          this.#state(name, 'up')
        })
        return this.#state(name, 'ended')
      } catch (error) {
        if (signal.aborted) break
        const fault = asFailure(error)
        this.#state(name, `down: ${fault.message}`)
        meters.sourceFailures.inc({ camera: name })
        log.error({ camera: name, code: fault.code, source: nameOf(camera.source) }, fault.message)
        if (!canRetry(camera, fault)) throw fault
        await backoff.wait(signal).catch(() => {})
      }
    }
    this.#state(name, 'ended')
  }

  /** The pipeline. */
  async #watch(camera: CameraConfig, source: Source, signal: AbortSignal, alive: () => void): Promise<void> {
    const { detector, meters } = this.#parts
    const emitter = new Emitter({
      ...this.#parts,
      camera: camera.name,
      lossless: source.lossless,
      mint: this.#mint,
      held: this.#held,
    })
    const frames = source[Symbol.asyncIterator]()
    let upcoming = frames.next()
    let emitting: Promise<void> = Promise.resolve()
    try {
      for (;;) {
        const { value: frame, done } = await upcoming
        if (done || !frame) break
        upcoming = frames.next()
        upcoming.catch(() => {}) // awaited in the next round
        alive()
        meters.framesCaptured.inc({ camera: camera.name })
        const stop = meters.detectSeconds.startTimer()
        const faces = await detector.detect(frame.scaled).catch((error: unknown) => {
          frame[Symbol.dispose]()
          throw error
        })
        stop()
        await emitting
        emitting = emitter.see(frame, faces, signal)
        emitting.catch(() => {}) // awaited in the next round
      }
    } finally {
      await frames.return?.()
      await upcoming.then(({ value }) => value?.[Symbol.dispose]()).catch(() => {})
      // However it ended: whoever was seen is published.
      await emitting.finally(() => emitter.end(signal))
    }
  }

  #context(camera: string) {
    const { detector, meters, log } = this.#parts
    return {
      input: detector.input,
      log,
      events: {
        skipped: (reason: string, frames: number) => meters.framesSkipped.inc({ camera, reason }, frames),
        damaged: (what: string) => meters.damaged.inc({ camera, what }),
      },
    }
  }

  #state(camera: string, state: string): void {
    if (this.states.get(camera) === state) return
    this.states.set(camera, state)
    this.#parts.meters.sourceUp.set({ camera }, state === 'up' ? 1 : 0)
    this.#parts.onState(this.states)
  }
}

/** Live sources come back; so does whatever fails for want of a network. What is wrong in itself stays wrong. */
function canRetry(camera: CameraConfig, fault: SightlineError): boolean {
  return (
    isRetried(camera.source) && (fault.code === 'SOURCE_UNAVAILABLE' || fault.code === 'SOURCE_UNREADABLE')
  )
}

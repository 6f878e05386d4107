import { isDeepStrictEqual } from 'node:util'
import { Backoff } from '../lib/backoff.ts'
import { asFailure, type SightlineError } from '../lib/errors.ts'
import type { Log } from '../lib/log.ts'
import type { CropMetadata } from '../wire/crop.ts'
import { idMinter } from '../wire/id.ts'
import type { CameraConfig, DeviceConfig } from './config.ts'
import type { Detector } from './detect/detector.ts'
import { Emitter, type Present } from './faces/emit.ts'
import { MotionGate } from './faces/motion.ts'
import { SceneWatch, type View } from './faces/scene.ts'
import { SOURCE_RETRY_MS_MAX, SOURCE_RETRY_MS_MIN } from './limits.ts'
import type { Publisher } from './link/publish.ts'
import type { Seal } from './link/seal.ts'
import type { Meters } from './meters.ts'
import type { Recorder } from './record/recorder.ts'
import { type CameraSettings, configuredSettings, type SettingsSource } from './settings.ts'
import { nameOf } from './sources/address.ts'
import { isRetried, openSource } from './sources/open.ts'
import type { PushedStreams, Source } from './sources/source.ts'
import type { Effects } from './view/effects.ts'
import type { Watcher } from './view/watcher.ts'

export interface AgentParts {
  readonly config: DeviceConfig
  readonly detector: Detector
  readonly publisher: Pick<Publisher, 'offer' | 'room' | 'say'>
  readonly meters: Meters
  readonly log: Log
  /** Opens a camera's source; `openSource` where absent. */
  readonly open?: typeof openSource
  /** Makes the message of a crop; `PLAIN_SEAL` where absent. */
  readonly seal?: Seal
  /** What holds for each camera; what the configuration says where absent. */
  readonly remote?: SettingsSource
  /** Filled by the agent. */
  readonly states?: Map<string, string>
  /** What the sources give is recorded, where that is set. */
  readonly recorder?: Pick<Recorder, 'tap' | 'set' | 'moved'>
  /** Who looks at frames beside the pipeline. */
  readonly watchers?: readonly Watcher[]
  /** Told where faces are, before those who look. */
  readonly effects?: Pick<Effects, 'looked' | 'still'>
  /** Cameras that come to this device; they come and go while it runs. */
  readonly streams?: PushedStreams & { readonly cameras: readonly CameraConfig[] }
  /** Called for each crop that is handed to the publisher. */
  readonly onCrop?: (crop: CropMetadata) => void
  /** Called when the faces that a camera sees have changed; undefined: nobody looks any more. */
  readonly onPresent?: (camera: string, present: Present | undefined) => void
  /** Called when a live camera sees its scene no longer, or again; undefined: nobody looks any more. */
  readonly onView?: (camera: string, view: View | undefined) => void
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
  /** Of cameras that come to this device, by name: what ends each. */
  readonly #pushed = new Map<string, { readonly stop: AbortController; done: Promise<void> }>()
  #signal: AbortSignal | undefined
  /** By camera: `up`, `waiting`, `ended`, or what is wrong. */
  readonly states: Map<string, string>

  constructor(parts: AgentParts) {
    this.#parts = parts
    this.states = parts.states ?? new Map()
  }

  /** Runs all cameras until their sources end. Throws the first failure of a file once all have ended. */
  async run(signal: AbortSignal): Promise<void> {
    const { config, streams } = this.#parts
    this.#signal = signal
    for (const { name } of config.cameras) this.states.set(name, 'opening')
    for (const camera of streams?.cameras ?? []) this.add(camera)
    const results = await Promise.allSettled([
      ...config.cameras.map((camera) => this.#camera(camera, signal)),
      ...(streams ? [stopped(signal)] : []), // a stream may come at any time
    ])
    await Promise.all([...this.#pushed.values()].map(({ done }) => done))
    const failed = results.find((result) => result.status === 'rejected')
    if (failed) throw failed.reason
  }

  /** A camera that comes to this device, from now on. Before `run` it is there already. */
  add(camera: CameraConfig): void {
    const { name } = camera
    const signal = this.#signal
    if (!signal) return
    const before = this.#pushed.get(name)?.done
    const stop = new AbortController()
    const run = async () => {
      await before // its last faces are out
      this.states.delete(name)
      await this.#camera(camera, AbortSignal.any([signal, stop.signal]))
    }
    const done = run().catch((error: unknown) => {
      const { code, message } = asFailure(error)
      this.#parts.log.error({ camera: name, code }, message)
    })
    this.#pushed.set(name, { stop, done })
  }

  /** Ends one that was added. Its state is no more once it has ended. */
  async remove(name: string): Promise<void> {
    const running = this.#pushed.get(name)
    running?.stop.abort()
    await running?.done
    if (this.#pushed.get(name) !== running) return // it is there again
    this.#pushed.delete(name)
    this.states.delete(name)
    this.#parts.onState(this.states)
  }

  /** Opens a camera's source, and opens it again for as long as it is one that may come back. */
  async #camera(camera: CameraConfig, signal: AbortSignal): Promise<void> {
    const { log, meters, recorder, open = openSource } = this.#parts
    const { name } = camera
    const backoff = new Backoff({ delayMsMin: SOURCE_RETRY_MS_MIN, delayMsMax: SOURCE_RETRY_MS_MAX })
    let wasLive: boolean | undefined
    // Whoever turns a camera may pull its plug before.
    const scene = new SceneWatch({ hasMasks: camera.masks.length > 0 })
    while (!signal.aborted) {
      try {
        await using source = await open(camera, this.#context(name), signal)
        wasLive = source.live
        log.info({ camera: name, source: source.name, live: source.live }, 'camera opened')
        if (source.isPatient) this.#state(name, 'up')
        await this.#watch(camera, source, scene, signal, () => {
          backoff.reset()
          this.#state(name, 'up')
        })
        if (!source.comesAgain || signal.aborted) return this.#state(name, 'ended')
      } catch (error) {
        if (signal.aborted) break
        const fault = asFailure(error)
        const down = `down: ${fault.message}`
        const isNews = this.states.get(name) !== down
        this.#state(name, down)
        meters.sourceFailures.inc({ camera: name })
        const isLast = !canRetry(camera, fault, wasLive)
        // What ends the program is said at its end; what fails again for the same reason was said.
        if (isNews && !(isLast && this.#parts.config.cameras.length === 1 && !this.#parts.streams))
          log.error({ camera: name, code: fault.code, source: nameOf(camera.source) }, fault.message)
        recorder?.tap(name)?.closed()
        if (isLast) throw fault
        await backoff.wait(signal).catch(() => {})
      }
    }
    this.#state(name, 'ended')
  }

  /** The pipeline. */
  async #watch(
    camera: CameraConfig,
    source: Source,
    scene: SceneWatch,
    signal: AbortSignal,
    alive: () => void,
  ): Promise<void> {
    const { config, detector, meters, remote, recorder } = this.#parts
    let settings = remote?.settings(camera.name) ?? configuredSettings(config, detector.scoreMin, camera)
    recorder?.set(camera.name, settings.record, settings.paused)
    let told: CameraSettings | undefined
    let heed = () => {}
    const unfollow = remote?.follow(camera.name, (changed) => {
      recorder?.set(camera.name, changed.record, changed.paused)
      // What is recorded and what viewers see ends no track.
      if (!told && isSamePipeline(changed, settings)) {
        settings = changed
        return
      }
      told = changed
      heed()
    })
    let emitter = this.#emitter(camera.name, source, settings)
    /** Heeds what it was told; where no frame may be passed over, waits until it is not paused. */
    const isPaused = async (): Promise<boolean> => {
      for (;;) {
        if (told) {
          const before = settings
          settings = told
          told = undefined
          if (!isSamePipeline(settings, before)) {
            // Whoever was followed until now is published as things stood.
            await emitting
            await emitter.end(signal)
            emitter = this.#emitter(camera.name, source, settings)
          }
        }
        if (!settings.paused) return false
        if (!source.lossless || !remote || signal.aborted) return true
        await new Promise<void>((resolve) => {
          heed = resolve
          signal.addEventListener('abort', () => resolve(), { once: true })
          if (told || signal.aborted) resolve()
        })
      }
    }
    let view: View | undefined
    const sayView = (now: View | undefined) => {
      if (now === view) return
      view = now
      this.#parts.onView?.(camera.name, now)
    }
    const gate = camera.motion.enabled ? new MotionGate(camera.motion) : undefined
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
        const paused = await isPaused().catch((error: unknown) => {
          frame[Symbol.dispose]()
          throw error
        })
        if (paused) {
          frame[Symbol.dispose]()
          meters.framesSkipped.inc({ camera: camera.name, reason: 'paused' })
          continue
        }
        if (source.live && settings.watchView && frame.atMs !== undefined) {
          scene.take(frame.scaled, frame.atMs, frame.capturedAtMs)
          sayView(scene.view)
        } else sayView(undefined)
        const isStill = gate && frame.atMs !== undefined && !gate.take(frame.scaled, frame.atMs)
        if (gate) recorder?.moved(camera.name, frame.capturedAtMs, !isStill)
        if (isStill) {
          await emitting
          emitting = emitter.still(frame, signal)
          emitting.catch(() => {}) // awaited in the next round
          meters.framesSkipped.inc({ camera: camera.name, reason: 'still scene' })
          continue
        }
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
      unfollow?.()
      sayView(undefined)
      await frames.return?.()
      await upcoming.then(({ value }) => value?.[Symbol.dispose]()).catch(() => {})
      // However it ended: whoever was seen is published.
      await emitting.finally(() => emitter.end(signal))
    }
  }

  #emitter(camera: string, source: Source, settings: CameraSettings): Emitter {
    const { config, detector } = this.#parts
    const { scoreMin, rate, first, zones } = settings
    return new Emitter({
      ...this.#parts,
      config: { ...config, emit: { ...config.emit, rateMax: rate, first } },
      zones,
      detector: { model: detector.model, scoreMin },
      camera,
      lossless: source.lossless,
      mint: this.#mint,
      held: this.#held,
    })
  }

  #context(camera: string) {
    const { detector, meters, log, streams } = this.#parts
    return {
      input: detector.input,
      log,
      tap: this.#parts.recorder?.tap(camera),
      streams,
      events: {
        skipped: (reason: string, frames: number) => meters.framesSkipped.inc({ camera, reason }, frames),
        damaged: (what: string) => meters.damaged.inc({ camera, what }),
        waiting: () => this.#state(camera, 'waiting'),
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

const isSamePipeline = (a: CameraSettings, b: CameraSettings) =>
  a.paused === b.paused &&
  a.scoreMin === b.scoreMin &&
  a.rate === b.rate &&
  a.first === b.first &&
  isDeepStrictEqual(a.zones, b.zones)

const stopped = (signal: AbortSignal) =>
  new Promise<void>((resolve) => {
    signal.addEventListener('abort', () => resolve(), { once: true })
    if (signal.aborted) resolve()
  })

/**
 * Live sources come back; so does whatever fails for want of a network. What is wrong in itself stays wrong: a recording
 * that could be opened (`wasLive` is false) is one that is cut off or damaged. A password's file may be away for a moment.
 */
function canRetry(camera: CameraConfig, { code }: SightlineError, wasLive: boolean | undefined): boolean {
  if (!isRetried(camera)) return false
  return (
    code === 'SOURCE_UNAVAILABLE' ||
    (code === 'SOURCE_UNREADABLE' && wasLive !== false) ||
    (code === 'CONFIG_NOT_FOUND' && wasLive === true)
  )
}

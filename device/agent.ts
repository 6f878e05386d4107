import { isDeepStrictEqual } from 'node:util'
import { Backoff } from '../lib/backoff.ts'
import { asFailure, SightlineError } from '../lib/errors.ts'
import type { Log } from '../lib/log.ts'
import type { CropMetadata } from '../wire/crop.ts'
import { idMinter } from '../wire/id.ts'
import type { CameraConfig, DeviceConfig } from './config.ts'
import type { Detection, Detector } from './detect/detector.ts'
import { Emitter, type Present } from './faces/emit.ts'
import { MotionGate } from './faces/motion.ts'
import { SceneWatch, type View } from './faces/scene.ts'
import type { Frame } from './frame.ts'
import {
  DETECT_LOST_MS,
  LOOK_AGAIN_MS_MAX,
  LOOK_AGAIN_MS_MIN,
  LOOKS_WRONG_MAX,
  SOURCE_RETRY_MS_MAX,
  SOURCE_RETRY_MS_MIN,
} from './limits.ts'
import type { Publisher } from './link/publish.ts'
import type { Seal } from './link/seal.ts'
import type { Meters } from './meters.ts'
import type { Processing } from './process/processing.ts'
import type { Recorder } from './record/recorder.ts'
import { type CameraSettings, configuredSettings, type SettingsSource } from './settings.ts'
import { kindOf, nameOf } from './sources/address.ts'
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
  /** Looks at each face that is published. */
  readonly processing?: Pick<Processing, 'attributes' | 'looksAt'>
  /** Who looks at frames beside the pipeline. */
  readonly watchers?: readonly Watcher[]
  /** Told where faces are, before those who look. */
  readonly effects?: Pick<Effects, 'looked' | 'still' | 'unlooked'>
  /** Cameras that come to this device; they come and go while it runs. */
  readonly streams?: PushedStreams
  /** Those that it begins with; the configuration's where absent. */
  readonly cameras?: readonly CameraConfig[]
  /** Cameras may come at any time: without one it goes on. */
  readonly stays?: boolean
  /** Resolves when no camera is being changed. */
  readonly settled?: () => Promise<void>
  /** Called for each crop that is handed to the publisher. */
  readonly onCrop?: (crop: CropMetadata) => void
  /** Called when the faces that a camera sees have changed; undefined: nobody looks any more. */
  readonly onPresent?: (camera: string, present: Present | undefined) => void
  /** Called when a live camera sees its scene no longer, or again; undefined: nobody looks any more. */
  readonly onView?: (camera: string, view: View | undefined) => void
  /** Called when a camera goes up or down. */
  readonly onState: (states: ReadonlyMap<string, string>) => void
}

/** A camera that runs, or has ended and is not removed. */
interface Running {
  /** As it was opened. */
  readonly opened: CameraConfig
  /** By what it works now: the same source. */
  camera: CameraConfig
  readonly stop: AbortController
  done: Promise<void>
  /** What it failed of, for good. */
  failure: unknown
  /** Tells its pipeline of something new. */
  heed: (news: Partial<Pipeline>) => void
}

/** By what faces become crops. */
interface Pipeline {
  readonly camera: CameraConfig
  readonly detector: Detector
  readonly settings: CameraSettings
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
  /** By name. */
  readonly #running = new Map<string, Running>()
  #detector: Detector
  #signal: AbortSignal | undefined
  /** By camera: `up`, `waiting`, `ended`, or what is wrong. */
  readonly states: Map<string, string>

  constructor(parts: AgentParts) {
    this.#parts = parts
    this.#detector = parts.detector
    this.states = parts.states ?? new Map()
  }

  /** Runs all cameras until their sources end. Throws the first failure of a file once all have ended. */
  async run(signal: AbortSignal): Promise<void> {
    const { config, stays, settled } = this.#parts
    this.#signal = signal
    const initial = this.#parts.cameras ?? config.cameras
    for (const camera of initial) this.add(camera)
    if (stays) await stopped(signal)
    for (;;) {
      const seen = [...this.#running.values()]
      await Promise.all(seen.map(({ done }) => done))
      await settled?.()
      if (seen.length === this.#running.size && seen.every((it) => this.#running.get(it.camera.name) === it))
        break
    }
    // Who publishes to this device, or was added from afar, may fail without it.
    const failed = [...this.#running.values()].find(
      ({ opened, failure }) =>
        failure !== undefined && initial.includes(opened) && kindOf(opened.source) !== 'pushed',
    )
    if (failed) throw failed.failure
  }

  /** A camera from now on. Before `run` it is there already. */
  add(camera: CameraConfig): void {
    const { name } = camera
    const signal = this.#signal
    if (!signal) return
    const before = this.#running.get(name)?.done
    const running: Running = {
      ...{ opened: camera, camera, stop: new AbortController(), done: Promise.resolve(), failure: undefined },
      heed: () => {},
    }
    const run = async () => {
      await before // its last faces are out
      this.states.set(name, 'opening')
      await this.#camera(running, AbortSignal.any([signal, running.stop.signal]))
    }
    if (!before) this.states.set(name, 'opening')
    running.done = run().catch((error: unknown) => {
      running.failure = error
    })
    this.#running.set(name, running)
  }

  /** Ends one. Its state is no more once it has ended. */
  async remove(name: string): Promise<void> {
    const running = this.#running.get(name)
    running?.stop.abort()
    await running?.done
    if (this.#running.get(name) !== running) return // it is there again
    this.#running.delete(name)
    this.states.delete(name)
    this.#parts.onState(this.states)
  }

  /** One whose source stays as it is works by this from its next frame on. */
  change(camera: CameraConfig): void {
    const running = this.#running.get(camera.name)
    if (!running) return
    running.camera = camera
    running.heed({ camera })
  }

  /** All cameras look with this one from their next frame on: with frames of the same size. */
  useDetector(detector: Detector): void {
    this.#detector = detector
    for (const running of this.#running.values()) running.heed({ detector })
  }

  /** Opens a camera's source, and opens it again for as long as it is one that may come back. */
  async #camera(running: Running, signal: AbortSignal): Promise<void> {
    const { log, meters, recorder, open = openSource } = this.#parts
    const camera = running.opened
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
        await this.#watch(running, source, scene, signal, (blind) => {
          backoff.reset()
          this.#state(name, blind === undefined ? 'up' : `down: ${blind}`)
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
        if (isNews && !(isLast && this.#running.size === 1 && !this.#parts.stays))
          log.error({ camera: name, code: fault.code, source: nameOf(camera.source) }, fault.message)
        recorder?.tap(name)?.closed()
        if (isLast) throw fault
        await backoff.wait(signal).catch(() => {})
      }
    }
    this.#state(name, 'ended')
  }

  /** The pipeline. @param alive told of each frame, and why nobody can look at what is seen, where that is so */
  async #watch(
    running: Running,
    source: Source,
    scene: SceneWatch,
    signal: AbortSignal,
    alive: (blind?: string) => void,
  ): Promise<void> {
    const { config, log, meters, remote, recorder } = this.#parts
    const { name } = running.camera
    const settingsOf = (): CameraSettings =>
      remote?.settings(name) ?? configuredSettings(config, this.#detector.scoreMin, running.camera)
    let pipeline: Pipeline = { camera: running.camera, detector: this.#detector, settings: settingsOf() }
    recorder?.set(name, pipeline.settings.record, pipeline.settings.paused)
    let told: Pipeline | undefined
    let heed = () => {}
    running.heed = (news) => {
      told = { ...(told ?? pipeline), ...news }
      if (!remote) told = { ...told, settings: settingsOf() }
      heed()
    }
    const unfollow = remote?.follow(name, (changed) => {
      recorder?.set(name, changed.record, changed.paused)
      running.heed({ settings: changed })
    })
    let emitter = this.#emitter(source, pipeline)
    let gate = gateOf(pipeline.camera)
    /** Heeds what it was told; where no frame may be passed over, waits until it is not paused. */
    const isPaused = async (): Promise<boolean> => {
      for (;;) {
        if (told) {
          const before = pipeline
          pipeline = told
          told = undefined
          if (!isDeepStrictEqual(pipeline.camera.motion, before.camera.motion)) gate = gateOf(pipeline.camera)
          // What is recorded and what viewers see ends no track.
          if (!isSamePipeline(pipeline, before)) {
            // Whoever was followed until now is published as things stood.
            await emitting
            await emitter.end(signal)
            emitter = this.#emitter(source, pipeline)
          }
        }
        if (!told) {
          if (!pipeline.settings.paused) return false
          if (!source.lossless || !remote || signal.aborted) return true
          await new Promise<void>((resolve) => {
            heed = resolve
            signal.addEventListener('abort', () => resolve(), { once: true })
            if (told || signal.aborted) resolve()
          })
        }
      }
    }
    let view: View | undefined
    const sayView = (now: View | undefined) => {
      if (now === view) return
      view = now
      this.#parts.onView?.(name, now)
    }
    /** Why nobody has looked at a frame for long, and since when nobody could look at any. */
    let blind: string | undefined
    let missedSinceMs: number | undefined
    /** Nobody could look, which is no "nobody is here"; after a while nothing is known any more. */
    const missed = async (fault: SightlineError) => {
      missedSinceMs ??= performance.now()
      if (performance.now() - missedSinceMs < DETECT_LOST_MS) return
      if (blind === undefined) {
        log.error({ camera: name, code: fault.code }, `nobody looks at the camera's frames: ${fault.message}`)
        await emitting
        await emitter.end(signal)
        emitter = this.#emitter(source, pipeline)
      }
      blind = fault.message
      alive(blind)
    }
    /** @returns why nobody could look, where that is so */
    const look = async (frame: Frame): Promise<readonly Detection[] | Missed> => {
      const backoff = new Backoff({ delayMsMin: LOOK_AGAIN_MS_MIN, delayMsMax: LOOK_AGAIN_MS_MAX })
      for (let wrong = 0; ; ) {
        const detector = told?.detector ?? pipeline.detector
        try {
          const faces = await detector.detect(frame.scaled)
          if (blind !== undefined) log.info({ camera: name }, "the camera's frames are looked at again")
          blind = undefined
          missedSinceMs = undefined
          return faces
        } catch (error) {
          const reason = missedFor(error)
          if (!reason) throw error
          await missed(error as SightlineError)
          if (reason === 'wrong') wrong += 1
          // A live camera goes on; where no frame may be passed over, it is looked at again.
          if (!source.lossless || signal.aborted || wrong >= LOOKS_WRONG_MAX) return reason
          await backoff.wait(signal).catch(() => {})
        }
      }
    }
    const frames = source[Symbol.asyncIterator]()
    let upcoming = frames.next()
    let emitting: Promise<void> = Promise.resolve()
    try {
      for (;;) {
        const { value: frame, done } = await upcoming
        if (done || !frame) break
        upcoming = frames.next()
        upcoming.catch(() => {}) // awaited in the next round
        alive(blind)
        const paused = await isPaused().catch((error: unknown) => {
          frame[Symbol.dispose]()
          throw error
        })
        if (paused) {
          frame[Symbol.dispose]()
          sayView(undefined)
          meters.framesSkipped.inc({ camera: name, reason: 'paused' })
          continue
        }
        if (source.live && pipeline.camera.view.watch && frame.atMs !== undefined) {
          scene.take(frame.scaled, frame.atMs, frame.capturedAtMs)
          sayView(scene.view)
        } else sayView(undefined)
        const isStill = gate && frame.atMs !== undefined && !gate.take(frame.scaled, frame.atMs)
        if (gate) recorder?.moved(name, frame.capturedAtMs, !isStill)
        if (isStill) {
          await emitting
          // Where nobody could look, what is still is not known either.
          emitting =
            missedSinceMs === undefined ? emitter.still(frame, signal) : emitter.unlooked(frame, signal)
          emitting.catch(() => {}) // awaited in the next round
          meters.framesSkipped.inc({ camera: name, reason: 'still scene' })
          continue
        }
        const stop = meters.detectSeconds.startTimer()
        const faces = await look(frame).catch((error: unknown) => {
          frame[Symbol.dispose]()
          throw error
        })
        if (typeof faces === 'string') {
          await emitting
          emitting = emitter.unlooked(frame, signal)
          emitting.catch(() => {}) // awaited in the next round
          meters.framesSkipped.inc({ camera: name, reason: faces })
          continue
        }
        stop()
        meters.framesCaptured.inc({ camera: name })
        alive()
        await emitting
        emitting = emitter.see(frame, faces, signal)
        emitting.catch(() => {}) // awaited in the next round
      }
    } finally {
      running.heed = () => {}
      unfollow?.()
      sayView(undefined)
      await frames.return?.()
      await upcoming.then(({ value }) => value?.[Symbol.dispose]()).catch(() => {})
      // However it ended: whoever was seen is published.
      await emitting.finally(() => emitter.end(signal))
    }
  }

  #emitter(source: Source, { camera, detector, settings }: Pipeline): Emitter {
    const { config } = this.#parts
    const { scoreMin, rate } = settings
    return new Emitter({
      ...this.#parts,
      config: {
        ...config,
        detect: { ...config.detect, sizeMin: camera.sizeMin ?? config.detect.sizeMin },
        crop: { ...config.crop, ...camera.crop },
        emit: { ...config.emit, ...camera.emit, rateMax: rate },
      },
      zones: camera.zones,
      detector: { model: detector.model, scoreMin },
      camera: camera.name,
      lossless: source.lossless,
      mint: this.#mint,
      held: this.#held,
    })
  }

  #context(camera: string) {
    const { meters, log, streams } = this.#parts
    return {
      input: this.#detector.input,
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

/** Why nobody could look at a frame. */
type Missed = 'late' | 'unavailable' | 'wrong'

const MISSED = {
  INFERENCE_LATE: 'late',
  INFERENCE_UNAVAILABLE: 'unavailable',
  INFERENCE_WRONG: 'wrong',
} as const satisfies Partial<Record<SightlineError['code'], Missed>>

/** Undefined: another error, such as one of this program. */
function missedFor(error: unknown): Missed | undefined {
  if (!(error instanceof SightlineError) || !Object.hasOwn(MISSED, error.code)) return undefined
  return MISSED[error.code as keyof typeof MISSED]
}

/** What ends tracks where it changes. */
const isSamePipeline = (a: Pipeline, b: Pipeline) =>
  a.detector === b.detector && isDeepStrictEqual(marksOf(a), marksOf(b))

const marksOf = ({
  camera: { emit, crop, sizeMin, zones },
  settings: { paused, scoreMin, rate },
}: Pipeline) => ({
  ...{ emit, crop, sizeMin, zones },
  ...{ paused, scoreMin, rate },
})

const gateOf = ({ motion }: CameraConfig) => (motion.enabled ? new MotionGate(motion) : undefined)

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
    // The name of a camera from afar leads elsewhere at the moment.
    code === 'ADDRESS_NOT_ALLOWED' ||
    (code === 'CONFIG_NOT_FOUND' && wasLive === true)
  )
}

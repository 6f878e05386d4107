import { Backoff } from '../lib/backoff.ts'
import { asFailure, type SightlineError } from '../lib/errors.ts'
import type { Log } from '../lib/log.ts'
import { CROP_VERSION, type CropMetadata, writeCrop } from '../wire/crop.ts'
import { idMinter } from '../wire/id.ts'
import { cropTopic } from '../wire/topics.ts'
import type { CameraConfig, DeviceConfig } from './config.ts'
import { type Box, cropRegion, encodeJpeg, pointToFrame, RateLimit, type Region, toFrame } from './crop.ts'
import type { Detection, Detector } from './detect/detector.ts'
import type { Frame } from './frame.ts'
import { CLOCK_YEAR_MIN, SOURCE_RETRY_MS_MAX, SOURCE_RETRY_MS_MIN } from './limits.ts'
import type { Meters } from './meters.ts'
import { MotionGate } from './motion.ts'
import type { Publisher } from './publish.ts'
import { nameOf } from './sources/address.ts'
import { isRetried, openSource } from './sources/open.ts'
import type { Source } from './sources/source.ts'

export interface AgentParts {
  readonly config: DeviceConfig
  readonly detector: Detector
  readonly publisher: Pick<Publisher, 'offer' | 'room'>
  readonly meters: Meters
  readonly log: Log
  /** Called when a camera goes up or down. */
  readonly onState: (states: ReadonlyMap<string, string>) => void
}

/**
 * The capture agent: for each camera, source -> detect -> crop -> publish.
 *
 * Three frames are on their way at a time: while one is looked at, the next is decoded and scaled, and the crops of
 * the one before are encoded. Whoever is slowest sets the pace; no queue grows.
 */
export class Agent {
  readonly #parts: AgentParts
  readonly #mint = idMinter()
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
    const { log, meters } = this.#parts
    const { name } = camera
    const backoff = new Backoff({ delayMsMin: SOURCE_RETRY_MS_MIN, delayMsMax: SOURCE_RETRY_MS_MAX })
    let wasLive: boolean | undefined
    while (!signal.aborted) {
      try {
        await using source = await openSource(camera, this.#context(name), signal)
        wasLive = source.live
        log.info({ camera: name, source: source.name, live: source.live }, 'camera opened')
        if (source.isPatient) this.#state(name, 'up')
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
        if (!canRetry(camera, fault, wasLive)) throw fault
        await backoff.wait(signal).catch(() => {})
      }
    }
    this.#state(name, 'ended')
  }

  /** The pipeline. */
  async #watch(camera: CameraConfig, source: Source, signal: AbortSignal, alive: () => void): Promise<void> {
    const { detector, meters, config } = this.#parts
    const rate = config.emit.rateMax
    const limit = new RateLimit(rate === 'unlimited' ? Infinity : rate)
    const gate = camera.motion.enabled ? new MotionGate(camera.motion) : undefined
    const frames = source[Symbol.asyncIterator]()
    let upcoming = frames.next()
    let cropping: Promise<void> = Promise.resolve()
    try {
      for (;;) {
        const { value: frame, done } = await upcoming
        if (done || !frame) break
        upcoming = frames.next()
        upcoming.catch(() => {}) // awaited in the next round
        alive()
        if (gate && frame.atMs !== undefined && !gate.take(frame.scaled, frame.atMs)) {
          frame[Symbol.dispose]()
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
        await cropping
        cropping = this.#crop(camera.name, source, frame, faces, limit, signal)
        cropping.catch(() => {}) // awaited in the next round
      }
    } finally {
      await frames.return?.()
      await upcoming.then(({ value }) => value?.[Symbol.dispose]()).catch(() => {})
      await cropping
    }
  }

  /** Cuts, encodes and publishes the faces of a frame, best first, and disposes of the frame. */
  async #crop(
    camera: string,
    { lossless }: Source,
    frame: Frame,
    faces: readonly Detection[],
    limit: RateLimit,
    signal: AbortSignal,
  ): Promise<void> {
    using _frame = frame
    const { config, publisher, meters } = this.#parts
    const topic = cropTopic(config.topicPrefix, { ...config, camera })
    meters.facesDetected.inc({ camera }, faces.length)
    const payloads: Promise<Buffer>[] = []
    for (const face of faces) {
      const box = toFrame(face.box, frame.scaled, frame)
      const region = cropRegion(box, config.crop.margin, frame)
      const small = Math.min(box[2], box[3]) < config.detect.sizeMin
      if (region && !small && (frame.atMs === undefined || limit.take(frame.atMs)))
        payloads.push(this.#encode(frame, region, this.#metadata(camera, frame, face, box, region)))
      else meters.facesPassedOver.inc({ camera, reason: !region ? 'outside' : small ? 'small' : 'rate' })
    }
    // All are encoded at the same time, and offered in their order.
    await Promise.allSettled(payloads)
    for (const encoded of payloads) {
      const payload = await encoded
      if (lossless) await publisher.room(signal)
      meters.cropsMade.inc({ camera })
      publisher.offer({ camera, topic, payload })
    }
  }

  async #encode(frame: Frame, region: Region, metadata: CropMetadata): Promise<Buffer> {
    const rgb = await frame.cut(region.left, region.top, region.width, region.height)
    return writeCrop(await encodeJpeg(rgb, region, this.#parts.config.crop), metadata)
  }

  #metadata(camera: string, frame: Frame, face: Detection, box: Box, region: Region): CropMetadata {
    const { config, detector } = this.#parts
    return {
      v: CROP_VERSION,
      id: this.#mint(),
      site: config.site,
      device: config.device,
      camera,
      capturedAtMs: frame.capturedAtMs,
      clockSane: new Date(frame.capturedAtMs).getUTCFullYear() >= CLOCK_YEAR_MIN,
      box: [tenth(box[0]), tenth(box[1]), tenth(box[2]), tenth(box[3])],
      region: [region.left, region.top, region.width, region.height],
      score: Math.min(1, Math.max(0, face.score)),
      landmarks: face.landmarks.map((point) => {
        const [x, y] = pointToFrame(point, frame.scaled, frame)
        return [tenth(x), tenth(y)]
      }),
      model: detector.model,
      frame: [frame.width, frame.height],
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

const tenth = (value: number) => Math.round(value * 10) / 10

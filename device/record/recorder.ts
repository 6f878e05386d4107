import { availableParallelism } from 'node:os'
import type { Log } from '../../lib/log.ts'
import { CLIP_VERSION, type ClipMetadata } from '../../wire/clip.ts'
import type { RecordMode } from '../../wire/commands.ts'
import { newId } from '../../wire/id.ts'
import { CLIP } from '../../wire/kinds.ts'
import type { CameraConfig, DeviceConfig } from '../config.ts'
import type { Frame } from '../frame.ts'
import { CLOCK_YEAR_MIN, ENCODER_THREADS_MAX } from '../limits.ts'
import type { Seal } from '../link/seal.ts'
import type { Meters } from '../meters.ts'
import { kindOf } from '../sources/address.ts'
import { viewOf } from '../sources/open.ts'
import type { SeenFace, Watcher } from '../view/watcher.ts'
import type { CameraRecorder, CameraRecorderOptions } from './camera-recorder.ts'
import type { KeptChunk } from './keeper.ts'
import type { ClipSink } from './sink.ts'
import type { PacketTap } from './tap.ts'

export interface RecorderParts {
  readonly config: Pick<DeviceConfig, 'site' | 'device' | 'cameras'>
  readonly seal: Pick<Seal, 'clip'>
  readonly sink: ClipSink
  readonly meters: Pick<Meters, 'clipsMade' | 'clipBytes' | 'clipGaps' | 'recordLost'>
  readonly log: Log
  /** Called when what `state` says of a camera has changed. */
  readonly changed?: (camera: string) => void
}

/** What is known of a camera's recording. */
export interface RecordState {
  readonly recording: boolean
  readonly why: string | null
  /** Since the agent started. */
  readonly clips: number
  readonly bytes: number
}

interface Recorded {
  readonly config: CameraConfig
  /** Undefined as long as nobody needs one: FFmpeg is large. */
  recorder: CameraRecorder | undefined
  wish: { readonly mode: RecordMode; readonly paused: boolean }
  clips: number
  bytes: number
  /** The chunk that was handed over last. */
  lastId: string | undefined
  /** It was lost: the gap that the next one states. */
  lost: { readonly fromMs: number | null; readonly why: 'lost' } | undefined
}

/** The recordings of all cameras: chunks are sealed here, and handed to who keeps them. */
export class Recorder implements Watcher, AsyncDisposable {
  readonly #parts: RecorderParts
  readonly #cameras = new Map<string, Recorded>()
  readonly #loading = new Set<Promise<void>>()
  #disposed: Promise<void> | undefined

  private constructor(parts: RecorderParts) {
    this.#parts = parts
  }

  static async open(parts: RecorderParts): Promise<Recorder> {
    const recorder = new Recorder(parts)
    for (const camera of parts.config.cameras) await recorder.add(camera)
    return recorder
  }

  /** A camera that is there from now on; where it is there already, that one stays. */
  async add(config: CameraConfig): Promise<void> {
    if (this.#cameras.has(config.name)) return
    const recorded: Recorded = {
      ...{ config, recorder: undefined, clips: 0, bytes: 0, lastId: undefined, lost: undefined },
      wish: { mode: config.record.mode, paused: false },
    }
    this.#cameras.set(config.name, recorded)
    if (!DRAWN.includes(kindOf(config.source)) || recorded.wish.mode !== 'off') await this.#load(recorded)
  }

  /** One that is there no more: what there is of its last chunk is handed over. */
  async remove(name: string): Promise<void> {
    const recorded = this.#cameras.get(name)
    await recorded?.recorder?.[Symbol.asyncDispose]()
    if (this.#cameras.get(name) === recorded) this.#cameras.delete(name)
  }

  /** Who takes what a camera's source gives; undefined where that gives nothing but frames. */
  tap(camera: string): PacketTap | undefined {
    return this.#of(camera).recorder?.tap
  }

  /** What was set for a camera holds from here on. */
  set(camera: string, mode: RecordMode, paused: boolean): void {
    const recorded = this.#of(camera)
    recorded.wish = { mode, paused }
    if (recorded.recorder) recorded.recorder.set(mode, paused)
    else if (mode !== 'off') {
      const loading = this.#load(recorded)
      this.#loading.add(loading)
      void loading.finally(() => this.#loading.delete(loading))
    }
  }

  /**
   * A chunk that was handed over could not be kept: the next one states the gap. Where that has gone already, its number tells.
   */
  lost({
    id,
    camera,
    capturedAtMs,
    gap,
  }: Pick<ClipMetadata, 'id' | 'camera' | 'capturedAtMs' | 'gap'>): void {
    const recorded = this.#cameras.get(camera)
    if (recorded?.lastId === id) recorded.lost = { fromMs: gap ? gap.fromMs : capturedAtMs, why: 'lost' }
  }

  /** Undefined for a camera that is not there. */
  state(camera: string): RecordState | undefined {
    const recorded = this.#cameras.get(camera)
    if (!recorded) return undefined
    const { recorder, clips, bytes } = recorded
    return {
      recording: recorder?.isActive === true && recorder.why === undefined,
      why: recorder?.why ?? null,
      clips,
      bytes,
    }
  }

  wants(camera: string): boolean {
    return this.#of(camera).recorder?.isActive === true
  }

  async see(camera: string, frame: Frame, faces: readonly SeenFace[] | undefined): Promise<void> {
    await this.#of(camera).recorder?.see(frame, faces?.filter(({ sure }) => sure).length)
  }

  /** What the motion gate said of a frame. */
  moved(camera: string, capturedAtMs: number, moving: boolean): void {
    this.#of(camera).recorder?.moved(capturedAtMs, moving)
  }

  /** Makes chunks of what there is, and hands them over. Twice is once. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed ??= (async () => {
      await Promise.allSettled(this.#loading)
      await Promise.all([...this.#cameras.values()].map(({ recorder }) => recorder?.[Symbol.asyncDispose]()))
    })()
    await this.#disposed
  }

  async #load(recorded: Recorded): Promise<void> {
    const { CameraRecorder } = await import('./camera-recorder.ts')
    if (this.#disposed) return
    recorded.recorder ??= new CameraRecorder(this.#optionsOf(recorded.config))
    recorded.recorder.set(recorded.wish.mode, recorded.wish.paused)
  }

  #optionsOf(camera: CameraConfig): CameraRecorderOptions {
    const { name, record } = camera
    const { meters, log } = this.#parts
    return {
      camera: name,
      mode: record.mode,
      beforeMs: record.before,
      afterMs: record.after,
      chunkMs: record.chunk,
      waitingBytesMax: record.waitingMax,
      audio: record.audio,
      encodeAlways: record.encode === 'always',
      bitrateMax: record.bitrateMax,
      quality: record.quality,
      encoderThreads: Math.min(availableParallelism(), ENCODER_THREADS_MAX),
      view: viewOf(camera),
      framesPerSecond: framesPerSecondOf(camera),
      paced: kindOf(camera.source) !== 'path' || camera.pace === 'realtime',
      mint: newId,
      log,
      events: {
        kept: (kept) => this.#keep(name, kept),
        lost: (what, count) => meters.recordLost.inc({ camera: name, what }, count),
        changed: () => this.#parts.changed?.(name),
      },
    }
  }

  #keep(camera: string, { chunk, gap: own, because, faces, motion }: KeptChunk): void {
    const { config, seal, sink, meters, log } = this.#parts
    const recorded = this.#of(camera)
    const gap = recorded.lost ?? own
    recorded.lost = undefined
    recorded.lastId = chunk.facts.id
    const { gap: _known, ...facts } = chunk.facts
    const metadata: ClipMetadata = {
      v: CLIP_VERSION,
      ...{ site: config.site, device: config.device, camera },
      ...facts,
      clockSane: new Date(facts.capturedAtMs).getUTCFullYear() >= CLOCK_YEAR_MIN,
      ...(gap && { gap }),
      because,
      ...(faces !== undefined && { faces }),
      ...(motion !== undefined && { motion: Math.round(motion * 1000) / 1000 }),
    }
    const payload = seal.clip(chunk.init, chunk.fragments, metadata)
    if (payload.length > CLIP.payloadBytesMax) {
      meters.recordLost.inc({ camera, what: 'chunk' })
      log.error({ camera, bytes: payload.length }, 'A chunk of a recording is too large to be sent.')
      this.lost(metadata)
      return
    }
    recorded.clips += 1
    recorded.bytes += payload.length
    meters.clipsMade.inc({ camera })
    meters.clipBytes.inc({ camera }, payload.length)
    if (gap) meters.clipGaps.inc({ camera, why: gap.why })
    sink.offer({ metadata, payload })
    this.#parts.changed?.(camera)
  }

  #of(camera: string): Recorded {
    const recorded = this.#cameras.get(camera)
    if (!recorded) throw new TypeError(`unknown camera ${camera}`)
    return recorded
  }
}

/** Sources that give frames without FFmpeg. */
const DRAWN: readonly string[] = ['testcard', 'still']

/** What a camera's settings say of its rate; 25 where they say nothing. */
function framesPerSecondOf({ source, interval, rateMax, framerate }: CameraConfig): number {
  if (kindOf(source) === 'still') return Math.min(25, 1000 / interval)
  return Math.min(framerate ?? 25, rateMax === 'unlimited' ? Infinity : rateMax)
}

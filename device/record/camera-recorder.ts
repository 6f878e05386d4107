import {
  AV_PIX_FMT_RGB24,
  AV_PKT_DATA_DISPLAYMATRIX,
  AVCOL_PRI_BT709,
  AVCOL_TRC_BT709,
} from 'node-av/constants'
import type { Frame as AvFrame, Packet } from 'node-av/lib'
import { asFailure, type SightlineError } from '../../lib/errors.ts'
import { type Log, throttled } from '../../lib/log.ts'
import type { GapReason } from '../../wire/clip.ts'
import type { RecordMode } from '../../wire/commands.ts'
import { CLIP } from '../../wire/kinds.ts'
import type { Frame } from '../frame.ts'
import { CHUNK_MS_MAX, CHUNK_ROOM_BYTES, PICTURES_WAITING_MAX, RECORD_WAITING_BYTES_MAX } from '../limits.ts'
import { allocate } from '../sources/cutter.ts'
import { orientationOf } from '../sources/turn.ts'
import type { ViewSettings } from '../sources/view.ts'
import { ENCODER_CLOCK } from './encoder.ts'
import { Keeper, type KeptChunk } from './keeper.ts'
import { PictureClock } from './picture-clock.ts'
import { Pictures, rotationOf } from './pictures.ts'
import { Segmenter } from './segmenter.ts'
import type { PacketTap, TappedStream } from './tap.ts'
import { Track } from './track.ts'

export interface CameraRecorderOptions {
  readonly camera: string
  readonly mode: RecordMode
  readonly beforeMs: number
  readonly afterMs: number
  readonly chunkMs: number
  /** Of chunks that wait to be wanted, bytes. */
  readonly waitingBytesMax: number
  readonly audio: boolean
  /** Also where the packets could be copied. */
  readonly encodeAlways: boolean
  readonly bitrateMax: number
  readonly quality: number
  readonly encoderThreads: number
  readonly view: Pick<ViewSettings, 'rotate' | 'mirror' | 'masks'>
  /** Pictures a second where the source does not say. */
  readonly framesPerSecond: number
  /** Frames come as they are taken. False: as fast as can be, none is passed over, and whoever brings them may wait. */
  readonly paced: boolean
  readonly mint: () => string
  readonly log: Log
  readonly events: CameraRecorderEvents
  /** A clock that nobody sets, ms. */
  readonly steadyMs?: () => number
}

export interface CameraRecorderEvents {
  /** A chunk is to be kept. */
  kept(kept: KeptChunk): void
  /** What could not be kept: packets for want of room, pictures that the encoder had no time for, chunks. */
  lost(what: 'packet' | 'picture' | 'chunk', count: number): void
  /** Whether it records, or why not, has changed. */
  changed(): void
}

type Job =
  | {
      readonly is: 'opened'
      readonly video: Track
      readonly audio: Track | undefined
      /** Its packets are; otherwise its pictures come. */
      readonly isCopied: boolean
      readonly rotation: Rotation
    }
  | {
      readonly is: 'packet'
      readonly packet: Packet
      readonly of: 'video' | 'audio'
      readonly receivedAtMs: number
      readonly steadyMs: number
    }
  | {
      readonly is: 'picture'
      readonly picture: AvFrame
      /** It was cut out of a frame: turned and masked already. */
      readonly isSeen: boolean
      readonly seconds: number | undefined
      readonly receivedAtMs: number
      readonly steadyMs: number
    }
  | { readonly is: 'interrupt'; readonly why: GapReason }

type Rotation = 0 | 90 | 180 | 270

/**
 * Records one camera: what its source gives, one after the other, into chunks.
 *
 *   tap (packets, pictures) or frames -> jobs (bounded) -> Segmenter, after Pictures where it encodes -> Keeper -> kept
 *
 * Packets are copied where they can be. They are encoded from pictures where the codec is none that MP4 and browsers take,
 * where the camera has masks (they hold in recordings too), or where that is asked for.
 */
export class CameraRecorder implements AsyncDisposable {
  readonly #options: CameraRecorderOptions
  readonly #segmenter: Segmenter
  readonly #keeper: Keeper
  readonly #steadyMs: () => number
  readonly #complain: (fault: SightlineError) => void
  #mode: RecordMode
  #paused = false
  /** What the open source gives: packets that are copied, or decoded pictures; frames, where it gives nothing else. */
  #way: 'copy' | 'pictures' | 'frames' = 'frames'
  #jobs: Job[] = []
  #packetBytes = 0
  #pictures = 0
  /** There was no room: packets are passed over until a key frame. */
  #overflowed = false
  #wake: (() => void) | undefined
  #room: (() => void)[] = []
  #ended = false
  readonly #working: Promise<void>
  #encoding: { readonly pictures: Pictures; readonly isSeen: boolean } | undefined
  #encoder: object | undefined
  #clock: PictureClock
  #keyAtSeconds: number | undefined
  #audio: Track | undefined
  #frameSeconds: number
  #rotation: Rotation = 0
  #encoded = false
  #why: string | undefined

  constructor(options: CameraRecorderOptions) {
    this.#options = options
    this.#mode = options.mode
    this.#steadyMs = options.steadyMs ?? (() => performance.now())
    this.#frameSeconds = 1 / options.framesPerSecond
    this.#clock = new PictureClock(options.paced, this.#frameSeconds)
    const { chunkMs, paced, mint, events, beforeMs, afterMs, waitingBytesMax } = options
    this.#keeper = new Keeper({
      ...{ mode: options.mode, beforeMs, afterMs, bytesMax: waitingBytesMax },
      keep: (kept) => events.kept(kept),
      lost: () => events.lost('chunk', 1),
    })
    this.#segmenter = new Segmenter({
      ...{ chunkMs, paced, mint },
      chunkMsMax: Math.max(CHUNK_MS_MAX, 2 * chunkMs),
      bytesMax: CLIP.payloadBytesMax - CHUNK_ROOM_BYTES,
      take: (chunk) => this.#keeper.put(chunk),
    })
    this.#complain = throttled((count, { code, message }) =>
      options.log.error({ camera: options.camera, code, count }, message),
    )
    this.#working = this.#work()
  }

  /** Whether anything is recorded at the moment, as far as it depends on what was set. */
  get isActive(): boolean {
    return this.#mode !== 'off' && !this.#paused && !this.#ended
  }

  /** Why nothing is recorded although it should be; undefined where all is well. */
  get why(): string | undefined {
    return this.isActive ? this.#why : undefined
  }

  /** Packets that wait for the muxer, bytes. */
  get waitingBytes(): number {
    return this.#packetBytes
  }

  /** What was set holds from here on. */
  set(mode: RecordMode, paused: boolean): void {
    if (mode === this.#mode && paused === this.#paused) return
    const wasActive = this.isActive
    this.#mode = mode
    this.#paused = paused
    if (mode !== 'off') this.#keeper.mode = mode
    if (wasActive && !this.isActive) this.#add({ is: 'interrupt', why: 'paused' })
    this.#options.events.changed()
  }

  readonly tap: PacketTap = (() => {
    const recorder = this
    return {
      get wantsAudio() {
        return recorder.#options.audio
      },
      get wantsPictures() {
        return recorder.isActive && recorder.#way === 'pictures'
      },
      get wantsKeyFrame() {
        return recorder.isActive && recorder.#way === 'copy' && recorder.#segmenter.isDue
      },
      opened: (video: TappedStream, audio: TappedStream | undefined) => recorder.#opened(video, audio),
      packet: (packet: Packet, of: 'video' | 'audio', receivedAtMs: number) =>
        recorder.#packet(packet, of, receivedAtMs),
      picture: (picture: AvFrame, seconds: number | undefined, receivedAtMs: number) =>
        recorder.#picture(picture, seconds, receivedAtMs),
      closed: () => recorder.#closed(),
    }
  })()

  /** A frame was looked at: whether somebody is in it, and, where the source gives nothing else, its pixels. */
  async see(frame: Frame, faces: number | undefined): Promise<void> {
    if (!this.isActive) return
    this.#keeper.look({ atMs: frame.capturedAtMs, faces, moving: undefined })
    if (this.#way !== 'frames') return
    if (this.#pictures >= PICTURES_WAITING_MAX) {
      if (this.#options.paced) {
        this.#options.events.lost('picture', 1)
        return
      }
      await this.#roomForPictures()
    }
    const { width, height } = frame
    const rgb = await frame.cut(0, 0, width, height)
    const picture = allocate({ width, height }, AV_PIX_FMT_RGB24)
    const [plane] = picture.data ?? []
    const [stride = 0] = picture.linesize
    for (let row = 0; row < height; row += 1)
      plane?.set(rgb.subarray(row * width * 3, (row + 1) * width * 3), row * stride)
    this.#pictures += 1
    this.#add({
      is: 'picture',
      picture,
      isSeen: true,
      seconds: frame.atMs === undefined ? undefined : frame.atMs / 1000,
      receivedAtMs: frame.capturedAtMs,
      // When it was taken, not when it was looked at.
      steadyMs: this.#steadyMs() - (Date.now() - frame.capturedAtMs),
    })
  }

  /** What the motion gate said of a frame. */
  moved(capturedAtMs: number, moving: boolean): void {
    if (this.isActive) this.#keeper.look({ atMs: capturedAtMs, faces: undefined, moving })
  }

  /** Makes a chunk of what there is, and decides what waits. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended = true
    this.#wake?.()
    await this.#working
    await this.#segmenter[Symbol.asyncDispose]().catch((error: unknown) => this.#failed(error))
    this.#keeper.flush()
    this.#keeper[Symbol.dispose]()
    this.#encoding?.pictures[Symbol.dispose]()
    this.#audio?.[Symbol.dispose]()
  }

  #opened(stream: TappedStream, sound: TappedStream | undefined): void {
    const { encodeAlways, view, log, camera } = this.#options
    const video = new Track(stream)
    const copies = video.videoCodec !== undefined && !encodeAlways && view.masks.length === 0
    const own = orientationOf(video.codecpar.getCodedSideData(AV_PKT_DATA_DISPLAYMATRIX))
    this.#way = copies ? 'copy' : 'pictures'
    let audio = sound && new Track(sound)
    if (audio && !audio.audio) {
      log.warn({ camera }, 'The sound of this camera is not recorded: it is neither AAC nor Opus.')
      audio[Symbol.dispose]()
      audio = undefined
    }
    this.#add({ is: 'opened', video, audio, isCopied: copies, rotation: rotationOf(own, view) })
  }

  #packet(packet: Packet, of: 'video' | 'audio', receivedAtMs: number): void {
    if (!this.isActive || this.#way === 'frames' || (this.#way === 'pictures' && of === 'video')) return
    if (this.#overflowed && (of === 'audio' || !packet.isKeyframe || this.#packetBytes > 0)) {
      this.#options.events.lost('packet', 1)
      return
    }
    this.#overflowed = false
    if (this.#packetBytes + packet.size > RECORD_WAITING_BYTES_MAX) {
      this.#overflowed = true
      this.#options.events.lost('packet', 1)
      this.#add({ is: 'interrupt', why: 'lost' })
      return
    }
    const copy = packet.clone()
    if (!copy) return
    this.#packetBytes += copy.size
    this.#add({ is: 'packet', packet: copy, of, receivedAtMs, steadyMs: this.#steadyMs() })
  }

  #picture(picture: AvFrame, seconds: number | undefined, receivedAtMs: number): Promise<void> | undefined {
    if (this.#pictures >= PICTURES_WAITING_MAX && this.#options.paced) {
      this.#options.events.lost('picture', 1)
      return undefined
    }
    const copy = picture.clone()
    if (!copy) return undefined
    // With another transfer than the target's, swscale makes tables of seconds.
    copy.colorTrc = AVCOL_TRC_BT709
    copy.colorPrimaries = AVCOL_PRI_BT709
    this.#pictures += 1
    this.#add({
      ...{ is: 'picture', picture: copy, isSeen: false, seconds, receivedAtMs },
      steadyMs: this.#steadyMs(),
    })
    return this.#options.paced ? undefined : this.#roomForPictures()
  }

  async #roomForPictures(): Promise<void> {
    while (this.#pictures >= PICTURES_WAITING_MAX && !this.#ended)
      await new Promise<void>((resolve) => this.#room.push(resolve))
  }

  #closed(): void {
    this.#way = 'frames'
    this.#add({ is: 'interrupt', why: 'camera down' })
  }

  #add(job: Job): void {
    if (this.#ended) {
      release(job)
      return
    }
    this.#jobs.push(job)
    this.#wake?.()
  }

  async #work(): Promise<void> {
    for (;;) {
      const job = this.#jobs.shift()
      if (!job) {
        if (this.#ended) return
        await new Promise<void>((resolve) => {
          this.#wake = resolve
        })
        continue
      }
      if (job.is === 'packet') this.#packetBytes -= job.packet.size
      try {
        await this.#do(job)
        if (job.is === 'packet' || job.is === 'picture') this.#why = undefined
      } catch (error) {
        this.#failed(error)
        this.#options.events.lost('packet', 1)
        await this.#segmenter.abandon()
      } finally {
        if (job.is === 'picture') {
          this.#pictures -= 1
          for (const resolve of this.#room.splice(0)) resolve()
        }
      }
    }
  }

  async #do(job: Job): Promise<void> {
    switch (job.is) {
      case 'opened':
        return await this.#begin(job)
      case 'packet':
        if (job.of === 'audio' && this.#encoded) this.#moveAudio(job.packet)
        return await this.#segmenter.put(job.packet, job.of, job.receivedAtMs, job.steadyMs)
      case 'picture':
        return await this.#encode(job)
      case 'interrupt':
        this.#clock.restart()
        return await this.#segmenter.interrupt(job.why)
    }
  }

  async #begin({ video, audio, isCopied, rotation }: Job & { is: 'opened' }): Promise<void> {
    this.#encoded = !isCopied
    this.#rotation = rotation
    this.#endEncoding()
    this.#audio?.[Symbol.dispose]()
    this.#audio = undefined
    if (isCopied) return await this.#segmenter.begin(video, audio, { rotation, encoded: false })
    this.#frameSeconds = video.frameSeconds
    video[Symbol.dispose]()
    this.#audio = audio
  }

  #endEncoding(): void {
    this.#encoding?.pictures[Symbol.dispose]()
    this.#encoding = undefined
    this.#encoder = undefined
    this.#clock = new PictureClock(this.#options.paced, this.#frameSeconds)
  }

  async #encode({
    picture,
    isSeen,
    seconds: source,
    receivedAtMs,
    steadyMs,
  }: Job & { is: 'picture' }): Promise<void> {
    using frame = picture
    const { bitrateMax, quality, encoderThreads: threads, chunkMs } = this.#options
    // Whoever looked at frames and now at pictures, or the other way round, must not keep the other's masks.
    if (this.#encoding?.isSeen !== isSeen) this.#endEncoding()
    const view = isSeen ? UPRIGHT_VIEW : this.#options.view
    this.#encoding ??= {
      pictures: new Pictures({
        ...{ bitrateMax, quality, threads, view },
        framesPerSecond: 1 / this.#frameSeconds,
      }),
      isSeen,
    }
    const { pictures } = this.#encoding
    const encoder = await pictures.encoderFor(frame)
    if (encoder !== this.#encoder) {
      this.#encoder = encoder
      this.#encoded = true
      this.#keyAtSeconds = undefined
      await this.#segmenter.begin(encoder.track.clone(), this.#audio?.clone(), {
        rotation: isSeen ? 0 : this.#rotation,
        encoded: true,
      })
    }
    const seconds = this.#clock.next(source, steadyMs)
    const isDue = this.#keyAtSeconds === undefined || seconds - this.#keyAtSeconds >= chunkMs / 1000 - STEP_S
    const isKey = isDue || this.#segmenter.needsKey
    if (isKey) this.#keyAtSeconds = seconds
    const pts = BigInt(Math.round(seconds * ENCODER_CLOCK))
    for (const packet of await pictures.encode(frame, pts, isKey))
      await this.#segmenter.put(packet, 'video', receivedAtMs, steadyMs)
  }

  /** Sound that is copied goes by the source's clock, encoded pictures by ours. */
  #moveAudio(packet: Packet): void {
    const audio = this.#audio
    if (!audio) return
    const ticks = BigInt(Math.round((this.#clock.offset * audio.timeBase.den) / audio.timeBase.num))
    packet.pts += ticks
    packet.dts += ticks
  }

  #failed(error: unknown): void {
    const fault = asFailure(error)
    this.#why = fault.message
    this.#complain(fault)
    this.#options.events.changed()
  }
}

const UPRIGHT_VIEW = { rotate: 0, mirror: 'none', masks: [] } as const
/** Less than between any two frames, s. */
const STEP_S = 0.0005

function release(job: Job): void {
  if (job.is === 'packet') job.packet.free()
  else if (job.is === 'picture') job.picture.free()
  else if (job.is === 'opened') {
    job.video[Symbol.dispose]()
    job.audio?.[Symbol.dispose]()
  }
}

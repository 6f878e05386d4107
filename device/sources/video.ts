import { setTimeout as sleep } from 'node:timers/promises'
import { AV_LOG_QUIET, AV_LOG_WARNING, AV_PIX_FMT_RGB24, SWS_FAST_BILINEAR } from 'node-av/constants'
import { type Frame as AvFrame, FFmpegError, Log as FFmpegLog, SoftwareScaleContext } from 'node-av/lib'
import { failure } from '../../lib/errors.ts'
import type { Log } from '../../lib/log.ts'
import type { Size } from '../faces/crop.ts'
import { Handover } from '../faces/handover.ts'
import type { Frame } from '../frame.ts'
import { FRAMES_AHEAD_MAX, LOOP_MS_MIN, PLAY_LATE_MS_MAX } from '../limits.ts'
import type { SeenMedia } from '../listen/streams.ts'
import { scrub } from './address.ts'
import { allocate, Cutter, copyRows } from './cutter.ts'
import { Media, type VideoOptions } from './media.ts'
import { type Normal, Normalizer } from './normal.ts'
import type { Source, SourceContext } from './source.ts'
import { type Shape, View, type ViewSettings, WHOLE_VIEW } from './view.ts'

/** A decoded picture on its way. */
interface Picture extends Normal, Disposable {
  readonly atMs: number
}

/** Memory of FFmpeg's that is scaled into, looked at once: each look makes new Buffers. */
interface Small {
  readonly av: AvFrame
  readonly data: Buffer[] | null
  readonly linesize: readonly number[]
}

FFmpegLog.setLevel(AV_LOG_QUIET)

/** FFmpeg's own warnings, as debug lines of ours. */
function routeFFmpegLog(log: Log): void {
  if (!log.isLevelEnabled('debug')) return
  FFmpegLog.setLevel(AV_LOG_WARNING)
  FFmpegLog.setCallback((_level, message) => log.debug({ ffmpeg: scrub(message.trim()) }, 'FFmpeg says'), {
    maxLevel: AV_LOG_WARNING,
  })
}

/**
 * Videos and cameras through FFmpeg (node-av): file, RTSP, RTMP, HTTP, HLS, V4L2.
 *
 *   packets -> decoder (its own threads) -> made normal -> handover -> scaled to the detector's size -> Frame
 *
 * Decoding runs ahead of whoever takes frames; scaling happens when a frame is taken, so a frame that is skipped
 * costs no scaling. The full-size picture is never copied: a Frame holds FFmpeg's reference to it and converts only
 * the regions that are cut.
 */
export class Video implements Source {
  readonly name: string
  readonly live: boolean
  readonly lossless: boolean
  readonly #options: VideoOptions
  readonly #context: SourceContext
  readonly #stop = new AbortController()
  readonly #signal: AbortSignal
  readonly #scaler = new SoftwareScaleContext()
  #smallMade: Small | undefined
  readonly #cutter = new Cutter()
  readonly #settings: ViewSettings
  #viewMade: View | undefined
  /** Scaled pictures' memory that no frame has at the moment; never more than there were frames at once. */
  readonly #slots: Uint8Array[] = []
  #media: Media | undefined
  /** Frames that somebody has, who may cut out of them. */
  #held = 0
  #isClosed = false
  #openedMs = performance.now()
  /** When the first frame of all was due, or would have been, ms; moved on where playing came late. */
  #startMs: number | undefined
  #dueSeconds = -Infinity
  #working: Promise<void> = Promise.resolve()

  private constructor(
    options: VideoOptions,
    context: SourceContext,
    media: Media,
    settings: ViewSettings,
    signal: AbortSignal,
  ) {
    this.name = options.name
    this.#settings = settings
    this.#options = options
    this.#context = context
    this.#media = media
    this.#signal = AbortSignal.any([signal, this.#stop.signal])
    // A stream that says how long it is, is a recording.
    this.live =
      options.kind === 'camera' ||
      options.kind === 'pushed' ||
      (options.kind === 'stream' && media.seconds === undefined)
    this.lossless = !this.live && options.pace === 'asfast'
    this.#scaler.allocContext()
    this.#scaler.setOption('sws_flags', String(SWS_FAST_BILINEAR))
  }

  /** Errors: SOURCE_NOT_FOUND, SOURCE_UNREADABLE, SOURCE_UNAVAILABLE. */
  static async open(
    options: VideoOptions,
    context: SourceContext,
    signal: AbortSignal,
    settings: ViewSettings = WHOLE_VIEW,
  ): Promise<Video> {
    routeFFmpegLog(context.log)
    return new Video(options, context, await Media.open(options, signal, context.tap), settings, signal)
  }

  /** What is in it, of the part that is open. */
  get seen(): SeenMedia {
    return this.#media?.seen ?? { codec: null, audio: null, frame: null }
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Frame, void> {
    using ready = this.lossless
      ? new Handover<Picture>(FRAMES_AHEAD_MAX)
      : new Handover<Picture>(1, () => this.#context.events.skipped('detector busy', 1))
    const decoding = this.#decode(ready).finally(() => ready.close())
    decoding.catch(() => {}) // awaited below, or left behind on purpose
    this.#working = decoding.catch(() => {})
    for (;;) {
      const picture = await ready.take()
      if (!picture) break
      const frame = await this.#frame(picture).catch((error: unknown) => {
        picture[Symbol.dispose]()
        throw error
      })
      yield frame
    }
    await decoding
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#working
    await this.#media?.[Symbol.asyncDispose]()
    this.#media = undefined
    this.#context.tap?.closed()
    this.#smallMade?.av.free()
    this.#smallMade = undefined
    this.#scaler.freeContext()
    this.#isClosed = true
    this.#freeCutter()
  }

  /** Frames of a publisher outlive it: its last ones are cut when it has gone. */
  #freeCutter(): void {
    if (this.#isClosed && this.#held === 0) this.#cutter[Symbol.dispose]()
  }

  async #decode(ready: Handover<Picture>): Promise<void> {
    const { loop, intervalMs, kind } = this.#options
    using normalizer = new Normalizer(
      { name: this.name, hasClock: !this.live, context: this.#context },
      (frame) => this.#pass(frame, ready),
    )
    for (;;) {
      const media = this.#media ?? (await this.#open())
      await media
        .decode(this.#signal, this.#context, (frame) => normalizer.put(frame))
        .finally(() => (this.#signal.aborted ? undefined : normalizer.end()))
      if (this.#signal.aborted) return
      const truncated = this.live ? undefined : media.shortfall()
      if (truncated !== undefined) {
        this.#context.events.damaged('truncated')
        const fault = failure(
          'SOURCE_UNREADABLE',
          `${this.name} is cut off: ${truncated}. The readable part was played; get the whole file again.`,
        )
        if (!loop) throw fault
        this.#context.log.warn({ code: fault.code, source: this.name }, fault.message)
      }
      if (kind === 'pushed') return // who comes next, the one who has opened it knows
      if (this.live && !media.isPicture)
        throw failure('SOURCE_UNAVAILABLE', `${this.name} ended its stream. Reopening it.`)
      if (!loop && !media.isPicture) return
      this.#media = undefined
      await media[Symbol.asyncDispose]()
      const everyMs = media.isPicture ? intervalMs : kind === 'file' ? 0 : LOOP_MS_MIN
      await this.#sleep(this.#openedMs + everyMs - performance.now())
      if (this.#signal.aborted) return
    }
  }

  async #open(): Promise<Media> {
    this.#openedMs = performance.now()
    const media = await Media.open(this.#options, this.#signal, this.#context.tap)
    this.#media = media
    return media
  }

  /** Holds a frame to `rateMax` and to its time, and gives it on. The schedule holds over passes of a loop. */
  async #pass(frame: Normal, ready: Handover<Picture>): Promise<void> {
    const { pace, rateMax } = this.#options
    const { av, tick } = frame
    const playSeconds = this.live ? performance.now() / 1000 : tick.playSeconds
    // A quarter of an interval's tolerance: a limit equal to the source's own rate skips nothing.
    if (rateMax < Infinity && playSeconds < this.#dueSeconds - 0.25 / rateMax) {
      av.free()
      this.#context.events.skipped('rate', 1)
      return
    }
    // After a gap the schedule starts anew instead of catching up.
    const isLate = playSeconds > this.#dueSeconds + 1 / rateMax
    this.#dueSeconds = (isLate ? playSeconds : this.#dueSeconds) + 1 / rateMax
    if (!this.live && pace === 'realtime') {
      this.#startMs ??= performance.now() - playSeconds * 1000
      const waitMs = this.#startMs + playSeconds * 1000 - performance.now()
      if (waitMs < -PLAY_LATE_MS_MAX) this.#startMs -= waitMs
      await this.#sleep(waitMs)
    }
    const atMs = (this.live ? playSeconds : tick.seconds) * 1000
    await ready.put({ ...frame, atMs, [Symbol.dispose]: () => av.free() })
  }

  async #sleep(waitMs: number): Promise<void> {
    if (waitMs > 1) await sleep(waitMs, undefined, { signal: this.#signal }).catch(() => {})
  }

  /** Scales a picture to the detector's input. The picture belongs to the frame from here on. */
  async #frame({ av: decoded, sequence, capturedAtMs, atMs, shape, tone }: Picture): Promise<Frame> {
    const view = this.#view({ width: decoded.width, height: decoded.height }, shape)
    const fitted = view.scaledSize(this.#context.input)
    const small = this.#small(fitted.stored)
    if (view.isWhole) await this.#scale(small.av, decoded)
    else {
      using region = this.#cutter.crop(decoded, view.storedRegion)
      await this.#scale(small.av, region)
    }
    // Copied out of FFmpeg's memory, which the next frame takes: 170 KB at 320x180, 20 us. Into shared memory, so
    // that it reaches the detector's thread without a further copy, and used again once the frame is done with.
    const rgb = copyRows(small, { left: 0, top: 0, ...fitted.stored }, this.#slot(fitted.stored))
    tone?.apply(rgb)
    const data = view.finish(rgb, fitted.stored, view.isUpright ? undefined : this.#slot(fitted.stored))
    if (data !== rgb) this.#slots.push(rgb)
    let av: AvFrame | undefined = decoded
    const cutter = this.#cutter
    const slots = this.#slots
    this.#held += 1
    const letGo = () => {
      this.#held -= 1
      this.#freeCutter()
    }
    return {
      sequence,
      capturedAtMs,
      atMs,
      ...view.size,
      ...(!view.isWhole && { region: view.region }),
      scaled: { data, ...fitted.turned },
      async cut(left, top, width, height) {
        const whole = av
        if (!whole) throw new Error('the frame is already disposed')
        return view.cut({ left, top, width, height }, (region) => {
          const cut = cutter.cut(whole, region)
          tone?.apply(cut)
          return cut
        })
      },
      [Symbol.dispose]() {
        if (!av) return
        av.free()
        av = undefined
        slots.push(data)
        letGo()
      },
    }
  }

  #view(stored: Size, shape: Shape): View {
    if (!this.#viewMade?.isFor(stored, shape)) this.#viewMade = new View(this.#settings, stored, shape)
    return this.#viewMade
  }

  #slot({ width, height }: Size): Uint8Array {
    const bytes = width * height * 3
    const slot = this.#slots.pop()
    return slot?.length === bytes ? slot : new Uint8Array(new SharedArrayBuffer(bytes))
  }

  /** Where pictures are scaled to: one after the other, so one is enough. */
  #small({ width, height }: Size): Small {
    const made = this.#smallMade
    if (made && made.av.width === width && made.av.height === height) return made
    made?.av.free()
    const av = allocate({ width, height }, AV_PIX_FMT_RGB24)
    this.#smallMade = { av, data: av.data, linesize: av.linesize }
    return this.#smallMade
  }

  async #scale(to: AvFrame, from: AvFrame): Promise<void> {
    const status = await this.#scaler.scaleFrame(to, from)
    if (status >= 0) return
    throw failure(
      'SOURCE_UNREADABLE',
      `${this.name}: cannot convert a frame (${new FFmpegError(status).message}).`,
    )
  }
}

import { availableParallelism } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  AV_LOG_QUIET,
  AV_LOG_WARNING,
  AV_PIX_FMT_NV12,
  AV_PIX_FMT_RGB24,
  AV_PIX_FMT_YUV420P,
  AV_PIX_FMT_YUV422P,
  AV_PIX_FMT_YUV444P,
  AV_PIX_FMT_YUVJ420P,
  AV_PIX_FMT_YUVJ422P,
  AV_PIX_FMT_YUVJ444P,
  AV_PKT_DATA_DISPLAYMATRIX,
  AV_PKT_FLAG_CORRUPT,
  AVCOL_RANGE_JPEG,
  AVCOL_RANGE_MPEG,
  AVCOL_SPC_BT470BG,
  AVCOL_SPC_BT709,
  AVCOL_SPC_BT2020_CL,
  AVCOL_SPC_BT2020_NCL,
  AVCOL_SPC_SMPTE170M,
  AVCOL_SPC_UNSPECIFIED,
  AVDISCARD_ALL,
  AVERROR_EACCES,
  AVERROR_EAGAIN,
  AVERROR_EBUSY,
  AVERROR_ENODEV,
  AVERROR_ENOENT,
  AVERROR_EOF,
  AVERROR_HTTP_FORBIDDEN,
  AVERROR_HTTP_NOT_FOUND,
  AVERROR_HTTP_UNAUTHORIZED,
  AVERROR_INVALIDDATA,
  AVMEDIA_TYPE_VIDEO,
  type AVPixelFormat,
  SWS_FAST_BILINEAR,
} from 'node-av/constants'
import {
  Frame as AvFrame,
  type Codec,
  CodecContext,
  Dictionary,
  FFmpegError,
  Log as FFmpegLog,
  FormatContext,
  InputFormat,
  Packet,
  SoftwareScaleContext,
} from 'node-av/lib'
import { failure, type SightlineError } from '../../lib/errors.ts'
import type { Log } from '../../lib/log.ts'
import { fitInside, type Region, type Size } from '../crop.ts'
import type { Frame } from '../frame.ts'
import { Handover } from '../handover.ts'
import { DECODER_THREADS_MAX, FRAMES_AHEAD_MAX, SHORTFALL_RATIO_MAX, SHORTFALL_S_MAX } from '../limits.ts'
import { type Planes, regionToRgb, turnRgb, untilTurned } from './colour.ts'
import type { Source, SourceContext } from './source.ts'

/**
 * Videos and cameras through FFmpeg (node-av): file, RTSP, RTMP, HTTP, HLS, V4L2.
 *
 *   packets -> decoder (its own threads) -> handover -> scaled to the detector's size -> Frame
 *
 * Decoding runs ahead of whoever takes frames; scaling happens when a frame is taken, so a frame that is skipped
 * costs no scaling. The full-size picture is never copied: a Frame holds FFmpeg's reference to it and converts
 * only the regions that are cut.
 */
export interface VideoOptions {
  /** What FFmpeg opens: a path, an address or a device. */
  readonly address: string
  /** For people: the address without passwords. */
  readonly name: string
  readonly kind: 'file' | 'stream' | 'camera'
  readonly pace: 'realtime' | 'asfast'
  readonly loop: boolean
  /** Frames a second; Infinity: all. */
  readonly rateMax: number
  /** How long opening or waiting for a frame may take, ms. */
  readonly timeoutMs: number
  readonly rtspTransport: 'tcp' | 'udp'
  readonly size?: Size
  readonly framerate?: number
  readonly inputFormat?: string
  readonly decoderThreads?: number
}

/** A decoded picture on its way. */
interface Picture extends Disposable {
  readonly av: AvFrame
  readonly sequence: number
  readonly capturedAtMs: number
  readonly atMs: number
  readonly quarters: number
}

/** A full-size picture whose memory stays, so that JavaScript looks at it once only. */
interface Canvas {
  readonly av: AvFrame
  readonly data: readonly Buffer[]
  readonly strides: readonly number[]
  /** Whose picture it has. */
  holds: AvFrame | undefined
}

FFmpegLog.setLevel(AV_LOG_QUIET)

/** FFmpeg's own warnings, as debug lines of ours. */
export function routeFFmpegLog(log: Log): void {
  if (!log.isLevelEnabled('debug')) return
  FFmpegLog.setLevel(AV_LOG_WARNING)
  FFmpegLog.setCallback((_level, message) => log.debug({ ffmpeg: message.trim() }, 'FFmpeg says'), {
    maxLevel: AV_LOG_WARNING,
  })
}

export class Video implements Source {
  readonly name: string
  readonly live: boolean
  readonly lossless: boolean
  readonly #options: VideoOptions
  readonly #context: SourceContext
  readonly #stop = new AbortController()
  readonly #signal: AbortSignal
  readonly #scaler = new SoftwareScaleContext()
  #smallMade: { readonly av: AvFrame; readonly data: Buffer } | undefined
  #canvas: Canvas | undefined
  /** Scaled pictures' memory that no frame has at the moment; never more than there were frames at once. */
  readonly #slots: Uint8Array[] = []
  #media: Media | undefined
  #sequence = 0
  #working: Promise<void> = Promise.resolve()

  private constructor(options: VideoOptions, context: SourceContext, media: Media, signal: AbortSignal) {
    this.name = options.name
    this.#options = options
    this.#context = context
    this.#media = media
    this.#signal = AbortSignal.any([signal, this.#stop.signal])
    // A stream that says how long it is, is a recording.
    this.live = options.kind === 'camera' || (options.kind === 'stream' && media.seconds === undefined)
    this.lossless = !this.live && options.pace === 'asfast'
    this.#scaler.allocContext()
    this.#scaler.setOption('sws_flags', String(SWS_FAST_BILINEAR))
  }

  /** Errors: SOURCE_NOT_FOUND, SOURCE_UNREADABLE, SOURCE_UNAVAILABLE. */
  static async open(options: VideoOptions, context: SourceContext, signal: AbortSignal): Promise<Video> {
    return new Video(options, context, await Media.open(options, signal), signal)
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
    this.#smallMade?.av.free()
    this.#smallMade = undefined
    this.#canvas?.av.free()
    this.#canvas = undefined
    this.#scaler.freeContext()
  }

  async #decode(ready: Handover<Picture>): Promise<void> {
    const { loop } = this.#options
    for (;;) {
      const media = this.#media ?? (await Media.open(this.#options, this.#signal))
      this.#media = media
      const truncated = await this.#play(media, ready)
      if (this.#signal.aborted) return
      if (truncated !== undefined) {
        this.#context.events.damaged('truncated')
        const fault = failure(
          'SOURCE_UNREADABLE',
          `${this.name} is cut off: ${truncated}. What could be read was played; get the whole file again.`,
        )
        if (!loop) throw fault
        this.#context.log.warn({ code: fault.code, source: this.name }, fault.message)
      }
      if (this.live)
        throw failure('SOURCE_UNAVAILABLE', `${this.name} has ended its stream. It will be opened again.`)
      if (!loop) return
      this.#media = undefined
      await media[Symbol.asyncDispose]()
    }
  }

  /** Plays to the end. Says how the end came too soon, if it did. */
  async #play(media: Media, ready: Handover<Picture>): Promise<string | undefined> {
    const { pace, rateMax } = this.#options
    const inRealTime = !this.live && pace === 'realtime'
    let startMs: number | undefined
    let dueSeconds = -Infinity
    await media.decode(this.#signal, this.#context, async (av, seconds) => {
      const sequence = this.#sequence
      this.#sequence += 1
      const atSeconds = this.live ? performance.now() / 1000 : seconds
      // A quarter of an interval's tolerance: a limit equal to the source's own rate skips nothing.
      if (rateMax < Infinity && atSeconds < dueSeconds - 0.25 / rateMax) {
        av.free()
        this.#context.events.skipped('rate', 1)
        return
      }
      // After a gap the schedule starts anew instead of catching up.
      dueSeconds = (atSeconds > dueSeconds + 1 / rateMax ? atSeconds : dueSeconds) + 1 / rateMax
      if (inRealTime) {
        startMs ??= performance.now() - seconds * 1000
        const waitMs = startMs + seconds * 1000 - performance.now()
        if (waitMs > 1) await sleep(waitMs, undefined, { signal: this.#signal }).catch(() => {})
      }
      await ready.put({
        av,
        sequence,
        capturedAtMs: Date.now(),
        atMs: atSeconds * 1000,
        quarters: media.quarters,
        [Symbol.dispose]: () => av.free(),
      })
    })
    return this.#options.kind === 'file' ? media.shortfall() : undefined
  }

  /** Scales a picture to the detector's input. The picture belongs to the frame from here on. */
  async #frame({ av: decoded, sequence, capturedAtMs, atMs, quarters }: Picture): Promise<Frame> {
    const stored = { width: decoded.width, height: decoded.height }
    const size = quarters % 2 === 1 ? { width: stored.height, height: stored.width } : stored
    if (decoded.colorSpace === AVCOL_SPC_UNSPECIFIED)
      decoded.colorSpace = stored.height >= 720 ? AVCOL_SPC_BT709 : AVCOL_SPC_BT470BG
    const fitted = fitInside(size, this.#context.input)
    const unturned = quarters % 2 === 1 ? { width: fitted.height, height: fitted.width } : fitted
    const small = this.#small(unturned)
    await this.#scale(small.av, decoded)
    // Copied out of FFmpeg's memory, which the next frame takes: 170 KB at 320x180, 20 us. Into shared memory, so
    // that it reaches the detector's thread without a further copy, and used again once the frame is done with.
    const rgb = this.#slot(small.data.length)
    rgb.set(small.data)
    let av: AvFrame | undefined = decoded
    if (!CHROMA_SHIFTS.has(decoded.format)) {
      // A format that is not converted here (10 bits, packed, grey): FFmpeg makes it 4:2:0 first.
      av = allocate(stored, AV_PIX_FMT_YUV420P)
      av.colorSpace = decoded.colorSpace
      av.colorRange = AVCOL_RANGE_MPEG
      await this.#scale(av, decoded)
      decoded.free()
    }
    const planesOf = (it: AvFrame) => this.#planes(it)
    const slots = this.#slots
    return {
      sequence,
      capturedAtMs,
      atMs,
      ...size,
      scaled: { data: turnRgb(rgb, unturned, quarters), ...fitted },
      async cut(left, top, width, height) {
        if (!av) throw new Error('the frame has been disposed of')
        const planes = planesOf(av)
        const region: Region = untilTurned({ left, top, width, height }, stored, quarters)
        return turnRgb(regionToRgb(planes, region), region, quarters)
      },
      [Symbol.dispose]() {
        if (!av) return
        av.free()
        av = undefined
        slots.push(rgb)
      },
    }
  }

  #slot(bytes: number): Uint8Array {
    const slot = this.#slots.pop()
    return slot?.length === bytes ? slot : new Uint8Array(new SharedArrayBuffer(bytes))
  }

  /**
   * A frame's planes, to be read at once: they are those of a canvas that the next frame takes.
   * FFmpeg's own memory could be looked at without a copy, but each look at a frame's `data` makes Buffers of 3 MB
   * that V8 takes for its own, and collecting them cost 3 ms a frame; copying costs 0.4 ms, where there are faces.
   */
  #planes(av: AvFrame): Planes {
    let canvas = this.#canvas
    if (
      !canvas ||
      canvas.av.width !== av.width ||
      canvas.av.height !== av.height ||
      canvas.av.format !== av.format
    ) {
      canvas?.av.free()
      const made = allocate(av, av.format as AVPixelFormat)
      canvas = { av: made, data: made.data ?? [], strides: made.linesize, holds: undefined }
      this.#canvas = canvas
    }
    if (canvas.holds !== av) {
      const status = canvas.av.copy(av)
      if (status < 0) throw new FFmpegError(status)
      canvas.holds = av
    }
    return {
      data: canvas.data,
      strides: canvas.strides,
      chromaShift: CHROMA_SHIFTS.get(av.format) ?? { x: 1, y: 1 },
      interleaved: av.format === AV_PIX_FMT_NV12,
      matrix: BT601.has(av.colorSpace) ? 'bt601' : BT2020.has(av.colorSpace) ? 'bt2020' : 'bt709',
      fullRange: av.colorRange === AVCOL_RANGE_JPEG || FULL_RANGE.has(av.format),
    }
  }

  /** Where pictures are scaled to: one after the other, so one is enough. */
  #small({ width, height }: Size): { readonly av: AvFrame; readonly data: Buffer } {
    const made = this.#smallMade
    if (made && made.av.width === width && made.av.height === height) return made
    made?.av.free()
    const av = allocate({ width, height }, AV_PIX_FMT_RGB24)
    this.#smallMade = { av, data: av.data?.[0] as Buffer }
    return this.#smallMade
  }

  async #scale(to: AvFrame, from: AvFrame): Promise<void> {
    const status = await this.#scaler.scaleFrame(to, from)
    if (status >= 0) return
    throw failure(
      'SOURCE_UNREADABLE',
      `${this.name}: a frame cannot be converted (${new FFmpegError(status).message}).`,
    )
  }
}

function allocate({ width, height }: Size, format: AVPixelFormat): AvFrame {
  const av = new AvFrame()
  av.alloc()
  av.width = width
  av.height = height
  av.format = format
  av.getBuffer(1) // rows without padding
  return av
}

const CHROMA_SHIFTS = new Map<number, Planes['chromaShift']>([
  [AV_PIX_FMT_YUV420P, { x: 1, y: 1 }],
  [AV_PIX_FMT_YUVJ420P, { x: 1, y: 1 }],
  [AV_PIX_FMT_NV12, { x: 1, y: 1 }],
  [AV_PIX_FMT_YUV422P, { x: 1, y: 0 }],
  [AV_PIX_FMT_YUVJ422P, { x: 1, y: 0 }],
  [AV_PIX_FMT_YUV444P, { x: 0, y: 0 }],
  [AV_PIX_FMT_YUVJ444P, { x: 0, y: 0 }],
])
const FULL_RANGE = new Set<number>([AV_PIX_FMT_YUVJ420P, AV_PIX_FMT_YUVJ422P, AV_PIX_FMT_YUVJ444P])
const BT601 = new Set<number>([AVCOL_SPC_BT470BG, AVCOL_SPC_SMPTE170M])
const BT2020 = new Set<number>([AVCOL_SPC_BT2020_NCL, AVCOL_SPC_BT2020_CL])

/** One open input with its decoder. Whoever opens it reads it to the end and disposes of it. */
class Media implements AsyncDisposable {
  /** How long it says it is; undefined: it does not say. */
  readonly seconds: number | undefined
  /** By how many quarters of a turn, clockwise, it wants to be shown. */
  readonly quarters: number
  readonly #options: VideoOptions
  readonly #format: FormatContext
  readonly #codec: CodecContext
  readonly #streamIndex: number
  readonly #startSeconds: number
  #endSeconds = 0
  #lastCorrupt = false

  private constructor(options: VideoOptions, format: FormatContext, codec: CodecContext, stream: number) {
    this.#options = options
    this.#format = format
    this.#codec = codec
    this.#streamIndex = stream
    const video = format.streams[stream]
    const base = video?.timeBase
    this.seconds =
      video && base && video.duration > 0n
        ? (Number(video.duration) * base.num) / base.den
        : format.duration > 0n
          ? Number(format.duration) / 1e6
          : undefined
    this.#startSeconds = format.startTime > -(2n ** 62n) ? Number(format.startTime) / 1e6 : 0
    this.quarters = quarterTurns(video?.codecpar.getCodedSideData(AV_PKT_DATA_DISPLAYMATRIX) ?? undefined)
  }

  static async open(options: VideoOptions, signal: AbortSignal): Promise<Media> {
    const { address, name, kind, timeoutMs } = options
    const format = new FormatContext()
    format.allocContext()
    using dictionary = Dictionary.fromObject(openOptions(options))
    const v4l2 = kind === 'camera' ? InputFormat.findInputFormat('v4l2') : null
    if (kind === 'camera' && !v4l2)
      throw failure('SOURCE_UNAVAILABLE', `${name}: this system has no V4L2; cameras work on Linux only.`)
    using _guard = interruptOn(format, signal, timeoutMs)
    try {
      const opened = await format.openInput(address, v4l2, dictionary)
      if (opened < 0) throw openFailure(options, opened, signal)
      const probed = await format.findStreamInfo()
      if (probed < 0) throw openFailure(options, probed, signal)
      const found = format.findBestStream(AVMEDIA_TYPE_VIDEO, -1, -1, true)
      const stream = format.streams[found.streamIndex]
      if (found.streamIndex < 0 || !stream)
        throw failure('SOURCE_UNREADABLE', `${name} has no video in it. Give one that has.`)
      if (!found.decoder)
        throw failure('SOURCE_UNREADABLE', `${name} is in a video format for which there is no decoder here.`)
      // Sound is read along only where the file's length is known for the whole alone.
      if (kind !== 'file' || (stream.duration > 0n && stream.nbFrames > 0n))
        for (const [index, other] of format.streams.entries())
          if (index !== found.streamIndex) other.discard = AVDISCARD_ALL
      return new Media(options, format, await openDecoder(found.decoder, stream, options), found.streamIndex)
    } catch (error) {
      await format.closeInput()
      throw error
    }
  }

  /**
   * Decodes to the end, one frame at a time; `take` gets each with its time since the start, owns it, and holds up
   * decoding until it resolves. Throws SOURCE_UNAVAILABLE or SOURCE_UNREADABLE where reading fails.
   */
  async decode(
    signal: AbortSignal,
    { events }: SourceContext,
    take: (frame: AvFrame, seconds: number) => Promise<void>,
  ): Promise<void> {
    const { name, kind, timeoutMs } = this.#options
    const format = this.#format
    const codec = this.#codec
    const stream = format.streams[this.#streamIndex]
    if (!stream) return
    const secondsOf = (time: bigint, { num, den }: { num: number; den: number }) => (Number(time) * num) / den
    const timeBase = { num: stream.timeBase.num, den: stream.timeBase.den }
    const bases = format.streams.map((it) => ({ num: it.timeBase.num, den: it.timeBase.den }))
    const rate = stream.avgFrameRate
    const frameSeconds = rate.num > 0 && rate.den > 0 ? rate.den / rate.num : 1 / 25
    let lastSeconds = -frameSeconds
    let delivered = 0
    using packet = new Packet()
    packet.alloc()
    /** Takes one frame from the decoder. False where it has none: it wants a packet, or is at its end. */
    const receive = async (): Promise<boolean> => {
      const frame = new AvFrame()
      frame.alloc()
      const status = await codec.receiveFrame(frame)
      if (status < 0 || signal.aborted) {
        frame.free()
        if (status === AVERROR_EAGAIN || status === AVERROR_EOF || signal.aborted) return false
        events.damaged('packet')
        return true
      }
      const time = frame.bestEffortTimestamp
      lastSeconds =
        time > -(2n ** 62n) ? secondsOf(time, timeBase) - this.#startSeconds : lastSeconds + frameSeconds
      delivered += 1
      await take(frame, lastSeconds)
      return true
    }
    const flush = async () => {
      await codec.sendPacket(null)
      while (await receive());
    }
    for (;;) {
      let status: number
      {
        using _guard = interruptOn(format, signal, kind === 'file' ? undefined : timeoutMs)
        status = await format.readFrame(packet)
      }
      if (signal.aborted) return
      if (status === AVERROR_EAGAIN) {
        await sleep(5)
        continue
      }
      if (status === AVERROR_EOF) break
      if (status < 0) {
        await flush()
        const why = new FFmpegError(status).message
        throw kind === 'file'
          ? failure(
              'SOURCE_UNREADABLE',
              `${name} cannot be read further (${why}); ${delivered} frames were played.`,
            )
          : failure('SOURCE_UNAVAILABLE', `${name} has stopped delivering (${why}). It will be opened again.`)
      }
      const base = bases[packet.streamIndex]
      if (base && packet.pts > -(2n ** 62n))
        this.#endSeconds = Math.max(
          this.#endSeconds,
          secondsOf(packet.pts + packet.duration, base) - this.#startSeconds,
        )
      this.#lastCorrupt = (packet.flags & AV_PKT_FLAG_CORRUPT) !== 0
      if (packet.streamIndex !== this.#streamIndex) {
        packet.unref()
        continue
      }
      let sent = await codec.sendPacket(packet)
      while (sent === AVERROR_EAGAIN && (await receive())) sent = await codec.sendPacket(packet)
      packet.unref()
      if (sent < 0) events.damaged('packet')
      // One packet, one frame: asking once saves a thread's round trip a frame; more come with the next EAGAIN.
      await receive()
      if (signal.aborted) return
    }
    await flush()
    if (delivered === 0 && !signal.aborted)
      throw failure('SOURCE_UNREADABLE', `${name} has no picture that can be decoded.`)
  }

  /** How the end came sooner than the file says, in words; undefined where it did not. */
  shortfall(): string | undefined {
    if (this.seconds !== undefined && this.#endSeconds > 0) {
      const missing = this.seconds - this.#endSeconds
      if (missing > Math.max(SHORTFALL_S_MAX, this.seconds * SHORTFALL_RATIO_MAX))
        return `it says ${this.seconds.toFixed(1)} s and ends after ${this.#endSeconds.toFixed(1)} s`
    }
    return this.#lastCorrupt ? 'its last packet is incomplete' : undefined
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#codec.freeContext()
    await this.#format.closeInput()
  }
}

async function openDecoder(
  decoder: Codec,
  stream: NonNullable<FormatContext['streams'][number]>,
  { name, decoderThreads }: VideoOptions,
): Promise<CodecContext> {
  const codec = new CodecContext()
  codec.allocContext3(decoder)
  codec.parametersToContext(stream.codecpar)
  codec.pktTimebase = stream.timeBase
  codec.threadCount = decoderThreads ?? Math.min(availableParallelism() + 1, DECODER_THREADS_MAX)
  const status = await codec.open2(decoder, null)
  if (status >= 0) return codec
  codec.freeContext()
  throw failure(
    'SOURCE_UNREADABLE',
    `${name}: its video decoder does not open (${new FFmpegError(status).message}).`,
  )
}

/**
 * Ends a blocking call of FFmpeg when the signal is aborted or after a time. Opening heeds it too: the call
 * returns at once, with whatever code the protocol makes of it.
 */
function interruptOn(format: FormatContext, signal: AbortSignal, timeoutMs: number | undefined): Disposable {
  const interrupt = () => format.interrupt()
  // FFmpeg's own timeouts come first, with better words; this is for what they do not cover.
  const timer = timeoutMs === undefined ? undefined : setTimeout(interrupt, timeoutMs * 1.25 + 250)
  signal.addEventListener('abort', interrupt, { once: true })
  if (signal.aborted) interrupt()
  return {
    [Symbol.dispose]() {
      clearTimeout(timer)
      signal.removeEventListener('abort', interrupt)
    },
  }
}

/** FFmpeg takes unknown options in silence: these names are from its documentation of protocols and devices. */
function openOptions(options: VideoOptions): Record<string, string> {
  const { address, kind, timeoutMs, size, framerate, inputFormat } = options
  const timeoutUs = String(timeoutMs * 1000)
  if (kind === 'camera')
    return {
      ...(size && { video_size: `${size.width}x${size.height}` }),
      ...(framerate !== undefined && { framerate: String(framerate) }),
      ...(inputFormat !== undefined && { input_format: inputFormat }),
    }
  if (kind === 'file') return {}
  if (/^rtsps?:/i.test(address)) return { rtsp_transport: options.rtspTransport, timeout: timeoutUs }
  return { rw_timeout: timeoutUs }
}

/** What a failed open means, in a sentence that says what to do. */
function openFailure({ name, kind }: VideoOptions, status: number, signal: AbortSignal): SightlineError {
  const cause = new FFmpegError(status)
  if (signal.aborted) return failure('SOURCE_UNAVAILABLE', `${name} was being opened when told to stop.`)
  if (kind === 'file')
    switch (status) {
      case AVERROR_ENOENT:
        return failure('SOURCE_NOT_FOUND', `${name} does not exist. Check the path under "cameras".`, cause)
      case AVERROR_EACCES:
        return failure('SOURCE_UNREADABLE', `${name} may not be read by this user.`, cause)
      default:
        return failure(
          'SOURCE_UNREADABLE',
          `${name} is no video that can be read, or it is cut off before its index (${cause.message}). Check that it plays elsewhere, and copy it again.`,
          cause,
        )
    }
  const said = new Map<number, string>([
    [AVERROR_ENOENT, 'is not there. Check that the camera is plugged in and the name is right'],
    [AVERROR_ENODEV, 'is no camera. Check the name'],
    [AVERROR_EACCES, 'may not be used by this user. Add the user to the group "video"'],
    [AVERROR_EBUSY, 'is in use by another program. Stop that program'],
    [AVERROR_HTTP_UNAUTHORIZED, 'wants a user and a password: put them into the address'],
    [AVERROR_HTTP_FORBIDDEN, 'refuses this user. Check user and password in the address'],
    [AVERROR_HTTP_NOT_FOUND, 'has no such stream. Check the path in the address'],
    [AVERROR_INVALIDDATA, 'gives no answer that makes sense, or none in time. Check the address'],
  ]).get(status)
  return failure(
    'SOURCE_UNAVAILABLE',
    said
      ? `${name} ${said}.`
      : `${name} cannot be reached (${cause.message}). Check the address, and that it is switched on.`,
    cause,
  )
}

/** The display matrix (libavutil/display.h): 3x3, 16.16 fixed point; the angle as av_display_rotation_get has it. */
function quarterTurns(matrix: Buffer | undefined): number {
  if (!matrix || matrix.length < 36) return 0
  const [a, b] = [matrix.readInt32LE(0), matrix.readInt32LE(4)]
  const degrees = (Math.atan2(b, a) * 180) / Math.PI
  return ((Math.round(degrees / 90) % 4) + 4) % 4
}

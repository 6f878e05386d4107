import { availableParallelism } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  AV_DISPOSITION_ATTACHED_PIC,
  AV_DISPOSITION_TIMED_THUMBNAILS,
  AV_PKT_FLAG_CORRUPT,
  type AVCodecID,
  AVDISCARD_ALL,
  AVERROR_EACCES,
  AVERROR_EAGAIN,
  AVERROR_EBUSY,
  AVERROR_EINVAL,
  AVERROR_ENODEV,
  AVERROR_ENOENT,
  AVERROR_EOF,
  AVERROR_HTTP_FORBIDDEN,
  AVERROR_HTTP_NOT_FOUND,
  AVERROR_HTTP_UNAUTHORIZED,
  AVERROR_INVALIDDATA,
  AVFMT_FLAG_CUSTOM_IO,
  AVMEDIA_TYPE_AUDIO,
  AVMEDIA_TYPE_VIDEO,
} from 'node-av/constants'
import {
  Frame as AvFrame,
  avGetCodecName,
  type Codec,
  CodecContext,
  Dictionary,
  FFmpegError,
  FormatContext,
  InputFormat,
  Packet,
} from 'node-av/lib'
import { failure, type SightlineError } from '../../lib/errors.ts'
import type { Size } from '../faces/crop.ts'
import {
  DECODER_THREADS_MAX,
  FRAME_S_MAX,
  PICTURE_PIXELS_MAX,
  PROBE_MS_MAX,
  PUSHED_PROBE_BYTES_MAX,
  PUSHED_PROBE_MS_MAX,
  SHORTFALL_RATIO_MAX,
  SHORTFALL_S_MAX,
} from '../limits.ts'
import type { PushedVideo } from '../listen/publication.ts'
import type { SeenMedia } from '../listen/streams.ts'
import type { PacketTap } from '../record/tap.ts'
import { hasCredentials } from './address.ts'
import { videoDevices } from './devices.ts'
import { Feed } from './feed.ts'
import type { Decoded } from './normal.ts'
import type { SourceContext } from './source.ts'

export interface VideoOptions {
  /** What FFmpeg opens: a path, an address or a device. */
  readonly address: string
  /** For people: the address without passwords. */
  readonly name: string
  readonly kind: 'file' | 'stream' | 'camera' | 'pushed'
  readonly pace: 'realtime' | 'asfast'
  readonly loop: boolean
  /** Frames a second; Infinity: all. */
  readonly rateMax: number
  /** How often a picture at an address is asked for, ms. */
  readonly intervalMs: number
  /** How long opening or waiting for a frame may take, ms. */
  readonly timeoutMs: number
  readonly rtspTransport: 'tcp' | 'udp'
  /** Whether an address may lead to another; it may where absent. */
  readonly redirects?: boolean
  readonly size?: Size
  readonly framerate?: number
  readonly inputFormat?: string
  readonly decoderThreads?: number
  /** Of kind `pushed`: its bytes, a file as it comes. */
  readonly input?: PushedVideo
}

/** One open input with its decoder. Whoever opens it reads it to the end and disposes of it. */
export class Media implements AsyncDisposable {
  /** How long it says it is; undefined: it does not say. */
  readonly seconds: number | undefined
  /** It is a single picture at an address: what there is to see is there once it is asked for again. */
  readonly isPicture: boolean
  readonly #options: VideoOptions
  readonly #format: FormatContext
  readonly #codec: CodecContext
  readonly #streamIndex: number
  /** Undefined where sound is not read. */
  readonly #audioIndex: number | undefined
  readonly #tap: PacketTap | undefined
  readonly #feed: Feed | undefined
  readonly #startSeconds: number
  /** Nothing but the video makes it so long; of streams, the sound is not read. */
  readonly #isLengthOfVideo: boolean
  #endSeconds = 0
  #lastCorrupt = false

  private constructor(
    options: VideoOptions,
    { format, feed }: { format: FormatContext; feed: Feed | undefined },
    codec: CodecContext,
    { video: stream, audio }: { readonly video: number; readonly audio: number | undefined },
    tap: PacketTap | undefined,
  ) {
    this.#feed = feed
    this.#options = options
    this.#format = format
    this.#codec = codec
    this.#streamIndex = stream
    this.#audioIndex = audio
    this.#tap = tap
    const video = format.streams[stream]
    const base = video?.timeBase
    this.seconds =
      video && base && video.duration > 0n
        ? (Number(video.duration) * base.num) / base.den
        : format.duration > 0n
          ? Number(format.duration) / 1e6
          : undefined
    this.#isLengthOfVideo =
      options.kind === 'file' || (video?.duration ?? 0n) > 0n || format.streams.length === 1
    this.#startSeconds = format.startTime > -(2n ** 62n) ? Number(format.startTime) / 1e6 : 0
    this.isPicture = PICTURES.includes(format.iformat?.name ?? '')
    if (video) tap?.opened(video, audio === undefined ? undefined : format.streams[audio])
  }

  static async open(options: VideoOptions, signal: AbortSignal, tap?: PacketTap): Promise<Media> {
    const { address, name, kind, timeoutMs, input } = options
    const format = new FormatContext()
    format.allocContext()
    const feed = input && new Feed(input)
    if (feed) {
      format.pb = feed.io
      format.setFlags(AVFMT_FLAG_CUSTOM_IO)
    }
    using dictionary = Dictionary.fromObject(openOptions(options))
    const v4l2 = kind === 'camera' ? InputFormat.findInputFormat('v4l2') : null
    if (kind === 'camera' && !v4l2)
      throw failure('SOURCE_UNAVAILABLE', `${name}: this system has no V4L2. Cameras need Linux.`)
    using _guard = interruptOn(format, signal, timeoutMs)
    try {
      const pushed = input ? InputFormat.findInputFormat(input.format ?? 'flv') : null
      const opened = await format.openInput(address, v4l2 ?? pushed, dictionary)
      if (opened < 0) throw openFailure(options, opened, signal)
      // Where no transport is set, FFmpeg follows RTSP's redirections by itself.
      if (options.redirects === false && format.url !== address)
        throw failure(
          'ADDRESS_NOT_ALLOWED',
          `${name} leads to another address, which a camera that was added from afar may not. Set that one.`,
        )
      for (const { codecpar } of format.streams) refuseLarge(name, codecpar)
      const probed = await format.findStreamInfo()
      if (probed < 0) throw openFailure(options, probed, signal)
      const found = findVideo(format)
      const stream = format.streams[found.streamIndex]
      if (found.streamIndex < 0 || !stream)
        throw failure(
          'SOURCE_UNREADABLE',
          `${name} contains no video${format.streams.some(isCover) ? ', only a cover picture' : ''}. Choose another source.`,
        )
      refuseLarge(name, stream.codecpar)
      if (!found.decoder)
        throw failure('SOURCE_UNREADABLE', `No decoder for the video format of ${name}. Use H.264.`)
      const sound = tap?.wantsAudio
        ? format.findBestStream(AVMEDIA_TYPE_AUDIO, -1, found.streamIndex)
        : undefined
      const audio = sound !== undefined && sound >= 0 ? sound : undefined
      // Sound is read along only where it is recorded, or the file's length is known for the whole alone.
      if (kind !== 'file' || (stream.duration > 0n && stream.nbFrames > 0n))
        for (const [index, other] of format.streams.entries())
          if (index !== found.streamIndex && index !== audio) other.discard = AVDISCARD_ALL
      const codec = await openDecoder(found.decoder, stream, options)
      return new Media(options, { format, feed }, codec, { video: found.streamIndex, audio }, tap)
    } catch (error) {
      await close(format, feed)
      throw error
    }
  }

  /**
   * Decodes to the end, one frame at a time; `take` gets each as the decoder gives it, owns it, and holds up decoding
   * until it resolves. Throws SOURCE_UNAVAILABLE or SOURCE_UNREADABLE where reading fails.
   */
  async decode(
    signal: AbortSignal,
    { events }: SourceContext,
    take: (frame: Decoded) => Promise<void>,
  ): Promise<void> {
    const { name, kind, timeoutMs } = this.#options
    const format = this.#format
    const codec = this.#codec
    const tap = this.#tap
    const stream = format.streams[this.#streamIndex]
    if (!stream) return
    const secondsOf = (time: bigint, { num, den }: { num: number; den: number }) => (Number(time) * num) / den
    const timeBase = { num: stream.timeBase.num, den: stream.timeBase.den }
    const bases = format.streams.map((it) => ({ num: it.timeBase.num, den: it.timeBase.den }))
    const rate = stream.avgFrameRate
    const said = rate.num > 0 && rate.den > 0 ? rate.den / rate.num : 1 / 25
    const frameSeconds = Math.min(FRAME_S_MAX, said)
    const { num, den } = stream.sampleAspectRatio
    const pixelAspect = num > 0 && den > 0 ? num / den : undefined
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
      const at = frame.bestEffortTimestamp
      delivered += 1
      const time = at > -(2n ** 62n) ? secondsOf(at, timeBase) : undefined
      if (tap?.wantsPictures) await tap.picture(frame, time, Date.now())
      await take({ av: frame, time, frameSeconds, pixelAspect })
      return true
    }
    const flush = async () => {
      await codec.sendPacket(null)
      while (await receive());
    }
    for (;;) {
      let status: number
      await this.#feed?.ready()
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
          ? failure('SOURCE_UNREADABLE', `Cannot read ${name} after ${delivered} frames: ${why}.`)
          : failure('SOURCE_UNAVAILABLE', `${name} stopped sending (${why}). Reopening it.`)
      }
      const base = bases[packet.streamIndex]
      if (base && packet.pts > -(2n ** 62n))
        this.#endSeconds = Math.max(
          this.#endSeconds,
          secondsOf(packet.pts + packet.duration, base) - this.#startSeconds,
        )
      this.#lastCorrupt = (packet.flags & AV_PKT_FLAG_CORRUPT) !== 0
      if (packet.streamIndex === this.#streamIndex) tap?.packet(packet, 'video', Date.now())
      else {
        if (packet.streamIndex === this.#audioIndex) tap?.packet(packet, 'audio', Date.now())
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
      throw failure('SOURCE_UNREADABLE', `Cannot decode any picture in ${name}.`)
  }

  /** What is in it. */
  get seen(): SeenMedia {
    const { streams } = this.#format
    const video = streams[this.#streamIndex]?.codecpar
    const audio = streams.find(({ codecpar }) => codecpar.codecType === AVMEDIA_TYPE_AUDIO)?.codecpar
    const nameOf = (id: AVCodecID | undefined) => (id === undefined ? null : (avGetCodecName(id) ?? null))
    return {
      codec: nameOf(video?.codecId),
      audio: nameOf(audio?.codecId),
      frame: video && video.width > 0 && video.height > 0 ? [video.width, video.height] : null,
    }
  }

  /** How the end came sooner than the file says, in words; undefined where it did not. */
  shortfall(): string | undefined {
    if (this.seconds !== undefined && this.#isLengthOfVideo && this.#endSeconds > 0) {
      const missing = this.seconds - this.#endSeconds
      if (missing > Math.max(SHORTFALL_S_MAX, this.seconds * SHORTFALL_RATIO_MAX))
        return `its header says ${this.seconds.toFixed(1)} s, but it ends after ${this.#endSeconds.toFixed(1)} s`
    }
    return this.#lastCorrupt ? 'its last packet is incomplete' : undefined
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // A picture that is asked for again is one source all the same.
    if (!this.isPicture) this.#tap?.closed()
    this.#codec.freeContext()
    await close(this.#format, this.#feed)
  }
}

type Stream = FormatContext['streams'][number]

async function close(format: FormatContext, feed: Feed | undefined): Promise<void> {
  if (feed) format.pb = null // ours to free
  await format.closeInput()
  feed?.[Symbol.dispose]()
}

/** The picture of a record, or one of a chapter: no camera's. */
const isCover = ({ disposition }: Stream) =>
  (disposition & (AV_DISPOSITION_ATTACHED_PIC | AV_DISPOSITION_TIMED_THUMBNAILS)) !== 0

/** The best stream that is a video. */
function findVideo(format: FormatContext): ReturnType<FormatContext['findBestStream']> {
  const best = format.findBestStream(AVMEDIA_TYPE_VIDEO, -1, -1, true)
  const { streams } = format
  const isVideo = (stream: Stream | undefined) =>
    stream?.codecpar.codecType === AVMEDIA_TYPE_VIDEO && !isCover(stream)
  if (isVideo(streams[best.streamIndex])) return best
  const other = streams.findIndex(isVideo)
  return other < 0
    ? { streamIndex: -1, decoder: null }
    : format.findBestStream(AVMEDIA_TYPE_VIDEO, other, -1, true)
}

/** Also for pictures that grow in the middle of a stream: a decoder refuses those. */
const DECODER_LIMITS = { max_pixels: String(PICTURE_PIXELS_MAX) }

/** Errors: SOURCE_UNREADABLE. */
function refuseLarge(name: string, { width, height }: Size): void {
  if (width * height > PICTURE_PIXELS_MAX)
    throw failure(
      'SOURCE_UNREADABLE',
      `${name} has pictures of ${width} x ${height} pixels; the limit is ${PICTURE_PIXELS_MAX / 1e6} million. Make them smaller.`,
    )
}

async function openDecoder(
  decoder: Codec,
  stream: Stream,
  { name, kind, decoderThreads }: VideoOptions,
): Promise<CodecContext> {
  const codec = new CodecContext()
  codec.allocContext3(decoder)
  codec.parametersToContext(stream.codecpar)
  codec.pktTimebase = stream.timeBase
  // Threads by frame would each hold one back: 72 ms in place of 2.
  codec.threadCount =
    decoderThreads ?? (kind === 'pushed' ? 1 : Math.min(availableParallelism() + 1, DECODER_THREADS_MAX))
  using limits = Dictionary.fromObject({
    ...DECODER_LIMITS,
    ...(kind === 'pushed' && { flags: 'low_delay' }),
  })
  const status = await codec.open2(decoder, limits)
  if (status >= 0) return codec
  codec.freeContext()
  throw failure(
    'SOURCE_UNREADABLE',
    `${name}: cannot open its video decoder (${new FFmpegError(status).message}).`,
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

/** Containers and plain streams that are read from files and over HTTP. */
const RECORDINGS =
  'mov,matroska,avi,mpegts,mpeg,mpegvideo,flv,live_flv,asf,ogg,mxf,nut,dv,wtv,rm,dhav,ivf,obu,av1,m4v,mjpeg,mpjpeg,h261,h263,h264,hevc,vvc,yuv4mpegpipe'
/** And what belongs to HLS: its sound and its words, which are not looked at, come as streams of their own. */
const HLS = 'hls,aac,ac3,eac3,mp3,webvtt'

/** What a camera answers with at an address of a single picture. */
const PICTURES = ['jpeg_pipe', 'png_pipe', 'webp_pipe']

/**
 * What FFmpeg may open. It goes by content, and would follow a playlist to other files and addresses (HLS, concat,
 * DASH, SDP), draw SVG, and read a hundred formats that no camera has. What is named here is all there is: of a file, a
 * recording in that very file; over the network, the protocols of that network.
 */
function allowed({ address, kind, redirects }: VideoOptions): Record<string, string> {
  const whitelists = (formats: string, protocols: string) => ({
    format_whitelist: formats,
    protocol_whitelist: protocols,
  })
  if (kind === 'file') return whitelists(RECORDINGS, 'file')
  if (/^rtsps?:/i.test(address)) return whitelists('rtsp', 'rtp,srtp,tcp,udp,tls')
  if (/^rtmps?:/i.test(address)) return whitelists('flv,live_flv', 'rtmp,rtmps,tcp,tls')
  // A playlist names addresses.
  const formats = redirects === false ? [RECORDINGS, PICTURES] : [RECORDINGS, HLS, PICTURES]
  return whitelists(formats.join(','), 'http,https,tcp,tls,httpproxy,crypto,data')
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
  if (kind === 'pushed')
    return {
      format_whitelist: 'flv,matroska',
      protocol_whitelist: 'none',
      analyzeduration: String(PUSHED_PROBE_MS_MAX * 1000),
      probesize: String(PUSHED_PROBE_BYTES_MAX),
    }
  const may = allowed(options)
  if (kind === 'file') return may
  const probing = { ...may, analyzeduration: String(PROBE_MS_MAX * 1000) }
  if (/^rtsps?:/i.test(address))
    return { ...probing, rtsp_transport: options.rtspTransport, timeout: timeoutUs }
  return {
    ...probing,
    rw_timeout: timeoutUs,
    ...(options.redirects === false && /^https?:/i.test(address) && { max_redirects: '0' }),
  }
}

/** What a failed open means, in a sentence that says what to do. */
function openFailure(
  { name, kind, address }: VideoOptions,
  status: number,
  signal: AbortSignal,
): SightlineError {
  const cause = new FFmpegError(status)
  if (signal.aborted) return failure('SOURCE_UNAVAILABLE', `Stopped while opening ${name}.`)
  if (kind === 'file')
    switch (status) {
      case AVERROR_ENOENT:
        return failure(
          'SOURCE_NOT_FOUND',
          `${name} does not exist. Check the path under "cameras", or after --source.`,
          cause,
        )
      case AVERROR_EACCES:
        return failure('SOURCE_UNREADABLE', `Cannot read ${name}: permission denied.`, cause)
      default:
        return failure(
          'SOURCE_UNREADABLE',
          `${name} is not a readable video, or is cut off before its index (${cause.message}). Check that it plays elsewhere, and copy it again.`,
          cause,
        )
    }
  if (kind === 'camera' && [AVERROR_ENOENT, AVERROR_ENODEV].includes(status as never))
    return failure(
      'SOURCE_UNAVAILABLE',
      `No camera at ${name}. Check that it is plugged in and that the name is correct. ${videoDevices()}`,
      cause,
    )
  const said = new Map<number, string>([
    [AVERROR_EACCES, 'cannot be opened: permission denied. Add the user to the group "video"'],
    [AVERROR_EBUSY, 'is in use by another program. Stop that program'],
    [
      AVERROR_HTTP_UNAUTHORIZED,
      hasCredentials(address)
        ? 'rejects the login. Check username and password'
        : 'requires a login. Set username and passwordFile',
    ],
    [AVERROR_HTTP_FORBIDDEN, 'denies access to this user. Check username and password'],
    [AVERROR_HTTP_NOT_FOUND, 'has no such stream. Check the path in the address'],
    [AVERROR_EINVAL, 'sends neither a supported video nor a picture (JPEG, PNG, WebP). Check the address'],
    [AVERROR_INVALIDDATA, 'sends no valid answer, or none in time. Check the address'],
  ]).get(status)
  return failure(
    'SOURCE_UNAVAILABLE',
    said
      ? `${name} ${said}.`
      : `Cannot connect to ${name} (${cause.message}). Check the address, and that it is switched on.`,
    cause,
  )
}

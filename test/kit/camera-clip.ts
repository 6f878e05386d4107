import {
  AV_CHANNEL_ORDER_NATIVE,
  AV_LOG_QUIET,
  AV_PIX_FMT_YUV420P,
  AV_SAMPLE_FMT_FLTP,
  FF_ENCODER_AAC,
  FF_ENCODER_LIBSVTAV1,
  FF_ENCODER_LIBX264,
  FF_ENCODER_LIBX265,
} from 'node-av/constants'
import {
  Codec,
  CodecContext,
  Dictionary,
  FFmpegError,
  FormatContext,
  Frame,
  Log,
  Packet,
  Rational,
} from 'node-av/lib'

/** A clip as publishers send it, for tests of what comes to a device: grey frames that change, silence for sound. */
export interface CameraClipOptions {
  /** .mp4 or .mkv */
  readonly file: string
  readonly codec: keyof typeof ENCODERS
  readonly frames: number
  readonly width?: number
  readonly height?: number
  readonly framerate?: number
  /** Frames between two key frames. */
  readonly gop?: number
  /** AAC. */
  readonly sound?: boolean
}

const ENCODERS = {
  h264: { name: FF_ENCODER_LIBX264, options: { preset: 'ultrafast', tune: 'zerolatency' } },
  hevc: {
    name: FF_ENCODER_LIBX265,
    options: { preset: 'ultrafast', tune: 'zerolatency', 'x265-params': 'log-level=none' },
  },
  av1: {
    name: FF_ENCODER_LIBSVTAV1,
    options: { preset: '12', 'svtav1-params': 'pred-struct=1:lookahead=0' },
  },
} as const

const GLOBAL_HEADER = 0x400000 as never
const SAMPLE_RATE = 48_000
const SAMPLES = 1024

export async function writeCameraClip(options: CameraClipOptions): Promise<void> {
  const { file, codec: kind, frames, width = 320, height = 180, framerate = 25, gop = framerate } = options
  Log.setLevel(AV_LOG_QUIET)
  const format = new FormatContext()
  check(format.allocOutputContext2(null, null, file))
  const encoder = Codec.findEncoderByName(ENCODERS[kind].name)
  if (!encoder) throw new Error(`no encoder for ${kind}`)
  using video = new CodecContext()
  video.allocContext3(encoder)
  video.width = width
  video.height = height
  video.pixelFormat = AV_PIX_FMT_YUV420P
  video.timeBase = new Rational(1, framerate)
  video.framerate = new Rational(framerate, 1)
  video.gopSize = gop
  video.setFlags(GLOBAL_HEADER)
  using settings = Dictionary.fromObject(ENCODERS[kind].options)
  check(await video.open2(encoder, settings))
  const pictures = format.newStream()
  check(pictures.codecpar.fromContext(video))
  pictures.timeBase = video.timeBase
  pictures.avgFrameRate = video.framerate
  using audio = new CodecContext()
  const sound = options.sound ? await openSound(audio, format) : undefined
  check(await format.openOutput())
  check(await format.writeHeader())
  using packet = new Packet()
  packet.alloc()
  const write = async (from: CodecContext, to: typeof pictures) => {
    while ((await from.receivePacket(packet)) >= 0) {
      packet.streamIndex = to.index
      packet.rescaleTs(from.timeBase, to.timeBase)
      check(await format.interleavedWriteFrame(packet))
    }
  }
  let samples = 0
  for (let number = 0; number < frames; number += 1) {
    using frame = new Frame()
    frame.alloc()
    frame.format = AV_PIX_FMT_YUV420P
    frame.width = width
    frame.height = height
    check(frame.getBuffer())
    for (const [plane, data] of (frame.data ?? []).entries())
      data.fill(plane === 0 ? 40 + ((number * 5) % 150) : 128)
    frame.pts = BigInt(number)
    check(await video.sendFrame(frame))
    await write(video, pictures)
    for (; sound && samples < (number * SAMPLE_RATE) / framerate; samples += SAMPLES) {
      using silence = new Frame()
      silence.alloc()
      silence.format = AV_SAMPLE_FMT_FLTP
      silence.nbSamples = SAMPLES
      silence.sampleRate = SAMPLE_RATE
      silence.channelLayout = audio.channelLayout
      check(silence.getBuffer())
      for (const plane of silence.data ?? []) plane.fill(0)
      silence.pts = BigInt(samples)
      check(await audio.sendFrame(silence))
      await write(audio, sound)
    }
  }
  await video.sendFrame(null)
  await write(video, pictures)
  check(await format.writeTrailer())
  await format.closeOutput()
  format.freeContext()
}

async function openSound(audio: CodecContext, format: FormatContext) {
  const encoder = Codec.findEncoderByName(FF_ENCODER_AAC)
  if (!encoder) throw new Error('no encoder for AAC')
  audio.allocContext3(encoder)
  audio.sampleFormat = AV_SAMPLE_FMT_FLTP
  audio.sampleRate = SAMPLE_RATE
  audio.channelLayout = { nbChannels: 1, order: AV_CHANNEL_ORDER_NATIVE, mask: 4n }
  audio.timeBase = new Rational(1, SAMPLE_RATE)
  audio.setFlags(GLOBAL_HEADER)
  check(await audio.open2(encoder, null))
  const stream = format.newStream()
  check(stream.codecpar.fromContext(audio))
  stream.timeBase = audio.timeBase
  return stream
}

function check(status: number): void {
  FFmpegError.throwIfError(status)
}

import {
  AV_CODEC_FLAG_GLOBAL_HEADER,
  AV_LOG_QUIET,
  AV_PICTURE_TYPE_I,
  AV_PICTURE_TYPE_NONE,
  AV_PIX_FMT_YUV420P,
  AVCOL_PRI_BT709,
  AVCOL_RANGE_MPEG,
  AVCOL_SPC_BT709,
  AVCOL_TRC_BT709,
  AVERROR_EAGAIN,
  AVERROR_EOF,
  FF_ENCODER_LIBX264,
} from 'node-av/constants'
import {
  type Frame as AvFrame,
  Codec,
  CodecContext,
  CodecParameters,
  FFmpegError,
  Log,
  Packet,
  Rational,
} from 'node-av/lib'
import { failure } from '../../lib/errors.ts'
import type { Size } from '../faces/crop.ts'
import { Track } from './track.ts'

// x264 would tell of itself on the terminal.
Log.setLevel(AV_LOG_QUIET)

/** The clock of its packets, ticks a second. */
export const ENCODER_CLOCK = 90_000

export interface EncoderOptions extends Size {
  /** Bits a second at most, on average over a second or two. */
  readonly bitrateMax: number
  /** 0 to 51 of x264 (`crf`): less is better. */
  readonly quality: number
  readonly threads: number
  /** For the rate control; frames may come as they like. */
  readonly framesPerSecond: number
}

/**
 * H.264 from pictures: x264, as fast as it can be told to, without frames that refer to later ones, so that a packet comes
 * out for each picture that goes in.
 */
export class Encoder implements Disposable {
  readonly #codec: CodecContext
  readonly track: Track
  readonly size: Size

  private constructor(codec: CodecContext, size: Size) {
    this.#codec = codec
    this.size = size
    const codecpar = new CodecParameters()
    codecpar.alloc()
    check(codecpar.fromContext(codec))
    this.track = new Track({
      codecpar,
      timeBase: new Rational(1, ENCODER_CLOCK),
      avgFrameRate: codec.framerate,
    })
    codecpar.free()
  }

  /** @param options width and height are even. Errors: RECORD_FAILED. */
  static async open(options: EncoderOptions): Promise<Encoder> {
    const { width, height, bitrateMax, quality, threads, framesPerSecond } = options
    const found = Codec.findEncoderByName(FF_ENCODER_LIBX264)
    if (!found) throw failure('RECORD_FAILED', 'There is no encoder for H.264 in this build of FFmpeg.')
    const codec = new CodecContext()
    codec.allocContext3(found)
    codec.width = width
    codec.height = height
    codec.pixelFormat = AV_PIX_FMT_YUV420P
    codec.timeBase = new Rational(1, ENCODER_CLOCK)
    codec.framerate = new Rational(Math.max(1, Math.round(framesPerSecond * 1000)), 1000)
    codec.colorRange = AVCOL_RANGE_MPEG
    codec.colorSpace = AVCOL_SPC_BT709
    codec.colorTrc = AVCOL_TRC_BT709
    codec.colorPrimaries = AVCOL_PRI_BT709
    codec.maxBFrames = 0
    codec.gopSize = KEY_FRAMES_MAX
    codec.threadCount = threads
    codec.setFlags(AV_CODEC_FLAG_GLOBAL_HEADER)
    codec.rcMaxRate = BigInt(bitrateMax)
    codec.rcBufferSize = bitrateMax * 2
    codec.setOption('preset', 'veryfast')
    codec.setOption('tune', 'zerolatency')
    codec.setOption('crf', String(quality))
    // Each chunk then begins with a picture that refers to nothing before.
    codec.setOption('forced-idr', '1')
    const status = await codec.open2(found, null)
    if (status < 0) {
      codec.freeContext()
      check(status)
    }
    return new Encoder(codec, { width, height })
  }

  /**
   * Takes a picture, which stays the caller's: YUV 4:2:0, of the encoder's size.
   * @param pts on its clock, ascending
   * @returns packets, which are the caller's. Errors: RECORD_FAILED.
   */
  async encode(picture: AvFrame, pts: bigint, isKey: boolean): Promise<Packet[]> {
    picture.pts = pts
    picture.pictType = isKey ? AV_PICTURE_TYPE_I : AV_PICTURE_TYPE_NONE
    check(await this.#codec.sendFrame(picture))
    return await this.#receive()
  }

  /** What it still has. */
  async flush(): Promise<Packet[]> {
    check(await this.#codec.sendFrame(null))
    return await this.#receive()
  }

  [Symbol.dispose](): void {
    this.track[Symbol.dispose]()
    this.#codec.freeContext()
  }

  async #receive(): Promise<Packet[]> {
    const packets: Packet[] = []
    for (;;) {
      const packet = new Packet()
      packet.alloc()
      const status = await this.#codec.receivePacket(packet)
      if (status >= 0) {
        packets.push(packet)
        continue
      }
      packet.free()
      if (status === AVERROR_EAGAIN || status === AVERROR_EOF) return packets
      for (const made of packets) made.free()
      check(status)
    }
  }
}

/** A key frame at least after so many frames; the chunk's beginning asks for one long before. */
const KEY_FRAMES_MAX = 3000

function check(status: number): void {
  if (status >= 0) return
  const cause = new FFmpegError(status)
  throw failure('RECORD_FAILED', `Cannot encode a recording (${cause.message}).`, cause)
}

import {
  AV_CODEC_ID_MPEG4,
  AV_PIX_FMT_YUV420P,
  AV_PKT_DATA_DISPLAYMATRIX,
  AVCOL_RANGE_MPEG,
  AVCOL_SPC_BT709,
} from 'node-av/constants'
import { Codec, CodecContext, FFmpegError, FormatContext, Frame, Packet, Rational } from 'node-av/lib'

/**
 * Writes a clip of its own making, so that tests of video need no borrowed one. Each frame: a left half of
 * saturated red, a right half of one-pixel black and white columns (gone in any smaller picture), and on top a
 * white bar as wide as the frame's number.
 */
export interface ClipOptions {
  /** The name's ending chooses the format: .mkv, .mp4, .ts, .avi. */
  readonly file: string
  readonly frames: number
  readonly width?: number
  readonly height?: number
  readonly framerate?: number
  /** To be shown a quarter of a turn clockwise, as phones write it. */
  readonly turned?: boolean
}

/** Limited-range BT.709 for RGB 255, 0, 0. */
const RED = [63, 102, 240] as const

export async function writeClip(options: ClipOptions): Promise<void> {
  const { file, frames, width = 640, height = 360, framerate = 25 } = options
  const format = new FormatContext()
  check(format.allocOutputContext2(null, null, file))
  const encoder = Codec.findEncoder(AV_CODEC_ID_MPEG4)
  if (!encoder) throw new Error('no MPEG-4 encoder')
  using codec = new CodecContext()
  codec.allocContext3(encoder)
  codec.width = width
  codec.height = height
  codec.pixelFormat = AV_PIX_FMT_YUV420P
  codec.timeBase = new Rational(1, framerate)
  codec.framerate = new Rational(framerate, 1)
  codec.bitRate = 8_000_000n
  codec.gopSize = framerate
  codec.colorSpace = AVCOL_SPC_BT709
  codec.colorRange = AVCOL_RANGE_MPEG
  codec.qMin = 1
  codec.qMax = 3
  if (/\.(mp4|mkv)$/.test(file)) codec.setFlags(0x400000 as never) // AV_CODEC_FLAG_GLOBAL_HEADER
  check(await codec.open2(encoder, null))
  const stream = format.newStream()
  check(stream.codecpar.fromContext(codec))
  stream.timeBase = codec.timeBase
  stream.avgFrameRate = codec.framerate
  if (options.turned) {
    // Display matrix of libavutil/display.h: three rows of three, 16.16 and 2.30 fixed point.
    const matrix = Buffer.alloc(36)
    matrix.writeInt32LE(1 << 16, 4)
    matrix.writeInt32LE(-(1 << 16), 12)
    matrix.writeInt32LE(1 << 30, 32)
    stream.codecpar.addCodedSideData(AV_PKT_DATA_DISPLAYMATRIX, matrix)
  }
  check(await format.openOutput())
  check(await format.writeHeader())
  using packet = new Packet()
  packet.alloc()
  const drain = async () => {
    while ((await codec.receivePacket(packet)) >= 0) {
      packet.streamIndex = 0
      packet.duration = 1n
      packet.rescaleTs(codec.timeBase, stream.timeBase)
      check(await format.interleavedWriteFrame(packet))
    }
  }
  for (let number = 0; number < frames; number += 1) {
    using frame = new Frame()
    frame.alloc()
    frame.width = width
    frame.height = height
    frame.format = AV_PIX_FMT_YUV420P
    frame.colorSpace = AVCOL_SPC_BT709
    frame.colorRange = AVCOL_RANGE_MPEG
    check(frame.getBuffer())
    frame.pts = BigInt(number)
    draw(frame, number, width, height)
    check(await codec.sendFrame(frame))
    await drain()
  }
  await codec.sendFrame(null)
  await drain()
  check(await format.writeTrailer())
  await format.closeOutput()
  format.freeContext()
}

function draw(frame: Frame, number: number, width: number, height: number): void {
  const [y, u, v] = frame.data as [Buffer, Buffer, Buffer]
  const [strideY, strideU, strideV] = frame.linesize as [number, number, number]
  for (let row = 0; row < height; row += 1)
    for (let x = 0; x < width; x += 1)
      y[row * strideY + x] = row < 16 ? (x < number ? 235 : 16) : x < width / 2 ? RED[0] : x % 2 ? 235 : 16
  for (let row = 0; row < height / 2; row += 1)
    for (let x = 0; x < width / 2; x += 1) {
      const red = row >= 8 && x < width / 4
      u[row * strideU + x] = red ? RED[1] : 128
      v[row * strideV + x] = red ? RED[2] : 128
    }
}

function check(status: number): void {
  if (status < 0) throw new FFmpegError(status)
}

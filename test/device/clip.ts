import {
  AV_CHANNEL_ORDER_NATIVE,
  AV_CODEC_FLAG_INTERLACED_DCT,
  AV_CODEC_FLAG_INTERLACED_ME,
  AV_CODEC_ID_AAC,
  AV_CODEC_ID_AV1,
  AV_CODEC_ID_FFV1,
  AV_CODEC_ID_H264,
  AV_CODEC_ID_HEVC,
  AV_CODEC_ID_MJPEG,
  AV_CODEC_ID_MPEG2VIDEO,
  AV_CODEC_ID_MPEG4,
  AV_CODEC_ID_RAWVIDEO,
  AV_CODEC_ID_VP8,
  AV_DISPOSITION_ATTACHED_PIC,
  AV_FRAME_FLAG_INTERLACED,
  AV_FRAME_FLAG_TOP_FIELD_FIRST,
  AV_LOG_QUIET,
  AV_PIX_FMT_RGB24,
  AV_PIX_FMT_YUV420P,
  AV_PIX_FMT_YUV420P10LE,
  AV_PIX_FMT_YUVJ422P,
  AV_PIX_FMT_YUYV422,
  AV_PKT_DATA_DISPLAYMATRIX,
  AV_SAMPLE_FMT_FLTP,
  AVCOL_PRI_UNSPECIFIED,
  AVCOL_RANGE_JPEG,
  AVCOL_RANGE_MPEG,
  AVCOL_SPC_BT709,
  AVCOL_SPC_BT2020_NCL,
  AVCOL_TRC_UNSPECIFIED,
  type AVColorPrimaries,
  type AVColorSpace,
  type AVColorTransferCharacteristic,
  AVMEDIA_TYPE_VIDEO,
  type AVPixelFormat,
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
  SoftwareScaleContext,
} from 'node-av/lib'

/**
 * Writes a clip of its own making, so that tests of video need no borrowed one. Each frame: a left half of
 * saturated red, a right half of one-pixel black and white columns (gone in any smaller picture), and on top a
 * white bar as wide as the frame's number.
 */
export interface ClipOptions {
  /** The name's ending chooses the format: .mkv, .mp4, .ts, .avi; .m3u8 for HLS, its segments beside it. */
  readonly file: string
  readonly frames: number
  readonly width?: number
  readonly height?: number
  readonly framerate?: number
  /** To be shown a quarter of a turn clockwise, as phones write it. */
  readonly turned?: boolean
  /** The upper left of its display matrix (libavutil/display.h), instead: a, b, c, d. */
  readonly matrix?: readonly [number, number, number, number]
  /** Width and height of a pixel. */
  readonly pixelAspect?: readonly [number, number]
  /** Each frame is two fields, the upper one first; the lower one's `pixel` is asked for half a frame later. */
  readonly interlaced?: boolean
  /** What it says of its colours. */
  readonly space?: AVColorSpace
  readonly transfer?: AVColorTransferCharacteristic
  readonly primaries?: AVColorPrimaries
  /** Of ffv1. */
  readonly layout?: AVPixelFormat
  /** When each frame is, in frames; its number where absent. */
  readonly at?: (frame: number) => number
  /** Of h264: so many frames in a row may refer to later ones. */
  readonly reordered?: number
  /** A key frame each so many frames; the frames of a second where absent. */
  readonly keyEvery?: number
  /**
   * mpeg4, or what cameras send: h264 (without frames that refer to later ones), mjpeg, or raw (YUYV 4:2:2, as V4L2
   * cameras give it), mpeg2, vp8, av1, hevc10 (10 bits); or ffv1, which takes any layout.
   */
  readonly codec?: keyof typeof CODECS
  /** Of HLS: how long a segment is, seconds. */
  readonly segmentSeconds?: number
  /** RGB of each pixel, instead of the picture described above. */
  readonly pixel?: (x: number, y: number, frame: number) => readonly [number, number, number]
}

const CODECS = {
  mpeg4: { encoder: AV_CODEC_ID_MPEG4, layout: AV_PIX_FMT_YUV420P, range: AVCOL_RANGE_MPEG },
  h264: { encoder: AV_CODEC_ID_H264, layout: AV_PIX_FMT_YUV420P, range: AVCOL_RANGE_MPEG },
  mjpeg: { encoder: AV_CODEC_ID_MJPEG, layout: AV_PIX_FMT_YUVJ422P, range: AVCOL_RANGE_JPEG },
  mpeg2: { encoder: AV_CODEC_ID_MPEG2VIDEO, layout: AV_PIX_FMT_YUV420P, range: AVCOL_RANGE_MPEG },
  av1: { encoder: AV_CODEC_ID_AV1, layout: AV_PIX_FMT_YUV420P, range: AVCOL_RANGE_MPEG },
  vp8: { encoder: AV_CODEC_ID_VP8, layout: AV_PIX_FMT_YUV420P, range: AVCOL_RANGE_MPEG },
  hevc10: { encoder: AV_CODEC_ID_HEVC, layout: AV_PIX_FMT_YUV420P10LE, range: AVCOL_RANGE_MPEG },
  ffv1: { encoder: AV_CODEC_ID_FFV1, layout: AV_PIX_FMT_YUV420P, range: AVCOL_RANGE_MPEG },
  raw: { encoder: AV_CODEC_ID_RAWVIDEO, layout: AV_PIX_FMT_YUYV422, range: AVCOL_RANGE_MPEG },
} as const

export async function writeClip(options: ClipOptions): Promise<void> {
  Log.setLevel(AV_LOG_QUIET)
  const { file, frames, width = 640, height = 360, framerate = 25 } = options
  const format = new FormatContext()
  check(format.allocOutputContext2(null, null, file))
  const { encoder: id, range, ...usual } = CODECS[options.codec ?? 'mpeg4']
  const layout = options.layout ?? usual.layout
  const space = options.space ?? AVCOL_SPC_BT709
  const encoder = Codec.findEncoder(id)
  if (!encoder) throw new Error(`no encoder for ${options.codec}`)
  using codec = new CodecContext()
  codec.allocContext3(encoder)
  codec.width = width
  codec.height = height
  codec.pixelFormat = layout
  codec.timeBase = new Rational(1, framerate)
  codec.framerate = new Rational(framerate, 1)
  codec.bitRate = 8_000_000n
  codec.gopSize = options.keyEvery ?? framerate
  codec.colorSpace = space
  codec.colorTrc = options.transfer ?? AVCOL_TRC_UNSPECIFIED
  codec.colorPrimaries = options.primaries ?? AVCOL_PRI_UNSPECIFIED
  codec.colorRange = range
  if (options.pixelAspect) codec.sampleAspectRatio = new Rational(...options.pixelAspect)
  if (options.interlaced) codec.setFlags(AV_CODEC_FLAG_INTERLACED_DCT, AV_CODEC_FLAG_INTERLACED_ME)
  codec.qMin = 1
  codec.qMax = 3
  if (options.codec === 'h264') {
    codec.maxBFrames = options.reordered ?? 0
    codec.setOption('preset', options.reordered ? 'medium' : 'ultrafast')
    if (options.keyEvery !== undefined)
      codec.setOption('x264-params', `scenecut=0:keyint=${options.keyEvery}`)
  }
  if (options.codec === 'av1') {
    codec.setOption('preset', '13')
    codec.bitRate = 0n
    codec.qMin = 0
    codec.qMax = 0
  }
  if (options.codec === 'hevc10') {
    codec.setOption('preset', 'ultrafast')
    codec.setOption('x265-params', 'log-level=none')
  }
  if (/\.(mp4|mkv)$/.test(file)) codec.setFlags(0x400000 as never) // AV_CODEC_FLAG_GLOBAL_HEADER
  check(await codec.open2(encoder, null))
  const stream = format.newStream()
  check(stream.codecpar.fromContext(codec))
  stream.timeBase = codec.timeBase
  stream.avgFrameRate = codec.framerate
  if (options.pixelAspect) stream.sampleAspectRatio = new Rational(...options.pixelAspect)
  const corner = options.matrix ?? (options.turned ? [0, 1, -1, 0] : undefined)
  if (corner) {
    // Display matrix of libavutil/display.h: three rows of three, 16.16 and 2.30 fixed point.
    const matrix = Buffer.alloc(36)
    for (const [i, value] of corner.entries())
      matrix.writeInt32LE(Math.round(value * 65536), [0, 4, 12, 16][i] as number)
    matrix.writeInt32LE(1 << 30, 32)
    stream.codecpar.addCodedSideData(AV_PKT_DATA_DISPLAYMATRIX, matrix)
  }
  const isHls = file.endsWith('.m3u8')
  if (!isHls) check(await format.openOutput())
  using muxing = Dictionary.fromObject(
    isHls ? { hls_time: String(options.segmentSeconds ?? 1), hls_list_size: '0' } : {},
  )
  check(await format.writeHeader(muxing))
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
    frame.format = layout
    frame.colorSpace = AVCOL_SPC_BT709
    frame.colorRange = range
    check(frame.getBuffer())
    frame.pts = BigInt(options.at?.(number) ?? number)
    const asked = options.pixel ?? pictureOf({ width })
    const pixel: Pixel = (x, y) => asked(x, y, options.interlaced ? number + (y % 2) / 2 : number)
    if (DRAWN.includes(layout)) draw(frame, pixel, number, layout, range)
    else drawBySwscale(frame, pixel, number, space === AVCOL_SPC_BT2020_NCL ? space : AVCOL_SPC_BT709)
    frame.colorSpace = space
    frame.colorTrc = codec.colorTrc
    frame.colorPrimaries = codec.colorPrimaries
    if (options.pixelAspect) frame.sampleAspectRatio = new Rational(...options.pixelAspect)
    if (options.interlaced) frame.setFlags(AV_FRAME_FLAG_INTERLACED, AV_FRAME_FLAG_TOP_FIELD_FIRST)
    check(await codec.sendFrame(frame))
    await drain()
  }
  await codec.sendFrame(null)
  await drain()
  check(await format.writeTrailer())
  if (!isHls) await format.closeOutput()
  format.freeContext()
}

/** A second of silence with a cover picture, as music is sold (.m4a). */
export async function writeSong(file: string, cover: Buffer, size: { width: number; height: number }) {
  Log.setLevel(AV_LOG_QUIET)
  const format = new FormatContext()
  check(format.allocOutputContext2(null, 'ipod', file))
  const encoder = Codec.findEncoder(AV_CODEC_ID_AAC)
  if (!encoder) throw new Error('no encoder for AAC')
  using codec = new CodecContext()
  codec.allocContext3(encoder)
  codec.sampleFormat = AV_SAMPLE_FMT_FLTP
  codec.sampleRate = 48_000
  codec.channelLayout = { nbChannels: 1, order: AV_CHANNEL_ORDER_NATIVE, mask: 4n }
  codec.timeBase = new Rational(1, 48_000)
  codec.setFlags(0x400000 as never) // AV_CODEC_FLAG_GLOBAL_HEADER
  check(await codec.open2(encoder, null))
  const sound = format.newStream()
  check(sound.codecpar.fromContext(codec))
  sound.timeBase = codec.timeBase
  const picture = format.newStream()
  picture.codecpar.codecType = AVMEDIA_TYPE_VIDEO
  picture.codecpar.codecId = AV_CODEC_ID_MJPEG
  picture.codecpar.width = size.width
  picture.codecpar.height = size.height
  picture.disposition = AV_DISPOSITION_ATTACHED_PIC
  check(await format.openOutput())
  check(await format.writeHeader())
  using packet = new Packet()
  packet.alloc()
  packet.data = cover
  packet.streamIndex = 1
  check(await format.interleavedWriteFrame(packet))
  for (let number = 0; number < 47; number += 1) {
    using frame = new Frame()
    frame.alloc()
    frame.format = AV_SAMPLE_FMT_FLTP
    frame.nbSamples = 1024
    frame.sampleRate = 48_000
    frame.channelLayout = codec.channelLayout
    check(frame.getBuffer())
    for (const plane of frame.data ?? []) plane.fill(0)
    frame.pts = BigInt(number * 1024)
    check(await codec.sendFrame(frame))
    while ((await codec.receivePacket(packet)) >= 0) {
      packet.streamIndex = 0
      packet.rescaleTs(codec.timeBase, sound.timeBase)
      check(await format.interleavedWriteFrame(packet))
    }
  }
  check(await format.writeTrailer())
  await format.closeOutput()
  format.freeContext()
}

type Pixel = NonNullable<ClipOptions['pixel']>

function pictureOf({ width }: { readonly width: number }): Pixel {
  return (x, y, number) => {
    if (y < 16) return x < number ? [255, 255, 255] : [0, 0, 0]
    if (x < width / 2) return [255, 0, 0]
    return x % 2 ? [255, 255, 255] : [0, 0, 0]
  }
}

const DRAWN: readonly AVPixelFormat[] = [AV_PIX_FMT_YUV420P, AV_PIX_FMT_YUVJ422P, AV_PIX_FMT_YUYV422]

/** Any layout. */
function drawBySwscale(frame: Frame, pixel: Pixel, number: number, space: AVColorSpace): void {
  using rgb = new Frame()
  rgb.alloc()
  rgb.width = frame.width
  rgb.height = frame.height
  rgb.format = AV_PIX_FMT_RGB24
  check(rgb.getBuffer())
  const [data] = rgb.data as [Buffer]
  const [stride] = rgb.linesize as [number]
  for (let y = 0; y < rgb.height; y += 1)
    for (let x = 0; x < rgb.width; x += 1) data.set(pixel(x, y, number), y * stride + x * 3)
  frame.colorSpace = space
  const scaler = new SoftwareScaleContext()
  scaler.allocContext()
  check(scaler.scaleFrameSync(frame, rgb))
  scaler.freeContext()
}

/** BT.709 in limited range, or BT.601 in full range, as JPEG has it. The colour of a group of pixels that share one is its first pixel's. */
function draw(frame: Frame, pixel: Pixel, number: number, layout: AVPixelFormat, range: number): void {
  const { width, height } = frame
  const full = range === AVCOL_RANGE_JPEG
  const [scale, floor, swing] = full ? [255, 0, 255] : [219, 16, 224]
  const [red, blue] = full ? [0.299, 0.114] : [0.2126, 0.0722]
  const yuv = ([r, g, b]: readonly [number, number, number]) => {
    const luma = (red * r + (1 - red - blue) * g + blue * b) / 255
    return [
      Math.round(floor + scale * luma),
      Math.min(255, Math.round(128 + (swing * (b / 255 - luma)) / (2 - 2 * blue))),
      Math.min(255, Math.round(128 + (swing * (r / 255 - luma)) / (2 - 2 * red))),
    ] as const
  }
  const [first, u, v] = frame.data as [Buffer, Buffer, Buffer]
  const [stride, strideU, strideV] = frame.linesize as [number, number, number]
  const packed = layout === AV_PIX_FMT_YUYV422
  const rows = layout === AV_PIX_FMT_YUV420P ? 2 : 1
  for (let y = 0; y < height; y += 1)
    for (let x = 0; x < width; x += 1) {
      const [luma, cb, cr] = yuv(pixel(x, y, number))
      first[y * stride + (packed ? 2 * x : x)] = luma
      if (x % 2 === 1 || y % rows !== 0) continue
      if (packed) {
        first[y * stride + 2 * x + 1] = cb
        first[y * stride + 2 * x + 3] = cr
      } else {
        u[(y / rows) * strideU + x / 2] = cb
        v[(y / rows) * strideV + x / 2] = cr
      }
    }
}

function check(status: number): void {
  if (status < 0) throw new FFmpegError(status)
}

import {
  AV_BUFFERSRC_FLAG_KEEP_REF,
  AV_PIX_FMT_RGB24,
  type AVPixelFormat,
  SWS_POINT,
} from 'node-av/constants'
import {
  Frame as AvFrame,
  FFmpegError,
  Filter,
  type FilterContext,
  FilterGraph,
  SoftwareScaleContext,
} from 'node-av/lib'
import type { Region, Size } from '../faces/crop.ts'

/**
 * Cuts regions out of decoded pictures and converts them, and nothing else of the picture, to RGB. FFmpeg's crop
 * filter only moves pointers, so no pixel outside of the region is touched: 0.2 ms for 180 x 220. (Reading the
 * planes from JavaScript instead took twice as long, and each look at a picture's `data` makes Buffers of 3 MB that
 * V8 takes for its own: collecting them cost 3 ms a frame.)
 *
 * Synchronous, so one is enough for all frames of a source.
 */
export class Cutter implements Disposable {
  readonly #scaler = new SoftwareScaleContext()
  #graph: Graph | undefined

  constructor() {
    this.#scaler.allocContext()
    this.#scaler.setOption('sws_flags', String(SWS_POINT))
  }

  /** RGB, 8 bits, rows without padding. Throws FFmpegError. */
  cut(picture: AvFrame, { left, top, width, height }: Region): Uint8Array {
    // Chroma is shared by up to four columns and two rows: begin where a group begins, and leave out the rest below.
    const x = left - (left % 4)
    const y = top - (top % 2)
    const [wider, higher] = [width + left - x, height + top - y]
    using region = this.crop(picture, { left: x, top: y, width: wider, height: higher })
    using rgb = allocate({ width: wider, height: higher }, AV_PIX_FMT_RGB24)
    check(this.#scaler.scaleFrameSync(rgb, region))
    return copyRows(rgb, { left: left - x, top: top - y, width, height })
  }

  /**
   * A region of a picture as a picture of its own over the same memory: nothing is copied. Its left must be a
   * multiple of 4 and its top of 2. Whoever asks frees it. Throws FFmpegError.
   */
  crop(picture: AvFrame, region: Region): AvFrame {
    return this.#graphFor(picture).crop(picture, region)
  }

  [Symbol.dispose](): void {
    this.#graph?.[Symbol.dispose]()
    this.#graph = undefined
    this.#scaler.freeContext()
  }

  #graphFor(picture: AvFrame): Graph {
    const args =
      `video_size=${picture.width}x${picture.height}:pix_fmt=${picture.format}:time_base=1/1000` +
      `:colorspace=${picture.colorSpace}:range=${picture.colorRange}`
    if (this.#graph?.args === args) return this.#graph
    this.#graph?.[Symbol.dispose]()
    this.#graph = new Graph(args)
    return this.#graph
  }
}

/** buffer -> crop -> buffersink, for pictures of one size and format; the region is set by commands. */
class Graph implements Disposable {
  readonly args: string
  readonly #graph = new FilterGraph()
  readonly #source: FilterContext
  readonly #sink: FilterContext

  constructor(args: string) {
    this.args = args
    this.#graph.alloc()
    this.#graph.nbThreads = 1
    this.#source = this.#filter('buffer', 'in', args)
    const crop = this.#filter('crop', 'crop', '1:1:0:0:exact=1')
    this.#sink = this.#filter('buffersink', 'out')
    check(this.#source.link(0, crop, 0))
    check(crop.link(0, this.#sink, 0))
    check(this.#graph.configSync())
  }

  crop(picture: AvFrame, { left, top, width, height }: Region): AvFrame {
    // To the corner first: the filter refuses a size that does not fit where it stands.
    const region = { x: 0, y: 0, w: width, h: height }
    for (const [name, value] of [...Object.entries(region), ['x', left], ['y', top]] as const) {
      const answer = this.#graph.sendCommand('crop', name, String(value))
      if (typeof answer === 'number') check(answer)
    }
    check(this.#source.buffersrcAddFrameSync(picture, AV_BUFFERSRC_FLAG_KEEP_REF))
    const cut = new AvFrame()
    cut.alloc()
    const status = this.#sink.buffersinkGetFrameSync(cut)
    if (status >= 0) return cut
    cut.free()
    throw new FFmpegError(status)
  }

  [Symbol.dispose](): void {
    this.#graph.free()
  }

  #filter(kind: string, name: string, args?: string): FilterContext {
    const filter = Filter.getByName(kind)
    const context = filter && this.#graph.createFilter(filter, name, args)
    if (!context) throw new Error(`FFmpeg has no filter "${kind}" that takes "${args}"`)
    return context
  }
}

/** A picture without content. Its rows are padded: swscale writes whole groups of pixels at their ends. */
export function allocate({ width, height }: Size, format: AVPixelFormat): AvFrame {
  const av = new AvFrame()
  av.alloc()
  av.width = width
  av.height = height
  av.format = format
  check(av.getBuffer())
  return av
}

/** A region of an RGB picture, without the padding, into `rgb` or a new array. */
export function copyRows(
  picture: { readonly data: Buffer[] | null; readonly linesize: readonly number[] },
  { left, top, width, height }: Region,
  rgb: Uint8Array = new Uint8Array(width * height * 3),
): Uint8Array {
  const from = picture.data?.[0]
  const stride = picture.linesize[0]
  if (!from || !stride) throw new RangeError('the picture is empty')
  for (let row = 0; row < height; row += 1) {
    const start = (top + row) * stride + left * 3
    rgb.set(from.subarray(start, start + width * 3), row * width * 3)
  }
  return rgb
}

function check(status: number): void {
  if (status < 0) throw new FFmpegError(status)
}

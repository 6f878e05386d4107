import { FFmpegError, Filter, type FilterContext, FilterGraph, type Frame } from 'node-av/lib'

/** buffer -> one of FFmpeg's filters -> buffersink, for pictures of one size and format (`key`). */
export class FilterChain implements Disposable {
  readonly key: string
  readonly graph = new FilterGraph()
  readonly source: FilterContext
  readonly sink: FilterContext

  /** Throws FFmpegError. */
  constructor(picture: Frame, filter: string, args: string, threads = 1) {
    this.key = FilterChain.keyOf(picture)
    this.graph.alloc()
    this.graph.nbThreads = threads
    try {
      this.source = this.#filter('buffer', 'in', this.key)
      const middle = this.#filter(filter, filter, args)
      this.sink = this.#filter('buffersink', 'out')
      check(this.source.link(0, middle, 0))
      check(middle.link(0, this.sink, 0))
      check(this.graph.configSync())
    } catch (error) {
      this.graph.free()
      throw error
    }
  }

  static keyOf({ width, height, format, colorSpace, colorRange }: Frame): string {
    return `video_size=${width}x${height}:pix_fmt=${format}:time_base=1/1000:colorspace=${colorSpace}:range=${colorRange}`
  }

  [Symbol.dispose](): void {
    this.graph.free()
  }

  #filter(kind: string, name: string, args?: string): FilterContext {
    const filter = Filter.getByName(kind)
    const context = filter && this.graph.createFilter(filter, name, args)
    if (!context) throw new Error(`FFmpeg cannot create the filter "${kind}" with "${args}"`)
    return context
  }
}

export function check(status: number): void {
  if (status < 0) throw new FFmpegError(status)
}

import { IOContext } from 'node-av/lib'
import { FLV_VIDEO } from '../listen/flv.ts'
import type { PushedVideo } from '../listen/publication.ts'
import { isMatroskaPicture } from '../listen/whip-matroska.ts'

/** FFmpeg's buffer of a stream that comes to us. */
const IO_BYTES = 32_768
/** Sound without a picture is read once there is so much, bytes. */
const WAITING_BYTES_MAX = 200_000

/**
 * What is pushed, as FFmpeg reads it: tag by tag (FLV), or cluster by cluster (Matroska). FFmpeg that waits for bytes holds one
 * of a few threads, so it is asked for a picture only when there is one.
 */
export class Feed implements Disposable {
  readonly io = new IOContext()
  readonly #input: PushedVideo
  /** Tags or clusters; of the first, what has not been read. */
  readonly #waiting: { readonly isPicture: boolean; rest: Buffer }[] = []
  #bytes = 0
  #pictures = 0
  #isOver = false

  constructor(input: PushedVideo) {
    this.#input = input
    this.io.allocContextWithCallbacks(IO_BYTES, 0, (size) => this.#read(size))
  }

  /** Resolves once there is a picture, or its end. */
  async ready(): Promise<void> {
    while (!this.#isOver && this.#pictures === 0 && this.#bytes < WAITING_BYTES_MAX) await this.#pull()
  }

  async #pull(): Promise<void> {
    const next = await this.#input.read()
    if (!next) {
      this.#isOver = true
      return
    }
    const isPicture = this.#input.format === 'matroska' ? isMatroskaPicture(next) : next[0] === FLV_VIDEO
    this.#waiting.push({ isPicture, rest: next })
    this.#bytes += next.length
    if (isPicture) this.#pictures += 1
  }

  /** Never more than a tag, so that FFmpeg has nothing of the next. */
  async #read(size: number): Promise<Buffer | null> {
    if (this.#waiting.length === 0 && !this.#isOver) await this.#pull()
    const next = this.#waiting[0]
    if (!next) return null
    const part = next.rest.subarray(0, size)
    next.rest = next.rest.subarray(part.length)
    this.#bytes -= part.length
    if (next.rest.length === 0) {
      this.#waiting.shift()
      if (next.isPicture) this.#pictures -= 1
    }
    return part
  }

  [Symbol.dispose](): void {
    this.io.freeContext()
  }
}

import { PUSHED_BYTES_MAX, PUSHED_PARTS_MAX, PUSHED_UNTAKEN_MS_MAX } from '../limits.ts'
import type { PushedVideo } from './publication.ts'

/**
 * What a publisher sends, until it is decoded. Whoever fills it stops reading its connection while it is full; where nobody
 * takes anything for long, `onUntaken` says so.
 */
export class PushedBytes implements PushedVideo {
  readonly is = 'video'
  readonly format: PushedVideo['format']
  readonly #waiting: Buffer[] = []
  #bytes = 0
  #isOver = false
  #wanted: (() => void) | undefined
  #takenAtMs = performance.now()
  /** It was full, and has room again. */
  onRoom: (() => void) | undefined

  constructor(format: PushedVideo['format'] = 'flv') {
    this.format = format
  }

  /** Bytes that wait. */
  get bytes(): number {
    return this.#bytes
  }

  get isFull(): boolean {
    return this.#bytes >= PUSHED_BYTES_MAX || this.#waiting.length >= PUSHED_PARTS_MAX
  }

  /** Nobody takes what waits. */
  get isUntaken(): boolean {
    return this.#bytes > 0 && performance.now() - this.#takenAtMs > PUSHED_UNTAKEN_MS_MAX
  }

  /** Whole FLV tags, best: so the decoder is woken for nothing less. The bytes are its own from here on. */
  push(bytes: Buffer): void {
    if (this.#isOver || bytes.length === 0) return
    if (this.#bytes === 0) this.#takenAtMs = performance.now()
    this.#waiting.push(bytes)
    this.#bytes += bytes.length
    this.#wake()
  }

  /** No more comes; what waits is still taken. */
  close(): void {
    this.#isOver = true
    this.#wake()
  }

  async read(): Promise<Buffer | undefined> {
    while (this.#waiting.length === 0) {
      if (this.#isOver) return undefined
      await new Promise<void>((resolve) => {
        this.#wanted = resolve
      })
    }
    const wasFull = this.isFull
    const next = this.#waiting.shift()
    this.#bytes -= next?.length ?? 0
    this.#takenAtMs = performance.now()
    if (wasFull && !this.isFull) this.onRoom?.()
    return next
  }

  #wake(): void {
    this.#wanted?.()
    this.#wanted = undefined
  }
}

import type { PushedVideo } from './publication.ts'

/** The bytes of one publisher on their way to its camera's source, bounded by who writes. */
export class WhipQueue implements PushedVideo {
  readonly is = 'video'
  readonly format: PushedVideo['format']
  readonly #chunks: Buffer[] = []
  #queuedBytes = 0
  #isOver = false
  #wake: (() => void) | undefined

  constructor(format: PushedVideo['format']) {
    this.format = format
  }

  get queuedBytes(): number {
    return this.#queuedBytes
  }

  push(chunk: Buffer): void {
    if (this.#isOver) return
    this.#chunks.push(chunk)
    this.#queuedBytes += chunk.length
    this.#wake?.()
  }

  /** What waits is still read. */
  end(): void {
    this.#isOver = true
    this.#wake?.()
  }

  async read(): Promise<Buffer | undefined> {
    while (this.#chunks.length === 0 && !this.#isOver)
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    this.#wake = undefined
    const chunk = this.#chunks.shift()
    this.#queuedBytes -= chunk?.length ?? 0
    return chunk
  }
}

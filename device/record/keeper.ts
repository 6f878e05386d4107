import type { ClipMetadata } from '../../wire/clip.ts'
import type { RecordMode } from '../../wire/commands.ts'
import { FACES_WAIT_MS, LOOKS_MAX } from '../limits.ts'
import type { Chunk } from './segmenter.ts'

/** A chunk that is kept, and what is known of it beside what is in it. */
export interface KeptChunk {
  readonly chunk: Chunk
  readonly gap: ClipMetadata['gap']
  readonly because: ClipMetadata['because']
  readonly faces: number | undefined
  readonly motion: number | undefined
}

export interface KeeperOptions {
  readonly mode: RecordMode
  /** Mode `faces`: kept before the first face, and after the last, ms. */
  readonly beforeMs: number
  readonly afterMs: number
  /** Chunks that wait to be wanted, bytes. */
  readonly bytesMax: number
  readonly keep: (kept: KeptChunk) => void
  /** There was no room for it. */
  readonly lost: (chunk: Chunk) => void
}

/** What detection said of a frame. */
interface Look {
  readonly atMs: number
  readonly faces: number | undefined
  readonly moving: boolean | undefined
}

/**
 * Which chunks are kept: all, or those with a sure face in them, or in the seconds before and after. A chunk waits here
 * until that is known: detection comes later than the packets do.
 */
export class Keeper implements Disposable {
  readonly #options: KeeperOptions
  #mode: RecordMode
  #waiting: { readonly chunk: Chunk; readonly bytes: number; readonly sinceMs: number }[] = []
  #bytes = 0
  #looks: Look[] = []
  /** Where the last kept chunk ended, ms since 1970; null before the first. */
  #endMs: number | null = null
  /** Why chunks since then were not kept. */
  #passedOver: 'no faces' | 'lost' | undefined
  #timer: NodeJS.Timeout | undefined

  constructor(options: KeeperOptions) {
    this.#options = options
    this.#mode = options.mode
  }

  set mode(mode: RecordMode) {
    this.#mode = mode
    this.#decide()
  }

  /** Chunks that wait, bytes. */
  get bytes(): number {
    return this.#bytes
  }

  put(chunk: Chunk): void {
    const bytes = chunk.fragments.reduce((sum, { length }) => sum + length, chunk.init.length)
    this.#waiting.push({ chunk, bytes, sinceMs: performance.now() })
    this.#bytes += bytes
    this.#decide()
    while (this.#bytes > this.#options.bytesMax && this.#waiting.length > 1) {
      const oldest = this.#take()
      if (!oldest) break
      if (this.#mode === 'always') this.#keep(oldest)
      else {
        this.#passedOver = 'lost'
        this.#options.lost(oldest)
      }
    }
  }

  /**
   * Detection has looked at a frame, or the motion gate has.
   * @param atMs when it was captured, ms since 1970
   * @param faces sure ones; undefined: nobody looked for any
   */
  look(look: Look): void {
    this.#looks.push(look)
    if (this.#looks.length > LOOKS_MAX) this.#looks.splice(0, LOOKS_MAX / 10)
    if (look.faces) this.#decide()
  }

  /** What still waits is decided by what is known. */
  flush(): void {
    clearTimeout(this.#timer)
    for (let chunk = this.#take(); chunk; chunk = this.#take())
      if (this.#mode === 'always' || this.#isWanted(chunk)) this.#keep(chunk)
      else this.#passedOver ??= 'no faces'
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer)
    this.#waiting = []
    this.#bytes = 0
  }

  #decide(): void {
    clearTimeout(this.#timer)
    const now = performance.now()
    // A later chunk is never sent before an earlier one.
    for (;;) {
      const [oldest] = this.#waiting
      if (!oldest) return
      const lookedAt = oldest.sinceMs + FACES_WAIT_MS
      const wanted = this.#mode === 'always' || this.#isWanted(oldest.chunk)
      const dueMs = wanted ? lookedAt : lookedAt + this.#options.beforeMs
      if (dueMs > now) {
        this.#timer = setTimeout(() => this.#decide(), dueMs - now + 1)
        return
      }
      this.#take()
      if (wanted) this.#keep(oldest.chunk)
      else this.#passedOver ??= 'no faces'
    }
  }

  #take(): Chunk | undefined {
    const oldest = this.#waiting.shift()
    if (oldest) this.#bytes -= oldest.bytes
    return oldest?.chunk
  }

  #isWanted({ facts: { capturedAtMs, endMs } }: Chunk): boolean {
    const { beforeMs, afterMs } = this.#options
    return this.#looks.some(
      ({ atMs, faces }) => !!faces && atMs - beforeMs < endMs && atMs + afterMs > capturedAtMs,
    )
  }

  #keep(chunk: Chunk): void {
    const { capturedAtMs, endMs, gap: own } = chunk.facts
    const within = this.#looks.filter(({ atMs }) => atMs >= capturedAtMs && atMs < endMs)
    const faces = within.flatMap(({ faces }) => faces ?? [])
    const moving = within.flatMap(({ moving }) => moving ?? [])
    // Its own gap is the end of a longer one, where chunks between were not kept.
    const gap =
      this.#passedOver && own?.why !== 'clock set' ? { fromMs: this.#endMs, why: this.#passedOver } : own
    this.#passedOver = undefined
    this.#endMs = endMs
    this.#options.keep({
      chunk,
      gap,
      because: this.#mode === 'faces' ? 'faces' : 'always',
      faces: faces.length > 0 ? Math.max(...faces) : undefined,
      motion: moving.length > 0 ? moving.filter(Boolean).length / moving.length : undefined,
    })
    const { afterMs } = this.#options
    this.#looks = this.#looks.filter(({ atMs }) => atMs + afterMs + FACES_WAIT_MS >= capturedAtMs)
  }
}

import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { systemCode } from '../../lib/errors.ts'
import { keepFile } from '../../lib/keep-file.ts'
import type { Log } from '../../lib/log.ts'
import { type StreamState, streamStateSchema } from '../../wire/stream.ts'
import { STREAMS_SEEN_MS } from '../limits.ts'

/** What was seen of a stream: when it was used last and from where, and who publishes now. */
export type SeenStream = Pick<StreamState, 'lastUsedMs' | 'from' | 'live'>

const fileSchema = z.object({
  v: z.literal(1),
  /** Of this file, since 1970. */
  atMs: z.number(),
  streams: z.record(z.string(), streamStateSchema.pick({ lastUsedMs: true, from: true, live: true })),
})
export type SeenFile = z.output<typeof fileSchema>

/** Beside the streams file, for `sightline streams list`. */
export const seenFileOf = (streamsFile: string) => `${streamsFile}.seen.json`

/** Undefined where there is none, or none that can be read. */
export function readSeen(streamsFile: string): SeenFile | undefined {
  try {
    return fileSchema.parse(JSON.parse(readFileSync(seenFileOf(streamsFile), 'utf8')))
  } catch {
    return undefined
  }
}

/** What was seen of the streams, on disk too: whose folder takes no file, has it while the agent runs. */
export class Seen {
  readonly #file: string
  readonly #log: Log
  readonly #streams: Map<string, SeenStream>
  #isChanged = false
  #keptAtMs = Number.NEGATIVE_INFINITY
  #isComplained = false

  private constructor(file: string, streams: Map<string, SeenStream>, log: Log) {
    this.#file = file
    this.#streams = streams
    this.#log = log
  }

  static open(streamsFile: string, log: Log): Seen {
    const before = Object.entries(readSeen(streamsFile)?.streams ?? {})
    // Whoever published when the agent ended does no more.
    const streams = before.map(([name, seen]) => [name, { ...seen, live: null }] as const)
    return new Seen(seenFileOf(streamsFile), new Map(streams), log)
  }

  /** Of which anything is known. */
  get cameras(): readonly string[] {
    return [...this.#streams.keys()]
  }

  /** There is such a stream, whether or not it was ever used. */
  know(camera: string): void {
    if (!this.#streams.has(camera)) this.#set(camera, { lastUsedMs: null, from: null, live: null })
  }

  of(camera: string): Omit<SeenStream, 'live'> {
    const { lastUsedMs = null, from = null } = this.#streams.get(camera) ?? {}
    return { lastUsedMs, from }
  }

  used(camera: string, lastUsedMs: number, from: string): void {
    this.#set(camera, { lastUsedMs, from: from.slice(0, 100), live: null })
    this.#keptAtMs = Number.NEGATIVE_INFINITY // soon
  }

  live(camera: string, live: SeenStream['live']): void {
    this.#set(camera, { ...this.of(camera), live })
  }

  forget(camera: string): void {
    if (this.#streams.delete(camera)) this.#isChanged = true
  }

  #set(camera: string, seen: SeenStream): void {
    this.#streams.set(camera, seen)
    this.#isChanged = true
  }

  /** Onto the disk, now and then. */
  keep(isLast = false): void {
    const now = performance.now()
    if (!this.#isChanged || (!isLast && now - this.#keptAtMs < STREAMS_SEEN_MS)) return
    this.#isChanged = false
    this.#keptAtMs = now
    const kept: SeenFile = { v: 1, atMs: Date.now(), streams: Object.fromEntries(this.#streams) }
    try {
      keepFile(`${JSON.stringify(kept, null, 1)}\n`, this.#file, 0o600)
      this.#isComplained = false
    } catch (error) {
      if (!this.#isComplained)
        this.#log.warn(
          { file: this.#file, cause: systemCode((error as Error).cause) },
          'What was seen of streams cannot be saved, so "sightline streams list" does not show it. The camera states do.',
        )
      this.#isComplained = true
    }
  }
}

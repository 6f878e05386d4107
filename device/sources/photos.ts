import { setTimeout as sleep } from 'node:timers/promises'
import { failure, SightlineError, systemCode } from '../../lib/errors.ts'
import type { Frame } from '../frame.ts'
import { PHOTOS_MAX, WATCH_MS_MIN, WATCH_REST_FACTOR } from '../limits.ts'
import { PICTURES_READ, readPicture } from '../picture.ts'
import { filesBelow } from './folder.ts'
import { frameOf } from './picture.ts'
import type { Source, SourceContext } from './source.ts'
import type { ViewSettings } from './view.ts'
import type { WatchedFolder } from './watch.ts'

export interface PhotosOptions {
  /** A folder (with its subfolders) or one file. */
  readonly path: string
  readonly isFolder: boolean
  readonly loop: boolean
  /** Photos a second; Infinity: as fast as they are taken. */
  readonly rateMax: number
  readonly view: ViewSettings
  /** The same folder, where it is also watched for new files: then there is no end. */
  readonly watched?: WatchedFolder
}

/** Photos, each one frame, turned upright as their EXIF says, every one exactly once, in the order of their names. */
export class Photos implements Source {
  readonly live: boolean
  readonly lossless = true
  readonly name: string
  readonly isPatient: boolean
  readonly #files: readonly string[]
  readonly #options: PhotosOptions
  readonly #context: SourceContext
  readonly #signal: AbortSignal

  private constructor(
    files: readonly string[],
    options: PhotosOptions,
    context: SourceContext,
    signal: AbortSignal,
  ) {
    this.name = options.path
    this.live = options.watched !== undefined
    this.isPatient = this.live
    this.#files = files
    this.#options = options
    this.#context = context
    this.#signal = signal
  }

  /** Errors: SOURCE_UNREADABLE. */
  static async open(options: PhotosOptions, context: SourceContext, signal: AbortSignal): Promise<Photos> {
    const { path, isFolder, watched } = options
    const files = watched ? [] : isFolder ? await listFolder(path, context.log) : [path]
    return new Photos(files, options, context, signal)
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Frame, void> {
    const { rateMax, watched } = this.#options
    let sequence = 0
    let dueMs = performance.now()
    for await (const file of watched ? this.#watch(watched) : this.#list(() => sequence)) {
      const waitMs = dueMs - performance.now()
      if (waitMs > 0) await sleep(waitMs, undefined, { signal: this.#signal }).catch(() => {})
      if (this.#signal.aborted) return
      dueMs = Math.max(dueMs, performance.now()) + 1000 / rateMax
      const frame = await this.#read(file, sequence).catch((error: unknown) => this.#passOver(file, error))
      if (!frame) continue
      sequence += 1
      yield frame
    }
  }

  async *#list(read: () => number): AsyncGenerator<string, void> {
    do {
      yield* this.#files
      if (read() === 0)
        throw failure(
          'SOURCE_UNREADABLE',
          `No readable picture in ${this.name}. Supported: ${PICTURES_READ}.`,
        )
    } while (this.#options.loop)
  }

  async *#watch(watched: WatchedFolder): AsyncGenerator<string, void> {
    while (!this.#signal.aborted) {
      const startMs = performance.now()
      yield* await watched.look(startMs)
      const restMs = Math.max(WATCH_MS_MIN, (performance.now() - startMs) * WATCH_REST_FACTOR)
      await sleep(restMs, undefined, { signal: this.#signal }).catch(() => {})
    }
  }

  async #read(file: string, sequence: number): Promise<Frame> {
    const { view: settings } = this.#options
    const picture = await readPicture(file, file)
    const when = { sequence, capturedAtMs: Date.now(), atMs: undefined, file }
    return await frameOf(picture, { settings, input: this.#context.input }, when)
  }

  /** One that cannot be read. Errors: SOURCE_UNREADABLE, where there is no other and it is known what is wrong. */
  #passOver(file: string, error: unknown): undefined {
    const { events, log } = this.#context
    // Taken away between looking and reading: in a folder that is watched, nothing out of the ordinary.
    if (this.live && (systemCode(error) === 'ENOENT' || /input file is missing/i.test(String(error)))) return
    events.damaged('photo')
    const isOurs = error instanceof SightlineError
    if (isOurs && !this.#options.isFolder) throw error
    log.warn(
      { file, ...(!isOurs && { cause: error instanceof Error ? error.message : String(error) }) },
      `skipped: ${isOurs ? error.message : `${file} is not a readable picture`}`,
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

async function listFolder(folder: string, log: SourceContext['log']): Promise<string[]> {
  const found = await filesBelow(folder, (path, error) =>
    log.warn({ folder: path, cause: systemCode(error) }, `skipped the folder ${path}: cannot read it`),
  ).catch((error: unknown) => {
    throw failure('SOURCE_UNREADABLE', `Cannot read the folder ${folder}. Check its permissions.`, error)
  })
  if (found === undefined)
    throw failure(
      'SOURCE_UNREADABLE',
      `The folder ${folder} has more than ${PHOTOS_MAX} files. Split it into several cameras.`,
    )
  if (found.length === 0)
    throw failure('SOURCE_UNREADABLE', `The folder ${folder} is empty. Put photos into it.`)
  return found.sort()
}

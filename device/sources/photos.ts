import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import sharp from 'sharp'
import { failure } from '../../lib/errors.ts'
import { fitInto } from '../crop.ts'
import type { Frame } from '../frame.ts'
import { PHOTO_PIXELS_MAX, PHOTOS_MAX } from '../limits.ts'
import type { Source, SourceContext } from './source.ts'

export interface PhotosOptions {
  /** A folder (with its subfolders) or one file. */
  readonly path: string
  readonly isFolder: boolean
  readonly loop: boolean
  /** Photos a second; Infinity: as fast as they are taken. */
  readonly rateMax: number
}

/** Photos, each one frame, turned upright as their EXIF says, every one exactly once, in the order of their names. */
export class Photos implements Source {
  readonly live = false
  readonly lossless = true
  readonly name: string
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
    this.#files = files
    this.#options = options
    this.#context = context
    this.#signal = signal
  }

  /** Errors: SOURCE_UNREADABLE. */
  static async open(options: PhotosOptions, context: SourceContext, signal: AbortSignal): Promise<Photos> {
    const files = options.isFolder ? await listFolder(options.path) : [options.path]
    return new Photos(files, options, context, signal)
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Frame, void> {
    const { loop, rateMax, path } = this.#options
    let sequence = 0
    let read = 0
    let dueMs = performance.now()
    do {
      for (const file of this.#files) {
        const waitMs = dueMs - performance.now()
        if (waitMs > 0) await sleep(waitMs, undefined, { signal: this.#signal }).catch(() => {})
        if (this.#signal.aborted) return
        dueMs = Math.max(dueMs, performance.now()) + 1000 / rateMax
        const frame = await this.#read(file, sequence).catch((error: unknown) => {
          this.#context.events.damaged('photo')
          this.#context.log.warn(
            { file, cause: error instanceof Error ? error.message : String(error) },
            `${file} is no picture that can be read; going on with the next`,
          )
          return undefined
        })
        if (!frame) continue
        sequence += 1
        read += 1
        yield frame
      }
      if (read === 0)
        throw failure(
          'SOURCE_UNREADABLE',
          `${path} has no picture that can be read. JPEG, PNG, WebP, AVIF, GIF and TIFF can.`,
        )
    } while (loop)
  }

  async #read(file: string, sequence: number): Promise<Frame> {
    const { data, info } = await sharp(file, { limitInputPixels: PHOTO_PIXELS_MAX, failOn: 'error' })
      .autoOrient()
      .flatten({ background: '#808080' })
      .toColourspace('srgb')
      .raw({ depth: 'uchar' })
      .toBuffer({ resolveWithObject: true })
    const { width, height } = info
    if (info.channels !== 3) throw new Error(`it has ${info.channels} channels instead of 3`)
    const raw = { width, height, channels: 3 as const }
    const fitted = fitInto(info, this.#context.input)
    const scaled = await sharp(data, { raw, limitInputPixels: PHOTO_PIXELS_MAX })
      .resize({ ...fitted, fit: 'fill' })
      .raw()
      .toBuffer()
    return {
      sequence,
      capturedAtMs: Date.now(),
      atMs: undefined,
      width,
      height,
      scaled: { data: scaled, ...fitted },
      async cut(left, top, cutWidth, cutHeight) {
        const rgb = new Uint8Array(cutWidth * cutHeight * 3)
        for (let y = 0; y < cutHeight; y += 1) {
          const from = ((top + y) * width + left) * 3
          rgb.set(data.subarray(from, from + cutWidth * 3), y * cutWidth * 3)
        }
        return rgb
      },
      [Symbol.dispose]() {},
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

async function listFolder(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch((error: unknown) => {
    throw failure('SOURCE_UNREADABLE', `The folder ${folder} may not be read by this user.`, error)
  })
  const files = entries
    .filter((entry) => !entry.isDirectory() && !entry.name.startsWith('.'))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort()
  if (files.length === 0)
    throw failure('SOURCE_UNREADABLE', `The folder ${folder} is empty. Put photos into it.`)
  if (files.length > PHOTOS_MAX)
    throw failure(
      'SOURCE_UNREADABLE',
      `The folder ${folder} has more than ${PHOTOS_MAX} files. Divide it into several cameras.`,
    )
  return files
}

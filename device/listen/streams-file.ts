import { createHash } from 'node:crypto'
import { z } from 'zod'
import { loadConfig } from '../../lib/config.ts'
import { asFailure, failure, SightlineError, systemCode } from '../../lib/errors.ts'
import { signatureOf } from '../../lib/file-signature.ts'
import type { Log } from '../../lib/log.ts'
import { NAME_PATTERN, NAME_RULE } from '../../wire/names.ts'
import { STREAM_KEY_HASH_PATTERN } from '../../wire/stream.ts'
import { pushedCameraShape } from '../config.ts'
import { CAMERAS_MAX, STREAMS_LOOK_MS } from '../limits.ts'

/** The streams that may come to a device, each with the hash of its key, and what holds for its camera. */

export const streamSchema = z.strictObject({
  /** The camera's. */
  name: z.string().regex(NAME_PATTERN, `must be a name: ${NAME_RULE}`),
  keyHash: z
    .string({ error: 'must be the hash of a key, in quotes: made with "sightline streams add"' })
    .regex(
      STREAM_KEY_HASH_PATTERN,
      'must be the SHA-256 hash of a key, as "sightline streams add" makes it, not a key',
    ),
  /** Whose it is: a user of the console. */
  owner: z
    .string()
    .min(1)
    .max(200)
    .regex(/^[^\p{C}:]+$/u, 'must be a name without colons')
    .optional(),
  active: z.boolean().default(true),
  /** Whether a second publisher with the same key ends the first, or is refused. */
  takeOver: z.boolean().default(false),
  created: z.iso.datetime({ error: 'must be a time such as 2026-11-28T10:00:00Z' }).optional(),
  ...pushedCameraShape,
})
export type Stream = z.output<typeof streamSchema>

/** @param taken names of other cameras */
const fileSchema = (taken: ReadonlySet<string>) =>
  z.strictObject({
    // Not optional: a file that an editor has just emptied must not end every stream.
    streams: z
      .array(streamSchema)
      .max(CAMERAS_MAX)
      .superRefine((streams, context) => {
        const names = new Set(taken)
        const hashes = new Set<string>()
        for (const [at, { name, keyHash }] of streams.entries()) {
          const issue = (key: string, message: string) =>
            context.addIssue({ code: 'custom', path: [at, key], message })
          if (names.has(name)) issue('name', `must be a name of its own: there is another camera "${name}"`)
          if (hashes.has(keyHash)) issue('keyHash', 'must be of a key of its own: one key, one camera')
          names.add(name)
          hashes.add(keyHash)
        }
      }),
  })

/** Reads a streams file. Errors, with file and line: CONFIG_NOT_FOUND, CONFIG_SYNTAX, CONFIG_INVALID. */
export function readStreams(file: string, taken: ReadonlySet<string> = new Set()): readonly Stream[] {
  try {
    return loadConfig(fileSchema(taken), { file }).streams
  } catch (error) {
    if (!(error instanceof SightlineError) || error.code !== 'CONFIG_NOT_FOUND') throw error
    throw failure(
      'CONFIG_NOT_FOUND',
      systemCode(error.cause) === 'ENOENT'
        ? `Streams file ${file} not found. Create it with: sightline streams add ${file} CAMERA`
        : `The streams file ${file} cannot be read. Give this user the right to read it.`,
      error.cause,
    )
  }
}

/** What a key is kept as: of 128 random bits nobody finds the key, so no slow hash is needed. */
export function hashOfKey(key: string): string {
  return createHash('sha256').update(key).digest('hex')
}

export interface StreamsFileOptions {
  readonly file: string
  readonly taken: ReadonlySet<string>
  readonly log: Log
  readonly lookMs?: number
}

/** A streams file that is read again when it changes. One that became wrong is complained of once, and changes nothing. */
export class StreamsFile implements Disposable {
  readonly #options: StreamsFileOptions
  readonly #timer: NodeJS.Timeout
  #streams: readonly Stream[]
  #seen: string
  #looking: Promise<void> | undefined
  /** Called when the streams have changed. */
  onChange: ((streams: readonly Stream[]) => void) | undefined

  private constructor(options: StreamsFileOptions, seen: string) {
    this.#options = options
    this.#seen = seen
    this.#streams = readStreams(options.file, options.taken)
    this.#timer = setInterval(() => void this.look(), options.lookMs ?? STREAMS_LOOK_MS).unref()
  }

  /** Errors: those of readStreams. */
  static async open(options: StreamsFileOptions): Promise<StreamsFile> {
    // Before it is read: what changes meanwhile is then read again.
    return new StreamsFile(options, await signatureOf(options.file))
  }

  get streams(): readonly Stream[] {
    return this.#streams
  }

  /** Looks now. */
  look(): Promise<void> {
    this.#looking ??= this.#compare().finally(() => {
      this.#looking = undefined
    })
    return this.#looking
  }

  async #compare(): Promise<void> {
    const { file, taken, log } = this.#options
    const now = await signatureOf(file)
    if (now === this.#seen) return
    this.#seen = now
    try {
      this.#streams = readStreams(file, taken)
    } catch (error) {
      const { code, message } = asFailure(error)
      log.error({ code, file }, `${message} Until this is fixed, the previous streams apply.`)
      return
    }
    log.info({ file, streams: this.#streams.length }, 'streams reloaded')
    this.onChange?.(this.#streams)
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
  }
}

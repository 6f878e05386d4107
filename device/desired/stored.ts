import { readFileSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { failure, systemCode } from '../../lib/errors.ts'
import { keepFile } from '../../lib/keep-file.ts'
import { DESIRED_BYTES_MAX, type Desired } from '../../wire/desired.ts'
import { NAME_PATTERN } from '../../wire/names.ts'

/** What a device was told to be and took, on disk: passwords of cameras may be in it, so nobody else may read it. */

const MODE = 0o600
const FILE_BYTES_MAX = 2 * DESIRED_BYTES_MAX
const STREAMS_MAX = 1000

const fileSchema = z.strictObject({
  v: z.literal(1),
  /** As it came: it is read again as strictly. */
  desired: z.unknown(),
  appliedAtMs: z.number().int().nonnegative(),
  /** Streams that are there because a configuration said so. */
  streams: z.array(z.string().regex(NAME_PATTERN)).max(STREAMS_MAX),
})

export interface Kept {
  /** The document, as bytes: it is read like one that comes. */
  readonly desired: Buffer
  readonly appliedAtMs: number
  readonly streams: readonly string[]
}

export class StoredDesired {
  readonly file: string

  /** @param device names the file: several agents may share a folder */
  constructor(folder: string, device: { readonly site: string; readonly device: string }) {
    this.file = join(folder, `desired-${device.site}-${device.device}.json`)
  }

  /** Undefined: there is none. Errors: DESIRED_INVALID, where it cannot be read. */
  read(): Kept | undefined {
    try {
      const { size } = statSync(this.file)
      if (size > FILE_BYTES_MAX) throw new Error(`it is larger than ${FILE_BYTES_MAX} bytes`)
      const { desired, appliedAtMs, streams } = fileSchema.parse(JSON.parse(readFileSync(this.file, 'utf8')))
      return { desired: Buffer.from(JSON.stringify(desired)), appliedAtMs, streams }
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return undefined
      throw failure(
        'DESIRED_INVALID',
        `${this.file}, where the configuration from the console is kept, cannot be read: the file of the device alone holds until the console sends it again.`,
        error,
      )
    }
  }

  /** As it is on disk, to be put back; undefined: there is none. */
  get content(): Buffer | undefined {
    try {
      return readFileSync(this.file)
    } catch {
      return undefined // nor could it be put back
    }
  }

  /** Errors: DISK_FULL, FOLDER_UNWRITABLE. */
  putBack(content: Buffer | undefined): void {
    if (content === undefined) rmSync(this.file, { force: true })
    else keepFile(content, this.file, MODE)
  }

  /** Onto the disk, whole. Errors: DISK_FULL, FOLDER_UNWRITABLE. */
  keep(desired: Desired, appliedAtMs: number, streams: Iterable<string>): void {
    const kept = { v: 1, desired, appliedAtMs, streams: [...new Set(streams)] }
    keepFile(`${JSON.stringify(kept)}\n`, this.file, MODE)
  }
}

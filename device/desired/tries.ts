import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { keepFile } from '../../lib/keep-file.ts'
import { DIGEST_PATTERN } from '../../wire/clip.ts'
import type { Desired } from '../../wire/desired.ts'
import { DESIRED_ENDS_MAX } from '../limits.ts'
import { Refused } from './refused.ts'

const fileSchema = z.strictObject({
  digest: z.string().regex(DIGEST_PATTERN),
  times: z.number().int().min(1).max(1000),
})

/**
 * How often the agent began to try a configuration and did not come to an end, on disk. It is retained at the broker: what brings
 * the agent down, such as a model that takes all memory, would do so at each start.
 */
export class Tries {
  readonly #file: string

  /** @param device names the file: several agents may share a folder */
  constructor(folder: string, device: { readonly site: string; readonly device: string }) {
    this.#file = join(folder, `desired-tries-${device.site}-${device.device}.json`)
  }

  /** Errors: Refused, where the agent has ended so often meanwhile. */
  begin({ digest }: Pick<Desired, 'digest'>): void {
    const times = this.#timesOf(digest)
    if (times >= DESIRED_ENDS_MAX)
      throw new Refused(
        'DESIRED_ENDED_AGENT',
        `The agent ended ${times} times while it tried this configuration, and does not try it again. Look at its log, and change what the configuration brings, such as a model.`,
      )
    try {
      keepFile(`${JSON.stringify({ digest, times: times + 1 })}\n`, this.#file)
    } catch {
      // a disk that takes nothing cannot count either
    }
  }

  /** It holds, is refused, makes way for another, or the agent was told to stop. */
  end(): void {
    try {
      rmSync(this.#file, { force: true })
    } catch {
      // then it counts once too often
    }
  }

  #timesOf(digest: string): number {
    try {
      const said = fileSchema.parse(JSON.parse(readFileSync(this.#file, 'utf8')))
      return said.digest === digest ? said.times : 0
    } catch {
      return 0
    }
  }
}

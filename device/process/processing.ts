import { asFailure } from '../../lib/errors.ts'
import type { Log } from '../../lib/log.ts'
import { ATTRIBUTES_MAX, type Attribute } from '../../wire/attributes.ts'
import type { CameraConfig, ProcessorConfig } from '../config.ts'
import type { Meters } from '../meters.ts'
import type { CropPixels, Processor } from './processor.ts'

export interface ProcessingParts {
  /** Those of the configuration that holds. */
  readonly processors: readonly ProcessorConfig[]
  /** Which of them a camera has. */
  readonly camera: (name: string) => Pick<CameraConfig, 'process'> | undefined
  readonly open: (config: ProcessorConfig) => Promise<Processor>
  readonly meters: Meters
  readonly log: Log
}

/**
 * All second looks of a device. Whatever one of them does, a crop goes out: without what it had to say where it fails or
 * takes too long, and that is counted.
 */
export class Processing implements AsyncDisposable {
  readonly #parts: ProcessingParts
  readonly #open: { readonly config: ProcessorConfig; readonly processor: Processor }[] = []

  private constructor(parts: ProcessingParts) {
    this.#parts = parts
  }

  /** Errors: those of opening one of them. */
  static async open(parts: ProcessingParts): Promise<Processing> {
    const processing = new Processing(parts)
    try {
      for (const config of parts.processors)
        processing.#open.push({ config, processor: await parts.open(config) })
    } catch (error) {
      await processing[Symbol.asyncDispose]()
      throw error
    }
    return processing
  }

  /** What all that look at this camera's faces say. Never rejects. */
  async attributes(crop: CropPixels): Promise<readonly Attribute[]> {
    const { meters, log } = this.#parts
    const wanted = this.#parts.camera(crop.camera)?.process
    const looking = this.#open.filter(
      ({ config, processor }) => processor.attributes && (wanted?.includes(config.name) ?? true),
    )
    const said = await Promise.all(
      looking.map(async ({ config, processor }) => {
        const stop = meters.processSeconds.startTimer({ processor: config.name })
        try {
          return (await processor.attributes?.(crop)) ?? []
        } catch (error) {
          const { code, message } = asFailure(error)
          meters.cropsUnprocessed.inc({ processor: config.name, reason: code })
          log.warn({ code, processor: config.name, camera: crop.camera }, message)
          return []
        } finally {
          stop()
        }
      }),
    )
    return said.flat().slice(0, ATTRIBUTES_MAX)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#open.map(({ processor }) => processor[Symbol.asyncDispose]()))
  }
}

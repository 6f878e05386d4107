import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { systemCode } from '../../lib/errors.ts'
import { keepFile } from '../../lib/keep-file.ts'
import type { Log } from '../../lib/log.ts'
import { COMMAND_RATE_MAX, EFFECTS, RECORD_MODES } from '../../wire/commands.ts'
import type { CameraSettings } from '../settings.ts'

/** What may be commanded and holds until something else is. */
export const WISHES = ['paused', 'threshold', 'rate', 'effect', 'record'] as const
export type Wish = Partial<Pick<CameraSettings, (typeof WISHES)[number]>>

const wishSchema = z.strictObject({
  paused: z.boolean().optional(),
  threshold: z.union([z.number().min(0).max(1), z.literal('auto')]).optional(),
  rate: z.union([z.number().positive().max(COMMAND_RATE_MAX), z.literal('unlimited')]).optional(),
  effect: z.enum(EFFECTS).optional(),
  record: z.enum(RECORD_MODES).optional(),
})
const fileSchema = z.strictObject({ v: z.literal(1), cameras: z.record(z.string(), wishSchema) })
const FILE_BYTES_MAX = 1024 * 1024

/**
 * What was commanded of each camera, in a file: somebody who pauses a camera does not want it to look again because the
 * power failed. Replaced as a whole, and flushed. Where it cannot be read or written, the log says so, and commands
 * hold until the agent ends.
 */
export class Commanded {
  readonly file: string
  readonly #log: Log
  readonly #wishes = new Map<string, Wish>()
  #changed = false

  /** @param device names the file: several agents may share a folder */
  constructor(folder: string, device: { readonly site: string; readonly device: string }, log: Log) {
    this.#log = log
    this.file = join(folder, `commanded-${device.site}-${device.device}.json`)
    try {
      const text = readFileSync(this.file)
      if (text.length > FILE_BYTES_MAX) throw new Error(`it is larger than ${FILE_BYTES_MAX} bytes`)
      const { cameras } = fileSchema.parse(JSON.parse(text.toString('utf8')))
      for (const [camera, wish] of Object.entries(cameras)) this.#wishes.set(camera, wish)
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return
      log.warn(
        { file: this.file, err: error },
        'The saved camera commands cannot be read, so the configuration applies. Send them again if needed.',
      )
    }
  }

  of(camera: string): Wish {
    return this.#wishes.get(camera) ?? {}
  }

  add(camera: string, wish: Wish): void {
    const had = this.of(camera)
    const keys = Object.keys(wish) as (keyof Wish)[]
    if (keys.every((key) => had[key] === wish[key])) return
    this.#wishes.set(camera, { ...had, ...wish })
    this.#changed = true
  }

  /** Nothing is commanded of these any more. */
  forget(camera: string, keys: readonly (keyof Wish)[]): void {
    const had = this.of(camera)
    if (!keys.some((key) => had[key] !== undefined)) return
    const left = Object.fromEntries(Object.entries(had).filter(([key]) => !keys.includes(key as keyof Wish)))
    this.#wishes.set(camera, left)
    this.#changed = true
  }

  /** By camera, as it is now. */
  get all(): ReadonlyMap<string, Wish> {
    return new Map(this.#wishes)
  }

  /** What was forgotten holds again, where nothing else was commanded since. @param had `all` of before */
  putBack(had: ReadonlyMap<string, Wish>): void {
    for (const [camera, wish] of had) this.add(camera, { ...wish, ...this.of(camera) })
  }

  /** Onto the disk, where there is something new. */
  keep(): void {
    if (!this.#changed) return
    this.#changed = false
    const kept = { v: 1, cameras: Object.fromEntries(this.#wishes) }
    try {
      keepFile(`${JSON.stringify(kept, null, 1)}\n`, this.file, 0o600)
    } catch (error) {
      this.#log.warn(
        { file: this.file, err: error },
        'Camera commands cannot be saved, and apply until the agent ends. Check space and permissions of the folder (remote.folder).',
      )
    }
  }
}

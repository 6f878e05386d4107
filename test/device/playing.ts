import { type CameraConfig, deviceSchema } from '../../device/config.ts'
import type { Frame } from '../../device/frame.ts'
import { openSource } from '../../device/sources/open.ts'
import type { Source } from '../../device/sources/source.ts'
import { loadConfig } from '../../lib/config.ts'
import { openLog } from '../../lib/log.ts'

/** What was seen of a source that a test has played. */
export interface Seen {
  frames: number
  sequences: number[]
  readonly skipped: Record<string, number>
  readonly damaged: Record<string, number>
  fault: (Error & { code?: string }) | undefined
}

/** A camera's settings; every frame, as fast as possible, unless told otherwise. */
export function camera(source: string, more: Record<string, unknown> = {}): CameraConfig {
  return loadConfig(deviceSchema, {
    overrides: { cameras: [{ name: 'c', source, pace: 'asfast', ...more }] },
  }).cameras[0] as CameraConfig
}

export function watch(): { seen: Seen; context: Parameters<typeof openSource>[1] } {
  const seen: Seen = { frames: 0, sequences: [], skipped: {}, damaged: {}, fault: undefined }
  const events = {
    skipped(reason: string, frames: number) {
      seen.skipped[reason] = (seen.skipped[reason] ?? 0) + frames
    },
    damaged(what: string) {
      seen.damaged[what] = (seen.damaged[what] ?? 0) + 1
    },
  }
  return { seen, context: { input: { width: 320, height: 320 }, events, log: openLog('test', 'silent') } }
}

/** Plays a source to its end, or until `look` says that it has seen enough. */
export async function play(
  config: CameraConfig,
  look: (frame: Frame, source: Source) => unknown = () => {},
  signal = new AbortController().signal,
): Promise<Seen> {
  const { seen, context } = watch()
  try {
    await using source = await openSource(config, context, signal)
    for await (const frame of source) {
      seen.frames += 1
      seen.sequences.push(frame.sequence)
      const enough = await look(frame, source)
      frame[Symbol.dispose]()
      if (enough === true) break
    }
  } catch (error) {
    seen.fault = error as Error
  }
  return seen
}

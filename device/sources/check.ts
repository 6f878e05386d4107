import type { Log } from '../../lib/log.ts'
import type { CameraConfig } from '../config.ts'
import { isRetried, openSource } from './open.ts'

/** Of no importance: nobody looks for faces in it. */
const INPUT = { width: 128, height: 128 }

/**
 * Takes a source's first picture, so that a wrong path is said before anything is started for it. One that is opened again
 * and again anyway (a camera, an address, a watched folder) is not looked at: it may come yet.
 * Errors: those of openSource, and of its frames.
 */
export async function checkSource(camera: CameraConfig, log: Log, signal: AbortSignal): Promise<void> {
  if (isRetried(camera)) return
  const events = { skipped: () => {}, damaged: () => {} }
  await using source = await openSource(
    { ...camera, pace: 'asfast', rateMax: 'unlimited' },
    { input: INPUT, events, log },
    signal,
  )
  for await (const frame of source) {
    frame[Symbol.dispose]()
    return
  }
}

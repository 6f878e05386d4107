import { setImmediate as turnOfLoop } from 'node:timers/promises'
import type { DeviceConfig } from '../config.ts'
import type { Detector } from '../detect/detector.ts'
import { detectorOptions } from '../detect/options.ts'
import { openDetectorThread } from '../detect/thread.ts'
import { SCORE_LOW } from '../limits.ts'

/** The detector that looks now, and the next. */
export class Detectors implements AsyncDisposable {
  current: Detector

  private constructor(first: Detector) {
    this.current = first
  }

  /** Errors: those of openDetector. */
  static async open(detect: DeviceConfig['detect']): Promise<Detectors> {
    return new Detectors(await openOne(detect))
  }

  /** Another one, beside; who takes it disposes of the one before, or of this. Errors: those of openDetector. */
  another(detect: DeviceConfig['detect']): Promise<Detector> {
    return openOne(detect)
  }

  /** Once nobody begins to look with it: what is being looked at is looked at to its end. */
  async letGo(detector: Detector): Promise<void> {
    await turnOfLoop()
    await detector[Symbol.asyncDispose]()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.current[Symbol.asyncDispose]()
  }
}

const openOne = (detect: DeviceConfig['detect']) =>
  openDetectorThread({ ...detectorOptions(detect), scoreLow: SCORE_LOW })

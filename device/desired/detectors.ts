import { setImmediate as turnOfLoop } from 'node:timers/promises'
import type { DeviceConfig } from '../config.ts'
import type { Detector } from '../detect/detector.ts'
import { detectorOptions, isRemote } from '../detect/options.ts'
import { openRemoteDetector, type RemoteConfig, type RemoteParts } from '../detect/remote/open.ts'
import { openDetectorThread } from '../detect/thread.ts'
import { SCORE_LOW } from '../limits.ts'

/** The detector that looks now, and the next. */
export class Detectors implements AsyncDisposable {
  current: Detector
  readonly #parts: RemoteParts

  private constructor(first: Detector, parts: RemoteParts) {
    this.current = first
    this.#parts = parts
  }

  /** Errors: those of openDetector and openRemoteDetector. */
  static async open(detect: DeviceConfig['detect'], parts: RemoteParts): Promise<Detectors> {
    return new Detectors(await openOne(detect, parts), parts)
  }

  /** Another one, beside; who takes it disposes of the one before, or of this. Errors: those of `open`. */
  another(detect: DeviceConfig['detect']): Promise<Detector> {
    return openOne(detect, this.#parts)
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

const openOne = (detect: DeviceConfig['detect'], parts: RemoteParts) =>
  isRemote(detect.runtime)
    ? openRemoteDetector(detect as RemoteConfig, parts)
    : openDetectorThread({ ...detectorOptions(detect), scoreLow: SCORE_LOW })

import { asFailure, type SightlineError } from '../../lib/errors.ts'
import type { Log } from '../../lib/log.ts'
import type { Desired, DesiredContent } from '../../wire/desired.ts'
import type { CameraConfig, DeviceConfig } from '../config.ts'
import type { Networks } from './networks.ts'
import { type Effective, effectiveOf, overlay, overlayStream } from './overlay.ts'
import { checkDesired, readContent, readDesired } from './read.ts'
import { Refused } from './refused.ts'
import type { DesiredSigners } from './signers.ts'
import type { StoredDesired } from './stored.ts'

export interface HoldingOptions {
  readonly local: DeviceConfig
  readonly stored: StoredDesired
  readonly networks: Networks
  readonly signers?: DesiredSigners
  /** Names of the streams that there are. */
  readonly streams: ReadonlySet<string>
  readonly log: Log
}

export interface Applied {
  readonly desired: Desired
  readonly content: DesiredContent
  readonly atMs: number
}

/** What a device is now: its own file, and what it was told and took. In force from its start on, without a network. */
export class Holding {
  readonly #local: DeviceConfig
  effective: Effective
  /** Undefined: the device's own file alone. */
  applied: Applied | undefined
  /** The newest that was ever taken, also where it does not fit any more: none older is. */
  floor: Pick<Desired, 'version' | 'digest'> | undefined
  /** Of what is on disk, whether it holds or not. */
  version: number | undefined
  /** Why that does not hold. */
  refused: Refused | undefined
  /** Streams that are there because a configuration said so. */
  owned: ReadonlySet<string> = new Set()

  private constructor(local: DeviceConfig) {
    this.#local = local
    this.effective = effectiveOf(local)
  }

  /** The device's own file alone. */
  static ofFile(local: DeviceConfig): Holding {
    return new Holding(local)
  }

  /** With what is on disk. What of that cannot be is said, and the device's own file holds. */
  static open({ local, stored, networks, signers, streams, log }: HoldingOptions): Holding {
    const holding = new Holding(local)
    try {
      const kept = stored.read()
      if (!kept) return holding
      holding.owned = new Set(kept.streams)
      const desired = readDesired(kept.desired, local)
      holding.version = desired.version
      checkDesired(desired, { signers })
      holding.floor = desired
      const content = readContent(desired.content)
      holding.effective = overlay(content, { local, networks, streams })
      holding.applied = { desired, content, atMs: kept.appliedAtMs }
    } catch (error) {
      holding.fallBack(asFailure(error), log)
    }
    return holding
  }

  /** What is kept cannot hold here: the device's own file does. */
  fallBack(error: SightlineError, log: Log): void {
    this.refused = Refused.at([], error)
    this.applied = undefined
    this.effective = effectiveOf(this.#local)
    log.error(
      { code: error.code, version: this.version },
      `The configuration from the console does not hold: ${error.message} The device's own file does.`,
    )
  }

  /** What the cameras shall be. @param streams those that come to the device, as their file says */
  cameras(streams: readonly CameraConfig[], effective = this.effective): Map<string, CameraConfig> {
    const all = [...effective.cameras, ...streams.map((camera) => overlayStream(camera, effective))]
    return new Map(all.map((camera) => [camera.name, camera]))
  }
}

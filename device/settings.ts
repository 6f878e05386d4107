import type { Effect, RecordMode } from '../wire/commands.ts'
import type { CameraConfig, DeviceConfig } from './config.ts'

/** What may be changed of a camera while it runs. */
export interface CameraSettings {
  /** Frames are passed over; where none may be, the source waits. */
  readonly paused: boolean
  /** What was asked for: a score, 0 to 1, or what suits the model. */
  readonly threshold: number | 'auto'
  /** What holds: what scores less is no face. */
  readonly scoreMin: number
  /** Crops a second. */
  readonly rate: number | 'unlimited'
  /** What viewers see. */
  readonly effect: Effect
  /** What is recorded. */
  readonly record: RecordMode
}

/** What the configuration says of a camera. @param scoreMin the detector's */
export function configuredSettings(
  { emit }: Pick<DeviceConfig, 'emit'>,
  scoreMin: number,
  camera: Pick<CameraConfig, 'record' | 'view' | 'paused' | 'scoreMin' | 'emit'>,
): CameraSettings {
  const threshold = camera.scoreMin ?? 'auto'
  return {
    paused: camera.paused,
    threshold,
    scoreMin: threshold === 'auto' ? scoreMin : threshold,
    rate: camera.emit?.rateMax ?? emit.rateMax,
    record: camera.record.mode,
    effect: camera.view.effect,
  }
}

/** Of one of these cameras, where nothing was commanded. */
export function configuredEffect(
  cameras: readonly Pick<CameraConfig, 'name' | 'view'>[],
  camera: string,
): Effect {
  return cameras.find(({ name }) => name === camera)?.view.effect ?? 'none'
}

export interface SettingsSource {
  settings(camera: string): CameraSettings
  /** Tells of each change from now on. @returns to be called by who wants to hear no more */
  follow(camera: string, changed: (settings: CameraSettings) => void): () => void
}

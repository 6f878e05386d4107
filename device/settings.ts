import type { Effect, RecordMode } from '../wire/commands.ts'
import type { Zone } from '../wire/zones.ts'
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
  /** Parts of the picture that faces come into, leave and stay in. */
  readonly zones: readonly Zone[]
  /** A face's first good picture goes out at once (`emit.first`). */
  readonly first: boolean
  /** Whether the camera is covered, turned away or frozen is looked for. */
  readonly watchView: boolean
}

/** What the configuration says of a camera. @param scoreMin the detector's */
export function configuredSettings(
  { emit }: Pick<DeviceConfig, 'emit'>,
  scoreMin: number,
  { record, view, zones }: Pick<CameraConfig, 'record' | 'view' | 'zones'>,
): CameraSettings {
  return {
    paused: false,
    threshold: 'auto',
    scoreMin,
    rate: emit.rateMax,
    record: record.mode,
    effect: view.effect,
    zones,
    first: emit.first,
    watchView: view.watch,
  }
}

/** Of one of these cameras, where nothing was commanded. */
export function configuredEffect(
  cameras: readonly Pick<CameraConfig, 'name' | 'view'>[],
  camera: string,
): Effect {
  return cameras.find(({ name }) => name === camera)?.view.effect ?? 'none'
}

/** The same for zones. */
export function configuredZones(
  cameras: readonly Pick<CameraConfig, 'name' | 'zones'>[],
  camera: string,
): readonly Zone[] {
  return cameras.find(({ name }) => name === camera)?.zones ?? []
}

export interface SettingsSource {
  settings(camera: string): CameraSettings
  /** Tells of each change from now on. @returns to be called by who wants to hear no more */
  follow(camera: string, changed: (settings: CameraSettings) => void): () => void
}

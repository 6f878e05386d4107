import type { CameraSettingsFromAfar, DesiredContent, Reported } from '../../wire/desired.ts'
import type { DeviceDesired as Answered } from '../api/device-settings.ts'
import type { Device } from '../api/devices.ts'
import type { DocumentRevision } from '../api/scenarios.ts'
import type { DeviceDocument } from '../scenarios/document.ts'

/** Devices as the API has them, what they answer typed. */

export type CameraSettings = CameraSettingsFromAfar
export type DeviceRevision = DocumentRevision
export type { DesiredContent, Device, DeviceDocument, Reported }

export interface DeviceDesired extends Omit<Answered, 'reported'> {
  /** As wire/desired.ts has it: what says otherwise is not taken from the broker. */
  readonly reported: Reported | null
}
export type DesiredState = DeviceDesired['state']
export type Problems = NonNullable<DeviceDesired['problems']>

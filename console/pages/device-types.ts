import type { CameraSettingsFromAfar, DesiredContent, Reported } from '../../wire/desired.ts'
import type { Device as Known } from '../api/devices.ts'
import type { DeviceDocument } from '../scenarios/document.ts'

/** Devices with what they shall be and what they say that they are, of the API. */

export type DesiredState = 'none' | 'pending' | 'applying' | 'applied' | 'refused' | 'differs'
export type Refused = NonNullable<Reported['refused']>
export type CameraSettings = CameraSettingsFromAfar
export type { DesiredContent, DeviceDocument, Reported }

export interface Device extends Known {
  readonly desired?: {
    readonly state: DesiredState
    /** Of what was sent last; null: nothing was. */
    readonly version: number | null
    readonly atMs: number | null
    /** When the device last answered, and with which program; null: never. */
    readonly reportedAtMs: number | null
    readonly program: string | null
    readonly refused: Refused | null
  }
}

export interface Difference {
  /** Such as `cameras.door.record.mode`. */
  readonly path: string
  readonly desired?: unknown
  readonly effective?: unknown
}

export interface DeviceDesired {
  readonly state: DesiredState
  /** 0: nobody has written one yet. */
  readonly revision: number
  readonly changedAtMs: number | null
  readonly changedBy: string | null
  /** What the device is beside scenarios; secrets are masked. */
  readonly document: DeviceDocument
  /** What was sent last: the document, and scenarios over it. */
  readonly desired: {
    readonly version: number
    readonly atMs: number
    readonly by: string
    readonly content: DesiredContent
    readonly scenarios: readonly { readonly id: string; readonly name: string }[]
  } | null
  readonly reported: Reported | null
  readonly reportedAtMs: number | null
  readonly differences: readonly Difference[]
}

export interface DeviceRevision {
  readonly revision: number
  readonly atMs: number
  readonly by: string
  readonly what: string
  readonly changes?: readonly { readonly path: string; readonly before?: unknown; readonly after?: unknown }[]
}

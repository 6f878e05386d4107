import { request } from './api.ts'
import type { Device, DeviceDesired, DeviceDocument, DeviceRevision } from './device-types.ts'

/** Devices with what they shall be and what they say that they are, of the API. */

type DeviceAddress = Pick<Device, 'site' | 'device'>

const pathOf = ({ site, device }: DeviceAddress) =>
  `/devices/${encodeURIComponent(site)}/${encodeURIComponent(device)}/desired`
export const devicePage = ({ site, device }: DeviceAddress) =>
  `/devices/${encodeURIComponent(site)}/${encodeURIComponent(device)}`

export const devices = (signal?: AbortSignal) =>
  request<{ readonly items: readonly Device[] }>('GET', '/devices', { signal })
export const desired = (device: DeviceAddress, signal?: AbortSignal) =>
  request<DeviceDesired>('GET', pathOf(device), { signal })
export const change = (
  device: DeviceAddress,
  body: { readonly revision: number; readonly document: DeviceDocument },
) => request<DeviceDesired>('PUT', pathOf(device), { body })
export const revisions = (device: DeviceAddress, signal?: AbortSignal) =>
  request<{ readonly items: readonly DeviceRevision[] }>('GET', `${pathOf(device)}/revisions`, { signal })
export const rollBack = (device: DeviceAddress, revision: number) =>
  request<unknown>('POST', `${pathOf(device)}/rollback`, { body: { revision } })
export const tryAgain = (device: DeviceAddress) => request<unknown>('POST', `${pathOf(device)}/again`)

import type { NewStream, Stream, StreamKey, StreamSettings, Streams } from '../api/stream-keys.ts'
import { cameraPath, request } from './api.ts'

/** Cameras that come to a device, and their keys, of the API. */

type Address = Pick<Stream, 'site' | 'device' | 'camera'>
const pathOf = (stream: Address) => `/streams/${cameraPath(stream)}`

export const streams = (signal?: AbortSignal) => request<Streams>('GET', '/streams', { signal })
/** @returns its key, this once */
export const add = (body: NewStream) => request<StreamKey>('POST', '/streams', { body })
export const rotate = (stream: Address) => request<StreamKey>('POST', `${pathOf(stream)}/key`)
export const change = (stream: Address, body: StreamSettings) =>
  request<Stream>('PATCH', pathOf(stream), { body })
export const remove = (stream: Address) => request<void>('DELETE', pathOf(stream))

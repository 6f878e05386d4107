import { request } from './api.ts'
import type { ChannelGiven, ChannelKept, ChannelMade, Preview, Tested } from './channel-types.ts'

/** Ways on which notices go out, of the API. */

const TEST_MS_MAX = 90_000

const pathOf = (id: string) => `/channels/${encodeURIComponent(id)}`

export const channels = (signal?: AbortSignal) =>
  request<{ readonly items: readonly ChannelKept[] }>('GET', '/channels', { signal })
export const add = (document: ChannelGiven) =>
  request<ChannelMade>('POST', '/channels', { body: { document } })
export const change = (id: string, body: { readonly revision: number; readonly document: ChannelGiven }) =>
  request<ChannelKept>('PUT', pathOf(id), { body })
export const remove = (id: string) => request<void>('DELETE', pathOf(id))
export const test = (id: string) =>
  request<Tested>('POST', `${pathOf(id)}/test`, { answerMsMax: TEST_MS_MAX })
export const preview = (document: ChannelGiven, signal?: AbortSignal) =>
  request<Preview>('POST', '/channels/preview', { body: document, signal })

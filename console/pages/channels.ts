import type { ChannelPreview, ChannelTested } from '../api/channels.ts'
import { request } from './api.ts'
import type { ChannelGiven, ChannelKept } from './channel-types.ts'

/** Ways on which notices go out, of the API. */

const TEST_MS_MAX = 90_000

const pathOf = (id: string) => `/channels/${encodeURIComponent(id)}`

export const channels = (signal?: AbortSignal) =>
  request<{ readonly items: readonly ChannelKept[] }>('GET', '/channels', { signal })
export const add = (document: ChannelGiven) =>
  request<ChannelKept>('POST', '/channels', { body: { document } })
export const change = (id: string, body: { readonly revision: number; readonly document: ChannelGiven }) =>
  request<ChannelKept>('PUT', pathOf(id), { body })
export const remove = (id: string) => request<void>('DELETE', pathOf(id))
/** Answers when it was tried. */
export const test = (id: string) =>
  request<ChannelTested>('POST', `${pathOf(id)}/test`, { answerMsMax: TEST_MS_MAX })
/** @param id whose secrets it has, where they are masked in it */
export const preview = (body: { readonly id?: string; readonly document: ChannelGiven }) =>
  request<ChannelPreview>('POST', '/channels/preview', { body })

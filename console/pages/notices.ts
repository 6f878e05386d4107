import type { DecisionsPage, NewSuspension, Suspensions } from '../api/rules.ts'
import { request } from './api.ts'
import type { DecisionsQuery, NoticeDetail, NoticesPage, NoticesQuery, Suspension } from './notice-types.ts'

/** Notices, why there were none, and suspensions, of the API. */

export const notices = (query: NoticesQuery, signal?: AbortSignal) =>
  request<NoticesPage>('GET', '/notices', { query: { ...query }, signal })
export const notice = (id: string, signal?: AbortSignal) =>
  request<NoticeDetail>('GET', `/notices/${encodeURIComponent(id)}`, { signal })
export const sendAgain = (id: string, delivery: string) =>
  request<unknown>(
    'POST',
    `/notices/${encodeURIComponent(id)}/deliveries/${encodeURIComponent(delivery)}/again`,
  )

export const decisions = (query: DecisionsQuery, signal?: AbortSignal) =>
  request<DecisionsPage>('GET', '/decisions', {
    query: { ...query },
    signal,
  })

export const suspensions = (signal?: AbortSignal) => request<Suspensions>('GET', '/suspensions', { signal })
export const suspend = (body: NewSuspension) => request<Suspension>('POST', '/suspensions', { body })
export const resume = ({ scenario, rule, camera }: Pick<Suspension, 'scenario' | 'rule' | 'camera'>) =>
  request<void>(
    'DELETE',
    `/suspensions/${[scenario, rule ?? '-', ...(camera ? [camera.site, camera.device, camera.camera] : ['-', '-', '-'])].map(encodeURIComponent).join('/')}`,
  )

/** Scenarios by name, for filters; only who may write them has the list. */
export const scenarioNames = (signal?: AbortSignal) =>
  request<{
    readonly items: readonly {
      readonly id: string
      readonly name: string
      readonly document?: { readonly rules?: readonly { readonly id: string; readonly name: string }[] }
    }[]
  }>('GET', '/scenarios', { signal })

import type { ExpressionCheck, RuleVariables, Suspension, Suspensions } from '../api/rules.ts'
import { type Problem, request } from './api.ts'
import type { KeptScenario, Revision, Rule, ScenarioDocument, Trouble } from './scenario-types.ts'

/** Scenarios and their rules, of the API. */

/** In the place of an id; no id has such a letter. */
export const NEW_ID = '~new'
export const NEW_SCENARIO = `/scenarios/${NEW_ID}`

export interface Checked {
  readonly problems: readonly Trouble[]
  /** `site/device/camera` */
  readonly cameras: readonly string[]
}

export interface Provided {
  readonly id: string
  readonly name: string
  readonly description: string
  readonly document: ScenarioDocument
}

export interface Tried {
  readonly rules: readonly {
    readonly id: string
    readonly count: number
    readonly examples: readonly {
      readonly atMs: number
      readonly camera: string
      readonly detection?: string | null
      readonly why: string
    }[]
    /** Faces, cameras or devices that it looked at, and what kept out most of them. */
    readonly looked: number
    readonly excludedBy?: { readonly condition: string; readonly count: number }
    /** Why there is nothing, or only a part, to try it on. */
    readonly untried?: string
  }[]
  readonly looked: number
  readonly fromMs: number
}

/** Counted one by one; of more, that there are more. */
const NOTICES_MAX = 100

interface Items<T> {
  readonly items: readonly T[]
}

const pathOf = (id: string) => `/scenarios/${encodeURIComponent(id)}`

export const scenarios = (signal?: AbortSignal) =>
  request<Items<KeptScenario>>('GET', '/scenarios', { signal })
export const scenario = (id: string, signal?: AbortSignal) =>
  request<KeptScenario>('GET', pathOf(id), { signal })
export const provided = (signal?: AbortSignal) =>
  request<Items<Provided>>('GET', '/scenarios/provided', { signal })
export const make = (document: ScenarioDocument) =>
  request<KeptScenario>('POST', '/scenarios', { body: { document } })
/** Errors: REVISION_CHANGED, where somebody else has changed it since that revision */
export const change = (id: string, revision: number, document: ScenarioDocument) =>
  request<KeptScenario>('PUT', pathOf(id), { body: { revision, document } })
export const remove = (id: string) => request<void>('DELETE', pathOf(id))
export const publish = (id: string) => request<KeptScenario>('POST', `${pathOf(id)}/publish`)
export const pause = (id: string) => request<KeptScenario>('POST', `${pathOf(id)}/pause`)
export const copy = (id: string) => request<KeptScenario>('POST', `${pathOf(id)}/copy`)
export const rollBack = (id: string, revision: number) =>
  request<KeptScenario>('POST', `${pathOf(id)}/rollback`, { body: { revision } })
/** The newest first. @param before only those with a lower number */
export const revisions = (id: string, before: number | undefined, signal?: AbortSignal) =>
  request<Items<Revision>>('GET', `${pathOf(id)}/revisions`, {
    query: { before: before === undefined ? undefined : String(before) },
    signal,
  })
export const revision = (id: string, number: number, signal?: AbortSignal) =>
  request<Revision & { readonly document: ScenarioDocument }>('GET', `${pathOf(id)}/revisions/${number}`, {
    signal,
  })
/** What is wrong with it, saved or not, and which cameras it covers. @param id its own, so that it is no conflict with itself */
export const check = (document: ScenarioDocument, id: string | undefined, signal?: AbortSignal) =>
  request<Checked>('POST', '/scenarios/check', { body: { document, ...(id ? { id } : {}) }, signal })
/** What its rules would have found. */
export const tryOut = (document: ScenarioDocument, hours: number, signal?: AbortSignal) =>
  request<Tried>('POST', '/scenarios/try', { body: { document, hours }, signal })

export type { ExpressionCheck } from '../api/rules.ts'
/** What an expression can look at, by what its rule is on. */
export const variables = (signal?: AbortSignal) =>
  request<RuleVariables>('GET', '/rules/variables', { signal })
export const checkExpression = (expression: string, on: Rule['on'], signal?: AbortSignal) =>
  request<ExpressionCheck>('POST', '/rules/check', { body: { expression, on }, signal })

export const suspend = (scenario: string, forS: number) =>
  request<Suspension>('POST', '/suspensions', { body: { scenario, forS } })
export type { Suspension } from '../api/rules.ts'
export const suspensions = (signal?: AbortSignal) => request<Suspensions>('GET', '/suspensions', { signal })
export const resume = (scenario: string) =>
  request<void>('DELETE', `/suspensions/${encodeURIComponent(scenario)}/-/-/-/-`)

export const channels = (signal?: AbortSignal) =>
  request<Items<{ readonly id: string; readonly name: string }>>('GET', '/channels', { signal })
/** The newest first. */
export const notices = (scenario: string, signal?: AbortSignal) =>
  request<Items<{ readonly id: string; readonly atMs: number }> & { readonly next: string | null }>(
    'GET',
    '/notices',
    { query: { scenario, limit: String(NOTICES_MAX) }, signal },
  )

/** What a device says that holds, camera by camera: settings of conf/device.yaml. */
export interface Effective {
  readonly reported?: {
    readonly effective?: {
      readonly detect?: Readonly<Record<string, unknown>>
      readonly process?: readonly { readonly name: string; readonly from: 'file' | 'desired' }[]
      readonly cameras?: Readonly<Record<string, Readonly<Record<string, unknown>>>>
    }
    readonly models?: readonly string[]
    readonly classifiers?: readonly string[]
  } | null
}
export const deviceSettings = (site: string, device: string, signal?: AbortSignal) =>
  request<Effective>('GET', `/devices/${encodeURIComponent(site)}/${encodeURIComponent(device)}/desired`, {
    signal,
  })

export const isRevisionChanged = (error: unknown): error is Problem =>
  error instanceof Error && 'code' in error && error.code === 'REVISION_CHANGED'

import type { Notice as Said } from '../../wire/notice.ts'

/** What the API says of notices, their deliveries, decisions and suspensions. */

export type DeliveryState = 'waiting' | 'sent' | 'given up' | 'not sent'

/** A revision of a notice on its way over a channel. */
export interface Delivery {
  readonly id: string
  readonly revision: number
  readonly channel: { readonly id: string; readonly name: string; readonly type: string }
  /** The browser, where the channel is Web Push; null elsewhere. */
  readonly target: string | null
  readonly state: DeliveryState
  /** How often it was tried. */
  readonly attempts: number
  readonly madeAtMs: number
  /** When it is tried next, and when it is given up. */
  readonly dueAtMs: number
  readonly giveUpAtMs: number
  readonly doneAtMs: number | null
  /** Why it was given up or not sent. */
  readonly why: string | null
}

export interface Attempt {
  /** From 1. */
  readonly number: number
  readonly atMs: number
  readonly durationMs: number
  /** Of HTTP or SMTP. */
  readonly status: number | null
  readonly code: string | null
  /** The beginning of what was answered. */
  readonly answer: string | null
}

export interface Notice extends Omit<Said, 'v' | 'picture' | 'url' | 'madeAtMs'> {
  readonly changedAtMs: number
  /** The best picture there is, an address within the console; null: none. */
  readonly picture: string | null
  readonly deliveries: readonly Delivery[]
}

export interface NoticeDetail extends Omit<Notice, 'deliveries'> {
  readonly deliveries: readonly (Delivery & { readonly tries: readonly Attempt[] })[]
}

export interface NoticesQuery {
  readonly before?: string
  readonly scenario?: string
  readonly camera?: string
  readonly level?: string
  readonly state?: string
  readonly limit?: string
}

export interface NoticesPage {
  readonly items: readonly Notice[]
  /** For `before`; null: that is all. */
  readonly next: string | null
}

/** Why a rule that held made no notice, or that it made one. */
export interface Decision {
  readonly id: string
  readonly atMs: number
  readonly scenario: string
  readonly rule: string
  /** `site/device/camera` */
  readonly camera: string | null
  readonly track: string | null
  readonly what: string
  readonly untilMs: number | null
  readonly text: string
}

export interface DecisionsQuery {
  readonly scenario?: string
  readonly rule?: string
  readonly camera?: string
  readonly before?: string
}

/** No notices for a while: of a rule or of all of a scenario, at a camera or everywhere. */
export interface Suspension {
  readonly scenario: string
  readonly rule: string | null
  readonly camera: string | null
  readonly untilMs: number
  readonly by: string
}

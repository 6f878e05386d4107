import type { z } from 'zod'
import type { noticeDetailSchema, noticeSchema, noticesPageSchema } from '../api/notices.ts'

/** What the API says of notices, their deliveries, decisions and suspensions. */

export type Notice = z.infer<typeof noticeSchema>
export type NoticeDetail = z.infer<typeof noticeDetailSchema>
export type NoticesPage = z.infer<typeof noticesPageSchema>
/** A revision of a notice on its way over a channel. */
export type Delivery = Notice['deliveries'][number]
export type DeliveryState = Delivery['state']

export interface NoticesQuery {
  readonly before?: string
  readonly scenario?: string
  readonly camera?: string
  readonly level?: string
  readonly state?: string
  readonly limit?: string
}

interface Camera {
  readonly site: string
  readonly device: string
  readonly camera: string
}

/** Why a rule that held made no notice, or that it made one. */
export interface Decision {
  readonly id: string
  readonly atMs: number
  readonly scenario: string
  readonly rule: string
  readonly camera: Camera | null
  readonly track: string | null
  readonly what: string
  readonly untilMs: number | null
  readonly text: string
  /** How often it was so within its minute. */
  readonly times: number
}

export interface DecisionsQuery {
  readonly scenario?: string
  readonly rule?: string
  readonly camera?: string
  readonly cursor?: string
}

/** No notices for a while: of a rule or of all of a scenario, at a camera or everywhere. */
export interface Suspension {
  readonly scenario: string
  readonly rule: string | null
  /** null: all of them. */
  readonly camera: Camera | null
  readonly untilMs: number
  readonly by: string
}

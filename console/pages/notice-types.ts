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

export type { DecisionsQuery, RuleDecision as Decision, Suspension } from '../api/rules.ts'

import type { z } from 'zod'
import type { channelSchema } from '../notices/channel.ts'

/** What the API says of channels. */

/** As it is sent: what is left out is as the schema says. */
export type ChannelGiven = z.input<typeof channelSchema>
export type Channel = z.output<typeof channelSchema>

export interface ChannelKept {
  readonly id: string
  readonly name: string
  readonly revision: number
  readonly changedAtMs: number
  readonly changedBy: string
  /** Secrets are masked. */
  readonly document: Channel
  /** Of the last hour. */
  readonly hour?: {
    readonly sent: number
    readonly waiting: number
    readonly givenUp: number
    readonly notSent: number
  }
  /** Since when every attempt has failed; null: the last one has worked, or there was none. */
  readonly failingSinceMs?: number | null
  readonly lastError?: string | null
}

export interface ChannelMade extends ChannelKept {
  /** That signs; shown this once. */
  readonly secret?: string | null
}

/** What would be sent, to the byte. */
export interface Preview {
  readonly method: string
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

/** What came of a test. */
export interface Tested {
  readonly is: 'sent' | 'failed' | 'not sent'
  readonly status: number | null
  readonly code: string | null
  readonly why: string | null
  readonly answer: string | null
  readonly durationMs: number
}

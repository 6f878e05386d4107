import type { z } from 'zod'
import type { ChannelDocument } from '../api/channels.ts'
import type { channelSchema } from '../notices/channel.ts'

/** Channels as the API has them, their documents typed. */

/** As it is sent: what is left out is as the schema says. */
export type ChannelGiven = z.input<typeof channelSchema>
export type Channel = z.output<typeof channelSchema>

export interface ChannelKept extends Omit<ChannelDocument, 'document'> {
  /** Secrets are masked. */
  readonly document: Channel
}

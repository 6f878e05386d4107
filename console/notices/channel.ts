import { z } from 'zod'

/** A way on which notices go out, as it is written. Secrets are in it: whoever answers with one masks them (SECRET). */

const text = (max: number) => z.string().min(1).max(max)
const webAddress = z
  .url({ protocol: /^https?$/, error: 'must be an http or https address' })
  .max(2000)
  // Which host is called is read in two ways then.
  .regex(/^[^\s\\]*$/, 'must have no spaces and no backslashes')

export const CHANNEL_TYPES = ['webhook', 'email', 'push', 'mqtt'] as const
/** How the body of a webhook looks, and what the other side calls itself. */
export const WEBHOOK_TEMPLATES = ['sightline', 'ntfy', 'gotify', 'slack', 'discord', 'telegram'] as const
export type WebhookTemplate = (typeof WEBHOOK_TEMPLATES)[number]

/** In place of a secret in what is answered; sent back, it leaves the secret as it is. */
export const SECRET = '••••••••'

const common = {
  name: text(200),
  enabled: z.boolean().default(true),
  /** Better pictures and ends of a notice are sent too. */
  updates: z.boolean().default(false),
  /** One after the other for each camera, so that what fails holds back what follows. */
  ordered: z.boolean().default(false),
  picture: z.enum(['none', 'link', 'attached']).default('link'),
  /** Not delivered within this time: given up. */
  giveUpAfterMs: z
    .number()
    .int()
    .min(60_000)
    .max(7 * 86_400_000)
    .default(86_400_000),
  /** Notices an hour at most; more are not sent, and that is said. */
  perHourMax: z.number().int().min(1).max(100_000).default(600),
}

export const channelSchema = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('webhook'),
    ...common,
    template: z.enum(WEBHOOK_TEMPLATES).default('sightline'),
    url: webAddress,
    /**
     * Signs (Standard Webhooks, `whsec_...`); template sightline. Made where absent. Two with a space between: both sign, while
     * receivers change over.
     */
    secret: z
      .string()
      .regex(
        /^(whsec_[A-Za-z0-9+/=]{24,200}( whsec_[A-Za-z0-9+/=]{24,200})?|•+)$/,
        'must be whsec_ and at least 24 characters of base64; two of them with a space between while it is changed',
      )
      .optional(),
    /** Of ntfy, Gotify, Telegram (the bot's). */
    token: text(300).optional(),
    /** Of ntfy; of Telegram the chat. */
    topic: text(200).optional(),
    chat: text(200).optional(),
  }),
  z.strictObject({ type: z.literal('email'), ...common, to: z.array(z.email()).min(1).max(20) }),
  /** Browsers of these users that have asked for it; absent: of everybody who may see the camera. */
  z.strictObject({ type: z.literal('push'), ...common, users: z.array(text(200)).max(100).optional() }),
  /** On `<prefix>/notices/<scenario>`. */
  z.strictObject({
    type: z.literal('mqtt'),
    ...common,
    retain: z.boolean().default(false),
    /** Tells Home Assistant what there is to hear. */
    homeAssistant: z.boolean().default(false),
  }),
])
export type Channel = z.output<typeof channelSchema>

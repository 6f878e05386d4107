import { z } from 'zod'
import { bucketShape } from '../lib/buckets/config.ts'
import {
  brokerClientShape,
  commonShape,
  duration,
  durationOrForever,
  httpShape,
  longDuration,
  size,
} from '../lib/config.ts'
import { failure } from '../lib/errors.ts'
import { refuseOpenHttp } from '../lib/http/server.ts'
import { isName } from '../wire/names.ts'
import { TOPIC_PREFIX_DEFAULT } from '../wire/topics.ts'

const name = (fallback: string) =>
  z.string().refine(isName, 'must be letters, digits, dash and underscore').default(fallback)

export const subscriberSchema = z.strictObject({
  ...commonShape,
  name: name('subscriber'),
  topicPrefix: z.string().min(1).max(200).default(TOPIC_PREFIX_DEFAULT),
  broker: z
    .strictObject({
      ...brokerClientShape('sightline-subscriber'),
      mqttVersion: z.union([z.literal(4), z.literal(5)]).default(4),
      shareGroup: z.string().refine(isName, 'must be letters, digits, dash and underscore').optional(),
      sessionExpiry: longDuration().prefault('7d'),
      inFlightMax: z.number().int().min(1).max(65_535).default(500),
    })
    .prefault({}),
  inbox: z
    .strictObject({
      folder: z.string().min(1).default('data/subscriber'),
      bytesMax: size().prefault('2GB'),
      entriesMax: z.number().int().positive().default(100_000),
      recentIdsMax: z.number().int().min(1000).max(2_000_000).default(200_000),
    })
    .prefault({}),
  quarantine: z
    .strictObject({
      bytesMax: size().prefault('200MB'),
      entriesMax: z.number().int().positive().default(10_000),
      ageMax: longDuration().prefault('30d'),
    })
    .prefault({}),
  retention: z.strictObject({ ageMax: durationOrForever().prefault('30d') }).prefault({}),
  payloadMax: size().prefault('8MB'),
  bucket: bucketShape(),
  announce: z
    .strictObject({
      enabled: z.boolean().default(false),
      acknowledgeTimeout: duration().prefault('20s'),
    })
    .prefault({}),
  gallery: z.strictObject({ enabled: z.boolean().default(true) }).prefault({}),
  http: httpShape(8080),
})

export type SubscriberConfig = z.output<typeof subscriberSchema>

const DAY_MS = 24 * 3_600_000

/** What an entry has beside its payload (cloud-subscriber/entry.ts): topic, key, reason. */
const ENTRY_HEADER_BYTES_MAX = 200_000

/** What the schema alone cannot see. Errors: CONFIG_UNSAFE_LISTENER, CONFIG_INVALID. */
export function checkSubscriberConfig(config: SubscriberConfig): void {
  refuseOpenHttp(config.http)
  if (config.retention.ageMax < DAY_MS)
    throw failure(
      'CONFIG_INVALID',
      '"retention.ageMax" is less than a day, and crops are deleted by whole days. Set 1d or more, or forever.',
    )
  for (const [key, { bytesMax }] of Object.entries({ inbox: config.inbox, quarantine: config.quarantine })) {
    if (bytesMax < config.payloadMax + ENTRY_HEADER_BYTES_MAX) {
      throw failure(
        'CONFIG_INVALID',
        `"${key}.bytesMax" (${bytesMax} bytes) cannot hold one message of "payloadMax" (${config.payloadMax} bytes), which would then come again forever. Raise the first or lower the second.`,
      )
    }
  }
  if (config.broker.shareGroup !== undefined && config.broker.mqttVersion !== 5) {
    throw failure(
      'CONFIG_INVALID',
      '"broker.shareGroup" needs MQTT 5. Set "broker.mqttVersion" to 5, on a broker that supports it.',
    )
  }
}

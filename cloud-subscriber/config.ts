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
import { CLIP } from '../wire/kinds.ts'
import { isName } from '../wire/names.ts'
import { TOPIC_PREFIX_DEFAULT } from '../wire/topics.ts'
import { LINK_MS_MAX } from './links.ts'

const name = (fallback: string) =>
  z.string().refine(isName, 'must be letters, digits, dash and underscore').default(fallback)

/** `site/device/camera`, of which each part may be `*`. */
const cameraPattern = () =>
  z.string().refine(
    (text) => {
      const parts = text.split('/')
      return parts.length === 3 && parts.every((part) => part === '*' || isName(part))
    },
    { error: 'must be site/device/camera, with * for any of the three' },
  )

/** What is too little to be meant: a chunk would go while it is still being looked for. */
const AGE_MS_MIN = 60_000
const recordingAge = () =>
  durationOrForever().refine((ms) => ms >= AGE_MS_MIN, { error: 'must be 1m or more, or forever' })

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
  recordings: z
    .strictObject({
      enabled: z.boolean().default(true),
      inbox: z
        .strictObject({
          bytesMax: size().prefault('4GB'),
          entriesMax: z.number().int().positive().default(20_000),
          recentIdsMax: z.number().int().min(1000).max(2_000_000).default(100_000),
        })
        .prefault({}),
      inFlightMax: z.number().int().min(1).max(65_535).default(8),
      writesMax: z.number().int().min(1).max(64).default(4),
      payloadMax: size()
        .prefault('15500KB')
        .refine((bytes) => bytes <= CLIP.payloadBytesMax, {
          error: `must be at most ${CLIP.payloadBytesMax / 1000}KB`,
        }),
      retention: z
        .strictObject({
          ageMax: recordingAge().prefault('7d'),
          bytesMax: size().optional(),
          cameras: z
            .array(
              z.strictObject({
                camera: cameraPattern(),
                ageMax: recordingAge().optional(),
                bytesMax: size().optional(),
              }),
            )
            .max(10_000)
            .default([]),
        })
        .prefault({}),
    })
    .prefault({}),
  arrivals: z
    .strictObject({
      log: z.boolean().default(false),
      signedUrl: longDuration()
        .refine((ms) => ms >= 1000 && ms <= LINK_MS_MAX, { error: 'must be from 1s to 7d' })
        .optional(),
    })
    .prefault({}),
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
  const { inbox, quarantine, payloadMax, recordings } = config
  const rooms = [
    ['inbox', inbox, 'payloadMax', payloadMax],
    ['quarantine', quarantine, 'payloadMax', payloadMax],
    ...(recordings.enabled
      ? ([['recordings.inbox', recordings.inbox, 'recordings.payloadMax', recordings.payloadMax]] as const)
      : []),
  ] as const
  for (const [key, { bytesMax }, of, payloadBytesMax] of rooms) {
    if (bytesMax < payloadBytesMax + ENTRY_HEADER_BYTES_MAX) {
      throw failure(
        'CONFIG_INVALID',
        `"${key}.bytesMax" (${bytesMax} bytes) cannot hold one message of "${of}" (${payloadBytesMax} bytes), which would then come again forever. Raise the first or lower the second.`,
      )
    }
  }
  const { arrivals, bucket, gallery, http } = config
  if (arrivals.signedUrl !== undefined && bucket.type === 'folder') {
    if (!gallery.enabled)
      throw failure(
        'CONFIG_INVALID',
        '"arrivals.signedUrl" needs someone who serves the folder. Set "gallery.enabled: true", or remove it.',
      )
    if (bucket.publicUrl === undefined && http.port === 0)
      throw failure(
        'CONFIG_INVALID',
        '"arrivals.signedUrl" needs an address that is known: set "http.port", or "bucket.publicUrl".',
      )
  }
  if (config.broker.shareGroup !== undefined && config.broker.mqttVersion !== 5) {
    throw failure(
      'CONFIG_INVALID',
      '"broker.shareGroup" needs MQTT 5. Set "broker.mqttVersion" to 5, on a broker that supports it.',
    )
  }
}

import { statSync } from 'node:fs'
import {
  checkSubscriberConfig,
  type SubscriberConfig,
  subscriberSchema,
} from '../../cloud-subscriber/config.ts'
import { LINK_MS_MAX, openingAddress, SignedLinks } from '../../cloud-subscriber/links.ts'
import type { Bucket } from '../../lib/buckets/bucket.ts'
import { findCrop } from '../../lib/buckets/find.ts'
import { isKey } from '../../lib/buckets/key.ts'
import { openBucket } from '../../lib/buckets/open.ts'
import { duration, loadConfig } from '../../lib/config.ts'
import { failure } from '../../lib/errors.ts'
import { ID_PATTERN } from '../../wire/id.ts'
import { kindOfKey } from '../../wire/kinds.ts'

/**
 * @param crop the key or id of a crop or a clip @param time such as `24h` @param file the subscriber's configuration
 * @returns the address, and a sentence on how long it opens. Errors: USAGE, CROP_NOT_FOUND, CONFIG_INVALID, those of
 *   loadConfig and of the bucket
 */
export async function linkTo(
  crop: string,
  time: string,
  file: string | undefined,
): Promise<{ address: string; note: string }> {
  const { data: forMs = 0 } = duration().safeParse(time)
  if (forMs < 1000 || forMs > LINK_MS_MAX)
    throw failure(
      'USAGE',
      `Invalid --for ${JSON.stringify(time)}. Write a duration from 1s to 7d, e.g. --for 24h.`,
    )
  const config = loadConfig(subscriberSchema, { file, env: process.env })
  checkSubscriberConfig(config)
  if (config.bucket.type === 'folder') checkServed(config, config.bucket)
  // As private: a public one would have its policy written again.
  await using bucket = await openBucket({ ...config, bucket: { ...config.bucket, publicRead: false } })
  const key = await keyOf(crop, bucket)
  const { address, expires } = await openingAddress(bucket, key, forMs, {
    publicRead: config.bucket.publicRead,
    links: () => SignedLinks.open(config.inbox.folder),
  })
  if (!expires) return { address, note: 'The bucket is public ("publicRead"): this address does not expire.' }
  const until = new Date(Date.now() + forMs).toISOString().slice(0, 16).replace('T', ' ')
  return {
    address,
    note: `Anyone with this address can see the ${kindOfKey(key)?.name ?? 'crop'} until ${until} UTC.`,
  }
}

/** A link is good for nothing where nobody serves the folder, and made in the wrong place it would open nothing. */
function checkServed(
  { gallery, http }: SubscriberConfig,
  { path, publicUrl }: { readonly path: string; readonly publicUrl?: string },
): void {
  if (!gallery.enabled)
    throw failure(
      'CONFIG_INVALID',
      'The gallery serves the crops of a folder, and it is disabled. Set "gallery.enabled: true".',
    )
  if (publicUrl === undefined && http.port === 0)
    throw failure(
      'CONFIG_INVALID',
      'With "http.port: 0" the address is unknown. Set a port, or "bucket.publicUrl".',
    )
  if (!statSync(path, { throwIfNoEntry: false })?.isDirectory())
    throw failure(
      'BUCKET_NOT_FOUND',
      `Folder ${path} not found. Run this where the subscriber runs, or correct "bucket.path".`,
    )
}

async function keyOf(crop: string, bucket: Bucket): Promise<string> {
  const id = crop.toLowerCase()
  if (ID_PATTERN.test(id)) {
    const key = await findCrop(bucket, id)
    if (key !== undefined) return key
  } else if (isKey(crop) && kindOfKey(crop))
    for await (const { key } of bucket.list(crop)) if (key === crop) return key
  throw failure(
    'CROP_NOT_FOUND',
    `Crop ${JSON.stringify(crop.slice(0, 200))} not found in the ${bucket.description}. ` +
      'Give its key, e.g. site/device/camera/2026/11/20/13/ID.jpg, or its id.',
  )
}

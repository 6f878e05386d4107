import type { Bucket } from '../lib/buckets/bucket.ts'
import { asFailure } from '../lib/errors.ts'
import { type Log, throttled } from '../lib/log.ts'
import { CROP, kindOfKey } from '../wire/kinds.ts'
import type { InboxHeader } from './entry.ts'
import { openingAddress, type SignedLinks } from './links.ts'

/**
 * A line of the log for each object that the bucket has: what it is, how large, and, on request, an address that opens it.
 * After a kill a line may come again. Said when the bucket has flushed the object, and nothing waits for it.
 */

export interface ArrivalsOptions {
  readonly bucket: Bucket
  /** How long the address in the line opens the object, ms; absent: there is none. */
  readonly signedUrlMs?: number
  readonly publicRead: boolean
  /** Of a folder's objects. */
  readonly links: SignedLinks | undefined
  readonly log: Log
}

export class Arrivals {
  readonly #options: ArrivalsOptions
  readonly #failed: (message: string) => void

  private constructor(options: ArrivalsOptions) {
    this.#options = options
    this.#failed = throttled((count, message) =>
      options.log.warn({ count }, `an arrival is said without its address: ${message}`),
    )
  }

  static open(options: ArrivalsOptions): Arrivals {
    return new Arrivals(options)
  }

  /** Looks at it while it is in memory. @returns says it, when the bucket has flushed it */
  note(header: InboxHeader, payload: Buffer): () => void {
    const { key, site, device, camera } = header
    const facts = {
      kind: (kindOfKey(key) ?? CROP).name,
      key,
      camera: `${site}/${device}/${camera}`,
      bytes: payload.length,
      ...factsOf(key, payload),
    }
    return () => void this.#say(key, facts)
  }

  async #say(key: string, facts: Readonly<Record<string, unknown>>): Promise<void> {
    const { bucket, signedUrlMs, publicRead, links, log } = this.#options
    let url: string | undefined
    if (signedUrlMs !== undefined && (bucket.signedUrl || links))
      try {
        const opened = await openingAddress(bucket, key, signedUrlMs, {
          publicRead,
          links: () => links as SignedLinks,
        })
        url = opened.address
      } catch (error) {
        this.#failed(asFailure(error).message)
      }
    log.info({ ...facts, ...(url !== undefined && { url }) }, 'arrived')
  }
}

/** Duration, resolution and codec of a clip; of a crop how much of the frame it shows. */
function factsOf(key: string, payload: Buffer): Readonly<Record<string, unknown>> {
  const kind = kindOfKey(key) ?? CROP
  if (kind.name === 'clip') {
    const reading = kind.read(payload)
    if ('fault' in reading) return {}
    const { durationMs, frame, codec, frames } = reading.metadata
    return { durationMs, resolution: frame.join('x'), codec, frames }
  }
  const reading = kind.read(payload)
  if ('fault' in reading) return {}
  const [, , width, height] = reading.metadata.region
  return { resolution: `${Math.round(width)}x${Math.round(height)}` }
}

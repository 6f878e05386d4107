import type { Queue, Store } from '../store/store.ts'
import { type CropMetadata, readCrop } from '../wire/crop.ts'
import { parseCropTopic } from '../wire/topics.ts'
import { encodeEntry, inboxHeader } from './entry.ts'
import type { Receipt } from './filed-at.ts'
import type { RecentIds } from './recent-ids.ts'

/** What a message is: a crop for the inbox, or something that quarantine keeps, with the reason. */
export type Verdict =
  | { readonly crop: CropMetadata }
  | {
      readonly reason: string
      readonly detail: string
      /** What of the payload is kept. */
      readonly kept: Buffer
    }

export interface Rules {
  readonly topicPrefix: string
  readonly payloadBytesMax: number
}

/** The reason of what is not kept whole. */
export const TOO_LARGE = 'too large'

/** Pure. The intake judges so what comes, and `sightline quarantine retry` what has come. */
export function judge(topic: string, payload: Buffer, { topicPrefix, payloadBytesMax }: Rules): Verdict {
  if (payload.length > payloadBytesMax) {
    // Too large to be kept whole beside the others: its beginning is, with the reason.
    return {
      reason: TOO_LARGE,
      detail: `${payload.length} bytes, of which the first ${payloadBytesMax} were kept; the limit is "payloadMax"`,
      kept: payload.subarray(0, payloadBytesMax),
    }
  }
  const reading = readCrop(payload)
  if ('fault' in reading) return { reason: reading.fault, detail: reading.detail, kept: payload }
  const { crop } = reading
  const address = parseCropTopic(topicPrefix, topic)
  if (
    !address ||
    address.site !== crop.site ||
    address.device !== crop.device ||
    address.camera !== crop.camera
  ) {
    return {
      reason: 'wrong topic',
      detail: `the metadata says ${crop.site}/${crop.device}/${crop.camera}`,
      kept: payload,
    }
  }
  return { crop }
}

export interface Keeping {
  readonly store: Store
  readonly inbox: Queue
  readonly recent: RecentIds
}

/**
 * Into the inbox, once.
 * @returns when it is on disk, and whether it was there, or in the bucket, before.
 *   Errors: QUEUE_FULL, thrown; `written` rejects with DISK_FULL, STORE_IO
 */
export function keepCrop(
  crop: CropMetadata,
  payload: Buffer,
  receipt: Receipt,
  { store, inbox, recent }: Keeping,
): { readonly duplicate: boolean; readonly written: Promise<void> } {
  if (inbox.has(crop.id) || recent.has(crop.id)) {
    return { duplicate: true, written: store.committed() } // the first one may still be on its way to disk
  }
  return {
    duplicate: false,
    written: store.accept(encodeEntry(inboxHeader(crop, receipt), payload), [inbox], {
      key: crop.id,
      handedOn: true,
    }),
  }
}

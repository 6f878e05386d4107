import type { Queue } from '../store/queue.ts'
import type { Store } from '../store/store.ts'
import { type AnyKind, CROP, type KeptMetadata, type Kind, parseKeptTopic } from '../wire/kinds.ts'
import { encodeEntry, inboxHeader } from './entry.ts'
import type { Receipt } from './filed-at.ts'
import type { RecentIds } from './recent-ids.ts'

/** What is kept, and what it says of itself. */
export interface Kept {
  readonly kind: AnyKind
  readonly metadata: KeptMetadata
}

/** What a message is: something for the inbox, or something that quarantine keeps, with the reason. */
export type Verdict =
  | Kept
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
  const { kind = CROP, address } = parseKeptTopic(topicPrefix, topic) ?? {}
  const bytesMax = Math.min(payloadBytesMax, kind.payloadBytesMax)
  if (payload.length > bytesMax) {
    // Too large to be kept whole beside the others: its beginning is, with the reason.
    const limit = bytesMax === payloadBytesMax ? 'the limit is "payloadMax"' : `no ${kind.name} is larger`
    return {
      reason: TOO_LARGE,
      detail: `${payload.length} bytes, of which the first ${bytesMax} were kept; ${limit}`,
      kept: payload.subarray(0, bytesMax),
    }
  }
  const reading = (kind as Kind).read(payload)
  if ('fault' in reading) return { reason: reading.fault, detail: reading.detail, kept: payload }
  const { metadata } = reading
  if (
    !address ||
    address.site !== metadata.site ||
    address.device !== metadata.device ||
    address.camera !== metadata.camera
  ) {
    return {
      reason: 'wrong topic',
      detail: `the metadata says ${metadata.site}/${metadata.device}/${metadata.camera}`,
      kept: payload,
    }
  }
  return { kind, metadata }
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
export function keep(
  { kind, metadata }: Kept,
  payload: Buffer,
  receipt: Receipt,
  { store, inbox, recent }: Keeping,
): { readonly duplicate: boolean; readonly written: Promise<void> } {
  if (inbox.has(metadata.id) || recent.has(metadata.id)) {
    return { duplicate: true, written: store.committed() } // the first one may still be on its way to disk
  }
  return {
    duplicate: false,
    written: store.accept(encodeEntry(inboxHeader(metadata, receipt, kind), payload), [inbox], {
      key: metadata.id,
      handedOn: true,
    }),
  }
}

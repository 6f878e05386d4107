import type { Store } from '../store/store.ts'
import { type AnyKind, CROP, type KeptMetadata, type Kind, parseKeptTopic } from '../wire/kinds.ts'
import { encodeEntry, inboxHeader } from './entry.ts'
import type { Receipt } from './filed-at.ts'
import { type Lanes, laneOf } from './lanes.ts'

/** What is kept, and what it says of itself. */
export interface Kept {
  readonly kind: AnyKind
  readonly metadata: KeptMetadata
}

/** What a message is: something for the inbox, or something that quarantine keeps, with the reason. */
export type Verdict = Kept | Fault

export interface Fault {
  readonly reason: string
  readonly detail: string
  /** What of the payload is kept. */
  readonly kept: Buffer
}

export interface Rules {
  readonly topicPrefix: string
  /** Of a crop, and of what is neither. */
  readonly payloadBytesMax: number
  /** Of a clip. */
  readonly clipBytesMax: number
}

/** The reason of what is not kept whole. */
export const TOO_LARGE = 'too large'

/** Pure. The intake judges so what comes, and `sightline quarantine retry` what has come. */
export function judge(
  topic: string,
  payload: Buffer,
  { topicPrefix, payloadBytesMax, clipBytesMax }: Rules,
): Verdict {
  const { kind = CROP, address } = parseKeptTopic(topicPrefix, topic) ?? {}
  const configuredMax = kind.bulky ? clipBytesMax : payloadBytesMax
  const bytesMax = Math.min(configuredMax, kind.payloadBytesMax)
  if (payload.length > bytesMax) {
    // Too large to be kept whole beside the others: its beginning is, with the reason.
    const setting = kind.bulky ? 'recordings.payloadMax' : 'payloadMax'
    const limit = bytesMax === configuredMax ? `the limit is "${setting}"` : `no ${kind.name} is larger`
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
  readonly lanes: Lanes
}

/**
 * Into the inbox of its lane, once.
 * @returns when it is on disk, and whether it was there, or in the bucket, before.
 *   Errors: QUEUE_FULL, thrown; `written` rejects with DISK_FULL, STORE_IO
 */
export function keep(
  { kind, metadata }: Kept,
  payload: Buffer,
  receipt: Receipt,
  { store, lanes }: Keeping,
): { readonly duplicate: boolean; readonly written: Promise<void> } {
  const { inbox, recent } = laneOf(lanes, kind)
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

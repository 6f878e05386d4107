import type { Message } from '../store/queue.ts'
import type { CropMetadata } from '../wire/crop.ts'
import { type AnyKind, CROP, type KeptMetadata, type Kind, kindOfKey } from '../wire/kinds.ts'
import { objectKey } from '../wire/object-key.ts'
import { filedAtMs, type Receipt } from './filed-at.ts'
import type { IndexEntry } from './gallery/index-files.ts'

/**
 * A crop or a clip as it lies in the inbox, and a message as it lies in quarantine: a JSON header, and the payload as it came.
 * Of a crop, the inbox's header is what the gallery's index will say of it, but for the time of storing.
 */
export type InboxHeader = Pick<
  IndexEntry,
  'id' | 'key' | 'site' | 'device' | 'camera' | 'capturedAtMs' | 'filedAtMs'
> &
  Partial<Pick<IndexEntry, 'score' | 'width' | 'height' | 'file' | 'track' | 'shot' | 'attributes'>>

export interface QuarantineHeader {
  readonly topic: string
  readonly receivedAtMs: number
  readonly reason: string
  readonly detail: string
}

/** Where it is filed, and what the gallery's index says of it. */
export function inboxHeader(
  metadata: CropMetadata,
  receipt: Receipt,
  kind?: typeof CROP,
): Omit<IndexEntry, 'storedAtMs'>
export function inboxHeader(metadata: KeptMetadata, receipt: Receipt, kind?: AnyKind): InboxHeader
export function inboxHeader(metadata: KeptMetadata, receipt: Receipt, kind: AnyKind = CROP): InboxHeader {
  const { id, site, device, camera, capturedAtMs } = metadata
  const filedMs = filedAtMs(metadata, receipt)
  const key = objectKey(metadata, filedMs, kind)
  return {
    id,
    key,
    site,
    device,
    camera,
    capturedAtMs,
    filedAtMs: filedMs,
    ...(kind as Kind).indexed(metadata),
  }
}

/** The gallery lists it. */
export const isListed = (header: InboxHeader): header is Omit<IndexEntry, 'storedAtMs'> =>
  !(kindOfKey(header.key) ?? CROP).private

/** The time it is filed under is not the one that its device says. */
export const isFiledByReceipt = ({ capturedAtMs, filedAtMs }: InboxHeader) => capturedAtMs !== filedAtMs

export function encodeEntry(header: InboxHeader | QuarantineHeader, payload: Buffer): Message {
  return { header: Buffer.from(JSON.stringify(header)), body: payload }
}

/** Whose crop it is: its device's. What lies in quarantine is one sender's. */
export function senderOf(header: Buffer): string {
  try {
    const { site, device } = JSON.parse(header.toString()) as Partial<InboxHeader>
    return site === undefined || device === undefined ? '' : `${site}/${device}`
  } catch {
    return '' // damaged on disk; a start must not end with it
  }
}

export function decodeEntry<H extends InboxHeader | QuarantineHeader>({
  header,
  body,
}: Message): { header: H; payload: Buffer } {
  return { header: JSON.parse(header.toString()) as H, payload: body }
}

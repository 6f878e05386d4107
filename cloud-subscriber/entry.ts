import type { Message } from '../lib/queue.ts'
import type { CropMetadata } from '../wire/crop.ts'
import { objectKey } from '../wire/object-key.ts'
import { filedAtMs, type Receipt } from './filed-at.ts'
import type { IndexEntry } from './gallery/index-files.ts'

/**
 * A crop as it lies in the inbox, and a message as it lies in quarantine: a JSON header, and the payload as it came.
 * The inbox's header is what the gallery's index will say of the crop, but for the time of storing.
 */
export type InboxHeader = Omit<IndexEntry, 'storedAtMs'>

export interface QuarantineHeader {
  readonly topic: string
  readonly receivedAtMs: number
  readonly reason: string
  readonly detail: string
}

/** Where a crop is filed, and what the gallery's index says of it. */
export function inboxHeader(crop: CropMetadata, receipt: Receipt): InboxHeader {
  const filedMs = filedAtMs(crop, receipt)
  return {
    id: crop.id,
    key: objectKey(crop, filedMs),
    site: crop.site,
    device: crop.device,
    camera: crop.camera,
    capturedAtMs: crop.capturedAtMs,
    filedAtMs: filedMs,
    score: crop.score,
    width: Math.round(crop.box[2]),
    height: Math.round(crop.box[3]),
    ...(crop.file !== undefined && { file: crop.file }),
  }
}

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

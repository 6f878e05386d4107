import { hash } from 'node:crypto'
import { CROP, kindOfKey } from '../wire/kinds.ts'
import { announcementLine, STORED_VERSION } from '../wire/stored.ts'
import type { InboxHeader } from './entry.ts'

/**
 * What the bucket has of an entry, as a line of an announcement: place and time as the inbox has them, the rest out of the
 * object itself, so that the inbox's header (which the gallery's index is made of) need not hold it.
 * @returns the line, or why there is none: then the payload is not what was judged when it came
 */
export function storedLine(
  header: InboxHeader,
  payload: Buffer,
  storedAtMs: number,
): { readonly line: string } | { readonly fault: string } {
  const kind = kindOfKey(header.key) ?? CROP
  const object = {
    v: STORED_VERSION,
    is: 'stored',
    key: header.key,
    filedAtMs: header.filedAtMs,
    storedAtMs,
    bytes: payload.length,
    sha256: hash('sha256', payload, 'hex'),
  } as const
  if (kind.name === 'clip') {
    const reading = kind.read(payload)
    if ('fault' in reading) return { fault: `${reading.fault}: ${reading.detail}` }
    return { line: announcementLine({ ...reading.metadata, ...object, kind: kind.name }) }
  }
  const reading = kind.read(payload)
  if ('fault' in reading) return { fault: `${reading.fault}: ${reading.detail}` }
  const { landmarks: _, ...metadata } = reading.metadata
  return { line: announcementLine({ ...metadata, ...object, kind: kind.name }) }
}

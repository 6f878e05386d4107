import type { Selectable } from 'kysely'
import { objectKey } from '../../wire/object-key.ts'
import type { StoredCrop } from '../../wire/stored.ts'
import type { CameraAddress } from '../../wire/topics.ts'
import type { Detection } from './detection.ts'
import type { DetectionsTable, Flag } from './tables.ts'

/** Detections to rows and back. Pure. */

export type DetectionRow = Selectable<DetectionsTable>

/** A UUID's 16 bytes: half of its text, in the table and in four indexes. */
export const idBytes = (id: string): Buffer => Buffer.from(id.replaceAll('-', ''), 'hex')

export function idText(bytes: Uint8Array): string {
  const hex = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}

export const flagOf = (value: boolean): Flag => (value ? 1 : 0)

export function rowOf(stored: StoredCrop, cameraId: number, subscriber: string): DetectionRow {
  return {
    at_ms: stored.filedAtMs,
    id: idBytes(stored.id),
    camera_id: cameraId,
    captured_at_ms: stored.capturedAtMs,
    stored_at_ms: stored.storedAtMs,
    clock_sane: flagOf(stored.clockSane),
    score: stored.score,
    size: sizeOf(stored.box),
    box_json: JSON.stringify(stored.box),
    region_json: JSON.stringify(stored.region),
    frame_width: stored.frame[0],
    frame_height: stored.frame[1],
    track: stored.track === undefined ? null : idBytes(stored.track),
    shot: stored.shot ?? null,
    superseded: 0,
    zones_json: stored.zones === undefined ? null : JSON.stringify(stored.zones),
    masked: stored.masked === undefined ? null : flagOf(stored.masked),
    model: stored.model,
    file: stored.file ?? null,
    quality_json: stored.quality === undefined ? null : JSON.stringify(stored.quality),
    attributes_json:
      stored.attributes === undefined || stored.attributes.length === 0
        ? null
        : JSON.stringify(stored.attributes),
    bytes: stored.bytes,
    sha256: Buffer.from(stored.sha256, 'hex'),
    key: stored.key === objectKey(stored, stored.filedAtMs) ? null : stored.key,
    subscriber,
  }
}

/** An integer of 32 bits is what PostgreSQL keeps; a device may claim anything. */
const SIZE_MAX = 2 ** 31 - 1

const sizeOf = ([, , width, height]: StoredCrop['box']) =>
  Math.max(-SIZE_MAX, Math.min(SIZE_MAX, Math.round(Math.min(width, height))))

export function detectionOf(row: DetectionRow & CameraAddress): Detection {
  const { site, device, camera } = row
  const id = idText(row.id)
  return {
    id,
    site,
    device,
    camera,
    atMs: row.at_ms,
    capturedAtMs: row.captured_at_ms,
    storedAtMs: row.stored_at_ms,
    clockSane: row.clock_sane === 1,
    score: row.score,
    box: JSON.parse(row.box_json),
    region: JSON.parse(row.region_json),
    frame: [row.frame_width, row.frame_height],
    ...(row.track !== null && { track: idText(row.track) }),
    ...(row.shot !== null && { shot: row.shot }),
    ...(row.superseded === 1 && { superseded: true }),
    ...(row.zones_json !== null && { zones: JSON.parse(row.zones_json) }),
    ...(row.masked !== null && { masked: row.masked === 1 }),
    model: row.model,
    ...(row.file !== null && { file: row.file }),
    ...(row.quality_json !== null && { quality: JSON.parse(row.quality_json) }),
    attributes: row.attributes_json === null ? [] : JSON.parse(row.attributes_json),
    bytes: row.bytes,
    sha256: Buffer.from(row.sha256).toString('hex'),
    key: row.key ?? objectKey({ id, site, device, camera }, row.at_ms),
    subscriber: row.subscriber,
  }
}

export function detectionOfStored(stored: StoredCrop, subscriber: string): Detection {
  const { v, is, kind, filedAtMs, attributes, ...rest } = stored
  return { ...rest, atMs: filedAtMs, attributes: attributes ?? [], subscriber }
}

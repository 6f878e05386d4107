import type { Selectable } from 'kysely'
import type { GapReason } from '../../wire/clip.ts'
import { CLIP } from '../../wire/kinds.ts'
import { objectKey } from '../../wire/object-key.ts'
import type { StoredClip } from '../../wire/stored.ts'
import type { CameraAddress } from '../../wire/topics.ts'
import { flagOf, idBytes, idText } from './rows.ts'
import type { ClipsTable } from './tables.ts'

/** Chunks of recordings as rows, and back. Pure. */

/** Of the camera's chunk, as the bucket has it. */
export interface Clip extends CameraAddress {
  readonly id: string
  /** Its place on the timeline, ms: of capture; where the device's clock was wrong, of arrival. */
  readonly atMs: number
  readonly endMs: number
  readonly capturedAtMs: number
  readonly storedAtMs: number
  readonly clockSane: boolean
  /** By the time stamps inside, ms. */
  readonly durationMs: number
  readonly frames: number
  readonly frame: readonly [number, number]
  readonly rotation: StoredClip['rotation']
  readonly codec: StoredClip['codec']
  readonly codecs: string
  readonly audio: StoredClip['audio']
  readonly initBytes: number
  readonly independent: boolean
  readonly encoded: boolean
  readonly run: string
  readonly sequence: number
  readonly gap: { readonly fromMs: number | null; readonly why: GapReason } | undefined
  readonly because: StoredClip['because']
  readonly faces: number | undefined
  /** 0 to 1. */
  readonly motion: number | undefined
  /** Hex, as in its metadata. */
  readonly signer: string | undefined
  readonly previous: string | undefined
  readonly bytes: number
  readonly sha256: string
  readonly key: string
  readonly subscriber: string
  /** The bucket was seen not to have it. */
  readonly isLost: boolean
}

export type ClipRow = Selectable<ClipsTable>

/** An integer of 32 bits is what PostgreSQL keeps. */
export function clipRowOf(stored: StoredClip, cameraId: number, subscriber: string): ClipRow {
  return {
    camera_id: cameraId,
    at_ms: stored.filedAtMs,
    id: idBytes(stored.id),
    end_ms: stored.filedAtMs + (stored.endMs - stored.capturedAtMs),
    captured_at_ms: stored.capturedAtMs,
    stored_at_ms: stored.storedAtMs,
    clock_sane: flagOf(stored.clockSane),
    duration_ms: stored.durationMs,
    frames: stored.frames,
    frame_width: stored.frame[0],
    frame_height: stored.frame[1],
    rotation: stored.rotation ?? null,
    codec: stored.codec,
    codecs: stored.codecs,
    audio_json: stored.audio === undefined ? null : JSON.stringify(stored.audio),
    init_bytes: stored.initBytes,
    independent: flagOf(stored.independent),
    encoded: flagOf(stored.encoded),
    run: idBytes(stored.run),
    sequence: stored.sequence,
    gap_from_ms: stored.gap?.fromMs ?? null,
    gap_why: stored.gap?.why ?? null,
    because: stored.because,
    faces: stored.faces ?? null,
    motion: stored.motion ?? null,
    signer: stored.signer === undefined ? null : Buffer.from(stored.signer, 'hex'),
    previous: stored.previous === undefined ? null : Buffer.from(stored.previous, 'hex'),
    bytes: stored.bytes,
    sha256: Buffer.from(stored.sha256, 'hex'),
    key: stored.key === objectKey(stored, stored.filedAtMs, CLIP) ? null : stored.key,
    subscriber,
    lost_at_ms: null,
  }
}

const hexOf = (bytes: Uint8Array | null) => (bytes === null ? undefined : Buffer.from(bytes).toString('hex'))

export function clipOf(row: ClipRow & CameraAddress): Clip {
  const { site, device, camera } = row
  const id = idText(row.id)
  return {
    id,
    site,
    device,
    camera,
    atMs: row.at_ms,
    endMs: row.end_ms,
    capturedAtMs: row.captured_at_ms,
    storedAtMs: row.stored_at_ms,
    clockSane: row.clock_sane === 1,
    durationMs: row.duration_ms,
    frames: row.frames,
    frame: [row.frame_width, row.frame_height],
    rotation: (row.rotation ?? undefined) as Clip['rotation'],
    codec: row.codec as Clip['codec'],
    codecs: row.codecs,
    audio: row.audio_json === null ? undefined : JSON.parse(row.audio_json),
    initBytes: row.init_bytes,
    independent: row.independent === 1,
    encoded: row.encoded === 1,
    run: idText(row.run),
    sequence: row.sequence,
    gap: row.gap_why === null ? undefined : { fromMs: row.gap_from_ms, why: row.gap_why as GapReason },
    because: row.because as Clip['because'],
    faces: row.faces ?? undefined,
    motion: row.motion ?? undefined,
    signer: hexOf(row.signer),
    previous: hexOf(row.previous),
    bytes: row.bytes,
    sha256: Buffer.from(row.sha256).toString('hex'),
    key: row.key ?? objectKey({ id, site, device, camera }, row.at_ms, CLIP),
    subscriber: row.subscriber,
    isLost: row.lost_at_ms !== null,
  }
}

/** Two time stamps of one moment, rounded by clocks: what lies closer follows. */
export const JOIN_MS_MAX = 1000

/** Whether a chunk goes on where the one before ended: its picture too, where `sameRun`. */
export function follows(before: Clip, next: Clip): boolean {
  if (next.gap) return false
  return before.run === next.run
    ? next.sequence === before.sequence + 1
    : Math.abs(next.atMs - before.endMs) <= JOIN_MS_MAX
}

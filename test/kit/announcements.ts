import { CLIP } from '../../wire/kinds.ts'
import { objectKey } from '../../wire/object-key.ts'
import type { Announcement, StoredClip, StoredCrop } from '../../wire/stored.ts'
import { makeClip } from './clips.ts'
import { cropMetadata } from './crops.ts'

/** An announcement of a crop, without the crop. */
export function makeStored(settings: Partial<StoredCrop> = {}): StoredCrop {
  const { landmarks, ...metadata } = cropMetadata(settings)
  const filedAtMs = settings.filedAtMs ?? metadata.capturedAtMs
  const it = { ...metadata, ...settings, filedAtMs }
  return {
    ...it,
    v: 1,
    is: 'stored',
    kind: 'crop',
    key: settings.key ?? objectKey(it, filedAtMs),
    storedAtMs: settings.storedAtMs ?? filedAtMs + 200,
    bytes: settings.bytes ?? 20_000,
    sha256: settings.sha256 ?? 'ab'.repeat(32),
  }
}

/** An announcement of a chunk, without the chunk. */
export function makeStoredClip(settings: Partial<StoredClip> = {}): StoredClip {
  const { v, ...metadata } = makeClip(settings, 0).metadata
  const filedAtMs = settings.filedAtMs ?? metadata.capturedAtMs
  return {
    ...metadata,
    filedAtMs,
    v: 1,
    is: 'stored',
    kind: 'clip',
    key: settings.key ?? objectKey(metadata, filedAtMs, CLIP),
    storedAtMs: settings.storedAtMs ?? metadata.endMs + 200,
    bytes: settings.bytes ?? 500_000,
    sha256: settings.sha256 ?? 'ab'.repeat(32),
  }
}

export const makeRemoved = (
  { id, key }: Pick<StoredCrop, 'id' | 'key'>,
  why: 'forgotten' | 'expired' = 'forgotten',
): Announcement => ({ v: 1, is: 'removed', id, key, why })

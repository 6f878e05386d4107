import type { ClipMetadata } from '../../wire/clip.ts'

/** Where finished chunks go: the outbox on disk, or, without one, memory (device/link/). */
export interface ClipSink {
  /** Takes a chunk over. Never throws: what it has no room for is counted, the oldest first. */
  offer(clip: { readonly metadata: ClipMetadata; readonly payload: Buffer }): void
}

import type { FormatContext, Packet } from 'node-av/lib'

/** What a source gives a recording: its packets as they come, before anything is decoded. */

export type TappedStream = FormatContext['streams'][number]

/**
 * Called in the order of what happens: `opened`, packets, `closed`; then again where the source is opened again. Nothing here
 * waits: whoever records keeps what it is given in a bounded queue of its own, and counts what it cannot keep.
 */
export interface PacketTap {
  /** @param video and audio as they are in the container; they are gone once `closed` was called: copy what is needed */
  opened(video: TappedStream, audio: TappedStream | undefined): void
  /** The packet is the source's: clone it (a reference, no copy of its data) to keep it. @param receivedAtMs since 1970 */
  packet(packet: Packet, of: 'video' | 'audio', receivedAtMs: number): void
  closed(): void
}

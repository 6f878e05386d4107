import type { Frame as AvFrame, FormatContext, Packet } from 'node-av/lib'

/** What a source gives a recording: its packets as they come, before anything is decoded. */

export type TappedStream = FormatContext['streams'][number]

/**
 * Called in the order of what happens: `opened`, packets and pictures, `closed`; then again where the source is opened again.
 * Whoever records keeps what it is given in a bounded queue of its own, and counts what it cannot keep.
 */
export interface PacketTap {
  /** Sound is recorded where there is any: otherwise it is not even read. */
  readonly wantsAudio: boolean
  /** Pictures are wanted once they are decoded, since packets cannot be copied. Asked for each of them. */
  readonly wantsPictures: boolean
  /** A key frame would end a chunk that is due: of those who send one only when asked. Asked for each frame. */
  readonly wantsKeyFrame: boolean
  /** @param video and audio as they are in the container; they are gone once `closed` was called: copy what is needed */
  opened(video: TappedStream, audio: TappedStream | undefined): void
  /** The packet is the source's: clone it (a reference, no copy of its data) to keep it. @param receivedAtMs since 1970 */
  packet(packet: Packet, of: 'video' | 'audio', receivedAtMs: number): void
  /**
   * A decoded picture, before any is skipped. It is the source's: clone it (a reference) to keep it.
   * @param seconds on the stream's own clock; undefined where it has none
   * @returns a promise where the source may be held up until there is room
   */
  picture(picture: AvFrame, seconds: number | undefined, receivedAtMs: number): Promise<void> | undefined
  /** Twice is once. */
  closed(): void
}

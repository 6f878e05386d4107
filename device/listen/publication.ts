import type { Protocol } from '../../wire/stream.ts'

/**
 * Between those who listen (rtmp, whip, http) and the cameras that come to us: a listener lets a publisher in by its key
 * (`Streams.admit`), and hands over what it sends; the camera's source (sources/pushed.ts) reads it like any other.
 */

/** A publisher's video, from its first byte: a file as it comes, header first. */
export interface PushedVideo {
  readonly is: 'video'
  /**
   * As FFmpeg's demuxers are called. FLV (absent) with Enhanced RTMP v2 for what FLV lacks; Matroska for VP8, which FFmpeg
   * does not read from FLV.
   */
  readonly format?: 'flv' | 'matroska'
  /**
   * The next bytes; undefined once the publisher is gone. One call at a time. What the source does not take in time is
   * bounded by the listener, which ends the publication.
   */
  read(): Promise<Buffer | undefined>
}

/** Pictures, one by one: JPEG or PNG files. Only the newest waits. */
export interface PushedPictures {
  readonly is: 'pictures'
  next(signal: AbortSignal): Promise<{ readonly bytes: Buffer; readonly atMs: number } | undefined>
}

/** One publisher, from when it is let in until it is gone. */
export interface Publication {
  /** The stream, which is the camera's name. */
  readonly camera: string
  readonly by: Protocol
  /** Where it comes from: an address, for people. */
  readonly from: string
  readonly sinceMs: number
  readonly media: PushedVideo | PushedPictures
  /** Resolves once the publisher is gone, or was ended. Never rejects. */
  readonly ended: Promise<void>
  /** Bytes received so far, for the bitrate. */
  readonly bytes: number
  /** Ends it from our side, and says why to the publisher as far as its protocol can. Never throws; twice is once. */
  end(why: string): void
  /** Asks the publisher for a key frame, where its protocol can (WHIP). */
  requestKeyFrame?(): void
}

/** Why a publisher is not let in; a listener says so in its protocol's words. */
export type Refusal =
  | { readonly is: 'unknown key' }
  | { readonly is: 'inactive' }
  /** Somebody publishes with that key, and the stream does not say that a second one takes over. */
  | { readonly is: 'busy' }

export interface Admission {
  readonly camera: string
  /**
   * For a listener whose publishers stay connected between their key and their first picture: from now on this one waits. One
   * at a time does for each stream: of another, or of one whose key no longer holds, `end` is called.
   * @returns to be called when it waits no more
   */
  wait(end: (why: string) => void): () => void
  /**
   * The one whom this one replaces is ended. Again, where the same publisher goes on with something that one file cannot
   * hold (another codec): it replaces its own. Errors: none; a publication that may not be any more is ended at once.
   */
  publish(publication: Publication): void
}

/** Whom the keys of the streams file let in. */
export interface Doorkeeper {
  /** Takes the same time for every key that it does not know. */
  admit(key: string, by: Protocol, from: string): Admission | { readonly refusal: Refusal }
}

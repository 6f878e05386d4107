/** What a page that publishes needs: a camera's stream to a WHIP address (RFC 9725), kept up until it is stopped. */

export type PublisherState =
  | { readonly is: 'connecting' }
  | { readonly is: 'live'; readonly sinceMs: number }
  /** Lost, and tried again. `why`: in a sentence. */
  | { readonly is: 'reconnecting'; readonly why: string; readonly atMs: number }
  /** Over, by the server's word or because it cannot be. */
  | { readonly is: 'refused'; readonly why: string }
  | { readonly is: 'stopped' }

export interface PublisherOptions {
  readonly url: string
  readonly key: string
  readonly stream: MediaStream
  readonly onState: (state: PublisherState) => void
  /** Which codec to offer first. */
  readonly codec?: 'video/H264' | 'video/VP8'
}

export interface PublisherStats {
  readonly bitsPerSecond: number
  readonly width: number
  readonly height: number
  readonly framesPerSecond: number
  readonly codec: string
}

export declare class Publisher {
  constructor(options: PublisherOptions)
  start(): void
  /** Tells the server. Resolves once it knows, or cannot be told. */
  stop(): Promise<void>
  /** Another camera or microphone, without a new session. */
  replace(stream: MediaStream): Promise<void>
  /** Since the last call. Undefined while nothing is sent. */
  stats(): Promise<PublisherStats | undefined>
}

/** Why this page may not use a camera, and what to do, in a sentence; undefined: it may. */
export declare function whyNoCamera(): string | undefined

/** What went wrong in getUserMedia, and what to do. */
export declare function cameraFault(error: unknown): string

/** Keeps a phone's screen on for as long as it is held: a dark phone stops its camera. */
export declare function holdAwake(): { release(): void }

import type { Log } from '../../lib/log.ts'
import type { Fit } from '../detect/detector.ts'
import type { Frame } from '../frame.ts'
import type { Publication } from '../listen/publication.ts'
import type { SeenMedia } from '../listen/streams.ts'
import type { PacketTap } from '../record/tap.ts'

/** Why a frame never reached the detector. */
export type SkipReason = 'detector busy' | 'rate' | 'still scene'

/** What happens in a source besides frames; whoever opens it counts. */
export interface SourceEvents {
  skipped(reason: SkipReason, frames: number): void
  /** A photo that is none, a packet that does not decode, an end that came too soon, frames' times that jump. */
  damaged(what: 'photo' | 'packet' | 'truncated' | 'clock' | 'stream'): void
  /** Nobody sends at the moment, and all is well. */
  waiting?(): void
}

/** What every source is given. */
export interface SourceContext {
  /** The detector's input: `Frame.scaled` is `fitInto(frame, input)`. */
  readonly input: { readonly width: number; readonly height: number; readonly fit?: Fit }
  readonly events: SourceEvents
  /** Who records what a video's container gives. Sources that give nothing but frames leave it alone. */
  readonly tap?: PacketTap
  readonly log: Log
  /** Its address was said from afar: it is followed to no other. */
  readonly isFromAfar?: boolean
  /** Where streams come from that are pushed to this device. */
  readonly streams?: PushedStreams
}

/**
 * Where frames come from. Iterate once: the iteration opens nothing, ends at a real end of file or when the
 * signal is aborted, and throws what went wrong (SOURCE_UNREADABLE, SOURCE_UNAVAILABLE). Each frame belongs to the
 * one who takes it, who disposes of it.
 */
export interface Source extends AsyncIterable<Frame>, AsyncDisposable {
  /** For people: what it reads, without passwords. */
  readonly name: string
  /** It has no end: when it stops, it is opened again. */
  readonly live: boolean
  /** Every frame counts: it waits for the pipeline instead of skipping. */
  readonly lossless: boolean
  /** It may have nothing to show for long although all is well: open is up. */
  readonly isPatient?: boolean
  /** Its iteration ends where nobody sends any more, and it is opened again for the next who does. */
  readonly comesAgain?: boolean
}

/** Of device/listen/streams.ts: who publishes. */
export interface PushedStreams {
  readonly graceMs: number
  next(camera: string, signal: AbortSignal): Promise<Publication | undefined>
  opened(publication: Publication, media: SeenMedia): void
}

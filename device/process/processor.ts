import type { Attribute } from '../../wire/attributes.ts'
import type { CropMetadata } from '../../wire/crop.ts'
import type { PluginSaid } from '../../wire/event.ts'
import type { Area } from '../view/effect.ts'
import type { SeenFace } from '../view/watcher.ts'

/** The pixels of a crop that is about to be published: RGB, 8 bits, rows without padding. */
export interface CropPixels {
  readonly camera: string
  readonly rgb: Uint8Array
  readonly width: number
  readonly height: number
  /** As it stands, before attributes. */
  readonly metadata: CropMetadata
}

/** A picture of a camera and its faces, in the picture's own pixels. Whoever is given one may keep, change and transfer it. */
export interface PicturePixels {
  readonly camera: string
  readonly rgb: Uint8Array<ArrayBuffer>
  readonly width: number
  readonly height: number
  readonly faces: readonly SeenFace[]
}

/** A frame in which faces were looked for. */
export interface FramePixels extends PicturePixels {
  readonly capturedAtMs: number
}

/** A picture on its way to viewers. */
export interface ViewedPixels extends PicturePixels {
  /** Where faces are, were or may be. */
  readonly areas: readonly Area[]
}

/** What is said of a frame. */
export interface SaidOfFrame {
  readonly events: readonly (PluginSaid & { readonly track?: string })[]
  /** By the face's track. */
  readonly attributes: readonly { readonly track: string; readonly attribute: Attribute }[]
}

/**
 * A second look: a classifier, or a plugin. Each runs in a thread of its own. Time limits, bounds and the next start are kept
 * by whoever asks (`supervised.ts`): what is here only answers, or rejects.
 */
export interface Processor extends AsyncDisposable {
  readonly name: string
  /** The model, or the plugin, and its version: `liveness@0f3a5c9b1d2e`. */
  readonly by: string
  /** What it says of a face; nothing where it is not sure of anything. The pixels must stay as they are until it resolves. */
  attributes?(crop: CropPixels): Promise<readonly Attribute[]>
  /** Which frames `see` is given: as the detector sees them (where absent), or as large as they are. */
  readonly frames?: 'scaled' | 'full'
  see?(frame: FramePixels): Promise<SaidOfFrame>
  /** What viewers shall see in its place: RGB, as large. A picture for which it rejects is shown to nobody. */
  picture?(picture: ViewedPixels): Promise<Uint8Array>
  /** Resolves when it works no longer: with why, or undefined where it was disposed of. It is opened again then. */
  readonly ended?: Promise<Error | undefined>
  /** Ends it at once, whatever it does; what it was asked rejects. */
  kill?(why: Error): Promise<void>
}

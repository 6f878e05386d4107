import type { Attribute } from '../../wire/attributes.ts'
import type { CropMetadata } from '../../wire/crop.ts'
import type { Frame } from '../frame.ts'
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

/** A second look: a classifier, or a plugin. Each runs in a thread of its own. */
export interface Processor extends AsyncDisposable {
  readonly name: string
  /** The model, or the plugin, and its version: `liveness@0f3a5c9b1d2e`. */
  readonly by: string
  /** What it says of a face; nothing where it is not sure of anything. The pixels must stay as they are until it resolves. */
  attributes?(crop: CropPixels): Promise<readonly Attribute[]>
  /** Resolves when it works no longer: with why, or undefined where it was disposed of. It is opened again then. */
  readonly ended?: Promise<Error | undefined>
  /** Ends it at once, whatever it does; what it was asked rejects. */
  kill?(why: Error): Promise<void>
  /** Sees a frame that was looked at. Resolves once its pixels are copied: the pipeline waits, and goes on then. */
  look?(camera: string, frame: Frame, faces: readonly SeenFace[]): Promise<void>
  /** What viewers shall see in the place of this picture: RGB, as large. In a picture for which it rejects nothing is to be seen. */
  picture?(
    camera: string,
    rgb: Uint8Array,
    size: { readonly width: number; readonly height: number },
    faces: readonly SeenFace[],
  ): Promise<Uint8Array>
}

import type { Box } from '../faces/crop.ts'
import type { Frame } from '../frame.ts'

/** A face in a frame that is looked at. */
export interface SeenFace {
  /** Full-frame pixels. */
  readonly box: Box
  /** 0 to 1. */
  readonly score: number
  /** It scores enough to be a face by itself. */
  readonly sure: boolean
  /** The face that is followed, UUIDv7. */
  readonly track?: string
}

/** Who looks at frames beside the pipeline: snapshots, the live preview. */
export interface Watcher {
  /** Only frames in which faces were looked for are shown to it. */
  readonly looksOnly?: boolean
  /** Whether the camera's frame is wanted: asked for each one. */
  wants(camera: string): boolean
  /**
   * Resolves once its pixels are copied: the pipeline waits, and the frame is not the watcher's own. Never rejects.
   * @param faces undefined: nobody could look for any
   */
  see(camera: string, frame: Frame, faces: readonly SeenFace[] | undefined): Promise<void>
}

import type { Measured } from '../../models/choose.ts'

/** One face. Coordinates are pixels of the picture that was given to `detect`. */
export interface Detection {
  /** Left, top, width, height. May reach beyond the picture's edge. */
  readonly box: readonly [number, number, number, number]
  /** 0 to 1. */
  readonly score: number
  /** Eyes, nose, mouth: the model's order. */
  readonly landmarks: readonly (readonly [number, number])[]
  /** Whether the face wears a mask; undefined where the model cannot tell. */
  readonly masked?: boolean
  /** Who found it, where that is not the detector's own `model`: another took over. */
  readonly model?: string
}

/** Where faces are looked for at the moment. */
export interface Whereabouts {
  /** Here, at an inference server, or nowhere. */
  readonly on: 'local' | 'remote' | 'none'
  /** Why it is not where it should be; null where it is. */
  readonly why: string | null
  /** Since 1970. */
  readonly sinceMs: number
}

/**
 * How a frame of another shape is brought into a model's input: `letterbox` keeps the aspect ratio and leaves the rest
 * of the input black; `stretch` fills the input.
 */
export type Fit = 'letterbox' | 'stretch'

/** A detector's input: pixels, and how a frame is fitted into it. */
export interface Input {
  readonly width: number
  readonly height: number
  readonly fit: Fit
}

/**
 * A picture to look at: RGB, 8 bits, rows from the top without padding, fitted into the detector's input: at most as
 * large (`letterbox`), or exactly as large (`stretch`).
 */
export interface Picture {
  readonly data: Uint8Array
  readonly width: number
  readonly height: number
}

/** A model = one runtime + one head. */
export interface Detector extends AsyncDisposable {
  readonly model: string
  /** What it runs on, for people: "ONNX Runtime 1.30, CPU, 2 threads". */
  readonly runtime: string
  /** The input: pictures given to `detect` must fit it. */
  readonly input: Input
  /** What scores less is no face by itself (`DetectorOptions.scoreLow`): 0 to 1. */
  readonly scoreMin: number
  /** What was measured to choose provider and threads; undefined where both were given, or there was no choice. */
  readonly measured?: Measured
  /** Of one that may look elsewhere: how that is now. Undefined: always here. */
  readonly whereabouts?: Whereabouts
  /**
   * Faces above the score threshold, or above `scoreLow` of it, after non-maximum suppression, best first. Calls wait for one another, in
   * order; the picture must stay as it is until its own has resolved. A picture that does not fit is a RangeError.
   * Errors: of one that looks elsewhere INFERENCE_LATE, INFERENCE_UNAVAILABLE, INFERENCE_WRONG: nobody has looked at it.
   */
  detect(picture: Picture): Promise<Detection[]>
}

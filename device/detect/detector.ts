/** One face. Coordinates are pixels of the picture that was given to `detect`. */
export interface Detection {
  /** Left, top, width, height. May reach beyond the picture's edge. */
  readonly box: readonly [number, number, number, number]
  /** 0 to 1. */
  readonly score: number
  /** Eyes, nose, mouth: the model's order. */
  readonly landmarks: readonly (readonly [number, number])[]
}

/** A picture to look at: RGB, 8 bits, rows from the top without padding, fitted inside the detector's input size. */
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
  /** What scores less is no face by itself (`DetectorOptions.scoreLow`). */
  readonly scoreMin: number
  /** The input, pixels: pictures given to `detect` must fit inside. */
  readonly input: { readonly width: number; readonly height: number }
  /**
   * Faces above the score threshold, or above `scoreLow` of it, after non-maximum suppression, best first. Calls wait for one another, in
   * order; the picture must stay as it is until its own has resolved. A picture that does not fit is a RangeError.
   */
  detect(picture: Picture): Promise<Detection[]>
}

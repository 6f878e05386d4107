/** What a source hands to the pipeline: the picture at two sizes, and when and where it was taken. */
export interface Frame extends Disposable {
  /** Counts up from 0 in each source, frames that were skipped included. */
  readonly sequence: number
  /** Milliseconds since 1970. */
  readonly capturedAtMs: number
  /**
   * Milliseconds on the source's own clock, which rates are measured by: a video that is played as fast as possible
   * gives the same crops as in real time. Undefined where there is no time between frames (photos).
   */
  readonly atMs: number | undefined
  /** The file that it was read from, where each is one: its path. */
  readonly file?: string
  /** Full size, pixels: of the picture turned and mirrored as the camera's settings say, whatever part is looked at. */
  readonly width: number
  readonly height: number
  /** The part of the picture where faces are looked for, pixels of the full size. Absent: all of it. */
  readonly region?: {
    readonly left: number
    readonly top: number
    readonly width: number
    readonly height: number
  }
  /**
   * The frame, or its `region`, fitted into the detector's input, RGB, 8 bits, rows from the top, without padding between
   * rows. What the camera's masks hide is black. `scaled.width <= input.width` and `scaled.height <= input.height`. For an
   * input of fit `letterbox` the aspect ratio is that of the frame or region (the detector pads at the right and at the
   * bottom); for `stretch` it is as large as the input.
   */
  readonly scaled: { readonly data: Uint8Array; readonly width: number; readonly height: number }
  /**
   * A region of the full-size picture as RGB, 8 bits, rows without padding; what the masks hide is black. Left, top, width and height are
   * whole pixels inside the frame.
   */
  cut(left: number, top: number, width: number, height: number): Promise<Uint8Array>
  /** True boxes of the faces, where the source drew them itself: left, top, width, height in full-frame pixels. */
  readonly truth?: readonly (readonly [number, number, number, number])[]
}

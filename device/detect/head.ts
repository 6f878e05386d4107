import type { Detection, Fit, Picture } from './detector.ts'

/** A tensor a model takes or gives: a dimension that is a name is free. */
export interface TensorInfo {
  readonly name: string
  readonly type: string
  readonly shape: readonly (number | string)[]
}

/** What a model's file says about itself: the head is recognised from it. */
export interface Signature {
  readonly inputs: readonly TensorInfo[]
  readonly outputs: readonly TensorInfo[]
}

/** Width and height, pixels. */
export interface Size {
  readonly width: number
  readonly height: number
}

/**
 * What a family of models shares: how a picture becomes the input tensor and the output tensors become faces.
 * Pure; the tensors are float32.
 */
export interface Head {
  /** The fixed input size; undefined: any size whose sides are multiples of 32. */
  readonly inputSize: Size | undefined
  /** How the model was taught to see pictures of another shape. */
  readonly fit: Fit
  /** For a free input size: what to take where nobody says. */
  readonly inputSizeDefault: Size
  /** Below this score a detection is none, where nobody says otherwise. */
  readonly scoreMinDefault: number
  /** Detections that overlap by more (IoU) are the same face. */
  readonly overlapMax: number
  /** The tensor's value where the picture does not reach: black. */
  readonly padding: number
  /** The input tensor's shape for a size. */
  inputShape(size: Size): number[]
  /** Writes the picture at the tensor's top left; the rest of `tensor` is left as it is. */
  fill(tensor: Float32Array, picture: Picture, size: Size): void
  /** Faces with at least this score, before suppression, in pixels of the input. */
  decode(outputs: ReadonlyMap<string, Float32Array>, size: Size, scoreMin: number): Detection[]
}

/** A family of models. */
export interface HeadKind {
  /** What the model must look like, for people. */
  readonly expects: string
  /** The head for a model of this family; undefined for any other. */
  recognise(signature: Signature): Head | undefined
}

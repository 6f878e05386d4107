import type { Signature, Tensors } from '../../models/runtime.ts'
import type { InputFormat } from '../../models/tensor.ts'
import type { Detection, Fit } from './detector.ts'

/** Width and height, pixels. */
export interface Size {
  readonly width: number
  readonly height: number
}

/** What a family of models shares: how a picture becomes the input tensor and the output tensors become faces. Pure. */
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
  /** How a picture becomes the input tensor. */
  readonly format: InputFormat
  /** Whether its detections say `masked`. */
  readonly tellsMasks?: boolean
  /** Faces with at least this score, before suppression, in pixels of the input. */
  decode(outputs: Tensors, size: Size, scoreMin: number): Detection[]
}

/** A family of models. */
export interface HeadKind {
  /** What the model must look like, for people. */
  readonly expects: string
  /** The head for a model of this family; undefined for any other. */
  recognise(signature: Signature): Head | undefined
}

/** A dimension that is a name is free. */
export interface TensorInfo {
  readonly name: string
  /** As ONNX Runtime calls it: `float32`, `uint8`, `int64`, ... */
  readonly type: string
  readonly shape: readonly (number | string)[]
}

/** What a model says of itself: its family is recognised from it. */
export interface Signature {
  readonly inputs: readonly TensorInfo[]
  readonly outputs: readonly TensorInfo[]
}

/** Row-major, without padding. `data` has as many values as the product of `shape`. */
export type Tensor =
  | { readonly type: 'float32'; readonly shape: readonly number[]; readonly data: Float32Array }
  | { readonly type: 'float64'; readonly shape: readonly number[]; readonly data: Float64Array }
  | { readonly type: 'uint8' | 'bool'; readonly shape: readonly number[]; readonly data: Uint8Array }
  | { readonly type: 'int8'; readonly shape: readonly number[]; readonly data: Int8Array }
  | { readonly type: 'uint16' | 'float16'; readonly shape: readonly number[]; readonly data: Uint16Array }
  | { readonly type: 'int16'; readonly shape: readonly number[]; readonly data: Int16Array }
  | { readonly type: 'int32'; readonly shape: readonly number[]; readonly data: Int32Array }
  | { readonly type: 'uint32'; readonly shape: readonly number[]; readonly data: Uint32Array }
  | { readonly type: 'int64'; readonly shape: readonly number[]; readonly data: BigInt64Array }
  | { readonly type: 'uint64'; readonly shape: readonly number[]; readonly data: BigUint64Array }
export type TensorType = Tensor['type']

/** By name. */
export type Tensors = ReadonlyMap<string, Tensor>

/**
 * Bytes instead of a model's float32 input: each stands for `byte * scale + offset`. A quarter of the size on a network; whoever
 * runs the model makes the floats.
 */
export interface Bytes {
  readonly scale: number
  readonly offset: number
}

/** A network that can be run: tensors in, tensors out. Here, or on another machine. */
export interface Runtime extends Signature, AsyncDisposable {
  /** For people: "ONNX Runtime 1.30.0, CPU, 2 threads". */
  readonly description: string
  /** So many inferences may be under way at a time; 1 where absent. */
  readonly concurrency?: number
  /** Whether `run` takes `bytes`. */
  readonly takesBytes?: boolean
  /**
   * The inputs' data may be reused once this has resolved; the outputs are the caller's.
   * @param bytes the input is `uint8` and stands for float32; only where `takesBytes`
   */
  run(inputs: Tensors, bytes?: Bytes): Promise<Tensors>
}

/**
 * The one float32 output of this name, as its values.
 * Errors: Error where it is another, or none, or has not so many values.
 */
export function floatsOf(tensors: Tensors, name: string, count?: number): Float32Array {
  const tensor = tensors.get(name)
  if (tensor?.type !== 'float32')
    throw new Error(
      tensor ? `the output ${name} is ${tensor.type}, not float32` : `the output ${name} is missing`,
    )
  if (count !== undefined && tensor.data.length !== count)
    throw new Error(`the output ${name} has ${tensor.data.length} values, not ${count}`)
  return tensor.data
}

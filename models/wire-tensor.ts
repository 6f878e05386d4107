import { type Datatype, valuesOf, type WireTensor } from '../wire/inference.ts'
import type { Tensor, TensorType } from './runtime.ts'

/** Tensors of a runtime, and those of the Open Inference Protocol. */

const DATATYPES = {
  bool: 'BOOL',
  uint8: 'UINT8',
  uint16: 'UINT16',
  uint32: 'UINT32',
  uint64: 'UINT64',
  int8: 'INT8',
  int16: 'INT16',
  int32: 'INT32',
  int64: 'INT64',
  float16: 'FP16',
  float32: 'FP32',
  float64: 'FP64',
} as const satisfies Record<TensorType, Datatype>

const TYPES = Object.fromEntries(Object.entries(DATATYPES).map(([type, datatype]) => [datatype, type]))

/** As the protocol calls it. Undefined: it has no numbers (texts, sequences). */
export const datatypeOf = (type: string): Datatype | undefined =>
  Object.hasOwn(DATATYPES, type) ? DATATYPES[type as TensorType] : undefined

/** As a runtime calls it. */
export const typeOf = (datatype: Datatype): TensorType => TYPES[datatype] as TensorType

/** The same values: a view of the tensor's bytes where they lie so that there can be one. */
export function fromWire({ datatype, shape, data }: Omit<WireTensor, 'name' | 'parameters'>): Tensor {
  return { type: typeOf(datatype), shape, data: valuesOf({ datatype, data }) } as Tensor
}

/** The same memory, under this name. */
export function toWire(name: string, { type, shape, data }: Tensor): WireTensor {
  return {
    name,
    datatype: DATATYPES[type],
    shape,
    data: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
  }
}

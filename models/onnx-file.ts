/**
 * Writes ONNX files: the few messages of onnx.proto3 that a plain network needs, as protobuf by hand.
 * Field numbers from https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3; encoding from
 * https://protobuf.dev/programming-guides/encoding: a key (field number and wire type), then a varint or a
 * length and that many bytes. Pure.
 */

/** ONNX IR version 8 and operator set 13: old enough for every ONNX Runtime that still gets fixes. */
const IR_VERSION = 8
const OPERATOR_SET_VERSION = 13

const ELEMENT_TYPE = { float32: 1, uint8: 2, int64: 7 } as const

const WIRE_VARINT = 0
const WIRE_BYTES = 2

/** One node: `outputs = operator(inputs)`; an attribute's kind follows from its value. */
export interface OnnxNode {
  readonly operator: string
  readonly inputs: readonly string[]
  readonly output: string
  readonly attributes?: Readonly<Record<string, OnnxAttribute>>
}
/** A whole number, whole numbers, or text. */
export type OnnxAttribute = number | readonly number[] | string

/** A constant: row-major values. */
export interface OnnxConstant {
  readonly name: string
  readonly shape: readonly number[]
  readonly values: Float32Array | BigInt64Array
}

/** An input or output of the graph; a dimension given by name is free. */
export interface OnnxValue {
  readonly name: string
  readonly type: 'float32' | 'uint8'
  readonly shape: readonly (number | string)[]
}

export interface OnnxGraph {
  readonly name: string
  readonly producer: string
  readonly description: string
  readonly inputs: readonly OnnxValue[]
  readonly outputs: readonly OnnxValue[]
  readonly constants: readonly OnnxConstant[]
  readonly nodes: readonly OnnxNode[]
}

/** The bytes of the ONNX file of this graph. */
export function encodeOnnx(graph: OnnxGraph): Buffer {
  return message(
    varintField(1, IR_VERSION),
    textField(2, graph.producer),
    textField(6, graph.description),
    bytesField(
      7,
      message(
        ...graph.nodes.map((node) => bytesField(1, encodeNode(node))),
        textField(2, graph.name),
        ...graph.constants.map((constant) => bytesField(5, encodeConstant(constant))),
        ...graph.inputs.map((value) => bytesField(11, encodeValue(value))),
        ...graph.outputs.map((value) => bytesField(12, encodeValue(value))),
      ),
    ),
    bytesField(8, message(textField(1, ''), varintField(2, OPERATOR_SET_VERSION))),
  )
}

const encodeNode = (node: OnnxNode) =>
  message(
    ...node.inputs.map((input) => textField(1, input)),
    textField(2, node.output),
    textField(4, node.operator),
    ...Object.entries(node.attributes ?? {}).map(([name, value]) =>
      bytesField(5, encodeAttribute(name, value)),
    ),
  )

const ATTRIBUTE_INT = 2
const ATTRIBUTE_STRING = 3
const ATTRIBUTE_INTS = 7

function encodeAttribute(name: string, value: OnnxAttribute): Buffer {
  if (typeof value === 'number')
    return message(textField(1, name), varintField(3, value), varintField(20, ATTRIBUTE_INT))
  if (typeof value === 'string')
    return message(textField(1, name), textField(4, value), varintField(20, ATTRIBUTE_STRING))
  return message(
    textField(1, name),
    ...value.map((entry) => varintField(8, entry)),
    varintField(20, ATTRIBUTE_INTS),
  )
}

function encodeConstant({ name, shape, values }: OnnxConstant): Buffer {
  return message(
    ...shape.map((size) => varintField(1, size)),
    varintField(2, values instanceof Float32Array ? ELEMENT_TYPE.float32 : ELEMENT_TYPE.int64),
    textField(8, name),
    // raw_data is little-endian, as is every machine that Node runs on.
    bytesField(9, Buffer.from(values.buffer, values.byteOffset, values.byteLength)),
  )
}

function encodeValue({ name, type, shape }: OnnxValue): Buffer {
  const dimensions = shape.map((size) =>
    bytesField(1, typeof size === 'number' ? varintField(1, size) : textField(2, size)),
  )
  const tensorType = message(varintField(1, ELEMENT_TYPE[type]), bytesField(2, message(...dimensions)))
  return message(textField(1, name), bytesField(2, bytesField(1, tensorType)))
}

const message = (...fields: Buffer[]): Buffer => Buffer.concat(fields)

const varintField = (field: number, value: number): Buffer =>
  message(varint((field << 3) | WIRE_VARINT), varint(value))

const bytesField = (field: number, bytes: Buffer): Buffer =>
  message(varint((field << 3) | WIRE_BYTES), varint(bytes.length), bytes)

const textField = (field: number, text: string): Buffer => bytesField(field, Buffer.from(text, 'utf8'))

/** Seven bits a byte, lowest first; negative numbers as 64-bit two's complement. */
function varint(value: number): Buffer {
  const bytes: number[] = []
  let rest = BigInt.asUintN(64, BigInt(value))
  for (; rest > 0x7fn; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80)
  bytes.push(Number(rest))
  return Buffer.from(bytes)
}

import { z } from 'zod'

/**
 * The Open Inference Protocol, version 2 (KServe), by HTTP and by gRPC, with the extension for binary tensors
 * (https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol): what client and server write and read.
 * Tensors are raw bytes throughout: row-major, little-endian, without padding. Pure; for machines that are little-endian.
 */

/** The length of the JSON that comes before the tensors' bytes. Absent: all of the body is JSON. */
export const JSON_LENGTH_HEADER = 'inference-header-content-length'
/** In the server's `extensions`: it takes and gives tensors as bytes. */
export const BINARY_EXTENSION = 'binary_tensor_data'
/**
 * In the server's `extensions`: for an FP32 input it takes UINT8, with the parameters `scale` and `offset` on that input; a byte
 * stands for `byte * scale + offset`.
 */
export const BYTES_EXTENSION = 'sightline_bytes'
/** How @grpc/proto-loader is to read wire/inference.proto, so that messages look as they do here. */
export const PROTO_OPTIONS = { keepCase: true, longs: String, defaults: true, oneofs: true } as const
export const PROTO_SERVICE = 'inference.GRPCInferenceService'

/** Of one request or answer. */
export const TENSORS_MAX = 64
export const DIMENSIONS_MAX = 8
export const TENSOR_BYTES_MAX = 512 * 2 ** 20
/** Of the JSON before binary tensors. */
export const HEADER_BYTES_MAX = 2 ** 20
/** How deep an answer's JSON is nested: the message, its tensors, their data. */
export const JSON_DEPTH_MAX = DIMENSIONS_MAX + 8
/** Objects and texts in one JSON, the names of members among them: tensors' values are neither. Counted before it is read. */
const JSON_OBJECTS_MAX = 1000
const JSON_TEXTS_MAX = 20_000
/** Lists: the values of 640x640 pixels may be nested pixel by pixel. */
const JSON_LISTS_MAX = 500_000
const NAME_UNITS_MAX = 256
const ID_UNITS_MAX = 256
const PARAMETERS_MAX = 64
const VERSIONS_MAX = 1000
const EXTENSIONS_MAX = 200
const ERROR_UNITS_MAX = 10_000

/** Bytes of one value. BYTES (texts) has none: it is known, and refused. */
const SIZES = {
  BOOL: 1,
  UINT8: 1,
  UINT16: 2,
  UINT32: 4,
  UINT64: 8,
  INT8: 1,
  INT16: 2,
  INT32: 4,
  INT64: 8,
  FP16: 2,
  FP32: 4,
  FP64: 8,
} as const
export type Datatype = keyof typeof SIZES
export const DATATYPES = Object.keys(SIZES) as readonly Datatype[]

export const isDatatype = (name: string): name is Datatype => Object.hasOwn(SIZES, name)

/** Bytes of one value. */
export const sizeOf = (datatype: Datatype): number => SIZES[datatype]

export type Parameter = string | number | boolean
export type Parameters = Readonly<Record<string, Parameter>>

/** `data` has as many bytes as the product of `shape` times the datatype's size. It may be a view of something larger. */
export interface WireTensor {
  readonly name: string
  readonly datatype: Datatype
  readonly shape: readonly number[]
  readonly data: Uint8Array
  readonly parameters?: Parameters
}

export interface WantedOutput {
  readonly name: string
  /** As bytes; as the request says for all where absent. By gRPC always. */
  readonly binary?: boolean
}

export interface InferRequest {
  /** By gRPC; by HTTP the address says it. */
  readonly model?: string
  readonly version?: string
  readonly id?: string
  readonly parameters?: Parameters
  readonly inputs: readonly WireTensor[]
  /** All, where absent. */
  readonly outputs?: readonly WantedOutput[]
  /** Whether outputs that say nothing of it come as bytes. */
  readonly binaryOutput?: boolean
}

export interface InferResponse {
  readonly model: string
  readonly version?: string
  readonly id?: string
  readonly parameters?: Parameters
  readonly outputs: readonly WireTensor[]
}

/** A body in parts, in their order. `jsonBytes` is to be said in JSON_LENGTH_HEADER, where it is there. */
export interface Encoded {
  readonly chunks: readonly Uint8Array[]
  /** Of all chunks. */
  readonly bytes: number
  readonly jsonBytes?: number
}

/** What makes a message none of this protocol, in a sentence. `tooLarge` where a limit is the only reason. */
export class InferenceFault extends Error {
  override readonly name = 'InferenceFault'
  readonly kind: 'malformed' | 'unsupported' | 'tooLarge'

  constructor(kind: InferenceFault['kind'], message: string) {
    super(`${message.charAt(0).toUpperCase()}${message.slice(1)}`)
    this.kind = kind
  }
}

const malformed = (sentence: string) => new InferenceFault('malformed', sentence)

/** What others put into JSON where they mean that there is nothing. */
const absent = <T extends z.ZodType>(schema: T) => schema.nullish().transform((value) => value ?? undefined)

const name = z.string().min(1).max(NAME_UNITS_MAX)
/** Some servers write JSON as protocol buffers do: 64-bit integers as texts. */
const integer = z.union([
  z.number().int(),
  z
    .string()
    .regex(/^-?\d{1,15}$/)
    .transform(Number),
])
/** Counted before any of it is looked at: a hundred thousand tensors took a second to refuse. */
const listOf = <T extends z.ZodType>(schema: T, max: number) =>
  z
    .custom<unknown[]>((list) => Array.isArray(list), { error: 'must be a list' })
    .refine((list) => list.length <= max, `more than ${max}`)
    .pipe(z.array(schema))
const shape = listOf(integer, DIMENSIONS_MAX)
const parameters = z
  .custom<Record<string, unknown>>((all) => typeof all === 'object' && all !== null && !Array.isArray(all), {
    error: 'must be an object',
  })
  .refine((all) => Object.keys(all).length <= PARAMETERS_MAX, `more than ${PARAMETERS_MAX} parameters`)
  .pipe(z.record(z.string().max(NAME_UNITS_MAX), z.unknown()))

/** `GET /v2`. */
export const serverMetadataSchema = z.object({
  name: z.string().max(NAME_UNITS_MAX),
  version: z.string().max(NAME_UNITS_MAX),
  extensions: listOf(z.string().max(NAME_UNITS_MAX), EXTENSIONS_MAX)
    .nullish()
    .transform((all) => all ?? []),
})
export type ServerMetadata = z.infer<typeof serverMetadataSchema>

/** -1: any. */
const tensorMetadataSchema = z.object({ name, datatype: z.string().max(NAME_UNITS_MAX), shape })
const tensorsMetadata = listOf(tensorMetadataSchema, TENSORS_MAX)
  .nullish()
  .transform((all) => all ?? [])

/** `GET /v2/models/NAME`. */
export const modelMetadataSchema = z.object({
  name,
  versions: listOf(z.string().max(NAME_UNITS_MAX), VERSIONS_MAX)
    .nullish()
    .transform((all) => all ?? []),
  platform: absent(z.string().max(NAME_UNITS_MAX)),
  inputs: tensorsMetadata,
  outputs: tensorsMetadata,
})
export type ModelMetadata = z.infer<typeof modelMetadataSchema>

/** The body of an answer that is an error. */
export const errorSchema = z.object({ error: z.string().max(ERROR_UNITS_MAX) })

const tensorSchema = z.object({
  name,
  datatype: z.string().max(NAME_UNITS_MAX),
  shape,
  parameters: absent(parameters),
  data: z.unknown().optional(),
})
/** What is in `data` is checked value by value as it becomes bytes. */
const requestSchema = z.object({
  id: absent(z.string().max(ID_UNITS_MAX)),
  parameters: absent(parameters),
  inputs: listOf(tensorSchema, TENSORS_MAX).refine((all) => all.length > 0, 'there are none'),
  outputs: absent(listOf(z.object({ name, parameters: absent(parameters) }), TENSORS_MAX)),
})
const responseSchema = z.object({
  model_name: z.string().max(NAME_UNITS_MAX),
  model_version: absent(z.string().max(NAME_UNITS_MAX)),
  id: absent(z.string().max(ID_UNITS_MAX)),
  parameters: absent(parameters),
  outputs: listOf(tensorSchema, TENSORS_MAX),
})

/** Inputs as bytes behind the JSON where `binary`, and asks for outputs like that; all as JSON else. Errors: InferenceFault. */
export function encodeInferRequest(
  request: Omit<InferRequest, 'binaryOutput'>,
  { binary }: { readonly binary: boolean },
): Encoded {
  const json = {
    id: request.id,
    parameters: binary ? { ...request.parameters, binary_data_output: true } : request.parameters,
    inputs: request.inputs.map((tensor) => tensorJson(tensor, binary)),
    outputs: request.outputs?.map((output) => ({
      name: output.name,
      parameters: output.binary === undefined ? undefined : { binary_data: output.binary },
    })),
  }
  return encode(json, binary ? request.inputs : [])
}

/** @param isBinary which outputs go as bytes. Errors: InferenceFault, where a number cannot be said in JSON. */
export function encodeInferResponse(response: InferResponse, isBinary: (output: string) => boolean): Encoded {
  const json = {
    model_name: response.model,
    model_version: response.version,
    id: response.id,
    parameters: response.parameters,
    outputs: response.outputs.map((tensor) => tensorJson(tensor, isBinary(tensor.name))),
  }
  return encode(
    json,
    response.outputs.filter((tensor) => isBinary(tensor.name)),
  )
}

/** @param jsonBytes what JSON_LENGTH_HEADER says, where it is there. Views of `body`, not copies. Errors: InferenceFault. */
export function decodeInferRequest(body: Uint8Array, jsonBytes?: number): InferRequest {
  const { json, binary } = split(body, jsonBytes)
  const request = check(requestSchema, json, 'The request')
  const inputs = decodeTensors(request.inputs, binary, body.length, 'input')
  const all = parametersOf(request.parameters)
  const { binary_data_output, ...rest } = all ?? {}
  if (binary_data_output !== undefined && typeof binary_data_output !== 'boolean')
    throw malformed('"binary_data_output" must be true or false.')
  const outputs = request.outputs?.map((output) => {
    const wanted = output.parameters?.binary_data
    if (wanted !== undefined && typeof wanted !== 'boolean')
      throw malformed(`"binary_data" of the output ${quoted(output.name)} must be true or false.`)
    return wanted === undefined ? { name: output.name } : { name: output.name, binary: wanted }
  })
  unique(outputs ?? [], 'output')
  return {
    ...(request.id !== undefined && { id: request.id }),
    ...(Object.keys(rest).length > 0 && { parameters: rest }),
    inputs,
    // The protocol: none named, all wanted.
    ...(outputs && outputs.length > 0 && { outputs }),
    binaryOutput: binary_data_output === true,
  }
}

/** @param jsonBytes what JSON_LENGTH_HEADER says, where it is there. Views of `body`, not copies. Errors: InferenceFault. */
export function decodeInferResponse(body: Uint8Array, jsonBytes?: number): InferResponse {
  const { json, binary } = split(body, jsonBytes)
  const response = check(responseSchema, json, 'The answer')
  const outputs = decodeTensors(response.outputs, binary, body.length, 'output')
  const all = parametersOf(response.parameters)
  return {
    model: response.model_name,
    ...(response.model_version !== undefined && { version: response.model_version }),
    ...(response.id !== undefined && { id: response.id }),
    ...(all && { parameters: all }),
    outputs,
  }
}

/** Whether this output of the request goes as bytes. */
export function isBinaryOutput({ outputs, binaryOutput }: InferRequest, output: string): boolean {
  return outputs?.find((it) => it.name === output)?.binary ?? binaryOutput ?? false
}

/** JSON_LENGTH_HEADER as a number; undefined where it is absent. Errors: InferenceFault. */
export function jsonBytesOf(header: string | readonly string[] | undefined): number | undefined {
  if (header === undefined) return undefined
  if (typeof header !== 'string' || !/^\d{1,10}$/.test(header))
    throw malformed(`${JSON_LENGTH_HEADER} must be a number of bytes.`)
  return Number(header)
}

/** How many values. Errors: InferenceFault, where a side is negative, or there are too many. */
export function countOf(shape: readonly number[], what = 'The shape'): number {
  let count = 1
  for (const side of shape) {
    if (!Number.isSafeInteger(side) || side < 0)
      throw malformed(`${what} must be of whole numbers of 0 or more, not [${shape.join(', ')}].`)
    count *= side
    if (count > TENSOR_BYTES_MAX)
      throw new InferenceFault(
        'tooLarge',
        `${what} [${shape.join(', ')}] has more values than ${TENSOR_BYTES_MAX}.`,
      )
  }
  return count
}

const quoted = (text: string) => JSON.stringify(text)

function tensorJson(tensor: WireTensor, binary: boolean) {
  const { name, datatype, shape, data } = tensor
  return binary
    ? {
        name,
        datatype,
        shape,
        parameters: { ...tensor.parameters, binary_data_size: data.length },
      }
    : { name, datatype, shape, parameters: tensor.parameters, data: valuesJson(tensor) }
}

/** Tensors that start at a multiple of this need no copy to be read as numbers. */
const ALIGNMENT = 8

function encode(json: object, binary: readonly WireTensor[]): Encoded {
  const text = new TextEncoder().encode(JSON.stringify(json))
  if (binary.length === 0) return { chunks: [text], bytes: text.length }
  // JSON may end in spaces.
  const head = new Uint8Array(Math.ceil(text.length / ALIGNMENT) * ALIGNMENT).fill(0x20)
  head.set(text)
  const chunks = [head, ...binary.map(({ data }) => data)]
  return { chunks, bytes: chunks.reduce((sum, { length }) => sum + length, 0), jsonBytes: head.length }
}

function split(body: Uint8Array, jsonBytes: number | undefined): { json: unknown; binary?: Uint8Array } {
  if (jsonBytes !== undefined) {
    if (jsonBytes === 0)
      throw new InferenceFault('unsupported', 'A request without JSON is not supported: name its tensors.')
    if (jsonBytes > body.length)
      throw malformed(`${JSON_LENGTH_HEADER} says ${jsonBytes} bytes, but the body has ${body.length}.`)
    if (jsonBytes > HEADER_BYTES_MAX)
      throw new InferenceFault(
        'tooLarge',
        `The JSON before the tensors has ${jsonBytes} bytes; the limit is ${HEADER_BYTES_MAX}.`,
      )
  }
  const text = jsonBytes === undefined ? body : body.subarray(0, jsonBytes)
  checkJson(text)
  let json: unknown
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(text))
  } catch {
    throw malformed(
      jsonBytes === undefined
        ? `The body is not JSON. Tensors as bytes need the header ${JSON_LENGTH_HEADER}.`
        : `The first ${jsonBytes} bytes of the body are not JSON.`,
    )
  }
  return { json, ...(jsonBytes !== undefined && { binary: body.subarray(jsonBytes) }) }
}

/**
 * Before it is read: what is nested a hundred thousand times breaks whatever walks through it, and of what is a million objects
 * reading alone takes seconds. Errors: InferenceFault.
 */
function checkJson(text: Uint8Array): void {
  let [depth, objects, texts, lists] = [0, 0, 0, 0]
  for (let at = 0; at < text.length; at += 1) {
    const byte = text[at]
    if (byte === 0x22) {
      texts += 1
      for (at += 1; at < text.length && text[at] !== 0x22; at += 1) if (text[at] === 0x5c) at += 1
    } else if (byte === 0x5b || byte === 0x7b) {
      depth += 1
      if (byte === 0x7b) objects += 1
      else lists += 1
      if (depth > JSON_DEPTH_MAX) throw malformed(`The JSON is nested deeper than ${JSON_DEPTH_MAX}.`)
    } else if (byte === 0x5d || byte === 0x7d) depth -= 1
    if (objects > JSON_OBJECTS_MAX)
      throw malformed(`The JSON has more than ${JSON_OBJECTS_MAX} objects: too many inputs or outputs.`)
    if (lists > JSON_LISTS_MAX)
      throw new InferenceFault(
        'tooLarge',
        `The JSON has more than ${JSON_LISTS_MAX} lists. Send "data" flat, or as bytes.`,
      )
    if (texts > JSON_TEXTS_MAX)
      throw malformed(`The JSON has more than ${JSON_TEXTS_MAX} texts, names among them.`)
  }
}

function check<T extends z.ZodType>(schema: T, json: unknown, what: string): z.infer<T> {
  const result = schema.safeParse(json)
  if (result.success) return result.data
  const [issue] = result.error.issues
  const at = issue?.path.length ? `: ${issue.path.join('.')}` : ''
  throw malformed(`${what} is not as the protocol says${at}: ${issue?.message ?? 'unknown'}.`)
}

/** Only plain values mean anything. */
function parametersOf(all: Readonly<Record<string, unknown>> | undefined): Parameters | undefined {
  if (all === undefined) return undefined
  const kept = Object.entries(all).filter(
    (entry): entry is [string, Parameter] =>
      typeof entry[1] === 'string' || typeof entry[1] === 'number' || typeof entry[1] === 'boolean',
  )
  return kept.length > 0 ? Object.fromEntries(kept) : undefined
}

function unique(tensors: readonly { readonly name: string }[], what: string): void {
  const seen = new Set<string>()
  for (const { name } of tensors) {
    if (seen.has(name)) throw malformed(`The ${what} ${quoted(name)} is there twice.`)
    seen.add(name)
  }
}

function datatypeOf(datatype: string, label: string): Datatype {
  if (isDatatype(datatype)) return datatype
  throw new InferenceFault(
    'unsupported',
    datatype === 'BYTES'
      ? `${label} has the datatype BYTES, which is not supported: models here take numbers.`
      : `${label} has the unknown datatype ${quoted(datatype)}; known are ${DATATYPES.join(', ')}.`,
  )
}

/** How many bytes. Errors: InferenceFault. */
function bytesOf(shape: readonly number[], datatype: Datatype, label: string): number {
  const bytes = countOf(shape, `The shape of ${label}`) * SIZES[datatype]
  if (bytes > TENSOR_BYTES_MAX)
    throw new InferenceFault(
      'tooLarge',
      `The shape of ${label} [${shape.join(', ')}] is ${bytes} bytes of ${datatype}; the limit is ${TENSOR_BYTES_MAX}.`,
    )
  return bytes
}

function decodeTensors(
  tensors: readonly z.infer<typeof tensorSchema>[],
  binary: Uint8Array | undefined,
  bodyBytes: number,
  what: string,
): WireTensor[] {
  unique(tensors, what)
  let at = 0
  const decoded = tensors.map((tensor): WireTensor => {
    const { name, shape } = tensor
    const label = `the ${what} ${quoted(name)}`
    const datatype = datatypeOf(tensor.datatype, label)
    const bytes = bytesOf(shape, datatype, label)
    const { binary_data_size: size, ...rest } = tensor.parameters ?? {}
    const all = parametersOf(rest)
    const common = { name, datatype, shape, ...(all && { parameters: all }) }
    if (size === undefined)
      return { ...common, data: bytesFromJson(tensor.data, datatype, shape, bytes, bodyBytes, label) }
    if (tensor.data !== undefined && tensor.data !== null)
      throw malformed(`${label} has "data" as well as "binary_data_size".`)
    if (binary === undefined)
      throw malformed(`${label} has "binary_data_size", but the header ${JSON_LENGTH_HEADER} is missing.`)
    if (size !== bytes)
      throw malformed(
        `${label} has "binary_data_size" ${JSON.stringify(size)}; its shape [${shape.join(', ')}] of ${datatype} has ${bytes} bytes.`,
      )
    if (at + bytes > binary.length)
      throw malformed(`The body ends within ${label}: ${binary.length - at} of its ${bytes} bytes are there.`)
    const data = binary.subarray(at, at + bytes)
    at += bytes
    return { ...common, data }
  })
  if (binary !== undefined && at !== binary.length)
    throw malformed(`The body has ${binary.length - at} bytes more than its tensors.`)
  return decoded
}

type Values =
  | Uint8Array
  | Uint16Array
  | Uint32Array
  | BigUint64Array
  | Int8Array
  | Int16Array
  | Int32Array
  | BigInt64Array
  | Float32Array
  | Float64Array

const ARRAYS = {
  BOOL: Uint8Array,
  UINT8: Uint8Array,
  UINT16: Uint16Array,
  UINT32: Uint32Array,
  UINT64: BigUint64Array,
  INT8: Int8Array,
  INT16: Int16Array,
  INT32: Int32Array,
  INT64: BigInt64Array,
  // As they are: half floats have no numbers of their own everywhere.
  FP16: Uint16Array,
  FP32: Float32Array,
  FP64: Float64Array,
} as const

/** The numbers: a view where the bytes lie so that there can be one, a copy else. FP16 as its 16 bits. */
export function valuesOf({ datatype, data }: Pick<WireTensor, 'datatype' | 'data'>): Values {
  const size = SIZES[datatype]
  // A Buffer's own slice is a view.
  const aligned = data.byteOffset % size === 0 ? data : Uint8Array.prototype.slice.call(data)
  return new ARRAYS[datatype](aligned.buffer as ArrayBuffer, aligned.byteOffset, aligned.length / size)
}

function valuesJson(tensor: WireTensor): (number | boolean)[] {
  const { datatype, name } = tensor
  if (datatype === 'FP16')
    throw new InferenceFault('unsupported', `${quoted(name)} is FP16, which JSON has no numbers for.`)
  const values = valuesOf(tensor)
  if (datatype === 'BOOL') return Array.from(values as Uint8Array, (value) => value !== 0)
  if (values instanceof BigInt64Array || values instanceof BigUint64Array)
    return Array.from(values as Iterable<bigint>, (value) => {
      const number = Number(value)
      if (!Number.isSafeInteger(number))
        throw new InferenceFault(
          'unsupported',
          `${quoted(name)} has ${value}, which JSON cannot say exactly.`,
        )
      return number
    })
  const numbers = Array.from(values as Float64Array)
  if ((datatype === 'FP32' || datatype === 'FP64') && !numbers.every(Number.isFinite))
    throw new InferenceFault(
      'unsupported',
      `${quoted(name)} has a number that is not finite, which JSON cannot say. Ask for it as bytes.`,
    )
  return numbers
}

/** What integers of this type may be. */
const RANGES: Partial<Record<Datatype, readonly [number, number]>> = {
  UINT8: [0, 2 ** 8 - 1],
  UINT16: [0, 2 ** 16 - 1],
  UINT32: [0, 2 ** 32 - 1],
  UINT64: [0, Number.MAX_SAFE_INTEGER],
  INT8: [-(2 ** 7), 2 ** 7 - 1],
  INT16: [-(2 ** 15), 2 ** 15 - 1],
  INT32: [-(2 ** 31), 2 ** 31 - 1],
  INT64: [Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
}

/** Flat, or nested as the shape is. */
function bytesFromJson(
  data: unknown,
  datatype: Datatype,
  shape: readonly number[],
  bytes: number,
  bodyBytes: number,
  label: string,
): Uint8Array {
  if (data === undefined || data === null) throw malformed(`${label} has no "data".`)
  if (!Array.isArray(data)) throw malformed(`"data" of ${label} is not a list.`)
  if (datatype === 'FP16')
    throw new InferenceFault(
      'unsupported',
      `${label} is FP16, which JSON has no numbers for. Send it as bytes.`,
    )
  const count = bytes / SIZES[datatype]
  const wrong = () => malformed(`"data" of ${label} has not the ${count} values of [${shape.join(', ')}].`)
  // A value takes a byte of the text at least: what cannot be there is not made room for.
  if (count > bodyBytes) throw wrong()
  const isNested = Array.isArray(data[0])
  if (!isNested && data.length !== count) throw wrong()
  const values = new ARRAYS[datatype](count)
  const write = writer(values, datatype, label)
  let at = 0
  const walk = (list: unknown, axis: number): void => {
    if (!Array.isArray(list) || list.length !== shape[axis]) throw wrong()
    if (axis < shape.length - 1) for (const item of list) walk(item, axis + 1)
    else
      for (const item of list) {
        write(at, item)
        at += 1
      }
  }
  if (isNested) walk(data, 0)
  else for (let index = 0; index < count; index += 1) write(index, data[index])
  return new Uint8Array(values.buffer)
}

function writer(values: Values, datatype: Datatype, label: string): (at: number, value: unknown) => void {
  const refuse = (value: unknown, what: string) =>
    malformed(
      `"data" of ${label} has ${(JSON.stringify(value) ?? 'nothing').slice(0, 40)}, which is no ${what}.`,
    )
  if (datatype === 'BOOL')
    return (at, value) => {
      if (typeof value !== 'boolean') throw refuse(value, 'BOOL')
      ;(values as Uint8Array)[at] = value ? 1 : 0
    }
  const range = RANGES[datatype]
  if (!range)
    return (at, value) => {
      if (typeof value !== 'number') throw refuse(value, datatype)
      ;(values as Float64Array)[at] = value
      // Beyond what the type holds: an infinity.
      if (!Number.isFinite(values[at] as number)) throw refuse(value, datatype)
    }
  const [min, max] = range
  const isBig = values instanceof BigInt64Array || values instanceof BigUint64Array
  return (at, value) => {
    if (typeof value !== 'number' || !Number.isInteger(value) || value < min || value > max)
      throw refuse(value, datatype)
    if (isBig) (values as BigInt64Array)[at] = BigInt(value)
    else (values as Uint32Array)[at] = value
  }
}

/** Messages of wire/inference.proto, as they are read with PROTO_OPTIONS. */
export interface ParameterMessage {
  readonly bool_param?: boolean
  readonly int64_param?: string | number
  readonly string_param?: string
  readonly double_param?: number
  readonly uint64_param?: string | number
}
type ParametersMessage = Readonly<Record<string, ParameterMessage>>
interface ContentsMessage {
  readonly bool_contents?: readonly boolean[]
  readonly int_contents?: readonly number[]
  readonly int64_contents?: readonly (string | number)[]
  readonly uint_contents?: readonly number[]
  readonly uint64_contents?: readonly (string | number)[]
  readonly fp32_contents?: readonly number[]
  readonly fp64_contents?: readonly number[]
  readonly bytes_contents?: readonly Uint8Array[]
}
interface TensorMessage {
  readonly name: string
  readonly datatype: string
  readonly shape: readonly (string | number)[]
  readonly parameters?: ParametersMessage
  readonly contents?: ContentsMessage | null
}
export interface ModelInferRequestMessage {
  readonly model_name: string
  readonly model_version?: string
  readonly id?: string
  readonly parameters?: ParametersMessage
  readonly inputs: readonly TensorMessage[]
  readonly outputs?: readonly { readonly name: string; readonly parameters?: ParametersMessage }[]
  readonly raw_input_contents?: readonly Uint8Array[]
}
export interface ModelInferResponseMessage {
  readonly model_name: string
  readonly model_version?: string
  readonly id?: string
  readonly parameters?: ParametersMessage
  readonly outputs: readonly TensorMessage[]
  readonly raw_output_contents?: readonly Uint8Array[]
}

export function inferRequestMessage(request: InferRequest): ModelInferRequestMessage {
  return {
    model_name: request.model ?? '',
    model_version: request.version ?? '',
    id: request.id ?? '',
    parameters: parametersMessage(request.parameters),
    inputs: request.inputs.map(tensorMessage),
    outputs: request.outputs?.map(({ name }) => ({ name })) ?? [],
    raw_input_contents: request.inputs.map(({ data }) => data),
  }
}

export function inferResponseMessage(response: InferResponse): ModelInferResponseMessage {
  return {
    model_name: response.model,
    model_version: response.version ?? '',
    id: response.id ?? '',
    parameters: parametersMessage(response.parameters),
    outputs: response.outputs.map(tensorMessage),
    raw_output_contents: response.outputs.map(({ data }) => data),
  }
}

/** Errors: InferenceFault. */
export function fromInferRequestMessage(message: ModelInferRequestMessage): InferRequest {
  if (message.inputs.length === 0) throw malformed('The request has no inputs.')
  const outputs = message.outputs?.map(({ name }) => ({ name })) ?? []
  unique(outputs, 'output')
  tooMany(outputs, 'outputs')
  const all = fromParametersMessage(message.parameters)
  return {
    model: message.model_name,
    ...(message.model_version && { version: message.model_version }),
    ...(message.id && { id: textOf(message.id, ID_UNITS_MAX, 'id') }),
    ...(all && { parameters: all }),
    inputs: fromTensorMessages(message.inputs, message.raw_input_contents ?? [], 'input'),
    ...(outputs.length > 0 && { outputs }),
    binaryOutput: true,
  }
}

/** Errors: InferenceFault. */
export function fromInferResponseMessage(message: ModelInferResponseMessage): InferResponse {
  const all = fromParametersMessage(message.parameters)
  return {
    model: message.model_name,
    ...(message.model_version && { version: message.model_version }),
    ...(message.id && { id: textOf(message.id, ID_UNITS_MAX, 'id') }),
    ...(all && { parameters: all }),
    outputs: fromTensorMessages(message.outputs, message.raw_output_contents ?? [], 'output'),
  }
}

function textOf(text: string, unitsMax: number, what: string): string {
  if (text.length > unitsMax) throw malformed(`The ${what} has more than ${unitsMax} characters.`)
  return text
}

function tooMany(list: readonly unknown[], what: string): void {
  if (list.length > TENSORS_MAX)
    throw malformed(`There are ${list.length} ${what}; the limit is ${TENSORS_MAX}.`)
}

const tensorMessage = ({ name, datatype, shape, parameters }: WireTensor): TensorMessage => ({
  name,
  datatype,
  shape,
  parameters: parametersMessage(parameters),
})

function parametersMessage(all: Parameters | undefined): ParametersMessage {
  return Object.fromEntries(
    Object.entries(all ?? {}).map(([key, value]) => [
      key,
      typeof value === 'boolean'
        ? { bool_param: value }
        : typeof value === 'string'
          ? { string_param: value }
          : { double_param: value },
    ]),
  )
}

function fromParametersMessage(all: ParametersMessage | undefined): Parameters | undefined {
  const entries = Object.entries(all ?? {})
  if (entries.length === 0) return undefined
  if (entries.length > PARAMETERS_MAX) throw malformed(`There are more than ${PARAMETERS_MAX} parameters.`)
  return Object.fromEntries(
    entries.flatMap(([key, message]) => {
      const long = message.int64_param ?? message.uint64_param
      const value =
        message.bool_param ??
        message.string_param ??
        message.double_param ??
        (long === undefined ? undefined : Number(long))
      return value === undefined ? [] : [[key, value]]
    }),
  )
}

function fromTensorMessages(
  tensors: readonly TensorMessage[],
  raw: readonly Uint8Array[],
  what: string,
): WireTensor[] {
  tooMany(tensors, `${what}s`)
  unique(tensors, what)
  if (raw.length > 0 && raw.length !== tensors.length)
    throw malformed(`There are ${tensors.length} ${what}s, but ${raw.length} raw contents.`)
  return tensors.map((tensor, index): WireTensor => {
    const label = `the ${what} ${quoted(tensor.name)}`
    textOf(tensor.name, NAME_UNITS_MAX, `name of an ${what}`)
    if (tensor.name === '') throw malformed(`An ${what} has no name.`)
    if (tensor.shape.length > DIMENSIONS_MAX)
      throw malformed(`The shape of ${label} has more than ${DIMENSIONS_MAX} sides.`)
    const datatype = datatypeOf(tensor.datatype, label)
    const shape = tensor.shape.map(Number)
    const bytes = bytesOf(shape, datatype, label)
    const all = fromParametersMessage(tensor.parameters)
    const contents = contentsOf(tensor.contents)
    if (raw.length > 0 && contents)
      throw malformed(`${label} has contents of its own as well as raw contents.`)
    const data = raw.length > 0 ? (raw[index] as Uint8Array) : typedBytes(contents, datatype, bytes, label)
    if (data.length !== bytes)
      throw malformed(
        `${label} has ${data.length} bytes; its shape [${shape.join(', ')}] of ${datatype} has ${bytes}.`,
      )
    return { name: tensor.name, datatype, shape, ...(all && { parameters: all }), data }
  })
}

/** Which list of the contents carries which datatypes. */
const CONTENTS: Partial<Record<Datatype, keyof ContentsMessage>> = {
  BOOL: 'bool_contents',
  INT8: 'int_contents',
  INT16: 'int_contents',
  INT32: 'int_contents',
  INT64: 'int64_contents',
  UINT8: 'uint_contents',
  UINT16: 'uint_contents',
  UINT32: 'uint_contents',
  UINT64: 'uint64_contents',
  FP32: 'fp32_contents',
  FP64: 'fp64_contents',
}

/** With the defaults filled in, contents that are absent are lists that are empty. */
function contentsOf(contents: ContentsMessage | null | undefined): ContentsMessage | undefined {
  if (!contents) return undefined
  return Object.values(contents).some((list) => Array.isArray(list) && list.length > 0) ? contents : undefined
}

function typedBytes(
  contents: ContentsMessage | undefined,
  datatype: Datatype,
  bytes: number,
  label: string,
): Uint8Array {
  const key = CONTENTS[datatype]
  if (key === undefined)
    throw new InferenceFault('unsupported', `${label} is ${datatype}, which needs raw contents.`)
  const list = (contents?.[key] ?? []) as readonly (boolean | number | string)[]
  if (list.length * SIZES[datatype] !== bytes)
    throw malformed(`${label} has ${list.length} values in ${key}; its shape has ${bytes / SIZES[datatype]}.`)
  const values = new ARRAYS[datatype](list.length)
  if (values instanceof BigInt64Array || values instanceof BigUint64Array)
    for (const [at, value] of list.entries()) values[at] = BigInt(value as string | number)
  else {
    const range = RANGES[datatype]
    for (const [at, value] of list.entries()) {
      const number = Number(value)
      if (range && (number < range[0] || number > range[1]))
        throw malformed(`${label} has ${number} in ${key}, which is no ${datatype}.`)
      values[at] = number
    }
  }
  return new Uint8Array(values.buffer)
}

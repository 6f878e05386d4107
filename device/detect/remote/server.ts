import type { Bytes, Signature, Tensor, TensorInfo, Tensors } from '../../../models/runtime.ts'
import { datatypeOf, fromWire, toWire, typeOf } from '../../../models/wire-tensor.ts'
import {
  BINARY_EXTENSION,
  BYTES_EXTENSION,
  type InferResponse,
  isDatatype,
  type ModelMetadata,
  type WireTensor,
} from '../../../wire/inference.ts'
import type { AskedServer } from './pool.ts'
import { type Transport, unavailable, wrong } from './transport.ts'

/** Servers that take binary tensors, and list no extensions at all. */
const BINARY_UNSAID = ['OpenVINO Model Server']

/** One run of a model. */
export interface Ask {
  readonly inputs: Tensors
  /** The inputs are bytes, and stand for float32. */
  readonly bytes: Bytes | undefined
}

/** Whoever knows what the servers are to serve, and what is made of it. */
export interface Expected {
  /** Errors: what is wrong with it; INFERENCE_WRONG where it is another than the other servers'. */
  accept(signature: Signature, server: InferenceServer): void
  /** Errors: Error, where nothing can be made of them. */
  verify(outputs: Tensors, ask: Ask): void
}

interface Known extends Signature {
  readonly binary: boolean
  readonly bytes: boolean
}

/** A server that runs the model. What it answers is checked: another model, shape or type, or another's answer is none. */
export class InferenceServer implements AskedServer<Ask, Tensors>, AsyncDisposable {
  readonly address: string
  readonly #transport: Transport
  readonly #model: string
  readonly #expected: Expected
  /** As it said of itself when it was last ready. */
  #known: Known | undefined
  #asked = 0

  constructor(transport: Transport, model: string, expected: Expected) {
    this.address = transport.address
    this.#transport = transport
    this.#model = model
    this.#expected = expected
  }

  async ready(signal: AbortSignal): Promise<void> {
    const transport = this.#transport
    if (!(await transport.serverReady(signal))) throw unavailable(this.address, 'is not ready.')
    const [server, isThere] = await Promise.all([
      transport.serverMetadata(signal),
      transport.modelReady(this.#model, signal),
    ])
    if (!isThere)
      throw unavailable(
        this.address,
        `has no model ${this.#model}, or it is not ready there. Check "detect.servers.model".`,
      )
    const signature = this.#signatureOf(await transport.modelMetadata(this.#model, signal))
    this.#expected.accept(signature, this)
    this.#known = {
      ...signature,
      binary: server.extensions.includes(BINARY_EXTENSION) || BINARY_UNSAID.includes(server.name),
      bytes: server.extensions.includes(BYTES_EXTENSION),
    }
  }

  #signatureOf({ name, inputs, outputs }: ModelMetadata): Signature {
    if (name !== this.#model)
      throw wrong(this.address, `asked about the model ${this.#model}, it tells of ${JSON.stringify(name)}.`)
    const read = (tensors: ModelMetadata['inputs']): TensorInfo[] =>
      tensors.map(({ name, datatype, shape }) => ({
        name,
        type: isDatatype(datatype) ? typeOf(datatype) : datatype,
        shape: shape.map((side) => (side < 0 ? 'any' : side)),
      }))
    return { inputs: read(inputs), outputs: read(outputs) }
  }

  async ask(ask: Ask, signal: AbortSignal): Promise<Tensors> {
    const known = this.#known
    if (!known) throw unavailable(this.address, 'was not ready yet.')
    this.#asked += 1
    const id = String(this.#asked)
    const response = await this.#transport.infer(
      {
        model: this.#model,
        id,
        inputs: [...ask.inputs].map(([name, tensor]) => sent(name, tensor, ask.bytes, known)),
        outputs: known.outputs.map(({ name }) => ({ name })),
      },
      known.binary,
      signal,
    )
    const outputs = this.#checked(response, id, known)
    try {
      this.#expected.verify(outputs, ask)
    } catch (error) {
      throw wrong(this.address, `${error instanceof Error ? error.message : String(error)}.`, error)
    }
    return outputs
  }

  #checked({ model, id: answered, outputs }: InferResponse, id: string, known: Known): Tensors {
    if (model !== this.#model)
      throw wrong(
        this.address,
        `it is of the model ${JSON.stringify(model.slice(0, 100))}, not ${this.#model}.`,
      )
    if (answered !== undefined && answered !== id)
      throw wrong(this.address, 'it is the answer to another request.')
    return new Map(
      known.outputs.map((info) => {
        const found = outputs.find(({ name }) => name === info.name)
        if (!found) throw wrong(this.address, `the output ${info.name} is missing.`)
        if (datatypeOf(info.type) !== found.datatype)
          throw wrong(this.address, `the output ${info.name} is ${found.datatype}, not ${info.type}.`)
        if (!fits(found.shape, info.shape))
          throw wrong(
            this.address,
            `the output ${info.name} is [${found.shape.join(' x ')}], not [${info.shape.join(' x ')}].`,
          )
        const tensor = fromWire(found)
        if (tensor.type === 'float32' && !tensor.data.every(Number.isFinite))
          throw wrong(this.address, `the output ${info.name} has a number that is none (NaN or infinite).`)
        return [info.name, tensor]
      }),
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#transport[Symbol.asyncDispose]()
  }
}

const fits = (shape: readonly number[], wanted: TensorInfo['shape']) =>
  shape.length === wanted.length &&
  wanted.every((side, axis) => typeof side === 'string' || side === shape[axis])

/** Bytes as they are where the server takes them, floats else. */
function sent(name: string, tensor: Tensor, bytes: Bytes | undefined, known: Known): WireTensor {
  if (bytes === undefined || tensor.type !== 'uint8') return toWire(name, tensor)
  const { scale, offset } = bytes
  if (known.bytes && known.binary) return { ...toWire(name, tensor), parameters: { scale, offset } }
  const values = Float32Array.from({ length: 256 }, (_, byte) => byte * scale + offset)
  const data = new Float32Array(tensor.data.length)
  for (let at = 0; at < data.length; at += 1) data[at] = values[tensor.data[at] as number] as number
  return toWire(name, { type: 'float32', shape: tensor.shape, data })
}

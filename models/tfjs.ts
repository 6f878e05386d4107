import { readFile, stat } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { basename, dirname, join, sep } from 'node:path'
import { z } from 'zod'
import { asFailure, failure, systemCode } from '../lib/errors.ts'
import { MODEL_BYTES_MAX, MODEL_JSON_BYTES_MAX } from './limits.ts'
import type { Runtime, Tensor, TensorInfo, Tensors } from './runtime.ts'

/**
 * TensorFlow.js: graph models, a JSON file with the network and the files of weights beside it. On TensorFlow's own
 * library where one of its packages is installed (they do not install everywhere, so Sightline does not bring
 * them), otherwise on WebAssembly, in one thread: TensorFlow.js knows no more of it outside of browsers.
 */
const NATIVE_PACKAGES = ['@tensorflow/tfjs-node-gpu', '@tensorflow/tfjs-node'] as const
/** For a model whose sides are free: what its outputs look like is learnt from a picture of this side, pixels. */
const TRIAL_SIDE = 256

type Values = Float32Array | Int32Array | Uint8Array
interface TfTensor {
  readonly shape: readonly number[]
  readonly dtype: string
  data(): Promise<Values>
  dispose(): void
}
interface GraphModel {
  readonly inputs: readonly {
    readonly name: string
    readonly shape?: readonly number[]
    readonly dtype: string
  }[]
  readonly outputs: readonly { readonly name: string }[]
  execute(inputs: Record<string, TfTensor>, outputs: string[]): TfTensor | TfTensor[]
  dispose(): void
}
/** What is used of TensorFlow.js, whichever package it comes from. */
interface TensorFlow {
  readonly description: string
  tensor(values: Float32Array, shape: number[]): TfTensor
  loadGraphModel(source: { load(): Promise<unknown> }): Promise<GraphModel>
}

const modelSchema = z.object({
  format: z.literal('graph-model').optional(),
  modelTopology: z.looseObject({ node: z.array(z.unknown()) }),
  weightsManifest: z.array(z.object({ paths: z.array(z.string()), weights: z.array(z.unknown()) })),
  signature: z.unknown().optional(),
  userDefinedMetadata: z.looseObject({ signature: z.unknown().optional() }).optional(),
})

/**
 * Opens the graph model whose JSON file this is. `nativePackages` are tried first, in their order.
 * Errors: MODEL_NOT_FOUND, MODEL_UNUSABLE.
 */
export async function openTfjs(
  file: string,
  nativePackages: readonly string[] = NATIVE_PACKAGES,
): Promise<Runtime> {
  const description = await readDescription(file)
  const weights = await readWeights(
    file,
    description.weightsManifest.flatMap(({ paths }) => paths),
  )
  const tf = await loadTensorFlow(nativePackages)
  let model: GraphModel | undefined
  try {
    model = await tf.loadGraphModel({
      load: async () => ({
        modelTopology: description.modelTopology,
        signature: description.signature ?? description.userDefinedMetadata?.signature,
        weightSpecs: description.weightsManifest.flatMap((group) => group.weights),
        weightData: new Uint8Array(weights).buffer,
      }),
    })
    return await TfjsRuntime.open(tf, model)
  } catch (error) {
    model?.dispose()
    const why = error instanceof Error ? error.message : String(error)
    throw failure('MODEL_UNUSABLE', `TensorFlow.js cannot run the model ${file} (${why}).`, error)
  }
}

class TfjsRuntime implements Runtime {
  readonly description: string
  readonly inputs: readonly TensorInfo[]
  outputs: readonly TensorInfo[] = []
  readonly #tf: TensorFlow
  readonly #model: GraphModel
  readonly #outputNames: readonly string[]

  private constructor(tf: TensorFlow, model: GraphModel) {
    this.description = tf.description
    this.#tf = tf
    this.#model = model
    this.#outputNames = model.outputs.map(({ name }) => name)
    this.inputs = model.inputs.map(({ name, shape, dtype }) => ({
      name,
      type: dtype,
      shape: (shape ?? []).map((side, axis) => (side > 0 ? side : `free_${axis}`)),
    }))
  }

  /** Runs it once: that compiles it, and its outputs' shapes are rarely written down. */
  static async open(tf: TensorFlow, model: GraphModel): Promise<TfjsRuntime> {
    const runtime = new TfjsRuntime(tf, model)
    const [input] = runtime.inputs
    if (input === undefined || input.type !== 'float32' || input.shape.length !== 4) return runtime
    const shape = input.shape.map((side, axis) =>
      typeof side === 'number' ? side : axis === 0 ? 1 : TRIAL_SIDE,
    )
    const results = runtime.#execute(new Float32Array(shape.reduce((a, b) => a * b, 1)), shape)
    const free = input.shape.some((side, axis) => axis > 0 && typeof side !== 'number')
    runtime.outputs = results.map(({ shape, dtype }, index) => ({
      name: runtime.#outputNames[index] as string,
      type: dtype,
      shape: shape.map((side, axis) => (free && axis > 0 && axis < shape.length - 1 ? `free_${axis}` : side)),
    }))
    for (const result of results) result.dispose()
    return runtime
  }

  async run(inputs: Tensors): Promise<Tensors> {
    const input = inputs.get(this.inputs[0]?.name ?? '')
    if (input?.type !== 'float32') throw new Error('its input must be float32')
    const results = this.#execute(input.data, input.shape)
    try {
      const arrays = await Promise.all(results.map((result) => result.data()))
      return new Map(
        results.map((result, index) => [
          this.#outputNames[index] as string,
          tensorOf(result, arrays[index] as Values),
        ]),
      )
    } finally {
      for (const result of results) result.dispose()
    }
  }

  #execute(input: Float32Array, shape: readonly number[]): TfTensor[] {
    const tensor = this.#tf.tensor(input, [...shape])
    try {
      const [{ name } = { name: '' }] = this.#model.inputs
      const results = this.#model.execute({ [name]: tensor }, [...this.#outputNames])
      return Array.isArray(results) ? results : [results]
    } finally {
      tensor.dispose()
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#model.dispose()
  }
}

/** TensorFlow.js knows these types, and strings and complex numbers, of which no model here has any. */
function tensorOf({ shape, dtype }: TfTensor, data: Values): Tensor {
  if (data instanceof Float32Array) return { type: 'float32', shape: [...shape], data }
  if (data instanceof Int32Array) return { type: 'int32', shape: [...shape], data }
  if (dtype === 'bool') return { type: 'bool', shape: [...shape], data }
  throw new Error(`an output is ${dtype}, which is not supported`)
}

async function readDescription(file: string): Promise<z.infer<typeof modelSchema>> {
  try {
    if ((await stat(file)).size > MODEL_JSON_BYTES_MAX)
      throw new Error(`it has more than ${MODEL_JSON_BYTES_MAX} bytes`)
    return modelSchema.parse(JSON.parse(await readFile(file, 'utf8')))
  } catch (error) {
    if (systemCode(error) === 'ENOENT')
      throw failure('MODEL_NOT_FOUND', `The model ${file} does not exist. Check its path.`, error)
    throw failure(
      'MODEL_UNUSABLE',
      `${file} is not a TensorFlow.js graph model. Give the path of a model.json that tensorflowjs_converter wrote, its weights beside it.`,
      error,
    )
  }
}

/** The weights' bytes, all together. They lie beside the description, and nowhere else. */
async function readWeights(file: string, paths: readonly string[]): Promise<Buffer> {
  let bytes = 0
  const parts: Buffer[] = []
  for (const path of paths) {
    if (path !== basename(path) || path.includes(sep) || path === '..')
      throw failure('MODEL_UNUSABLE', `${file} looks for its weights in "${path}"; they must lie beside it.`)
    const part = join(dirname(file), path)
    try {
      bytes += (await stat(part)).size
      if (bytes > MODEL_BYTES_MAX)
        throw failure('MODEL_UNUSABLE', `The weights of ${file} have more than ${MODEL_BYTES_MAX} bytes.`)
      parts.push(await readFile(part))
    } catch (error) {
      if (systemCode(error) === undefined) throw error
      throw failure(
        'MODEL_NOT_FOUND',
        `The weights ${part} of the model ${file} cannot be read. Put them beside it.`,
        error,
      )
    }
  }
  return Buffer.concat(parts)
}

/** One of TensorFlow's own packages, or WebAssembly. A package that is installed and does not load is told of. */
async function loadTensorFlow(nativePackages: readonly string[]): Promise<TensorFlow> {
  const broken: string[] = []
  for (const name of nativePackages) {
    try {
      const tf = (await import(name)) as Omit<TensorFlow, 'description'> & {
        version?: { 'tfjs-core'?: string }
        getBackend(): string
        ready(): Promise<void>
      }
      await tf.ready()
      const description = `TensorFlow.js ${tf.version?.['tfjs-core'] ?? ''}, ${name} (${tf.getBackend()})`
      return { description, tensor: tf.tensor, loadGraphModel: tf.loadGraphModel }
    } catch (error) {
      // That it is not installed is the rule.
      if (systemCode(error) === 'ERR_MODULE_NOT_FOUND' && asFailure(error).message.includes(name)) continue
      broken.push(name)
    }
  }
  const tf = await loadWasm()
  const told = broken.map((name) => `; ${name} is installed but does not load`).join('')
  return { ...tf, description: `${tf.description}${told}` }
}

async function loadWasm(): Promise<TensorFlow> {
  try {
    const [core, converter, wasm] = await Promise.all([
      import('@tensorflow/tfjs-core'),
      import('@tensorflow/tfjs-converter'),
      import('@tensorflow/tfjs-backend-wasm'),
    ])
    const binary = createRequire(import.meta.url).resolve('@tensorflow/tfjs-backend-wasm')
    wasm.setWasmPaths(`${dirname(binary)}${sep}`)
    if (!(await core.setBackend('wasm'))) throw new Error('its WebAssembly does not start')
    await core.ready()
    const simd = await core.env().getAsync('WASM_HAS_SIMD_SUPPORT')
    return {
      description: `TensorFlow.js ${core.version_core}, WebAssembly${simd ? ' with SIMD' : ''}, 1 thread`,
      tensor: (values, shape) => core.tensor(values, shape),
      loadGraphModel: (source) => converter.loadGraphModel(source as never) as unknown as Promise<GraphModel>,
    }
  } catch (error) {
    throw failure(
      'MODEL_UNUSABLE',
      'TensorFlow.js does not load on this machine. Run "npm install" again, or use an ONNX model.',
      error,
    )
  }
}

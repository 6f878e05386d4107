import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { failure } from '../lib/errors.ts'
import { serveThread, Thread } from '../lib/thread.ts'
import { choose, type Measured, THREADS_DEFAULT } from '../models/choose.ts'
import { type Located, type LocateOptions, locate } from '../models/locate.ts'
import { openOnnx, type ProviderName } from '../models/onnx.ts'
import type { Runtime, Tensor, TensorInfo, Tensors } from '../models/runtime.ts'
import { openTfjs } from '../models/tfjs.ts'
import { fromWire, toWire } from '../models/wire-tensor.ts'
import { countOf, type WireTensor } from '../wire/inference.ts'
import { OPEN_MS_MAX, ROW_DIFFERENCE_MAX, TRIAL_SIDE } from './limits.ts'

/** A model in a thread of its own: ONNX Runtime holds the thread that calls it for the whole inference. */
const ROLE = 'sightline model'

export interface ModelOptions extends LocateOptions {
  readonly provider: ProviderName | 'auto'
  readonly threads: number | 'auto'
}

/** What a model is, once it is open. */
export interface ModelOpened {
  readonly name: string
  /** The first 12 digits of its file's SHA-256. */
  readonly version: string
  readonly platform: string
  /** For people: runtime, provider, threads. */
  readonly description: string
  readonly inputs: readonly TensorInfo[]
  readonly outputs: readonly TensorInfo[]
  /** Whether rows run together, and each gets what it would get alone: tried, not believed. */
  readonly batches: boolean
  readonly provider: ProviderName | 'auto'
  readonly threads: number | 'auto'
  readonly measured?: Measured
}

/** Requests that run together; their tensors differ in the first side only. */
export interface Batch {
  readonly requests: readonly (readonly WireTensor[])[]
}
export interface BatchOutputs {
  readonly outputs: readonly WireTensor[]
  /** Of the inference alone. */
  readonly ms: number
}

/** Errors: those of locate, openOnnx, openTfjs and choose; MODEL_UNUSABLE where it does not run. */
export async function openModelThread(options: ModelOptions): Promise<Thread> {
  return await Thread.open({
    ...{ url: import.meta.url, role: ROLE, data: options },
    ...{ openMsMax: OPEN_MS_MAX, isUncut: true },
  })
}

async function versionOf(model: Located): Promise<string> {
  const bytes = model.bytes ?? (await readFile(model.tfjsFile as string))
  return createHash('sha256').update(bytes).digest('hex').slice(0, 12)
}

async function openRuntime(
  model: Located,
  { provider, threads, modelFolder }: ModelOptions,
): Promise<Pick<ModelOpened, 'provider' | 'threads' | 'measured'> & { readonly runtime: Runtime }> {
  const { bytes } = model
  if (!bytes) {
    if (provider !== 'auto' && provider !== 'cpu')
      throw failure(
        'PROVIDER_UNAVAILABLE',
        `The provider ${provider} belongs to ONNX Runtime, but ${model.label} runs on TensorFlow.js, which chooses its own. Set "provider" to auto.`,
      )
    return { runtime: await openTfjs(model.tfjsFile as string), provider, threads }
  }
  const first = await openOnnx(bytes, model.label, threads === 'auto' ? THREADS_DEFAULT : threads)
  const [input, ...others] = first.inputs
  if (provider === 'cpu' && threads !== 'auto') return { runtime: first, provider, threads }
  if (!input || others.length > 0 || input.type !== 'float32') {
    // Nothing can be measured; what was named is taken.
    if (provider === 'auto' || provider === 'cpu')
      return { runtime: first, provider: 'cpu', threads: threads === 'auto' ? THREADS_DEFAULT : threads }
    await first[Symbol.asyncDispose]()
    const count = threads === 'auto' ? THREADS_DEFAULT : threads
    return { runtime: await openOnnx(bytes, model.label, count, provider), provider, threads: count }
  }
  await first[Symbol.asyncDispose]()
  const subject = { bytes, name: model.label, shape: trialShape(input, model, 1) }
  const choice = await choose({ provider, threads }, subject, modelFolder)
  const runtime = await openOnnx(bytes, model.label, choice.threads, choice.provider)
  return { runtime, provider: choice.provider, threads: choice.threads, measured: choice.measured }
}

/** Sides that are free: as many rows as wanted, then those of a picture. */
function trialShape({ shape }: TensorInfo, { inputSize }: Located, rows: number): number[] {
  const isNchw = shape.length === 4 && shape[1] === 3
  const heightAxis = isNchw ? 2 : 1
  return shape.map((side, axis) => {
    if (typeof side === 'number') return side
    if (axis === 0) return rows
    if (shape.length === 4 && axis === heightAxis) return inputSize?.height ?? TRIAL_SIDE
    if (shape.length === 4 && axis === heightAxis + 1) return inputSize?.width ?? TRIAL_SIDE
    return 1
  })
}

/** No zeros, and no two rows alike. */
function trialTensor(info: TensorInfo, shape: readonly number[]): Tensor {
  const count = countOf(shape)
  if (info.type !== 'float32') return { type: 'uint8', shape, data: new Uint8Array(count) }
  return {
    type: 'float32',
    shape,
    data: Float32Array.from({ length: count }, (_, at) => ((at * 37) % 1009) / 1009),
  }
}

/** Runs it once: a model may look right and still not run. Errors: MODEL_UNUSABLE. */
async function tryOut(runtime: Runtime, model: Located): Promise<void> {
  if (runtime.inputs.some(({ type }) => type !== 'float32')) return
  const inputs = new Map(
    runtime.inputs.map((info) => [info.name, trialTensor(info, trialShape(info, model, 1))]),
  )
  try {
    await runtime.run(inputs)
  } catch (error) {
    throw failure(
      'MODEL_UNUSABLE',
      `${model.label} does not run (${error instanceof Error ? error.message : String(error)}). Use another model.`,
      error,
    )
  }
}

/** Whether two rows together give what each gives alone. A model that says so may still mix them. */
async function batchesRight(runtime: Runtime, model: Located): Promise<boolean> {
  const isFree = ({ shape }: TensorInfo) => typeof shape[0] === 'string'
  if (!runtime.inputs.every((info) => isFree(info) && info.type === 'float32')) return false
  if (!runtime.outputs.every(isFree)) return false
  const two = runtime.inputs.map((info) => ({ info, tensor: trialTensor(info, trialShape(info, model, 2)) }))
  const alone = (row: number): Tensors =>
    new Map(
      two.map(({ info, tensor }) => {
        const shape = [1, ...tensor.shape.slice(1)]
        const length = countOf(shape)
        const data = (tensor.data as Float32Array).slice(row * length, (row + 1) * length)
        return [info.name, { type: 'float32', shape, data }]
      }),
    )
  try {
    const together = await runtime.run(new Map(two.map(({ info, tensor }) => [info.name, tensor])))
    for (const row of [0, 1]) {
      for (const [name, single] of await runtime.run(alone(row))) {
        const both = together.get(name)
        if (both?.shape[0] !== 2 || single.shape[0] !== 1 || both.data.length !== 2 * single.data.length)
          return false
        for (let at = 0; at < single.data.length; at += 1) {
          const expected = Number(single.data[at])
          const difference = Math.abs(Number(both.data[row * single.data.length + at]) - expected)
          if (!(difference <= ROW_DIFFERENCE_MAX * (1 + Math.abs(expected)))) return false
        }
      }
    }
    return true
  } catch {
    return false
  }
}

/** One tensor of all rows. A single request's is taken as it is. */
function together(tensors: readonly WireTensor[], { type }: TensorInfo): Tensor {
  const [first] = tensors
  if (!first) throw new TypeError('a batch of nothing')
  const isBytes = first.datatype === 'UINT8' && type === 'float32'
  const hasOthers = tensors.some((it) => it.datatype !== first.datatype)
  if (tensors.length === 1 && !isBytes) return fromWire(first)
  const counts = tensors.map(({ shape }) => countOf(shape))
  const count = counts.reduce((sum, it) => sum + it, 0)
  const rows = tensors.reduce((sum, { shape }) => sum + (shape[0] ?? 1), 0)
  const shape = tensors.length === 1 ? first.shape : [rows, ...first.shape.slice(1)]
  if (isBytes || hasOthers) {
    const data = new Float32Array(count)
    let at = 0
    for (const [index, tensor] of tensors.entries()) {
      const length = counts[index] as number
      putFloats(data.subarray(at, at + length), tensor)
      at += length
    }
    return { type: 'float32', shape, data }
  }
  const size = first.data.length / Math.max(1, counts[0] as number)
  const data = new Uint8Array(count * size)
  let at = 0
  for (const tensor of tensors) {
    data.set(tensor.data, at)
    at += tensor.data.length
  }
  return fromWire({ datatype: first.datatype, shape, data })
}

/** Floats as they are; bytes by their scale and offset. */
function putFloats(floats: Float32Array, tensor: WireTensor): void {
  if (tensor.datatype !== 'UINT8') {
    floats.set(fromWire(tensor).data as Float32Array)
    return
  }
  floats.set(tensor.data) // the platform's own, several values at a time
  const scale = Number(tensor.parameters?.scale ?? 1)
  const offset = Number(tensor.parameters?.offset ?? 0)
  if (scale === 1 && offset === 0) return
  for (let at = 0; at < floats.length; at += 1) floats[at] = (floats[at] as number) * scale + offset
}

await serveThread(ROLE, async (options: ModelOptions) => {
  const model = await locate(options)
  const { runtime, ...chosen } = await openRuntime(model, options)
  let batches: boolean
  try {
    await tryOut(runtime, model)
    batches = await batchesRight(runtime, model)
  } catch (error) {
    await runtime[Symbol.asyncDispose]()
    throw error
  }
  const opened: ModelOpened = {
    name: model.name,
    version: await versionOf(model),
    platform: model.bytes ? 'onnx_onnxv1' : 'tensorflowjs_graphmodel',
    description: runtime.description,
    inputs: runtime.inputs,
    outputs: runtime.outputs,
    batches,
    ...chosen,
  }
  const run = async ({ requests }: Batch) => {
    const inputs = new Map(
      runtime.inputs.map((info) => [
        info.name,
        together(
          requests.map((request) => request.find(({ name }) => name === info.name) as WireTensor),
          info,
        ),
      ]),
    )
    const startMs = performance.now()
    const outputs = await runtime.run(inputs)
    return {
      outputs: [...outputs].map(([name, tensor]) => toWire(name, tensor)),
      ms: performance.now() - startMs,
    }
  }
  return {
    opened,
    call: async (batch) => {
      const value: BatchOutputs = await run(batch as Batch)
      return { value, transfer: [...new Set(value.outputs.map(({ data }) => data.buffer as ArrayBuffer))] }
    },
    close: async () => await runtime[Symbol.asyncDispose](),
  }
})

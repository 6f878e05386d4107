import { failure } from '../../lib/errors.ts'
import type { Signature, TensorInfo } from './head.ts'

/** A network that can be run: bytes of numbers in, bytes of numbers out. */
export interface Runtime extends Signature, AsyncDisposable {
  /** For people: "ONNX Runtime 1.30.0, CPU, 2 threads". */
  readonly description: string
  /** One input tensor, float32; the outputs by name. The input may be reused once this has resolved. */
  run(input: Float32Array, shape: readonly number[]): Promise<ReadonlyMap<string, Float32Array>>
}

/** ONNX Runtime's severities: 3 is errors. What it warns about (unused initialisers) nobody can act on. */
const LOG_SEVERITY = 3

/**
 * Threads that wait for work by spinning burn a core between frames (YuNet at 320x192 with 2 threads, a frame each
 * 30 ms: 31 ms of CPU time a frame; sleeping: 5 ms).
 */
const THREADS_SLEEP = { session: { intra_op: { allow_spinning: '0' } } }

/**
 * An ONNX model on ONNX Runtime's CPU provider, all graph optimisations on. `name` is for errors.
 * Errors: MODEL_UNUSABLE.
 */
export async function openOnnx(model: Uint8Array, name: string, threads: number): Promise<Runtime> {
  const ort = await import('onnxruntime-node').catch((error: unknown) => {
    throw failure(
      'MODEL_UNUSABLE',
      `ONNX Runtime does not load on this machine (${process.platform}, ${process.arch}). Run "npm install" again; see its requirements at https://onnxruntime.ai.`,
      error,
    )
  })
  const session = await ort.InferenceSession.create(model, {
    executionProviders: ['cpu'],
    executionMode: 'sequential',
    graphOptimizationLevel: 'all',
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    extra: THREADS_SLEEP,
    logSeverityLevel: LOG_SEVERITY,
  }).catch((error: unknown) => {
    throw failure(
      'MODEL_UNUSABLE',
      `${name} is not a model that ONNX Runtime can load. Give the path of an ONNX file, or "blazeface" for the model that comes with Sightline.`,
      error,
    )
  })
  const [inputName = ''] = session.inputNames
  return {
    description: `ONNX Runtime ${ort.env.versions.node ?? ort.env.versions.common}, CPU, ${threads} ${threads === 1 ? 'thread' : 'threads'}`,
    inputs: tensors(session.inputMetadata),
    outputs: tensors(session.outputMetadata),
    async run(input, shape) {
      const results = await session.run({ [inputName]: new ort.Tensor('float32', input, shape) })
      return new Map(Object.entries(results).map(([key, tensor]) => [key, tensor.data as Float32Array]))
    },
    [Symbol.asyncDispose]: () => session.release(),
  }
}

function tensors(
  metadata: readonly {
    readonly name: string
    readonly isTensor: boolean
    readonly type?: string
    readonly shape?: readonly (number | string)[]
  }[],
): TensorInfo[] {
  return metadata.map(({ name, type, shape }) => ({ name, type: type ?? 'none', shape: shape ?? [] }))
}

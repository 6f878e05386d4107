import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { failure } from '../lib/errors.ts'
import type { Runtime, Tensor, TensorInfo } from './runtime.ts'

/** ONNX Runtime's execution providers that are tried here, by the names of the configuration. */
export const PROVIDERS = ['cpu', 'cuda', 'tensorrt', 'coreml', 'directml'] as const
export type ProviderName = (typeof PROVIDERS)[number]

const PROVIDERS_FOR_PEOPLE = {
  cpu: 'CPU',
  cuda: 'CUDA',
  tensorrt: 'TensorRT',
  coreml: 'CoreML',
  directml: 'DirectML',
} as const satisfies Record<ProviderName, string>

/** What ONNX Runtime for Node calls them, where it differs. */
const nameForRuntime = (provider: ProviderName) => (provider === 'directml' ? 'dml' : provider)

/** ONNX Runtime's severities: 3 is errors. What it warns about (unused initialisers) nobody can act on. */
const LOG_SEVERITY = 3

/**
 * Threads that wait for work by spinning burn a core between frames (YuNet at 320x192 with 2 threads, a frame each
 * 30 ms: 31 ms of CPU time a frame; sleeping: 5 ms).
 */
const THREADS_SLEEP = { intra_op: { allow_spinning: '0' } }

/**
 * Where a model's weights are looked for that lie in files of their own: below a file, where nothing can be. Models are bytes here,
 * and ONNX Runtime would read such files from the working directory: a model that came from elsewhere would have the device's own
 * files for weights, and give them as its answer.
 */
const NO_FILES = { model_external_initializers_file_folder_path: join(process.execPath, 'none') }

/**
 * An ONNX model on ONNX Runtime, all graph optimisations on. `name` is for errors.
 * Errors: MODEL_UNUSABLE; PROVIDER_UNAVAILABLE where a provider other than the CPU does not load.
 */
export async function openOnnx(
  model: Uint8Array,
  name: string,
  threads: number,
  provider: ProviderName = 'cpu',
): Promise<Runtime> {
  const ort = await loadRuntime()
  const missing = (await listProviders()).find((it) => it.provider === provider)?.missing
  if (missing !== undefined) throw failure('PROVIDER_UNAVAILABLE', missing)
  const session = await ort.InferenceSession.create(model, {
    executionProviders: [nameForRuntime(provider)],
    executionMode: 'sequential',
    graphOptimizationLevel: 'all',
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    extra: { session: { ...THREADS_SLEEP, ...NO_FILES } },
    logSeverityLevel: LOG_SEVERITY,
  }).catch((error: unknown) => {
    if (provider !== 'cpu')
      throw failure('PROVIDER_UNAVAILABLE', error instanceof Error ? error.message : String(error), error)
    if (error instanceof Error && /external data/i.test(error.message))
      throw failure(
        'MODEL_UNUSABLE',
        `${name} has weights in files of its own, which are not read. Save it as one file (onnx.save with save_as_external_data=False).`,
        error,
      )
    throw failure(
      'MODEL_UNUSABLE',
      `${name} is not a model that ONNX Runtime can load. Give the path of an ONNX file, or "blazeface" for the model that comes with Sightline.`,
      error,
    )
  })
  return {
    description: `ONNX Runtime ${ort.env.versions.node ?? ort.env.versions.common}, ${PROVIDERS_FOR_PEOPLE[provider]}, ${threads} ${threads === 1 ? 'thread' : 'threads'}`,
    inputs: tensors(session.inputMetadata),
    outputs: tensors(session.outputMetadata),
    async run(inputs) {
      const feeds = [...inputs].map(([key, { type, data, shape }]) => [
        key,
        new ort.Tensor(type as 'float32', data as Float32Array, shape),
      ])
      const results = await session.run(Object.fromEntries(feeds))
      return new Map(
        Object.entries(results).map(([key, { type, data, dims }]) => [
          key,
          { type, shape: dims, data } as Tensor,
        ]),
      )
    },
    [Symbol.asyncDispose]: () => session.release(),
  }
}

async function loadRuntime() {
  return await import('onnxruntime-node').catch((error: unknown) => {
    throw failure(
      'MODEL_UNUSABLE',
      `ONNX Runtime does not load on this machine (${process.platform}, ${process.arch}). Run "npm install" again; see its requirements at https://onnxruntime.ai.`,
      error,
    )
  })
}

/** ONNX Runtime's version. Errors: MODEL_UNUSABLE. */
export async function onnxVersion(): Promise<string> {
  const { env } = await loadRuntime()
  return env.versions.node ?? env.versions.common
}

/**
 * Every provider that this build of ONNX Runtime has for this platform, the CPU first; `missing` says why one cannot
 * load without trying: ONNX Runtime writes to stderr when it misses a library.
 */
export async function listProviders(): Promise<{ provider: ProviderName; missing: string | undefined }[]> {
  const ort = await loadRuntime()
  const built = ort.listSupportedBackends().map(({ name }) => name)
  return PROVIDERS.map((provider) => ({
    provider,
    missing: built.includes(nameForRuntime(provider))
      ? missingLibrary(provider)
      : `this build of ONNX Runtime (${process.platform}, ${process.arch}) does not include it`,
  }))
}

/** CUDA and TensorRT are libraries of their own beside ONNX Runtime's, which npm does not bring. */
function missingLibrary(provider: ProviderName): string | undefined {
  if (provider !== 'cuda' && provider !== 'tensorrt') return undefined
  const prefix = process.platform === 'win32' ? '' : 'lib'
  const suffix = process.platform === 'win32' ? '.dll' : '.so'
  const root = dirname(createRequire(import.meta.url).resolve('onnxruntime-node/package.json'))
  const folder = join(root, 'bin', 'napi-v6', process.platform, process.arch)
  const library = ['shared', provider]
    .map((part) => `${prefix}onnxruntime_providers_${part}${suffix}`)
    .find((name) => existsSync(folder) && !existsSync(join(folder, name)))
  return (
    library &&
    `${library} not found beside ONNX Runtime; npm does not bring it (docs/inference.md says how to get it)`
  )
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

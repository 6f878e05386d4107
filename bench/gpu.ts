import { type ChildProcess, execFile, fork } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { availableParallelism, cpus } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { ENVIRONMENT } from '../bin/runtime.js'
import { table } from '../lib/table.ts'
import { readCatalog } from '../models/catalog.ts'
import { THREADS_DEFAULT } from '../models/choose.ts'
import { listProviders, onnxVersion, type ProviderName } from '../models/onnx.ts'
import { sharedData } from '../test/kit/data.ts'
import { type Job, type Measured, WAYS, type Way } from './gpu-work.ts'

/**
 * What a GPU is worth: the networks of the catalogue on each provider and in batches, decoding on the GPU, and both in a
 * pipeline. One run of less than six minutes gives every figure, as a table and, with `--keep FILE`, as JSON. What cannot run here
 * is a row that says why, and the exit status is 0.
 *
 *     SIGHTLINE_TEST_DATA=FOLDER npm run bench -- gpu --keep gpu.json
 *
 * CUDA and TensorRT are libraries that npm does not bring: docs/inference.md#the-gpus-libraries.
 *
 * A machine without a network, for a while (x86-64 Linux): `bench/gpu-pack.ts` packs here what the benchmark needs beside a checkout, and
 * says how to run it there.
 */
/** Of everything, ms: a machine is lent for minutes. What is not begun by then is a row that says so. */
const TOTAL_MS_MAX = 330_000
/** Of one row; building an engine takes TensorRT a minute on a small GPU. */
const ROW_MS_MAX = 30_000
const ROW_MS_MAX_TENSORRT = 90_000
const BATCHES = [1, 2, 4, 8, 16]
const PROVIDERS: readonly ProviderName[] = ['cpu', 'cuda', 'tensorrt']
const CLIP = 'video/facenet-pytorch-video.mp4'
/** What the pipeline looks with, the first that is there. */
const LOOKS_WITH = ['yunet-n-320', 'blazeface'] as const

const SAID: Readonly<Record<Way, string>> = {
  cpu: 'CPU, a thread a core',
  cuvid: 'GPU, h264_cuvid',
  cuda: 'GPU, hwaccel cuda, copied back',
  'cuda-kept': 'GPU, hwaccel cuda, left there',
}

export type Outcome =
  | { readonly measured: Measured; readonly why?: undefined }
  | { readonly measured?: undefined; readonly why: string }
export type Row<Of extends Job['do']> = Omit<Job & { readonly do: Of }, 'do' | 'folder' | 'clip'> & Outcome

export interface GpuResult {
  readonly machine: Readonly<Record<string, string>>
  readonly providers: readonly { readonly provider: string; readonly missing: string | undefined }[]
  readonly decode: readonly Row<'decode'>[]
  readonly pipeline: readonly Row<'pipeline'>[]
  readonly model: readonly Row<'model'>[]
  readonly seconds: number
}

export async function benchGpu(): Promise<GpuResult> {
  const startMs = performance.now()
  const endMs = startMs + TOTAL_MS_MAX
  const providers = (await listProviders()).filter(({ provider }) => PROVIDERS.includes(provider))
  const missing = new Map(providers.map(({ provider, missing }) => [provider, missing]))
  await using worker = new Worker(endMs)
  const folder = sharedData('models')
  const clip = sharedData(CLIP)
  const noClip = { why: `no test clip: set SIGHTLINE_TEST_DATA to the folder that holds ${CLIP}` }

  const decode: Row<'decode'>[] = []
  const run = async (job: Job): Promise<Outcome> => {
    const without = 'provider' in job ? missing.get(job.provider) : undefined
    return without === undefined ? await worker.run(job) : { why: without }
  }
  for (const way of WAYS)
    decode.push({ way, ...(clip === undefined ? noClip : await run({ do: 'decode', way, clip })) })

  const pipeline: Row<'pipeline'>[] = []
  const { entries } = readCatalog(join(folder ?? '.', 'no-catalog-of-its-own'))
  const model = LOOKS_WITH.find((it) => folder !== undefined || entries.get(it)?.file === undefined)
  // What is left on the GPU cannot be scaled by the CPU.
  for (const provider of PROVIDERS)
    for (const way of WAYS.filter((it) => it !== 'cuda-kept')) {
      const job = { model: model ?? 'blazeface', way, provider, threads: THREADS_DEFAULT }
      const failed = decode.find((it) => it.way === way)?.why
      const outcome =
        clip === undefined
          ? noClip
          : missing.get(provider) === undefined && failed !== undefined
            ? { why: `decoding: ${failed}` }
            : await run({ do: 'pipeline', ...job, clip, folder })
      pipeline.push({ ...job, ...outcome })
    }

  const models: Row<'model'>[] = []
  for (const provider of PROVIDERS)
    for (const threads of provider === 'cpu' ? threadCounts() : [THREADS_DEFAULT])
      for (const { name, file } of entries.values())
        for (const batch of BATCHES) {
          const job = { model: name, provider, threads, batch }
          const absent = file !== undefined && sharedData(join('models', file)) === undefined
          const outcome = absent
            ? { why: `not here: SIGHTLINE_TEST_DATA/models/${file}` }
            : await run({ do: 'model', ...job, folder })
          models.push({ ...job, ...outcome })
          // All of a kind: it would be said five times.
          if (outcome.measured?.batchFree !== true) break
        }
  return {
    machine: await machine(),
    providers,
    decode,
    pipeline,
    model: models,
    seconds: (performance.now() - startMs) / 1000,
  }
}

/** As by default, and all cores: what the CPU can give at most. */
const threadCounts = () => [...new Set([THREADS_DEFAULT, availableParallelism()])]

/** A process that measures a row at a time; one that ends or hangs is a row, and another one takes over. */
class Worker implements AsyncDisposable {
  readonly #endMs: number
  #process: ChildProcess | undefined

  constructor(endMs: number) {
    this.#endMs = endMs
  }

  async run(job: Job): Promise<Outcome> {
    const leftMs = this.#endMs - performance.now()
    if (leftMs <= 0) return { why: `not measured: the ${TOTAL_MS_MAX / 1000} s were over` }
    const isSlow = 'provider' in job && job.provider === 'tensorrt'
    const limitMs = Math.min(leftMs, isSlow ? ROW_MS_MAX_TENSORRT : ROW_MS_MAX)
    this.#process ??= fork(join(import.meta.dirname, 'gpu-work.ts'), {
      env: { ...process.env, ...ENVIRONMENT },
      // What libraries write there is said by the row too, in a sentence.
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    })
    const child = this.#process
    using answered = new Answered()
    const { signal } = answered
    const ended = once(child, 'exit', { signal }).then(([code, name]): Outcome => {
      this.#process = undefined
      return { why: `the process ended (${name ?? `exit status ${code}`})` }
    })
    const late = new Promise<Outcome>((resolve) => {
      const timer = setTimeout(() => {
        this.#process = undefined
        child.kill('SIGKILL')
        resolve({ why: `not done after ${Math.round(limitMs / 1000)} s` })
      }, limitMs)
      signal.addEventListener('abort', () => clearTimeout(timer))
    })
    const answer = once(child, 'message', { signal }).then(([outcome]) => outcome as Outcome)
    for (const it of [ended, answer]) it.catch(() => {}) // the others, once one has answered
    child.send(job)
    return await Promise.race([answer, ended, late])
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const child = this.#process
    if (!child) return
    const exited = once(child, 'exit')
    child.kill('SIGKILL')
    await exited
  }
}

class Answered extends AbortController implements Disposable {
  [Symbol.dispose](): void {
    this.abort()
  }
}

async function machine(): Promise<Record<string, string>> {
  const smi = await promisify(execFile)(
    'nvidia-smi',
    ['--query-gpu=name,driver_version,memory.total', '--format=csv,noheader'],
    { timeout: 10_000 },
  ).then(
    ({ stdout }) => stdout.trim().replaceAll('\n', '; '),
    (error: NodeJS.ErrnoException) =>
      error.code === 'ENOENT' ? 'none: nvidia-smi not found' : `none: ${error.message.split('\n')[0]}`,
  )
  return {
    gpu: smi,
    cpu: `${cpus()[0]?.model ?? process.arch}, ${availableParallelism()} cores`,
    onnxRuntime: await onnxVersion(),
    node: process.version,
  }
}

type Shown = { readonly provider: ProviderName; readonly threads: number } & Outcome & {
    readonly way?: Way
    readonly model?: string
    readonly batch?: number
  }

/** A provider on which all fails for one reason is one row. */
function together(rows: readonly Shown[]): Shown[] {
  const of = (row: Shown) => rows.filter(({ provider }) => provider === row.provider)
  const isOne = (row: Shown) => row.why !== undefined && of(row).every(({ why }) => why === row.why)
  return rows.flatMap((row) => {
    if (!isOne(row)) return [row]
    const { provider, threads, why = '' } = row
    return of(row)[0] === row ? [{ provider, threads, why }] : []
  })
}

/** @param file for JSON */
export function printGpu(result: GpuResult, file: string | undefined): void {
  if (file !== undefined) writeFileSync(file, `${JSON.stringify(result, undefined, 1)}\n`)
  const { machine, providers, decode, pipeline, model, seconds } = result
  const say = (title: string, rows: string[][]) => process.stdout.write(`${title}\n${table(rows)}\n`)
  const perSecond = (value: number | undefined) => (value === undefined ? '' : value.toFixed(0))
  const ms = (value: number | undefined) => (value === undefined ? '' : value.toFixed(value < 10 ? 2 : 0))
  say('Machine', Object.entries(machine))
  say(
    'Providers of ONNX Runtime',
    providers.map(({ provider, missing }) => [provider, missing ?? 'its libraries are there']),
  )
  say(`Decoding the 1080p clip`, [
    ['by', 'frames/s', 'open ms', 'first frame ms', ''],
    ...decode.map(({ way, measured: it, why }) => [
      SAID[way],
      perSecond(it?.framesPerSecond),
      ms(it?.openMs),
      ms(it?.firstMs),
      why ?? '',
    ]),
  ])
  say(`Decoded, scaled and looked at, without tracks and crops (${pipeline[0]?.model})`, [
    ['decoding', 'provider', 'frames/s', 'faces/s', ''],
    ...together(pipeline).map(({ way, provider, measured: it, why }) => [
      way === undefined ? 'all' : SAID[way],
      provider,
      perSecond(it?.framesPerSecond),
      perSecond(it?.facesPerSecond),
      why ?? '',
    ]),
  ])
  say('The networks alone', [
    ['model', 'provider', 'threads', 'input', 'p50 ms', 'frames/s', 'open ms', 'first ms', ''],
    ...together(model).map(({ model: name, provider, threads, batch, measured: it, why }) => [
      name ?? 'all',
      provider,
      provider === 'cpu' ? String(threads) : '',
      it?.what ?? (batch === undefined ? '' : `batch ${batch}`),
      ms(it?.p50Ms),
      perSecond(it?.framesPerSecond),
      ms(it?.openMs),
      ms(it?.firstMs),
      why ?? '',
    ]),
  ])
  process.stdout.write(`${seconds.toFixed(0)} s.${file === undefined ? '' : ` As JSON: ${file}`}\n`)
}

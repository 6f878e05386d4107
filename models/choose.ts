import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { availableParallelism, cpus } from 'node:os'
import { join } from 'node:path'
import { z } from 'zod'
import { asFailure, failure } from '../lib/errors.ts'
import { keepFile } from '../lib/keep-file.ts'
import {
  MEASURE_MS_MAX,
  MEASURE_ONE_MS_MAX,
  MEASURE_RUNS_MAX,
  MEASURE_RUNS_MIN,
  VERDICTS_MAX,
} from './limits.ts'
import { listProviders, onnxVersion, openOnnx, PROVIDERS, type ProviderName } from './onnx.ts'
import type { Runtime, Tensors } from './runtime.ts'

/**
 * Which execution provider, and how many threads. For networks as small as these nothing general can be said: a GPU is
 * often slower than the CPU, and a second thread sometimes gains nothing. So what is not given is measured, on the
 * model at its input size, once: the verdict is remembered beside the models.
 */

/** The networks are small: a second thread saves a third of the time at best; two cores are better left to the rest. */
export const THREADS_DEFAULT = availableParallelism() >= 4 ? 2 : 1
/** A further thread must save so much of the time: its core is not there for decoding then. */
const THREAD_GAIN_MIN = 0.15
/** It builds an engine for the model before the first inference: minutes, which nobody can interrupt. */
const SLOW_TO_OPEN: ReadonlySet<ProviderName> = new Set(['tensorrt'])
const VERDICTS_FILE = 'providers.json'

/** One row of what was measured: a provider with so many threads, or why it does not load. */
export interface Timing {
  readonly provider: string
  readonly threads: number
  /** Milliseconds of one inference, the median. */
  readonly ms?: number
  readonly fault?: string
}

/** What was measured, and when: `remembered` where that was at an earlier start. */
export interface Measured {
  readonly timings: readonly Timing[]
  readonly remembered: boolean
}

export interface Wanted {
  readonly provider: ProviderName | 'auto'
  readonly threads: number | 'auto'
}
export interface Candidate {
  readonly provider: ProviderName
  readonly threads: number
}
export interface Choice extends Candidate {
  readonly measured?: Measured
}

/** What is measured: the model's bytes, for errors its name, and the input tensor's shape. */
export interface Subject {
  readonly bytes: Uint8Array
  readonly name: string
  readonly shape: readonly number[]
}

/** 1, 2, 4 and so on, and all cores. */
export function threadCounts(cores: number): number[] {
  const counts: number[] = []
  for (let count = 1; count < cores; count *= 2) counts.push(count)
  return [...counts, cores]
}

/** Everything that is to be tried for what is wanted; the CPU first, few threads first. */
export function candidates({ provider, threads }: Wanted, cores = availableParallelism()): Candidate[] {
  const names = provider === 'auto' ? PROVIDERS : [provider]
  return names.flatMap((name) =>
    // Of the others' work little is done by the CPU's threads.
    (threads !== 'auto' ? [threads] : name === 'cpu' ? threadCounts(cores) : [THREADS_DEFAULT]).map(
      (count) => ({ provider: name, threads: count }),
    ),
  )
}

/** The fastest of what was measured, a thread more only where it is worth one. Undefined: nothing ran. */
export function fastest(timings: readonly Timing[]): Timing | undefined {
  let best: Timing | undefined
  for (const timing of timings) {
    if (timing.ms === undefined) continue
    const sameProvider = best?.provider === timing.provider
    const msMax = (best?.ms ?? Infinity) * (sameProvider ? 1 - THREAD_GAIN_MIN : 1)
    if (timing.ms < msMax) best = timing
  }
  return best
}

/**
 * What to run the model on. Measures where there is something to choose, unless a verdict is remembered in `folder`.
 * Errors: PROVIDER_UNAVAILABLE.
 */
export async function choose(
  wanted: Wanted,
  subject: Subject,
  folder: string | undefined,
  msMax = MEASURE_MS_MAX,
): Promise<Choice> {
  const usable = await listProviders()
  const missing = new Map(usable.map(({ provider, missing }) => [provider, missing]))
  const all = candidates(wanted)
  const open = all.filter(({ provider }) => missing.get(provider) === undefined)
  if (wanted.provider !== 'auto' && open.length === 0)
    throw await unavailable(wanted.provider, missing.get(wanted.provider) ?? 'it is missing', subject)
  const [only, ...more] = open
  if (only && more.length === 0) return only
  const key = await verdictKey(wanted, subject, open)
  const remembered = folder === undefined ? undefined : (await readVerdicts(folder)).get(key)
  if (remembered) {
    const best = fastest(remembered.timings)
    if (best) return { ...candidateOf(best), measured: { timings: remembered.timings, remembered: true } }
  }
  const timings = await measure(all, subject, msMax, wanted.provider !== 'auto')
  const best = fastest(timings)
  if (!best)
    throw failure(
      'PROVIDER_UNAVAILABLE',
      `${subject.name} cannot run on ${all.map(({ provider }) => provider).join(', ')} on this machine.`,
    )
  if (folder !== undefined) await remember(folder, key, timings)
  return { ...candidateOf(best), measured: { timings, remembered: false } }
}

/** The median of one run of the network, ms. */
export type TimeRuntime = (runtime: Runtime, candidate: Candidate, deadlineMs: number) => Promise<number>

/** Measures anew, in the caller's way, and remembers: `sightline detect bench`. */
export async function measureAndRemember(
  wanted: Wanted,
  subject: Subject,
  folder: string | undefined,
  msMax: number,
  time: TimeRuntime,
): Promise<Timing[]> {
  const usable = await listProviders()
  const all = candidates(wanted)
  const open = all.filter(
    ({ provider }) => usable.find((it) => it.provider === provider)?.missing === undefined,
  )
  const timings = await measure(all, subject, msMax, true, time)
  if (folder !== undefined && open.length > 1 && fastest(timings))
    await remember(folder, await verdictKey(wanted, subject, open), timings)
  return timings
}

const candidateOf = ({ provider, threads }: Timing): Candidate => ({
  provider: provider as ProviderName,
  threads,
})

/** That a provider named in the configuration does not load, and what does. */
export async function unavailable(provider: ProviderName, why: string, subject: Subject) {
  const others = PROVIDERS.filter((name) => name !== provider).map((name) => ({ provider: name, threads: 1 }))
  const loads = (await measure(others, subject, MEASURE_MS_MAX, false)).filter(
    ({ fault }) => fault === undefined,
  )
  return failure(
    'PROVIDER_UNAVAILABLE',
    `The provider ${provider} does not load for ${subject.name}: ${why.replace(/\.$/, '')}. Available here: ${loads.map((it) => it.provider).join(', ') || 'none'}. Set "detect.provider" to one of them, or to auto.`,
  )
}

/**
 * One row a candidate, in their order. Candidates whose turn comes after `msMax` are not tried, and say so; neither are
 * those that are slow to open, unless `slowToo`.
 */
export async function measure(
  list: readonly Candidate[],
  subject: Subject,
  msMax: number,
  slowToo: boolean,
  time: TimeRuntime = (runtime, _candidate, deadlineMs) => timeRuntime(runtime, subject.shape, deadlineMs),
): Promise<Timing[]> {
  const missing = new Map((await listProviders()).map((it) => [it.provider, it.missing]))
  const deadlineMs = performance.now() + msMax
  const timings: Timing[] = []
  for (const { provider, threads } of list) {
    const fault =
      missing.get(provider) ??
      (SLOW_TO_OPEN.has(provider) && !slowToo
        ? 'not tried: opening it takes minutes; sightline detect bench does'
        : performance.now() > deadlineMs
          ? 'not tried: measuring took too long; sightline detect bench tries it'
          : undefined)
    if (fault !== undefined) {
      timings.push({ provider, threads, fault })
      continue
    }
    try {
      await using runtime = await openOnnx(subject.bytes, subject.name, threads, provider)
      timings.push({ provider, threads, ms: await time(runtime, { provider, threads }, deadlineMs) })
    } catch (error) {
      timings.push({ provider, threads, fault: asFailure(error).message })
    }
  }
  return timings
}

/** The median of one inference, ms. */
async function timeRuntime(runtime: Runtime, shape: readonly number[], deadlineMs: number): Promise<number> {
  // No zeros: some kernels are quicker, or slower, on them.
  const data = Float32Array.from(
    { length: shape.reduce((a, b) => a * b, 1) },
    (_, i) => ((i * 37) % 251) / 251,
  )
  const inputs: Tensors = new Map([[runtime.inputs[0]?.name ?? '', { type: 'float32', shape, data }]])
  await runtime.run(inputs)
  const times: number[] = []
  const endMs = Math.min(performance.now() + MEASURE_ONE_MS_MAX, deadlineMs)
  while (times.length < MEASURE_RUNS_MAX) {
    const startMs = performance.now()
    if (startMs > endMs && times.length >= MEASURE_RUNS_MIN) break
    if (startMs > deadlineMs && times.length > 0) break
    await runtime.run(inputs)
    times.push(performance.now() - startMs)
  }
  return times.sort((a, b) => a - b)[times.length >> 1] as number
}

const verdictsSchema = z.object({
  v: z.literal(1),
  verdicts: z.array(
    z.object({
      key: z.string(),
      at: z.string(),
      timings: z.array(
        z.object({
          provider: z.enum(PROVIDERS),
          threads: z.number().int().min(1),
          ms: z.number().positive().optional(),
          fault: z.string().optional(),
        }),
      ),
    }),
  ),
})
type Verdict = z.infer<typeof verdictsSchema>['verdicts'][number]

/** The same question on the same machine: model, size, what is wanted, runtime, processor, what can be tried. */
async function verdictKey(wanted: Wanted, { bytes, shape }: Subject, open: readonly Candidate[]) {
  const facts = [
    createHash('sha256').update(bytes).digest('hex'),
    shape,
    wanted,
    await onnxVersion(),
    process.platform,
    process.arch,
    cpus()[0]?.model ?? '',
    open,
  ]
  return createHash('sha256').update(JSON.stringify(facts)).digest('hex').slice(0, 32)
}

/** A file that is damaged or of another version remembers nothing: it is measured again and written anew. */
async function readVerdicts(folder: string): Promise<Map<string, Verdict>> {
  try {
    const { verdicts } = verdictsSchema.parse(JSON.parse(await readFile(join(folder, VERDICTS_FILE), 'utf8')))
    return new Map(verdicts.map((verdict) => [verdict.key, verdict]))
  } catch {
    return new Map()
  }
}

/** Where the folder may not be written to, the next start measures again, and says that it has. */
async function remember(folder: string, key: string, timings: Timing[]): Promise<void> {
  const verdicts = await readVerdicts(folder)
  verdicts.delete(key)
  const kept = [...verdicts.values()].slice(-(VERDICTS_MAX - 1))
  const text = `${JSON.stringify({ v: 1, verdicts: [...kept, { key, at: new Date().toISOString(), timings }] }, null, 1)}\n`
  try {
    keepFile(text, join(folder, VERDICTS_FILE))
  } catch {
    // then the next start measures again
  }
}

import { type DetectorParts, FaceDetector, openParts } from '../../device/detect/open.ts'
import { Testcard } from '../../device/sources/testcard.ts'
import { failure } from '../../lib/errors.ts'
import { openLog } from '../../lib/log.ts'
import { table } from '../../lib/table.ts'
import { type Candidate, fastest, measureAndRemember, type Timing } from '../../models/choose.ts'
import type { Runtime } from '../../models/runtime.ts'
import { shapeOf } from '../../models/tensor.ts'
import { type Chosen, chosenDetector } from './options.ts'

/** Long enough for every provider on a slow board; building TensorRT's engine alone takes a minute. */
const MEASURE_MS_MAX = 300_000
const DETECTIONS = 60
const DETECTIONS_MIN = 5
const DETECTIONS_WARM = 10
/** Of one candidate, where detections take long. */
const MEASURE_ONE_MS_MAX = 5000

/** Whole detections of a picture, and the network's part of each; medians. */
interface Detections {
  readonly runtime: string
  readonly picture: { readonly width: number; readonly height: number }
  readonly faces: number
  readonly detectMs: number
  readonly networkMs: number
  /** Which share of a detection is beyond the network's run. */
  readonly beyondNetwork: number
}

/** Prints how fast the model is on each provider and number of threads, and what is not the network. */
export async function bench(chosen: Chosen, json: boolean): Promise<number> {
  const options = chosenDetector(chosen)
  // Opened on one thread first: what the model is, and its size.
  const parts = await openParts({ ...options, provider: undefined, threads: 1 })
  const { headName, head, input, model, bytes } = parts
  const measured = new Map<string, Detections>()
  const time = async (runtime: Runtime, candidate: Candidate, deadlineMs: number) => {
    const detections = await timeDetections({ ...parts, runtime }, deadlineMs)
    measured.set(nameOf(candidate), detections)
    return detections.networkMs
  }
  let timings: readonly Timing[] = []
  let whole: Detections | undefined
  let best: Timing | undefined
  try {
    if (bytes) {
      const wanted = { provider: options.provider ?? 'auto', threads: options.threads ?? 'auto' }
      const subject = { bytes, name: model, shape: shapeOf(head.format, input) }
      timings = await measureAndRemember(wanted, subject, options.modelFolder, MEASURE_MS_MAX, time)
      best = fastest(timings)
      whole = best && measured.get(nameOf(best))
    } else whole = await timeDetections(parts, performance.now() + MEASURE_MS_MAX)
  } finally {
    await parts.runtime[Symbol.asyncDispose]()
  }
  if (!whole)
    throw failure(
      'PROVIDER_UNAVAILABLE',
      `${model} runs on no provider: ${timings.map((it) => `${nameOf(it)} (${it.fault})`).join(', ')}. Set --provider auto.`,
    )
  if (json) {
    const all = timings.map((it) => ({ ...it, detectMs: measured.get(nameOf(it))?.detectMs }))
    process.stdout.write(
      `${JSON.stringify({ model, head: headName, input, timings: all, fastest: best, ...whole })}\n`,
    )
    return 0
  }
  const size = `${input.width}x${input.height}`
  process.stdout.write(`${model} (${headName}, ${size}) on ${whole.runtime}\n\n`)
  const row = (it: Timing) => [
    it.provider,
    String(it.threads),
    it.ms?.toFixed(2) ?? '',
    measured.get(nameOf(it))?.detectMs.toFixed(2) ?? '',
    it.fault ?? (it === best ? 'taken' : ''),
  ]
  if (timings.length > 0)
    process.stdout.write(
      `${table([['provider', 'threads', 'network ms', 'detection ms', ''], ...timings.map(row)])}\n`,
    )
  process.stdout.write(
    `A detection takes ${whole.detectMs.toFixed(2)} ms (a picture of ${whole.picture.width}x${whole.picture.height}, ${whole.faces} faces), of which the network takes ${whole.networkMs.toFixed(2)} ms; ${(whole.beyondNetwork * 100).toFixed(0)} % is not the network.\n`,
  )
  return 0
}

const nameOf = ({ provider, threads }: { readonly provider: string; readonly threads: number }) =>
  `${provider} with ${threads}`

/** Detections on a picture of the testcard; the network is timed within them, so that the two can be compared. */
async function timeDetections(parts: DetectorParts, deadlineMs: number): Promise<Detections> {
  const { runtime } = parts
  let runMs = 0
  // Not disposed of: the runtime is the caller's.
  const detector = new FaceDetector({
    ...parts,
    runtime: {
      description: runtime.description,
      inputs: runtime.inputs,
      outputs: runtime.outputs,
      async run(input, shape) {
        const startMs = performance.now()
        const outputs = await runtime.run(input, shape)
        runMs = performance.now() - startMs
        return outputs
      },
      [Symbol.asyncDispose]: () => runtime[Symbol.asyncDispose](),
    },
  })
  const context = {
    input: detector.input,
    events: { skipped() {}, damaged() {} },
    log: openLog('detect', 'silent'),
  }
  await using card = await Testcard.open({ frames: 1 }, context, AbortSignal.timeout(MEASURE_MS_MAX))
  using frame = card.frame(40)
  const whole: number[] = []
  const network: number[] = []
  const shares: number[] = []
  let faces = 0
  const endMs = Math.min(performance.now() + MEASURE_ONE_MS_MAX, deadlineMs)
  for (let at = 0; at < DETECTIONS_WARM + DETECTIONS; at += 1) {
    const startMs = performance.now()
    if (startMs > endMs && whole.length >= DETECTIONS_MIN) break
    faces = (await detector.detect(frame.scaled)).length
    const ms = performance.now() - startMs
    if (at < DETECTIONS_WARM && startMs < endMs) continue
    whole.push(ms)
    network.push(runMs)
    shares.push((ms - runMs) / ms)
  }
  const { width, height } = frame.scaled
  return {
    runtime: detector.runtime,
    picture: { width, height },
    faces,
    detectMs: median(whole),
    networkMs: median(network),
    beyondNetwork: median(shares),
  }
}

const median = (values: number[]) => values.sort((a, b) => a - b)[values.length >> 1] as number

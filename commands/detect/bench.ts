import { fastest, measureAndRemember } from '../../device/detect/choose.ts'
import type { Timing } from '../../device/detect/detector.ts'
import { FaceDetector, openParts } from '../../device/detect/open.ts'
import { Testcard } from '../../device/sources/testcard.ts'
import { openLog } from '../../lib/log.ts'
import { table } from '../../lib/table.ts'
import { type Chosen, chosenDetector } from './options.ts'

/** Long enough for every provider on a slow board; building TensorRT's engine alone takes a minute. */
const MEASURE_MS_MAX = 300_000
const DETECTIONS = 60
const DETECTIONS_WARM = 10

/** Prints how fast the model is on each provider and number of threads, and what is not the network. */
export async function bench(chosen: Chosen, json: boolean): Promise<number> {
  const options = chosenDetector(chosen)
  // Opened on one thread first: what the model is, and its size.
  const parts = await openParts({ ...options, provider: undefined, threads: 1 })
  const { headName, head, input, model, bytes } = parts
  await parts.runtime[Symbol.asyncDispose]()
  const timings = bytes
    ? await measureAndRemember(
        { provider: options.provider ?? 'auto', threads: options.threads ?? 'auto' },
        { bytes, name: model, shape: head.inputShape(input) },
        options.modelFolder,
        MEASURE_MS_MAX,
      )
    : []
  const best = fastest(timings)
  const whole = await timeDetection({ ...options })
  if (json) {
    process.stdout.write(
      `${JSON.stringify({ model, head: headName, input, timings, fastest: best, ...whole })}\n`,
    )
    return 0
  }
  const size = `${input.width}x${input.height}`
  process.stdout.write(`${model} (${headName}, ${size}) on ${whole.runtime}\n\n`)
  if (timings.length > 0)
    process.stdout.write(
      `${table([['provider', 'threads', 'ms', ''], ...timings.map((it) => row(it, best))])}\n`,
    )
  process.stdout.write(
    `A detection takes ${whole.detectMs.toFixed(2)} ms (a picture of ${whole.picture.width}x${whole.picture.height}, ${whole.faces} faces); ${(whole.beyondNetwork * 100).toFixed(0)} % of it is not the network.\n`,
  )
  return 0
}

const row = (it: Timing, best: Timing | undefined) => [
  it.provider,
  String(it.threads),
  it.ms?.toFixed(2) ?? '',
  it.fault ?? (it === best ? 'taken' : ''),
]

/** A detection on a picture of the testcard, and which share of it is beyond the network's run; medians. */
async function timeDetection(options: Parameters<typeof openParts>[0]) {
  const parts = await openParts(options)
  let runMs = 0
  await using detector = new FaceDetector({
    ...parts,
    runtime: {
      ...parts.runtime,
      description: parts.runtime.description,
      inputs: parts.runtime.inputs,
      outputs: parts.runtime.outputs,
      async run(input, shape) {
        const startMs = performance.now()
        const outputs = await parts.runtime.run(input, shape)
        runMs = performance.now() - startMs
        return outputs
      },
      [Symbol.asyncDispose]: () => parts.runtime[Symbol.asyncDispose](),
    },
  })
  const context = {
    input: detector.input,
    events: { skipped() {}, damaged() {} },
    log: openLog('detect', 'silent'),
  }
  await using card = await Testcard.open({ frames: 1 }, context, AbortSignal.timeout(MEASURE_MS_MAX))
  using frame = card.frame(40)
  const times: number[] = []
  const shares: number[] = []
  let faces = 0
  for (let at = 0; at < DETECTIONS_WARM + DETECTIONS; at += 1) {
    const startMs = performance.now()
    faces = (await detector.detect(frame.scaled)).length
    const ms = performance.now() - startMs
    if (at < DETECTIONS_WARM) continue
    times.push(ms)
    shares.push((ms - runMs) / ms)
  }
  const { width, height } = frame.scaled
  return {
    runtime: detector.runtime,
    picture: { width, height },
    faces,
    detectMs: median(times),
    beyondNetwork: median(shares),
  }
}

const median = (values: number[]) => values.sort((a, b) => a - b)[values.length >> 1] as number

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ENVIRONMENT, NODE_FLAGS } from '../bin/runtime.js'
import { Agent } from '../device/agent.ts'
import { deviceSchema } from '../device/config.ts'
import { openDetectorThread } from '../device/detect/thread.ts'
import { openMeters } from '../device/meters.ts'
import { openSource } from '../device/sources/open.ts'
import { loadConfig } from '../lib/config.ts'
import { openLog } from '../lib/log.ts'
import { anonymousMemoryBytes, openMetrics } from '../lib/metrics.ts'
import { sharedData } from '../test/kit/data.ts'

/**
 * Frames a second of the whole capture pipeline on a 1080p clip, against its two heavy parts alone: decoding with
 * scaling, and the network (`session.run`) with the same number of threads. The parts have the machine to
 * themselves; the pipeline must share it between them, so on few cores it cannot reach the slower one.
 */
export interface DeviceBenchResult {
  /** Frames a second, medians. */
  readonly decodeAndScale: number
  readonly sessionRun: number
  readonly detectOnly: number
  /** With the crops of `emit.mode: every` as it is by default: 30 a second of video. */
  readonly withCrops: number
  readonly cropsPerFrame: number
  /** With a crop of every face in every frame. */
  readonly everyFace: number
  readonly everyFacePerFrame: number
  /** The three by the slower of the two parts. */
  readonly ratioDetectOnly: number
  readonly ratioWithCrops: number
  readonly ratioEveryFace: number
  /** Peak anonymous memory of the agent as a process of its own, bytes. */
  readonly memoryPeakBytes: number | undefined
}

const CLIP = 'video/facenet-pytorch-video.mp4'
const MODEL = 'models/yunet_n_320_320.onnx'
const ROUNDS = 3
const INFERENCES = 150
export const RATIO_MIN = 0.6
export const MEMORY_BYTES_MAX = 350e6

/** Undefined where the test data is absent. */
export async function benchDevice(): Promise<DeviceBenchResult | undefined> {
  const clip = sharedData(CLIP)
  const model = sharedData(MODEL)
  if (clip === undefined || model === undefined) return undefined
  await using detector = await openDetectorThread({ model })
  const threads = Number(/(\d+) thread/.exec(detector.runtime)?.[1] ?? 1)
  const session = await openSession(model, threads)
  const decode: number[] = []
  const run: number[] = []
  const runs: Record<'detectOnly' | 'withCrops' | 'everyFace', Run[]> = {
    detectOnly: [],
    withCrops: [],
    everyFace: [],
  }
  for (let round = 0; round < ROUNDS; round += 1) {
    decode.push(await decodeAndScale(clip, detector.input))
    run.push(await session.measure())
    runs.detectOnly.push(await pipeline(clip, detector, { detect: { sizeMin: 1e6 } }))
    runs.withCrops.push(await pipeline(clip, detector, { emit: { mode: 'every' } }))
    runs.everyFace.push(await pipeline(clip, detector, { emit: { mode: 'every', rateMax: 'unlimited' } }))
  }
  await session.release()
  const slower = Math.min(median(decode), median(run))
  const rate = (list: readonly Run[]) => median(list.map((it) => it.framesPerSecond))
  const crops = (list: readonly Run[]) => median(list.map((it) => it.cropsPerFrame))
  return {
    decodeAndScale: median(decode),
    sessionRun: median(run),
    detectOnly: rate(runs.detectOnly),
    withCrops: rate(runs.withCrops),
    cropsPerFrame: crops(runs.withCrops),
    everyFace: rate(runs.everyFace),
    everyFacePerFrame: crops(runs.everyFace),
    ratioDetectOnly: rate(runs.detectOnly) / slower,
    ratioWithCrops: rate(runs.withCrops) / slower,
    ratioEveryFace: rate(runs.everyFace) / slower,
    memoryPeakBytes: await memoryPeak(clip, model),
  }
}

function config(clip: string, more: Record<string, unknown> = {}) {
  return loadConfig(deviceSchema, {
    overrides: { cameras: [{ name: 'clip', source: clip, pace: 'asfast' }], ...more },
  })
}

async function decodeAndScale(clip: string, input: { width: number; height: number }): Promise<number> {
  const camera = config(clip).cameras[0]
  if (!camera) throw new Error('no camera')
  const events = { skipped() {}, damaged() {} }
  const start = performance.now()
  let frames = 0
  await using source = await openSource(
    camera,
    { input, events, log: openLog('bench', 'warn') },
    new AbortController().signal,
  )
  for await (const frame of source) {
    frames += 1
    frame[Symbol.dispose]()
  }
  return (frames * 1000) / (performance.now() - start)
}

async function openSession(model: string, threads: number) {
  const ort = await import('onnxruntime-node')
  const session = await ort.InferenceSession.create(model, {
    executionProviders: ['cpu'],
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    logSeverityLevel: 3,
  })
  const tensor = new ort.Tensor('float32', new Float32Array(3 * 320 * 320).fill(110), [1, 3, 320, 320])
  const name = session.inputNames[0] as string
  return {
    async measure(): Promise<number> {
      const start = performance.now()
      for (let i = 0; i < INFERENCES; i += 1) await session.run({ [name]: tensor })
      return (INFERENCES * 1000) / (performance.now() - start)
    },
    release: () => session.release(),
  }
}

interface Run {
  readonly framesPerSecond: number
  readonly cropsPerFrame: number
}

async function pipeline(
  clip: string,
  detector: Awaited<ReturnType<typeof openDetectorThread>>,
  more: Record<string, unknown>,
): Promise<Run> {
  let crops = 0
  const registry = openMetrics('bench')
  const meters = openMeters(registry)
  const agent = new Agent({
    config: config(clip, more),
    detector,
    meters,
    log: openLog('bench', 'warn'),
    publisher: {
      offer: () => {
        crops += 1
      },
      room: async () => {},
      say: () => {},
    },
    onState: () => {},
  })
  const start = performance.now()
  await agent.run(new AbortController().signal)
  const seconds = (performance.now() - start) / 1000
  const frames = (await meters.framesCaptured.get()).values.reduce((sum, it) => sum + it.value, 0)
  return { framesPerSecond: frames / seconds, cropsPerFrame: crops / frames }
}

/** Runs the agent as a process on the looped clip for a few seconds, against a broker of its own. */
async function memoryPeak(clip: string, model: string): Promise<number | undefined> {
  const { Aedes } = await import('aedes')
  const { createServer } = await import('node:net')
  const broker = await Aedes.createBroker()
  const server = createServer(broker.handle).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const port = (server.address() as { port: number }).port
  const folder = await mkdtemp(join(tmpdir(), 'sightline-bench-'))
  const child = spawn(process.execPath, [...NODE_FLAGS, 'device/main.ts'], {
    stdio: 'ignore',
    env: {
      ...process.env,
      ...ENVIRONMENT,
      SIGHTLINE_CAMERAS: JSON.stringify([{ name: 'clip', source: clip, pace: 'asfast', loop: true }]),
      SIGHTLINE_DETECT__MODEL: model,
      SIGHTLINE_BROKER__URL: `mqtt://127.0.0.1:${port}`,
      SIGHTLINE_HTTP__PORT: '0',
    },
  })
  let peak: number | undefined
  const until = performance.now() + 8000
  while (performance.now() < until && child.exitCode === null) {
    const bytes = await anonymousMemoryBytes(child.pid)
    if (bytes !== undefined) peak = Math.max(peak ?? 0, bytes)
    await sleep(100)
  }
  const exit = child.exitCode === null ? once(child, 'exit') : undefined
  child.kill('SIGTERM')
  await exit
  broker.close()
  server.close()
  await rm(folder, { recursive: true })
  return peak
}

const median = (values: readonly number[]) =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0

export function printDevice(result: DeviceBenchResult): void {
  const row = (name: string, value: string, more = '') =>
    console.log(`${name.padEnd(38)}${value.padStart(8)}   ${more}`)
  const fps = (value: number) => `${value.toFixed(0)} /s`
  console.log(`1080p clip, YuNet 320, ${availableParallelism()} cores, medians of ${ROUNDS}\n`)
  row('decoding and scaling alone', fps(result.decodeAndScale))
  row('session.run alone', fps(result.sessionRun))
  const ratio = (value: number) => `${value.toFixed(2)} of the slower`
  const each = (value: number) => `${value.toFixed(1)} crops a frame`
  row('pipeline, detection only', fps(result.detectOnly), ratio(result.ratioDetectOnly))
  row(
    'pipeline, 30 crops a second of video',
    fps(result.withCrops),
    `${ratio(result.ratioWithCrops)}, ${each(result.cropsPerFrame)} (bar ${RATIO_MIN})`,
  )
  row(
    'pipeline, a crop of every face',
    fps(result.everyFace),
    `${ratio(result.ratioEveryFace)}, ${each(result.everyFacePerFrame)}`,
  )
  if (result.memoryPeakBytes !== undefined)
    row('peak anonymous memory', `${(result.memoryPeakBytes / 1e6).toFixed(0)} MB`, '(bar 350 MB)')
}

if (import.meta.main) {
  const result = await benchDevice()
  if (result) printDevice(result)
  else console.log('skipped: the test data is absent (SIGHTLINE_TEST_DATA, or ../shared/data)')
}

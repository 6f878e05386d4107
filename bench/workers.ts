import { availableParallelism } from 'node:os'
import { deviceSchema } from '../device/config.ts'
import { Detectors } from '../device/desired/detectors.ts'
import type { Detector, Input, Picture } from '../device/detect/detector.ts'
import { openMeters } from '../device/meters.ts'
import { loadConfig } from '../lib/config.ts'
import { asFailure } from '../lib/errors.ts'
import { openLog } from '../lib/log.ts'
import { openMetrics } from '../lib/metrics.ts'
import { table } from '../lib/table.ts'
import { sharedData } from '../test/kit/data.ts'
import { picturesOf } from '../test/kit/played.ts'
import { Program, type Test, temporaryFolder } from '../test/kit/programs.ts'

/**
 * Four cameras whose frames are looked at by one, two and three inference servers on this machine, against the detector here, in
 * one run. Frames are decoded and scaled before: what is timed is from frame to faces. Servers on one machine share its cores, so
 * more of them are faster only as long as there are cores; what they cost beyond the detector here is what this is about.
 */
export interface WorkersBenchResult {
  readonly frames: string
  readonly input: Input
  readonly rows: readonly Row[]
}

interface Row {
  readonly where: string
  /** One frame at a time, from frame to faces, ms. */
  readonly p50Ms: number
  readonly p95Ms: number
  /** Four cameras at once, each as fast as it gets faces: frames a second, and how many were late. */
  readonly framesPerSecond: number
  readonly late: number
  /** By the first row: what a frame takes beyond, ms, and the share of frames a second. */
  readonly beyondMs: number
  readonly ratio: number
}

const CLIP = 'video/facenet-pytorch-video.mp4'
const CAMERAS = 4
const WORKERS_MAX = 3
const FRAMES = 60
const WARM = 10
const LOOKS = 150
const SECONDS = 5

export async function benchWorkers(): Promise<WorkersBenchResult> {
  await using stack = new AsyncDisposableStack()
  const own: Test = { after: (handler) => void stack.defer(handler) }
  const modelFolder = temporaryFolder(own)
  const detect = { modelFolder, provider: 'cpu', threads: 1 }
  const here = stack.use(await open({ detect }))
  const clip = sharedData(CLIP)
  const frames = await picturesOf(clip ?? 'testcard', here.current.input, { count: FRAMES })
  const rows: Row[] = [await measure('here, 1 thread', here.current, frames)]
  const addresses: string[] = []
  for (let count = 1; count <= WORKERS_MAX; count += 1) {
    addresses.push(await startWorker(own, modelFolder))
    const servers = { addresses, model: 'blazeface', local: 'none' }
    await using detectors = await open({ detect: { ...detect, runtime: 'remote', servers } })
    rows.push(await measure(`${count} server${count === 1 ? '' : 's'}`, detectors.current, frames, rows[0]))
  }
  return {
    frames: clip === undefined ? 'test card' : '1080p clip',
    input: here.current.input,
    rows,
  }
}

const open = (overrides: Record<string, unknown>) =>
  Detectors.open(loadConfig(deviceSchema, { overrides }).detect, {
    log: openLog('bench', 'warn'),
    meters: openMeters(openMetrics('bench')),
  })

async function startWorker(own: Test, modelFolder: string): Promise<string> {
  const worker = await Program.start(own, 'inference', {
    models: [{ model: 'blazeface', provider: 'cpu', threads: 1 }],
    modelFolder,
    rest: { port: 0 },
    http: { port: 0 },
  })
  return `http://127.0.0.1:${(worker.config.rest as { port: number }).port}`
}

async function measure(
  where: string,
  detector: Detector,
  frames: readonly Picture[],
  first?: Row,
): Promise<Row> {
  const frame = (n: number) => frames[n % frames.length] as Picture
  for (let n = 0; n < WARM; n += 1) await detector.detect(frame(n))
  const times: number[] = []
  for (let n = 0; n < LOOKS; n += 1) {
    const startMs = performance.now()
    await detector.detect(frame(n))
    times.push(performance.now() - startMs)
  }
  times.sort((a, b) => a - b)
  const at = (share: number) => times[Math.floor(times.length * share)] ?? 0
  let looked = 0
  let late = 0
  const startMs = performance.now()
  const camera = async (n: number) => {
    for (; performance.now() - startMs < SECONDS * 1000; n += 1)
      try {
        await detector.detect(frame(n))
        looked += 1
      } catch (error) {
        if (asFailure(error).code !== 'INFERENCE_LATE') throw error
        late += 1
      }
  }
  await Promise.all(Array.from({ length: CAMERAS }, (_, n) => camera(n * 7)))
  const framesPerSecond = (looked * 1000) / (performance.now() - startMs)
  return {
    where,
    p50Ms: at(0.5),
    p95Ms: at(0.95),
    framesPerSecond,
    late,
    beyondMs: at(0.5) - (first?.p50Ms ?? at(0.5)),
    ratio: framesPerSecond / (first?.framesPerSecond ?? framesPerSecond),
  }
}

export function printWorkers({ frames, input, rows }: WorkersBenchResult): void {
  console.log(
    `${frames}, blazeface at ${input.width}x${input.height}, ${CAMERAS} cameras, ${availableParallelism()} cores, servers on this machine\n`,
  )
  console.log(
    table([
      ['faces are looked for', 'frame to faces p50', 'p95', 'beyond', 'four cameras', 'late', 'ratio'],
      ...rows.map((row) => [
        row.where,
        `${row.p50Ms.toFixed(1)} ms`,
        `${row.p95Ms.toFixed(1)} ms`,
        `${row.beyondMs.toFixed(1)} ms`,
        `${row.framesPerSecond.toFixed(0)} /s`,
        String(row.late),
        row.ratio.toFixed(2),
      ]),
    ]),
  )
}

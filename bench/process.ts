import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Agent } from '../device/agent.ts'
import { deviceSchema } from '../device/config.ts'
import type { Detector } from '../device/detect/detector.ts'
import { openDetectorThread } from '../device/detect/thread.ts'
import { openMeters } from '../device/meters.ts'
import { openProcessor } from '../device/process/open.ts'
import { Processing } from '../device/process/processing.ts'
import { loadConfig } from '../lib/config.ts'
import { openLog } from '../lib/log.ts'
import { openMetrics, total } from '../lib/metrics.ts'
import { sharedData } from '../test/kit/data.ts'
import { readCrop } from '../wire/crop.ts'

/**
 * What a second look at every published crop costs: frames a second of the whole pipeline on a 1080p clip, with a classifier and
 * without, in turn, for one crop of each face (`emit.mode: best`) and for one of each face in each frame (`every`, 30 a second of
 * video as it is by default).
 */
export interface ProcessRow {
  readonly mode: (typeof MODES)[number]
  readonly model: string
  /** Frames a second, medians. */
  readonly without: number
  readonly with: number
  /** Which share of the frames a second it costs; a median of the rounds. */
  readonly cost: number
  readonly cropsPerFrame: number
  /** Of the crops, those of which something was said, or could have been: that were looked at. */
  readonly looked: number
}

const CLIP = 'video/facenet-pytorch-video.mp4'
const DETECTOR = 'models/yunet_n_320_320.onnx'
const MASKS = 'models/ultraface-RFB-640-masked_face-v2.onnx'
const MODES = ['best', 'every'] as const
export const COST_MAX = 0.1

/** Undefined where the test data is absent. */
export async function benchProcess(rounds: number): Promise<ProcessRow[] | undefined> {
  const [clip, model, masks] = [CLIP, DETECTOR, MASKS].map(sharedData)
  if (clip === undefined || model === undefined) return undefined
  const modelFolder = await mkdtemp(join(tmpdir(), 'sightline-bench-'))
  try {
    await using detector = await openDetectorThread({ model })
    const rows: ProcessRow[] = []
    for (const mode of MODES)
      for (const classifier of ['liveness', 'antispoof', ...(masks === undefined ? [] : [masks])]) {
        const settings = { emit: { mode }, detect: { modelFolder } }
        const process = [{ name: 'second', model: classifier, scoreMin: 0 }]
        await play(clip, detector, settings)
        const pairs = []
        for (let round = 0; round < rounds; round += 1)
          pairs.push({
            bare: await play(clip, detector, settings),
            looked: await play(clip, detector, { ...settings, process }),
          })
        rows.push({
          mode,
          model: classifier === masks ? 'ultraface-rfb-640-masked' : classifier,
          without: median(pairs.map(({ bare }) => bare.framesPerSecond)),
          with: median(pairs.map(({ looked }) => looked.framesPerSecond)),
          cost: median(pairs.map(({ bare, looked }) => 1 - looked.framesPerSecond / bare.framesPerSecond)),
          cropsPerFrame: median(pairs.map(({ looked }) => looked.crops / looked.frames)),
          looked: median(pairs.map(({ looked }) => 1 - looked.unprocessed / looked.crops)),
        })
      }
    return rows
  } finally {
    await rm(modelFolder, { recursive: true })
  }
}

interface Played {
  readonly framesPerSecond: number
  readonly frames: number
  readonly crops: number
  readonly said: number
  /** Crops that went out without what a processor had to say. */
  readonly unprocessed: number
}

async function play(clip: string, detector: Detector, settings: Record<string, unknown>): Promise<Played> {
  const config = loadConfig(deviceSchema, {
    overrides: { cameras: [{ name: 'clip', source: clip, pace: 'asfast' }], ...settings },
  })
  const meters = openMeters(openMetrics('bench'))
  const log = openLog('bench', 'warn')
  await using processing = await Processing.open({
    processors: config.process,
    camera: () => config.cameras[0],
    open: (it) => openProcessor(it, config.detect, log),
    meters,
    log,
  })
  let crops = 0
  let said = 0
  const agent = new Agent({
    ...{ config, detector, meters, log, processing },
    publisher: {
      offer: ({ payload }) => {
        crops += 1
        const reading = readCrop(payload)
        if ('crop' in reading && reading.crop.attributes) said += 1
      },
      room: async () => {},
      say: () => {},
    },
    onState: () => {},
  })
  const startMs = performance.now()
  await agent.run(new AbortController().signal)
  const seconds = (performance.now() - startMs) / 1000
  const frames = await total(meters.framesCaptured)
  const unprocessed = await total(meters.cropsUnprocessed)
  return { framesPerSecond: frames / seconds, frames, crops, said, unprocessed }
}

export function printProcess(rows: readonly ProcessRow[]): void {
  process.stdout.write(
    `\nA second look at every published crop, 1080p clip; frames a second, medians (bar: costs under ${COST_MAX * 100} %):\n`,
  )
  for (const row of rows) {
    const cost = `${(row.cost * 100).toFixed(1)} %`
    process.stdout.write(
      `  ${row.mode.padEnd(6)} ${row.model.padEnd(25)} without ${row.without.toFixed(1).padStart(6)}  with ${row.with.toFixed(1).padStart(6)}  costs ${cost.padStart(7)}  ${row.cropsPerFrame.toFixed(2)} crops a frame, ${(row.looked * 100).toFixed(0)} % looked at${row.cost > COST_MAX ? '  OVER' : ''}\n`,
    )
  }
}

const median = (values: readonly number[]) =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ENVIRONMENT, NODE_FLAGS } from '../bin/runtime.js'
import { sharedData } from '../test/kit/data.ts'
import { readCrop } from '../wire/crop.ts'
import { sightline } from './stacks.ts'

/**
 * From a frame to its crops in the bucket, the whole line on one machine: a clip at 30 frames a second in its own time,
 * a crop of every face in every frame. By the capture time in each crop and the time at which its file got its name.
 */
export interface LatencyResult {
  readonly crops: number
  readonly p50Ms: number
  readonly p99Ms: number
}

const CLIP = 'video/short_hamilton_clip.mp4'
/** The first crops find programs that are being compiled yet: the clip is played so often, and the last time counts. */
const PLAYED = 3
const FRAME_MS = 1000 / 29.97
export const FRAMES_MAX = 3
const SETTLE_MS = 3000

/** Undefined where the test data is absent. */
export async function benchLatency(): Promise<LatencyResult | undefined> {
  const clip = sharedData(CLIP)
  if (clip === undefined) return undefined
  await using stack = await sightline({ subscriber: true })
  const folder = mkdtempSync(join(tmpdir(), 'sightline-bench-'))
  try {
    const startedMs: number[] = []
    const agent = spawn(process.execPath, [...NODE_FLAGS, 'device/main.ts'], {
      stdio: 'ignore',
      env: {
        ...process.env,
        ...ENVIRONMENT,
        SIGHTLINE_CAMERAS: JSON.stringify([{ name: 'clip', source: clip, loop: true }]),
        SIGHTLINE_EMIT: JSON.stringify({ mode: 'every', rateMax: 'unlimited' }),
        SIGHTLINE_DETECT__MODEL_FOLDER: folder,
        SIGHTLINE_BROKER__URL: stack.edgeUrl,
        SIGHTLINE_HTTP__PORT: '0',
      },
    })
    const ended = once(agent, 'exit')
    for (let n = 0; n < PLAYED; n += 1) {
      startedMs.push(Date.now())
      await sleep(275 * FRAME_MS)
    }
    agent.kill('SIGTERM')
    await ended
    await sleep(SETTLE_MS)
    const latencies = files(stack.files)
      .map((file) => {
        const reading = readCrop(readFileSync(file))
        if (!('crop' in reading)) throw new Error(`${file} is no crop`)
        return { capturedAtMs: reading.crop.capturedAtMs, storedAtMs: statSync(file).ctimeMs }
      })
      .filter(({ capturedAtMs }) => capturedAtMs >= (startedMs.at(-1) ?? 0))
      .map(({ capturedAtMs, storedAtMs }) => storedAtMs - capturedAtMs)
      .sort((a, b) => a - b)
    const at = (share: number) => latencies[Math.floor(latencies.length * share)] ?? Number.NaN
    return { crops: latencies.length, p50Ms: at(0.5), p99Ms: at(0.99) }
  } finally {
    rmSync(folder, { recursive: true })
  }
}

function files(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.jpg'))
    .map((name) => join(folder, name))
}

export function printLatency(result: LatencyResult | undefined): void {
  if (!result) {
    console.log('skipped: the test data is absent (SIGHTLINE_TEST_DATA)')
    return
  }
  const { crops, p50Ms, p99Ms } = result
  console.log(
    `From frame to file in the bucket, 30 frames/s, emit.mode every, ${crops} crops: p50 ${p50Ms.toFixed(0)} ms (${(p50Ms / FRAME_MS).toFixed(1)} frame intervals, bar ${FRAMES_MAX}), p99 ${p99Ms.toFixed(0)} ms`,
  )
}

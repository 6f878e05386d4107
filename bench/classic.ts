import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { ENVIRONMENT, NODE_FLAGS } from '../bin/runtime.js'
import { sharedData } from '../test/kit/data.ts'
import { freePort } from '../test/kit/ports.ts'
import { median } from './stacks.ts'

/**
 * The agent on a 1080p clip against the script that it replaces (classic.py): frames a second with everything that each
 * does with them, publishing to a broker included. Both use all cores; in turn, medians.
 */
export interface ClassicResult {
  /** Frames a second, medians. */
  readonly script: number
  readonly scriptFacesPerFrame: number
  /** By `emit.mode`. */
  readonly agent: ReadonlyMap<string, { readonly perSecond: number; readonly ratio: number }>
}

export const RATIO_MIN = 15
const ROUNDS = 3
const MODES = ['best', 'every'] as const
const WARM_UP_MS = 3000
const MEASURED_MS = 8000
const READY_MS_MAX = 30_000
const CASCADES = [
  '/usr/share/opencv4/haarcascades/haarcascade_frontalface_default.xml',
  '/usr/share/opencv/haarcascades/haarcascade_frontalface_default.xml',
]
const PYTHON = process.env.SIGHTLINE_TEST_PYTHON ?? '/usr/bin/python3'

/** Undefined where something is missing that it needs; `why` says what. */
export async function benchClassic(): Promise<ClassicResult | { readonly why: string }> {
  const clip = sharedData('video/facenet-pytorch-video.mp4')
  if (clip === undefined) return { why: 'the test data is absent (SIGHTLINE_TEST_DATA)' }
  const cascade = CASCADES.find((file) => existsSync(file))
  if (cascade === undefined) return { why: 'there is no Haar cascade (Debian: opencv-data)' }
  const folder = await mkdtemp(join(tmpdir(), 'sightline-bench-'))
  const port = await freePort()
  const broker = spawn(process.env.SIGHTLINE_TEST_MOSQUITTO ?? 'mosquitto', ['-p', String(port)], {
    stdio: 'ignore',
  })
  try {
    await sleep(1000)
    const scripts: Script[] = []
    const agents = new Map<string, number[]>(MODES.map((mode) => [mode, []]))
    for (let round = 0; round < ROUNDS; round += 1) {
      scripts.push(await script(clip, cascade, port))
      for (const mode of MODES) agents.get(mode)?.push(await agent(clip, mode, port, folder))
    }
    const ofScript = median(scripts.map(({ perSecond }) => perSecond))
    return {
      script: ofScript,
      scriptFacesPerFrame: median(scripts.map(({ facesPerFrame }) => facesPerFrame)),
      agent: new Map(
        [...agents].map(([mode, rates]) => [
          mode,
          {
            perSecond: median(rates),
            ratio: median(rates.map((rate, at) => rate / (scripts[at]?.perSecond ?? Number.NaN))),
          },
        ]),
      ),
    }
  } finally {
    broker.kill()
    await rm(folder, { recursive: true })
  }
}

interface Script {
  readonly perSecond: number
  readonly facesPerFrame: number
}

async function script(clip: string, cascade: string, port: number): Promise<Script> {
  const file = fileURLToPath(new URL('./classic.py', import.meta.url))
  const { stdout } = await promisify(execFile)(PYTHON, [file, clip, cascade, String(port)])
  const { frames, faces, seconds } = JSON.parse(stdout) as { frames: number; faces: number; seconds: number }
  return { perSecond: frames / seconds, facesPerFrame: faces / frames }
}

/** The clip, looped as fast as possible, once the agent is warm. @returns frames a second */
async function agent(clip: string, mode: string, broker: number, folder: string): Promise<number> {
  const http = await freePort()
  const child = spawn(process.execPath, [...NODE_FLAGS, 'device/main.ts'], {
    stdio: 'ignore',
    env: {
      ...process.env,
      ...ENVIRONMENT,
      SIGHTLINE_CAMERAS: JSON.stringify([{ name: 'clip', source: clip, pace: 'asfast', loop: true }]),
      SIGHTLINE_DETECT__MODEL_FOLDER: join(folder, 'models'),
      SIGHTLINE_EMIT__MODE: mode,
      SIGHTLINE_BROKER__URL: `mqtt://127.0.0.1:${broker}`,
      SIGHTLINE_HTTP__PORT: String(http),
    },
  })
  const ended = once(child, 'exit')
  try {
    const until = Date.now() + READY_MS_MAX
    while ((await frames(http)) < 1) {
      if (Date.now() > until || child.exitCode !== null) throw new Error('the agent did not start')
      await sleep(100)
    }
    await sleep(WARM_UP_MS)
    const [before, beforeMs] = [await frames(http), performance.now()]
    await sleep(MEASURED_MS)
    return (((await frames(http)) - before) * 1000) / (performance.now() - beforeMs)
  } finally {
    child.kill('SIGTERM')
    await ended
  }
}

async function frames(port: number): Promise<number> {
  const text = await fetch(`http://127.0.0.1:${port}/metrics`).then(
    (answer) => answer.text(),
    () => '',
  )
  return Number(/^sightline_frames_captured_total\{[^}]*\} (\d+)/m.exec(text)?.[1] ?? 0)
}

export function printClassic(result: ClassicResult | { readonly why: string }): void {
  if ('why' in result) {
    console.log(`skipped: ${result.why}`)
    return
  }
  console.log(`1080p clip, everything done with each frame, medians of ${ROUNDS}\n`)
  console.log(
    `Haar cascade, PNG, paho                ${result.script.toFixed(1).padStart(6)} /s   ${result.scriptFacesPerFrame.toFixed(1)} faces a frame`,
  )
  for (const [mode, { perSecond, ratio }] of result.agent)
    console.log(
      `Sightline, emit.mode ${mode.padEnd(18)}${perSecond.toFixed(1).padStart(6)} /s   ${ratio.toFixed(1)} times (bar ${RATIO_MIN})`,
    )
}

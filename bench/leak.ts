import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import sharp from 'sharp'
import { ENVIRONMENT, NODE_FLAGS } from '../bin/runtime.js'
import { deviceSchema } from '../device/config.ts'
import { openSource } from '../device/sources/open.ts'
import { loadConfig } from '../lib/config.ts'
import { openLog } from '../lib/log.ts'
import { anonymousMemoryBytes } from '../lib/metrics.ts'
import { writeClip } from '../test/device/clip.ts'
import { sharedData } from '../test/kit/data.ts'

/**
 * Whether the agent's memory stays what it is: a clip looped as fast as possible through the whole agent for so many
 * minutes, and sources opened and closed a thousand times. Anonymous memory at the end against that after the first
 * minute (of the openings: after the first tenth).
 */
export interface LeakResult {
  readonly minutes: number
  readonly clip: Growth
  readonly openings: number
  readonly opened: Growth
}

interface Growth {
  readonly firstBytes: number
  readonly lastBytes: number
  /** Last by first, less one. */
  readonly growth: number
}

export const GROWTH_MAX = 0.1
const OPENINGS = 1000
/** Memory goes up and down with what is collected when: a value is the median of so much time. */
const SAMPLE_MS = 500
const SAMPLES = 20

export async function benchLeak({ minutes = 15, openings = OPENINGS } = {}): Promise<LeakResult> {
  const folder = await mkdtemp(join(tmpdir(), 'sightline-leak-'))
  try {
    const clip = sharedData('video/facenet-pytorch-video.mp4') ?? join(folder, 'clip.mkv')
    const small = join(folder, 'small.mkv')
    await writeClip({ file: small, frames: 50, width: 640, height: 360, codec: 'h264' })
    if (clip.startsWith(folder)) await writeClip({ file: clip, frames: 100, width: 1280, height: 720 })
    await sharp({ create: { width: 1920, height: 1080, channels: 3, background: 'teal' } })
      .jpeg()
      .toFile(join(folder, 'photo.jpg'))
    const clipGrowth = await loopClip(clip, minutes * 60_000)
    const opened = await openMany([small, join(folder, 'photo.jpg')], openings)
    return { minutes, clip: clipGrowth, openings, opened }
  } finally {
    await rm(folder, { recursive: true })
  }
}

/** The agent as a process of its own, against a broker that takes everything and keeps nothing. */
async function loopClip(clip: string, ms: number): Promise<Growth> {
  const { Aedes } = await import('aedes')
  const broker = await Aedes.createBroker()
  const server = createServer(broker.handle).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const child = spawn(process.execPath, [...NODE_FLAGS, 'device/main.ts'], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: {
      ...process.env,
      ...ENVIRONMENT,
      SIGHTLINE_CAMERAS: JSON.stringify([{ name: 'clip', source: clip, pace: 'asfast', loop: true }]),
      SIGHTLINE_BROKER__URL: `mqtt://127.0.0.1:${(server.address() as { port: number }).port}`,
      SIGHTLINE_HTTP__PORT: '0',
      SIGHTLINE_LOG__LEVEL: 'warn',
    },
  })
  const samples: number[] = []
  const start = performance.now()
  while (performance.now() - start < ms) {
    await sleep(SAMPLE_MS)
    const bytes = child.exitCode === null ? await anonymousMemoryBytes(child.pid) : undefined
    if (bytes === undefined)
      throw new Error(`the agent ended, or its memory cannot be read (${child.exitCode})`)
    samples.push(bytes)
    if (samples.length % (60_000 / SAMPLE_MS) === 0)
      process.stdout.write(
        `  after ${(samples.length * SAMPLE_MS) / 60_000} min: ${megabytes(median(samples.slice(-SAMPLES)))}\n`,
      )
  }
  await end(child)
  broker.close()
  server.close()
  // Shorter runs, to try it: a third of the time to warm up.
  const warm = Math.round(Math.min(60_000, ms / 3) / SAMPLE_MS)
  return growthOf(samples.slice(warm, warm + SAMPLES), samples.slice(-SAMPLES))
}

async function end(child: ChildProcess): Promise<void> {
  const exit = child.exitCode === null ? once(child, 'exit') : undefined
  child.kill('SIGTERM')
  await exit
}

/** Opens each source in turn, `openings` times in all, in a process of its own, which tells its memory after each. */
async function openMany(sources: readonly string[], openings: number): Promise<Growth> {
  const child = spawn(
    process.execPath,
    [...NODE_FLAGS, import.meta.filename, '--open', String(openings), ...sources],
    { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, ...ENVIRONMENT } },
  )
  const samples: number[] = []
  if (child.stdout) for await (const line of createInterface(child.stdout)) samples.push(Number(line))
  if (samples.length !== openings) throw new Error(`only ${samples.length} of ${openings} openings`)
  const some = Math.max(1, Math.min(SAMPLES, Math.floor(openings / 10)))
  const warm = Math.floor(openings / 10)
  return growthOf(samples.slice(warm, warm + some), samples.slice(-some))
}

async function openAndClose(openings: number, sources: readonly string[]): Promise<void> {
  const context = {
    input: { width: 320, height: 320 },
    events: { skipped() {}, damaged() {} },
    log: openLog('bench', 'warn'),
  }
  for (let i = 0; i < openings; i += 1) {
    const source = sources[i % sources.length]
    const { cameras } = loadConfig(deviceSchema, { overrides: { cameras: [{ name: 'c', source }] } })
    if (!cameras[0]) throw new Error('no camera')
    let left = 5
    await using opened = await openSource(cameras[0], context, new AbortController().signal)
    for await (const frame of opened) {
      await frame.cut(0, 0, 100, 100)
      frame[Symbol.dispose]()
      left -= 1
      if (left === 0) break
    }
    process.stdout.write(`${await anonymousMemoryBytes()}\n`)
  }
}

function growthOf(first: readonly number[], last: readonly number[]): Growth {
  const [firstBytes, lastBytes] = [median(first), median(last)]
  return { firstBytes, lastBytes, growth: lastBytes / firstBytes - 1 }
}

const median = (values: readonly number[]) =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN

const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(0).padStart(5)} MB`

export function printLeak({ minutes, clip, openings, opened }: LeakResult): void {
  const row = (name: string, { firstBytes, lastBytes, growth }: Growth) =>
    process.stdout.write(
      `  ${name.padEnd(44)}${megabytes(firstBytes)} ->${megabytes(lastBytes)}  ${(growth * 100).toFixed(1).padStart(6)} % (bar: ${GROWTH_MAX * 100} %)${growth > GROWTH_MAX ? '  LEAKS' : ''}\n`,
    )
  process.stdout.write('\nLeaks: anonymous memory (RssAnon), after warming up and at the end\n')
  row(`clip looped as fast as possible, ${minutes} min`, clip)
  row(`sources opened and closed ${openings} times`, opened)
}

if (import.meta.main) {
  const [what, count, ...sources] = process.argv.slice(2)
  if (what === '--open') await openAndClose(Number(count), sources)
  else printLeak(await benchLeak())
}

import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { AV_LOG_ERROR, AV_PIX_FMT_YUV420P, AVIO_FLAG_WRITE, FF_ENCODER_LIBX264 } from 'node-av/constants'
import {
  Codec,
  CodecContext,
  Dictionary,
  FFmpegError,
  FormatContext,
  Frame,
  IOContext,
  Log,
  Packet,
  Rational,
} from 'node-av/lib'
import { hashOfKey } from '../device/listen/streams-file.ts'
import { freePort } from '../test/kit/ports.ts'
import { brokerConfig, Program, type Test, temporaryFolder } from '../test/kit/programs.ts'
import { until } from '../test/kit/wait.ts'
import { BITS, HEIGHT, SQUARE, WIDTH, watchClock } from './clock-picture.ts'
import { cpuSeconds, quantile } from './stacks.ts'

/**
 * RTMP: FFmpeg publishes pictures of the time, as OBS does without delay; how old is one when a viewer of the agent's preview
 * has it with what was found in it? How long until the first is seen, and what does a stream cost the agent?
 */
const SECONDS = 10
const WARM_UP_MS = 4000
const FRAMES_PER_SECOND = 30
const SERVED = 'health and metrics are served'
const STREAMS = [1, 4] as const

export interface RtmpResult {
  readonly pictures: number
  readonly perSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
  /** From when the first publisher was let in until the camera was up. */
  readonly upMs: number
  /** Of one core, of the whole agent with detection, by number of streams. */
  readonly cpu: Readonly<Record<number, number>>
}

export async function benchRtmp(): Promise<RtmpResult> {
  await using stack = new AsyncDisposableStack()
  const own: Test = { after: (handler) => void stack.defer(handler) }
  const folder = temporaryFolder(own)
  const keys = Array.from({ length: Math.max(...STREAMS) }, () => randomBytes(16).toString('base64url'))
  const streamsFile = join(folder, 'streams.yaml')
  const streams = keys.map((key, index) => ({ name: `camera${index}`, keyHash: hashOfKey(key) }))
  writeFileSync(streamsFile, JSON.stringify({ streams }))
  const broker = await Program.start(own, 'broker', brokerConfig(own, { name: 'edge' }))
  const port = await freePort()
  const config = {
    broker: { url: broker.url },
    cameras: [],
    listen: { streamsFile, rtmp: { port } },
    remote: { folder },
    preview: { enabled: true, rateMax: FRAMES_PER_SECOND },
    http: { port: 0 },
  }
  const agent = await Program.waiting(own, 'device', config, ({ msg }) => msg === 'takes streams by RTMP')
  await until('the preview', () => agent.log.some(({ msg }) => msg === SERVED))
  const http = agent.log.find(({ msg }) => msg === SERVED)?.url
  const isUp = async () => {
    const health = (await (await fetch(`${http}/healthz`)).json()) as {
      readonly checks: Record<string, string>
    }
    return health.checks['camera camera0'] === 'up'
  }
  const cpu: Record<number, number> = {}
  const ages: number[] = []
  let published = 0
  let upMs = Number.NaN
  for (const count of STREAMS) {
    for (; published < count; published += 1) {
      await publishClock(stack, `rtmp://127.0.0.1:${port}/live/${keys[published]}`)
      if (published > 0) continue
      const startMs = performance.now()
      await until('the camera is up', isUp, 15_000)
      upMs = performance.now() - startMs
    }
    await sleep(WARM_UP_MS)
    const stop = new AbortController()
    const watching =
      count === STREAMS[0] ? watchClock(`${http}/preview/camera0.mjpeg`, ages, stop.signal) : undefined
    const before = cpuSeconds(agent.pid)
    await sleep(SECONDS * 1000)
    cpu[count] = (cpuSeconds(agent.pid) - before) / SECONDS
    stop.abort()
    await watching
  }
  ages.sort((a, b) => a - b)
  return {
    pictures: ages.length,
    perSecond: ages.length / SECONDS,
    p50Ms: quantile(ages, 0.5),
    p99Ms: quantile(ages, 0.99),
    upMs,
    cpu,
  }
}

/** A publisher in a process of its own; resolves once it was let in. */
async function publishClock(stack: AsyncDisposableStack, url: string): Promise<void> {
  const child: ChildProcess = spawn(process.execPath, [import.meta.filename, url], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
  const ended = once(child, 'exit')
  stack.defer(async () => {
    child.kill('SIGKILL')
    await ended
  })
  await Promise.race([
    once(child, 'message'),
    ended.then(() => {
      throw new Error('the publisher was not let in')
    }),
  ])
}

async function publish(url: string): Promise<void> {
  Log.setLevel(AV_LOG_ERROR)
  const encoder = Codec.findEncoderByName(FF_ENCODER_LIBX264)
  if (!encoder) throw new Error('no encoder for H.264')
  const video = new CodecContext()
  video.allocContext3(encoder)
  video.width = WIDTH
  video.height = HEIGHT
  video.pixelFormat = AV_PIX_FMT_YUV420P
  video.timeBase = new Rational(1, 1000)
  video.framerate = new Rational(FRAMES_PER_SECOND, 1)
  video.gopSize = FRAMES_PER_SECOND
  video.setFlags(0x400000 as never) // AV_CODEC_FLAG_GLOBAL_HEADER
  using settings = Dictionary.fromObject({ preset: 'ultrafast', tune: 'zerolatency' })
  check(await video.open2(encoder, settings))
  const output = new FormatContext()
  check(output.allocOutputContext2(null, 'flv', url))
  const stream = output.newStream()
  check(stream.codecpar.fromContext(video))
  stream.timeBase = video.timeBase
  const io = new IOContext()
  check(await io.open2(url, AVIO_FLAG_WRITE))
  output.pb = io
  check(await output.writeHeader())
  process.send?.('open')
  using packet = new Packet()
  packet.alloc()
  const startMs = performance.now()
  for (let number = 0; ; number += 1) {
    const waitMs = startMs + (number * 1000) / FRAMES_PER_SECOND - performance.now()
    if (waitMs > 0) await sleep(waitMs)
    using frame = new Frame()
    frame.alloc()
    frame.format = AV_PIX_FMT_YUV420P
    frame.width = WIDTH
    frame.height = HEIGHT
    check(frame.getBuffer())
    for (const [plane, data] of (frame.data ?? []).entries()) data.fill(plane === 0 ? 119 : 128)
    const [luma] = frame.data ?? []
    if (luma) drawTime(luma, frame.linesize[0] ?? WIDTH)
    frame.pts = BigInt(Math.round(performance.now() - startMs))
    check(await video.sendFrame(frame))
    while ((await video.receivePacket(packet)) >= 0) {
      check(await output.writeFrame(packet))
      packet.unref()
    }
    io.flush()
  }
}

function drawTime(luma: Buffer, stride: number): void {
  const now = Date.now() % 2 ** BITS
  for (let bit = 0; bit < BITS; bit += 1) {
    const value = Math.floor(now / 2 ** bit) % 2 ? 235 : 16
    for (let y = 0; y < 2 * SQUARE; y += 1)
      luma.fill(value, y * stride + bit * SQUARE, y * stride + (bit + 1) * SQUARE)
  }
}

function check(status: number): void {
  FFmpegError.throwIfError(status)
}

export function printRtmp({ pictures, perSecond, p50Ms, p99Ms, upMs, cpu }: RtmpResult): void {
  const costs = Object.entries(cpu).map(([streams, share]) => `${streams}: ${(share * 100).toFixed(0)} %`)
  process.stdout.write(
    `\nH.264 by RTMP, from publisher's frame to the viewer's picture, ${pictures} pictures (${perSecond.toFixed(1)}/s): ` +
      `p50 ${p50Ms.toFixed(0)} ms, p99 ${p99Ms.toFixed(0)} ms; up ${upMs.toFixed(0)} ms after the publisher was let in\n` +
      `  CPU of the agent with detection, of one core, by streams: ${costs.join(', ')}\n`,
  )
}

if (import.meta.main) process.on('disconnect', () => process.exit())
if (import.meta.main) await publish(process.argv[2] ?? '')

import { mkdtemp, rm } from 'node:fs/promises'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Dictionary, FFmpegError, FormatContext, Packet } from 'node-av/lib'
import { Agent } from '../device/agent.ts'
import { deviceSchema } from '../device/config.ts'
import { openDetectorThread } from '../device/detect/thread.ts'
import { PLAIN_SEAL } from '../device/link/seal.ts'
import { openMeters } from '../device/meters.ts'
import { CameraRecorder } from '../device/record/camera-recorder.ts'
import { Recorder } from '../device/record/recorder.ts'
import { loadConfig } from '../lib/config.ts'
import { openLog } from '../lib/log.ts'
import { anonymousMemoryBytes, openMetrics } from '../lib/metrics.ts'
import { sharedData } from '../test/kit/data.ts'
import { RtspServer } from '../test/kit/rtsp-server.ts'
import type { ClipMetadata } from '../wire/clip.ts'
import { newId } from '../wire/id.ts'

/** What recording costs: by copy alone, and beside detection with cameras of 1080p at 25 frames/s. */
export interface RecordingBenchResult {
  readonly copy: {
    readonly videoSeconds: number
    /** Seconds of video in a second of CPU. */
    readonly timesRealTimeByCpu: number
    readonly framesPerSecond: number
    readonly chunks: number
    /** Anonymous memory after a tenth, and at the end, bytes. */
    readonly memoryBytes: readonly [number, number]
  }
  readonly cameras: readonly CamerasResult[]
}

interface CamerasResult {
  readonly cameras: number
  readonly records: boolean
  /** Of the whole machine's CPU time, 0 to 1. */
  readonly cpu: number
  /** Of each camera, a second. */
  readonly detected: number
  readonly recorded: number
  readonly lost: number
}

const CLIP = 'video/facenet-pytorch-video.mp4'
const MODEL = 'models/yunet_n_320_320.onnx'
const COPIED_MINUTES = 10
const DETECTED_PER_SECOND = 5
const MEASURED_MS = 10_000
const WARM_UP_MS = 4000
/** Detection, or recording, that reaches this part of what it should counts as kept up with. */
export const KEPT_UP_MIN = 0.95
export const TIMES_REAL_TIME_MIN = 20

/** Undefined where the test data is absent. */
export async function benchRecording(most: number): Promise<RecordingBenchResult | undefined> {
  const clip = sharedData(CLIP)
  const model = sharedData(MODEL)
  if (clip === undefined || model === undefined) return undefined
  const folder = await mkdtemp(join(tmpdir(), 'sightline-bench-'))
  try {
    const copy = await copyOnly(clip)
    const stream = join(folder, 'camera.ts')
    await asTransportStream(clip, stream)
    const cameras: CamerasResult[] = []
    for (let count = 1; count <= most; count *= 2) {
      const without = await withCameras(stream, model, count, false)
      const recording = await withCameras(stream, model, count, true)
      cameras.push(without, recording)
      if (recording.recorded < 25 * KEPT_UP_MIN || recording.detected < DETECTED_PER_SECOND * KEPT_UP_MIN)
        break
    }
    return { copy, cameras }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** The clip's packets, over and over, with times that go on. */
async function copyOnly(clip: string): Promise<RecordingBenchResult['copy']> {
  const format = new FormatContext()
  format.allocContext()
  check(await format.openInput(clip))
  check(await format.findStreamInfo())
  const stream = format.streams[0]
  if (!stream) throw new Error('there is no video in it')
  const packets: Packet[] = []
  for (;;) {
    const packet = new Packet()
    packet.alloc()
    if ((await format.readFrame(packet)) < 0) break
    if (packet.streamIndex === stream.index) packets.push(packet)
    else packet.free()
  }
  let [chunks, frames] = [0, 0]
  const recorder = new CameraRecorder({
    ...{ camera: 'bench', mode: 'always', beforeMs: 0, afterMs: 0, chunkMs: 3000, waitingBytesMax: 32e6 },
    ...{ audio: false, encodeAlways: false, bitrateMax: 4e6, quality: 23, encoderThreads: 1 },
    ...{ view: { rotate: 0, mirror: 'none', masks: [] }, framesPerSecond: 25, paced: false, mint: newId },
    log: openLog('bench', 'silent'),
    events: {
      kept: ({ chunk }) => {
        chunks += 1
        frames += chunk.facts.frames
      },
      lost: () => {},
      changed: () => {},
    },
  })
  recorder.tap.opened(stream, undefined)
  const ticks = BigInt(Math.round((stream.timeBase.den / stream.timeBase.num) * (packets.length / 25)))
  const rounds = Math.ceil((COPIED_MINUTES * 60 * 25) / packets.length)
  const startCpu = process.cpuUsage()
  const startMs = performance.now()
  let early = 0
  for (let round = 0; round < rounds; round += 1) {
    for (const packet of packets) {
      recorder.tap.packet(packet, 'video', Date.now())
      packet.pts += ticks
      packet.dts += ticks
    }
    // As a source does, which waits for each packet.
    while (recorder.waitingBytes > 0) await new Promise((resolve) => setImmediate(resolve))
    if (round === Math.floor(rounds / 10)) early = (await anonymousMemoryBytes()) ?? 0
  }
  const late = (await anonymousMemoryBytes()) ?? 0
  recorder.tap.closed()
  await recorder[Symbol.asyncDispose]()
  const { user, system } = process.cpuUsage(startCpu)
  const seconds = (performance.now() - startMs) / 1000
  for (const packet of packets) packet.free()
  await format.closeInput()
  return {
    videoSeconds: frames / 25,
    timesRealTimeByCpu: frames / 25 / ((user + system) / 1e6),
    framesPerSecond: frames / seconds,
    chunks,
    memoryBytes: [early, late],
  }
}

/** So many cameras over RTSP, which this process plays too: their sending is in the figures. */
async function withCameras(
  clip: string,
  model: string,
  count: number,
  records: boolean,
): Promise<CamerasResult> {
  await using server = await RtspServer.open({ clip, framerate: 25 })
  await using detector = await openDetectorThread({ model })
  const log = openLog('bench', 'silent')
  const meters = openMeters(openMetrics('device'))
  const config = loadConfig(deviceSchema, {
    overrides: {
      cameras: Array.from({ length: count }, (_, i) => ({
        name: `camera${i}`,
        source: server.url,
        rateMax: DETECTED_PER_SECOND,
        record: { mode: records ? 'always' : 'off' },
      })),
    },
  })
  const clips: ClipMetadata[] = []
  await using recorder = await Recorder.open({
    ...{ config, meters, log, seal: PLAIN_SEAL },
    sink: { offer: ({ metadata }) => clips.push(metadata) },
  })
  const publisher = { offer: () => {}, room: async () => {}, say: () => {} }
  const agent = new Agent({
    config,
    detector,
    publisher,
    meters,
    log,
    recorder,
    onState: () => {},
    watchers: [recorder],
  })
  const stop = new AbortController()
  const running = agent.run(stop.signal).catch(() => {})
  await sleep(WARM_UP_MS)
  const sum = async (meter: { get(): Promise<{ values: readonly { value: number }[] }> }) =>
    (await meter.get()).values.reduce((total, { value }) => total + value, 0)
  const detectedBefore = await sum(meters.framesCaptured)
  const startCpu = process.cpuUsage()
  const startMs = performance.now()
  await sleep(MEASURED_MS)
  const seconds = (performance.now() - startMs) / 1000
  const { user, system } = process.cpuUsage(startCpu)
  const detected = (await sum(meters.framesCaptured)) - detectedBefore
  const lost = await sum(meters.recordLost)
  stop.abort()
  await running
  return {
    cameras: count,
    records,
    cpu: (user + system) / 1e6 / seconds / availableParallelism(),
    detected: detected / seconds / count,
    recorded: clips.length > 0 ? rateOf(clips) : 0,
    lost,
  }
}

/** Frames a second of each camera, from its first chunk to its last, whatever is missing between. */
function rateOf(clips: readonly ClipMetadata[]): number {
  const cameras = Map.groupBy(clips, ({ camera }) => camera)
  const rates = [...cameras.values()].map((of) => {
    const frames = of.reduce((sum, it) => sum + it.frames, 0)
    const [from, to] = [Math.min(...of.map((it) => it.capturedAtMs)), Math.max(...of.map((it) => it.endMs))]
    return (frames * 1000) / (to - from)
  })
  return rates.reduce((sum, rate) => sum + rate, 0) / rates.length
}

/** With start codes, as the camera wants it. */
async function asTransportStream(from: string, to: string): Promise<void> {
  const input = new FormatContext()
  input.allocContext()
  check(await input.openInput(from))
  check(await input.findStreamInfo())
  const stream = input.streams[0]
  if (!stream) throw new Error('there is no video in it')
  const output = new FormatContext()
  check(output.allocOutputContext2(null, 'mpegts', to))
  const made = output.newStream(null)
  check(stream.codecpar.copy(made.codecpar))
  made.codecpar.codecTag = 0
  check(await output.openOutput())
  using none = Dictionary.fromObject({})
  check(await output.writeHeader(none))
  using packet = new Packet()
  packet.alloc()
  while ((await input.readFrame(packet)) >= 0) {
    if (packet.streamIndex === stream.index) {
      packet.rescaleTs(stream.timeBase, made.timeBase)
      packet.streamIndex = 0
      check(await output.interleavedWriteFrame(packet))
    }
    packet.unref()
  }
  check(await output.writeTrailer())
  await output.closeOutput()
  output.freeContext()
  await input.closeInput()
}

export function printRecording({ copy, cameras }: RecordingBenchResult): void {
  const mb = (bytes: number) => `${(bytes / 1e6).toFixed(0)} MB`
  const lines = [
    `\nRecording by copy, 1080p, ${(copy.videoSeconds / 60).toFixed(0)} minutes of video in ${copy.chunks} chunks:`,
    `  ${copy.timesRealTimeByCpu.toFixed(0)} times real time by CPU (at least ${TIMES_REAL_TIME_MIN}), ${copy.framesPerSecond.toFixed(0)} frames/s`,
    `  anonymous memory ${mb(copy.memoryBytes[0])} after a tenth, ${mb(copy.memoryBytes[1])} at the end`,
    `\nCameras of 1080p at 25 frames/s over RTSP, detection at ${DETECTED_PER_SECOND} frames/s each (CPU includes their sending):`,
    ...cameras.map(
      ({ cameras: count, records, cpu, detected, recorded, lost }) =>
        `  ${String(count).padStart(2)} ${records ? 'recorded    ' : 'not recorded'}  CPU ${(cpu * 100).toFixed(0)} %, detected ${detected.toFixed(1)}/s${records ? `, recorded ${recorded.toFixed(1)}/s, lost ${lost}` : ''} each`,
    ),
  ]
  const shares = cameras.flatMap((it, i) => {
    const before = cameras[i - 1]
    return it.records && before && !before.records ? [it.cpu - before.cpu] : []
  })
  const share = shares.at(-1)
  if (share !== undefined)
    lines.push(
      `  of it recording: ${(share * 100).toFixed(1)} % of the machine; the rest is decoding, scaling and detection`,
    )
  process.stdout.write(`${lines.join('\n')}\n`)
}

function check(status: number): void {
  if (status < 0) throw new FFmpegError(status)
}

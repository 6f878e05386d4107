import { spawn, spawnSync } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { Dictionary, FFmpegError, FormatContext, Packet } from 'node-av/lib'
import { ENVIRONMENT, NODE_FLAGS } from '../bin/runtime.js'
import { sharedData } from '../test/kit/data.ts'
import { RtspServer } from '../test/kit/rtsp-server.ts'
import { type CamerasResult, DETECTED_PER_SECOND, FRAMES_PER_SECOND, type Work } from './recording-cameras.ts'
import { CHUNK_FILES, type CopyResult } from './recording-copy.ts'

/** What recording costs: by copy alone, beside FFmpeg's own; and of cameras of 1080p, beside detection, part by part. */
export interface RecordingBenchResult {
  readonly copy: CopyResult
  /** Undefined where there is no `ffmpeg`. */
  readonly ffmpegCpuSeconds: number | undefined
  /** Each number of cameras as far as it was kept up with, and one more. */
  readonly cameras: readonly CamerasResult[]
  /** The same number of cameras, each with one thing more to do. */
  readonly parts: readonly CamerasResult[]
  /** As many as there shall be, only recorded. */
  readonly recordedOnly: CamerasResult
}

const CLIP = 'video/facenet-pytorch-video.mp4'
const MODEL = 'models/yunet_n_320_320.onnx'
const CHUNK_S = 3
const PARTS: readonly Work[] = ['read', 'record', 'decode', 'detect']
/** Of the memory's samples, those before are warming up. */
const WARM = 0.4
/** Receiving, or detection, that reaches this part of what it should counts as kept up with. */
export const KEPT_UP_MIN = 0.95
export const TIMES_REAL_TIME_MIN = 20
/** Anonymous memory, of what went through: nothing stays behind. */
export const GROWTH_RATIO_MAX = 0.02

/** @param most cameras @param minutes of video by copy. Undefined where the test data is absent. */
export async function benchRecording(
  most: number,
  minutes: number,
): Promise<RecordingBenchResult | undefined> {
  const clip = sharedData(CLIP)
  const model = sharedData(MODEL)
  if (clip === undefined || model === undefined) return undefined
  const folder = await mkdtemp(join(tmpdir(), 'sightline-bench-'))
  try {
    const copy = await inProgram<CopyResult>('recording-copy.ts', [clip, String(minutes), folder])
    const ffmpegCpuSeconds = withFfmpeg(clip, minutes, folder)
    const stream = join(folder, 'camera.ts')
    await asTransportStream(clip, stream)
    await using server = await RtspServer.open({ clip: stream, framerate: FRAMES_PER_SECOND })
    const measure = (count: number, work: Work) =>
      inProgram<CamerasResult>('recording-cameras.ts', [server.url, String(count), work, model])
    const cameras: CamerasResult[] = []
    for (let count = 1; count <= most; count *= 2) {
      const result = await measure(count, 'detect')
      cameras.push(result)
      if (!isKeptUp(result)) break
    }
    const parted = cameras.findLast(isKeptUp)?.cameras ?? 1
    const parts: CamerasResult[] = []
    for (const work of PARTS)
      parts.push(
        cameras.find((it) => it.cameras === parted && it.work === work) ?? (await measure(parted, work)),
      )
    return { copy, ffmpegCpuSeconds, cameras, parts, recordedOnly: await measure(most, 'record') }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

const isKeptUp = ({ received, detected }: CamerasResult) =>
  received >= FRAMES_PER_SECOND * KEPT_UP_MIN && detected >= DETECTED_PER_SECOND * KEPT_UP_MIN

/** As Sightline's programs are started. @returns what it says at its end, JSON of one line */
async function inProgram<Result>(file: string, args: readonly string[]): Promise<Result> {
  const child = spawn(process.execPath, [...NODE_FLAGS, join(import.meta.dirname, file), ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...ENVIRONMENT },
  })
  let said = ''
  for await (const part of child.stdout) said += String(part)
  return JSON.parse(said) as Result
}

/** What people would use instead. @returns CPU seconds; undefined where there is none */
function withFfmpeg(clip: string, minutes: number, folder: string): number | undefined {
  const args = ['-nostdin', '-hide_banner', '-benchmark', '-stream_loop', '-1', '-i', clip, '-map', '0:v']
  const output = ['-c', 'copy', '-t', String(minutes * 60), '-f', 'segment', '-segment_time', String(CHUNK_S)]
  const files = ['-segment_wrap', String(CHUNK_FILES), '-reset_timestamps', '1', join(folder, 'ffmpeg%d.mp4')]
  const { stderr, error } = spawnSync('ffmpeg', [...args, ...output, ...files], { encoding: 'utf8' })
  const took = /utime=([\d.]+)s stime=([\d.]+)s/.exec(stderr ?? '')
  return error || !took ? undefined : Number(took[1]) + Number(took[2])
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

/** Least squares: by how much it grows, in the unit of its values, from one sample to the next. */
function slopeOf(values: readonly number[]): number {
  const middle = (values.length - 1) / 2
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  let [above, below] = [0, 0]
  for (const [index, value] of values.entries()) {
    above += (index - middle) * (value - mean)
    below += (index - middle) ** 2
  }
  return above / below
}

export function printRecording({
  copy,
  ffmpegCpuSeconds,
  cameras,
  parts,
  recordedOnly,
}: RecordingBenchResult): void {
  const mb = (bytes: number) => (bytes / 1e6).toFixed(0)
  const videoSeconds = copy.packets / FRAMES_PER_SECOND
  const warm = (values: readonly number[]) => values.slice(Math.floor(values.length * WARM))
  /** Along a straight line through the samples. */
  const growth = (values: readonly number[]) => slopeOf(warm(values)) * warm(values).length
  const memory = warm(copy.memoryBytes)
  const lines = [
    `\nRecording by copy, 1080p, ${(videoSeconds / 60).toFixed(0)} minutes of video, ${mb(copy.bytes)} MB in ${copy.chunks} chunks, written to files:`,
    `  ${(videoSeconds / copy.cpuSeconds).toFixed(0)} times real time by CPU (at least ${TIMES_REAL_TIME_MIN}): ${((copy.cpuSeconds * 1000) / videoSeconds).toFixed(1)} ms of CPU a second of video`,
    `  of ${copy.packets} frames ${copy.frames} are in chunks, ${copy.lost} counted as lost`,
    `  anonymous memory after warming up ${mb(Math.min(...memory))} to ${mb(Math.max(...memory))} MB; grown by ${mb(growth(copy.memoryBytes))} MB (V8's heap by ${mb(growth(copy.heapBytes))}) while ${mb(copy.bytes * (1 - WARM))} MB went through (at most ${(GROWTH_RATIO_MAX * 100).toFixed(0)} %)`,
    ffmpegCpuSeconds === undefined
      ? '  ffmpeg is not on the path: not compared'
      : `  ffmpeg -c copy -f segment: ${ffmpegCpuSeconds.toFixed(2)} s of CPU, we ${copy.cpuSeconds.toFixed(2)} s: ${(copy.cpuSeconds / ffmpegCpuSeconds).toFixed(1)} times as much`,
    `\nCameras of 1080p at ${FRAMES_PER_SECOND} frames/s over RTSP, recorded, detection at ${DETECTED_PER_SECOND} frames/s; ${availableParallelism()} cores, which the cameras' own sending shares:`,
    ...cameras.map((it) => rowOf(it)),
    `  ${limitOf(cameras)}`,
    '\nWhat it is made of, each with one thing more to do:',
    ...parts.map((it, at) => rowOf(it, parts[at - 1])),
    '\nOnly recorded:',
    rowOf(recordedOnly),
  ]
  process.stdout.write(`${lines.join('\n')}\n`)
}

function rowOf(it: CamerasResult, before?: CamerasResult): string {
  const more = before
    ? ` (+${(((it.cores - before.cores) / it.cameras) * 100).toFixed(1)} % of a core a camera)`
    : ''
  const kept =
    it.work === 'read'
      ? ''
      : `, ${it.chunks} chunks: ${it.missing} frames missing, ${it.lost} lost, ${it.gaps} gaps`
  const detected = it.work === 'detect' ? `, detected ${it.detected.toFixed(1)}/s` : ''
  return `  ${String(it.cameras).padStart(2)} ${it.work.padEnd(7)} ${it.cores.toFixed(2)} cores${more}, received ${it.received.toFixed(1)}/s${detected} each${kept}`
}

function limitOf(cameras: readonly CamerasResult[]): string {
  const kept = cameras.findLast(isKeptUp)
  const beyond = cameras.find((it) => !isKeptUp(it))
  return `${kept ? `${kept.cameras} were kept up with` : 'not one was kept up with'}${beyond ? `, ${beyond.cameras} were not` : ''}`
}

function check(status: number): void {
  if (status < 0) throw new FFmpegError(status)
}

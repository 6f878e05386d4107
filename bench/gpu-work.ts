import { readFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  AV_HWDEVICE_TYPE_CUDA,
  AV_PIX_FMT_CUDA,
  AV_PIX_FMT_NV12,
  AV_PIX_FMT_RGB24,
  AVERROR_EAGAIN,
  AVERROR_EOF,
  AVMEDIA_TYPE_VIDEO,
  FF_DECODER_H264_CUVID,
  SWS_FAST_BILINEAR,
} from 'node-av/constants'
import {
  Codec,
  CodecContext,
  FFmpegError,
  FormatContext,
  Frame,
  HardwareDeviceContext,
  Packet,
  SoftwareScaleContext,
} from 'node-av/lib'
import type { Detector } from '../device/detect/detector.ts'
import { openDetectorThread } from '../device/detect/thread.ts'
import { fitInto } from '../device/faces/crop.ts'
import { allocate, copyRows } from '../device/sources/cutter.ts'
import { asFailure } from '../lib/errors.ts'
import { readCatalog } from '../models/catalog.ts'
import { locate } from '../models/locate.ts'
import { openOnnx, type ProviderName } from '../models/onnx.ts'
import type { Tensors } from '../models/runtime.ts'

/**
 * One row of `npm run bench -- gpu`, measured in a process of its own: a provider or a decoder that fails may take the process
 * along, and TensorRT builds its engine in one call that nothing interrupts.
 */

/** Measured for so long a row, ms; and at most so many inferences. */
const MEASURE_MS = 1000
const RUNS_MAX = 300
const RUNS_MIN = 5
/** Played for so long a row, ms, over and over. */
const PLAY_MS = 3000

export const WAYS = ['cpu', 'cuvid', 'cuda', 'cuda-kept'] as const
export type Way = (typeof WAYS)[number]

export type Job =
  | {
      readonly do: 'model'
      readonly model: string
      readonly folder: string | undefined
      readonly provider: ProviderName
      readonly threads: number
      readonly batch: number
    }
  | { readonly do: 'decode'; readonly way: Way; readonly clip: string }
  | {
      readonly do: 'pipeline'
      readonly way: Way
      readonly clip: string
      readonly model: string
      readonly folder: string | undefined
      readonly provider: ProviderName
      readonly threads: number
    }

/** What came of a job. */
export interface Measured {
  /** Opening the model, or the decoder. TensorRT builds its engine here, or with the first inference. */
  readonly openMs: number
  readonly firstMs: number
  readonly p50Ms?: number
  readonly framesPerSecond: number
  readonly facesPerSecond?: number
  /** The input's shape, or what plays. */
  readonly what: string
  /** A model whose batch is free can be asked again with a larger one. */
  readonly batchFree?: boolean
}

async function measure(job: Job): Promise<Measured> {
  if (job.do === 'model') return await measureModel(job)
  if (job.do === 'decode') return await measureDecoding(job)
  return await measurePipeline(job)
}

/** A catalogue's model lies in the folder of the test data, or is made from an npm package, then in a folder of its own. */
function options(model: string, folder: string | undefined) {
  const { entries } = readCatalog(join(tmpdir(), 'sightline-bench-no-catalog'))
  const isFile = entries.get(model)?.file !== undefined
  return { model, modelFolder: isFile && folder !== undefined ? folder : undefined }
}

async function measureModel(job: Job & { do: 'model' }): Promise<Measured> {
  const { bytes, entry, inputSize } = await locate(options(job.model, job.folder))
  if (!bytes) throw new Error('no ONNX file')
  const startMs = performance.now()
  await using runtime = await openOnnx(bytes, job.model, job.threads, job.provider)
  const openMs = performance.now() - startMs
  const [input] = runtime.inputs
  if (input?.type !== 'float32' || runtime.inputs.length !== 1)
    throw new Error('its input is not one float32')
  const sides = inputSize ?? entry?.input ?? { width: 256, height: 256 }
  const isFirst = input.shape.length === 4 && (input.shape[1] === 3 || input.shape[1] === 1)
  const free = isFirst ? [job.batch, 3, sides.height, sides.width] : [job.batch, sides.height, sides.width, 3]
  const batchFree = typeof input.shape[0] !== 'number' || input.shape[0] < 1
  const shape = input.shape.map((side, at) => (typeof side === 'number' && side > 0 ? side : (free[at] ?? 1)))
  if (shape[0] !== job.batch) throw new Error(`its batch is ${shape[0]}`)
  // No zeros: some kernels are quicker, or slower, on them.
  const data = Float32Array.from(
    { length: shape.reduce((a, b) => a * b, 1) },
    (_, at) => ((at * 37) % 251) / 251,
  )
  const inputs: Tensors = new Map([[input.name, { type: 'float32', shape, data }]])
  const firstAtMs = performance.now()
  await runtime.run(inputs)
  const firstMs = performance.now() - firstAtMs
  await runtime.run(inputs)
  const times: number[] = []
  const endMs = performance.now() + MEASURE_MS
  while (times.length < RUNS_MAX && (performance.now() < endMs || times.length < RUNS_MIN)) {
    const atMs = performance.now()
    await runtime.run(inputs)
    times.push(performance.now() - atMs)
  }
  const totalMs = times.reduce((a, b) => a + b, 0)
  return {
    openMs,
    firstMs,
    p50Ms: times.sort((a, b) => a - b)[times.length >> 1] as number,
    framesPerSecond: (times.length * job.batch * 1000) / totalMs,
    what: shape.join('x'),
    batchFree,
  }
}

async function measureDecoding({ way, clip }: Job & { do: 'decode' }): Promise<Measured> {
  const played = await play(way, clip, () => {})
  return played
}

/**
 * Decoded, scaled to the detector's input, looked at; the next frame is decoded and scaled meanwhile. Without tracks and crops:
 * the device decodes on the CPU, so this is what decoding on the GPU would be worth.
 */
async function measurePipeline(job: Job & { do: 'pipeline' }): Promise<Measured> {
  await using detector = await openDetectorThread({
    ...options(job.model, job.folder),
    provider: job.provider,
    threads: job.threads,
  })
  using small = new Scaled(detector)
  let faces = 0
  let looking = Promise.resolve()
  const played = await play(job.way, job.clip, async (frame) => {
    const picture = await small.scale(frame)
    await looking
    looking = detector.detect(picture).then((found) => {
      faces += found.length
    })
  })
  await looking
  const seconds = played.frames / played.framesPerSecond
  return { ...played, facesPerSecond: faces / seconds, what: `${played.what}, ${detector.runtime}` }
}

class Scaled implements Disposable {
  readonly #detector: Detector
  readonly #scaler = new SoftwareScaleContext()
  #made: ReturnType<typeof allocate> | undefined

  constructor(detector: Detector) {
    this.#detector = detector
    this.#scaler.allocContext()
    this.#scaler.setOption('sws_flags', String(SWS_FAST_BILINEAR))
  }

  async scale(frame: Frame) {
    const size = fitInto({ width: frame.width, height: frame.height }, this.#detector.input)
    this.#made ??= allocate(size, AV_PIX_FMT_RGB24)
    FFmpegError.throwIfError(await this.#scaler.scaleFrame(this.#made, frame), 'scaleFrame')
    const { data, linesize } = this.#made
    return { data: copyRows({ data, linesize }, { left: 0, top: 0, ...size }), ...size }
  }

  [Symbol.dispose](): void {
    this.#made?.free()
    this.#scaler.freeContext()
  }
}

/** Plays the clip over and over. `look` gets each frame in memory of the CPU, but for those that stay on the GPU. */
async function play(
  way: Way,
  clip: string,
  look: (frame: Frame) => unknown,
): Promise<Measured & { frames: number }> {
  let openMs = 0
  let firstMs = 0
  let playedMs = 0
  let frames = 0
  let what = ''
  for (let pass = 0; playedMs < PLAY_MS || pass < 2; pass += 1) {
    const startMs = performance.now()
    await using media = await open(way, clip)
    const openedMs = performance.now()
    what = media.what
    let atMs = openedMs
    for await (const frame of media.frames()) {
      if (frames === 0 && firstMs === 0) firstMs = performance.now() - openedMs
      // The first frame waits for the decoder to begin: it is no part of the speed.
      if (atMs === openedMs) atMs = performance.now()
      else frames += 1
      await look(frame)
    }
    playedMs += performance.now() - atMs
    if (pass === 0) openMs = openedMs - startMs
  }
  return { openMs, firstMs, framesPerSecond: (frames * 1000) / playedMs, frames, what }
}

async function open(way: Way, clip: string) {
  readFileSync(clip).subarray(0, 1) // a sentence of the system's where it is not there
  const format = new FormatContext()
  format.allocContext()
  FFmpegError.throwIfError(await format.openInput(clip, null, null), 'opening the clip')
  FFmpegError.throwIfError(await format.findStreamInfo(), 'reading the clip')
  const found = format.findBestStream(AVMEDIA_TYPE_VIDEO, -1, -1, true)
  const stream = format.streams[found.streamIndex]
  const decoder = way === 'cuvid' ? Codec.findDecoderByName(FF_DECODER_H264_CUVID) : found.decoder
  if (!decoder || !stream) throw new Error(way === 'cuvid' ? 'no h264_cuvid in this build' : 'no decoder')
  const codec = new CodecContext()
  codec.allocContext3(decoder)
  codec.parametersToContext(stream.codecpar)
  codec.pktTimebase = stream.timeBase
  codec.threadCount = way === 'cpu' ? availableParallelism() : 1
  const device = way === 'cpu' ? undefined : new HardwareDeviceContext()
  if (device) {
    FFmpegError.throwIfError(device.create(AV_HWDEVICE_TYPE_CUDA, null, null), 'opening the GPU (CUDA)')
    codec.hwDeviceCtx = device
    if (way !== 'cuvid') codec.setHardwarePixelFormat(AV_PIX_FMT_CUDA, AV_PIX_FMT_NV12)
  }
  FFmpegError.throwIfError(await codec.open2(decoder, null), 'opening the decoder')
  const { width, height } = stream.codecpar
  return {
    what: `${width}x${height}`,
    async *frames(): AsyncGenerator<Frame, void> {
      using packet = new Packet()
      packet.alloc()
      let isOver = false
      while (!isOver) {
        const read = await format.readFrame(packet)
        isOver = read === AVERROR_EOF
        if (!isOver) FFmpegError.throwIfError(read, 'reading')
        if (!isOver && packet.streamIndex !== found.streamIndex) {
          packet.unref()
          continue
        }
        const sent = await codec.sendPacket(isOver ? null : packet)
        if (sent !== AVERROR_EAGAIN) FFmpegError.throwIfError(sent, 'decoding')
        packet.unref()
        for (;;) {
          using frame = new Frame()
          frame.alloc()
          const status = await codec.receiveFrame(frame)
          if (status === AVERROR_EAGAIN || status === AVERROR_EOF) break
          FFmpegError.throwIfError(status, 'decoding')
          if (way === 'cpu' || way === 'cuvid') {
            yield frame
            continue
          }
          if (frame.format !== AV_PIX_FMT_CUDA) throw new Error('the decoder does not use the GPU')
          if (way === 'cuda-kept') yield frame
          else {
            using copied = new Frame()
            copied.alloc()
            FFmpegError.throwIfError(await frame.hwframeTransferData(copied), 'copying from the GPU')
            yield copied
          }
        }
      }
    },
    async [Symbol.asyncDispose]() {
      codec.freeContext()
      await format.closeInput()
      device?.free()
    },
  }
}

if (process.send !== undefined)
  process.on('message', (job: Job) => {
    measure(job).then(
      (measured) => process.send?.({ measured }),
      (error: unknown) =>
        process.send?.({ why: asFailure(error).message.replace(/^Unexpected error: /, '') }),
    )
  })

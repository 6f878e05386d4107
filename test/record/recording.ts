import { createHash } from 'node:crypto'
import { AV_PKT_DATA_DISPLAYMATRIX, AVMEDIA_TYPE_AUDIO, AVMEDIA_TYPE_VIDEO } from 'node-av/constants'
import { CodecContext, FFmpegError, FormatContext, Frame, IOContext, Packet } from 'node-av/lib'
import type { z } from 'zod'
import { type CameraConfig, deviceSchema } from '../../device/config.ts'
import type { Frame as SourceFrame } from '../../device/frame.ts'
import { PLAIN_SEAL } from '../../device/link/seal.ts'
import { openMeters } from '../../device/meters.ts'
import { Recorder } from '../../device/record/recorder.ts'
import { openSource } from '../../device/sources/open.ts'
import { type Orientation, orientationOf } from '../../device/sources/turn.ts'
import { openLog } from '../../lib/log.ts'
import { openMetrics } from '../../lib/metrics.ts'
import type { ClipMetadata } from '../../wire/clip.ts'

export interface RecordedClip {
  readonly metadata: ClipMetadata
  readonly payload: Buffer
}

export type CameraInput = z.input<typeof deviceSchema>['cameras'] extends (infer Camera)[] | undefined
  ? Partial<Camera>
  : never

/** A recorder for one camera, and what comes out of it. @param isKept whether there is room for a clip; absent: always */
export async function openRecorder(settings: CameraInput, isKept?: (clip: RecordedClip) => boolean) {
  const config = deviceSchema.parse({ cameras: [{ name: 'door', source: 'testcard', ...settings }] })
  const [camera] = config.cameras as [CameraConfig]
  const clips: RecordedClip[] = []
  const registry = openMetrics('device')
  const meters = openMeters(registry)
  const log = openLog('device', 'silent')
  const recorder = await Recorder.open({
    ...{ config, meters, log, seal: PLAIN_SEAL },
    sink: {
      offer: (clip) => {
        if (isKept?.(clip) === false) recorder.lost(clip.metadata)
        else clips.push(clip)
      },
    },
  })
  return { config, camera, clips, meters, recorder, log }
}

/** Plays a source to its end, or until told to stop, as the agent does, without detection. */
export async function record(
  settings: CameraInput,
  {
    see,
    signal = new AbortController().signal,
  }: { see?: (frame: SourceFrame, recorder: Recorder) => Promise<void> | void; signal?: AbortSignal } = {},
) {
  const { camera, clips, meters, recorder, log } = await openRecorder(settings)
  const context = {
    ...{ input: { width: 320, height: 240 }, log, tap: recorder.tap('door') },
    events: { skipped: () => {}, damaged: () => {} },
  }
  try {
    await using source = await openSource(camera, context, signal)
    for await (const frame of source) {
      await see?.(frame, recorder)
      frame[Symbol.dispose]()
    }
  } finally {
    recorder.tap('door')?.closed()
    await recorder[Symbol.asyncDispose]()
  }
  return { clips, meters }
}

/** What players get: the first chunk as it is, of the others what follows the beginning. */
export function joined(clips: readonly RecordedClip[]): Buffer {
  return Buffer.concat(
    clips.map(({ payload, metadata }, index) =>
      index === 0 ? payload : payload.subarray(metadata.initBytes),
    ),
  )
}

export interface Decoded {
  /** Of each picture in the order shown: a hash of its pixels, and its time, s. */
  readonly pictures: readonly { readonly hash: string; readonly at: number; readonly lasts: number }[]
  readonly size: readonly [number, number]
  /** Packets of sound: times, s. */
  readonly sound: readonly number[]
  /** That the sound decodes to. */
  readonly samples: number
  readonly tag: string | null
  readonly errors: number
  /** How players are to turn it. */
  readonly orientation: Orientation
}

/** Decodes a file or bytes to the end. */
export async function decode(
  from: string | Buffer,
  look?: (picture: Frame, index: number) => void,
): Promise<Decoded> {
  const format = new FormatContext()
  format.allocContext()
  const bytes = typeof from === 'string' ? undefined : from
  let at = 0
  const io = new IOContext()
  if (bytes) {
    io.allocContextWithCallbacks(
      65_536,
      0,
      (size) => {
        if (at >= bytes.length) return null
        const part = bytes.subarray(at, at + size)
        at += part.length
        return part
      },
      null,
    )
    format.pb = io
  }
  check(await format.openInput(typeof from === 'string' ? from : ''))
  check(await format.findStreamInfo())
  const { streamIndex, decoder } = format.findBestStream(AVMEDIA_TYPE_VIDEO, -1, -1, true)
  const stream = format.streams[streamIndex]
  if (!stream || !decoder) throw new Error('there is no video in it')
  const codec = new CodecContext()
  codec.allocContext3(decoder)
  codec.parametersToContext(stream.codecpar)
  codec.pktTimebase = stream.timeBase
  codec.threadCount = 1
  check(await codec.open2(decoder, null))
  const { num, den } = stream.timeBase
  const pictures: { hash: string; at: number; lasts: number }[] = []
  const sound: number[] = []
  let [errors, samples] = [0, 0]
  const found = format.findBestStream(AVMEDIA_TYPE_AUDIO, -1, -1, true)
  const voice = found.decoder && format.streams[found.streamIndex] ? new CodecContext() : undefined
  if (voice && found.decoder) {
    voice.allocContext3(found.decoder)
    const of = format.streams[found.streamIndex]
    if (of) voice.parametersToContext(of.codecpar)
    check(await voice.open2(found.decoder, null))
  }
  using picture = new Frame()
  picture.alloc()
  using packet = new Packet()
  packet.alloc()
  const drain = async () => {
    while ((await codec.receiveFrame(picture)) >= 0) {
      const hash = createHash('sha1')
      for (const [plane, data] of (picture.data ?? []).entries()) {
        const stride = picture.linesize[plane] ?? 0
        const rows = plane === 0 ? picture.height : Math.ceil(picture.height / 2)
        const width = plane === 0 ? picture.width : Math.ceil(picture.width / 2)
        for (let row = 0; row < rows; row += 1) hash.update(data.subarray(row * stride, row * stride + width))
      }
      if (picture.decodeErrorFlags) errors += 1
      look?.(picture, pictures.length)
      pictures.push({
        hash: hash.digest('hex'),
        at: (Number(picture.bestEffortTimestamp) * num) / den,
        lasts: (Number(picture.duration) * num) / den,
      })
    }
  }
  while ((await format.readFrame(packet)) >= 0) {
    const of = format.streams[packet.streamIndex]
    if (packet.streamIndex === streamIndex) {
      if ((await codec.sendPacket(packet)) < 0) errors += 1
      await drain()
    } else if (of?.codecpar.codecType === AVMEDIA_TYPE_AUDIO) {
      sound.push((Number(packet.pts) * of.timeBase.num) / of.timeBase.den)
      if (voice && (await voice.sendPacket(packet)) < 0) errors += 1
      while (voice && (await voice.receiveFrame(picture)) >= 0) samples += picture.nbSamples
    }
    packet.unref()
  }
  await codec.sendPacket(null)
  await drain()
  const { width, height, codecTagString } = stream.codecpar
  const orientation = orientationOf(stream.codecpar.getCodedSideData(AV_PKT_DATA_DISPLAYMATRIX))
  codec.freeContext()
  voice?.freeContext()
  if (bytes) {
    format.pb = null
    await format.closeInput()
    io.freeContext()
  } else await format.closeInput()
  return { pictures, size: [width, height], sound, tag: codecTagString, errors, orientation, samples }
}

/** The same packets in another container, which the name's ending chooses. @param laterS its clock is so far ahead, s */
export async function remux(from: string, to: string, laterS = 0): Promise<void> {
  const input = new FormatContext()
  input.allocContext()
  check(await input.openInput(from))
  check(await input.findStreamInfo())
  const output = new FormatContext()
  check(output.allocOutputContext2(null, null, to))
  for (const { codecpar, timeBase } of input.streams) {
    const made = output.newStream(null)
    check(codecpar.copy(made.codecpar))
    made.codecpar.codecTag = 0
    made.timeBase = timeBase
  }
  check(await output.openOutput())
  check(await output.writeHeader())
  using packet = new Packet()
  packet.alloc()
  while ((await input.readFrame(packet)) >= 0) {
    const [of, made] = [input.streams[packet.streamIndex], output.streams[packet.streamIndex]]
    if (of && made) {
      packet.rescaleTs(of.timeBase, made.timeBase)
      const later = BigInt(Math.round((laterS * made.timeBase.den) / made.timeBase.num))
      packet.pts += later
      packet.dts += later
    }
    check(await output.interleavedWriteFrame(packet))
  }
  check(await output.writeTrailer())
  await output.closeOutput()
  output.freeContext()
  await input.closeInput()
}

function check(status: number): void {
  if (status < 0) throw new FFmpegError(status)
}

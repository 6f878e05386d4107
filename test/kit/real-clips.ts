import { AV_PIX_FMT_YUV420P } from 'node-av/constants'
import { FFmpegError, Frame } from 'node-av/lib'
import { ENCODER_CLOCK, Encoder } from '../../device/record/encoder.ts'
import { type Chunk, Segmenter } from '../../device/record/segmenter.ts'
import { CLIP_VERSION, type ClipMetadata, type GapReason, writeClip } from '../../wire/clip.ts'
import { idMinter } from '../../wire/id.ts'

/** Chunks that play: a bar and a square that move, made by the agent's own encoder and segmenter. */
export interface RealClips {
  readonly site?: string
  readonly device?: string
  readonly camera?: string
  /** When the first one begins, ms since 1970; default: so that the last one ends now. */
  readonly startMs?: number
  readonly chunks?: number
  readonly chunkMs?: number
  readonly width?: number
  readonly height?: number
  readonly framesPerSecond?: number
  /** Nothing is recorded for so long before this chunk (its number, from 0), ms. */
  readonly gap?: { readonly before: number; readonly ms: number; readonly why: GapReason }
  /** What else their metadata says. */
  readonly more?: Partial<ClipMetadata>
}

/** One run of them, in order. About 30 ms a second of video. */
export async function makeRealClips(options: RealClips = {}) {
  const { site = 'site', device = 'device', camera = 'camera', chunks = 10, chunkMs = 3000 } = options
  const { width = 320, height = 180, framesPerSecond = 25, gap } = options
  const startMs = options.startMs ?? Date.now() - chunks * chunkMs - (gap?.ms ?? 0)
  let atMs = startMs
  const made: Chunk[] = []
  const encoder = await Encoder.open({
    ...{ width, height, framesPerSecond },
    ...{ bitrateMax: 2_000_000, quality: 28, threads: 1 },
  })
  const segmenter = new Segmenter({
    ...{ chunkMs, chunkMsMax: 2 * chunkMs, bytesMax: 15_000_000, paced: true },
    mint: idMinter(() => atMs),
    take: (chunk) => made.push(chunk),
  })
  await segmenter.begin(encoder.track.clone(), undefined, { rotation: 0, encoded: true })
  using picture = new Frame()
  picture.alloc()
  picture.width = width
  picture.height = height
  picture.format = AV_PIX_FMT_YUV420P
  check(picture.getBuffer())
  const perChunk = Math.round((chunkMs / 1000) * framesPerSecond)
  let lateMs = 0
  for (let number = 0; number < chunks * perChunk; number += 1) {
    const isKey = number % perChunk === 0
    if (gap && number === gap.before * perChunk) {
      lateMs = gap.ms
      await segmenter.interrupt(gap.why)
    }
    draw(picture, number, { width, height })
    const pts = BigInt(Math.round((number * ENCODER_CLOCK) / framesPerSecond))
    atMs = startMs + lateMs + (number * 1000) / framesPerSecond
    for (const packet of await encoder.encode(picture, pts, isKey))
      await segmenter.put(packet, 'video', atMs, atMs)
  }
  await segmenter[Symbol.asyncDispose]()
  encoder[Symbol.dispose]()
  return made.map(({ init, fragments, facts }) => {
    const metadata: ClipMetadata = {
      ...{ v: CLIP_VERSION, site, device, camera, clockSane: true, because: 'always' },
      ...facts,
      ...options.more,
    }
    return { metadata, payload: writeClip(init, fragments, metadata) }
  })
}

/** A grey that runs through, and a bright square that goes from left to right in five seconds. */
function draw(picture: Frame, number: number, { width, height }: { width: number; height: number }): void {
  check(picture.makeWritable())
  const [luma, blue, red] = picture.data ?? []
  const [stride = 0] = picture.linesize
  if (!luma || !blue || !red) throw new Error('the picture is empty')
  const row = Buffer.alloc(width)
  for (let x = 0; x < width; x += 1) row[x] = 40 + (((x + number) >> 2) % 80)
  const side = Math.round(height / 4)
  const left = Math.round(((number % 125) / 125) * (width - side))
  const bright = Buffer.from(row).fill(230, left, left + side)
  for (let y = 0; y < height; y += 1) (y > side && y < 2 * side ? bright : row).copy(luma, y * stride)
  blue.fill(128 + (number % 100) - 50)
  red.fill(128)
}

function check(status: number): void {
  if (status < 0) throw new FFmpegError(status)
}

import {
  AV_CODEC_ID_AAC,
  AV_CODEC_ID_AV1,
  AV_CODEC_ID_H264,
  AV_CODEC_ID_HEVC,
  AV_CODEC_ID_OPUS,
} from 'node-av/constants'
import { CodecParameters, Rational } from 'node-av/lib'
import type { ClipMetadata } from '../../wire/clip.ts'
import type { TappedStream } from './tap.ts'

export interface TimeBase {
  readonly num: number
  readonly den: number
}

const VIDEO_CODECS: ReadonlyMap<number, ClipMetadata['codec']> = new Map([
  [AV_CODEC_ID_H264, 'h264'],
  [AV_CODEC_ID_HEVC, 'hevc'],
  [AV_CODEC_ID_AV1, 'av1'],
])
const AUDIO_CODECS: ReadonlyMap<number, NonNullable<ClipMetadata['audio']>['codec']> = new Map([
  [AV_CODEC_ID_AAC, 'aac'],
  [AV_CODEC_ID_OPUS, 'opus'],
])

/** What a recording keeps of a stream of packets once its container is gone: its parameters, a copy, and its time base. */
export class Track implements Disposable {
  readonly codecpar: CodecParameters
  readonly timeBase: Rational
  /** How long a frame lasts, as the container says, seconds. */
  readonly frameSeconds: number

  constructor({
    codecpar,
    timeBase,
    avgFrameRate,
  }: Pick<TappedStream, 'codecpar' | 'timeBase' | 'avgFrameRate'>) {
    this.codecpar = new CodecParameters()
    this.codecpar.alloc()
    codecpar.copy(this.codecpar)
    this.timeBase = timeBase
    const { num, den } = avgFrameRate
    this.frameSeconds = num > 0 && den > 0 ? den / num : 1 / 25
  }

  /** Of its own: whoever takes one frees it. */
  clone(): Track {
    const { codecpar, timeBase, frameSeconds } = this
    const avgFrameRate = new Rational(Math.round(1e6 / frameSeconds), 1e6)
    return new Track({ codecpar, timeBase, avgFrameRate })
  }

  /** What can be copied into a chunk; undefined for what cannot. */
  get videoCodec(): ClipMetadata['codec'] | undefined {
    return VIDEO_CODECS.get(this.codecpar.codecId)
  }

  get audio(): NonNullable<ClipMetadata['audio']> | undefined {
    const codec = AUDIO_CODECS.get(this.codecpar.codecId)
    const { sampleRate, channels } = this.codecpar
    return codec && sampleRate > 0 && channels > 0 ? { codec, sampleRate, channels } : undefined
  }

  /** Whether the packets of the other go on where those of this one end: the same beginning serves both. */
  isLike(other: Track): boolean {
    const [mine, its] = [this.codecpar, other.codecpar]
    return (
      mine.codecId === its.codecId &&
      mine.width === its.width &&
      mine.height === its.height &&
      mine.sampleRate === its.sampleRate &&
      mine.channels === its.channels &&
      this.timeBase.num === other.timeBase.num &&
      this.timeBase.den === other.timeBase.den &&
      (mine.extradata ?? Buffer.alloc(0)).equals(its.extradata ?? Buffer.alloc(0))
    )
  }

  /** The stream has other parameters from here on. @param extradata as the codec has it */
  take(extradata: Buffer): void {
    this.codecpar.extradata = extradata
    // It fills in what is not known.
    this.codecpar.width = 0
    this.codecpar.height = 0
    this.codecpar.parseExtradata()
  }

  [Symbol.dispose](): void {
    this.codecpar.free()
  }
}

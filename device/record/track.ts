import {
  AV_CODEC_ID_AAC,
  AV_CODEC_ID_AV1,
  AV_CODEC_ID_H264,
  AV_CODEC_ID_HEVC,
  AV_CODEC_ID_OPUS,
} from 'node-av/constants'
import { CodecParameters, type Packet, Rational } from 'node-av/lib'
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
  /** Each packet has a header of its own (ADTS). */
  #isWrapped: boolean
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
    this.#isWrapped = codecpar.codecId === AV_CODEC_ID_AAC && codecpar.extradataSize === 0
    if (this.#isWrapped) this.codecpar.extradata = audioConfigOf(codecpar)
    this.timeBase = timeBase
    const { num, den } = avgFrameRate
    this.frameSeconds = num > 0 && den > 0 ? den / num : 1 / 25
  }

  /** Of its own: whoever takes one frees it. */
  clone(): Track {
    const { codecpar, timeBase, frameSeconds } = this
    const avgFrameRate = new Rational(Math.round(1e6 / frameSeconds), 1e6)
    const copy = new Track({ codecpar, timeBase, avgFrameRate })
    copy.#isWrapped = this.#isWrapped
    return copy
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

  /** Takes off of a packet of sound what MP4 says once. */
  unwrap(packet: Packet): void {
    const data = this.#isWrapped ? packet.data : null
    if (!data || data.length < 9 || data[0] !== 0xff || ((data[1] as number) & 0xf6) !== 0xf0) return
    // A checksum of two bytes follows where the last bit is 0.
    packet.data = Buffer.from(data.subarray((data[1] as number) & 1 ? 7 : 9))
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

/** ISO/IEC 14496-3, 1.6.3.4 */
const SAMPLE_RATES = [
  96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8000, 7350,
]

/** What MP4 says of AAC once, and MPEG-TS in the header of each packet (ADTS): AudioSpecificConfig. */
function audioConfigOf({ profile, sampleRate, channels }: CodecParameters): Buffer {
  const type = profile >= 0 && profile < 4 ? profile + 1 : 2
  const rate = Math.max(0, SAMPLE_RATES.indexOf(sampleRate))
  return Buffer.from([(type << 3) | (rate >> 1), ((rate & 1) << 7) | ((channels === 8 ? 7 : channels) << 3)])
}

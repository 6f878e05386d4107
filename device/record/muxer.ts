import { AV_CODEC_ID_HEVC, AV_PKT_DATA_DISPLAYMATRIX } from 'node-av/constants'
import { Dictionary, FFmpegError, FormatContext, IOContext, type Packet } from 'node-av/lib'
import { failure } from '../../lib/errors.ts'
import type { Track } from './track.ts'

/** How much FFmpeg collects before it hands bytes over, bytes. */
const BUFFER_BYTES = 65_536

/**
 * Fragments where we say so (`frag_custom`), a `moov` without samples before them, and time stamps as they are given: no edit
 * list, nothing moved to zero (the first sample of a track that begins late would last until then), and `frag_discont`, since
 * what comes first need not be at 0. Not `negative_cts_offsets`: players made of FFmpeg then show reordered frames late, and
 * the sound is ahead.
 */
const SETTINGS = {
  movflags: 'frag_custom+empty_moov+default_base_moof+frag_discont+use_metadata_tags',
  use_editlist: '0',
  avoid_negative_ts: 'disabled',
}

/** H.265 with its parameter sets in the `moov` alone. Apple's players take no other; Chromium takes both where it has H.265 at all. */
const HVC1 = 'hvc1'

/**
 * One run of fragmented MP4: packets in, fragments out. FFmpeg keeps the packets of a fragment until it is cut.
 * One thing at a time: whoever calls awaits each call before the next.
 */
export class Muxer implements AsyncDisposable {
  readonly #format: FormatContext
  readonly #io: IOContext
  readonly #written: Buffer[]
  readonly #tracks: readonly Track[]
  /** ftyp and moov. */
  readonly init: Buffer
  /** RFC 6381, of all tracks: `avc1.64001f,mp4a.40.2`. */
  readonly codecs: string

  private constructor(
    format: FormatContext,
    io: IOContext,
    written: Buffer[],
    tracks: readonly Track[],
    init: Buffer,
  ) {
    this.#format = format
    this.#io = io
    this.#written = written
    this.#tracks = tracks
    this.init = init
    this.codecs = format.streams.map(({ codecpar }) => codecpar.getCodecString()).join(',')
  }

  /** Errors: RECORD_FAILED. */
  static async open(video: Track, audio: Track | undefined, rotation: 0 | 90 | 180 | 270): Promise<Muxer> {
    const format = new FormatContext()
    check(format.allocOutputContext2(null, 'mp4', null))
    const written: Buffer[] = []
    const io = new IOContext()
    io.allocContextWithCallbacks(BUFFER_BYTES, 1, null, (bytes) => {
      written.push(Buffer.from(bytes)) // FFmpeg's own memory: copied before it goes on
      return bytes.length
    })
    format.pb = io
    const tracks = audio ? [video, audio] : [video]
    try {
      for (const { codecpar, timeBase } of tracks) {
        const stream = format.newStream(null)
        check(codecpar.copy(stream.codecpar))
        // The tag of the container that it comes from is none of MP4's.
        stream.codecpar.codecTag = codecpar.codecId === AV_CODEC_ID_HEVC ? HVC1 : 0
        stream.timeBase = timeBase
      }
      // Also where it is none: the container that it comes from may have said another one.
      format.streams[0]?.codecpar.addCodedSideData(AV_PKT_DATA_DISPLAYMATRIX, displayMatrix(rotation))
      using settings = Dictionary.fromObject(SETTINGS)
      check(await format.writeHeader(settings))
      await io.flush()
    } catch (error) {
      release(format, io)
      throw error
    }
    return new Muxer(format, io, written, tracks, Buffer.concat(written.splice(0)))
  }

  /** Keeps a reference to the packet's data. Its times, in the track's time base, are converted. Errors: RECORD_FAILED. */
  write(packet: Packet, of: 'video' | 'audio'): void {
    const index = of === 'video' ? 0 : 1
    const stream = this.#format.streams[index]
    const track = this.#tracks[index]
    if (!stream || !track) throw new RangeError(`this run has no ${of}`)
    packet.streamIndex = index
    packet.rescaleTs(track.timeBase, stream.timeBase)
    // With `frag_custom` nothing is handed over before the cut, so nothing can block here.
    check(this.#format.writeFrameSync(packet))
  }

  /** Everything since the last cut: moof and mdat. Errors: RECORD_FAILED. */
  async cut(): Promise<Buffer> {
    check(await this.#format.writeFrame(null))
    await this.#io.flush()
    return Buffer.concat(this.#written.splice(0))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // What it would write at the end (mfra) belongs to files that have one.
    await this.#format.writeTrailer()
    await this.#io.flush()
    release(this.#format, this.#io)
    this.#written.length = 0
  }
}

/** The context would free the buffer along with itself, and the buffer then again. */
function release(format: FormatContext, io: IOContext): void {
  format.pb = null
  format.freeContext()
  io.freeContext()
}

/** libavutil/display.h: three rows of three, 16.16 and 2.30 fixed point; clockwise. */
function displayMatrix(rotation: 0 | 90 | 180 | 270): Buffer {
  const [a, b, c, d] = { 0: [1, 0, 0, 1], 90: [0, 1, -1, 0], 180: [-1, 0, 0, -1], 270: [0, -1, 1, 0] }[
    rotation
  ] as [number, number, number, number]
  const matrix = Buffer.alloc(36)
  for (const [value, at] of [
    [a, 0],
    [b, 4],
    [c, 12],
    [d, 16],
  ] as const)
    matrix.writeInt32LE(value * 65_536, at)
  matrix.writeInt32LE(1 << 30, 32)
  return matrix
}

function check(status: number): void {
  if (status >= 0) return
  const cause = new FFmpegError(status)
  throw failure('RECORD_FAILED', `Cannot write a recording (${cause.message}).`, cause)
}

import { FLV_AUDIO, FLV_VIDEO, flvHeader, flvTag } from '../flv.ts'

/**
 * A publisher's audio and video messages, as one FLV file after another: each has one codec and one size, begins with its
 * headers and a key frame, and has times that only go forward. What a decoder should not see is left out. Pure.
 */

/** A time that goes on by more than this beyond the time that has passed, or back by more than that, has been set, ms. */
const AHEAD_MS_MAX = 10_000
const BACK_MS_MAX = 1000
/** Before FLV's times end. */
const FILE_MS_MAX = 0x7fff_0000

const AVC = 7
/** Not Adobe's: what some cameras and phones send in its place, before Enhanced RTMP. */
const HEVC_OLD = 12
const FOURCCS = ['avc1', 'hvc1', 'av01']
/** MP3, AAC, MP3 of 8 kHz. */
const AUDIO_FORMATS = [2, 10, 14]
const AUDIO_ENHANCED = 9
const AUDIO_FOURCCS = ['mp4a', 'Opus', '.mp3']

/** One file: where its bytes go. */
export interface FileSink {
  write(bytes: Buffer): void
  /** Nothing more comes into this one. */
  close(): void
}

export interface MediaEvents {
  /** A file begins. */
  begin(): FileSink
  /** A codec that is not taken: a name, for people. */
  unsupported(codec: string): void
}

type VideoKind = 'header' | 'key' | 'frame'
interface Header {
  readonly payload: Buffer
  readonly text: string
}

/** One kind's times, as the publisher has them and as we write them. */
interface Timeline {
  /** Undefined before the first. */
  raw: number | undefined
  out: number
  atMs: number
}

export class RtmpMedia {
  readonly #events: MediaEvents
  #file: FileSink | undefined
  #video: Header | undefined
  #audio: Header | undefined
  /** Its headers have changed since the file began, or its time is over. */
  #isStale = false
  readonly #times = { video: timeline(), audio: timeline() }
  #firstRaw: number | undefined

  constructor(events: MediaEvents) {
    this.#events = events
  }

  /** @param nowMs by a clock that nobody sets */
  video(payload: Buffer, timestampMs: number, nowMs: number): void {
    const read = readVideo(payload)
    if (!read) return
    if ('unsupported' in read) {
      this.#events.unsupported(read.unsupported)
      return
    }
    const { kind, tag } = read
    if (kind === 'header') {
      const header = headerOf(tag)
      if (header.text !== this.#video?.text) this.#isStale = true
      this.#video = header
      return
    }
    if (!this.#video) return // no decoder makes anything of it
    if (kind === 'key' && (!this.#file || this.#isStale)) this.#begin()
    // Until a key frame of the new kind comes, there is nothing to be seen.
    if (!this.#file || this.#isStale) return
    const out = this.#at('video', timestampMs, nowMs)
    if (out > FILE_MS_MAX) this.#isStale = true
    this.#file.write(flvTag(FLV_VIDEO, out, tag))
  }

  audio(payload: Buffer, timestampMs: number, nowMs: number): void {
    const read = readAudio(payload)
    if (!read) return
    if (read.isHeader) {
      const header = headerOf(payload)
      if (header.text !== this.#audio?.text && this.#file) this.#isStale = true
      this.#audio = header
      return
    }
    // Sound before the first picture, or of a kind that the file has no header for, is of no use.
    if (!this.#file || this.#isStale || (read.needsHeader && !this.#audio)) return
    this.#file.write(flvTag(FLV_AUDIO, this.#at('audio', timestampMs, nowMs), payload))
  }

  /** The publisher is gone. */
  close(): void {
    this.#file?.close()
    this.#file = undefined
  }

  #begin(): void {
    this.#file?.close()
    this.#isStale = false
    this.#times.video = timeline()
    this.#times.audio = timeline()
    this.#firstRaw = undefined
    this.#file = this.#events.begin()
    const headers = [
      ...(this.#audio ? [flvTag(FLV_AUDIO, 0, this.#audio.payload)] : []),
      ...(this.#video ? [flvTag(FLV_VIDEO, 0, this.#video.payload)] : []),
    ]
    this.#file.write(Buffer.concat([flvHeader(), ...headers]))
  }

  /** Times from 0 on, that only go forward; where they jump, as much passes as has by our clock. */
  #at(kind: 'video' | 'audio', raw: number, nowMs: number): number {
    const times = this.#times[kind]
    if (times.raw === undefined) {
      this.#firstRaw ??= raw
      const since = (raw - this.#firstRaw) | 0
      const isNear = since >= 0 && since < AHEAD_MS_MAX
      times.out = isNear ? since : Math.max(this.#times.video.out, this.#times.audio.out)
    } else {
      const step = (raw - times.raw) | 0 // also over the end of 32 bits
      const passedMs = Math.max(0, nowMs - times.atMs)
      const isJump = step < -BACK_MS_MAX || step - passedMs > AHEAD_MS_MAX
      const on = isJump ? passedMs : step
      // Of pictures, no two at the same time: no recording takes that. Out of order by a little, one follows on the other.
      times.out += Math.max(kind === 'video' ? 1 : 0, Math.round(on))
      if (!isJump && step < 0) {
        times.atMs = nowMs
        return times.out // the clock stands until the publisher's has caught up
      }
    }
    times.raw = raw
    times.atMs = nowMs
    return times.out
  }
}

const timeline = (): Timeline => ({ raw: undefined, out: 0, atMs: 0 })

const headerOf = (payload: Buffer): Header => ({ payload, text: payload.toString('latin1') })

type ReadVideo = { readonly kind: VideoKind; readonly tag: Buffer } | { readonly unsupported: string }

/** What a video message is; undefined for one that says nothing. */
function readVideo(payload: Buffer): ReadVideo | undefined {
  const first = payload[0]
  if (first === undefined || payload.length < 5) return undefined
  if ((first & 0x80) !== 0) return readEnhanced(payload, first)
  const frame = first >> 4
  const codec = first & 0x0f
  if (frame === 5) return undefined // a command, no picture
  if (codec !== AVC && codec !== HEVC_OLD) return { unsupported: OLD_CODECS[codec] ?? `codec ${codec}` }
  const type = payload[1]
  if (type === undefined || type > 1) return undefined // its end
  const kind = type === 0 ? 'header' : frame === 1 ? 'key' : 'frame'
  return { kind, tag: codec === AVC ? payload : enhancedOf(payload, frame, type) }
}

const OLD_CODECS: Readonly<Record<number, string>> = {
  2: 'Sorenson H.263',
  3: 'Screen video',
  4: 'VP6',
  5: 'VP6 with alpha',
  6: 'Screen video 2',
}

/** Frame type in three bits, packet type in four, then the codec's name. */
function readEnhanced(payload: Buffer, first: number): ReadVideo | undefined {
  const frame = (first >> 4) & 0x07
  const packet = first & 0x0f
  const codec = payload.toString('latin1', 1, 5)
  // Sequence start, coded frames, and those without a composition time. Metadata, ends and multitrack are left out.
  if (frame === 5 || ![0, 1, 3].includes(packet)) return undefined
  if (!FOURCCS.includes(codec)) return { unsupported: /^[\w. -]{4}$/.test(codec) ? codec : 'unknown codec' }
  return { kind: packet === 0 ? 'header' : frame === 1 ? 'key' : 'frame', tag: payload }
}

/** H.265 by number 12: the same, with a name. */
function enhancedOf(payload: Buffer, frame: number, type: number): Buffer {
  const head = Buffer.from([0x80 | (frame << 4) | type, ...Buffer.from('hvc1')])
  // Of a header, the composition time is left out.
  return Buffer.concat([head, payload.subarray(type === 0 ? 5 : 2)])
}

function readAudio(
  payload: Buffer,
): { readonly isHeader: boolean; readonly needsHeader: boolean } | undefined {
  const first = payload[0]
  if (first === undefined || payload.length < 2) return undefined
  const format = first >> 4
  if (format === AUDIO_ENHANCED) {
    const packet = first & 0x0f
    const isTaken = packet < 2 && AUDIO_FOURCCS.includes(payload.toString('latin1', 1, 5))
    return isTaken ? { isHeader: packet === 0, needsHeader: true } : undefined
  }
  if (!AUDIO_FORMATS.includes(format)) return undefined
  return { isHeader: format === 10 && payload[1] === 0, needsHeader: format === 10 }
}

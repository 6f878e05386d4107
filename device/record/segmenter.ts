import { AV_PKT_DATA_NEW_EXTRADATA } from 'node-av/constants'
import type { Packet } from 'node-av/lib'
import type { ClipMetadata, GapReason } from '../../wire/clip.ts'
import {
  CLOCK_AHEAD_FRAMES_MAX,
  CLOCK_AHEAD_S_MAX,
  CLOCK_BACK_S_MAX,
  UNTIMED_PACKETS_MAX,
} from '../limits.ts'
import { DecodeTimes } from './decode-times.ts'
import { Muxer } from './muxer.ts'
import { parameterSetsOf } from './parameter-sets.ts'
import type { Track } from './track.ts'
import { WallClock } from './wall-clock.ts'

/** What the segmenter knows of a chunk; whoever keeps it adds where it is from and why it is kept. */
export type ChunkFacts = Pick<
  ClipMetadata,
  | 'id'
  | 'capturedAtMs'
  | 'endMs'
  | 'durationMs'
  | 'frames'
  | 'frame'
  | 'rotation'
  | 'codec'
  | 'codecs'
  | 'audio'
  | 'initBytes'
  | 'independent'
  | 'encoded'
  | 'run'
  | 'sequence'
  | 'gap'
>

export interface Chunk {
  readonly init: Buffer
  readonly fragments: readonly Buffer[]
  readonly facts: ChunkFacts
}

export interface SegmenterOptions {
  /** A chunk ends at the first key frame after so long, ms; */
  readonly chunkMs: number
  /** and without one after so long, ms, */
  readonly chunkMsMax: number
  /** or before it gets larger than this, bytes of packets. */
  readonly bytesMax: number
  /** Packets come at the pace at which they were captured; false: as fast as can be, and their own times hold. */
  readonly paced: boolean
  readonly mint: () => string
  readonly take: (chunk: Chunk) => void
}

export interface Beginning {
  /** Degrees clockwise by which players are to turn it. */
  readonly rotation: 0 | 90 | 180 | 270
  /** Encoded here: the times are of our making, and never jump. */
  readonly encoded: boolean
}

/** What demuxers say where they know no time. */
const NO_TIME = -(2n ** 63n)

interface Held {
  readonly packet: Packet
  /** In the video's time base, on the run's own time line. */
  readonly pts: bigint
  readonly dts: bigint
}

interface Run {
  readonly muxer: Muxer
  readonly id: string
  readonly audio: ClipMetadata['audio']
  sequence: number
  /** What the stream's own times are moved by; undefined where they begin anew with the next packet. */
  offset: bigint | undefined
  /** The last that was given to the muxer, per track. */
  videoDts: bigint | undefined
  audioDts: bigint | undefined
}

interface Open {
  readonly id: string
  readonly independent: boolean
  readonly startDts: bigint
  startPts: bigint
  endPts: bigint
  frames: number
  bytes: number
}

/**
 * Cuts a camera's packets, as they are, into chunks that play by themselves.
 *
 *   begin(tracks) -> put(packet)... -> take(chunk)...
 *                        |
 *                   interrupt(why): what there is becomes a chunk, and the next one says why it does not follow
 *
 * A run is one muxer: chunks with the same beginning, whose time stamps go on. It ends where the codec's parameters change.
 * A video packet is held until the next one comes, which says how long it lasts.
 *
 * One thing at a time: whoever calls awaits each call before the next.
 */
export class Segmenter implements AsyncDisposable {
  readonly #options: SegmenterOptions
  readonly #wall = new WallClock()
  #video: Track | undefined
  #audio: Track | undefined
  #beginning: Beginning = { rotation: 0, encoded: false }
  #times = new DecodeTimes(0)
  #run: Run | undefined
  #open: Open | undefined
  #held: Held | undefined
  #untimed: Packet[] = []
  #needsKey = true
  /** The stream's own time of the last video packet. */
  #lastRaw: bigint | undefined
  /** How long a frame lasted last. */
  #frame = 0n
  #sequenceSet: Buffer | undefined
  /** Why the next chunk does not follow the one before. */
  #break: GapReason | undefined = 'start'
  /** Only if time is missing. */
  #isBreakSure = true
  /** Where the chunk before ended, ms since 1970, not rounded. */
  #endMs: number | undefined

  constructor(options: SegmenterOptions) {
    this.#options = options
  }

  /** A source was opened. The tracks are the segmenter's from here on. Errors: RECORD_FAILED. */
  async begin(video: Track, audio: Track | undefined, beginning: Beginning): Promise<void> {
    const [hadVideo, hadAudio] = [this.#video, this.#audio]
    const goesOn =
      beginning.rotation === this.#beginning.rotation &&
      beginning.encoded === this.#beginning.encoded &&
      hadVideo?.isLike(video) === true &&
      (audio ? hadAudio?.isLike(audio) === true : hadAudio === undefined)
    await this.#pause('camera down')
    if (!goesOn) await this.#endRun()
    hadVideo?.[Symbol.dispose]()
    hadAudio?.[Symbol.dispose]()
    this.#video = video
    this.#audio = audio
    this.#beginning = beginning
    this.#frame = ticksOf(video.frameSeconds, video)
    this.#times = new DecodeTimes(video.codecpar.videoDelay)
    this.#sequenceSet = parameterSetsOf(
      video.codecpar.extradata ?? Buffer.alloc(0),
      video.codecpar.codecId,
    )?.sequence
  }

  /**
   * The next packet, which is the segmenter's.
   * @param receivedAtMs ms since 1970
   * @param steadyMs the same on a clock that nobody sets
   * Errors: RECORD_FAILED.
   */
  async put(packet: Packet, of: 'video' | 'audio', receivedAtMs: number, steadyMs: number): Promise<void> {
    if (of === 'audio') return this.#putAudio(packet)
    const setMs = this.#options.paced ? this.#wall.set(receivedAtMs, steadyMs) : undefined
    if (setMs !== undefined) await this.#clockSet(setMs)
    if (packet.pts === NO_TIME && packet.dts === NO_TIME && this.#lastRaw === undefined) {
      // What comes first over RTSP may have no time: the next one tells.
      if (this.#untimed.length < UNTIMED_PACKETS_MAX) this.#untimed.push(packet)
      else packet.free()
      return
    }
    for (const [index, earlier] of this.#untimed.entries()) {
      const first = packet.dts === NO_TIME ? packet.pts : packet.dts
      earlier.dts = first - BigInt(this.#untimed.length - index) * this.#frame
      earlier.pts = earlier.dts
    }
    for (const earlier of this.#untimed.splice(0)) await this.#putVideo(earlier, receivedAtMs)
    await this.#putVideo(packet, receivedAtMs)
  }

  /** What there is becomes a chunk; the next one begins with a key frame, and says why there is a gap. Errors: RECORD_FAILED. */
  async interrupt(why: GapReason): Promise<void> {
    await this.#pause(why)
  }

  /** What comes next must be a key frame. */
  get needsKey(): boolean {
    return this.#needsKey
  }

  /** The open chunk ends at the next key frame. */
  get isDue(): boolean {
    const [open, held, video] = [this.#open, this.#held, this.#video]
    if (!open || !held || !video) return false
    return msOf(held.dts + this.#frame - open.startDts, video) >= this.#options.chunkMs
  }

  /** Ends the last chunk. Errors: RECORD_FAILED. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.#pause('paused')
    } finally {
      await this.#endRun()
      this.#video?.[Symbol.dispose]()
      this.#audio?.[Symbol.dispose]()
      this.#video = undefined
      this.#audio = undefined
    }
  }

  /** Something went wrong with the run: what it has not given yet is lost. */
  async abandon(): Promise<void> {
    this.#letGo()
    this.#open = undefined
    this.#needsKey = true
    this.#stop('lost', true)
    await this.#endRun()
  }

  async #pause(why: GapReason): Promise<void> {
    await this.#finish(undefined)
    this.#needsKey = true
    this.#lastRaw = undefined
    this.#wall.restart()
    this.#times.restart()
    for (const packet of this.#untimed.splice(0)) packet.free()
    if (this.#run) this.#run.offset = undefined
    // Whether a camera that came back was away for long enough to miss anything, the times say.
    this.#stop(why, why !== 'camera down')
  }

  #stop(why: GapReason, isSure: boolean): void {
    // The first reason holds: nothing has been recorded since.
    this.#break ??= why
    this.#isBreakSure ||= isSure
  }

  async #clockSet(byMs: number): Promise<void> {
    await this.#finish(undefined)
    this.#wall.restart()
    this.#stop('clock set', true)
    // By the new clock: what comes next must not be said to be before what was.
    if (byMs < 0) this.#endMs = undefined
  }

  async #putVideo(packet: Packet, receivedAtMs: number): Promise<void> {
    const track = this.#video
    const isKey = packet.isKeyframe
    if (!track || (this.#needsKey && !isKey)) return packet.free()
    try {
      if (isKey) await this.#heedParameters(packet, track)
      const raw = packet.dts === NO_TIME ? packet.pts : packet.dts
      if (this.#jumps(raw, track)) await this.#jump()
      const shown = packet.pts === NO_TIME ? (raw === NO_TIME ? this.#next : raw) : packet.pts
      const decoded = this.#times.next(shown, packet.dts === NO_TIME ? undefined : packet.dts, this.#frame)
      this.#lastRaw = raw === NO_TIME ? decoded : raw
      this.#run ??= await this.#openRun(track)
      const run = this.#run
      run.offset ??= (run.videoDts === undefined ? 0n : run.videoDts + this.#frame) - decoded
      const least = run.videoDts === undefined ? 0n : run.videoDts + 1n
      const dts = bigger(decoded + run.offset, least)
      const pts = bigger(shown + run.offset, dts)
      await this.#cutBefore(packet, dts, isKey, track)
      run.videoDts = dts
      if (this.#options.paced) this.#wall.heard(msOf(pts, track), receivedAtMs)
      else if (this.#wall.isNew) this.#wall.heard(msOf(pts, track), this.#endMs ?? receivedAtMs)
      this.#held = { packet, pts, dts }
    } catch (error) {
      packet.free()
      throw error
    }
    this.#needsKey = false
  }

  /** Where a packet is none of the chunk's any more; and a new one where there is none. */
  async #cutBefore({ size }: Packet, dts: bigint, isKey: boolean, track: Track): Promise<void> {
    const { chunkMs, chunkMsMax, bytesMax, mint } = this.#options
    this.#writeHeld(dts)
    const open = this.#open
    if (open) {
      const lastsMs = msOf(dts - open.startDts, track)
      const isDue = isKey && lastsMs >= chunkMs - 0.5
      if (isDue || lastsMs >= chunkMsMax || open.bytes + size > bytesMax) await this.#finish(dts)
    }
    this.#open ??= {
      id: mint(),
      independent: isKey,
      startDts: dts,
      startPts: 2n ** 62n,
      endPts: -(2n ** 62n),
      frames: 0,
      bytes: 0,
    }
    this.#open.bytes += size
  }

  #writeHeld(nextDts: bigint | undefined): void {
    const [held, run, open] = [this.#held, this.#run, this.#open]
    if (!held || !run || !open) return
    this.#held = undefined
    using packet = held.packet
    const lasts = nextDts === undefined ? this.#frame : nextDts - held.dts
    if (nextDts !== undefined) this.#frame = lasts
    packet.pts = held.pts
    packet.dts = held.dts
    packet.duration = lasts
    if (held.pts < open.startPts) open.startPts = held.pts
    if (held.pts + lasts > open.endPts) open.endPts = held.pts + lasts
    open.frames += 1
    run.muxer.write(packet, 'video')
  }

  #putAudio(packet: Packet): void {
    using _packet = packet
    const [video, audio, run, open] = [this.#video, this.#audio, this.#run, this.#open]
    if (!video || !audio || !run || !open || run.offset === undefined || run.videoDts === undefined) return
    const raw = packet.pts === NO_TIME ? packet.dts : packet.pts
    if (raw === NO_TIME) return
    const offset = ticksOf(secondsOf(run.offset, video), audio)
    const dts = raw + offset
    const apart = secondsOf(dts, audio) - secondsOf(run.videoDts, video)
    // Before the video's beginning; or its clock was set, and the video's will be in a moment.
    if (dts < 0n || Math.abs(apart) > CLOCK_AHEAD_S_MAX) return
    if (run.audioDts !== undefined && dts <= run.audioDts) return
    if (open.bytes + packet.size > this.#options.bytesMax) return
    audio.unwrap(packet)
    run.audioDts = dts
    packet.pts = dts
    packet.dts = dts
    open.bytes += packet.size
    run.muxer.write(packet, 'audio')
  }

  /** Gives the chunk on. @param nextDts of the packet that follows it at once; undefined: none does */
  async #finish(nextDts: bigint | undefined): Promise<void> {
    this.#writeHeld(nextDts)
    const [open, run, video] = [this.#open, this.#run, this.#video]
    this.#open = undefined
    if (!open || !run || !video || open.frames === 0) return
    const fragment = await run.muxer.cut()
    const { take } = this.#options
    const { rotation, encoded } = this.#beginning
    const durationMs = msOf(open.endPts - open.startPts, video)
    const missingMs = this.#wall.settle(durationMs)
    if (missingMs > 0) this.#stop('camera down', true)
    const { startMs, endMs, gap } = this.#place(open, video)
    this.#endMs = endMs
    const { width, height } = video.codecpar
    take({
      init: run.muxer.init,
      fragments: [fragment],
      facts: {
        id: open.id,
        capturedAtMs: Math.round(startMs),
        endMs: Math.max(Math.round(startMs), Math.round(endMs)),
        durationMs,
        frames: open.frames,
        frame: [width, height],
        ...(rotation !== 0 && { rotation }),
        codec: video.videoCodec ?? 'h264',
        codecs: run.muxer.codecs,
        ...(run.audio && { audio: run.audio }),
        initBytes: run.muxer.init.length,
        independent: open.independent,
        encoded,
        run: run.id,
        sequence: run.sequence,
        ...(gap && { gap }),
      },
    })
    run.sequence += 1
  }

  /** When the chunk was, and what lies between it and the one before; forgets why there is anything. */
  #place(open: Open, track: Track): { startMs: number; endMs: number; gap: ClipMetadata['gap'] } {
    const before = this.#endMs
    const heardMs = this.#wall.at(msOf(open.startPts, track))
    const why = this.#break
    // Chunks that follow each other leave nothing between, however the clocks have drifted.
    const follows = why === undefined && before !== undefined
    const startMs = follows ? before : Math.max(heardMs, before ?? 0)
    const endMs = Math.max(startMs, this.#wall.at(msOf(open.endPts, track)))
    const isGap =
      why !== undefined &&
      (this.#isBreakSure || before === undefined || startMs - before > msOf(this.#frame, track))
    this.#break = undefined
    this.#isBreakSure = false
    return {
      startMs,
      endMs,
      gap: isGap ? { fromMs: before === undefined ? null : Math.round(before), why } : undefined,
    }
  }

  get #next(): bigint {
    return (this.#lastRaw ?? 0n) + this.#frame
  }

  #jumps(raw: bigint, track: Track): boolean {
    if (this.#lastRaw === undefined || raw === NO_TIME || this.#beginning.encoded) return false
    const step = secondsOf(raw - this.#lastRaw, track)
    const ahead = Math.max(CLOCK_AHEAD_S_MAX, CLOCK_AHEAD_FRAMES_MAX * secondsOf(this.#frame, track))
    return step > ahead || step < -CLOCK_BACK_S_MAX
  }

  /** The stream's own clock was set: the frames go on, and so does the run; whether time is missing, ours says. */
  async #jump(): Promise<void> {
    await this.#finish(undefined)
    this.#times.restart()
    this.#wall.restart()
    if (this.#run) this.#run.offset = undefined
    this.#stop('camera down', false)
  }

  /** A run ends where a key frame brings other parameters. */
  async #heedParameters(packet: Packet, track: Track): Promise<void> {
    const brought = packet.getSideData(AV_PKT_DATA_NEW_EXTRADATA)
    const { codecpar } = track
    if (brought && brought.length > 0 && !brought.equals(codecpar.extradata ?? Buffer.alloc(0))) {
      await this.#finish(undefined)
      await this.#endRun()
      track.take(Buffer.from(brought))
      return
    }
    const data = packet.data
    const sets = data ? parameterSetsOf(data, codecpar.codecId) : undefined
    if (!sets || (this.#sequenceSet && sets.sequence.equals(this.#sequenceSet))) return
    await this.#finish(undefined)
    await this.#endRun()
    this.#sequenceSet = sets.sequence
    track.take(sets.all)
  }

  async #openRun(video: Track): Promise<Run> {
    const muxer = await Muxer.open(video, this.#audio, this.#beginning.rotation)
    const audio = this.#audio?.audio
    return {
      muxer,
      id: this.#options.mint(),
      audio,
      sequence: 0,
      offset: undefined,
      videoDts: undefined,
      audioDts: undefined,
    }
  }

  async #endRun(): Promise<void> {
    const run = this.#run
    this.#run = undefined
    this.#letGo()
    this.#open = undefined
    // What comes is on a time line of its own.
    this.#wall.restart()
    await run?.muxer[Symbol.asyncDispose]()
  }

  #letGo(): void {
    this.#held?.packet.free()
    this.#held = undefined
    for (const packet of this.#untimed.splice(0)) packet.free()
  }
}

type Based = Pick<Track, 'timeBase'>
const secondsOf = (ticks: bigint, { timeBase }: Based) => (Number(ticks) * timeBase.num) / timeBase.den
const msOf = (ticks: bigint, { timeBase }: Based) => (Number(ticks) * timeBase.num * 1000) / timeBase.den
const ticksOf = (seconds: number, { timeBase }: Based) =>
  BigInt(Math.round((seconds * timeBase.den) / timeBase.num))
const bigger = (a: bigint, b: bigint) => (a > b ? a : b)

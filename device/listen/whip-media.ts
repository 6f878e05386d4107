import {
  WHIP_FRAME_BYTES_MAX,
  WHIP_FRAME_PACKETS_MAX,
  WHIP_REORDER_MS_MAX,
  WHIP_REORDER_PACKETS_MAX,
} from '../limits.ts'
import { flvHeader } from './flv.ts'
import { PushedBytes } from './pushed-bytes.ts'
import { TrackClock } from './whip-clock.ts'
import { avcFrame, avcHeader, opusFrame, opusHeader } from './whip-flv.ts'
import { H264 } from './whip-h264.ts'
import { matroskaFrame, matroskaHead } from './whip-matroska.ts'
import type { Offer } from './whip-offer.ts'
import { Reorder } from './whip-reorder.ts'
import { vp8Frame } from './whip-vp8.ts'

export interface MediaPacket {
  readonly header: { readonly sequenceNumber: number; readonly timestamp: number; readonly marker: boolean }
  readonly payload: Buffer
}

/** What became of packets; whoever opens it counts. */
export interface MediaEvents {
  /** From here on only a key picture can be understood. */
  needsKey(): void
  dropped(why: 'lost' | 'damaged' | 'slow'): void
}

/**
 * RTP packets of one publisher -> pictures and sound in order -> a file's bytes.
 *
 *     packets -> in order -> until the marker: one picture -> whole, and understood? -> FLV (H.264) or Matroska (VP8)
 *
 * After a loss nothing is passed on until a key picture: a decoder would smear what it lacks over the faces.
 */
export class WhipMedia {
  readonly queue: PushedBytes
  readonly #offer: Pick<Offer, 'video' | 'audio'>
  readonly #events: MediaEvents
  readonly #video = new Reorder<MediaPacket>({
    waitMs: WHIP_REORDER_MS_MAX,
    packetsMax: WHIP_REORDER_PACKETS_MAX,
  })
  readonly #audio = new Reorder<MediaPacket>({
    waitMs: WHIP_REORDER_MS_MAX,
    packetsMax: WHIP_REORDER_PACKETS_MAX,
  })
  readonly #clocks = { video: new TrackClock(90_000), audio: new TrackClock(48_000) }
  readonly #h264 = new H264()
  #picture: Buffer[] = []
  #pictureBytes = 0
  #timestamp: number | undefined
  #isBroken = false
  #needsKey = true
  #hasHead = false
  /** Pictures passed on. */
  pictures = 0

  constructor(offer: Pick<Offer, 'video' | 'audio'>, events: MediaEvents) {
    this.#offer = offer
    this.#events = events
    this.queue = new PushedBytes(offer.video === 'h264' ? 'flv' : 'matroska')
  }

  get needsKey(): boolean {
    return this.#needsKey
  }

  /** @param nowMs since the session began */
  packet(of: 'video' | 'audio', packet: MediaPacket, nowMs: number): void {
    if (of === 'video') for (const it of this.#video.put(packet, nowMs)) this.#take(it, nowMs)
    else for (const it of this.#audio.put(packet, nowMs)) this.#sound(it.packet, nowMs)
  }

  /** What waits for packets that never come. To be called from time to time. */
  tick(nowMs: number): void {
    for (const it of this.#video.due(nowMs)) this.#take(it, nowMs)
    for (const it of this.#audio.due(nowMs)) this.#sound(it.packet, nowMs)
  }

  /** A sender report (RFC 3550). @param ntp 64 bits: seconds and their fraction */
  report(of: 'video' | 'audio', timestamp: number, ntp: bigint): void {
    this.#clocks[of].report(
      timestamp,
      Number(ntp >> 32n) * 1000 + (Number(ntp & 0xffff_ffffn) / 2 ** 32) * 1000,
    )
    this.#clocks.audio.follow(this.#clocks.video)
  }

  #take({ packet, lost }: { readonly packet: MediaPacket; readonly lost: boolean }, nowMs: number): void {
    const { timestamp, marker } = packet.header
    if (lost) {
      this.#isBroken = this.#picture.length > 0 && this.#timestamp === timestamp
      if (this.#picture.length > 0 && !this.#isBroken) this.#clear()
      this.#lose('lost')
    } else if (this.#timestamp !== timestamp && this.#picture.length > 0) this.#finish(nowMs)
    if (this.#timestamp !== timestamp) this.#isBroken = false
    this.#timestamp = timestamp
    // Padding, with which a sender tries how much the line holds.
    if (packet.payload.length === 0) return
    this.#picture.push(packet.payload)
    this.#pictureBytes += packet.payload.length
    if (this.#pictureBytes > WHIP_FRAME_BYTES_MAX || this.#picture.length > WHIP_FRAME_PACKETS_MAX) {
      this.#clear()
      this.#isBroken = true
    }
    if (marker) this.#finish(nowMs)
  }

  #clear(): void {
    this.#picture = []
    this.#pictureBytes = 0
  }

  #lose(why: 'lost' | 'damaged' | 'slow'): void {
    this.#events.dropped(why)
    this.#needsKey = true
    this.#events.needsKey()
  }

  #finish(nowMs: number): void {
    const payloads = this.#picture
    const isBroken = this.#isBroken
    const atMs = this.#clocks.video.msOf(this.#timestamp ?? 0, nowMs)
    this.#clear()
    this.#isBroken = false
    const why = isBroken
      ? 'damaged'
      : this.queue.isFull
        ? 'slow'
        : this.#offer.video === 'h264'
          ? this.#passH264(payloads, atMs)
          : this.#passVp8(payloads, atMs)
    if (why) this.#lose(why)
  }

  #passH264(payloads: readonly Buffer[], atMs: number): 'damaged' | undefined {
    const frame = this.#h264.frame(payloads)
    if (frame === 'damaged') return 'damaged'
    if (frame === 'nothing' || (this.#needsKey && !frame.isKey)) return undefined
    if (!this.#h264.isConfigured) return 'damaged'
    if (!this.#hasHead) {
      this.queue.push(flvHeader())
      if (this.#offer.audio !== undefined) this.queue.push(opusHeader(this.#offer.audio, atMs))
    }
    if (frame.configuration) this.queue.push(avcHeader(frame.configuration, atMs))
    this.queue.push(avcFrame(frame.units, frame.isKey, atMs))
    this.#passed()
    return undefined
  }

  #passVp8(payloads: readonly Buffer[], atMs: number): 'damaged' | undefined {
    const frame = vp8Frame(payloads)
    if (!frame) return 'damaged'
    if (this.#needsKey && !frame.isKey) return undefined
    if (!this.#hasHead && frame.size)
      this.queue.push(matroskaHead(frame.size, { channels: this.#offer.audio }))
    this.queue.push(matroskaFrame('video', frame.bytes, { isKey: frame.isKey, atMs }))
    this.#passed()
    return undefined
  }

  #passed(): void {
    this.#hasHead = true
    this.#needsKey = false
    this.pictures += 1
  }

  #sound({ header, payload }: MediaPacket, nowMs: number): void {
    const atMs = this.#clocks.audio.msOf(header.timestamp, nowMs)
    if (!this.#hasHead || payload.length === 0 || this.queue.isFull) return
    this.queue.push(
      this.#offer.video === 'h264'
        ? opusFrame(payload, atMs)
        : matroskaFrame('audio', payload, { isKey: true, atMs }),
    )
  }
}

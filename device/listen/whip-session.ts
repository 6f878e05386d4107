import {
  type MediaStreamTrack,
  ReceiverEstimatedMaxBitrate,
  RTCPeerConnection,
  RTCRtpCodecParameters,
  type RTCRtpReceiver,
  type RtcpPacket,
  RtcpPayloadSpecificFeedback,
  RtcpSrPacket,
  useAbsSendTime,
  useSdesMid,
} from 'werift'
import {
  WHIP_ANSWER_MS_MAX,
  WHIP_BITRATE_EVERY_MS,
  WHIP_BITRATE_EXPONENT,
  WHIP_BITRATE_MANTISSA,
  WHIP_KEY_REQUEST_MS_MIN,
  WHIP_MEDIA_MS_MAX,
  WHIP_SILENCE_MS_MAX,
} from '../limits.ts'
import type { Publication, PushedVideo } from './publication.ts'
import { type MediaEvents, WhipMedia } from './whip-media.ts'
import { type Offer, withPublicAddresses } from './whip-offer.ts'

export interface WhipPorts {
  /** Addresses by which a firewall or a router lets publishers in. */
  readonly publicAddresses: readonly string[]
  /** UDP, both included; absent: any. */
  readonly udpPorts?: { readonly from: number; readonly to: number }
  /** Publishers of this very machine may come over loopback. */
  readonly loopback: boolean
}

export interface WhipSessionOptions extends WhipPorts {
  readonly camera: string
  readonly from: string
  readonly offer: Offer
  readonly dropped: (why: Parameters<MediaEvents['dropped']>[0]) => void
  /** Once. @param why in words */
  readonly ended: (why: string) => void
  /** For tests. */
  readonly mediaMsMax?: number
  readonly silenceMsMax?: number
}

const TICK_MS = 50

const FEEDBACK = [
  { type: 'nack' },
  { type: 'nack', parameter: 'pli' },
  { type: 'ccm', parameter: 'fir' },
  { type: 'goog-remb' },
]
const VIDEO = {
  h264: () =>
    new RTCRtpCodecParameters({
      mimeType: 'video/H264',
      clockRate: 90_000,
      rtcpFeedback: FEEDBACK,
      parameters: 'level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f',
    }),
  vp8: () => new RTCRtpCodecParameters({ mimeType: 'video/VP8', clockRate: 90_000, rtcpFeedback: FEEDBACK }),
}
const OPUS = () => new RTCRtpCodecParameters({ mimeType: 'audio/opus', clockRate: 48_000, channels: 2 })

/** One publisher over WebRTC: receives, asks for what is lost, and gives on what can be understood. */
export class WhipSession implements Publication {
  readonly camera: string
  readonly by = 'whip'
  readonly from: string
  readonly sinceMs = Date.now()
  readonly media: PushedVideo
  /** For the publisher. */
  answer = ''
  readonly #options: WhipSessionOptions
  readonly #peer: RTCPeerConnection
  readonly #whip: WhipMedia
  readonly #openedMs = performance.now()
  #receiver: RTCRtpReceiver | undefined
  #ssrc: number | undefined
  #bytes = 0
  #heardMs = performance.now()
  #keyAskedMs = -Infinity
  #bitrateToldMs = -Infinity
  #ticker: NodeJS.Timeout | undefined
  #isOver = false
  readonly ended: Promise<void>
  readonly #resolveEnded: () => void

  private constructor(options: WhipSessionOptions) {
    this.#options = options
    const { promise, resolve } = Promise.withResolvers<void>()
    this.ended = promise
    this.#resolveEnded = resolve
    this.camera = options.camera
    this.from = options.from
    this.#whip = new WhipMedia(options.offer, {
      needsKey: () => this.requestKeyFrame(),
      dropped: options.dropped,
    })
    this.media = this.#whip.queue
    const { publicAddresses: _, udpPorts, loopback } = options
    this.#peer = new RTCPeerConnection({
      iceServers: [],
      codecs: { video: [VIDEO[options.offer.video]()], audio: [OPUS()] },
      // No more: with transport-cc, its feedback drives browsers down to a few kbit/s.
      headerExtensions: { video: [useSdesMid(), useAbsSendTime()], audio: [useSdesMid(), useAbsSendTime()] },
      ...(udpPorts && { icePortRange: [udpPorts.from, udpPorts.to] }),
      ...(loopback && { iceAdditionalHostAddresses: ['127.0.0.1'] }),
    })
  }

  /** @throws where the offer cannot be answered: what is wrong with it is not for people to understand */
  static async open(options: WhipSessionOptions): Promise<WhipSession> {
    const session = new WhipSession(options)
    try {
      await session.#answer()
      return session
    } catch (error) {
      session.end('its offer could not be answered')
      throw error
    }
  }

  async #answer(): Promise<void> {
    const peer = this.#peer
    peer.onTrack.subscribe((track) => this.#follow(track))
    peer.connectionStateChange.subscribe((state) => {
      if (state === 'failed') this.end('its connection failed')
      if (state === 'closed' || state === 'disconnected') this.end('it has gone')
    })
    const { sdp } = this.#options.offer
    await within(WHIP_ANSWER_MS_MAX, async () => {
      await peer.setRemoteDescription({ type: 'offer', sdp })
      await peer.setLocalDescription(await peer.createAnswer())
    })
    const answer = peer.localDescription?.sdp
    if (answer === undefined || !answer.includes('a=candidate:'))
      throw new Error('no UDP port could be opened')
    // Its connection may have failed meanwhile; then nobody would end it any more.
    if (this.#isOver) throw new Error('it has ended before it was answered')
    this.answer = withPublicAddresses(answer, this.#options.publicAddresses)
    for (const { receiver, kind } of peer.getTransceivers()) if (kind === 'video') this.#receiver = receiver
    this.#ticker = setInterval(() => this.#tick(), TICK_MS).unref()
  }

  #follow(track: MediaStreamTrack): void {
    const of = track.kind === 'video' ? 'video' : 'audio'
    track.onReceiveRtp.subscribe(({ header, payload }) => {
      if (this.#isOver) return
      const now = performance.now()
      this.#heardMs = now
      this.#bytes += payload.length
      if (of === 'video') this.#ssrc = header.ssrc
      this.#whip.packet(of, { header, payload }, now - this.#openedMs)
    })
    track.onReceiveRtcp.subscribe((packet: RtcpPacket) => {
      if (!(packet instanceof RtcpSrPacket)) return
      const { rtpTimestamp, ntpTimestamp } = packet.senderInfo
      this.#whip.report(of, rtpTimestamp, ntpTimestamp)
    })
  }

  get bytes(): number {
    return this.#bytes
  }

  /** Pictures given on so far. */
  get pictures(): number {
    return this.#whip.pictures
  }

  requestKeyFrame(): void {
    const now = performance.now()
    if (this.#ssrc === undefined || now - this.#keyAskedMs < WHIP_KEY_REQUEST_MS_MIN) return
    this.#keyAskedMs = now
    this.#receiver?.sendRtcpPLI(this.#ssrc).catch(() => {})
  }

  end(why: string): void {
    if (this.#isOver) return
    this.#isOver = true
    clearInterval(this.#ticker)
    this.#whip.queue.close()
    // What is still on its way in it fails once it is closed.
    this.#peer.close().catch(() => {})
    this.#resolveEnded()
    this.#options.ended(why)
  }

  #tick(): void {
    const now = performance.now()
    this.#whip.tick(now - this.#openedMs)
    const why = this.#whyOver(now)
    if (why !== undefined) this.end(why)
    else {
      if (this.#whip.needsKey) this.requestKeyFrame()
      this.#tellBitrate(now)
    }
  }

  #whyOver(now: number): string | undefined {
    const { mediaMsMax = WHIP_MEDIA_MS_MAX, silenceMsMax = WHIP_SILENCE_MS_MAX } = this.#options
    const { pictures, queue } = this.#whip
    if (queue.isUntaken) return 'nobody reads its camera'
    if (pictures > 0)
      return now - this.#heardMs >= silenceMsMax
        ? `nothing has come for ${seconds(silenceMsMax)} s`
        : undefined
    if (now - this.#openedMs < mediaMsMax) return undefined
    const within = `within ${seconds(mediaMsMax)} s of the answer`
    return this.#bytes === 0
      ? `no media came ${within}. A firewall may block UDP: see "listen.whip.udpPorts" and "publicAddresses"`
      : `no whole picture came ${within}`
  }

  /** Without it, browsers stay slow for minutes. */
  #tellBitrate(now: number): void {
    if (this.#ssrc === undefined || now - this.#bitrateToldMs < WHIP_BITRATE_EVERY_MS) return
    this.#bitrateToldMs = now
    const receiver = this.#receiver
    if (!receiver) return
    const feedback = new ReceiverEstimatedMaxBitrate({
      senderSsrc: receiver.rtcpSsrc,
      mediaSsrc: 0,
      ssrcNum: 1,
      ssrcFeedbacks: [this.#ssrc],
      brExp: WHIP_BITRATE_EXPONENT,
      brMantissa: WHIP_BITRATE_MANTISSA,
    })
    receiver.dtlsTransport.sendRtcp([new RtcpPayloadSpecificFeedback({ feedback })]).catch(() => {})
  }
}

const seconds = (ms: number) => Math.round(ms / 1000)

async function within(limitMs: number, work: () => Promise<void>): Promise<void> {
  const { promise, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => reject(new Error(`not within ${limitMs} ms`)), limitMs)
  await Promise.race([work(), promise]).finally(() => clearTimeout(timer))
}

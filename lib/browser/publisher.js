const GATHER_MS_MAX = 1000
const CONNECT_MS_MAX = 12_000
/** A connection that is gone for so long does not come back by itself. */
const LOST_MS_MAX = 3000
const RETRY_MS_MIN = 500
const RETRY_MS_MAX = 15_000
const ANSWER_MS_MAX = 10_000
const BITS_PER_SECOND_MAX = 4_000_000

/** Refusals that no second try changes. */
const isFinal = (status) =>
  status >= 400 && status < 500 && status !== 408 && status !== 409 && status !== 429

export class Publisher {
  #options
  #stream
  #over = false
  /** Ends what the present try waits for. */
  #giveUp = () => {}
  #peer
  #session
  #wasLive = false
  #last

  constructor(options) {
    this.#options = options
    this.#stream = options.stream
  }

  start() {
    addEventListener('online', this.#again)
    navigator.connection?.addEventListener?.('change', this.#again)
    void this.#run()
  }

  async stop() {
    this.#end()
    this.#say({ is: 'stopped' })
    await this.#leave()
  }

  async replace(stream) {
    this.#stream = stream
    for (const sender of this.#peer?.getSenders() ?? []) {
      const track = stream.getTracks().find(({ kind }) => kind === sender.track?.kind)
      if (track) await sender.replaceTrack(track)
    }
  }

  async stats() {
    const peer = this.#peer
    if (!peer) return undefined
    const reports = await peer.getStats()
    for (const report of reports.values()) {
      if (report.type !== 'outbound-rtp' || report.kind !== 'video') continue
      const before = this.#last
      this.#last = { peer, bytes: report.bytesSent, atMs: report.timestamp }
      const ms = before?.peer === peer ? report.timestamp - before.atMs : 0
      return {
        bitsPerSecond: ms > 0 ? ((report.bytesSent - before.bytes) * 8000) / ms : 0,
        width: report.frameWidth ?? 0,
        height: report.frameHeight ?? 0,
        framesPerSecond: report.framesPerSecond ?? 0,
        codec: (reports.get(report.codecId)?.mimeType ?? '').replace('video/', ''),
      }
    }
    return undefined
  }

  /** The network has changed: what was agreed on by the old one is worth nothing. */
  #again = () => {
    if (!this.#over && this.#wasLive) this.#giveUp('The network has changed.')
  }

  async #run() {
    let waitMs = RETRY_MS_MIN
    this.#say({ is: 'connecting' })
    while (!this.#over) {
      this.#wasLive = false
      const { why, isFinal } = await this.#publish().catch((error) => ({
        why: faultOf(error),
        isFinal: false,
      }))
      await this.#leave()
      if (this.#over) return
      if (isFinal) {
        this.#end()
        this.#say({ is: 'refused', why })
        return
      }
      if (this.#wasLive) waitMs = RETRY_MS_MIN
      this.#say({ is: 'reconnecting', why, atMs: Date.now() + waitMs })
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, waitMs)
        this.#giveUp = () => {
          clearTimeout(timer)
          resolve()
        }
      })
      waitMs = Math.min(RETRY_MS_MAX, waitMs * 2)
    }
  }

  /** One try, from the offer to the end of its connection: why it ended. */
  async #publish() {
    const peer = new RTCPeerConnection({ iceServers: [], bundlePolicy: 'max-bundle' })
    this.#peer = peer
    const over = new Promise((resolve) => {
      this.#giveUp = (why) => resolve({ why, isFinal: false })
      let timer = setTimeout(
        () =>
          resolve({ why: 'The server answered, but no connection came about: a firewall may block UDP.' }),
        CONNECT_MS_MAX,
      )
      peer.addEventListener('connectionstatechange', () => {
        const { connectionState: state } = peer
        clearTimeout(timer)
        if (state === 'connected') {
          this.#wasLive = true
          if (!this.#over) this.#say({ is: 'live', sinceMs: Date.now() })
        } else if (state === 'disconnected')
          timer = setTimeout(() => resolve({ why: 'The connection was lost.' }), LOST_MS_MAX)
        else if (state === 'failed' || state === 'closed') resolve({ why: 'The connection has ended.' })
        else
          timer = setTimeout(
            () => resolve({ why: 'No connection came about: a firewall may block UDP.' }),
            CONNECT_MS_MAX,
          )
      })
    })
    const [video] = this.#stream.getVideoTracks()
    const [audio] = this.#stream.getAudioTracks()
    if (!video) return { why: 'There is no camera any more.', isFinal: true }
    const transceiver = peer.addTransceiver(video, { direction: 'sendonly', streams: [this.#stream] })
    if (audio) peer.addTransceiver(audio, { direction: 'sendonly', streams: [this.#stream] })
    prefer(transceiver, this.#options.codec ?? 'video/H264')
    await peer.setLocalDescription(await peer.createOffer())
    await Promise.race([gathered(peer), over])
    if (this.#over) return { why: '' }
    const answered = await this.#offer(peer.localDescription.sdp)
    if ('why' in answered) return answered
    await peer.setRemoteDescription({ type: 'answer', sdp: answered.sdp })
    await limit(transceiver.sender).catch(() => {})
    return await over
  }

  async #offer(sdp) {
    const { url, key } = this.#options
    let response
    try {
      response = await fetch(url, {
        method: 'POST',
        headers: { authorization: `Bearer ${key}`, 'content-type': 'application/sdp' },
        body: sdp,
        cache: 'no-store',
        credentials: 'omit',
        referrerPolicy: 'no-referrer',
        signal: AbortSignal.timeout(ANSWER_MS_MAX),
      })
    } catch {
      return { why: `${originOf(url)} cannot be reached, or does not let this page publish.` }
    }
    if (response.status !== 201) {
      const problem = await response.json().catch(() => undefined)
      const why =
        problem?.detail ?? problem?.message ?? `The server answered with the status ${response.status}.`
      return { why, isFinal: isFinal(response.status) }
    }
    const location = response.headers.get('location')
    if (location) this.#session = new URL(location, response.url).href
    return { sdp: await response.text() }
  }

  #end() {
    this.#over = true
    removeEventListener('online', this.#again)
    navigator.connection?.removeEventListener?.('change', this.#again)
    this.#giveUp('')
  }

  async #leave() {
    const [peer, session] = [this.#peer, this.#session]
    this.#peer = undefined
    this.#session = undefined
    peer?.close()
    if (session)
      await fetch(session, {
        method: 'DELETE',
        headers: { authorization: `Bearer ${this.#options.key}` },
        keepalive: true,
        credentials: 'omit',
        signal: AbortSignal.timeout(ANSWER_MS_MAX),
      }).catch(() => {})
  }

  #say(state) {
    this.#options.onState(state)
  }
}

/** The wanted codec first; the others stay, for a browser that lacks it. */
function prefer(transceiver, wanted) {
  const codecs = RTCRtpSender.getCapabilities('video')?.codecs ?? []
  if (!transceiver.setCodecPreferences || codecs.length === 0) return
  const usable = codecs.filter(({ mimeType }) => /^video\/(H264|VP8)$/i.test(mimeType))
  const first = usable.filter(({ mimeType }) => mimeType === wanted)
  const sorted = [...first, ...usable.filter((codec) => !first.includes(codec))]
  if (sorted.length > 0) transceiver.setCodecPreferences(sorted)
}

async function limit(sender) {
  const parameters = sender.getParameters()
  for (const encoding of parameters.encodings) encoding.maxBitrate = BITS_PER_SECOND_MAX
  await sender.setParameters(parameters)
}

function gathered(peer) {
  return new Promise((resolve) => {
    if (peer.iceGatheringState === 'complete') return resolve()
    setTimeout(resolve, GATHER_MS_MAX)
    peer.addEventListener('icegatheringstatechange', () => {
      if (peer.iceGatheringState === 'complete') resolve()
    })
  })
}

const faultOf = (error) => `The browser says: ${error?.message ?? error}`

function originOf(url) {
  try {
    return new URL(url).host
  } catch {
    return 'The address'
  }
}

export function whyNoCamera() {
  if (navigator.mediaDevices?.getUserMedia && globalThis.RTCPeerConnection) return undefined
  return isSecureContext
    ? 'This browser has no camera access for pages. Use a current Chrome, Firefox, Safari or Edge.'
    : 'Browsers give a camera to https pages only. Open this page by its https address, or on this very machine as http://localhost.'
}

export function cameraFault(error) {
  switch (error?.name) {
    case 'NotAllowedError':
    case 'SecurityError':
      return 'The browser may not use the camera here. Allow it beside the address, then try again.'
    case 'NotFoundError':
    case 'OverconstrainedError':
      return 'This device has no such camera or microphone.'
    case 'NotReadableError':
    case 'AbortError':
      return 'The camera is in use by another program. Close that program, then try again.'
    default:
      return `The camera cannot be opened: ${error?.message ?? error}`
  }
}

export function holdAwake() {
  let lock
  let isHeld = true
  const take = async () => {
    if (!isHeld || document.visibilityState !== 'visible') return
    lock = await navigator.wakeLock?.request('screen').catch(() => undefined)
    if (!isHeld) await lock?.release()
  }
  // The browser lets go of it whenever the page is hidden.
  document.addEventListener('visibilitychange', take)
  void take()
  return {
    release() {
      isHeld = false
      document.removeEventListener('visibilitychange', take)
      void lock?.release().catch(() => {})
    },
  }
}

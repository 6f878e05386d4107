import Hls, { type HlsConfig, type LevelDetails } from 'hls.js'

/**
 * A camera's recording in a `<video>`: what is asked for in the time of the device's clock is found in the playlist's. A
 * playlist covers some minutes around what is looked at; leaving it fetches another one.
 */

/** Of a playlist, before and after what is looked at: 600 chunks. */
const BEFORE_MS = 30_000
const AFTER_MS = 30 * 60_000
/** Of the video, fetched ahead of what is seen and kept behind it. */
const AHEAD_S = 24
const BEHIND_S = 40
/** While the pointer moves, no playlist is fetched for what it only passes. */
const SETTLE_MS = 160
/** The picture of a moment is that of the frame before: 25 in a second. */
const SLACK_MS = 60
const RECOVERIES_MAX = 3
/** Between two chunks that follow each other, seconds. */
const JOIN_S = 0.25
const NOT_THERE = 'The recording of this moment is not in the bucket.'

const CONFIG: Partial<HlsConfig> = {
  autoStartLoad: false,
  // The library as a module brings no worker, and fragmented MP4 is passed through anyway.
  enableWorker: false,
  maxBufferLength: AHEAD_S,
  maxMaxBufferLength: AHEAD_S,
  backBufferLength: BEHIND_S,
  // Chunks follow each other to the rounded millisecond.
  maxBufferHole: 0.3,
  nudgeMaxRetry: 8,
}

/** A chunk in the playlist: when it begins by the device's clock, and where in the video. */
interface Piece {
  readonly atMs: number
  readonly start: number
  readonly duration: number
}

export type SourceState = 'idle' | 'loading' | 'ready' | 'failed'

export interface SourceOptions {
  readonly video: HTMLVideoElement
  /** Of a playlist with the chunks that have a part in a span. */
  readonly addressOf: (fromMs: number, toMs: number) => string
  /** It changed: also why it failed. */
  readonly onState: (state: SourceState, why: string | undefined) => void
}

/** Whether the browser's own player has to do it: phones of Apple that know no MediaSource. */
const isNative = !Hls.isSupported()

export class RecordingSource implements Disposable {
  readonly #video: HTMLVideoElement
  readonly #options: SourceOptions
  #hls: Hls | undefined
  /** Of the playlist that is open, the earliest first. */
  #pieces: readonly Piece[] = []
  #opening: AbortController | undefined
  /** What was asked for last and is not seen yet. */
  #wantedMs: number | undefined
  #openedToMs = 0
  #settle: ReturnType<typeof setTimeout> | undefined
  #recoveries = 0
  #hasBegun = false
  #state: SourceState = 'idle'

  constructor(options: SourceOptions) {
    this.#options = options
    this.#video = options.video
    const video = options.video
    for (const name of ['seeked', 'canplay', 'playing'] as const) video.addEventListener(name, this.#onSeen)
    video.addEventListener('waiting', this.#onWaiting)
    video.addEventListener('error', this.#onError)
  }

  /** By the device's clock, what is seen; or what will be, while it is sought. Undefined before anything was asked for. */
  get timeMs(): number | undefined {
    if (this.#wantedMs !== undefined) return this.#wantedMs
    const { currentTime } = this.#video
    const piece = this.#pieces[lastBefore(this.#pieces, ({ start }) => start <= currentTime + 0.001)]
    return piece && piece.atMs + Math.min(currentTime - piece.start, piece.duration) * 1000
  }

  /** The picture of `timeMs` is there, and what follows it. */
  get isReady(): boolean {
    return this.#wantedMs === undefined && this.#state === 'ready' && this.#video.readyState >= 3
  }

  /** The playlist's last chunk has been seen. */
  get hasEnded(): boolean {
    return this.#wantedMs === undefined && this.#video.ended
  }

  /** Until when it has asked what there is. */
  get openedToMs(): number {
    return this.#openedToMs
  }

  /** @param isPassing the pointer moves on: only what is at hand is shown */
  seek(atMs: number, { isPassing = false } = {}): void {
    clearTimeout(this.#settle)
    const seconds = this.#secondsOf(atMs)
    if (seconds === undefined) {
      this.#wantedMs = atMs
      this.#say('loading')
      if (isPassing) this.#settle = setTimeout(() => void this.#open(atMs), SETTLE_MS)
      else void this.#open(atMs)
      return
    }
    const isThere =
      Math.abs(this.#video.currentTime - seconds) * 1000 < SLACK_MS && this.#wantedMs === undefined
    if (isThere) return
    // One at a time: the newest of those that come meanwhile follows.
    const isBusy = this.#wantedMs !== undefined && this.#video.seeking && isPassing
    this.#wantedMs = atMs
    if (!isBusy) this.#video.currentTime = seconds
  }

  play(): void {
    if (!this.#video.paused) return
    // Refused or interrupted: whoever looks sees it stand still, and presses again.
    this.#video.play().catch(() => undefined)
  }

  pause(): void {
    if (!this.#video.paused) this.#video.pause()
  }

  rate(speed: number): void {
    if (this.#video.playbackRate !== speed) this.#video.playbackRate = speed
  }

  mute(isMuted: boolean): void {
    if (this.#video.muted !== isMuted) this.#video.muted = isMuted
  }

  /** Asks anew what there is: it failed, or more has come. */
  again(): void {
    this.#recoveries = 0
    const atMs = this.timeMs
    if (atMs !== undefined) void this.#open(atMs)
  }

  async #open(atMs: number): Promise<void> {
    this.#close()
    const opening = new AbortController()
    this.#opening = opening
    this.#wantedMs = atMs
    this.#openedToMs = atMs + AFTER_MS
    this.#say('loading')
    const address = this.#options.addressOf(Math.floor(atMs - BEFORE_MS), Math.ceil(this.#openedToMs))
    if (isNative) {
      await this.#openNative(address, opening.signal)
      return
    }
    const hls = new Hls({ ...CONFIG })
    this.#hls = hls
    const read = ({ details }: { readonly details: LevelDetails }) => {
      if (this.#hls === hls) this.#pieces = piecesIn(details)
    }
    // The video's own time stamps move the beginnings a little.
    hls.on(Hls.Events.LEVEL_PTS_UPDATED, (_name, data) => read(data))
    hls.on(Hls.Events.LEVEL_UPDATED, (_name, data) => read(data))
    hls.on(Hls.Events.LEVEL_LOADED, (_name, data) => {
      read(data)
      if (this.#hls !== hls || this.#hasBegun || this.#wantedMs === undefined) return
      const seconds = this.#secondsOf(this.#wantedMs)
      if (seconds === undefined) {
        this.#say('failed', NOT_THERE)
        return
      }
      this.#hasBegun = true
      hls.startLoad(seconds)
    })
    hls.on(Hls.Events.ERROR, (_name, { fatal, type, details, response }) => {
      if (!fatal || this.#hls !== hls) return
      if (type === Hls.ErrorTypes.MEDIA_ERROR && this.#recoveries < RECOVERIES_MAX) {
        this.#recoveries += 1
        hls.recoverMediaError()
        return
      }
      this.#say('failed', wordsOf(details, response?.code))
    })
    hls.loadSource(address)
    hls.attachMedia(this.#video)
  }

  async #openNative(address: string, signal: AbortSignal): Promise<void> {
    try {
      const response = await fetch(address, { signal, credentials: 'same-origin' })
      if (!response.ok) throw new Error(wordsOf('', response.status))
      this.#pieces = piecesOf(await response.text())
      const seconds = this.#wantedMs === undefined ? undefined : this.#secondsOf(this.#wantedMs)
      if (seconds === undefined) throw new Error(NOT_THERE)
      this.#video.src = address
      this.#video.currentTime = seconds
    } catch (error) {
      if (!signal.aborted) this.#say('failed', error instanceof Error ? error.message : String(error))
    }
  }

  /** Where in the video a moment is; undefined where the playlist has no chunk of it. */
  #secondsOf(atMs: number): number | undefined {
    const found = this.#pieces[lastBefore(this.#pieces, (piece) => piece.atMs <= atMs + SLACK_MS)]
    if (!found) return undefined
    const seconds = Math.max(0, (atMs - found.atMs) / 1000)
    if (seconds < found.duration) return found.start + seconds
    // Rounding between two chunks.
    return seconds < found.duration + JOIN_S ? found.start + found.duration - 0.01 : undefined
  }

  readonly #onSeen = () => {
    const video = this.#video
    if (this.#wantedMs !== undefined && !video.seeking && video.readyState >= 2) {
      const seconds = this.#secondsOf(this.#wantedMs)
      // Something newer was asked for while this was sought.
      if (seconds !== undefined && Math.abs(video.currentTime - seconds) * 1000 > SLACK_MS) {
        video.currentTime = seconds
        return
      }
      this.#wantedMs = undefined
    }
    if (video.readyState >= 2) {
      this.#recoveries = 0
      this.#say('ready')
    }
  }

  readonly #onWaiting = () => {
    if (this.#state === 'ready') this.#say('loading')
  }

  readonly #onError = () => {
    // The library hears of it itself, and tries again first.
    if (isNative) this.#say('failed', this.#video.error?.message || 'The browser cannot play this recording.')
  }

  #say(state: SourceState, why?: string): void {
    this.#state = state
    this.#options.onState(state, why)
  }

  #close(): void {
    clearTimeout(this.#settle)
    this.#opening?.abort()
    this.#hls?.destroy()
    this.#hls = undefined
    this.#hasBegun = false
    this.#pieces = []
  }

  [Symbol.dispose](): void {
    this.#close()
    const video = this.#video
    for (const name of ['seeked', 'canplay', 'playing'] as const)
      video.removeEventListener(name, this.#onSeen)
    video.removeEventListener('waiting', this.#onWaiting)
    video.removeEventListener('error', this.#onError)
    video.removeAttribute('src')
    video.load()
  }
}

/** Index of the last for which it holds; they are in order. -1: of none. */
function lastBefore(pieces: readonly Piece[], holds: (piece: Piece) => boolean): number {
  let [low, high] = [0, pieces.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (holds(pieces[middle] as Piece)) low = middle + 1
    else high = middle
  }
  return low - 1
}

const piecesIn = ({ fragments }: LevelDetails): readonly Piece[] =>
  fragments.flatMap(({ programDateTime: atMs, start, duration }) =>
    atMs === null ? [] : [{ atMs, start, duration }],
  )

/** Of a playlist's text (RFC 8216): durations and dates, where the browser's own player tells neither. */
function piecesOf(text: string): readonly Piece[] {
  const pieces: Piece[] = []
  let [start, atMs, duration] = [0, Number.NaN, 0]
  for (const line of text.split('\n').map((it) => it.trim())) {
    if (line.startsWith('#EXT-X-PROGRAM-DATE-TIME:')) atMs = Date.parse(line.slice(line.indexOf(':') + 1))
    else if (line.startsWith('#EXTINF:')) duration = Number.parseFloat(line.slice(8))
    else if (line !== '' && !line.startsWith('#')) {
      if (!Number.isNaN(atMs)) pieces.push({ atMs, start, duration })
      start += duration
      atMs += duration * 1000
    }
  }
  return pieces
}

function wordsOf(details: string, status: number | undefined): string {
  if (status === 403) return 'You may not see this recording.'
  if (status === 404) return NOT_THERE
  if (status !== undefined && status >= 400) return `The console answered with status ${status}.`
  if (/codec|addSourceBuffer/i.test(details))
    return 'This browser cannot play the video codec of this camera.'
  return `The recording could not be played (${details || 'no answer'}).`
}

import { BackgroundRate } from './background-rate.ts'
import type { MqttLink } from './link.ts'
import type { Publish } from './packets.ts'

/**
 * Sends large messages over a link of their own, one after the other and each in slices, so that what must not wait (crops,
 * on another link over the same line) never does: while some of that is on its way nothing goes, and else no more than
 * the line takes without a queue (background-rate.ts). Probes go over the link of what must not wait.
 */
export interface SlicedSenderOptions {
  /** Whether something that must not wait is there, or on its way. */
  readonly mustYield: () => boolean
  /** Resolves after a round trip on the link of what must not wait; undefined where there is no such link now. */
  readonly probe: () => Promise<void> | undefined
  /** Bytes a second that are allowed now; Infinity: as many as the line takes; 0: no message is begun. */
  readonly rateMax: () => number
  /** A message has left whole, or cannot: the next may come. */
  readonly onFree: () => void
}

type Sliced = Publish & { readonly retain?: boolean }

export class SlicedSender {
  readonly #options: SlicedSenderOptions
  readonly #rate = new BackgroundRate()
  #link: MqttLink | undefined
  #message: Sliced | undefined
  #writing = false
  #timer: NodeJS.Timeout | undefined
  /** Bytes that may go now. */
  #budget = 0
  #atMs = performance.now()
  #wroteAtMs = Number.NEGATIVE_INFINITY
  #probing: { readonly sentAtMs: number; isDisturbed: boolean } | undefined
  #probedAtMs = Number.NEGATIVE_INFINITY
  /** Since the last probe the rate was what limited it. */
  #used = false

  constructor(options: SlicedSenderOptions) {
    this.#options = options
  }

  /** Whether it takes a message. */
  get isFree(): boolean {
    return this.#message === undefined
  }

  /** It holds back what the link would take: that nothing is acknowledged is no sign of a dead line. */
  get holdsBack(): boolean {
    return this.#message !== undefined && !this.#writing
  }

  /** As fast as it would go, bytes a second. */
  get bytesPerSecond(): number {
    return Math.min(this.#rate.bytesPerSecond, this.#options.rateMax())
  }

  /** Takes the message over; to be called while `isFree`. */
  send(link: MqttLink, message: Sliced): void {
    this.#link = link
    this.#message = message
    const now = performance.now()
    if (now - this.#wroteAtMs > RESTED_MS) {
      this.#rate.rested()
      this.#budget = 0
      this.#atMs = now
    }
    this.run()
  }

  /** The link is gone, and the rest of a message with it. */
  clear(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#link = undefined
    this.#message = undefined
    this.#writing = false
    this.#probing = undefined
  }

  /** Goes on. To be called when there is nothing to yield to any more; by itself it looks now and then. */
  run(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    const [link, message] = [this.#link, this.#message]
    if (!link || !message || this.#writing) return
    const now = performance.now()
    if (this.#options.mustYield()) {
      if (this.#probing) this.#probing.isDisturbed = true
      this.#atMs = now
      // A line that never rests: a message that has begun does not die of it.
      if (link.slicesBytesLeft > 0 && now - this.#wroteAtMs > STARVED_MS) this.#write(link, SLICE_BYTES_MIN)
      else this.#later(YIELD_LOOK_MS)
      return
    }
    const rateMax = this.#options.rateMax()
    if (link.slicesBytesLeft === 0) {
      if (rateMax <= 0) {
        this.#atMs = now
        this.#later(PAUSED_LOOK_MS)
        return
      }
      link.beginSlices(message)
    }
    const isShared = this.#probe(now)
    // What has begun goes to its end, slowly, where none may begin.
    const lineMax = isShared ? this.#rate.bytesPerSecond : RATE_ALONE
    const rate = Math.max(1, Math.min(lineMax, rateMax || RATE_TO_END))
    const budgetMax = Math.max(SLICE_BYTES_MIN, (rate * BURST_MS) / 1000)
    this.#budget = Math.min(budgetMax, this.#budget + (rate * (now - this.#atMs)) / 1000)
    this.#atMs = now
    const wanted = Math.min(link.slicesBytesLeft, SLICE_BYTES_MIN)
    if (this.#budget < wanted) {
      this.#used = true
      this.#later(Math.min(PAUSED_LOOK_MS, Math.max(1, ((wanted - this.#budget) / rate) * 1000)))
      return
    }
    this.#write(link, Math.min(SLICE_BYTES_MAX, Math.floor(this.#budget)))
  }

  #write(link: MqttLink, bytesMax: number): void {
    const bytes = Math.min(bytesMax, link.slicesBytesLeft)
    this.#budget -= bytes
    this.#wroteAtMs = performance.now()
    this.#writing = true
    link.writeSlice(bytes, () => {
      if (this.#link !== link) return
      this.#writing = false
      if (link.slicesBytesLeft > 0) return this.run()
      this.#message = undefined
      this.#options.onFree()
    })
  }

  #later(ms: number): void {
    this.#timer = setTimeout(() => this.run(), ms)
  }

  /** @returns whether there is a link of what must not wait: without one nothing is in its way */
  #probe(now: number): boolean {
    const under = this.#probing
    if (under && now - under.sentAtMs < PROBE_MS_MAX) return true
    if (under) this.#probing = undefined
    if (under && !under.isDisturbed) this.#rate.probed(PROBE_MS_MAX, this.#used, now)
    if (now - this.#probedAtMs < PROBE_INTERVAL_MS && this.#isShared) return true
    const answered = this.#options.probe()
    this.#isShared = answered !== undefined
    if (!answered) return false
    const probing = { sentAtMs: now, isDisturbed: false }
    this.#probing = probing
    this.#probedAtMs = now
    void answered.then(() => {
      if (this.#probing !== probing) return
      this.#probing = undefined
      const nowMs = performance.now()
      if (probing.isDisturbed || this.#options.mustYield()) return
      this.#rate.probed(nowMs - probing.sentAtMs, this.#used, nowMs)
      this.#used = false
    })
    return true
  }

  #isShared = false
}

/** What a slow line takes in a few ms; and what is not worth cutting further on a fast one. */
const SLICE_BYTES_MIN = 4 * 1024
const SLICE_BYTES_MAX = 256 * 1024
/** What was not used in this time is lost. */
const BURST_MS = 10
const PROBE_INTERVAL_MS = 20
const PROBE_MS_MAX = 2000
/** Without a slice for so long, the line may be another one. */
const RESTED_MS = 2000
const STARVED_MS = 5000
/** How often it looks by itself whether it may go on: while it yields, and where no message may begin. */
const YIELD_LOOK_MS = 50
const PAUSED_LOOK_MS = 1000
/** Bytes a second. */
const RATE_TO_END = 64 * 1024
const RATE_ALONE = 1024 * 1024 * 1024

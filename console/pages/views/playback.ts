import { type Signal, signal } from '@preact/signals'
import { nextStart, type RecordedDay, spanAt } from './recorded-day.ts'
import type { RecordingSource } from './recording-source.ts'

/**
 * Several cameras in step under one playhead. What one of them shows leads: the playhead is where its picture is, so that
 * the time that is read is that of what is seen. The others follow it; one that has nothing at this moment waits for its
 * next stretch, and where nobody has anything the playhead goes to where somebody has.
 */

export const SPEEDS = [0.5, 1, 2, 4, 8] as const

/** Of what follows: closer than this is in step, farther than that is sought anew. */
const STEP_MS = 60
const APART_MS = 700
/** So much faster or slower it then plays. */
const CATCH_UP = 0.12
/** This close to a stretch's end it has ended: time stamps are rounded. */
const END_MS = 25
/** A video that ends so long before its stretch does lacks chunks. */
const LATE_MS = 1500

export interface Track {
  readonly key: string
  readonly source: RecordingSource
  readonly day: () => Pick<RecordedDay, 'stretches'>
}

export class Playback implements Disposable {
  /** By the device's clock, ms since 1970. */
  readonly atMs: Signal<number>
  readonly isPlaying = signal(false)
  readonly speed = signal<number>(1)
  /** Of the camera that is heard; undefined: none. */
  readonly heard = signal<string | undefined>(undefined)
  /** What it passed over by itself, to be said. */
  readonly skipped = signal<{ readonly fromMs: number; readonly toMs: number } | undefined>(undefined)
  /** At the end of what there is it waits for more: somebody follows what is recorded now. */
  waitsAtEnd = false
  readonly #tracks = new Map<string, Track>()
  #frame = 0
  /** The end of the stretch whose playlist was fetched again. */
  #askedAtMs = Number.NaN

  constructor(atMs: number) {
    this.atMs = signal(atMs)
  }

  start(): void {
    const turn = () => {
      this.#tick()
      this.#frame = requestAnimationFrame(turn)
    }
    cancelAnimationFrame(this.#frame)
    this.#frame = requestAnimationFrame(turn)
  }

  /** @returns takes it away */
  add(track: Track): () => void {
    this.#tracks.set(track.key, track)
    if (this.#has(track, this.atMs.peek())) track.source.seek(this.atMs.peek())
    return () => void this.#tracks.delete(track.key)
  }

  /** What a camera has at this moment is known now, or has changed. */
  learnt(key: string): void {
    const track = this.#tracks.get(key)
    const atMs = this.atMs.peek()
    if (track && this.#has(track, atMs) && track.source.timeMs === undefined) track.source.seek(atMs)
  }

  seek(atMs: number, { isPassing = false } = {}): void {
    this.atMs.value = atMs
    this.skipped.value = undefined
    for (const track of this.#tracks.values())
      if (this.#has(track, atMs)) track.source.seek(atMs, { isPassing })
      else track.source.pause()
  }

  play(): void {
    this.isPlaying.value = true
  }

  pause(): void {
    this.isPlaying.value = false
    for (const { source } of this.#tracks.values()) source.pause()
  }

  toggle(): void {
    if (this.isPlaying.peek()) this.pause()
    else this.play()
  }

  #has = (track: Track, atMs: number) => spanAt(track.day().stretches, atMs) !== undefined

  #tick(): void {
    for (const { key, source } of this.#tracks.values()) source.mute(this.heard.peek() !== key)
    if (!this.isPlaying.peek()) return
    const atMs = this.atMs.peek()
    const tracks = [...this.#tracks.values()]
    const showing = tracks.filter((track) => this.#has(track, atMs))
    if (showing.length === 0) {
      this.#leap(tracks, atMs)
      return
    }
    const speed = this.speed.peek()
    for (const { source } of tracks) if (!showing.some((track) => track.source === source)) source.pause()
    for (const { source } of showing) {
      if (source.timeMs === undefined) source.seek(atMs)
      // What was asked for has been seen: what comes after it is fetched.
      else if (atMs >= source.openedToMs - END_MS) source.again()
      source.play()
    }
    const leader = showing.find(({ source }) => source.isReady || source.hasEnded)
    if (!leader) {
      for (const { source } of showing) source.rate(speed)
      return
    }
    const stretch = spanAt(leader.day().stretches, atMs)
    const timeMs = leader.source.timeMs
    if (!stretch || timeMs === undefined) return
    // Chunks have come that were not there when it was asked for: once more, and it really is over.
    if (leader.source.hasEnded && stretch.toMs - timeMs > LATE_MS && this.#askedAtMs !== stretch.toMs) {
      this.#askedAtMs = stretch.toMs
      leader.source.again()
      return
    }
    // It may have gone on to its next stretch by itself.
    const isOver = timeMs >= stretch.toMs - END_MS || leader.source.hasEnded
    const nextMs = isOver ? stretch.toMs : Math.max(timeMs, stretch.fromMs)
    this.atMs.value = nextMs
    for (const track of showing) {
      const { source } = track
      if (track === leader) {
        source.rate(speed)
        continue
      }
      const itsMs = source.timeMs
      if (!source.isReady || itsMs === undefined) continue
      const behindMs = nextMs - itsMs
      if (Math.abs(behindMs) > APART_MS * Math.max(1, speed) && this.#has(track, nextMs)) source.seek(nextMs)
      else source.rate(speed * (Math.abs(behindMs) < STEP_MS ? 1 : 1 + Math.sign(behindMs) * CATCH_UP))
    }
  }

  #leap(tracks: readonly Track[], atMs: number): void {
    const starts = tracks.flatMap(({ day }) => nextStart(day(), atMs) ?? [])
    for (const { source } of tracks) source.pause()
    if (starts.length === 0) {
      if (!this.waitsAtEnd) this.isPlaying.value = false
      return
    }
    const nextMs = Math.min(...starts)
    this.seek(nextMs)
    this.skipped.value = { fromMs: atMs, toMs: nextMs }
  }

  [Symbol.dispose](): void {
    cancelAnimationFrame(this.#frame)
    this.pause()
    this.#tracks.clear()
  }
}

import { overlap } from '../detect/suppress.ts'
import { TRACK_GAP_MS_MAX, TRACKS_MAX } from '../limits.ts'
import { assign } from './assign.ts'
import type { Box, Size } from './crop.ts'
import { BoxFilter } from './kalman.ts'

/**
 * Follows faces from frame to frame: a Kalman filter predicts where each is, and detections are assigned to
 * predictions by overlap, as in ByteTrack (Zhang et al., "ByteTrack: Multi-Object Tracking by Associating Every
 * Detection Box", 2022), which grew out of SORT (Bewley et al., 2016):
 *
 *   1. sure detections      <-> all tracks, by overlap (IoU)
 *   2. doubtful detections  <-> tracks that were seen in the frame before, by overlap: a face half hidden
 *   3. sure detections left <-> tracks left, by distance: a small face that moves further than its own width
 *   4. what is left of the sure ones starts tracks
 *
 *   new: tentative --hits--> confirmed --not seen--> lost --seen--> confirmed
 *            |                              |            |
 *            +--- two frames without ------ | -----------+--- too long, or out of the picture ---> ended
 *
 * Time is the frames' own. No I/O; the same calls give the same tracks.
 */

export interface Face {
  /** Full-frame pixels. */
  readonly box: Box
  /** 0 to 1. */
  readonly score: number
}

export interface TrackerOptions {
  /** A face with less starts no track. */
  readonly scoreMin: number
  /** A track that has not been seen for so long ends. */
  readonly lostMsMax: number
  readonly mint: () => string
}

/** Overlap (IoU) of prediction and detection from which they may be the same face. */
const OVERLAP_MIN = 0.3
/** The same for doubtful detections: less is more likely something else. */
const OVERLAP_MIN_DOUBTFUL = 0.35
/** How many times less exact a doubtful detection's box is. */
const DOUBT = 8
/** How far a face may be from where it was expected: in standard deviations of the filter's, and in its own sides. */
const REACH_DEVIATIONS = 3
const REACH_SIDES = 2.5
/** Two boxes of one face differ in size by at most this factor. */
const GROWTH_MAX = 1.8
/** Frames in a row that a track may miss before it is confirmed. */
const TENTATIVE_MISSES_MAX = 1
/** Hits that confirm a track: fewer where frames are far apart, ms. */
const HITS = 3
const HITS_BY_INTERVAL = [
  [600, 1],
  [180, 2],
] as const
/** Share of the newest interval in the usual one. */
const INTERVAL_NEWEST = 0.2
/** A face is stationary when its centre has stayed within this part of its side for so long, ms. */
const STATIONARY_WITHIN = 0.3
const STATIONARY_MS = 3000
/** Unseen for longer, a face is not expected to have gone on as it went, ms. */
const EXPECTED_MS_MAX = 1000

/** One face, followed. The tracker alone writes to it. */
export class Track {
  /** UUIDv7. */
  readonly id: string
  readonly filter: BoxFilter
  /** By the frames' clock, ms. */
  readonly startAtMs: number
  seenAtMs: number
  confirmed = false
  /** Sure detections so far. */
  hits = 1
  /** Frames in a row without it. */
  misses = 0
  /** As it was last detected. */
  box: Box
  score: number
  topScore: number
  /** Where it last came to, and when. */
  #anchor: Box
  #movedAtMs: number

  constructor(id: string, face: Face, atMs: number) {
    this.id = id
    this.filter = new BoxFilter(face.box)
    this.startAtMs = atMs
    this.seenAtMs = atMs
    this.box = face.box
    this.score = face.score
    this.topScore = face.score
    this.#anchor = face.box
    this.#movedAtMs = atMs
  }

  see(face: Face, atMs: number, sure: boolean): void {
    this.filter.correct(face.box, sure ? 1 : DOUBT)
    this.seenAtMs = atMs
    this.misses = 0
    if (sure) this.hits += 1
    this.box = face.box
    this.score = face.score
    this.topScore = Math.max(this.topScore, face.score)
    if (apart(this.#anchor, face.box) > STATIONARY_WITHIN * sideOf(face.box)) {
      this.#anchor = face.box
      this.#movedAtMs = atMs
    }
  }

  get stationary(): boolean {
    return this.seenAtMs - this.#movedAtMs >= STATIONARY_MS
  }
}

export interface Followed {
  /** For each face that was given, in its order, its track; none for a doubtful one that fits no track. */
  readonly tracks: readonly (Track | undefined)[]
  /** Tracks that ended, the tentative ones among them. */
  readonly ended: readonly Track[]
}

export class Tracker {
  readonly #options: TrackerOptions
  #tracks: Track[] = []
  #atMs: number | undefined
  /** Between frames, as a rule. */
  #intervalMs: number | undefined
  #frames = 0
  /** When there last was a frame at which nobody could look. */
  #unlookedAtMs: number | undefined

  constructor(options: TrackerOptions) {
    this.#options = options
  }

  get tracks(): readonly Track[] {
    return this.#tracks
  }

  /**
   * A frame's faces, sure and doubtful, best first.
   * @param atMs by the frames' clock; where it steps back (a file starts again), all tracks end
   * @param size of the frame, pixels
   */
  follow(faces: readonly Face[], atMs: number, size: Size): Followed {
    const ended = this.#atMs !== undefined && atMs < this.#atMs ? [...this.end()] : []
    this.#advance(atMs)
    const { scoreMin, mint } = this.#options
    const found = new Array<Track | undefined>(faces.length).fill(undefined)
    const indices = faces.map((_, index) => index)
    const sure = indices.filter((index) => (faces[index] as Face).score >= scoreMin).slice(0, TRACKS_MAX)
    const doubtful = indices.filter((index) => (faces[index] as Face).score < scoreMin).slice(0, TRACKS_MAX)
    const match = (tracks: readonly Track[], among: readonly number[], cost: Cost) => {
      const open = among.filter((index) => found[index] === undefined)
      const pairs = assign(
        tracks.length,
        open.length,
        (t, f) => cost(tracks[t] as Track, faces[open[f] as number] as Face),
        1,
      )
      for (const [t, f] of pairs.entries()) {
        if (f < 0) continue
        const face = faces[open[f] as number] as Face
        const track = tracks[t] as Track
        track.see(face, atMs, face.score >= scoreMin)
        found[open[f] as number] = track
      }
    }
    // In `misses` the frame at hand counts already.
    match(this.#tracks, sure, byOverlap(OVERLAP_MIN))
    match(
      this.#tracks.filter(({ misses }) => misses === 1),
      doubtful,
      byOverlap(OVERLAP_MIN_DOUBTFUL),
    )
    match(
      // Who comes in at the edge is not the one who is just going out there.
      this.#tracks.filter((track) => track.misses > 0 && !isLeaving(track, size)),
      sure,
      byDistance,
    )
    const kept: Track[] = []
    for (const track of this.#tracks) (this.#isOver(track, atMs, size) ? ended : kept).push(track)
    for (const index of sure) {
      if (found[index] !== undefined || kept.length >= TRACKS_MAX) continue
      const track = new Track(mint(), faces[index] as Face, atMs)
      found[index] = track
      kept.push(track)
    }
    this.#tracks = kept
    this.#confirm(this.#hitsNeeded())
    return { tracks: found, ended }
  }

  /** A frame that nobody looked at because nothing in it had changed: every face is where it was. */
  still(atMs: number): void {
    if (this.#atMs !== undefined && atMs < this.#atMs) return
    for (const track of this.#tracks) if (track.misses === 0) track.seenAtMs = atMs
    this.#atMs = atMs
  }

  /**
   * A frame at which nobody could look: nobody is missed for it, and those who were there are expected further on, though not
   * for longer than a second.
   */
  unlooked(atMs: number): void {
    if (this.#atMs === undefined || atMs < this.#atMs) return
    const passedMs = atMs - Math.max(this.#atMs, this.#unlookedAtMs ?? -Infinity)
    for (const track of this.#tracks) track.seenAtMs += passedMs
    this.#unlookedAtMs = atMs
    this.#atMs = Math.max(this.#atMs, atMs - EXPECTED_MS_MAX)
  }

  /** Ends all tracks. Where there were too few frames for so many hits, what was in all of them is confirmed. */
  end(): readonly Track[] {
    this.#confirm(Math.min(this.#hitsNeeded(), this.#frames))
    const ended = this.#tracks
    this.#tracks = []
    this.#atMs = undefined
    this.#unlookedAtMs = undefined
    this.#frames = 0
    return ended
  }

  #advance(atMs: number): void {
    if (this.#atMs !== undefined) {
      const passedMs = atMs - this.#atMs
      this.#intervalMs =
        this.#intervalMs === undefined
          ? passedMs
          : this.#intervalMs + INTERVAL_NEWEST * (passedMs - this.#intervalMs)
      for (const track of this.#tracks) {
        track.filter.predict(passedMs / 1000, track.misses > 0)
        track.misses += 1
      }
    }
    this.#atMs = atMs
    this.#frames += 1
  }

  #confirm(hitsNeeded: number): void {
    for (const track of this.#tracks) track.confirmed ||= track.hits >= hitsNeeded
  }

  #hitsNeeded(): number {
    const intervalMs = this.#intervalMs
    if (intervalMs === undefined) return HITS
    return HITS_BY_INTERVAL.find(([least]) => intervalMs >= least)?.[1] ?? HITS
  }

  #isOver(track: Track, atMs: number, size: Size): boolean {
    if (track.misses === 0) return false
    if (!track.confirmed && track.hits < this.#hitsNeeded() && track.misses > TENTATIVE_MISSES_MAX)
      return true
    const [left, top, width, height] = track.filter.box
    const [x, y] = [left + width / 2, top + height / 2]
    if (x < 0 || y < 0 || x > size.width || y > size.height) return true
    // Where frames are far apart, one that was missed is no end.
    const usualMs = Math.min(TRACK_GAP_MS_MAX, 2 * (this.#intervalMs ?? 0))
    return atMs - track.seenAtMs > Math.max(this.#options.lostMsMax, usualMs)
  }
}

type Cost = (track: Track, face: Face) => number

/** 0 the same box, 1 not to be matched. */
const byOverlap =
  (overlapMin: number): Cost =>
  (track, face) => {
    const shared = overlap(track.filter.box, face.box)
    return shared >= overlapMin ? 1 - shared : 1
  }

/** 0 where it was expected, 1 out of reach. */
const byDistance: Cost = ({ filter }, { box }) => {
  const growth = Math.sqrt((box[2] * box[3]) / (filter.box[2] * filter.box[3]))
  if (!(growth <= GROWTH_MAX && growth >= 1 / GROWTH_MAX)) return 1
  const off = apart(filter.box, box)
  return Math.max(off / (REACH_DEVIATIONS * filter.deviation), off / (REACH_SIDES * sideOf(box)))
}

/** Whether it is on its way over the picture's edge. */
function isLeaving({ filter }: Track, size: Size): boolean {
  const [left, top, width, height] = filter.box
  const [x, y] = filter.velocity
  return (
    (left < 0 && x < 0) ||
    (top < 0 && y < 0) ||
    (left + width > size.width && x > 0) ||
    (top + height > size.height && y > 0)
  )
}

const sideOf = (box: Box) => Math.sqrt(box[2] * box[3])

/** Between the centres of two boxes, pixels. */
const apart = (a: Box, b: Box) =>
  Math.hypot(a[0] + a[2] / 2 - b[0] - b[2] / 2, a[1] + a[3] / 2 - b[1] - b[3] / 2)

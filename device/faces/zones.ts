import { isInZone, type Zone } from '../../wire/zones.ts'
import { TRACK_GAP_MS_MAX, ZONE_SETTLE_MS } from '../limits.ts'
import type { Box } from './crop.ts'

/** What has happened to a face in a zone. */
export interface ZoneNews {
  readonly type: 'enter' | 'leave' | 'stay'
  readonly zone: string
  /** How long it has been in the zone, ms. */
  readonly inZoneMs: number
}

/** Names of the zones that a face is in, by this one picture alone. */
export const zonesOf = (zones: readonly Zone[], box: Box, frame: readonly [number, number]): string[] =>
  zones.filter((zone) => isInZone(zone, box, frame)).map(({ name }) => name)

/** Adds up the time between frames. A clock that jumps adds no more than frames can be apart; one that goes back, nothing. */
export class ElapsedTime {
  #atMs: number | undefined
  ms = 0

  /** @param atMs by the frames' clock */
  advance(atMs: number): void {
    this.ms += Math.min(TRACK_GAP_MS_MAX, Math.max(0, atMs - (this.#atMs ?? atMs)))
    this.#atMs = atMs
  }
}

interface Visit {
  readonly zone: Zone
  inside: boolean
  /** When it came in. */
  enteredMs: number
  /** Since when each look has said the contrary of `inside`. */
  otherSinceMs: number | undefined
  /** That it stays has been said of this visit. */
  stayed: boolean
}

/**
 * The zones that one followed face is in. Where it is first seen counts at once; later it has come or gone only when all
 * looks of ZONE_SETTLE_MS say so, and at least two: a box that trembles on a border makes no news. The news tells
 * the time of the first of them. While the face is hidden it is where it was.
 *
 * Time is an argument, ms, and never goes back (`ElapsedTime`). No I/O.
 */
export class ZoneVisits {
  readonly #visits: Visit[]
  #isFirst = true
  #lookedMs = 0
  #news: ZoneNews[] = []
  /** Zones that it has been in since `forgetVisited`. */
  readonly #visited = new Set<string>()

  constructor(zones: readonly Zone[]) {
    this.#visits = zones.map((zone) => ({
      zone,
      inside: false,
      enteredMs: 0,
      otherSinceMs: undefined,
      stayed: false,
    }))
  }

  /** @param box and frame in pixels of the full frame */
  look(box: Box, frame: readonly [number, number], nowMs: number): void {
    // Whoever goes from one zone to the next has left before it comes in.
    const came: Visit[] = []
    for (const visit of this.#visits) {
      if (isInZone(visit.zone, box, frame) === visit.inside) visit.otherSinceMs = undefined
      else if (this.#isFirst) came.push(visit)
      else if (visit.otherSinceMs === undefined) visit.otherSinceMs = nowMs
      else if (nowMs - visit.otherSinceMs >= ZONE_SETTLE_MS) {
        if (visit.inside) this.#leave(visit)
        else came.push(visit)
      }
    }
    for (const visit of came) this.#enter(visit, nowMs)
    for (const visit of this.#visits) this.#stay(visit, nowMs)
    this.#isFirst = false
    this.#lookedMs = nowMs
  }

  /** It is no longer followed: it has left every zone. */
  end(): void {
    for (const visit of this.#visits) if (visit.inside) this.#leave(visit)
  }

  #enter(visit: Visit, nowMs: number): void {
    visit.inside = true
    visit.enteredMs = visit.otherSinceMs ?? nowMs
    visit.otherSinceMs = undefined
    visit.stayed = false
    this.#visited.add(visit.zone.name)
    this.#say('enter', visit, nowMs)
  }

  #leave(visit: Visit): void {
    const leftMs = visit.otherSinceMs ?? this.#lookedMs
    visit.inside = false
    visit.otherSinceMs = undefined
    this.#say('leave', visit, leftMs)
  }

  #stay(visit: Visit, nowMs: number): void {
    const { stayS } = visit.zone
    // Not while it may be on its way out.
    if (!visit.inside || visit.stayed || stayS === undefined || visit.otherSinceMs !== undefined) return
    if (nowMs - visit.enteredMs < stayS * 1000) return
    visit.stayed = true
    this.#say('stay', visit, nowMs)
  }

  #say(type: ZoneNews['type'], { zone, enteredMs }: Visit, nowMs: number): void {
    this.#news.push({ type, zone: zone.name, inZoneMs: Math.round(Math.max(0, nowMs - enteredMs)) })
  }

  /** What has happened since it was last asked, in its order. */
  takeNews(): readonly ZoneNews[] {
    return this.#news.splice(0)
  }

  /** Names, in the order of the settings. */
  get inside(): string[] {
    return this.#visits.filter((it) => it.inside).map(({ zone }) => zone.name)
  }

  /** Those that it has been in since the last `forgetVisited`, where it is now included, and these. */
  visitedAnd(names: readonly string[]): string[] {
    const all = new Set([...this.#visited, ...names])
    return this.#visits.map(({ zone }) => zone.name).filter((name) => all.has(name))
  }

  forgetVisited(): void {
    this.#visited.clear()
    for (const name of this.inside) this.#visited.add(name)
  }
}

import type { ClipMetadata, GapReason } from '../../wire/clip.ts'
import type { KindName } from '../../wire/kinds.ts'

/**
 * Whether the files of one camera and kind are all there: each names the one before. Pure; also from what a database knows of
 * them, without their bytes.
 *
 * They may come in any order. What follows each other is held as a segment, of which only the ends are known: a day without a
 * hole costs as much as one file.
 *
 *     A <- B <- C     E <- F      two segments: between C and E something is missing
 */

export interface Link {
  /** For people: its path or key. */
  readonly at: string
  readonly kind: KindName
  /** SHA-256 of the whole file, hex. */
  readonly digest: string
  /** Of the file before; absent from the first that a device signs. */
  readonly previous?: string
  readonly capturedAtMs: number
  /** Of clips. */
  readonly endMs?: number
  readonly run?: string
  readonly sequence?: number
  readonly gap?: ClipMetadata['gap']
}

/** A file in a finding. */
export type Place = Pick<Link, 'at' | 'capturedAtMs'>

export type Finding =
  /** The first of what was given. `known`: the device says that there was none before it. */
  | { readonly is: 'begins'; readonly file: Place; readonly known: boolean }
  /**
   * Files that were signed are not here: between two that are, and for how long. `count` where it is known (clips), else one or
   * more. `altered`: so many files from that time are here but not as they were signed. `stated`: the device itself says that
   * it lost them.
   */
  | {
      readonly is: 'missing'
      readonly after: Place
      readonly before: Place
      readonly count?: number
      readonly altered: number
      readonly stated: boolean
    }
  /** It was given after one that was made later. Clips only: crops are published in another order than they are made. */
  | { readonly is: 'reordered'; readonly file: Place; readonly before: Place }
  | { readonly is: 'duplicate'; readonly file: Place; readonly of: string }
  /** Two files name the same one before: the device lost what it knew, by a power cut. What is between cannot be told. */
  | { readonly is: 'forked'; readonly file: Place }
  /** It names none before it, and is not the first: the device's folder was lost or is new. What was before cannot be told. */
  | { readonly is: 'anew'; readonly file: Place }
  /** Nothing was recorded, and the device says since when and why: no fault of the chain. */
  | {
      readonly is: 'gap'
      readonly file: Place
      readonly fromMs: number | null
      readonly toMs: number
      readonly why: GapReason
    }

/** Whether somebody has to look into it. */
export const isWrong = (finding: Finding): boolean =>
  finding.is === 'reordered' || (finding.is === 'missing' && !finding.stated)

/** Segments that wait for what is between them. Beyond that the oldest are taken for what they are. */
export const SEGMENTS_MAX = 20_000
/** Files remembered, to tell a copy and a fork; of older ones neither is noticed. */
export const REMEMBERED_MAX = 200_000
/** Times of files that are not as they were signed. */
export const ALTERED_MAX = 10_000
/** By how much a gap that the device states may begin after the end of the chunk before, ms. */
const STATED_WITHIN_MS = 1000

interface Segment {
  readonly order: number
  head: Link
  tail: Link
  forked: boolean
}

export class ChainCheck {
  /** By its last file's digest. */
  readonly #byTail = new Map<string, Segment>()
  /** By what its first file names as the one before. */
  readonly #byPrevious = new Map<string, Segment>()
  readonly #segments = new Set<Segment>()
  /** By the digest, short: where it is. */
  readonly #remembered = new Map<string, string>()
  readonly #alteredMs: number[] = []
  #last: Link | undefined
  #files = 0

  /** A file whose signature holds, in the order in which the files stand. @returns what can be said at once */
  add(link: Link): Finding[] {
    const { digest, previous } = link
    const copyOf = this.#remembered.get(short(digest))
    if (copyOf !== undefined) return [{ is: 'duplicate', file: link, of: copyOf }]
    this.#remember(link)
    this.#files += 1
    const findings: Finding[] = []
    if (link.gap) findings.push(gapOf(link, link.gap))
    const before = previous === undefined ? undefined : this.#byTail.get(previous)
    const after = this.#byPrevious.get(digest)
    let segment: Segment
    if (before) {
      this.#byTail.delete(before.tail.digest)
      segment = before
      segment.tail = link
    } else {
      const forked =
        previous !== undefined && (this.#remembered.has(short(previous)) || this.#byPrevious.has(previous))
      if (forked) findings.push({ is: 'forked', file: link })
      segment = { order: this.#files, head: link, tail: link, forked }
      this.#segments.add(segment)
      if (previous !== undefined && !forked) this.#byPrevious.set(previous, segment)
    }
    if (after && after !== segment) {
      if (link.kind === 'clip') findings.push({ is: 'reordered', file: link, before: after.head })
      this.#byPrevious.delete(digest)
      this.#segments.delete(after)
      segment.tail = after.tail
    }
    this.#byTail.set(segment.tail.digest, segment)
    if (this.#segments.size > SEGMENTS_MAX) findings.push(...this.#settle(SEGMENTS_MAX / 2))
    return findings
  }

  /** A file that is here, and is not as it was signed: it leaves a hole in the chain. */
  altered(capturedAtMs: number): void {
    if (this.#alteredMs.length < ALTERED_MAX) this.#alteredMs.push(capturedAtMs)
  }

  /** No more files. @returns where it begins and what is missing, in order of time */
  end(): Finding[] {
    return this.#settle(this.#segments.size)
  }

  /** Of the oldest so many segments. */
  #settle(count: number): Finding[] {
    this.#alteredMs.sort((a, b) => a - b)
    const oldest = [...this.#segments].sort((a, b) => a.head.capturedAtMs - b.head.capturedAtMs)
    return oldest.slice(0, count).flatMap((segment) => {
      const { head, tail } = segment
      this.#segments.delete(segment)
      this.#byTail.delete(tail.digest)
      if (head.previous !== undefined && this.#byPrevious.get(head.previous) === segment)
        this.#byPrevious.delete(head.previous)
      const last = this.#last
      this.#last = !last || tail.capturedAtMs > last.capturedAtMs ? tail : last
      if (!last) return [{ is: 'begins', file: placeOf(head), known: head.previous === undefined }]
      if (segment.forked) return []
      if (head.previous === undefined) return [{ is: 'anew', file: placeOf(head) }]
      return [this.#missing(last, head)]
    })
  }

  #missing(after: Link, before: Link): Finding {
    const isSameRun = after.run !== undefined && after.run === before.run
    const count = isSameRun ? (before.sequence ?? 0) - (after.sequence ?? 0) - 1 : 0
    const { gap } = before
    const endMs = after.endMs ?? after.capturedAtMs
    const stated = gap?.why === 'lost' && gap.fromMs !== null && gap.fromMs <= endMs + STATED_WITHIN_MS
    const altered = Math.max(
      0,
      firstFrom(this.#alteredMs, before.capturedAtMs + 1) - firstFrom(this.#alteredMs, after.capturedAtMs),
    )
    return {
      is: 'missing',
      after: placeOf(after),
      before: placeOf(before),
      ...(count > 0 && { count }),
      altered,
      stated,
    }
  }

  #remember({ digest, at }: Link): void {
    if (this.#remembered.size >= REMEMBERED_MAX) {
      const [oldest] = this.#remembered.keys()
      if (oldest !== undefined) this.#remembered.delete(oldest)
    }
    this.#remembered.set(short(digest), at)
  }
}

/** Where in a sorted list the first is that is no less than `least`. */
function firstFrom(sorted: readonly number[], least: number): number {
  let [low, high] = [0, sorted.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if ((sorted[middle] as number) < least) low = middle + 1
    else high = middle
  }
  return low
}

const placeOf = ({ at, capturedAtMs }: Link): Place => ({ at, capturedAtMs })

const gapOf = (link: Link, { fromMs, why }: NonNullable<Link['gap']>): Finding => ({
  is: 'gap',
  file: placeOf(link),
  fromMs,
  toMs: link.capturedAtMs,
  why,
})

/** 96 bits are enough to tell files apart that carry a signature. */
const short = (digest: string) => digest.slice(0, 24)

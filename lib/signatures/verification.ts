import type { KindName } from '../../wire/kinds.ts'
import { ChainCheck, type Finding, isWrong } from './chain.ts'
import { type Judged, judge, type Verdict } from './judge.ts'
import type { Signers } from './signers.ts'

/**
 * Many files, one after the other: each by itself, and those of a camera and kind as a chain. Pure; files come as they can be
 * read, and none is kept.
 *
 *     const verification = new Verification(signers)
 *     for (const [at, bytes] of files) verification.add(bytes, at)   // what can be said at once
 *     verification.end()                                            // where chains begin, and what is missing
 */

/** A finding, and of whom. */
export interface CameraFinding {
  /** `site/device/camera` */
  readonly camera: string
  readonly kind: KindName
  readonly finding: Finding
}

/** What became of one camera's files of a kind. */
export interface CameraTotals {
  readonly camera: string
  readonly kind: KindName
  files: number
  signed: number
  /** Files and findings that somebody has to look into. */
  wrong: number
  /** Holes in the chain, and stretches of which the device says that nothing was recorded. */
  missing: number
  gaps: number
  /** Captured at, milliseconds since 1970. */
  firstMs: number
  lastMs: number
}

/** Cameras of one verification; files of more are judged one by one, and counted. */
export const CAMERAS_MAX = 4096

export interface Totals {
  files: number
  bytes: number
  readonly verdicts: Record<Verdict, number>
  readonly findings: Record<Finding['is'], number>
  /** Files and findings that somebody has to look into. */
  wrong: number
  /** Files of more cameras than CAMERAS_MAX. */
  unchained: number
}

export class Verification {
  readonly #signers: Signers
  readonly #chains = new Map<string, { readonly chain: ChainCheck; readonly totals: CameraTotals }>()
  readonly totals: Totals = {
    files: 0,
    bytes: 0,
    verdicts: {
      signed: 0,
      unsigned: 0,
      changed: 0,
      'unknown key': 0,
      'not valid then': 0,
      'another device': 0,
      elsewhere: 0,
      unreadable: 0,
    },
    findings: { begins: 0, missing: 0, reordered: 0, duplicate: 0, forked: 0, anew: 0, gap: 0 },
    wrong: 0,
    unchained: 0,
  }

  constructor(signers: Signers) {
    this.#signers = signers
  }

  /** Of the cameras whose files could be read. */
  get cameras(): CameraTotals[] {
    return [...this.#chains.values()].map(({ totals }) => totals)
  }

  /** @param at path or object key, as for `judge` */
  add(
    payload: Uint8Array,
    at: string,
  ): { readonly judged: Judged; readonly findings: readonly CameraFinding[] } {
    const judged = judge(payload, at, this.#signers)
    return { judged, findings: this.take(judged) }
  }

  /** The same of a file that was judged already. */
  take(judged: Judged): CameraFinding[] {
    const { verdict, claims, kind, digest, at } = judged
    const { totals } = this
    totals.files += 1
    totals.bytes += judged.bytes
    totals.verdicts[verdict] += 1
    if (verdict !== 'signed') totals.wrong += 1
    if (!claims) return []
    const known = this.#chainOf(judged)
    if (!known) {
      totals.unchained += 1
      return []
    }
    known.totals.files += 1
    known.totals.firstMs = Math.min(known.totals.firstMs, claims.capturedAtMs)
    known.totals.lastMs = Math.max(known.totals.lastMs, claims.capturedAtMs)
    if (verdict === 'signed') known.totals.signed += 1
    else known.totals.wrong += 1
    // Under another's name, or when no certificate was valid, it is all the same the file that the next one names.
    if (verdict === 'signed' || verdict === 'elsewhere' || verdict === 'not valid then')
      return this.#found(known.totals, known.chain.add({ ...claims, at, kind, digest }))
    known.chain.altered(claims.capturedAtMs)
    return []
  }

  /** No more files. */
  end(): CameraFinding[] {
    return [...this.#chains.values()].flatMap(({ totals, chain }) => this.#found(totals, chain.end()))
  }

  #chainOf({ kind, claims }: Judged) {
    const camera = `${claims?.site}/${claims?.device}/${claims?.camera}`
    const key = `${kind} ${camera}`
    const known = this.#chains.get(key)
    if (known || this.#chains.size >= CAMERAS_MAX) return known
    const totals: CameraTotals = {
      camera,
      kind,
      files: 0,
      signed: 0,
      wrong: 0,
      missing: 0,
      gaps: 0,
      firstMs: Number.POSITIVE_INFINITY,
      lastMs: Number.NEGATIVE_INFINITY,
    }
    const chain = { totals, chain: new ChainCheck() }
    this.#chains.set(key, chain)
    return chain
  }

  #found(of: CameraTotals, findings: readonly Finding[]): CameraFinding[] {
    for (const finding of findings) {
      this.totals.findings[finding.is] += 1
      if (finding.is === 'missing') of.missing += 1
      if (finding.is === 'gap') of.gaps += 1
      if (!isWrong(finding)) continue
      of.wrong += 1
      this.totals.wrong += 1
    }
    return findings.map((finding) => ({ camera: of.camera, kind: of.kind, finding }))
  }
}

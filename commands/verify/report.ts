import { failure } from '../../lib/errors.ts'
import { isWrong } from '../../lib/signatures/chain.ts'
import { type Judged, judge } from '../../lib/signatures/judge.ts'
import { sayFinding } from '../../lib/signatures/say.ts'
import type { Signers } from '../../lib/signatures/signers.ts'
import { type CameraFinding, Verification } from '../../lib/signatures/verification.ts'
import { inOneLine, table } from '../../lib/table.ts'
import { CLIP } from '../../wire/kinds.ts'
import { progressBar } from '../progress.ts'

/** What `sightline verify` says of the files that it is given, one after the other. */

/** A file to be judged. */
export interface Read {
  /** Its path or key. */
  readonly at: string
  readonly bytes: number
  /** Undefined where it is larger than any of ours. */
  readonly payload: Uint8Array | undefined
  /** Only what was captured in that time counts, milliseconds since 1970. */
  readonly within?: { readonly fromMs: number; readonly toMs: number }
}

export interface ReportOptions {
  readonly json: boolean
  /** A line for each file, not only for those that are wrong. */
  readonly all: boolean
  /** Of all files, where that is known. */
  readonly bytes?: number
  readonly print?: (text: string) => void
}

export class Report {
  readonly #signers: Signers
  readonly #options: ReportOptions
  readonly #print: (text: string) => void

  constructor(signers: Signers, options: ReportOptions) {
    this.#signers = signers
    this.#options = options
    this.#print = options.print ?? ((text) => void process.stdout.write(text))
  }

  /** @returns the exit status. Errors: CROP_NOT_FOUND where there is no file at all; those of the reader */
  async of(files: AsyncIterable<Read>): Promise<number> {
    const verification = new Verification(this.#signers)
    using progress = progressBar(process.stderr, 'verify')
    for await (const { at, bytes, payload, within } of files) {
      const judged = payload ? judge(payload, at, this.#signers) : tooLarge(at, bytes)
      if (!isWithin(judged, within)) continue
      const findings = verification.take(judged)
      progress.show(verification.totals.bytes, this.#options.bytes)
      if (this.#shows(judged) || findings.length > 0) progress.clear()
      this.#sayFile(judged)
      for (const finding of findings) this.#sayFinding(finding)
    }
    progress.clear()
    if (verification.totals.files === 0)
      throw failure('CROP_NOT_FOUND', 'There is no crop and no clip to verify.')
    for (const finding of verification.end()) this.#sayFinding(finding)
    this.#sayTotals(verification)
    return verification.totals.wrong === 0 ? 0 : 1
  }

  #shows({ verdict }: Judged): boolean {
    const { json, all } = this.#options
    return json || all || verdict !== 'signed'
  }

  #sayFile(judged: Judged): void {
    if (!this.#shows(judged)) return
    const { at, verdict, sentence, kind, digest, signer, claims } = judged
    if (!this.#options.json) {
      this.#print(`${verdict.padEnd(LABEL_COLUMNS)}  ${inOneLine(at)}\n${INDENT}${inOneLine(sentence)}\n`)
      return
    }
    this.#line({
      is: 'file',
      at,
      kind,
      verdict,
      sentence,
      digest,
      signer: signer ? `${signer.site}/${signer.device}` : null,
      ...(claims && {
        id: claims.id,
        camera: `${claims.site}/${claims.device}/${claims.camera}`,
        capturedAtMs: claims.capturedAtMs,
      }),
    })
  }

  #sayFinding({ camera, kind, finding }: CameraFinding): void {
    const sentence = sayFinding(finding)
    if (this.#options.json) {
      const wrong = isWrong(finding)
      this.#line({ ...finding, is: 'finding', finding: finding.is, camera, kind, sentence, wrong })
      return
    }
    this.#print(
      `${finding.is.padEnd(LABEL_COLUMNS)}  ${inOneLine(camera)}, ${kind}s\n${INDENT}${inOneLine(sentence)}\n`,
    )
  }

  #sayTotals({ totals, cameras }: Verification): void {
    if (this.#options.json) {
      this.#line({ is: 'totals', ...totals, cameras })
      return
    }
    const rows = cameras.map((it) => [
      inOneLine(it.camera),
      `${it.kind}s`,
      String(it.files),
      String(it.signed),
      String(it.missing),
      String(it.gaps),
      String(it.wrong),
      `${iso(it.firstMs)} to ${iso(it.lastMs)}`,
    ])
    if (rows.length > 0)
      this.#print(
        `\n${table([['camera', 'kind', 'files', 'signed', 'holes', 'gaps', 'wrong', 'captured'], ...rows])}`,
      )
    const { files, wrong, findings, unchained } = totals
    const said = `${files} ${files === 1 ? 'file' : 'files'}: `
    const open = findings.anew + findings.forked
    this.#print(
      `\n${said}${wrong === 0 ? 'all signed and unchanged, and none is missing between the first and the last' : `${wrong} ${wrong === 1 ? 'thing is' : 'things are'} wrong`}.\n`,
    )
    if (open > 0)
      this.#print(
        `At ${open} ${open === 1 ? 'place' : 'places'} it cannot be told whether something is missing.\n`,
      )
    if (unchained > 0) this.#print(`${unchained} of too many cameras were verified one by one only.\n`)
  }

  #line(value: object): void {
    this.#print(`${JSON.stringify(value)}\n`)
  }
}

const LABEL_COLUMNS = 'another device'.length
const INDENT = ' '.repeat(LABEL_COLUMNS + 2)

function tooLarge(at: string, bytes: number): Judged {
  const sentence = `Cannot be read: it has ${bytes} bytes, and no crop and no clip has more than ${CLIP.payloadBytesMax}.`
  return { at, bytes, verdict: 'unreadable', sentence, kind: 'clip', digest: '' }
}

/** What cannot be read counts always. A clip counts where a part of it does. */
function isWithin({ claims }: Judged, within: Read['within']): boolean {
  if (!within || !claims?.clockSane) return true
  const { capturedAtMs, endMs = capturedAtMs } = claims
  return endMs >= within.fromMs && capturedAtMs < within.toMs
}

const iso = (ms: number) => new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z')

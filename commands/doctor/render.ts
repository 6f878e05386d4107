import { styleText } from 'node:util'
import { inOneLine } from '../../lib/table.ts'
import type { Finding, Level } from './finding.ts'

/** Findings for a terminal, for a file, for a program. */

export interface Output {
  readonly isTTY?: boolean
  readonly columns?: number
  write(text: string): unknown
}

const COLOURS = { ok: 'green', warn: 'yellow', FAIL: 'red', skip: 'dim' } as const
const INDENT = '      '
const COLUMNS_MAX = 100

/** One line, or, on a terminal, as many as it takes; what to do below it. Pure but for the terminal's colours. */
export function lines({ level, what, found, todo }: Finding, output: Output): string {
  const columns = output.isTTY ? Math.min(output.columns ?? 80, COLUMNS_MAX) : Number.POSITIVE_INFINITY
  const body = [...fold(`${what}: ${found}`, columns), ...(todo === undefined ? [] : fold(todo, columns))]
  const mark = output.isTTY
    ? styleText(COLOURS[level], level.padEnd(4), { stream: process.stdout })
    : level.padEnd(4)
  return body.map((line, at) => `${at === 0 ? `${mark}  ` : INDENT}${line}\n`).join('')
}

/** At the blanks. A word that is longer than a line stands alone. */
function fold(text: string, columns: number): string[] {
  return text.split('\n').flatMap((line) => {
    const folded: string[] = []
    let here = ''
    for (const word of inOneLine(line).split(' ')) {
      if (here !== '' && INDENT.length + here.length + 1 + word.length > columns) {
        folded.push(here)
        here = word
      } else here = here === '' ? word : `${here} ${word}`
    }
    return [...folded, here]
  })
}

export type Sum = Readonly<Record<Level, number>>

export function sumOf(findings: readonly Finding[]): Sum {
  const sum = { ok: 0, warn: 0, FAIL: 0, skip: 0 }
  for (const { level } of findings) sum[level] += 1
  return sum
}

export function sumLine({ ok, warn, FAIL, skip }: Sum): string {
  const failures = FAIL === 0 ? 'nothing failed' : `${FAIL} failed`
  return `${failures}: ${ok} ok, ${warn} ${warn === 1 ? 'warning' : 'warnings'}, ${skip} skipped\n`
}

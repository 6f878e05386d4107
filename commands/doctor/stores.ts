import { statSync } from 'node:fs'
import { join } from 'node:path'
import { ago, inOneLine, size } from '../../lib/table.ts'
import { holderOf } from '../../store/lock.ts'
import { StoreView } from '../../store/view.ts'
import { STORE_FILE } from '../../store/writer.ts'
import { type Finding, fail, failed, ok, warn } from './finding.ts'
import { checkFolder, freeSpace } from './folders.ts'

/** A program's store: who has it, and what waits in it. */

export interface StoreToCheck {
  readonly folder: string
  /** Where it is set. */
  readonly key: string
  /** What the bounds of its queues allow. */
  readonly bytesMax: number
}

/** A program's store: its folder, who has it, what waits. */
export async function checkStore({ folder, key, bytesMax }: StoreToCheck): Promise<Finding[]> {
  const what = `store ${folder}`
  const findings = await checkFolder(what, folder, key)
  if (findings.some(({ level }) => level === 'FAIL')) return findings
  const file = join(folder, STORE_FILE)
  const fileBytes = statSync(file, { throwIfNoEntry: false })?.size
  findings.push(freeSpace(what, folder, Math.max(0, bytesMax - (fileBytes ?? 0))))
  if (fileBytes === undefined) findings.push(ok(what, 'empty: nothing stored yet'))
  else findings.push(...(await checkContents(what, folder)))
  return findings
}

async function checkContents(what: string, folder: string): Promise<Finding[]> {
  const findings: Finding[] = []
  try {
    await using store = StoreView.open(folder)
    if (store.faultCount > 0)
      findings.push(
        fail(
          what,
          `damaged: ${store.faultCount} places cannot be read (${inOneLine(store.faults[0] ?? '')})`,
          'Check the disk, and keep a copy of the folder. At its next start the program recovers what can be read, and moves the damaged file aside.',
        ),
      )
    const waiting: string[] = []
    for (const { name, books, bytes, oldestAtMs } of store.queues()) {
      const { accepted, forwarded, pending, dropped } = books
      const queue = inOneLine(name)
      const lost = Object.values(dropped).reduce((sum, count) => sum + count, 0)
      if (accepted !== forwarded + pending + lost)
        findings.push(
          fail(
            what,
            `the books of ${queue} do not balance: ${accepted} accepted, ${forwarded} forwarded, ${pending} pending, ${lost} dropped`,
            'This is a bug in Sightline or a disk fault: keep a copy of the folder, and report it.',
          ),
        )
      if (pending === 0) continue
      const oldest = oldestAtMs === undefined ? '' : `, oldest ${ago(Date.now() - oldestAtMs)}`
      if (name.startsWith('quarantine'))
        findings.push(
          warn(
            what,
            `${pending} in ${queue} (${size(bytes)}${oldest})`,
            `See why, and retry or drop it: sightline quarantine list ${folder}`,
          ),
        )
      else waiting.push(`${pending} in ${queue} (${size(bytes)}${oldest})`)
    }
    const holder = holderOf(folder)
    const held = holder === undefined ? '' : `; in use by ${holder}`
    findings.push(
      ok(what, `books readable${held}; ${waiting.length === 0 ? 'nothing pending' : waiting.join(', ')}`),
    )
  } catch (error) {
    findings.push(failed(what, error, 'Move the folder elsewhere to start with an empty one, and keep it.'))
  }
  return findings
}

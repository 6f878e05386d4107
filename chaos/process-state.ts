import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Program } from '../test/kit/programs.ts'

/** What a program of ours holds of the machine, and what it must not have said. */

const SETTLE_MS = 3000

export interface ProcessState {
  /** Anonymous: what is mapped from a store's file is the kernel's to take back. */
  readonly memoryMb: number
  readonly handles: number
}

export function processState(pid: number): ProcessState {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  return {
    memoryMb: Number(/^RssAnon:\s+(\d+) kB/m.exec(status)?.[1]) / 1000,
    handles: readdirSync(`/proc/${pid}/fd`).length,
  }
}

/** After a pause, in which what was closed is let go of. */
export async function settledState(pid: number): Promise<ProcessState> {
  await sleep(SETTLE_MS)
  return processState(pid)
}

/** Lines of its log that nobody foresaw. */
export function unforeseen(program: Program): string[] {
  return program.log
    .filter(
      ({ level, code }) => level === 0 || (level >= 50 && (code === undefined || code === 'UNEXPECTED')),
    )
    .slice(0, 15)
    .map((line) => `the ${program.kind} said: ${JSON.stringify(line).slice(0, 300)}`)
}

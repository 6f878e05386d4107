import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { type LogLine, type Test, temporaryFolder } from '../kit/programs.ts'

/** `sightline` as a user runs it: through the launcher, from the command line. */

const ROOT = resolve(import.meta.dirname, '..', '..')
const LAUNCHER = join(ROOT, 'bin', 'sightline.js')
/** Starts take half as long with it. */
const COMPILE_CACHE = join(ROOT, 'node_modules', '.cache', 'sightline-test')
const RUN_MS_MAX = 40_000

export interface Outcome {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
  /** The code of what ended it: of the last fatal line of its log, or of the line "CODE: sentence". */
  readonly code: string | undefined
  /** The sentence beside it. */
  readonly sentence: string
}

/** A configuration file of the test's own. JSON is YAML. */
export function configFile(t: Test, content: string | Record<string, unknown>, name = 'conf.yaml'): string {
  const file = join(temporaryFolder(t), name)
  writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content))
  return file
}

export class Sightline {
  stdout = ''
  stderr = ''
  readonly #child: ChildProcess
  readonly #ended: Promise<void>
  readonly #wake = new Set<() => void>()

  private constructor(child: ChildProcess) {
    this.#child = child
    this.#ended = once(child, 'close').then(() => this.#look())
    createInterface({ input: child.stdout as Readable }).on('line', (line) => {
      this.stdout += `${line}\n`
      this.#look()
    })
    createInterface({ input: child.stderr as Readable }).on('line', (line) => {
      this.stderr += `${line}\n`
      this.#look()
    })
  }

  /** In a process group of its own, as a shell does it: `killGroup` reaches the launcher and what it runs. */
  static start(t: Test, args: readonly string[], env: Readonly<Record<string, string>> = {}): Sightline {
    const outer = Object.entries(process.env).filter(
      ([name]) => !/^(SIGHTLINE_|NODE_OPTIONS$|TAP)/.test(name),
    )
    const child = spawn(process.execPath, [LAUNCHER, ...args], {
      cwd: ROOT,
      env: { ...Object.fromEntries(outer), NODE_COMPILE_CACHE: COMPILE_CACHE, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    })
    const program = new Sightline(child)
    t.after(async () => {
      child.kill('SIGTERM')
      await program.end()
    })
    return program
  }

  get pid(): number {
    return this.#child.pid as number
  }

  get ended(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  /** As a terminal does at Ctrl-C. */
  killGroup(signal: NodeJS.Signals): void {
    process.kill(-this.pid, signal)
  }

  /** The lines of its log so far. */
  get log(): LogLine[] {
    return this.stderr.split('\n').flatMap((line) => {
      try {
        return line === '' ? [] : [JSON.parse(line) as LogLine]
      } catch {
        return []
      }
    })
  }

  /** The first line of its log that meets the test, waited for. */
  async line(test: (line: LogLine) => boolean, msMax = 20_000): Promise<LogLine> {
    await this.until(() => this.log.some(test), msMax)
    return this.log.find(test) as LogLine
  }

  /** Waits until what it has written meets the test. Rejects with what it has written where it does not. */
  until(test: () => boolean, msMax = 20_000): Promise<void> {
    return new Promise((resolve, reject) => {
      const finish = (met: boolean) => {
        clearTimeout(timer)
        this.#wake.delete(look)
        if (met) resolve()
        else reject(new Error(`it did not say it:\n${this.stdout}\n${this.stderr}`))
      }
      const look = () => {
        if (test()) finish(true)
        else if (this.ended) finish(false)
      }
      const timer = setTimeout(() => finish(false), msMax)
      this.#wake.add(look)
      look()
    })
  }

  /** Waits for its end; one that does not end is killed. */
  async end(): Promise<Outcome> {
    const timer = setTimeout(() => this.killGroup('SIGKILL'), RUN_MS_MAX)
    await this.#ended
    clearTimeout(timer)
    const fatal = this.log.findLast(({ level }) => level >= 60)
    const plain = /^([A-Z_]+): ([\s\S]*)/m.exec(this.stderr)
    return {
      status: this.#child.exitCode,
      stdout: this.stdout,
      stderr: this.stderr,
      code: fatal?.code ?? plain?.[1],
      sentence: fatal?.msg ?? plain?.[2]?.trim() ?? '',
    }
  }

  #look(): void {
    for (const wake of this.#wake) wake()
  }
}

/** Runs a command that ends by itself. */
export async function sightline(
  t: Test,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Outcome> {
  return Sightline.start(t, args, env).end()
}

import { type ChildProcess, spawn } from 'node:child_process'
import { createWriteStream } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { ENVIRONMENT, NODE_FLAGS } from '../bin/runtime.js'
import { failure, type SightlineError } from '../lib/errors.ts'

const CLI = fileURLToPath(new URL('../cli.ts', import.meta.url))
const READY_INTERVAL_MS = 100
const STOP_MS_MAX = 15_000
const LOG_LINES_KEPT = 50

export interface ProgramOptions {
  readonly name: string
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string>>
  /** Where its log goes; the last lines are kept in memory too. */
  readonly logFile: string
}

/** One of the demo's programs, a process of its own. */
export class Program implements AsyncDisposable {
  readonly name: string
  readonly #child: ChildProcess
  readonly #ended: Promise<void>
  readonly #lines: string[] = []
  exitCode: number | undefined

  private constructor(name: string, child: ChildProcess, logFile: string) {
    this.name = name
    this.#child = child
    const log = createWriteStream(logFile, { flags: 'a' })
    log.on('error', () => {}) // a full disk must not end the demo; the lines are in memory
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      log.write(text)
      this.#lines.push(...text.split('\n').filter((line) => line !== ''))
      this.#lines.splice(0, Math.max(0, this.#lines.length - LOG_LINES_KEPT))
    })
    this.#ended = new Promise((resolve) => {
      child.once('close', (code, signal) => {
        this.exitCode = code ?? (signal === null ? 1 : 128)
        log.end()
        resolve()
      })
    })
  }

  static start({ name, args, env, logFile }: ProgramOptions): Program {
    // A process group of its own: Ctrl-C reaches the demo alone, which stops the others in order.
    const child = spawn(process.execPath, [...NODE_FLAGS, CLI, ...args], {
      env: { ...ENVIRONMENT, ...process.env, ...env },
      stdio: ['ignore', 'ignore', 'pipe'],
      detached: true,
    })
    return new Program(name, child, logFile)
  }

  get exited(): boolean {
    return this.exitCode !== undefined
  }

  /** Waits until it answers at its address. Errors: what made it end instead. */
  async ready(url: string, msMax: number): Promise<void> {
    const until = Date.now() + msMax
    for (;;) {
      if (this.exited) throw this.failure()
      const answer = await fetch(`${url}/healthz`, { signal: AbortSignal.timeout(1000) }).catch(
        () => undefined,
      )
      if (answer) return
      if (Date.now() > until)
        throw failure('UNEXPECTED', `The ${this.name} did not get ready within ${msMax / 1000} s.`)
      await sleep(READY_INTERVAL_MS)
    }
  }

  /** Its own last words, as an error of ours. */
  failure(): SightlineError {
    for (const line of this.#lines.toReversed()) {
      try {
        const { level, code, msg } = JSON.parse(line) as { level: number; code?: string; msg: string }
        if (level >= 60) return failure((code ?? 'UNEXPECTED') as never, `The ${this.name} ended: ${msg}`)
      } catch {
        const match = /^([A-Z_]+): (.*)$/.exec(line)
        if (match) return failure(match[1] as never, `The ${this.name} ended: ${match[2]}`)
      }
    }
    return failure(
      'UNEXPECTED',
      `The ${this.name} ended with status ${this.exitCode}: ${this.#lines.at(-1) ?? 'it said nothing'}`,
    )
  }

  /** Asks it to drain and end; ends it if it does not. */
  async stop(): Promise<void> {
    if (this.exited) return
    this.#child.kill('SIGTERM')
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_MS_MAX)
    await this.#ended
    clearTimeout(timer)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }
}

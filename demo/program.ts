import { type ChildProcess, spawn } from 'node:child_process'
import { createWriteStream } from 'node:fs'
import { extname } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { ENVIRONMENT, NODE_FLAGS } from '../bin/runtime.js'
import { failure, type SightlineError } from '../lib/errors.ts'

/** Installed from npm it is JavaScript, as this file then is. */
const CLI = fileURLToPath(new URL(`../cli${extname(import.meta.url)}`, import.meta.url))
const READY_INTERVAL_MS = 100
const STOP_MS_MAX = 15_000
const LOG_LINES_KEPT = 50
const LEVEL_FATAL = 60

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
  #stopping: Promise<void> | undefined
  exitCode: number | undefined
  /** What its log lines "books" and "books of the outbox" say, which it writes when it ends. */
  books: Readonly<Record<string, unknown>> | undefined
  outbox: Readonly<Record<string, unknown>> | undefined

  private constructor(name: string, child: ChildProcess, logFile: string) {
    this.name = name
    this.#child = child
    const log = createWriteStream(logFile, { flags: 'a' })
    log.on('error', () => {}) // a full disk must not end the demo; the lines are in memory
    createInterface({ input: child.stderr as Readable }).on('line', (line) => {
      log.write(`${line}\n`)
      this.#lines.push(line)
      if (this.#lines.length > LOG_LINES_KEPT) this.#lines.shift()
      const said = parseLine(line)
      if (said?.msg === 'books') this.books = said
      if (said?.msg === 'books of the outbox') this.outbox = said
    })
    child.on('message', () => {}) // that it lives: nobody counts it here, and unheard it would be kept
    // Whatever ends the demo, even a fault of its own, takes its programs along.
    const end = () => child.kill()
    process.once('exit', end)
    this.#ended = new Promise((resolve) => {
      child.once('close', (code, signal) => {
        this.exitCode = code ?? (signal === null ? 1 : 128)
        process.off('exit', end)
        log.end()
        resolve()
      })
    })
  }

  static start({ name, args, env, logFile }: ProgramOptions): Program {
    // A process group of its own: Ctrl-C reaches the demo alone, which stops the others in order.
    const child = spawn(process.execPath, [...NODE_FLAGS, CLI, ...args], {
      env: { ...ENVIRONMENT, ...outerEnvironment(), ...env },
      // It ends when this channel does, whatever ended the demo.
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
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
        throw failure('UNEXPECTED', `The ${this.name} was not ready within ${msMax / 1000} s.`)
      await sleep(READY_INTERVAL_MS)
    }
  }

  /** Its own last words, as an error of ours. */
  failure(): SightlineError {
    for (const line of this.#lines.toReversed()) {
      const said = parseLine(line)
      const plain = /^([A-Z_]+): (.*)$/.exec(line)
      if (said && said.level >= LEVEL_FATAL)
        return failure((said.code ?? 'UNEXPECTED') as never, `The ${this.name} ended: ${said.msg}`)
      if (plain) return failure(plain[1] as never, `The ${this.name} ended: ${plain[2]}`)
    }
    return failure(
      'UNEXPECTED',
      `The ${this.name} ended with status ${this.exitCode}: ${this.#lines.at(-1) ?? 'no output'}`,
    )
  }

  /** Asks it to drain and end; ends it if it does not. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop()
    return this.#stopping
  }

  async #stop(): Promise<void> {
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

interface LogLine {
  readonly level: number
  readonly msg?: string
  readonly code?: string
  readonly [key: string]: unknown
}

function parseLine(line: string): LogLine | undefined {
  try {
    return JSON.parse(line) as LogLine
  } catch {
    return undefined // not of the log: what Node itself or a library printed
  }
}

/** Settings in the environment belong to one program; the demo starts five, each with its own. */
function outerEnvironment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('SIGHTLINE_')))
}

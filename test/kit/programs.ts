import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { ENVIRONMENT, NODE_FLAGS } from '../../bin/runtime.js'
import { threadsOf } from '../../bin/threads.js'

/**
 * Our programs as they are run: real processes from real configuration files, ended with SIGTERM or with SIGKILL.
 * Everything that was started is gone, files included, when the test ends.
 */

const ROOT = resolve(import.meta.dirname, '..', '..')
const MAIN = {
  broker: 'broker/main.ts',
  subscriber: 'cloud-subscriber/main.ts',
  device: 'device/main.ts',
  console: 'console/main.ts',
  inference: 'inference/main.ts',
} as const
/** Starts take half as long with it. */
const COMPILE_CACHE = join(ROOT, 'node_modules', '.cache', 'sightline-test')
const READY_MS_MAX = 20_000
const STOP_MS_MAX = 15_000
const BETWEEN_SAMPLES_MS = 200

export type ProgramKind = keyof typeof MAIN

/** The part of a tap test that is needed here. */
export interface Test {
  after(handler: () => void | Promise<void>): void
}

export interface LogLine {
  readonly level: number
  readonly msg?: string
  readonly code?: string
  readonly [key: string]: unknown
}

/** A folder for a test's files, removed at its end. */
export function temporaryFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'sightline-test-'))
  t.after(() => rmSync(folder, { recursive: true, force: true, maxRetries: 3 }))
  return folder
}

export interface ProgramOptions {
  readonly env?: Readonly<Record<string, string>>
  /** A command that runs the program: its arguments follow (`['prlimit', '--fsize=1000000']`). */
  readonly under?: readonly string[]
}

export class Program {
  readonly kind: ProgramKind
  /** As it is written to the configuration file at each start; change it between two of them. */
  config: Record<string, unknown>
  readonly log: LogLine[] = []
  readonly #file: string
  readonly #options: ProgramOptions
  readonly #waiting = new Set<() => void>()
  #child: ChildProcess | undefined
  #ready: LogLine | undefined

  private constructor(
    kind: ProgramKind,
    config: Record<string, unknown>,
    file: string,
    options: ProgramOptions,
  ) {
    this.kind = kind
    this.config = config
    this.#file = file
    this.#options = options
  }

  /** Starts it and waits until it says that it is ready. Rejects with its last words where it ends instead. */
  static async start(
    t: Test,
    kind: ProgramKind,
    config: Record<string, unknown>,
    options: ProgramOptions = {},
  ): Promise<Program> {
    const program = new Program(kind, config, join(temporaryFolder(t), `${kind}.yaml`), options)
    t.after(() => program.kill())
    await program.start()
    return program
  }

  /** The same, for one that is not to become ready: waits until it says something else. */
  static async waiting(
    t: Test,
    kind: ProgramKind,
    config: Record<string, unknown>,
    says: (line: LogLine) => boolean,
  ): Promise<Program> {
    const program = new Program(kind, config, join(temporaryFolder(t), `${kind}.yaml`), {})
    t.after(() => program.kill())
    program.#spawn(() => {})
    await program.line(says, READY_MS_MAX)
    return program
  }

  /** The same, for one that is to end by itself. @returns its exit status and what it wrote */
  static async run(
    t: Test,
    kind: ProgramKind,
    config: Record<string, unknown>,
  ): Promise<{ status: number | null; last: LogLine | undefined; text: string }> {
    const program = new Program(kind, config, join(temporaryFolder(t), `${kind}.yaml`), {})
    t.after(() => program.kill())
    const text: string[] = []
    const child = program.#spawn((line) => text.push(line))
    await once(child, 'close')
    return { status: child.exitCode, last: program.log.at(-1), text: text.join('\n') }
  }

  /** (Again.) What it chose itself at its first start, ports above all, stays. */
  async start(): Promise<void> {
    const lines = this.log.length
    const child = this.#spawn(() => {})
    const ready = await this.#find(
      (line) => line.msg === `${this.kind} ready`,
      READY_MS_MAX,
      lines,
      () => child.exitCode !== null || child.signalCode !== null,
    )
    this.#ready = ready
    const pin = (at: string) => ({ host: '127.0.0.1', port: Number(at.split(':').at(-1)) })
    const given = (this.config.listeners ?? []) as readonly object[]
    if (Array.isArray(ready.listeners))
      this.config.listeners = ready.listeners.map((at, n) => ({ ...given[n], ...pin(String(at)) }))
    if (typeof ready.http === 'string') this.config.http = pin(ready.http)
    if (typeof ready.rest === 'string')
      this.config.rest = { ...(this.config.rest as object | undefined), ...pin(ready.rest) }
  }

  #spawn(onLine: (line: string) => void): ChildProcess {
    writeFileSync(this.#file, JSON.stringify(this.config)) // JSON is YAML
    const env = Object.fromEntries(
      Object.entries(process.env).filter(([name]) => !/^(SIGHTLINE_|NODE_OPTIONS$|TAP)/.test(name)),
    )
    const [command, ...args] = [
      ...(this.#options.under ?? []),
      process.execPath,
      ...NODE_FLAGS,
      join(ROOT, MAIN[this.kind]),
      '--config',
      this.#file,
    ]
    if (command === undefined) throw new TypeError('no command')
    const child = spawn(command, args, {
      cwd: ROOT,
      env: { ...env, ...ENVIRONMENT, NODE_COMPILE_CACHE: COMPILE_CACHE, ...this.#options.env },
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    this.#child = child
    createInterface({ input: child.stderr as NodeJS.ReadableStream }).on('line', (line) => {
      onLine(line)
      this.log.push(parseLine(line))
      for (const wake of this.#waiting) wake()
    })
    child.once('close', () => {
      for (const wake of this.#waiting) wake()
    })
    return child
  }

  get pid(): number {
    return this.#child?.pid as number
  }

  /** Of the last run that ended by itself; null while it runs, or where a signal ended it. */
  get exitStatus(): number | null {
    return this.#child?.exitCode ?? null
  }

  /** The broker's first listener. */
  get port(): number {
    return (this.config.listeners as { port: number }[])[0]?.port as number
  }

  get url(): string {
    return `mqtt://127.0.0.1:${this.port}`
  }

  get http(): string {
    return String(this.#ready?.http)
  }

  /** The first line of its log, from `from` on, that meets the test, waited for. */
  line(test: (line: LogLine) => boolean, msMax = 10_000, from = 0): Promise<LogLine> {
    return this.#find(test, msMax, from, () => false)
  }

  #find(
    test: (line: LogLine) => boolean,
    msMax: number,
    from: number,
    hopeless: () => boolean,
  ): Promise<LogLine> {
    return new Promise((resolve, reject) => {
      const finish = (line: LogLine | undefined) => {
        clearTimeout(timer)
        this.#waiting.delete(look)
        if (line) resolve(line)
        else
          reject(
            new Error(
              `the ${this.kind} did not say it; it ${whereabouts(this.#child)}; its last words:\n${this.#lastWords(20)}`,
            ),
          )
      }
      const look = () => {
        const line = this.log.slice(from).find(test)
        if (line) finish(line)
        else if (hopeless()) finish(undefined)
      }
      const timer = setTimeout(() => finish(undefined), msMax)
      this.#waiting.add(look)
      look()
    })
  }

  #lastWords(lines: number): string {
    return this.log
      .slice(-lines)
      .map((line) => JSON.stringify(line))
      .join('\n')
  }

  /** One of its queues, out of /metrics: as operators see it. */
  async books(queue: string): Promise<QueueBooks> {
    const text = await (await this.#ask('/metrics')).text()
    const read = (name: string, labels = '') => {
      let sum = 0
      for (const [, found, value] of text.matchAll(
        new RegExp(`^sightline_${name}\\{([^}]*)\\} ([0-9.e+-]+)$`, 'gm'),
      ))
        if (found?.includes(`queue="${queue}"`) && found.includes(labels)) sum += Number(value)
      return sum
    }
    const dropped: Record<string, number> = {}
    for (const [, labels, value] of text.matchAll(
      /^sightline_queue_dropped_total\{([^}]*)\} ([0-9.e+-]+)$/gm,
    ))
      if (labels?.includes(`queue="${queue}"`))
        dropped[/reason="([^"]*)"/.exec(labels)?.[1] ?? ''] = Number(value)
    return {
      accepted: read('queue_accepted_total'),
      forwarded: read('queue_forwarded_total'),
      pending: read('queue_pending'),
      dropped,
    }
  }

  /** A console tells such things to whom it knows. */
  #ask(path: string): Promise<Response> {
    const headers = this.kind === 'console' ? { authorization: `Bearer ${RUN_TOKEN}` } : undefined
    return fetch(`${this.http}${path}`, { headers })
  }

  async health(): Promise<{ ok: boolean; checks: Record<string, string> }> {
    return (await (await this.#ask('/healthz')).json()) as never
  }

  /** As a power cut would. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL')
  }

  /** Asks it to drain. @returns its exit status */
  async stop(): Promise<number | null> {
    return this.#end('SIGTERM')
  }

  signal(name: NodeJS.Signals): void {
    this.#child?.kill(name)
  }

  async restart(): Promise<void> {
    await this.kill()
    await this.start()
  }

  async #end(signal: NodeJS.Signals): Promise<number | null> {
    const child = this.#child
    if (!child) return null
    if (child.exitCode !== null || child.signalCode !== null) return child.exitCode
    const closed = once(child, 'close')
    child.kill(signal)
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS_MAX)
    await closed
    clearTimeout(timer)
    return child.exitCode
  }
}

export interface QueueBooks {
  readonly accepted: number
  readonly forwarded: number
  readonly pending: number
  readonly dropped: Readonly<Record<string, number>>
}

/** accepted - forwarded - pending - dropped: 0 where the books balance. */
export function missing({ accepted, forwarded, pending, dropped }: QueueBooks): number {
  return accepted - forwarded - pending - Object.values(dropped).reduce((sum, count) => sum + count, 0)
}

/** Where a process that says nothing stands: what its threads do, twice, and the calls that each of them is in. */
function whereabouts(child: ChildProcess | undefined): string {
  if (!child?.pid) return 'was not started'
  if (child.exitCode !== null || child.signalCode !== null)
    return `ended with ${child.exitCode ?? child.signalCode}`
  const threads = threadsOf(child.pid)
  if (!threads) return 'runs' // no Linux
  // Where there is a debugger; until then nothing of the process is touched. It stops the process while it looks.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, BETWEEN_SAMPLES_MS)
  const later = threadsOf(child.pid)
  const calls = spawnSync('gdb', ['-p', String(child.pid), '-batch', '-ex', 'thread apply all bt 25'], {
    encoding: 'utf8',
    timeout: 60_000,
  })
    .stdout?.split('\n')
    .filter((line) => /^(#|Thread )/.test(line))
  const samples = [threads, later ?? ['gone']].map((lines) => lines.join('\n')).join('\n\n')
  return `runs, with threads, ${BETWEEN_SAMPLES_MS} ms apart:\n${samples}\n${calls?.length ? `\nits calls:\n${calls.join('\n')}\n` : ''}`
}

function parseLine(line: string): LogLine {
  try {
    return JSON.parse(line) as LogLine
  } catch {
    return { level: 0, msg: line }
  }
}

/** A broker's configuration for a test: free ports, a folder of its own, no waiting. */
export function brokerConfig(t: Test, settings: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    listeners: [{ port: 0 }],
    http: { port: 0 },
    store: { folder: temporaryFolder(t) },
    mustBeKept: [],
    // Tests count what they publish themselves.
    report: { enabled: false },
    ...settings,
  }
}

/** A bridge's configuration for a test: quick to notice, quick to come back. */
export function bridgeConfig(url: string, settings: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    name: 'cloud',
    url,
    topics: [{ filter: '#' }],
    keepalive: '5s',
    connectTimeout: '1s',
    acknowledgeTimeout: '1500ms',
    reconnectMin: '20ms',
    reconnectMax: '200ms',
    ...settings,
  }
}

/** A subscriber's configuration for a test, with a folder as bucket. */
export function subscriberConfig(
  t: Test,
  url: string,
  settings: { broker?: object; [key: string]: unknown } = {},
): Record<string, unknown> {
  return {
    http: { port: 0 },
    inbox: { folder: temporaryFolder(t) },
    bucket: { type: 'folder', path: temporaryFolder(t) },
    gallery: { enabled: false },
    report: { enabled: false },
    ...settings,
    broker: { url, reconnectMin: '20ms', reconnectMax: '200ms', ...settings.broker },
  }
}

/** Signs in to the consoles of tests, as an admin. */
export const RUN_TOKEN = 'test-run-token-that-nobody-else-has'

/** What a console's environment needs for it. */
export const consoleEnvironment = { CONSOLE_RUN_TOKEN: RUN_TOKEN }

/** A console's configuration for a test, with an embedded database. */
export function consoleConfig(
  t: Test,
  url: string,
  settings: { broker?: object; [key: string]: unknown } = {},
): Record<string, unknown> {
  const folder = temporaryFolder(t)
  return {
    http: { port: 0 },
    inbox: { folder: join(folder, 'inbox') },
    database: { type: 'sqlite', path: join(folder, 'console.sqlite') },
    bucket: { type: 'folder', path: temporaryFolder(t) },
    reconcile: { atHour: null },
    ...settings,
    broker: { url, reconnectMin: '20ms', reconnectMax: '200ms', ...settings.broker },
  }
}

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { ENVIRONMENT, NODE_FLAGS } from '../bin/runtime.js'
import { anonymousMemoryBytes } from '../lib/metrics.ts'
import { MqttLink } from '../lib/mqtt/link.ts'
import { freePort } from '../test/kit/ports.ts'

/** The lines that are compared: edge broker, link, cloud broker, something that writes files. */
export interface Stack extends AsyncDisposable {
  readonly name: string
  /** Where the publisher connects. */
  readonly edgeUrl: string
  readonly cloudUrl: string
  /** Where the crops end up as files. */
  readonly files: string
  /** Peak anonymous memory since the start, bytes, by program; where it is watched. */
  readonly memoryPeaks: ReadonlyMap<string, number>
  /** CPU time since the start, seconds, by program. */
  cpuTimes(): ReadonlyMap<string, number>
}

export interface SightlineStack extends Stack {
  /** The subscriber's /metrics and gallery. */
  readonly subscriberHttp: string
}

export interface StackOptions {
  /** The bridge connects here instead of to the cloud broker itself. */
  readonly linkTo?: (cloudPort: number) => Promise<number>
  readonly subscriber: boolean
  /** The subscriber says what the bucket has. */
  readonly announce?: boolean
  /** Looking costs CPU time that the programs then lack. */
  readonly watchMemory?: boolean
  /** Mosquitto's queues at their default length, 1,000 messages; else without a limit. */
  readonly queueByDefault?: boolean
}

const MEMORY_INTERVAL_MS = 20

/**
 * Removed at the end of the whole run, not between rounds: for some time after many files were deleted, making new ones
 * costs ext4 up to ten times as much, and whoever comes next would pay for it.
 */
const folders: string[] = []
process.on('exit', () => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
})

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'sightline-bench-'))
  folders.push(folder)
  return folder
}

class Running implements AsyncDisposable {
  readonly folder = newFolder()
  readonly memoryPeaks = new Map<string, number>()
  readonly #children: ChildProcess[] = []
  readonly #timer: NodeJS.Timeout | undefined
  readonly #pids = new Map<string, number>()

  constructor(watchMemory = false) {
    if (watchMemory) this.#timer = setInterval(() => void this.#watch(), MEMORY_INTERVAL_MS)
  }

  start(name: string, command: string, args: readonly string[], env: Record<string, string> = {}): void {
    const child = spawn(command, args, {
      env: { ...process.env, ...ENVIRONMENT, ...env },
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    child.stderr?.on('data', (text: Buffer) => {
      if (process.env.SIGHTLINE_TEST_VERBOSE) process.stderr.write(text)
    })
    this.#children.push(child)
    if (child.pid) this.#pids.set(name, child.pid)
  }

  async #watch(): Promise<void> {
    for (const [name, pid] of this.#pids) {
      const bytes = await anonymousMemoryBytes(pid)
      if (bytes !== undefined) this.memoryPeaks.set(name, Math.max(bytes, this.memoryPeaks.get(name) ?? 0))
    }
  }

  cpuTimes(): Map<string, number> {
    return new Map([...this.#pids].map(([name, pid]) => [name, cpuSeconds(pid)]))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer)
    await Promise.all(
      this.#children.map(async (child) => {
        if (child.exitCode !== null || child.signalCode !== null) return
        const ended = once(child, 'exit')
        child.kill('SIGTERM')
        const timer = setTimeout(() => child.kill('SIGKILL'), 10_000)
        await ended
        clearTimeout(timer)
      }),
    )
  }
}

/** User and system time, all threads (proc(5), fields 14 and 15, in ticks of 10 ms). */
export function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ') ?? []
  return (Number(fields[11]) + Number(fields[12])) / 100
}

const CLI = fileURLToPath(new URL('../cli.ts', import.meta.url))
const CONF = fileURLToPath(new URL('../conf/', import.meta.url))

/** Sightline as it comes: the files in conf/; acknowledged is on disk, here or with the next keeper. */
export async function sightline({
  linkTo,
  subscriber,
  announce,
  watchMemory,
}: StackOptions): Promise<SightlineStack> {
  const running = new Running(watchMemory)
  const { folder } = running
  const [edgePort, cloudPort, edgeHttp, cloudHttp, subscriberHttp] = (await freePorts(5)) as [
    number,
    number,
    number,
    number,
    number,
  ]
  const linkPort = (await linkTo?.(cloudPort)) ?? cloudPort
  const quiet = { SIGHTLINE_LOG__LEVEL: 'warn' }
  running.start(
    'cloud broker',
    process.execPath,
    [...NODE_FLAGS, CLI, 'broker', '--config', join(CONF, 'cloud-broker.yaml')],
    {
      ...quiet,
      SIGHTLINE_LISTENERS__0__PORT: String(cloudPort),
      SIGHTLINE_STORE__FOLDER: join(folder, 'cloud'),
      SIGHTLINE_HTTP__PORT: String(cloudHttp),
    },
  )
  running.start(
    'edge broker',
    process.execPath,
    [...NODE_FLAGS, CLI, 'broker', '--config', join(CONF, 'edge-broker.yaml')],
    {
      ...quiet,
      SIGHTLINE_LISTENERS__0__PORT: String(edgePort),
      SIGHTLINE_STORE__FOLDER: join(folder, 'edge'),
      SIGHTLINE_BRIDGES__0__URL: `mqtt://127.0.0.1:${linkPort}`,
      SIGHTLINE_BRIDGES__0__RECONNECT_MAX: '1s',
      SIGHTLINE_HTTP__PORT: String(edgeHttp),
    },
  )
  if (subscriber) {
    running.start(
      'subscriber',
      process.execPath,
      [...NODE_FLAGS, CLI, 'subscriber', '--config', join(CONF, 'subscriber.yaml')],
      {
        ...quiet,
        SIGHTLINE_BROKER__URL: `mqtt://127.0.0.1:${cloudPort}`,
        SIGHTLINE_INBOX__FOLDER: join(folder, 'subscriber'),
        SIGHTLINE_BUCKET__PATH: join(folder, 'bucket'),
        SIGHTLINE_HTTP__PORT: String(subscriberHttp),
        SIGHTLINE_ANNOUNCE__ENABLED: String(announce ?? false),
      },
    )
    await reachable(`http://127.0.0.1:${subscriberHttp}/healthz`)
  }
  await reachable(`http://127.0.0.1:${edgeHttp}/healthz`)
  await reachable(`http://127.0.0.1:${cloudHttp}/healthz`)
  return {
    name: 'Sightline',
    edgeUrl: `mqtt://127.0.0.1:${edgePort}`,
    cloudUrl: `mqtt://127.0.0.1:${cloudPort}`,
    files: join(folder, 'bucket'),
    subscriberHttp: `http://127.0.0.1:${subscriberHttp}`,
    memoryPeaks: running.memoryPeaks,
    cpuTimes: () => running.cpuTimes(),
    [Symbol.asyncDispose]: () => running[Symbol.asyncDispose](),
  }
}

/**
 * Mosquitto, its bridge, a second Mosquitto, and a Node script on MQTT.js that writes files. Persistence is off, as
 * its default is; `max_queued_messages` is not at its default, which would drop all but 1,000.
 * @param acknowledge `received`: the usual script, acknowledged on receipt; `written`: when the file is written
 */
export async function mosquitto(
  acknowledge: 'received' | 'written',
  { linkTo, subscriber, queueByDefault }: StackOptions,
): Promise<Stack> {
  const running = new Running()
  const { folder } = running
  const [edgePort, cloudPort] = (await freePorts(2)) as [number, number]
  const linkPort = (await linkTo?.(cloudPort)) ?? cloudPort
  const common = [
    'allow_anonymous true',
    'log_type error',
    ...(queueByDefault ? [] : ['max_queued_messages 0']),
  ]
  const write = (name: string, lines: readonly string[]) => {
    const file = join(folder, name)
    writeFileSync(file, `${lines.join('\n')}\n`)
    return file
  }
  const files = join(folder, 'files')
  mkdirSync(files)
  const program = process.env.SIGHTLINE_TEST_MOSQUITTO ?? 'mosquitto'
  running.start('cloud broker', program, [
    '-c',
    write('cloud.conf', [`listener ${cloudPort} 127.0.0.1`, ...common]),
  ])
  running.start('edge broker', program, [
    '-c',
    write('edge.conf', [
      `listener ${edgePort} 127.0.0.1`,
      ...common,
      'connection cloud',
      `address 127.0.0.1:${linkPort}`,
      'topic sightline/# out 1',
      'cleansession false',
    ]),
  ])
  if (subscriber) {
    running.start('subscriber', process.execPath, [
      fileURLToPath(new URL('./rival-subscriber.ts', import.meta.url)),
      `mqtt://127.0.0.1:${cloudPort}`,
      files,
      acknowledge,
    ])
  }
  await connects(`mqtt://127.0.0.1:${edgePort}`)
  await connects(`mqtt://127.0.0.1:${cloudPort}`)
  await sleep(2000) // the bridge and the script say nothing when they are ready
  return {
    name: `Mosquitto + script (acknowledged when ${acknowledge})`,
    edgeUrl: `mqtt://127.0.0.1:${edgePort}`,
    cloudUrl: `mqtt://127.0.0.1:${cloudPort}`,
    files,
    memoryPeaks: running.memoryPeaks,
    cpuTimes: () => running.cpuTimes(),
    [Symbol.asyncDispose]: () => running[Symbol.asyncDispose](),
  }
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  return sorted.length % 2 === 1
    ? (sorted[middle] as number)
    : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2
}

async function reachable(url: string): Promise<void> {
  const until = Date.now() + 60_000
  while (
    !(await fetch(url).then(
      ({ status }) => status === 200,
      () => false,
    ))
  ) {
    if (Date.now() > until) throw new Error(`${url} did not get healthy`)
    await sleep(50)
  }
}

async function connects(url: string): Promise<void> {
  const until = Date.now() + 20_000
  for (;;) {
    try {
      await using _link = await MqttLink.open({
        url,
        clientId: `probe-${process.pid}`,
        protocol: 4,
        clean: true,
        packetBytesMax: 1e6,
        keepaliveS: 10,
        connectMsMax: 2000,
      })
      return
    } catch (error) {
      if (Date.now() > until) throw error
      await sleep(50)
    }
  }
}

const freePorts = (count: number) => Promise.all(Array.from({ length: count }, freePort))

/** @param sorted ascending. NaN where there are none */
export const quantile = (sorted: readonly number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN

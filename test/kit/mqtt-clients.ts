import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import type { Test } from './programs.ts'
import { until } from './wait.ts'

/**
 * MQTT clients that others wrote: mosquitto_pub and mosquitto_sub of the folder that SIGHTLINE_TEST_MQTT_CLIENTS
 * names (`/usr/bin`), and Eclipse Paho 1.6 for the Python that SIGHTLINE_TEST_PAHO names (`/usr/bin/python3`).
 * Without them such tests say so and are skipped.
 */
const FOLDER = process.env.SIGHTLINE_TEST_MQTT_CLIENTS
const PYTHON = process.env.SIGHTLINE_TEST_PAHO

/** For tap's `skip`. */
export const skipWithoutClients: string | false = FOLDER
  ? false
  : 'SIGHTLINE_TEST_MQTT_CLIENTS names no mosquitto_pub and mosquitto_sub'
export const skipWithoutPaho: string | false = PYTHON
  ? false
  : 'SIGHTLINE_TEST_PAHO names no Python with Paho'

/** How a client gets in; `-u` and `-P`. */
export interface Login {
  readonly username: string
  readonly password: string
}

export interface Received {
  readonly topic: string
  readonly payload: Buffer
  readonly qos: number
  readonly retain: boolean
  /** Paho says it, mosquitto_sub does not. */
  readonly dup?: boolean
}

export interface Ended {
  readonly status: number | null
  readonly stdout: Buffer
  readonly stderr: string
}

const END_MS_MAX = 20_000

/** mosquitto_pub, mosquitto_sub or mosquitto_rr, run to its end. */
export async function mosquittoClient(
  program: 'pub' | 'sub' | 'rr',
  args: readonly string[],
  input: string | Buffer = '',
): Promise<Ended> {
  const child = spawn(join(FOLDER as string, `mosquitto_${program}`), args, { timeout: END_MS_MAX })
  const out: Buffer[] = []
  const err: Buffer[] = []
  child.stdout.on('data', (chunk: Buffer) => out.push(chunk))
  child.stderr.on('data', (chunk: Buffer) => err.push(chunk))
  child.stdin.on('error', () => {}) // it may end before it has read all
  child.stdin.end(input)
  const [status] = (await once(child, 'close')) as [number | null]
  return { status, stdout: Buffer.concat(out), stderr: Buffer.concat(err).toString() }
}

/** A mosquitto_sub that stays. */
export class MosquittoSub {
  readonly came: Received[] = []
  /** What else it said, being asked to say more. */
  readonly said: string[] = []
  readonly #child: ChildProcess

  private constructor(t: Test, args: readonly string[]) {
    const format = ['-d', '-F', 'message %q %r %t %x']
    this.#child = spawn('stdbuf', ['-oL', join(FOLDER as string, 'mosquitto_sub'), ...format, ...args])
    for (const stream of [this.#child.stdout, this.#child.stderr])
      createInterface({ input: stream as NodeJS.ReadableStream }).on('line', (line) => {
        const [, qos, retain, topic, hex] = /^message (\d) (\d) (.*) ([0-9a-f]*)$/.exec(line) ?? []
        if (topic === undefined) this.said.push(line)
        else
          this.came.push({
            topic,
            payload: Buffer.from(hex as string, 'hex'),
            qos: Number(qos),
            retain: retain === '1',
          })
      })
    t.after(() => this.end('SIGKILL'))
  }

  /** Resolves when it is subscribed. */
  static async start(t: Test, args: readonly string[]): Promise<MosquittoSub> {
    const sub = new MosquittoSub(t, args)
    await until('mosquitto_sub is subscribed', () => sub.said.some((line) => line.startsWith('Subscribed')))
    return sub
  }

  get texts(): string[] {
    return this.came.map(({ payload }) => payload.toString())
  }

  async reached(count: number): Promise<readonly Received[]> {
    await until(`mosquitto_sub has ${count} messages`, () => this.came.length >= count)
    return this.came
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name)
  }

  /** SIGTERM: it says DISCONNECT; SIGKILL: it does not. */
  async end(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const ended = once(this.#child, 'close')
    this.#child.kill(signal)
    this.#child.kill('SIGCONT')
    await ended
  }
}

type PahoEvent = {
  readonly client: string
  readonly event: string
  readonly code?: number
  readonly sessionPresent?: boolean
  readonly granted?: readonly number[]
  readonly message?: string
} & Record<string, unknown>

export interface PahoOptions extends Partial<Login> {
  readonly id?: string
  readonly clean?: boolean
  readonly protocol?: 3 | 4 | 5
  readonly keepalive?: number
  /** Comes back by itself after a lost connection. */
  readonly reconnect?: boolean
  readonly will?: { topic: string; payload: string; qos?: 0 | 1 | 2; retain?: boolean }
}

/** One Python with as many Paho clients as are wanted. */
export class Paho {
  readonly #child: ChildProcess
  readonly #clients = new Map<string, PahoClient>()

  constructor(t: Test) {
    const script = resolve(import.meta.dirname, '..', 'interop', 'paho-remote.py')
    this.#child = spawn(PYTHON as string, [script], { stdio: ['pipe', 'pipe', 'inherit'] })
    createInterface({ input: this.#child.stdout as NodeJS.ReadableStream }).on('line', (line) => {
      const event = JSON.parse(line) as PahoEvent
      this.#clients.get(event.client)?.take(event)
    })
    t.after(async () => {
      const ended = once(this.#child, 'close')
      this.#child.kill('SIGKILL')
      await ended
    })
  }

  /** Resolves when CONNACK has come, whatever it says. */
  async connect(port: number, options: PahoOptions): Promise<PahoClient> {
    const name = `${this.#clients.size}`
    const client = new PahoClient((command) =>
      this.#child.stdin?.write(`${JSON.stringify({ name, ...command })}\n`),
    )
    this.#clients.set(name, client)
    client.order({ do: 'connect', port, ...options })
    await client.next('connect')
    return client
  }
}

export class PahoClient {
  readonly came: Received[] = []
  readonly events: PahoEvent[] = []
  readonly order: (command: Record<string, unknown>) => void

  constructor(order: (command: Record<string, unknown>) => void) {
    this.order = order
  }

  take(event: PahoEvent): void {
    if (event.event === 'message') {
      const { payload, ...rest } = event as unknown as Omit<Received, 'payload'> & { payload: string }
      const { topic, qos, retain, dup } = rest
      this.came.push({ topic, payload: Buffer.from(payload, 'base64'), qos, retain, dup })
    } else this.events.push(event)
  }

  #count(event: string): number {
    return this.events.filter((each) => each.event === event).length
  }

  /** The first (or so many-th) event of a kind, waited for. */
  async next(event: string, nth = 1): Promise<PahoEvent> {
    await until(`Paho says ${nth} times ${event}`, () => this.#count(event) >= nth)
    return this.events.filter((each) => each.event === event)[nth - 1] as PahoEvent
  }

  get connack(): PahoEvent | undefined {
    return this.events.find(({ event }) => event === 'connect')
  }

  get texts(): string[] {
    return this.came.map(({ payload }) => payload.toString())
  }

  async reached(count: number): Promise<readonly Received[]> {
    await until(`Paho has ${count} messages`, () => this.came.length >= count)
    return this.came
  }

  /** @returns what was granted */
  async subscribe(...filters: readonly (readonly [string, 0 | 1 | 2])[]): Promise<readonly number[]> {
    const before = this.#count('subscribed')
    this.order({ do: 'subscribe', filters })
    return (await this.next('subscribed', before + 1)).granted as readonly number[]
  }

  async unsubscribe(...filters: readonly string[]): Promise<void> {
    const before = this.#count('unsubscribed')
    this.order({ do: 'unsubscribe', filters })
    await this.next('unsubscribed', before + 1)
  }

  /** Resolves when all are acknowledged (QoS 0: sent). */
  async publish(
    topic: string,
    payloads: readonly (string | Buffer)[],
    options: { qos?: 0 | 1 | 2; retain?: boolean } = {},
  ): Promise<void> {
    const before = this.#count('published')
    this.publishing(topic, payloads, options)
    await this.next('published', before + payloads.length)
  }

  publishing(
    topic: string,
    payloads: readonly (string | Buffer)[],
    options: { qos?: 0 | 1 | 2; retain?: boolean } = {},
  ): void {
    const encoded = payloads.map((payload) => Buffer.from(payload).toString('base64'))
    this.order({ do: 'publish', topic, payloads: encoded, ...options })
  }

  async disconnect(): Promise<void> {
    this.order({ do: 'disconnect' })
    await this.next('disconnect')
  }

  fallSilent(): void {
    this.order({ do: 'fall_silent' })
  }

  die(): void {
    this.order({ do: 'die' })
  }
}

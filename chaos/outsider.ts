import { readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { MqttLink } from '../lib/mqtt/link.ts'
import { openAuthority } from '../test/kit/certificates.ts'
import { Flood } from '../test/kit/flood.ts'
import type { Program, Test } from '../test/kit/programs.ts'
import { until } from '../test/kit/wait.ts'
import { Line } from './line.ts'
import { processState } from './process-state.ts'
import { SITE } from './publisher.ts'
import type { Trial, TrialOptions, Verdict } from './trial.ts'

/**
 * Somebody who has no credentials at all, and a few addresses: silent connections, handshakes that are never finished,
 * headers that drip, guessed passwords. What is promised to everybody else: crops arrive, who is connected stays, who
 * comes is let in, and `/healthz` answers.
 */

const RUN_MS_MAX = 10 * 60_000
const DEVICE = 'victim'
const PASSWORD = 'a long one'
/** As many as there are places, and some more. */
const SOCKETS = 2100
const ADDRESSES = ['127.0.0.2', '127.0.0.3', '127.0.0.4']
const NEWCOMER_INTERVAL_MS = 250
const NEWCOMER_MS_MAX = 5000
/** What is not finished by then is closed: the time for a handshake, and some. */
const CLOSED_MS_MAX = 40_000
const CONNECT_TIMEOUT_MS = 3000
const GUESSES = 300

const TLS_HELLO_START = Buffer.from('16030100c8010000c40303', 'hex')
const CONNECT_START = Buffer.from('10ff01', 'hex')
const HEADER_START = Buffer.from('GET /healthz HTTP/1.1\r\nHost: x\r\nX-Drip: ')

interface Door {
  readonly name: string
  readonly port: number
  /** What each connection begins with. */
  readonly first: Buffer
  /** What it adds, a byte at a time. */
  readonly drips: boolean
}

/** Opens as many connections as there are places, from a few addresses, and holds on to them. */
async function siege(test: Test, { port, first }: Door): Promise<Flood[]> {
  const floods: Flood[] = []
  for (const address of ADDRESSES)
    floods.push(await Flood.open(test, SOCKETS / ADDRESSES.length, port, address, first))
  return floods
}

function drip(sockets: readonly Socket[]): NodeJS.Timeout {
  return setInterval(() => {
    for (const socket of sockets) if (socket.writable) socket.write('x')
  }, 500)
}

/** Who comes meanwhile, at every door, and how long it takes. */
class Newcomers {
  readonly faults: string[] = []
  slowestMs = 0
  count = 0
  readonly #visits: Readonly<Record<string, () => Promise<void>>>
  #running = true
  readonly #done: Promise<unknown>

  constructor(visits: Readonly<Record<string, () => Promise<void>>>) {
    this.#visits = visits
    this.#done = Promise.all(Object.keys(visits).map((name) => this.#visit(name)))
  }

  async #visit(name: string): Promise<void> {
    while (this.#running) {
      const startMs = performance.now()
      try {
        await this.#visits[name]?.()
      } catch (error) {
        if (this.faults.length < 5)
          this.faults.push(`${name} was closed to others: ${error instanceof Error ? error.message : error}`)
      }
      const tookMs = performance.now() - startMs
      this.count += 1
      this.slowestMs = Math.max(this.slowestMs, tookMs)
      if (tookMs > NEWCOMER_MS_MAX && this.faults.length < 5)
        this.faults.push(`${name} took ${Math.round(tookMs)} ms to let others in`)
      await sleep(NEWCOMER_INTERVAL_MS)
    }
  }

  async end(): Promise<void> {
    this.#running = false
    await this.#done
  }
}

async function outsider({ short, random }: TrialOptions): Promise<Verdict> {
  await using own = new AsyncDisposableStack()
  const test: Test = { after: (handler) => void own.defer(handler) }
  const authority = await openAuthority(test)
  const tls = await authority.server('edge')
  const device = { name: DEVICE, password: PASSWORD, role: 'device', site: SITE }
  await using line = await Line.open({
    edge: {
      listeners: [{ port: 0 }, { port: 0, tls }],
      users: [device, { name: 'guest', password: PASSWORD, publish: ['x'] }],
      limits: { connectTimeout: `${CONNECT_TIMEOUT_MS}ms` },
    },
  })
  const { edge, subscriber } = line.keepers
  const ports = (edge.config.listeners as { port: number }[]).map(({ port }) => port)
  const httpPort = (program: Program) => Number(new URL(program.http).port)
  const victim = line.publisher({
    count: Number.POSITIVE_INFINITY,
    perSecond: 20,
    bytes: [5000, 20_000],
    random,
    device: DEVICE,
    username: DEVICE,
    password: PASSWORD,
  })
  const publishing = victim.run(AbortSignal.timeout(RUN_MS_MAX))
  const ca = readFileSync(authority.caFile, 'utf8')
  let guests = 0
  const guest = async (url: string) => {
    guests += 1
    await using _link = await MqttLink.open({
      url,
      clientId: `guest-${guests % 50}`,
      protocol: 4,
      clean: true,
      packetBytesMax: 1e6,
      keepaliveS: 10,
      connectMsMax: NEWCOMER_MS_MAX,
      username: 'guest',
      password: PASSWORD,
      credentials: () => ({ ca }),
    })
  }
  const healthz = async ({ http }: Program) => {
    const answer = await fetch(`${http}/healthz`, { signal: AbortSignal.timeout(NEWCOMER_MS_MAX) })
    // 503 is an answer too: one that has just started may not be connected yet.
    if (answer.status !== 200 && answer.status !== 503) throw new Error(`status ${answer.status}`)
  }
  const newcomers = new Newcomers({
    'the listener': () => guest(edge.url),
    'the listener with TLS': () => guest(`mqtts://localhost:${ports[1]}`),
    'the page of the broker': () => healthz(edge),
    'the page of the subscriber': () => healthz(subscriber),
  })
  const nothing = Buffer.alloc(0)
  const doors: readonly Door[] = [
    { name: 'plain', port: ports[0] ?? 0, first: nothing, drips: false },
    { name: 'plain, CONNECT that drips', port: ports[0] ?? 0, first: CONNECT_START, drips: true },
    { name: 'TLS', port: ports[1] ?? 0, first: nothing, drips: false },
    { name: 'TLS, a handshake that drips', port: ports[1] ?? 0, first: TLS_HELLO_START, drips: true },
    { name: 'HTTP of the broker', port: httpPort(edge), first: HEADER_START, drips: true },
    { name: 'HTTP of the subscriber', port: httpPort(subscriber), first: HEADER_START, drips: true },
  ]
  const faults: string[] = []
  const before = [edge, subscriber].map(({ pid }) => processState(pid).handles)
  for (let round = 0; round < (short ? 1 : 5); round += 1) {
    // Side by side: each door has places of its own.
    await Promise.all(
      doors
        .filter((_, at) => !short || at !== 1)
        .map(async (door) => {
          const floods = await siege(test, door)
          const sockets = floods.flatMap((flood) => flood.sockets)
          const timer = door.drips ? drip(sockets) : undefined
          await until('all are closed', () => sockets.every(({ closed }) => closed), CLOSED_MS_MAX).catch(
            () =>
              faults.push(
                `${door.name}: ${sockets.filter(({ closed }) => !closed).length} of ${SOCKETS} connections stay open`,
              ),
          )
          clearInterval(timer)
          for (const socket of sockets) socket.destroy()
        }),
    )
    for (let n = 0; n < GUESSES; n += 1) await guess(ports[0] ?? 0, n)
  }
  await newcomers.end()
  victim.enough()
  await publishing
  faults.push(...newcomers.faults, ...(await line.faults(victim)))
  if (victim.connections !== 1) faults.push(`the device connected ${victim.connections} times`)
  const connects = (program: Program, msg: string) => program.log.filter((line) => line.msg === msg).length
  if (connects(edge, 'bridge connected') !== 1) faults.push('the bridge lost its connection')
  // For crops, and for clips.
  if (connects(subscriber, 'subscribed') !== 2) faults.push('the subscriber lost its connection')
  await until(
    'handles are given back',
    () => [edge, subscriber].every(({ pid }, n) => processState(pid).handles <= (before[n] ?? 0) + 20),
    CLOSED_MS_MAX,
  ).catch(() => faults.push('connections are not given back'))
  return {
    faults,
    crops: victim.acknowledged.size,
    said: `${victim.acknowledged.size} acknowledged, ${newcomers.count} newcomers, the slowest let in after ${Math.round(newcomers.slowestMs)} ms`,
  }
}

/** A wrong password, from one of the addresses. */
function guess(port: number, n: number): Promise<void> {
  const text = (value: string) => Buffer.concat([Buffer.from([0, value.length]), Buffer.from(value)])
  const body = Buffer.concat([
    Buffer.from([0, 4, 0x4d, 0x51, 0x54, 0x54, 4, 0xc2, 0, 60]),
    text(`guesser-${n % 7}`),
    text(n % 2 === 0 ? DEVICE : `user-${n}`),
    text(`wrong-${n}`),
  ])
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1', localAddress: ADDRESSES[n % ADDRESSES.length] })
    socket.on('error', () => {})
    socket.once('close', () => resolve())
    socket.setTimeout(NEWCOMER_MS_MAX, () => socket.destroy())
    socket.resume()
    socket.end(Buffer.concat([Buffer.from([0x10, body.length]), body]))
  })
}

export const OUTSIDER: Trial = {
  name: 'outsider',
  what: 'whoever holds no credentials keeps nobody out',
  alone: true,
  run: outsider,
}

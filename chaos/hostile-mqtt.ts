import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import mqtt from 'mqtt-packet'
import { StoreView } from '../store/view.ts'
import { Mutator } from '../test/kit/mutate.ts'
import { brokerConfig, missing, Program, type Test } from '../test/kit/programs.ts'
import { cropFilter, TOPIC_PREFIX_DEFAULT } from '../wire/topics.ts'
import { processState, settledState, unforeseen } from './process-state.ts'
import type { Trial, TrialOptions, Verdict } from './trial.ts'
import { type Credentials, percentile, SITE, SUBSCRIBER, WellBehaved } from './well-behaved.ts'

/**
 * The broker's door. Conversations of up to `PACKETS_MAX` packets, most of them well-formed and meaning harm, the last
 * one mostly broken: a broker closes the connection at the first that is malformed. Each conversation has its own seed.
 */

const FULL_INPUTS = 100_000
const SHORT_INPUTS = 3000
const CONVERSATIONS_AT_ONCE = 12
const PACKETS_MAX = 40
/** Connections that are left half open, never to be finished, until the end. */
const ABANDONED_MAX = 60
/** Within it a broker has answered, or closed. */
const ANSWER_MS_MAX = 10_000
const CROPS_PER_SECOND = 40
/** A crop's way while all this goes on, at least; and as a multiple of what it is in peace (the machine may be busy). */
const LATENCY_P99_MS_MAX = 1000
const LATENCY_GROWTH_MAX = 20
const PEACE_MS = 3000
/** What a broker's anonymous memory may grow from the first tenth to the end, MB. */
const MEMORY_GROWTH_MB_MAX = 100
/** Room for what it needs, so that V8 collects its garbage in time, and what is kept for ever shows. */
const HEAP = '--max-old-space-size=128 --max-semi-space-size=16'
const HANDLES_GROWTH_MAX = 3
const LAST_SEEDS = 30

const USERS = {
  device: { name: 'device', password: 'd', publish: [`sightline/v1/${SITE}/#`] },
  subscriber: { name: 'subscriber', password: 's', subscribe: [cropFilter(TOPIC_PREFIX_DEFAULT)] },
  guest: { name: 'guest', password: 'g', publish: ['guest/#'], subscribe: ['guest/#'] },
} as const

const credentials = ({ name, password }: { name: string; password: string }): Credentials => ({
  username: name,
  password,
})

export const HOSTILE_MQTT: Trial = {
  name: 'hostile-mqtt',
  what: 'hostile bytes at a broker’s port, with and without users',
  alone: true,
  async run(options) {
    const verdicts = [await attack('open', options), await attack('users', options)]
    return {
      faults: verdicts.flatMap(({ faults }) => faults),
      said: verdicts.map(({ said }) => said).join('; '),
    }
  },
}

async function attack(kind: 'open' | 'users', { short, random }: TrialOptions): Promise<Verdict> {
  await using stack = new AsyncDisposableStack()
  const own: Test = { after: (handler) => void stack.defer(handler) }
  const config = brokerConfig(own, {
    name: kind,
    mustBeKept: [cropFilter(TOPIC_PREFIX_DEFAULT)],
    queues: [
      { clientId: SUBSCRIBER, topics: [cropFilter(TOPIC_PREFIX_DEFAULT)] },
      { clientId: 'small', topics: ['small/#', 'guest/small/#'], entriesMax: 10, whenFull: 'reject' },
    ],
    // Few, so that memory which grows is memory that leaks.
    sessions: { entriesMax: 200, bytesMax: '5MB', subscriptionsMax: 50 },
    limits: { connectionsPerAddressMax: 500 },
    ...(kind === 'users' ? { users: Object.values(USERS) } : {}),
  })
  const broker = await Program.start(own, 'broker', config, { env: { NODE_OPTIONS: HEAP } })
  const { pid, port, url } = broker
  const good = stack.use(
    await WellBehaved.open(
      url,
      CROPS_PER_SECOND,
      kind === 'users'
        ? { device: credentials(USERS.device), subscriber: credentials(USERS.subscriber) }
        : {},
    ),
  )
  await sleep(PEACE_MS)
  const peaceMs = percentile(good.latenciesMs.splice(0), 0.99)
  const before = processState(pid)
  const faults: string[] = []
  const inputsMax = (short ? SHORT_INPUTS : FULL_INPUTS) / 2
  const base = Math.floor(random() * 2 ** 31)
  const abandoned: Socket[] = []
  const lastSeeds: number[] = []
  let inputs = 0
  let besieged = 0
  let conversations = 0
  /** At each tenth. */
  const memoryMb: number[] = []
  const start = performance.now()
  const alive = () => {
    try {
      process.kill(pid, 0)
      return broker.pid === pid
    } catch {
      return false
    }
  }
  const attacker = async () => {
    while (inputs < inputsMax && faults.length < 10 && alive()) {
      const seed = base + conversations
      conversations += 1
      lastSeeds.push(seed)
      if (lastSeeds.length > LAST_SEEDS) lastSeeds.shift()
      const conversation = hostileConversation(seed, kind)
      inputs += conversation.packets.length
      if (inputs > (inputsMax / 10) * (memoryMb.length + 1)) memoryMb.push(processState(pid).memoryMb)
      const fault = await converse(port, conversation, abandoned)
      if (fault !== undefined && alive())
        faults.push(
          `${kind}, conversation ${seed - base} (seed ${seed}): ${fault}; ${hexIfShort(conversation.packets)}`,
        )
    }
  }
  for (const [name, packets] of Object.entries(sieges(kind))) {
    const fault = await converse(port, { packets, cutBytes: 0, reads: true, end: 'answer' }, abandoned)
    besieged += packets.length
    if (fault !== undefined) faults.push(`${kind}, ${name}: ${fault}`)
  }
  await Promise.all(Array.from({ length: CONVERSATIONS_AT_ONCE }, attacker))
  const seconds = (performance.now() - start) / 1000
  for (const socket of abandoned) socket.destroy()
  if (!alive())
    return {
      faults: [
        `the broker (${kind}) is gone; the last conversations have the seeds ${lastSeeds.join(', ')}`,
        ...unforeseen(broker),
      ],
      said: `${inputs} inputs`,
    }
  await good.finish()
  faults.push(...good.faults)
  const after = await settledState(pid)
  const p99 = percentile(good.latenciesMs, 0.99)
  if (!(p99 <= Math.max(LATENCY_P99_MS_MAX, LATENCY_GROWTH_MAX * peaceMs)))
    faults.push(`crops took up to ${p99.toFixed(0)} ms (p99), and ${peaceMs.toFixed(0)} ms in peace`)
  const memoryEarlyMb = memoryMb[0] ?? 0
  if (after.memoryMb - memoryEarlyMb > MEMORY_GROWTH_MB_MAX)
    faults.push(`memory grew from ${memoryEarlyMb.toFixed(0)} to ${after.memoryMb.toFixed(0)} MB`)
  if (after.handles > before.handles + HANDLES_GROWTH_MAX)
    faults.push(`${before.handles} open handles before, ${after.handles} after`)
  const { ok, checks } = await broker.health()
  if (!ok) faults.push(`it is not well: ${JSON.stringify(checks)}`)
  await good[Symbol.asyncDispose]()
  const status = await broker.stop()
  if (status !== 0) faults.push(`it ended with status ${status}`)
  faults.push(...unforeseen(broker))
  await using view = StoreView.open((config.store as { folder: string }).folder)
  const queues = view.queues()
  for (const { name, books } of queues)
    if (missing(books) !== 0)
      faults.push(`the books of ${JSON.stringify(name)} do not balance: ${JSON.stringify(books)}`)
  return {
    faults,
    said:
      `${kind}: ${inputs} packets in ${conversations} conversations and ${besieged} in sieges, ${seconds.toFixed(0)} s, ` +
      `memory ${memoryMb.map((mb) => mb.toFixed(0)).join(' ')} then ${after.memoryMb.toFixed(0)} MB, handles ${before.handles} then ${after.handles}, ` +
      `${good.latenciesMs.length} crops meanwhile, p50 ${percentile(good.latenciesMs, 0.5).toFixed(0)} p99 ${p99.toFixed(0)} ms (${peaceMs.toFixed(0)} in peace), ${queues.length} queues`,
  }
}

const hexIfShort = (packets: readonly Buffer[]) => {
  const bytes = Buffer.concat(packets)
  return bytes.length <= 400 ? bytes.toString('hex') : `${bytes.length} bytes`
}

type End = 'answer' | 'half-close' | 'destroy' | 'reset' | 'abandon'

export interface Conversation {
  readonly packets: readonly Buffer[]
  /** Pieces of so many bytes, each in a packet of its own; 0: in one piece. */
  readonly cutBytes: number
  readonly reads: boolean
  readonly end: End
}

/** @returns what was not as it must be */
async function converse(
  port: number,
  { packets, cutBytes, reads, end }: Conversation,
  abandoned: Socket[],
): Promise<string | undefined> {
  const socket = connect({ host: '127.0.0.1', port, noDelay: true })
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  const answered = Promise.withResolvers<void>()
  const parser = mqtt.parser({ protocolVersion: 4 })
  let pings = packets.filter((packet) => packet.equals(PINGREQ)).length + 1
  parser.on('packet', ({ cmd }) => {
    if (cmd === 'pingresp') pings -= 1
    if (pings === 0) answered.resolve()
  })
  parser.on('error', () => {}) // what comes is ours to judge elsewhere
  socket.on('error', () => {}) // it is meant to be cut off
  socket.on('data', (bytes) => parser.parse(bytes))
  if (!reads) socket.pause()
  await new Promise<void>((resolve) => {
    socket.once('connect', resolve)
    socket.once('close', resolve)
  })
  const bytes = Buffer.concat(end === 'answer' ? [...packets, PINGREQ] : packets)
  if (cutBytes === 0) socket.write(bytes)
  else
    for (let at = 0; at < bytes.length && !socket.destroyed; at += cutBytes) {
      socket.write(bytes.subarray(at, at + cutBytes))
      await new Promise((resolve) => setImmediate(resolve))
    }
  switch (end) {
    case 'abandon':
      abandoned.push(socket)
      if (abandoned.length > ABANDONED_MAX) abandoned.shift()?.destroy()
      return undefined
    case 'destroy':
      await sleep(2)
      socket.destroy()
      break
    case 'reset':
      await sleep(2)
      socket.resetAndDestroy()
      break
    case 'half-close':
      socket.resume()
      socket.end()
      break
  }
  const timer = Promise.withResolvers<'late'>()
  const timeout = setTimeout(() => timer.resolve('late'), ANSWER_MS_MAX)
  const won = await Promise.race([closed, answered.promise, timer.promise])
  clearTimeout(timeout)
  socket.destroy()
  return won === 'late' ? `neither answered nor closed within ${ANSWER_MS_MAX} ms (${end})` : undefined
}

const PINGREQ = mqtt.generate({ cmd: 'pingreq' })

/** The conversation of this seed. */
export function hostileConversation(seed: number, kind: 'open' | 'users'): Conversation {
  const m = new Mutator(seed)
  const packets: Buffer[] = []
  const foreign = m.chance(0.04)
  const early = !foreign && m.chance(0.03)
  const session = { id: clientId(m), clean: m.chance(0.6) }
  if (foreign) packets.push(m.of(FOREIGN))
  else if (!early) packets.push(hostileConnect(m, kind, session))
  const count = foreign ? 0 : m.few(PACKETS_MAX)
  for (let n = 0; n < count; n += 1) packets.push(harmful(m, kind))
  let broken = foreign || early
  if (m.chance(0.35)) {
    broken = true
    const victim = packets.length > 0 && m.chance(0.3) ? m.pick(packets.length) : packets.length
    packets.splice(victim, 1, malformed(m, kind))
  }
  const cutBytes = m.chance(0.05) ? m.of([1, 2, 3, 7, 50]) : 0
  const end: End = m.chance(0.05)
    ? 'abandon'
    : broken
      ? m.of(['half-close', 'half-close', 'destroy', 'reset'])
      : m.of(['answer', 'answer', 'answer', 'half-close', 'destroy', 'reset'])
  const bytes = packets.reduce((sum, { length }) => sum + length, 0)
  return { packets, cutBytes: bytes > 20_000 ? 0 : cutBytes, reads: end === 'answer' || m.chance(0.9), end }
}

/** What takes many packets to do harm, and will not come about by chance. */
function sieges(kind: 'open' | 'users'): Record<string, Buffer[]> {
  const hello = (id: string) =>
    packet(
      0x10,
      string('MQTT'),
      Buffer.from([4, kind === 'users' ? 0xc0 : 0]),
      u16(0),
      string(id),
      ...(kind === 'users' ? [string('guest'), string('g')] : []),
    )
  const many = (count: number, make: (n: number) => Buffer) =>
    Array.from({ length: count }, (_, n) => make(n))
  const subscribe = (n: number, ...filters: readonly string[]) =>
    packet(0x82, u16(1 + n), ...filters.flatMap((filter) => [string(filter), Buffer.from([1])]))
  return {
    'retained messages that are never acknowledged': [
      hello('siege-retained'),
      ...many(500, (n) => packet(0x33, string(`guest/retained/${n}`), u16(1 + n), Buffer.from('x'))),
      ...many(140, (n) => subscribe(n, 'guest/retained/+')),
    ],
    'the longest list of filters': [
      hello('siege-filters'),
      subscribe(1, ...many(12_000, (n) => Buffer.from(`guest/${n}`)).map(String)),
    ],
    'a thousand filters for retained messages that match nothing': [
      hello('siege-matching'),
      ...many(5, (n) => subscribe(n, ...many(190, (m) => Buffer.from(`guest/${n}/${m}/+`)).map(String))),
    ],
    'messages at QoS 2 that are never released': [
      hello('siege-unreleased'),
      ...many(3000, (n) => packet(0x34, string('guest/two'), u16(1 + n), Buffer.alloc(1000))),
    ],
    'filters without end': [
      hello('siege-endless'),
      ...many(300, (n) => subscribe(n, ...many(20, (m) => Buffer.from(`guest/${n}/${m}`)).map(String))),
    ],
    'a message of 15 MB in front of CONNECT': [packet(0x30, string('guest/x'), Buffer.alloc(15e6))],
    'control packets of 15 MB': [hello('siege-large'), packet(0x82, Buffer.alloc(15e6))],
  }
}

/** What else may knock at the port. */
const FOREIGN: readonly Buffer[] = [
  Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'),
  Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
  Buffer.from('16030100c8010000c403037b', 'hex'), // the start of a TLS ClientHello
  Buffer.from('SSH-2.0-x\r\n'),
  Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff]),
  Buffer.alloc(3),
  Buffer.alloc(100_000, 0x30),
  mqtt.generate({
    cmd: 'connect',
    protocolId: 'MQTT',
    protocolVersion: 5,
    clientId: 'five',
    clean: true,
    keepalive: 9,
  }),
  mqtt.generate({
    cmd: 'connect',
    protocolId: 'MQTT',
    protocolVersion: 5,
    clientId: 'five',
    clean: true,
    keepalive: 9,
    properties: { userProperties: { __proto__x: 'y', constructor: 'z' }, sessionExpiryInterval: 4294967295 },
  }),
  mqtt.generate({
    cmd: 'connect',
    protocolId: 'MQIsdp',
    protocolVersion: 3,
    clientId: 'three',
    clean: true,
    keepalive: 9,
  }),
  mqtt.generate({
    cmd: 'connect',
    protocolId: 'MQIsdp',
    protocolVersion: 3,
    clientId: 'x'.repeat(24),
    clean: true,
    keepalive: 9,
  }),
]

/** Of a hundred or so, so that sessions are taken up again, and taken over; and such as are no names. */
function clientId(m: Mutator): string {
  return m.chance(0.7) ? `hostile-${m.pick(100)}` : m.chance(0.3) ? '' : m.text()
}

const string = (text: string | Buffer) => {
  const bytes = Buffer.from(text).subarray(0, 0xffff)
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 0xff]), bytes])
}
const u16 = (number: number) => Buffer.from([(number >> 8) & 0xff, number & 0xff])

/** A packet with a fixed header that tells the truth. */
function packet(first: number, ...body: readonly Buffer[]): Buffer {
  const content = Buffer.concat(body)
  const length: number[] = []
  let left = content.length
  do {
    length.push((left % 128) | (left >= 128 ? 0x80 : 0))
    left = Math.floor(left / 128)
  } while (left > 0)
  return Buffer.concat([Buffer.from([first, ...length]), content])
}

/** The login is nearly always the right one: a broker that is tired of wrong ones looks at nothing else. */
function hostileConnect(
  m: Mutator,
  kind: 'open' | 'users',
  session: { readonly id: string; readonly clean: boolean },
): Buffer {
  const harmless = m.chance(0.7)
  const will = m.chance(0.3)
  const user = kind === 'users' ? m.chance(0.9) : m.chance(0.02)
  let flags = (session.clean ? 2 : 0) | (user ? 0xc0 : 0)
  if (will) flags |= 4 | (m.pick(4) << 3) | (m.chance(0.3) ? 0x20 : 0)
  if (!harmless && m.chance(0.3)) flags = m.pick(256)
  return packet(
    0x10,
    string(harmless ? 'MQTT' : m.of(['MQTT', 'MQIsdp', 'mqtt', '', m.text()])),
    Buffer.from([harmless ? 4 : m.of([3, 4, 4, 4, 5, 131, 132, 133, m.pick(256)]), flags]),
    u16(m.of([0, 1, 60, 65_535])),
    string(session.id),
    ...(flags & 4
      ? [string(m.chance(0.5) ? topic(m, kind) : m.text()), string(m.chance(0.2) ? '' : m.noise(m.few(300)))]
      : []),
    ...(flags & 0x80 ? [string(m.chance(0.995) ? 'guest' : m.text())] : []),
    ...(flags & 0x40 ? [string(m.chance(0.998) ? 'g' : m.text())] : []),
  )
}

function topic(m: Mutator, kind: 'open' | 'users'): string {
  const top = kind === 'users' && m.chance(0.85) ? 'guest' : m.of(['guest', 'x', 'small', ''])
  return m.of([
    () => `${top}/${m.pick(50)}`,
    () => `${top}/${m.pick(50)}/${m.pick(5)}`,
    () => `${top}/${m.text()}`,
    () => m.text(),
    () => `sightline/v1/evil/d${m.pick(3)}/c/crop`,
    () => `${top}/${'a/'.repeat(m.of([97, 98, 99, 100, 200]))}`,
  ])()
}

function filter(m: Mutator, kind: 'open' | 'users'): string {
  const top = kind === 'users' && m.chance(0.85) ? 'guest' : m.of(['guest', 'x', 'small', '+'])
  return m.of([
    () => `${top}/#`,
    () => `${top}/+`,
    () => `${top}/${m.pick(50)}`,
    () => '#',
    () => `${'+/'.repeat(m.of([1, 5, 20, 98, 99, 100]))}#`,
    () => topic(m, kind),
    () => m.text(),
  ])()
}

/** Well-formed, and meant to do harm: a broker may answer or close, and nothing else may come of it. */
function harmful(m: Mutator, kind: 'open' | 'users'): Buffer {
  const id = u16(m.chance(0.7) ? 1 + m.pick(20) : m.edge(2))
  return m.of<() => Buffer>([
    () => publish(m, kind),
    () => publish(m, kind),
    () => publish(m, kind),
    () => packet(0x82, id, string(filter(m, kind)), Buffer.from([m.pick(3)])),
    () =>
      packet(
        0x82,
        id,
        ...Array.from({ length: m.few(1500) }, () =>
          Buffer.concat([string(filter(m, kind).slice(0, 300)), Buffer.from([m.pick(3)])]),
        ),
      ),
    () => packet(0xa2, id, ...Array.from({ length: m.few(30) }, () => string(filter(m, kind)))),
    () => packet(m.of([0x40, 0x50, 0x62, 0x70]), id),
    () => packet(m.of([0x40, 0x50, 0x62, 0x70]), id),
    () => PINGREQ,
    () =>
      m.of([
        PINGREQ,
        PINGREQ,
        PINGREQ,
        mqtt.generate({ cmd: 'disconnect' }),
        hostileConnect(m, kind, { id: clientId(m), clean: true }),
      ]),
  ])()
}

function publish(m: Mutator, kind: 'open' | 'users'): Buffer {
  const qos = m.pick(3)
  const first = 0x30 | (m.chance(0.1) ? 8 : 0) | (qos << 1) | (m.chance(0.15) ? 1 : 0)
  const payload = m.noise(m.few(m.chance(0.02) ? 20_000 : 200))
  return packet(
    first,
    string(topic(m, kind)),
    ...(qos > 0 ? [u16(m.chance(0.9) ? 1 + m.pick(50) : m.edge(2))] : []),
    payload,
  )
}

/** What no client may send. */
function malformed(m: Mutator, kind: 'open' | 'users'): Buffer {
  const valid = () =>
    m.chance(0.3) ? hostileConnect(m, kind, { id: clientId(m), clean: true }) : harmful(m, kind)
  return m.of<() => Buffer>([
    () => m.bytes(valid(), [valid(), valid()], 40),
    () => m.bytes(valid(), [valid(), valid()], 40),
    () => m.bytes(valid(), [valid(), valid()], 40),
    () => m.noise(m.few(500)),
    () => Buffer.from([m.pick(256), 0x80, 0x80, 0x80, m.of([0, 1, 0x7f, 0x80, 0xff])]),
    () => Buffer.from([m.pick(256), 0xff, 0xff, 0xff, 0x7f, ...m.noise(20)]), // promises 256 MB
    () => Buffer.concat([Buffer.from([m.of([0x30, 0x32, 0x82, 0x10]), 0x80, 0x80, 0x04]), m.noise(100)]), // 64 KB
    () =>
      packet(
        m.of([0x00, 0xf0, 0x20, 0x90, 0xb0, 0xd0, 0x36, 0x3f, 0x80, 0xa0, 0x60, 0x43, 0xc1]),
        m.noise(m.few(20)),
      ),
    () => packet(0x82, u16(1), m.noise(m.few(100))),
    () => packet(0x32, u16(m.edge(2)), m.noise(m.few(100))),
    () => valid().subarray(0, -1),
  ])()
}

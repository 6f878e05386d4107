import { randomUUID } from 'node:crypto'
import type { Packet } from 'mqtt-packet'
import { noiseCrop } from '../bench/load.ts'
import type { Program, Test } from '../test/kit/programs.ts'
import { RawClient } from '../test/kit/raw-client.ts'
import { until } from '../test/kit/wait.ts'
import { readCrop } from '../wire/crop.ts'
import { mintedAtMs } from '../wire/id.ts'
import { cropTopic, TOPIC_PREFIX_DEFAULT } from '../wire/topics.ts'
import { Line } from './line.ts'
import { SITE } from './publisher.ts'
import type { Trial, TrialOptions, Verdict } from './trial.ts'

/**
 * Somebody who holds the credentials of one user and means harm: of a device at the edge, and of another site's bridge in
 * the cloud. What is promised to everybody else: their crops arrive, and they stay online.
 */

const RUN_MS_MAX = 10 * 60_000
const PASSWORD = 'x'
const DEVICE = 'victim'
const CLOUD_BRIDGE_ID = 'edge-to-cloud'
const HARM_TOPIC = `${TOPIC_PREFIX_DEFAULT}/${SITE}/mallory`
const SESSIONS_MAX = 200

const user = (name: string, rights: object) => ({ name, password: PASSWORD, ...rights })
const login = (username: string) => ({ username, password: PASSWORD })

type Attack = (attacker: Attacker) => Promise<void>

/** Connects as one user, under any client id, as often as it likes. */
class Attacker {
  readonly #test: Test
  readonly #broker: Program
  readonly #user: string
  readonly #open: RawClient[] = []

  constructor(test: Test, broker: Program, user: string) {
    this.#test = test
    this.#broker = broker
    this.#user = user
  }

  async connect(
    clientId: string = randomUUID(),
    settings: Parameters<typeof RawClient.open>[3] = {},
  ): Promise<RawClient> {
    const client = await RawClient.open(this.#test, this.#broker.port, clientId, {
      clean: true,
      username: this.#user,
      password: Buffer.from(PASSWORD),
      ...settings,
    })
    this.#open.push(client)
    return client
  }

  /** Does something on a connection of its own, which the broker may end. */
  async attempt(act: (client: RawClient) => void | Promise<void>): Promise<void> {
    const client = await this.connect()
    await Promise.resolve(act(client)).catch(() => {})
    await client.next(() => false, 200).catch(() => {}) // what comes of it
  }

  end(): void {
    for (const client of this.#open) client.socket.destroy()
  }
}

/** The sessions, queues and connections of others, under their client ids. */
const takeOver =
  (clientIds: readonly string[], times: number): Attack =>
  async (attacker) => {
    for (let n = 0; n < times; n += 1)
      for (const id of clientIds)
        for (const clean of [true, false]) {
          const client = await attacker.connect(id, { clean })
          if (client.returnCode === 0) await client.subscribe('#', 1).catch(() => {})
        }
  }

/** In the name of others: crops, states, commands, wills, on the way that bridges take. */
const impersonate: Attack = async (attacker) => {
  const { payload } = noiseCrop(3000, SITE, DEVICE)
  const others = [
    cropTopic(TOPIC_PREFIX_DEFAULT, { site: SITE, device: DEVICE, camera: 'cam' }),
    `${TOPIC_PREFIX_DEFAULT}/${SITE}/${DEVICE}/status`,
    `${TOPIC_PREFIX_DEFAULT}/${SITE}/${DEVICE}/cam/set/pause`,
    `${HARM_TOPIC}/cam/set/pause`,
    `$sightline/via/abcdefgh/${TOPIC_PREFIX_DEFAULT}/${SITE}/${DEVICE}/cam/crop`,
    '$SYS/broker',
  ]
  for (const topic of others) {
    for (const settings of [{}, { retain: true }, { qos: 2 }, { qos: 0, messageId: undefined }] as const)
      await attacker.attempt((client) => client.publish(topic, payload, settings))
    const will = { topic, payload, qos: 1, retain: true } as const
    await attacker.connect(randomUUID(), { will }).then((client) => client.socket.destroy())
  }
}

/** A bridge's privileges, with marks of every kind. */
const pretendToBeABridge: Attack = async (attacker) => {
  const marks = ['abcdefgh', '?', 'abcdefgh,?', ',', 'x', 'a'.repeat(500), Array(40).fill('abcdefgh').join()]
  const client = await attacker.connect('sightline-bridge-x', { bridgeMode: true })
  await client.subscribe(`$sightline/refused/${randomUUID()}`, 0).catch(() => {})
  const { payload } = noiseCrop(3000, SITE, 'mallory')
  for (const [n, mark] of marks.entries())
    client.publish(`$sightline/via/${mark}/${HARM_TOPIC}/cam/crop`, payload, { messageId: n + 1 })
  await attacker.attempt((other) => void other.subscribe('$sightline/via/abcdefgh/#', 1))
}

/** What lies behind it in the bridge's queue must not wait for it. */
const poison: Attack = async (attacker) => {
  const huge = noiseCrop(400_000, SITE, 'mallory').payload
  const client = await attacker.connect()
  for (const [n, settings] of ([{}, { retain: true }, { qos: 2 }] as const).entries())
    client.publish(`${HARM_TOPIC}/cam/crop`, huge, { messageId: n + 1, ...settings })
  client.publish(`${HARM_TOPIC}/cam/event`, huge, { qos: 0, messageId: undefined })
  await client.next(() => false, 300).catch(() => {})
}

/** All there is of what is shared: sessions, subscriptions, retained and unreleased messages, queues. */
const hoard: Attack = async (attacker) => {
  for (let n = 0; n < SESSIONS_MAX + 20; n += 1) {
    const client = await attacker.connect(`hoard-${n}`, { clean: false })
    if (client.returnCode !== 0) continue
    const subscriptions = Array.from(
      { length: 300 },
      (_, m) => ({ topic: `${HARM_TOPIC}/cam-${m}/set/x`, qos: 1 }) as const,
    )
    client.send({ cmd: 'subscribe', messageId: 1, subscriptions })
    if (n % 20 === 0)
      for (let m = 1; m <= 200; m += 1)
        client.publish(`${HARM_TOPIC}/c${n}-${m}/state`, 'x'.repeat(5000), {
          qos: m % 2 === 0 ? 2 : 1,
          retain: true,
          messageId: m + 1,
        })
    await client.next(({ cmd }) => cmd === 'suback', 5000).catch(() => {})
  }
}

/** As fast as it goes, at every QoS. */
const flood: Attack = async (attacker) => {
  const clients = await Promise.all([1, 2, 3].map(() => attacker.connect()))
  const { payload } = noiseCrop(2000, SITE, 'mallory')
  for (let n = 1; n <= 1500; n += 1)
    for (const [qos, client] of clients.entries())
      if (!client.closed)
        client.publish(`${HARM_TOPIC}/cam/${qos === 0 ? 'event' : 'crop'}`, payload, {
          qos: Math.min(qos, 1) as 0 | 1,
          messageId: qos === 0 ? undefined : n,
        })
  await clients[0]?.next(() => false, 500).catch(() => {})
}

/** What is no crop, and crops that claim to come from the end of time. */
const lie: Attack = async (attacker) => {
  const client = await attacker.connect()
  for (let n = 1; n <= 50; n += 1) {
    const { payload } = noiseCrop(2000, SITE, 'mallory')
    const lied = payload.toString('latin1').replace(/"capturedAtMs":\d{13}/, '"capturedAtMs":9999999999999')
    client.publish(
      `${HARM_TOPIC}/cam/crop`,
      n % 2 === 0 ? Buffer.from(lied, 'latin1') : payload.subarray(0, 40 * n),
      { messageId: n },
    )
  }
  await client.next(() => false, 300).catch(() => {})
}

async function insider({ short, random }: TrialOptions): Promise<Verdict> {
  await using own = new AsyncDisposableStack()
  const test: Test = { after: (handler) => void own.defer(handler) }
  const limits = { sessions: { countMax: SESSIONS_MAX } }
  await using line = await Line.open({
    edge: {
      users: [
        user(DEVICE, { role: 'device', site: SITE }),
        user('mallory', { role: 'device', site: SITE }),
        user('homeassistant', { role: 'operator' }),
      ],
      ...limits,
    },
    cloud: {
      users: [
        user('edge', { role: 'bridge', site: SITE }),
        user('mallory', { role: 'bridge', site: 'elsewhere' }),
        user('subscriber', { role: 'subscriber' }),
      ],
      limits: { packetMax: '200KB' },
      ...limits,
    },
    bridge: {
      ...login('edge'),
      clientId: CLOUD_BRIDGE_ID,
      topics: ['crop', 'event', 'state'].map((kind) => ({ filter: `${TOPIC_PREFIX_DEFAULT}/+/+/+/${kind}` })),
    },
    subscriber: { broker: login('subscriber') },
  })
  const { edge, cloud, subscriber } = line.keepers
  const victim = line.publisher({
    count: Number.POSITIVE_INFINITY,
    perSecond: 20,
    bytes: [5000, 20_000],
    random,
    device: DEVICE,
    ...login(DEVICE),
  })
  const publishing = victim.run(AbortSignal.timeout(RUN_MS_MAX))
  const home = await Watcher.open(test, edge, 'homeassistant')
  const away = await Watcher.open(test, edge, 'homeassistant-away')
  await away.leave()
  // What was made before both had subscribed may be acknowledged later.
  const sinceMs = Date.now()
  const times = short ? 5 : 100
  const ids = ['homeassistant', 'homeassistant-away', `device-${DEVICE}`]
  const harm = [impersonate, pretendToBeABridge, hoard]
  const plans: [Program, string, readonly Attack[]][] = [
    [edge, 'homeassistant', [takeOver(ids, times), ...harm, poison, flood, lie]],
    [cloud, 'subscriber', [takeOver(['sightline-subscriber', CLOUD_BRIDGE_ID], times), ...harm]],
  ]
  const faults: string[] = []
  for (const [broker, other, attacks] of plans) {
    const attacker = new Attacker(test, broker, 'mallory')
    for (let round = 0; round < (short ? 1 : 5); round += 1)
      for (const attack of attacks) await attack(attacker)
    if (!(await mayComeIn(test, broker, other)))
      faults.push(`the ${broker.config.name} has no room for others`)
    attacker.end()
  }
  victim.enough()
  await publishing
  faults.push(...(await line.faults(victim, { others: true, isOverloaded: true })))
  await away.come()
  const wanted = [...victim.acknowledged.keys()].filter((id) => mintedAtMs(id) > sinceMs)
  for (const [watcher, name] of [
    [home, 'who was there'],
    [away, 'who was away'],
  ] as const)
    await until('all have come', () => wanted.every((id) => watcher.ids.has(id)), 10_000).catch(() =>
      faults.push(
        `${name} got ${wanted.filter((id) => watcher.ids.has(id)).length} of ${wanted.length} crops`,
      ),
    )
  const once = (what: string, count: number) => count !== 1 && faults.push(`${what} connected ${count} times`)
  once('the device', victim.connections)
  once('who was there', home.connections - (home.closed ? 1 : 0))
  once('the bridge', edge.log.filter(({ msg }) => msg === 'bridge connected').length)
  once(
    'the subscriber',
    subscriber.log.filter(({ msg, lane }) => msg === 'subscribed' && lane === undefined).length,
  )
  const setAside = (await edge.books('quarantine/cloud')).accepted
  return {
    faults,
    crops: victim.acknowledged.size,
    said: `${victim.acknowledged.size} acknowledged crops of others arrived, ${setAside} messages of the attacker set aside`,
  }
}

/** Reads a device's crops in a session, and acknowledges them. */
class Watcher {
  readonly ids = new Set<string>()
  connections = 0
  readonly #test: Test
  readonly #broker: Program
  readonly #clientId: string
  #client: RawClient | undefined

  private constructor(test: Test, broker: Program, clientId: string) {
    this.#test = test
    this.#broker = broker
    this.#clientId = clientId
  }

  static async open(test: Test, broker: Program, clientId: string): Promise<Watcher> {
    const watcher = new Watcher(test, broker, clientId)
    await watcher.come()
    await watcher.#client?.subscribe(`${TOPIC_PREFIX_DEFAULT}/${SITE}/${DEVICE}/+/crop`, 1)
    return watcher
  }

  get closed(): boolean {
    return this.#client?.closed ?? true
  }

  async come(): Promise<void> {
    const settings = { username: 'homeassistant', password: Buffer.from(PASSWORD), clean: false }
    const client = await RawClient.open(this.#test, this.#broker.port, this.#clientId, settings)
    this.connections += 1
    this.#client = client
    const take = (packet: Packet) => {
      if (packet.cmd !== 'publish') return
      const reading = readCrop(packet.payload as Buffer)
      if ('crop' in reading) this.ids.add(reading.crop.id)
      client.send({ cmd: 'puback', messageId: packet.messageId as number })
    }
    client.onPacket = take
    for (const packet of client.received) take(packet)
  }

  async leave(): Promise<void> {
    await this.#client?.cut()
  }
}

/** One more client, with a session. */
async function mayComeIn(test: Test, broker: Program, username: string): Promise<boolean> {
  const settings = { username, password: Buffer.from(PASSWORD), clean: false }
  const client = await RawClient.open(test, broker.port, `another-${username}`, settings)
  const granted =
    client.returnCode === 0 ? await client.subscribe(`${TOPIC_PREFIX_DEFAULT}/x/+/status`, 1) : 0x80
  client.socket.destroy()
  return granted === 1
}

export const INSIDER: Trial = {
  name: 'insider',
  what: 'whoever holds the credentials of one user harms nobody else',
  run: insider,
}

import t from 'tap'
import { decodeMessage, encodeMessage, sendersBelow } from '../../broker/message.ts'
import { HOPS_MAX, markTopic, readMark } from '../../broker/via.ts'
import { freePort } from '../kit/ports.ts'
import { bridgeConfig, brokerConfig, Program, type Test } from '../kit/programs.ts'
import { RawClient } from '../kit/raw-client.ts'
import { until } from '../kit/wait.ts'

const CROP = 'sightline/v1/home/dev1/door/crop'
const KEEPER = { queues: [{ clientId: 'keeper', topics: ['#'] }] }

const broker = (t: Test, name: string, settings: Record<string, unknown> = {}) =>
  Program.start(t, 'broker', brokerConfig(t, { name, ...KEEPER, mustBeKept: ['#'], ...settings }))

const metric = async (program: Program, name: string) =>
  Number(
    new RegExp(`^${name}(?:{[^}]*})? (\\d+)$`, 'm').exec(
      await (await fetch(`${program.http}/metrics`)).text(),
    )?.[1] ?? 0,
  )

async function publish(t: Test, to: Program, topic: string, text: string, login = {}): Promise<void> {
  const client = await RawClient.open(t, to.port, 'publisher', { clean: true, ...login })
  client.publish(topic, text)
  await client.next(({ cmd }) => cmd === 'puback')
  await client.disconnect()
}

async function reader(t: Test, at: Program, filter = '#'): Promise<RawClient> {
  const client = await RawClient.open(t, at.port, 'reader', { clean: true })
  await client.subscribe(filter, 1)
  return client
}

const texts = (client: RawClient) => client.publishes.map(({ payload }) => payload.toString())

/** Nothing more comes: a message that goes round takes a few milliseconds each time. */
async function staysQuiet(t: Asserting, programs: readonly Program[]): Promise<void> {
  const accepted = () => Promise.all(programs.map(async (it) => (await it.books('bridge/cloud')).accepted))
  const before = await accepted()
  await new Promise((resolve) => setTimeout(resolve, 500))
  t.strictSame(await accepted(), before, 'nothing goes round')
}
interface Asserting {
  strictSame(found: unknown, wanted: unknown, message: string): boolean
}

t.test('three brokers in a row hand on, whatever their bridges call themselves', async (t) => {
  const users = [
    { name: 'edge', role: 'bridge', password: 'x' },
    { name: 'sub', role: 'subscriber', password: 'x' },
  ]
  const login = { username: 'edge', password: 'x' }
  const cloud = await broker(t, 'broker', {
    users,
    queues: [{ clientId: 'sub', topics: ['sightline/v1/+/+/+/crop'] }],
  })
  const middle = await broker(t, 'broker', { users, bridges: [bridgeConfig(cloud.url, login)] })
  const edge = await broker(t, 'broker', {
    bridges: [bridgeConfig(middle.url, { ...login, clientId: 'edge-of-my-own' })],
  })
  for (let n = 0; n < 20; n += 1) await publish(t, edge, CROP, `face ${n}`)
  const sub = await RawClient.open(t, cloud.port, 'sub', { username: 'sub', password: Buffer.from('x') })
  await sub.publishesReached(20)
  t.strictSame(
    texts(sub),
    Array.from({ length: 20 }, (_, n) => `face ${n}`),
  )
  t.strictSame(
    [...new Set(sub.publishes.map(({ topic }) => topic))],
    [CROP],
    'the mark stays between brokers',
  )
  t.match(await middle.books('bridge/cloud'), { accepted: 20, forwarded: 20 })
  await publish(t, middle, CROP, 'its own', { username: 'edge', password: Buffer.from('x') })
  await until('that too', () => texts(sub).includes('its own'))
})

t.test('two brokers that bridge to one another send nothing round', async (t) => {
  const port = await freePort()
  const other = brokerConfig(t, {
    name: 'b',
    listeners: [{ port }],
    ...KEEPER,
  })
  const a = await broker(t, 'a', {
    bridges: [bridgeConfig(`mqtt://127.0.0.1:${port}`, { clientId: 'from-a' })],
  })
  const b = await Program.start(t, 'broker', {
    ...other,
    bridges: [bridgeConfig(a.url, { clientId: 'from-b' })],
  })
  const [atA, atB] = [await reader(t, a), await reader(t, b)]
  for (const to of [a, b]) await to.line(({ msg }) => msg === 'bridge connected')
  await until(
    'both know the other',
    async () => (await metric(a, 'sightline_bridge_up')) + (await metric(b, 'sightline_bridge_up')) === 2,
  )
  await publish(t, a, CROP, 'from a')
  await publish(t, b, CROP, 'from b')
  await atA.publishesReached(2)
  await atB.publishesReached(2)
  await staysQuiet(t, [a, b])
  t.strictSame(
    [texts(atA).sort(), texts(atB).sort()],
    [
      ['from a', 'from b'],
      ['from a', 'from b'],
    ],
  )
})

t.test('no circle of brokers goes round more than once', async (t) => {
  const ports = [await freePort(), await freePort(), await freePort()]
  const circle: Program[] = []
  for (const [at, port] of ports.entries())
    circle.push(
      await broker(t, 'broker', {
        listeners: [{ port }],
        bridges: [bridgeConfig(`mqtt://127.0.0.1:${ports[(at + 1) % 3]}`, { clientId: 'round' })],
      }),
    )
  const readers = await Promise.all(circle.map((it) => reader(t, it)))
  for (const it of circle)
    await until('connected', async () => (await metric(it, 'sightline_bridge_up')) === 1)
  for (const [n, it] of circle.entries()) await publish(t, it, CROP, `${n}`)
  for (const it of readers) await it.publishesReached(3)
  await staysQuiet(t, circle)
  for (const it of readers) t.strictSame(texts(it).sort(), ['0', '1', '2'])
  // Known only at the far end: what has passed it already is not sent again.
  for (const it of circle) t.match(await it.books('bridge/cloud'), { accepted: 2, pending: 0 })
})

t.test('commands that two brokers bring down from one another go round no more than once', async (t) => {
  const port = await freePort()
  const down = (url: string) => bridgeConfig(url, { topics: [{ filter: 'c/#', direction: 'down' }] })
  const a = await broker(t, 'a', { bridges: [down(`mqtt://127.0.0.1:${port}`)] })
  const b = await broker(t, 'b', { listeners: [{ port }], bridges: [down(a.url)] })
  for (const it of [a, b]) await it.line(({ msg }) => msg === 'downlink connected', 10_000)
  const [atA, atB] = [await reader(t, a), await reader(t, b)]
  for (const qos of [0, 1] as const) {
    const client = await RawClient.open(t, a.port, 'publisher', { clean: true })
    client.publish('c/x', `at ${qos}`, { qos, ...(qos === 0 ? { messageId: undefined } : {}) })
    await until('both have it', () => [atA, atB].every((it) => texts(it).includes(`at ${qos}`)))
    await client.disconnect()
  }
  const client = await RawClient.open(t, a.port, 'publisher', { clean: true })
  client.publish('c/kept', 'kept', { retain: true })
  await until('both have it', () => [atA, atB].every((it) => texts(it).includes('kept')))
  await b.restart() // subscribes anew, and gets what is retained
  await b.line(({ msg }) => msg === 'downlink connected', 10_000, b.log.length - 1).catch(() => {})
  await new Promise((resolve) => setTimeout(resolve, 500))
  for (const it of [a, b])
    t.equal(await metric(it, 'sightline_broker_came_back_total'), 0, 'nothing is even sent back')
  t.strictSame(texts(atA), ['at 0', 'at 1', 'kept'])
  t.strictSame(texts(atB).slice(0, 3), ['at 0', 'at 1', 'kept'])
  t.strictSame(
    atA.publishes.map(({ topic }) => topic),
    ['c/x', 'c/x', 'c/kept'],
  )
})

t.test('a bridge that leads back to its own broker says so', async (t) => {
  const port = await freePort()
  const self = await broker(t, 'a', {
    listeners: [{ port: 0 }, { port, host: '127.0.0.2', plaintext: true }],
    users: [{ name: 'edge', role: 'bridge', password: 'x' }],
    bridges: [bridgeConfig(`mqtt://127.0.0.2:${port}`, { username: 'edge', password: 'x' })],
  }).catch((error: unknown) => error as Error)
  // Loopback in another spelling than the configuration's check knows of.
  if (self instanceof Error) {
    t.match(self.message, /points at this broker itself/)
    return
  }
  await self.line(({ msg }) => /leads back to this broker itself/.test(msg ?? ''))
})

t.test('a message that says it has been here is acknowledged and not taken again', async (t) => {
  const it = await broker(t, 'it')
  const far = await RawClient.open(t, it.port, 'far', { clean: true })
  await far.subscribe('$sightline/refused/00000000-0000-4000-8000-000000000000', 0)
  const notice = far.publishes.map(({ payload }) => JSON.parse(payload.toString()))
  t.match(notice, [{ v: 1, packetBytesMax: 16_000_000, brokerId: /^[\w-]{8}$/ }])
  const own = notice[0].brokerId as string
  const live = await reader(t, it)
  for (const [n, [via, settings]] of [
    [[own], {}],
    [['abcdefgh', own], { retain: true }],
    [['abcdefgh'], {}],
    [['abcdefgh'], { retain: true }],
  ].entries() as ArrayIterator<[number, [string[], object]]>) {
    far.publish(markTopic(via, CROP), `${n}`, { messageId: n + 1, ...settings })
    await far.next(({ cmd }) => cmd === 'puback')
  }
  await live.publishesReached(2)
  t.strictSame(texts(live), ['2', '3'])
  t.equal((await it.books('session/keeper')).accepted, 2)
  t.equal(await metric(it, 'sightline_broker_came_back_total'), 2)
  // Nobody else may say so: it would be an ordinary topic that nobody may publish to.
  const guest = await RawClient.open(t, it.port, 'guest', { clean: true })
  guest.publish(markTopic(['abcdefgh'], CROP), 'x')
  await guest.ended()
})

t.test('a client id makes nobody a bridge: fair shares hold, and the uplink is not skipped', async (t) => {
  const cloud = await broker(t, 'cloud', { queues: [{ clientId: 'sub', topics: ['#'] }] })
  const users = [
    { name: 'dev1', role: 'device', site: 'home', password: 'x' },
    { name: 'dev2', role: 'device', site: 'home', password: 'x' },
  ]
  const edge = await broker(t, 'edge', {
    users,
    bridges: [bridgeConfig(cloud.url)],
    mustBeKept: [],
    queues: [{ clientId: 'away', topics: ['#'], entriesMax: 20 }],
  })
  const as = (username: string) => ({ username, password: Buffer.from('x'), clean: true })
  const greedy = await RawClient.open(t, edge.port, 'sightline-bridge-x', as('dev1'))
  for (let n = 1; n <= 30; n += 1) greedy.publish(CROP, `${n}`, { messageId: n })
  await greedy.ended()
  const { pending } = await edge.books('session/away')
  t.ok(pending < 20, `${pending} of 20: room is left for others`)
  const other = await RawClient.open(t, edge.port, 'dev2', as('dev2'))
  other.publish(CROP.replace('dev1', 'dev2'), 'x')
  await other.next(({ cmd }) => cmd === 'puback')
  await until('they go up', async () => (await cloud.books('session/sub')).accepted === pending + 1)
})

t.test('marks and messages come back as they went in', (t) => {
  const via = ['abcdefgh', '?', 'AB-_0129']
  t.strictSame(readMark(markTopic(via, 'a/b')), { via, topic: 'a/b' })
  t.equal(readMark('a/b'), undefined)
  for (const bad of [
    '$sightline/via/',
    '$sightline/via/x/a',
    '$sightline/via//a',
    '$sightline/via/abcdefgh,/a',
    markTopic(Array(HOPS_MAX + 1).fill('abcdefgh'), 'a'),
  ])
    t.throws(() => readMark(bad), { code: 'TOPIC_INVALID' }, bad)
  const payload = Buffer.from('p')
  for (const message of [
    { topic: 'a/b', payload, qos: 1, via },
    { topic: 'дом/x', payload, qos: 2, via, retain: true },
    { topic: 'a', payload, qos: 1, via: Array(HOPS_MAX).fill('abcdefgh') },
    { topic: 'a', payload, qos: 0, via: [] },
  ] as const)
    t.match(decodeMessage(encodeMessage(message)), message)
  const bridged = Buffer.concat([Buffer.of(1 | 8), Buffer.from('a/b')])
  const stamp = Buffer.from('\x02id01234567')
  const stamped = Buffer.concat([Buffer.of(1 | 16), stamp, Buffer.from('a/b')])
  const both = Buffer.concat([Buffer.of(1 | 16 | 64), stamp, Buffer.from('\x08abcdefgha/b')])
  for (const [header, passed] of [
    [bridged, ['?']],
    [stamped, []],
    [both, ['abcdefgh']],
  ] as const)
    t.match(
      decodeMessage({ header, body: payload }),
      { topic: 'a/b', qos: 1, via: passed },
      'of an earlier version',
    )
  t.end()
})

t.test('whose message it is follows from the configured prefix', (t) => {
  for (const [prefix, topic, sender] of [
    ['sightline/v1', 'sightline/v1/home/dev1/door/crop', 'sightline/v1/home/dev1'],
    ['sightline/v1', 'sightline/v1/home/dev1/status', 'sightline/v1/home/dev1'],
    ['faces', 'faces/home/dev1/door/crop', 'faces/home/dev1'],
    ['a/b/c', 'a/b/c/home/dev1/door/crop', 'a/b/c/home/dev1'],
    ['sightline/v1', 'homeassistant/device/x/config', 'homeassistant/device/x'],
    ['sightline/v1', 'x', 'x'],
  ] as const) {
    const { ofTopic, ofHeader } = sendersBelow(prefix)
    t.equal(ofTopic(topic), sender)
    for (const via of [[], ['abcdefgh', '?']])
      t.equal(ofHeader(encodeMessage({ topic, payload: Buffer.alloc(0), qos: 1, via }).header), sender)
  }
  t.end()
})

import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect as connectTls } from 'node:tls'
import t from 'tap'
import { openAuthority } from '../kit/certificates.ts'
import { Flood, noAddresses } from '../kit/flood.ts'
import { brokerConfig, Program, type Test } from '../kit/programs.ts'
import { RawClient } from '../kit/raw-client.ts'
import { until } from '../kit/wait.ts'

// They wait for clocks, each for its own broker's.
t.jobs = 4

const authority = await openAuthority(t)
const identity = await authority.server('broker')
const ca = readFileSync(authority.caFile)

/** A broker with two listeners: one without TLS, one with it. */
async function open(t: Test, limits: object): Promise<{ broker: Program; plain: number; tls: number }> {
  const broker = await Program.start(
    t,
    'broker',
    brokerConfig(t, {
      listeners: [
        { host: '0.0.0.0', port: 0, plaintext: true },
        { host: '0.0.0.0', port: 0, tls: identity },
      ],
      users: [{ name: 'pi', password: 'hunter2', publish: ['#'], subscribe: ['#'] }],
      limits,
    }),
  )
  const [plain, tls] = (broker.config.listeners as { port: number }[]).map(({ port }) => port)
  return { broker, plain: plain as number, tls: tls as number }
}

const login = { clean: true, username: 'pi', password: Buffer.from('hunter2') }

const through = {
  plain: (port: number, localAddress: string) => connect({ port, host: '127.0.0.1', localAddress }),
  tls: (port: number, localAddress: string) =>
    connectTls({ socket: through.plain(port, localAddress), ca, servername: 'localhost' }),
}

async function refused(broker: Program, code: string): Promise<number> {
  const metrics = await (await fetch(`${broker.http}/metrics`)).text()
  return Number(
    new RegExp(`broker_refused_total\\{[^}]*code="${code}"[^}]*\\} (\\d+)`).exec(metrics)?.[1] ?? 0,
  )
}

for (const kind of ['plain', 'tls'] as const) {
  t.test(
    `2,100 connections that say nothing (${kind}): others come in, and all of them end`,
    { skip: noAddresses },
    async (t) => {
      const { broker, [kind]: port } = await open(t, { connectTimeout: '8s' })
      const begin = Date.now()
      const flood = await Flood.open(t, 2100, port, '127.0.0.2')
      await flood.settled(1000)
      t.equal(await refused(broker, 'TOO_MANY'), 1100)
      const line = await broker.line(({ code }) => code === 'TOO_MANY')
      t.match(line, { level: 40, from: /127\.0\.0\.2$/, msg: /over the limit of 1000 per address/ })
      const other = await RawClient.over(t, through[kind](port, '127.0.0.3'), 'other', login)
      t.equal(other.returnCode, 0)
      t.ok(Date.now() - begin < 7000, 'while they are all there')
      await flood.settled(0)
      const ms = Date.now() - begin
      t.ok(ms > 7900 && ms < 16_000, `${ms} ms after they came`)
      t.equal((await RawClient.over(t, through[kind](port, '127.0.0.2'), 'again', login)).returnCode, 0)
      t.equal(await refused(broker, kind === 'tls' ? 'TLS' : 'TIMEOUT'), 1000)
      await broker.line(({ msg }) =>
        (kind === 'tls' ? /did not finish the handshake within 8 s/ : /did not send CONNECT within 8 s/).test(
          msg ?? '',
        ),
      )
      other.publish('a', 'x', { qos: 0 })
      await sleep(50)
      t.equal(other.closed, false, 'who is in stays')
    },
  )
}

t.test(
  'who has not been let in makes way for others, of the greediest address first',
  { skip: noAddresses },
  async (t) => {
    const { broker, plain, tls } = await open(t, {
      connectionsMax: 100,
      connectionsPerAddressMax: 60,
      connectTimeout: '60s',
    })
    const staying = await RawClient.over(t, through.plain(plain, '127.0.0.2'), 'staying', login)
    const first = await Flood.open(t, 80, tls, '127.0.0.2')
    await first.settled(59)
    const second = await Flood.open(t, 80, plain, '127.0.0.3')
    await second.settled(50)
    await first.settled(49)
    await broker.line(({ msg }) => /not logged in: the limit of 100 is reached/.test(msg ?? ''))
    // A house behind one address, too.
    const house: RawClient[] = []
    for (let n = 0; n < 20; n += 1) {
      const kind = n % 2 === 0 ? 'plain' : 'tls'
      const port = kind === 'tls' ? tls : plain
      house.push(await RawClient.over(t, through[kind](port, '127.0.0.10'), `house-${n}`, login))
    }
    t.ok(house.every(({ returnCode }) => returnCode === 0))
    const many = await Promise.all(
      Array.from({ length: 40 }, (_, n) => Flood.open(t, 3, n % 2 === 0 ? plain : tls, `127.0.1.${n + 1}`)),
    )
    for (let n = 0; n < 5; n += 1) {
      const other = await RawClient.over(t, through.tls(tls, `127.0.0.${20 + n}`), `other-${n}`, login)
      t.equal(other.returnCode, 0, 'whatever the number of addresses')
    }
    for (const client of [staying, ...house]) t.equal(client.closed, false, 'who has been let in stays')
    for (const flood of [first, second, ...many]) flood.end()
    await until('their places are free', async () => {
      const flood = await Flood.open(t, 60, tls, '127.0.0.9')
      await sleep(300)
      const all = flood.open === 60
      flood.end()
      return all
    })
  },
)

t.test(
  'a user has a share of the connections, from however many addresses',
  { skip: noAddresses },
  async (t) => {
    const broker = await Program.start(
      t,
      'broker',
      brokerConfig(t, {
        listeners: [{ host: '0.0.0.0', port: 0, plaintext: true }],
        users: ['pi', 'other'].map((name) => ({ name, password: 'hunter2', publish: ['#'] })),
        limits: { connectionsMax: 40 },
      }),
    )
    const codes: (number | undefined)[] = []
    for (let n = 0; n < 45; n += 1) {
      const socket = through.plain(broker.port, `127.0.0.${2 + (n % 20)}`)
      codes.push((await RawClient.over(t, socket, `pi-${n}`, login)).returnCode)
    }
    const made = codes.filter((code) => code === 0).length
    t.ok(made >= 30 && made < 40, `${made} of 40`)
    t.ok(codes.slice(made).every((code) => code === 3))
    const other = through.plain(broker.port, '127.0.0.2')
    t.equal((await RawClient.over(t, other, 'other', { ...login, username: 'other' })).returnCode, 0)
  },
)

t.test('the time to say CONNECT runs from the connection, TLS included', async (t) => {
  const { broker, tls } = await open(t, { connectTimeout: '1500ms' })
  const begin = Date.now()
  const tcp = connect({ port: tls, host: '127.0.0.1' })
  t.after(() => void tcp.destroy())
  await once(tcp, 'connect')
  await sleep(900)
  const socket = connectTls({ socket: tcp, ca, servername: 'localhost' })
  await once(socket, 'secureConnect')
  socket.write(Buffer.from([0x10, 0x20, 0, 4])) // half of one
  await once(tcp, 'close')
  const ms = Date.now() - begin
  t.ok(ms > 1400 && ms < 2200, `closed after ${ms} ms`)
  t.match(await broker.line(({ code }) => code === 'TIMEOUT'), { level: 40, from: /127\.0\.0\.1$/ })
  const half = await Flood.open(t, 3, tls, '127.0.0.1', Buffer.from('1603010200010001fc0303', 'hex')) // of a ClientHello
  await half.settled(0)
  t.equal(await refused(broker, 'TLS'), 3)
  t.equal(await refused(broker, 'TIMEOUT'), 1)
})

t.test(
  'the system looks after a connection from the first moment',
  { skip: existsSync('/proc/net/tcp') ? false : 'no /proc/net/tcp on this system' },
  async (t) => {
    const { plain, tls } = await open(t, {})
    for (const port of [plain, tls]) {
      const flood = await Flood.open(t, 1, port, '127.0.0.1')
      const [socket] = flood.sockets as [Socket]
      const ends = [port, socket.localPort].map(
        (it) => `0100007F:${Number(it).toString(16).toUpperCase().padStart(4, '0')}`,
      )
      // "tr" of /proc/net/tcp: 2 where it is the timer of keepalive that runs
      const timer = () =>
        readFileSync('/proc/net/tcp', 'utf8')
          .split('\n')
          .find((line) => line.includes(ends.join(' ')))
          ?.trim()
          .split(/\s+/)[5]
          ?.slice(0, 2)
      await until(`keepalive at ${port === tls ? 'TLS' : 'MQTT'}`, () => timer() === '02')
      t.equal(flood.open, 1)
    }
  },
)

t.test('a broker ends in time while connections wait for their handshake', async (t) => {
  const { broker, plain, tls } = await open(t, { connectTimeout: '60s' })
  const floods = [await Flood.open(t, 20, plain, '127.0.0.1'), await Flood.open(t, 20, tls, '127.0.0.1')]
  const begin = Date.now()
  t.equal(await broker.stop(), 0)
  t.ok(Date.now() - begin < 5000)
  for (const flood of floods) await flood.settled(0)
})

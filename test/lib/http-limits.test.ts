import { once } from 'node:events'
import { request as requestPlain } from 'node:http'
import { request as requestTls } from 'node:https'
import { connect, createServer, Socket } from 'node:net'
import { pino } from 'pino'
import { Registry } from 'prom-client'
import t from 'tap'
import { Admission } from '../../lib/admission.ts'
import { type HttpOptions, HttpServer } from '../../lib/http/server.ts'
import { openAuthority } from '../kit/certificates.ts'
import { Flood, noAddresses } from '../kit/flood.ts'
import type { LogLine, Test } from '../kit/programs.ts'
import { until } from '../kit/wait.ts'

// They wait for clocks, each for its own server's.
t.jobs = 6

const BODY = Buffer.alloc(64 * 1024 * 1024)

const identity = await (await openAuthority(t)).server('web')

interface Served {
  readonly port: number
  readonly lines: LogLine[]
  /** @returns the status of /healthz, from an address of the client's */
  ask(localAddress: string): Promise<number | undefined>
  refused(code: string): Promise<number>
}

async function serve(t: Test, options: Partial<HttpOptions> = {}): Promise<Served> {
  const lines: LogLine[] = []
  const metrics = new Registry()
  const server = await HttpServer.open({
    host: '127.0.0.1',
    port: 0,
    metrics,
    health: () => ({ ok: true, checks: {} }),
    log: pino({ base: undefined }, { write: (line: string) => void lines.push(JSON.parse(line) as LogLine) }),
    ...options,
  })
  t.after(() => server[Symbol.asyncDispose]())
  const port = Number(new URL(server.url).port)
  return {
    port,
    lines,
    async ask(localAddress) {
      const request = options.tls ? requestTls : requestPlain
      const to = { host: '127.0.0.1', port, localAddress, path: '/healthz', agent: false }
      const [answer] = await once(request({ ...to, rejectUnauthorized: false }).end(), 'response')
      answer.resume()
      return answer.statusCode
    },
    async refused(code) {
      const { values = [] } =
        (await metrics.getMetricsAsJSON()).find(({ name }) => name === 'sightline_http_refused_total') ?? {}
      return values.find(({ labels }) => labels.code === code)?.value ?? 0
    },
  }
}

/** A request that never comes to its end. */
const DRIP = Buffer.from('GET /healthz HTTP/1.1\r\nhost: x\r\nx-drip: ')

function drip(t: Test, flood: Flood): void {
  const timer = setInterval(() => {
    for (const socket of flood.sockets) if (socket.writable) socket.write('x')
  }, 1000)
  t.after(() => clearInterval(timer))
}

for (const kind of ['HTTP', 'HTTPS'] as const) {
  t.test(
    `512 connections that drip a header (${kind}): /healthz answers others, and all of them end`,
    { skip: noAddresses },
    async (t) => {
      const { port, lines, ask, refused } = await serve(t, kind === 'HTTPS' ? { tls: identity } : {})
      const begin = Date.now()
      // What drips at HTTPS is the handshake.
      const flood = await Flood.open(
        t,
        512,
        port,
        '127.0.0.2',
        kind === 'HTTPS' ? Buffer.from('1603010200010001fc0303', 'hex') : DRIP,
      )
      drip(t, flood)
      await flood.settled(256)
      t.equal(await ask('127.0.0.1'), 200)
      t.ok(Date.now() - begin < 9000, 'while they are there')
      t.equal(await refused('TOO_MANY'), 256)
      t.match(lines, [
        { level: 40, code: 'TOO_MANY', from: '127.0.0.2', msg: /"http.connectionsPerAddressMax"/ },
      ])
      await flood.settled(0)
      const ms = Date.now() - begin
      t.ok(ms > 9000 && ms < 16_000, `all are closed after ${ms} ms`)
      t.equal(await ask('127.0.0.2'), 200)
      t.equal(await refused('TIMEOUT'), 256)
    },
  )
}

t.test(
  'a connection without a request makes way for others, of the greediest address first',
  { skip: noAddresses },
  async (t) => {
    const { port, ask, lines } = await serve(t, { connectionsMax: 50, connectionsPerAddressMax: 30 })
    const first = await Flood.open(t, 40, port, '127.0.0.2', DRIP)
    await first.settled(30)
    const second = await Flood.open(t, 40, port, '127.0.0.3', DRIP)
    await second.settled(25)
    await first.settled(25)
    await until('it is said', () => lines.some(({ msg }) => /the limit of 50 is reached/.test(msg ?? '')))
    for (const address of ['127.0.0.1', '127.0.0.4', '127.0.0.1']) t.equal(await ask(address), 200)
    first.end()
    await until('what it had is free', async () => {
      const again = await Flood.open(t, 20, port, '127.0.0.5', DRIP)
      await new Promise((resolve) => setTimeout(resolve, 100))
      const all = again.open === 20
      again.end()
      return all
    })
  },
)

t.test('a body that drips, and an answer that nobody reads, end in time', async (t) => {
  let answered = false
  const { port, refused } = await serve(t, {
    routes: (app) =>
      void app.get('/large', (_request, reply) => {
        reply.raw.once('close', () => {
          answered = true
        })
        return reply.send(BODY)
      }),
  })
  const begin = Date.now()
  const bodies = await Flood.open(
    t,
    5,
    port,
    '127.0.0.1',
    Buffer.from('POST /healthz HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n'),
  )
  drip(t, bodies)
  const deaf = connect({ port, host: '127.0.0.1' }).on('error', () => {})
  t.after(() => void deaf.destroy())
  deaf.write('GET /large HTTP/1.1\r\nhost: x\r\n\r\n')
  deaf.pause()
  await bodies.settled(0, 45_000)
  t.ok(Date.now() - begin < 40_000)
  t.equal(await refused('TIMEOUT'), 5)
  let read = 0
  await until('nobody waits for it any more', () => answered, 70_000)
  deaf.on('data', (bytes) => {
    read += bytes.length
  })
  deaf.resume()
  await once(deaf, 'close')
  t.ok(read > 0 && read < BODY.length, `${read} bytes had gone out`)
})

t.test('it ends at once while connections wait for their handshake', async (t) => {
  const server = await HttpServer.open({
    host: '127.0.0.1',
    port: 0,
    metrics: new Registry(),
    health: () => ({ ok: true, checks: {} }),
    tls: identity,
  })
  const flood = await Flood.open(t, 20, Number(new URL(server.url).port), '127.0.0.1')
  const begin = Date.now()
  await server[Symbol.asyncDispose]()
  t.ok(Date.now() - begin < 2000)
  await flood.settled(0)
})

t.test('who has one IPv6 address has the whole /64, and no more than one of IPv4', (t) => {
  let refused = 0
  const admission = new Admission({
    connectionsMax: 100,
    connectionsPerAddressMax: 2,
    where: 'limits',
    log: undefined,
    refused: () => {
      refused += 1
    },
  })
  const server = createServer()
  admission.guard(server)
  const come = (address: string) => {
    const socket = new Socket()
    Object.defineProperty(socket, 'remoteAddress', { value: address })
    server.emit('connection', socket)
    return socket.destroyed ? 'refused' : 'in'
  }
  t.strictSame(['2001:db8::1', '2001:db8:0:0:9::2', '2001:db8::3'].map(come), ['in', 'in', 'refused'])
  t.equal(come('2001:db8:0:1::1'), 'in')
  t.strictSame(['192.0.2.1', '::ffff:192.0.2.1', '192.0.2.1', '192.0.2.2'].map(come), [
    'in',
    'in',
    'refused',
    'in',
  ])
  t.equal(refused, 2)
  t.end()
})

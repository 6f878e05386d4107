import { createServer, type Socket } from 'node:net'
import mqtt, { type Packet } from 'mqtt-packet'
import t from 'tap'
import { type LinkOptions, MqttLink, parseBrokerUrl } from '../../lib/mqtt/link.ts'
import { freePort } from '../kit/ports.ts'
import type { Test } from '../kit/programs.ts'
import { until } from '../kit/wait.ts'

/** A broker that answers as it is told: our own and Mosquitto do not misbehave to order. */
async function fakeBroker(t: Test, answer: (packet: Packet, socket: Socket) => Packet | undefined) {
  const seen: Packet[] = []
  const server = createServer((socket) => {
    const parser = mqtt.parser()
    parser.on('packet', (packet) => {
      seen.push(packet)
      const reply = answer(packet, socket)
      if (reply) mqtt.writeToStream(reply, socket)
    })
    socket.on('data', (chunk) => parser.parse(chunk))
    socket.on('error', () => {})
    t.after(() => void socket.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => void server.close())
  const address = server.address()
  return { seen, url: `mqtt://127.0.0.1:${typeof address === 'object' && address ? address.port : 0}` }
}

const connack = (returnCode = 0): Packet => ({ cmd: 'connack', returnCode, sessionPresent: false })

function open(
  t: Test,
  url: string,
  settings: Partial<LinkOptions> = {},
  signal?: AbortSignal,
): Promise<MqttLink> {
  const opening = MqttLink.open(
    {
      url,
      clientId: 'it',
      protocol: 4,
      clean: true,
      packetBytesMax: 1e6,
      keepaliveS: 60,
      connectMsMax: 2000,
      ...settings,
    },
    signal,
  )
  opening.then(
    (link) => t.after(() => link.destroy()),
    () => {},
  )
  return opening
}

t.test('addresses', async (t) => {
  t.strictSame(parseBrokerUrl('mqtt://host'), { host: 'host', port: 1883, tls: false })
  t.strictSame(parseBrokerUrl('mqtts://host'), { host: 'host', port: 8883, tls: true })
  t.strictSame(parseBrokerUrl('mqtt://[::1]:99'), { host: '::1', port: 99, tls: false })
  for (const bad of ['host:1883', 'http://host', 'mqtt://', '', 'mqtt://user:pass@host'])
    t.throws(() => parseBrokerUrl(bad), { code: 'CONFIG_INVALID' }, bad)
})

t.test('nobody there: BROKER_UNREACHABLE, which says where', async (t) => {
  const port = await freePort()
  await t.rejects(open(t, `mqtt://127.0.0.1:${port}`), {
    code: 'BROKER_UNREACHABLE',
    message: new RegExp(`Cannot connect to mqtt://127.0.0.1:${port}: connection refused`),
  })
})

t.test('a host that takes the connection and says nothing is given up in time', async (t) => {
  const { url } = await fakeBroker(t, () => undefined)
  await t.rejects(open(t, url, { connectMsMax: 100 }), {
    code: 'BROKER_UNREACHABLE',
    message: /did not answer within 100 ms/,
  })
})

t.test('refusals that need a person differ from those that pass', async (t) => {
  const wrong = await fakeBroker(t, () => connack(4))
  await t.rejects(open(t, wrong.url, { username: 'me', password: 'x' }), {
    code: 'BROKER_REFUSED',
    message: /"it" with user name "me".*password is wrong/,
  })
  const busy = await fakeBroker(t, () => connack(3))
  await t.rejects(open(t, busy.url), { code: 'BROKER_UNREACHABLE', message: /it is not available/ })
})

t.test('opening is given up when it is aborted', async (t) => {
  const { url } = await fakeBroker(t, () => undefined)
  const abort = new AbortController()
  const opening = open(t, url, {}, abort.signal)
  setTimeout(() => abort.abort(), 50)
  await t.rejects(opening, { code: 'BROKER_UNREACHABLE' })
})

t.test('what is no MQTT ends the connection with BROKER_PROTOCOL', async (t) => {
  const { url } = await fakeBroker(t, (packet, socket) => {
    if (packet.cmd === 'connect') return connack()
    socket.write(Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'))
    return undefined
  })
  const link = await open(t, url)
  const closed = new Promise((resolve) => link.once('close', resolve))
  link.publish({ topic: 'a', payload: Buffer.alloc(0), dup: false, messageId: 1 })
  t.match(await closed, { code: 'BROKER_PROTOCOL' })
  t.equal(link.closed, true)
  t.equal(
    link.publish({ topic: 'a', payload: Buffer.alloc(0), dup: false, messageId: 2 }),
    false,
    'and nothing more is sent on it',
  )
})

t.test('a refused subscription is an error, and others of the connection are not', async (t) => {
  const { url } = await fakeBroker(t, (packet) => {
    if (packet.cmd === 'connect') return connack()
    if (packet.cmd !== 'subscribe') return undefined
    const granted = packet.subscriptions.map(({ topic }) => (topic === 'no' ? 0x80 : 1))
    return { cmd: 'suback', messageId: packet.messageId, granted }
  })
  const link = await open(t, url)
  await t.rejects(link.subscribe('no', 1), { code: 'BROKER_REFUSED', message: /the subscription to no/ })
  t.equal(await link.subscribe('yes', 1), 1)
})

t.test('a link that falls silent is noticed: it asks, and gives up without an answer', async (t) => {
  const { url, seen } = await fakeBroker(t, (packet) => (packet.cmd === 'connect' ? connack() : undefined))
  const link = await open(t, url, { keepaliveS: 1 })
  const closed = new Promise((resolve) => link.once('close', resolve))
  t.match(await closed, { code: 'BROKER_UNREACHABLE', message: /sent no data/ })
  t.ok(seen.some(({ cmd }) => cmd === 'pingreq'))
})

t.test('a link that is answered stays', async (t) => {
  const { url, seen } = await fakeBroker(t, ({ cmd }) =>
    cmd === 'connect' ? connack() : cmd === 'pingreq' ? { cmd: 'pingresp' } : undefined,
  )
  const link = await open(t, url, { keepaliveS: 1 })
  await until('it has asked twice', () => seen.filter(({ cmd }) => cmd === 'pingreq').length > 1, 5000)
  t.equal(link.closed, false)
})

t.test('messages that come in the same read as CONNACK are not missed', async (t) => {
  const { url } = await fakeBroker(t, (packet, socket) => {
    if (packet.cmd !== 'connect') return undefined
    const publish = (messageId: number): Packet => ({
      cmd: 'publish',
      topic: 'a',
      payload: 'x',
      qos: 1,
      messageId,
      dup: false,
      retain: false,
    })
    socket.write(Buffer.concat([connack(), publish(1), publish(2)].map((sent) => mqtt.generate(sent))))
    return undefined
  })
  const link = await open(t, url)
  const came: unknown[] = []
  link.on('publish', ({ messageId }) => came.push(messageId))
  await until('both are here', () => came.length === 2, 2000)
  t.strictSame(came, [1, 2])
})

t.test('a link that is closed together with CONNACK does not leave a subscriber waiting', async (t) => {
  const { url } = await fakeBroker(t, (packet, socket) => {
    if (packet.cmd === 'connect') socket.end(mqtt.generate(connack()))
    return undefined
  })
  const link = await open(t, url)
  await t.rejects(link.subscribe('a', 1), { code: 'BROKER_UNREACHABLE' })
  await t.rejects(link.subscribe('a', 1), { code: 'BROKER_UNREACHABLE' }, 'nor when it is closed already')
})

t.test('saying goodbye sends DISCONNECT after everything else', async (t) => {
  const { url, seen } = await fakeBroker(t, ({ cmd }) => (cmd === 'connect' ? connack() : undefined))
  const link = await open(t, url)
  link.puback(7)
  await link[Symbol.asyncDispose]()
  await until('it has arrived', () => seen.length === 3)
  t.strictSame(
    seen.map(({ cmd }) => cmd),
    ['connect', 'puback', 'disconnect'],
  )
})

import { once } from 'node:events'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { brokerConfig, missing, Program } from '../kit/programs.ts'
import { RawClient } from '../kit/raw-client.ts'
import { until } from '../kit/wait.ts'

const CROP_TOPIC = 'sightline/v1/home/pi/door/crop'
const puback = ({ cmd }: { cmd?: string }) => cmd === 'puback'

t.test(
  'PUBACK means that it is on disk: killed with -9 the moment it comes, the message is there',
  async (t) => {
    const broker = await Program.start(
      t,
      'broker',
      brokerConfig(t, {
        queues: [
          { clientId: 'one', topics: ['sightline/#'] },
          { clientId: 'two', topics: [CROP_TOPIC] },
        ],
      }),
    )
    const kept: string[] = []
    for (let round = 0; round < 3; round += 1) {
      const publisher = await RawClient.open(t, broker.port, 'device', { clean: true })
      const payload = Buffer.alloc(20_000, `crop ${round} `)
      // SIGKILL goes out in the very turn of the event loop in which the acknowledgement is read.
      publisher.onPacket = (packet) => {
        if (packet.cmd === 'puback') broker.signal('SIGKILL')
      }
      publisher.publish(CROP_TOPIC, payload)
      await publisher.next(puback)
      await publisher.ended()
      kept.push(payload.toString())
      await broker.kill()
      await broker.start()
    }
    for (const clientId of ['one', 'two']) {
      const reader = await RawClient.open(t, broker.port, clientId)
      const came = await reader.publishesReached(3)
      t.strictSame(
        came.map(({ payload }) => payload.toString()),
        kept,
      )
      for (const { messageId } of came) reader.send({ cmd: 'puback', messageId: messageId as number })
      await until('it is released', async () => (await broker.books(`session/${clientId}`)).forwarded === 3)
      t.match(await broker.books(`session/${clientId}`), { accepted: 3, forwarded: 3, pending: 0 })
    }
  },
)

t.test('with one broker', async (t) => {
  const broker = await Program.start(
    t,
    'broker',
    brokerConfig(t, {
      mustBeKept: ['sightline/v1/+/+/+/crop'],
      queues: [
        { clientId: 'small', topics: ['small/#'], entriesMax: 3 },
        { clientId: 'ring', topics: ['ring/#'], entriesMax: 3, whenFull: 'drop-oldest' },
        { clientId: 'cautious', topics: ['both/#'], entriesMax: 1 },
        { clientId: 'generous', topics: ['both/#'] },
      ],
      limits: { packetMax: '100KB', topicBytesMax: 100 },
    }),
  )
  const { port } = broker

  await t.test('a crop that nothing keeps is refused, not acknowledged and lost', async (t) => {
    const device = await RawClient.open(t, port, 'device', { clean: true })
    device.publish(CROP_TOPIC, 'crop')
    await device.ended()
    t.strictSame(device.received, [])
    await broker.line(
      ({ code, msg }) =>
        code === 'QUEUE_MISSING' && /No declared queue, session or bridge matches/.test(msg ?? ''),
    )
    // Somebody who wants it live only is no keeper.
    const live = await RawClient.open(t, port, 'live', { clean: true })
    await live.subscribe('sightline/#', 1)
    const again = await RawClient.open(t, port, 'device', { clean: true })
    again.publish(CROP_TOPIC, 'crop')
    await again.ended()
    t.strictSame(again.received, [])
    t.strictSame(live.publishes, [])
    const keeper = await RawClient.open(t, port, 'keeper')
    await keeper.subscribe('sightline/#', 1)
    const third = await RawClient.open(t, port, 'device', { clean: true })
    third.publish(CROP_TOPIC, 'crop')
    await third.next(puback)
    await keeper.publishesReached(1)
    await live.publishesReached(1)
  })

  await t.test(
    'a full queue refuses: the publisher keeps the message, and the books count nothing',
    async (t) => {
      const device = await RawClient.open(t, port, 'device', { clean: true })
      for (let messageId = 1; messageId <= 3; messageId += 1) {
        device.publish('small/x', `${messageId}`, { messageId })
        await device.next(puback)
      }
      device.publish('small/x', 'one too many', { messageId: 4 })
      await device.ended()
      t.notOk(device.received.some(puback))
      await broker.line(
        ({ code, msg }) => code === 'QUEUE_FULL' && /"session\/small" is full/.test(msg ?? ''),
      )
      t.strictSame(await broker.books('session/small'), {
        accepted: 3,
        forwarded: 0,
        pending: 3,
        dropped: {},
      })

      const reader = await RawClient.open(t, port, 'small')
      const [first] = await reader.publishesReached(3)
      reader.send({ cmd: 'puback', messageId: first?.messageId as number })
      await until('there is room', async () => (await broker.books('session/small')).pending === 2)
      const again = await RawClient.open(t, port, 'device', { clean: true })
      again.publish('small/x', 'one too many', { messageId: 4 })
      await again.next(puback)
      t.equal((await reader.publishesReached(4))[3]?.payload.toString(), 'one too many')
    },
  )

  await t.test('a full queue that drops the oldest counts each', async (t) => {
    const device = await RawClient.open(t, port, 'device', { clean: true })
    for (let messageId = 1; messageId <= 10; messageId += 1) {
      device.publish('ring/x', `${messageId}`, { messageId })
      await device.next(puback)
    }
    const books = await broker.books('session/ring')
    t.strictSame(books, { accepted: 10, forwarded: 0, pending: 3, dropped: { 'dropped oldest': 7 } })
    const reader = await RawClient.open(t, port, 'ring')
    t.strictSame(
      (await reader.publishesReached(3)).map(({ payload }) => payload.toString()),
      ['8', '9', '10'],
    )
  })

  await t.test('a message for two queues is taken by both or by none', async (t) => {
    const device = await RawClient.open(t, port, 'device', { clean: true })
    device.publish('both/x', 'first')
    await device.next(puback)
    device.publish('both/x', 'second')
    await device.ended()
    t.equal((await broker.books('session/cautious')).pending, 1)
    t.equal((await broker.books('session/generous')).pending, 1)
  })

  await t.test('a packet over the limit is refused by its header, and others do not notice', async (t) => {
    const other = await RawClient.open(t, port, 'bystander', { clean: true })
    await other.subscribe('bystander', 0)
    const greedy = await RawClient.open(t, port, 'greedy', { clean: true })
    // 200 MB announced, a few bytes sent: what counts is that nobody waits for the rest.
    greedy.socket.write(Buffer.from([0x32, 0x80, 0x84, 0xaf, 0x5f, 0, 1, 0x61]))
    await greedy.ended()
    await broker.line(({ code, clientId }) => code === 'PAYLOAD_TOO_LARGE' && clientId === 'greedy')
    const device = await RawClient.open(t, port, 'device', { clean: true })
    device.publish('bystander', Buffer.alloc(99_000))
    await device.next(puback)
    t.equal((await other.publishesReached(1))[0]?.payload.length, 99_000, 'just under the limit')
    // The same in the place of CONNECT.
    const stranger = connect({ host: '127.0.0.1', port })
    t.after(() => void stranger.destroy())
    stranger.write(Buffer.from([0x10, 0x80, 0x84, 0xaf, 0x5f, 0, 4]))
    await once(stranger, 'close')
  })

  await t.test('a topic over the limit and one that is none are refused', async (t) => {
    for (const topic of ['x'.repeat(101), '$SYS/broker', 'a/#', 'a/+/b']) {
      const device = await RawClient.open(t, port, 'device', { clean: true })
      device.publish(topic, 'x')
      await device.ended()
      t.notOk(device.received.some(puback), topic.slice(0, 20))
    }
  })

  await t.test('garbage on the wire ends that connection alone', async (t) => {
    const other = await RawClient.open(t, port, 'bystander', { clean: true })
    for (const bytes of [
      'GET / HTTP/1.1\r\n\r\n',
      '\u0000\u0000\u0000\u0000',
      Buffer.from([0x10, 0x05, 0, 4, 0x4d, 0x51]),
      Buffer.from([0x32, 0x02, 0xff, 0xff]),
    ]) {
      const stranger = await RawClient.open(t, port, `stranger-${Math.random()}`, { clean: true })
      stranger.socket.write(bytes)
      stranger.socket.end()
      await stranger.ended()
    }
    await other.subscribe('still there', 1)
    t.equal((await broker.health()).ok, true)
  })

  for (const queue of ['session/small', 'session/ring', 'session/cautious', 'session/generous'])
    t.equal(missing(await broker.books(queue)), 0, `${queue} balances`)
})

t.test('retained messages and wills outlive a broker that is killed with -9', async (t) => {
  const broker = await Program.start(t, 'broker', brokerConfig(t))
  const will = (topic: string, payload: string) => ({
    will: { topic, payload: Buffer.from(payload), qos: 1 as const, retain: true },
  })
  const device = await RawClient.open(t, broker.port, 'device', {
    clean: true,
    ...will('status/device', 'device gone'),
  })
  await RawClient.open(t, broker.port, 'returns', { clean: true, ...will('status/returns', 'returns gone') })
  const polite = await RawClient.open(t, broker.port, 'polite', {
    clean: true,
    ...will('status/polite', 'polite gone'),
  })
  for (const [n, topic] of ['status/device', 'status/cleared', 'status/\u{1f4f7}'].entries()) {
    device.publish(topic, 'here', { retain: true, messageId: n + 1 })
    await device.next(puback)
  }
  device.publish('status/cleared', '', { retain: true, messageId: 9 })
  await device.next(puback)
  await polite.disconnect()
  await sleep(100) // DISCONNECT has no answer
  await broker.restart()

  const retained = async (name: string) => {
    const reader = await RawClient.open(t, broker.port, name, { clean: true })
    await reader.subscribe('status/+', 1)
    return reader
  }
  const early = await retained('early')
  await early.publishesReached(2)
  t.strictSame(
    new Map(early.publishes.map(({ topic, payload, retain }) => [topic, `${payload} ${retain}`])),
    new Map([
      ['status/device', 'here true'],
      ['status/\u{1f4f7}', 'here true'],
    ]),
  )
  // One is back before the grace is over: it is not gone.
  await RawClient.open(t, broker.port, 'returns', { clean: true, ...will('status/returns', 'returns gone') })
  const late = await early.publishesReached(3, 8000)
  t.match(late[2], { topic: 'status/device', payload: Buffer.from('device gone'), qos: 1 })
  await sleep(200)
  t.equal(early.publishes.length, 3, 'neither the polite one’s nor the one’s that came back')
  const after = await retained('after')
  t.match(
    (await after.publishesReached(2)).find(({ topic }) => topic === 'status/device')?.payload.toString(),
    'device gone',
    'a retained will is what those who come later see',
  )
  await broker.restart()
  const third = await retained('third')
  await third.publishesReached(2)
  await sleep(200)
  t.equal(third.publishes.length, 2, 'a will is published once')
})

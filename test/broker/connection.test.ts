import { setTimeout as sleep } from 'node:timers/promises'
import mqtt from 'mqtt-packet'
import t from 'tap'
import { brokerConfig, Program } from '../kit/programs.ts'
import { RawClient } from '../kit/raw-client.ts'
import { until } from '../kit/wait.ts'

const publish = (messageId: number, topic = 'kept/x', settings: Partial<mqtt.IPublishPacket> = {}) =>
  mqtt.generate({
    cmd: 'publish',
    topic,
    payload: `${messageId}`,
    qos: 1,
    messageId,
    dup: false,
    retain: false,
    ...settings,
  })

const acknowledged = (client: RawClient) =>
  client.received.flatMap((packet) => (packet.cmd === 'puback' ? [packet.messageId as number] : []))

/** Messages that go past aedes and those that it handles, on the same connection. */
t.test('with one broker', async (t) => {
  const broker = await Program.start(
    t,
    'broker',
    brokerConfig(t, {
      queues: [
        { clientId: 'keeper', topics: ['kept/#'] },
        { clientId: 'small', topics: ['small/#'], entriesMax: 3 },
      ],
      limits: { packetMax: '100KB' },
    }),
  )
  const { port } = broker

  await t.test(
    'whichever way they go, messages are kept and acknowledged in the order they came',
    async (t) => {
      const ids = Array.from({ length: 60 }, (_, n) => n + 1)
      // Of one sender, whose messages come in order.
      const [stored, read] = ['kept/one/and/the/same/x', 'kept/one/and/the/same/live']
      // What comes right behind CONNECT goes another way once more.
      for (const open of [RawClient.open, RawClient.eager]) {
        const client = await open(t, port, 'mixed', { clean: true })
        const live = await RawClient.open(t, port, 'live', { clean: true })
        await live.subscribe(read, 0)
        client.socket.write(
          Buffer.concat(
            ids.flatMap((id) =>
              id % 7 === 0
                ? [publish(id, stored, { retain: true })]
                : id % 5 === 0
                  ? [publish(id, read)]
                  : id % 11 === 0
                    ? [publish(id, stored), mqtt.generate({ cmd: 'pingreq' })]
                    : [publish(id, stored)],
            ),
          ),
        )
        await until('all are acknowledged', () => acknowledged(client).length === 60)
        t.strictSame(acknowledged(client), ids)
        const keeper = await RawClient.open(t, port, 'keeper')
        const came = await keeper.publishesReached(60)
        t.strictSame(
          came.filter(({ retain }) => !retain).map(({ payload }) => Number(payload.toString())),
          ids,
        )
        for (const { messageId } of came) keeper.send({ cmd: 'puback', messageId: messageId as number })
        await until('the queue is empty', async () => (await broker.books('session/keeper')).pending === 0)
        t.equal(live.publishes.length, 11)
        for (const it of [keeper, client, live]) await it.disconnect()
      }
    },
  )

  await t.test('a packet that comes byte by byte is a packet', async (t) => {
    const client = await RawClient.open(t, port, 'slow', { clean: true })
    for (const byte of publish(9)) {
      client.socket.write(Buffer.from([byte]))
      await sleep(1)
    }
    await client.next(({ cmd }) => cmd === 'puback')
  })

  await t.test(
    'those before a message that is refused are acknowledged, and then the connection ends',
    async (t) => {
      const client = await RawClient.open(t, port, 'eager', { clean: true })
      client.socket.write(Buffer.concat([1, 2, 3, 4, 5].map((id) => publish(id, 'small/x'))))
      await client.ended()
      t.strictSame(acknowledged(client), [1, 2, 3])
      t.strictSame((await broker.books('session/small')).pending, 3)
    },
  )

  await t.test('who reads live gets what goes into queues too, and only while it reads', async (t) => {
    const client = await RawClient.open(t, port, 'sender', { clean: true })
    const send = async (id: number) => {
      client.socket.write(publish(id, 'kept/live/x'))
      await until(`${id} is acknowledged`, () => acknowledged(client).includes(id))
    }
    const casual = await RawClient.open(t, port, 'casual', { clean: true })
    await casual.subscribe('kept/live/+', 0)
    const clean = await RawClient.open(t, port, 'clean', { clean: true })
    await clean.subscribe('kept/live/#', 1)
    const session = await RawClient.open(t, port, 'session', { clean: false })
    await session.subscribe('kept/live/x', 0)
    await send(1)
    for (const reader of [casual, clean, session])
      t.equal((await reader.publishesReached(1))[0]?.payload.toString(), '1')
    casual.send({ cmd: 'unsubscribe', messageId: 2, unsubscriptions: ['kept/live/+'] })
    await casual.next(({ cmd }) => cmd === 'unsuback')
    await clean.cut()
    await session.subscribe('kept/live/x', 1) // from now on from its queue
    await send(2)
    t.match((await session.publishesReached(2))[1], { payload: Buffer.from('2'), qos: 1 })
    await session.disconnect()
    await send(3)
    const again = await RawClient.open(t, port, 'session', { clean: false })
    t.strictSame(
      (await again.publishesReached(2)).map(({ payload }) => payload.toString()),
      ['2', '3'],
      'what it had not acknowledged, and what came meanwhile',
    )
    t.equal(casual.publishes.length, 1)
  })

  await t.test('a client that only publishes is alive', async (t) => {
    const client = await RawClient.open(t, port, 'busy', { clean: true, keepalive: 1 })
    for (let id = 1; id <= 12; id += 1) {
      client.socket.write(publish(id))
      await sleep(250)
    }
    t.notOk(client.closed)
    t.equal(acknowledged(client).length, 12)
    await sleep(2500)
    t.ok(client.closed, 'and one that says nothing is not')
  })

  await t.test('a flood on one connection arrives whole', async (t) => {
    const client = await RawClient.open(t, port, 'flood', { clean: true })
    const payload = Buffer.alloc(90_000, 'x')
    const count = 300
    for (let id = 1; id <= count; id += 1) client.socket.write(publish(id, 'kept/flood', { payload }))
    await until('all are acknowledged', () => acknowledged(client).length === count)
    t.ok((await broker.books('session/keeper')).pending >= count)
  })

  await t.test('what comes before the end is dealt with before it', async (t) => {
    const live = await RawClient.open(t, port, 'live', { clean: true })
    await live.subscribe('live/#', 0)
    const client = await RawClient.open(t, port, 'leaving', {
      clean: true,
      will: { topic: 'live/will', payload: Buffer.from('gone'), qos: 0, retain: false },
    })
    const payload = Buffer.alloc(5000, 'x')
    const messages = Array.from({ length: 200 }, () => publish(1, 'live/x', { qos: 0, payload }))
    client.socket.end(Buffer.concat([...messages, mqtt.generate({ cmd: 'disconnect' })]))
    await client.ended()
    await live.publishesReached(200)
    await sleep(300)
    t.equal(live.publishes.length, 200, 'and no will')
  })

  await t.test('a flood arrives whole, whatever else is sent with it', async (t) => {
    const client = await RawClient.open(t, port, 'chatty', { clean: true })
    const payload = Buffer.alloc(90_000, 'x')
    const count = 200
    for (let id = 1; id <= count; id += 1)
      client.socket.write(
        Buffer.concat([publish(id, 'kept/flood', { payload }), mqtt.generate({ cmd: 'pingreq' })]),
      )
    await until('all are acknowledged', () => acknowledged(client).length === count)
    t.equal(client.received.filter(({ cmd }) => cmd === 'pingresp').length, count)
  })

  await t.test('a topic that no broker would take does not reach the queue of a bridge', async (t) => {
    const client = await RawClient.open(t, port, 'deep', { clean: true })
    client.socket.write(publish(1, `kept/${'a/'.repeat(150)}z`))
    await client.ended()
    t.strictSame(acknowledged(client), [])
    await broker.line(({ code }) => code === 'TOPIC_INVALID')
  })

  await t.test('who reads live gets messages at QoS 2 too, once', async (t) => {
    const live = await RawClient.open(t, port, 'live', { clean: true })
    await live.subscribe('kept/two', 1)
    const client = await RawClient.open(t, port, 'twice', { clean: false })
    const message = publish(5, 'kept/two', { qos: 2 })
    client.socket.write(message)
    await client.next(({ cmd }) => cmd === 'pubrec')
    client.socket.write(publish(5, 'kept/two', { qos: 2, dup: true }))
    await client.next(({ cmd }) => cmd === 'pubrec')
    client.send({ cmd: 'pubrel', messageId: 5 })
    await client.next(({ cmd }) => cmd === 'pubcomp')
    await sleep(200)
    t.equal(live.publishes.length, 1)
    t.match(live.publishes[0], { payload: Buffer.from('5'), qos: 1 })
  })

  await t.test('what clients were subscribed to that have left leaves room for others', async (t) => {
    const filters = Array.from({ length: 1000 }, (_, n) => ({ topic: `left/${n}`, qos: 0 }) as const)
    for (let n = 0; n < 52; n += 1) {
      const client = await RawClient.open(t, port, `many-${n}`, { clean: true })
      client.send({ cmd: 'subscribe', messageId: 1, subscriptions: [...filters] })
      const suback = (await client.next(({ cmd }) => cmd === 'suback')) as mqtt.ISubackPacket
      if (suback.granted.some((granted) => granted !== 0)) t.fail(`client ${n} is refused`)
      await client.cut()
    }
    const last = await RawClient.open(t, port, 'last', { clean: true })
    t.equal(await last.subscribe('left/0', 0), 0)
  })

  await t.test('a half-closed connection is closed, and what it sent before is kept', async (t) => {
    const { accepted } = await broker.books('session/keeper')
    const client = await RawClient.open(t, port, 'half', { clean: true })
    client.socket.end(publish(1))
    await client.ended()
    await until('it is kept', async () => (await broker.books('session/keeper')).accepted === accepted + 1)
  })
})

t.test('messages wait in memory for a reader who is quick, and on disk for one who is not', async (t) => {
  const broker = await Program.start(
    t,
    'broker',
    brokerConfig(t, { queues: [{ clientId: 'keeper', topics: ['kept/#'] }] }),
  )
  const reader = await RawClient.open(t, broker.port, 'keeper')
  const client = await RawClient.open(t, broker.port, 'sender', { clean: true })
  client.socket.write(publish(1))
  const [first] = await reader.publishesReached(1)
  t.strictSame(acknowledged(client), [], 'the reader has it before anybody has said that it is safe')
  reader.send({ cmd: 'puback', messageId: first?.messageId as number })
  await client.next(({ cmd }) => cmd === 'puback')
  client.socket.write(publish(2))
  await reader.publishesReached(2)
  await client.next(({ cmd }) => cmd === 'puback') // the reader says nothing: it is on disk
  await broker.kill()
  await broker.restart()
  const again = await RawClient.open(t, broker.port, 'keeper')
  t.match((await again.publishesReached(1))[0], { payload: Buffer.from('2') })
  t.match(await broker.books('session/keeper'), { pending: 1 })
})

import type { IPublishPacket } from 'mqtt-packet'
import t from 'tap'
import { brokerConfig, missing, Program } from '../kit/programs.ts'
import { RawClient } from '../kit/raw-client.ts'
import { until } from '../kit/wait.ts'

const texts = (packets: readonly IPublishPacket[]) => packets.map(({ payload }) => payload.toString())
const ids = (packets: readonly IPublishPacket[]) => packets.map(({ messageId }) => messageId as number)
const numbered = (count: number, from = 0) => Array.from({ length: count }, (_, n) => `${from + n}`)

/** Publishes with a window of its own and waits until all are acknowledged. */
async function publishAll(
  client: RawClient,
  topic: string,
  payloads: readonly string[],
  qos: 1 | 2 = 1,
): Promise<void> {
  const start = client.received.length
  for (const [n, payload] of payloads.entries()) {
    client.publish(topic, payload, { qos, messageId: (n % 60_000) + 1 })
    if (n % 200 === 199) await acknowledged(client, start, n + 1, qos)
  }
  await acknowledged(client, start, payloads.length, qos)
}

async function acknowledged(client: RawClient, start: number, count: number, qos: 1 | 2): Promise<void> {
  const answer = qos === 1 ? 'puback' : 'pubrec'
  await until(`${count} acknowledgements`, () => {
    let seen = 0
    for (const { cmd } of client.received.slice(start)) if (cmd === answer) seen += 1
    return seen >= count
  })
}

/** Acknowledges everything that comes, and says what came. */
function acknowledgeAll(client: RawClient): string[] {
  const came: string[] = []
  client.onPacket = (packet) => {
    if (packet.cmd !== 'publish') return
    came.push(packet.payload.toString())
    if (packet.qos === 1) client.send({ cmd: 'puback', messageId: packet.messageId as number })
  }
  return came
}

t.test('with one broker', async (t) => {
  const broker = await Program.start(
    t,
    'broker',
    brokerConfig(t, {
      queues: [{ clientId: 'declared', topics: ['kept/#'] }],
      sessions: { inFlightMax: 16 },
    }),
  )
  const { port } = broker
  const publisher = await RawClient.open(t, port, 'publisher', { clean: true })

  await t.test('live messages reach a clean subscriber all and in order, from two publishers', async (t) => {
    const subscriber = await RawClient.open(t, port, 'live', { clean: true })
    await subscriber.subscribe('live/#', 1)
    const came = acknowledgeAll(subscriber)
    const other = await RawClient.open(t, port, 'other', { clean: true })
    await Promise.all([
      publishAll(publisher, 'live/a', numbered(1000)),
      publishAll(other, 'live/b', numbered(1000, 5000)),
    ])
    await until('all have come', () => came.length >= 2000)
    t.strictSame(
      came.filter((text) => Number(text) < 5000),
      numbered(1000),
    )
    t.strictSame(
      came.filter((text) => Number(text) >= 5000),
      numbered(1000, 5000),
    )
  })

  await t.test('what came while a session was away is delivered in order, so many at a time', async (t) => {
    const first = await RawClient.open(t, port, 'away')
    t.equal(first.sessionPresent, false)
    t.equal(await first.subscribe('away', 1), 1)
    await first.disconnect()
    await publishAll(publisher, 'away', numbered(100))
    const second = await RawClient.open(t, port, 'away')
    t.equal(second.sessionPresent, true)
    await second.publishesReached(16)
    await new Promise((resolve) => setTimeout(resolve, 150))
    t.strictSame(texts(second.publishes), numbered(16), 'no more than inFlightMax go out unacknowledged')
    t.ok(second.publishes.every(({ dup }) => !dup))
    const came = [...texts(second.publishes)]
    const window = ids(second.publishes)
    t.equal(new Set(window).size, 16)
    second.onPacket = (packet) => {
      if (packet.cmd !== 'publish') return
      came.push(packet.payload.toString())
      second.send({ cmd: 'puback', messageId: packet.messageId as number })
    }
    for (const messageId of window) second.send({ cmd: 'puback', messageId })
    await until('all have come', () => came.length === 100)
    t.strictSame(came, numbered(100))
    await until('the queue is empty', async () => (await broker.books('session/away')).pending === 0)
    t.match(await broker.books('session/away'), { accepted: 100, forwarded: 100 })
  })

  await t.test('what was not acknowledged comes again first, under the same ids, with DUP', async (t) => {
    const first = await RawClient.open(t, port, 'again')
    await first.subscribe('again', 1)
    await publishAll(publisher, 'again', numbered(20))
    const sent = await first.publishesReached(16)
    first.send({ cmd: 'puback', messageId: sent[2]?.messageId as number })
    await first.publishesReached(17)
    await first.cut()
    const second = await RawClient.open(t, port, 'again')
    const came = (await second.publishesReached(16)).slice(0, 16)
    t.strictSame(texts(came), [...numbered(2), ...numbered(14, 3)], 'without the one that was acknowledged')
    t.strictSame(ids(came), ids(first.publishes.toSpliced(2, 1)))
    t.ok(came.every(({ dup }) => dup))
    // An acknowledgement sent twice is nobody's else.
    const [a] = ids(came) as [number]
    second.send({ cmd: 'puback', messageId: a })
    second.send({ cmd: 'puback', messageId: a })
    const more = await second.publishesReached(17)
    t.match(more[16], { dup: false, payload: Buffer.from('17') })
    for (const id of ids(more).slice(1)) second.send({ cmd: 'puback', messageId: id })
    const rest = await second.publishesReached(19)
    for (const id of ids(rest).slice(17)) second.send({ cmd: 'puback', messageId: id })
    await until('all are acknowledged', async () => (await broker.books('session/again')).forwarded === 20)
    t.equal(second.closed, false)
    await second.disconnect()
  })

  await t.test(
    'a QoS 0 subscription of a session gets live messages, and nothing is kept for it',
    async (t) => {
      const reader = await RawClient.open(t, port, 'casual')
      t.equal(await reader.subscribe('casual', 0), 0)
      await publishAll(publisher, 'casual', ['a'])
      t.match((await reader.publishesReached(1))[0], { qos: 0, payload: Buffer.from('a') })
      await reader.disconnect()
      await publishAll(publisher, 'casual', ['b'])
      const again = await RawClient.open(t, port, 'casual')
      t.equal(again.sessionPresent, true)
      await publishAll(publisher, 'casual', ['c'])
      t.strictSame(texts(await again.publishesReached(1)), ['c'])
      await again.disconnect()
    },
  )

  await t.test('subscriptions that overlap deliver a message once, at the highest QoS', async (t) => {
    const reader = await RawClient.open(t, port, 'overlap')
    await reader.subscribe('overlap/#', 0)
    await reader.subscribe('overlap/+', 1)
    await reader.subscribe('overlap/x', 2)
    await reader.subscribe('+/y', 1)
    await publishAll(publisher, 'overlap/y', ['at 1'], 1)
    await publishAll(publisher, 'overlap/x', ['at 2'], 2)
    await publishAll(publisher, 'overlap/x', ['at 1 too'], 1)
    const came = await reader.publishesReached(3)
    await new Promise((resolve) => setTimeout(resolve, 100))
    t.strictSame(
      reader.publishes.map(({ payload, qos }) => [payload.toString(), qos]),
      [
        ['at 1', 1],
        ['at 2', 2],
        ['at 1 too', 1],
      ],
    )
    t.equal(new Set(ids(came)).size, 3)
    await reader.disconnect()
  })

  await t.test('unsubscribing ends what is kept, and what waits already still comes', async (t) => {
    const reader = await RawClient.open(t, port, 'leaving')
    await reader.subscribe('leaving', 1)
    await reader.disconnect()
    await publishAll(publisher, 'leaving', ['before'])
    const again = await RawClient.open(t, port, 'leaving')
    await again.publishesReached(1)
    again.send({ cmd: 'unsubscribe', messageId: 2, unsubscriptions: ['leaving'] })
    await again.next(({ cmd }) => cmd === 'unsuback')
    await publishAll(publisher, 'leaving', ['after'])
    await again.cut()
    const third = await RawClient.open(t, port, 'leaving')
    t.strictSame(texts(await third.publishesReached(1)), ['before'])
    await third.disconnect()
  })

  await t.test('a declared queue keeps messages before its client ever came', async (t) => {
    await publishAll(publisher, 'kept/a', numbered(5))
    const reader = await RawClient.open(t, port, 'declared')
    t.equal(reader.sessionPresent, true)
    t.strictSame(texts(await reader.publishesReached(5)), numbered(5))
    await reader.cut()
  })

  await t.test('a clean session is refused where a queue is declared, which keeps what it has', async (t) => {
    const clean = await RawClient.open(t, port, 'declared', { clean: true })
    await clean.ended()
    t.not(clean.returnCode, 0)
    const reader = await RawClient.open(t, port, 'declared')
    t.equal((await reader.publishesReached(5)).length, 5)
    reader.send({ cmd: 'unsubscribe', messageId: 3, unsubscriptions: ['kept/#'] })
    await reader.next(({ cmd }) => cmd === 'unsuback')
    await reader.disconnect()
    await publishAll(publisher, 'kept/b', ['still kept'])
    t.equal((await broker.books('session/declared')).pending, 6)
  })

  await t.test('a clean session discards what its id had, and the books say so', async (t) => {
    const reader = await RawClient.open(t, port, 'gone')
    await reader.subscribe('gone', 1)
    await reader.disconnect()
    await publishAll(publisher, 'gone', numbered(3))
    const clean = await RawClient.open(t, port, 'gone', { clean: true })
    t.equal(clean.sessionPresent, false)
    await clean.disconnect()
    const after = await RawClient.open(t, port, 'gone')
    t.equal(after.sessionPresent, false)
    await publishAll(publisher, 'gone', ['for nobody'])
    await new Promise((resolve) => setTimeout(resolve, 100))
    t.strictSame(texts(after.publishes), [])
    await after.disconnect()
  })

  await t.test('a second client of the same id takes over, and nothing is lost or doubled', async (t) => {
    const first = await RawClient.open(t, port, 'twin')
    await first.subscribe('twin', 1)
    await publishAll(publisher, 'twin', numbered(5))
    await first.publishesReached(5)
    const second = await RawClient.open(t, port, 'twin')
    await first.ended()
    const came = acknowledgeAll(second)
    for (const { messageId } of second.publishes)
      second.send({ cmd: 'puback', messageId: messageId as number })
    came.push(...texts(second.publishes))
    await publishAll(publisher, 'twin', numbered(5, 5))
    await until('all are there', async () => (await broker.books('session/twin')).forwarded === 10)
    t.strictSame(came, numbered(10))
    await second.disconnect()
  })

  await t.test('a publisher’s acknowledgements come in the order of its messages', async (t) => {
    const sender = await RawClient.open(t, port, 'order', { clean: true })
    // Some are kept on disk, some for nobody: those must not overtake.
    for (let n = 1; n <= 60; n += 1) sender.publish(n % 2 === 0 ? 'nobody' : 'kept/c', 'x', { messageId: n })
    await until('all are acknowledged', () => sender.received.length === 60)
    t.strictSame(
      sender.received.map((packet) => packet.messageId),
      Array.from({ length: 60 }, (_, n) => n + 1),
    )
  })

  t.equal(missing(await broker.books('session/declared')), 0)
})

t.test('killed with -9: sessions, subscriptions and every acknowledged message come back', async (t) => {
  const broker = await Program.start(t, 'broker', brokerConfig(t, { sessions: { inFlightMax: 8 } }))
  const reader = await RawClient.open(t, broker.port, '\u{1f4f7} reader')
  await reader.subscribe('a/#', 1)
  await reader.subscribe('b', 2)
  const publisher = await RawClient.open(t, broker.port, 'publisher', { clean: true })
  // The broker is gone the moment the last acknowledgement is here.
  await publishAll(publisher, 'a/1', numbered(500))
  await broker.kill()
  await reader.ended()
  await broker.start()
  const again = await RawClient.open(t, broker.port, '\u{1f4f7} reader')
  t.equal(again.sessionPresent, true)
  const seen = [...texts(again.publishes)]
  for (const { messageId } of again.publishes) again.send({ cmd: 'puback', messageId: messageId as number })
  const came = acknowledgeAll(again)
  await until('all have come', () => seen.length + came.length >= 500)
  t.strictSame([...seen, ...came], numbered(500))
  const second = await RawClient.open(t, broker.port, 'publisher', { clean: true })
  await publishAll(second, 'b', ['the other subscription'], 2)
  await until('it comes', () => came.includes('the other subscription'))
  t.match(again.publishes.at(-1), { qos: 2 })
})

t.test('QoS 2: exactly once, across cut connections and a killed broker', async (t) => {
  const broker = await Program.start(t, 'broker', brokerConfig(t))
  let reader = await RawClient.open(t, broker.port, 'reader')
  await reader.subscribe('exact', 2)
  let publisher = await RawClient.open(t, broker.port, 'publisher')

  // In: PUBREC is lost, the message is sent again, the broker is killed, it is sent once more.
  publisher.publish('exact', 'one', { qos: 2, messageId: 7 })
  await publisher.next(({ cmd }) => cmd === 'pubrec')
  await publisher.cut()
  publisher = await RawClient.open(t, broker.port, 'publisher')
  publisher.publish('exact', 'one', { qos: 2, messageId: 7, dup: true })
  await publisher.next(({ cmd }) => cmd === 'pubrec')
  const sent = (await reader.publishesReached(1))[0] as IPublishPacket
  await broker.restart()
  publisher = await RawClient.open(t, broker.port, 'publisher')
  publisher.publish('exact', 'one', { qos: 2, messageId: 7, dup: true })
  await publisher.next(({ cmd }) => cmd === 'pubrec')
  publisher.send({ cmd: 'pubrel', messageId: 7 })
  await publisher.next(({ cmd }) => cmd === 'pubcomp')
  publisher.publish('exact', 'two', { qos: 2, messageId: 7 })
  await publisher.next(({ cmd }) => cmd === 'pubrec')
  publisher.send({ cmd: 'pubrel', messageId: 7 })
  await publisher.next(({ cmd }) => cmd === 'pubcomp')
  t.pass('an id that was released is free for the next message')

  // Out: what was in flight keeps its id across the restart; after PUBREC only PUBREL comes.
  reader = await RawClient.open(t, broker.port, 'reader')
  const came = await reader.publishesReached(2)
  t.strictSame(texts(came), ['one', 'two'], 'each once')
  t.match(came[0], { messageId: sent.messageId, dup: true, qos: 2 })
  reader.send({ cmd: 'pubrec', messageId: sent.messageId as number })
  await reader.next(({ cmd }) => cmd === 'pubrel')
  await broker.restart()
  reader = await RawClient.open(t, broker.port, 'reader')
  await reader.next(({ cmd, messageId }) => cmd === 'pubrel' && messageId === sent.messageId)
  t.strictSame(texts(await reader.publishesReached(1)), ['two'])
  reader.send({ cmd: 'pubcomp', messageId: sent.messageId as number })
  const second = (await reader.publishesReached(1))[0]?.messageId as number
  reader.send({ cmd: 'pubrec', messageId: second })
  await reader.next(({ cmd, messageId }) => cmd === 'pubrel' && messageId === second)
  reader.send({ cmd: 'pubcomp', messageId: second })
  await until('both have left', async () => (await broker.books('session/reader')).forwarded === 2)
  await reader.cut()
  reader = await RawClient.open(t, broker.port, 'reader')
  await new Promise((resolve) => setTimeout(resolve, 200))
  t.strictSame(reader.received, [], 'nothing comes again')
  t.match(await broker.books('session/reader'), { accepted: 2, forwarded: 2, pending: 0 })
})

t.test(
  'QoS 2: many in flight when the connection breaks come again in order, and all complete',
  async (t) => {
    const broker = await Program.start(t, 'broker', brokerConfig(t, { sessions: { inFlightMax: 20 } }))
    let reader = await RawClient.open(t, broker.port, 'reader')
    await reader.subscribe('many', 2)
    const publisher = await RawClient.open(t, broker.port, 'publisher', { clean: true })
    await publishAll(publisher, 'many', numbered(30), 2)
    const first = await reader.publishesReached(20)
    await reader.cut()
    await broker.restart()
    reader = await RawClient.open(t, broker.port, 'reader')
    const again = await reader.publishesReached(20)
    t.strictSame(texts(again), numbered(20))
    t.strictSame(ids(again), ids(first))
    t.ok(again.every(({ dup }) => dup))
    const done = new Set<string>(texts(again))
    reader.onPacket = (packet) => {
      if (packet.cmd === 'publish') {
        done.add(packet.payload.toString())
        reader.send({ cmd: 'pubrec', messageId: packet.messageId as number })
      } else if (packet.cmd === 'pubrel')
        reader.send({ cmd: 'pubcomp', messageId: packet.messageId as number })
    }
    for (const { messageId } of again) reader.send({ cmd: 'pubrec', messageId: messageId as number })
    await until('all complete', async () => (await broker.books('session/reader')).forwarded === 30)
    t.equal(done.size, 30)
  },
)

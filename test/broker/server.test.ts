import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { cheapHash } from '../kit/passwords.ts'
import { freePort } from '../kit/ports.ts'
import { brokerConfig, Program, temporaryFolder } from '../kit/programs.ts'
import { RawClient } from '../kit/raw-client.ts'
import { until } from '../kit/wait.ts'

const puback = ({ cmd }: { cmd?: string }) => cmd === 'puback'

t.test('users', async (t) => {
  const usersFile = join(temporaryFolder(t), 'users.yaml')
  const write = (...users: object[]) => writeFileSync(usersFile, JSON.stringify({ users }))
  const camera = { name: 'camera', role: 'device', site: 'home', password: cheapHash('filming') }
  const cloud2 = { name: 'cloud-2', role: 'subscriber', password: cheapHash('reading') }
  write(camera, cloud2)
  const broker = await Program.start(
    t,
    'broker',
    brokerConfig(t, {
      users: [
        { name: 'pi', password: 'hunter2', publish: ['home/pi/#'], subscribe: ['home/pi/#'] },
        { name: 'cloud', password: 'other', publish: [], subscribe: ['#'] },
      ],
      usersFile,
      queues: [{ clientId: 'keeper', topics: ['home/#'] }],
    }),
  )
  const { port } = broker
  const as = (username: string, password: string, clean = true) => ({
    clean,
    username,
    password: Buffer.from(password),
  })

  await t.test('without the right password nobody comes in', async (t) => {
    t.equal((await RawClient.open(t, port, 'a', as('pi', 'hunter2'))).returnCode, 0)
    t.equal((await RawClient.open(t, port, 'b', as('pi', 'nonsense'))).returnCode, 4)
    t.equal((await RawClient.open(t, port, 'c', as('nobody', 'hunter2'))).returnCode, 4)
    t.equal((await RawClient.open(t, port, 'd', { clean: true })).returnCode, 5)
    await broker.line(({ msg }) => /refused connections/.test(msg ?? ''))
    t.notMatch(JSON.stringify(broker.log), /hunter2|nonsense/, 'no password in the log')
  })

  await t.test('a refused subscription gets 0x80, and the connection stays', async (t) => {
    const client = await RawClient.open(t, port, 'subscriber', as('pi', 'hunter2', false))
    client.send({
      cmd: 'subscribe',
      messageId: 5,
      subscriptions: [
        { topic: 'home/pi/a', qos: 1 },
        { topic: 'home/#', qos: 1 },
        { topic: 'home/pi/b', qos: 0 },
      ],
    })
    t.match(await client.next(({ cmd }) => cmd === 'suback'), { messageId: 5, granted: [1, 0x80, 0] })
    client.publish('home/pi/a', 'x')
    await client.next(puback)
    t.equal((await client.publishesReached(1)).length, 1)
    await client.disconnect()
    await broker.restart()
    const again = await RawClient.open(t, port, 'subscriber', as('pi', 'hunter2', false))
    t.equal(again.returnCode, 0, 'what was refused was not stored either')
  })

  await t.test(
    'what is no topic, no filter or no client id ends one connection, and not the broker',
    async (t) => {
      const before = (await broker.books('session/keeper')).accepted
      const { pid } = broker
      const deep = `home/pi/${'a/'.repeat(150)}`
      for (const topic of [deep, 'home/pi/\0', 'home/pi/\x1b[2J', 'home/pi/\ufffd', 'home/pi/+', '']) {
        for (const settings of [{}, { qos: 2 }, { qos: 0 }, { retain: true }] as const) {
          const client = await RawClient.open(t, port, 'deep', as('pi', 'hunter2'))
          client.publish(topic, 'x', settings)
          await client.ended()
          t.strictSame(client.received, [])
        }
        const will = { topic, payload: Buffer.from('x'), qos: 1, retain: false } as const
        const willing = await RawClient.open(t, port, 'willing', { ...as('pi', 'hunter2'), will }).catch(
          () => undefined,
        )
        t.equal(willing?.returnCode, undefined)
      }
      // A filter that is malformed behind one that is good: the session must not have it when it is taken up again.
      const filters = await RawClient.open(t, port, 'filters', as('pi', 'hunter2', false))
      const subscriptions = ['home/pi/a', deep, 'home/#/x'].map((topic) => ({ topic, qos: 1 }) as const)
      filters.send({ cmd: 'subscribe', messageId: 1, subscriptions })
      await filters.ended()
      const again = await RawClient.open(t, port, 'filters', as('pi', 'hunter2', false))
      t.equal(again.returnCode, 0)
      t.equal(await again.subscribe('home/pi/\x07', 1), 0x80)
      await again.disconnect()
      for (const id of ['a\0', 'a\x1b[2J', '\x9b'])
        t.equal((await RawClient.open(t, port, id, as('pi', 'hunter2'))).returnCode, 2)
      t.strictSame([broker.pid, (await broker.books('session/keeper')).accepted], [pid, before])
    },
  )

  await t.test('a client without an id gets no session that nobody could take up', async (t) => {
    const socket = connect(port, '127.0.0.1', () =>
      socket.write(Buffer.from('100c00044d5154540400003c0000', 'hex')),
    )
    const [bytes] = (await once(socket, 'data')) as [Buffer]
    t.equal(bytes.toString('hex'), '20020002', 'identifier rejected [MQTT-3.1.3-8]')
  })

  await t.test('a will at QoS 3, which would end its readers’ connections, is refused', async (t) => {
    const connack: Buffer[] = []
    const socket = connect(port, '127.0.0.1', () =>
      socket.write(
        Buffer.from('102000044d51545404de003c00016100017800017900027069000768756e74657232', 'hex'),
      ),
    )
    socket.on('data', (bytes) => connack.push(bytes))
    await once(socket, 'close')
    t.strictSame(connack, [])
    await broker.line(({ msg }) => /Invalid QoS 3 of the will/.test(msg ?? ''))
  })

  await t.test(
    'a long list of filters is granted as far as the limit goes, and one without end is not read',
    async (t) => {
      const client = await RawClient.open(t, port, 'lists', as('cloud', 'other', false))
      const list = (count: number) =>
        Array.from({ length: count }, (_, n) => ({ topic: `x/${n}`, qos: 1 }) as const)
      client.send({ cmd: 'subscribe', messageId: 1, subscriptions: list(1200) })
      const suback = (await client.next(({ cmd }) => cmd === 'suback')) as { granted: number[] }
      t.equal(suback.granted.filter((granted) => granted === 1).length, 1000)
      client.send({ cmd: 'subscribe', messageId: 2, subscriptions: list(20_000) })
      await client.ended()
      await broker.line(({ code }) => code === 'PAYLOAD_TOO_LARGE')
    },
  )

  await t.test('publishing elsewhere ends the connection, and nothing is kept', async (t) => {
    const before = (await broker.books('session/keeper')).accepted
    const client = await RawClient.open(t, port, 'thief', as('pi', 'hunter2'))
    client.publish('home/another/crop', 'x')
    await client.ended()
    t.strictSame(client.received, [])
    t.equal((await broker.books('session/keeper')).accepted, before)
    const dying = await RawClient.open(t, port, 'dying', {
      ...as('pi', 'hunter2'),
      will: { topic: 'home/another/status', payload: Buffer.from('x'), qos: 1, retain: false },
    })
    await dying.cut()
    await sleep(100)
    t.equal((await broker.books('session/keeper')).accepted, before, 'a will is no way around it')
  })

  await t.test('nobody gets a queue’s messages by taking its client id', async (t) => {
    const publisher = await RawClient.open(t, port, 'device', as('pi', 'hunter2'))
    publisher.publish('home/pi/a', 'a face')
    await publisher.next(puback)
    const thief = await RawClient.open(t, port, 'keeper', as('pi', 'hunter2', false))
    t.equal(thief.returnCode, 5)
    await thief.ended()
    t.strictSame(thief.received, [])
    const keeper = await RawClient.open(t, port, 'keeper', as('cloud', 'other', false))
    t.ok((await keeper.publishesReached(1)).some(({ payload }) => payload.toString() === 'a face'))
  })

  await t.test('a users file is followed: who is removed is sent away, the others stay', async (t) => {
    const device = await RawClient.open(t, port, 'a-device', as('camera', 'filming'))
    const reader = await RawClient.open(t, port, 'a-reader', as('cloud-2', 'reading'))
    const inline = await RawClient.open(t, port, 'an-inline', as('pi', 'hunter2'))
    t.strictSame([device.returnCode, reader.returnCode, inline.returnCode], [0, 0, 0])
    t.equal(await reader.subscribe('sightline/v1/+/+/+/crop', 1), 1)
    device.publish('sightline/v1/home/camera/door/crop', 'a face')
    await device.next(puback)
    t.equal((await reader.publishesReached(1)).length, 1)
    t.equal(await device.subscribe('sightline/v1/home/camera/#', 1), 0x80)
    const liar = await RawClient.open(t, port, 'a-liar', as('camera', 'filming'))
    liar.publish('sightline/v1/home/another/door/crop', 'x')
    await liar.ended()

    const lines = broker.log.length
    write({ ...camera, role: 'king' })
    const complaint = await broker.line(({ code }) => code === 'CONFIG_INVALID', 10_000, lines)
    t.match(complaint, { level: 50, msg: /users\.yaml:1: "users\.0\.role"/ })
    t.equal(device.closed, false, 'a broken file sends nobody away')

    const will = (topic: string) => ({ topic, payload: Buffer.from('gone'), qos: 1 as const, retain: true })
    const [own, foreign] = ['sightline/v1/home/camera/status', 'sightline/v1/home/another/status']
    await RawClient.open(t, port, 'own', { ...as('camera', 'filming'), will: will(own) })
    await RawClient.open(t, port, 'foreign', { ...as('camera', 'filming'), will: will(foreign) })
    const watcher = await RawClient.open(t, port, 'watcher', as('cloud', 'other'))
    await watcher.subscribe('sightline/v1/+/+/status', 1)

    write(cloud2, { name: 'new', role: 'admin', password: cheapHash('ruling') })
    await device.ended()
    t.match(await watcher.publishesReached(1), [{ topic: own }], 'its will says that it is gone')
    const later = await RawClient.open(t, port, 'later', as('cloud', 'other'))
    await later.subscribe('sightline/v1/+/+/status', 1)
    t.match(await later.publishesReached(1), [{ topic: own, retain: true }])
    await new Promise((resolve) => setTimeout(resolve, 300))
    t.equal(watcher.publishes.length + later.publishes.length, 2, 'and no will where it never had the right')
    t.equal((await RawClient.open(t, port, 'a-device', as('camera', 'filming'))).returnCode, 4)
    t.equal((await RawClient.open(t, port, 'new', as('new', 'ruling'))).returnCode, 0)
    t.strictSame([reader.closed, inline.closed], [false, false])

    write({ ...cloud2, password: cheapHash('another') })
    await reader.ended()
    t.equal((await RawClient.open(t, port, 'a-reader', as('cloud-2', 'reading'))).returnCode, 4)
    t.equal((await RawClient.open(t, port, 'a-reader', as('cloud-2', 'another'))).returnCode, 0)
  })

  await t.test('who guesses is put off for a while, and told to come later, not to give up', async (t) => {
    let code: number | undefined
    for (let n = 0; n < 12 && code !== 3; n += 1)
      code = (await RawClient.open(t, port, 'guesser', as('cloud-2', `guess ${n}`))).returnCode
    t.equal(code, 3)
    t.equal(
      (await RawClient.open(t, port, 'right', as('cloud-2', 'another'))).returnCode,
      3,
      'or guessing would be free',
    )
    await broker.line(({ msg }) => /login rate limit reached/.test(msg ?? ''))
  })
})

t.test('with one broker for anybody on this machine', async (t) => {
  const broker = await Program.start(
    t,
    'broker',
    brokerConfig(t, { limits: { slowReaderMax: '200KB', connectionsMax: 40, clientIdBytesMax: 30 } }),
  )
  const { port } = broker

  await t.test(
    'a reader that does not read holds up nobody, and a session loses nothing by it',
    async (t) => {
      const stuck: RawClient[] = []
      for (const [clientId, clean, qos] of [
        ['stuck-0', true, 0],
        ['stuck-1', true, 1],
        ['stuck-session', false, 1],
      ] as const) {
        const client = await RawClient.open(t, port, clientId, { clean })
        await client.subscribe('flood', qos)
        client.socket.pause()
        stuck.push(client)
      }
      const reader = await RawClient.open(t, port, 'reader', { clean: true })
      await reader.subscribe('flood', 0)
      const publisher = await RawClient.open(t, port, 'publisher', { clean: true })
      const count = 400
      for (let n = 1; n <= count; n += 1)
        publisher.publish('flood', Buffer.alloc(50_000, n), { messageId: n })
      await until('all are acknowledged', () => publisher.received.length === count)
      await reader.publishesReached(count)
      t.strictSame(
        reader.publishes.map(({ payload }) => payload[0]),
        Array.from({ length: count }, (_, n) => (n + 1) & 0xff),
      )
      await broker.line(({ msg, clientId }) => clientId === 'stuck-1' && /is too slow/.test(msg ?? ''))
      const text = await (await fetch(`${broker.http}/metrics`)).text()
      t.ok(Number(/broker_skipped_total\{[^}]*\} (\d+)/.exec(text)?.[1]) > 0, 'what was left out is counted')

      const session = stuck[2] as RawClient
      let came = 0
      session.onPacket = (packet) => {
        if (packet.cmd !== 'publish') return
        came += 1
        session.received.length = 0
        session.send({ cmd: 'puback', messageId: packet.messageId as number })
      }
      for (const { messageId } of session.publishes)
        session.send({ cmd: 'puback', messageId: messageId as number })
      session.socket.resume()
      await until('the session has them all', () => came === count)
    },
  )

  await t.test('QoS 0 messages of a session that does not read do not pile up in memory', async (t) => {
    const stuck = await RawClient.open(t, port, 'stuck-casual')
    await stuck.subscribe('drops', 0)
    stuck.socket.pause()
    const publisher = await RawClient.open(t, port, 'publisher', { clean: true })
    for (let n = 1; n <= 400; n += 1) publisher.publish('drops', Buffer.alloc(50_000), { messageId: n })
    await until('all are acknowledged', () => publisher.received.length === 400)
    stuck.socket.resume()
    await sleep(300)
    t.ok(stuck.publishes.length < 400, `${stuck.publishes.length} came`)
    t.equal(stuck.closed, false)
  })

  await t.test('a retained message at QoS 2 reaches a session, whose connection stays', async (t) => {
    const publisher = await RawClient.open(t, port, 'publisher', { clean: true })
    publisher.publish('retained', 'x', { qos: 2, retain: true, messageId: 1 })
    await publisher.next(({ cmd }) => cmd === 'pubrec')
    publisher.send({ cmd: 'pubrel', messageId: 1 })
    await publisher.next(({ cmd }) => cmd === 'pubcomp')
    const session = await RawClient.open(t, port, 'retained-session')
    await session.subscribe('retained', 2)
    const [message] = await session.publishesReached(1)
    t.match(message, { qos: 2, retain: true })
    session.send({ cmd: 'pubrec', messageId: message?.messageId as number })
    await session.next(({ cmd }) => cmd === 'pubrel')
    session.send({ cmd: 'pubcomp', messageId: message?.messageId as number })
    t.equal(await session.subscribe('x', 1), 1)
    const casual = await RawClient.open(t, port, 'retained-casual')
    await casual.subscribe('+', 0)
    t.match(
      (await casual.publishesReached(1))[0],
      { qos: 0, retain: true },
      'at most at the QoS that was granted',
    )
  })

  await t.test('a client id over the limit is refused', async (t) => {
    const client = await RawClient.open(t, port, 'x'.repeat(31), { clean: true })
    await client.ended()
    t.equal(client.returnCode, 2, 'identifier rejected')
    t.equal((await RawClient.open(t, port, 'x'.repeat(30), { clean: true })).returnCode, 0)
    t.equal((await RawClient.open(t, port, 'x\0', { clean: true })).returnCode, 2)
    const nameless = connect({ host: '127.0.0.1', port })
    nameless.write(Buffer.from('100c00044d5154540400003c0000', 'hex')) // no id, and not a clean session
    const [answer] = (await once(nameless, 'data')) as [Buffer]
    await once(nameless, 'close')
    t.equal(answer.toString('hex'), '20020002')
  })

  await t.test('a session without subscriptions is a session', async (t) => {
    await (await RawClient.open(t, port, 'no-subscriptions')).disconnect()
    t.equal((await RawClient.open(t, port, 'no-subscriptions')).sessionPresent, true)
    t.equal((await RawClient.open(t, port, 'no-subscriptions', { clean: true })).sessionPresent, false)
  })

  await t.test('who reads live gets one copy, at the highest QoS that it was granted', async (t) => {
    const publisher = await RawClient.open(t, port, 'publisher', { clean: true })
    const publish = async (topic: string, retain: boolean) => {
      publisher.publish(topic, 'x', { qos: 2, messageId: 1, retain })
      await publisher.next(({ cmd }) => cmd === 'pubrec')
      publisher.send({ cmd: 'pubrel', messageId: 1 })
      await publisher.next(({ cmd }) => cmd === 'pubcomp')
    }
    await publish('granted/retained', true)
    for (const filters of [
      { 'granted/#': 0 },
      { 'granted/#': 1 },
      { 'granted/x': 0, 'granted/#': 1, '+/x': 0 },
      { 'granted/#': 0, 'granted/+': 2, 'granted/x': 1 },
    ]) {
      const reader = await RawClient.open(t, port, 'granted', { clean: true })
      for (const [filter, qos] of Object.entries(filters)) await reader.subscribe(filter, qos as 0 | 1 | 2)
      await publish('granted/x', false)
      await publish('granted/end', false)
      const highest = Math.max(...Object.values(filters))
      await until('the end has come', () => reader.publishes.some(({ topic }) => topic === 'granted/end'))
      t.strictSame(
        reader.publishes.filter(({ topic }) => topic === 'granted/x').map(({ qos }) => qos),
        [highest],
        JSON.stringify(filters),
      )
      const retained = reader.publishes.filter(({ retain }) => retain)
      t.ok(retained.length > 0 && retained.every(({ qos }) => qos <= highest))
      await reader.disconnect()
    }
  })

  await t.test('a topic or filter that is none ends the connection', async (t) => {
    const open = () => RawClient.open(t, port, 'malformed', { clean: true })
    for (const filter of ['a#', '+a', 'a+/b', '#/a', 'a\0'])
      await t.rejects((await open()).subscribe(filter, 1), /closed the connection/, filter)
    for (const topic of ['610062', '61ff62', '612b62']) {
      const client = await open()
      client.socket.write(Buffer.from(`32080003${topic}000178`, 'hex'))
      await client.ended()
      t.strictSame(client.received, [], topic)
    }
  })

  await t.test('connections over the limit are closed, and there is room again when others go', async (t) => {
    const clients = await Promise.all(
      Array.from({ length: 60 }, (_, n) => RawClient.open(t, port, `crowd-${n}`, { clean: true })),
    )
    const refused = clients.filter(({ returnCode }) => returnCode === undefined)
    t.ok(refused.length > 0 && refused.length < 60, `${refused.length} of 60 were closed`)
    await Promise.all(clients.map((client) => client.cut()))
    await until('there is room', async () => {
      const client = await RawClient.open(t, port, 'late', { clean: true })
      await client.cut()
      return client.returnCode === 0
    })
  })

  await t.test('told to stop, it lets go of its clients and ends with 0', async (t) => {
    const client = await RawClient.open(t, port, 'client')
    t.equal(await broker.stop(), 0)
    await client.ended()
  })
})

t.test('with tight limits', async (t) => {
  const broker = await Program.start(
    t,
    'broker',
    brokerConfig(t, {
      sessions: { countMax: 3, subscriptionsMax: 2 },
      retained: { entriesMax: 40, bytesMax: '10KB' },
      limits: { connectionsPerAddressMax: 12, connectTimeout: '300ms', packetsPerSecondMax: 200 },
    }),
  )
  const { port } = broker

  await t.test('who connects and says nothing, or half of it, is let go in time', async (t) => {
    const begin = Date.now()
    const silent = connect(port, '127.0.0.1')
    const half = connect(port, '127.0.0.1', () => half.write(Buffer.from([0x10, 0x20, 0, 4])))
    await Promise.all([once(silent, 'close'), once(half, 'close')])
    t.ok(Date.now() - begin < 3000)
  })

  await t.test('an address has so many connections and no more', async (t) => {
    const clients = await Promise.all(
      Array.from({ length: 12 }, (_, n) => RawClient.open(t, port, `many-${n}`, { clean: true })),
    )
    const refused = connect(port, '127.0.0.1')
    await once(refused, 'close')
    await broker.line(({ code }) => code === 'TOO_MANY')
    await clients[0]?.disconnect()
    await until('there is room', async () => {
      const again = await RawClient.open(t, port, 'again', { clean: true }).catch(() => undefined)
      await again?.disconnect()
      return again !== undefined
    })
    for (const client of clients.slice(1)) await client.disconnect()
  })

  await t.test('who sends faster than it may is read later, and loses nothing', async (t) => {
    const client = await RawClient.open(t, port, 'fast', { clean: true })
    const begin = Date.now()
    for (let n = 1; n <= 500; n += 1) client.publish('x', 'x'.repeat(3000), { messageId: n })
    await until('all are acknowledged', () => client.received.length === 500)
    const seconds = (Date.now() - begin) / 1000
    t.ok(seconds > 0.8 && seconds < 8, `500 at 200 a second took ${seconds} s`)
    await client.disconnect()
  })

  await t.test('sessions and subscriptions over the limit are refused, clean clients are not', async (t) => {
    for (const id of ['s1', 's2', 's3']) await (await RawClient.open(t, port, id)).disconnect()
    t.equal((await RawClient.open(t, port, 's4')).returnCode, 3)
    await broker.line(
      ({ code, msg }) => code === 'TOO_MANY' && /"s4" asks for a persistent session/.test(msg ?? ''),
    )
    const known = await RawClient.open(t, port, 's1')
    t.strictSame([await known.subscribe('a', 1), await known.subscribe('b', 0)], [1, 0])
    t.equal(await known.subscribe('c', 0), 0x80)
    t.equal(await known.subscribe('a', 0), 0, 'changing one is not one more')
    t.equal((await RawClient.open(t, port, 'clean', { clean: true })).returnCode, 0)
  })

  await t.test('a flood of retained messages is passed on, and leaves room for others', async (t) => {
    const reader = await RawClient.open(t, port, 'reader', { clean: true })
    await reader.subscribe('#', 0)
    const noisy = await RawClient.open(t, port, 'noisy', { clean: true })
    for (let n = 1; n <= 60; n += 1)
      noisy.publish(`sightline/v1/home/noisy/${n}`, 'x', { messageId: n, retain: true })
    await until('all are acknowledged', () => noisy.received.length === 60)
    const quiet = await RawClient.open(t, port, 'quiet', { clean: true })
    quiet.publish('sightline/v1/home/quiet/status', 'here', { retain: true })
    await quiet.next(puback)
    quiet.publish('sightline/v1/home/quiet/large', 'x'.repeat(11_000), { messageId: 2, retain: true })
    await quiet.next(puback)
    await broker.line(({ code, msg }) => code === 'RETAINED_FULL' && /quiet\/large/.test(msg ?? ''))
    t.equal((await reader.publishesReached(62)).length, 62, 'passed on, all of them')
    const later = await RawClient.open(t, port, 'later', { clean: true })
    await later.subscribe('sightline/#', 0)
    const retained = await later.publishesReached(38)
    t.equal(retained.length, 38)
    t.ok(retained.some(({ topic }) => topic === 'sightline/v1/home/quiet/status'))
  })
})

t.test('what cannot start says why, with an exit status of its own', async (t) => {
  const port = await freePort()
  const taken = createServer()
  await new Promise<void>((resolve) => taken.listen(port, '127.0.0.1', resolve))
  t.after(() => void taken.close())
  const cases = [
    { settings: { listeners: [{ port }] }, status: 69, says: new RegExp(`127.0.0.1:${port} is in use`) },
    {
      settings: { listeners: [{ host: '0.0.0.0', port: 0 }] },
      status: 78,
      says: /CONFIG_UNSAFE_LISTENER.*"users" is empty/,
    },
    {
      settings: { http: { host: '0.0.0.0', port: 0 } },
      status: 78,
      says: /CONFIG_UNSAFE_LISTENER.*"http\.host"/,
    },
    {
      settings: { users: [{ name: 'pi', role: 'admin' }] },
      status: 78,
      says: /User "pi" has neither/,
    },
    { settings: { usersFile: '/nowhere/users' }, status: 66, says: /Users file .* not found/ },
    {
      settings: {
        listeners: [{ port: 1999 }],
        bridges: [{ url: 'mqtt://127.0.0.1:1999', topics: [{ filter: '#' }] }],
      },
      status: 78,
      says: /points at this broker itself/,
    },
    { settings: { quues: [] }, status: 78, says: /broker\.yaml:1: unknown setting "quues"/ },
    {
      settings: { bridges: [{ url: 'http://x', topics: [{ filter: '#' }] }] },
      status: 78,
      says: /"bridges\.0\.url" must be an address/,
    },
    {
      settings: { queues: [1, 2].map(() => ({ clientId: 'a', topics: ['#'] })) },
      status: 78,
      says: /Duplicate name "a" under "queues"/,
    },
  ]
  await Promise.all(
    cases.map(async ({ settings, status, says }) => {
      const result = await Program.run(t, 'broker', brokerConfig(t, settings))
      t.equal(result.status, status, says.source)
      t.match(result.text, says)
      t.notMatch(result.text, /at .*\.ts:\d+/, 'a sentence, not a stack')
    }),
  )
})

t.test('two brokers on one store: the second says who holds it', async (t) => {
  const folder = temporaryFolder(t)
  const first = await Program.start(t, 'broker', brokerConfig(t, { store: { folder } }))
  const second = await Program.run(t, 'broker', brokerConfig(t, { store: { folder } }))
  t.equal(second.status, 75)
  t.match(second.text, new RegExp(`in use by process ${first.pid}`))
})

import { setTimeout as sleep } from 'node:timers/promises'
import sharp from 'sharp'
import t from 'tap'
import { readCrop } from '../../wire/crop.ts'
import { makeCrop } from '../kit/crops.ts'
import {
  MosquittoSub,
  mosquittoClient,
  Paho,
  type PahoOptions,
  skipWithoutClients,
  skipWithoutPaho,
} from '../kit/mqtt-clients.ts'
import { brokerConfig, Program } from '../kit/programs.ts'
import { TcpProxy } from '../kit/proxy.ts'
import { until } from '../kit/wait.ts'

/** The MQTT clients that people use, against our broker: what MQTT 3.1.1 promises, as they see it. */

const numbered = (count: number, from = 0) => Array.from({ length: count }, (_, n) => `${from + n}`)
const lines = (texts: readonly string[]) => texts.map((text) => `${text}\n`).join('')
const all = { username: 'all', password: 'secret' }
const pi = { username: 'pi', password: 'secret' }

const neither = skipWithoutClients && skipWithoutPaho
const broker =
  !neither &&
  (await Program.start(
    t,
    'broker',
    brokerConfig(t, {
      users: [
        { name: 'all', password: 'secret', publish: ['#'], subscribe: ['#'] },
        { name: 'pi', password: 'secret', publish: ['home/pi/#'], subscribe: ['home/pi/#'] },
      ],
      queues: [{ clientId: 'keeper', topics: ['kept/#'] }],
    }),
  ))
const port = broker ? broker.port : 0
const restart = async () => broker && (await broker.restart())
const pending = async (clientId: string) => broker && (await broker.books(`session/${clientId}`)).pending

const as = ({ username, password } = all) => [
  '-h',
  '127.0.0.1',
  '-p',
  `${port}`,
  '-u',
  username,
  '-P',
  password,
]
const publish = (topic: string, text: string, ...more: readonly string[]) =>
  mosquittoClient('pub', [...as(), '-t', topic, ...(text === '' ? ['-n'] : ['-m', text]), ...more])
/** As many messages as there are lines. */
const publishLines = (topic: string, texts: readonly string[], ...more: readonly string[]) =>
  mosquittoClient('pub', [...as(), '-t', topic, '-l', ...more], lines(texts))
const subscribe = async (...args: readonly string[]) => {
  const { stdout, status, stderr } = await mosquittoClient('sub', [...as(), '-W', '10', ...args])
  return { status, stderr, texts: stdout.toString().split('\n').slice(0, -1) }
}

t.test('mosquitto_pub and mosquitto_sub', { skip: skipWithoutClients }, async (t) => {
  for (const qos of ['0', '1', '2'])
    await t.test(`a message at QoS ${qos}`, async (t) => {
      const sub = await MosquittoSub.start(t, [...as(), '-t', 'plain/+', '-q', qos])
      t.equal((await publish('plain/a', 'one', '-q', qos)).status, 0)
      t.match(await sub.reached(1), [{ topic: 'plain/a', payload: Buffer.from('one'), qos: Number(qos) }])
      await sub.end()
    })

  await t.test('a retained message is set, replaced, flagged, and cleared by an empty one', async (t) => {
    const live = await MosquittoSub.start(t, [...as(), '-t', 'still/+', '-q', '1'])
    for (const text of ['one', 'two']) await publish('still/a', text, '-r', '-q', '1')
    await publish('still/b', 'three', '-r')
    await live.reached(3) // at QoS 0 mosquitto_pub is gone before the broker has read it
    const shown = ['-F', '%r %q %t %p', '-q', '1']
    t.strictSame((await subscribe('-t', 'still/+', '-C', '2', ...shown)).texts.sort(), [
      '1 0 still/b three',
      '1 1 still/a two',
    ])
    await publish('still/a', '', '-r')
    t.strictSame(
      (await subscribe('-t', 'still/#', '-C', '1', ...shown)).texts,
      ['1 0 still/b three'],
      'a is gone',
    )
    t.match(
      live.came.slice(0, 2),
      [{ retain: false }, { retain: false }],
      'who was there gets it as any other',
    )
  })

  await t.test(
    'what came while a session was away comes once and in order, also after kill -9',
    async (t) => {
      for (const qos of ['1', '2']) {
        const session = ['-c', '-i', `away-${qos}`, '-t', `away/${qos}`, '-q', qos]
        t.equal((await subscribe(...session, '-E')).status, 0)
        t.equal((await publishLines(`away/${qos}`, numbered(100), '-q', qos)).status, 0)
      }
      await restart()
      const retained = ['-t', 'still/b', '-C', '1', '-F', '%r %p']
      t.strictSame((await subscribe(...retained)).texts, ['1 three'], 'and what was retained is retained')
      for (const qos of ['1', '2']) {
        await publishLines(`away/${qos}`, numbered(50, 100), '-q', qos)
        const session = [...as(), '-c', '-i', `away-${qos}`, '-t', `away/${qos}`, '-q', qos]
        const sub = await MosquittoSub.start(t, session)
        await sub.reached(150)
        await until('all are acknowledged', async () => (await pending(`away-${qos}`)) === 0)
        await sub.end()
        const again = await MosquittoSub.start(t, session)
        await publish(`away/${qos}`, 'last', '-q', qos)
        await again.reached(1)
        t.strictSame([...sub.texts, ...again.texts], [...numbered(150), 'last'], `QoS ${qos}`)
        await again.end()
      }
    },
  )

  await t.test('a clean session forgets', async (t) => {
    await subscribe('-c', '-i', 'forgetful', '-t', 'forget', '-q', '1', '-E')
    await publish('forget', 'me', '-q', '1')
    await subscribe('-i', 'forgetful', '-t', 'forget', '-E')
    await publish('forget/marker', 'nothing else', '-q', '1', '-r')
    t.strictSame((await subscribe('-c', '-i', 'forgetful', '-t', 'forget/#', '-q', '1', '-C', '1')).texts, [
      'nothing else',
    ])
  })

  await t.test('a will is published when its client dies, and not when it says goodbye', async (t) => {
    const watcher = await MosquittoSub.start(t, [...as(), '-t', 'will/#', '-q', '1'])
    const will = (topic: string) => ['--will-topic', topic, '--will-payload', 'gone', '--will-qos', '1']
    const quiet = await MosquittoSub.start(t, [...as(), '-t', 'x', ...will('will/quiet')])
    const dying = await MosquittoSub.start(t, [...as(), '-t', 'x', ...will('will/dying'), '--will-retain'])
    await quiet.end()
    await dying.end('SIGKILL')
    t.match(await watcher.reached(1), [
      { topic: 'will/dying', payload: Buffer.from('gone'), qos: 1, retain: false },
    ])
    t.strictSame((await subscribe('-t', 'will/#', '-C', '1', '-F', '%r %t')).texts, ['1 will/dying'])
    await watcher.end()
    t.equal(watcher.came.length, 1)
  })

  await t.test('overlapping subscriptions bring one copy', async (t) => {
    for (const session of [[], ['-c', '-i', 'overlapping']]) {
      const filters = ['-t', 'over/#', '-t', 'over/+', '-t', 'over/x']
      const sub = await MosquittoSub.start(t, [...as(), ...session, ...filters, '-q', '1'])
      for (const text of ['a', 'b']) await publish('over/x', text, '-q', '1')
      await sub.reached(2)
      await sub.end()
      t.strictSame(sub.texts, ['a', 'b'])
    }
  })

  await t.test('large payloads, and names in any script', async (t) => {
    const topic = 'дом/门/żółw/🚪'
    const sub = await MosquittoSub.start(t, [...as(), '-i', 'читатель-門', '-c', '-t', 'дом/#', '-q', '1'])
    const payload = Buffer.alloc(256 * 1024, 'face')
    const args = [...as(), '-i', 'писатель-門', '-t', topic, '-s', '-q', '1']
    t.equal((await mosquittoClient('pub', args, payload)).status, 0)
    const [message] = await sub.reached(1)
    t.equal(message?.topic, topic)
    t.ok(message?.payload.equals(payload))
  })

  await t.test('mosquitto_sub writes a crop to a file that is a picture', async (t) => {
    const { topic, payload, metadata } = makeCrop()
    await subscribe('-c', '-i', 'picture', '-t', 'sightline/v1/+/+/+/crop', '-q', '1', '-E')
    t.equal((await mosquittoClient('pub', [...as(), '-t', topic, '-s', '-q', '1'], payload)).status, 0)
    const args = [...as(), '-c', '-i', 'picture', '-t', 'sightline/v1/+/+/+/crop', '-q', '1', '-C', '1']
    const { stdout } = await mosquittoClient('sub', args)
    t.match(await sharp(stdout).metadata(), { format: 'jpeg', width: 16, height: 16 })
    t.equal((await sharp(stdout).raw().toBuffer()).length, 16 * 16 * 3)
    t.match(readCrop(stdout), { crop: { id: metadata.id } })
  })

  await t.test('who may not come in, or not read, is told so', async (t) => {
    const told = async (...args: readonly string[]) => {
      const { status, stderr } = await mosquittoClient('sub', [
        '-h',
        '127.0.0.1',
        '-p',
        `${port}`,
        '-W',
        '10',
        ...args,
      ])
      return `${status} ${stderr.trim()}`
    }
    const on = ['-t', 'home/#']
    t.match(await told(...on, '-u', 'all', '-P', 'wrong'), /^4 .*bad user name or password/)
    t.match(await told(...on), /^5 .*not authorised/)
    t.match(await told(...on, '-u', 'pi', '-P', 'secret'), /All subscription requests were denied/)
    t.match(await told('-t', '$SYS/#', '-u', 'all', '-P', 'secret'), /All subscription requests were denied/)
    t.match(await told(...on, ...as(), '-i', 'x'.repeat(300)), /^2 .*identifier rejected/)
    t.match(
      await told(...on, ...as(), '-i', 'keeper'),
      /^2 .*identifier rejected/,
      'a declared queue is not for clean sessions',
    )
    t.match(await told(...on, ...as(), '-V', '5'), /^132 .*Unsupported Protocol Version/)
    const sub = await MosquittoSub.start(t, [...as(pi), '-t', 'home/#', '-t', 'home/pi/a'])
    t.ok(sub.said.includes('Subscribed (mid: 1): 128, 0'))
    await publish('home/pi/a', 'still there')
    t.strictSame((await sub.reached(1)).length, 1)
  })

  await t.test('# and + at the start do not match topics of the broker’s own', async (t) => {
    const sub = await MosquittoSub.start(t, [...as(), '-t', '#', '-t', '+/#', '-R'])
    await publish('a/b', 'x') // comes and goes, of which the broker tells on $SYS
    await sub.reached(1)
    await sub.end()
    t.strictSame(
      sub.came.filter(({ topic }) => topic.startsWith('$')),
      [],
    )
    t.not((await publish('$SYS/broker/version', 'mine', '-q', '1')).status, 0)
  })

  await t.test('MQTT 3.1', async (t) => {
    const sub = await MosquittoSub.start(t, [...as(), '-V', '31', '-i', 'old', '-t', 'old', '-q', '2'])
    t.equal((await publish('old', 'x', '-V', '31', '-q', '2')).status, 0)
    t.match(await sub.reached(1), [{ payload: Buffer.from('x'), qos: 2 }])
    t.equal(
      (await publish('old', 'x', '-V', '31', '-i', 'x'.repeat(24))).status,
      2,
      '23 characters are the limit',
    )
  })
})

t.test('Paho', { skip: skipWithoutPaho }, async (t) => {
  const paho = new Paho(t)
  const connect = (id: string, options: PahoOptions = {}, at = port) =>
    paho.connect(at, { id, ...all, ...options })
  const publisher = await connect('publisher', { reconnect: true })
  await t.test('exactly once at QoS 2, over cut connections and a broker killed with -9', async (t) => {
    const proxy = await TcpProxy.open({ host: '127.0.0.1', port, latencyMs: 2 })
    t.after(() => proxy[Symbol.asyncDispose]())
    const options = { clean: false, reconnect: true }
    const reader = await connect('exactly-reader', options, proxy.port)
    await reader.subscribe(['exactly', 2])
    const writer = await connect('exactly-writer', options, proxy.port)
    const whole = writer.publish('exactly', numbered(400), { qos: 2 })
    for (const part of [50, 120, 190]) {
      await reader.reached(part)
      proxy.cut()
    }
    await reader.reached(250)
    await restart()
    await whole
    await reader.reached(400)
    await sleep(100)
    t.strictSame(
      [...reader.texts].sort((a, b) => Number(a) - Number(b)),
      numbered(400),
    )
    await until('and the broker has let go of them', async () => (await pending('exactly-reader')) === 0)
  })

  // Time passes while the other tests run; looked at in the last.
  const will = (topic: string) => ({ topic, payload: 'gone', qos: 1, retain: false }) as const
  const watcher = await connect('watcher')
  await watcher.subscribe(['dropped/+', 1])
  await connect('quiet', { keepalive: 3, will: will('dropped/quiet') })
  const busy = await connect('busy', { keepalive: 3, will: will('dropped/busy') })
  const silent = await connect('silent', { keepalive: 1, will: will('dropped/silent') })
  const silentSinceMs = Date.now()
  silent.fallSilent()
  let published = 0
  const beat = setInterval(() => {
    published += 1
    busy.publishing('kept/busy', ['x'], { qos: 1 })
  }, 300)
  t.after(() => clearInterval(beat))
  const dropped = watcher.reached(1).then(() => Date.now() - silentSinceMs)

  await t.test('session present', async (t) => {
    const present = async (id: string, clean: boolean, ...filters: readonly [string, 0 | 1 | 2][]) => {
      const client = await connect(id, { clean })
      if (filters.length > 0) await client.subscribe(...filters)
      await client.disconnect()
      return client.connack?.sessionPresent
    }
    t.equal(await present('present', false, ['x', 1]), false)
    t.equal(await present('present', false), true)
    t.equal(await present('present', true), false)
    t.equal(await present('present', false), false, 'a clean session has ended it')
    t.equal(await present('present', false), true, 'also without subscriptions')
  })

  for (const qos of [0, 1, 2] as const)
    await t.test(`messages at QoS ${qos}, and none after unsubscribing`, async (t) => {
      for (const clean of [true, false]) {
        const reader = await connect(`reader-${qos}`, { clean })
        t.strictSame(await reader.subscribe([`flow/${qos}`, qos], ['flow/marker', 1]), [qos, 1])
        await publisher.publish(`flow/${qos}`, numbered(100), { qos })
        await reader.reached(100)
        await reader.unsubscribe(`flow/${qos}`)
        await publisher.publish(`flow/${qos}`, ['too late'], { qos })
        await publisher.publish('flow/marker', ['marker'], { qos: 1 })
        await reader.reached(101)
        t.strictSame(reader.texts, [...numbered(100), 'marker'])
        t.ok(reader.came.slice(0, 100).every((message) => message.qos === qos && !message.dup))
        await reader.disconnect()
      }
    })

  await t.test('of overlapping subscriptions one copy comes, at the highest QoS', async (t) => {
    for (const clean of [true, false])
      for (const filters of [
        [
          ['over/#', 0],
          ['over/x', 1],
        ],
        [
          ['over/x', 0],
          ['over/#', 1],
        ],
        [
          ['over/x', 1],
          ['over/+', 2],
          ['over/#', 0],
        ],
      ] as const) {
        const reader = await connect('overlapping', { clean })
        for (const filter of filters) await reader.subscribe(filter)
        await publisher.publish('over/x', ['a', 'b'], { qos: 2 })
        await reader.reached(2)
        await reader.unsubscribe(...filters.map(([filter]) => filter))
        t.strictSame(reader.texts, ['a', 'b'])
        const highest = Math.max(...filters.map(([, qos]) => qos))
        t.ok(
          reader.came.every(({ qos }) => qos === highest),
          `clean: ${clean}, ${JSON.stringify(filters)}`,
        )
        await reader.disconnect()
      }
  })

  await t.test('a second client of the same id takes the session over, and no message is lost', async (t) => {
    const first = await connect('taken', { clean: false })
    await first.subscribe(['taken', 1])
    publisher.publishing('taken', numbered(600), { qos: 1 })
    await first.reached(50)
    const second = await connect('taken', { clean: false })
    t.equal(second.connack?.sessionPresent, true)
    await first.next('disconnect')
    await until('all have come', () => new Set([...first.texts, ...second.texts]).size === 600)
    t.strictSame(first.texts, numbered(first.came.length))
    const from = 600 - second.came.length
    t.strictSame(second.texts, numbered(second.came.length, from), 'each once, in order, on this connection')
    const twice = second.came.slice(0, first.came.length - from)
    t.ok(
      twice.every(({ dup }) => dup),
      `${twice.length} came twice, with DUP`,
    )
    await second.disconnect()
  })

  await t.test('a retained will, and one taken back by DISCONNECT', async (t) => {
    const reader = await connect('will-reader')
    await reader.subscribe(['last/#', 1])
    const dying = await connect('dying', { will: { ...will('last/dying'), retain: true } })
    const leaving = await connect('leaving', { will: will('last/leaving') })
    await leaving.disconnect()
    dying.die()
    t.match(await reader.reached(1), [{ topic: 'last/dying', retain: false }])
    const late = await connect('late')
    await late.subscribe(['last/#', 1])
    t.match(await late.reached(1), [{ topic: 'last/dying', retain: true, qos: 1 }])
  })

  await t.test('return codes and refusals', async (t) => {
    const code = async (options: PahoOptions) => (await paho.connect(port, options)).connack?.code
    t.equal(await code({ id: 'a', username: 'all', password: 'wrong' }), 4)
    t.equal(await code({ id: 'a' }), 5)
    t.equal(await code({ ...all, id: 'x'.repeat(300) }), 2)
    t.equal(await code({ ...all, id: '' }), 0, 'without an id it is given one')
    t.equal(await code({ ...all, id: 'a', protocol: 5 }), 132, 'MQTT 5: unsupported protocol version')
    const reader = await connect('limited', pi)
    t.strictSame(await reader.subscribe(['home/#', 1], ['home/pi/a', 1], ['$SYS/#', 1]), [128, 1, 128])
    await publisher.publish('home/pi/a', ['x'], { qos: 1 })
    await reader.reached(1)
  })

  await t.test('MQTT 3.1', async (t) => {
    const old = await connect('old-paho', { protocol: 3, clean: false })
    await old.subscribe(['old/paho', 2])
    await old.publish('old/paho', ['x'], { qos: 2 })
    t.match(await old.reached(1), [{ payload: Buffer.from('x'), qos: 2 }])
  })

  await t.test('large payloads, and names in any script', async (t) => {
    const reader = await connect('読者-ß', { clean: false })
    await reader.subscribe(['δωμάτιο/+', 1])
    const payload = Buffer.alloc(256 * 1024, 'face')
    await publisher.publish('δωμάτιο/門', [payload], { qos: 1 })
    const [message] = await reader.reached(1)
    t.equal(message?.topic, 'δωμάτιο/門')
    t.ok(message?.payload.equals(payload))
  })

  await t.test('request and response, with mosquitto_rr', { skip: skipWithoutClients }, async (t) => {
    const responder = await connect('responder')
    await responder.subscribe(['ask', 1])
    const answer = responder.reached(1).then(() => responder.publish('answer', ['42'], { qos: 1 }))
    const args = [...as(), '-t', 'ask', '-e', 'answer', '-m', '6 x 7', '-q', '1', '-V', '311', '-W', '10']
    t.equal((await mosquittoClient('rr', args)).stdout.toString(), '42\n')
    await answer
  })

  await t.test('keepalive', async (t) => {
    const ms = await dropped
    t.match(watcher.came, [{ topic: 'dropped/silent' }], 'the silent one is dropped, and its will says so')
    t.ok(ms >= 1400, `after ${ms} ms`)
    await until('time enough for the others', () => Date.now() - silentSinceMs > 5500)
    clearInterval(beat)
    await busy.next('published', published)
  })
})

t.end() // the broker runs until then

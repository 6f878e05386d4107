import { setTimeout as sleep } from 'node:timers/promises'
import type { IPublishPacket } from 'mqtt-packet'
import t from 'tap'
import { BackgroundRate } from '../../lib/mqtt/background-rate.ts'
import { MqttLink } from '../../lib/mqtt/link.ts'
import { SlicedSender } from '../../lib/mqtt/sliced-sender.ts'
import { FakeBroker } from '../kit/fake-broker.ts'
import type { Test } from '../kit/programs.ts'
import { until } from '../kit/wait.ts'

async function line(t: Test) {
  const broker = await FakeBroker.start(t)
  const link = await MqttLink.open({
    url: broker.url,
    clientId: 'clips',
    protocol: 4,
    clean: true,
    packetBytesMax: 1_000_000,
    keepaliveS: 30,
    connectMsMax: 2000,
  })
  t.after(() => link.destroy())
  const now = { mustYield: false, rateMax: Number.POSITIVE_INFINITY, freed: 0 }
  const sender = new SlicedSender({
    mustYield: () => now.mustYield,
    // A line that never answers, so that the rate stays where it begins; tests of the rate are below.
    probe: () => new Promise(() => {}),
    rateMax: () => now.rateMax,
    onFree: () => {
      now.freed += 1
    },
  })
  t.after(() => sender.clear())
  const published = () => broker.received.filter((it): it is IPublishPacket => it.cmd === 'publish')
  return { broker, link, now, sender, published }
}

const payload = Buffer.from(Array.from({ length: 100_000 }, (_, n) => n & 0xff))
const message = { topic: 'a/clip', payload, messageId: 7, dup: false }

t.test('a message in slices arrives whole, and what is said meanwhile comes after it', async (t) => {
  const { broker, link, sender, published, now } = await line(t)
  sender.send(link, message)
  t.equal(sender.isFree, false)
  void link.ping()
  await until('it has come', () => broker.received.some(({ cmd }) => cmd === 'pingreq'))
  t.strictSame(
    broker.received.map(({ cmd }) => cmd),
    ['connect', 'publish', 'pingreq'],
  )
  const [came] = published()
  t.match(came, { topic: 'a/clip', messageId: 7, qos: 1, dup: false })
  t.ok(payload.equals(came?.payload as Buffer))
  t.strictSame([sender.isFree, now.freed], [true, 1])
})

t.test('nothing goes while something that must not wait is there', async (t) => {
  const { link, sender, published, now } = await line(t)
  now.mustYield = true
  sender.send(link, message)
  await sleep(200)
  t.equal(link.slicesBytesLeft, 0, 'it has not begun')
  now.mustYield = false
  sender.run()
  await until('it has begun', () => link.slicesBytesLeft > 0 && link.slicesBytesLeft < 90_000)
  now.mustYield = true
  await sleep(20) // a slice may have been under way
  const left = link.slicesBytesLeft
  t.ok(left > 0 && sender.holdsBack)
  await sleep(200)
  t.equal(link.slicesBytesLeft, left, 'in its middle too')
  now.mustYield = false
  await until('it goes on by itself', () => published().length === 1)
})

t.test('no faster than allowed', async (t) => {
  const { link, sender, published, now } = await line(t)
  now.rateMax = 100_000
  const startedMs = performance.now()
  sender.send(link, message)
  await until('it has come', () => published().length === 1)
  t.ok(
    performance.now() - startedMs > 900,
    `${(performance.now() - startedMs).toFixed(0)} ms for 100 KB at 100 KB/s`,
  )
})

t.test('paused: none begins, and one that has begun goes to its end', async (t) => {
  const { link, sender, published, now } = await line(t)
  sender.send(link, message)
  await until('it has begun', () => link.slicesBytesLeft > 0)
  now.rateMax = 0
  await until('it has come', () => published().length === 1)
  sender.send(link, { ...message, messageId: 8 })
  await sleep(300)
  t.strictSame([published().length, link.slicesBytesLeft], [1, 0])
  now.rateMax = Number.POSITIVE_INFINITY
  sender.run()
  await until('it goes when it may', () => published().length === 2)
})

/** A line of so many bytes a ms with a queue, as a probe sees it. */
function simulate(rate: BackgroundRate, bytesPerMs: number, roundTripMs: number, ms: number, others = 0) {
  let queued = 0
  let queuedMax = 0
  let sent = 0
  for (let now = 0; now < ms; now += 20) {
    const mine = (rate.bytesPerSecond / 1000) * 20
    sent += mine
    queued = Math.max(0, queued + mine - (bytesPerMs - others) * 20)
    if (now > ms / 2) queuedMax = Math.max(queuedMax, queued / bytesPerMs)
    rate.probed(roundTripMs + queued / bytesPerMs, true, now)
  }
  return { queuedMaxMs: queuedMax, used: sent / (bytesPerMs * ms) }
}

t.test('the line is used, and what lies in its buffers stays short', async (t) => {
  for (const [what, bytesPerMs, roundTripMs] of [
    ['1 Mbit/s, far away', 125, 150],
    ['10 Mbit/s', 1250, 20],
    ['100 Mbit/s', 12_500, 5],
  ] as const) {
    const { queuedMaxMs, used } = simulate(new BackgroundRate(), bytesPerMs, roundTripMs, 60_000)
    t.ok(used > 0.85, `${what}: ${(100 * used).toFixed(0)} % of the line`)
    t.ok(
      queuedMaxMs < Math.max(50, roundTripMs / 2),
      `${what}: at most ${queuedMaxMs.toFixed(0)} ms in its buffers`,
    )
  }
  const { used } = simulate(new BackgroundRate(), 1250, 20, 60_000, 1000)
  t.ok(used > 0.15 && used < 0.25, `what others leave: ${(100 * used).toFixed(0)} %`)
})

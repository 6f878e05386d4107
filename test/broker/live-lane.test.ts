import t from 'tap'
import { LiveLane, type LiveLoss } from '../../broker/live-lane.ts'

const KB = 1024

/** A lane whose line does what the test says. */
function open() {
  const sent: string[] = []
  const lost: LiveLoss[] = []
  const pings: (() => void)[] = []
  const line = { mayGo: true, takes: Number.POSITIVE_INFINITY }
  const lane = new LiveLane({
    senderOf: (topic) => topic,
    isPicture: (topic) => topic.endsWith('/live'),
    mayGo: () => line.mayGo,
    send: ({ topic, payload }) => {
      sent.push(`${topic} ${payload.toString('latin1').replace(/\0+$/, '')}`)
      line.takes -= 1
      return line.takes > 0
    },
    ping: () => new Promise((resolve) => pings.push(resolve)),
    lost: (why) => lost.push(why),
  })
  const add = (topic: string, name: string, bytes = name.length) => {
    const payload = Buffer.alloc(bytes)
    payload.write(name, 'latin1')
    lane.add({ topic, payload, via: [] })
  }
  return { lane, add, line, sent, lost, pings }
}

/** As many as given, and of each kind so many. */
const counted = (lost: readonly LiveLoss[]) =>
  Object.fromEntries(
    Object.entries(Object.groupBy(lost, (why) => why)).map(([why, all]) => [why, all.length]),
  )

t.test('messages go in order while the line takes them, and wait while crops wait', async (t) => {
  const { lane, add, line, sent, lost } = open()
  add('a', '1')
  t.strictSame(sent, ['a 1'])
  line.mayGo = false
  add('a', '2')
  t.strictSame(sent, ['a 1'])
  line.mayGo = true
  line.takes = 1
  lane.run()
  add('a', '3')
  t.strictSame(sent, ['a 1', 'a 2', 'a 3'])
  t.strictSame(lost, [])
})

t.test('a line that says that it is full gets no more until it is asked for', async (t) => {
  const { lane, add, line, sent } = open()
  line.mayGo = false
  for (const name of ['1', '2', '3']) add('a', name)
  line.mayGo = true
  line.takes = 2
  lane.run()
  t.strictSame(sent, ['a 1', 'a 2'])
  lane.run()
  t.strictSame(sent, ['a 1', 'a 2', 'a 3'])
})

t.test('of messages that wait the newest 1,000 are kept, and who sends much loses its own', async (t) => {
  const { lane, add, line, sent, lost } = open()
  line.mayGo = false
  for (let n = 0; n < 10; n += 1) add('quiet', `${n}`, 2 * KB) // few, and more bytes than all that follow
  for (let n = 0; n < 1500; n += 1) add('noisy', `${n}`)
  t.strictSame(counted(lost), { 'too slow': 510 })
  line.mayGo = true
  lane.run()
  t.equal(sent.length, 1000)
  t.equal(sent.filter((text) => text.startsWith('quiet')).length, 10)
  t.strictSame(
    sent.filter((text) => text.startsWith('noisy')),
    Array.from({ length: 990 }, (_, n) => `noisy ${510 + n}`),
  )
})

t.test('so are 4 MB; a larger one is not even begun with', async (t) => {
  const { lane, add, line, sent, lost, pings } = open()
  line.mayGo = false
  add('a', 'large', 4 * KB * KB + 1)
  t.strictSame(lost, ['too large'])
  for (let n = 0; n < 20; n += 1) add('quiet', `${n}`) // many, and hardly any bytes
  for (let n = 0; n < 10; n += 1) add('noisy', `${n}`, 1000 * KB)
  t.strictSame(counted(lost), { 'too large': 1, 'too slow': 6 })
  line.mayGo = true
  lane.run()
  for (let n = 0; n < 10; n += 1) {
    await Promise.resolve()
    pings.shift()?.()
    await new Promise((resolve) => setImmediate(resolve))
  }
  t.equal(sent.length, 24)
  t.strictSame(
    sent.filter((text) => text.startsWith('noisy')),
    ['noisy 6', 'noisy 7', 'noisy 8', 'noisy 9'],
  )
  for (let n = 0; n < 4; n += 1) add('a', `${n}`, 1000 * KB)
  t.equal(counted(lost)['too slow'], 6, 'what has gone makes room')
})

t.test('64 KB are on the line, and no more before the far end has read them', async (t) => {
  const { add, sent, pings } = open()
  for (let n = 0; n < 20; n += 1) add('a', `${n}`, 10 * KB)
  t.equal(sent.length, 7)
  await Promise.resolve()
  t.equal(pings.length, 1, 'one ping')
  pings.shift()?.()
  await new Promise((resolve) => setImmediate(resolve))
  t.equal(sent.length, 14)
  t.equal(pings.length, 1, 'and another one')
})

t.test(
  'of live pictures only the newest of each camera waits, behind all else, each loss counted',
  async (t) => {
    const { lane, add, line, sent, lost } = open()
    line.mayGo = false
    for (let n = 0; n < 50; n += 1) for (const camera of ['a', 'b']) add(`${camera}/live`, `${n}`, 100)
    add('a/event', 'said')
    t.strictSame(counted(lost), { replaced: 98 })
    line.mayGo = true
    lane.run()
    t.strictSame(sent, ['a/event said', 'a/live 49', 'b/live 49'])
    line.mayGo = false
    for (let n = 0; n < 120; n += 1) add(`${n}/live`, 'x')
    for (let n = 0; n < 8; n += 1) add(`large${n}/live`, 'x', 1000 * KB)
    t.strictSame(counted(lost), { replaced: 98, 'too slow': 124 }, '100 of them, and 4 MB')
    lane.clear()
    t.strictSame(counted(lost), { replaced: 98, 'too slow': 124, 'no connection': 4 })
  },
)

t.test(
  'with the connection goes what waits, each counted; its answers say nothing of the next one',
  async (t) => {
    const { lane, add, line, sent, lost, pings } = open()
    for (let n = 0; n < 10; n += 1) add('a', `${n}`, 10 * KB)
    await Promise.resolve()
    lane.clear()
    t.strictSame(lost, Array(3).fill('no connection'))
    for (let n = 10; n < 20; n += 1) add('a', `${n}`, 10 * KB)
    t.equal(sent.length, 14, 'the next connection begins anew')
    await Promise.resolve()
    pings[0]?.()
    await new Promise((resolve) => setImmediate(resolve))
    t.equal(sent.length, 14, 'an answer of the last one')
    pings[1]?.()
    await new Promise((resolve) => setImmediate(resolve))
    t.equal(sent.length, 17)
    line.mayGo = false
    for (const name of ['1', '2']) {
      for (let n = 0; n < 4; n += 1) add('a', `${name} ${n}`, 1000 * KB)
      lane.clear()
    }
    t.strictSame(counted(lost), { 'no connection': 11 }, 'and has all the room')
  },
)

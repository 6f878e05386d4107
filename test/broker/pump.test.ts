import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { decodeMessage, encodeMessage, type StoredMessage } from '../../broker/message.ts'
import { type FarEnd, Pump } from '../../broker/pump.ts'
import { SendWindow } from '../../broker/send-window.ts'
import type { QueueBounds } from '../../store/queue.ts'
import { Store } from '../../store/store.ts'
import { missing, type Test, temporaryFolder } from '../kit/programs.ts'

const BOUNDLESS: QueueBounds = { entriesMax: 1e6, bytesMax: 1e9, ageMsMax: 1e9, whenFull: 'drop-oldest' }
const stored = (text: string): StoredMessage => ({ topic: 'a', payload: Buffer.from(text), qos: 1 })

/** A far end that takes so many messages and then says that it is full. */
class Sink implements FarEnd {
  readonly sent: { text: string; messageId: number; dup: boolean }[] = []
  readonly released: number[] = []
  room = Infinity

  publish({ payload }: StoredMessage, messageId: number, dup: boolean): boolean {
    this.sent.push({ text: payload.toString(), messageId, dup })
    this.room -= 1
    return this.room > 0
  }

  release(messageId: number): boolean {
    this.released.push(messageId)
    return true
  }

  get texts(): string[] {
    return this.sent.map(({ text }) => text)
  }
}

async function line(t: Test, windowMax: number) {
  const store = await Store.open({ folder: temporaryFolder(t) })
  t.after(() => store[Symbol.asyncDispose]())
  const queue = store.queue('q', BOUNDLESS)
  const add = (...texts: string[]) =>
    Promise.all(texts.map((text) => store.accept(encodeMessage(stored(text)), [queue])))
  return { store, queue, add, pump: new Pump(queue, windowMax) }
}

t.test('so many are in flight, in order, and each acknowledgement makes room for the next', async (t) => {
  const { pump, add, queue } = await line(t, 2)
  const sink = new Sink()
  await add('a', 'b', 'c', 'd')
  pump.attach(sink)
  t.strictSame(sink.texts, ['a', 'b'])
  t.equal(pump.acknowledge(sink.sent[1]?.messageId ?? 0), true, 'in any order')
  t.strictSame(sink.texts, ['a', 'b', 'c'])
  t.equal(pump.acknowledge(sink.sent[1]?.messageId ?? 0), false, 'an acknowledgement counts once')
  t.strictSame(sink.texts, ['a', 'b', 'c'])
  for (const n of [0, 2]) pump.acknowledge(sink.sent[n]?.messageId ?? 0)
  await add('e')
  t.strictSame(sink.texts, ['a', 'b', 'c', 'd', 'e'])
  t.strictSame(queue.books, { accepted: 5, forwarded: 3, pending: 2, dropped: {} })
})

t.test('a pump that pauses sends nothing new, and acknowledgements count', async (t) => {
  const { pump, add, queue } = await line(t, 2)
  const sink = new Sink()
  await add('a', 'b', 'c')
  pump.attach(sink)
  pump.pause()
  for (const { messageId } of sink.sent) pump.acknowledge(messageId)
  t.strictSame([sink.texts, queue.size, pump.flights.size], [['a', 'b'], 1, 0])
})

t.test('a far end that says less than our window gets less', async (t) => {
  const { pump, add } = await line(t, 10)
  const sink = new Sink()
  await add('a', 'b', 'c')
  pump.attach(sink, 1)
  t.strictSame(sink.texts, ['a'])
})

t.test(
  'where the line may be a slow one: what is known to fit, and two messages however large',
  async (t) => {
    const { pump, add } = await line(t, 100)
    const sink = new Sink()
    const sized = (letter: string, bytes: number) => letter.repeat(bytes)
    await add(...Array.from({ length: 20 }, (_, n) => sized(String.fromCharCode(97 + n), 30_000)))
    pump.attach(sink, undefined, new SendWindow())
    t.equal(sink.sent.length, 3, '64 KB')
    const acknowledge = (count: number) => {
      for (const { messageId } of sink.sent.splice(0, count)) pump.acknowledge(messageId)
    }
    acknowledge(1)
    t.equal(sink.sent.length, 3, 'and as much again as was acknowledged')
    await sleep(120) // a sample
    acknowledge(3)
    t.ok(sink.sent.length > 3, 'what comes back fast makes room for more')
    pump.detach(sink)

    const large = await line(t, 100)
    const other = new Sink()
    await large.add(sized('a', 500_000), sized('b', 500_000), sized('c', 500_000))
    large.pump.attach(other, undefined, new SendWindow())
    t.equal(other.sent.length, 2)
    large.pump.detach(other)
    large.pump.attach(other)
    t.equal(other.sent.length, 5, 'the two again, and on a line that is no slow one the third')
  },
)

t.test('message ids that were lent are counted until they come back', async (t) => {
  const { pump } = await line(t, 10)
  const [first, second] = [pump.lendId(), pump.lendId()]
  t.not(first, second)
  t.equal(pump.lentIds, 2)
  t.ok(pump.acknowledge(first))
  t.notOk(pump.acknowledge(first))
  t.equal(pump.lentIds, 1)
  const sink = new Sink()
  pump.attach(sink)
  pump.detach(sink)
  t.equal(pump.lentIds, 0, 'with the connection they are nobody’s')
})

t.test('a far end that is full is left alone until it has room', async (t) => {
  const { pump, add } = await line(t, 10)
  const sink = new Sink()
  sink.room = 2
  await add('a', 'b', 'c', 'd')
  pump.attach(sink)
  t.strictSame(sink.texts, ['a', 'b'])
  sink.room = 1
  pump.run()
  t.strictSame(sink.texts, ['a', 'b', 'c'])
})

t.test(
  'what was in flight goes first on the next connection: same ids, DUP, and no faster than it takes',
  async (t) => {
    const { pump, add } = await line(t, 4)
    const first = new Sink()
    await add('a', 'b', 'c', 'd', 'e')
    pump.attach(first)
    pump.acknowledge(first.sent[1]?.messageId ?? 0)
    t.strictSame(first.texts, ['a', 'b', 'c', 'd', 'e'])
    pump.detach(first)
    await add('f')
    t.equal(first.texts.length, 5, 'nothing goes out where nobody is')
    const second = new Sink()
    second.room = 2
    pump.attach(second)
    t.strictSame(second.texts, ['a', 'c'])
    second.room = Infinity
    pump.run()
    t.strictSame(second.texts, ['a', 'c', 'd', 'e'])
    t.strictSame(
      second.sent.map(({ messageId, dup }) => [messageId, dup]),
      first.sent.toSpliced(1, 1).map(({ messageId }) => [messageId, true]),
    )
    pump.acknowledge(second.sent[0]?.messageId ?? 0)
    t.match(second.sent.at(-1), { text: 'f', dup: false })
  },
)

t.test('an old connection that ends late takes nothing from the new one', async (t) => {
  const { pump, add } = await line(t, 4)
  const [first, second] = [new Sink(), new Sink()]
  pump.attach(first)
  pump.attach(second)
  pump.detach(first)
  await add('a')
  t.strictSame(second.texts, ['a'])
  t.strictSame(first.texts, [])
})

t.test('QoS 2: what the receiver has is released again, not sent again', async (t) => {
  const { pump, add, queue } = await line(t, 4)
  const first = new Sink()
  await add('a', 'b')
  pump.attach(first)
  const sequence = queue.after(0) ?? 0
  const messageId = first.sent[0]?.messageId ?? 0
  pump.fly(sequence, { messageId, released: true, exactlyOnce: true })
  pump.detach(first)
  const second = new Sink()
  pump.attach(second)
  t.strictSame(second.released, [messageId])
  t.strictSame(second.texts, ['b'])
})

t.test('what is in flight is not dropped to make room', async (t) => {
  const { pump, add, queue } = await line(t, 2)
  queue.bounds = { ...BOUNDLESS, entriesMax: 3 }
  await add('a', 'b', 'c')
  const sink = new Sink()
  pump.attach(sink)
  await add('d')
  t.match(queue.books, { pending: 3, dropped: { 'dropped oldest': 1 } })
  for (const { messageId } of sink.sent) pump.acknowledge(messageId)
  for (const { messageId } of sink.sent) pump.acknowledge(messageId)
  t.strictSame(sink.texts, ['a', 'b', 'd'], 'c made room')
  t.equal(missing(queue.books), 0)
})

t.test('what the far end will never take leaves, with a reason', async (t) => {
  const { pump, add, queue } = await line(t, 1)
  const sink = new Sink()
  await add('a', 'b')
  pump.attach(sink)
  pump.reject(sink.sent[0]?.messageId ?? 0, 'too large')
  pump.reject(60_000, 'not there')
  t.strictSame(sink.texts, ['a', 'b'])
  t.strictSame(queue.books, { accepted: 2, forwarded: 0, pending: 1, dropped: { 'too large': 1 } })
})

t.test('message ids wrap past 65,535 without meeting one that is still out', async (t) => {
  const { pump, add } = await line(t, 3)
  const sink = new Sink()
  await add('stuck', 'too')
  pump.attach(sink)
  const out = new Set([...sink.sent.map(({ messageId }) => messageId), pump.lendId()])
  const seen = new Set<number>()
  for (let n = 0; n < 140_000; n += 1) {
    const id = pump.lendId()
    if (id < 1 || id > 65_535 || out.has(id)) t.fail(`${id} was given`)
    seen.add(id)
    pump.acknowledge(id)
  }
  t.equal(seen.size, 65_532, 'every id but the three that are out')
  await add('next')
  t.notOk(out.has(sink.sent[2]?.messageId ?? 0))
})

t.test('a message comes back from the store as it went in', async (t) => {
  for (const message of [
    { topic: 'a', payload: Buffer.alloc(0), qos: 0 },
    { topic: 'дом/\u{1f4f7}', payload: Buffer.from([0, 255]), qos: 1, via: ['abcdefgh', '?'] },
    { topic: 'x'.repeat(1000), payload: Buffer.from('text'), qos: 2, retain: true },
  ] as const)
    t.match(decodeMessage(encodeMessage(message)), message)
})

t.test('large messages are in flight by their bytes, and two of them whatever they have', async (t) => {
  const { store, queue, pump } = await line(t, 500)
  const sink = new Sink()
  const payload = Buffer.alloc(3_000_000, 'x')
  for (let n = 0; n < 20; n += 1) await store.accept(encodeMessage({ topic: 'a', payload, qos: 1 }), [queue])
  pump.attach(sink)
  t.equal(sink.sent.length, 12, '32 MiB')
  pump.acknowledge(sink.sent[0]?.messageId ?? 0)
  t.equal(sink.sent.length, 13, 'an acknowledgement makes room')
})

t.test('a far end that is at a message still gets no other, whatever else happens', async (t) => {
  const { add, pump } = await line(t, 500)
  const busy = { isFree: true }
  const sent: string[] = []
  const slow: FarEnd = {
    get isFree() {
      return busy.isFree
    },
    publish: ({ payload }) => {
      sent.push(payload.toString())
      busy.isFree = false
      return false
    },
    release: () => true,
  }
  await add('a', 'b')
  pump.attach(slow)
  await add('c')
  t.strictSame(sent, ['a'])
  busy.isFree = true
  pump.run()
  t.strictSame(sent, ['a', 'b'])
  pump.detach(slow)
  busy.isFree = true
  pump.attach(slow)
  await add('d')
  t.strictSame(sent, ['a', 'b', 'a'], 'what is sent again waits too')
})

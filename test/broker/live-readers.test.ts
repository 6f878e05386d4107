import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { Client } from 'aedes'
import t from 'tap'
import { LiveReaders } from '../../broker/live-readers.ts'

const client = (clean = true) => ({ clean }) as Client

t.test(
  'a topic is wanted while somebody reads it live, and at the highest QoS that they asked for',
  async (t) => {
    const live = new LiveReaders()
    const [one, other] = [client(), client()]
    t.notOk(live.want('a/b'))
    live.subscribed(one, { topic: 'a/+', qos: 0 })
    live.subscribed(one, { topic: 'a/b', qos: 1 })
    live.subscribed(other, { topic: '#', qos: 0 })
    t.strictSame([live.want('a/b'), live.want('c'), live.filterCount], [true, true, 3])
    t.strictSame([live.granted(one, 'a/b'), live.granted(one, 'a/c'), live.granted(other, 'a/b')], [1, 0, 0])
    live.subscribed(one, { topic: 'a/+', qos: 2 })
    t.strictSame([live.filterCount, live.granted(one, 'a/b')], [3, 2], 'the same filter again is one')
    live.unsubscribed(one, ['a/+', 'never'])
    t.strictSame([live.filterCount, live.granted(one, 'a/b')], [2, 1])
    live.unsubscribed(other, ['#'])
    t.strictSame([live.want('a/b'), live.want('c')], [true, false])
  },
)

t.test('who is gone wants nothing and counts for nothing, also where a successor came first', async (t) => {
  const live = new LiveReaders()
  const [one, successor] = [client(), client()]
  for (const reader of [one, successor])
    for (const topic of ['a', 'b/#']) live.subscribed(reader, { topic, qos: 1 })
  live.gone(one)
  t.strictSame([live.want('a'), live.filterCount, live.granted(one, 'a')], [true, 2, 0])
  t.equal(live.granted(successor, 'a'), 1)
  live.gone(successor)
  live.gone(successor)
  t.strictSame([live.want('a'), live.want('b/c'), live.filterCount], [false, false, 0])
})

t.test('a persistent session reads live at QoS 0 alone: the rest comes from its queue', async (t) => {
  const live = new LiveReaders()
  const session = client(false)
  live.subscribed(session, { topic: 'a', qos: 1 })
  t.strictSame([live.want('a'), live.filterCount], [false, 0])
  live.subscribed(session, { topic: 'a', qos: 0 })
  t.ok(live.want('a'))
  live.subscribed(session, { topic: 'a', qos: 2 })
  t.strictSame([live.want('a'), live.filterCount], [false, 0], 'subscribed anew, it is a queue again')
})

t.test('answers that are remembered are bounded, and stay right', async (t) => {
  const live = new LiveReaders()
  const one = client()
  live.subscribed(one, { topic: 'even/+', qos: 0 })
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const heap = () => {
    collect()
    return process.memoryUsage().heapUsed
  }
  for (let n = 0; n < 20_000; n += 1) live.want(`odd/${n}`)
  const before = heap()
  for (let n = 0; n < 200_000; n += 1)
    if (live.want(`${n % 2 ? 'odd' : 'even'}/${n}`) !== (n % 2 === 0)) t.fail(`${n}`)
  const more = heap() - before
  t.ok(more < 10e6, `${more} bytes more`)
  t.ok(live.want('even/1'), 'and it was there until now')
})

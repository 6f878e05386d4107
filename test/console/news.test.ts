import t from 'tap'
import type { NewsItem } from '../../console/context.ts'
import { NewsRing } from '../../console/news.ts'

const camera = { site: 'home', device: 'pi', camera: 'door' }
const item = (id: string): NewsItem => ({ is: 'removed', id, camera })
const idOf = (it: NewsItem) => (it.is === 'removed' ? it.id : '')

t.test('a reader that comes back gets what it missed, once and in order, and then what is new', async (t) => {
  const news = new NewsRing()
  news.add(item('1'))
  const before = news.lastId
  for (const id of ['2', '3']) news.add(item(id))
  const came: string[] = []
  const reader = news.follow(before, (_id, it) => came.push(idOf(it)))
  t.equal(reader.isComplete, true)
  news.add(item('4'))
  t.strictSame(came, ['2', '3', '4'])
  reader[Symbol.dispose]()
  news.add(item('5'))
  t.strictSame(came, ['2', '3', '4'])
})

t.test('what is too long ago, of another run, or no id is said not to be complete', async (t) => {
  const news = new NewsRing()
  news.add(item('first'))
  const old = news.lastId
  for (let n = 0; n < 12_000; n += 1) news.add(item(String(n)))
  const follow = (after: string) => {
    let count = 0
    using reader = news.follow(after, () => {
      count += 1
    })
    return { isComplete: reader.isComplete, count }
  }
  t.strictSame(follow(old), { isComplete: false, count: 0 })
  t.strictSame(follow('other-3'), { isComplete: false, count: 0 })
  t.strictSame(follow('nonsense'), { isComplete: false, count: 0 })
  t.strictSame(follow(news.lastId.replace(/\d+$/, '999999')), { isComplete: false, count: 0 })
  t.strictSame(follow(news.lastId), { isComplete: true, count: 0 })
  const lately = news.lastId.replace(/\d+$/, (number) => String(Number(number) - 4000))
  t.strictSame(follow(lately), { isComplete: true, count: 4000 })
})

t.test('of a camera only the newest is kept, however often it changes', async (t) => {
  const news = new NewsRing()
  const before = news.lastId
  const seen = (why: string): NewsItem => ({
    is: 'camera',
    camera: { ...camera, is: 'down', stateAtMs: 1, state: { why } as never },
  })
  for (let n = 0; n < 3000; n += 1) news.add(seen(`x${n}`))
  const came: NewsItem[] = []
  using reader = news.follow(before, (_id, it) => came.push(it))
  t.equal(reader.isComplete, true)
  t.match(came, [{ camera: { state: { why: 'x2999' } } }])
  t.equal(came.length, 1)
})

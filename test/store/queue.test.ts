import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { open as openLmdb } from 'lmdb'
import t from 'tap'
import { RESERVE_BYTES } from '../../store/disk-room.ts'
import type { Queue, QueueBounds } from '../../store/queue.ts'
import { Store } from '../../store/store.ts'
import { StoreView } from '../../store/view.ts'
import { missing, type Test, temporaryFolder } from '../kit/programs.ts'
import { SmallDisk } from '../kit/small-disk.ts'
import { seeded, until } from '../kit/wait.ts'

const BOUNDLESS: QueueBounds = {
  entriesMax: Infinity,
  bytesMax: Infinity,
  ageMsMax: Infinity,
  whenFull: 'reject',
}

async function openStore(t: Test, folder = temporaryFolder(t)): Promise<Store> {
  const store = await Store.open({ folder })
  t.after(() => store[Symbol.asyncDispose]())
  return store
}

const message = (body: string) => ({ header: Buffer.from(`header of ${body}`), body: Buffer.from(body) })
const sized = (bytes: number) => ({ header: Buffer.alloc(0), body: Buffer.alloc(bytes) })

/** The body; undefined where the entry is gone. */
function text(queue: Queue, sequence: number | undefined): string | undefined {
  const found = sequence === undefined ? undefined : queue.read(sequence)
  return found?.body.toString()
}

function contents(queue: Queue): string[] {
  const found: string[] = []
  for (let at = queue.after(0); at !== undefined; at = queue.after(at)) found.push(String(text(queue, at)))
  return found
}

t.test('messages leave in the order in which they were accepted, across a restart too', async (t) => {
  const folder = temporaryFolder(t)
  const first = await openStore(t, folder)
  const names = Array.from({ length: 500 }, (_, n) => `m${n}`)
  const queue = first.queue('q', BOUNDLESS)
  await Promise.all(names.slice(0, 250).map((name) => first.accept(message(name), [queue])))
  t.strictSame(contents(queue), names.slice(0, 250))
  await first[Symbol.asyncDispose]()
  const second = await openStore(t, folder)
  const again = second.queue('q', BOUNDLESS)
  await Promise.all(names.slice(250).map((name) => second.accept(message(name), [again])))
  t.strictSame(contents(again), names)
})

t.test('header, body and key come back as they were given, from disk too', async (t) => {
  const folder = temporaryFolder(t)
  const store = await openStore(t, folder)
  const given = [
    { header: Buffer.from([0, 1, 2]), body: Buffer.alloc(100_000, 'x') },
    { header: Buffer.alloc(0), body: Buffer.alloc(0) },
    { header: Buffer.alloc(3000, 'h'), body: Buffer.from('b') },
  ]
  const queue = store.queue('q', BOUNDLESS)
  for (const [n, one] of given.entries()) await store.accept(one, [queue], n === 1 ? {} : { key: `key ${n}` })
  await store[Symbol.asyncDispose]()
  const again = (await openStore(t, folder)).queue('q', BOUNDLESS)
  let at = 0
  for (const { header, body } of given) {
    at = again.after(at) ?? 0
    const found = again.read(at)
    t.ok(found?.header.equals(header) && found.body.equals(body), `${header.length} and ${body.length} bytes`)
  }
  t.ok(again.has('key 0') && again.has('key 2') && !again.has('key 1'))
})

t.test('readers have a message at once, its sender is told when it is on disk', async (t) => {
  const store = await openStore(t)
  const queue = store.queue('q', BOUNDLESS)
  let told = 0
  queue.onEntries = () => {
    told += 1
  }
  let safe = false
  const accepted = store.accept(message('a'), [queue]).then(() => {
    safe = true
  })
  t.equal(queue.read(queue.after(0) ?? 0)?.body.toString(), 'a')
  t.equal(told, 1)
  await Promise.resolve()
  t.notOk(safe)
  await accepted
  t.equal(queue.size, 1)
})

/** What a kill at this moment would leave behind. */
async function asKilled(t: Test, { folder }: Store, name = 'q'): Promise<Queue> {
  const copy = temporaryFolder(t)
  cpSync(join(folder, 'store.mdb'), join(copy, 'store.mdb'))
  return (await openStore(t, copy)).queue(name, BOUNDLESS)
}

/** A queue whose reader promises to be quick. */
function prompt(queue: Queue, handOverMsMax: number): Queue {
  queue.onEntries = () => {}
  queue.handOverMsMax = handOverMsMax
  return queue
}

t.test('what the next keeper acknowledges in time is safe, in the books, and never written', async (t) => {
  const store = await openStore(t)
  const queue = prompt(store.queue('q', BOUNDLESS), 60_000)
  for (let n = 0; n < 500; n += 1) {
    const accepted = store.accept(sized(20_000), [queue])
    void queue.forwarded(queue.after(0) ?? 0)
    await accepted
  }
  t.strictSame(queue.books, { accepted: 500, forwarded: 500, pending: 0, dropped: {} })
  t.ok(statSync(join(store.folder, 'store.mdb')).size < 1e6, 'of 10 MB')
  await until('the books are on disk', async () => (await asKilled(t, store)).books.forwarded === 500)
})

t.test('what it does not acknowledge in time is written, and its sender is told', async (t) => {
  const store = await openStore(t)
  const queue = prompt(store.queue('q', BOUNDLESS), 400)
  const start = performance.now()
  const accepted = [store.accept(message('a'), [queue]), store.accept(message('b'), [queue])]
  t.equal((await asKilled(t, store)).size, 0, 'not yet')
  void queue.forwarded(queue.after(0) ?? 0)
  await accepted[0]
  t.ok(performance.now() - start < 200, 'the first at once')
  await accepted[1]
  t.ok(performance.now() - start < 1000, 'the second soon')
  const left = await asKilled(t, store)
  t.strictSame(left.books, { accepted: 2, forwarded: 1, pending: 1, dropped: {} })
  t.equal(left.read(left.after(0) ?? 0)?.body.toString(), 'b')
})

t.test('a queue that is behind, or whose reader is away, is written at once', async (t) => {
  const store = await openStore(t)
  const behind = prompt(store.queue('q', BOUNDLESS), 50)
  await store.accept(message('a'), [behind])
  await sleep(60)
  const start = performance.now()
  await store.accept(message('b'), [behind])
  t.ok(performance.now() - start < 45)
  t.equal((await asKilled(t, store)).size, 2)
  const away = store.queue('away', BOUNDLESS)
  const quick = prompt(store.queue('quick', BOUNDLESS), 60_000)
  await store.accept(message('c'), [away, quick])
  t.equal((await asKilled(t, store, 'away')).size, 1)
  t.equal((await asKilled(t, store, 'quick')).size, 1, 'one transaction for all')
})

t.test('8 MB may wait for their readers; more is written, and what has left makes room again', async (t) => {
  const store = await openStore(t)
  const queue = prompt(store.queue('q', BOUNDLESS), 60_000)
  for (let n = 0; n < 20; n += 1) {
    void store.accept(sized(1e6), [queue])
    void queue.forwarded(queue.after(0) ?? 0)
  }
  const waiting = Array.from({ length: 8 }, () => store.accept(sized(1e6), [queue]))
  await sleep(100)
  t.equal((await asKilled(t, store)).size, 0, 'not yet')
  const start = performance.now()
  await Promise.all([...waiting, store.accept(sized(1e6), [queue])])
  t.ok(performance.now() - start < 10_000, 'the ninth is too much')
  t.equal((await asKilled(t, store)).size, 9)
})

t.test('each waits for its own time, in the queue whose reader is the quickest', async (t) => {
  const store = await openStore(t)
  const queue = prompt(store.queue('q', BOUNDLESS), 2000)
  void store.accept(message('a'), [queue])
  void queue.forwarded(queue.after(0) ?? 0)
  await sleep(700)
  void store.accept(message('b'), [queue])
  await sleep(500)
  t.equal((await asKilled(t, store)).size, 0, 'half a second is not too long')
  const quick = prompt(store.queue('quick', BOUNDLESS), 100)
  const slow = prompt(store.queue('slow', BOUNDLESS), 60_000)
  await store.committed()
  const start = performance.now()
  await store.accept(message('c'), [slow, quick])
  t.ok(performance.now() - start < 1000)
})

t.test('4 MB of what came just now are read from memory, the newest, however much has left', async (t) => {
  const store = await openStore(t)
  const queue = store.queue('q', BOUNDLESS)
  const given = Array.from({ length: 30 }, () => sized(1e6))
  for (const [n, it] of given.entries()) {
    await store.accept(it, [queue])
    if (n < 20) await queue.forwarded(queue.after(0) ?? 0)
  }
  const isGiven: boolean[] = []
  let at = 0
  for (const { body } of given.slice(20)) {
    at = queue.after(at) ?? 0
    const read = queue.read(at)?.body
    t.equal(read?.length, 1e6)
    isGiven.push(read === body)
  }
  t.strictSame(isGiven, [...Array(6).fill(false), ...Array(4).fill(true)])
})

t.test('the books on disk are those of what is on disk: what waits in memory is not in them', async (t) => {
  const store = await openStore(t)
  const queue = prompt(store.queue('q', BOUNDLESS), 60_000)
  await store.accept(message('gone'), [store.queue('other', BOUNDLESS)])
  for (const name of ['a', 'b']) void store.accept(message(name), [queue])
  void queue.forwarded(queue.after(0) ?? 0)
  await store.put('table', 'key', Buffer.from('x'))
  t.strictSame((await asKilled(t, store)).books, { accepted: 1, forwarded: 1, pending: 0, dropped: {} })
  await store.committed()
  t.strictSame((await asKilled(t, store)).books, { accepted: 2, forwarded: 1, pending: 1, dropped: {} })
})

t.test('a clock that is set back delays nothing', async (t) => {
  const store = await openStore(t)
  const queue = prompt(store.queue('q', BOUNDLESS), 100)
  const { now } = Date
  const accepted = store.accept(message('a'), [queue])
  Date.now = () => now() - 3_600_000
  t.teardown(() => {
    Date.now = now
  })
  const start = performance.now()
  await accepted
  await store.accept(message('b'), [queue])
  t.ok(performance.now() - start < 500)
})

t.test('of several queues, those that still want a message have it on disk', async (t) => {
  const store = await openStore(t)
  const quick = prompt(store.queue('quick', BOUNDLESS), 200)
  const slow = prompt(store.queue('slow', BOUNDLESS), 200)
  const accepted = store.accept(message('a'), [quick, slow])
  void quick.forwarded(quick.after(0) ?? 0)
  await accepted
  t.strictSame((await asKilled(t, store, 'quick')).books, {
    accepted: 1,
    forwarded: 1,
    pending: 0,
    dropped: {},
  })
  const left = await asKilled(t, store, 'slow')
  t.strictSame(left.books, { accepted: 1, forwarded: 0, pending: 1, dropped: {} })
  t.equal(left.read(left.after(0) ?? 0)?.body.toString(), 'a')
  void slow.forwarded(slow.after(0) ?? 0)
  await store.committed()
  t.equal((await asKilled(t, store, 'slow')).size, 0)
})

t.test('a store that is closed writes what nobody has acknowledged', async (t) => {
  const folder = temporaryFolder(t)
  const store = await Store.open({ folder })
  const queue = prompt(store.queue('q', BOUNDLESS), 60_000)
  const accepted = store.accept(message('a'), [queue])
  await store[Symbol.asyncDispose]()
  await accepted
  t.equal((await openStore(t, folder)).queue('q', BOUNDLESS).size, 1)
})

t.test('the books balance at every moment, through a random life with restarts', async (t) => {
  const folder = temporaryFolder(t)
  const random = seeded(42)
  const pick = (count: number) => Math.floor(random() * count)
  const bounds: Record<string, QueueBounds> = {
    plain: BOUNDLESS,
    ring: { ...BOUNDLESS, entriesMax: 20, whenFull: 'drop-oldest' },
    strict: { ...BOUNDLESS, bytesMax: 4000 },
  }
  const accepted: Record<string, number> = { plain: 0, ring: 0, strict: 0 }
  for (let life = 0; life < 5; life += 1) {
    const store = await Store.open({ folder })
    const queues = Object.entries(bounds).map(([name, bound]) => store.queue(name, bound))
    const check = () => {
      for (const queue of queues)
        if (missing(queue.books) !== 0 || queue.bytes < 0)
          t.fail(`${queue.name} is out of balance`, { books: queue.books })
    }
    for (const queue of queues)
      t.match(queue.books, { accepted: accepted[queue.name] }, `${queue.name} remembers its books`)
    for (let step = 0; step < 400; step += 1) {
      const queue = queues[pick(3)] as Queue
      const oldest = queue.after(0)
      if (random() < 0.6) {
        const wanted = queues.filter(() => random() < 0.6)
        try {
          const done = store.accept(sized(pick(200)), wanted)
          check()
          if (random() < 0.5) await done
          for (const { name } of wanted) accepted[name] = (accepted[name] ?? 0) + 1
        } catch (error) {
          t.match(error, { code: 'QUEUE_FULL' })
        }
      } else if (oldest !== undefined) {
        if (random() < 0.7) void queue.forwarded(oldest)
        else void queue.drop(oldest, 'spilled')
      }
      check()
    }
    await store.committed()
    check()
    await store[Symbol.asyncDispose]()
  }
  const store = await openStore(t, folder)
  let referred = 0
  for (const name of Object.keys(bounds)) {
    const queue = store.queue(name, bounds[name] as QueueBounds)
    t.equal(missing(queue.books), 0)
    t.equal(contents(queue).length, queue.size, 'every pending message can be read')
    referred += queue.size
  }
  t.ok(referred > 0, 'the life left something to look at')
})

t.test('a body is on disk exactly as long as a queue refers to it', async (t) => {
  const folder = temporaryFolder(t)
  const store = await openStore(t, folder)
  const [a, b, c] = ['a', 'b', 'c'].map((name) => store.queue(name, BOUNDLESS)) as [Queue, Queue, Queue]
  await store.accept(message('shared'), [a, b, c])
  const sequence = a.after(0) as number
  await a.forwarded(sequence)
  t.equal(text(b, sequence), 'shared')
  t.equal(text(a, sequence), undefined, 'a queue that has released it does not see it any more')
  await b.drop(sequence, 'spilled')
  t.equal(text(c, sequence), 'shared')
  await store[Symbol.asyncDispose]()
  t.equal(bodies(folder), 1)

  const again = await openStore(t, folder)
  const last = again.queue('c', BOUNDLESS)
  t.equal(text(last, sequence), 'shared')
  await last.forwarded(sequence)
  await again[Symbol.asyncDispose]()
  t.equal(bodies(folder), 0, 'the last release frees it')
})

t.test('an entry that is released twice counts once', async (t) => {
  const store = await openStore(t)
  const queue = store.queue('q', BOUNDLESS)
  await store.accept(message('x'), [queue])
  const sequence = queue.after(0) as number
  await Promise.all([queue.forwarded(sequence), queue.forwarded(sequence), queue.drop(sequence, 'spilled')])
  t.strictSame(queue.books, { accepted: 1, forwarded: 1, pending: 0, dropped: {} })
})

t.test(
  'a full queue that rejects says so at once, keeps what it has, and takes more after a release',
  async (t) => {
    const store = await openStore(t)
    const queue = store.queue('q', { ...BOUNDLESS, entriesMax: 3 })
    for (const name of ['a', 'b', 'c']) void store.accept(message(name), [queue])
    t.throws(() => store.accept(message('d'), [queue]), { code: 'QUEUE_FULL', message: /"q" is full/ })
    await store.committed()
    t.strictSame(contents(queue), ['a', 'b', 'c'])
    await queue.forwarded(queue.after(0) as number)
    await store.accept(message('d'), [queue])
    t.strictSame(contents(queue), ['b', 'c', 'd'])
  },
)

t.test('a bound in bytes counts bodies, those being written included', async (t) => {
  const store = await openStore(t)
  const queue = store.queue('q', { ...BOUNDLESS, bytesMax: 250 })
  const first = store.accept(sized(100), [queue])
  const second = store.accept(sized(100), [queue])
  t.throws(() => store.accept(sized(100), [queue]), { code: 'QUEUE_FULL' })
  await Promise.all([first, second])
  t.equal(queue.bytes, 200)
  await store.accept(sized(50), [queue])
  t.equal(queue.bytes, 250)
})

t.test('a full queue that drops the oldest counts each, and never drops what is in flight', async (t) => {
  const store = await openStore(t)
  const queue = store.queue('q', { ...BOUNDLESS, entriesMax: 3, whenFull: 'drop-oldest' })
  for (const name of ['a', 'b', 'c']) await store.accept(message(name), [queue])
  queue.hold(queue.after(0) as number)
  await store.accept(message('d'), [queue])
  t.strictSame(contents(queue), ['a', 'c', 'd'])
  for (let at = queue.after(0); at !== undefined; at = queue.after(at)) queue.hold(at)
  t.throws(() => store.accept(message('e'), [queue]), { code: 'QUEUE_FULL' })
  queue.letGo(queue.after(0) as number)
  await store.accept(message('e'), [queue])
  t.strictSame(contents(queue), ['c', 'd', 'e'])
  t.strictSame(queue.books, { accepted: 5, forwarded: 0, pending: 3, dropped: { 'dropped oldest': 2 } })
})

t.test(
  'a message for two queues is taken by both or by none, and a refusal costs neither anything',
  async (t) => {
    const store = await openStore(t)
    const ring = store.queue('ring', { ...BOUNDLESS, entriesMax: 2, whenFull: 'drop-oldest' })
    const strict = store.queue('strict', { ...BOUNDLESS, entriesMax: 1 })
    await store.accept(message('a'), [ring])
    await store.accept(message('b'), [ring, strict])
    t.throws(() => store.accept(message('c'), [ring, strict]), { code: 'QUEUE_FULL', message: /"strict"/ })
    await store.committed()
    t.strictSame(contents(ring), ['a', 'b'])
    t.strictSame(contents(strict), ['b'])
  },
)

const senderOf = (header: Buffer) => header.toString()
const from = (sender: string, bytes = 10) => ({ header: Buffer.from(sender), body: Buffer.alloc(bytes) })

t.test('one sender cannot fill a queue for the others, after a restart either', async (t) => {
  const folder = temporaryFolder(t)
  const first = await Store.open({ folder, senderOf })
  t.after(() => first[Symbol.asyncDispose]())
  const bounds = { ...BOUNDLESS, entriesMax: 100 }
  const fill = async (store: Store, sender: string) => {
    for (let n = 0; n < 200; n += 1)
      try {
        await store.accept(from(sender), [store.queue('q', bounds)])
      } catch (error) {
        t.match(error, { code: 'QUEUE_FULL', message: /of noisy, which is its share/ })
        return n
      }
    return t.fail('it took all of them')
  }
  t.equal(await fill(first, 'noisy'), 91)
  await first[Symbol.asyncDispose]()
  const second = await Store.open({ folder, senderOf })
  t.after(() => second[Symbol.asyncDispose]())
  t.equal(await fill(second, 'noisy'), 0)
  for (const quiet of ['a', 'b', 'c', 'd']) await second.accept(from(quiet), [second.queue('q', bounds)])
  t.match(second.queue('q', bounds).books, { accepted: 95, pending: 95 })
})

t.test('what a keeper hands on may fill the queue, and no more', async (t) => {
  const store = await Store.open({ folder: temporaryFolder(t), senderOf })
  t.after(() => store[Symbol.asyncDispose]())
  const queue = store.queue('q', { ...BOUNDLESS, entriesMax: 100 })
  for (let n = 0; n < 100; n += 1) await store.accept(from('noisy'), [queue], { handedOn: true })
  t.throws(() => store.accept(from('noisy'), [queue], { handedOn: true }), {
    code: 'QUEUE_FULL',
    message: /"q" is full/,
  })
  t.match(queue.books, { accepted: 100, pending: 100 })
})

t.test('where room is made, whoever has most makes it', async (t) => {
  const store = await Store.open({ folder: temporaryFolder(t), senderOf })
  t.after(() => store[Symbol.asyncDispose]())
  const queue = store.queue('q', { ...BOUNDLESS, entriesMax: 50, bytesMax: 5000, whenFull: 'drop-oldest' })
  for (const quiet of ['a', 'b', 'c']) await store.accept(from(quiet), [queue])
  for (let n = 0; n < 200; n += 1) await store.accept(from('noisy'), [queue])
  const left = () => {
    const senders: string[] = []
    for (let at = queue.after(0); at !== undefined; at = queue.after(at))
      senders.push(String(queue.read(at)?.header))
    return senders
  }
  t.strictSame(left().slice(0, 3), ['a', 'b', 'c'])
  t.equal(queue.size, 50)
  await store.accept(from('large', 4990), [queue])
  t.strictSame(left(), ['c', 'large'], 'and the others, where that is not enough')
  t.strictSame(queue.books.dropped, { 'dropped oldest': 202 })
})

t.test('senders take turns, each in the order of acceptance, across a restart too', async (t) => {
  const folder = temporaryFolder(t)
  const first = await Store.open({ folder, senderOf })
  t.after(() => first[Symbol.asyncDispose]())
  for (let n = 0; n < 100; n += 1) void first.accept(from('noisy', 20_000), [first.queue('q', BOUNDLESS)])
  await first.accept(from('quiet'), [first.queue('q', BOUNDLESS)])
  await first[Symbol.asyncDispose]()
  const store = await Store.open({ folder, senderOf })
  t.after(() => store[Symbol.asyncDispose]())
  const queue = store.queue('q', BOUNDLESS)
  const taken: number[] = []
  for (let at = queue.take(); at !== undefined; at = queue.take()) taken.push(at)
  t.ok(taken.indexOf(101) < 6, `${taken.indexOf(101)} went first`)
  t.strictSame(
    taken.filter((at) => at !== 101),
    Array.from({ length: 100 }, (_, n) => n + 1),
  )
})

t.test('entries expire by age, counted, those in flight excepted', async (t) => {
  const store = await openStore(t)
  const queue = store.queue('q', { ...BOUNDLESS, ageMsMax: 60_000 })
  for (const name of ['a', 'b']) await store.accept(message(name), [queue])
  queue.hold(queue.after(0) as number)
  queue.expire(Date.now() + 30_000)
  t.equal(queue.size, 2)
  queue.expire(Date.now() + 61_000)
  t.strictSame(contents(queue), ['a'])
  t.strictSame(queue.books.dropped, { expired: 1 })
})

t.test('age is looked at without anybody asking', async (t) => {
  const store = await openStore(t)
  const queue = store.queue('q', { ...BOUNDLESS, ageMsMax: 1 })
  await store.accept(message('a'), [queue])
  await until('it expires', () => queue.size === 0, 3000)
})

t.test('keys tell what is pending or being written, across a restart too', async (t) => {
  const folder = temporaryFolder(t)
  const store = await openStore(t, folder)
  const queue = store.queue('q', BOUNDLESS)
  const writing = store.accept(message('x'), [queue], { key: 'ключ' })
  t.ok(queue.has('ключ'))
  await writing
  await store[Symbol.asyncDispose]()
  const again = (await openStore(t, folder)).queue('q', BOUNDLESS)
  t.ok(again.has('ключ'))
  t.notOk(again.has('another'))
  await again.forwarded(again.after(0) as number)
  t.notOk(again.has('ключ'))
})

t.test('a queue that is removed is gone with what it held, and one of its name begins anew', async (t) => {
  const folder = temporaryFolder(t)
  const store = await openStore(t, folder)
  const other = store.queue('other', BOUNDLESS)
  const queue = store.queue('q', BOUNDLESS)
  await store.accept(message('shared'), [queue, other])
  await store.accept(message('own'), [queue])
  const late = store.accept(message('late'), [queue]) // on its way while the queue goes
  const removed = store.removeQueue(queue)
  const fresh = store.queue('q', BOUNDLESS)
  await Promise.all([late, removed, store.accept(message('new'), [fresh])])
  await store.committed()
  t.strictSame(contents(fresh), ['new'])
  await store[Symbol.asyncDispose]()
  t.equal(bodies(folder), 2, 'shared and new; what nobody wants is freed')
  const again = await openStore(t, folder)
  t.strictSame(contents(again.queue('q', BOUNDLESS)), ['new'])
  t.strictSame(contents(again.queue('other', BOUNDLESS)), ['shared'])
  t.equal(again.queue('q', BOUNDLESS).books.accepted, 1)
})

t.test('small values are kept beside the queues, whatever their keys', async (t) => {
  const folder = temporaryFolder(t)
  const store = await openStore(t, folder)
  const keys = ['', 'a', 'z', 'ключ', '\u{1f600} pi', '\uffff', '\u0001', 'a/b/c']
  await Promise.all(keys.map((key) => store.put('table', key, Buffer.from(key))))
  await Promise.all([store.put('table 2', 'x', Buffer.from('x')), store.put('tabl', 'x', Buffer.from('x'))])
  await store[Symbol.asyncDispose]()
  const again = await openStore(t, folder)
  const found = [...again.entries('table')].map(({ key, value }) => [key, Buffer.from(value).toString()])
  t.strictSame(new Map(found as [string, string][]), new Map(keys.map((key) => [key, key])))
  await again.remove('table', '\u{1f600} pi')
  t.equal(again.get('table', '\u{1f600} pi'), undefined)
  t.equal(Buffer.from(again.get('table', 'ключ') ?? '').toString(), 'ключ')
})

t.test('what is written and removed in the same moment ends as asked for last', async (t) => {
  const store = await openStore(t)
  void store.put('table', 'key', Buffer.from('one'))
  void store.remove('table', 'key')
  await store.put('table', 'key', Buffer.from('two'))
  t.equal(Buffer.from(store.get('table', 'key') ?? '').toString(), 'two')
})

t.test('a closed store takes nothing, and says so', async (t) => {
  const store = await openStore(t)
  const queue = store.queue('q', BOUNDLESS)
  await store[Symbol.asyncDispose]()
  await store[Symbol.asyncDispose]()
  t.throws(() => store.accept(message('x'), [queue]), { code: 'STORE_IO' })
  await t.rejects(store.put('table', 'key', Buffer.from('x')), { code: 'STORE_IO' })
})

// --- processes ------------------------------------------------------------------------------------------------

function hold(t: Test, folder: string, mode: 'accept' | 'hold', ...under: string[]): Holder {
  const file = join(import.meta.dirname, 'hold-store.ts')
  const [command, ...args] = [...under, process.execPath, file, folder, mode]
  const child = spawn(command as string, args, { stdio: ['ignore', 'pipe', 'ignore'] })
  t.after(() => void child.kill('SIGKILL'))
  const lines: string[] = []
  createInterface({ input: child.stdout }).on('line', (line) => lines.push(line))
  return { child, lines }
}

interface Holder {
  readonly child: ChildProcess
  readonly lines: string[]
}

async function kill({ child }: Holder): Promise<void> {
  const closed = once(child, 'close')
  child.kill('SIGKILL')
  await closed
}

t.test(
  'kill -9 while messages are accepted: every acknowledged one is there, once, and the books balance',
  async (t) => {
    const folder = temporaryFolder(t)
    let before = 0
    for (let round = 0; round < 2; round += 1) {
      const holder = hold(t, folder, 'accept')
      await until('some are acknowledged', () => holder.lines.length > 300, 20_000)
      await kill(holder)
      const acknowledged = holder.lines.filter((line) => /^\d+$/.test(line)).map(Number)
      const store = await openStore(t, folder)
      const [first, second] = [store.queue('first', BOUNDLESS), store.queue('second', BOUNDLESS)]
      const kept = contents(first).slice(before)
      const expected = kept.map((_, n) => `message ${n}`)
      t.strictSame(kept, expected, 'in order, none missing, none twice')
      t.ok(kept.length >= Math.max(...acknowledged) + 1, `all ${acknowledged.length} acknowledged are there`)
      t.equal(missing(first.books), 0)
      t.equal(missing(second.books), 0)
      t.ok(second.books.forwarded > 0, 'releases survive too')
      before = first.size
      await store[Symbol.asyncDispose]()
    }
  },
)

const prlimit = spawnSync('prlimit', ['--version']).error ? 'no prlimit on this system' : false

t.test(
  'a full disk refuses, keeps what was acknowledged, and takes more when there is room',
  { skip: prlimit },
  async (t) => {
    const folder = temporaryFolder(t)
    writeFileSync(join(folder, 'reserve'), Buffer.alloc(RESERVE_BYTES)) // over the limit that follows
    const holder = hold(t, folder, 'accept', 'prlimit', '--fsize=400000:50000000')
    await until('it refuses', () => holder.lines.some((line) => line.startsWith('refused')), 20_000)
    await sleep(100)
    const before = holder.lines.length
    t.notOk(/^\d+$/.test(holder.lines.at(-1) ?? ''), 'nothing is acknowledged while nothing can be written')
    spawnSync('prlimit', ['--pid', String(holder.child.pid), '--fsize=50000000'])
    await until('it takes more', () => holder.lines.slice(before).some((line) => /^\d+$/.test(line)), 10_000)
    await kill(holder)
    t.ok(holder.lines.every((line) => /^(open|\d+|refused (STORE_IO|DISK_FULL))$/.test(line)))
    const acknowledged = holder.lines.filter((line) => /^\d+$/.test(line)).map((line) => `message ${line}`)
    const store = await openStore(t, folder)
    const kept = contents(store.queue('first', BOUNDLESS))
    t.strictSame(kept.slice(0, acknowledged.length), acknowledged, 'what was refused is not there')
    t.equal(missing(store.queue('first', BOUNDLESS).books), 0)
    t.equal(missing(store.queue('second', BOUNDLESS).books), 0)
  },
)

const disk = SmallDisk.open(48 * 1024 * 1024)
t.teardown(() => typeof disk !== 'string' && disk[Symbol.dispose]())

t.test(
  'on a disk full to the last byte a queue drains, across a restart too, and takes more when there is room',
  { skip: typeof disk === 'string' ? disk : false },
  async (t) => {
    if (typeof disk === 'string') return
    const folder = join(disk.path, 'store')
    const first = await Store.open({ folder })
    const queue = first.queue('q', BOUNDLESS)
    for (let n = 0; n < 10; n += 1)
      await Promise.all(Array.from({ length: 50 }, () => first.accept(sized(2000), [queue])))
    disk.fill()
    await t.rejects(first.accept(sized(2000), [queue]), { code: 'DISK_FULL' })
    t.match(first.fault, /disk that holds .* is full/)
    for (let n = 0; n < 250; n += 1) void queue.forwarded(queue.after(0) as number).catch(() => {})
    await until('half of it is gone, from the disk too', async () => {
      await using view = StoreView.open(folder)
      return view.queues()[0]?.books.pending === 250
    })
    disk.fill()
    await first[Symbol.asyncDispose]()

    const second = await openStore(t, folder)
    const again = second.queue('q', BOUNDLESS)
    t.strictSame(again.books, { accepted: 500, forwarded: 250, pending: 250, dropped: {} })
    t.throws(() => second.accept(sized(2000), [again]), { code: 'DISK_FULL' })
    disk.fill()
    again.clear('spilled')
    await until('all of it is gone', async () => {
      await using view = StoreView.open(folder)
      const { accepted, forwarded, pending, dropped } = view.queues()[0]?.books ?? {}
      return accepted === 500 && forwarded === 250 && pending === 0 && dropped?.spilled === 250
    })
    t.ok(second.fault)
    disk.makeRoom()
    await until('it takes messages', () => second.fault === undefined)
    await second.accept(sized(2000), [again])
    t.strictSame(again.books, { accepted: 501, forwarded: 250, pending: 1, dropped: { spilled: 250 } })
  },
)

t.test(
  'a small value that a full disk refuses is written when there is room, as asked for last',
  { skip: typeof disk === 'string' ? disk : false },
  async (t) => {
    if (typeof disk === 'string') return
    const store = await openStore(t, join(disk.path, 'values'))
    await store.put('table', 'key', Buffer.from('one'))
    disk.fill()
    await t.rejects(store.put('table', 'key', Buffer.alloc(100_000, 'two')), { code: 'DISK_FULL' })
    t.equal(String(store.get('table', 'key')), 'one')
    disk.makeRoom()
    await until('it is written', () => store.get('table', 'key')?.length === 100_000)
    await until('it takes messages', () => store.fault === undefined)
  },
)

t.test('a new store on a full disk says so', { skip: typeof disk === 'string' ? disk : false }, async (t) => {
  if (typeof disk === 'string') return
  disk.fill()
  for (const folder of ['full', 'full'])
    await t.rejects(Store.open({ folder: join(disk.path, folder) }), { code: 'DISK_FULL' })
  disk.makeRoom()
  await openStore(t, join(disk.path, 'full'))
})

t.test('a store of a newer version is refused and left as it is', async (t) => {
  const folder = temporaryFolder(t)
  const store = await openStore(t, folder)
  await store.accept(message('x'), [store.queue('q', BOUNDLESS)])
  await store[Symbol.asyncDispose]()
  const root = openLmdb({ path: join(folder, 'store.mdb'), encoding: 'binary', maxDbs: 8 })
  await root.put('version', Buffer.from('3'))
  await root.close()
  await t.rejects(Store.open({ folder }), { code: 'STORE_NEWER' })
  await t.rejects(Store.open({ folder }), { code: 'STORE_NEWER' }, 'and the lock is not left behind')
  t.equal(bodies(folder), 1)
})

t.test('a file that is no store says so and is not touched', async (t) => {
  for (const garbage of [Buffer.alloc(100_000, 'not a store '), Buffer.alloc(100), Buffer.alloc(50_000)]) {
    const folder = temporaryFolder(t)
    writeFileSync(join(folder, 'store.mdb'), garbage)
    await t.rejects(Store.open({ folder }), { code: 'STORE_CORRUPT', message: new RegExp(folder) })
    t.ok(readFileSync(join(folder, 'store.mdb')).equals(garbage))
  }
})

t.test('an empty file is a new store', async (t) => {
  const folder = temporaryFolder(t)
  writeFileSync(join(folder, 'store.mdb'), '')
  await t.resolves(openStore(t, folder))
})

t.test('a folder that cannot be made says so', async (t) => {
  const folder = temporaryFolder(t)
  writeFileSync(join(folder, 'file'), '')
  await t.rejects(Store.open({ folder: join(folder, 'file', 'store') }), { code: 'FOLDER_UNWRITABLE' })
})

/** Counted past our own code. */
function bodies(folder: string): number {
  const root = openLmdb({ path: join(folder, 'store.mdb'), encoding: 'binary', maxDbs: 8, readOnly: true })
  const count = root.openDB({ name: 'bodies', encoding: 'binary' }).getCount()
  void root.close()
  return count
}

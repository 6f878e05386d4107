import { setTimeout as sleep } from 'node:timers/promises'
import pino from 'pino'
import t from 'tap'
import { decodeEntry, encodeEntry, inboxHeader, type QuarantineHeader } from '../../cloud-subscriber/entry.ts'
import { subscriberForget } from '../../cloud-subscriber/forget.ts'
import { RecentIds } from '../../cloud-subscriber/recent-ids.ts'
import { KeepMarks } from '../../cloud-subscriber/recordings/keep-marks.ts'
import { type Announce, type Index, Storer } from '../../cloud-subscriber/store.ts'
import type { Bucket, ListedObject, ObjectToStore } from '../../lib/buckets/bucket.ts'
import { failure } from '../../lib/errors.ts'
import type { Queue } from '../../store/queue.ts'
import { Store } from '../../store/store.ts'
import { makeCrop, received } from '../kit/crops.ts'
import { missing, type Test, temporaryFolder } from '../kit/programs.ts'
import { until } from '../kit/wait.ts'

// They wait for clocks, each for its own bucket's.
t.jobs = 13

/** A bucket in memory that fails to order. What was written is safe from the next `sync` that resolves. */
class FlakyBucket implements Bucket {
  readonly description = 'flaky'
  readonly written = new Map<string, Buffer>()
  readonly safe = new Set<string>()
  creates = 0
  active = 0
  activeMax = 0
  /** Why the next writes of this key fail. */
  onCreate: (key: string) => Error | undefined = () => undefined
  onSync: () => Error | undefined = () => undefined
  gate: Promise<void> = Promise.resolve()
  syncGate: Promise<void> = Promise.resolve()
  /** How often each key was to be written. */
  readonly tries = new Map<string, number>()

  async create({ key, body }: ObjectToStore): Promise<'stored' | 'already-there'> {
    this.creates += 1
    this.tries.set(key, (this.tries.get(key) ?? 0) + 1)
    this.active += 1
    this.activeMax = Math.max(this.activeMax, this.active)
    try {
      await this.gate
      await new Promise((resolve) => setTimeout(resolve, 2))
      const fault = this.onCreate(key)
      if (fault) throw fault
      if (this.written.has(key)) return 'already-there'
      this.written.set(key, Buffer.from(body))
      return 'stored'
    } finally {
      this.active -= 1
    }
  }

  async sync(): Promise<void> {
    const keys = [...this.written.keys()]
    await this.syncGate
    const fault = this.onSync()
    if (fault) {
      for (const key of keys) if (!this.safe.has(key)) this.written.delete(key) // the kernel dropped the pages
      throw fault
    }
    for (const key of keys) this.safe.add(key)
  }

  async replace(): Promise<void> {}
  async read(): Promise<undefined> {
    return undefined
  }
  async *list(prefix: string): AsyncGenerator<ListedObject> {
    for (const [key, { length }] of this.written)
      if (key.startsWith(prefix)) yield { key, modifiedAtMs: 0, bytes: length }
  }
  async *folders(): AsyncGenerator<never> {}
  async remove(keys: readonly string[]): Promise<void> {
    for (const key of keys) this.written.delete(key)
  }
  url(key: string): string {
    return key
  }
  async [Symbol.asyncDispose](): Promise<void> {}
}

/** The same for both, of which one has nothing. */
const onlyLane = ({ inbox, recent, storer }: { inbox: Queue; recent: RecentIds; storer: Storer }) => ({
  lanes: { crops: { inbox, recent }, clips: { inbox, recent } },
  storers: { crops: storer, clips: storer },
})

async function line(
  t: Test,
  folder = temporaryFolder(t),
  bucket = new FlakyBucket(),
  writesMax = 8,
  index?: Index,
  announce?: Announce,
) {
  const store = await Store.open({ folder })
  const bounds = { entriesMax: 1e6, bytesMax: 1e9, ageMsMax: Infinity } as const
  const inbox = store.queue('inbox', { ...bounds, whenFull: 'reject' })
  const quarantine = store.queue('quarantine', { ...bounds, whenFull: 'drop-oldest' })
  const recent = new RecentIds(store, 1000)
  const counted = { stored: 0, alreadyThere: 0, failed: [] as string[] }
  const storer = Storer.open({
    store,
    inbox,
    quarantine,
    recent,
    bucket,
    publicRead: false,
    index,
    announce,
    writesMax,
    topicPrefix: 'sightline/v1',
    log: pino({ level: 'silent' }),
    events: {
      stored: () => {
        counted.stored += 1
      },
      alreadyThere: () => {
        counted.alreadyThere += 1
      },
      failed: (code) => counted.failed.push(code),
    },
  })
  let closing: Promise<void> | undefined
  const close = () => {
    closing ??= storer[Symbol.asyncDispose]().then(() => store[Symbol.asyncDispose]())
    return closing
  }
  t.after(close)
  const add = (count: number) =>
    Promise.all(
      Array.from({ length: count }, async () => {
        const { metadata, payload } = makeCrop()
        const header = inboxHeader(metadata, received())
        await store.accept(encodeEntry(header, payload), [inbox], { key: header.id })
        return { ...header, payload }
      }),
    )
  return { store, inbox, quarantine, recent, bucket, storer, counted, add, close, folder }
}

t.test(
  'crops go from the inbox to the bucket, so many at a time, and leave when they are safe',
  async (t) => {
    const { inbox, bucket, recent, counted, add } = await line(t)
    const open = Promise.withResolvers<void>()
    bucket.gate = open.promise
    const made = await add(50)
    t.equal(inbox.size, 50)
    t.equal(bucket.active, 8)
    open.resolve()
    await until('the inbox is empty', () => inbox.size === 0)
    t.equal(bucket.activeMax, 8)
    t.equal(counted.stored, 50)
    for (const { id, key, payload } of made)
      if (!bucket.safe.has(key) || !bucket.written.get(key)?.equals(payload) || !recent.has(id)) t.fail(key)
    t.strictSame(inbox.books, { accepted: 50, forwarded: 50, pending: 0, dropped: {} })
  },
)

t.test('a crop leaves the inbox only when the bucket has flushed it', async (t) => {
  const { inbox, bucket, add, storer } = await line(t)
  let broken = true
  bucket.onSync = () => (broken ? failure('DISK_FULL', 'The disk is full.') : undefined)
  const [one] = await add(1)
  await until('flushing has failed twice', () => bucket.creates >= 3)
  t.equal(inbox.size, 1)
  t.match(storer.fault, /disk is full/)
  broken = false
  await until('it has left', () => inbox.size === 0)
  t.ok(bucket.safe.has(one?.key as string), 'written anew after the flush that failed')
  t.equal(storer.fault, undefined)
})

t.test(
  'a bucket that is away is tried again until it is back; nothing is lost, order is oldest first',
  async (t) => {
    const { inbox, bucket, counted, add, storer, close } = await line(t)
    let away = true
    const tried: string[] = []
    bucket.onCreate = (key) => {
      if (!away) tried.push(key)
      return away ? failure('BUCKET_UNREACHABLE', 'The bucket is away.') : undefined
    }
    const made = await add(30)
    await until('all that were under way have failed', () => bucket.creates >= 8 && bucket.active === 0)
    bucket.activeMax = 0
    await until('it has been tried again', () => bucket.creates > 10)
    t.equal(bucket.activeMax, 1, 'by one write at a time')
    t.match(storer.fault, /bucket is away/)
    t.ok(bucket.creates < 20, 'with pauses')
    t.equal(inbox.size, 30)
    const { creates } = bucket
    for (let n = 0; n < 10; n += 1) made.push(...(await add(1)))
    t.ok(bucket.creates < creates + 5, 'what comes meanwhile does not end the pause')
    away = false
    await until('all are stored', () => inbox.size === 0)
    t.strictSame(
      tried,
      made.map(({ key }) => key),
    )
    t.equal(storer.fault, undefined)
    t.strictSame(new Set(counted.failed), new Set(['BUCKET_UNREACHABLE']))
    away = true
    await add(3)
    const closing = performance.now()
    await close()
    t.ok(performance.now() - closing < 5000, 'and closing does not wait for it')
    t.equal(bucket.safe.size, 40)
  },
)

t.test(
  'an object that the bucket will not take goes to quarantine whole, and the others go on',
  async (t) => {
    const { inbox, quarantine, bucket, add } = await line(t)
    let refused = ''
    let moody = ''
    bucket.onCreate = (key) =>
      key === refused || (key === moody && (bucket.tries.get(key) ?? 0) < 5)
        ? failure('BUCKET_REFUSED', 'The bucket does not like it.')
        : undefined
    const open = Promise.withResolvers<void>()
    bucket.gate = open.promise
    const made = await add(20)
    const poison = made[5]
    refused = poison?.key as string
    moody = made[7]?.key as string // taken at last
    open.resolve()
    await until('the inbox is empty', () => inbox.size === 0)
    t.equal(bucket.safe.size, 19)
    t.strictSame(inbox.books, { accepted: 20, forwarded: 19, pending: 0, dropped: { quarantined: 1 } })
    const message = quarantine.read(quarantine.after(0) ?? 0)
    if (!message) throw new Error('quarantine is empty')
    const { header, payload } = decodeEntry<QuarantineHeader>(message)
    t.match(header, {
      topic: 'sightline/v1/home/pi/door/crop',
      reason: 'refused by the bucket',
      detail: /does not like it/,
    })
    t.ok(payload.equals(poison?.payload as Buffer))
    t.strictSame([bucket.tries.get(refused), bucket.tries.get(moody)], [5, 5])
  },
)

t.test(
  'an object whose name the bucket cannot have goes there too, though it has taken no other',
  async (t) => {
    const { inbox, quarantine, bucket, add } = await line(t)
    bucket.onCreate = () => failure('NAME_INVALID', 'It is no name here.')
    await add(1)
    await until('the inbox is empty', () => inbox.size === 0, 20_000)
    t.strictSame([bucket.written.size, quarantine.size], [0, 1])
  },
)

t.test('what is forgotten on its way to the bucket does not stay there', async (t) => {
  const { store, inbox, quarantine, recent, bucket, storer, add } = await line(t)
  const gate = Promise.withResolvers<void>()
  bucket.gate = gate.promise
  const made = await add(20)
  const refused = made[3]?.key
  bucket.onCreate = (key) => (key === refused ? failure('BUCKET_REFUSED', 'No.') : undefined)
  const log = pino({ level: 'silent' })
  const keep = KeepMarks.open({ bucket, store })
  const forget = subscriberForget({
    ...{ store, quarantine, bucket, keep, log },
    ...onlyLane({ inbox, recent, storer }),
    writer: 'x',
  })
  const selection = { kind: 'device', site: 'home', device: 'pi' }
  const forgotten = Array.fromAsync(forget({ selection, dryRun: false }, new AbortController().signal))
  setTimeout(gate.resolve, 50)
  t.match(await forgotten, [{ count: 20 }, { count: 0 }, { count: 7 }])
  t.equal(bucket.written.size, 0)
  await storer[Symbol.asyncDispose]()
  t.strictSame(inbox.books, { accepted: 20, forwarded: 0, pending: 0, dropped: { forgotten: 20 } })
  for (const { id } of made) t.ok(recent.has(id))
})

t.test(
  'what is under way, or written and not yet flushed, is not written again after a failure',
  async (t) => {
    const { inbox, bucket, counted, add } = await line(t)
    const [written, slow, flushed] = [0, 0, 0].map(() => Promise.withResolvers<void>())
    bucket.syncGate = flushed?.promise as Promise<void>
    const [first] = await add(1)
    await until('the first is written', () => counted.stored === 1)
    bucket.gate = slow?.promise as Promise<void>
    const [second] = await add(1)
    await until('the second is under way', () => bucket.active === 1)
    bucket.gate = written?.promise as Promise<void>
    let fails = 2
    const [third] = await add(1)
    bucket.onCreate = (key) =>
      key === third?.key && fails-- > 0 ? failure('BUCKET_REFUSED', 'Not now.') : undefined
    written?.resolve()
    await until('the third has failed twice', () => counted.failed.length === 2)
    await until('it is written', () => counted.stored === 2)
    slow?.resolve()
    flushed?.resolve()
    await until('all are stored', () => inbox.size === 0)
    t.strictSame(
      [first, second, third].map((it) => bucket.tries.get(it?.key as string)),
      [1, 1, 3],
    )
  },
)

t.test(
  'a crop leaves the inbox only when the gallery lists it; told to stop, it has that done',
  async (t) => {
    const written = Promise.withResolvers<void>()
    const listed = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    let flushes = 0
    const index: Index = {
      add: () => (listed[counted.stored] as (typeof listed)[0]).promise,
      async flush() {
        flushes += 1
        listed[1]?.resolve()
      },
    }
    const { inbox, bucket, counted, add, storer } = await line(t, undefined, undefined, 8, index)
    await add(1)
    await until('it is written', () => counted.stored === 1)
    await sleep(300)
    t.equal(inbox.size, 1)
    listed[0]?.resolve()
    await until('it has left', () => inbox.size === 0)
    bucket.gate = written.promise
    await add(1)
    await until('another is under way', () => bucket.active === 1)
    let closed = false
    const closing = storer[Symbol.asyncDispose]().then(() => {
      closed = true
    })
    await add(1)
    await sleep(300)
    t.equal(closed, false, 'what is under way is waited for')
    written.resolve()
    await closing
    t.ok(flushes > 0)
    t.match(inbox.books, { accepted: 3, forwarded: 2, pending: 1 }, 'and what comes now is left for later')
    t.equal(bucket.creates, 2)
  },
)

t.test('a bucket that answers nothing is said to, though nothing has failed', async (t) => {
  const { inbox, bucket, add, storer } = await line(t)
  const answers = Promise.withResolvers<void>()
  bucket.gate = answers.promise
  await add(1)
  t.equal(storer.fault, undefined)
  await until('it is said', () => /No answer from the .* for 1\d s/.test(storer.fault ?? ''), 15_000)
  answers.resolve()
  await until('it is stored', () => inbox.size === 0)
  t.equal(storer.fault, undefined)
})

/** Acknowledges when it is told to. */
function listener() {
  const said: string[] = []
  const waiting: (() => void)[] = []
  const announce: Announce = {
    stored: (lines) => {
      said.push(...lines.map((line) => (JSON.parse(line) as { key: string }).key))
      return new Promise((resolve) => waiting.push(resolve))
    },
    drained: async () => {},
  }
  const acknowledge = () => {
    for (const resolve of waiting.splice(0)) resolve()
  }
  return { said, announce, acknowledge }
}

t.test('an announcement waits for the flush, and not for the index; the entry for all three', async (t) => {
  const { said, announce, acknowledge } = listener()
  const listed = Promise.withResolvers<void>()
  const index: Index = { add: () => listed.promise, flush: async () => listed.resolve() }
  const { inbox, bucket, recent, add } = await line(t, undefined, undefined, 8, index, announce)
  const flushed = Promise.withResolvers<void>()
  bucket.syncGate = flushed.promise
  const [one] = await add(1)
  await until('it is written', () => bucket.written.size === 1)
  await sleep(200)
  t.strictSame(said, [], 'it may be gone after a power cut yet')
  flushed.resolve()
  await until('it is announced', () => said.length === 1)
  t.strictSame(said, [one?.key])
  acknowledge()
  await sleep(200)
  t.equal(inbox.size, 1, 'the index has it not')
  t.notOk(recent.has(one?.id as string))
  listed.resolve()
  await until('it has left', () => inbox.size === 0)
  t.ok(recent.has(one?.id as string))
  const [two] = await add(1)
  await until('the next is announced, and listed', () => said.length === 2)
  await sleep(200)
  t.equal(inbox.size, 1, 'nobody has acknowledged that')
  t.equal(bucket.tries.get(two?.key as string), 1)
  acknowledge()
  await until('it has left too', () => inbox.size === 0)
  t.match(inbox.books, { accepted: 2, forwarded: 2 })
})

t.test(
  'what is forgotten before the bucket has flushed it is announced as removed, and only so',
  async (t) => {
    const { said, announce, acknowledge } = listener()
    const { bucket, add, storer, ...rest } = await line(t, undefined, undefined, 8, undefined, announce)
    const { store, inbox, quarantine, recent } = rest
    const flushed = Promise.withResolvers<void>()
    bucket.syncGate = flushed.promise
    const [mine] = await add(1)
    await until('it is written', () => bucket.written.size === 1)
    const removed: string[] = []
    const announcements = {
      removed: async (keys: readonly string[]) => void removed.push(...keys),
    }
    const log = pino({ level: 'silent' })
    const forget = subscriberForget({
      ...{ store, quarantine, announcements, bucket, log },
      ...onlyLane({ inbox, recent, storer }),
      keep: KeepMarks.open({ bucket, store }),
      writer: 'it',
    })
    const selection = { kind: 'device', site: 'home', device: 'pi' }
    const forgetting = Array.fromAsync(forget({ selection, dryRun: false }, new AbortController().signal))
    await until('it is gone', () => bucket.written.size === 0)
    flushed.resolve()
    await forgetting
    await sleep(300)
    t.strictSame(said, [])
    t.strictSame([...new Set(removed)], [mine?.key])
    t.match(inbox.books, { accepted: 1, pending: 0, dropped: { forgotten: 1 } })
    const [later] = await add(1)
    await until('what comes later is announced', () => said.length === 1)
    t.strictSame(said, [later?.key])
    acknowledge()
    await until('and leaves', () => inbox.size === 0)
  },
)

t.test('so many announcements may wait, and no more; what was announced is not written again', async (t) => {
  const { said, announce, acknowledge } = listener()
  const { inbox, bucket, storer, add } = await line(t, undefined, undefined, 500, undefined, announce)
  await add(21_500)
  await until('it stops', () => /have|has not acknowledged/.test(storer.fault ?? ''), 30_000)
  await sleep(500)
  const { creates } = bucket
  t.ok(creates >= 10_000 && creates < 21_500, `${creates} are in the bucket`)
  t.equal(inbox.size, 21_500)
  t.equal(storer.waiting, 21_500 - creates)
  await until('all that are written are announced', () => said.length === creates)
  await until(
    'the rest follows',
    () => {
      acknowledge()
      return inbox.size === 0
    },
    30_000,
  )
  t.equal(storer.fault, undefined)
  t.equal(bucket.creates, 21_500, 'each was written once')
  t.equal(new Set(said).size, 21_500)
})

t.test('so many may be written and not flushed, and no more', async (t) => {
  const { inbox, bucket, add } = await line(t, undefined, undefined, 500)
  const flushed = Promise.withResolvers<void>()
  bucket.syncGate = flushed.promise
  await add(10_700)
  await until('they are written', () => bucket.written.size >= 10_000 && bucket.active === 0, 60_000)
  t.ok(bucket.written.size < 10_500, `${bucket.written.size} were written`)
  flushed.resolve()
  await until('the rest is too', () => inbox.size === 0, 60_000)
})

t.test('a bucket that refuses every object is at fault itself: nothing goes to quarantine', async (t) => {
  const { inbox, quarantine, bucket, counted, storer, add } = await line(t)
  let refuses = true
  bucket.onCreate = () => (refuses ? failure('BUCKET_REFUSED', 'It refuses all.') : undefined)
  await add(3)
  await until(
    'it was tried more often than an object may be refused',
    () => counted.failed.length > 18,
    20_000,
  )
  t.match(storer.fault, /refuses all/)
  refuses = false
  await until('all are stored', () => inbox.size === 0)
  t.equal(quarantine.size, 0)
  t.strictSame(inbox.books, { accepted: 3, forwarded: 3, pending: 0, dropped: {} })
})

t.test(
  'what was being written when it stopped goes on at the next start, without a second copy',
  async (t) => {
    const first = await line(t)
    const never = Promise.withResolvers<void>()
    first.bucket.onSync = () => failure('STORE_IO', 'no')
    await first.add(20)
    await until('some are written', () => first.bucket.creates >= 20)
    first.bucket.gate = never.promise
    setTimeout(() => never.resolve(), 50)
    await first.close()
    first.bucket.onSync = () => undefined
    const second = await line(t, first.folder, first.bucket)
    await until('the inbox is empty', () => second.inbox.size === 0)
    t.equal(first.bucket.safe.size, 20)
    t.strictSame(second.inbox.books, { accepted: 20, forwarded: 20, pending: 0, dropped: {} })
    t.equal(missing(second.inbox.books), 0)
  },
)

t.test(
  'recent ids: at least half of so many are remembered, on disk, and no more than so many',
  async (t) => {
    const folder = temporaryFolder(t)
    const id = (n: number) => `01935c5a-0000-7000-8000-${String(n).padStart(12, '0')}`
    const store = await Store.open({ folder })
    const recent = new RecentIds(store, 1000)
    for (let n = 0; n < 1500; n += 1) {
      recent.add([id(n)])
      if (n % 100 === 0) await store.committed()
    }
    await store[Symbol.asyncDispose]()
    const again = await Store.open({ folder })
    t.after(() => again[Symbol.asyncDispose]())
    const later = new RecentIds(again, 1000)
    t.strictSame(
      [0, 499, 500, 1499, 1500].map((n) => later.has(id(n))),
      [false, false, true, true, false],
    )
    later.add([id(2000), id(2001)])
    await again.committed()
    t.ok(later.has(id(2000)) && later.has(id(2001)))
    t.ok(later.has(id(1000)), 'half of them at least')
    t.notOk(later.has(id(500)), 'the oldest made room')
    t.equal([...again.entries('recent ids')].length, 501, 'and on disk')
  },
)

t.test('recent ids: of many thousands each is found, whatever it begins with, and old rows go', async (t) => {
  const folder = temporaryFolder(t)
  const id = (n: number) => `${String(n % 7).padStart(8, '0')}-0000-7000-8000-${String(n).padStart(12, '0')}`
  const store = await Store.open({ folder })
  const recent = new RecentIds(store, 10_000)
  for (let n = 0; n < 30_000; n += 100) recent.add(Array.from({ length: 100 }, (_, i) => id(n + i)))
  await store.committed()
  const found = (ids: RecentIds, from: number, to: number) => {
    let count = 0
    for (let n = from; n < to; n += 1) if (ids.has(id(n))) count += 1
    return count
  }
  t.strictSame(
    [found(recent, 0, 20_000), found(recent, 25_000, 30_000), found(recent, 30_000, 40_000)],
    [0, 5000, 0],
  )
  const rows = [...store.entries('recent ids')].length
  t.ok(rows >= 50 && rows <= 101, `${rows} rows of 100 on disk`)
  await store[Symbol.asyncDispose]()
  const again = await Store.open({ folder })
  t.after(() => again[Symbol.asyncDispose]())
  t.equal(found(new RecentIds(again, 10_000), 25_000, 30_000), 5000)
})

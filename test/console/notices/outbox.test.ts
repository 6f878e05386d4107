import { createHmac } from 'node:crypto'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import type { NewNotice } from '../../../console/rules/fact.ts'
import { newId } from '../../../wire/id.ts'
import { noticeSchema } from '../../../wire/notice.ts'
import { makeRemoved, makeStored } from '../../kit/announcements.ts'
import { seeded, until } from '../../kit/wait.ts'
import {
  books,
  deliveriesOf,
  GATE,
  keepChannel,
  newNotice,
  open,
  openDatabase,
  openReceiver,
  webhookId,
} from './notices-kit.ts'

t.test('a notice arrives once, signed, with an id that a second one would have again', async (t) => {
  const database = await openDatabase(t)
  const receiver = await openReceiver(t)
  const secret = `whsec_${Buffer.alloc(32, 7).toString('base64')}`
  await keepChannel(database, 'hook', { type: 'webhook', url: receiver.url, secret })
  const { write } = await open(t, database)
  const it = newNotice()
  await write(it)
  await until('it arrives', () => receiver.heard.length > 0)
  const [heard] = receiver.heard
  if (!heard) return
  const notice = noticeSchema.parse(JSON.parse(heard.body.toString()))
  t.match(notice, { id: it.notice.id, revision: 0, is: 'new', title: it.notice.title, camera: 'gate' })
  t.equal(webhookId(heard), `${it.notice.id}.0`)
  const signed = createHmac('sha256', Buffer.alloc(32, 7))
    .update(`${webhookId(heard)}.${heard.headers['webhook-timestamp']}.${heard.body}`)
    .digest('base64')
  t.equal(heard.headers['webhook-signature'], `v1,${signed}`)
  await until('it is written down', async () => (await books(database))[0]?.sent === 1)
  await write(it)
  await sleep(100)
  t.equal(receiver.heard.length, 1, 'the same again changes nothing')
  t.match(await books(database), [
    { channel: 'hook', made: 1, sent: 1, given_up: 0, not_sent: 0, waiting: 0 },
  ])
})

t.test(
  'a receiver that fails a third of the time gets each at least once, and the books agree',
  async (t) => {
    const database = await openDatabase(t)
    const receiver = await openReceiver(t)
    await keepChannel(database, 'hook', { type: 'webhook', url: receiver.url })
    const random = seeded(16)
    receiver.answer = (_heard, response) => {
      const kind = random() < 1 / 3 ? Math.floor(random() * 4) : -1
      if (kind === 0) response.writeHead(500).end('it is broken')
      else if (kind === 1) response.socket?.resetAndDestroy()
      else if (kind === 2) response.writeHead(503, { 'retry-after': '0' }).end()
      // Taken, and nobody hears that it was.
      else if (kind === 3) setTimeout(() => response.destroy(), 5)
      else response.writeHead(200).end('ok')
    }
    const { write, notices } = await open(t, database)
    const all = Array.from({ length: 120 }, () => newNotice())
    for (let at = 0; at < all.length; at += 40) await write(...all.slice(at, at + 40))
    await until('all are sent', async () => (await books(database))[0]?.sent === all.length, 20_000)
    const ids = new Set(receiver.heard.map(webhookId))
    t.equal(ids.size, all.length)
    for (const { notice } of all) t.ok(ids.has(`${notice.id}.0`))
    t.match(await books(database), [{ made: 120, sent: 120, given_up: 0, not_sent: 0, waiting: 0 }])
    await notices.readBooks()
    t.match(notices.books, { name: 'notices', accepted: 120, forwarded: 120, pending: 0, dropped: {} })
    const attempts = await database.write.selectFrom('attempts').selectAll().execute()
    t.equal(attempts.length, receiver.heard.length, 'each attempt is kept')
    t.ok(attempts.some(({ status, answer }) => status === 500 && answer === 'it is broken'))
    t.ok(attempts.some(({ code }) => code === 'ECONNRESET'))
  },
)

t.test('a channel that hangs or fails does not hold up another', async (t) => {
  const database = await openDatabase(t)
  const good = await openReceiver(t)
  const hung = await openReceiver(t)
  hung.answer = () => {}
  await keepChannel(database, 'good', { type: 'webhook', url: good.url })
  await keepChannel(database, 'hung', { type: 'webhook', url: hung.url })
  await keepChannel(database, 'gone', { type: 'webhook', url: 'http://127.0.0.1:9/nobody' })
  const { write } = await open(t, database)
  const from = Date.now()
  await write(...Array.from({ length: 60 }, () => newNotice({}, ['hung', 'gone', 'good'])))
  await until('the good one has all', () => new Set(good.heard.map(webhookId)).size === 60, 8_000)
  t.ok(Date.now() - from < 8_000)
  t.ok(hung.heard.length <= 16, 'and what hangs has few at a time')
})

t.test('a newer revision takes the place of one that waits, which never comes after it', async (t) => {
  const database = await openDatabase(t)
  const receiver = await openReceiver(t)
  await keepChannel(database, 'hook', { type: 'webhook', url: receiver.url, updates: true })
  await keepChannel(database, 'once', { type: 'webhook', url: receiver.url })
  let isDown = true
  receiver.answer = (_heard, response) => void response.writeHead(isDown ? 500 : 200).end()
  const { write } = await open(t, database, { retry: { delayMsMin: 150, delayMsMax: 200 } })
  const first = newNotice({}, ['hook', 'once'], 'track 1')
  await write(first)
  await until('it was tried', () => receiver.heard.length >= 2)
  const better = newNotice({ is: 'updated', title: 'A better picture' }, ['hook', 'once'], 'track 1')
  await write(better)
  isDown = false
  const before = receiver.heard.length
  await until('both are sent', async () => (await books(database)).every(({ waiting }) => waiting === 0))
  const heard = receiver.heard.slice(before).map((it) => JSON.parse(it.body.toString()))
  t.same(
    heard
      .map(({ id, revision, is, title }) => ({ id, revision, is, title }))
      .sort((a, b) => a.revision - b.revision),
    [
      { id: first.notice.id, revision: 0, is: 'new', title: 'A better picture' },
      { id: first.notice.id, revision: 1, is: 'updated', title: 'A better picture' },
    ],
    'who wants no updates still hears the newest',
  )
  const deliveries = await deliveriesOf(database, first.notice.id)
  t.match(
    deliveries.filter(({ channel }) => channel === 'hook'),
    [
      { revision: 0, state: 'not sent', why: 'Revision 1 took its place.' },
      { revision: 1, state: 'sent' },
    ],
  )
  await write(better)
  await sleep(50)
  t.equal(
    (await deliveriesOf(database, first.notice.id)).length,
    deliveries.length,
    'the same again is nothing',
  )
})

t.test('why a notice was not sent is said', async (t) => {
  const database = await openDatabase(t)
  const receiver = await openReceiver(t)
  await keepChannel(database, 'off', { type: 'webhook', url: receiver.url, enabled: false })
  await keepChannel(database, 'few', { type: 'webhook', url: receiver.url, perHourMax: 2 })
  await keepChannel(database, 'choosy', { type: 'webhook', url: receiver.url })
  await keepChannel(database, 'later', { type: 'webhook', url: 'http://127.0.0.1:9/' })
  await keepChannel(database, 'inside', { type: 'webhook', url: 'http://10.1.2.3/' })
  receiver.answer = (heard, response) => {
    const isChoosy = JSON.parse(heard.body.toString()).title === 'choosy'
    response.writeHead(isChoosy ? 422 : 200).end('I do not like it\u0000\u202e')
  }
  const { write } = await open(t, database)
  const whys = async (it: NewNotice) =>
    (await deliveriesOf(database, it.notice.id)).map(({ state, why }) => `${state}: ${why}`)
  const nobody = newNotice({}, ['off', 'never'])
  await write(nobody)
  t.same(await whys(nobody), [
    'not sent: The channel "off" is turned off.',
    'not sent: There is no channel "never".',
  ])
  const many = [1, 2, 3].map(() => newNotice({}, ['few']))
  await write(...many)
  const last = many[2] as NewNotice
  t.same(await whys(last), ['not sent: The channel "few" takes 2 notices an hour, and has had them.'])
  const choosy = newNotice({ title: 'choosy' }, ['choosy', 'inside'])
  await write(choosy)
  await until('they are given up', async () =>
    (await deliveriesOf(database, choosy.notice.id)).every(({ state }) => state === 'given up'),
  )
  t.match(await whys(choosy), [
    'given up: It answered 422.',
    /^given up: 10\.1\.2\.3 is a private address, and is not called\./,
  ])
  const [attempt] = await database.write
    .selectFrom('attempts')
    .selectAll()
    .where('status', '=', 422)
    .execute()
  t.equal(attempt?.answer, 'I do not like it\ufffd\ufffd')
  const later = newNotice({}, ['later'])
  await write(later)
  await until(
    'it was tried',
    async () => ((await deliveriesOf(database, later.notice.id))[0]?.attempts ?? 0) > 0,
  )
  await database.write
    .updateTable('deliveries')
    .set({ give_up_at_ms: Date.now() - 1, made_at_ms: Date.now() - 7_200_000 })
    .where('notice', '=', later.notice.id)
    .execute()
  await until('it is given up', async () => /given up/.test(String(await whys(later))))
  t.match(await whys(later), [/^given up: Not delivered within 2 hours\. Nothing listens at that address\.$/])
  for (const it of await books(database))
    t.equal(it.made, it.sent + it.given_up + it.not_sent + it.waiting, `the books of ${it.channel}`)
})

t.test('what a receiver asks to wait is waited', async (t) => {
  const database = await openDatabase(t)
  const receiver = await openReceiver(t)
  await keepChannel(database, 'hook', { type: 'webhook', url: receiver.url })
  receiver.answer = (_heard, response) => {
    if (receiver.heard.length > 1) response.writeHead(200).end()
    else response.writeHead(429, { 'retry-after': '1' }).end()
  }
  const { write } = await open(t, database)
  await write(newNotice())
  await until('it is sent', async () => (await books(database))[0]?.sent === 1)
  const [first, second] = receiver.heard
  t.ok((second?.atMs ?? 0) - (first?.atMs ?? 0) >= 990)
})

t.test('an ordered channel has one after the other of each camera', async (t) => {
  const database = await openDatabase(t)
  const receiver = await openReceiver(t)
  await keepChannel(database, 'hook', { type: 'webhook', url: receiver.url, ordered: true })
  const failed = new Map<string, number>()
  receiver.answer = (heard, response) => {
    const times = failed.get(webhookId(heard)) ?? 0
    failed.set(webhookId(heard), times + 1)
    response.writeHead(times === 0 ? 500 : 200).end()
  }
  const { write } = await open(t, database)
  const yard = { site: 'north', device: 'pi', camera: 'yard' }
  const all = Array.from({ length: 12 }, (_, n) =>
    n % 2 === 0 ? newNotice() : { ...newNotice(yard), camera: yard },
  )
  await write(...all)
  await until('all are sent', async () => (await books(database))[0]?.sent === all.length)
  for (const camera of ['gate', 'yard']) {
    const asked = all.filter(({ notice }) => notice.camera === camera).map(({ notice }) => `${notice.id}.0`)
    const heard = receiver.heard
      .filter((it) => JSON.parse(it.body.toString()).camera === camera)
      .map(webhookId)
    t.same(
      heard,
      asked.flatMap((id) => [id, id]),
      camera,
    )
  }
})

t.test(
  'a program that ends in between goes on at its next start, and sends once more on request',
  async (t) => {
    const database = await openDatabase(t)
    const receiver = await openReceiver(t)
    await keepChannel(database, 'hook', { type: 'webhook', url: receiver.url })
    receiver.answer = (_heard, response) => void response.writeHead(500).end()
    const one = await open(t, database)
    const it = newNotice()
    await one.write(it)
    await until('it was tried', () => receiver.heard.length > 0)
    await one.close()
    receiver.answer = (_heard, response) => void response.writeHead(200).end()
    const { notices } = await open(t, database, { folder: one.folder })
    await until('it is sent', async () => (await books(database))[0]?.sent === 1)
    const heard = receiver.heard.length
    const [delivery] = await deliveriesOf(database, it.notice.id)
    await notices.again(it.notice.id, delivery?.id ?? '')
    await until('it comes again', () => receiver.heard.length === heard + 1)
    t.equal(new Set(receiver.heard.map(webhookId)).size, 1, 'with the id that it had')
    await until('it counts', async () => (await books(database))[0]?.sent === 2)
    t.match(await books(database), [{ made: 2, sent: 2, waiting: 0 }])
    await t.rejects(notices.again(it.notice.id, it.notice.id), { code: 'NOT_FOUND' })
  },
)

t.test('a database that is away holds notices up, and loses none', async (t) => {
  const database = await openDatabase(t)
  const receiver = await openReceiver(t)
  await keepChannel(database, 'hook', { type: 'webhook', url: receiver.url })
  const { write, notices } = await open(t, database)
  const all = Array.from({ length: 30 }, () => newNotice())
  await write(...all.slice(0, 15))
  const other = new DatabaseSync(join(t.testdirName, 'console.sqlite'), { timeout: 5000 })
  // Answers to what is under way cannot be written down, nor can more be read.
  other.exec('alter table deliveries rename to away')
  await until('it says so', () => notices.fault !== undefined)
  other.exec('alter table away rename to deliveries')
  other.close()
  await write(...all.slice(15))
  await until('all are sent', async () => (await books(database))[0]?.sent === 30)
  t.equal(new Set(receiver.heard.map(webhookId)).size, 30)
  await until('and it is well again', () => notices.fault === undefined)
})

t.test('what is forgotten is gone from notices, and an arrival of it is not told any more', async (t) => {
  const database = await openDatabase(t)
  await keepChannel(database, 'hook', { type: 'webhook', url: 'http://127.0.0.1:9/' })
  const stored = makeStored({ ...GATE })
  await database.apply([stored], 'subscriber')
  const { write } = await open(t, database)
  const seen = newNotice({ detection: stored.id, track: newId() })
  const { id, key, bytes, sha256, capturedAtMs, storedAtMs, frame } = stored
  const arrival = newNotice({
    object: { kind: 'crop', id, key, bytes, sha256, capturedAtMs, storedAtMs, frame },
  })
  await write(seen, arrival)
  await database.apply([makeRemoved(stored)], 'subscriber')
  const rows = await database.write.selectFrom('notices').selectAll().execute()
  t.equal(rows.length, 2)
  t.notMatch(JSON.stringify(rows), stored.id)
  t.match(await deliveriesOf(database, arrival.notice.id), [
    { state: 'not sent', why: 'What it told of was deleted.' },
  ])
  t.match(await books(database), [{ made: 2, not_sent: 1, waiting: 1 }])
})

t.test('notices are kept for their time, and those that still go out for longer', async (t) => {
  const database = await openDatabase(t)
  const receiver = await openReceiver(t)
  await keepChannel(database, 'hook', { type: 'webhook', url: receiver.url })
  await keepChannel(database, 'gone', { type: 'webhook', url: 'http://127.0.0.1:9/' })
  const one = await open(t, database)
  const [sent, waits] = [newNotice(), newNotice({}, ['gone'])]
  await one.write(sent, waits)
  await until('one is sent', async () => (await books(database)).some((it) => it.sent === 1))
  await one.close()
  await database.write
    .updateTable('notices')
    .set({ changed_at_ms: Date.now() - 31 * 86_400_000 })
    .execute()
  await open(t, database, { folder: one.folder })
  const left = async () =>
    (await database.write.selectFrom('notices').select('id').execute()).map(({ id }) => id)
  await until('one is gone', async () => (await left()).length === 1)
  t.same(await left(), [waits.notice.id])
  t.same(await deliveriesOf(database, sent.notice.id), [])
})

t.test(
  'arrivals are all told, whatever the channel takes in an hour, and use up nothing of it',
  async (t) => {
    const database = await openDatabase(t)
    const receiver = await openReceiver(t)
    await keepChannel(database, 'hook', { type: 'webhook', url: receiver.url, perHourMax: 2 })
    const { write } = await open(t, database)
    const arrival = () => {
      const id = newId()
      return newNotice({ id, object: { kind: 'crop', id, key: `${id}.jpg`, bytes: 1 } } as never)
    }
    await write(...Array.from({ length: 20 }, arrival))
    await write(newNotice(), newNotice(), newNotice())
    await until('all that may go out came', () => receiver.heard.length === 22)
    await until('and is written down', async () => (await books(database))[0]?.sent === 22)
    t.match(await books(database), [{ made: 23, sent: 22, not_sent: 1, waiting: 0 }])

    await database.write.updateTable('notice_books').set({ made: 1_000_022 }).execute()
    const [first, second] = [arrival(), arrival()]
    await write(first, second)
    const [waits, tooMany] = await Promise.all(
      [first, second].map(({ notice }) => deliveriesOf(database, notice.id)),
    )
    t.match(tooMany, [{ state: 'not sent', why: /1000000 notices wait/ }])
    t.not(waits?.[0]?.state, 'not sent')
  },
)

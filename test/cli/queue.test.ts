import { join } from 'node:path'
import t from 'tap'
import { encodeMessage } from '../../broker/message.ts'
import { encodeEntry } from '../../cloud-subscriber/entry.ts'
import { queueList } from '../../commands/queue/list.ts'
import type { QueueBounds } from '../../store/queue.ts'
import { Store } from '../../store/store.ts'
import { missing, temporaryFolder } from '../kit/programs.ts'
import { sightline } from './sightline.ts'

const BOUNDS: QueueBounds = { entriesMax: 1e6, bytesMax: 1e9, ageMsMax: Infinity, whenFull: 'reject' }

async function filled(folder: string): Promise<Store> {
  const store = await Store.open({ folder })
  const uplink = store.queue('bridge/cloud', BOUNDS)
  for (let n = 0; n < 5; n += 1)
    await store.accept(
      encodeMessage({ topic: `sightline/v1/home/pi/door${n}/crop`, payload: Buffer.alloc(20_000), qos: 1 }),
      [uplink],
    )
  await uplink.forwarded(uplink.after(0) ?? 0)
  await uplink.drop(uplink.after(0) ?? 0, 'expired')
  const entry = { topic: 'a/\u001b[2J', receivedAtMs: 1, reason: 'not a JPEG', detail: 'the first bytes' }
  await store.accept(encodeEntry(entry, Buffer.from('x')), [store.queue('quarantine', BOUNDS)])
  return store
}

t.test('what waits is shown, while the program runs and after it has ended', async (t) => {
  const folder = temporaryFolder(t)
  const store = await filled(folder)
  t.after(() => store[Symbol.asyncDispose]())
  for (const when of ['running', 'stopped']) {
    const { status, stdout, stderr } = await sightline(t, ['queue', 'stats', folder])
    t.match({ status, stderr }, { status: 0, stderr: '' }, when)
    t.match(stdout, /^queue +pending +size +oldest +accepted +forwarded +dropped$/m)
    t.match(stdout, /^bridge\/cloud +3 +60\.0 KB +\d+ s +5 +1 +1 expired$/m)
    const list = await sightline(t, ['queue', 'ls', folder, 'bridge/cloud', '--max', '2'])
    t.match(list.stdout, /^\d{4}-\d\d-\d\dT[\d:.]+Z +20\.0 KB +sightline\/v1\/home\/pi\/door2\/crop$/m)
    t.match(list.stdout, /and 1 more/)
    await store[Symbol.asyncDispose]()
  }
})

t.test('the same for programs, and nothing from the wire reaches the terminal as it came', async (t) => {
  const folder = temporaryFolder(t)
  await (await filled(folder))[Symbol.asyncDispose]()
  const { stdout } = await sightline(t, ['queue', 'stats', folder, '--json'])
  const queues = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  t.match(queues[0], { name: 'bridge/cloud', bytes: 60_000, books: { pending: 3, dropped: { expired: 1 } } })
  for (const { books } of queues) t.equal(missing(books), 0)
  const list = await sightline(t, ['queue', 'ls', folder, 'quarantine'])
  t.match(list.stdout, /1 B {2}a\/\\u001b\[2J {2}not a JPEG {2}the first bytes/)
})

t.test('a queue is found by a client id and by a bridge’s name, too', async (t) => {
  const folder = temporaryFolder(t)
  const store = await filled(folder)
  store.queue('session/sightline-subscriber', BOUNDS)
  store.queue('session/quarantine', BOUNDS)
  await store[Symbol.asyncDispose]()
  const list = async (name: string) => await queueList(folder, name, 100, false)
  t.match(await list('cloud'), 'door2/crop')
  t.equal(await list('bridge/cloud'), await list('cloud'))
  t.equal(await list('sightline-subscriber'), 'session/sightline-subscriber is empty.\n')
  t.equal(await list('session/sightline-subscriber'), await list('sightline-subscriber'))
  t.match(await list('quarantine'), 'not a JPEG', 'the whole name first')
  await t.rejects(list('subscriber'), { code: 'QUEUE_NOT_FOUND' })
  await t.rejects(list('session/'), { code: 'QUEUE_NOT_FOUND' })
})

t.test('what cannot be shown says why', async (t) => {
  const folder = temporaryFolder(t)
  t.match(await sightline(t, ['queue', 'stats', join(folder, 'nowhere')]), {
    status: 66,
    code: 'STORE_NOT_FOUND',
  })
  await (await filled(folder))[Symbol.asyncDispose]()
  const wrong = await sightline(t, ['queue', 'ls', folder, 'inbox'])
  t.match(wrong, { status: 66, code: 'QUEUE_NOT_FOUND', sentence: /Its queues: bridge\/cloud, quarantine/ })
  t.match(await sightline(t, ['queue', 'ls', folder, 'quarantine', '--max', 'all']), { status: 64 })
  t.match(await sightline(t, ['queue', 'stats']), { status: 64, code: 'USAGE' })
})

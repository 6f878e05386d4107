import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { createConnection } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pino from 'pino'
import t from 'tap'
import { decodeMessage } from '../../broker/message.ts'
import { brokerQuarantine } from '../../broker/quarantine.ts'
import { encodeEntry } from '../../cloud-subscriber/entry.ts'
import { openLanes } from '../../cloud-subscriber/lanes.ts'
import { saveRules, subscriberQuarantine } from '../../cloud-subscriber/quarantine.ts'
import { act, list, show } from '../../commands/quarantine/entries.ts'
import { consoleQuarantine, faultsEntry, markConsoleStore } from '../../console/quarantine.ts'
import { CONTROL_FILE, ControlServer, callProgram, type Handlers } from '../../lib/control.ts'
import { QUARANTINE_COMMAND, type QuarantineRequest } from '../../store/quarantine.ts'
import type { QueueBounds } from '../../store/queue.ts'
import { Store } from '../../store/store.ts'
import { announcementLine, readBatch } from '../../wire/stored.ts'
import { storedOf } from '../console/api-server.ts'
import { makeCrop } from '../kit/crops.ts'
import { missing, temporaryFolder } from '../kit/programs.ts'
import { sightline } from './sightline.ts'

const quiet = () => {}

type Tap = Parameters<typeof temporaryFolder>[0]

const BOUNDS: QueueBounds = { entriesMax: 1e6, bytesMax: 1e9, ageMsMax: Infinity, whenFull: 'reject' }
const RULES = { topicPrefix: 'sightline/v1', payloadBytesMax: 100_000, clipBytesMax: 100_000 }
const log = pino({ level: 'silent' })

function collect(items: AsyncIterable<unknown> | undefined): Promise<unknown[]> {
  if (!items) throw new Error('nobody listens')
  return Array.fromAsync(items)
}

async function control(t: Tap, folder: string, handlers: Handlers): Promise<ControlServer> {
  const server = await ControlServer.open({ folder, handlers, health: () => ({ ok: true }), log })
  t.after(() => server[Symbol.asyncDispose]())
  return server
}

t.test('the program that holds a store takes commands of its own user only, one at a time', async (t) => {
  const folder = temporaryFolder(t)
  t.equal(await callProgram(folder, 'x', {}), undefined, 'nobody listens')
  writeFileSync(join(folder, CONTROL_FILE), 'left by a program that was killed')
  let running = 0
  const server = await control(t, folder, {
    async *count(args) {
      t.equal(++running, 1)
      for (let n = 0; n < (args as number); n += 1) {
        if (n % 100 === 0) await sleep(1)
        yield { n, padding: 'x'.repeat(1000) }
      }
      running -= 1
    },
    // biome-ignore lint/correctness/useYield: it never comes to that
    async *never(_args, signal) {
      await sleep(60_000, undefined, { signal })
    },
  })
  t.equal(statSync(join(folder, CONTROL_FILE)).mode & 0o777, 0o600)
  const answers = await Promise.all(
    [1000, 0, 3].map(async (n) => collect(await callProgram(folder, 'count', n))),
  )
  t.strictSame(
    answers.map(({ length }) => length),
    [1000, 0, 3],
  )
  const fails = async (command: string, args: unknown) => collect(await callProgram(folder, command, args))
  await t.rejects(fails('constructor', {}), { code: 'USAGE' })
  await t.rejects(fails('count', 'x'.repeat(70_000)), { code: 'USAGE' })
  const raw = createConnection(join(folder, CONTROL_FILE))
  raw.write('x'.repeat(70_000))
  raw.on('error', () => {})
  const said = await Array.fromAsync(raw)
  t.match(Buffer.concat(said as Buffer[]).toString(), /not exceed 65536 bytes/)
  const never = fails('never', {})
  never.catch(() => {})
  await sleep(50)
  await server[Symbol.asyncDispose]()
  await t.rejects(never, { code: 'PROGRAM_GONE' }, 'a program that stops does not wait for it')
  t.notOk(existsSync(join(folder, CONTROL_FILE)))
})

t.test('a caller that hangs up is nothing to complain of', async (t) => {
  const folder = temporaryFolder(t)
  const lines: { level: number; msg: string }[] = []
  const sink = { write: (line: string) => void lines.push(JSON.parse(line)) }
  let given = 0
  const server = await ControlServer.open({
    folder,
    handlers: {
      async *many() {
        given += 1
        for (let n = 0; n < 5000; n += 1) yield { n, padding: 'x'.repeat(1000) }
      },
    },
    health: () => ({ padding: 'x'.repeat(1_000_000) }), // more than a socket takes at once
    log: pino({ level: 'debug' }, sink),
  })
  for (const command of ['health', 'many'])
    for (const atMs of [0, 1, 5]) {
      const raw = createConnection(join(folder, CONTROL_FILE))
      raw.on('error', () => {})
      raw.write(`${JSON.stringify({ command, args: {} })}\n`)
      await sleep(atMs)
      raw.destroy()
      // As healthcheck does it: it has what it asked for after the first line.
      for await (const item of (await callProgram(folder, command, {})) ?? []) if (item) break
    }
  await sleep(100)
  await server[Symbol.asyncDispose]()
  t.ok(given > 0)
  t.strictSame(
    lines.filter(({ level }) => level > 20),
    [],
    'not in the log, but at debug',
  )
  t.ok(lines.some(({ level }) => level === 20))
})

t.test('a path that is too long for a socket: said at the start, and the program runs', async (t) => {
  const folder = join(temporaryFolder(t), 'x'.repeat(100))
  mkdirSync(folder)
  const lines: string[] = []
  const server = await ControlServer.open({
    folder,
    handlers: {},
    health: () => ({ ok: true }),
    log: pino({ level: 'warn' }, { write: (line: string) => lines.push(line) }),
  })
  await server[Symbol.asyncDispose]()
  t.match(lines.join(), /path of the control socket is too long.*move the folder/)
  t.equal(await callProgram(folder, 'x', {}), undefined)
})

/** What the CLI prints. */
async function acted(folder: string, request: QuarantineRequest): Promise<{ status: number; text: string }> {
  let text = ''
  const status = await act(folder, request, false, (more) => {
    text += more
  })
  return { status, text }
}

async function openSubscriberStore(folder: string) {
  const store = await Store.open({ folder })
  const [inbox, quarantine] = [store.queue('inbox', BOUNDS), store.queue('quarantine', BOUNDS)]
  const lanes = openLanes(store)
  return { store, lanes, inbox, quarantine, recent: lanes.crops.recent }
}

for (const runs of [true, false])
  t.test(
    `quarantine of a subscriber that ${runs ? 'runs' : 'is stopped'}: shown, tried again, dropped`,
    async (t) => {
      const folder = temporaryFolder(t)
      let keeping = await openSubscriberStore(folder)
      t.after(() => keeping.store[Symbol.asyncDispose]())
      const { store, recent, quarantine } = keeping
      await saveRules(store, RULES)
      const [crop, known, elsewhere] = [makeCrop(), makeCrop(), makeCrop()]
      recent.add([known.metadata.id])
      const wrong = { reason: 'wrong topic', detail: 'by the rules of then' }
      const put = (topic: string, payload: Buffer, about: { reason: string; detail: string }) =>
        store.accept(encodeEntry({ topic, receivedAtMs: 1, ...about }, payload), [quarantine])
      await put(crop.topic, crop.payload, wrong) // 1
      await put(known.topic, known.payload, wrong)
      await put('a/\u001b[2J', elsewhere.payload, wrong)
      await put('b', Buffer.from('hello'), {
        reason: 'not a JPEG',
        detail: 'the first bytes do not start a JPEG',
      })
      await put('c', crop.payload.subarray(0, 100), { reason: 'too large', detail: 'cut' })
      await put('d', Buffer.from('bye'), { reason: 'not a JPEG', detail: 'x' })
      if (runs) await control(t, folder, { [QUARANTINE_COMMAND]: subscriberQuarantine(keeping, RULES) })
      else await store[Symbol.asyncDispose]()

      const lines = (await list(folder, 3, false)).split('\n')
      t.match(
        lines[0],
        /^1 {2}\d{4}-\d\d-\d\dT[\d:.]+Z +\d+(\.\d)? K?B {2}sightline\/v1\/home\/pi\/door\/crop {2}wrong topic: by/,
      )
      t.match(lines[2], /^3 .* {2}a\/\\u001b\[2J {2}wrong topic/, 'nothing from the wire drives the terminal')
      t.match(lines[3], '... and 3 more (--max)')
      const out = join(folder, 'payload.jpg')
      await show(folder, 3, out, true, quiet)
      t.ok(readFileSync(out).equals(elsewhere.payload), 'byte for byte')
      await t.rejects(show(folder, 3, out, true, quiet), {
        code: 'FOLDER_UNWRITABLE',
        message: /already exists/,
      })
      await t.rejects(show(folder, 99, undefined, true, quiet), { code: 'MESSAGE_NOT_FOUND' })

      t.match(await acted(folder, { action: 'drop', numbers: [6, 99] }), {
        status: 66,
        text: /^6 {2}dropped {2}d\n99 {2}not in quarantine\n2 messages: 1 dropped, 1 not found\.\n$/,
      })
      const { status, text } = await acted(folder, { action: 'retry', numbers: 'all' })
      t.equal(status, 0)
      t.match(text, /^1 {2}to the inbox {2}sightline\/v1\/home\/pi\/door\/crop$/m)
      t.match(text, /^2 {2}known already /m)
      t.match(
        text,
        /^3 {2}back in quarantine {2}a\/\\u001b\[2J {2}wrong topic: the metadata says home\/pi\/door$/m,
      )
      t.match(text, /^4 {2}stays {2}b {2}not a JPEG/m)
      t.match(text, /^5 {2}stays {2}c {2}only its beginning was kept$/m)
      t.match(text, '5 messages: 1 to the inbox, 1 known already, 1 back in quarantine, 2 stays.')

      if (!runs) keeping = await openSubscriberStore(folder)
      const { inbox, quarantine: after } = keeping
      t.strictSame(after.books, { accepted: 7, forwarded: 3, pending: 3, dropped: { 'by hand': 1 } })
      t.equal(missing(after.books), 0)
      t.match(inbox.books, { accepted: 1, pending: 1 })
      t.ok(inbox.has(crop.metadata.id), 'and is known there against a second copy')
      t.ok(inbox.read(inbox.after(0) ?? 0)?.body.equals(crop.payload))
    },
  )

for (const runs of [true, false])
  t.test(
    `lines that a console could not read are read once more, and go to its inbox if they are announcements now: it ${runs ? 'runs' : 'is stopped'}`,
    async (t) => {
      const folder = temporaryFolder(t)
      let store = await Store.open({ folder })
      t.after(() => store[Symbol.asyncDispose]())
      await markConsoleStore(store)
      const queues = () => ({
        store,
        inbox: store.queue('inbox', BOUNDS),
        quarantine: store.queue('quarantine', BOUNDS),
      })
      const { quarantine } = queues()
      const { metadata, payload } = makeCrop({})
      const good = announcementLine(storedOf(metadata, payload)).trimEnd()
      const topic = 'sightline/v1/stored/sub'
      const put = (line: string, why: string) =>
        store.accept(faultsEntry({ topic, receivedAtMs: 7 }, [{ line, why }]), [quarantine])
      await put(good, 'what an earlier version said') // 1
      await put('not json', 'not JSON')
      await put('{"v":1}', 'what an earlier version said')
      await put('gone', 'not JSON')
      if (runs) await control(t, folder, { [QUARANTINE_COMMAND]: consoleQuarantine(queues()) })
      else await store[Symbol.asyncDispose]()
      t.match(await list(folder, 9, false), /^1 {2}.*stored\/sub {2}not an announcement: what an earlier/)
      t.match(await acted(folder, { action: 'drop', numbers: [4] }), { status: 0, text: /^4 {2}dropped/ })
      const { status, text } = await acted(folder, { action: 'retry', numbers: 'all' })
      t.equal(status, 0)
      t.match(text, /^1 {2}to the inbox {2}sightline\/v1\/stored\/sub$/m)
      t.match(text, /^2 {2}stays {2}.* {2}not an announcement: not JSON$/m)
      t.match(text, /^3 {2}back in quarantine {2}.* {2}not an announcement: is: /m)
      if (!runs) store = await Store.open({ folder })
      const { inbox, quarantine: after } = queues()
      t.equal(missing(after.books), 0)
      t.match(after.books, { accepted: 5, forwarded: 2, pending: 2, dropped: { 'by hand': 1 } })
      const message = inbox.read(inbox.after(0) ?? 0)
      t.strictSame(JSON.parse(message?.header.toString() ?? ''), { topic, receivedAtMs: 7 })
      t.equal(readBatch(message?.body ?? Buffer.from('')).announcements.length, 1)
    },
  )

t.test('what a bridge set aside goes over it again, behind what waits', async (t) => {
  const folder = temporaryFolder(t)
  await using store = await Store.open({ folder })
  const [bridge, quarantine] = [store.queue('bridge/cloud', BOUNDS), store.queue('quarantine/cloud', BOUNDS)]
  const setAside = (topic: string) => {
    const header = { topic, qos: 1, receivedAtMs: 1, reason: 'not allowed', detail: 'NOT_ALLOWED: no right' }
    return store.accept({ header: Buffer.from(JSON.stringify(header)), body: Buffer.from(topic) }, [
      quarantine,
    ])
  }
  await setAside('a/b')
  await setAside('c/d')
  await control(t, folder, { [QUARANTINE_COMMAND]: brokerQuarantine(store, new Set(['cloud'])) })
  t.match(await list(folder, 9, false), / {2}cloud {2}a\/b {2}not allowed: NOT_ALLOWED: no right\n/)
  t.match(await acted(folder, { action: 'retry', numbers: [1] }), {
    status: 0,
    text: /1 to the queue bridge\/cloud\./,
  })
  const message = bridge.read(bridge.after(0) ?? 0)
  t.match(message && decodeMessage(message), { topic: 'a/b', qos: 1, payload: Buffer.from('a/b') })
  t.strictSame(quarantine.books, { accepted: 2, forwarded: 1, pending: 1, dropped: {} })
  bridge.bounds = { ...BOUNDS, entriesMax: 1 }
  t.match(await acted(folder, { action: 'retry', numbers: 'all' }), { status: 0, text: /^2 {2}stays .*full/ })
  t.equal(quarantine.size, 1, 'what does not fit stays')
})

t.test('from the command line', async (t) => {
  const folder = temporaryFolder(t)
  await using store = await Store.open({ folder })
  const entry = { topic: 'x', receivedAtMs: 1, reason: 'not a JPEG', detail: 'y' }
  await store.accept(encodeEntry(entry, Buffer.from([0, 255, 10])), [store.queue('quarantine', BOUNDS)])
  const shown = await sightline(t, ['quarantine', 'show', folder, '1', '--out', join(folder, 'p')])
  t.match(shown, { status: 0, stdout: /^reason +not a JPEG$/m })
  t.strictSame([...readFileSync(join(folder, 'p'))], [0, 255, 10])
  // A program that does not take commands holds it.
  t.match(await sightline(t, ['quarantine', 'drop', folder, '1']), { status: 75, code: 'STORE_LOCKED' })
  t.match(await sightline(t, ['quarantine', 'drop', folder, '1', '--all']), { status: 64, code: 'USAGE' })
  t.match(await sightline(t, ['quarantine', 'show', folder, '99']), { status: 66, code: 'MESSAGE_NOT_FOUND' })
})

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import type { Test } from 'tap'
import type { Person } from '../../../console/access/may.ts'
import { type ConsoleConfig, consoleSchema } from '../../../console/config.ts'
import type { NewsItem } from '../../../console/context.ts'
import { Database } from '../../../console/database/database.ts'
import { type Channel, channelSchema } from '../../../console/notices/channel.ts'
import { type OpenNotices, openNotices } from '../../../console/notices/open.ts'
import type { NewNotice } from '../../../console/rules/fact.ts'
import { FolderBucket } from '../../../lib/buckets/folder.ts'
import { openLog } from '../../../lib/log.ts'
import { newId } from '../../../wire/id.ts'

/** A database with channels, notices as rules make them, and a receiver of webhooks that can be told what to answer. */

export async function openDatabase(t: Test): Promise<Database> {
  const database = await Database.open({ type: 'sqlite', file: join(t.testdir(), 'console.sqlite') })
  t.teardown(() => database[Symbol.asyncDispose]())
  return database
}

export async function keepChannel(
  database: Database,
  id: string,
  channel: { readonly type: Channel['type'] } & Record<string, unknown>,
): Promise<Channel> {
  const document = channelSchema.parse({ name: id, ...channel })
  const row = { name: document.name, document_json: JSON.stringify(document) }
  await database.write
    .insertInto('documents')
    .values({
      kind: 'channel',
      id,
      state: 'published',
      revision: 1,
      created_at_ms: 0,
      created_by: 'test',
      changed_at_ms: 0,
      changed_by: 'test',
      ...row,
    })
    .onConflict((it) => it.columns(['kind', 'id']).doUpdateSet(row))
    .execute()
  return document
}

export const GATE = { site: 'north', device: 'pi', camera: 'gate' }

export function newNotice(
  settings: Partial<NewNotice['notice']> = {},
  channels = ['hook'],
  key?: string,
): NewNotice {
  const id = settings.id ?? newId()
  return {
    notice: {
      id,
      is: 'new',
      atMs: Date.now(),
      scenario: { id: 'visitors', name: 'Visitors' },
      rule: { id: 'door', name: 'Somebody at the door' },
      level: 'info',
      title: 'Somebody at the gate',
      text: 'A face at north/pi/gate',
      ...GATE,
      ...settings,
    },
    key: key ?? `visitors/door/${id}`,
    channels,
    camera: GATE,
  }
}

export interface Heard {
  readonly method: string
  readonly url: string
  readonly headers: IncomingMessage['headers']
  readonly body: Buffer
  readonly atMs: number
}

export interface Receiver extends AsyncDisposable {
  readonly url: string
  readonly port: number
  readonly heard: Heard[]
  /** What it does with each request, once it has all of it; 204 where it is not set. */
  answer: (heard: Heard, response: ServerResponse) => void
}

export async function openReceiver(
  t: Test,
  made: (on: never) => Server = createServer as never,
): Promise<Receiver> {
  const heard: Heard[] = []
  const server = made((async (request: IncomingMessage, response: ServerResponse) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    const it = {
      method: request.method ?? '',
      url: request.url ?? '',
      headers: request.headers,
      body: Buffer.concat(chunks),
      atMs: Date.now(),
    }
    heard.push(it)
    receiver.answer(it, response)
  }) as never)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const receiver: Receiver = {
    url: `http://127.0.0.1:${port}/hook`,
    port,
    heard,
    answer: (_heard, response) => void response.writeHead(204).end(),
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    },
  }
  t.teardown(() => receiver[Symbol.asyncDispose]())
  return receiver
}

export const webhookId = (it: Heard) => String(it.headers['webhook-id'])

/** By channel: the books, and what really waits. */
export async function books(database: Database) {
  const rows = await database.write.selectFrom('notice_books').selectAll().execute()
  const states = await database.write
    .selectFrom('deliveries')
    .select(({ fn }) => ['channel', 'state', fn.countAll<number>().as('count')])
    .groupBy(['channel', 'state'])
    .execute()
  return rows.map((row) => ({
    ...row,
    waiting: Number(states.find((it) => it.channel === row.channel && it.state === 'waiting')?.count ?? 0),
  }))
}

export interface Settings {
  readonly config?: Record<string, unknown>
  readonly people?: Readonly<Record<string, Person>>
  readonly publish?: OpenNotices['publish']
  readonly retry?: OpenNotices['retry']
  /** Of an earlier one, whose files it goes on with. */
  readonly folder?: string
}

/** Notices with all their ways, on a database that is there already. Loopback is allowed. */
export async function open(t: Test, database: Database, settings: Settings = {}) {
  const {
    folder = join(t.testdirName, 'files'),
    people = {},
    retry = { delayMsMin: 20, delayMsMax: 80 },
  } = settings
  const config: ConsoleConfig = consoleSchema.parse({
    bucket: { type: 'folder', path: join(folder, 'bucket') },
    inbox: { folder: join(folder, 'inbox') },
    notices: { allow: ['127.0.0.0/8'] },
    ...settings.config,
  })
  const bucket = await FolderBucket.open({ path: join(folder, 'bucket') })
  const news: NewsItem[] = []
  const find = async (name: string) => {
    const person = people[name]
    return person && { person, by: 'password' as const, fingerprint: '' }
  }
  const opened = await openNotices({
    config,
    database,
    bucket,
    access: { people: { find } as OpenNotices['access']['people'] },
    publish: settings.publish ?? (async () => {}),
    onNews: (item) => void news.push(item),
    log: openLog('test', 'silent'),
    retry,
  })
  let isOpen = true
  const close = async () => {
    if (!isOpen) return
    isOpen = false
    await opened[Symbol.asyncDispose]()
    await bucket[Symbol.asyncDispose]()
  }
  t.teardown(close)
  const { notices } = opened
  notices.start()
  const write = async (...all: NewNotice[]) => {
    await database.write.transaction().execute((db) => notices.write(db, all))
    notices.wake()
  }
  return { ...opened, folder, config, bucket, news, write, close }
}

/** Of a notice, by channel: its deliveries, the oldest first. */
export const deliveriesOf = (database: Database, notice: string) =>
  database.write.selectFrom('deliveries').selectAll().where('notice', '=', notice).orderBy('id').execute()

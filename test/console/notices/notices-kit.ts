import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import type { Test } from 'tap'
import { Database } from '../../../console/database/database.ts'
import { type Channel, channelSchema } from '../../../console/notices/channel.ts'
import type { NewNotice } from '../../../console/rules/fact.ts'
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

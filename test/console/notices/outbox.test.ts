import { createHmac } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { Database } from '../../../console/database/database.ts'
import { Guard } from '../../../console/notices/guard.ts'
import { Notices } from '../../../console/notices/notices.ts'
import type { NewNotice } from '../../../console/rules/fact.ts'
import { openLog } from '../../../lib/log.ts'
import { noticeSchema } from '../../../wire/notice.ts'
import { until } from '../../kit/wait.ts'
import { books, keepChannel, newNotice, openDatabase, openReceiver, webhookId } from './notices-kit.ts'

const log = openLog('test', 'silent')
const RETRY = { delayMsMin: 20, delayMsMax: 80 }

function open(t: Test, database: Database, settings: { retry?: typeof RETRY } = {}) {
  const guard = Guard.open({ allow: ['127.0.0.0/8'] })
  const notices = Notices.open({ database, guard, log, retry: RETRY, ...settings })
  let isOpen = true
  const close = async () => {
    if (!isOpen) return
    isOpen = false
    await notices[Symbol.asyncDispose]()
    guard[Symbol.dispose]()
  }
  t.teardown(close)
  const write = async (...all: NewNotice[]) => {
    await database.write.transaction().execute((db) => notices.write(db, all))
    notices.wake()
  }
  return { notices, write, close }
}

t.test('a notice arrives once, signed, with an id that a second one would have again', async (t) => {
  const database = await openDatabase(t)
  const receiver = await openReceiver(t)
  const secret = `whsec_${Buffer.alloc(32, 7).toString('base64')}`
  await keepChannel(database, 'hook', { type: 'webhook', url: receiver.url, secret })
  const { write } = open(t, database)
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

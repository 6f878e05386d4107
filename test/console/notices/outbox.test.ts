import { createHmac } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { noticeSchema } from '../../../wire/notice.ts'
import { until } from '../../kit/wait.ts'
import { books, keepChannel, newNotice, open, openDatabase, openReceiver, webhookId } from './notices-kit.ts'

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

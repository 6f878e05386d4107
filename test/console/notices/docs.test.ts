import { readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { channelSchema, WEBHOOK_TEMPLATES } from '../../../console/notices/channel.ts'
import { Guard } from '../../../console/notices/guard.ts'
import { send } from '../../../console/notices/request.ts'
import { newWebhookSecret } from '../../../console/notices/signature.ts'
import { renderWebhook } from '../../../console/notices/templates.ts'
import { noticeSchema } from '../../../wire/notice.ts'
import { temporaryFolder } from '../../kit/programs.ts'

/** What docs/notices.md gives a receiver, as it stands there. */

const TEXT = readFileSync(new URL('../../../docs/notices.md', import.meta.url), 'utf8')
const [EXAMPLE, SNIPPET] = ['json', 'js'].map(
  (language) => new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\``, 'ms').exec(TEXT)?.[1] ?? '',
)

type IsFromSightline = (headers: Record<string, unknown>, body: Buffer, secret: string) => boolean

t.test('a receiver with the snippet takes what the console sends, and nothing else', async (t) => {
  const file = join(temporaryFolder(t), 'verify.mjs')
  writeFileSync(file, SNIPPET ?? '')
  const { isFromSightline } = (await import(file)) as { isFromSightline: IsFromSightline }
  const received: { headers: Record<string, unknown>; body: Buffer }[] = []
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    received.push({ headers: request.headers, body: Buffer.concat(chunks) })
    response.writeHead(204).end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  using guard = Guard.open({ allow: ['127.0.0.1'] })
  const notice = noticeSchema.parse({
    ...JSON.parse(EXAMPLE ?? ''),
    id: '0193e2a0-0000-7000-8000-000000000001',
    track: '0193e2a0-0000-7000-8000-000000000002',
    detection: '0193e2a0-0000-7000-8000-000000000003',
  })
  const [old, secret] = [newWebhookSecret(), newWebhookSecret()]
  const sent = async (secrets: string, nowMs = Date.now()) => {
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
    const channel = channelSchema.parse({ type: 'webhook', name: 'hook', url, secret: secrets })
    if (channel.type !== 'webhook') throw new Error('no webhook')
    const out = renderWebhook({ channel, notice, picture: undefined, nowMs })
    t.match(await send(guard, out, new AbortController().signal), { is: 'sent', status: 204 })
    return received.at(-1) as (typeof received)[number]
  }
  const { headers, body } = await sent(secret)
  t.ok(isFromSightline(headers, body, secret))
  t.notOk(isFromSightline(headers, body, old))
  t.notOk(isFromSightline(headers, Buffer.concat([body, Buffer.from(' ')]), secret))
  t.notOk(isFromSightline({ ...headers, 'webhook-id': 'another' }, body, secret))
  const both = await sent(`${secret} ${old}`)
  t.ok(
    [old, secret].every((one) => isFromSightline(both.headers, both.body, one)),
    'while it is changed',
  )
  const late = await sent(secret, Date.now() - 600_000)
  t.notOk(isFromSightline(late.headers, late.body, secret), 'ten minutes old')
})

t.test('each template of webhooks is described', async (t) => {
  for (const template of WEBHOOK_TEMPLATES)
    t.match(TEXT, new RegExp(`^(\\| |Template )\`${template}\``, 'm'), template)
})

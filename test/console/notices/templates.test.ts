import { createHmac } from 'node:crypto'
import t from 'tap'
import { channelSchema } from '../../../console/notices/channel.ts'
import { signatureHeaders } from '../../../console/notices/signature.ts'
import { renderWebhook, type Webhook } from '../../../console/notices/templates.ts'
import { type Notice, noticeSchema } from '../../../wire/notice.ts'
import { tinyJpeg } from '../../kit/crops.ts'
import { newNotice } from './notices-kit.ts'

const HOSTILE =
  '<b>&"*_`[x](http://evil.example) @everyone <!channel> <https://evil.example|x>\r\nX-Evil: 1 ✓'

const notice: Notice = noticeSchema.parse({
  v: 1,
  ...newNotice({ title: HOSTILE, text: `${HOSTILE}\nsecond line`, level: 'problem' }).notice,
  revision: 0,
  madeAtMs: 1,
  url: 'https://console.example.org/notices/1',
})
const picture = { url: 'https://console.example.org/n/1/2/3', expiresAtMs: 2 }

const render = (settings: Record<string, unknown>, more: Partial<Notice> = {}, jpeg?: Uint8Array) => {
  const channel = channelSchema.parse({
    type: 'webhook',
    name: 'x',
    url: 'https://x.example/base',
    ...settings,
  })
  const out = renderWebhook({
    channel: channel as Webhook,
    notice: { ...notice, ...more },
    picture: jpeg,
    nowMs: 1_700_000_000_000,
  })
  const text = Buffer.from(out.body).toString()
  for (const [name, value] of Object.entries(out.headers))
    t.match(value, /^[\x20-\x7e]*$/, `${name} is one line`)
  return { ...out, text, json: () => JSON.parse(text) }
}

t.test('ours is the notice itself, signed with each secret', async (t) => {
  const [one, two] = [1, 2].map((n) => `whsec_${Buffer.alloc(24, n).toString('base64')}`)
  const { json, headers, body } = render({ secret: `${one} ${two}` })
  t.same(json(), notice)
  t.equal(headers['webhook-id'], `${notice.id}.0`)
  const of = (n: number) =>
    createHmac('sha256', Buffer.alloc(24, n))
      .update(`${notice.id}.0.1700000000.`)
      .update(body)
      .digest('base64')
  t.equal(headers['webhook-signature'], `v1,${of(1)} v1,${of(2)}`)
  t.same(
    // The example of the specification's reference libraries.
    signatureHeaders('whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', {
      id: 'msg_p5jXN8AQM9LWM0D4loKWxJek',
      atMs: 1_614_265_330_000,
      body: Buffer.from('{"test": 2432232314}'),
    })['webhook-signature'],
    'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
  )
})

t.test('ntfy: JSON with a link, or the picture as the body', async (t) => {
  const linked = render({ template: 'ntfy', topic: 'door', token: 'tk_1' }, { picture })
  t.match(linked, {
    method: 'POST',
    url: 'https://x.example/base',
    headers: { authorization: 'Bearer tk_1' },
  })
  t.match(linked.json(), {
    topic: 'door',
    title: HOSTILE,
    priority: 5,
    attach: picture.url,
    click: notice.url,
  })
  t.notOk('markdown' in linked.json())
  const attached = render({ template: 'ntfy', topic: 'a/../b' }, {}, tinyJpeg)
  t.match(attached, { method: 'PUT', url: 'https://x.example/base/a%2F..%2Fb' })
  t.same(attached.body, tinyJpeg)
  const [, encoded = ''] = /^=\?UTF-8\?B\?(.*)\?=$/.exec(attached.headers.title ?? '') ?? []
  t.equal(Buffer.from(encoded, 'base64').toString(), HOSTILE)
})

t.test('Gotify: plain text, a picture by its address', async (t) => {
  const { url, headers, json } = render({ template: 'gotify', token: 'A1' }, { picture })
  t.equal(url, 'https://x.example/base/message')
  t.equal(headers['x-gotify-key'], 'A1')
  t.match(json(), {
    title: HOSTILE,
    priority: 9,
    extras: {
      'client::display': { contentType: 'text/plain' },
      'client::notification': { bigImageUrl: picture.url, click: { url: notice.url } },
    },
  })
})

t.test('Slack: text is plain, and mentions are none', async (t) => {
  const { json } = render({ template: 'slack' }, { picture })
  const { text, blocks } = json()
  t.notMatch(text, /<|>/)
  t.match(text, '&lt;!channel&gt;')
  t.match(blocks, [
    { text: { type: 'plain_text', text: HOSTILE } },
    { text: { type: 'plain_text' } },
    { text: { type: 'mrkdwn', text: `<${picture.url}|Picture>  <${notice.url}|Open>` } },
  ])
})

t.test('Discord: marks are text, nobody is mentioned, the picture goes along', async (t) => {
  const { json } = render({ template: 'discord' }, { picture })
  const [embed] = json().embeds
  t.same(json().allowed_mentions, { parse: [] })
  t.notMatch(embed.description, /(?<!\\)[*_`[\]()<>@]/)
  t.match(embed, { image: { url: picture.url }, color: 0xdc2626 })
  const { headers, text } = render({ template: 'discord' }, {}, tinyJpeg)
  t.match(headers['content-type'], /^multipart\/form-data; boundary=/)
  t.match(text, 'name="files[0]"; filename="face.jpg"')
  t.match(text, 'attachment://face.jpg')
})

t.test('Telegram: text without a parse mode, or a photo with a caption', async (t) => {
  const settings = { template: 'telegram', url: 'https://api.telegram.org', token: '12:AB', chat: '-100' }
  const message = render(settings, { picture })
  t.equal(message.url, 'https://api.telegram.org/bot12:AB/sendMessage')
  t.notOk('parse_mode' in message.json())
  t.match(message.json(), { chat_id: '-100' })
  t.ok(message.json().text.startsWith(HOSTILE))
  const photo = render(settings, { text: 'x'.repeat(2000) }, tinyJpeg)
  t.equal(photo.url, 'https://api.telegram.org/bot12:AB/sendPhoto')
  const [, caption = ''] = /name="caption"\r\n\r\n(.*?)\r\n--/s.exec(photo.text) ?? []
  t.ok(caption.length <= 1024 && caption.endsWith(notice.url ?? '-'))
})

t.test('what a service needs is asked for', async (t) => {
  for (const settings of [{ template: 'ntfy' }, { template: 'gotify' }, { template: 'telegram', token: 'x' }])
    t.throws(() => render(settings), { code: 'PARAMETER_INVALID' })
})

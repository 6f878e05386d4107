import { readFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { SMTPServer, type SMTPServerOptions } from 'smtp-server'
import t, { type Test } from 'tap'
import type { ConsoleConfig } from '../../../console/config.ts'
import { Mailer } from '../../../console/notices/email.ts'
import { type Notice, noticeSchema } from '../../../wire/notice.ts'
import { openAuthority } from '../../kit/certificates.ts'
import { tinyJpeg } from '../../kit/crops.ts'
import { newNotice } from './notices-kit.ts'

interface Mail {
  readonly text: string
  readonly to: readonly string[]
  readonly user: unknown
  readonly secure: boolean
}

async function openServer(t: Test, options: SMTPServerOptions = {}) {
  const mails: Mail[] = []
  const server = new SMTPServer({
    logger: false,
    onAuth: ({ username, password }, _session, done) =>
      username === 'sightline' && password === 'right'
        ? done(null, { user: username })
        : done(Object.assign(new Error('535 no'), { responseCode: 535 })),
    onData: async (stream, session, done) => {
      const chunks: Buffer[] = []
      for await (const chunk of stream) chunks.push(chunk as Buffer)
      mails.push({
        text: Buffer.concat(chunks).toString(),
        to: session.envelope.rcptTo.map(({ address }) => address),
        user: session.user,
        secure: session.secure,
      })
      done()
    },
    ...options,
  })
  server.on('error', () => {})
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()))
  t.teardown(() => new Promise<void>((resolve) => server.close(() => resolve())))
  return { mails, port: (server.server.address() as AddressInfo).port }
}

type Smtp = NonNullable<ConsoleConfig['notices']['smtp']>

function mailer(t: Test, port: number, more: Partial<Smtp> = {}, ca?: string): Mailer {
  const made = Mailer.open(
    { host: '127.0.0.1', port, tls: 'none', from: 'Sightline <eye@example.org>', ...more },
    ca,
  )
  t.teardown(() => made[Symbol.dispose]())
  return made
}

const track = newNotice().notice.id
const notice = (more: Partial<Notice> = {}): Notice =>
  noticeSchema.parse({ v: 1, ...newNotice({ track }).notice, revision: 0, madeAtMs: 1, ...more })

t.test('mail goes out over STARTTLS with a password, text and HTML, its picture inside', async (t) => {
  const authority = await openAuthority(t)
  const { certFile, keyFile } = await authority.server('mail')
  const { mails, port } = await openServer(t, {
    cert: readFileSync(certFile),
    key: readFileSync(keyFile),
  })
  const ca = readFileSync(authority.caFile, 'utf8')
  const settings = { tls: 'starttls', user: 'sightline', password: 'right' } as const
  const it = notice({ title: '<script>alert(1)</script>\r\nBcc: evil@example.org', text: 'a & <b>' })
  const outcome = await mailer(t, port, settings, ca).send({
    to: ['ada@example.org'],
    notice: it,
    picture: tinyJpeg,
  })
  t.match(outcome, { is: 'sent', status: 250 })
  const [mail] = mails
  if (!mail) return t.fail('no mail')
  t.match(mail, { to: ['ada@example.org'], user: 'sightline', secure: true })
  t.match(mail.text, new RegExp(`^Message-ID: <${it.id}\\.0@example\\.org>`, 'mi'))
  t.match(mail.text, new RegExp(`^References: <${track}@example\\.org>`, 'mi'))
  const [head = ''] = mail.text.split('\r\n\r\n')
  t.notMatch(head, /^Bcc:/im)
  const page = mail.text.replaceAll('=\r\n', '').split('text/html; charset=utf-8').at(-1) ?? ''
  t.notMatch(page, '<script>')
  t.match(page, '&lt;script&gt;')
  t.match(page, 'a &amp; &lt;b&gt;')
  t.match(mail.text, /Content-Type: text\/plain/)
  t.match(mail.text, /cid:face@sightline/)
  t.match(mail.text.replace(/\s/g, ''), Buffer.from(tinyJpeg).toString('base64').slice(0, 60))
  const other = mailer(t, port, settings)
  t.match(
    await other.send({ to: ['ada@example.org'], notice: it, picture: undefined }),
    {
      is: 'failed',
      final: false,
    },
    'a certificate that nobody vouches for gets neither mail nor password',
  )
  t.equal(mails.length, 1)
})

t.test('revisions of a face are one thread', async (t) => {
  const { mails, port } = await openServer(t, { disabledCommands: ['STARTTLS', 'AUTH'] })
  const sender = mailer(t, port)
  for (const revision of [0, 1])
    await sender.send({ to: ['a@example.org'], notice: notice({ revision }), picture: undefined })
  const references = mails.map(({ text }) => /^References: (.*)$/im.exec(text)?.[1])
  t.ok(references[0])
  t.equal(references[0], references[1])
  t.not(
    /^Message-ID: (.*)$/im.exec(mails[0]?.text ?? '')?.[1],
    /^Message-ID: (.*)$/im.exec(mails[1]?.text ?? '')?.[1],
  )
})

t.test('what a mail server refuses is final, what it cannot now is not', async (t) => {
  const answers = new Map([
    ['nobody@example.org', 550],
    ['later@example.org', 451],
  ])
  const { port } = await openServer(t, {
    disabledCommands: ['STARTTLS', 'AUTH'],
    onRcptTo: ({ address }, _session, done) => {
      const responseCode = answers.get(address)
      done(responseCode === undefined ? null : Object.assign(new Error('no such luck'), { responseCode }))
    },
  })
  const sender = mailer(t, port)
  const send = (...to: string[]) => sender.send({ to, notice: notice(), picture: undefined })
  t.match(await send('nobody@example.org'), { is: 'failed', final: true, status: 550 })
  t.match(await send('later@example.org'), { is: 'failed', final: false, status: 451 })
  t.match(await send('ada@example.org', 'nobody@example.org'), {
    is: 'sent',
    answer: /Not taken: nobody@example.org/,
  })
  const { port: closed } = await openServer(t)
  t.match(
    await mailer(t, closed, { tls: 'starttls', user: 'sightline', password: 'wrong' }).send({
      to: ['a@example.org'],
      notice: notice(),
      picture: undefined,
    }),
    { is: 'failed', final: false },
  )
  t.match(await mailer(t, 9).send({ to: ['a@example.org'], notice: notice(), picture: undefined }), {
    is: 'failed',
    final: false,
    code: 'ESOCKET',
  })
})

import { createECDH, createPublicKey, randomBytes, verify } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import { createServer, type Server } from 'node:https'
import { createRequire } from 'node:module'
import { type AddressInfo, createServer as createSilent, type Socket } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { personOf } from '../../../console/access/may.ts'
import { payloadOf } from '../../../console/notices/push.ts'
import { noticeSchema } from '../../../wire/notice.ts'
import { openAuthority } from '../../kit/certificates.ts'
import { until } from '../../kit/wait.ts'
import { deliveriesOf, keepChannel, newNotice, open, openDatabase, openReceiver } from './notices-kit.ts'

const ece = createRequire(import.meta.url)('http_ece') as {
  decrypt(body: Buffer, options: { version: string; privateKey: unknown; authSecret: string }): Buffer
}

const people = {
  ada: personOf({ name: 'ada', role: 'admin' }),
  bad: personOf({ name: 'bad', role: 'viewer' }),
  sven: personOf({ name: 'sven', role: 'viewer', sites: ['south'] }),
} as never

/** A browser, with what it alone can read. */
function browser(url: string) {
  const ecdh = createECDH('prime256v1')
  const auth = randomBytes(16).toString('base64url')
  return {
    subscription: { endpoint: url, keys: { p256dh: ecdh.generateKeys('base64url'), auth } },
    read: (body: Buffer) =>
      JSON.parse(ece.decrypt(body, { version: 'aes128gcm', privateKey: ecdh, authSecret: auth }).toString()),
  }
}

async function openPush(t: Test) {
  const authority = await openAuthority(t)
  const { certFile, keyFile } = await authority.server('push')
  const options = { cert: readFileSync(certFile), key: readFileSync(keyFile) }
  const receiver = await openReceiver(t, ((handle: never) =>
    createServer(options, handle)) as unknown as () => Server)
  receiver.answer = (_heard, response) => void response.writeHead(201).end()
  const database = await openDatabase(t)
  await keepChannel(database, 'phones', { type: 'push', updates: true })
  const config = {
    notices: { allow: ['127.0.0.1'], caFile: authority.caFile },
    publicUrl: 'https://console.example.org',
  }
  const opened = await open(t, database, { config, people })
  return { database, receiver, url: (n: number) => `https://127.0.0.1:${receiver.port}/push/${n}`, ...opened }
}

t.test(
  'a browser gets the notice, encrypted and signed, and who may not see the camera does not',
  async (t) => {
    const { database, receiver, url, notices, write, folder } = await openPush(t)
    const [phone, laptop] = [browser(url(1)), browser(url(2))]
    await notices.push.add('ada', phone.subscription, 'Phone')
    await notices.push.add('sven', laptop.subscription, 'Laptop')
    await notices.push.add('gone', browser(url(3)).subscription, 'Tablet')
    const it = newNotice({}, ['phones'])
    await write(it)
    await until('all are settled', async () =>
      (await deliveriesOf(database, it.notice.id)).every(({ state }) => state !== 'waiting'),
    )
    t.same(
      receiver.heard.map((heard) => heard.url),
      ['/push/1'],
    )
    const [heard] = receiver.heard
    if (!heard) return
    t.match(phone.read(heard.body), {
      id: it.notice.id,
      revision: 0,
      title: it.notice.title,
      url: `https://console.example.org/notices/${it.notice.id}`,
    })
    t.match(heard.headers, { ttl: '86400', topic: it.notice.id.replaceAll('-', ''), urgency: 'normal' })
    const [, token = '', key = ''] =
      /^vapid t=([^,]+), k=(.+)$/.exec(String(heard.headers.authorization)) ?? []
    t.equal(key, notices.push.publicKey)
    const [head = '', claims = '', signature = ''] = token.split('.')
    const point = Buffer.from(key, 'base64url')
    const jwk = {
      kty: 'EC',
      crv: 'P-256',
      x: point.subarray(1, 33).toString('base64url'),
      y: point.subarray(33).toString('base64url'),
    }
    t.ok(
      verify(
        'sha256',
        Buffer.from(`${head}.${claims}`),
        { key: createPublicKey({ key: jwk, format: 'jwk' }), dsaEncoding: 'ieee-p1363' },
        Buffer.from(signature, 'base64url'),
      ),
    )
    t.match(JSON.parse(Buffer.from(claims, 'base64url').toString()), {
      aud: `https://127.0.0.1:${receiver.port}`,
      sub: 'https://console.example.org',
    })
    const whys = (await deliveriesOf(database, it.notice.id)).map(({ why }) => why)
    t.same(whys.map(String).sort(), [
      'gone may not see notices of this camera.',
      'null',
      'sven may not see notices of this camera.',
    ])
    t.equal(statSync(join(folder, 'inbox', 'notices.keys.json')).mode & 0o777, 0o600)
  },
)

t.test('a browser that has taken back its wish is forgotten', async (t) => {
  const { database, receiver, url, notices, write } = await openPush(t)
  receiver.answer = (_heard, response) => void response.writeHead(410).end()
  await notices.push.add('ada', browser(url(1)).subscription, 'Phone')
  const it = newNotice({}, ['phones'])
  await write(it)
  await until(
    'it is settled',
    async () => (await deliveriesOf(database, it.notice.id))[0]?.state === 'given up',
  )
  t.same(await notices.push.list('ada'), [])
  const next = newNotice({}, ['phones'])
  await write(next)
  t.match(await deliveriesOf(database, next.notice.id), [
    { state: 'not sent', why: 'No browser has asked for notices.' },
  ])
})

t.test('a key outlives the program, and a browser is one however often it asks', async (t) => {
  const { database, notices, close, folder, url } = await openPush(t)
  const { subscription } = browser(url(1))
  const one = await notices.push.add('ada', subscription, 'Phone')
  const two = await notices.push.add('sven', subscription, 'Phone')
  t.equal(one.id, two.id, 'and it is whose it is now')
  t.same(await notices.push.list('ada'), [])
  await t.rejects(
    notices.push.add('ada', browser(url(1)).subscription, 'Mine'),
    { code: 'NOT_ALLOWED' },
    'who knows the endpoint alone takes it from nobody',
  )
  const { publicKey } = notices.push
  await close()
  t.equal((await open(t, database, { folder })).notices.push.publicKey, publicKey)
  for (let n = 2; n < 21; n += 1) await notices.push.add('sven', browser(url(n)).subscription, 'More')
  await t.rejects(notices.push.add('sven', browser(url(21)).subscription, 'More'), { code: 'TOO_MANY' })
  await t.rejects(notices.push.add('ada', browser('https://10.0.0.1/x').subscription, 'x'), {
    code: 'ADDRESS_NOT_ALLOWED',
  })
})

t.test('browsers of somebody that hang hold up nobody else', async (t) => {
  const { database, url, notices, write } = await openPush(t)
  const hung = new Set<Socket>()
  const silent = createSilent((socket) => void hung.add(socket)).listen(0, '127.0.0.1')
  t.teardown(() => {
    for (const socket of hung) socket.destroy()
    silent.close()
  })
  await until('it listens', () => silent.listening)
  const { port } = silent.address() as AddressInfo
  for (let n = 0; n < 20; n += 1) {
    const { subscription } = browser(`https://127.0.0.1:${port}/${n}`)
    await notices.push.add('bad', subscription, 'Hangs')
  }
  await notices.push.add('ada', browser(url(1)).subscription, 'Phone')
  const all = Array.from({ length: 30 }, () => newNotice({}, ['phones']))
  await write(...all)
  await until(
    'the phone has all of them',
    async () => {
      const sent = await database.read
        .selectFrom('deliveries')
        .select('id')
        .where('state', '=', 'sent')
        .execute()
      return sent.length === all.length
    },
    30_000,
  )
  // One by one they would hang for minutes.
  t.ok(hung.size > 0)
})

t.test('keys that are none are given up at once', async (t) => {
  const { database, notices, write, url } = await openPush(t)
  const { subscription } = browser(url(1))
  const p256dh = Buffer.alloc(65, 4).toString('base64url')
  await notices.push.add('ada', { ...subscription, keys: { ...subscription.keys, p256dh } }, 'Phone')
  const it = newNotice({}, ['phones'])
  await write(it)
  await until('it is given up', async () => {
    const [delivery] = await deliveriesOf(database, it.notice.id)
    return delivery?.state === 'given up'
  })
  t.same(await notices.push.list('ada'), [])
})

t.test('a long notice is shortened to what a push service takes', async (t) => {
  const { notice } = newNotice({ text: '✓"'.repeat(1000), title: '✓'.repeat(200) })
  const long = payloadOf(noticeSchema.parse({ v: 1, ...notice, revision: 0, madeAtMs: 1 }))
  t.ok(Buffer.byteLength(long) <= 3000)
  t.ok(JSON.parse(long).text.length > 200)
})

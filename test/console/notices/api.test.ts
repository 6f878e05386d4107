import t from 'tap'
import { SECRET } from '../../../console/notices/channel.ts'
import { newId } from '../../../wire/id.ts'
import { until } from '../../kit/wait.ts'
import { type ApiServer, apiServer, NORTH, SOUTH } from '../api-server.ts'
import { newNotice, openReceiver } from './notices-kit.ts'

const settings = { notices: { allow: ['127.0.0.1'] }, limits: { requestsPerMinuteMax: 100_000 } }

const sending = (server: ApiServer) => (method: string, path: string, body?: unknown, user?: string) =>
  server.get(path, user, {
    method,
    ...(body !== undefined && {
      body: JSON.stringify(body),
      headers: { 'content-type': 'application/json' },
    }),
  })

async function write(server: ApiServer, ...all: ReturnType<typeof newNotice>[]) {
  await server.database.write.transaction().execute((db) => server.context.notices.write(db, all))
  server.context.notices.wake()
}

t.test('a channel is made, seen without its secrets, tried, changed and deleted', async (t) => {
  const server = await apiServer(t, settings)
  const send = sending(server)
  const receiver = await openReceiver(t)
  const document = {
    type: 'webhook',
    name: 'Door',
    url: `${receiver.url}/very-secret`,
    token: 'tk_very-secret',
  }
  const made = await send('POST', '/channels', { document })
  t.equal(made.status, 201)
  const channel = (await made.json()) as { document: object; secret: string }
  t.match(channel, { id: 'door', revision: 1, secret: /^whsec_/, books: { made: 0, waiting: 0 } })
  t.match(channel.document, { secret: SECRET, url: `http://127.0.0.1:${receiver.port}/${SECRET}` })
  const listed = await (await server.get('/channels')).text()
  t.notMatch(listed, 'very-secret')
  t.notMatch(listed, 'whsec_')

  const tested = await (await send('POST', '/channels/door/test')).json()
  t.match(tested, { items: [{ is: 'sent', status: 204 }] })
  t.match(JSON.parse(String(receiver.heard[0]?.body)), { is: 'test' })
  t.match(receiver.heard[0], { url: '/hook/very-secret', headers: { 'webhook-signature': /^v1,/ } })
  receiver.answer = (_heard, response) => void response.writeHead(500).end('not today')
  t.match(await (await send('POST', '/channels/door/test')).json(), {
    items: [{ is: 'failed', status: 500, answer: 'not today' }],
  })
  receiver.answer = ({ url }, response) =>
    void response.writeHead(302, { location: `/login?from=${url}` }).end(`Cannot POST ${url} tk_very-secret`)
  const told = await (await send('POST', '/channels/door/test')).text()
  t.match(told, 'Cannot POST')
  t.match(told, 'a redirect')
  t.notMatch(told, 'very-secret', 'what a receiver says back is masked')

  const changed = await send('PUT', '/channels/door', {
    revision: 1,
    document: { ...channel.document, name: 'Front door' },
  })
  t.match(await changed.json(), { revision: 2, name: 'Front door' })
  const kept = await server.context.documents.get('channel', 'door')
  t.match(kept?.document, { url: document.url, secret: channel.secret }, 'what came masked stays')
  const stale = await send('PUT', '/channels/door', { revision: 1, document: channel.document })
  t.equal(stale.status, 409)
  const elsewhere = await send('PUT', '/channels/door', {
    revision: 2,
    document: { ...channel.document, url: 'https://evil.example/' },
  })
  t.equal(elsewhere.status, 400, 'a token does not go to another host')
  t.equal((await send('DELETE', '/channels/door')).status, 204)
  t.equal((await server.get('/channels/door')).status, 404)
})

t.test('a preview is what would be sent, with secrets masked', async (t) => {
  const server = await apiServer(t, settings)
  const send = sending(server)
  const document = {
    type: 'webhook',
    name: 'Bot',
    template: 'telegram',
    url: 'https://api.telegram.org',
    token: '123:secret',
    chat: '-1',
  }
  const preview = await (await send('POST', '/channels/preview', { document })).json()
  t.match(preview, {
    method: 'POST',
    url: `https://api.telegram.org/bot${SECRET}/sendMessage`,
    body: /"chat_id":"-1"/,
  })
  t.notMatch(JSON.stringify(preview), 'secret')
  const incomplete = await send('POST', '/channels', { document: { ...document, chat: undefined } })
  t.equal(incomplete.status, 400)
  for (const wrong of [
    { ...document, url: 'javascript:alert(1)' },
    { ...document, url: 'file:///etc/passwd' },
    { ...document, url: 'https://evil.example\\@api.telegram.org' },
    { type: 'email', name: 'x', to: [] },
    { type: 'email', name: 'x', to: ['a@b.c\r\nBcc: d@e.f'] },
    { type: 'pigeon', name: 'x' },
    { ...document, secret: 'short' },
    { ...document, giveUpAfterMs: 1 },
  ])
    t.equal((await send('POST', '/channels', { document: wrong })).status, 400, JSON.stringify(wrong))
})

t.test('who sees a part sees notices of that part, and no channels', async (t) => {
  const server = await apiServer(t, settings)
  const send = sending(server)
  const receiver = await openReceiver(t)
  receiver.answer = (_heard, response) => void response.writeHead(422).end('an inside answer')
  await send('POST', '/channels', {
    id: 'hook',
    document: { type: 'webhook', name: 'Hook', url: receiver.url },
  })
  const [north, south] = [newNotice(NORTH), { ...newNotice(SOUTH), camera: SOUTH }]
  const { camera: _camera, ...nowhere } = newNotice()
  const { site: _site, device: _device, camera: _c, ...unplaced } = nowhere.notice
  await write(server, { ...north, camera: NORTH }, south, { ...nowhere, notice: unplaced })
  await until('they are given up', async () => {
    const { items } = await server.json<{ items: { deliveries: { state: string }[] }[] }>('/notices')
    return items.every(({ deliveries }) => deliveries[0]?.state === 'given up')
  })
  const ids = async (user: string, query = '') =>
    (await server.json<{ items: { id: string }[] }>(`/notices${query}`, user)).items
      .map(({ id }) => id)
      .sort()
  t.same(await ids('ada'), [north.notice.id, south.notice.id, unplaced.id].sort())
  t.same(await ids('nora'), [north.notice.id], 'of a site')
  t.same(await ids('carl'), [south.notice.id], 'of a camera')
  t.same(await ids('ada', '?camera=south/pi/door'), [south.notice.id])
  t.same(await ids('ada', '?state=sent'), [])
  t.equal((await server.get(`/notices/${south.notice.id}`, 'nora')).status, 404)
  t.equal((await server.get(`/notices/${unplaced.id}`, 'nora')).status, 404)
  const path = `/notices/${north.notice.id}`
  const mine = await server.json<{ deliveries: { id: string; tries: unknown[] }[] }>(path)
  t.match(mine.deliveries, [{ tries: [{ number: 1, status: 422, answer: 'an inside answer' }] }])
  t.notMatch(JSON.stringify(await server.json(path, 'nora')), 'an inside answer')
  const { deliveries } = await server.json<{ deliveries: { why: string }[] }>(path)
  t.equal(deliveries[0]?.why, 'It answered 422.')
  for (const at of [path, '/notices'])
    t.notMatch(JSON.stringify(await server.json(at, 'nora')), /answered 422/)
  const again = `${path}/deliveries/${mine.deliveries[0]?.id}/again`
  for (const [user, status] of [
    ['vera', 403],
    ['carl', 403],
    ['nora', 204],
    ['ada', 204],
  ] as const)
    t.equal((await send('POST', again, undefined, user)).status, status, user)
  t.equal((await send('POST', again.replace(/[^/]+\/again/, `${newId()}/again`))).status, 404)
  for (const user of ['nora', 'carl', 'vera', 'anna'])
    for (const [method, at, body] of [
      ['GET', '/channels', undefined],
      ['GET', '/channels/hook', undefined],
      ['DELETE', '/channels/hook', undefined],
      ['POST', '/channels/hook/test', undefined],
      ['POST', '/channels/preview', { document: { type: 'mqtt', name: 'x' } }],
      ['POST', '/channels', { document: { type: 'mqtt', name: 'x' } }],
    ] as const)
      t.equal((await send(method, at, body, user)).status, 403, `${user} ${method} ${at}`)
  const pages: string[] = []
  let next: string | null = ''
  while (next !== null) {
    const page: { items: { id: string }[]; next: string | null } = await server.json(
      `/notices?limit=1${next === '' ? '' : `&before=${next}`}`,
    )
    pages.push(...page.items.map(({ id }) => id))
    next = page.next
  }
  t.same(pages.sort(), await ids('ada'), 'page by page it is the same')
})

t.test('browsers ask for notices, each user for their own', async (t) => {
  const server = await apiServer(t, settings)
  const send = sending(server)
  const keys = {
    p256dh: Buffer.alloc(65, 4).toString('base64url'),
    auth: Buffer.alloc(16).toString('base64url'),
  }
  const endpoint = 'https://push.example.org/1'
  t.match(await server.json('/push/key', 'vera'), { key: /^[\w-]{80,}$/ })
  const added = await send('POST', '/push', { endpoint, keys }, 'vera')
  t.equal(added.status, 201)
  const { id } = (await added.json()) as { id: string }
  t.match(await server.json('/push', 'vera'), { items: [{ id, name: 'A browser', lastSentMs: null }] })
  t.same(await server.json('/push', 'ada'), { items: [] })
  t.equal((await send('DELETE', `/push/${id}`, undefined, 'ada')).status, 404)
  for (const wrong of [
    { endpoint: 'http://push.example.org/1', keys },
    { endpoint: 'https://127.1:8443/', keys: { ...keys, auth: 'x' } },
    { endpoint: 'https://10.0.0.1/', keys },
  ])
    t.equal((await send('POST', '/push', wrong, 'vera')).status, 400, wrong.endpoint)
  t.equal(
    (await send('DELETE', `/push?endpoint=${encodeURIComponent(endpoint)}`, undefined, 'vera')).status,
    204,
  )
  const audit = await server.json<{ items: { what: string }[] }>('/audit')
  t.match(
    audit.items
      .slice(0, 2)
      .map(({ what }) => what)
      .sort(),
    ['push.add', 'push.remove'],
  )
  t.notMatch(JSON.stringify(audit), endpoint)
})

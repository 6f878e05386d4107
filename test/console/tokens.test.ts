import t from 'tap'
import type { Person, Scope } from '../../console/access/may.ts'
import { covers, limited, narrowed } from '../../console/access/scope.ts'
import { until } from '../kit/wait.ts'
import { type AccessServer, accessServer, Browser, PEOPLE, problemIn } from './access-server.ts'
import { NORTH, SOUTH } from './api-server.ts'

interface Made {
  readonly token: { readonly id: string; readonly usedAtMs: number | null }
  readonly secret: string
}

async function make(browser: Browser, body: Record<string, unknown> = {}): Promise<Made> {
  const answer = await browser.send('POST', '/api/v1/tokens', {
    name: 'test',
    rights: ['see'],
    expiresInS: 3600,
    ...body,
  })
  if (answer.status !== 201) throw new Error(await problemIn(answer))
  return (await answer.json()) as Made
}

/** By a program: no cookie, and nothing that a browser says. */
const by = ({ url }: AccessServer, secret: string, path: string, init: RequestInit = {}) =>
  fetch(`${url}/api/v1${path}`, { ...init, headers: { authorization: `Bearer ${secret}`, ...init.headers } })

t.test(
  'a token is shown once, does what it is for and nothing else, and ends when it is revoked',
  async (t) => {
    const server = await accessServer(t)
    const otto = await server.signIn('otto')
    const { token, secret } = await make(otto, { rights: ['see', 'export'] })
    t.match(secret, /^slt_[\w-]{43}$/)
    t.equal(token.usedAtMs, null)
    t.equal((await by(server, secret, '/detections')).status, 200)
    t.equal((await by(server, secret, '/detections.csv')).status, 200)
    t.equal(await problemIn(await by(server, secret, '/keepers')), '403 NOT_ALLOWED', 'which he may himself')
    const list = await (await otto.get('/api/v1/tokens')).text()
    t.match(JSON.parse(list), {
      items: [{ id: token.id, name: 'test', user: 'otto', rights: ['see', 'export'] }],
    })
    t.notMatch(list, secret)
    t.ok(JSON.parse(list).items[0].usedAtMs > 0)
    const rows = await server.database.read.selectFrom('tokens').selectAll().execute()
    t.notMatch(JSON.stringify(rows), secret.slice(4))
    t.equal((await otto.send('DELETE', `/api/v1/tokens/${token.id}`)).status, 204)
    t.equal(await problemIn(await by(server, secret, '/detections')), '401 NOT_SIGNED_IN')
    t.equal(await problemIn(await otto.send('DELETE', `/api/v1/tokens/${token.id}`)), '404 NOT_FOUND')
  },
)

t.test('a token that expired, was changed, or is none, gets nothing', async (t) => {
  const server = await accessServer(t)
  const { secret } = await make(await server.signIn('otto'))
  const wrong = [
    'slt_',
    `${secret}x`,
    secret.slice(0, -1),
    secret.slice(4),
    'undefined',
    'null',
    "' or 1=1 --",
    `Bearer ${secret}`,
    'a'.repeat(5000),
  ]
  for (const bad of wrong) t.equal((await by(server, bad, '/detections')).status, 401, bad.slice(0, 50))
  const basic = { authorization: `Basic ${Buffer.from(`otto:${secret}`).toString('base64')}` }
  t.equal((await fetch(`${server.url}/api/v1/detections`, { headers: basic })).status, 401)
  t.equal((await fetch(`${server.url}/api/v1/detections?token=${secret}`)).status, 401, 'not in addresses')
  const challenge = (await by(server, 'slt_wrong', '/detections')).headers.get('www-authenticate')
  t.match(challenge, /^Bearer/)
  t.equal((await by(server, secret, '/detections')).status, 200)
  server.wait(3600_000)
  t.equal((await by(server, secret, '/detections')).status, 401)
})

t.test('a wrong token counts, though the browser that sends it is signed in', async (t) => {
  const server = await accessServer(t)
  const ada = await server.signIn('ada')
  const answer = await ada.request('/api/v1/users', { headers: { authorization: 'Bearer slt_wrong' } })
  t.equal(answer.status, 401)
})

t.test('a token needs no origin, and no cookie goes with it', async (t) => {
  const server = await accessServer(t)
  const { secret } = await make(await server.signIn('anna'), { rights: ['see', 'share'] })
  const answer = await by(server, secret, '/shares', {
    method: 'POST',
    body: JSON.stringify({ name: 'x', filter: {}, expiresInS: 3600 }),
    headers: { 'content-type': 'application/json', origin: 'https://dashboard.example' },
  })
  t.equal(answer.status, 201)
  t.strictSame(answer.headers.getSetCookie(), [])
})

t.test('a token is dead with its user, and never does more than he may at that moment', async (t) => {
  const server = await accessServer(t)
  const ada = await server.signIn('ada')
  const otto = await server.signIn('otto')
  const { secret } = await make(otto, { rights: ['see', 'share', 'export'] })
  t.equal((await by(server, secret, '/shares')).status, 200)
  await ada.send('PATCH', '/api/v1/users/otto', { role: 'viewer' })
  t.equal(await problemIn(await by(server, secret, '/shares')), '403 NOT_ALLOWED')
  t.equal(await problemIn(await by(server, secret, '/detections.csv')), '403 NOT_ALLOWED')
  t.equal((await by(server, secret, '/detections')).status, 200)
  await ada.send('DELETE', '/api/v1/users/otto')
  t.equal((await by(server, secret, '/detections')).status, 401)
  // Whoever gets that name later gets none of it.
  await ada.send('POST', '/api/v1/users', { name: 'otto', role: 'admin', password: 'another password' })
  t.equal((await by(server, secret, '/detections')).status, 401)
})

t.test('the same for a user who was taken out of the file by hand', async (t) => {
  const server = await accessServer(t)
  const { secret } = await make(await server.signIn('otto'))
  server.write(PEOPLE.filter(({ name }) => name !== 'otto'))
  await until('it is dead', async () => (await by(server, secret, '/detections')).status === 401)
  const revoked = async () => (await server.access.tokens.list('otto')).length === 0
  await until('it is revoked', revoked)
  server.write(PEOPLE)
  await until('otto is back', async () => (await server.access.people.find('otto')) !== undefined)
  t.equal((await by(server, secret, '/detections')).status, 401)
})

t.test('nobody gives a token more than he has, and a token makes no tokens and no users', async (t) => {
  const server = await accessServer(t)
  const nora = await server.signIn('nora')
  const ada = await server.signIn('ada')
  const asks = (browser: Browser, body: Record<string, unknown>) =>
    browser.send('POST', '/api/v1/tokens', { name: 'x', rights: ['see'], expiresInS: 3600, ...body })
  t.equal(await problemIn(await asks(nora, { rights: ['command'] })), '403 NOT_ALLOWED')
  t.equal(await problemIn(await asks(nora, { sites: ['south'] })), '403 NOT_ALLOWED')
  t.equal(await problemIn(await asks(nora, { cameras: ['south/pi/door'] })), '403 NOT_ALLOWED')
  t.equal((await asks(nora, { cameras: ['north/pi/gate'] })).status, 201)
  t.equal(await problemIn(await asks(ada, { expiresInS: 366 * 86_400 })), '400 PARAMETER_INVALID')
  t.equal(await problemIn(await asks(ada, { rights: [] })), '400 PARAMETER_INVALID')
  t.equal(await problemIn(await asks(ada, { rights: ['everything'] })), '400 PARAMETER_INVALID')
  t.equal(await problemIn(await asks(ada, { name: '\u0007' })), '400 PARAMETER_INVALID')
  const { secret } = await make(ada, { rights: ['people', 'see'] })
  const send = (path: string, body: unknown) =>
    by(server, secret, path, {
      method: 'POST',
      body: JSON.stringify(body),
      headers: { 'content-type': 'application/json' },
    })
  t.equal((await by(server, secret, '/users')).status, 200)
  t.equal(await problemIn(await send('/users', { name: 'eve', role: 'admin' })), '403 NOT_ALLOWED')
  t.equal(
    await problemIn(await send('/tokens', { name: 'x', rights: ['see'], expiresInS: 60 })),
    '403 NOT_ALLOWED',
  )
})

t.test('a token revokes itself, and no other; nor a share without the right to share', async (t) => {
  const server = await accessServer(t)
  const [ada, anna] = [await server.signIn('ada'), await server.signIn('anna')]
  const [narrow, other] = [await make(anna), await make(anna)]
  const ofAdmin = await make(ada, { rights: ['people', 'see'] })
  const [face] = await server.store(NORTH)
  const share = await anna.send('POST', '/api/v1/shares', { name: 'x', detection: face?.id, expiresInS: 60 })
  const { id } = ((await share.json()) as { share: { id: string } }).share
  const remove = (secret: string, path: string) => by(server, secret, path, { method: 'DELETE' })
  t.equal(await problemIn(await remove(narrow.secret, `/tokens/${other.token.id}`)), '403 NOT_ALLOWED')
  t.equal(await problemIn(await remove(ofAdmin.secret, `/tokens/${other.token.id}`)), '403 NOT_ALLOWED')
  t.equal(await problemIn(await remove(narrow.secret, `/shares/${id}`)), '403 NOT_ALLOWED')
  t.equal((await by(server, other.secret, '/detections')).status, 200)
  t.equal((await remove(narrow.secret, `/tokens/${narrow.token.id}`)).status, 204)
  t.equal((await by(server, narrow.secret, '/detections')).status, 401)
  const shares = await make(anna, { rights: ['see', 'share'] })
  t.equal((await remove(shares.secret, `/shares/${id}`)).status, 204)
})

t.test('who makes up tokens is not looked up for ever, and others at his address go on', async (t) => {
  const server = await accessServer(t)
  const otto = await server.signIn('otto')
  const { secret } = await make(otto)
  t.equal((await by(server, secret, '/me')).status, 200)
  const seen = new Map<string, number>()
  for (let n = 0; n < 320; n += 1) {
    const answer = await problemIn(await by(server, `slt_made-up-${n}`, '/me'))
    seen.set(answer, (seen.get(answer) ?? 0) + 1)
  }
  t.strictSame(
    [...seen],
    [
      ['401 NOT_SIGNED_IN', 300],
      ['429 TOO_MANY', 20],
    ],
  )
  t.equal((await by(server, secret, '/me')).status, 200)
  t.equal((await otto.get('/api/v1/me')).status, 200)
  const anna = await server.signIn('anna')
  t.equal((await anna.get('/api/v1/me')).status, 200, 'and who signs in now is in')
  const old = new Browser(server.url)
  old.cookies.set('sightline', 'of last year')
  t.equal((await old.get('/signin')).status, 200)
})

t.test("another's token cannot be seen nor revoked, but by an administrator", async (t) => {
  const server = await accessServer(t)
  const [ada, anna, otto] = [
    await server.signIn('ada'),
    await server.signIn('anna'),
    await server.signIn('otto'),
  ]
  const { token, secret } = await make(otto)
  t.notMatch(await (await anna.get('/api/v1/tokens')).text(), token.id)
  t.equal(await problemIn(await anna.send('DELETE', `/api/v1/tokens/${token.id}`)), '404 NOT_FOUND')
  t.equal((await by(server, secret, '/detections')).status, 200)
  t.match(await (await ada.get('/api/v1/tokens?whose=all')).text(), token.id)
  t.equal((await ada.send('DELETE', `/api/v1/tokens/${token.id}`)).status, 204)
  t.equal((await by(server, secret, '/detections')).status, 401)
})

t.test('a narrow token sees its cameras alone', async (t) => {
  const server = await accessServer(t)
  const [north, south] = await server.store(NORTH, SOUTH)
  const { secret } = await make(await server.signIn('ada'), { sites: ['south'], rights: ['see', 'people'] })
  t.equal((await by(server, secret, `/detections/${south?.id}`)).status, 200)
  t.equal((await by(server, secret, `/detections/${north?.id}/picture`)).status, 404)
  t.equal((await by(server, secret, '/users')).status, 403, 'people belong to no site')
})

t.test('a scope is never wider than both that make it', async (t) => {
  const some = (sites: string[], cameras: string[] = []): Scope => ({
    all: false,
    sites: new Set(sites),
    cameras: new Set(cameras),
  })
  t.strictSame(narrowed({ all: true }, {}), { all: true })
  t.strictSame(narrowed({ all: true }, { sites: ['a'] }), some(['a']))
  t.strictSame(narrowed(some(['a', 'b']), { sites: ['b', 'c'] }), some(['b']))
  t.strictSame(narrowed(some(['a']), { cameras: ['a/d/c', 'b/d/c'] }), some([], ['a/d/c']))
  t.strictSame(narrowed(some([], ['a/d/c', 'b/d/c']), { sites: ['a'] }), some([], ['a/d/c']))
  t.strictSame(narrowed(some(['a']), { sites: [] }), some([]))
  t.ok(covers(some(['a']), { cameras: ['a/d/c'] }))
  t.notOk(covers(some([], ['a/d/c']), { sites: ['a'] }))
  const person: Person = { name: 'p', role: 'viewer', scope: some(['a']), rights: new Set() }
  t.match(limited(person, ['see'], {}), { scope: some(['a']), only: new Set(['see']) })
})

import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { localPath } from '../../console/access/sign-in-pages.ts'
import { consoleSchema } from '../../console/config.ts'
import { readUsers } from '../../lib/access/users.ts'
import { cheapHash } from '../kit/passwords.ts'
import { until } from '../kit/wait.ts'
import { accessServer, Browser, PASSWORD, PEOPLE, problemIn } from './access-server.ts'
import { NORTH, SOUTH } from './api-server.ts'

interface Me {
  readonly name: string
  readonly role: string
  readonly rights: readonly string[]
  readonly sites: readonly string[] | null
}

t.test('whoever signs in has a session in a cookie that no script reads, until he signs out', async (t) => {
  const server = await accessServer(t)
  const browser = new Browser(server.url)
  t.equal((await browser.get('/api/v1/me')).status, 401)
  const answer = await browser.send('POST', '/api/v1/session', { name: 'ada', password: PASSWORD })
  t.equal(answer.status, 200)
  const cookie = answer.headers.getSetCookie().join()
  t.match(cookie, /^sightline=[\w-]{43};/)
  t.match(cookie, /HttpOnly/i)
  t.match(cookie, /SameSite=Lax/i)
  t.notMatch(cookie, /Secure/i, 'over loopback alone it may go without TLS')
  const me = (await (await browser.get('/api/v1/me')).json()) as Me
  t.match(me, { name: 'ada', role: 'admin', sites: null })
  t.ok(me.rights.includes('people'))
  const { sessions } = { sessions: await server.database.read.selectFrom('sessions').selectAll().execute() }
  t.notMatch(JSON.stringify(sessions), browser.cookie.split('=')[1] ?? '', 'the secret is kept nowhere')

  const old = new Map(browser.cookies)
  t.equal((await browser.send('DELETE', '/api/v1/session')).status, 204)
  t.equal(browser.cookies.size, 0)
  browser.cookies.set('sightline', old.get('sightline') ?? '')
  t.equal((await browser.get('/api/v1/me')).status, 401, 'the cookie of a session that ended is none')
})

t.test('over TLS the cookie is for TLS alone, and for this host', async (t) => {
  const server = await accessServer(t, { config: { publicUrl: 'https://console.example.org' } })
  const browser = new Browser(server.url)
  const answer = await browser.send(
    'POST',
    '/api/v1/session',
    { name: 'ada', password: PASSWORD },
    { origin: 'https://console.example.org' },
  )
  t.match(answer.headers.getSetCookie().join(), /^__Host-sightline=.*Path=\/.*Secure/i)
})

t.test('wrong names and passwords get one answer, and after ten there are no more tries', async (t) => {
  const server = await accessServer(t)
  const browser = new Browser(server.url)
  const wrong = await browser.send('POST', '/api/v1/session', { name: 'ada', password: 'wrong password' })
  const nobody = await browser.send('POST', '/api/v1/session', { name: 'nobody', password: 'wrong password' })
  const device = await browser.send('POST', '/api/v1/session', { name: 'gate', password: PASSWORD })
  t.equal(wrong.status, 403)
  t.strictSame(await wrong.json(), await nobody.json())
  t.equal(device.status, 403, 'a device is no person')
  for (let tries = 1; tries < 10; tries += 1)
    await browser.send('POST', '/api/v1/session', { name: 'ada', password: `wrong ${tries}` })
  const right = await browser.send('POST', '/api/v1/session', { name: 'ada', password: PASSWORD })
  t.equal(await problemIn(right), '429 TOO_MANY')
  const other = await browser.send('POST', '/api/v1/session', { name: 'anna', password: PASSWORD })
  t.equal(other.status, 200, 'another user is not kept out')
  const entries = await server.access.audit.page({ action: 'sign-in.failed' }, undefined, 100)
  t.ok(entries.length >= 11)
  t.match(entries.at(-1), { user: 'ada', address: '127.0.0.1' })
})

t.test('who asks is whom a trusted proxy names, and nobody else is believed', async (t) => {
  const addressOf = async (trustedProxies: readonly string[], forwarded: string) => {
    const folder = t.testdir()
    const server = await accessServer(t, { folder, config: { http: { trustedProxies } } })
    const browser = new Browser(server.url)
    const body = { name: 'ada', password: 'wrong password' }
    for (let tries = 1; tries <= 11; tries += 1)
      await browser.send('POST', '/api/v1/session', body, {
        'x-forwarded-for': tries === 11 ? forwarded : `198.51.100.${tries}, ${forwarded}`,
      })
    const last = await browser.send('POST', '/api/v1/session', body, { 'x-forwarded-for': forwarded })
    t.equal(await problemIn(last), '429 TOO_MANY', 'what the client writes before gives no more tries')
    const entries = await server.access.audit.page({ action: 'sign-in.failed' }, undefined, 100)
    return [...new Set(entries.map(({ address }) => address))]
  }
  t.strictSame(await addressOf([], '203.0.113.7'), ['127.0.0.1'])
  t.strictSame(await addressOf(['127.0.0.2', '10.0.0.0/8'], '203.0.113.7'), ['127.0.0.1'])
  t.strictSame(await addressOf(['127.0.0.0/8', '::1'], '203.0.113.7'), ['203.0.113.7'])
  for (const wrong of ['loopback', '10.0.0.0/33', '0.0.0.0/0', '::/0', '10.0.0.0/', 'proxy.example.org', ''])
    t.equal(consoleSchema.safeParse({ http: { trustedProxies: [wrong] } }).success, false, wrong)
  t.ok(consoleSchema.safeParse({ http: { trustedProxies: ['10.0.0.0/8', 'fd00::/8', '::1'] } }).success)
})

t.test('a session ends when its user is removed, or gets another password', async (t) => {
  const server = await accessServer(t)
  const [anna, otto, nora] = [
    await server.signIn('anna'),
    await server.signIn('otto'),
    await server.signIn('nora'),
  ]
  server.write([
    ...PEOPLE.filter(({ name }) => name !== 'anna' && name !== 'otto'),
    { name: 'otto', role: 'operator', password: cheapHash('another password') },
  ])
  await until('anna is out', async () => (await anna.get('/api/v1/me')).status === 401)
  t.equal((await anna.get('/api/v1/me')).status, 401)
  t.equal((await otto.get('/api/v1/me')).status, 401)
  t.equal((await nora.get('/api/v1/me')).status, 200)
  server.write(PEOPLE)
  await until('anna is back', async () => (await server.access.people.find('anna')) !== undefined)
  t.equal((await anna.get('/api/v1/me')).status, 401, 'another of the same name, as it may be')
})

t.test('fewer rights take effect in sessions that are there', async (t) => {
  const server = await accessServer(t)
  const ada = await server.signIn('ada')
  const anna = await server.signIn('anna')
  const changed = await ada.send('PATCH', '/api/v1/users/anna', { role: 'viewer', sites: ['north'] })
  t.equal(changed.status, 200)
  const me = (await (await anna.get('/api/v1/me')).json()) as Me
  t.match(me, { role: 'viewer', sites: ['north'] })
  t.notOk(me.rights.includes('share'))
})

t.test('a session ends when it is unused, and at its end though it is used', async (t) => {
  const server = await accessServer(t, { access: { sessionMax: '3h', sessionIdleMax: '1h' } })
  const idle = await server.signIn('anna')
  const busy = await server.signIn('otto')
  server.wait(50 * 60_000)
  t.equal((await busy.get('/api/v1/me')).status, 200)
  server.wait(20 * 60_000)
  t.equal((await idle.get('/api/v1/me')).status, 401)
  t.equal((await busy.get('/api/v1/me')).status, 200)
  server.wait(50 * 60_000)
  t.equal((await busy.get('/api/v1/me')).status, 200)
  server.wait(50 * 60_000)
  await busy.get('/api/v1/me')
  server.wait(20 * 60_000)
  t.equal((await busy.get('/api/v1/me')).status, 401)
})

t.test('another site cannot use the cookie, nor sign somebody in', async (t) => {
  const server = await accessServer(t)
  const ada = await server.signIn('ada')
  const user = { name: 'mallory', role: 'admin', password: 'a long password' }
  const forged: readonly Record<string, string>[] = [
    { origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' },
    { origin: server.url, 'sec-fetch-site': 'same-site' },
    { origin: 'null', 'sec-fetch-site': 'cross-site' },
    { origin: `${server.url}.evil.example`, 'sec-fetch-site': 'same-origin' },
  ]
  for (const headers of forged)
    t.equal(await problemIn(await ada.send('POST', '/api/v1/users', user, headers)), '403 CROSS_SITE')
  const without = (headers: Record<string, string>) =>
    fetch(`${server.url}/api/v1/users`, {
      method: 'POST',
      body: JSON.stringify(user),
      headers: { cookie: ada.cookie, 'content-type': 'application/json', ...headers },
    })
  // fetch() here adds "sec-fetch-mode" and no origin: an old browser, or no browser.
  t.equal(await problemIn(await without({})), '403 CROSS_SITE')
  t.equal(await problemIn(await without({ origin: 'null' })), '403 CROSS_SITE')
  t.equal(await problemIn(await without({ origin: 'https://evil.example' })), '403 CROSS_SITE')
  const plain = await ada.request('/api/v1/users', {
    method: 'POST',
    body: JSON.stringify(user),
    headers: { 'content-type': 'text/plain' },
  })
  t.equal(plain.status, 415, 'what a form can send is not read')
  t.notOk(await server.access.people.find('mallory'))
  const form = await ada.form(
    '/signin',
    { name: 'anna', password: PASSWORD },
    { origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' },
  )
  t.equal(form.status, 403)
  t.equal(form.headers.getSetCookie().length, 0)
  t.equal((await without({ origin: server.url })).status, 201, 'an old browser, on a page of ours')
})

t.test(
  'the page signs in without a script, goes on to an address of ours, and escapes what it repeats',
  async (t) => {
    const server = await accessServer(t)
    const browser = new Browser(server.url)
    const page = await browser.get(`/signin?next=${encodeURIComponent('/faces?"><script>x</script>')}`)
    t.equal(page.status, 200)
    t.match(page.headers.get('content-security-policy'), /default-src 'none'; style-src 'sha256-/)
    t.notMatch(page.headers.get('content-security-policy'), /unsafe/)
    const text = await page.text()
    t.notMatch(text, /<script/)
    t.match(text, /<form method="post" action="\/signin">/)
    const wrong = await browser.form('/signin', { name: 'ada', password: 'wrong', next: '/"><b>' })
    t.equal(wrong.status, 401)
    t.notMatch(await wrong.text(), /"><b>/)
    const right = await browser.form('/signin', {
      name: 'ada',
      password: PASSWORD,
      next: '/faces?site=north',
    })
    t.equal(right.status, 303)
    t.equal(right.headers.get('location'), '/faces?site=north')
    t.equal((await browser.get('/api/v1/me')).status, 200)
  },
)

t.test('nobody is led to another site after signing in', async (t) => {
  for (const next of [
    'https://evil.example/',
    '//evil.example',
    '/\\evil.example',
    '/.//evil.example',
    '/./\\evil.example',
    '/\t/evil.example',
    'javascript:alert(1)',
    '',
    undefined,
    ['/a'],
    `/${'a'.repeat(3000)}`,
  ])
    t.equal(localPath(next), '/', JSON.stringify(next))
  t.equal(localPath('/faces?site=a&b=%20'), '/faces?site=a&b=%20')
})

t.test('without users nobody gets in, not even from this machine, and the log says so', async (t) => {
  const server = await accessServer(t, { noUsersFile: true })
  t.match(server.warnings.join(), /nobody can sign in to the console, not even from this machine/)
  const browser = new Browser(server.url)
  for (const path of ['/api/v1/me', '/api/v1/detections', '/api/v1/users', '/api/v1/audit'])
    t.equal((await browser.get(path)).status, 401, path)
  t.equal((await browser.get('/signin?token=')).status, 401)
  t.equal((await browser.get('/signin?token=undefined')).status, 401)
  const demo = await browser.send('POST', '/api/v1/session', { name: 'demo', password: 'undefined' })
  t.equal(demo.status, 403)
  t.match(await (await browser.get('/signin')).text(), /Nobody can sign in yet/)
})

t.test('a user "demo" of the file keeps what he has where no run has a token', async (t) => {
  const folder = t.testdir()
  const people = [...PEOPLE, { name: 'demo', role: 'analyst' } as const]
  const first = await accessServer(t, { folder, people })
  const demo = await first.signIn('demo')
  const made = await demo.send('POST', '/api/v1/tokens', { name: 'x', rights: ['see'], expiresInS: 3600 })
  const { secret } = (await made.json()) as { secret: string }
  await first.store(NORTH)
  const second = await accessServer(t, { folder, people })
  const bearer = { headers: { authorization: `Bearer ${secret}` } }
  t.equal((await fetch(`${second.url}/api/v1/me`, bearer)).status, 200)
})

t.test('who is removed leaves no marks, and no browser that is told, to somebody of his name', async (t) => {
  const server = await accessServer(t)
  const [ada, anna] = [await server.signIn('ada'), await server.signIn('anna')]
  const [face] = await server.store(NORTH)
  await server.database.review('anna', [face?.id ?? ''], { all: true }, 1)
  const marks = () => server.database.read.selectFrom('reviews').selectAll().execute()
  t.equal((await marks()).length, 1)
  t.equal((await anna.get('/api/v1/me')).status, 200)
  const { write } = server.database
  const browsers = async () => (await write.selectFrom('push_subscriptions').select('user').execute()).length
  for (const user of ['anna', 'nora'])
    await write
      .insertInto('push_subscriptions')
      .values({
        ...{ id: user, user, endpoint: `https://push.example.org/${user}`, keys_json: '{}', name: 'Firefox' },
        ...{ created_at_ms: 1, last_sent_ms: null },
      })
      .execute()
  t.equal((await ada.send('DELETE', '/api/v1/users/anna')).status, 204)
  t.equal((await marks()).length, 0)
  t.equal(await browsers(), 1)
  // Taken out of the file, and never signed in here.
  server.write(PEOPLE.filter(({ name }) => name !== 'nora' && name !== 'anna'))
  await until('the browser of nora is gone', async () => (await browsers()) === 0)
})

t.test('the token of a run signs in by a link and is a token of the API, for that run alone', async (t) => {
  const folder = t.testdir()
  const token = 'a-token-of-this-run'
  const first = await accessServer(t, { noUsersFile: true, runToken: token, folder })
  t.strictSame(first.warnings, [])
  const browser = new Browser(first.url)
  const answer = await browser.get(`/signin?token=${token}&next=/flow`)
  t.equal(answer.status, 303)
  t.equal(answer.headers.get('location'), '/flow')
  t.match(await (await browser.get('/api/v1/me')).json(), { name: 'demo', role: 'admin', by: 'session' })
  const bearer = { headers: { authorization: `Bearer ${token}` } }
  t.match(await (await fetch(`${first.url}/api/v1/me`, bearer)).json(), { name: 'demo', by: 'run' })
  const made = await browser.send('POST', '/api/v1/tokens', { name: 'x', rights: ['see'], expiresInS: 3600 })
  const { secret } = (await made.json()) as { secret: string }
  t.equal((await browser.get('/signin?token=another-token-of-a-run')).status, 401)

  const second = await accessServer(t, { noUsersFile: true, runToken: 'the-token-of-the-next-run', folder })
  const later = new Browser(second.url)
  for (const [name, value] of browser.cookies) later.cookies.set(name, value)
  t.equal((await later.get('/api/v1/me')).status, 401)
  t.equal((await fetch(`${second.url}/api/v1/me`, bearer)).status, 401)
  const old = { headers: { authorization: `Bearer ${secret}` } }
  t.equal((await fetch(`${second.url}/api/v1/me`, old)).status, 401, 'what was made in that run ends too')
  await t.rejects(accessServer(t, { noUsersFile: true, runToken: 'short' }), { code: 'CONFIG_INVALID' })
})

t.test('users are added, changed and removed as "sightline users" does, and apply at once', async (t) => {
  const server = await accessServer(t)
  const ada = await server.signIn('ada')
  const made = await ada.send('POST', '/api/v1/users', { name: 'Zoë <b>', role: 'viewer', sites: ['north'] })
  t.equal(made.status, 201)
  const { password } = (await made.json()) as { password: string }
  t.match(password, /^[0-9a-f]{32}$/)
  const kept = readUsers(server.usersFile).users.find(({ name }) => name === 'Zoë <b>')
  t.match(kept, { role: 'viewer', sites: ['north'], password: /^\$scrypt\$/ })
  const zoe = await server.signIn('Zoë <b>', password)
  const path = `/api/v1/users/${encodeURIComponent('Zoë <b>')}`
  t.equal((await ada.send('PATCH', path, { rights: ['live'], sites: null })).status, 200)
  t.match(await (await zoe.get('/api/v1/me')).json(), { sites: null, rights: ['see', 'live', 'review'] })
  t.equal((await ada.send('PUT', `${path}/password`, { password: 'a new password' })).status, 200)
  t.equal((await zoe.get('/api/v1/me')).status, 401)
  const again = await server.signIn('Zoë <b>', 'a new password')
  t.equal((await ada.send('DELETE', path)).status, 204)
  t.equal((await again.get('/api/v1/me')).status, 401)
  t.equal(await problemIn(await ada.send('DELETE', path)), '404 NOT_FOUND')
  const bad: readonly (readonly [unknown, string])[] = [
    [{ name: 'anna', role: 'viewer' }, '409 USER_EXISTS'],
    [{ name: 'gate', role: 'viewer' }, '409 USER_EXISTS'],
    [{ name: 'bob', role: 'device' }, '400 PARAMETER_INVALID'],
    [{ name: 'bob', role: 'admin', sites: ['north'] }, '400 PARAMETER_INVALID'],
    [{ name: 'bob', role: 'viewer', password: 'short' }, '400 PARAMETER_INVALID'],
    [{ name: 'b:ob', role: 'viewer' }, '400 PARAMETER_INVALID'],
    [{ name: 'bob', role: 'viewer', cameras: ['north/door'] }, '400 PARAMETER_INVALID'],
    [{ name: 'bob', role: 'viewer', more: 1 }, '400 PARAMETER_INVALID'],
  ]
  for (const [body, problem] of bad)
    t.equal(await problemIn(await ada.send('POST', '/api/v1/users', body)), problem, JSON.stringify(body))
  t.equal(await problemIn(await ada.send('DELETE', '/api/v1/users/gate')), '404 NOT_FOUND', 'no person')
})

t.test('the last administrator stays one', async (t) => {
  const server = await accessServer(t)
  const ada = await server.signIn('ada')
  t.equal(await problemIn(await ada.send('DELETE', '/api/v1/users/ada')), '409 LAST_ADMIN')
  t.equal(await problemIn(await ada.send('PATCH', '/api/v1/users/ada', { role: 'viewer' })), '409 LAST_ADMIN')
  t.equal((await ada.get('/api/v1/users')).status, 200)
  await ada.send('PATCH', '/api/v1/users/otto', { role: 'admin' })
  t.equal((await ada.send('DELETE', '/api/v1/users/ada')).status, 204)
})

t.test('only administrators manage people, and everybody changes his own password', async (t) => {
  const server = await accessServer(t)
  const anna = await server.signIn('anna')
  const elsewhere = await server.signIn('anna')
  for (const [method, path, body] of [
    ['GET', '/api/v1/users', undefined],
    ['GET', '/api/v1/audit', undefined],
    ['GET', '/api/v1/tokens?whose=all', undefined],
    ['POST', '/api/v1/users', { name: 'bob', role: 'viewer' }],
    ['PATCH', '/api/v1/users/anna', { role: 'admin' }],
    ['PUT', '/api/v1/users/ada/password', {}],
    ['DELETE', '/api/v1/users/ada', undefined],
  ] as const)
    t.equal(await problemIn(await anna.send(method, path, body)), '403 NOT_ALLOWED', `${method} ${path}`)
  const change = (current: string) =>
    anna.send('PUT', '/api/v1/me/password', { current, password: 'a new password' })
  t.equal(await problemIn(await change('not it at all')), '403 PASSWORD_WRONG')
  t.equal((await change(PASSWORD)).status, 204)
  t.equal((await anna.get('/api/v1/me')).status, 200, 'where he changed it he stays')
  t.equal((await elsewhere.get('/api/v1/me')).status, 401)
  await t.rejects(server.signIn('anna'))
})

t.test(
  'a confined user gets 404 for what another site has, by id, by picture, and nothing of it in lists',
  async (t) => {
    const server = await accessServer(t)
    const [north, south] = await server.store(NORTH, SOUTH)
    const nora = await server.signIn('nora')
    t.equal((await nora.get(`/api/v1/detections/${north?.id}`)).status, 200)
    t.equal((await nora.get(`/api/v1/detections/${north?.id}/picture`)).status, 200)
    t.equal(await problemIn(await nora.get(`/api/v1/detections/${south?.id}`)), '404 NOT_FOUND')
    t.equal(await problemIn(await nora.get(`/api/v1/detections/${south?.id}/picture`)), '404 NOT_FOUND')
    const exported = await (await nora.get('/api/v1/detections.ndjson')).text()
    t.match(exported, new RegExp(north?.id ?? 'none'))
    t.notMatch(exported, new RegExp(south?.id ?? 'none'))
    const page = await (await nora.get('/api/v1/detections?site=south')).json()
    t.match(page, { items: [] })
  },
)

t.test('a stream ends when its session does, and when its user may less', async (t) => {
  const server = await accessServer(t)
  const ada = await server.signIn('ada')
  const nora = await server.signIn('nora')
  const hold = async (browser: Browser) => {
    const session = await server.access.sessions.find(browser.cookies.get('sightline') ?? '')
    const known = await server.access.people.find(session?.user ?? '')
    if (!session || !known) throw new Error('no session')
    const caller = { person: known.person, by: 'session', id: session.id, address: '127.0.0.1' } as const
    return server.access.hold(caller, 'see').signal
  }
  const [first, second] = [await hold(ada), await hold(nora)]
  await sleep(150)
  t.notOk(first.aborted)
  t.notOk(second.aborted)
  await ada.send('PATCH', '/api/v1/users/nora', { sites: ['south'] })
  t.ok(second.aborted)
  t.notOk(first.aborted)
  await ada.send('DELETE', '/api/v1/session')
  t.ok(first.aborted)
  // And where another program ended it: the file was written by hand.
  const otto = await server.signIn('otto')
  const third = await hold(otto)
  server.write(PEOPLE.filter(({ name }) => name !== 'otto'))
  await until('the stream has ended', () => third.aborted)
  t.ok(third.aborted)
})

t.test('everything that is done is in the audit log, which cannot be changed', async (t) => {
  const server = await accessServer(t)
  const ada = await server.signIn('ada')
  await ada.send('POST', '/api/v1/users', { name: 'bob', role: 'viewer', password: 'the password of bob' })
  await ada.send('DELETE', '/api/v1/users/bob')
  const read = async (query = '') => {
    const answer = await ada.get(`/api/v1/audit${query}`)
    return (await answer.json()) as {
      items: { id: string; what: string; target: string }[]
      next: string | null
    }
  }
  const { items } = await read()
  t.strictSame(
    items.map(({ what, target }) => `${what} ${target}`.trim()),
    ['user.remove bob', 'user.add bob', 'sign-in'],
  )
  t.notMatch(JSON.stringify(items), /the password of bob/)
  const one = await read('?limit=1')
  const two = await read(`?limit=2&cursor=${one.next}`)
  t.strictSame([...one.items, ...two.items], items)
  t.equal(two.next, null)
  t.match(await read('?what=sign-in'), { items: [{ what: 'sign-in' }] })
  const { write } = server.database
  await t.rejects(write.deleteFrom('audit').execute())
  await t.rejects(write.updateTable('audit').set({ user: 'otto' }).execute())
  t.equal((await read()).items.length, 3)
})

t.test('strangers learn whether the console is well, and monitors with a token the rest', async (t) => {
  const server = await accessServer(t, { runToken: 'a-token-of-this-run' })
  const bearer = { headers: { authorization: 'Bearer a-token-of-this-run' } }
  t.strictSame(await (await fetch(`${server.url}/healthz`)).json(), { ok: true })
  t.equal((await fetch(`${server.url}/metrics`)).status, 401)
  t.strictSame(await (await fetch(`${server.url}/healthz`, bearer)).json(), {
    ok: true,
    checks: { database: 'open' },
  })
  t.equal((await fetch(`${server.url}/metrics`, bearer)).status, 200)
  const anna = await server.signIn('anna')
  const made = await anna.send('POST', '/api/v1/tokens', { name: 'x', rights: ['see'], expiresInS: 3600 })
  const { secret } = (await made.json()) as { secret: string }
  const weak = { headers: { authorization: `Bearer ${secret}` } }
  t.equal((await fetch(`${server.url}/metrics`, weak)).status, 401)
})

import { createServer, type RequestListener } from 'node:http'
import t, { type Test } from 'tap'
import { checkConsoleConfig, consoleSchema } from '../../console/config.ts'
import { freePort } from '../kit/ports.ts'
import { type AccessServer, accessServer, Browser, PASSWORD, PEOPLE, problemIn } from './access-server.ts'

/** Against a real provider: oidc-provider on loopback, whose pages of development ask for a name and take any password. */

const CLIENT_ID = 'sightline'
const CLIENT_SECRET = 'a-secret-of-the-client'
const ROLES = { 'face-admins': 'admin', 'face-viewers': 'viewer', 'face-analysts': 'analyst' }

type Claims = Readonly<Record<string, unknown>>
type Accounts = Record<string, Claims>

/** It has no types of its own. */
interface ProviderModule {
  readonly default: new (issuer: string, settings: object) => { callback(): RequestListener }
}

const accountsNow = (): Accounts => ({
  ada: { email: 'ada@example.org', email_verified: true, roles: ['staff', 'face-viewers', 'face-admins'] },
  vera: { email: 'vera@example.org', email_verified: true, roles: 'face-viewers', sites: ['north', '../x'] },
  max: { email: 'max@example.org', email_verified: true, roles: ['staff', 'toString', '__proto__'] },
  eve: { email: 'ada@example.org', email_verified: false, roles: ['face-admins'] },
  clash: { email: 'otto', email_verified: true, roles: ['face-admins'] },
  noname: { roles: ['face-admins'] },
})

interface Identity {
  readonly issuer: string
  readonly accounts: Accounts
  stop(): Promise<void>
}

async function identity(t: Test, consoleUrl: string): Promise<Identity> {
  const accounts = accountsNow()
  const issuer = `http://127.0.0.1:${await freePort()}`
  const { default: Provider } = (await import('oidc-provider' as string)) as ProviderModule
  const { warn, info } = console
  console.warn = console.info = () => {} // it says that it is for development
  const oidc = new Provider(issuer, {
    clients: [
      {
        client_id: CLIENT_ID,
        client_secret: CLIENT_SECRET,
        redirect_uris: [`${consoleUrl}/signin/openid/callback`],
      },
    ],
    pkce: { required: () => true },
    claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['roles', 'sites'] },
    findAccount: (_context: unknown, id: string) => ({
      accountId: id,
      claims: async () => ({ ...accounts[id], sub: id }),
    }),
    ttl: { Interaction: 600, Session: 600, Grant: 600, AccessToken: 600, IdToken: 600 },
    cookies: { keys: ['a key of the test'] },
  })
  Object.assign(console, { warn, info })
  const server = createServer(oidc.callback())
  await new Promise<void>((resolve) => server.listen(Number(new URL(issuer).port), '127.0.0.1', resolve))
  const stop = () =>
    new Promise<void>((resolve) => {
      server.closeAllConnections()
      server.close(() => resolve())
    })
  t.teardown(stop)
  return { issuer, accounts, stop }
}

interface Both {
  readonly server: AccessServer
  readonly provider: Identity
}

async function both(t: Test, openId: Record<string, unknown> = {}): Promise<Both> {
  const port = await freePort()
  const publicUrl = `http://127.0.0.1:${port}`
  const provider = await identity(t, publicUrl)
  const server = await accessServer(t, {
    port,
    config: { publicUrl },
    access: {
      sessionMax: '7d',
      openId: {
        issuer: provider.issuer,
        clientId: CLIENT_ID,
        clientSecret: CLIENT_SECRET,
        roles: ROLES,
        ...openId,
      },
      usersFile: undefined,
    },
  })
  return { server, provider }
}

/** Goes where the provider leads, and names himself there. @returns the address on the console it leads back to */
async function atProvider(
  provider: Identity,
  browser: Browser,
  start: string,
  login: string,
): Promise<string> {
  let address = start
  for (let steps = 0; steps < 12; steps += 1) {
    if (!address.startsWith(provider.issuer)) return address
    const answer = await browser.request(address)
    const next = answer.headers.get('location')
    if (next !== null) {
      address = new URL(next, address).href
      continue
    }
    const prompt = /name="prompt" value="(\w+)"/.exec(await answer.text())?.[1]
    if (prompt === undefined) throw new Error(`the provider stops at ${address} with ${answer.status}`)
    const form = await browser.request(address, {
      method: 'POST',
      body: new URLSearchParams({ prompt, login, password: 'x' }),
    })
    address = new URL(form.headers.get('location') ?? '', address).href
  }
  throw new Error('the provider leads round and round')
}

async function signIn({ server, provider }: Both, login: string, next = '/') {
  const browser = new Browser(server.url)
  const left = await browser.get(`/signin/openid?next=${encodeURIComponent(next)}`)
  const start = left.headers.get('location') ?? ''
  const back = await atProvider(provider, new Browser(provider.issuer), start, login)
  const answer = await browser.get(back)
  return { browser, start: new URL(start), back, answer }
}

t.test('somebody the provider vouches for is in, with the greatest of his roles', async (t) => {
  const it = await both(t)
  const { browser, start, answer } = await signIn(it, 'ada', '/flow')
  t.equal(answer.status, 303)
  t.equal(answer.headers.get('location'), '/flow')
  for (const name of ['state', 'nonce', 'code_challenge']) t.ok(start.searchParams.get(name), name)
  t.equal(start.searchParams.get('code_challenge_method'), 'S256')
  const me = await (await browser.get('/api/v1/me')).json()
  t.match(me, { name: 'ada@example.org', role: 'admin', sites: null, changesPassword: false })
  t.match(await (await browser.get('/api/v1/users')).json(), {
    items: [{ name: 'ada@example.org', signsInBy: 'openid' }],
    canChange: false,
  })
  t.equal((await browser.send('DELETE', '/api/v1/session')).status, 204)
  t.equal((await browser.get('/api/v1/me')).status, 401)
})

t.test('whoever has no role, no name, or an address that is not verified does not get in', async (t) => {
  const it = await both(t)
  for (const [login, words] of [
    ['max', 'has no role here'],
    ['noname', 'sent no usable user name'],
    ['eve', 'has not verified the address'],
  ] as const) {
    const { browser, answer } = await signIn(it, login)
    t.equal(answer.status, 403, login)
    t.match(await answer.text(), words)
    t.equal((await browser.get('/api/v1/me')).status, 401)
  }
  const failed = await it.server.access.audit.page({ action: 'sign-in.failed' }, undefined, 10)
  t.equal(failed.length, 3)
})

t.test('a way back that another browser was sent, or that is used twice, signs nobody in', async (t) => {
  const it = await both(t)
  const mine = await signIn(it, 'ada')
  const victim = new Browser(it.server.url)
  t.equal((await victim.get(mine.back)).status, 403, 'who has not left has no way back')
  await victim.get('/signin/openid')
  const swapped = await victim.get(mine.back)
  t.equal(swapped.status, 403, 'nor who left on another')
  t.match(await swapped.text(), 'does not belong to this sign-in')
  t.equal((await victim.get('/api/v1/me')).status, 401)

  const twice = new Browser(it.server.url)
  const left = (await twice.get('/signin/openid')).headers.get('location') ?? ''
  const pending = twice.cookies.get('sightline-openid') ?? ''
  const back = await atProvider(it.provider, new Browser(it.provider.issuer), left, 'ada')
  t.equal((await twice.get(back)).status, 303)
  const again = new Browser(it.server.url)
  again.cookies.set('sightline-openid', pending)
  t.equal((await again.get(back)).status, 403, 'a code is good once')
  const other = new Browser(it.server.url)
  other.cookies.set('sightline-openid', Buffer.from('{"state":1}').toString('base64url'))
  t.equal((await other.get(back)).status, 403)
})

t.test('a way back that nobody was sent does not reach the provider, and too many tries end', async (t) => {
  const it = await both(t)
  const made = new Browser(it.server.url)
  const pending = { state: 's', nonce: 'n', verifier: 'v', next: '/' }
  for (const value of [pending, { ...pending, endMs: Date.now() + 1e6 }])
    for (const seal of ['', '.', '.AAAA', `.${'A'.repeat(43)}`]) {
      made.cookies.set('sightline-openid', Buffer.from(JSON.stringify(value)).toString('base64url') + seal)
      const answer = await made.get('/signin/openid/callback?code=x&state=s')
      t.match(await answer.text(), 'This sign-in was started in another browser')
    }
  const failures = () => it.server.access.audit.page({ action: 'sign-in.failed' }, undefined, 100)
  t.strictSame(await failures(), [])
  const browser = new Browser(it.server.url)
  const statuses: number[] = []
  for (let tries = 0; tries < 12; tries += 1) {
    const left = new URL((await browser.get('/signin/openid')).headers.get('location') ?? '')
    const query = new URLSearchParams({
      code: 'made-up',
      state: left.searchParams.get('state') ?? '',
      iss: it.provider.issuer,
    })
    statuses.push((await browser.get(`/signin/openid/callback?${query}`)).status)
  }
  t.strictSame(statuses, [...Array(10).fill(403), 429, 429])
  t.equal((await failures()).length, 10)
})

t.test('what the provider refuses is said in plain words, and escaped', async (t) => {
  const it = await both(t)
  const browser = new Browser(it.server.url)
  const back = async (said: Record<string, string>) => {
    const left = new URL((await browser.get('/signin/openid')).headers.get('location') ?? '')
    const state = left.searchParams.get('state') ?? ''
    return `/signin/openid/callback?${new URLSearchParams({ ...said, state, iss: it.provider.issuer })}`
  }
  const denied = await browser.get(await back({ error: 'access_denied' }))
  t.match(await denied.text(), 'cancelled at the provider')
  const marked = await (await browser.get(await back({ error: '<b>x</b>' }))).text()
  t.match(marked, '&lt;b&gt;x&lt;/b&gt;')
  t.notMatch(marked, '<b>x</b>')
  t.match(await (await browser.get(await back({ code: 'made-up' }))).text(), 'refused: invalid_grant')
  t.equal((await browser.get('/signin/openid/callback?code=x')).status, 403)
  const late = await back({ code: 'x' })
  await it.provider.stop()
  const unanswered = await browser.get(late)
  t.equal(unanswered.status, 502)
  t.match(await unanswered.text(), 'does not answer')
})

t.test('a provider that is away leaves everybody else alone, and says so', async (t) => {
  const issuer = `http://127.0.0.1:${await freePort()}`
  const server = await accessServer(t, {
    config: { publicUrl: 'https://console.example.org' },
    access: { openId: { issuer, clientId: CLIENT_ID, roles: ROLES } },
  })
  const browser = new Browser(server.url)
  const answer = await browser.get('/signin/openid')
  t.equal(answer.status, 502)
  t.match(await answer.text(), 'does not answer as an OpenID provider does')
  t.match(await (await browser.get('/signin')).text(), /type="password"[\s\S]*Sign in with 127.0.0.1/)
})

t.test('a claim can confine to sites, and whom it does not confine does not get in', async (t) => {
  const it = await both(t, { sitesClaim: 'sites' })
  const { browser } = await signIn(it, 'vera')
  t.match(await (await browser.get('/api/v1/me')).json(), { role: 'viewer', sites: ['north'] })
  it.provider.accounts.max = { ...it.provider.accounts.max, roles: ['face-viewers'] }
  t.equal((await signIn(it, 'max')).answer.status, 403)
  t.equal((await signIn(it, 'ada')).answer.status, 303, 'an administrator sees everything anyhow')
})

t.test('a lesser role at the next sign-in counts for older sessions and for tokens', async (t) => {
  const it = await both(t)
  const first = (await signIn(it, 'ada')).browser
  const made = await first.send('POST', '/api/v1/tokens', { name: 'x', rights: ['people'], expiresInS: 3600 })
  const { secret } = (await made.json()) as { secret: string }
  const bearer = { headers: { authorization: `Bearer ${secret}` } }
  t.equal((await fetch(`${it.server.url}/api/v1/users`, bearer)).status, 200)
  it.provider.accounts.ada = { ...it.provider.accounts.ada, roles: ['face-viewers'] }
  await signIn(it, 'ada')
  t.equal(await problemIn(await first.get('/api/v1/users')), '403 NOT_ALLOWED')
  t.equal((await fetch(`${it.server.url}/api/v1/users`, bearer)).status, 403)
})

t.test(
  'who has not come back from the provider for long is no user any more, nor who was removed',
  async (t) => {
    const it = await both(t)
    const { browser } = await signIn(it, 'ada')
    const token = async (rights: string[]) => {
      const made = await browser.send('POST', '/api/v1/tokens', {
        name: 'x',
        rights,
        expiresInS: 90 * 86_400,
      })
      const { secret } = (await made.json()) as { secret: string }
      return () => fetch(`${it.server.url}/api/v1/me`, { headers: { authorization: `Bearer ${secret}` } })
    }
    const ask = await token(['see'])
    t.equal((await ask()).status, 200)
    it.server.wait(7 * 86_400_000 + 1000)
    t.equal((await ask()).status, 401)
    await signIn(it, 'ada')
    t.equal((await ask()).status, 200, 'he is there again, and so is his token')
    const admin = (await signIn(it, 'ada')).browser
    const path = `/api/v1/users/${encodeURIComponent('ada@example.org')}`
    t.equal((await admin.send('DELETE', path)).status, 204)
    t.equal((await admin.get('/api/v1/me')).status, 401)
    await signIn(it, 'ada')
    t.equal((await ask()).status, 401)
  },
)

t.test('a name that goes to another gives him nothing of the one before', async (t) => {
  const it = await both(t)
  const { browser } = await signIn(it, 'ada')
  const made = await browser.send('POST', '/api/v1/tokens', { name: 'x', rights: ['see'], expiresInS: 3600 })
  const { secret } = (await made.json()) as { secret: string }
  it.provider.accounts.newada = { ...accountsNow().ada }
  t.equal((await signIn(it, 'newada')).answer.status, 303)
  t.equal((await browser.get('/api/v1/me')).status, 401)
  const bearer = { headers: { authorization: `Bearer ${secret}` } }
  t.equal((await fetch(`${it.server.url}/api/v1/me`, bearer)).status, 401)
})

t.test('the provider cannot make anybody a user of the file, whose name it says', async (t) => {
  const port = await freePort()
  const publicUrl = `http://127.0.0.1:${port}`
  const provider = await identity(t, publicUrl)
  const server = await accessServer(t, {
    port,
    config: { publicUrl },
    people: PEOPLE,
    access: {
      openId: { issuer: provider.issuer, clientId: CLIENT_ID, clientSecret: CLIENT_SECRET, roles: ROLES },
    },
  })
  const it = { server, provider }
  const { answer } = await signIn(it, 'clash')
  t.equal(answer.status, 403)
  t.match(await answer.text(), 'with a password here')
  // And where the file gets the name later, it is another's.
  const { browser } = await signIn(it, 'vera')
  t.equal((await browser.get('/api/v1/me')).status, 200)
  const made = await browser.send('POST', '/api/v1/tokens', { name: 'x', rights: ['see'], expiresInS: 3600 })
  const { secret } = (await made.json()) as { secret: string }
  const bearer = { headers: { authorization: `Bearer ${secret}` } }
  t.equal((await fetch(`${server.url}/api/v1/me`, bearer)).status, 200)
  server.write([...PEOPLE, { name: 'vera@example.org', role: 'admin' }])
  const own = new Browser(server.url)
  const deadlineMs = Date.now() + 10_000
  let status = 0
  while (status !== 200 && Date.now() < deadlineMs)
    status = (await own.send('POST', '/api/v1/session', { name: 'vera@example.org', password: PASSWORD }))
      .status
  t.equal(status, 200)
  t.equal((await browser.get('/api/v1/me')).status, 401)
  t.equal((await fetch(`${server.url}/api/v1/me`, bearer)).status, 401, 'the token does not change hands')
})

t.test('a configuration in which a provider would be trusted over an open line is refused', async (t) => {
  const check = (issuer: string, publicUrl?: string) => () =>
    checkConsoleConfig(
      consoleSchema.parse({
        bucket: { type: 'folder', path: 'x' },
        publicUrl,
        access: { openId: { issuer, clientId: 'x', roles: ROLES } },
      }),
    )
  t.throws(check('http://id.example.org', 'https://c.example.org'), { code: 'CONFIG_INVALID' })
  t.throws(check('https://id.example.org'), { code: 'CONFIG_INVALID' })
  t.doesNotThrow(check('https://id.example.org', 'https://c.example.org'))
  t.doesNotThrow(check('http://127.0.0.1:3000', 'http://127.0.0.1:8090'))
})

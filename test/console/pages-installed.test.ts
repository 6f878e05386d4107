import { mkdtempSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type BrowserContext, chromium, type Page } from 'playwright-core'
import t, { type Test } from 'tap'
import webPush from 'web-push'
import { newId } from '../../wire/id.ts'
import { chromiumPath, keepPicture, skipWithoutChromium } from '../kit/chromium.ts'
import { until } from '../kit/wait.ts'
import { keepNotices, notice } from './pages-held.ts'
import { type PagesServer, pagesServer } from './pages-server.ts'

/** The installed page in a real browser: its worker, a push that becomes a notification, and what is there without a console. */

const skip = skipWithoutChromium

/** In place of the browser's own push service, which is not on this machine; the rest is the browser's. */
const FAKE_PUSH = `
  const keys = { p256dh: 'BNcRdreALRFXTkOOUHK1EtK2wtaz5Ry4YfYCA_0QTpQtUbVlUls0VJXg7A8u-Ts1XbjhazAkj7I99e8QcYP7DkM', auth: 'tBHItJI5svbpez7KI4CCXg' }
  let made = null
  PushManager.prototype.getSubscription = async () => made
  PushManager.prototype.subscribe = async (options) => {
    globalThis.subscribedWith = new Uint8Array(options.applicationServerKey)
    made = {
      endpoint: 'https://push.example.org/one',
      options,
      toJSON: () => ({ endpoint: 'https://push.example.org/one', expirationTime: null, keys }),
      unsubscribe: async () => { made = null; return true },
    }
    return made
  }
`

/** A profile of its own: a browser shows notifications only from one that is no guest. */
async function profile(t: Test): Promise<BrowserContext> {
  const folder = mkdtempSync(join(tmpdir(), 'sightline-test-'))
  const context = await chromium.launchPersistentContext(folder, {
    executablePath: chromiumPath ?? '',
    headless: true,
    args: ['--disable-gpu', '--no-sandbox', '--no-first-run', '--disable-background-networking'],
    viewport: { width: 390, height: 844 },
    colorScheme: 'dark',
  })
  t.teardown(async () => {
    await context.close()
    // The browser may still write into it for a moment.
    await rm(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 })
  })
  return context
}

async function switchedOn(t: Test, server: PagesServer): Promise<{ context: BrowserContext; page: Page }> {
  const context = await profile(t)
  await context.grantPermissions(['notifications'], { origin: server.url })
  await context.addInitScript(FAKE_PUSH)
  const page = await context.newPage()
  await server.signIn(page, 'vera', '/people?tab=you')
  await page.getByLabel(/Show notices on this device/).click()
  await page.waitForSelector('.said-text:text("This device shows notices from now on.")')
  return { context, page }
}

t.test(
  'it can be installed: a manifest, icons, a worker for all of it, and a page for no console',
  async (t) => {
    const { url } = await pagesServer(t)
    const html = await (await fetch(url)).text()
    t.match(html, '<link rel="manifest" href="/manifest.webmanifest">')
    const response = await fetch(`${url}/manifest.webmanifest`)
    t.match(response.headers.get('content-type'), 'application/manifest+json')
    const manifest = (await response.json()) as { icons: { src: string; sizes: string }[] }
    t.match(manifest, { display: 'standalone', start_url: '/', scope: '/' })
    for (const { src, sizes } of manifest.icons) {
      const icon = Buffer.from(await (await fetch(url + src)).arrayBuffer())
      t.equal(icon.toString('latin1', 1, 4), 'PNG', src)
      t.equal(`${icon.readUInt32BE(16)}x${icon.readUInt32BE(20)}`, sizes, 'as large as it is said to be')
    }
    const worker = await fetch(`${url}/service-worker.js`)
    t.match(worker.headers.get('cache-control'), 'no-cache', 'a new one is found at once')
    t.match(worker.headers.get('content-security-policy'), "default-src 'none'; connect-src 'self'")
    t.match(await worker.text(), /^const ASSETS = "\/assets\/[\w-]+"\n/, 'with new pages it is another one')
    const offline = await fetch(`${url}/offline`)
    t.match(offline.headers.get('content-security-policy'), /^default-src 'none'; style-src 'self'/)
    t.match(await offline.text(), 'The console cannot be reached')
  },
)

t.test(
  'notices on this device: asked for, subscribed with the key, listed, and taken back',
  { skip },
  async (t) => {
    const server = await pagesServer(t)
    const { page } = await switchedOn(t, server)
    await page.waitForSelector('.notices-here .card >> text=this one')
    await keepPicture(page, 'notices-here-390')
    const { key } = await server.api.json<{ key: string }>('/push/key', 'vera')
    const used = await page.evaluate<number[]>('[...subscribedWith]')
    t.equal(Buffer.from(used).toString('base64url'), key)
    const { items } = await server.api.json<{ items: { name: string }[] }>('/push', 'vera')
    t.match(items, [{ name: /^Chrome on / }])
    await page.getByLabel(/Show notices on this device/).click()
    await page.waitForSelector('.notices-here .empty-title:text("None yet.")')
    t.strictSame((await server.api.json<{ items: [] }>('/push', 'vera')).items, [])
  },
)

t.test('signing out takes this device back as well', { skip }, async (t) => {
  const server = await pagesServer(t)
  const { page } = await switchedOn(t, server)
  await page.getByRole('button', { name: 'More' }).click()
  await page.locator('dialog').getByRole('button', { name: 'Sign out' }).click()
  await page.waitForURL('**/signin')
  t.strictSame((await server.api.json<{ items: [] }>('/push', 'vera')).items, [])
})

t.test(
  'a push becomes a notification; a newer revision takes its place; a click leads to it',
  { skip },
  async (t) => {
    const server = await pagesServer(t)
    const { context, page } = await switchedOn(t, server)
    const session = await context.newCDPSession(page)
    const registrations: string[] = []
    session.on('ServiceWorker.workerRegistrationUpdated', ({ registrations: all }) =>
      registrations.push(...all.map(({ registrationId }) => registrationId)),
    )
    await page.evaluate('navigator.serviceWorker.ready.then(() => undefined)')
    await session.send('ServiceWorker.enable')
    await until('the worker is registered', async () => registrations.length > 0)
    const push = async (data: unknown) =>
      session.send('ServiceWorker.deliverPushMessage', {
        origin: server.url,
        registrationId: registrations.at(-1) ?? '',
        data: typeof data === 'string' ? data : JSON.stringify(data),
      })
    const shown = () =>
      page.evaluate<{ title: string; body: string; tag: string; silent: boolean; path: string }[]>(`
      navigator.serviceWorker.ready
        .then((it) => it.getNotifications())
        .then((all) => all.map(({ title, body, tag, silent, data }) => ({ title, body, tag, silent, path: data.path })))`)
    const said = notice({ level: 'warning' })
    await keepNotices(server.api.database, said)
    const { id, title, text, atMs, level } = said
    // A browser that is busy starting the worker loses what it is handed here; a push service would hand it over again.
    await until(
      'it is shown',
      async () => {
        await push({ id, revision: 0, is: 'new', level, atMs, title, text, url: 'https://elsewhere.example' })
        await page.waitForTimeout(500)
        return (await shown()).length === 1
      },
      30_000,
    )
    t.match(await shown(), [{ title, body: text, tag: id, silent: false, path: `/notices/${id}` }])
    await push({ id, revision: 1, is: 'updated', level, atMs, title: 'Two are at the gate', text })
    await until('it is another', async () => (await shown())[0]?.title === 'Two are at the gate')
    t.match(await shown(), [{ tag: id, silent: true }], 'one, without a sound')
    await push('no JSON')
    await push({ id: '../../people', title: '<b>x', revision: 0 })
    await until('what says nothing leads to all', async () => (await shown()).length === 2)
    t.match(
      (await shown()).find(({ tag }) => tag !== id),
      { path: '/notices', title: '<b>x' },
    )
    t.equal(
      (await shown()).find(({ tag }) => tag === newId()),
      undefined,
    )
    // A click on the first, as the browser would tell of it.
    const [worker] = context.serviceWorkers()
    if (!worker) throw new Error('there is no worker')
    await worker.evaluate(`
    registration.getNotifications().then(([first]) => {
      const event = new NotificationEvent('notificationclick', { notification: first })
      dispatchEvent(event)
    })`)
    await page.waitForURL(`**/notices/${id}`)
  },
)

t.test('without a console it says so, and keeps nothing else', { skip }, async (t) => {
  const server = await pagesServer(t)
  const { context, page } = await switchedOn(t, server)
  await page.reload()
  await page.waitForFunction('navigator.serviceWorker.controller !== null').catch(() => {})
  const kept = await page.evaluate<string[]>(`
    caches.keys().then((names) => Promise.all(names.map((name) => caches.open(name).then((it) => it.keys()))))
      .then((all) => all.flat().map(({ url }) => new URL(url).pathname))`)
  t.equal(kept.length, 4)
  t.strictSame(
    kept.filter((path) => !/^\/offline$|^\/assets\/[\w-]+\/(base\.css|offline\.css|icon\.svg)$/.test(path)),
    [],
  )
  await context.setOffline(true)
  await page.goto(`${server.url}/faces`)
  await page.waitForSelector('h1:text("The console cannot be reached")')
  await keepPicture(page, 'offline-390')
})

t.test('where it does not work it is said why', { skip }, async (t) => {
  const server = await pagesServer(t)
  const context = await profile(t)
  const page = await context.newPage()
  await server.signIn(page, 'vera', '/people?tab=you')
  await page.addInitScript('Object.defineProperty(globalThis, "isSecureContext", { value: false })')
  await page.reload()
  await page.waitForSelector('.notices-here .note:text("https")')
  const phone = await context.newPage()
  await phone.addInitScript(`
    delete globalThis.PushManager
    Object.defineProperty(navigator, 'userAgent', { get: () => 'Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X)' })`)
  await phone.goto(`${server.url}/people?tab=you`)
  await phone.waitForSelector('.notices-here .note:text("Add to Home Screen")')
  await keepPicture(phone, 'notices-iphone-390')
})

t.test('the key is one that push services take', async (t) => {
  const server = await pagesServer(t)
  const { key } = await server.api.json<{ key: string }>('/push/key')
  t.equal(
    Buffer.from(key, 'base64url').length,
    Buffer.from(webPush.generateVAPIDKeys().publicKey, 'base64url').length,
  )
})

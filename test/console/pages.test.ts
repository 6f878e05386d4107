import { brotliDecompressSync } from 'node:zlib'
import type { Page } from 'playwright-core'
import t from 'tap'
import { EVERYTHING } from '../../console/database/scope.ts'
import { openPage, sharedChromium, skipWithoutChromium } from '../kit/chromium.ts'
import { tinyJpeg } from '../kit/crops.ts'
import { cameraSeen, NORTH, SOUTH, stateOf } from './api-server.ts'
import { pagesServer, wholeLine } from './pages-server.ts'

/** Everything that a first view transfers: document, modules, styles, answers, pictures. */
const FIRST_VIEW_BYTES_MAX = 300_000
const PAGES = [
  ...['/', '/faces', '/cameras', '/recordings', '/streams', '/scenarios', '/scenarios/~new'],
  ...['/notices', '/channels', '/devices', '/devices/north/pi'],
  ...['/charts', '/flow', '/health', '/people', '/api', '/publish'],
]
const DESKTOP = { width: 1280, height: 800 }
const PHONE = { width: 390, height: 844, phone: true, dark: true }

const browserOf = sharedChromium(t)

t.test('every address of a page gives the shell, under a policy that runs nothing but its own', async (t) => {
  const { url } = await pagesServer(t)
  for (const path of [...PAGES, '/faces/some-id', '/cameras/north/pi/gate']) {
    const response = await fetch(url + path)
    t.equal(response.status, 200, path)
    const policy = response.headers.get('content-security-policy') ?? ''
    t.match(policy, /^default-src 'none'; script-src 'self' 'sha256-[^']+'; style-src 'self';/)
    t.notMatch(policy, 'unsafe')
    const html = await response.text()
    t.notMatch(html, /\sstyle=|\son\w+=/, 'nothing inline')
    t.equal(html.match(/<script>|<style/g), null)
  }
  t.equal((await fetch(`${url}/nothing-here`)).status, 404)
})

t.test('assets are compressed, kept for good, and no others than those that were built', async (t) => {
  const { url } = await pagesServer(t)
  const first = await fetch(url)
  const html = await first.text()
  const etag = first.headers.get('etag') ?? ''
  t.equal((await fetch(url, { headers: { 'if-none-match': etag } })).status, 304)
  const [main = ''] = html.match(/\/assets\/[\w-]+\/main\.js/) ?? []
  const { request } = await import('node:http')
  const { body, headers } = await new Promise<{ body: Buffer; headers: Record<string, unknown> }>(
    (resolve, reject) =>
      request(url + main, { headers: { 'accept-encoding': 'gzip, br' } }, async (response) =>
        resolve({ body: Buffer.concat(await response.toArray()), headers: response.headers }),
      )
        .on('error', reject)
        .end(),
  )
  t.equal(headers['content-encoding'], 'br')
  t.match(headers['cache-control'], 'immutable')
  t.match(brotliDecompressSync(body).toString(), 'startRouter')
  const folder = main.replace('/main.js', '')
  t.equal((await fetch(`${url}${folder}/lib/preact.js`)).status, 200)
  for (const path of [
    `${folder}/main.tsx`,
    `${folder}/tsconfig.json`,
    `${folder}/../../package.json`,
    `${folder}/..%2f..%2fpackage.json`,
    `${folder}/lib/fastify.js`,
    '/assets/another/main.js',
  ])
    t.equal((await fetch(url + path)).status, 404, path)
})

t.test(
  'every page is drawn without a complaint, on a desktop and on a phone',
  { skip: skipWithoutChromium },
  async (t) => {
    const server = await pagesServer(t)
    const { fleet, live } = server.api
    fleet.keepers = wholeLine()
    live.show({ bytes: tinyJpeg, capturedAtMs: Date.now(), receivedAtMs: Date.now() })
    const [newest] = await server.seen(30)
    for (const size of [DESKTOP, PHONE]) {
      const { page, complaints, foreign } = await openPage(t, await browserOf(), size)
      await server.signIn(page, 'ada')
      for (const path of [...PAGES, `/faces/${newest?.id}`, '/cameras/south/pi/yard', '/flow?as=list']) {
        await page.goto(server.url + path)
        await page.waitForSelector('#main h1')
        await page.waitForSelector('#main [aria-busy=true]', { state: 'detached' })
        t.equal(await page.locator('#main .failed').count(), 0, `${path}: nothing failed`)
        t.ok(
          await page.evaluate('document.documentElement.scrollWidth <= innerWidth'),
          `${path}: nothing sticks out`,
        )
        t.equal(await page.locator('main, nav[aria-label=Pages]').count(), 2, `${path}: landmarks`)
      }
      t.strictSame(complaints, [])
      t.strictSame(foreign, [])
    }
  },
)

t.test(
  'a first view transfers less than 300 KB, pictures included',
  { skip: skipWithoutChromium },
  async (t) => {
    const server = await pagesServer(t)
    await server.seen(60)
    for (const path of ['/', '/faces']) {
      const { page } = await openPage(t, await browserOf(), DESKTOP)
      await server.signIn(page, 'ada', '/api')
      const session = await page.context().newCDPSession(page)
      await session.send('Network.enable')
      await session.send('Network.setCacheDisabled', { cacheDisabled: true })
      let bytes = 0
      session.on('Network.loadingFinished', ({ encodedDataLength }) => {
        bytes += encodedDataLength
      })
      await page.goto(server.url + path)
      await page.waitForSelector('.face-picture')
      await page.waitForTimeout(500)
      t.comment(`${path}: ${Math.round(bytes / 1000)} KB`)
      t.ok(bytes > 20_000 && bytes < FIRST_VIEW_BYTES_MAX, path)
    }
  },
)

t.test('faces are reviewed by keyboard alone, many at once', { skip: skipWithoutChromium }, async (t) => {
  const server = await pagesServer(t)
  const faces = await server.seen(8)
  const { page, complaints } = await openPage(t, await browserOf(), DESKTOP)
  await server.signIn(page, 'ada', '/faces')
  await page.waitForSelector('.face')
  for (const key of ['j', 'x', 'j', 'j', 'x', 'r']) await page.keyboard.press(key)
  await page.waitForSelector('text=2 faces marked as reviewed')
  const ids = faces.map(({ id }) => id)
  t.strictSame(await server.api.database.reviewed('ada', ids), new Set([ids[0], ids[2]]))
  t.equal(await page.locator('[data-reviewed]').count(), 2)
  await page.keyboard.press('?')
  await page.waitForSelector('dialog[open] >> text=mark as reviewed')
  await page.keyboard.press('Escape')
  await page.waitForSelector('dialog', { state: 'detached' })
  await page.waitForSelector('.face:focus')
  await page.keyboard.press('Enter')
  await page.waitForURL(`**/faces/${ids[2]}`)
  // Its heading, and not the one that was there until it had its data.
  await page.waitForSelector('.one h1:focus')
  t.strictSame(complaints, [])
})

t.test(
  'what is new appears by itself, and what was deleted goes',
  { skip: skipWithoutChromium },
  async (t) => {
    const server = await pagesServer(t)
    const { news, database } = server.api
    await server.seen(2)
    const { page } = await openPage(t, await browserOf(), DESKTOP)
    await server.signIn(page, 'vera', `/faces?camera=${encodeURIComponent('north/pi/gate')}`)
    await page.waitForSelector('.standing[data-is=following]')
    const tell = async (camera: typeof NORTH) => {
      const [{ id = '' } = {}] = await server.seen(1, { ...camera, capturedAtMs: Date.now() })
      const detection = await database.detection(id, EVERYTHING)
      if (!detection) throw new Error('not stored')
      news.add({ is: 'detection', detection })
      return id
    }
    await tell(SOUTH)
    const id = await tell(NORTH)
    await page.waitForSelector(`.face[data-id="${id}"]`)
    t.equal(
      await page.locator('.face').count(),
      await page.locator('.face-camera:text-is("gate")').count(),
      'of that camera alone',
    )
    news.add({ is: 'removed', id, camera: NORTH })
    await page.waitForSelector(`.face[data-id="${id}"]`, { state: 'detached' })
  },
)

t.test('names with markup are shown as text', { skip: skipWithoutChromium }, async (t) => {
  const server = await pagesServer(t)
  const file = '<img src=x onerror="document.title=1"><b>x.jpg'
  const why = '<script>document.title=1</script> does not answer'
  const [face] = await server.seen(1, { file, model: '<i>model' })
  server.api.fleet.cameras = [{ ...cameraSeen(NORTH, 'down'), state: stateOf(NORTH, { state: 'down', why }) }]
  const { page, complaints } = await openPage(t, await browserOf(), DESKTOP)
  await server.signIn(page, 'ada', `/faces/${face?.id}`)
  await page.waitForSelector(`.facts >> text=${file}`)
  t.equal(await page.locator('.facts img, .facts b, .facts i').count(), 0)
  await page.goto(`${server.url}/cameras`)
  await page.waitForSelector(`.tile-wrong >> text=${why}`)
  await page.goto(
    `${server.url}/faces?file=${encodeURIComponent(file)}&camera=${encodeURIComponent('"><img src=y>')}`,
  )
  await page.waitForSelector('.failed')
  t.equal(await page.locator('img[src=x], img[src=y]').count(), 0)
  // The API refuses a camera of that name, and the browser says that it did.
  t.strictSame(
    complaints.filter((complaint) => !/status of 400/.test(complaint)),
    [],
  )
})

t.test('who may not is offered nothing, and asks for nothing', { skip: skipWithoutChromium }, async (t) => {
  const server = await pagesServer(t)
  const [face] = await server.seen(3, NORTH)
  const { page, complaints } = await openPage(t, await browserOf(), DESKTOP)
  await server.signIn(page, 'vera')
  await page.waitForSelector('.face')
  t.strictSame(await menuOf(page), ['Overview', 'Faces', 'Cameras', 'Notices', 'Charts', 'Account', 'API'])
  await page.goto(`${server.url}/faces/${face?.id}`)
  await page.waitForSelector('.one')
  t.equal(await page.getByRole('button', { name: /^(Delete|Share)$/ }).count(), 0)
  await page.goto(`${server.url}/cameras/north/pi/gate`)
  await page.waitForSelector('.camera')
  t.equal(await page.locator('canvas, .commands').count(), 0, 'no live picture, no commands')
  await page.goto(`${server.url}/people`)
  await page.waitForSelector('#tokens')
  t.equal(await page.getByRole('button', { name: /Users|Audit|Everybody/ }).count(), 0)
  t.strictSame(complaints, [])
  const confined = await openPage(t, await browserOf(), DESKTOP)
  await server.signIn(confined.page, 'carl', '/cameras')
  await confined.page.waitForSelector('.tile')
  t.strictSame(await confined.page.locator('.tile h3').allTextContents(), ['door'])
})

t.test(
  'a camera that is told something confirms it; one that repeats its picture is frozen',
  { skip: skipWithoutChromium },
  async (t) => {
    const server = await pagesServer(t)
    const { live, line } = server.api
    const { page } = await openPage(t, await browserOf(), DESKTOP)
    await server.signIn(page, 'otto', '/cameras/north/pi/gate')
    await page.waitForSelector('canvas')
    const show = () => live.show({ bytes: tinyJpeg, capturedAtMs: Date.now(), receivedAtMs: Date.now() })
    const repeating = setInterval(show, 300)
    t.teardown(() => clearInterval(repeating))
    await page.waitForSelector('.age[data-is=live]')
    await page.getByRole('button', { name: 'Pause' }).click()
    await page.waitForSelector('.answer[data-is=confirmed]')
    t.strictSame(line.commands, ['north/pi/gate pause '])
    await page.waitForSelector('.age[data-is=frozen] >> text=/Frozen for \\d+ seconds/')
  },
)

t.test('deleting a face asks, and says what was removed where', { skip: skipWithoutChromium }, async (t) => {
  const server = await pagesServer(t)
  const [face] = await server.seen(2, NORTH)
  const { page } = await openPage(t, await browserOf(), DESKTOP)
  await server.signIn(page, 'ada', `/faces/${face?.id}`)
  await page.getByRole('button', { name: 'Delete' }).click()
  t.strictSame(server.api.line.forgotten, [])
  await page.locator('dialog').getByRole('button', { name: 'Delete', exact: true }).click()
  await page.waitForSelector('dialog >> text=the bucket')
  t.strictSame(server.api.line.forgotten, [`${face?.id} by ada`])
})

t.test(
  'the flow shows where something waits, and opens its books',
  { skip: skipWithoutChromium },
  async (t) => {
    const server = await pagesServer(t)
    server.api.fleet.keepers = wholeLine()
    const { page } = await openPage(t, await browserOf(), DESKTOP)
    await server.signIn(page, 'ada', '/flow')
    const bridge = page.getByRole('button', {
      name: /cloud, bridge.*1,204 messages waiting, the oldest for 10 minutes/,
    })
    await bridge.focus()
    await page.keyboard.press('Enter')
    await page.waitForSelector('dialog >> text=It does not reach cloud.example:8883.')
    t.match(await page.locator('dialog .books').first().textContent(), /Accepted2,204Forwarded1,000/)
    await page.keyboard.press('Escape')
    await page.waitForSelector('.flow-dots circle')
    await page.emulateMedia({ reducedMotion: 'reduce' })
    await page.waitForSelector('.flow-dots circle', { state: 'detached' })
  },
)

const menuOf = (page: Page) => page.locator('nav[aria-label=Pages] a').allTextContents()

import t from 'tap'
import { FAKE_CAMERA, openChromium, openPage, skipWithoutChromium } from '../kit/chromium.ts'
import { until } from '../kit/wait.ts'
import { openWhipDevice } from '../kit/whip.ts'
import { pagesServer } from './pages-server.ts'

const DESKTOP = { width: 1280, height: 800 }
const PHONE = { width: 390, height: 844, phone: true, dark: true }

t.test('publishing from the console', { skip: skipWithoutChromium }, async (t) => {
  const browser = await openChromium(FAKE_CAMERA)
  t.teardown(() => browser.close())
  const device = await openWhipDevice(t, [{ name: 'phone', takeOver: true }])
  const server = await pagesServer(t, [{ name: 'Test "agent" <b>', url: device.endpoint }])
  for (const size of [DESKTOP, PHONE])
    t.test(`an analyst's browser is a camera, ${size.width} pixels wide`, async (t) => {
      const { page, complaints } = await openPage(t, browser, size)
      await server.signIn(page, 'anna')
      await page.goto(`${server.url}/publish`)
      await page.waitForSelector('h1:has-text("Publish")')
      t.equal(await page.textContent('select option'), 'Test "agent" <b>')
      await page.fill('input[type=password]', device.keys.phone ?? '')
      const before = device.seen.phone?.frames ?? 0
      await page.click('button[type=submit]')
      await page.waitForSelector('.publish-state[data-is=live]', { timeout: 15_000 })
      await until('frames at the camera', () => (device.seen.phone?.frames ?? 0) > before + 10, 15_000)
      await page.waitForSelector('.publish-figures:has-text("frames/s")')
      const width = (await page.evaluate('document.documentElement.scrollWidth')) as number
      t.ok(width <= size.width, `nothing sticks out: ${width}`)
      await page.click('.form button:has-text("Stop")')
      await page.waitForSelector('.publish-state[data-is=stopped]')
      await until('the end', () => device.streams.state('phone')?.live === null, 3000)
      t.same(complaints, [])
    })

  t.test('a key that nobody has is refused in words, and kept nowhere', async (t) => {
    const { page } = await openPage(t, browser, DESKTOP)
    await server.signIn(page, 'anna')
    await page.goto(`${server.url}/publish`)
    await page.fill('input[type=password]', 'AAAAAAAAAAAAAAAAAAAAAA')
    await page.click('button[type=submit]')
    await page.waitForSelector('.publish-state[data-is=refused]:has-text("No stream has this key")')
    t.equal(await page.evaluate('JSON.stringify({ ...localStorage, ...sessionStorage })'), '{}')
  })

  t.test('a viewer is not offered it', async (t) => {
    const { page } = await openPage(t, browser, DESKTOP)
    await server.signIn(page, 'vera')
    await page.waitForSelector('.menu a[href="/cameras"]')
    t.equal(await page.$('.menu a[href="/publish"]'), null)
  })
})

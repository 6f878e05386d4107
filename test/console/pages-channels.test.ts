import type { Browser, Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { openChromium, openPage, skipWithoutChromium } from '../kit/chromium.ts'
import { channel, HeldChannels } from './pages-held.ts'
import { type PagesServer, pagesServer } from './pages-server.ts'

/** Channels in a real browser: added, tried, and what is wrong with them said. */

const DESKTOP = { width: 1280, height: 800 }
const PHONE = { width: 390, height: 844, phone: true, dark: true }
const skip = skipWithoutChromium
const MASKED = '••••••••'

let opening: Promise<Browser> | undefined
const browserOf = () => {
  opening ??= openChromium()
  return opening
}
t.teardown(async () => (await opening)?.close())

async function started(t: Test): Promise<{ server: PagesServer; held: HeldChannels }> {
  const held = new HeldChannels()
  return { held, server: await pagesServer(t, [], {}, [held.resource]) }
}

const seen = async (page: Page, name: string) => {
  if (process.env.SIGHTLINE_TEST_PICTURES)
    await page.screenshot({ path: `${process.env.SIGHTLINE_TEST_PICTURES}/${name}.png`, fullPage: true })
}
const fits = (page: Page) => page.evaluate('document.documentElement.scrollWidth <= innerWidth')

t.test('channels stand with what became of the last hour', { skip }, async (t) => {
  const { server, held } = await started(t)
  held.channels = [
    channel({ type: 'push', name: 'Phones' }),
    channel(
      { type: 'webhook', template: 'gotify', name: 'Office', url: 'http://192.168.1.20:8080', token: MASKED },
      {
        failingSinceMs: Date.now() - 660_000,
        lastError: '192.168.1.20 is a private address, and is not called.',
        hour: { sent: 0, waiting: 3, givenUp: 1, notSent: 0 },
      },
    ),
    channel({ type: 'email', name: 'Reception', to: ['desk@example.org'], enabled: false }),
  ]
  for (const size of [DESKTOP, PHONE]) {
    const { page, complaints, foreign } = await openPage(t, await browserOf(), size)
    await server.signIn(page, 'ada', '/channels')
    await page.waitForSelector('.channel[data-failing] >> text=/Failing for 11 minutes/')
    await page.waitForSelector('.channel >> text=/12 notices sent in the last hour/')
    await page.waitForSelector('.channel >> text=Off: nothing is sent on it')
    t.ok(await fits(page), 'nothing sticks out')
    await seen(page, `channels-${size.width}`)
    held.tested = {
      ...{ is: 'failed', status: null, code: 'ADDRESS_NOT_ALLOWED', answer: null, durationMs: 2 },
      why: '192.168.1.20 is a private address, and is not called.',
    }
    await page.locator('.channel[data-failing]').getByRole('button', { name: 'Send a test' }).click()
    await page.waitForSelector(`dialog pre:text("allow: ['192.168.1.20']")`)
    await seen(page, `channel-test-${size.width}`)
    held.tested = {
      ...{ is: 'sent', status: 200, code: null, why: null, durationMs: 87 },
      answer: '<script>document.title = 1</script>',
    }
    await page.getByRole('button', { name: 'Once more' }).click()
    await page.waitForSelector('dialog >> text=It was taken.')
    await page.waitForSelector('dialog pre:text("<script>document.title = 1</script>")')
    t.strictSame(complaints, [])
    t.strictSame(foreign, [])
  }
})

t.test('one of each service is added by its own words', { skip }, async (t) => {
  const { server, held } = await started(t)
  for (const size of [DESKTOP, PHONE]) {
    held.channels = []
    const { page, complaints } = await openPage(t, await browserOf(), size)
    await server.signIn(page, 'ada', '/channels')
    await page.waitForSelector('.empty-title:text("No channels yet.")')
    await seen(page, `channels-none-${size.width}`)
    const choose = async (title: string, isFirst = false) => {
      if (!isFirst) await page.getByRole('button', { name: 'Add a channel' }).click()
      await page.locator(`.kind:has(strong:text-is("${title}"))`).last().click()
    }
    await choose('Telegram', true)
    await page.getByLabel('Token of the bot').fill('123:abc')
    await page.getByLabel('Chat ID').fill('-100200')
    await page.getByRole('button', { name: 'Show what would be sent' }).click()
    await page.waitForSelector('.channel-preview >> text=Somebody is at the gate <b>')
    await seen(page, `channel-form-${size.width}`)
    await page.getByRole('button', { name: 'Add', exact: true }).click()
    await page.waitForSelector('.channel >> text=Telegram')
    t.match(held.saved.at(-1), {
      ...{ type: 'webhook', template: 'telegram', url: 'https://api.telegram.org' },
      ...{ token: '123:abc', chat: '-100200', picture: 'attached' },
    })
    await choose('Webhook')
    await page.getByLabel('Address').fill('https://example.org/hook')
    await page.getByRole('button', { name: 'Add', exact: true }).click()
    t.match(await page.locator('dialog .secret input').inputValue(), /^whsec_/, 'shown once')
    await page.locator('dialog').getByRole('button', { name: 'Close' }).click()
    await choose('Email')
    await page.getByLabel('To', { exact: true }).fill('a@example.org, b@example.org')
    await page.getByRole('button', { name: 'Add', exact: true }).click()
    await page.waitForSelector('.channel >> text=a@example.org, b@example.org')
    await choose('MQTT')
    await page.getByLabel(/Home Assistant/).check()
    await page.getByRole('button', { name: 'Add', exact: true }).click()
    await page.waitForSelector('.channel >> text=For Home Assistant too')
    t.match(held.saved.at(-1), { type: 'mqtt', homeAssistant: true })
    t.strictSame(complaints, [])
  }
})

t.test('a secret stays masked, and stays what it is unless another is written', { skip }, async (t) => {
  const { server, held } = await started(t)
  held.channels = [
    channel({
      ...{ type: 'webhook', template: 'ntfy', name: 'Topic', url: 'https://ntfy.sh' },
      ...{ topic: 'a-long-topic', token: MASKED },
    }),
  ]
  const { page } = await openPage(t, await browserOf(), DESKTOP)
  await server.signIn(page, 'ada', '/channels')
  await page.getByRole('button', { name: 'Change' }).click()
  await page.getByLabel('Name').fill('The topic')
  await page.getByRole('button', { name: 'Save' }).click()
  await page.waitForSelector('.said-text:text("The topic was changed.")')
  t.match(held.saved.at(-1), { token: MASKED, topic: 'a-long-topic', name: 'The topic' })
  await page.getByRole('button', { name: 'Change' }).click()
  await page.getByLabel('Access token').fill('tk_new')
  await page.getByRole('button', { name: 'Save' }).click()
  await page.waitForSelector('dialog', { state: 'detached' })
  t.match(held.saved.at(-1), { token: 'tk_new' })
})

t.test('who sees a part of the sites is offered no channels', { skip }, async (t) => {
  const { server } = await started(t)
  const { page } = await openPage(t, await browserOf(), DESKTOP)
  await server.signIn(page, 'nora', '/channels')
  await page.waitForSelector('.empty-title:text("You may not see channels.")')
  const menu = await page.locator('nav[aria-label=Pages] a').allTextContents()
  t.notOk(menu.includes('Channels'), menu.join())
})

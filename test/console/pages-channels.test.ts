import t, { type Test } from 'tap'
import { fits, keepPicture, openPage, sharedChromium, skipWithoutChromium } from '../kit/chromium.ts'
import { keepChannel, openReceiver } from './notices/notices-kit.ts'
import { delivery, keepNotices, notice } from './pages-held.ts'
import { type PagesServer, pagesServer } from './pages-server.ts'

/** Channels in a real browser: added, tried, and what is wrong with them said. */

const DESKTOP = { width: 1280, height: 800 }
const PHONE = { width: 390, height: 844, phone: true, dark: true }
const skip = skipWithoutChromium

const browserOf = sharedChromium(t)

const started = (t: Test): Promise<PagesServer> =>
  // The receiver of these tests is on this machine.
  pagesServer(t, [], { notices: { allow: ['127.0.0.1'] } })

const documentOf = async (server: PagesServer, id: string) =>
  (
    await server.api.database.write
      .selectFrom('documents')
      .select('document_json')
      .where('kind', '=', 'channel')
      .where('id', '=', id)
      .executeTakeFirst()
  )?.document_json ?? '{}'

t.test('channels stand with what became of the last hour, and a test says why not', { skip }, async (t) => {
  const server = await started(t)
  const { database } = server.api
  const receiver = await openReceiver(t)
  receiver.answer = (_heard, response) =>
    void response.writeHead(200).end('<script>document.title = 1</script>')
  await keepChannel(database, 'office', {
    ...{ type: 'webhook', template: 'gotify', name: 'Office', url: 'http://192.168.1.20:8080', token: 'A1' },
  })
  await keepChannel(database, 'hook', { type: 'webhook', name: 'Hook', url: receiver.url })
  await keepChannel(database, 'desk', { type: 'email', name: 'Desk', to: ['a@example.org'], enabled: false })
  const why = '192.168.1.20 is a private address, and is not called.'
  const of = (id: string) => ({ channel: { id, name: id, type: 'push' } })
  await keepNotices(
    database,
    notice({ deliveries: [delivery(of('hook'))] }),
    notice({ deliveries: [delivery(of('hook'))] }),
    notice({
      deliveries: [
        delivery({
          ...of('office'),
          ...{ state: 'waiting', attempts: 3, why, doneAtMs: null, dueAtMs: Date.now() + 3_000_000 },
          madeAtMs: Date.now() - 660_000,
        }),
      ],
    }),
  )
  // Which keepNotices has made anew.
  await keepChannel(database, 'office', {
    ...{ type: 'webhook', template: 'gotify', name: 'Office', url: 'http://192.168.1.20:8080', token: 'A1' },
  })
  await keepChannel(database, 'hook', { type: 'webhook', name: 'Hook', url: receiver.url })
  for (const size of [DESKTOP, PHONE]) {
    const { page, complaints, foreign } = await openPage(t, await browserOf(), size)
    await server.signIn(page, 'ada', '/channels')
    await page.waitForSelector('.channel[data-failing] >> text=/Failing for 11 minutes/')
    await page.waitForSelector(`.channel[data-failing] >> text=${why}`)
    await page.waitForSelector('.channel >> text=/2 notices sent in the last hour/')
    await page.waitForSelector('.channel >> text=Off: nothing is sent on it')
    t.ok(await fits(page), 'nothing sticks out')
    await keepPicture(page, `channels-${size.width}`)
    const test = (name: string) =>
      page
        .locator('.channel')
        .filter({ has: page.locator('h2', { hasText: name }) })
        .getByRole('button', { name: 'Send a test' })
        .click()
    await test('Office')
    await page.waitForSelector(`dialog pre:text("allow: ['192.168.1.20']")`)
    await keepPicture(page, `channel-test-${size.width}`)
    await page.getByRole('button', { name: 'Done' }).click()
    await test('Hook')
    await page.waitForSelector('dialog >> text=It was taken.')
    await page.waitForSelector('dialog pre:text("<script>document.title = 1</script>")')
    t.strictSame(complaints, [])
    t.strictSame(foreign, [])
  }
  t.match(JSON.parse(receiver.heard.at(-1)?.body.toString() ?? ''), { is: 'test' })
})

t.test('one of each service is added by its own words', { skip }, async (t) => {
  const server = await started(t)
  for (const size of [DESKTOP, PHONE]) {
    await server.api.database.write.deleteFrom('documents').execute()
    await server.api.database.write.deleteFrom('document_revisions').execute()
    const { page, complaints } = await openPage(t, await browserOf(), size)
    await server.signIn(page, 'ada', '/channels')
    await page.waitForSelector('.empty-title:text("No channels yet.")')
    t.ok(await fits(page), 'nothing sticks out')
    await keepPicture(page, `channels-none-${size.width}`)
    const choose = async (title: string, isFirst = false) => {
      if (!isFirst) await page.getByRole('button', { name: 'Add a channel' }).click()
      await page.locator(`.kind:has(strong:text-is("${title}"))`).last().click()
    }
    const add = () => page.getByRole('button', { name: 'Add', exact: true }).click()
    await choose('Telegram', true)
    await page.getByLabel('Token of the bot').fill('123:abc')
    await page.getByLabel('Chat ID').fill('-100200')
    await page.getByRole('button', { name: 'Show what would be sent' }).click()
    await page.waitForSelector('.channel-preview >> text=/api.telegram.org/')
    t.notMatch(await page.locator('.channel-preview').textContent(), '123:abc')
    await keepPicture(page, `channel-form-${size.width}`)
    await add()
    await page.waitForSelector('.channel >> text=Telegram')
    t.match(JSON.parse(await documentOf(server, 'telegram')), {
      ...{ type: 'webhook', template: 'telegram', url: 'https://api.telegram.org' },
      ...{ token: '123:abc', chat: '-100200', picture: 'attached' },
    })
    await choose('Webhook')
    await page.getByLabel('Address').fill('https://example.org/hook')
    await add()
    const secret = await page.locator('dialog .secret input').inputValue()
    t.match(secret, /^whsec_/, 'shown once')
    await page.locator('dialog').getByRole('button', { name: 'Close' }).click()
    await page.waitForSelector('dialog', { state: 'detached' })
    t.notMatch(await page.content(), secret)
    await choose('Email')
    await page.getByLabel('To', { exact: true }).fill('a@example.org, b@example.org')
    await add()
    await page.waitForSelector('.channel >> text=a@example.org, b@example.org')
    await choose('MQTT')
    await page.getByLabel(/Home Assistant/).check()
    await add()
    await page.waitForSelector('.channel >> text=For Home Assistant too')
    t.strictSame(complaints, [])
  }
})

t.test('a secret stays masked, and stays what it is unless another is written', { skip }, async (t) => {
  const server = await started(t)
  await keepChannel(server.api.database, 'ntfy', {
    ...{ type: 'webhook', template: 'ntfy', name: 'Topic', url: 'https://ntfy.sh' },
    ...{ topic: 'a-long-topic', token: 'tk_old' },
  })
  const { page } = await openPage(t, await browserOf(), DESKTOP)
  await server.signIn(page, 'ada', '/channels')
  await page.getByRole('button', { name: 'Change' }).click()
  t.match(await page.getByLabel('Access token').inputValue(), /^•+$/)
  await page.getByLabel('Name').fill('The topic')
  await page.getByRole('button', { name: 'Save' }).click()
  await page.waitForSelector('.said-text:text("The topic was changed.")')
  t.match(JSON.parse(await documentOf(server, 'ntfy')), { token: 'tk_old', name: 'The topic' })
  await page.getByRole('button', { name: 'Change' }).click()
  await page.getByLabel('Access token').fill('tk_new')
  await page.getByRole('button', { name: 'Save' }).click()
  await page.waitForSelector('dialog', { state: 'detached' })
  t.match(JSON.parse(await documentOf(server, 'ntfy')), { token: 'tk_new' })
  await page.getByRole('button', { name: 'Remove' }).click()
  await page.locator('dialog').getByRole('button', { name: 'Remove' }).click()
  await page.waitForSelector('.empty-title:text("No channels yet.")')
})

t.test('who sees a part of the sites is offered no channels', { skip }, async (t) => {
  const server = await started(t)
  const { page } = await openPage(t, await browserOf(), DESKTOP)
  await server.signIn(page, 'nora', '/channels')
  await page.waitForSelector('.empty-title:text("You may not see channels.")')
  const menu = await page.locator('nav[aria-label=Pages] a').allTextContents()
  t.notOk(menu.includes('Channels'), menu.join())
})

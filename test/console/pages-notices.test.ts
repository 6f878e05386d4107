import type { Page } from 'playwright-core'
import t from 'tap'
import { keepPicture, openPage, sharedChromium, skipWithoutChromium } from '../kit/chromium.ts'
import { until } from '../kit/wait.ts'
import { NORTH } from './api-server.ts'
import { DOOR, delivery, keepDecisions, keepNotices, keepScenario, notice } from './pages-held.ts'
import { pagesServer } from './pages-server.ts'

/** Notices in a real browser: what was noticed, who was told, and why nobody was. */

const DESKTOP = { width: 1280, height: 800 }
const PHONE = { width: 390, height: 844, phone: true, dark: true }
const skip = skipWithoutChromium

const browserOf = sharedChromium(t)

const failing = () =>
  delivery({
    channel: { id: 'ntfy', name: 'ntfy', type: 'webhook' },
    state: 'waiting',
    attempts: 3,
    dueAtMs: Date.now() + 500_000,
    doneAtMs: null,
    tries: [1, 2, 3].map((number) => ({
      number,
      atMs: Date.now() - 60_000 + number * 9000,
      durationMs: 5012,
      status: number === 2 ? null : 503,
      code: number === 2 ? 'ETIMEDOUT' : null,
      answer: number === 2 ? null : '<html><b>Service Unavailable</b></html>',
    })),
  })

const counted = (page: Page, selector: string, count: number) =>
  until(`${count} of ${selector}`, async () => (await page.locator(selector).count()) === count)

t.test('notices stand newest first, with how each was delivered', { skip }, async (t) => {
  const server = await pagesServer(t)
  const [face] = await server.seen(1, NORTH)
  const picture = `/api/v1/detections/${face?.id}/picture`
  await keepNotices(
    server.api.database,
    notice({
      picture,
      detection: face?.id,
      zones: ['porch'],
      masked: true,
      deliveries: [delivery(), failing()],
    }),
    notice({
      ...{ level: 'problem', title: 'The camera yard is covered', text: '', atMs: Date.now() - 700_000 },
      deliveries: [
        delivery({ state: 'given up', attempts: 21, why: 'Not delivered within 1 d', doneAtMs: Date.now() }),
      ],
    }),
    notice({
      ...{ level: 'warning', title: '6 people at the till', count: 6, atMs: Date.now() - 90_000_000 },
      scenario: { id: 'till', name: 'Queue at the till' },
      deliveries: [delivery({ state: 'not sent', attempts: 0, why: 'more than 600 in an hour', tries: [] })],
    }),
    notice({ title: 'Nobody was told of this', deliveries: [], atMs: Date.now() - 100_000_000 }),
  )
  for (const size of [DESKTOP, PHONE]) {
    const { page, complaints, foreign } = await openPage(t, await browserOf(), size)
    await server.signIn(page, 'ada', '/notices')
    await page.waitForSelector('.notice')
    const titles = await page.locator('.notice-title').allTextContents()
    t.equal(titles.length, 4)
    t.equal(titles[0], 'Somebody is at the gate')
    await page.waitForSelector('.notice >> text=/ntfy: failing, next try in [78] minutes/')
    await page.waitForSelector('.notice >> text=Phone: given up')
    await page.waitForSelector('.notice >> text=Phone: not sent')
    t.ok(await page.evaluate('document.documentElement.scrollWidth <= innerWidth'), 'nothing sticks out')
    await keepPicture(page, `notices-${size.width}`)
    await page.click('.notice')
    await page.waitForSelector('h1:text("Somebody is at the gate")')
    await page.waitForSelector('.try >> text=503')
    await page.waitForSelector('.try >> text=ETIMEDOUT')
    await page.waitForSelector('.try-answer:text("<html><b>Service Unavailable</b></html>")')
    await page.waitForSelector('.facts >> text=porch')
    t.ok(await page.evaluate('document.documentElement.scrollWidth <= innerWidth'), 'nothing sticks out')
    await keepPicture(page, `notice-${size.width}`)
    // Then it is tried at once, and stands otherwise.
    if (size === PHONE) {
      await page.locator('.delivery', { hasText: 'ntfy' }).getByRole('button', { name: 'Send now' }).click()
      await page.waitForSelector('.said-text:text("It is sent again by ntfy.")')
    }
    t.strictSame(complaints, [])
    t.strictSame(foreign, [])
  }
})

t.test('what is new appears by itself, and filters narrow it', { skip }, async (t) => {
  const server = await pagesServer(t)
  const { database, news } = server.api
  await keepNotices(database, notice(), notice({ level: 'problem', title: 'The yard is covered' }))
  const { page, complaints } = await openPage(t, await browserOf(), DESKTOP)
  await server.signIn(page, 'ada', '/notices')
  await page.waitForSelector('.standing[data-is=following]')
  await counted(page, '.notice', 2)
  const late = notice({ title: 'Another visitor', atMs: Date.now() })
  await keepNotices(database, late)
  news.add({ is: 'notice', id: late.id, camera: NORTH })
  await page.waitForSelector('.notice-title:text("Another visitor")')
  await page.getByLabel('Level').selectOption('Problems')
  await counted(page, '.notice', 1)
  t.match(page.url(), /level=problem/)
  await page.getByLabel('Camera').selectOption({ label: 'yard (south · pi)' })
  await page.waitForSelector('.empty-title:text("No notices match.")')
  await page.getByRole('button', { name: 'Clear the filters' }).click()
  await counted(page, '.notice', 3)
  t.strictSame(complaints, [])
})

t.test('older notices come page by page', { skip }, async (t) => {
  const server = await pagesServer(t)
  const many = Array.from({ length: 45 }, (_, n) =>
    notice({ title: `Visitor ${n}`, atMs: Date.now() - n * 60_000, deliveries: [] }),
  )
  await keepNotices(server.api.database, ...many)
  const { page } = await openPage(t, await browserOf(), DESKTOP)
  await server.signIn(page, 'vera', '/notices')
  await page.waitForSelector('.notice')
  t.equal(await page.locator('.notice').count(), 30)
  await page.getByRole('button', { name: 'Show older notices' }).click()
  await page.waitForSelector('.notice-title:text-is("Visitor 44")')
  t.equal(await page.locator('.notice').count(), 45, 'each once')
  t.equal(await page.getByRole('button', { name: 'Show older notices' }).count(), 0)
})

t.test('why nothing was sent is said, suspended for an hour, and resumed', { skip }, async (t) => {
  const server = await pagesServer(t)
  const door = await keepScenario(server.api, DOOR)
  const decision = { scenario: door, rule: 'visitor', camera: NORTH, track: null, times: 1 }
  await keepDecisions(
    server.api.database,
    {
      ...decision,
      ...{ atMs: Date.now() - 2000, what: 'cooldown', untilMs: Date.now() + 940_000 },
      text: 'A notice was sent a minute ago, and the rule waits five.',
    },
    {
      ...decision,
      ...{ atMs: Date.now() - 90_000, what: 'outside schedule', untilMs: null, times: 12 },
      ...{ scenario: 'till', rule: 'many', text: 'The scenario holds on weekdays from 08:00 to 18:00.' },
    },
  )
  const said = notice({ scenario: { id: door, name: DOOR.name } })
  await keepNotices(server.api.database, said)
  for (const size of [DESKTOP, PHONE]) {
    const { page, complaints } = await openPage(t, await browserOf(), size)
    await server.signIn(page, 'ada', '/notices?show=decisions')
    await page.waitForSelector('.decision >> text=In cooldown')
    await page.waitForSelector('.decision >> text=/Until \\d\\d:\\d\\d/')
    await page.waitForSelector('.decision >> text=/till · many .* 12 times/')
    t.ok(await page.evaluate('document.documentElement.scrollWidth <= innerWidth'), 'nothing sticks out')
    await keepPicture(page, `decisions-${size.width}`)
    await page.getByLabel('Scenario').selectOption({ label: 'Visitors at the door' })
    await counted(page, '.decision', 1)
    await page.getByLabel('Rule').selectOption({ label: 'With a mask' })
    await page.waitForSelector('.empty-title:text("No rule has decided anything yet.")')
    await page.goto(`${server.url}/notices/${said.id}`)
    await page.getByRole('button', { name: 'Suspend' }).click()
    await keepPicture(page, `suspend-${size.width}`)
    await page.locator('dialog').getByRole('button', { name: 'Suspend' }).click()
    await page.waitForSelector('.said-text:text("Suspended until")')
    const [suspension] = (await server.api.json<{ items: { untilMs: number }[] }>('/suspensions')).items
    t.match(suspension, { scenario: door, rule: 'visitor', camera: NORTH, by: 'ada' })
    const forMs = (suspension?.untilMs ?? 0) - Date.now()
    t.ok(forMs > 3_500_000 && forMs <= 3_600_000, 'for an hour')
    await page.goto(`${server.url}/notices?show=suspended`)
    await page.waitForSelector('.card >> text=/At north.pi.gate, until .* by ada/')
    await page.getByRole('button', { name: 'Resume' }).click()
    await page.waitForSelector('.empty-title:text("Nothing is suspended.")')
    t.strictSame((await server.api.json<{ items: [] }>('/suspensions')).items, [])
    t.strictSame(complaints, [])
  }
})

t.test(
  'who may not write scenarios sees notices of his cameras, and commands nothing',
  { skip },
  async (t) => {
    const server = await pagesServer(t)
    const markup = '<img src=x onerror="document.title=1">'
    const own = notice({ site: 'south', camera: 'door', title: markup, text: markup })
    await keepNotices(server.api.database, notice(), own)
    const { page, complaints } = await openPage(t, await browserOf(), PHONE)
    await server.signIn(page, 'carl', '/notices')
    await page.waitForSelector(`.notice-title:text('${markup}')`)
    t.equal(await page.locator('.notice').count(), 1, 'of his camera alone')
    await page.click('.notice')
    await page.waitForSelector(`h1:text('${markup}')`)
    t.equal(await page.getByRole('button', { name: /Suspend|Send/ }).count(), 0)
    t.equal(await page.locator('img[src=x]').count(), 0)
    t.strictSame(complaints, [])
  },
)

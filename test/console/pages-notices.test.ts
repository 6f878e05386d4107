import type { Browser, Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { openChromium, openPage, skipWithoutChromium } from '../kit/chromium.ts'
import { NORTH } from './api-server.ts'
import { delivery, HeldNotices, notice } from './pages-held.ts'
import { type PagesServer, pagesServer } from './pages-server.ts'

/** Notices in a real browser: what was noticed, who was told, and why nobody was. */

const DESKTOP = { width: 1280, height: 800 }
const PHONE = { width: 390, height: 844, phone: true, dark: true }
const skip = skipWithoutChromium

let opening: Promise<Browser> | undefined
const browserOf = () => {
  opening ??= openChromium()
  return opening
}
t.teardown(async () => (await opening)?.close())

async function started(t: Test): Promise<{ server: PagesServer; held: HeldNotices }> {
  const held = new HeldNotices()
  return { held, server: await pagesServer(t, [], {}, [held.resource]) }
}

const failing = () =>
  delivery({
    channel: { id: 'ntfy', name: 'ntfy', type: 'webhook' },
    state: 'waiting',
    attempts: 3,
    dueAtMs: Date.now() + 95_000,
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

const seen = async (page: Page, name: string) => {
  if (process.env.SIGHTLINE_TEST_PICTURES)
    await page.screenshot({ path: `${process.env.SIGHTLINE_TEST_PICTURES}/${name}.png`, fullPage: true })
}

t.test('notices stand newest first, with how each was delivered', { skip }, async (t) => {
  const { server, held } = await started(t)
  const [face] = await server.seen(1, NORTH)
  const picture = `/api/v1/detections/${face?.id}/picture`
  held.notices = [
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
  ]
  for (const size of [DESKTOP, PHONE]) {
    const { page, complaints, foreign } = await openPage(t, await browserOf(), size)
    await server.signIn(page, 'ada', '/notices')
    await page.waitForSelector('.notice')
    const titles = await page.locator('.notice-title').allTextContents()
    t.equal(titles.length, 4)
    t.equal(titles[0], 'Somebody is at the gate')
    await page.waitForSelector('.notice >> text=/ntfy: failing, next try in 1 minute/')
    await page.waitForSelector('.notice >> text=Phone: given up')
    await page.waitForSelector('.notice >> text=Phone: not sent')
    t.ok(await page.evaluate('document.documentElement.scrollWidth <= innerWidth'), 'nothing sticks out')
    await seen(page, `notices-${size.width}`)
    await page.click('.notice')
    await page.waitForSelector('h1:text("Somebody is at the gate")')
    await page.waitForSelector('.try >> text=503')
    await page.waitForSelector('.try >> text=ETIMEDOUT')
    await page.waitForSelector('.try-answer:text("<html><b>Service Unavailable</b></html>")')
    await page.waitForSelector('.facts >> text=porch')
    t.ok(await page.evaluate('document.documentElement.scrollWidth <= innerWidth'), 'nothing sticks out')
    await seen(page, `notice-${size.width}`)
    await page.locator('.delivery', { hasText: 'ntfy' }).getByRole('button', { name: 'Send now' }).click()
    await page.waitForSelector('.said-text:text("It is sent again by ntfy.")')
    t.strictSame(complaints, [])
    t.strictSame(foreign, [])
  }
  t.equal(held.sentAgain.length, 2)
})

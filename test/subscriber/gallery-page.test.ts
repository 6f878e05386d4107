import { join } from 'node:path'
import pino from 'pino'
import type { Browser, Page } from 'playwright-core'
import { Registry } from 'prom-client'
import sharp from 'sharp'
import t, { type Test } from 'tap'
import { type IndexEntry, IndexWriter } from '../../cloud-subscriber/gallery/index-files.ts'
import { publishGallery } from '../../cloud-subscriber/gallery/publish.ts'
import { galleryRoutes } from '../../cloud-subscriber/gallery/serve.ts'
import type { Bucket } from '../../lib/buckets/bucket.ts'
import { FolderBucket } from '../../lib/buckets/folder.ts'
import { S3Bucket } from '../../lib/buckets/s3.ts'
import { HttpServer } from '../../lib/http/server.ts'
import { newId } from '../../wire/id.ts'
import { objectKey } from '../../wire/object-key.ts'
import { fits, keepPicture, openChromium, openPage, skipWithoutChromium } from '../kit/chromium.ts'
import { emptyS3Bucket, makeS3Bucket, s3Endpoint, skipWithoutS3 } from '../kit/s3.ts'

/** The page in a real browser, over a real bucket. */
const log = pino({ level: 'silent' })
const DESKTOP = { width: 1280, height: 800 }
const PHONE = { width: 360, height: 740, phone: true }
const MINUTE_MS = 60_000
const DAY_MS = 86_400_000
/** Yesterday noon stands for now: no test may depend on how far midnight is. */
const nowMs = Math.floor(Date.now() / DAY_MS) * DAY_MS - DAY_MS / 2

let browser: Browser
if (!skipWithoutChromium) {
  browser = await openChromium()
  t.teardown(() => browser.close())
}

const picture = (colour: string) =>
  sharp({ create: { width: 96, height: 120, channels: 3, background: colour } })
    .jpeg()
    .toBuffer()
const PICTURE = await picture('#c08a6a')

let made = 0
/** A crop in the bucket and its entry, `agoMs` before now. */
async function crop(bucket: Bucket, agoMs: number, at: Partial<IndexEntry> = {}): Promise<IndexEntry> {
  const filedAtMs = nowMs - agoMs
  const hex = filedAtMs.toString(16).padStart(12, '0')
  made += 1
  const id = `${hex.slice(0, 8)}-${hex.slice(8)}-7000-8000-${String(made).padStart(12, '0')}`
  const place = { site: 'berlin', device: 'porch', camera: 'front' }
  const entry: IndexEntry = {
    ...place,
    id,
    key: objectKey({ ...place, id }, filedAtMs),
    capturedAtMs: filedAtMs,
    filedAtMs,
    storedAtMs: filedAtMs + 340,
    score: 0.91,
    width: 64,
    height: 80,
    ...at,
  }
  await bucket.create({ key: entry.key, body: PICTURE, contentType: 'image/jpeg', cacheControl: 'no-cache' })
  return entry
}

async function gallery(t: Test) {
  const bucket = await FolderBucket.open({ path: join(t.testdir(), 'crops') })
  const index = await IndexWriter.open({ bucket, writer: 'one', log })
  const http = await HttpServer.open({
    host: '127.0.0.1',
    port: 0,
    metrics: new Registry(),
    health: () => ({ ok: true, checks: {} }),
    routes: galleryRoutes(bucket, { publicRead: false, links: undefined }),
  })
  const add = async (agoMs: number, at: Partial<IndexEntry> = {}) => {
    const entry = await crop(bucket, agoMs, at)
    void index.add(entry)
    return entry
  }
  const dispose = async () => {
    await http[Symbol.asyncDispose]()
    await index[Symbol.asyncDispose]()
    await bucket[Symbol.asyncDispose]()
  }
  return { bucket, index, http, add, [Symbol.asyncDispose]: dispose }
}

const shownIds = (page: Page) =>
  page.$$eval('a.crop', (links) =>
    links.map((link) => (link as unknown as { dataset: { id: string } }).dataset.id),
  )
const tiles = (page: Page) => page.locator('a.crop')
/** Playwright's waitForFunction evaluates strings inside the page, which the page's policy forbids; this asks from outside. */
async function until(page: Page, expression: string): Promise<void> {
  for (let waitedMs = 0; waitedMs < 20_000; waitedMs += 50) {
    if (await page.evaluate(expression)) return
    await page.waitForTimeout(50)
  }
  throw new Error(`it did not come true: ${expression}`)
}
/** No sideways scrolling, whatever the width. */
const overflow = (page: Page) =>
  page.evaluate(
    'document.documentElement.scrollWidth - document.documentElement.clientWidth',
  ) as Promise<number>

t.test('the page in a browser', { skip: skipWithoutChromium }, (t) => {
  t.test(
    'shows the newest first, with where, when and how sure, without a complaint or a foreign request',
    async (t) => {
      await using here = await gallery(t)
      const { index, http, add } = here
      const entries: IndexEntry[] = []
      for (const minutes of [5, 1, 9, 3]) entries.push(await add(minutes * MINUTE_MS))
      await add(2 * MINUTE_MS, { device: 'gate', camera: 'cam0', score: 0.777 })
      await index.flush()
      const { page, complaints, foreign } = await openPage(t, browser, DESKTOP)
      await page.goto(http.url)
      await tiles(page).nth(4).waitFor()
      const times = await page.$$eval('a.crop time', (all) => all.map((one) => one.getAttribute('datetime')))
      t.same(times, [...times].sort().reverse())
      t.match(await tiles(page).nth(1).textContent(), /\d\d:\d\d:\d\d.*0\.78.*gate · cam0/)
      t.equal(await page.locator('#state').getAttribute('data-state'), 'live')
      await until(page, '[...document.images].slice(0, 5).every((image) => image.naturalWidth === 96)')
      t.same(complaints, [])
      t.same(foreign, [])
    },
  )

  t.test('filters by device and by day, and keeps the choice in its address', async (t) => {
    await using here = await gallery(t)
    const { index, http, add } = here
    const porch = await add(1 * MINUTE_MS)
    const gate = await add(2 * MINUTE_MS, { device: 'gate' })
    const old = await add(3 * DAY_MS, { device: 'gate' })
    await index.flush()
    const { page } = await openPage(t, browser, DESKTOP)
    await page.goto(http.url)
    await tiles(page).nth(2).waitFor()
    t.same(await shownIds(page), [porch.id, gate.id, old.id])
    await page.selectOption('#device', 'berlin/gate')
    t.same(await shownIds(page), [gate.id, old.id])
    await page.selectOption('#day', new Date(nowMs - 3 * DAY_MS).toISOString().split('T')[0] as string)
    t.same(await shownIds(page), [old.id])
    await page.reload()
    await tiles(page).first().waitFor()
    t.same(await shownIds(page), [old.id])
    await page.selectOption('#device', 'berlin/porch')
    await page.getByText('No faces found').waitFor()
    await page.click('#everything')
    await tiles(page).nth(2).waitFor()
  })

  t.test('a day is the visitor’s day, not the index’s', async (t) => {
    await using here = await gallery(t)
    const { index, http, add } = here
    // 23:30 UTC two days ago is 09:30 of the next day in Sydney (UTC+10 or +11).
    const midnightMs = Math.floor(nowMs / DAY_MS) * DAY_MS
    const late = await add(nowMs - (midnightMs - DAY_MS - 30 * MINUTE_MS))
    const early = await add(nowMs - (midnightMs - 2 * DAY_MS + 60 * MINUTE_MS))
    await index.flush()
    const { page } = await openPage(t, browser, { ...DESKTOP, timezone: 'Australia/Sydney' })
    await page.goto(http.url)
    await tiles(page).nth(1).waitFor()
    await page.selectOption('#day', new Date(midnightMs - DAY_MS).toISOString().split('T')[0] as string)
    t.same(await shownIds(page), [late.id])
    await page.selectOption('#day', new Date(midnightMs - 2 * DAY_MS).toISOString().split('T')[0] as string)
    t.same(await shownIds(page), [early.id])
  })

  t.test(
    'opens the full crop, walks with the arrow keys, closes with escape, and links to the object',
    async (t) => {
      await using here = await gallery(t)
      const { index, http, add } = here
      for (const minutes of [1, 2, 3]) await add(minutes * MINUTE_MS, { camera: `cam${minutes}` })
      await index.flush()
      const { page, complaints } = await openPage(t, browser, DESKTOP)
      await page.goto(`${http.url}/gallery/`)
      await tiles(page).nth(2).waitFor()
      await tiles(page).first().click()
      const viewer = page.locator('#viewer')
      await viewer.waitFor()
      t.match(await viewer.textContent(), /cam1.*64 × 80 px.*Stored340 ms after capture/)
      const href = await page.evaluate('document.getElementById("viewer-link").href')
      t.equal((await fetch(String(href))).headers.get('content-type'), 'image/jpeg')
      await page.keyboard.press('ArrowRight')
      t.match(await viewer.textContent(), 'cam2')
      await page.keyboard.press('ArrowRight')
      await page.keyboard.press('ArrowRight')
      t.match(await viewer.textContent(), 'cam3')
      t.equal(await page.locator('#viewer-next').isDisabled(), true)
      const address = page.url()
      await page.keyboard.press('Escape')
      await viewer.waitFor({ state: 'hidden' })
      await page.waitForURL((url) => url.hash === '')
      t.equal(await page.evaluate('document.activeElement.className'), 'crop', 'the keyboard is where it was')
      // The address of an open crop opens it again, and Back closes it.
      const other = await openPage(t, browser, DESKTOP)
      await other.page.goto(address)
      await other.page.locator('#viewer').waitFor()
      t.match(await other.page.locator('#viewer').textContent(), 'cam3')
      await tiles(page).first().click()
      await viewer.waitFor()
      await page.goBack()
      await viewer.waitFor({ state: 'hidden' })
      t.same([...complaints, ...other.complaints], [])
    },
  )

  t.test('a new crop appears by itself, and only what changed is fetched', async (t) => {
    await using here = await gallery(t)
    const { index, http, add } = here
    for (let n = 299; n >= 0; n -= 1) await add(n * 1000 + 5000)
    const { page, complaints } = await openPage(t, browser, DESKTOP)
    await index.flush()
    await page.goto(http.url)
    await tiles(page).nth(10).waitFor()
    await page.evaluate('window.stillHere = true')
    const asked: string[] = []
    page.on('request', (request) => asked.push(new URL(request.url()).pathname))
    const entry = await add(0)
    await tiles(page)
      .and(page.locator(`[data-id="${entry.id}"]`))
      .waitFor({ timeout: 6000 })
    t.equal((await shownIds(page))[0], entry.id)
    t.equal(await page.evaluate('window.stillHere'), true, 'without a reload')
    t.same(
      asked.filter((path) => path.endsWith('/0.json')),
      [],
      'a full chunk is not asked for again',
    )
    t.same(complaints, [])
  })

  t.test('of a face with a first picture and a best, only the best is shown', async (t) => {
    await using here = await gallery(t)
    const { index, http, add } = here
    const [known, waits] = [newId(), newId()]
    const older = await add(9 * MINUTE_MS)
    const first = await add(5 * MINUTE_MS, { track: known, shot: 'first' })
    const alone = await add(4 * MINUTE_MS, { track: waits, shot: 'first' })
    await index.flush()
    const { page, complaints } = await openPage(t, browser, DESKTOP)
    await page.goto(http.url)
    await tiles(page).nth(2).waitFor()
    t.strictSame(await shownIds(page), [alone.id, first.id, older.id], 'until there is one, the first')
    const best = await add(4.5 * MINUTE_MS, { track: known, shot: 'best' })
    await until(page, `document.querySelector('[data-id="${best.id}"]') !== null`)
    t.strictSame(await shownIds(page), [alone.id, best.id, older.id], 'then the best in its place')
    await page.reload()
    await tiles(page).nth(2).waitFor()
    t.strictSame(await shownIds(page), [alone.id, best.id, older.id])
    t.same(complaints, [])
  })

  t.test('what classifiers say stands under the face and beside it, as text', async (t) => {
    await using here = await gallery(t)
    const { index, http, add } = here
    const markup = '<img src=x onerror="document.title=1">'
    await add(MINUTE_MS, {
      attributes: [
        ['mask', 'with mask', 0.97],
        [markup, '</dd><b>&amp;', 0.5],
        ['لون', 'أحمر', 1],
      ],
    })
    // Whatever somebody wrote into the bucket.
    await add(2 * MINUTE_MS, { attributes: [7, ['alone'], {}] as never })
    await index.flush()
    for (const [width, size] of [
      ['1280', DESKTOP],
      ['360', PHONE],
    ] as const) {
      const { page, complaints } = await openPage(t, browser, size)
      await page.goto(http.url)
      await tiles(page).nth(1).waitFor()
      t.strictSame(await page.locator('.caption .attribute').allInnerTexts(), ['mask: with mask +2'])
      await keepPicture(page, `gallery-attributes-${width}`)
      await tiles(page).first().click()
      await page.locator('#viewer-list dt').first().waitFor()
      const facts = await page.locator('#viewer-list').textContent()
      for (const part of ['with mask, 97 %', markup, '</dd><b>&amp;, 50 %', 'أحمر, 100 %'])
        t.ok(facts?.includes(part), part)
      t.ok(await fits(page))
      await keepPicture(page, `gallery-attributes-viewer-${width}`)
      t.same(complaints, [])
    }
  })

  t.test('a visitor who scrolled down is told of new faces, not pushed', async (t) => {
    await using here = await gallery(t)
    const { index, http, add } = here
    for (let n = 0; n < 120; n += 1) await add(n * 1000 + 5000)
    await index.flush()
    const { page } = await openPage(t, browser, DESKTOP)
    await page.goto(http.url)
    await tiles(page).nth(40).waitFor()
    await page.mouse.wheel(0, 900)
    await until(page, 'scrollY > 500')
    const before = (await shownIds(page))[0]
    const entry = await add(0)
    await page.getByText('1 new face').waitFor({ timeout: 6000 })
    t.equal((await shownIds(page))[0], before)
    await page.click('#arrived')
    await until(page, 'scrollY === 0')
    t.equal((await shownIds(page))[0], entry.id)
  })

  t.test('a long gallery comes in pieces and keeps its elements bounded', async (t) => {
    await using here = await gallery(t)
    const { index, http, bucket } = here
    const one = await crop(bucket, 0)
    for (let n = 1999; n >= 0; n -= 1) {
      const id = `${one.id.slice(0, -6)}${String(n).padStart(6, '0')}`
      void index.add({ ...one, id, filedAtMs: nowMs - n * 500 })
    }
    await index.flush()
    const { page } = await openPage(t, browser, DESKTOP)
    await page.goto(http.url)
    await tiles(page).nth(20).waitFor()
    t.ok((await tiles(page).count()) <= 120)
    const all = 'document.querySelectorAll("a.crop").length'
    await until(page, `scrollTo(0, document.body.scrollHeight), ${all} >= 600`)
    await page.click('#more')
    await page.locator('#newest').waitFor()
    t.not((await shownIds(page))[0], `${one.id.slice(0, -6)}000000`, 'older ones are shown')
    t.ok((await tiles(page).count()) <= 600, `${await tiles(page).count()} elements`)
    await page.click('#newest')
    t.equal((await shownIds(page))[0], `${one.id.slice(0, -6)}000000`)
  })

  t.test('hostile names in the index are shown as text and lead nowhere', async (t) => {
    await using here = await gallery(t)
    const { index, http, add } = here
    const name = '<img src=x onerror=alert(1)><script>document.title="owned"</script>'
    await add(1000, { device: name, camera: '"><b>bold</b>' })
    const good = await add(2000)
    for (const key of [
      'javascript:alert(1)',
      '//evil.example/x.jpg',
      '../../x.jpg',
      'https://evil.example/x.jpg',
    ])
      void index.add({ ...good, id: `bad-${key}`, key })
    await index.flush()
    const { page, complaints, foreign } = await openPage(t, browser, DESKTOP)
    page.on('dialog', () => t.fail('a script ran'))
    await page.goto(http.url)
    await tiles(page).nth(1).waitFor()
    t.equal(await tiles(page).count(), 2, 'entries with keys that are none are left out')
    t.match(await tiles(page).first().textContent(), '<img src=x onerror=alert(1)>')
    await tiles(page).first().click()
    await page.locator('#viewer').waitFor()
    t.match(await page.locator('#viewer').textContent(), '"><b>bold</b>')
    t.match(await page.locator('#device').textContent(), '<script>')
    t.match(await page.title(), /, Sightline$/, 'the names stand in it as text, and no script has set it')
    t.same(complaints, [])
    t.same(foreign, [])
  })

  t.test('an empty gallery says what to do, and fills when the first face comes', async (t) => {
    await using here = await gallery(t)
    const { http, add } = here
    const { page, complaints } = await openPage(t, browser, PHONE)
    await page.goto(http.url)
    await page.getByText('No faces yet').waitFor()
    t.equal(await overflow(page), 0)
    await add(0)
    await tiles(page).first().waitFor({ timeout: 6000 })
    t.equal(await page.getByText('No faces yet').isVisible(), false)
    t.same(complaints, [])
  })

  t.test('a phone needs no sideways scrolling, in the grid and in the viewer', async (t) => {
    await using here = await gallery(t)
    const { index, http, add } = here
    const long = 'a-device-with-a-name-as-long-as-names-may-be-which-is-63-letters'
    for (let n = 0; n < 30; n += 1) await add(n * 1000, n % 2 ? {} : { device: long, camera: long })
    await index.flush()
    const { page } = await openPage(t, browser, PHONE)
    await page.goto(http.url)
    await tiles(page).nth(12).waitFor()
    t.equal(await overflow(page), 0)
    await tiles(page).first().tap()
    await page.locator('#viewer').waitFor()
    t.equal(await overflow(page), 0)
    t.equal(await page.evaluate('viewer.scrollWidth - viewer.clientWidth'), 0)
  })

  t.test('a subscriber that stopped, and a bucket that is away, are said to be so', async (t) => {
    await using here = await gallery(t)
    const { index, http, add } = here
    await add(1000)
    await index[Symbol.asyncDispose]()
    const { page } = await openPage(t, browser, DESKTOP)
    await page.goto(http.url)
    await page.getByText('Stopped since').waitFor()
    await page.route('**/*.json', (route) => route.abort())
    await page.getByText('Cannot reach the bucket').waitFor({ timeout: 15_000 })
    t.equal(await tiles(page).count(), 1, 'what was there stays')
    await page.unroute('**/*.json')
    await page.getByText('Stopped since').waitFor({ timeout: 15_000 })
  })

  t.test('a server that is gone is said within two seconds, and one that is silent too', async (t) => {
    await using here = await gallery(t)
    const { index, http, add } = here
    await add(1000)
    await index.flush()
    const { page } = await openPage(t, browser, DESKTOP)
    await page.goto(http.url)
    await tiles(page).first().waitFor()
    let silent = true
    await page.route('**/head.json', (route) => (silent ? undefined : route.continue()))
    await page.getByText(/No answer for \d s, still waiting/).waitFor({ timeout: 5000 })
    silent = false
    await page.unroute('**/head.json')
    await page.reload()
    await page.getByText('Live').waitFor()
    await page.waitForTimeout(700)
    const goneMs = performance.now()
    await http[Symbol.asyncDispose]()
    await page.getByText('Cannot reach the bucket').waitFor()
    const tookMs = performance.now() - goneMs
    t.ok(tookMs < 2000, `${Math.round(tookMs)} ms`)
    t.equal(await tiles(page).count(), 1, 'what was there stays')
  })

  t.test('a server that is away from the beginning is said in the place of the faces', async (t) => {
    await using here = await gallery(t)
    const { index, http, add } = here
    await add(1000)
    await index.flush()
    const { page } = await openPage(t, browser, PHONE)
    await page.route('**/*.json', (route) => route.abort())
    await page.goto(http.url)
    await page.getByText('Cannot load the faces').waitFor()
    t.notOk(await page.locator('#waiting').isVisible())
    await page.unroute('**/*.json')
    await tiles(page).first().waitFor()
    t.notOk(await page.getByText('Cannot load the faces').isVisible())
  })

  t.test(
    'on a slow line there are places for the faces, before the index and before each picture',
    async (t) => {
      await using here = await gallery(t)
      const { index, http, add } = here
      for (let n = 0; n < 5; n += 1) await add(n * 1000)
      await index.flush()
      for (const size of [DESKTOP, PHONE]) {
        const { page } = await openPage(t, browser, size)
        const held: (() => void)[] = []
        const hold = () => new Promise<void>((resolve) => held.push(resolve))
        await page.route('**/head.json', async (route) => {
          await hold()
          await route.continue()
        })
        await page.route('**/*.jpg', () => {}) // none comes
        await page.goto(http.url)
        await page.locator('#waiting').waitFor()
        t.ok((await page.locator('#waiting .blank').count()) >= 12)
        t.equal(await overflow(page), 0)
        await page.unroute('**/head.json')
        for (const go of held) go()
        await tiles(page).nth(4).waitFor()
        t.notOk(await page.locator('#waiting').isVisible())
        const image = await page.evaluate(`(() => {
        const image = document.querySelector('a.crop img')
        const { width, height } = image.getBoundingClientRect()
        const { backgroundImage, color } = getComputedStyle(image)
        return { ratio: width / height, backgroundImage, color, width: image.naturalWidth }
      })()`)
        t.match(image, { width: 0, backgroundImage: /gradient/, color: 'rgba(0, 0, 0, 0)' })
        t.ok(Math.abs((image as { ratio: number }).ratio - 0.8) < 0.02, 'as large as the picture will be')
      }
    },
  )

  t.test('the keyboard skips to the faces, walks through them, and stays where it is', async (t) => {
    await using here = await gallery(t)
    const { index, http, add } = here
    const ids: string[] = []
    for (let n = 0; n < 30; n += 1) ids.push((await add(n * 1000 + 5000)).id)
    const old = await add(3 * DAY_MS)
    await index.flush()
    const { page, complaints } = await openPage(t, browser, DESKTOP)
    await page.goto(http.url)
    await tiles(page).nth(30).waitFor()
    const focused = () => page.evaluate('document.activeElement.dataset.id')
    await page.keyboard.press('Tab')
    t.equal(await page.evaluate('document.activeElement.textContent'), 'Skip to the faces')
    t.ok(await page.evaluate('document.activeElement.getBoundingClientRect().top >= 0'), 'it is seen')
    await page.waitForTimeout(100)
    await page.keyboard.press('Enter')
    t.equal(await focused(), ids[0])
    t.equal(new URL(page.url()).hash, '', 'what is shown stays the same')
    const columns = (await page.evaluate(`(() => {
      const tops = [...document.querySelectorAll('a.crop')].map((it) => it.getBoundingClientRect().top)
      return tops.filter((top) => top === tops[0]).length
    })()`)) as number
    t.ok(columns > 3)
    for (const [key, at] of [
      ['ArrowRight', 1],
      ['ArrowRight', 2],
      ['ArrowDown', 2 + columns],
      ['ArrowLeft', 1 + columns],
      ['ArrowUp', 1],
      ['ArrowUp', 1],
      ['Home', 0],
      ['ArrowLeft', 0],
    ] as const) {
      await page.keyboard.press(key)
      t.equal(await focused(), ids[at], key)
    }
    await page.keyboard.press('End')
    t.equal(await focused(), old.id, 'into the next day')
    await page.keyboard.press('ArrowUp')
    t.equal(await focused(), ids[Math.floor(29 / columns) * columns], 'and back, to the nearest')
    await page.keyboard.press('Home')
    const newest = await add(0)
    await page.getByText('1 new face').waitFor({ timeout: 6000 })
    t.equal(await focused(), ids[0], 'what comes pushes nobody')
    await page.keyboard.press('Shift+Tab')
    t.equal(await page.evaluate('document.activeElement.id'), 'arrived')
    await page.keyboard.press('Enter')
    t.equal(await focused(), newest.id)
    t.same(complaints, [])
  })

  t.test('a face that is not there is said to be so', async (t) => {
    await using here = await gallery(t)
    const { index, http, add } = here
    const entry = await add(1000)
    await index.flush()
    const gone = entry.key.replace(/.{4}\.jpg$/, '0000.jpg')
    for (const [crop, said] of [
      [gone, 'Face not found. It may have been deleted'],
      ['berlin/porch/front/2026', 'Incomplete link'],
      ['../../etc/passwd', 'Incomplete link'],
      [entry.key.slice(0, -9), 'Incomplete link'],
    ] as const) {
      const { page } = await openPage(t, browser, DESKTOP)
      await page.goto(`${http.url}/gallery/#crop=${encodeURIComponent(crop)}`)
      await page.locator('#viewer-missing').getByText(said).waitFor()
      t.notOk(await page.locator('#viewer-image').isVisible(), 'no broken picture')
      t.notOk(await page.locator('#viewer-link').isVisible(), 'and no link to none')
      await page.keyboard.press('Escape')
      await tiles(page).first().click()
      await until(page, 'document.getElementById("viewer-image").naturalWidth === 96')
      t.ok(await page.locator('#viewer-image').isVisible())
      t.equal(await page.locator('#viewer-missing').textContent(), '')
      await page.context().close()
    }
    const { page } = await openPage(t, browser, DESKTOP)
    await page.route('**/*.jpg', (route) => route.abort())
    await page.goto(`${http.url}/gallery/#crop=${encodeURIComponent(entry.key)}`)
    await page.locator('#viewer-missing').getByText('Cannot load the picture').waitFor()
  })

  t.test('the time of an open face stands in one line, and nothing sticks out', async (t) => {
    await using here = await gallery(t)
    const { index, http, add } = here
    await add(1000)
    await index.flush()
    for (const locale of ['en-US', 'de-DE', 'ko-KR', 'bg-BG'])
      for (const size of [DESKTOP, PHONE]) {
        const { page } = await openPage(t, browser, { ...size, locale })
        await page.goto(http.url)
        await tiles(page).first().click()
        await page.locator('#viewer').waitFor()
        const { lines, beyond } = (await page.evaluate(`(() => {
          const time = document.getElementById('viewer-time')
          const range = document.createRange()
          range.selectNodeContents(time)
          const rects = [...range.getClientRects()]
          return {
            lines: new Set(rects.map(({ top }) => Math.round(top))).size,
            beyond: Math.max(...rects.map(({ right }) => right)) - innerWidth,
          }
        })()`)) as { lines: number; beyond: number }
        t.equal(lines, 1, locale)
        t.ok(beyond < 0, `${locale}: ${beyond}`)
        await page.context().close()
      }
  })

  t.test('the tab says what is open, and a photo’s name stands beside its face', async (t) => {
    await using here = await gallery(t)
    const { index, http, add } = here
    await add(1000, { file: 'IMG_2034 <b>.jpg' })
    await add(2000, { device: 'gate' })
    await index.flush()
    const { page } = await openPage(t, browser, DESKTOP)
    await page.goto(http.url)
    await tiles(page).nth(1).waitFor()
    t.equal(await page.title(), 'Sightline')
    await tiles(page).first().click()
    t.match(await page.title(), /^\d\d:\d\d:\d\d, porch · front, Sightline$/)
    t.match(await page.locator('#viewer-list').textContent(), 'FileIMG_2034 <b>.jpg')
    await page.keyboard.press('ArrowRight')
    t.match(await page.title(), 'gate · front')
    t.notMatch(await page.locator('#viewer-list').textContent(), 'File')
    await page.keyboard.press('Escape')
    await until(page, 'document.title === "Sightline"')
    await page.selectOption('#device', 'berlin/gate')
    t.equal(await page.title(), 'berlin / gate, Sightline')
    await page.reload()
    await tiles(page).first().waitFor()
    t.equal(await page.title(), 'berlin / gate, Sightline')
  })

  t.test('a hidden page asks for nothing', async (t) => {
    await using here = await gallery(t)
    const { http } = here
    const { page } = await openPage(t, browser, DESKTOP)
    await page.goto(http.url)
    await page.getByText('No faces yet').waitFor()
    let asked = 0
    page.on('request', () => {
      asked += 1
    })
    await page.evaluate(`
      Object.defineProperty(document, 'hidden', { value: true, configurable: true })
      document.dispatchEvent(new Event('visibilitychange'))`)
    await page.waitForTimeout(2600)
    t.ok(asked <= 1, `${asked} requests while hidden`)
    await page.evaluate(`
      Object.defineProperty(document, 'hidden', { value: false, configurable: true })
      document.dispatchEvent(new Event('visibilitychange'))`)
    await page.waitForTimeout(500)
    t.ok(asked >= 1, 'and looks at once when it is seen again')
  })

  t.test(
    'a public S3 bucket opens as a gallery for anyone, live, from the bucket’s own address',
    { skip: skipWithoutS3 },
    async (t) => {
      const name = await makeS3Bucket()
      t.teardown(() => emptyS3Bucket(name))
      await using bucket = await S3Bucket.open({
        bucket: name,
        endpoint: s3Endpoint,
        publicRead: true,
        prefix: 'cameras',
      })
      await publishGallery(bucket)
      await using index = await IndexWriter.open({ bucket, writer: 'one', log })
      void index.add(await crop(bucket, 60_000))
      await index.flush()
      const { page, complaints, foreign } = await openPage(t, browser, DESKTOP)
      await page.goto(bucket.url('gallery/index.html'))
      await tiles(page).first().waitFor()
      await until(page, 'document.images[0].naturalWidth === 96')
      t.equal(await page.locator('#state').getAttribute('data-state'), 'live')
      const entry = await crop(bucket, 0)
      void index.add(entry)
      await tiles(page).nth(1).waitFor({ timeout: 8000 })
      t.equal((await shownIds(page))[0], entry.id)
      await tiles(page).first().click()
      await page.locator('#viewer').waitFor()
      t.equal(
        (await fetch(String(await page.evaluate('document.getElementById("viewer-link").href')))).status,
        200,
      )
      t.same(complaints, [])
      t.same(foreign, [])
    },
  )
  t.end()
})

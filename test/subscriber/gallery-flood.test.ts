import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import pino from 'pino'
import type { Browser, Page } from 'playwright-core'
import { Registry } from 'prom-client'
import t, { type Test } from 'tap'
import { inboxHeader } from '../../cloud-subscriber/entry.ts'
import { IndexWriter, readIndex } from '../../cloud-subscriber/gallery/index-files.ts'
import { galleryRoutes } from '../../cloud-subscriber/gallery/serve.ts'
import { FolderBucket } from '../../lib/buckets/folder.ts'
import { HttpServer } from '../../lib/http/server.ts'
import type { CropMetadata } from '../../wire/crop.ts'
import { dayOf, objectKey } from '../../wire/object-key.ts'
import { openChromium, openPage, skipWithoutChromium } from '../kit/chromium.ts'
import { cropMetadata, received, tinyJpeg } from '../kit/crops.ts'

/** The gallery under a device that wants to bury it: whatever comes, today's faces are on top and the head stays small. */
const log = pino({ level: 'silent' })
const DAY_MS = 86_400_000
const LAST_MS = Date.UTC(9999, 11, 31)
const DAYS = 44_000
/** 100 days, 64 KB of names, and the rest. */
const HEAD_BYTES_MAX = 80_000
/** Today's faces stand on the page after so long, on a slow machine too. (Before: never.) */
const SHOWN_MS_MAX = 10_000
const noonMs = Math.floor(Date.now() / DAY_MS) * DAY_MS - DAY_MS / 2

let browser: Browser
if (!skipWithoutChromium) {
  browser = await openChromium()
  t.teardown(() => browser.close())
}

interface Head {
  days: Record<string, { entries: number; chunks: number }>
  older: Record<string, number>
  devices: string[]
}

async function gallery(t: Test, prepare: (folder: string) => void = () => {}) {
  const path = join(t.testdir(), 'crops')
  const folder = join(path, 'gallery/index')
  prepare(folder)
  const bucket = await FolderBucket.open({ path })
  const index = await IndexWriter.open({ bucket, writer: 'one', log })
  /** As it comes through the intake. */
  const add = async (claimed: Partial<CropMetadata>, receivedAtMs = Date.now()) => {
    const header = inboxHeader(cropMetadata(claimed), received(receivedAtMs))
    const { key } = header
    await bucket.create({ key, body: tinyJpeg, contentType: 'image/jpeg', cacheControl: 'no-cache' })
    void index.add({ ...header, storedAtMs: receivedAtMs })
    return header
  }
  const json = <T>(name: string) => JSON.parse(readFileSync(join(folder, name), 'utf8')) as T
  return {
    bucket,
    index,
    add,
    json,
    head: () => json<Head>('one/head.json'),
    headBytes: () => statSync(join(folder, 'one/head.json')).size,
    async [Symbol.asyncDispose]() {
      await index[Symbol.asyncDispose]()
      await bucket[Symbol.asyncDispose]()
    },
  }
}

async function served(t: Test, bucket: FolderBucket) {
  const http = await HttpServer.open({
    host: '127.0.0.1',
    port: 0,
    metrics: new Registry(),
    health: () => ({ ok: true, checks: {} }),
    routes: galleryRoutes(bucket, { publicRead: false, links: undefined }),
  })
  t.teardown(() => http[Symbol.asyncDispose]())
  const { page, complaints } = await openPage(t, browser, { width: 1280, height: 800 })
  return { http, page, complaints }
}

const crop = (page: Page, id: string) => page.locator(`a.crop[data-id="${id}"]`)

/** Looks further back, as long as the page offers it. */
async function walkTo(page: Page, id: string): Promise<void> {
  const more = page.locator('#more')
  for (let waitedMs = 0; waitedMs < 20_000; waitedMs += 100) {
    if ((await crop(page, id).count()) > 0) return
    // It may go between the look and the click: then all has come.
    if (await more.isVisible()) await more.click({ timeout: 1000 }).catch(() => {})
    await page.waitForTimeout(100)
  }
  throw new Error(`${id} is not reached`)
}

/** What an earlier version left: a head that lists 44,000 days, one a day, back from the end of time. */
function buried(writer: string, aliveAtMs: number) {
  return (folder: string) => {
    const days = Array.from({ length: DAYS }, (_, n) => dayOf(LAST_MS - n * DAY_MS))
    const day = { chunks: 1, entries: 1, last: 1, revision: 0 }
    const head = {
      v: 1,
      writer,
      run: 'x',
      aliveAtMs,
      heartbeatMs: 30_000,
      stopped: true,
      days: Object.fromEntries(days.map((name) => [name, day])),
      devices: ['home/pi'],
    }
    mkdirSync(join(folder, writer), { recursive: true })
    writeFileSync(join(folder, writer, 'head.json'), JSON.stringify(head))
    writeFileSync(join(folder, 'writers.json'), JSON.stringify({ v: 1, writers: [writer] }))
  }
}

t.test(
  '44,000 crops that say a day each until the year 9999 are today’s, and the head is small',
  async (t) => {
    await using here = await gallery(t)
    for (let n = 0; n < DAYS; n += 1) {
      const header = inboxHeader(cropMetadata({ capturedAtMs: LAST_MS - n * DAY_MS }), received())
      void here.index.add({ ...header, storedAtMs: Date.now() })
      if (n % 10_000 === 9999) await here.index.flush()
    }
    await here.index.flush()
    t.ok(Object.keys(here.head().days).length <= 2, 'today, or two where it was midnight')
    t.equal(
      Object.values(here.head().days).reduce((sum, { entries }) => sum + entries, 0),
      DAYS,
    )
    t.ok(here.headBytes() < 1000, `${here.headBytes()} bytes`)
    if (skipWithoutChromium) return
    const today = await here.add({ capturedAtMs: Date.now() })
    await here.index.flush()
    const { http, page } = await served(t, here.bucket)
    const startedMs = performance.now()
    await page.goto(http.url)
    await crop(page, today.id).waitFor({ timeout: SHOWN_MS_MAX })
    t.comment(`shown after ${Math.round(performance.now() - startedMs)} ms`)
  },
)

t.test('what an earlier version filed there leaves the head at the next start', async (t) => {
  await using here = await gallery(t, buried('one', Date.now() - 60_000))
  t.same(here.head().days, {})
  t.same(here.head().older, {})
  t.ok(here.headBytes() < 1000, `${here.headBytes()} bytes`)
})

t.test('a start under a clock that is behind loses no day that was listed', async (t) => {
  const nowMs = Date.now()
  const today = dayOf(nowMs)
  const day = { chunks: 1, entries: 1, last: 1, revision: 0 }
  const prepare = (folder: string) => {
    buried('one', nowMs)(folder)
    const path = join(folder, 'one/head.json')
    writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), days: { [today]: day } }))
  }
  const rightly = Date.now
  Date.now = () => rightly() - 40 * DAY_MS
  t.teardown(() => {
    Date.now = rightly
  })
  await using here = await gallery(t, prepare)
  t.same(here.head().days, {}, 'it is ahead, by this clock')
  Date.now = rightly
  await here.add({ capturedAtMs: noonMs })
  await here.index.flush()
  t.same(Object.keys(here.head().days), [dayOf(noonMs), today].sort())
})

t.test('days that the head has no room for are in files of their years, and are found there', async (t) => {
  const dayMs = (n: number) => noonMs - n * DAY_MS
  const ofDay = (n: number, device = 'porch') => {
    const metadata = cropMetadata({ device, capturedAtMs: dayMs(n) })
    return { ...inboxHeader(metadata, received(dayMs(n))), storedAtMs: dayMs(n) }
  }
  await using here = await gallery(t)
  const old = ofDay(800, 'gate')
  for (let n = 0; n < 800; n += 1) void here.index.add(ofDay(n))
  void here.index.add(old)
  await here.index.flush()
  const all = Array.from({ length: 801 }, (_, n) => dayOf(dayMs(n))).sort()
  t.same(Object.keys(here.head().days), all.slice(-100))
  t.ok(here.headBytes() < 10_000, `${here.headBytes()} bytes`)
  const years = Object.keys(here.head().older)
  t.same(years, [...new Set(all.slice(0, -100).map((day) => day.slice(0, 4)))])
  const older = years.flatMap((year) => Object.keys(here.json<Head>(`one/${year}.json`).days))
  t.same(older, all.slice(0, -100))

  const before = here.head().older
  void here.index.add(ofDay(0))
  await here.index.flush()
  t.same(here.head().older, before, 'they are not written again for what comes today')

  await using again = await IndexWriter.open({ bucket: here.bucket, writer: 'two', log })
  await again.flush()
  t.equal((await Array.fromAsync(readIndex(here.bucket, 'one', log))).length, 802)
  t.equal(await here.index.remove(({ id }) => id === old.id), 1)
  t.notOk(here.json<Head>(`one/${years[0]}.json`).days[dayOf(dayMs(800))])
  t.ok(
    (here.head().older[years[0] as string] as number) > (before[years[0] as string] as number),
    'pages are told',
  )
  await here.index.dropDays(dayMs(50))
  t.same(here.head().older, {})
  t.same(Object.keys(here.head().days).length, 51)
  t.same(await here.bucket.read(`gallery/index/one/${years[0]}.json`), undefined)
})

t.test('a restart knows the days of older years', async (t) => {
  const path = join(t.testdir(), 'crops')
  await using bucket = await FolderBucket.open({ path })
  const ofDay = (n: number) => {
    const atMs = noonMs - n * DAY_MS
    return { ...inboxHeader(cropMetadata({ capturedAtMs: atMs }), received(atMs)), storedAtMs: atMs }
  }
  {
    await using index = await IndexWriter.open({ bucket, writer: 'one', log })
    for (let n = 0; n < 300; n += 1) void index.add(ofDay(n))
  }
  const read = async () =>
    JSON.parse(Buffer.from((await bucket.read('gallery/index/one/head.json')) ?? []).toString()) as Head
  const before = await read()
  await using index = await IndexWriter.open({ bucket, writer: 'one', log })
  t.same((await read()).older, before.older, 'and writes their files no second time')
  t.equal(await index.remove(() => true), 300)
})

t.test('10,000 devices that somebody invents: the names are bounded, and the real one stays', async (t) => {
  await using here = await gallery(t)
  const long = 'x'.repeat(50)
  for (let n = 0; n < 10_000; n += 1) {
    const metadata = cropMetadata({ site: long, device: `${long}-${n}`, capturedAtMs: Date.now() })
    void here.index.add({ ...inboxHeader(metadata, received()), storedAtMs: Date.now() })
  }
  await here.index.flush()
  await here.add({ device: 'porch' })
  await here.index.flush()
  t.ok(here.headBytes() < HEAD_BYTES_MAX, `${here.headBytes()} bytes`)
  t.ok(here.head().devices.includes('home/porch'))
  await here.index.unlist('home/porch')
  t.notOk(here.head().devices.includes('home/porch'))
})

t.test('in the browser', { skip: skipWithoutChromium }, (t) => {
  t.test('the head of a subscriber that is gone, with 44,000 days to come, buries nobody', async (t) => {
    await using here = await gallery(t, buried('gone', Date.now() - 60_000))
    const today = await here.add({ capturedAtMs: Date.now() })
    await here.index.flush()
    const { http, page, complaints } = await served(t, here.bucket)
    const asked: string[] = []
    page.on('request', (request) => asked.push(new URL(request.url()).pathname))
    await page.goto(http.url)
    await crop(page, today.id).waitFor({ timeout: SHOWN_MS_MAX })
    t.same(
      asked.filter((path) => /gone\/\d/.test(path)),
      [],
    )
    t.ok((await page.locator('#day option').count()) <= 3)
    t.same(complaints, [])
  })

  t.test('a face of a camera whose clock is wrong stands at its receipt, and says so', async (t) => {
    await using here = await gallery(t)
    const wrong = await here.add({ capturedAtMs: Date.UTC(9999, 11, 31, 12) })
    const right = await here.add({ capturedAtMs: Date.now() - 60_000 })
    await here.index.flush()
    const { http, page } = await served(t, here.bucket)
    await page.goto(http.url)
    await crop(page, wrong.id).click()
    const viewer = page.locator('#viewer')
    await viewer.waitFor()
    t.match(await viewer.textContent(), /camera clock wrong: .*31 December 9999/)
    t.match(await viewer.textContent(), /Stored\d+ ms after it was received/)
    t.match(await viewer.textContent(), new RegExp(String(new Date().getUTCFullYear())))
    await page.keyboard.press('ArrowRight')
    t.match(page.url(), right.id)
    t.notMatch(await viewer.textContent(), 'clock')
  })

  t.test('older days come when they are walked to, chosen, or in the address', async (t) => {
    await using here = await gallery(t)
    const days = [0, ...Array.from({ length: 120 }, (_, n) => 300 + n), 800]
    const added = []
    for (const n of days)
      added.push(await here.add({ capturedAtMs: noonMs - n * DAY_MS }, noonMs - n * DAY_MS))
    await here.index.flush()
    const oldest = added.at(-1) as (typeof added)[0]
    const oldDay = dayOf(oldest.filedAtMs)
    t.ok(here.head().older[oldDay.slice(0, 4)], 'the oldest is in a file of its year')
    const { http, page, complaints } = await served(t, here.bucket)
    const asked: string[] = []
    page.on('request', (request) => asked.push(new URL(request.url()).pathname))
    await page.goto(http.url)
    await crop(page, added[0]?.id as string).waitFor()
    t.same(
      asked.filter((path) => /\/\d{4}\.json/.test(path)),
      [],
      'no older year is read before somebody wants it',
    )
    // Walked to.
    await walkTo(page, oldest.id)
    await page.getByText('No more faces.').waitFor()
    // In the address.
    const second = await served(t, here.bucket)
    await second.page.goto(`${http.url}/gallery/#day=${oldDay}`)
    await crop(second.page, oldest.id).waitFor()
    t.equal(await second.page.locator('a.crop').count(), 1)
    // Chosen.
    const third = await served(t, here.bucket)
    await third.page.goto(http.url)
    await crop(third.page, added[0]?.id as string).waitFor()
    const choose = third.page.locator('#day')
    const option = (value: string) => choose.locator(`option[value="${value}"]`).count()
    for (let waitedMs = 0; waitedMs < 20_000 && !(await option(oldDay)); waitedMs += 200) {
      if (await option('older')) await choose.selectOption('older', { timeout: 1000 }).catch(() => {})
      await third.page.waitForTimeout(200)
    }
    await choose.selectOption(oldDay)
    await crop(third.page, oldest.id).waitFor()
    t.same([...complaints, ...second.complaints, ...third.complaints], [])
  })

  t.test('a face under a flood of another device on the same day is found by its device', async (t) => {
    await using here = await gallery(t)
    const face = await here.add({ device: 'porch', capturedAtMs: noonMs })
    await here.index.flush()
    for (let n = 0; n < 55_000; n += 1) {
      const metadata = cropMetadata({ device: 'flood', capturedAtMs: noonMs + 1 + n })
      void here.index.add({ ...inboxHeader(metadata, received(noonMs)), storedAtMs: Date.now() })
      if (n % 15_000 === 14_999) await here.index.flush()
    }
    await here.index.flush()
    t.ok(here.headBytes() < 1000)
    const { http, page, complaints } = await served(t, here.bucket)
    await page.goto(`${http.url}/gallery/#device=home%2Fporch`)
    await walkTo(page, face.id)
    t.same(complaints, [])
  })
  t.end()
})

t.test('an entry’s key is where the page finds it, whatever its camera says', (t) => {
  const crop = cropMetadata({ capturedAtMs: 0 })
  const header = inboxHeader(crop, received(noonMs))
  t.equal(header.key, objectKey(crop, noonMs))
  t.end()
})

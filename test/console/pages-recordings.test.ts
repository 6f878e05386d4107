import { writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import type { Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { SigningSeal } from '../../device/link/sign.ts'
import { usersText } from '../../lib/access/users-file.ts'
import { openLog } from '../../lib/log.ts'
import { makeAuthority, makeSignerCertificate } from '../../lib/tls/authority.ts'
import { CLIP } from '../../wire/kinds.ts'
import { objectKey } from '../../wire/object-key.ts'
import { openPage, sharedChromium, skipWithoutChromium } from '../kit/chromium.ts'
import { cheapHash } from '../kit/passwords.ts'
import { temporaryFolder } from '../kit/programs.ts'
import { until } from '../kit/wait.ts'
import { cameraSeen, NORTH, PASSWORD, SOUTH, stateOf } from './api-server.ts'
import { type PagesServer, pagesServer } from './pages-server.ts'

/** Recordings in a real browser: chunks of a real encoder, played through the console's own API. */

const DESKTOP = { width: 1280, height: 800 }
const PHONE = { width: 390, height: 844, phone: true, dark: true }
const SECOND_MS = 1000
const skip = skipWithoutChromium
const GATE = 'north/pi/gate'

/** What is read of the page, in it. */
declare const document: {
  querySelectorAll(selector: 'video'): ArrayLike<{
    readonly hidden: boolean
    readonly paused: boolean
    readonly seeking: boolean
    readonly readyState: number
  }>
}

const browserOf = sharedChromium(t)

/** Yesterday at noon: not at the edge of a day, nor of now. */
const noon = () => new Date(new Date().setUTCHours(12, 0, 0, 0) - 86_400_000).getTime()
const addressOf = (cameras: string, atMs?: number) =>
  `/recordings?camera=${encodeURIComponent(cameras)}${atMs === undefined ? '' : `&at=${atMs}`}`

async function opened(t: Test, server: PagesServer, address: string, user = 'ada', size = DESKTOP) {
  const watched = await openPage(t, await browserOf(), size)
  await server.signIn(watched.page, user, address)
  await watched.page.waitForSelector('.timeline-recorded')
  return watched
}

const isShown = (page: Page, index = 0) =>
  page.waitForFunction(
    (at) => {
      const video = document.querySelectorAll('video')[at]
      return video !== undefined && !video.hidden && video.readyState >= 2 && !video.seeking
    },
    index,
    { polling: 10 },
  )

const clockOf = (page: Page) => page.locator('.recording-clock').textContent()
const timeText = (atMs: number) => new Date(atMs).toISOString().slice(11, 19)

t.test('a recording plays from any point within a second, and shows that point', { skip }, async (t) => {
  const server = await pagesServer(t)
  const startMs = noon()
  await server.recorded({ ...NORTH, startMs, chunks: 24 })
  const { page, complaints, foreign } = await opened(t, server, addressOf(GATE, startMs))
  await isShown(page)
  const points = [51_300, 8400, 66_700, 30_100]
  for (const offsetMs of points) {
    const began = performance.now()
    // As a person who clicks there.
    await page.fill('.recording-goto input', timeText(startMs + offsetMs))
    await page.press('.recording-goto input', 'Enter')
    await isShown(page)
    const tookMs = performance.now() - began
    t.comment(`${offsetMs / 1000} s into it: shown after ${Math.round(tookMs)} ms`)
    t.ok(tookMs < SECOND_MS, 'within a second')
    t.equal(await clockOf(page), timeText(startMs + offsetMs))
    const seconds = Number(await page.evaluate(`document.querySelector('video').currentTime`))
    t.ok(Math.abs(seconds - Math.floor(offsetMs / 1000)) < 1, `the video stands there: ${seconds}`)
  }
  await page.keyboard.press(' ')
  await page.waitForFunction(() => document.querySelectorAll('video')[0]?.paused === false)
  const before = await clockOf(page)
  await page.waitForSelector(`.recording-clock:not(:text("${before}"))`)
  t.strictSame(complaints, [], 'nothing is refused by the policy of the page')
  t.strictSame(foreign, [])
})

t.test('a gap is said with its reason and its ends, and playing goes on behind it', { skip }, async (t) => {
  const server = await pagesServer(t)
  const startMs = noon()
  const gap = { before: 2, ms: 90_000, why: 'camera down' } as const
  await server.recorded({ ...NORTH, startMs, chunks: 5, gap })
  const { page } = await opened(t, server, addressOf(GATE, startMs + 30_000))
  const [from, to] = [startMs + 6000, startMs + 96_000]
  await page.waitForSelector(
    `.screen-said:text-matches("^No recording: camera down from ${timeText(from)} to ${timeText(to)}$")`,
  )
  t.equal(await page.locator('video').isVisible(), false, 'no picture of another time')
  await page.locator('.timeline').focus()
  t.match(
    await page.getAttribute('.timeline', 'aria-valuetext'),
    /No recording: camera down from 12:00:06 to 12:01:36/,
    'and to who does not see it',
  )
  await page.keyboard.press(' ')
  await page.waitForSelector('.said-text:text("12:01:36")')
  await isShown(page)
  t.ok(((await clockOf(page)) ?? '') >= timeText(to))
})

t.test('several cameras play in step; one that has nothing then says so', { skip }, async (t) => {
  const server = await pagesServer(t)
  const startMs = noon()
  await server.recorded({ ...NORTH, startMs, chunks: 8 })
  const gap = { before: 2, ms: 6000, why: 'no faces' } as const
  await server.recorded({ ...SOUTH, startMs, chunks: 6, gap })
  const { page } = await opened(t, server, addressOf(`${GATE},south/pi/door`, startMs + 1000))
  await isShown(page)
  await isShown(page, 1)
  await page.keyboard.press(' ')
  await page.waitForSelector('.screen-said:text("No recording: nobody was seen from 12:00:06 to 12:00:12")', {
    timeout: 15_000,
  })
  t.equal(await page.evaluate(`document.querySelector('video').paused`), false, 'the other goes on')
  await isShown(page, 1)
  await page.waitForTimeout(1500)
  const [one = 0, two = 0] = (await page.evaluate(
    `[...document.querySelectorAll('video')].map(({ currentTime }) => currentTime)`,
  )) as number[]
  // The second has six seconds less before this moment.
  const apart = Math.abs(one - (two + 6))
  t.ok(apart < 0.5, `${apart.toFixed(2)} s apart`)
})

t.test('the next face by key, and from a face to its moment', { skip }, async (t) => {
  const server = await pagesServer(t)
  const startMs = noon()
  await server.recorded({ ...NORTH, startMs, chunks: 10 })
  const faces = []
  for (const offsetMs of [5000, 17_000, 24_000])
    faces.push(...(await server.seen(1, { ...NORTH, capturedAtMs: startMs + offsetMs })))
  const { page } = await opened(t, server, addressOf(GATE, startMs + 1000))
  await page.waitForSelector('.timeline-face')
  const clockIs = (offsetMs: number) =>
    page.waitForSelector(`.recording-clock:text("${timeText(startMs + offsetMs)}")`)
  await page.keyboard.press('f')
  await clockIs(5000)
  await page.keyboard.press('f')
  await clockIs(17_000)
  await page.keyboard.press('F')
  await clockIs(5000)
  await page.goto(`${server.url}/faces/${faces[1]?.id}`)
  await page.getByRole('link', { name: 'Watch the moment' }).click()
  await page.waitForSelector('.timeline-recorded')
  await isShown(page)
  await clockIs(17_000)
})

t.test('the keys and the pointer: seconds, minutes, in and out, scrubbing', { skip }, async (t) => {
  const server = await pagesServer(t)
  const startMs = noon()
  await server.recorded({ ...NORTH, startMs, chunks: 24 })
  const { page } = await opened(t, server, addressOf(GATE, startMs + 10_000))
  const clockIs = (offsetMs: number) =>
    page.waitForSelector(`.recording-clock:text("${timeText(startMs + offsetMs)}")`)
  await page.keyboard.press('ArrowRight')
  await clockIs(11_000)
  await page.keyboard.press('i')
  await page.keyboard.press('Shift+ArrowRight')
  await clockIs(71_000)
  await page.keyboard.press('ArrowLeft')
  await page.keyboard.press('o')
  await page.waitForSelector('.stretch :text("12:00:11 – 12:01:10")')
  await page.keyboard.press('g')
  t.equal(await page.evaluate(`document.activeElement.getAttribute('type')`), 'time')
  await page.keyboard.press('Tab')
  const box = await page.locator('.timeline').boundingBox()
  if (!box) throw new Error('no timeline')
  // Ten minutes are seen, the moment that was asked for in their middle.
  const x = (offsetMs: number) => box.x + box.width * (0.5 + (offsetMs - 10_000) / 600_000)
  await page.mouse.move(x(20_000), box.y + 60)
  await page.mouse.down()
  await page.mouse.move(x(50_000), box.y + 60, { steps: 6 })
  await page.mouse.up()
  await page.waitForSelector(
    `.recording-clock:text-matches("${[49, 50, 51].map((at) => timeText(startMs + at * 1000)).join('|')}")`,
  )
  await isShown(page)
  await page.mouse.wheel(0, -600)
  await page.waitForSelector('.timeline-tick :text-matches("^\\\\d\\\\d:\\\\d\\\\d:\\\\d\\\\d$")', {
    state: 'attached',
  })
})

t.test('a stretch is exported as one file, kept and shared', { skip }, async (t) => {
  const server = await pagesServer(t)
  const startMs = noon()
  await server.recorded({ ...NORTH, startMs, chunks: 6 })
  const { page, complaints } = await opened(t, server, addressOf(GATE, startMs + 4000))
  await page.keyboard.press('i')
  await page.keyboard.press('ArrowRight')
  await page.keyboard.press('ArrowRight')
  await page.keyboard.press('o')
  const [download] = await Promise.all([
    page.waitForEvent('download'),
    page.getByRole('button', { name: 'Export as MP4' }).click(),
  ])
  t.match(download.suggestedFilename(), /^north_pi_gate_.*T12-00-03Z\.mp4$/, 'whole chunks')
  const file = await readFile(await download.path())
  t.equal(file.toString('latin1', 4, 8), 'ftyp')
  t.ok(file.length > 2000, `${file.length} bytes`)
  await page.getByRole('button', { name: 'Keep', exact: true }).click()
  await page.waitForSelector('.said-text:text("Kept")')
  t.match(server.api.line.kept, [
    { wanted: { camera: 'gate', keep: true, fromMs: startMs + 4000, toMs: startMs + 6000, by: 'ada' } },
  ])
  await page.getByRole('button', { name: 'Share', exact: true }).click()
  await page.fill('dialog input[required]', 'At the gate')
  await page.getByRole('button', { name: 'Make the link' }).click()
  const address = await page.locator('dialog input[readonly]').inputValue()
  const stranger = await openPage(t, await browserOf(), PHONE)
  await stranger.page.goto(address)
  await stranger.page.waitForSelector('h1:text("At the gate")')
  await stranger.page.waitForFunction(() => (document.querySelectorAll('video')[0]?.readyState ?? 0) >= 1)
  t.strictSame(complaints, [])
})

t.test('signed by whom, the chain whole or broken, and verified by reading it', { skip }, async (t) => {
  const folder = temporaryFolder(t)
  // What was signed yesterday was signed by a certificate that was valid then.
  const nowMs = Date.now() - 10 * 86_400_000
  await makeAuthority(folder, 'Test', { days: 100, nowMs })
  const signer = await makeSignerCertificate(folder, { site: 'north', device: 'pi' }, { days: 30, nowMs })
  const log = openLog('test', 'silent')
  using seal = SigningSeal.open(
    { keyFile: signer.key, certFile: signer.cert, folder: temporaryFolder(t) },
    NORTH,
    log,
  )
  const server = await pagesServer(t, [], { recordings: { signersFolder: folder } })
  const startMs = noon()
  const clips = await server.recorded({ ...NORTH, startMs, chunks: 6 }, seal)
  const { page } = await opened(t, server, addressOf(GATE, startMs + 500))
  const mark = async () => {
    await page.keyboard.press('i')
    for (let times = 0; times < 16; times += 1) await page.keyboard.press('ArrowRight')
    await page.keyboard.press('o')
  }
  await mark()
  await page.waitForSelector('.signatures :text("The chain is whole")')
  await page.waitForSelector('.signatures :text("Signed by north/pi")')
  await page.getByRole('button', { name: 'Read and verify' }).click()
  await page.waitForSelector('.signatures-right >> text=each is as its device signed it')
  const [, , third] = clips
  if (!third) throw new Error('too few chunks')
  const key = objectKey(third, third.capturedAtMs, CLIP)
  await server.api.database.apply([{ v: 1, is: 'removed', id: third.id, key, why: 'forgotten' }], 'cloud')
  await page.goto(server.url + addressOf(GATE, startMs + 500))
  await page.waitForSelector('.timeline-recorded')
  await mark()
  await page.waitForSelector('.signatures [data-tone=bad]:text("The chain is broken at 12:00:09")')
})

t.test('who may not see recordings is offered none', { skip }, async (t) => {
  const server = await pagesServer(t)
  await server.recorded({ ...NORTH, startMs: noon(), chunks: 2 })
  const { page } = await openPage(t, await browserOf(), DESKTOP)
  await server.signIn(page, 'vera')
  await page.waitForSelector('nav[aria-label=Pages]')
  const menu = await page.locator('nav[aria-label=Pages] a').allTextContents()
  t.notOk(menu.includes('Recordings') || menu.includes('Streams'), menu.join())
  await page.goto(server.url + addressOf(GATE))
  await page.waitForSelector('#main h1')
  await page.waitForSelector('.empty-title:text("You may not see recordings.")')
  t.equal(await page.locator('video, .timeline').count(), 0)
  await page.goto(`${server.url}/cameras/${GATE}`)
  await page.waitForSelector('.camera')
  t.equal(await page.getByRole('link', { name: 'Recordings' }).count(), 0)
})

t.test('nothing is recorded yet: what to do is said; markup in names is text', { skip }, async (t) => {
  const server = await pagesServer(t)
  const { page, complaints } = await openPage(t, await browserOf(), PHONE)
  await server.signIn(page, 'ada', '/recordings')
  await page.waitForSelector('.empty-title:text("No recordings yet.")')
  const markup = '<img src=x onerror="document.title=1">'
  server.api.fleet.cameras = [
    {
      ...cameraSeen(NORTH, 'waiting'),
      state: stateOf(NORTH, {
        state: 'waiting',
        record: { mode: 'always', recording: false, why: markup, clips: 0, bytes: 0 },
        stream: {
          owner: markup,
          active: true,
          takeOver: false,
          lastUsedMs: Date.now(),
          from: markup,
          live: {
            sinceMs: Date.now(),
            by: 'rtmp',
            bitsPerSecond: 1_200_000,
            codec: markup,
            audio: null,
            frame: [1280, 720],
          },
        },
      }),
    },
  ]
  await page.goto(`${server.url}/streams`)
  await page.waitForSelector(`.stream >> text=${markup}`)
  await page.goto(`${server.url}/cameras/${GATE}`)
  await page.waitForSelector(`.camera >> text=${markup}`)
  await page.goto(server.url + addressOf(`north/pi/${markup}`))
  await page.waitForSelector('.empty-title')
  t.equal(await page.locator('img[src=x]').count(), 0)
  t.strictSame(complaints, [])
})

t.test('a stream is added: its key is shown once, and taken away again', { skip }, async (t) => {
  const server = await pagesServer(t)
  const { page, complaints } = await openPage(t, await browserOf(), DESKTOP)
  await server.signIn(page, 'anna', '/streams')
  await page.waitForSelector('.empty-title:text("No streams yet.")')
  await page.getByRole('button', { name: 'Add a stream' }).click()
  await page.selectOption('dialog select', 'north/pi')
  await page.fill('dialog input[required]', 'phone')
  await page.getByRole('button', { name: 'Make the key' }).click()
  const key = await page.locator('dialog .secret input').first().inputValue()
  t.match(key, /^[A-Za-z0-9_-]{22}$/)
  t.equal(await page.getByLabel('Stream Key').inputValue(), key)
  await page.getByRole('button', { name: 'FFmpeg' }).click()
  t.match(await page.getByLabel('Command').inputValue(), new RegExp(`rtmp://127.0.0.1/live/${key}$`))
  await page.getByRole('button', { name: 'I have saved it' }).click()
  t.equal(await page.locator('dialog').count(), 0)
  t.notMatch(await page.content(), key, 'it is nowhere on the page')
  t.strictSame(complaints, [])
})

t.test('whose right is taken back while the page is open sees no more, and is told', { skip }, async (t) => {
  const server = await pagesServer(t)
  const startMs = noon()
  const laterMs = startMs + 40 * 60_000
  await server.recorded({ ...NORTH, startMs, chunks: 3 })
  await server.recorded({ ...NORTH, startMs: laterMs, chunks: 3 })
  const { page } = await opened(t, server, addressOf(GATE, startMs + 500))
  await isShown(page)
  const { usersFile = '' } = server.api.context.config.access
  writeFileSync(usersFile, usersText([{ name: 'ada', role: 'viewer', password: cheapHash(PASSWORD) }]))
  await until('it is taken back', async () => (await server.api.get('/recordings')).status === 403)
  // Farther than the playlist reaches that is open.
  await page.fill('.recording-goto input', timeText(laterMs + 1000))
  await page.press('.recording-goto input', 'Enter')
  await page.waitForSelector('.recording-failed :text("You may not see this recording.")')
  t.equal(await page.locator('video').isVisible(), false, 'no picture stays')
})

import { randomFillSync } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Page } from 'playwright-core'
import { Registry } from 'prom-client'
import sharp from 'sharp'
import t, { type Test } from 'tap'
import type { Frame } from '../../device/frame.ts'
import { PREVIEW_FACES_MAX } from '../../device/limits.ts'
import { openMeters } from '../../device/meters.ts'
import { Effects } from '../../device/view/effects.ts'
import { placeLabels } from '../../device/view/page/labels.js'
import { Preview, type PreviewOptions } from '../../device/view/preview.ts'
import type { SeenFace } from '../../device/view/watcher.ts'
import { HttpServer } from '../../lib/http/server.ts'
import { openLog } from '../../lib/log.ts'
import { openChromium, openPage, skipWithoutChromium } from '../kit/chromium.ts'
import { cheapHash } from '../kit/passwords.ts'
import { until } from '../kit/wait.ts'

/** A frame of noise: its JPEG is as large as one can be, 1 MB here. */
const WIDTH = 1280
const HEIGHT = 720
const noise = randomFillSync(new Uint8Array(WIDTH * HEIGHT * 3))
const black = new Uint8Array(WIDTH * HEIGHT * 3)

const frameOf = (pixels: Uint8Array): Frame => ({
  sequence: 0,
  capturedAtMs: 0,
  atMs: 0,
  width: WIDTH,
  height: HEIGHT,
  scaled: { data: new Uint8Array(3), width: 1, height: 1 },
  cut: async () => pixels,
  [Symbol.dispose]() {},
})

const log = openLog('test', 'silent')

async function open(t: Test, options: Partial<PreviewOptions> = {}, http: { usersFile?: string } = {}) {
  const registry = new Registry()
  const meters = openMeters(registry)
  const looks = new Map([['card', { state: 'up', paused: false }]])
  const preview = new Preview({
    cameras: ['card', 'gone'],
    title: 'lab / bench1',
    rateMax: 1000,
    viewersMax: 8,
    look: (camera) => looks.get(camera) ?? { state: 'down: it is switched off', paused: false },
    effects: new Effects(() => 'none'),
    meters,
    log,
    ...options,
  })
  const server = await HttpServer.open({
    host: '127.0.0.1',
    port: 0,
    log,
    metrics: registry,
    health: () => ({ ok: true, checks: {} }),
    routes: (app) => preview.routes(app),
    ...http,
  })
  t.teardown(async () => {
    preview[Symbol.dispose]()
    await server[Symbol.asyncDispose]()
  })
  /** As the pipeline does at each frame. @returns whether a picture was wanted */
  const show = async (pixels = noise, faces: readonly SeenFace[] = []) => {
    if (!preview.wants('card')) return false
    await preview.see('card', frameOf(pixels), faces)
    return true
  }
  const made = async () =>
    (await registry.getSingleMetric('sightline_preview_pictures_total')?.get())?.values[0]?.value ?? 0
  return { preview, server, registry, looks, show, made }
}

/** A viewer on a socket of its own, which can stop reading. */
class Viewer {
  readonly socket: Socket
  bytes: Buffer = Buffer.alloc(0)
  closed = false

  constructor(t: Test, url: string, camera = 'card') {
    this.socket = connect(Number(new URL(url).port), '127.0.0.1')
    t.teardown(() => this.socket.destroy())
    this.socket.on('error', () => {})
    this.socket.on('close', () => {
      this.closed = true
    })
    this.socket.on('data', (data) => {
      this.bytes = Buffer.concat([this.bytes, data])
    })
    this.socket.write(`GET /preview/${camera}.mjpeg HTTP/1.0\r\nHost: x\r\n\r\n`)
  }

  get head(): string {
    return this.bytes.subarray(0, this.bytes.indexOf('\r\n\r\n')).toString()
  }

  /** The whole pictures that have come. */
  get pictures(): Buffer[] {
    const pictures: Buffer[] = []
    let from = this.bytes.indexOf('\r\n\r\n') + 4
    for (;;) {
      const length = /content-length: (\d+)\r\n\r\n/.exec(
        this.bytes.subarray(from, from + 100_000).toString('latin1'),
      )
      if (!length) return pictures
      const start = from + length.index + length[0].length
      const end = start + Number(length[1])
      if (end > this.bytes.length) return pictures
      pictures.push(this.bytes.subarray(start, end))
      from = end
    }
  }
}

/** What comes with each whole picture. */
const facesOf = (viewer: Viewer) =>
  [...viewer.bytes.toString('latin1').matchAll(/^x-sightline-faces: (.*)\r$/gm)].map(([, json]) =>
    JSON.parse(String(json)),
  )

const TRACK = '01890000-0000-7000-8000-00000000beef'

t.test('a picture is made only while somebody looks, as it is, with its faces beside it', async (t) => {
  const { preview, server, show, made } = await open(t)
  t.equal(await show(), false)
  t.equal(await made(), 0, 'nobody looks')
  const viewer = new Viewer(t, server.url)
  await until('a viewer', () => preview.viewers === 1)
  const faces = [
    { box: [640, 360, 320, 240], score: 0.8712, sure: true, track: TRACK },
    { box: [64, 72, 128, 100.5], score: 0.3, sure: false },
  ] as const
  t.equal(await show(black, faces), true)
  await until('the picture', () => viewer.pictures.length === 1)
  t.match(viewer.head, /200 OK/)
  t.match(viewer.head, /content-type: multipart\/x-mixed-replace; boundary=/)
  t.match(viewer.head, /cache-control: no-store/)
  t.match(viewer.head, /content-security-policy: default-src 'none'/)
  const [picture] = viewer.pictures as [Buffer]
  const { data, info } = await sharp(picture).raw().toBuffer({ resolveWithObject: true })
  t.match(info, { width: 960, height: 540, channels: 3 })
  t.ok(
    data.every((it) => it < 10),
    'nothing is drawn into it',
  )
  t.strictSame(facesOf(viewer), [
    [
      { box: [0.5, 0.5, 0.25, 0.3333], score: 0.87, sure: true, track: TRACK },
      { box: [0.05, 0.1, 0.1, 0.1396], score: 0.3, sure: false },
    ],
  ])
  viewer.socket.destroy()
  await until('nobody looks', () => preview.viewers === 0)
  t.equal(await show(), false)
  t.equal(await made(), 1)
})

t.test('what goes with a picture is bounded, however many faces there are', async (t) => {
  const { preview, server, show } = await open(t)
  const viewer = new Viewer(t, server.url)
  await until('a viewer', () => preview.viewers === 1)
  const face = { box: [1, 2, 3, 4], score: 0.5, sure: true, track: TRACK } as const
  await show(black, Array(5000).fill(face))
  await until('the picture', () => viewer.pictures.length === 1)
  t.equal(facesOf(viewer)[0].length, PREVIEW_FACES_MAX)
})

t.test('no label covers another, and each that has room is inside the picture', (t) => {
  let seed = 1
  const chance = () => {
    seed = (seed * 48_271) % 2_147_483_647
    return seed / 2_147_483_647
  }
  let shown = 0
  const wrong: string[] = []
  for (const area of [
    { width: 960, height: 540 },
    { width: 390, height: 219 },
  ])
    for (let round = 0; round < 200; round += 1) {
      const labels = Array.from({ length: 1 + Math.floor(chance() * 20) }, () => {
        const side = 12 + chance() * 120
        const [left, top] = [chance() * (area.width - side), chance() * (area.height - side)]
        return { box: [left, top, side, side], width: 90, height: 20 }
      })
      const places = placeLabels(labels, area)
      if (places.length !== labels.length || !places[0]) wrong.push('the first always finds a place')
      const rects = places.flatMap((it) => (it ? [{ ...it, width: 90, height: 20 }] : []))
      shown += rects.length / labels.length / 400
      for (const [index, a] of rects.entries()) {
        const isInside = a.left >= 0 && a.top >= 0 && a.left + 90 <= area.width && a.top + 20 <= area.height
        if (!isInside) wrong.push(`outside: ${JSON.stringify(a)}`)
        for (const b of rects.slice(index + 1))
          if (Math.abs(a.left - b.left) < 90 && Math.abs(a.top - b.top) < 20)
            wrong.push(`one over the other: ${JSON.stringify([a, b])}`)
      }
    }
  t.strictSame(wrong.slice(0, 5), [])
  t.ok(shown > 0.8, `${(shown * 100).toFixed(0)} % find a place, in a crowd too`)
  const beside = placeLabels([{ box: [0, 0, 960, 540], width: 90, height: 20 }], { width: 960, height: 540 })
  t.ok(beside[0], 'a face that fills the picture has its label inside')
  t.end()
})

t.test('a slow viewer loses pictures while a quick one gets all, and little waits for it', async (t) => {
  const { preview, server, show, made } = await open(t)
  const slow = new Viewer(t, server.url)
  slow.socket.pause()
  const quick = new Viewer(t, server.url)
  await until('two viewers', () => preview.viewers === 2)
  const count = 60
  let bytesMax = 0
  for (let shown = 0; shown < count; ) {
    if (await show()) {
      shown += 1
      await until('the quick one has it', () => quick.pictures.length === shown)
    } else await sleep(2)
    bytesMax = Math.max(bytesMax, preview.queuedBytes)
  }
  t.equal(quick.pictures.length, count)
  t.equal(await made(), count)
  const size = quick.pictures[0]?.length as number
  t.ok(size > 200_000, `pictures of ${size} bytes`)
  t.ok(bytesMax < 2.2 * size, `at most one picture a viewer waits: ${bytesMax} bytes of ${count * size}`)
  slow.socket.resume()
  await until('what was on its way', () => preview.queuedBytes === 0)
  // What lies in the sockets' own buffers comes yet.
  let seen = -1
  await until('nothing more comes', async () => {
    if (seen === slow.pictures.length) return true
    seen = slow.pictures.length
    await sleep(300)
    return false
  })
  const got = slow.pictures.length
  t.ok(got > 0 && got < count / 2, `the slow one has ${got} of ${count}`)
  await until('a picture is wanted', show)
  await until('it goes on', () => slow.pictures.length > got)
})

t.test('no more pictures a second than rateMax', async (t) => {
  const { preview, server, show, made } = await open(t, { rateMax: 10 })
  const viewer = new Viewer(t, server.url)
  await until('a viewer', () => preview.viewers === 1)
  const end = performance.now() + 1500
  while (performance.now() < end) {
    await show(black)
    await sleep(5)
  }
  const pictures = await made()
  t.ok(pictures >= 8 && pictures <= 17, `${pictures} in 1.5 s`)
  await until('all have come', () => viewer.pictures.length === pictures)
})

t.test(
  'a viewer who takes nothing is let go of, and one without news gets the last picture again',
  async (t) => {
    const { preview, server, show } = await open(t, { stalledMsMax: 1500, repeatMs: 200 })
    const stalled = new Viewer(t, server.url)
    stalled.socket.pause()
    const quiet = new Viewer(t, server.url)
    const other = new Viewer(t, server.url, 'gone')
    await until('viewers', () => preview.viewers === 3)
    await until('one takes nothing', async () => {
      await show()
      return preview.queuedBytes > 0
    })
    await until('the one of a camera without pictures is gone', () => other.closed)
    await until('so is the stalled one', () => preview.viewers === 1, 5000)
    const before = quiet.pictures.length
    await until('the last picture again', () => quiet.pictures.length >= before + 2)
    t.notOk(quiet.closed)
  },
)

t.test('viewers beyond viewersMax are told to come later', async (t) => {
  const { preview, server } = await open(t, { viewersMax: 2 })
  const first = new Viewer(t, server.url)
  new Viewer(t, server.url, 'gone')
  await until('two', () => preview.viewers === 2)
  const answer = await fetch(`${server.url}/preview/card.mjpeg`)
  t.equal(answer.status, 503)
  t.match(await answer.text(), /preview\.viewersMax/)
  first.socket.destroy()
  await until('one', () => preview.viewers === 1)
  new Viewer(t, server.url)
  await until('two again', () => preview.viewers === 2)
})

t.test('nothing of a paused camera is shown, the last picture neither', async (t) => {
  const { preview, server, looks, show } = await open(t, { repeatMs: 100 })
  const viewer = new Viewer(t, server.url)
  await until('a viewer', () => preview.viewers === 1)
  await show(black)
  await until('a picture', () => viewer.pictures.length > 0)
  looks.set('card', { state: 'up', paused: true })
  await show(black)
  await sleep(250)
  const before = viewer.pictures.length
  const late = new Viewer(t, server.url)
  await sleep(400)
  t.equal(viewer.pictures.length, before)
  t.equal(late.pictures.length, 0)
})

t.test('the page, its state, and nothing else', async (t) => {
  const { server } = await open(t)
  for (const path of ['', '/'])
    t.equal(new URL((await fetch(`${server.url}${path}`)).url).pathname, '/preview', 'the way to it')
  const page = await fetch(`${server.url}/preview/`)
  t.equal(new URL(page.url).pathname, '/preview')
  t.match(page.headers.get('content-security-policy'), "script-src 'self'")
  const html = await page.text()
  t.notMatch(html, /<script(?![^>]*\bsrc=)|<style|\son\w+=|style=/, 'nothing inline')
  const addresses = [...html.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, address]) => address)
  t.ok(addresses.length >= 2, `the page names ${addresses.join(' ')}`)
  for (const address of addresses)
    t.equal((await fetch(new URL(String(address), page.url))).status, 200, String(address))
  t.strictSame(await (await fetch(`${server.url}/preview/state.json`)).json(), {
    title: 'lab / bench1',
    cameras: [
      {
        name: 'card',
        state: 'up',
        why: null,
        paused: false,
        effect: 'none',
        hidden: null,
        zones: [],
        faces: null,
      },
      {
        name: 'gone',
        state: 'down',
        why: 'it is switched off',
        paused: false,
        effect: 'none',
        hidden: null,
        zones: [],
        faces: null,
      },
    ],
  })
  for (const path of ['other.mjpeg', 'card', '.mjpeg', 'constructor.mjpeg', '%2e%2e/main.ts', 'card.mjpeg/x'])
    t.equal((await fetch(`${server.url}/preview/${path}`)).status, 404, path)
})

t.test('behind the same users as everything else', async (t) => {
  const usersFile = join(t.testdir(), 'users.yaml')
  writeFileSync(
    usersFile,
    `users:\n- {name: eye, role: viewer, password: "${cheapHash('looking')}"}\n- {name: ha, role: operator, sites: [home], password: "${cheapHash('looking')}"}\n`,
  )
  const { preview, server } = await open(t, {}, { usersFile })
  t.equal((await fetch(server.url)).status, 401)
  const paths = ['', '/state.json', '/preview.js', '/card.mjpeg']
  for (const path of paths) t.equal((await fetch(`${server.url}/preview${path}`)).status, 401, path)
  t.equal(preview.viewers, 0)
  const ask = (name: string, path: string) =>
    fetch(`${server.url}/preview${path}`, {
      headers: { authorization: `Basic ${Buffer.from(`${name}:looking`).toString('base64')}` },
    })
  t.equal((await ask('eye', '/state.json')).status, 200)
  t.equal((await ask('ha', '/state.json')).status, 403, 'who is confined to a site sees no page of all')
  const stream = await ask('eye', '/card.mjpeg')
  t.equal(stream.status, 200)
  await stream.body?.cancel()
  await t.rejects(open(t, {}, { host: '0.0.0.0' } as never), { code: 'CONFIG_UNSAFE_LISTENER' })
})

/** Faces that crowd, at the edges too; the last is doubtful. */
const FACES: readonly SeenFace[] = [
  [0, 0, 90, 90],
  [70, 20, 90, 90],
  [1190, 10, 90, 90],
  [600, 300, 120, 120],
  [640, 320, 120, 120],
  [680, 340, 120, 120],
  [610, 420, 120, 120],
  [1200, 640, 80, 80],
].map((box, index, all) => ({
  box: box as unknown as SeenFace['box'],
  score: 0.9 - index / 50,
  sure: index < all.length - 1,
  track: TRACK,
}))

interface Rect {
  readonly x: number
  readonly y: number
  readonly width: number
  readonly height: number
}

/** Large enough, inside the picture, none over another, and the boxes where the faces are. */
async function labelsAreReadable(t: Test, page: Page): Promise<void> {
  const rects = (selector: string) =>
    page.evaluate(
      `[...document.querySelectorAll(${JSON.stringify(selector)})].filter((it) => it.checkVisibility({ visibilityProperty: true })).map((it) => it.getBoundingClientRect().toJSON())`,
    ) as Promise<Rect[]>
  await page.waitForTimeout(300)
  const [picture] = (await rects('#stream')) as [Rect]
  const labels = await rects('.label')
  t.ok(labels.length >= 6, `${labels.length} of ${FACES.length} labels are shown`)
  t.ok(Math.abs(picture.width / picture.height - WIDTH / HEIGHT) < 0.02, 'the picture is not distorted')
  for (const [index, a] of labels.entries()) {
    t.ok(a.height >= 16, `${a.height} pixels high`)
    t.ok(
      a.x >= picture.x - 1 &&
        a.y >= picture.y - 1 &&
        a.x + a.width <= picture.x + picture.width + 1 &&
        a.y + a.height <= picture.y + picture.height + 1,
      'inside the picture',
    )
    for (const b of labels.slice(index + 1))
      t.notOk(
        a.x + a.width > b.x + 0.5 &&
          b.x + b.width > a.x + 0.5 &&
          a.y + a.height > b.y + 0.5 &&
          b.y + b.height > a.y + 0.5,
        `one label over another: ${JSON.stringify([a, b])}`,
      )
  }
  const boxes = await rects('.face')
  t.equal(boxes.length, FACES.length)
  for (const [index, box] of boxes.entries()) {
    const [left, top, width] = (FACES[index] as SeenFace).box
    const scale = picture.width / WIDTH
    for (const [is, should] of [
      [box.x - picture.x, left * scale],
      [box.y - picture.y, top * scale],
      [box.width, width * scale],
    ] as const)
      t.ok(Math.abs(is - should) < 2, `${is} is ${should}`)
  }
}

t.test(
  'in a browser: the picture, a camera that is down, a phone, dark and light',
  { skip: skipWithoutChromium },
  async (t) => {
    const { server, looks, show } = await open(t, { rateMax: 10 })
    const ticker = setInterval(() => void show(black, FACES), 50)
    t.teardown(() => clearInterval(ticker))
    const browser = await openChromium()
    t.teardown(() => browser.close())
    for (const options of [
      { width: 1280, height: 800 },
      { width: 390, height: 844, phone: true, dark: true },
    ]) {
      const { page, complaints, foreign } = await openPage(t, browser, options)
      await page.goto(server.url, { waitUntil: 'commit' })
      await page.getByText('card: live').waitFor()
      const picture = page.locator('#stream')
      await until('the picture', () =>
        picture.evaluate((it) => (it as unknown as { width: number }).width === 960),
      )
      await page.locator('#note').waitFor({ state: 'hidden' })
      t.match(await page.title(), 'card')
      t.match(await page.locator('#count').textContent(), `${FACES.length - 1} faces`)
      await labelsAreReadable(t, page)
      await page.setViewportSize({ width: options.width - 70, height: options.height })
      await labelsAreReadable(t, page)
      await page.setViewportSize(options)
      const width = await page.evaluate('document.documentElement.scrollWidth')
      t.ok((width as number) <= options.width, 'it does not scroll sideways')
      await page.getByRole('link', { name: 'gone' }).click()
      await page.getByText('it is switched off').waitFor()
      await page.getByRole('link', { name: 'card' }).click()
      await page.getByText('card: live').waitFor()
      looks.set('card', { state: 'up', paused: true })
      await page.getByText('publishes and shows nothing').waitFor()
      t.notOk(await picture.isVisible())
      t.equal(await page.locator('.label:visible, .face:visible').count(), 0, 'its boxes neither')
      looks.set('card', { state: 'up', paused: false })
      await page.locator('#note').waitFor({ state: 'hidden' })
      const link = page.getByRole('link', { name: 'card' })
      await link.focus()
      await page.waitForTimeout(2500)
      t.equal(await page.evaluate('document.activeElement.textContent'), 'card', 'the keyboard stays there')
      t.strictSame(complaints, [])
      t.strictSame(foreign, [])
      await page.close()
    }
  },
)

t.test('in a browser: an agent that is gone is said at once', { skip: skipWithoutChromium }, async (t) => {
  const { preview, server, show } = await open(t, { rateMax: 10 })
  const ticker = setInterval(() => void show(black), 50)
  t.teardown(() => clearInterval(ticker))
  const browser = await openChromium()
  t.teardown(() => browser.close())
  const { page } = await openPage(t, browser, { width: 800, height: 600 })
  await page.goto(server.url, { waitUntil: 'commit' })
  await page.locator('#note').waitFor({ state: 'hidden' })
  await until('a viewer', () => preview.viewers === 1)
  // Just after it was asked: the next time would come two seconds later.
  await page.waitForResponse(/state\.json/)
  const goneMs = performance.now()
  await server[Symbol.asyncDispose]()
  await page.locator('#state').getByText('The agent does not answer').waitFor({ timeout: 1500 })
  t.comment(`said after ${Math.round(performance.now() - goneMs)} ms`)
})

t.test(
  'in a browser: why there is no picture, in the words of the agent',
  { skip: skipWithoutChromium },
  async (t) => {
    const { preview, server, show } = await open(t, { viewersMax: 1 })
    const ticker = setInterval(() => void show(black), 50)
    t.teardown(() => clearInterval(ticker))
    const first = new Viewer(t, server.url)
    await until('a viewer', () => preview.viewers === 1)
    const browser = await openChromium()
    t.teardown(() => browser.close())
    const { page } = await openPage(t, browser, { width: 800, height: 600 })
    await page.goto(server.url, { waitUntil: 'commit' })
    await page.locator('#note-text').getByText('Viewer limit reached: 1 ').waitFor()
    first.socket.destroy()
    await page.locator('#note').waitFor({ state: 'hidden' })
  },
)

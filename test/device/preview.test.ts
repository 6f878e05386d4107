import { randomFillSync } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Registry } from 'prom-client'
import sharp from 'sharp'
import t, { type Test } from 'tap'
import type { Frame } from '../../device/frame.ts'
import { openMeters } from '../../device/meters.ts'
import { Preview, type PreviewOptions } from '../../device/preview.ts'
import type { SeenFace } from '../../device/watcher.ts'
import { HttpServer } from '../../lib/http.ts'
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
  const meters = openMeters(registry, () => ({ entries: 0, bytes: 0 }))
  const looks = new Map([['card', { state: 'up', paused: false }]])
  const preview = new Preview({
    cameras: ['card', 'gone'],
    title: 'lab / bench1',
    rateMax: 1000,
    viewersMax: 8,
    look: (camera) => looks.get(camera) ?? { state: 'down: it is switched off', paused: false },
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
        this.bytes.subarray(from, from + 200).toString('latin1'),
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

t.test('a picture is made only while somebody looks, with boxes drawn where the faces are', async (t) => {
  const { preview, server, show, made } = await open(t)
  t.equal(await show(), false)
  t.equal(await made(), 0, 'nobody looks')
  const viewer = new Viewer(t, server.url)
  await until('a viewer', () => preview.viewers === 1)
  const faces = [
    { box: [640, 360, 320, 240], score: 0.87, sure: true, track: '01890000-0000-7000-8000-00000000beef' },
    { box: [64, 64, 100, 100], score: 0.3, sure: false },
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
  const at = (x: number, y: number) => [...data.subarray((y * 960 + x) * 3, (y * 960 + x) * 3 + 3)]
  const bright = ([r = 0, g = 0, b = 0]: number[]) => r + g + b > 200
  t.ok(bright(at(480, 360)), 'the left side of the first face')
  t.ok(bright(at(600, 450)), 'its lower side')
  t.ok(bright(at(482, 262)), 'its label above it')
  t.notOk(bright(at(600, 360)), 'and nothing inside it')
  t.notOk(bright(at(900, 500)), 'or elsewhere')
  viewer.socket.destroy()
  await until('nobody looks', () => preview.viewers === 0)
  t.equal(await show(), false)
  t.equal(await made(), 1)
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
      { name: 'card', state: 'up', why: null, paused: false, faces: null },
      { name: 'gone', state: 'down', why: 'it is switched off', paused: false, faces: null },
    ],
  })
  for (const path of ['other.mjpeg', 'card', '.mjpeg', 'constructor.mjpeg', '%2e%2e/main.ts', 'card.mjpeg/x'])
    t.equal((await fetch(`${server.url}/preview/${path}`)).status, 404, path)
})

t.test('behind the same users as everything else', async (t) => {
  const usersFile = join(t.testdir(), 'users.yaml')
  writeFileSync(
    usersFile,
    `users:\n- {name: eye, role: viewer, password: "${cheapHash('looking')}"}\n- {name: ha, role: operator, password: "${cheapHash('looking')}"}\n`,
  )
  const { preview, server } = await open(t, {}, { usersFile })
  const paths = ['', '/state.json', '/preview.js', '/card.mjpeg']
  for (const path of paths) t.equal((await fetch(`${server.url}/preview${path}`)).status, 401, path)
  t.equal(preview.viewers, 0)
  const ask = (name: string, path: string) =>
    fetch(`${server.url}/preview${path}`, {
      headers: { authorization: `Basic ${Buffer.from(`${name}:looking`).toString('base64')}` },
    })
  t.equal((await ask('eye', '/state.json')).status, 200)
  t.equal((await ask('ha', '/state.json')).status, 403, 'who may command need not see')
  const stream = await ask('eye', '/card.mjpeg')
  t.equal(stream.status, 200)
  await stream.body?.cancel()
  await t.rejects(open(t, {}, { host: '0.0.0.0' } as never), { code: 'CONFIG_UNSAFE_LISTENER' })
})

t.test(
  'in a browser: the picture, a camera that is down, a phone, dark and light',
  { skip: skipWithoutChromium },
  async (t) => {
    const { server, looks, show } = await open(t, { rateMax: 10 })
    const ticker = setInterval(() => void show(black), 50)
    t.teardown(() => clearInterval(ticker))
    const browser = await openChromium()
    t.teardown(() => browser.close())
    for (const options of [
      { width: 1280, height: 800 },
      { width: 390, height: 844, phone: true, dark: true },
    ]) {
      const { page, complaints, foreign } = await openPage(t, browser, options)
      await page.goto(`${server.url}/preview`, { waitUntil: 'commit' })
      await page.getByText('card: live').waitFor()
      const picture = page.locator('#stream')
      await until('the picture', () =>
        picture.evaluate((it) => (it as unknown as { naturalWidth: number }).naturalWidth === 960),
      )
      await page.locator('#note').waitFor({ state: 'hidden' })
      const width = await page.evaluate('document.documentElement.scrollWidth')
      t.ok((width as number) <= options.width, 'it does not scroll sideways')
      await page.getByRole('link', { name: 'gone' }).click()
      await page.getByText('it is switched off').waitFor()
      await page.getByRole('link', { name: 'card' }).click()
      await page.getByText('card: live').waitFor()
      looks.set('card', { state: 'up', paused: true })
      await page.getByText('Nothing of this camera').waitFor()
      t.notOk(await picture.isVisible())
      looks.set('card', { state: 'up', paused: false })
      await page.locator('#note').waitFor({ state: 'hidden' })
      t.strictSame(complaints, [])
      t.strictSame(foreign, [])
      await page.close()
    }
  },
)

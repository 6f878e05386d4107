import t from 'tap'
import { newId } from '../../wire/id.ts'
import { keepPicture, openPage, sharedChromium, skipWithoutChromium } from '../kit/chromium.ts'
import { tinyJpeg } from '../kit/crops.ts'
import { until } from '../kit/wait.ts'
import { cameraSeen, NORTH, stateOf } from './api-server.ts'
import { answers, keepNotices, notice, reported } from './pages-held.ts'
import { pagesServer } from './pages-server.ts'

/** Faces with two shots and zones, cameras with who is present, and what of it stands on the overview. */

const DESKTOP = { width: 1280, height: 800 }
const PHONE = { width: 390, height: 844, phone: true, dark: true }
const skip = skipWithoutChromium

const browserOf = sharedChromium(t)

const ZONE = {
  name: 'porch',
  points: [
    [0.4, 0.2],
    [0.7, 0.2],
    [0.7, 0.9],
    [0.4, 0.9],
  ],
}
const withZones = () => {
  const { effective } = reported()
  const gate = { ...effective.cameras.gate, from: 'file' as const, source: 'file', zones: [ZONE] }
  return { ...effective, cameras: { gate } }
}

t.test('of a first picture and its best one, the best stands for both', { skip }, async (t) => {
  const server = await pagesServer(t)
  const { database, news } = server.api
  const track = newId()
  const [first] = await server.seen(1, { ...NORTH, track, shot: 'first', zones: ['porch'] })
  await answers(server.api, 'north/pi', { state: 'none', effective: withZones() })
  const { page, complaints } = await openPage(t, await browserOf(), DESKTOP)
  await server.signIn(page, 'ada', '/faces')
  await page.waitForSelector(`.face[data-id="${first?.id}"]`)
  await page.waitForSelector('.standing[data-is=following]')
  const [best] = await server.seen(1, { ...NORTH, track, shot: 'best', zones: ['porch'] })
  const detection = await database.detection(best?.id ?? '', { all: true })
  if (!detection) throw new Error('not stored')
  news.add({ is: 'detection', detection })
  await page.waitForSelector(`.face[data-id="${best?.id}"]`)
  await until('one stands for both', async () => (await page.locator('.face').count()) === 1)
  await page.goto(`${server.url}/faces/${first?.id}`)
  await page.waitForSelector('.note >> text=Its best picture')
  await page.waitForSelector('.zone-chips >> text=porch')
  await page.waitForSelector('.in-frame .zone-shapes >> text=porch')
  await page.getByRole('link', { name: 'Its best picture' }).click()
  await page.waitForURL(`**/faces/${best?.id}`)
  await page.waitForSelector('.one-picture')
  await keepPicture(page, 'face-zones-1280')
  t.strictSame(complaints, [])
})

t.test('a camera says who is present, by zone, and that its view is covered', { skip }, async (t) => {
  const server = await pagesServer(t)
  const { fleet, live } = server.api
  live.show({ bytes: tinyJpeg, capturedAtMs: Date.now(), receivedAtMs: Date.now() })
  fleet.cameras = [
    {
      ...cameraSeen(NORTH),
      state: stateOf(NORTH, {
        present: { faces: 3, zones: { porch: 2 } },
        view: { is: 'covered', sinceMs: Date.now() - 120_000 },
      }),
    },
  ]
  await answers(server.api, 'north/pi', { state: 'none', effective: withZones() })
  for (const size of [DESKTOP, PHONE]) {
    const { page, complaints } = await openPage(t, await browserOf(), size)
    await server.signIn(page, 'ada', '/cameras/north/pi/gate')
    await page.waitForSelector('.facts >> text=3 faces')
    await page.waitForSelector('.zone-chips >> text=porch: 2')
    await page.waitForSelector('.note >> text=/covered.*Since 2 minutes ago/')
    await page.waitForSelector('.zones-over >> text=porch')
    t.ok(await page.evaluate('document.documentElement.scrollWidth <= innerWidth'), 'nothing sticks out')
    await keepPicture(page, `camera-zones-${size.width}`)
    await page.getByRole('link', { name: 'Settings' }).click()
    await page.waitForURL('**/devices/north/pi')
    t.strictSame(complaints, [])
  }
})

t.test('the overview has what was noticed today', { skip }, async (t) => {
  const server = await pagesServer(t)
  const yesterday = notice({ title: 'Long ago', atMs: Date.now() - 2 * 86_400_000 })
  await keepNotices(server.api.database, notice({ atMs: Date.now() }), yesterday)
  const { page, complaints } = await openPage(t, await browserOf(), PHONE)
  await server.signIn(page, 'vera')
  await page.waitForSelector('.notice >> text=Somebody is at the gate')
  t.equal(await page.locator('.notice').count(), 1)
  t.ok(await page.evaluate('document.documentElement.scrollWidth <= innerWidth'), 'nothing sticks out')
  await keepPicture(page, 'overview-notices-390')
  t.strictSame(complaints, [])
})

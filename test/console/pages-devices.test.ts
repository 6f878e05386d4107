import type { Browser, Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { openChromium, openPage, skipWithoutChromium } from '../kit/chromium.ts'
import { tinyJpeg } from '../kit/crops.ts'
import { deviceDesired, HeldDevices, HeldRules, reported } from './pages-held.ts'
import { type PagesServer, pagesServer } from './pages-server.ts'

/** Devices in a real browser: what they shall be, what they are, and how it is changed. */

const DESKTOP = { width: 1280, height: 800 }
const PHONE = { width: 390, height: 844, phone: true, dark: true }
const skip = skipWithoutChromium

let opening: Promise<Browser> | undefined
const browserOf = () => {
  opening ??= openChromium()
  return opening
}
t.teardown(async () => (await opening)?.close())

async function started(t: Test): Promise<{ server: PagesServer; held: HeldDevices }> {
  const held = new HeldDevices()
  return { held, server: await pagesServer(t, [], {}, [held.resource, new HeldRules().resource]) }
}

const seen = async (page: Page, name: string) => {
  if (process.env.SIGHTLINE_TEST_PICTURES)
    await page.screenshot({ path: `${process.env.SIGHTLINE_TEST_PICTURES}/${name}.png`, fullPage: true })
}
const fits = (page: Page) => page.evaluate('document.documentElement.scrollWidth <= innerWidth')

const DIGEST = 'a'.repeat(64)

function refusing() {
  return deviceDesired({
    state: 'refused',
    revision: 3,
    document: {
      labels: ['entrance'],
      cameraLabels: {},
      content: {
        cameras: {
          gate: { scoreMin: 0.8 },
          yard: { source: 'rtsp://192.168.1.33/live', username: 'cam', password: '••••••••' },
        },
      },
    },
    desired: {
      version: 1_700_000_000_400,
      atMs: Date.now() - 30_000,
      by: 'ada',
      content: {
        cameras: {
          gate: { scoreMin: 0.8, emit: { first: true }, record: { mode: 'faces' } },
          yard: { source: 'rtsp://192.168.1.33/live', username: 'cam' },
        },
      },
      scenarios: [{ id: 'door', name: 'Visitors at the door' }],
    },
    reported: reported({
      state: 'refused',
      version: 1_700_000_000_400,
      applied: { version: 1_700_000_000_200, digest: DIGEST, atMs: Date.now() - 900_000 },
      refused: {
        code: 'SOURCE_UNREACHABLE',
        message: 'rtsp://192.168.1.33/live does not answer.',
        path: ['cameras', 'yard', 'source'],
      },
      opened: {
        gate: { picture: tinyJpeg.toString('base64'), frame: [1920, 1080] },
        yard: { error: { code: 'SOURCE_UNREACHABLE', message: 'It does not answer.' } },
      },
    }),
  })
}

t.test('devices say whether they are as they should be, and why they are not', { skip }, async (t) => {
  const { server, held } = await started(t)
  held.desired.set('north/pi', refusing())
  held.desired.set('south/pi', deviceDesired({ state: 'pending', reported: null, reportedAtMs: null }))
  for (const size of [DESKTOP, PHONE]) {
    const { page, complaints, foreign } = await openPage(t, await browserOf(), size)
    await held.list(page, server.api)
    await server.signIn(page, 'ada', '/devices')
    await page.waitForSelector('.device[data-state=refused] >> text=does not answer')
    await page.waitForSelector('.device >> text=Waits until it is back')
    t.ok(await fits(page), 'nothing sticks out')
    await seen(page, `devices-${size.width}`)
    await page.click('.device[data-state=refused]')
    await page.waitForSelector('.device-state >> text=/yard: source/')
    await page.waitForSelector('.device-settings tr[data-other] >> text=80 %')
    const rows = await page.locator('.device-settings tbody tr').allTextContents()
    t.ok(
      rows.some((row) => /A face counts from.*60 %.*80 %.*set here/.test(row)),
      rows.join('\n'),
    )
    t.ok(rows.some((row) => /First picture at once.*No.*Yes.*scenario Visitors/.test(row)))
    await page.waitForSelector('.device-opened img')
    await page.waitForSelector('#allows')
    t.ok(await fits(page), 'nothing sticks out')
    await seen(page, `device-${size.width}`)
    t.strictSame(complaints, [])
    t.strictSame(foreign, [])
  }
})

t.test('a setting is changed: the device is told, and its answer is seen', { skip }, async (t) => {
  const { server, held } = await started(t)
  held.desired.set('north/pi', deviceDesired())
  for (const size of [DESKTOP, PHONE]) {
    const { page, complaints } = await openPage(t, await browserOf(), size)
    await held.list(page, server.api)
    await server.signIn(page, 'ada', '/devices/north/pi')
    await page.getByRole('button', { name: 'Change' }).last().click()
    await page.getByLabel('First picture at once').selectOption('yes')
    await page.getByLabel('Smallest face').fill('64')
    await seen(page, `camera-form-${size.width}`)
    await page.getByRole('button', { name: 'Save, and tell the device' }).click()
    await page.waitForSelector('.tone:text("Waiting for its answer")')
    t.match(held.saved.at(-1), {
      device: 'north/pi',
      document: { content: { cameras: { gate: { emit: { first: true }, sizeMin: 64 } } } },
    })
    const now = held.desired.get('north/pi')
    if (!now?.reported) throw new Error('nothing was saved')
    held.desired.set('north/pi', { ...now, state: 'applied' })
    server.api.news.add({ is: 'device', site: 'north', device: 'pi' })
    await page.waitForSelector('.tone:text("Applied")')
    t.strictSame(complaints, [])
    held.desired.set('north/pi', deviceDesired())
  }
})

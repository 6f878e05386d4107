import type { Browser } from 'playwright-core'
import t from 'tap'
import { FAKE_CAMERA, openChromium, openPage, skipWithoutChromium } from '../kit/chromium.ts'
import { until } from '../kit/wait.ts'
import { openWhipDevice, publishFrom, relayed, statesOf, type WhipDevice } from '../kit/whip.ts'

const SMALL = { width: 400, height: 300 }

const framesMore = async (device: WhipDevice, camera: string, more: number, msMax = 15_000) => {
  const before = device.seen[camera]?.frames ?? 0
  await until(
    `${more} more frames of ${camera}`,
    () => (device.seen[camera]?.frames ?? 0) >= before + more,
    msMax,
  )
}

t.test('a browser publishes', { skip: skipWithoutChromium }, async (t) => {
  const browser: Browser = await openChromium(FAKE_CAMERA)
  t.teardown(() => browser.close())

  for (const codec of ['video/H264', 'video/VP8'] as const)
    t.test(`its pictures are at the camera: ${codec}`, async (t) => {
      const device = await openWhipDevice(t, [{ name: 'phone' }])
      const { page } = await openPage(t, browser, SMALL)
      await publishFrom(page, device.endpoint, { key: device.keys.phone ?? '', codec, audio: true })
      await framesMore(device, 'phone', 30)
      t.equal(device.seen.phone?.sizes.at(-1), '640x480')
      const { live } = device.streams.state('phone') ?? {}
      t.equal(live?.by, 'whip')
      t.equal(live?.codec, codec === 'video/H264' ? 'h264' : 'vp8')
      t.equal(live?.audio, 'opus')
      t.match(await statesOf(page), [{ is: 'connecting' }, { is: 'live' }])

      // A phone that is turned, a browser that saves bandwidth: the size changes in the middle.
      await page.evaluate(`(async () => {
        const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 320, height: 240 } })
        await publisher.replace(stream)
      })()`)
      await until('the other size', () => device.seen.phone?.sizes.at(-1) === '320x240', 10_000)
      await framesMore(device, 'phone', 20)
      t.equal(device.seen.phone?.openings, 1, 'in the same file')

      await page.evaluate('publisher.stop()')
      await until('the end', () => device.streams.state('phone')?.live === null, 2000)
      t.match((await statesOf(page)).at(-1), { is: 'stopped' })
    })

  for (const codec of ['video/H264', 'video/VP8'] as const)
    t.test(`one packet in twenty is lost, and the picture goes on: ${codec}`, async (t) => {
      const device = await openWhipDevice(t, [{ name: 'phone' }])
      const { page } = await openPage(t, browser, SMALL)
      const relays = await relayed(t, page)
      await publishFrom(page, device.endpoint, { key: device.keys.phone ?? '', codec })
      await framesMore(device, 'phone', 10)
      const [relay] = relays
      if (!relay) throw new Error('nothing went over the relay')
      relay.loss = 0.05
      await framesMore(device, 'phone', 60, 20_000)
      t.ok(relay.lost > 5, `${relay.lost} packets lost`)

      // What is never repaired: only a new key picture helps, which is asked for.
      relay.loss = 0
      relay.isSwallowing = true
      await new Promise((resolve) => setTimeout(resolve, 300))
      relay.isSwallowing = false
      await framesMore(device, 'phone', 30)
      t.match(
        await device.metrics.getSingleMetricAsString('sightline_whip_dropped_total'),
        /reason="lost"\} [1-9]/,
      )
      t.equal(device.seen.phone?.openings, 1)
    })

  t.test('a second publisher with the same key takes over, or is refused, as the stream says', async (t) => {
    const device = await openWhipDevice(t, [{ name: 'yielding', takeOver: true }, { name: 'firm' }], {
      silenceMsMax: 1500, // pages that are closed say nothing
    })
    for (const name of ['yielding', 'firm']) {
      const first = await openPage(t, browser, SMALL)
      const second = await openPage(t, browser, SMALL)
      await publishFrom(first.page, device.endpoint, { key: device.keys[name] ?? '' })
      await framesMore(device, name, 5)
      const { sinceMs } = device.streams.state(name)?.live ?? {}
      await publishFrom(second.page, device.endpoint, { key: device.keys[name] ?? '' })
      if (name === 'firm') {
        await until('the refusal', async () =>
          (await statesOf(second.page)).some(({ is }) => is === 'reconnecting'),
        )
        t.match((await statesOf(second.page)).at(-1), { why: /Somebody publishes with this key already/ })
        t.equal(device.streams.state(name)?.live?.sinceMs, sinceMs)
      } else {
        await until('the takeover', () => device.streams.state(name)?.live?.sinceMs !== sinceMs)
        await until('the second is live', async () => (await statesOf(second.page)).at(-1)?.is === 'live')
        await framesMore(device, name, 5)
      }
      await first.page.context().close()
      await second.page.context().close()
      await until('the end', () => device.streams.state(name)?.live === null)
    }
  })

  t.test(
    'a publisher that dies without a word is gone after a while, and one whose line breaks comes back',
    async (t) => {
      const device = await openWhipDevice(t, [{ name: 'phone', takeOver: true }], { silenceMsMax: 1500 })
      const { page } = await openPage(t, browser, SMALL)
      const relays = await relayed(t, page)
      await publishFrom(page, device.endpoint, { key: device.keys.phone ?? '' })
      await framesMore(device, 'phone', 5)
      for (const relay of relays) relay.loss = 1
      await until('the end', () => device.streams.state('phone')?.live === null, 5000)
      await until(
        'the browser sees it',
        async () => (await statesOf(page)).some(({ is }) => is === 'reconnecting'),
        20_000,
      )
      await until('it is back', async () => (await statesOf(page)).at(-1)?.is === 'live', 10_000)
      await framesMore(device, 'phone', 5)
      t.ok(relays.length >= 2)
    },
  )

  t.test('the page of the listener itself publishes', async (t) => {
    const device = await openWhipDevice(t, [{ name: 'phone' }])
    const { page, complaints, foreign } = await openPage(t, browser, { width: 390, height: 844, phone: true })
    await page.goto(device.whip.url)
    await page.fill('#key', device.keys.phone ?? '')
    await page.click('#start')
    await page.waitForSelector('#state[data-state=live]')
    await framesMore(device, 'phone', 5)
    await page.waitForFunction(`/frames/.test(document.getElementById('figures').textContent)`)
    await page.click('#stop')
    await page.waitForSelector('#state[data-state=stopped]')
    await until('the end', () => device.streams.state('phone')?.live === null, 3000)
    await page.fill('#key', 'AAAAAAAAAAAAAAAAAAAAAA')
    await page.click('#start')
    await page.waitForSelector('#state[data-state=refused]:has-text("No stream has this key")')
    t.same(
      complaints.filter((it) => !it.includes('401')),
      [],
    )
    t.same(foreign, [])
  })
})

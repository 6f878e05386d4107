import t from 'tap'
import { FAKE_CAMERA, openChromium, openPage, skipWithoutChromium } from '../kit/chromium.ts'
import { until } from '../kit/wait.ts'
import { openWhipDevice, publishFrom, statesOf } from '../kit/whip.ts'

t.test(
  'a browser publishes, and its pictures are at the camera',
  { skip: skipWithoutChromium },
  async (t) => {
    const browser = await openChromium(FAKE_CAMERA)
    t.teardown(() => browser.close())
    for (const codec of ['video/H264', 'video/VP8'] as const)
      t.test(codec, async (t) => {
        const device = await openWhipDevice(t, [{ name: 'phone' }])
        const { page } = await openPage(t, browser, { width: 400, height: 300 })
        await publishFrom(page, device.endpoint, { key: device.keys.phone ?? '', codec, audio: true })
        await until('frames at the camera', () => (device.seen.phone?.frames ?? 0) > 30, 15_000)
        t.equal(device.seen.phone?.sizes.at(-1), '640x480')
        const { live } = device.streams.state('phone') ?? {}
        t.equal(live?.by, 'whip')
        t.equal(live?.codec, codec === 'video/H264' ? 'h264' : 'vp8')
        t.equal(live?.audio, 'opus')
        t.match(await statesOf(page), [{ is: 'connecting' }, { is: 'live' }])

        await page.evaluate('publisher.stop()')
        await until('the end', () => device.streams.state('phone')?.live === null, 2000)
      })
  },
)

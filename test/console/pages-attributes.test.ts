import t from 'tap'
import { fits, keepPicture, openPage, sharedChromium, skipWithoutChromium } from '../kit/chromium.ts'
import { tinyJpeg } from '../kit/crops.ts'
import { until } from '../kit/wait.ts'
import { cameraSeen, NORTH, SOUTH, stateOf, YARD } from './api-server.ts'
import { answers, reported } from './pages-held.ts'
import { pagesServer } from './pages-server.ts'

/** What classifiers and plugins say of faces, and who looks for them, as the pages show it. */

const SIZES = [
  { width: 1280, height: 800 },
  { width: 390, height: 844, phone: true, dark: true },
]
const skip = skipWithoutChromium
const MARKUP = '<img src=x onerror="document.title=1">'
const browserOf = sharedChromium(t)

t.test('a face shows what is said of it, by whom, and is found by it', { skip }, async (t) => {
  const server = await pagesServer(t)
  await answers(server.api, 'north/pi', { state: 'none', effective: reported().effective })
  const by = 'mask@0f3a5c9b1d2e'
  const [masked] = await server.seen(1, {
    ...NORTH,
    attributes: [
      { name: 'mask', label: 'with mask', score: 0.97, by },
      { name: MARKUP, label: '</dd><script>alert(1)</script>', score: 0.5, by: 'own@1.0 <b>' },
      { name: 'لون', label: 'أحمر', score: 0.61 },
      { name: 'a:b', label: 'c:d', score: 0.2 },
      { name: 'long', label: 'x'.repeat(64), score: 0.3 },
    ],
  })
  const [unsure] = await server.seen(1, {
    ...SOUTH,
    attributes: [{ name: 'mask', label: 'with mask', score: 0.4, by }],
  })
  await server.seen(2, { ...NORTH, masked: true })
  for (const size of SIZES) {
    const { page, complaints } = await openPage(t, await browserOf(), size)
    await server.signIn(page, 'ada', '/faces')
    const tile = (id = '') => page.locator(`.face[data-id="${id}"]`)
    const shown = () => page.locator('.faces .face').count()
    await tile(masked?.id).waitFor()
    t.equal(await shown(), 4)
    t.strictSame(await tile(masked?.id).locator('.face-attributes > *').allTextContents(), [
      'mask: with mask',
      'لون: أحمر',
      'and 3 more',
    ])
    t.ok(await fits(page))
    await keepPicture(page, `attributes-faces-${size.width}`)
    const choice = page.getByRole('combobox', { name: 'Attribute' })
    await choice.selectOption('mask:with mask')
    await until('those that it was said of', async () => (await shown()) === 2)
    await page.getByLabel('Sure of that at least, %').fill('90')
    await page.keyboard.press('Tab')
    await until('the sure one', async () => (await shown()) === 1)
    t.ok(await tile(masked?.id).isVisible())
    t.notOk(await tile(unsure?.id).isVisible())
    t.match(page.url(), /attribute=mask%3Awith\+mask&attributeScoreMin=0\.9/)
    await keepPicture(page, `attributes-filter-${size.width}`)
    await choice.selectOption('')
    await until('all again', async () => (await shown()) === 4)
    t.notMatch(page.url(), /attribute/)
    for (const value of [`${MARKUP}:</dd><script>alert(1)</script>`, 'a:b:c:d', 'a:b']) {
      await choice.selectOption(value)
      await until(`one by ${value}`, async () => (await shown()) === 1)
    }

    await page.goto(`${server.url}/faces/${masked?.id}`)
    await page.locator('.facts').waitFor()
    const facts = (await page.locator('.one-facts .facts').textContent()) ?? ''
    for (const part of [
      'with mask 97 % sure',
      by,
      MARKUP,
      '</dd><script>alert(1)</script> 50 % sure',
      'own@1.0 <b>',
    ])
      t.ok(facts.includes(part), part)
    t.ok(await fits(page))
    await keepPicture(page, `attributes-face-${size.width}`)
    await page.getByRole('link', { name: 'c:d' }).click()
    await tile(masked?.id).waitFor()
    await until('it alone', async () => (await shown()) === 1)
    t.strictSame(complaints, [])
  }
})

t.test('who looks for the faces of a camera, and what looks at them again', { skip }, async (t) => {
  const server = await pagesServer(t)
  const { fleet, live } = server.api
  live.show({ bytes: tinyJpeg, capturedAtMs: Date.now(), receivedAtMs: Date.now() })
  for (const device of ['north/pi', 'south/pi'])
    await answers(server.api, device, { state: 'none', effective: reported().effective })
  const why = 'No inference server can be asked (http://10.0.0.9:8500: connection refused).'
  const sinceMs = Date.now() - 200_000
  fleet.cameras = [
    {
      ...cameraSeen(NORTH),
      state: stateOf(NORTH, {
        detect: { on: 'local', why, sinceMs },
        process: [
          { name: 'mask', state: 'up', why: null },
          { name: 'my-plugin', state: 'down', why: 'my-plugin.ts threw: <b>no</b>. Trying again in 8 s.' },
        ],
      }),
    },
    { ...cameraSeen(SOUTH), state: stateOf(SOUTH, { detect: { on: 'remote', why: null, sinceMs } }) },
    {
      ...cameraSeen(YARD, 'down'),
      state: stateOf(YARD, { state: 'down', why, detect: { on: 'none', why, sinceMs } }),
    },
  ]
  for (const size of SIZES) {
    const { page, complaints } = await openPage(t, await browserOf(), size)
    await server.signIn(page, 'ada', '/cameras')
    await page.waitForSelector('.tile-wrong >> text="my-plugin" does not work.')
    t.equal(await page.locator('.tile-wrong').count(), 1)
    await keepPicture(page, `looks-cameras-${size.width}`)
    await page.goto(`${server.url}/cameras/north/pi/${NORTH.camera}`)
    await page.waitForSelector('.facts >> text=By this device')
    await page.waitForSelector(`.facts >> text=${why}`)
    await page.waitForSelector('.facts >> text=my-plugin: does not work')
    await page.waitForSelector('.facts >> text=my-plugin.ts threw: <b>no</b>.')
    t.ok(await fits(page))
    await keepPicture(page, `looks-camera-${size.width}`)
    await page.goto(`${server.url}/cameras/south/pi/${SOUTH.camera}`)
    await page.waitForSelector('.facts >> text=By an inference server for 3 minutes')
    await page.goto(`${server.url}/cameras/south/pi/${YARD.camera}`)
    await page.waitForSelector('.facts >> text=By nobody')
    t.equal(await page.getByText(why).count(), 1, 'it is said once')
    t.strictSame(complaints, [])
  }
})

import t from 'tap'
import { fits, keepPicture, openPage, sharedChromium, skipWithoutChromium } from '../kit/chromium.ts'
import { tinyJpeg } from '../kit/crops.ts'
import { answers, DOOR, keepDevice, keepScenario, reported } from './pages-held.ts'
import { type PagesServer, pagesServer } from './pages-server.ts'

/** Devices in a real browser: what they shall be, what they are, and how it is changed. */

const DESKTOP = { width: 1280, height: 800 }
const PHONE = { width: 390, height: 844, phone: true, dark: true }
const skip = skipWithoutChromium

const browserOf = sharedChromium(t)

/** One that refuses a camera that was added, with a scenario over its own document; and one that is away. */
async function refusing({ api }: PagesServer): Promise<void> {
  await keepScenario(api, DOOR, true)
  await keepDevice(api, 'south/pi', { content: { detect: { scoreMin: 0.5 } } })
  await keepDevice(api, 'north/pi', {
    labels: ['entrance'],
    content: {
      cameras: {
        gate: { scoreMin: 0.8, record: { mode: 'faces' } },
        yard: { source: 'rtsp://192.168.1.33/live', username: 'cam', password: 'hush' },
      },
    },
  })
  await answers(api, 'north/pi', {
    state: 'refused',
    applied: { version: 5, digest: 'a'.repeat(64), atMs: Date.now() - 900_000 },
    refused: {
      code: 'SOURCE_UNREACHABLE',
      message: 'rtsp://192.168.1.33/live does not answer.',
      path: ['cameras', 'yard', 'source'],
    },
    opened: {
      gate: { picture: tinyJpeg.toString('base64'), frame: [1920, 1080] },
      yard: { error: { code: 'SOURCE_UNREACHABLE', message: 'It does not answer.' } },
    },
  })
}

t.test('devices say whether they are as they should be, and why they are not', { skip }, async (t) => {
  const server = await pagesServer(t)
  await refusing(server)
  for (const size of [DESKTOP, PHONE]) {
    const { page, complaints, foreign } = await openPage(t, await browserOf(), size)
    await server.signIn(page, 'ada', '/devices')
    await page.waitForSelector('.device[data-state=refused] >> text=does not answer')
    await page.waitForSelector('.device >> text=Waits until it is back')
    t.ok(await fits(page), 'nothing sticks out')
    await keepPicture(page, `devices-${size.width}`)
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
    t.notMatch(await page.content(), 'hush', 'no password')
    t.ok(await fits(page), 'nothing sticks out')
    await keepPicture(page, `device-${size.width}`)
    t.strictSame(complaints, [])
    t.strictSame(foreign, [])
  }
})

t.test('a refused one is told again', { skip }, async (t) => {
  const server = await pagesServer(t)
  await refusing(server)
  const { page } = await openPage(t, await browserOf(), DESKTOP)
  await server.signIn(page, 'otto', '/devices/north/pi')
  const before = server.api.desired.told({ site: 'north', device: 'pi' })?.version ?? 0
  await page.getByRole('button', { name: 'Try again' }).click()
  await page.waitForSelector('.tone:text("Waiting for its answer")')
  t.ok((server.api.desired.told({ site: 'north', device: 'pi' })?.version ?? 0) > before)
  await answers(server.api, 'north/pi', { state: 'applied' })
  await page.waitForSelector('.device-state .note >> text=these settings are otherwise')
})

t.test(
  'a setting is changed: the device is told, its answer is seen, and it is undone',
  { skip },
  async (t) => {
    const server = await pagesServer(t)
    const { api } = server
    await answers(api, 'north/pi', { state: 'none' })
    for (const size of [DESKTOP, PHONE]) {
      const { page, complaints } = await openPage(t, await browserOf(), size)
      await server.signIn(page, 'ada', '/devices/north/pi')
      await page.getByRole('button', { name: 'Change' }).last().click()
      await page.getByLabel('First picture at once').selectOption('yes')
      const sizeMin = size === DESKTOP ? 64 : 72
      await page.getByLabel('Smallest face').fill(String(sizeMin))
      await keepPicture(page, `camera-form-${size.width}`)
      await page.getByRole('button', { name: 'Save, and tell the device' }).click()
      await page.waitForSelector('.tone:text("Waiting for its answer")')
      t.match(api.desired.told({ site: 'north', device: 'pi' })?.content, {
        cameras: { gate: { emit: { first: true }, sizeMin } },
      })
      const { effective } = reported()
      await answers(api, 'north/pi', {
        state: 'applied',
        effective: {
          ...effective,
          cameras: {
            gate: { ...effective.cameras.gate, from: 'file', source: 'x', sizeMin, emit: { first: true } },
          },
        },
      })
      await page.waitForSelector('.tone:text("Applied")')
      t.strictSame(complaints, [])
    }
    const { page } = await openPage(t, await browserOf(), DESKTOP)
    await server.signIn(page, 'ada', '/devices/north/pi')
    await page.getByRole('button', { name: 'History' }).click()
    await page.waitForSelector('dialog >> text=/gate: smallest face: 64 → 72/')
    await keepPicture(page, 'device-history-1280')
    await page.getByRole('button', { name: 'Back to this' }).click()
    await page.waitForSelector('.said-text:text("As it was in revision 1")')
    t.match(api.desired.told({ site: 'north', device: 'pi' })?.content, {
      cameras: { gate: { sizeMin: 64 } },
    })
  },
)

t.test('a camera is added where the device allows it, and labels are given', { skip }, async (t) => {
  const server = await pagesServer(t)
  const { api } = server
  await answers(api, 'north/pi', { state: 'none' })
  const { page, complaints } = await openPage(t, await browserOf(), PHONE)
  await server.signIn(page, 'ada', '/devices/north/pi')
  await page.getByRole('button', { name: 'Add a camera' }).click()
  await page.getByLabel(/^Name/).fill('yard')
  await page.getByLabel(/^Address/).fill('rtsp://192.168.1.33/live')
  await page.getByLabel(/^User of/).fill('cam')
  await page.getByLabel(/^Password of/).fill('hush')
  await keepPicture(page, 'add-camera-390')
  await page.getByRole('button', { name: 'Add, and tell the device' }).click()
  await page.waitForSelector('.device-camera >> text=added from here')
  t.match(api.desired.told({ site: 'north', device: 'pi' })?.content, {
    cameras: { yard: { source: 'rtsp://192.168.1.33/live', username: 'cam', password: 'hush' } },
  })
  await page.getByRole('button', { name: 'Labels' }).click()
  await page.getByLabel('Of gate').fill('entrance, street')
  await page.getByRole('button', { name: 'Save' }).click()
  await page.waitForSelector('.device-camera .badge:text("street")')
  t.match(
    api.desired.told({ site: 'north', device: 'pi' })?.content,
    { cameras: { yard: { password: 'hush' } } },
    'a masked password is kept',
  )
  // Where the device does not allow it, what to change is said.
  const { allows } = reported()
  await answers(api, 'north/pi', { state: 'applied', allows: { ...allows, cameras: false } })
  await page.waitForSelector('#allows ~ .facts pre:text("cameras: true")')
  t.equal(await page.getByRole('button', { name: 'Add a camera' }).count(), 0)
  t.strictSame(complaints, [])
})

t.test('second looks, and models by address, are given to a device', { skip }, async (t) => {
  const server = await pagesServer(t)
  const { api } = server
  const { allows, effective } = reported()
  const able = {
    allows: { ...allows, models: true },
    models: ['blazeface', 'yunet', 'liveness'],
    classifiers: ['liveness'],
    effective: { ...effective, process: [{ name: 'shape', kind: 'plugin' as const, from: 'file' as const }] },
  }
  for (const size of [DESKTOP, PHONE]) {
    await answers(api, 'north/pi', { state: 'none', ...able })
    const { page, complaints } = await openPage(t, await browserOf(), size)
    await server.signIn(page, 'ada', '/devices/north/pi')
    await page.waitForSelector('#looks')
    await page.waitForSelector('dd:text("a plugin of the device\'s file")')
    await page.getByRole('button', { name: 'Change the second looks' }).click()
    const dialog = page.getByRole('dialog')
    if (size === DESKTOP) {
      await dialog.getByRole('button', { name: 'Add a second look' }).click()
      await dialog.getByRole('button', { name: 'Add a model by address' }).click()
    }
    await dialog.getByLabel('What it tells').fill('mask')
    await dialog.getByLabel('Model', { exact: true }).fill('gate')
    await dialog
      .getByLabel('Said from, %')
      .first()
      .fill(size === DESKTOP ? '80' : '70')
    await dialog.getByLabel('Name of the model').fill('gate')
    await dialog.getByLabel('Address of its ONNX file').fill('https://models.example/gate.onnx')
    await dialog.getByLabel('SHA-256 of the file').fill('a'.repeat(64))
    await dialog.getByLabel('Labels, in the order').fill('without mask, with mask')
    await dialog.getByLabel('Input, pixels').fill('112x112')
    await dialog.locator('summary').click()
    await dialog.getByLabel('Scale: one number').fill('1, 2')
    await dialog.getByLabel('Scale: one number').blur()
    await page.waitForSelector('.field-wrong:text("Write one number, or three")')
    await dialog.getByLabel('Scale: one number').fill('0.017, 0.018, 0.019')
    await dialog.getByLabel('Inputs, one a line').fill('in float32 batch x 3 x 112 x 112')
    await dialog.getByLabel('Inputs, one a line').blur()
    t.ok(await fits(page), 'nothing sticks out')
    await keepPicture(page, `looks-form-${size.width}`)
    await dialog.getByRole('button', { name: 'Save, and tell the device' }).click()
    await page.waitForSelector('.said-text:text("The second looks were saved")')
    await page.waitForSelector('.muted:text("not there yet")')
    await page.waitForSelector('.note:text("Shall be gate")')
    t.match(api.desired.told({ site: 'north', device: 'pi' })?.content, {
      process: [{ name: 'mask', model: 'gate', scoreMin: size === DESKTOP ? 0.8 : 0.7 }],
      models: [
        {
          name: 'gate',
          sources: ['https://models.example/gate.onnx'],
          sha256: 'a'.repeat(64),
          input: { width: 112, height: 112 },
          classify: { labels: ['without mask', 'with mask'], scale: [0.017, 0.018, 0.019] },
          inputs: [{ name: 'in', type: 'float32', shape: ['batch', 3, 112, 112] }],
        },
      ],
    })
    // Which of them a camera has.
    await answers(api, 'north/pi', {
      state: 'applied',
      ...able,
      models: [...able.models, 'gate'],
      effective: {
        ...able.effective,
        process: [
          ...able.effective.process,
          { name: 'mask', kind: 'classifier', from: 'desired', model: 'gate', scoreMin: 0.8 },
        ],
      },
    })
    await page.waitForSelector('dd:text("gate, from 80 %")')
    await page.getByRole('button', { name: 'Change' }).last().click()
    await page.getByRole('dialog').getByLabel('Second looks').selectOption('some')
    await page.getByRole('dialog').getByRole('checkbox', { name: 'shape' }).uncheck()
    await keepPicture(page, `looks-camera-${size.width}`)
    await page.getByRole('button', { name: 'Save, and tell the device' }).click()
    await page.waitForSelector('.said-text:text("gate was saved")')
    await page.waitForSelector('.device-settings tr >> text=Second looks')
    t.match(api.desired.told({ site: 'north', device: 'pi' })?.content, {
      cameras: { gate: { process: ['mask'] } },
    })
    await answers(api, 'north/pi', {
      ...{ state: 'refused', ...able },
      refused: {
        code: 'CHECKSUM_WRONG',
        message: 'The sources of gate send something else.',
        path: ['models', 0],
      },
    })
    await page.waitForSelector('.device-state >> text=/model by address 1/')
    t.ok(await fits(page), 'nothing sticks out')
    await keepPicture(page, `looks-${size.width}`)
    t.strictSame(complaints, [])
  }
})

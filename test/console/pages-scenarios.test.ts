import type { Page } from 'playwright-core'
import sharp from 'sharp'
import t, { type Test } from 'tap'
import { channelSchema } from '../../console/notices/channel.ts'
import { type Scenario, scenarioSchema } from '../../console/scenarios/document.ts'
import type { Kept } from '../../console/scenarios/documents.ts'
import { newId } from '../../wire/id.ts'
import { fits, keepPicture, openPage, sharedChromium, skipWithoutChromium } from '../kit/chromium.ts'
import { until } from '../kit/wait.ts'
import { NORTH } from './api-server.ts'
import { answers, reported } from './pages-held.ts'
import { type PagesServer, pagesServer } from './pages-server.ts'

/** Scenarios in a real browser: drawn, written, published, tried, rolled back. */

const DESKTOP = { width: 1280, height: 800 }
const PHONE = { width: 390, height: 844, phone: true, dark: true }
const skip = skipWithoutChromium
const GATE = 'north/pi/gate'

/** What is read of the page, in it. */
declare const document: {
  querySelectorAll(selector: string): ArrayLike<{
    readonly clientWidth: number
    readonly clientHeight: number
  }>
}

const browserOf = sharedChromium(t)

/** A picture that is not 16:9: zones are fractions of it, not of the box around it. */
const scene = await sharp({ create: { width: 640, height: 480, channels: 3, background: '#55606a' } })
  .jpeg()
  .toBuffer()

const DOOR = {
  name: 'Visitors at the door',
  cameras: { cameras: [GATE] },
  rules: [{ id: 'visitor', name: 'A visitor', on: 'face' }],
}
const ID = 'visitors-at-the-door'
const PAGE = `/scenarios/${ID}`

/** Scenarios as they are kept, past the pages. */
class Held {
  readonly #server: PagesServer

  constructor(server: PagesServer) {
    this.#server = server
  }

  async put(document: object): Promise<Kept<Scenario>> {
    const { documents, scenarios } = this.#server.api.context
    const kept = await documents.create('scenario', {
      ...{ document: scenarioSchema.parse(document), by: 'ada', state: 'draft' },
    })
    await scenarios.reload()
    return kept
  }

  /** Somebody else changes it. */
  async change(document: object): Promise<void> {
    const { revision } = await this.only()
    await this.#server.api.context.documents.change('scenario', ID, {
      ...{ revision, document: scenarioSchema.parse(document), by: 'otto' },
    })
  }

  async all(): Promise<readonly Kept<Scenario>[]> {
    return this.#server.api.context.documents.list('scenario')
  }

  async only(): Promise<Kept<Scenario>> {
    const [kept] = await this.all()
    if (!kept) throw new Error('no scenario')
    return kept
  }
}

async function served(t: Test): Promise<{ server: PagesServer; held: Held }> {
  const server = await pagesServer(t)
  server.api.live.show({ bytes: scene, capturedAtMs: Date.now(), receivedAtMs: Date.now() })
  return { server, held: new Held(server) }
}

async function opened(t: Test, server: PagesServer, address: string, size = DESKTOP, user = 'ada') {
  const watched = await openPage(t, await browserOf(), size)
  await server.signIn(watched.page, user, address)
  await watched.page.waitForSelector('#main h1')
  return watched
}

/** Where a fraction of the camera's picture is on the screen, once it is there in its own shape. */
async function onPicture(page: Page) {
  await page.locator('.zone-stage').scrollIntoViewIfNeeded()
  await page.waitForFunction(() => {
    const [it] = Array.from(document.querySelectorAll('.zones'))
    return it !== undefined && Math.abs(it.clientWidth / it.clientHeight - 640 / 480) < 0.02
  })
  const box = await page.locator('.zones').boundingBox()
  if (!box) throw new Error('no picture')
  return (x: number, y: number) => [box.x + x * box.width, box.y + y * box.height] as const
}

const near = (points: readonly (readonly number[])[], wanted: readonly (readonly number[])[]) =>
  points.length === wanted.length &&
  points.every(([x = 0, y = 0], index) => {
    const [wantedX = 0, wantedY = 0] = wanted[index] ?? []
    return Math.abs(x - wantedX) < 0.01 && Math.abs(y - wantedY) < 0.01
  })

t.test('a zone is drawn with the mouse, changed, saved and published', { skip }, async (t) => {
  const { server, held } = await served(t)
  await held.put(DOOR)
  const { page, complaints, foreign } = await opened(t, server, PAGE)
  await page.getByRole('button', { name: 'Draw a zone' }).click()
  const at = await onPicture(page)
  const corners = [
    [0.2, 0.2],
    [0.6, 0.2],
    [0.6, 0.7],
    [0.2, 0.7],
  ] as const
  for (const [x, y] of corners) await page.mouse.click(...at(x, y))
  // The first corner again: it closes.
  await page.mouse.click(...at(0.2, 0.2))
  await page.waitForSelector('.zone[data-picked] .zone-corner')
  const drag = async (from: readonly [number, number], to: readonly [number, number]) => {
    await page.mouse.move(...at(...from))
    await page.mouse.down()
    await page.mouse.move(...at(...to), { steps: 4 })
    await page.mouse.up()
  }
  await drag([0.6, 0.7], [0.7, 0.8])
  // The dot in the middle of an edge becomes a corner.
  await drag([0.4, 0.2], [0.4, 0.1])
  await page.getByLabel('Name of the zone').fill('the entrance')
  await page.waitForSelector('.field-wrong:text("Only letters, digits")')
  await page.getByLabel('Name of the zone').fill('entrance')
  await page.getByLabel('Stays after, seconds').fill('20')
  await page.getByLabel('Only faces at least this tall').fill('10')
  t.equal(await page.locator('.zone-size').count(), 1, 'the limit is seen as a box')
  await page.getByRole('button', { name: 'Publish' }).click()
  await page.waitForSelector('.said-text:text("is published")')
  const { state, document } = await held.only()
  t.equal(state, 'published')
  const [zone] = document.zones
  t.match(zone, { name: 'entrance', camera: GATE, stayS: 20, sizeMin: 0.1 })
  const wanted = [
    [0.2, 0.2],
    [0.4, 0.1],
    [0.6, 0.2],
    [0.7, 0.8],
    [0.2, 0.7],
  ]
  t.ok(near(zone?.points ?? [], wanted), JSON.stringify(zone?.points))
  await page.waitForSelector('.save-state:has-text("All changes are saved.")')
  t.strictSame(complaints, [], 'nothing is refused by the policy of the page')
  t.strictSame(foreign, [])
})

t.test('a zone is drawn, moved and taken away by keyboard alone', { skip }, async (t) => {
  const { server, held } = await served(t)
  await held.put(DOOR)
  const { page } = await opened(t, server, PAGE)
  await onPicture(page)
  await page.getByRole('button', { name: 'Draw a zone' }).focus()
  await page.keyboard.press('Enter')
  await page.waitForSelector('.zones:focus')
  const press = async (...keys: readonly string[]) => {
    for (const key of keys) await page.keyboard.press(key)
  }
  await press('Enter', 'Shift+ArrowRight', 'Shift+ArrowRight', 'Enter', 'Shift+ArrowDown', 'Enter', 'c')
  const zoneNow = async () => {
    await page.getByRole('button', { name: /^Save/ }).click()
    await page.waitForSelector('.save-state:has-text("All changes are saved.")')
    return (await held.only()).document.zones
  }
  const triangle = [
    [0.5, 0.5],
    [0.6, 0.5],
    [0.6, 0.55],
  ]
  let zones = await zoneNow()
  t.ok(near(zones[0]?.points ?? [], triangle), JSON.stringify(zones))
  await page.locator('.zone-corner').nth(1).focus()
  await press('ArrowRight', 'ArrowUp', '+')
  t.equal(await page.locator('.zone-corner').count(), 4, 'a corner on the edge')
  await press('Delete')
  zones = await zoneNow()
  const moved = [triangle[0] ?? [], [0.61, 0.49], triangle[2] ?? []]
  t.ok(near(zones[0]?.points ?? [], moved), JSON.stringify(zones))
  await page.locator('.zone-area').focus()
  await press('ArrowLeft', 'ArrowLeft')
  zones = await zoneNow()
  t.ok(
    near(
      zones[0]?.points ?? [],
      moved.map(([x = 0, y = 0]) => [x - 0.02, y]),
    ),
    'all of it',
  )
  await page.locator('.zone-area').focus()
  await press('Delete')
  t.strictSame(await zoneNow(), [])
})

t.test('a new one is made of a provided one, and is a draft until it is published', { skip }, async (t) => {
  const { server, held } = await served(t)
  server.api.desired.take({ site: 'north', device: 'pi' }, Buffer.from(JSON.stringify(reported())))
  const { page, complaints } = await opened(t, server, '/scenarios')
  await page.waitForSelector('.empty-title:text("No scenarios yet.")')
  await page.getByRole('link', { name: /Visitors at a door/ }).click()
  await page.waitForSelector('h1:text("Visitors at a door")')
  await page.waitForSelector('.covered:has-text("3 cameras")')
  await page.getByLabel('Only these').check()
  await page.waitForSelector('.trouble >> text=must name at least one site')
  const publish = page.getByRole('button', { name: 'Publish', exact: true })
  t.ok(await publish.isDisabled(), 'what is wrong is mended first')
  await page.getByLabel('gate', { exact: true }).check()
  await page.waitForSelector('.covered:has-text("1 camera")')
  await page.getByLabel('Add a setting').selectOption({ label: 'How sure it has to be' })
  await page.waitForSelector('.setting-own:text("On the device now: 60 %")')
  await page.getByLabel(/How sure it has to be/).fill('65')
  await page.getByRole('button', { name: 'Save as draft' }).click()
  await page.waitForURL('**/scenarios/visitors-at-a-door')
  t.match(await held.only(), {
    state: 'draft',
    document: { cameras: { cameras: [GATE] }, settings: { scoreMin: 0.65, emit: { first: true } } },
  })
  await page.getByRole('link', { name: 'Scenarios' }).first().click()
  await page.waitForSelector('.scenario:has-text("Draft")')
  await page.getByRole('button', { name: 'Publish' }).click()
  await page.waitForSelector('.scenario:has-text("Active now")')
  await page.getByRole('button', { name: 'No notices for an hour' }).click()
  await page.waitForSelector('.scenario .note:has-text("No notices until")')
  const [{ untilMs = 0 } = {}] = await server.api.context.rules.suspensions()
  t.ok(Math.abs(untilMs - Date.now() - 3_600_000) < 60_000)
  await page.getByRole('button', { name: 'Pause' }).click()
  await page.waitForSelector('.scenario:has-text("Paused")')
  await page.getByRole('button', { name: 'Delete' }).click()
  await page.locator('dialog').getByRole('button', { name: 'Delete' }).click()
  await page.waitForSelector('.empty-title:text("No scenarios yet.")')
  t.strictSame(await held.all(), [])
  t.strictSame(complaints, [])
})

t.test('what somebody else has saved meanwhile is shown, and nothing is lost by it', { skip }, async (t) => {
  const { server, held } = await served(t)
  await held.put(DOOR)
  const { page } = await opened(t, server, PAGE)
  await page.waitForSelector('.editor')
  await page.getByLabel('Name', { exact: true }).fill('Mine')
  await held.change({ ...DOOR, name: 'Theirs' })
  await page.getByRole('button', { name: 'Save as draft' }).click()
  await page.waitForSelector('dialog[open] h2:text("Changed by otto meanwhile")')
  t.match(await page.locator('.difference').textContent(), /Name.*In theirs.*Theirs.*In yours.*Mine/)
  t.equal((await held.only()).name, 'Theirs', 'nothing was written over it')
  await page.getByRole('button', { name: 'Go on editing' }).click()
  await page.getByRole('button', { name: 'Save as draft' }).click()
  await page.getByRole('button', { name: 'Save mine over it' }).click()
  await page.waitForSelector('.save-state:has-text("All changes are saved.")')
  t.match(await held.only(), { name: 'Mine', revision: 3 })
  await page.getByLabel('Name', { exact: true }).fill('Mine again')
  await held.change({ ...DOOR, name: 'Theirs again' })
  await page.getByRole('button', { name: 'Save as draft' }).click()
  await page.getByRole('button', { name: 'Take theirs, drop mine' }).click()
  await page.waitForSelector('h1:text("Theirs again")')
  t.equal((await held.only()).revision, 4)
})

t.test('what is not saved is not left without a question', { skip }, async (t) => {
  const { server, held } = await served(t)
  await held.put(DOOR)
  const { page } = await opened(t, server, '/scenarios')
  await page.getByRole('link', { name: 'Visitors at the door' }).click()
  await page.waitForSelector('.editor')
  await page.getByLabel('Name', { exact: true }).fill('Changed')
  await page.getByRole('link', { name: 'Faces' }).click()
  await page.waitForSelector('dialog[open] h2:text("Leave without saving?")')
  await page.getByRole('button', { name: 'Stay' }).click()
  t.match(page.url(), /visitors-at-the-door/)
  await page.goBack()
  await page.waitForSelector('dialog[open] h2:text("Leave without saving?")')
  t.match(page.url(), /visitors-at-the-door/)
  await page.getByRole('button', { name: 'Save and leave' }).click()
  await page.waitForURL('**/scenarios')
  t.equal((await held.only()).name, 'Changed')
})

t.test(
  'a rule is put together from words, with an expression that is checked as it is typed',
  { skip },
  async (t) => {
    const { server, held } = await served(t)
    await server.api.context.documents.create('channel', {
      document: channelSchema.parse({
        type: 'email',
        name: 'Mail to the porter',
        to: ['porter@example.org'],
      }),
      ...{ by: 'ada', id: 'mail' },
    })
    await held.put({
      ...DOOR,
      zones: [
        {
          name: 'entrance',
          points: [
            [0, 0],
            [1, 0],
            [1, 1],
          ],
        },
      ],
      rules: [],
    })
    const { page, complaints } = await opened(t, server, PAGE)
    await page.getByRole('button', { name: 'Add a rule' }).click()
    await page.getByRole('button', { name: /How many came/ }).click()
    const form = page.locator('.rule-form')
    await form.getByLabel('Name of the rule').fill('Rush')
    await form.getByLabel('More than').fill('12')
    await form.getByLabel('Within', { exact: true }).fill('5')
    await form.getByLabel('entrance').check()
    await form.getByRole('button', { name: 'More conditions' }).click()
    await form.getByLabel('And this expression holds').fill('scor > 0.5')
    await page.waitForSelector('.expression-shown mark:text-is("scor")')
    await page.waitForSelector('.expression .field-wrong')
    await form.getByLabel('And this expression holds').fill('')
    await form.getByText('What an expression can look at').click()
    await form.getByRole('button', { name: 'score', exact: true }).click()
    await page.keyboard.type(' > 0.5')
    await page.waitForSelector('.expression-right')
    await form.getByLabel('What a classifier says').fill('mask')
    await form.getByLabel('is one of (with commas)').fill('with mask, not sure')
    await form.getByLabel('sure to at least, %').fill('80')
    await form.getByRole('button', { name: 'Add', exact: true }).click()
    await form.getByRole('button', { name: 'Remove mask' }).waitFor()
    await keepPicture(page, 'rule-attributes')
    await form.getByLabel('After a notice, none for', { exact: true }).fill('15')
    await form.getByLabel('Mail to the porter').check()
    await form.getByLabel('How bad it is').selectOption('warning')
    await form.getByLabel(/^Title/).fill('{count} at {camera}')
    await page.waitForSelector('.preview strong:text("13 at door")')
    await page.getByRole('button', { name: 'Save as draft' }).click()
    await page.waitForSelector('.save-state:has-text("All changes are saved.")')
    t.match((await held.only()).document.rules, [
      {
        ...{ id: 'count', name: 'Rush', on: 'count', level: 'warning', notify: ['mail'], per: 'camera' },
        conditions: {
          ...{ moreThan: 12, windowMs: 300_000, zones: ['entrance'] },
          attributes: [{ name: 'mask', labels: ['with mask', 'not sure'], scoreMin: 0.8 }],
        },
        ...{ expression: 'score > 0.5', cooldownMs: 900_000, title: '{count} at {camera}' },
      },
    ])
    // A zone that has another name is asked for by it.
    await page.locator('.zone-area').click()
    await page.getByLabel('Name of the zone').fill('hall')
    await page.getByRole('button', { name: 'Save as draft' }).click()
    await until('saved', async () => (await held.only()).document.rules[0]?.conditions.zones?.[0] === 'hall')
    t.strictSame(complaints, [])
  },
)

t.test('hours are painted, typed, and by key', { skip }, async (t) => {
  const { server, held } = await served(t)
  await held.put(DOOR)
  const { page } = await openPage(t, await browserOf(), { ...DESKTOP, timezone: 'Europe/Zurich' })
  await server.signIn(page, 'ada', PAGE)
  const part = page.locator('#when')
  await part.getByLabel('At these hours').check()
  const cell = (day: number, hour: number) => page.locator(`[data-day="${day}"][data-hour="${hour}"]`)
  const saved = async () => {
    await page.getByRole('button', { name: 'Save as draft' }).click()
    await page.waitForSelector('.save-state:has-text("All changes are saved.")')
    return (await held.only()).document.schedule
  }
  const week = ['mon', 'tue', 'wed', 'thu', 'fri']
  t.strictSame(await saved(), {
    timeZone: 'Europe/Zurich',
    hours: [{ days: week, from: '08:00', to: '18:00' }],
    exceptions: [],
  })
  // Not below what saves, at the bottom of the window.
  await part.evaluate((it: { scrollIntoView(): void }) => it.scrollIntoView())
  const [from, to] = [await cell(5, 10).boundingBox(), await cell(6, 13).boundingBox()]
  if (!from || !to) throw new Error('no cells')
  await page.mouse.move(from.x + 5, from.y + 5)
  await page.mouse.down()
  await page.mouse.move(to.x + 5, to.y + 5, { steps: 8 })
  await page.mouse.up()
  t.match((await saved())?.hours, [{}, { days: ['sat', 'sun'], from: '10:00', to: '14:00' }])
  await cell(6, 13).focus()
  await page.keyboard.press('Space')
  await page.keyboard.press('ArrowRight')
  await page.keyboard.press('Space')
  t.match((await saved())?.hours, [
    { days: week },
    { days: ['sat'], from: '10:00', to: '14:00' },
    { days: ['sun'], from: '10:00', to: '13:00' },
    { days: ['sun'], from: '14:00', to: '15:00' },
  ])
  await part.locator('summary').click()
  await part.getByLabel('From', { exact: true }).first().fill('2230')
  await part.getByLabel('To', { exact: true }).first().fill('6:15')
  await page.keyboard.press('Enter')
  t.match((await saved())?.hours[0], { days: week, from: '22:30', to: '06:15' })
  t.equal(await cell(5, 5).getAttribute('data-part'), 'all', 'the night of Friday ends on Saturday')
  t.equal(await cell(0, 22).getAttribute('data-part'), 'some')
})

t.test('it is tried on what was seen, compared with what it was, and rolled back', { skip }, async (t) => {
  const { server, held } = await served(t)
  await held.put(DOOR)
  await held.change({ ...DOOR, description: 'At night', settings: { scoreMin: 0.7 } })
  const at = { ...NORTH, capturedAtMs: Date.now() - 60_000 }
  await server.seen(1, { ...at, track: newId() })
  await server.seen(1, { ...at, track: newId() })
  const { page, complaints } = await opened(t, server, `${PAGE}?show=try`)
  await page.waitForSelector('.tried-rule:has-text("2 notices") .face-picture')
  await page.waitForSelector('text=2 faces and events looked at')
  t.equal(await page.locator('.tried-example').count(), 2)
  await page.getByRole('button', { name: 'History' }).click()
  await page.getByRole('checkbox', { name: /1 made by ada/ }).check()
  await page.waitForSelector('.difference >> text=Settings › How sure it has to be')
  t.match(await page.locator('.difference').allTextContents(), [/Description.*At night/, /not there.*70 %/])
  await page.getByRole('button', { name: 'Roll back to version 1' }).click()
  await page.locator('dialog').getByRole('button', { name: 'Roll back' }).click()
  await page.waitForSelector('.said-text:text("as in version 1")')
  t.match(await held.only(), { revision: 3, document: { description: '', settings: {} } })
  await page.waitForSelector('.editor')
  t.equal(await page.locator('.setting').count(), 0, 'and so is the form')
  t.strictSame(complaints, [])
})

t.test('a phone draws with a finger, and nothing sticks out; markup is text', { skip }, async (t) => {
  const { server, held } = await served(t)
  const markup = '<img src=x onerror="document.title=1">'
  await held.put({
    ...DOOR,
    name: markup,
    description: markup,
    rules: [{ id: 'visitor', name: markup, on: 'zone' }],
  })
  const { page, complaints } = await opened(t, server, '/scenarios', PHONE)
  const fits = async (what: string) =>
    t.ok(
      await page.evaluate('document.documentElement.scrollWidth <= innerWidth'),
      `${what}: nothing sticks out`,
    )
  await page.waitForSelector('.scenario')
  await fits('the list')
  await page.getByRole('button', { name: 'New scenario' }).click()
  await page.waitForSelector('dialog .provided-card')
  await fits('a new one')
  await page.keyboard.press('Escape')
  await page.getByRole('link', { name: markup }).click()
  await page.waitForSelector('.editor')
  await page.getByRole('button', { name: 'Draw a zone' }).tap()
  const at = await onPicture(page)
  for (const [x, y] of [
    [0.1, 0.1],
    [0.9, 0.1],
    [0.5, 0.9],
  ] as const)
    await page.touchscreen.tap(...at(x, y))
  await page.getByRole('button', { name: 'Close the zone' }).tap()
  await page
    .locator('.rule')
    .getByRole('button', { name: /Change/ })
    .tap()
  await page.getByLabel('At these hours', { exact: true }).tap()
  await fits('the editor')
  await page.getByRole('button', { name: 'Save as draft' }).tap()
  await until('saved', async () => (await held.only()).document.zones.length === 1)
  for (const name of ['Try', 'History']) {
    await page.getByRole('button', { name, exact: true }).tap()
    await page.waitForSelector('#main [aria-busy=true]', { state: 'detached' })
    await fits(name)
  }
  t.equal(await page.locator('img[src=x]').count(), 0)
  t.strictSame(complaints, [])
})

t.test('who may not write scenarios is offered none', { skip }, async (t) => {
  const { server } = await served(t)
  const { page } = await opened(t, server, '/', DESKTOP, 'anna')
  const menu = await page.locator('nav[aria-label=Pages] a').allTextContents()
  t.ok(menu.includes('Faces') && !menu.includes('Scenarios'), menu.join())
})

t.test('a scenario brings a second look, and says which its cameras have', { skip }, async (t) => {
  const { server, held } = await served(t)
  await held.put(DOOR)
  const { effective, allows } = reported()
  await answers(server.api, GATE.split('/').slice(0, 2).join('/'), {
    state: 'none',
    ...{ models: ['yunet', 'masked'], classifiers: [], allows: { ...allows, models: false } },
    effective: { ...effective, process: [{ name: 'hat', kind: 'classifier', from: 'file', model: 'hats' }] },
  })
  for (const size of [DESKTOP, PHONE]) {
    const { page, complaints } = await opened(t, server, PAGE, size)
    const part = page.locator('#looks')
    const look = part.getByLabel('Second looks', { exact: true })
    if (size === DESKTOP) await part.getByRole('button', { name: 'Add a second look' }).click()
    await look.getByLabel('What it tells').fill('mask')
    await look.getByLabel('Model', { exact: true }).fill('absent')
    await look.getByLabel('Said from, %').fill('90')
    await page.waitForSelector('#looks .trouble:text("has no model \\"absent\\"")')
    await look.getByLabel('Model', { exact: true }).fill('masked')
    await look.getByLabel('Said from, %').fill('')
    await part.getByLabel('Which second looks').selectOption('some')
    await part.getByRole('checkbox', { name: 'hat' }).uncheck()
    await page.waitForFunction(() => document.querySelectorAll('#looks .trouble').length === 0)
    t.equal(await page.locator('#settings .setting').count(), 0, 'it is shown once')
    await part.scrollIntoViewIfNeeded()
    await keepPicture(page, `scenario-looks-${size.width}`)
    t.ok(await fits(page), 'nothing sticks out')
    if (size === DESKTOP) {
      await part.locator('summary').first().click()
      await part.getByRole('button', { name: 'Add a model by address' }).click()
      await page.waitForSelector('#looks .trouble')
      await part.getByRole('button', { name: 'Remove the model' }).click()
      await page.getByRole('button', { name: 'Publish' }).click()
      await page.waitForSelector('.said-text:text("is published")')
      t.match((await held.only()).document, {
        process: [{ name: 'mask', model: 'masked' }],
        settings: { process: ['mask'] },
      })
      const told = () => server.api.desired.told({ site: 'north', device: 'pi' })
      await until('the device is told', () => told() !== undefined)
      t.match(told()?.content, {
        process: [{ name: 'mask', model: 'masked' }],
        cameras: { gate: { process: ['mask'] } },
      })
    }
    t.strictSame(complaints, [])
  }
})

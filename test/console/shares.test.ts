import t from 'tap'
import { newId } from '../../wire/id.ts'
import { makeCrop } from '../kit/crops.ts'
import { accessServer, type Browser, problemIn } from './access-server.ts'
import { NORTH, SOUTH, storedOf } from './api-server.ts'

interface Made {
  readonly share: { readonly id: string; readonly views: number }
  readonly address: string
}

const HOUR_S = 3600

async function share(browser: Browser, body: Record<string, unknown>): Promise<Made> {
  const answer = await browser.send('POST', '/api/v1/shares', { name: 'test', expiresInS: HOUR_S, ...body })
  if (answer.status !== 201) throw new Error(await problemIn(answer))
  return (await answer.json()) as Made
}

t.test('a link shows one face to somebody without an account, and nothing else', async (t) => {
  const server = await accessServer(t)
  const attributes = [{ name: '<b>mask', label: '<img src=x>', score: 0.97 }]
  const [face, other] = await server.store({ ...NORTH, attributes }, NORTH)
  const anna = await server.signIn('anna')
  const { address } = await share(anna, { detection: face?.id, name: 'For Anna <script>alert(1)</script>' })
  t.match(address, /^\/s\/[\w-]{43}$/)
  const page = await fetch(server.url + address)
  t.equal(page.status, 200)
  t.match(
    page.headers.get('content-security-policy'),
    /^default-src 'none'; style-src 'sha256-[^']+'; img-src 'self';/,
  )
  t.equal(page.headers.get('cache-control'), 'no-store')
  t.equal(page.headers.get('x-robots-tag'), 'noindex')
  t.strictSame(page.headers.getSetCookie(), [])
  const text = await page.text()
  t.match(text, 'For Anna &lt;script&gt;')
  t.notMatch(text, /<script/)
  t.match(text, '<bdi>&lt;b&gt;mask: &lt;img src=x&gt;</bdi> (97 %)')
  t.match(text, `<img src="${address}/picture/${face?.id}.jpg"`)
  t.notMatch(text, other?.id ?? '')
  const picture = await fetch(`${server.url}${address}/picture/${face?.id}.jpg`)
  t.equal(picture.headers.get('content-type'), 'image/jpeg')
  t.equal((await picture.arrayBuffer()).byteLength, face?.bytes)
  for (const path of [
    `/picture/${other?.id}.jpg`,
    `/picture/${newId()}.jpg`,
    '/picture/..%2f..%2fx.jpg',
    '/picture/x.jpg',
    '/picture/',
    '/x',
  ])
    t.equal((await fetch(`${server.url}${address}${path}`)).status, 404, path)
  const secret = address.slice(3)
  for (const headers of [{ authorization: `Bearer ${secret}` }, { cookie: `sightline=${secret}` }])
    t.equal((await fetch(`${server.url}/api/v1/detections/${face?.id}`, { headers })).status, 401)
})

t.test('a link to a search shows what it finds of what was there, for its maker', async (t) => {
  const server = await accessServer(t)
  const atMs = Date.now() - 60_000
  const [north, south, late] = await server.store(
    { ...NORTH, capturedAtMs: atMs },
    { ...SOUTH, capturedAtMs: atMs },
    { ...NORTH, capturedAtMs: Date.now() + 3_600_000 },
  )
  const anna = await server.signIn('anna')
  const { address } = await share(anna, { filter: { site: 'north' } })
  const text = await (await fetch(server.url + address)).text()
  t.match(text, north?.id)
  t.notMatch(text, south?.id ?? '')
  t.notMatch(text, late?.id ?? '', 'it is not a way to watch a camera from now on')
  const status = async (id = '') => (await fetch(`${server.url}${address}/picture/${id}.jpg`)).status
  t.equal(await status(north?.id), 200)
  t.equal(await status(south?.id), 404)
  t.equal(await status(late?.id), 404)
  const crop = makeCrop({ ...NORTH, capturedAtMs: atMs })
  const kept = storedOf(crop.metadata, crop.payload)
  await server.database.apply([{ ...kept, storedAtMs: Date.now() + 60_000 }], 'cloud')
  t.notMatch(await (await fetch(server.url + address)).text(), kept.id, 'nor what comes late from a device')
  // Who sees one site alone shares nothing of another, whatever he searches.
  const nora = await server.signIn('nora')
  const narrow = await share(nora, { filter: { from: '2020-01-01' } })
  const seen = await (await fetch(server.url + narrow.address)).text()
  t.match(seen, north?.id)
  t.notMatch(seen, south?.id ?? '')
  t.equal((await fetch(`${server.url}${narrow.address}/picture/${south?.id}.jpg`)).status, 404)
})

t.test('many faces come page by page', async (t) => {
  const server = await accessServer(t)
  const atMs = Date.now() - 600_000
  await server.store(...Array.from({ length: 70 }, (_, at) => ({ ...NORTH, capturedAtMs: atMs + at })))
  const { address, share: made } = await share(await server.signIn('anna'), { filter: {} })
  const ids = async (path: string) => {
    const text = await (await fetch(server.url + path)).text()
    return {
      ids: [...text.matchAll(/picture\/([0-9a-f-]{36})/g)].map(([, id]) => id),
      next: /href="([^"]+)"/.exec(text)?.[1],
    }
  }
  const first = await ids(address)
  t.equal(first.ids.length, 60)
  const second = await ids(first.next ?? '')
  t.equal(second.ids.length, 10)
  t.equal(new Set([...first.ids, ...second.ids]).size, 70)
  t.equal(second.next, undefined)
  t.equal((await fetch(`${server.url}${address}?before=x`)).status, 404)
  const [kept] = await server.access.shares.list('anna')
  t.match(kept, { id: made.id, views: 1 }, 'its further pages are the same visit')
})

t.test('views are counted, and a link that is taken back or over is one that never was', async (t) => {
  const server = await accessServer(t)
  const [face] = await server.store(NORTH)
  const anna = await server.signIn('anna')
  const back = await share(anna, { detection: face?.id })
  const over = await share(anna, { detection: face?.id, expiresInS: 60 })
  for (let view = 0; view < 3; view += 1) await fetch(server.url + back.address)
  await fetch(`${server.url}${back.address}/picture/${face?.id}.jpg`)
  const listed = async () => (await (await anna.get('/api/v1/shares')).json()) as { items: Made['share'][] }
  t.match(
    (await listed()).items.find(({ id }) => id === back.share.id),
    { views: 3 },
  )
  t.equal((await anna.send('DELETE', `/api/v1/shares/${back.share.id}`)).status, 204)
  server.wait(61_000)
  const never = await fetch(`${server.url}/s/${'a'.repeat(43)}`)
  const answer = await never.text()
  for (const { address } of [back, over]) {
    const gone = await fetch(server.url + address)
    t.equal(gone.status, 404)
    t.equal(await gone.text(), answer)
    t.equal((await fetch(`${server.url}${address}/picture/${face?.id}.jpg`)).status, 404)
  }
})

t.test(
  'a link ends with its maker, and with his right to share; and shows only what he sees then',
  async (t) => {
    const server = await accessServer(t)
    const capturedAtMs = Date.now() - 60_000
    const [north, south] = await server.store({ ...NORTH, capturedAtMs }, { ...SOUTH, capturedAtMs })
    const ada = await server.signIn('ada')
    const anna = await server.signIn('anna')
    const one = await share(anna, { detection: south?.id })
    const all = await share(anna, { filter: {} })
    const status = async (path: string) => (await fetch(server.url + path)).status
    await ada.send('PATCH', '/api/v1/users/anna', { sites: ['north'] })
    t.notMatch(await (await fetch(server.url + one.address)).text(), south?.id ?? '')
    t.equal(await status(`${one.address}/picture/${south?.id}.jpg`), 404)
    t.equal(await status(`${all.address}/picture/${south?.id}.jpg`), 404)
    t.equal(await status(`${all.address}/picture/${north?.id}.jpg`), 200)
    await ada.send('PATCH', '/api/v1/users/anna', { role: 'viewer' })
    t.equal(await status(all.address), 404)
    await ada.send('PATCH', '/api/v1/users/anna', { role: 'analyst', sites: null })
    t.equal(await status(all.address), 200)
    await ada.send('DELETE', '/api/v1/users/anna')
    t.equal(await status(all.address), 404)
    await ada.send('POST', '/api/v1/users', { name: 'anna', role: 'analyst' })
    t.equal(await status(all.address), 404, 'another of that name')
  },
)

t.test('what somebody may not share he cannot, nor see who else did', async (t) => {
  const server = await accessServer(t)
  const [, south] = await server.store(NORTH, SOUTH)
  const ada = await server.signIn('ada')
  const nora = await server.signIn('nora')
  const asks = (body: unknown, browser = nora) => browser.send('POST', '/api/v1/shares', body)
  const base = { name: 'x', expiresInS: HOUR_S }
  t.equal(await problemIn(await asks({ ...base, detection: south?.id })), '404 NOT_FOUND')
  t.equal(await problemIn(await asks({ ...base, detection: newId() })), '404 NOT_FOUND')
  const bad: readonly unknown[] = [
    base,
    { ...base, detection: south?.id, filter: {} },
    { ...base, filter: {}, expiresInS: 91 * 86_400 },
    { ...base, filter: {}, expiresInS: 0 },
    { ...base, filter: { site: 'a/b' } },
    { ...base, filter: { unknown: '1' } },
    { filter: {}, expiresInS: HOUR_S },
  ]
  for (const body of bad)
    t.equal(await problemIn(await asks(body, ada)), '400 PARAMETER_INVALID', JSON.stringify(body))
  const made = await share(ada, { detection: south?.id })
  t.match(await (await nora.get('/api/v1/shares')).json(), { items: [] })
  t.equal(await problemIn(await nora.get('/api/v1/shares?whose=all')), '403 NOT_ALLOWED')
  t.equal(await problemIn(await nora.send('DELETE', `/api/v1/shares/${made.share.id}`)), '404 NOT_FOUND')
  await ada.send('PATCH', '/api/v1/users/nora', { role: 'viewer' })
  t.equal(await problemIn(await asks({ ...base, filter: {} })), '403 NOT_ALLOWED')
})

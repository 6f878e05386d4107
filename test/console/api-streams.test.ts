import { once } from 'node:events'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import type { NewsItem } from '../../console/context.ts'
import type { Detection } from '../../console/database/detection.ts'
import { makeCrop, tinyJpeg } from '../kit/crops.ts'
import { until } from '../kit/wait.ts'
import { type ApiServer, apiServer, cameraSeen, NORTH, SOUTH, storedOf, YARD } from './api-server.ts'

interface Event {
  readonly id?: string
  readonly event?: string
  readonly data?: string
}

/** Follows events; `events` grows. */
async function follow(
  { get }: ApiServer,
  user: string,
  { query = '', lastId }: { query?: string; lastId?: string } = {},
) {
  const leaving = new AbortController()
  const answer = await get(`/events${query}`, user, {
    signal: leaving.signal,
    headers: lastId === undefined ? {} : { 'last-event-id': lastId },
  })
  const events: Event[] = []
  const state = { ended: false }
  const read = async () => {
    let rest = ''
    const decoder = new TextDecoder()
    for await (const chunk of answer.body ?? []) {
      const blocks = (rest + decoder.decode(chunk, { stream: true })).split('\n\n')
      rest = blocks.pop() ?? ''
      for (const block of blocks)
        events.push(
          Object.fromEntries(
            block
              .split('\n')
              .filter((line) => !line.startsWith(':'))
              .map((line) => line.split(/: (.*)/s).slice(0, 2)),
          ),
        )
    }
  }
  void read()
    .catch(() => {})
    .finally(() => {
      state.ended = true
    })
  const named = () => events.filter(({ event }) => event !== undefined)
  return { answer, events, named, state, leave: () => leaving.abort() }
}

function detectionItem(settings: Parameters<typeof makeCrop>[0]): NewsItem & { is: 'detection' } {
  const { metadata, payload } = makeCrop(settings)
  const { v: _v, is: _is, kind: _kind, filedAtMs, ...stored } = storedOf(metadata, payload)
  const detection: Detection = { ...stored, atMs: filedAtMs, attributes: [], subscriber: 'cloud' }
  return { is: 'detection', detection }
}

const keeperItem: NewsItem = {
  is: 'keeper',
  keeper: {
    report: {
      v: 1,
      keeper: 'console-console',
      program: 'console',
      name: 'console',
      version: '1',
      startedAtMs: 1,
      atMs: 2,
      everyMs: 3,
      ok: true,
      checks: {},
      queues: [],
      links: [],
    },
    seenAtMs: 4,
    isSilent: false,
    forwardedPerS: {},
  },
}

t.test('each is told of what is within his scope and rights, and of nothing else', async (t) => {
  const server = await apiServer(t)
  const { news } = server
  const [ada, nora, carl, faces] = await Promise.all([
    follow(server, 'ada'),
    follow(server, 'nora'),
    follow(server, 'carl'),
    follow(server, 'ada', { query: '?only=detection&only=removed' }),
  ])
  t.equal(ada.answer.headers.get('content-type'), 'text/event-stream; charset=utf-8')
  await until('all follow', () => news.followers.size === 4)
  const south = detectionItem({ ...SOUTH })
  news.add(detectionItem({ ...NORTH }))
  news.add(south)
  news.add(detectionItem({ ...YARD }))
  news.add({ is: 'removed', id: south.detection.id, camera: SOUTH })
  news.add({ is: 'camera', camera: cameraSeen(NORTH, 'paused') })
  news.add({ is: 'health', id: south.detection.id, camera: NORTH })
  news.add(keeperItem)
  await until('ada has all', () => ada.named().length === 7)
  await until('the other has his', () => faces.named().length === 4)
  const seen = (one: typeof ada) =>
    one.named().map(({ event, data = '' }) => `${event} ${JSON.parse(data).site ?? ''}`.trim())
  t.same(seen(ada), [
    'detection north',
    'detection south',
    'detection south',
    'removed south',
    'camera north',
    'health',
    'keeper',
  ])
  t.same(seen(nora), ['detection north', 'camera north'])
  t.same(seen(carl), ['detection south', 'removed south'])
  t.match(JSON.parse(ada.named()[1]?.data ?? ''), {
    id: south.detection.id,
    ...SOUTH,
    picture: `/api/v1/detections/${south.detection.id}/picture`,
    reviewed: false,
  })
  for (const one of [ada, nora, carl, faces]) one.leave()
  await until('nobody follows', () => news.followers.size === 0)
})

t.test('who comes back gets what he missed, each once; or is told to look anew', async (t) => {
  const server = await apiServer(t)
  const { news } = server
  const first = await follow(server, 'ada')
  await until('follows', () => news.followers.size === 1)
  for (let n = 0; n < 5; n += 1) news.add(detectionItem({ ...NORTH }))
  await until('five', () => first.named().length === 5)
  first.leave()
  await until('gone', () => news.followers.size === 0)
  for (let n = 0; n < 7; n += 1) news.add(detectionItem({ ...NORTH }))
  const lastId = first.named().at(-1)?.id as string
  const second = await follow(server, 'ada', { lastId })
  await until('seven', () => second.named().length === 7)
  t.same(
    second.named().map(({ id }) => id),
    ['6', '7', '8', '9', '10', '11', '12'],
  )
  t.ok(second.named().every(({ event }) => event === 'detection'))
  const third = await follow(server, 'ada', { query: `?after=${second.named()[5]?.id}` })
  await until('one', () => third.named().length === 1)

  news.itemsMax = 3
  news.add(detectionItem({ ...NORTH }))
  for (let n = 0; n < 12; n += 1) news.add(detectionItem({ ...NORTH }))
  for (const id of [lastId, '999', 'not\tone', '']) {
    const late = await follow(server, 'ada', { lastId: id })
    if (id !== '') await until('is told', () => late.named().length > 0)
    t.match(late.named(), id === '' ? [] : [{ event: 'reset', data: '{}' }], `after ${JSON.stringify(id)}`)
    late.leave()
  }
  second.leave()
  third.leave()
})

t.test('so much missed that it takes longer than looking anew is not sent', async (t) => {
  const server = await apiServer(t)
  for (let n = 0; n < 3000; n += 1) server.news.add(detectionItem({ ...NORTH }))
  const late = await follow(server, 'ada', { lastId: '1' })
  await until('is told', () => late.named().length > 0)
  t.match(late.named(), [{ event: 'reset', id: '3000' }])
  late.leave()
})

t.test('a stream ends when its token does', async (t) => {
  const server = await apiServer(t)
  const vera = await follow(server, 'vera')
  const otto = await follow(server, 'otto')
  const [token] = await server.access.tokens.list('vera')
  await server.access.tokens.revoke(token?.id ?? '', 'vera')
  await until('ended', () => vera.state.ended)
  t.notOk(otto.state.ended, 'and no other')
  t.equal((await server.get('/events', 'vera')).status, 401)
  otto.leave()
})

t.test('a reader who does not read loses the connection, and the others get everything', async (t) => {
  const server = await apiServer(t)
  const { news, url, tokens } = server
  const { hostname, port, pathname } = new URL(`${url}/events`)
  const slow = connect(Number(port), hostname)
  await once(slow, 'connect')
  slow.write(`GET ${pathname} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${tokens.ada}\r\n\r\n`)
  const other = await follow(server, 'otto')
  await until('both follow', () => news.followers.size === 2)
  slow.pause()
  const closed = once(slow, 'close')
  slow.on('error', () => {})
  let sent = 0
  while (news.followers.size === 2 && sent < 60_000) {
    for (let n = 0; n < 500; n += 1) news.add(detectionItem({ ...NORTH, model: 'm'.repeat(200) }))
    sent += 500
    await sleep(30)
  }
  t.equal(news.followers.size, 1, `after ${sent} events`)
  slow.resume()
  await closed
  await until('the other has all', () => other.named().length === sent)
  other.leave()
})

t.test('only so many streams are open at once', async (t) => {
  const server = await apiServer(t, { limits: { streamsMax: 2 } })
  const one = await follow(server, 'ada')
  const two = await follow(server, 'ada')
  const third = await server.get('/events')
  t.equal(third.status, 503)
  t.match(await third.json(), { code: 'TOO_MANY_VIEWERS' })
  one.leave()
  await until('there is room', async () => {
    const again = await follow(server, 'ada')
    again.leave()
    return again.answer.status === 200
  })
  two.leave()
})

const LIVE = '/cameras/south/pi/door/live.mjpg'
const picture = (n: number, bytes = tinyJpeg) => ({ bytes, capturedAtMs: n, receivedAtMs: n + 1 })

/** The parts of a stream of pictures so far. */
function partsOf(text: string): { readonly capturedAtMs: number; readonly whole: boolean }[] {
  return [...text.matchAll(/content-length: (\d+)\r\nx-captured-at-ms: (\d+)\r\n/g)].map(
    ({ index, 0: head, 1: length, 2: capturedAtMs }) => {
      const from = text.indexOf('\r\n\r\n', index + head.length - 2) + 4
      const jpeg = text.slice(from, from + Number(length))
      return {
        capturedAtMs: Number(capturedAtMs),
        whole: jpeg.startsWith('\xff\xd8') && jpeg.endsWith('\xff\xd9'),
      }
    },
  )
}

t.test('pictures come one after the other, each whole, with the time it was taken', async (t) => {
  const server = await apiServer(t, { live: { rateMax: 30 } })
  const { live, get } = server
  live.newest = picture(1)
  const leaving = new AbortController()
  const answer = await get(LIVE, 'carl', { signal: leaving.signal })
  t.match(answer.headers.get('content-type'), 'multipart/x-mixed-replace; boundary=')
  t.equal(answer.headers.get('cache-control'), 'no-store')
  let text = ''
  const reading = (async () => {
    for await (const chunk of answer.body ?? []) text += Buffer.from(chunk).toString('latin1')
  })().catch(() => {})
  await until('the last one at once', () => partsOf(text).length === 1)
  for (let n = 2; n <= 5; n += 1) {
    live.show(picture(n))
    await until('the next', () => partsOf(text).length === n)
  }
  t.same(
    partsOf(text),
    [1, 2, 3, 4, 5].map((capturedAtMs) => ({ capturedAtMs, whole: true })),
  )
  t.match(text, /\r\n--sightline-picture\r\n$/, 'its end is said at once: browsers show it then')
  leaving.abort()
  await reading
  await until('nobody looks', () => live.watchers.size === 0)
})

t.test('a viewer gets no more pictures than are set, and the newest of them', async (t) => {
  const server = await apiServer(t, { live: { rateMax: 5 } })
  const { live, get } = server
  const leaving = new AbortController()
  const answer = await get(LIVE, 'carl', { signal: leaving.signal })
  let text = ''
  const reading = (async () => {
    for await (const chunk of answer.body ?? []) text += Buffer.from(chunk).toString('latin1')
  })().catch(() => {})
  await until('looks', () => live.watchers.size === 1)
  for (let n = 1; n <= 50; n += 1) {
    live.show(picture(n))
    await sleep(20)
  }
  await until('the newest', () => partsOf(text).at(-1)?.capturedAtMs === 50)
  const { length } = partsOf(text)
  t.ok(length >= 3 && length <= 10, `${length} pictures in a second or two`)
  leaving.abort()
  await reading
})

t.test('a viewer who does not read gets fewer pictures, and holds one', async (t) => {
  const server = await apiServer(t, { live: { rateMax: 30 } })
  const { live, url, tokens } = server
  const { hostname, port, pathname } = new URL(`${url}${LIVE}`)
  const slow = connect(Number(port), hostname)
  await once(slow, 'connect')
  slow.write(`GET ${pathname} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${tokens.carl}\r\n\r\n`)
  await until('looks', () => live.watchers.size === 1)
  slow.pause()
  const large = Buffer.concat([tinyJpeg.subarray(0, -2), Buffer.alloc(500_000), Buffer.from([0xff, 0xd9])])
  globalThis.gc?.()
  const before = process.memoryUsage().arrayBuffers
  for (let n = 1; n <= 60; n += 1) {
    live.show(picture(n, Buffer.from(large)))
    await sleep(35)
  }
  globalThis.gc?.()
  t.equal(live.watchers.size, 1)
  let text = ''
  slow.on('data', (chunk) => {
    text += chunk.toString('latin1')
  })
  if (globalThis.gc) t.ok(process.memoryUsage().arrayBuffers - before < 6_000_000)
  slow.resume()
  await until('the newest', () => partsOf(text).at(-1)?.capturedAtMs === 60)
  await until('whole', () => partsOf(text).at(-1)?.whole === true)
  const { length } = partsOf(text)
  t.ok(length < 30, `${length} of 60 pictures`)
  slow.destroy()
  await until('nobody looks', () => live.watchers.size === 0)
})

t.test('no more look than may; and a live picture ends when the right does', async (t) => {
  const server = await apiServer(t)
  const { live, get, access } = server
  live.viewersMax = 1
  const leaving = new AbortController()
  const one = await get(LIVE, 'carl', { signal: leaving.signal })
  const two = await get(LIVE, 'ada')
  t.equal(two.status, 503)
  t.match(await two.json(), { code: 'TOO_MANY_VIEWERS' })
  t.ok(two.headers.get('retry-after'))
  const [token] = await access.tokens.list('carl')
  await access.tokens.revoke(token?.id ?? '', 'carl')
  await one.text()
  t.equal(live.watchers.size, 0)
  t.equal((await get('/cameras/south/pi/none/live.mjpg')).status, 404)
})

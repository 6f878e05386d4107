import t from 'tap'
import type { Person } from '../../console/access/may.ts'
import type { Camera, Cameras } from '../../console/api/cameras.ts'
import type { Counts, Overview } from '../../console/api/counts.ts'
import type { Detection, DetectionDetail, DetectionsPage } from '../../console/api/detections.ts'
import type { Devices } from '../../console/api/devices.ts'
import type { HealthEvent, HealthEventsPage } from '../../console/api/health-events.ts'
import type { Keepers } from '../../console/api/keepers.ts'
import type { Problem } from '../../console/api/problem.ts'
import { failure } from '../../lib/errors.ts'
import { newId } from '../../wire/id.ts'
import type { CameraAddress } from '../../wire/topics.ts'
import { makeCrop, tinyJpeg } from '../kit/crops.ts'
import { type ApiServer, apiServer, cameraSeen, NORTH, SOUTH, storedOf, tokenOf, YARD } from './api-server.ts'

const T0 = Date.UTC(2026, 10, 20, 9)
const NOBODY = '01980000-0000-7000-8000-000000000000'
const pathOf = ({ site, device, camera }: CameraAddress) => `${site}/${device}/${camera}`

async function idsOf({ json }: ApiServer, path: string, user?: string): Promise<string[]> {
  const { items } = await json<DetectionsPage>(path, user)
  return items.map(({ id }: Detection) => id)
}

async function problemOf(answer: Response): Promise<Problem> {
  const type = answer.headers.get('content-type')
  if (type !== 'application/problem+json') throw new Error(`not a problem but ${answer.status} ${type}`)
  return (await answer.json()) as Problem
}

t.test('what was seen comes newest first, page by page, and each once', async (t) => {
  const { json, store } = await apiServer(t)
  // Several of the same moment, across the ends of pages.
  const stored = await store(
    ...Array.from({ length: 25 }, (_, n) => ({ capturedAtMs: T0 + Math.floor(n / 4) })),
  )
  const seen: Detection[] = []
  let path: string | undefined = '/detections?limit=10'
  for (let pages = 0; pages < 5 && path !== undefined; pages += 1) {
    const page: DetectionsPage = await json(path)
    seen.push(...page.items)
    path = page.next === null ? undefined : `/detections?limit=10&cursor=${page.next}`
  }
  t.same(seen.map(({ id }) => id).toSorted(), stored.map(({ id }) => id).toSorted())
  t.ok(seen.every(({ atMs }, n) => n === 0 || atMs <= (seen[n - 1] as Detection).atMs))
  const tenth = seen[9] as Detection
  const newer = await json<DetectionsPage>(`/detections?limit=5&after=${tenth.atMs}.${tenth.id}`)
  t.same(
    newer.items.map(({ id }) => id),
    seen.slice(4, 9).map(({ id }) => id),
    'what is newer than a place: the nearest, newest first',
  )
})

t.test('each filter finds what it names, and nothing else', async (t) => {
  const server = await apiServer(t)
  const track = newId()
  const [a, b, c] = await server.store(
    { ...NORTH, capturedAtMs: T0, score: 0.95, masked: true, track, file: 'IMG_12.jpg' },
    { ...SOUTH, capturedAtMs: T0 + 1000, score: 0.6, masked: false, box: [0, 0, 200, 150] },
    { ...YARD, capturedAtMs: T0 + 86_400_000, score: 0.5 },
  )
  const ids = (...some: ({ id: string } | undefined)[]) => some.map((it) => it?.id)
  const attributed = makeCrop({ ...NORTH, capturedAtMs: T0 - 1000 })
  const d = {
    ...storedOf(attributed.metadata, attributed.payload),
    attributes: [{ name: 'mood', label: 'calm: very', score: 0.7 }],
  }
  await server.database.apply([d], 'cloud')
  await server.get(`/detections/${b?.id}/review`, 'ada', { method: 'PUT' })
  for (const [query, found] of [
    ['', ids(c, b, a, d)],
    ['?site=south', ids(c, b)],
    ['?site=south&site=north', ids(c, b, a, d)],
    ['?device=south/pi', ids(c, b)],
    ['?camera=south/pi/yard&camera=north/pi/gate', ids(c, a, d)],
    [`?from=${T0 + 1}`, ids(c, b)],
    ['?from=2026-11-21', ids(c)],
    ['?from=2026-11-20T10:00:00%2B01:00&to=2026-11-20T09:00:01Z', ids(a)],
    [`?track=${track}`, ids(a)],
    ['?masked=true', ids(a)],
    ['?masked=false', ids(b)],
    ['?masked=unknown', ids(c, d)],
    ['?scoreMin=0.6', ids(b, a, d)],
    ['?scoreMin=0.6&scoreMax=0.8', ids(b)],
    ['?sizeMin=150', ids(b)],
    ['?sizeMin=151', ids()],
    ['?reviewed=true', ids(b)],
    ['?reviewed=false', ids(c, a, d)],
    ['?attribute=mood', ids(d)],
    ['?attribute=mood:calm:%20very', ids(d)],
    ['?attribute=mood:angry', ids()],
    ['?file=img_1', ids(a)],
    ['?site=south&masked=true', ids()],
  ] as const)
    t.same(await idsOf(server, `/detections${query}`), found, query)
  t.same(await idsOf(server, '/detections?reviewed=true', 'otto'), [], 'marks are each person’s own')
})

t.test('one detection has what belongs to it', async (t) => {
  const { json, store } = await apiServer(t)
  const track = newId()
  const [one, two, other, three] = await store(
    { capturedAtMs: T0, track },
    {
      capturedAtMs: T0 + 1,
      track,
      masked: true,
      quality: { total: 1, size: 1, sharpness: 1, frontality: 1 },
    },
    { ...SOUTH, capturedAtMs: T0 + 2 },
    { capturedAtMs: T0 + 3, track },
  )
  const detail = await json<DetectionDetail>(`/detections/${two?.id}`)
  t.match(detail, {
    id: two?.id,
    ...NORTH,
    capturedAtMs: T0 + 1,
    masked: true,
    box: two?.box,
    region: two?.region,
    frame: two?.frame,
    newer: three?.id,
    older: one?.id,
    reviewed: false,
    sha256: two?.sha256,
  })
  t.same(
    detail.trackOthers.map(({ id }) => id),
    [three?.id, one?.id],
  )
  t.match(await json(`/detections/${other?.id}`), { newer: null, older: null, trackOthers: [], track: null })
})

t.test('a picture is the object of the bucket, known by its hash, and may be kept as a file', async (t) => {
  const { get, store, bucket } = await apiServer(t)
  const [one] = await store({ capturedAtMs: T0 })
  const path = `/detections/${one?.id}/picture`
  const answer = await get(path, 'vera')
  t.same(Buffer.from(await answer.arrayBuffer()), Buffer.from((await bucket.read(one?.key ?? '')) ?? []))
  t.equal(answer.headers.get('content-type'), 'image/jpeg')
  t.equal(answer.headers.get('etag'), `"${one?.sha256}"`)
  t.match(answer.headers.get('cache-control'), /^private, /, 'no proxy shows it to the next one')
  t.match(answer.headers.get('vary'), /cookie/i, 'nor a browser to the next account')
  const again = await get(path, 'vera', { headers: { 'if-none-match': `"x", W/"${one?.sha256}"` } })
  t.equal(again.status, 304)
  const file = await get(`${path}?download`)
  t.equal(
    file.headers.get('content-disposition'),
    'attachment; filename="north_pi_gate_2026-11-20T09-00-00Z.jpg"',
  )
  await bucket.remove([one?.key ?? ''])
  t.equal((await get(path)).status, 404)
})

t.test(
  'what is out of one’s scope is answered as what there is not: by id, picture, search, count',
  async (t) => {
    const server = await apiServer(t)
    const { get, json, store, fleet } = server
    const [north, south, yard] = await store({ ...NORTH }, { ...SOUTH }, { ...YARD })
    for (const [method, path] of [
      ['GET', '/detections/ID'],
      ['GET', '/detections/ID/picture'],
      ['PUT', '/detections/ID/review'],
      ['DELETE', '/detections/ID/review'],
      ['DELETE', '/detections/ID'],
    ] as const) {
      const of = (id: string | undefined) => get(path.replace('ID', `${id}`), 'nora', { method })
      const theirs = await problemOf(await of(south?.id))
      t.same(theirs, await problemOf(await of(NOBODY)), `${method} ${path}`)
      t.equal(theirs.status, 404)
    }
    for (const [method, path] of [
      ['GET', ''],
      ['GET', '/picture.jpg'],
      ['GET', '/live.mjpg'],
      ['POST', '/commands'],
    ] as const) {
      const body = method === 'POST' ? { body: '{"command":"pause"}' } : {}
      const of = (camera: string) =>
        get(`/cameras/${camera}${path}`, 'nora', {
          method,
          ...body,
          headers: method === 'POST' ? { 'content-type': 'application/json' } : {},
        })
      const theirs = await problemOf(await of(pathOf(SOUTH)))
      t.same(theirs, await problemOf(await of('north/pi/none')), `${method} camera${path}`)
      t.equal(theirs.status, 404)
    }
    t.same(await idsOf(server, '/detections', 'nora'), [north?.id])
    t.same(await idsOf(server, '/detections?site=south', 'nora'), [])
    t.same(await idsOf(server, '/detections', 'carl'), [south?.id], 'one camera of a site')
    t.same(await idsOf(server, '/detections?camera=south/pi/yard', 'carl'), [])
    t.notOk((await idsOf(server, '/detections', 'carl')).includes(`${yard?.id}`))
    const from = Date.now() - 3_600_000
    t.equal((await json<Counts>(`/counts?by=day&from=${from}`, 'nora')).total, 1)
    t.equal((await json<Counts>(`/counts?by=day&from=${from}&site=south`, 'nora')).total, 0)
    t.equal((await json<Counts>(`/counts?by=day&from=${from}`)).total, 3)
    const overview = await json<Overview>('/overview', 'nora')
    t.equal(overview.newest?.id, north?.id)
    t.match(overview, { today: { total: 1 }, cameras: { live: 1, all: 1 } })
    t.same((await json<Cameras>('/cameras', 'carl')).items.map(pathOf), ['south/pi/door'])
    t.equal(fleet.cameras.length, 3)
    t.match(
      (await json<Devices>('/devices', 'carl')).items,
      [{ site: 'south', device: 'pi', online: false, cameras: ['door'] }],
      'no device of which nothing is seen',
    )
    t.equal((await json<Devices>('/devices', 'carl')).items.length, 1)
    const marked = await get('/detections/reviews', 'nora', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ ids: [north?.id, south?.id, NOBODY], reviewed: true }),
    })
    t.same(await marked.json(), { changed: 1 }, 'others are passed over')
  },
)

t.test('a right that one lacks is refused, by role, by user, by token', async (t) => {
  const { get, store, access, url, fleet } = await apiServer(t)
  const [one] = await store({ ...SOUTH })
  const camera = `/cameras/${pathOf(SOUTH)}`
  fleet.cameras = [cameraSeen(SOUTH)]
  const post = {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{"command":"pause"}',
  }
  for (const [user, path, init] of [
    ['vera', `${camera}/live.mjpg`, {}],
    ['anna', `${camera}/picture.jpg`, {}],
    ['vera', '/detections.csv', {}],
    ['nora', '/keepers', {}],
    ['anna', '/health-events', {}],
    ['anna', `${camera}/commands`, post],
    ['anna', `/detections/${one?.id}`, { method: 'DELETE' }],
    ['otto', '/users', {}],
    ['otto', '/audit', {}],
  ] as const) {
    const problem = await problemOf(await get(path, user, init))
    t.match(problem, { status: 403, code: 'NOT_ALLOWED' }, `${user} ${path}`)
  }
  const narrow = await tokenOf(access, 'ada', ['see'])
  const as = (path: string) => fetch(`${url}${path}`, { headers: { authorization: `Bearer ${narrow}` } })
  t.equal((await as('/detections')).status, 200)
  t.equal((await as('/detections.csv')).status, 403)
  t.equal((await as('/keepers')).status, 403)
})

t.test('a wrong parameter is named, with what it must be', async (t) => {
  const { get } = await apiServer(t)
  for (const [path, parameter, detail] of [
    ['/detections?from=yesterday', 'from', /^must be a time such as/],
    ['/detections?to=99999999999999999', 'to', /^must be a time/],
    ['/detections?to=253402300800000', 'to', /between the years 1970 and 9999/],
    ['/detections?limit=0', 'limit', /from 1 to 200/],
    ['/detections?limit=ten', 'limit', /a whole number/],
    ['/detections?limit=5&limit=6', 'limit', /string/],
    ['/detections?site=../etc', 'site.0', /letters, digits/],
    ['/detections?camera=a/b', 'camera.0', /site\/device\/camera/],
    ['/detections?masked=perhaps', 'masked', /true, false or unknown/],
    ['/detections?scoreMin=1.5', 'scoreMin', /from 0 to 1/],
    ['/detections?cursor=x', 'cursor', /must be a cursor/],
    ['/detections?colour=red', 'colour', /is not known here/],
    ['/cameras?colour=red', 'colour', /is not known here/],
    ['/detections/none', 'id', /must be an id/],
    ['/counts', 'by', /hour, day, week or month/],
    ['/counts?by=day&tz=Mars/Olympus', 'tz', /must be a time zone/],
  ] as const) {
    const problem = await problemOf(await get(path))
    t.match(
      problem,
      { status: 400, code: 'PARAMETER_INVALID', title: 'Bad Request', type: 'about:blank' },
      path,
    )
    t.match(problem.errors, [{ parameter, detail }], path)
  }
  for (const path of [
    `/counts?by=hour&from=1970-01-01`,
    '/counts?by=hour&split=camera&from=2026-01-01&to=2026-06-01',
    '/counts?by=day&from=2026-01-02&to=2026-01-01',
    '/detections?cursor=1.01980000-0000-7000-8000-000000000000&after=1.01980000-0000-7000-8000-000000000000',
  ])
    t.match(await problemOf(await get(path)), { status: 400, code: 'PARAMETER_INVALID' }, path)
  const body = { method: 'POST', headers: { 'content-type': 'application/json' } }
  const send = (text: string, headers = body.headers) =>
    get('/detections/reviews', 'ada', { method: 'POST', headers, body: text })
  t.match(await problemOf(await send('{')), { status: 400, code: 'BODY_INVALID' })
  t.match(await problemOf(await send('{"ids":[],"reviewed":true}')), { errors: [{ parameter: 'ids' }] })
  t.match(await problemOf(await send('{"__proto__":{}}')), { status: 400 })
  t.match(await problemOf(await send('x', { 'content-type': 'text/csv' })), { status: 415 })
  t.match(await problemOf(await send(`"${'x'.repeat(70_000)}"`)), { status: 413, code: 'BODY_TOO_LARGE' })
  t.match(await problemOf(await get('/none')), { status: 404, code: 'NOT_FOUND' })
  t.match(await problemOf(await get(`/detections/${'x'.repeat(4000)}`)), { status: 400 }, 'however long')
})

t.test('who is nobody is told to sign in, at addresses that lead nowhere too', async (t) => {
  const { url, tokens, access } = await apiServer(t)
  for (const path of ['/detections', '/none', `/detections/${NOBODY}/picture`]) {
    const answer = await fetch(`${url}${path}`)
    t.equal(answer.headers.get('www-authenticate')?.startsWith('Bearer'), true)
    t.match(await problemOf(answer), { status: 401, code: 'NOT_SIGNED_IN' }, path)
  }
  const [token] = await access.tokens.list('vera')
  const as = () => fetch(`${url}/cameras`, { headers: { authorization: `Bearer ${tokens.vera}` } })
  t.equal((await as()).status, 200)
  await access.tokens.revoke(token?.id ?? '', 'vera')
  t.equal((await as()).status, 401, 'revoked at once')
})

t.test('counts and the overview say how many', async (t) => {
  const { json, store, fleet } = await apiServer(t)
  const now = Date.now()
  await store(
    { ...NORTH, capturedAtMs: T0, masked: true },
    { ...NORTH, capturedAtMs: T0 + 60_000, masked: false },
    { ...SOUTH, capturedAtMs: T0 + 3_600_000 },
    { ...SOUTH, capturedAtMs: now - 1000, masked: true },
  )
  const span = `from=2026-11-20&to=2026-11-21`
  const byHour = await json<Counts>(`/counts?by=hour&${span}`)
  t.equal(byHour.total, 3)
  t.same(
    byHour.items.filter(({ count }) => count > 0),
    [
      { fromMs: T0, count: 2 },
      { fromMs: T0 + 3_600_000, count: 1 },
    ],
  )
  const byCamera = await json<Counts>(`/counts?by=day&split=camera&${span}`)
  t.same(
    byCamera.items.toSorted((a, b) => b.count - a.count),
    [
      { fromMs: Date.UTC(2026, 10, 20), camera: NORTH, count: 2 },
      { fromMs: Date.UTC(2026, 10, 20), camera: SOUTH, count: 1 },
    ],
  )
  const byMask = await json<Counts>(`/counts?by=day&split=masked&${span}`)
  t.same(
    new Map(byMask.items.map(({ masked, count }) => [masked, count])),
    new Map([
      [true, 1],
      [false, 1],
      [null, 1],
    ]),
  )
  const there = await json<Counts>(
    '/counts?by=day&tz=Asia/Tokyo&from=2026-11-20T00:00:00Z&to=2026-11-20T12:00:00Z',
  )
  t.equal(there.items[0]?.fromMs, Date.UTC(2026, 10, 19, 15), 'a day begins where one is')
  fleet.cameras = [cameraSeen(NORTH), cameraSeen(SOUTH, 'down'), cameraSeen(YARD, 'paused')]
  const overview = await json<Overview>('/overview', 'vera')
  t.match(overview, {
    today: { total: 1, masked: 1, notMasked: 0, maskedShare: 1 },
    cameras: { live: 1, all: 3 },
    newest: { ...SOUTH, capturedAtMs: now - 1000 },
    needs: [{ is: 'camera', camera: { ...SOUTH, is: 'down' } }],
    needsCount: 1,
  })
})

t.test('an answer that is as before is not sent again', async (t) => {
  const { get, store } = await apiServer(t)
  await store({})
  const first = await get('/detections')
  const etag = first.headers.get('etag') ?? ''
  t.ok(etag)
  const again = await get('/detections', 'ada', { headers: { 'if-none-match': etag } })
  t.equal(again.status, 304)
  t.equal(await again.text(), '')
  await store({})
  t.equal((await get('/detections', 'ada', { headers: { 'if-none-match': etag } })).status, 200)
})

t.test('marks are set and taken back, one by one and in bulk', async (t) => {
  const server = await apiServer(t)
  const { get, store } = server
  const stored = await store({ capturedAtMs: T0 }, { capturedAtMs: T0 + 1 }, { capturedAtMs: T0 + 2 })
  const [one] = stored
  t.equal((await get(`/detections/${one?.id}/review`, 'vera', { method: 'PUT' })).status, 204)
  t.equal((await get(`/detections/${one?.id}/review`, 'vera', { method: 'PUT' })).status, 204, 'again')
  const bulk = async (reviewed: boolean) => {
    const answer = await get('/detections/reviews', 'vera', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ ids: stored.map(({ id }) => id), reviewed }),
    })
    return answer.json()
  }
  t.same(await bulk(true), { changed: 2 })
  t.equal((await idsOf(server, '/detections?reviewed=true', 'vera')).length, 3)
  t.equal((await get(`/detections/${one?.id}/review`, 'vera', { method: 'DELETE' })).status, 204)
  t.same(await bulk(false), { changed: 2 })
  t.same(await idsOf(server, '/detections?reviewed=true', 'vera'), [])
})

t.test('forgetting asks the line, and stands in the log of what was done', async (t) => {
  const { get, store, line, access } = await apiServer(t)
  const [one] = await store({ ...SOUTH })
  const answer = await get(`/detections/${one?.id}`, 'otto', { method: 'DELETE' })
  t.same(await answer.json(), { places: [{ place: 'the bucket', count: 1, left: false }] })
  t.same(line.forgotten, [`${one?.id} by otto`])
  const [entry] = await access.audit.page({ action: 'detection.forget' }, undefined, 10)
  t.match(entry, { user: 'otto', subject: one?.id, details: { key: one?.key } })
  line.forget = async () => {
    throw failure('NOT_CONFIRMED', 'No subscriber has answered.')
  }
  t.match(await problemOf(await get(`/detections/${one?.id}`, 'otto', { method: 'DELETE' })), {
    status: 504,
    code: 'NOT_CONFIRMED',
  })
})

t.test('what cannot be written to the log of what was done is not done', async (t) => {
  const { get, store, line, access } = await apiServer(t)
  const [one] = await store({ ...SOUTH })
  access.record = async () => {
    throw failure('DATABASE_UNREACHABLE', 'The database db.internal is away.')
  }
  const answer = await get(`/detections/${one?.id}`, 'otto', { method: 'DELETE' })
  t.equal(answer.headers.get('retry-after'), '5')
  const problem = await problemOf(answer)
  t.match(problem, { status: 503, code: 'DATABASE_UNREACHABLE' })
  t.notMatch(problem.detail, 'db.internal', 'no names from inside')
  t.same(line.forgotten, [])
})

t.test('a command is answered with the state that the camera has confirmed', async (t) => {
  const { get, line, access, url } = await apiServer(t)
  const command = (body: unknown, user = 'otto') =>
    get(`/cameras/${pathOf(SOUTH)}/commands`, user, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
  const answer = (await (await command({ command: 'pause' })).json()) as Camera
  t.match(answer, { ...SOUTH, state: { paused: true } })
  await command({ command: 'threshold', value: '0.7' })
  t.same(line.commands, ['south/pi/door pause ', 'south/pi/door threshold 0.7'])
  const { secret } = await access.tokens.create((await access.people.find('otto'))?.person as Person, {
    name: 'no pictures',
    rights: ['see', 'command'],
    expiresInMs: 60_000,
  })
  const blind = await fetch(`${url}/cameras/${pathOf(SOUTH)}/commands`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${secret}` },
    body: '{"command":"snapshot"}',
  })
  t.match(await problemOf(blind), { status: 403, code: 'NOT_ALLOWED' }, 'a picture of now is live')
  t.equal(line.commands.length, 2)
  t.match(await access.audit.page({ action: 'camera.command' }, undefined, 10), [
    { user: 'otto', subject: 'south/pi/door', details: { command: 'threshold', value: '0.7' } },
    {},
  ])
  t.match(await problemOf(await command({ command: 'threshold', value: '7' })), { status: 400 })
  t.match(await problemOf(await command({ command: 'live', value: '60' })), { status: 400 })
  line.answer = () => {
    throw failure('CAMERA_OFFLINE', 'south/pi is offline.')
  }
  t.match(await problemOf(await command({ command: 'resume' })), { status: 409, code: 'CAMERA_OFFLINE' })
})

t.test('a camera’s picture says how old it is', async (t) => {
  const { get, live } = await apiServer(t)
  const path = `/cameras/${pathOf(SOUTH)}/picture.jpg`
  t.match(await problemOf(await get(path)), { status: 404 })
  live.newest = { bytes: tinyJpeg, capturedAtMs: 1000, receivedAtMs: 2000 }
  const answer = await get(path, 'carl')
  t.same(Buffer.from(await answer.arrayBuffer()), tinyJpeg)
  t.equal(answer.headers.get('x-captured-at-ms'), '1000')
  t.equal(answer.headers.get('x-received-at-ms'), '2000')
  t.equal(answer.headers.get('cache-control'), 'no-store')
})

t.test('keepers come with their books', async (t) => {
  const { json, fleet } = await apiServer(t)
  const queue = {
    name: 'inbox',
    accepted: 10,
    forwarded: 7,
    pending: 2,
    dropped: { expired: 1 },
    bytes: 2000,
    oldestAtMs: 1,
  }
  fleet.keepers = [
    {
      report: {
        v: 1,
        keeper: 'subscriber-cloud',
        program: 'subscriber',
        name: 'cloud',
        version: '0.1.0',
        startedAtMs: 1,
        atMs: 2,
        everyMs: 5000,
        ok: true,
        checks: { bucket: 'ok' },
        queues: [queue],
        links: [],
      },
      seenAtMs: 3,
      isSilent: true,
      forwardedPerS: { inbox: 1.5 },
    },
  ]
  const { items } = await json<Keepers>('/keepers', 'otto')
  t.match(items, [
    {
      keeper: 'subscriber-cloud',
      queues: [queue],
      silent: true,
      ended: false,
      seenAtMs: 3,
      forwardedPerS: { inbox: 1.5 },
    },
  ])
})

t.test('events of health come newest first, are filtered, and are marked for all', async (t) => {
  const { get, json, database } = await apiServer(t)
  const events = Array.from({ length: 5 }, (_, n) => ({
    id: newId(),
    at_ms: T0 + Math.floor(n / 2),
    kind: n === 4 ? 'device-offline' : 'camera-down',
    subject: 'north/pi/gate',
    site: 'north',
    camera: 'north/pi/gate',
    level: n === 0 ? ('info' as const) : ('problem' as const),
    text: `number ${n}`,
    ended_at_ms: n < 2 ? T0 + 10 : null,
    reviewed_by: null,
    reviewed_at_ms: null,
  }))
  await database.write.insertInto('health_events').values(events).execute()
  const texts: string[] = []
  let path: string | undefined = '/health-events?limit=2'
  while (path !== undefined) {
    const page: HealthEventsPage = await json(path)
    texts.push(...page.items.map(({ text }) => text))
    path = page.next === null ? undefined : `/health-events?limit=2&cursor=${page.next}`
  }
  t.same(texts, ['number 4', 'number 3', 'number 2', 'number 1', 'number 0'])
  const count = async (query: string) =>
    (await json<HealthEventsPage>(`/health-events?${query}`)).items.length
  t.equal(await count('open=true'), 3)
  t.equal(await count('open=false'), 2)
  t.equal(await count('kind=camera-down&open=true'), 2)
  t.equal(await count('level=info'), 1)
  t.equal(await count(`from=${T0 + 1}&to=${T0 + 2}`), 2)
  const needs = await json<Overview>('/overview')
  t.equal(needs.needsCount, 3)
  t.match(needs.needs[0], { is: 'health', event: { text: 'number 4' } })
  const mark = async (method: string) =>
    (await (await get(`/health-events/${events[4]?.id}/review`, 'otto', { method })).json()) as HealthEvent
  t.match(await mark('PUT'), { reviewedBy: 'otto', text: 'number 4' })
  t.equal(await count('reviewed=true'), 1)
  t.equal((await json<Overview>('/overview')).needsCount, 2, 'seen to')
  t.match(await mark('DELETE'), { reviewedBy: null, reviewedAtMs: null })
  t.equal((await get(`/health-events/${NOBODY}/review`, 'otto', { method: 'PUT' })).status, 404)
})

t.test('who asks too often is told when to come again, and nobody else is', async (t) => {
  const { get } = await apiServer(t, { limits: { requestsPerMinuteMax: 5 } })
  for (let n = 0; n < 5; n += 1) t.equal((await get('/cameras', 'vera')).status, 200)
  const refused = await get('/cameras', 'vera')
  t.match(await problemOf(refused), { status: 429, code: 'TOO_MANY' })
  t.ok(Number(refused.headers.get('retry-after')) > 0)
  t.equal((await get('/cameras', 'anna')).status, 200)
})

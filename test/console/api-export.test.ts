import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { sql } from 'kysely'
import t from 'tap'
import { csvCell } from '../../console/api/export.ts'
import { makeCrop } from '../kit/crops.ts'
import { until } from '../kit/wait.ts'
import { type ApiServer, apiServer, NORTH, SOUTH, storedOf } from './api-server.ts'

const T0 = Date.UTC(2026, 10, 20, 9)

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

/** What is in use, without what is only not collected yet. */
function heldBytes(): number {
  collect()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

/** Copies of two rows, at either site, in turn; their objects are not there: exports read none. */
async function fill({ database }: ApiServer, count: number): Promise<void> {
  const stored = [NORTH, SOUTH].map((camera, n) => {
    const { metadata, payload } = makeCrop({ ...camera, file: 'x'.repeat(100), capturedAtMs: T0 - n - 1 })
    return storedOf(metadata, payload)
  })
  await database.apply(stored, 'cloud')
  await sql`
    insert into detections (at_ms, id, camera_id, captured_at_ms, stored_at_ms, clock_sane, score, size, box_json,
      region_json, frame_width, frame_height, track, masked, model, file, quality_json, attributes_json, bytes, sha256,
      key, subscriber)
    with recursive numbers(n) as (select 1 union all select n + 1 from numbers where n < ${count - 2})
    select ${T0} + n as at_ms, unhex('0198000000007000' || printf('8%015x', n)) as id, camera_id,
      ${T0} + n as captured_at_ms, stored_at_ms, clock_sane, score, size, box_json, region_json, frame_width,
      frame_height, track, masked, model, file, quality_json, attributes_json, bytes, sha256, key, subscriber
    from numbers join detections on at_ms = ${T0} - 1 - n % 2`.execute(database.write)
}

t.test('an export of 100,000 has each row once, and holds no more than a few of them', async (t) => {
  const server = await apiServer(t)
  const rows = 100_000
  await fill(server, rows)
  const before = heldBytes()
  const startedMs = performance.now()
  let most = 0
  const answer = await server.get('/detections.ndjson')
  t.equal(answer.headers.get('content-type'), 'application/x-ndjson')
  let count = 0
  let bytes = 0
  let measuredAt = 0
  let rest = ''
  let last = Number.MAX_SAFE_INTEGER
  const decoder = new TextDecoder()
  for await (const chunk of answer.body ?? []) {
    bytes += chunk.byteLength
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) {
      const { atMs } = JSON.parse(line)
      if (atMs >= last) t.fail('not newest first, or twice')
      last = atMs
      count += 1
    }
    if (bytes < measuredAt + 5e6) continue
    measuredAt = bytes
    most = Math.max(most, heldBytes() - before)
  }
  t.equal(count, rows)
  t.equal(rest, '')
  const seconds = (performance.now() - startedMs) / 1000
  t.comment(`${(bytes / 1e6).toFixed(0)} MB in ${seconds.toFixed(1)} s, ${(most / 1e6).toFixed(1)} MB held`)
  t.ok(bytes > 60e6)
  t.ok(most < 12e6, `${most} bytes held`)

  const confined = await (await server.get('/detections.csv?sizeMin=1', 'carl')).text()
  const lines = confined.split('\r\n')
  t.equal(lines.length, rows / 2 + 2, 'a header, what is in scope, and an end')
  t.ok(lines.slice(1, -1).every((line) => line.includes(',south,pi,door,')))
})

t.test('a reader who does not read slows his own export down, and it ends when he goes', async (t) => {
  const server = await apiServer(t, { limits: { exportsMax: 1 } })
  await fill(server, 30_000)
  let pages = 0
  const { database } = server
  const { export: exported } = database
  database.export = async function* (...args) {
    for await (const page of exported.apply(database, args)) {
      pages += 1
      yield page
    }
  }
  const leaving = new AbortController()
  const answer = await server.get('/detections.ndjson', 'ada', { signal: leaving.signal })
  await sleep(700)
  const read = pages
  t.ok(read < 40, `${read} pages of 60 were read, though nobody took them`)
  const second = await server.get('/detections.csv', 'otto')
  t.equal(second.status, 429, 'as many at once as are set')
  t.equal(second.headers.get('retry-after'), '10')
  leaving.abort()
  await t.rejects(answer.text())
  await until('the place is free', async () => (await server.get('/detections.csv?site=none')).status === 200)
})

t.test('an export ends with the token that asked for it', async (t) => {
  const server = await apiServer(t)
  await fill(server, 20_000)
  const answer = await server.get('/detections.ndjson', 'otto')
  const reader = answer.body?.getReader()
  await reader?.read()
  const [token] = await server.access.tokens.list('otto')
  await server.access.tokens.revoke(token?.id ?? '', 'otto')
  await sleep(300) // longer than it takes to be seen
  await t.rejects(async () => {
    for (;;) if ((await reader?.read())?.done) return
  }, 'cut off, and not ended as if that were all')
})

t.test('CSV is what spreadsheets read, and no cell of it is a formula', async (t) => {
  for (const [cell, text] of [
    ['=HYPERLINK("http://x")', `"'=HYPERLINK(""http://x"")"`],
    ['+1', "'+1"],
    ['-1', "'-1"],
    ['@SUM(A1)', "'@SUM(A1)"],
    ['\t=1', "'\t=1"],
    ['＝1', "'＝1"],
    ['a,b', '"a,b"'],
    ['a\r\nb', '"a\r\nb"'],
    ['plain', 'plain'],
    [-1.5, '-1.5'],
    [null, ''],
    [true, 'true'],
  ] as const)
    t.equal(csvCell(cell), text)
  const { get, store, access } = await apiServer(t)
  const [one] = await store({
    capturedAtMs: T0,
    file: '=cmd|calc!A1.jpg',
    masked: true,
    attributes: [{ name: '=1+1', label: 'a"b', score: 0.5, by: '@x' }],
    box: [-1.5, 2, 30, 40],
    model: 'a, "b"',
  })
  const answer = await get('/detections.csv')
  t.equal(answer.headers.get('content-type'), 'text/csv; charset=utf-8')
  t.equal(answer.headers.get('content-disposition'), 'attachment; filename="detections.csv"')
  const [head, row, end] = (await answer.text()).split('\r\n')
  t.match(head, /^id,at,captured_at,clock_sane,stored_at,site,device,camera,score,masked,/)
  t.match(row, `${one?.id},2026-11-20T09:00:00.000Z,2026-11-20T09:00:00.000Z,true,`)
  t.match(
    row,
    `,true,"'=1+1:a""b:0.5",,,-1.5,2,30,40,640,360,"a, ""b""",'=cmd|calc!A1.jpg,${one?.bytes},${one?.sha256},`,
  )
  t.equal(end, '')
  t.equal(createHash('sha256').update('').digest('hex').length, one?.sha256.length)
  const [entry] = await access.audit.page({ action: 'detections.export' }, undefined, 10)
  t.match(entry, { user: 'ada', subject: 'csv' })
})

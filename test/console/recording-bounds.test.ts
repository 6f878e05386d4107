import { setTimeout as sleep } from 'node:timers/promises'
import { sql } from 'kysely'
import t from 'tap'
import { makeAuthority, makeSignerCertificate } from '../../lib/tls/authority.ts'
import { makeClip } from '../kit/clips.ts'
import { temporaryFolder } from '../kit/programs.ts'
import { makeRealClips } from '../kit/real-clips.ts'
import { until } from '../kit/wait.ts'
import { type ApiServer, apiServer, NORTH } from './api-server.ts'

/** What is asked of recordings at once has a bound, and who asks for more is told so. */

const T0 = Date.UTC(2024, 10, 20, 9)
const GATE = 'north/pi/gate'

/** As many chunks more of the last one's camera, a millisecond apart: rows, no files. */
async function multiply({ database }: ApiServer, count: number): Promise<void> {
  const row = await database.write.selectFrom('clips').selectAll().executeTakeFirstOrThrow()
  const columns = Object.keys(row)
  const values = columns.map((name) =>
    name === 'id' ? 'randomblob(16)' : name === 'at_ms' || name === 'end_ms' ? `${name} + n` : name,
  )
  await sql
    .raw(
      `insert into clips (${columns}) select ${values} from clips,
        (with recursive numbers(n) as (select 1 union all select n + 1 from numbers where n < ${count}) select n from numbers)`,
    )
    .execute(database.write)
}

t.test('a stretch of which only a part could be read is refused, not called right', async (t) => {
  const folder = temporaryFolder(t)
  const nowMs = Date.now()
  await makeAuthority(folder, 'Test', { days: 100, nowMs })
  await makeSignerCertificate(folder, { site: 'north', device: 'pi' }, { days: 30, nowMs })
  const server = await apiServer(t, { recordings: { signersFolder: folder } })
  await server.record(makeClip({ ...NORTH, capturedAtMs: T0 }))
  await multiply(server, 7500)
  const verify = () =>
    server.get('/recordings/verify', 'ada', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ camera: GATE, fromMs: T0, toMs: T0 + 3_600_000 }),
    })
  const chain = () => server.get(`/recordings/chain?camera=${GATE}&from=${T0}&to=${T0 + 3_600_000}`)
  const refused = { code: 'PARAMETER_INVALID', detail: /more than \d+ chunks/ }
  t.equal((await chain()).status, 200)
  const verified = await verify()
  t.match([verified.status, await verified.json()], [400, refused])
  // Each four times: more than a chain may have.
  await multiply(server, 3)
  const chained = await chain()
  t.match([chained.status, await chained.json()], [400, refused])
  const shared = await server.get('/shares', 'ada', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      name: 'x',
      expiresInS: 3600,
      recording: { camera: GATE, fromMs: T0, toMs: T0 + 60_000 },
    }),
  })
  t.match([shared.status, await shared.json()], [400, refused])
})

t.test('a plan of an export takes a place among the exports, and gives it back', async (t) => {
  const server = await apiServer(t, { limits: { exportsMax: 1 } })
  await server.record(...(await makeRealClips({ ...NORTH, startMs: T0, chunks: 2, chunkMs: 1000 })))
  const gate = Promise.withResolvers<void>()
  const { bucket } = server
  const read = bucket.read.bind(bucket)
  let reads = 0
  bucket.read = async (key, signal) => {
    reads += 1
    await gate.promise
    return read(key, signal)
  }
  const stretch = `camera=${GATE}&from=${T0}&to=${T0 + 2000}`
  const first = server.get(`/recordings/export?${stretch}`)
  await until('it reads', () => reads > 0)
  // Where it has no bound it waits as the first one does.
  const second = (path: string) =>
    Promise.race([server.get(path).then(({ status }) => status), sleep(2000).then(() => 'it reads as well')])
  t.equal(await second(`/recordings/export?${stretch}`), 429)
  t.equal(await second(`/recordings/export.mp4?${stretch}`), 429)
  gate.resolve()
  t.equal((await first).status, 200)
  for (let n = 0; n < 2; n += 1) {
    const file = await server.get(`/recordings/export.mp4?${stretch}`)
    t.equal(file.status, 200, 'the place is free again')
    await file.arrayBuffer()
    await sleep(50)
  }
  t.equal((await server.get(`/recordings/export?${stretch}`)).status, 200)
})

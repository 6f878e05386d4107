import { Registry } from 'prom-client'
import t from 'tap'
import { Links, linkPages } from '../../../console/notices/links.ts'
import { HttpServer } from '../../../lib/http/server.ts'
import { apiServer, NORTH } from '../api-server.ts'

t.test('an address opens one picture, for its time, and as long as it is there', async (t) => {
  const server = await apiServer(t)
  const [one, two] = await server.store({ ...NORTH }, { ...NORTH })
  if (!one || !two) return
  let aheadMs = 0
  const parts = {
    database: server.database,
    bucket: server.bucket,
    publicUrl: 'https://console.example.org/',
    signedByBucket: false,
    forMs: 3_600_000,
    key: Buffer.alloc(32, 1),
    now: () => Date.now() + aheadMs,
  }
  const links = new Links(parts)
  const http = await HttpServer.open({
    host: '127.0.0.1',
    port: 0,
    metrics: new Registry(),
    health: () => ({ ok: true, checks: {} }),
    ownLogin: async () => false,
    routes: (app) => linkPages(app, links, { requestsPerMinuteMax: 1000 }),
  })
  t.teardown(() => http[Symbol.asyncDispose]())
  const link = await links.of(one.id)
  t.match(link?.url, /^https:\/\/console\.example\.org\/n\//)
  const path = new URL(link?.url ?? '').pathname
  const get = (at: string) => fetch(`${http.url}${at}`)
  const answer = await get(path)
  t.equal(answer.status, 200)
  t.match(answer.headers.get('content-type'), /^image\/jpeg/)
  t.equal(answer.headers.get('cache-control'), 'no-store')
  t.same(Buffer.from(await answer.arrayBuffer()), await server.bucket.read(one.key))
  const [, , , until = '', signature = ''] = path.split('/')
  for (const wrong of [
    path.replace(one.id, two.id),
    path.replace(until, String(Number(until) + 60)),
    path.slice(0, -2),
    `/n/${one.id}/${until}/`,
    `/n/..%2f..%2fetc/${until}/${signature}`,
  ])
    t.equal((await get(wrong)).status, 404, wrong)
  aheadMs = 2 * 3_600_000
  t.equal((await get(path)).status, 404, 'its time is over')
  aheadMs = 0
  await server.database.apply(
    [{ v: 1, is: 'removed', id: one.id, key: one.key, why: 'forgotten' }],
    'subscriber',
  )
  t.equal((await get(path)).status, 404, 'it was forgotten')
  t.equal(await new Links({ ...parts, publicUrl: undefined }).of(two.id), undefined, 'a folder cannot sign')
  const signing = {
    read: server.bucket.read.bind(server.bucket),
    signedUrl: async (key: string, s: number) => `s3:${key}?${s}`,
  }
  const byBucket = new Links({ ...parts, publicUrl: undefined, bucket: signing, signedByBucket: true })
  t.match(await byBucket.of(two.id), { url: `s3:${two.key}?3600` })
})

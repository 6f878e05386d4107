import { mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { join } from 'node:path'
import type { FastifyRequest } from 'fastify'
import { Registry } from 'prom-client'
import t, { type Test } from 'tap'
import { publishGallery } from '../../cloud-subscriber/gallery/publish.ts'
import {
  allowedWithoutLogin,
  type GalleryOptions,
  galleryRoutes,
} from '../../cloud-subscriber/gallery/serve.ts'
import { SignedLinks } from '../../cloud-subscriber/links.ts'
import { linkTo } from '../../commands/link/address.ts'
import { FolderBucket } from '../../lib/buckets/folder.ts'
import { HttpServer } from '../../lib/http/server.ts'
import { idMinter } from '../../wire/id.ts'
import { objectKey } from '../../wire/object-key.ts'

async function serve(t: Test, access: GalleryOptions = { publicRead: false, links: undefined }) {
  const path = join(t.testdir({ 'secret.jpg': 'outside' }), 'crops')
  const bucket = await FolderBucket.open({ path })
  await bucket.create({ key: 's/d/c/1.jpg', body: Buffer.from('a face'), contentType: '', cacheControl: '' })
  await bucket.replace({
    key: 'gallery/index/writers.json',
    body: Buffer.from('{}'),
    contentType: '',
    cacheControl: '',
  })
  const http = await HttpServer.open({
    host: '127.0.0.1',
    port: 0,
    metrics: new Registry(),
    health: () => ({ ok: true, checks: {} }),
    routes: galleryRoutes(bucket, access),
  })
  t.teardown(async () => {
    await http[Symbol.asyncDispose]()
    await bucket[Symbol.asyncDispose]()
  })
  return { http, bucket, path }
}

/** Past fetch, which tidies addresses before it sends them. */
function rawStatus(url: string, target: string): Promise<number> {
  const { hostname, port } = new URL(url)
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname, () => {
      socket.write(`GET ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`)
    })
    let answer = ''
    socket.on('data', (data) => {
      answer += data.toString('latin1')
    })
    socket.on('end', () => resolve(Number(answer.split(' ')[1])))
    socket.on('error', reject)
  })
}

t.test('behind a proxy that shows it below a path of its own, redirects stay below that', async (t) => {
  const { http } = await serve(t)
  const proxy = createServer((request, response) => {
    const path = /^\/faces(\/.*)/.exec(request.url ?? '')?.[1]
    if (path === undefined) return void response.writeHead(404).end()
    fetch(`${http.url}${path}`, { redirect: 'manual' })
      .then(async (answer) => {
        response.writeHead(answer.status, { location: answer.headers.get('location') ?? '' })
        response.end(await answer.text())
      })
      .catch(() => response.destroy())
  })
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve))
  t.teardown(() => new Promise((resolve) => proxy.close(resolve).closeAllConnections()))
  const base = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}/faces`
  for (const path of ['/', '/gallery', '/gallery?from=somewhere']) {
    const page = await fetch(base + path)
    t.match({ url: page.url, status: page.status }, { url: `${base}/gallery/`, status: 200 }, path)
    t.match(await page.text(), '<title>Sightline</title>')
  }
})

t.test('the root leads to the page, and the page and its files carry a strict policy', async (t) => {
  const { http } = await serve(t)
  const page = await fetch(`${http.url}/`)
  t.equal(page.url, `${http.url}/gallery/`)
  t.match(await page.text(), '<title>Sightline</title>')
  for (const [name, type] of [
    ['', 'text/html'],
    ['index.html', 'text/html'],
    ['gallery.css', 'text/css'],
    ['gallery.js', 'text/javascript'],
    ['icon.svg', 'image/svg+xml'],
  ] as const) {
    const answer = await fetch(`${http.url}/gallery/${name}`)
    t.equal(answer.status, 200, name)
    t.match(answer.headers.get('content-type'), type)
    t.match(answer.headers.get('content-security-policy'), "default-src 'none'; script-src 'self'")
    t.equal(answer.headers.get('x-content-type-options'), 'nosniff')
    t.equal(answer.headers.get('cache-control'), 'no-cache')
  }
})

t.test(
  'crops are kept by the visitor’s browser for a day and by no one else, the index by none',
  async (t) => {
    const { http } = await serve(t)
    const crop = await fetch(`${http.url}/s/d/c/1.jpg`)
    t.equal(await crop.text(), 'a face')
    t.equal(crop.headers.get('content-type'), 'image/jpeg')
    t.equal(crop.headers.get('cache-control'), 'private, max-age=86400, immutable')
    const index = await fetch(`${http.url}/gallery/index/writers.json`)
    t.match(index.headers.get('content-type'), 'application/json')
    t.equal(index.headers.get('cache-control'), 'no-cache')
  },
)

t.test('a signed link opens its crop until it expires, and nothing else', async (t) => {
  const folder = t.testdir({ inbox: {} })
  const links = SignedLinks.open(join(folder, 'inbox'))
  t.equal(statSync(join(folder, 'inbox/link.key')).mode & 0o777, 0o600)
  t.equal(statSync(join(folder, 'inbox/link.key')).size, 32)
  t.same(readdirSync(join(folder, 'inbox')), ['link.key'])
  const key = 's/d/c/1.jpg'
  const inAMinute = SignedLinks.open(join(folder, 'inbox')).sign(key, Date.now() + 60_000)
  const allowed = allowedWithoutLogin({ publicRead: false, links })
  const asked = (address: string) =>
    allowed({
      url: address,
      query: Object.fromEntries(new URL(address, 'http://x').searchParams),
    } as FastifyRequest)
  const { http } = await serve(t, { publicRead: false, links })

  const good = await fetch(`${http.url}/${key}${inAMinute}`)
  t.equal(good.status, 200)
  t.equal(await good.text(), 'a face')
  t.match(good.headers.get('cache-control'), /^private, max-age=(59|60)$/)
  t.ok(asked(`/${key}${inAMinute}`), 'without a login')

  const past = links.sign(key, Date.now() - 1000)
  const expired = await fetch(`${http.url}/${key}${past}`)
  t.equal(expired.status, 403)
  t.match(await expired.text(), 'This link has expired.')
  t.equal(expired.headers.get('cache-control'), 'no-store')
  t.ok(asked(`/${key}${past}`), 'so that it is told so, not asked for a login')

  const other = SignedLinks.open(join(folder, 'other')).sign(key, Date.now() + 60_000)
  for (const query of [
    other,
    links.sign('s/d/c/2.jpg', Date.now() + 60_000),
    inAMinute.replace(/expires=\d+/, 'expires=99999999999'),
    inAMinute.replace(/expires=\d+/, 'expires=1e99'),
    inAMinute.replace(/expires=\d+&/, ''),
    inAMinute.replace(/&signature.*/, ''),
    `${inAMinute}&expires=1`,
    `${inAMinute.slice(0, -4)}`,
    '?expires=1&signature=',
  ]) {
    const answer = await fetch(`${http.url}/${key}${query}`)
    t.equal(answer.status, 403, query)
    t.match(await answer.text(), 'This link is not valid.')
    if (!query.endsWith('&expires=1')) t.notOk(asked(`/${key}${query}`), query)
  }
  for (const path of [
    `/${key}`,
    '/',
    '/gallery/',
    '/metrics',
    `/metrics${inAMinute}`,
    `/gallery/index/a.json${inAMinute}`,
  ])
    t.notOk(asked(path), path)
})

t.test('publicRead shows crops and gallery without a login, and neither health nor metrics', async (t) => {
  const allowed = allowedWithoutLogin({ publicRead: true, links: undefined })
  const asked = (url: string) => allowed({ url, query: {} } as FastifyRequest)
  for (const path of [
    '/',
    '/gallery',
    '/gallery/',
    '/gallery/gallery.js',
    '/s/d/c/1.jpg',
    '/gallery/index/writers.json?x',
  ])
    t.ok(asked(path), path)
  for (const path of [
    '/metrics',
    '/healthz',
    '/metrics?x=/1.jpg',
    '/metrics#.jpg',
    '/quarantine/1.bin',
    '//metrics',
  ])
    t.notOk(asked(path), path)
  const { http } = await serve(t, { publicRead: true, links: undefined })
  const crop = await fetch(`${http.url}/s/d/c/1.jpg`)
  t.equal(crop.headers.get('cache-control'), 'public, max-age=86400, immutable')
})

t.test('sightline link finds a crop by its key or id, and what it prints opens it', async (t) => {
  const links = SignedLinks.open(join(t.testdir(), '../inbox'))
  const { http, path, bucket } = await serve(t, { publicRead: false, links })
  const file = (settings: object) => {
    const name = join(path, '../conf.yaml')
    writeFileSync(
      name,
      JSON.stringify({
        inbox: { folder: join(path, '../../inbox') },
        bucket: { type: 'folder', path, publicUrl: http.url, ...settings },
      }),
    )
    return name
  }
  const capturedAtMs = Date.UTC(2026, 10, 20, 12, 59, 59, 990)
  const place = { site: 's', device: 'd', camera: 'c' }
  const minted = [capturedAtMs, capturedAtMs + 100, 0] // in its hour, an hour on, by a clock that was never set
  for (const atMs of minted) {
    const id = idMinter(() => atMs)()
    const key = objectKey({ ...place, id }, capturedAtMs)
    await bucket.create({ key, body: Buffer.from(id), contentType: '', cacheControl: '' })
    for (const crop of [key, id, id.toUpperCase()]) {
      const { address } = await linkTo(crop, '1h', file({}))
      t.ok(address.startsWith(`${http.url}/${key}?expires=`))
      t.equal(await (await fetch(address)).text(), id)
    }
    t.equal((await linkTo(id, '1h', file({ publicRead: true }))).address, `${http.url}/${key}`)
  }
  const missing = idMinter()()
  for (const crop of [
    missing,
    's/d/c/2.jpg',
    '../secret.jpg',
    's',
    '',
    'gallery/index/writers.json',
    `f${missing.slice(1)}`,
  ])
    await t.rejects(linkTo(crop, '1h', file({})), { code: 'CROP_NOT_FOUND' }, crop)
  for (const time of ['8d', '0s', 'forever', ''])
    await t.rejects(linkTo(missing, time, file({})), { code: 'USAGE' }, time)
  await t.rejects(linkTo(missing, '1h', file({ path: join(path, 'none') })), { code: 'BUCKET_NOT_FOUND' })
})

t.test('what the visitor has already is not sent again', async (t) => {
  const { http, bucket } = await serve(t)
  const url = `${http.url}/gallery/index/writers.json`
  const etag = (await fetch(url)).headers.get('etag') ?? ''
  for (const known of [etag, `W/${etag}`, `"x", ${etag}`, '*']) {
    const answer = await fetch(url, { headers: { 'if-none-match': known }, cache: 'no-store' })
    t.equal(answer.status, 304, known)
    t.equal(await answer.text(), '')
  }
  await bucket.replace({
    key: 'gallery/index/writers.json',
    body: Buffer.from('{"v":1}'),
    contentType: '',
    cacheControl: '',
  })
  t.equal((await fetch(url, { headers: { 'if-none-match': etag } })).status, 200)
})

t.test('HEAD answers without a body', async (t) => {
  const { http } = await serve(t)
  for (const path of ['/gallery/', '/s/d/c/1.jpg']) {
    const answer = await fetch(http.url + path, { method: 'HEAD' })
    t.equal(answer.status, 200)
    t.ok(Number(answer.headers.get('content-length')) > 0)
    t.equal(await answer.text(), '')
  }
  t.equal((await fetch(`${http.url}/s/d/c/1.jpg`, { method: 'DELETE' })).status, 404)
})

t.test('only crops, index and page leave the bucket', async (t) => {
  const { http, path } = await serve(t)
  mkdirSync(join(path, 'quarantine'))
  for (const name of [
    'note.txt',
    'page.html',
    'other.json',
    'quarantine/1.bin',
    '.incoming/1.jpg',
    'gallery/index/x.html',
  ])
    writeFileSync(join(path, name), 'x')
  for (const name of [
    'note.txt',
    'page.html',
    'other.json',
    'quarantine/1.bin',
    '.incoming/1.jpg',
    'gallery/index/x.html',
    's',
    's/',
    's/d/c/2.jpg',
    'gallery/other.js',
  ])
    t.equal((await fetch(`${http.url}/${name}`)).status, 404, name)
})

t.test('no address leads out of the bucket', async (t) => {
  const { http } = await serve(t)
  for (const target of [
    '/../secret.jpg',
    '/s/../../secret.jpg',
    '/%2e%2e/secret.jpg',
    '/..%2fsecret.jpg',
    '/s/%2e%2e%2f%2e%2e%2fsecret.jpg',
    '/..%5csecret.jpg',
    '//etc/passwd.jpg',
    '/%2fetc/passwd.jpg',
    '/s/d/c/1.jpg%00.jpg',
    '/gallery/index/../../../secret.jpg',
    '/%zz.jpg',
  ])
    t.match(await rawStatus(http.url, target), /^40[04]$/, target)
})

t.test('health and metrics stay where they were', async (t) => {
  const { http } = await serve(t)
  t.equal((await fetch(`${http.url}/healthz`)).status, 200)
  t.equal((await fetch(`${http.url}/metrics`)).status, 200)
})

t.test('a bucket that fails is a 503 that names it, not a missing picture', async (t) => {
  const { http, path } = await serve(t)
  mkdirSync(join(path, 'x'), { recursive: true })
  const { symlinkSync } = await import('node:fs')
  symlinkSync('loop.jpg', join(path, 'x/loop.jpg'))
  const answer = await fetch(`${http.url}/x/loop.jpg`)
  t.equal(answer.status, 503)
  t.match(await answer.json(), { code: 'BUCKET_REFUSED', message: path })
})

t.test('publishing puts the page into the bucket once, and again only where it changed', async (t) => {
  await using bucket = await FolderBucket.open({ path: t.testdir() })
  t.same(await publishGallery(bucket), [
    'gallery/index.html',
    'gallery/gallery.css',
    'gallery/gallery.js',
    'gallery/icon.svg',
  ])
  t.same(await publishGallery(bucket), [])
  await bucket.replace({
    key: 'gallery/gallery.css',
    body: Buffer.from('old'),
    contentType: '',
    cacheControl: '',
  })
  t.same(await publishGallery(bucket), ['gallery/gallery.css'])
})

import { mkdirSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { Registry } from 'prom-client'
import t, { type Test } from 'tap'
import { FolderBucket } from '../../cloud-subscriber/buckets/folder.ts'
import { publishGallery } from '../../cloud-subscriber/gallery/publish.ts'
import { galleryRoutes } from '../../cloud-subscriber/gallery/serve.ts'
import { HttpServer } from '../../lib/http.ts'

async function serve(t: Test) {
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
    routes: galleryRoutes(bucket),
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

t.test('crops are served for ever, the index for now', async (t) => {
  const { http } = await serve(t)
  const crop = await fetch(`${http.url}/s/d/c/1.jpg`)
  t.equal(await crop.text(), 'a face')
  t.equal(crop.headers.get('content-type'), 'image/jpeg')
  t.equal(crop.headers.get('cache-control'), 'public, max-age=31536000, immutable')
  const index = await fetch(`${http.url}/gallery/index/writers.json`)
  t.match(index.headers.get('content-type'), 'application/json')
  t.equal(index.headers.get('cache-control'), 'no-cache')
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

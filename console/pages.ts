import { createHash } from 'node:crypto'
import { glob, readFile } from 'node:fs/promises'
import { findPackageJSON } from 'node:module'
import { dirname, extname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { brotliCompress, constants, gzip } from 'node:zlib'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { notFound } from '../lib/http/server.ts'
import { builtPages } from './pages-build.ts'

/**
 * What a browser is given: one page for every address that a person may stand at, and its modules, style sheets and
 * libraries, each by its own name below a folder that is named by what all of them hold. They hold no data, so nobody has
 * to be signed in for them; the API says who may see what.
 */

/** Addresses of the pages. What is below them is found by the page itself. */
const PAGES = [
  '/',
  '/faces',
  '/faces/:id',
  '/cameras',
  '/cameras/:site/:device/:camera',
  '/recordings',
  '/streams',
  '/scenarios',
  '/scenarios/:id',
  '/publish',
  '/charts',
  '/notices',
  '/notices/:id',
  '/channels',
  '/devices',
  '/devices/:site/:device',
  '/flow',
  '/health',
  '/people',
  '/api',
]

/** Where the page Publish may send a browser's camera. */
export interface PublishAddress {
  readonly name: string
  readonly url: string
}

/** Of npm's packages these files are served, and no others. By the name that a module imports. */
const LIBRARIES = {
  preact: import.meta.resolve('preact'),
  'preact/hooks': import.meta.resolve('preact/hooks'),
  'preact/jsx-runtime': import.meta.resolve('preact/jsx-runtime'),
  '@preact/signals': import.meta.resolve('@preact/signals'),
  'hls.js': beside('hls.js', import.meta.url, 'dist/hls.light.min.mjs'),
  uplot: beside('uplot', import.meta.url, 'dist/uPlot.esm.js'),
  'sightline/publisher': new URL('../lib/browser/publisher.js', import.meta.url).href,
  // Which signals import: it lies where npm has put it for them.
  '@preact/signals-core': beside(
    '@preact/signals-core',
    import.meta.resolve('@preact/signals'),
    'dist/signals-core.mjs',
  ),
}
const LIBRARY_STYLES = { 'uplot.css': beside('uplot', import.meta.url, 'dist/uPlot.min.css') }

const TYPES: Readonly<Record<string, string>> = {
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.html': 'text/html; charset=utf-8',
  '.png': 'image/png',
  '.webmanifest': 'application/manifest+json',
}
/** All but these the first view runs, besides the page that is opened: asked for at once instead of one import after the other. */
const LATER =
  /^views\/|^parts\/(?:zone|scene)-|^(?:theme-early|service-worker)\.js$|^lib\/(?:uplot|hls\.js|sightline-publisher)\.js$/
const STYLES_FIRST = ['base.css', 'shell.css', 'parts.css']

/** Compressed once, when it is first asked for so: the console's start does not wait for what nobody may want. */
class Asset {
  readonly type: string
  readonly plain: Buffer
  #brotli: Promise<Buffer> | undefined
  #gzip: Promise<Buffer> | undefined

  constructor(extension: string, plain: Buffer) {
    this.type = TYPES[extension] ?? 'application/octet-stream'
    this.plain = plain
  }

  brotli(): Promise<Buffer> {
    // 9 of 11: nearly as small, in a tenth of the time.
    this.#brotli ??= promisify(brotliCompress)(this.plain, {
      params: { [constants.BROTLI_PARAM_QUALITY]: 9 },
    })
    return this.#brotli
  }

  gzip(): Promise<Buffer> {
    this.#gzip ??= promisify(gzip)(this.plain, { level: 9 })
    return this.#gzip
  }
}

/**
 * @param bucket where players fetch recordings from by signed addresses, an origin; absent: through the console
 * Errors: PAGES_NOT_BUILT
 */
export async function servePages(
  app: FastifyInstance,
  publish: readonly PublishAddress[] = [],
  bucket?: string,
): Promise<void> {
  const files = await readAssets(await builtPages())
  const hash = createHash('sha256')
  for (const [name, { plain }] of files) hash.update(`${name}\0${plain.length}\0`).update(plain)
  const version = hash.digest('base64url').slice(0, 12)
  const { html, importMap } = shell(`/assets/${version}`, files, publish)
  const page = new Asset('.html', Buffer.from(html))
  const etag = `"${createHash('sha256').update(html).digest('base64url').slice(0, 22)}"`
  const policy = [
    "default-src 'none'",
    `script-src 'self' 'sha256-${createHash('sha256').update(importMap).digest('base64')}'`,
    "style-src 'self'",
    "img-src 'self' blob: data:",
    // A recording is put together in the browser (MediaSource), which a video knows as a blob.
    "media-src 'self' blob: mediastream:",
    // The page Publish speaks to the agents that the configuration names, players to the bucket that signs, and to no others.
    [
      "connect-src 'self'",
      ...new Set([...publish.map(({ url }) => new URL(url).origin), ...(bucket ? [bucket] : [])]),
    ].join(' '),
    "worker-src 'self'",
    "manifest-src 'self'",
    "base-uri 'none'",
    "form-action 'self'",
    "frame-ancestors 'none'",
  ].join('; ')

  for (const path of PAGES)
    app.get(path, async (request, reply) => {
      reply.headers({ 'content-security-policy': policy, 'cache-control': 'no-cache', etag })
      if (request.headers['if-none-match'] === etag) return reply.code(304).send()
      return send(request, reply, page)
    })

  serveInstalled(app, `/assets/${version}`, files)

  // Browsers ask for it by themselves where a page names none: sign-in, shares.
  app.get('/favicon.ico', (request, reply) => {
    const icon = files.get('icon.svg') as Asset
    return send(request, reply.header('cache-control', 'public, max-age=86400'), icon)
  })

  app.get<{ Params: { version: string; '*': string } }>('/assets/:version/*', async (request, reply) => {
    const found = request.params.version === version ? files.get(request.params['*']) : undefined
    if (!found) return notFound(reply)
    reply.header('cache-control', 'public, max-age=31536000, immutable')
    return send(request, reply, found)
  })
}

/** What it takes to be installed, and to show notices while no page is open. */
function serveInstalled(app: FastifyInstance, base: string, files: ReadonlyMap<string, Asset>): void {
  // Where the files are is part of the worker: with new pages browsers take it for a new one.
  const source = (files.get('service-worker.js') as Asset).plain
  const worker = new Asset('.js', Buffer.from(`const ASSETS = ${JSON.stringify(base)}\n${source}`))
  app.get('/service-worker.js', (request, reply) => {
    reply.headers({
      'cache-control': 'no-cache',
      'content-security-policy': "default-src 'none'; connect-src 'self'",
    })
    return send(request, reply, worker)
  })

  const manifest = new Asset('.webmanifest', Buffer.from(JSON.stringify(manifestOf(base))))
  app.get('/manifest.webmanifest', (request, reply) =>
    send(request, reply.header('cache-control', 'no-cache'), manifest),
  )

  const offline = new Asset('.html', Buffer.from(offlinePage(base)))
  app.get('/offline', (request, reply) => {
    reply.headers({
      'cache-control': 'no-cache',
      'content-security-policy':
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    })
    return send(request, reply, offline)
  })
}

const manifestOf = (base: string) => ({
  id: '/',
  name: 'Sightline',
  short_name: 'Sightline',
  description: 'Faces, cameras and notices',
  start_url: '/',
  scope: '/',
  display: 'standalone',
  background_color: '#131211',
  theme_color: '#1f1d1a',
  icons: [
    { src: `${base}/icon-192.png`, sizes: '192x192', type: 'image/png' },
    { src: `${base}/icon-512.png`, sizes: '512x512', type: 'image/png' },
    { src: `${base}/icon-maskable-512.png`, sizes: '512x512', type: 'image/png', purpose: 'maskable' },
  ],
  shortcuts: [
    { name: 'Notices', url: '/notices' },
    { name: 'Faces', url: '/faces' },
    { name: 'Cameras', url: '/cameras' },
  ],
})

const offlinePage = (base: string) => `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Sightline cannot be reached</title>
<link rel="icon" href="${base}/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="${base}/base.css">
<link rel="stylesheet" href="${base}/offline.css">
</head>
<body>
<main class="offline">
<img src="${base}/icon.svg" alt="" width="56" height="56">
<h1>The console cannot be reached</h1>
<p>Check the connection of this device. Notices come all the same as soon as it is back.</p>
<p><a href="/">Try again</a></p>
</main>
</body>
</html>
`

async function send(request: FastifyRequest, reply: FastifyReply, of: Asset): Promise<FastifyReply> {
  const accepts = String(request.headers['accept-encoding'] ?? '')
  reply.type(of.type).header('vary', 'accept-encoding')
  if (/\bbr\b/.test(accepts)) return reply.header('content-encoding', 'br').send(await of.brotli())
  if (/\bgzip\b/.test(accepts)) return reply.header('content-encoding', 'gzip').send(await of.gzip())
  return reply.send(of.plain)
}

/** By path below the folder of assets, in the order of their names. */
async function readAssets(folder: string): Promise<ReadonlyMap<string, Asset>> {
  const own = (await Array.fromAsync(glob('**/*.{js,css,svg,png}', { cwd: folder })))
    .sort()
    .map((name) => [name.replaceAll('\\', '/'), join(folder, name)] as const)
  const theirs = [...Object.entries(LIBRARIES), ...Object.entries(LIBRARY_STYLES)].map(
    ([name, address]) => [libraryPath(name), fileURLToPath(address)] as const,
  )
  const assets = [...own, ...theirs].map(async ([name, file]) => {
    const content = await readFile(file)
    const plain = /\.(?:js|css)$/.test(name)
      ? Buffer.from(content.toString().replace(/^\/\/# sourceMappingURL=.*$/m, ''))
      : content
    return [name, new Asset(extname(name), plain)] as const
  })
  return new Map(await Promise.all(assets))
}

const libraryPath = (name: string) =>
  `lib/${name.replace(/^@/, '').replaceAll('/', '-')}${name.endsWith('.css') ? '' : '.js'}`

function shell(
  base: string,
  files: ReadonlyMap<string, Asset>,
  publish: readonly PublishAddress[],
): { html: string; importMap: string } {
  const imports = Object.fromEntries(
    Object.keys(LIBRARIES).map((name) => [name, `${base}/${libraryPath(name)}`]),
  )
  const importMap = JSON.stringify({ imports })
  const first = [...files.keys()].filter((name) => name.endsWith('.js') && !LATER.test(name))
  const html = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="sightline-publish" content="${escaped(JSON.stringify(publish))}">
<title>Sightline</title>
<link rel="icon" href="${base}/icon.svg" type="image/svg+xml">
<link rel="apple-touch-icon" href="${base}/icon-apple-180.png">
<link rel="manifest" href="/manifest.webmanifest">
<script src="${base}/theme-early.js"></script>
${STYLES_FIRST.map((name) => `<link rel="stylesheet" href="${base}/${name}">`).join('\n')}
<script type="importmap">${importMap}</script>
${first.map((name) => `<link rel="modulepreload" href="${base}/${name}">`).join('\n')}
<script type="module" src="${base}/main.js"></script>
</head>
<body>
<noscript>The console needs JavaScript. The API under /api/v1 does without.</noscript>
<div id="app"></div>
</body>
</html>
`
  return { html, importMap }
}

const escaped = (text: string) =>
  text.replaceAll('&', '&amp;').replaceAll('"', '&quot;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')

/** A file of a package, as an address. */
function beside(name: string, of: string, path: string): string {
  const manifest = findPackageJSON(name, of)
  if (manifest === undefined) throw new Error(`The package ${name} is not installed.`)
  return pathToFileURL(join(dirname(manifest), path)).href
}

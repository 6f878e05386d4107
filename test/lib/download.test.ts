import { createHash, randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { type Download, download } from '../../lib/download.ts'
import { serveFiles } from '../kit/file-server.ts'
import { freePort } from '../kit/ports.ts'

const CONTENT = randomBytes(300_000)
const SHA256 = createHash('sha256').update(CONTENT).digest('hex')
const NEVER = new AbortController().signal

const wanted = (folder: string, sources: string[], more: Partial<Download> = {}): Download => ({
  name: 'it',
  sources,
  file: join(folder, 'models', 'it.bin'),
  sha256: SHA256,
  bytes: CONTENT.length,
  bytesMax: 1_000_000,
  ...more,
})

t.test('a file comes whole, and nothing else is left', async (t) => {
  await using server = await serveFiles({ '/it': CONTENT })
  const folder = t.testdir()
  const progress: [number, number | undefined][] = []
  await download(wanted(folder, [`${server.url}/it`], { onProgress: (...at) => progress.push(at) }), NEVER)
  t.ok(readFileSync(join(folder, 'models', 'it.bin')).equals(CONTENT))
  t.same(readdirSync(join(folder, 'models')), ['it.bin'])
  t.same(progress[0], [0, CONTENT.length])
  t.same(progress.at(-1), [CONTENT.length, CONTENT.length])
})

t.test('what was cut off is gone on with, at another source too', async (t) => {
  await using cut = await serveFiles({})
  await using whole = await serveFiles({ '/it': CONTENT })
  cut.misbehave = (_, response) => {
    response.writeHead(200, { 'content-length': CONTENT.length })
    response.write(CONTENT.subarray(0, 100_000), () => setTimeout(() => response.destroy(), 50))
    return true
  }
  const folder = t.testdir()
  await t.rejects(download(wanted(folder, [`${cut.url}/it`]), NEVER), {
    code: 'DOWNLOAD_FAILED',
    message: /connection reset after 100000 bytes/,
  })
  t.equal(readFileSync(join(folder, 'models', 'it.bin.part')).length, 100_000)
  t.notOk(existsSync(join(folder, 'models', 'it.bin')), 'half a file never has its name')
  await download(wanted(folder, [`${whole.url}/it`]), NEVER)
  t.same(whole.asked, ['/it bytes=100000-'])
  t.ok(readFileSync(join(folder, 'models', 'it.bin')).equals(CONTENT))

  const other = t.testdir()
  await download(wanted(other, [`${cut.url}/it`, `${whole.url}/it`]), NEVER)
  t.ok(readFileSync(join(other, 'models', 'it.bin')).equals(CONTENT))
})

t.test('a part that is of something else costs one more round', async (t) => {
  await using server = await serveFiles({ '/it': CONTENT })
  const folder = t.testdir()
  mkdirSync(join(folder, 'models'))
  for (const junk of [randomBytes(1000), randomBytes(CONTENT.length), randomBytes(CONTENT.length + 1)]) {
    writeFileSync(join(folder, 'models', 'it.bin.part'), junk)
    await download(wanted(folder, [`${server.url}/it`]), NEVER)
    t.ok(readFileSync(join(folder, 'models', 'it.bin')).equals(CONTENT), `${junk.length} bytes of junk`)
  }
})

t.test('a server that knows no ranges sends all of it again', async (t) => {
  await using server = await serveFiles({})
  server.misbehave = (_, response) => {
    response.writeHead(200).end(CONTENT)
    return true
  }
  const folder = t.testdir()
  mkdirSync(join(folder, 'models'))
  writeFileSync(join(folder, 'models', 'it.bin.part'), CONTENT.subarray(0, 5000))
  await download(wanted(folder, [`${server.url}/it`], { bytes: undefined }), NEVER)
  t.ok(readFileSync(join(folder, 'models', 'it.bin')).equals(CONTENT))
})

t.test('what has another checksum is not kept, and the next source is tried', async (t) => {
  const forged = Buffer.from(CONTENT)
  forged[1234] = (forged[1234] as number) ^ 1
  await using liar = await serveFiles({ '/it': forged })
  await using honest = await serveFiles({ '/it': CONTENT })
  const folder = t.testdir()
  await t.rejects(download(wanted(folder, [`${liar.url}/it`]), NEVER), {
    code: 'CHECKSUM_WRONG',
    message: new RegExp(SHA256),
  })
  t.same(readdirSync(join(folder, 'models')), [])
  await download(wanted(folder, [`${liar.url}/it`, `${honest.url}/it`]), NEVER)
  t.ok(readFileSync(join(folder, 'models', 'it.bin')).equals(CONTENT))
})

t.test('each source says what was wrong with it', async (t) => {
  await using missing = await serveFiles({})
  const closed = await freePort()
  const folder = t.testdir()
  const sources = [`${missing.url}/it`, `http://127.0.0.1:${closed}/it`]
  await t.rejects(download(wanted(folder, sources), NEVER), {
    code: 'DOWNLOAD_FAILED',
    message: new RegExp(`HTTP 404.*127\\.0\\.0\\.1:${closed}: connection refused`),
  })
  await t.rejects(download(wanted(folder, sources.slice(1)), NEVER), {
    code: 'DOWNLOAD_FAILED',
    message: /there is no network, or its sources are unreachable/,
  })
})

t.test('a server that sends without end is left', async (t) => {
  await using server = await serveFiles({ '/it': Buffer.alloc(2_000_000) })
  await t.rejects(download(wanted(t.testdir(), [`${server.url}/it`], { bytes: undefined }), NEVER), {
    code: 'DOWNLOAD_FAILED',
    message: /more than 1000000 bytes/,
  })
})

t.test('a folder that cannot be written to is said, not blamed on the sources', async (t) => {
  await using server = await serveFiles({ '/it': CONTENT })
  const folder = t.testdir({ models: 'a file' })
  await t.rejects(download(wanted(folder, [`${server.url}/it`]), NEVER), { code: 'FOLDER_UNWRITABLE' })
})

t.test('stopped, it stops, and keeps what it has', async (t) => {
  await using server = await serveFiles({})
  server.misbehave = (_, response) => {
    response.writeHead(200, { 'content-length': CONTENT.length })
    response.write(CONTENT.subarray(0, 100_000))
    return true
  }
  const folder = t.testdir()
  const stop = new AbortController()
  const running = download(
    wanted(folder, [`${server.url}/it`], {
      onProgress: (at) => at === 100_000 && stop.abort(new Error('stop')),
    }),
    stop.signal,
  )
  await t.rejects(running, { message: 'stop' })
  t.equal(readFileSync(join(folder, 'models', 'it.bin.part')).length, 100_000)
})

import t, { type Test } from 'tap'
import { makeRealClips } from '../kit/real-clips.ts'
import { accessServer } from './access-server.ts'
import { storedClipOf } from './api-server.ts'

const T0 = Date.UTC(2024, 10, 20, 9)
const NORTH = { site: 'north', device: 'pi', camera: 'gate' }

t.test('a shared stretch plays for who has the link, and nothing beside it', async (t) => {
  const server = await accessServer(t)
  const clips = await makeRealClips({ ...NORTH, startMs: T0, chunks: 4, chunkMs: 1000 })
  const stored = clips.map(({ metadata, payload }) => storedClipOf(metadata, payload))
  for (const [n, { key }] of stored.entries())
    await server.bucket.create({
      key,
      body: clips[n]?.payload ?? Buffer.alloc(0),
      contentType: 'video/mp4',
      cacheControl: '',
    })
  await server.database.apply(stored, 'cloud')
  const ada = await server.signIn('ada')
  const recording = { camera: 'north/pi/gate', fromMs: T0 + 1100, toMs: T0 + 2900 }
  const ask = (more: object = {}) =>
    ada.send('POST', '/api/v1/shares', {
      name: 'A car',
      expiresInS: 3600,
      recording: { ...recording, ...more },
    })
  const made = await ask()
  t.equal(made.status, 201)
  const { address, share } = (await made.json()) as { address: string; share: { id: string } }
  t.match(share, { recording, detection: null })
  const open = (path: string) => fetch(`${server.url}${address}${path}`)
  const page = await open('')
  t.match(page.headers.get('content-security-policy'), "media-src 'self'")
  t.match(await page.text(), `<source src="${address}/playlist.m3u8"`)
  const playlist = await (await open('/playlist.m3u8')).text()
  t.strictSame(
    [...playlist.matchAll(/^\/s\/.*\/chunk\/(.*)\.mp4$/gm)].map(([, id]) => id),
    [stored[1]?.id, stored[2]?.id],
  )
  t.equal((await open(`/chunk/${stored[1]?.id}.mp4`)).status, 200)
  t.equal((await open(`/chunk/${stored[1]?.id}.mp4`)).headers.get('cache-control'), 'no-store')
  for (const n of [0, 3])
    t.equal((await open(`/chunk/${stored[n]?.id}.mp4`)).status, 404, 'beside the stretch')
  const file = await open('/video.mp4')
  t.equal(file.headers.get('content-type'), 'video/mp4')
  t.equal(Buffer.from(await file.arrayBuffer()).toString('latin1', 4, 8), 'ftyp')

  t.equal((await ask({ fromMs: T0 + 60_000, toMs: T0 + 61_000 })).status, 404, 'nothing is recorded there')
  t.equal((await ada.send('DELETE', `/api/v1/shares/${share.id}`)).status, 204)
  for (const path of ['', '/playlist.m3u8', `/chunk/${stored[1]?.id}.mp4`, '/video.mp4'])
    t.equal((await open(path)).status, 404, 'taken back')

  // Analysts may share, and have no recordings.
  const anna = await server.signIn('anna')
  const refused = await anna.send('POST', '/api/v1/shares', { name: 'x', expiresInS: 3600, recording })
  t.equal(refused.status, 403)
})

/** Chunks of one second in its bucket, and a way to share seconds of them. */
async function shared(t: Test, chunks: number, config: Record<string, unknown> = {}) {
  const server = await accessServer(t, { config })
  const clips = await makeRealClips({ ...NORTH, startMs: T0, chunks, chunkMs: 1000 })
  const stored = clips.map(({ metadata, payload }) => storedClipOf(metadata, payload))
  for (const [n, { key }] of stored.entries())
    await server.bucket.create({
      key,
      body: clips[n]?.payload ?? Buffer.alloc(0),
      contentType: 'video/mp4',
      cacheControl: '',
    })
  const ada = await server.signIn('ada')
  const share = async (fromMs: number, toMs: number) => {
    const recording = { camera: 'north/pi/gate', fromMs, toMs }
    const made = await ada.send('POST', '/api/v1/shares', { name: 'A car', expiresInS: 3600, recording })
    const { address, share } = (await made.json()) as { address: string; share: { id: string } }
    return {
      open: (path: string) => fetch(`${server.url}${address}${path}`, { signal: AbortSignal.timeout(5000) }),
      takeBack: () => ada.send('DELETE', `/api/v1/shares/${share.id}`),
    }
  }
  /** From now on, reads of this chunk wait. @returns what lets them go on */
  const hold = (key: string | undefined) => {
    const { bucket } = server
    const read = bucket.read.bind(bucket)
    const gate = Promise.withResolvers<void>()
    bucket.read = async (wanted, signal) => {
      if (wanted === key) await gate.promise
      return read(wanted, signal)
    }
    return () => gate.resolve()
  }
  return { server, stored, share, hold }
}

t.test('a file that plays ends when its link is taken back', async (t) => {
  const { server, stored, share, hold } = await shared(t, 6)
  await server.database.apply(stored, 'cloud')
  const { open, takeBack } = await share(T0, T0 + 6000)
  const whole = await (await open('/video.mp4')).arrayBuffer()
  const goOn = hold(stored[2]?.key)
  const file = await open('/video.mp4')
  t.equal(file.status, 200)
  t.equal((await takeBack()).status, 204)
  goOn()
  let bytes = 0
  const reads = (async () => {
    for await (const part of file.body ?? []) bytes += part.byteLength
  })()
  await t.rejects(reads, 'and is not taken for the whole')
  t.ok(bytes < whole.byteLength, `${bytes} of ${whole.byteLength} bytes`)
})

t.test('one link has two files at a time, and others have theirs', async (t) => {
  const { server, stored, share, hold } = await shared(t, 6)
  await server.database.apply(stored, 'cloud')
  const slow = await share(T0, T0 + 6000)
  const other = await share(T0, T0 + 900)
  const goOn = hold(stored[3]?.key)
  const files = [await slow.open('/video.mp4'), await slow.open('/video.mp4')]
  t.strictSame(
    files.map(({ status }) => status),
    [200, 200],
  )
  const refused = await slow.open('/video.mp4')
  t.equal(refused.status, 503)
  t.ok(refused.headers.get('retry-after'))
  t.equal((await other.open('/video.mp4')).status, 200)
  goOn()
  for (const file of files) await file.arrayBuffer()
  const again = await slow.open('/video.mp4')
  t.equal(again.status, 200, 'its places are free again')
  await again.arrayBuffer()
})

t.test('no file of a link is larger than an export may be', async (t) => {
  const { server, stored, share } = await shared(t, 1, { recordings: { exportBytesMax: '1MB' } })
  await server.database.apply(
    stored.map((clip) => ({ ...clip, bytes: 2_000_000 })),
    'cloud',
  )
  t.equal((await (await share(T0, T0 + 900)).open('/video.mp4')).status, 409)
})

t.test('what reaches the bucket after a stretch was shared does not come to the share', async (t) => {
  const { server, stored, share } = await shared(t, 3)
  await server.database.apply(stored.slice(0, 2), 'cloud')
  const { open } = await share(T0, T0 + 3000)
  const late = { ...stored[2], storedAtMs: Date.now() + 60_000 } as (typeof stored)[number]
  await server.database.apply([late], 'cloud')
  const playlist = await (await open('/playlist.m3u8')).text()
  t.strictSame(
    [...playlist.matchAll(/chunk\/(.*)\.mp4$/gm)].map(([, id]) => id),
    [stored[0]?.id, stored[1]?.id],
  )
  t.equal((await open(`/chunk/${stored[1]?.id}.mp4`)).status, 200)
  t.equal((await open(`/chunk/${late.id}.mp4`)).status, 404)
})

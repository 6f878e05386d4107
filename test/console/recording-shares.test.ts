import t from 'tap'
import { makeRealClips } from '../kit/real-clips.ts'
import { accessServer } from './access-server.ts'
import { storedClipOf } from './api-server.ts'

const T0 = Date.UTC(2026, 10, 20, 9)
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

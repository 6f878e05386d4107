import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Decoder, Demuxer } from 'node-av/api'
import t, { type Test } from 'tap'
import type { ExportPlan } from '../../console/api/recording-export.ts'
import type { RecordedCameras, RecordedDays, RecordingChunk } from '../../console/api/recordings.ts'
import type { Timeline } from '../../console/api/timeline.ts'
import type { ClipMetadata } from '../../wire/clip.ts'
import type { StoredClip } from '../../wire/stored.ts'
import { makeClip } from '../kit/clips.ts'
import { makeRealClips } from '../kit/real-clips.ts'
import { type ApiServer, apiServer, NORTH, type Recorded, SOUTH } from './api-server.ts'

const T0 = Date.UTC(2026, 10, 20, 9)

const keep = (server: ApiServer, clips: readonly Recorded[]) => server.record(...clips)
/** What the audit log has of such deeds. */
const deeds = ({ access }: ApiServer, action: string) => access.audit.page({ action }, undefined, 100)

const iso = (ms: number) => new Date(ms).toISOString()
const asQuery = (parameters: Record<string, string | number>) =>
  new URLSearchParams(
    Object.entries(parameters).map(([name, value]): [string, string] => [name, String(value)]),
  )
const gate = 'north/pi/gate'

/** What FFmpeg decodes of a file: the times of its pictures, s, and its size. */
async function decoded(t: Test, bytes: Uint8Array) {
  // Not t.testdir: that would empty the server's.
  const folder = mkdtempSync(join(tmpdir(), 'sightline-recordings-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'decoded.mp4')
  writeFileSync(file, bytes)
  await using demuxer = await Demuxer.open(file)
  const stream = demuxer.video()
  if (!stream) throw new Error('no video')
  using decoder = await Decoder.create(stream)
  const { num, den } = stream.timeBase
  const times: number[] = []
  for await (using frame of decoder.frames(demuxer.packets(stream.index)))
    if (frame) times.push((Number(frame.pts) * num) / den)
  return { times, width: stream.codecpar.width, height: stream.codecpar.height }
}

t.test('a day says where recordings are, where not, and why; and what moved', async (t) => {
  const server = await apiServer(t)
  const run = makeClip().metadata.run
  const clip = (second: number, more: Partial<ClipMetadata> = {}) =>
    makeClip({ ...NORTH, run, capturedAtMs: T0 + second * 1000, ...more })
  const stored = await keep(server, [
    clip(0, { sequence: 0, gap: { fromMs: null, why: 'start' } }),
    clip(3, { sequence: 1, motion: 0.5, faces: 2 }),
    // 2 is missing.
    clip(9, { sequence: 3 }),
    clip(60, { sequence: 4, gap: { fromMs: T0 + 12_000, why: 'no faces' } }),
  ])
  await server.store({ ...NORTH, capturedAtMs: T0 + 4000 }, { ...SOUTH, capturedAtMs: T0 + 4000 })
  const to = T0 + 120_000
  const path = `/timeline?${asQuery({ camera: gate, from: iso(T0 - 10_000), to })}`
  const { cameras, slotMs } = await server.json<Timeline>(path)
  const [camera] = cameras
  t.match(camera?.stretches, [
    { fromMs: T0, toMs: T0 + 6000, clips: 2, bytes: (stored[0]?.bytes ?? 0) + (stored[1]?.bytes ?? 0) },
    { fromMs: T0 + 9000, toMs: T0 + 12_000, clips: 1 },
    { fromMs: T0 + 60_000, toMs: T0 + 63_000, clips: 1 },
  ])
  t.strictSame(camera?.gaps, [
    { fromMs: T0 - 10_000, toMs: T0, why: 'start' },
    { fromMs: T0 + 6000, toMs: T0 + 9000, why: 'missing' },
    { fromMs: T0 + 12_000, toMs: T0 + 60_000, why: 'no faces' },
    { fromMs: T0 + 63_000, toMs: to, why: null },
  ])
  t.equal(camera?.motion[Math.floor(13_000 / slotMs)], 0.5)
  t.equal(camera?.people[Math.floor(13_000 / slotMs)], 2)
  t.match(camera?.faces, [{ atMs: T0 + 4000, count: 1 }])
  t.equal(camera?.faces.length, 1, 'of this camera alone')
  t.equal(camera?.chunks?.length, 4)
  t.equal(camera?.chunks?.[1]?.id, stored[1]?.id)

  const both = await server.get(`${path}&camera=south/pi/door`)
  t.equal(both.headers.get('content-encoding'), 'gzip')
  t.equal(((await both.json()) as Timeline).cameras.length, 2)
  t.equal((await server.get(`${path}&camera=south/pi/door`, 'nora')).status, 404, 'out of her scope')
  t.equal((await server.get(path, 'anna')).status, 403, 'an analyst has no recordings')

  const listed = await server.json<RecordedCameras>('/recordings')
  t.match(listed.items, [{ site: 'north', camera: 'gate', clips: 4, durationMs: 12_000 }])
  const days = await server.json<RecordedDays>(
    `/recordings/days?${asQuery({ camera: gate, from: '2026-11-01', to: '2026-12-01' })}`,
  )
  t.match(days.items, [{ fromMs: Date.UTC(2026, 10, 20), clips: 4 }])

  await server.database.apply(
    stored.map(({ id, key }) => ({ v: 1, is: 'removed', id, key, why: 'expired' })),
    'cloud',
  )
  t.strictSame((await server.json<RecordedCameras>('/recordings')).items, [], 'sums follow')
})

t.test(
  'a playlist plays what is recorded: by byte ranges, with its gaps, and is decoded whole',
  async (t) => {
    const server = await apiServer(t)
    const clips = await makeRealClips({
      ...NORTH,
      startMs: T0,
      chunks: 4,
      chunkMs: 1000,
      gap: { before: 2, ms: 7000, why: 'camera down' },
    })
    const stored = await keep(server, clips)
    const answer = await server.get(
      `/playlist.m3u8?${asQuery({ camera: gate, from: T0 + 300, to: T0 + 60_000 })}`,
    )
    t.equal(answer.headers.get('content-type'), 'application/vnd.apple.mpegurl')
    const text = await answer.text()
    const lines = text.trim().split('\n')
    t.strictSame(lines.slice(0, 3), ['#EXTM3U', '#EXT-X-VERSION:7', '#EXT-X-TARGETDURATION:1'])
    t.equal(lines.at(-1), '#EXT-X-ENDLIST')
    t.match(text, '#EXT-X-START:TIME-OFFSET=0.300,PRECISE=YES')
    t.equal(lines.filter((line) => line === '#EXT-X-DISCONTINUITY').length, 1)
    t.match(text, `#EXT-X-PROGRAM-DATE-TIME:${iso(stored[2]?.filedAtMs ?? 0)}`)
    const seconds = lines.flatMap((line) => /^#EXTINF:([\d.]+),$/.exec(line)?.[1] ?? []).map(Number)
    t.strictSame(
      seconds,
      clips.map(({ metadata }) => Number((metadata.durationMs / 1000).toFixed(6))),
    )

    // As a player does: the beginning once a run, of each chunk the rest.
    const part = async (address: string, bytes: string) => {
      const [length = 0, at = 0] = bytes.split('@').map(Number)
      const range = { range: `bytes=${at}-${at + length - 1}` }
      const piece = await server.get(address.replace('/api/v1', ''), 'ada', { headers: range })
      t.equal(piece.status, 206)
      t.match(piece.headers.get('content-range'), `bytes ${at}-${at + length - 1}/`)
      t.match(piece.headers.get('cache-control'), /private.*immutable/)
      return Buffer.from(await piece.arrayBuffer())
    }
    const pieces: Buffer[] = []
    for (const [n, line] of lines.entries()) {
      const map = /^#EXT-X-MAP:URI="([^"]+)",BYTERANGE="([^"]+)"$/.exec(line)
      if (map && pieces.length === 0) pieces.push(await part(map[1] ?? '', map[2] ?? ''))
      const range = /^#EXT-X-BYTERANGE:(.+)$/.exec(line)
      if (range) pieces.push(await part(lines[n + 1] ?? '', range[1] ?? ''))
    }
    t.equal((await decoded(t, Buffer.concat(pieces))).times.length, 100)

    t.match(await deeds(server, 'recording.view'), [{ user: 'ada', subject: gate }])
    t.equal((await deeds(server, 'recording.view')).length, 1, 'once, not once a chunk')
    const file = `/recordings/${stored[0]?.id}/file`
    t.equal((await server.get(file, 'vera')).status, 403)
    t.equal((await server.get(`/recordings/${stored[0]?.id}`, 'nora')).status, 200)
    const tag = (await server.get(file)).headers.get('etag') ?? ''
    t.equal((await server.get(file, 'ada', { headers: { 'if-none-match': tag } })).status, 304)
    t.equal((await server.get(file, 'ada', { headers: { range: 'bytes=999999999-' } })).status, 416)
  },
)

t.test('a chunk that the bucket lost is said once it is missed, and the rest plays on', async (t) => {
  const server = await apiServer(t)
  const stored = await keep(server, await makeRealClips({ ...NORTH, startMs: T0, chunks: 3, chunkMs: 1000 }))
  const [first] = stored as [StoredClip, ...StoredClip[]]
  await server.bucket.remove([first.key])
  const path = `/playlist.m3u8?${asQuery({ camera: gate, from: T0, to: T0 + 10_000 })}`
  t.notMatch(await (await server.get(path)).text(), 'EXT-X-GAP')
  t.equal((await server.get(`/recordings/${first.id}/file`)).status, 404)
  const text = await (await server.get(path)).text()
  t.equal(text.match(/#EXT-X-GAP/g)?.length, 1)
  t.match(text, `#EXT-X-MAP:URI="/api/v1/recordings/${stored[1]?.id}/file"`, 'the beginning of another one')
  const { cameras } = await server.json<Timeline>(
    `/timeline?${asQuery({ camera: gate, from: T0, to: T0 + 10_000 })}`,
  )
  t.equal(cameras[0]?.stretches[0]?.clips, 2)
  t.match((await server.json<RecordingChunk>(`/recordings/${first.id}`)).isLost, true)
})

t.test('an export is one file that plays from 0, gapless, whatever runs it is from', async (t) => {
  const server = await apiServer(t)
  await keep(server, [
    ...(await makeRealClips({ ...NORTH, startMs: T0, chunks: 3, chunkMs: 1000 })),
    // The agent was started anew: another run, whose time stamps begin at 0 again.
    ...(await makeRealClips({ ...NORTH, startMs: T0 + 30_000, chunks: 2, chunkMs: 1000 })),
  ])
  const stretch = asQuery({ camera: gate, from: T0 + 1200, to: T0 + 60_000 })
  const answer = await server.get(`/recordings/export.mp4?${stretch}`)
  t.equal(answer.status, 200)
  t.match(answer.headers.get('content-disposition'), 'north_pi_gate_2026-11-20T09-00-01Z.mp4')
  t.equal(answer.headers.get('x-gaps'), '1')
  const { times } = await decoded(t, new Uint8Array(await answer.arrayBuffer()))
  t.equal(times.length, 100, 'four chunks: the first one lies before')
  t.equal(times[0], 0)
  for (const [n, time] of times.entries())
    if (Math.abs(time - n / 25) > 0.001) t.fail(`picture ${n} stands at ${time} s`)
  const plan = await server.json<ExportPlan>(`/recordings/export?${stretch}`)
  t.match(plan, { parts: [{ chunks: 4 }], gaps: [{ toMs: T0 + 30_000 }], lost: 0 })
  t.equal((await server.get(`/recordings/export.mp4?${stretch}`, 'carl')).status, 403)
  t.equal((await deeds(server, 'recording.export')).length, 1)
})

t.test('where the size of the picture changes an export says when, and its parts can be had', async (t) => {
  const server = await apiServer(t)
  await keep(server, [
    ...(await makeRealClips({ ...NORTH, startMs: T0, chunks: 2, chunkMs: 1000 })),
    ...(await makeRealClips({
      ...NORTH,
      startMs: T0 + 2000,
      chunks: 2,
      chunkMs: 1000,
      width: 160,
      height: 96,
    })),
  ])
  const stretch = asQuery({ camera: gate, from: T0, to: T0 + 60_000 })
  const refused = await server.get(`/recordings/export.mp4?${stretch}`)
  t.equal(refused.status, 409)
  t.match(await refused.json(), {
    code: 'RECORDING_CHANGES',
    detail: /2026-11-20T09:00:0[12].*320x180.*160x96/,
  })
  const { parts } = await server.json<ExportPlan>(`/recordings/export?${stretch}`)
  t.match(parts, [
    { width: 320, chunks: 2 },
    { width: 160, chunks: 2 },
  ])
  for (const { address, width } of parts) {
    const file = await server.get(address.replace('/api/v1', ''))
    t.equal(file.status, 200)
    const seen = await decoded(t, new Uint8Array(await file.arrayBuffer()))
    t.match(seen, { width, times: { length: 50 } })
  }
})

t.test('an export that is larger than allowed is refused before it begins', async (t) => {
  const server = await apiServer(t, { recordings: { exportBytesMax: '1KB' } })
  await keep(server, [makeClip({ ...NORTH, capturedAtMs: T0 }, 5000)])
  const answer = await server.get(
    `/recordings/export.mp4?${asQuery({ camera: gate, from: T0, to: T0 + 1000 })}`,
  )
  t.match([answer.status, await answer.json()], [409, { code: 'RECORDING_TOO_LONG' }])
})

t.test('a stretch is kept by whose it is; until that is confirmed the answer says so', async (t) => {
  const server = await apiServer(t)
  await keep(server, [makeClip({ ...NORTH, capturedAtMs: T0 })])
  const ask = (user: string, more: object = {}) =>
    server.get('/recordings/kept', user, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ camera: gate, fromMs: T0, toMs: T0 + 1000, keep: true, ...more }),
    })
  t.equal((await ask('otto')).status, 200)
  t.match(server.line.kept, [
    { subscriber: 'cloud', wanted: { ...NORTH, keep: true, fromMs: T0, toMs: T0 + 1000, by: 'otto' } },
  ])
  server.line.keeps = false
  t.equal((await ask('otto')).status, 202)
  t.equal((await ask('otto', { fromMs: T0 + 60_000, toMs: T0 + 61_000 })).status, 404, 'nothing is there')
  t.equal((await ask('vera')).status, 403)
  const stretches = [{ fromMs: T0, toMs: T0 + 1000, by: 'otto', atMs: T0 }]
  await server.database.apply([{ v: 1, is: 'kept', ...NORTH, atMs: 5, stretches }], 'cloud')
  await server.database.apply([{ v: 1, is: 'kept', ...NORTH, atMs: 4, stretches: [] }], 'cloud')
  t.match(await server.json(`/recordings/kept?camera=${gate}`), { items: stretches })
})

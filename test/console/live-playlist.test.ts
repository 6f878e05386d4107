import t from 'tap'
import { HOLD_MS, unfoldedOf } from '../../console/recordings/unfolding.ts'
import type { StoredClip } from '../../wire/stored.ts'
import { makeClip } from '../kit/clips.ts'
import { apiServer, NORTH, storedClipOf } from './api-server.ts'

const run = makeClip().metadata.run

/** Chunks of 1 s of one run, each stored so long after it ended. */
function chunk(startMs: number, sequence: number, storedAfterMs = 100): StoredClip {
  const capturedAtMs = startMs + sequence * 1000
  const { metadata, payload } = makeClip({ ...NORTH, run, sequence, capturedAtMs, durationMs: 1000 })
  return { ...storedClipOf(metadata, payload), storedAtMs: capturedAtMs + 1000 + storedAfterMs }
}

t.test(
  'a playlist that grows never changes what was seen of it; what comes too late is left out',
  async (t) => {
    const server = await apiServer(t)
    const startMs = Date.now() - 30_000
    const listed = async (toMs: number) => {
      const text = await (
        await server.get(`/playlist.m3u8?camera=north/pi/gate&from=${startMs}&to=${toMs}`)
      ).text()
      return { text, ids: [...text.matchAll(/^\/api\/v1\/recordings\/([^/]+)\/file$/gm)].map(([, id]) => id) }
    }
    const chunks = Array.from({ length: 12 }, (_, n) => chunk(startMs, n))
    const ids = (...numbers: number[]) => numbers.map((n) => chunks[n]?.id)
    const apply = (...numbers: number[]) =>
      server.database.apply(
        numbers.map((n) => chunks[n] as StoredClip),
        'cloud',
      )
    const live = () => listed(Date.now() + 3_600_000)
    await apply(0, 1, 3, 4)
    const first = await live()
    t.match(first.text, /PLAYLIST-TYPE:EVENT/)
    t.notMatch(first.text, /ENDLIST/)
    t.strictSame(first.ids, ids(0, 1, 3, 4), 'what is missing was waited for long enough')
    chunks[2] = { ...(chunks[2] as StoredClip), storedAtMs: Date.now() }
    await apply(2, 5)
    const second = await live()
    t.strictSame(second.ids, ids(0, 1, 3, 4, 5), 'at its end alone')
    t.ok(second.text.startsWith(first.text), 'and nothing before has changed')
    t.match(second.text.split('#EXT-X-DISCONTINUITY').length, 2, 'players are told of the hole')
    const ended = await listed(Date.now() - 61_000 + 45_000)
    t.strictSame(ended.ids.slice(0, 5), ids(0, 1, 3, 4, 5))

    // One that is stored side by side with the one before it: for that it waits.
    const nowMs = Date.now()
    chunks[7] = { ...(chunks[7] as StoredClip), storedAtMs: nowMs }
    chunks[6] = { ...(chunks[6] as StoredClip), storedAtMs: nowMs + 200 }
    await apply(7)
    t.strictSame((await live()).ids, ids(0, 1, 3, 4, 5), 'it may still come')
    await apply(6)
    t.strictSame((await live()).ids, ids(0, 1, 3, 4, 5, 6, 7))
  },
)

t.test('once a stretch grows no more it has all', async (t) => {
  const server = await apiServer(t)
  const startMs = Date.now() - 3_600_000
  const late = { ...chunk(startMs, 1), storedAtMs: Date.now() }
  await server.database.apply([chunk(startMs, 0), late, chunk(startMs, 2)], 'cloud')
  const answer = await server.get(
    `/playlist.m3u8?camera=north/pi/gate&from=${startMs}&to=${startMs + 10_000}`,
  )
  const text = await answer.text()
  t.match(text, /ENDLIST/)
  t.match(text, late.id)
  t.notMatch(text, /DISCONTINUITY/)
})

t.test('whatever order chunks come in, each look at them begins with the one before', async (t) => {
  const startMs = Date.UTC(2026, 10, 20, 9)
  let seed = 1
  const random = () => {
    seed = (seed * 48_271) % 2_147_483_647
    return seed / 2_147_483_647
  }
  for (let round = 0; round < 300; round += 1) {
    const delays = [100, 300, HOLD_MS - 500, HOLD_MS + 2000, 30_000]
    const rows = Array.from({ length: 20 }, (_, n) =>
      chunk(startMs, n, delays[Math.floor(random() ** 3 * delays.length)]),
    )
    const clips = rows.map((row) => ({ ...row, atMs: row.filedAtMs, gap: undefined }) as never)
    let before: readonly unknown[] = []
    // The first is there: before it nothing is waited for.
    for (let nowMs = (rows[0]?.storedAtMs ?? 0) + HOLD_MS; nowMs < startMs + 90_000; nowMs += 137) {
      const there = clips.filter((_, n) => (rows[n]?.storedAtMs ?? 0) <= nowMs)
      const now = unfoldedOf(there, nowMs)
      if (!before.every((it, n) => it === now[n]))
        t.fail(`round ${round}: ${before.length} seen, then others`)
      before = now
    }
    if (before.length === 0) t.fail('nothing was told')
  }
  t.pass('6000 chunks')
})

import t from 'tap'
import type { Box } from '../../device/faces/crop.ts'
import { type Face, Tracker } from '../../device/faces/track.ts'
import { TRACKS_MAX } from '../../device/limits.ts'
import { seeded } from '../kit/wait.ts'

const SIZE = { width: 1280, height: 720 }

function open(settings: { lostMsMax?: number } = {}) {
  let minted = 0
  return new Tracker({
    scoreMin: 0.6,
    lostMsMax: settings.lostMsMax ?? 2000,
    mint: () => `track-${minted++}`,
  })
}

const face = (x: number, y: number, side = 100, score = 0.9): Face => ({
  box: [x - side / 2, y - side / 2, side, side] as Box,
  score,
})

/** Follows one face by a rule, at these times; undefined: it is not seen. */
function follow(tracker: Tracker, timesMs: readonly number[], at: (seconds: number) => Face | undefined) {
  const ids = timesMs.map((atMs) => {
    const seen = at(atMs / 1000)
    return tracker.follow(seen ? [seen] : [], atMs, SIZE).tracks[0]?.id
  })
  return new Set(ids.filter((id) => id !== undefined))
}

const times = (perSecond: number, seconds: number) =>
  Array.from({ length: perSecond * seconds }, (_, i) => (i * 1000) / perSecond)

t.test('a face that walks keeps its track, at any rate, and with frames left out', async (t) => {
  const walk = (seconds: number) => face(100 + 200 * seconds, 300)
  for (const perSecond of [30, 12, 5, 2])
    t.equal(follow(open(), times(perSecond, 5), walk).size, 1, `${perSecond} frames a second`)
  const next = seeded(3)
  t.equal(
    follow(
      open(),
      times(30, 5).filter(() => next() < 0.3),
      walk,
    ).size,
    1,
    'irregular',
  )
})

t.test('a small face that moves by more than its own width each frame keeps its track', async (t) => {
  t.equal(follow(open(), times(5, 6), (seconds) => face(60 + 180 * seconds, 300, 30)).size, 1)
})

t.test('a face that is hidden comes back as the same, one that stays away as another', async (t) => {
  const walk = (hidden: number) => (seconds: number) =>
    seconds > 2 && seconds < 2 + hidden ? undefined : face(100 + 120 * seconds, 300)
  t.equal(follow(open(), times(12, 8), walk(1.6)).size, 1)
  t.equal(follow(open(), times(12, 8), walk(2.6)).size, 2)
  t.equal(follow(open({ lostMsMax: 1000 }), times(12, 8), walk(1.6)).size, 2)
})

t.test('two who pass each other keep their tracks, though one hides the other', async (t) => {
  const tracker = open()
  const first = new Map<string, Set<string>>()
  for (const atMs of times(12, 6)) {
    const [right, left] = [200 + 0.15 * atMs, 1000 - 0.15 * atMs]
    const faces = [{ who: 'right', face: face(right, 300) }]
    if (Math.abs(right - left) > 90) faces.push({ who: 'left', face: face(left, 320) })
    const { tracks } = tracker.follow(
      faces.map((it) => it.face),
      atMs,
      SIZE,
    )
    for (const [i, { who }] of faces.entries()) {
      const id = tracks[i]?.id as string
      first.set(who, (first.get(who) ?? new Set()).add(id))
    }
  }
  t.equal(first.get('right')?.size, 1)
  t.equal(first.get('left')?.size, 1)
  t.notSame(first.get('right'), first.get('left'))
})

t.test('a doubtful face keeps a track alive, and starts none', async (t) => {
  const doubtful = (seconds: number) =>
    face(300 + 20 * seconds, 300, 100, seconds > 1 && seconds < 5 ? 0.3 : 0.9)
  t.equal(follow(open({ lostMsMax: 500 }), times(12, 7), doubtful).size, 1)
  const tracker = open()
  for (const atMs of times(12, 3))
    t.strictSame(tracker.follow([face(300, 300, 100, 0.59)], atMs, SIZE).tracks, [undefined])
  t.strictSame(tracker.tracks, [])
})

t.test(
  'a track is confirmed by its third frame, sooner where frames are far apart; a flicker never',
  async (t) => {
    const confirmedAfter = (perSecond: number) => {
      const tracker = open()
      return times(perSecond, 8).findIndex(
        (atMs) => tracker.follow([face(300, 300)], atMs, SIZE).tracks[0]?.confirmed,
      )
    }
    t.strictSame([30, 12, 4].map(confirmedAfter), [2, 2, 1])
    t.equal(confirmedAfter(1), 1, 'the rate is known with the second frame')
    const tracker = open()
    const ended = times(12, 3).flatMap(
      (atMs, i) => tracker.follow(i === 5 ? [face(300, 300)] : [], atMs, SIZE).ended,
    )
    t.equal(ended.length, 1)
    t.equal(ended[0]?.confirmed, false)
  },
)

t.test('a file of two frames confirms what both had', async (t) => {
  const tracker = open()
  tracker.follow([face(300, 300)], 0, SIZE)
  tracker.follow([face(300, 300), face(700, 300)], 40, SIZE)
  t.strictSame(
    tracker.end().map(({ confirmed }) => confirmed),
    [true, false],
  )
})

t.test('who leaves over the edge ends at once, and is not who comes in there', async (t) => {
  const tracker = open()
  const out = follow(tracker, times(12, 3), (seconds) => {
    const x = 900 + 200 * seconds
    return x < 1290 ? face(x, 300) : undefined
  })
  t.equal(out.size, 1)
  t.strictSame(tracker.tracks, [])
  const other = open()
  const ids = new Set<string | undefined>()
  for (const atMs of times(12, 4)) {
    const x = 1000 + 0.2 * atMs
    const leaving = x < 1250 ? face(x, 300) : face(1300 - 0.15 * (atMs - 1250), 400)
    ids.add(other.follow([leaving], atMs, SIZE).tracks[0]?.id)
  }
  t.equal(ids.size, 2)
})

t.test('time that steps back ends all; a still scene ends none', async (t) => {
  const tracker = open()
  follow(tracker, times(12, 2), () => face(300, 300))
  for (let atMs = 2000; atMs < 60_000; atMs += 100) tracker.still(atMs)
  const { tracks, ended } = tracker.follow([face(300, 300)], 60_100, SIZE)
  t.strictSame(ended, [])
  t.equal(tracks[0]?.id, 'track-0')
  t.equal(tracks[0]?.stationary, true)
  const again = tracker.follow([face(300, 300)], 0, SIZE)
  t.strictSame(
    again.ended.map(({ id }) => id),
    ['track-0'],
  )
  t.equal(again.tracks[0]?.id, 'track-1')
})

t.test('more faces than can be followed have no track, and cost no more', async (t) => {
  const tracker = open()
  const crowd = Array.from({ length: 3 * TRACKS_MAX }, (_, i) =>
    face(20 + 40 * (i % 30), 20 + 40 * Math.floor(i / 30), 30),
  )
  const start = performance.now()
  for (const atMs of times(10, 1)) {
    const { tracks } = tracker.follow(crowd, atMs, SIZE)
    t.equal(tracks.filter((track) => track !== undefined).length, TRACKS_MAX)
  }
  t.ok(performance.now() - start < 2000)
})

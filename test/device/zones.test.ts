import t from 'tap'
import { ElapsedTime, ZoneVisits } from '../../device/faces/zones.ts'
import { TRACK_GAP_MS_MAX, ZONE_SETTLE_MS } from '../../device/limits.ts'
import type { Zone } from '../../wire/zones.ts'
import { nobody, run, type Scripted, SIZE } from './scripted.ts'

const FRAME = [SIZE.width, SIZE.height] as const
/** The left and the right half. */
const LEFT: Zone = {
  name: 'left',
  points: [
    [0, 0],
    [0.5, 0],
    [0.5, 1],
    [0, 1],
  ],
}
const RIGHT: Zone = {
  name: 'right',
  points: [
    [0.5, 0],
    [1, 0],
    [1, 1],
    [0.5, 1],
  ],
}
const boxAt = (x: number, side = 60) => [x - side / 2, 100, side, side] as const

/** Looks at a face every 100 ms where `x` says it is; undefined: it is hidden. */
function visit(zones: readonly Zone[], xs: readonly (number | undefined)[], everyMs = 100) {
  const visits = new ZoneVisits(zones)
  const news = xs.flatMap((x, i) => {
    if (x !== undefined) visits.look(boxAt(x), FRAME, i * everyMs)
    return visits.takeNews().map((it) => ({ ...it, atMs: i * everyMs }))
  })
  return { visits, news }
}
const times = (count: number, x: number | undefined) => Array.from({ length: count }, () => x)

t.test('a face that is first seen in a zone has come into it at once', async (t) => {
  const { visits, news } = visit([LEFT, RIGHT], [100])
  t.strictSame(news, [{ type: 'enter', zone: 'left', inZoneMs: 0, atMs: 0 }])
  t.strictSame(visits.inside, ['left'])
})

t.test('a box that trembles on the border of a zone makes no news', async (t) => {
  const trembling = Array.from({ length: 100 }, (_, i) => (i % 3 === 0 ? 322 : 318))
  const { news } = visit([LEFT, RIGHT], trembling)
  t.equal(news.length, 1, 'where it was first seen')
})

t.test(
  'who goes from one zone to the next leaves the one, then enters the other, timed by the first look there',
  async (t) => {
    const { visits, news } = visit([LEFT, RIGHT], [...times(10, 100), ...times(10, 500)])
    t.strictSame(news.slice(1), [
      { type: 'leave', zone: 'left', inZoneMs: 1000, atMs: 1000 + ZONE_SETTLE_MS },
      { type: 'enter', zone: 'right', inZoneMs: ZONE_SETTLE_MS, atMs: 1000 + ZONE_SETTLE_MS },
    ])
    t.strictSame(visits.visitedAnd([]), ['left', 'right'])
    visits.forgetVisited()
    t.strictSame(visits.visitedAnd([]), ['right'], 'where it is now, it has been since')
  },
)

t.test('staying is said once a visit, and not of who is about to go', async (t) => {
  const zones = [{ ...LEFT, stayS: 2 }]
  const { news } = visit(zones, [...times(60, 100), ...times(10, 500), ...times(30, 100)])
  t.strictSame(
    news.map(({ type, atMs, inZoneMs }) => [type, atMs, inZoneMs]),
    [
      ['enter', 0, 0],
      ['stay', 2000, 2000],
      ['leave', 6300, 6000],
      ['enter', 7300, 300],
      ['stay', 9000, 2000],
    ],
  )
  const leaving = visit(zones, [...times(19, 100), ...times(5, 500)])
  t.notOk(leaving.news.some(({ type }) => type === 'stay'))
})

t.test('a hidden face is where it was; at its end it leaves where it was last seen', async (t) => {
  const { visits, news } = visit([LEFT], [...times(10, 100), ...times(20, undefined)])
  t.equal(news.length, 1)
  visits.end()
  t.strictSame(visits.takeNews(), [{ type: 'leave', zone: 'left', inZoneMs: 900 }])
  t.strictSame(visits.inside, [])
})

t.test('where frames are far apart two looks decide', async (t) => {
  const { news } = visit([LEFT], [100, 100, 500, 100, 500, 500], 1000)
  t.strictSame(
    news.map(({ type, atMs }) => [type, atMs]),
    [
      ['enter', 0],
      ['leave', 5000],
    ],
  )
})

t.test('faces smaller or larger than a zone takes are not in it', async (t) => {
  const zone = { ...LEFT, sizeMin: 0.1, sizeMax: 0.3 }
  for (const [side, isIn] of [
    [30, false],
    [60, true],
    [150, false],
  ] as const) {
    const visits = new ZoneVisits([zone])
    visits.look(boxAt(100, side), FRAME, 0)
    t.equal(visits.inside.length === 1, isIn, `${side} of 360 pixels`)
  }
})

t.test('a clock that jumps makes nobody stay', async (t) => {
  const elapsed = new ElapsedTime()
  const visits = new ZoneVisits([{ ...LEFT, stayS: 60 }])
  for (const atMs of [5_000, 5_100, 86_400_000, 86_400_100, 3_000, 3_100]) {
    elapsed.advance(atMs)
    visits.look(boxAt(100), FRAME, elapsed.ms)
  }
  t.equal(elapsed.ms, 300 + TRACK_GAP_MS_MAX, 'forwards as far as frames can be apart, backwards not at all')
  t.strictSame(
    visits.takeNews().map(({ type }) => type),
    ['enter'],
  )
})

/** From left to right in four seconds, ten frames a second; largest where `largestAt` says, 0 to 1. */
const crossing = (largestAt: number): Scripted[] =>
  Array.from({ length: 41 }, (_, i) => {
    const side = 100 - 60 * Math.abs(i / 40 - largestAt)
    return { atMs: i * 100, faces: [{ box: [40 + 13 * i - side / 2, 100, side, side] as const }] }
  })
const cameras = (zones: readonly Zone[], more: object = {}) => ({
  cameras: [{ name: 'door', source: 'script.mp4', zones, ...more }],
})

t.test(
  'a face that crosses the picture enters and leaves, before its end, and its crop says where it was',
  async (t) => {
    const { crops, events } = await run([...crossing(0), ...nobody(30, 4100)], cameras([LEFT, RIGHT]))
    const told = events.filter(({ type }) => type !== 'update')
    t.strictSame(
      told.map(({ type, zone }) => [type, zone]),
      [
        ['new', undefined],
        ['enter', 'left'],
        ['leave', 'left'],
        ['enter', 'right'],
        ['leave', 'right'],
        ['end', undefined],
      ],
    )
    t.strictSame(
      told.map(({ after }) => after.zones),
      [['left'], ['left'], ['right'], ['right'], [], []],
    )
    const left = told[2]
    t.ok(Math.abs((left?.inZoneMs ?? 0) - 2200) <= 200, `${left?.inZoneMs} ms in the left half`)
    const [crop] = crops
    t.ok((crop?.box[0] ?? 999) < 100, 'the best picture is one from the left half')
    t.strictSame(crop?.zones, ['left', 'right'], 'and it has been in both')
  },
)

t.test('of a face that stays, each further crop names the zones since the one before', async (t) => {
  const script: Scripted[] = Array.from({ length: 200 }, (_, i) => ({
    atMs: i * 100,
    // Goes over after five seconds, slowly enough to be followed.
    faces: [{ box: boxAt(i < 50 ? 200 : Math.min(450, 200 + (i - 50) * 12), 80) }],
  }))
  const { crops } = await run(script, {
    ...cameras([LEFT, RIGHT]),
    emit: { mode: 'interval', interval: '3s' },
  })
  t.strictSame(
    crops.map(({ zones }) => zones),
    [['left'], ['left'], ['left', 'right'], ['left', 'right'], ['right'], ['right'], ['right']],
  )
})

t.test('a face that only flickers in a zone says nothing', async (t) => {
  const flicker: Scripted = { atMs: 1000, faces: [{ box: boxAt(100) }] }
  const { events, crops } = await run([...nobody(10, 0), flicker, ...nobody(30, 1100)], cameras([LEFT]))
  t.strictSame([events, crops], [[], []])
})

t.test('in a still scene a face that nobody looks at again stays all the same', async (t) => {
  const script: Scripted[] = Array.from({ length: 80 }, (_, i) => ({
    atMs: i * 100,
    faces: [{ box: boxAt(100, 80) }],
  }))
  const { events } = await run(
    script,
    cameras([{ ...LEFT, stayS: 5 }], { motion: { enabled: true, checkEvery: '60s' } }),
  )
  const stay = events.find(({ type }) => type === 'stay')
  t.match(stay, { zone: 'left', inZoneMs: 5000, after: { zones: ['left'] } })
})

t.test('of photos, and of a camera without zones', async (t) => {
  const photo: Scripted = { atMs: undefined, faces: [{ box: boxAt(100) }, { box: boxAt(500) }] }
  const photos = await run([photo], cameras([LEFT]))
  t.strictSame(
    photos.crops.map(({ zones }) => zones),
    [['left'], []],
  )
  const without = await run([...crossing(0.5), ...nobody(30, 4100)])
  t.notOk(without.crops.some((crop) => 'zones' in crop))
  t.notOk(without.events.some(({ after }) => 'zones' in after))
})

t.test('how many faces are here, in all and by zone, is told when it changes', async (t) => {
  const one = (x: number) => ({ box: boxAt(x, 80) })
  const script: Scripted[] = [
    ...nobody(5, 0),
    ...Array.from({ length: 20 }, (_, i) => ({ atMs: 500 + i * 100, faces: [one(100)] })),
    ...Array.from({ length: 20 }, (_, i) => ({ atMs: 2500 + i * 100, faces: [one(100), one(500)] })),
    // Hidden for half a second: both are still here.
    ...nobody(5, 4500),
    ...Array.from({ length: 10 }, (_, i) => ({ atMs: 5000 + i * 100, faces: [one(100), one(500)] })),
    ...nobody(40, 6000),
  ]
  const { present } = await run(script, cameras([LEFT, RIGHT]))
  t.strictSame(present, [
    { faces: 0, zones: { left: 0, right: 0 } },
    { faces: 1, zones: { left: 1, right: 0 } },
    { faces: 2, zones: { left: 1, right: 1 } },
    { faces: 0, zones: { left: 0, right: 0 } },
    undefined,
  ])
})

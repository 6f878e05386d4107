import t from 'tap'
import { resized } from '../../device/process/resize.ts'
import { fitted, shownOf } from '../../device/process/shown.ts'

/** Grey levels, by column and row, as a picture. */
function grey(width: number, height: number, level: (x: number, y: number) => number) {
  const data = new Uint8Array(width * height * 3)
  for (let y = 0; y < height; y += 1)
    for (let x = 0; x < width; x += 1) data.fill(level(x, y), (y * width + x) * 3, (y * width + x + 1) * 3)
  return { data, width, height }
}
const greys = (data: Uint8Array) => [...data].filter((_, at) => at % 3 === 0)

t.test('a picture in another size is where it was: nothing is shifted, nothing brighter', async (t) => {
  for (const [from, to] of [
    [20, 32],
    [64, 16],
    [30, 20],
  ] as const) {
    const ramp = greys(
      resized(
        grey(from, 4, (x) => x * 3),
        { width: to, height: 4 },
      ).subarray(0, to * 3),
    )
    const scale = from / to
    for (const [at, level] of ramp.entries()) {
      const edge = at < scale || at >= to - scale - 1
      const expected = ((at + 0.5) * scale - 0.5) * 3
      t.ok(
        edge || Math.abs(level - expected) <= 1,
        `${from} to ${to}, pixel ${at}: ${level}, not ${expected}`,
      )
    }
    const even = resized(
      grey(from, from, () => 255),
      { width: to, height: to + 3 },
    )
    t.ok(even.every((value) => value === 255))
  }
  const columns = resized(
    grey(3, 40, (_, y) => (y < 20 ? 0 : 200)),
    { width: 3, height: 4 },
  )
  t.same(
    greys(columns)
      .filter((_, at) => at % 3 === 0)
      .map((level) => (level > 100 ? 'bright' : 'dark')),
    ['dark', 'dark', 'bright', 'bright'],
  )
  const dots = resized(
    grey(64, 64, (x, y) => ((x + y) % 2) * 200),
    { width: 8, height: 8 },
  )
  t.ok(
    greys(dots).every((level) => Math.abs(level - 100) <= 2),
    'what is fine becomes grey, not stripes',
  )
})

t.test('a crop of another shape is squeezed, put between bars, or cut', async (t) => {
  const wide = grey(40, 20, (x) => (x < 10 ? 60 : x < 30 ? 120 : 180))
  const size = { width: 8, height: 8 }
  const stretched = greys(fitted(wide, { ...size, fit: 'stretch' }))
  t.same([stretched[0], stretched[4], stretched[7], stretched[56]], [60, 120, 180, 60])
  const barred = greys(fitted(wide, { ...size, fit: 'letterbox' }))
  t.same([barred[0], barred[15], barred[16], barred[47], barred[48]], [0, 0, 60, 180, 0])
  const covered = greys(fitted(wide, { ...size, fit: 'cover' }))
  t.ok(
    covered.every((level) => level === 120),
    'the middle alone',
  )
  const high = grey(20, 40, (_, y) => (y < 10 ? 60 : y < 30 ? 120 : 180))
  t.ok(greys(fitted(high, { ...size, fit: 'cover' })).every((level) => level === 120))
  const thin = grey(500, 1, () => 90)
  for (const fit of ['stretch', 'letterbox', 'cover'] as const)
    t.equal(fitted(thin, { ...size, fit }).length, 8 * 8 * 3, `one row, ${fit}`)
})

t.test('what is shown lies within the crop, at whatever scale', async (t) => {
  const crop = grey(40, 40, (x, y) => (x >= 10 && x < 30 && y >= 10 && y < 30 ? 200 : 10))
  const metadata = { box: [120, 220, 40, 40], region: [100, 200, 80, 80] } as const
  const of = (margin: number | undefined) =>
    shownOf(crop, { ...metadata, box: [...metadata.box], region: [...metadata.region] }, margin)
  t.match(of(0), { width: 20, height: 20 })
  t.ok(of(0).data.every((value) => value === 200))
  t.match(of(0.25), { width: 30, height: 30 })
  t.match(of(4), { width: 40, height: 40 })
  t.match(of(undefined), { width: 40, height: 40 })
  t.not(of(undefined).data, crop.data, 'a copy')
  const outside = shownOf(crop, { box: [-500, 0, 10, 10], region: [100, 200, 80, 80] }, 0)
  t.match(outside, { width: 40, height: 40 }, 'a box beside it: all of it')
})

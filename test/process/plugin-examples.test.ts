import t from 'tap'
import { openForTest, pixels } from '../../device/process/plugin-testing.ts'
import brightness from '../../plugins/brightness.ts'
import faceBlur from '../../plugins/face-blur.ts'
import { plug } from './plugged.ts'

/** The worked examples of docs/plugins.md. */

t.test('brightness: says when it becomes dark and when it is light again, each once', async (t) => {
  await using mine = await openForTest(brightness, { settings: { darkBelow: 40, lightAbove: 60 } })
  const said: string[][] = []
  for (const level of [100, 50, 41, 39, 20, 41, 59, 50, 39, 61, 50, 100]) {
    const { events } = await mine.frame(pixels(64, 36, [level, level, level]))
    said.push(events.map(({ name }) => name))
  }
  t.strictSame(said, [[], [], [], ['dark'], [], [], [], [], [], ['light'], [], []])
  t.strictSame(mine.logged, ['it is dark', 'it is light again'])
})

t.test('brightness: each camera has its own light, and one that begins in the dark says so', async (t) => {
  await using mine = await openForTest(brightness)
  const dark = pixels(64, 36, [5, 5, 5])
  t.match(await mine.frame({ ...dark, camera: 'a' }), { events: [{ name: 'dark', data: { mean: 5 } }] })
  t.match(await mine.frame({ ...dark, camera: 'b' }), { events: [{ name: 'dark' }] })
  t.strictSame((await mine.frame({ ...dark, camera: 'a' })).events, [])
})

t.test('wrong settings are said when it opens', async (t) => {
  await t.rejects(openForTest(brightness, { settings: { darkBelow: 'low' } }), /settings\.darkBelow must be/)
  await t.rejects(openForTest(brightness, { settings: { darkBelow: 9, lightAbove: 8 } }), /lightAbove/)
  await t.rejects(openForTest(faceBlur, { settings: { squares: 99 } }), /settings\.squares/)
  await t.rejects(plug(t, [{ module: 'plugins/brightness.ts', settings: { darkBelow: -1 } }]), {
    code: 'PLUGIN_UNUSABLE',
    message: /open\(\) failed: settings\.darkBelow must be .* \(.*brightness\.ts:\d+\)/,
  })
})

t.test('face-blur: nothing but the areas changes, and in these nothing fine is left', async (t) => {
  await using mine = await openForTest(faceBlur)
  const before = pixels(80, 60)
  const areas = [
    { left: 10, top: 10, width: 40, height: 40 },
    { left: 70, top: 50, width: 10, height: 10 },
    { left: 0, top: 59, width: 1, height: 1 },
  ]
  const after = await mine.picture({ ...before, rgb: before.rgb.slice(), areas })
  let [outside, steepest] = [0, 0]
  for (let y = 0; y < 60; y += 1)
    for (let x = 0; x < 80; x += 1) {
      const at = (y * 80 + x) * 3
      const isIn = areas.some(
        ({ left, top, width, height }) => x >= left && x < left + width && y >= top && y < top + height,
      )
      if (!isIn && after[at] !== before.rgb[at]) outside += 1
      if (x >= 11 && x < 50 && y >= 10 && y < 50)
        steepest = Math.max(steepest, Math.abs((after[at] ?? 0) - (after[at - 3] ?? 0)))
    }
  t.equal(outside, 0)
  t.ok(steepest < 10, `neighbours differ by ${steepest} at most`)
})

import t from 'tap'
import { turnRgb, untilTurned } from '../../device/sources/turn.ts'

t.test('a region of a turned picture is the turned region of the stored picture', async (t) => {
  const stored = { width: 5, height: 3 }
  const rgb = Uint8Array.from({ length: 5 * 3 * 3 }, (_, i) => i)
  const crop = (
    data: Uint8Array,
    width: number,
    r: { left: number; top: number; width: number; height: number },
  ) => {
    const out: number[] = []
    for (let y = r.top; y < r.top + r.height; y += 1)
      out.push(...data.subarray((y * width + r.left) * 3, (y * width + r.left + r.width) * 3))
    return Uint8Array.from(out)
  }
  for (const quarters of [0, 1, 2, 3]) {
    const turned = turnRgb(rgb, stored, quarters)
    const width = quarters % 2 === 1 ? 3 : 5
    const region = { left: 1, top: 1, width: 2, height: 1 }
    const before = untilTurned(region, stored, quarters)
    t.strictSame(
      turnRgb(crop(rgb, 5, before), before, quarters),
      crop(turned, width, region),
      `${quarters} quarters`,
    )
  }
})

import t from 'tap'
import type { Region } from '../../device/faces/crop.ts'
import { turnedSize, turnRegion, turnRgb, untilTurned } from '../../device/sources/turn.ts'

const STORED = { width: 5, height: 3 }
const RGB = Uint8Array.from({ length: 5 * 3 * 3 }, (_, i) => i)
const ORIENTATIONS = [0, 1, 2, 3].flatMap((quarters) =>
  [false, true].map((mirrored) => ({ quarters, mirrored })),
)

function crop(data: Uint8Array, width: number, r: Region) {
  const out: number[] = []
  for (let y = r.top; y < r.top + r.height; y += 1)
    out.push(...data.subarray((y * width + r.left) * 3, (y * width + r.left + r.width) * 3))
  return Uint8Array.from(out)
}

t.test('a picture is turned clockwise, and mirrored after that', async (t) => {
  // A B C    quarters: 1
  // D E F    D A / E B / F C, mirrored A D / B E / C F
  const rgb = Uint8Array.from([...'ABCDEF'].flatMap((it) => [it.charCodeAt(0), 0, 0]))
  const read = (quarters: number, mirrored: boolean) =>
    [...turnRgb(rgb, { width: 3, height: 2 }, { quarters, mirrored })]
      .filter((_, i) => i % 3 === 0)
      .map((it) => String.fromCharCode(it))
      .join('')
  t.equal(read(0, false), 'ABCDEF')
  t.equal(read(1, false), 'DAEBFC')
  t.equal(read(2, false), 'FEDCBA')
  t.equal(read(3, false), 'CFBEAD')
  t.equal(read(0, true), 'CBAFED')
  t.equal(read(1, true), 'ADBECF')
  t.equal(read(2, true), 'DEFABC')
})

t.test('a region of a turned picture is the turned region of the stored picture', async (t) => {
  for (const orientation of ORIENTATIONS) {
    const name = JSON.stringify(orientation)
    const turned = turnRgb(RGB, STORED, orientation)
    const { width } = turnedSize(STORED, orientation)
    const region = { left: 1, top: 1, width: 2, height: 1 }
    const before = untilTurned(region, STORED, orientation)
    t.strictSame(turnRgb(crop(RGB, 5, before), before, orientation), crop(turned, width, region), name)
    t.strictSame(turnRegion(before, STORED, orientation), region, `${name}, there and back`)
  }
})

import t from 'tap'
import { type Planes, regionToRgb, turnRgb, untilTurned } from '../../device/sources/colour.ts'

/** Limited-range 8-bit Y, Cb, Cr of colours, from BT.601-7 and BT.709-6. */
const COLOURS = {
  bt601: { red: [81, 90, 240], green: [145, 54, 34], blue: [41, 240, 110], grey: [126, 128, 128] },
  bt709: { red: [63, 102, 240], green: [173, 42, 26], blue: [32, 240, 118], grey: [126, 128, 128] },
} as const
const RGB = { red: [255, 0, 0], green: [0, 255, 0], blue: [0, 0, 255], grey: [128, 128, 128] } as const

function plain(colour: readonly number[], matrix: Planes['matrix'], fullRange = false): Planes {
  const [y = 0, u = 0, v = 0] = colour
  return {
    data: [new Uint8Array(64).fill(y), new Uint8Array(16).fill(u), new Uint8Array(16).fill(v)],
    strides: [8, 4, 4],
    chromaShift: { x: 1, y: 1 },
    interleaved: false,
    matrix,
    fullRange,
  }
}

for (const matrix of ['bt601', 'bt709'] as const) {
  t.test(`${matrix} colours come out as themselves, to within two steps`, async (t) => {
    for (const name of ['red', 'green', 'blue', 'grey'] as const) {
      const rgb = regionToRgb(plain(COLOURS[matrix][name], matrix), { left: 3, top: 1, width: 2, height: 2 })
      for (const [i, value] of rgb.entries())
        t.ok(Math.abs(value - (RGB[name][i % 3] as number)) <= 2, `${name}: ${rgb.subarray(0, 3)}`)
    }
  })
}

t.test('full-range luma is not stretched', async (t) => {
  const rgb = regionToRgb(plain([16, 128, 128], 'bt601', true), { left: 0, top: 0, width: 1, height: 1 })
  t.strictSame([...rgb], [16, 16, 16])
})

t.test('NV12 and 4:2:2 address their own chroma', async (t) => {
  const luma = new Uint8Array(4 * 2).fill(81)
  const nv12: Planes = {
    data: [luma, Uint8Array.from([128, 128, 90, 240])],
    strides: [4, 4],
    chromaShift: { x: 1, y: 1 },
    interleaved: true,
    matrix: 'bt601',
    fullRange: false,
  }
  const row = [...regionToRgb(nv12, { left: 1, top: 1, width: 2, height: 1 })]
  t.strictSame(row.slice(0, 3), [76, 76, 76])
  t.ok((row[3] as number) > 250 && (row[4] as number) < 5 && (row[5] as number) < 5)
  const tall: Planes = {
    ...nv12,
    data: [luma, Uint8Array.from([128, 128, 90, 90]), Uint8Array.from([128, 128, 240, 240])],
    strides: [4, 2],
    chromaShift: { x: 1, y: 0 },
    interleaved: false,
  }
  t.strictSame([...regionToRgb(tall, { left: 0, top: 0, width: 1, height: 1 })], [76, 76, 76])
  t.ok((regionToRgb(tall, { left: 0, top: 1, width: 1, height: 1 })[0] as number) > 250)
})

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

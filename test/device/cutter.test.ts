import {
  AV_PIX_FMT_GRAY8,
  AV_PIX_FMT_NV12,
  AV_PIX_FMT_YUV420P,
  AV_PIX_FMT_YUV420P10LE,
  AV_PIX_FMT_YUV422P,
  AV_PIX_FMT_YUV444P,
  AVCOL_RANGE_JPEG,
  AVCOL_RANGE_MPEG,
  AVCOL_SPC_BT470BG,
  AVCOL_SPC_BT709,
  type AVPixelFormat,
} from 'node-av/constants'
import type { Frame } from 'node-av/lib'
import t, { type Test } from 'tap'
import { allocate, Cutter } from '../../device/sources/cutter.ts'

/** Limited-range 8-bit Y, Cb, Cr of colours, from BT.601-7 and BT.709-6. */
const COLOURS = {
  bt601: { red: [81, 90, 240], green: [145, 54, 34], blue: [41, 240, 110], grey: [126, 128, 128] },
  bt709: { red: [63, 102, 240], green: [173, 42, 26], blue: [32, 240, 118], grey: [126, 128, 128] },
} as const
const RGB = { red: [255, 0, 0], green: [0, 255, 0], blue: [0, 0, 255], grey: [128, 128, 128] } as const
const [WIDTH, HEIGHT] = [90, 62]

function plain(format: AVPixelFormat, [y, u, v]: readonly [number, number, number]): Frame {
  const frame = allocate({ width: WIDTH, height: HEIGHT }, format)
  const [planeY, planeU, planeV] = frame.data as [Buffer, Buffer?, Buffer?]
  planeY.fill(y)
  if (format === AV_PIX_FMT_NV12) planeU?.fill(Buffer.from([u, v]))
  else {
    planeU?.fill(u)
    planeV?.fill(v)
  }
  frame.colorSpace = AVCOL_SPC_BT470BG
  frame.colorRange = AVCOL_RANGE_MPEG
  return frame
}

function near(t: Test, rgb: Uint8Array, expected: readonly number[], message: string): void {
  const worst = rgb.reduce(
    (most, value, i) => Math.max(most, Math.abs(value - (expected[i % 3] as number))),
    0,
  )
  t.ok(worst <= 4, `${message}: off by ${worst}, ${rgb.subarray(0, 3)}`)
}

t.test('colours come out as themselves under BT.601 and BT.709', async (t) => {
  using cutter = new Cutter()
  for (const [matrix, space] of [
    ['bt601', AVCOL_SPC_BT470BG],
    ['bt709', AVCOL_SPC_BT709],
  ] as const)
    for (const name of ['red', 'green', 'blue', 'grey'] as const) {
      using frame = plain(AV_PIX_FMT_YUV420P, COLOURS[matrix][name])
      frame.colorSpace = space
      const rgb = cutter.cut(frame, { left: 3, top: 1, width: 5, height: 3 })
      t.equal(rgb.length, 5 * 3 * 3)
      near(t, rgb, RGB[name], `${matrix} ${name}`)
    }
})

t.test('whatever the pixel format', async (t) => {
  using cutter = new Cutter()
  for (const format of [AV_PIX_FMT_YUV422P, AV_PIX_FMT_YUV444P, AV_PIX_FMT_NV12]) {
    using frame = plain(format, COLOURS.bt601.red)
    near(t, cutter.cut(frame, { left: 7, top: 5, width: 33, height: 21 }), RGB.red, `format ${format}`)
  }
  using full = plain(AV_PIX_FMT_YUV420P, [16, 128, 128])
  full.colorRange = AVCOL_RANGE_JPEG
  near(t, cutter.cut(full, { left: 0, top: 0, width: 9, height: 9 }), [16, 16, 16], 'full range')
  using grey = plain(AV_PIX_FMT_GRAY8, [126, 0, 0])
  t.equal(cutter.cut(grey, { left: 1, top: 1, width: 2, height: 2 }).length, 12)
  using deep = plain(AV_PIX_FMT_YUV420P10LE, [0, 0, 0])
  const [y, u, v] = deep.data as [Buffer, Buffer, Buffer]
  for (const [plane, value] of [
    [y, 81],
    [u, 90],
    [v, 240],
  ] as const)
    plane.fill(Buffer.from(Uint16Array.of(value * 4).buffer))
  near(t, cutter.cut(deep, { left: 11, top: 3, width: 40, height: 40 }), RGB.red, '10 bits')
})

t.test('every pixel of a region is the one at that place, at any offset and width', async (t) => {
  using cutter = new Cutter()
  using frame = plain(AV_PIX_FMT_YUV420P, [0, 128, 128])
  frame.colorRange = AVCOL_RANGE_JPEG
  const luma = frame.data?.[0] as Buffer
  const stride = frame.linesize[0] as number
  const value = (x: number, y: number) => (x * 37 + y * 11) % 256
  for (let y = 0; y < HEIGHT; y += 1) for (let x = 0; x < WIDTH; x += 1) luma[y * stride + x] = value(x, y)
  const regions = [
    [0, 0, WIDTH, HEIGHT],
    [1, 1, 1, 1],
    [WIDTH - 1, HEIGHT - 1, 1, 1],
    [WIDTH - 3, 0, 3, HEIGHT],
    ...Array.from({ length: 24 }, (_, i) => [i, i % 7, 17 + i, 9 + (i % 5)]),
  ] as [number, number, number, number][]
  for (const [left, top, width, height] of regions) {
    const rgb = cutter.cut(frame, { left, top, width, height })
    let wrong = 0
    for (let y = 0; y < height; y += 1)
      for (let x = 0; x < width * 3; x += 1) {
        const expected = value(left + Math.floor(x / 3), top + y)
        if (Math.abs((rgb[y * width * 3 + x] as number) - expected) > 2) wrong += 1
      }
    t.equal(wrong, 0, `${left},${top} ${width}x${height}`)
  }
})

t.test('pictures of other sizes may follow', async (t) => {
  using cutter = new Cutter()
  for (const width of [64, 128, 32]) {
    using frame = allocate({ width, height: width }, AV_PIX_FMT_YUV420P)
    t.equal(cutter.cut(frame, { left: 0, top: 0, width, height: width }).length, width * width * 3)
  }
})

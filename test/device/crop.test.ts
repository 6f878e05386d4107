import sharp from 'sharp'
import t from 'tap'
import {
  cropRegion,
  encodeJpeg,
  fitInside,
  fitInto,
  pointToFrame,
  RateLimit,
  toFrame,
} from '../../device/faces/crop.ts'

const FRAME = { width: 1920, height: 1080 }

t.test('a box found in the scaled picture lands on the same place of the full frame', async (t) => {
  t.strictSame(toFrame([16, 9, 32, 18], { width: 320, height: 180 }, FRAME), [96, 54, 192, 108])
  t.strictSame(pointToFrame([160, 90], { width: 320, height: 180 }, FRAME), [960, 540])
})

t.test('a region is the box with its margin on every side, in whole pixels', async (t) => {
  t.strictSame(cropRegion([100, 200, 40, 80], 0.25, FRAME), { left: 90, top: 180, width: 60, height: 120 })
  t.strictSame(cropRegion([100.4, 200.6, 40, 80], 0, FRAME), { left: 100, top: 200, width: 41, height: 81 })
})

t.test('a region never leaves the frame', async (t) => {
  for (const box of [
    [-30, -30, 60, 60],
    [1900, 1060, 60, 60],
    [-10, -10, 5000, 5000],
    [1919.5, 1079.5, 0.1, 0.1],
  ] as const) {
    const region = cropRegion(box, 0.5, FRAME)
    t.ok(region && region.left >= 0 && region.top >= 0 && region.width >= 1 && region.height >= 1)
    t.ok(region && region.left + region.width <= FRAME.width && region.top + region.height <= FRAME.height)
  }
})

t.test('a box beside the frame has no region', async (t) => {
  t.equal(cropRegion([-50, 10, 50, 50], 0.25, FRAME), undefined)
  t.equal(cropRegion([1920, 10, 50, 50], 0.25, FRAME), undefined)
  t.equal(cropRegion([10, 1080, 50, 50], 0.25, FRAME), undefined)
})

t.test('a frame fits inside the input with its aspect ratio and is never enlarged', async (t) => {
  t.strictSame(fitInside(FRAME, { width: 320, height: 320 }), { width: 320, height: 180 })
  const input = { width: 320, height: 240 }
  t.strictSame(fitInto(FRAME, { ...input, fit: 'letterbox' }), { width: 320, height: 180 })
  t.strictSame(fitInto(FRAME, { ...input, fit: 'stretch' }), input)
  t.strictSame(fitInside({ width: 1080, height: 1920 }, { width: 256, height: 256 }), {
    width: 144,
    height: 256,
  })
  t.strictSame(fitInside({ width: 100, height: 50 }, { width: 256, height: 256 }), { width: 100, height: 50 })
  t.strictSame(fitInside({ width: 10_000, height: 3 }, { width: 256, height: 256 }), {
    width: 256,
    height: 1,
  })
})

t.test('a crop with a side longer than allowed is made smaller, others keep every pixel', async (t) => {
  const rgb = new Uint8Array(200 * 100 * 3).fill(128)
  const size = async (sizeMax: number) => {
    const { width, height } = await sharp(
      await encodeJpeg(rgb, { width: 200, height: 100 }, { quality: 85, sizeMax }),
    ).metadata()
    return [width, height]
  }
  t.strictSame(await size(200), [200, 100])
  t.strictSame(await size(50), [50, 25])
})

t.test('a rate limit lets its rate pass, and at most a second of it at once', async (t) => {
  const limit = new RateLimit(10)
  let passed = 0
  for (let i = 0; i < 100; i += 1) if (limit.take(0)) passed += 1
  t.equal(passed, 10)
  for (let ms = 1; ms <= 3000; ms += 1) if (limit.take(ms)) passed += 1
  t.ok(Math.abs(passed - 40) <= 1, `${passed} in 3 s`)
  const free = new RateLimit(Infinity)
  t.ok(Array.from({ length: 1000 }, () => free.take(0)).every(Boolean))
})

import t from 'tap'
import { openDetector } from '../../device/detect/open.ts'
import type { Frame } from '../../device/frame.ts'
import { CARD_SIZE, Testcard, type TestcardOptions } from '../../device/sources/testcard.ts'

type Box = readonly [number, number, number, number]

const context = (input = { width: 256, height: 256 }, skipped: (frames: number) => void = () => {}) => ({
  input,
  log: undefined as never,
  events: { skipped: (_reason: string, frames: number) => skipped(frames), damaged() {} },
})

const open = (options: TestcardOptions, ...rest: Parameters<typeof context>) =>
  Testcard.open(options, context(...rest), new AbortController().signal)

function iou(a: Box, b: Box): number {
  const width = Math.min(a[0] + a[2], b[0] + b[2]) - Math.max(a[0], b[0])
  const height = Math.min(a[1] + a[3], b[1] + b[3]) - Math.max(a[1], b[1])
  if (width <= 0 || height <= 0) return 0
  return (width * height) / (a[2] * a[3] + b[2] * b[3] - width * height)
}

const inside = ([x, y, width, height]: Box) =>
  x >= 0 && y >= 0 && x + width <= CARD_SIZE.width && y + height <= CARD_SIZE.height

t.test('the default model finds the faces of the test card, and nothing else', async (t) => {
  await using detector = await openDetector()
  const card = await open({}, detector.input)
  let [found, missed, wrong] = [0, 0, 0]
  // 240 frames over five minutes: every portrait at many places.
  for (let i = 0; i < 240; i += 1) {
    const frame = card.frame(i * 16)
    const scale = frame.width / frame.scaled.width
    const truth = frame.truth as readonly Box[]
    const faces = (await detector.detect(frame.scaled)).map(
      ({ box: [x, y, w, h] }): Box => [x * scale, y * scale, w * scale, h * scale],
    )
    for (const face of truth.filter(inside)) {
      if (faces.some((it) => iou(it, face) >= 0.4)) found += 1
      else missed += 1
    }
    // A face that is half in the picture may be found or not.
    wrong += faces.filter((face) => !truth.some((it) => iou(it, face) >= 0.3)).length
  }
  const recall = found / (found + missed)
  const precision = found / (found + wrong)
  t.comment(`recall ${recall.toFixed(4)}, precision ${precision.toFixed(4)}, ${found + missed} faces`)
  t.ok(found + missed > 1000)
  t.ok(recall >= 0.99, `recall ${recall}`)
  t.ok(precision >= 0.99, `precision ${precision}`)
})

t.test('every face is at least 80 pixels wide, and some are in every frame', async (t) => {
  const card = await open({})
  for (let i = 0; i < 500; i += 1) {
    const truth = card.frame(i * 7).truth as readonly Box[]
    t.ok(truth.length > 0 && truth.every((box) => box[2] >= 80 && box[3] >= 80)) || t.bailout()
  }
})

t.test('a frame follows from seed and number alone', async (t) => {
  const [a, b, other] = await Promise.all([open({ seed: 5 }), open({ seed: 5 }), open({ seed: 6 })])
  const bytes = (frame: Frame) => Buffer.from(frame.scaled.data).toString('base64')
  t.equal(bytes(a.frame(1234)), bytes(b.frame(1234)))
  t.strictSame(a.frame(1234).truth, b.frame(1234).truth)
  t.not(bytes(a.frame(1234)), bytes(a.frame(1235)))
  t.not(bytes(a.frame(1234)), bytes(other.frame(1234)))
})

t.test('a region is the same pixels as the whole frame has there', async (t) => {
  const frame = (await open({})).frame(77)
  const whole = await frame.cut(0, 0, frame.width, frame.height)
  const [left, top, width, height] = [301, 99, 200, 150]
  const region = await frame.cut(left, top, width, height)
  for (let y = 0; y < height; y += 1) {
    const from = ((top + y) * frame.width + left) * 3
    if (
      Buffer.compare(
        region.subarray(y * width * 3, (y + 1) * width * 3),
        whole.subarray(from, from + width * 3),
      )
    )
      return t.fail(`row ${y} differs`)
  }
  t.pass()
})

t.test('frames come at their rate; those nobody takes in time are skipped and counted', async (t) => {
  let skipped = 0
  const card = await open({ rateMax: 10 }, undefined, (frames) => {
    skipped += frames
  })
  const sequences: number[] = []
  const start = performance.now()
  for await (const frame of card) {
    sequences.push(frame.sequence)
    if (sequences.length === 2) await new Promise((resolve) => setTimeout(resolve, 450))
    if (sequences.length === 5) break
  }
  const elapsedMs = performance.now() - start
  t.ok(elapsedMs > 600 && elapsedMs < 1500, `${elapsedMs} ms`)
  t.ok(skipped >= 2 && skipped <= 5, `${skipped} skipped`)
  t.strictSame(
    sequences,
    sequences.toSorted((a, b) => a - b),
  )
})

t.test('a limited card ends after its frames and skips none', async (t) => {
  const sequences: number[] = []
  for await (const frame of await open({ frames: 20 })) sequences.push(frame.sequence)
  t.strictSame(sequences, [...Array(20).keys()])
})

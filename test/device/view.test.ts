import { join } from 'node:path'
import sharp from 'sharp'
import t from 'tap'
import { pointToFrame, toFrame } from '../../device/faces/crop.ts'
import type { Frame } from '../../device/frame.ts'
import { coverOf } from '../../device/sources/cover.ts'
import { CARD_SIZE } from '../../device/sources/testcard.ts'
import { PLAIN, View, type ViewSettings, WHOLE_VIEW } from '../../device/sources/view.ts'
import { writeClip } from './clip.ts'
import { camera, play } from './playing.ts'

const folder = t.testdir()
const SIZE = { width: 160, height: 96 }
/** A quarter of the picture each, as stored: red, green, blue, white. */
const QUARTERS = { red: [255, 0, 0], green: [0, 255, 0], blue: [0, 0, 255], white: [255, 255, 255] } as const
const photo = join(folder, 'photo.png')
const clip = join(folder, 'clip.mkv')

t.before(async () => {
  const rgb = Buffer.alloc(SIZE.width * SIZE.height * 3)
  for (let y = 0, at = 0; y < SIZE.height; y += 1)
    for (let x = 0; x < SIZE.width; x += 1, at += 3) rgb.set(stored(x / SIZE.width, y / SIZE.height), at)
  await sharp(rgb, { raw: { ...SIZE, channels: 3 } })
    .png()
    .toFile(photo)
  await writeClip({
    file: clip,
    frames: 3,
    ...SIZE,
    pixel: (x, y) => stored(x / SIZE.width, y / SIZE.height),
  })
})

function stored(x: number, y: number): readonly [number, number, number] {
  const { red, green, blue, white } = QUARTERS
  return y < 0.5 ? (x < 0.5 ? red : green) : x < 0.5 ? blue : white
}

/** The colours in the four corners' quarters, from the top left, row by row: of the scaled picture and of what is cut. */
async function corners(frame: Frame) {
  const names = async (at: (x: number, y: number) => Promise<Uint8Array>) => {
    const found: string[] = []
    for (const y of [0.25, 0.75]) for (const x of [0.25, 0.75]) found.push(nameOf(await at(x, y)))
    return found.join(' ')
  }
  const { data, width, height } = frame.scaled
  return {
    scaled: await names(async (x, y) => {
      const at = (Math.floor(y * height) * width + Math.floor(x * width)) * 3
      return data.subarray(at, at + 3)
    }),
    cut: await names((x, y) => frame.cut(Math.floor(x * frame.width), Math.floor(y * frame.height), 1, 1)),
  }
}

function nameOf(rgb: Uint8Array): string {
  for (const [name, colour] of Object.entries({ ...QUARTERS, black: [0, 0, 0] }))
    if (colour.every((value, i) => Math.abs(value - (rgb[i] as number)) <= 16)) return name
  return `[${rgb}]`
}

async function first(source: string, more: Record<string, unknown>, look: (frame: Frame) => unknown) {
  const seen = await play(camera(source, more), async (frame) => {
    await look(frame)
    return true
  })
  if (seen.fault) throw seen.fault
}

for (const [kind, source] of [
  ['a video', clip],
  ['a photo', photo],
] as const) {
  t.test(`${kind} is turned and mirrored, scaled and cut alike`, async (t) => {
    const expect = async (more: Record<string, unknown>, size: number[], colours: string) =>
      first(source, more, async (frame) => {
        t.strictSame([frame.width, frame.height], size)
        t.strictSame([frame.scaled.width, frame.scaled.height], size, 'never enlarged')
        t.strictSame(await corners(frame), { scaled: colours, cut: colours }, JSON.stringify(more))
        t.equal(frame.region, undefined)
      })
    await expect({}, [160, 96], 'red green blue white')
    await expect({ rotate: 90 }, [96, 160], 'blue red white green')
    await expect({ rotate: 180 }, [160, 96], 'white blue green red')
    await expect({ rotate: 270 }, [96, 160], 'green white red blue')
    await expect({ mirror: 'horizontal' }, [160, 96], 'green red white blue')
    await expect({ mirror: 'vertical' }, [160, 96], 'blue white red green')
    await expect({ rotate: 90, mirror: 'horizontal' }, [96, 160], 'red blue green white')
    await expect({ rotate: 90, mirror: 'vertical' }, [96, 160], 'white green blue red')
  })

  t.test(`${kind}: what a mask hides is black, turned or not, scaled and cut`, async (t) => {
    const masks = [
      { left: 0.5, top: 0, width: 0.5, height: 0.5 },
      {
        points: [
          [0, 0.5],
          [0.5, 0.5],
          [0.5, 1],
          [0, 1],
        ],
      },
    ]
    for (const [more, colours] of [
      [{}, 'red black black white'],
      [{ rotate: 90 }, 'blue black black green'],
      [{ rotate: 270, mirror: 'horizontal' }, 'white black black red'],
    ] as const)
      await first(source, { ...more, masks }, async (frame) => {
        t.strictSame(await corners(frame), { scaled: colours, cut: colours }, JSON.stringify(more))
        // Nothing but black in what is masked, to its last pixel: in one cut, and in one that begins inside of it.
        const { width, height } = frame
        const [left, half] = [width / 2, height / 2]
        const whole = await frame.cut(0, 0, width, height)
        t.equal(brightest(whole, width, left, 0, width, half), 0)
        t.equal(brightest(await frame.cut(left + 3, 5, 20, 20), 20, 0, 0, 20, 20), 0)
        const { scaled } = frame
        t.equal(brightest(scaled.data, scaled.width, scaled.width / 2, 0, scaled.width, scaled.height / 2), 0)
      })
  })

  t.test(
    `${kind}: a region alone is looked at, and coordinates stay those of the whole picture`,
    async (t) => {
      for (const [more, colour] of [
        [{ region: { left: 0.5, top: 0.5, width: 0.5, height: 0.5 } }, 'white'],
        [{ rotate: 90, region: { left: 0, top: 0, width: 0.5, height: 0.5 } }, 'blue'],
        [{ mirror: 'vertical', region: { left: 0, top: 0, width: 0.5, height: 0.5 } }, 'blue'],
      ] as const)
        await first(source, more, async (frame) => {
          const { scaled, region } = frame
          if (!region) throw new Error('no region')
          t.same(new Set([scaled.width, scaled.height]), new Set([80, 48]), 'as large as it is')
          t.strictSame((await corners(frame)).scaled, Array(4).fill(colour).join(' '))
          // The middle of what is looked at is the middle of the region in the whole picture.
          const [x, y] = pointToFrame([scaled.width / 2, scaled.height / 2], scaled, frame)
          t.equal(nameOf(await frame.cut(Math.floor(x), Math.floor(y), 1, 1)), colour)
          t.strictSame(toFrame([0, 0, scaled.width, scaled.height], scaled, frame), [
            region.left,
            region.top,
            region.width,
            region.height,
          ])
        })
    },
  )
}

t.test('the test card too, and its true boxes with it', async (t) => {
  await first('testcard', { rotate: 90, mirror: 'horizontal' }, async (frame) => {
    t.strictSame([frame.width, frame.height], [CARD_SIZE.height, CARD_SIZE.width])
    const { truth = [] } = frame
    t.ok(truth.length > 0 && truth.every(([x, , width]) => x >= 0 && x + width <= CARD_SIZE.height))
  })
  await first('testcard', { region: { left: 0, top: 0.5, width: 1, height: 0.5 } }, async (frame) => {
    t.strictSame([frame.scaled.width, frame.scaled.height], [320, 90])
    // Its scaled picture is its region's: the means of both are about the same.
    const region = await frame.cut(0, 360, 1280, 360)
    t.ok(Math.abs(mean(region) - mean(frame.scaled.data)) < 2)
  })
  await first('testcard', { masks: [{ left: 0, top: 0, width: 1, height: 1 }] }, async (frame) => {
    t.equal(mean(frame.scaled.data), 0)
    t.equal(mean(await frame.cut(100, 100, 200, 200)), 0)
  })
})

t.test('a polygon covers every pixel that it touches, and no other', async (t) => {
  const size = { width: 40, height: 30 }
  const covered = (polygon: Parameters<typeof coverOf>[0], grow = 0) => {
    const pixels = new Set<string>()
    for (const { row, from, to } of coverOf(polygon, size, grow))
      for (let x = from; x < to; x += 1) pixels.add(`${x},${row}`)
    return pixels
  }
  t.equal(
    covered([
      [2, 3],
      [7, 3],
      [7, 9],
      [2, 9],
    ]).size,
    5 * 6,
    'whole pixels: no more than these',
  )
  t.equal(
    covered([
      [2.9, 3],
      [7.1, 3],
      [7.1, 9],
      [2.9, 9],
    ]).size,
    6 * 6,
    'a part of a pixel is all of it',
  )
  t.equal(
    covered(
      [
        [2, 3],
        [7, 3],
        [7, 9],
        [2, 9],
      ],
      1,
    ).size,
    7 * 8,
    'and one more on each side',
  )
  t.equal(
    covered([
      [-9, -9],
      [99, -9],
      [99, 99],
      [-9, 99],
    ]).size,
    40 * 30,
    'beyond the picture',
  )
  t.equal(
    covered([
      [-9, -9],
      [-1, -9],
      [-1, 99],
    ]).size,
    0,
  )
  // Any triangle, against 25 points of each pixel.
  const random = (seed: number) => Math.abs(Math.sin(seed * 12.9898) * 43758.5453) % 1
  for (let round = 0; round < 60; round += 1) {
    const corner = (i: number) => [random(round * 6 + i) * 40, random(round * 6 + i + 3) * 30] as const
    const polygon = [corner(0), corner(1), corner(2)] as const
    const inside = (x: number, y: number) => {
      const side = (a: number, b: number) => {
        const [[ax, ay], [bx, by]] = [polygon[a], polygon[b]] as [
          readonly [number, number],
          readonly [number, number],
        ]
        return (bx - ax) * (y - ay) - (by - ay) * (x - ax)
      }
      const sides = [side(0, 1), side(1, 2), side(2, 0)]
      return sides.every((it) => it >= 0) || sides.every((it) => it <= 0)
    }
    const pixels = covered(polygon)
    let missed = 0
    for (let y = 0; y < 30; y += 1)
      for (let x = 0; x < 40; x += 1)
        for (let i = 0; i < 25; i += 1)
          if (
            inside(x + 0.02 + (i % 5) * 0.24, y + 0.02 + Math.floor(i / 5) * 0.24) &&
            !pixels.has(`${x},${y}`)
          )
            missed += 1
    t.equal(missed, 0, `triangle ${round}`)
  }
})

t.test('a region keeps to whole groups of chroma, whatever the size', async (t) => {
  const view = (settings: Partial<ViewSettings>, quarters = 0) =>
    new View({ ...WHOLE_VIEW, ...settings }, { width: 1917, height: 1079 }, { ...PLAIN, quarters })
  for (const rotate of [0, 90, 180, 270] as const)
    for (const mirror of ['none', 'horizontal', 'vertical'] as const)
      for (const region of [
        { left: 0.123, top: 0.377, width: 0.5, height: 0.21 },
        { left: 0, top: 0, width: 1, height: 1 },
        { left: 0.999, top: 0.999, width: 0.001, height: 0.001 },
      ]) {
        const { storedRegion: it, region: seen, size, isWhole } = view({ rotate, mirror, region })
        const ok =
          it.left % 4 === 0 &&
          it.top % 2 === 0 &&
          it.left + it.width <= 1917 &&
          it.top + it.height <= 1079 &&
          seen.left <= region.left * size.width &&
          seen.top <= region.top * size.height &&
          seen.left + seen.width >= Math.floor((region.left + region.width) * size.width) &&
          seen.top + seen.height >= Math.floor((region.top + region.height) * size.height)
        t.ok(ok, `${rotate} ${mirror} ${JSON.stringify(seen)}`)
        t.equal(isWhole, region.width === 1)
      }
  t.equal(view({ rotate: 270 }, 1).isUpright, true, 'the turn that the video asks for is added')
})

function brightest(rgb: Uint8Array, stride: number, x0: number, y0: number, x1: number, y1: number): number {
  let most = 0
  for (let y = y0; y < y1; y += 1)
    for (let at = (y * stride + x0) * 3; at < (y * stride + x1) * 3; at += 1)
      most = Math.max(most, rgb[at] as number)
  return most
}

const mean = (rgb: Uint8Array) => rgb.reduce((sum, value) => sum + value, 0) / rgb.length

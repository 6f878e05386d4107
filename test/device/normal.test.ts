import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import {
  AV_PIX_FMT_BGR0,
  AV_PIX_FMT_GBRP10LE,
  AV_PIX_FMT_GRAY8,
  AV_PIX_FMT_GRAY16LE,
  AV_PIX_FMT_YUV420P10LE,
  AV_PIX_FMT_YUV422P10LE,
  AV_PIX_FMT_YUV444P12LE,
  AV_PIX_FMT_YUVA420P,
  AVCOL_PRI_BT2020,
  AVCOL_PRI_SMPTE432,
  AVCOL_SPC_BT2020_CL,
  AVCOL_SPC_BT2020_NCL,
  AVCOL_SPC_ICTCP,
  AVCOL_SPC_RGB,
  AVCOL_SPC_YCGCO,
  AVCOL_TRC_ARIB_STD_B67,
  AVCOL_TRC_BT2020_10,
  AVCOL_TRC_LOG,
  AVCOL_TRC_SMPTE2084,
} from 'node-av/constants'
import pino from 'pino'
import sharp from 'sharp'
import t, { type Test } from 'tap'
import { Agent } from '../../device/agent.ts'
import { deviceSchema } from '../../device/config.ts'
import type { Frame } from '../../device/frame.ts'
import { openMeters } from '../../device/meters.ts'
import { openSource } from '../../device/sources/open.ts'
import { loadConfig } from '../../lib/config.ts'
import { openLog } from '../../lib/log.ts'
import { openMetrics } from '../../lib/metrics.ts'
import { readCrop } from '../../wire/crop.ts'
import { eventSchema, type FaceEvent } from '../../wire/event.ts'
import { type ClipOptions, writeClip } from './clip.ts'
import { camera, play, watch } from './playing.ts'

/** What decoders give, and what comes of it: progressive, SDR, square, upright. The clock has a file of its own. */

const folder = t.testdir()
const SIZE = { width: 160, height: 96 }

const near = (t: Test, actual: Uint8Array, expected: readonly number[], message: string, by = 12) =>
  t.ok(
    expected.every((value, i) => Math.abs(value - (actual[i] as number)) <= by),
    `${message}: ${actual.subarray(0, expected.length)} for ${expected}`,
  )

/** Quarters of the picture, as stored: red, green, blue, white. */
const COLOURS = { r: [255, 0, 0], g: [0, 255, 0], b: [0, 0, 255], w: [255, 255, 255] } as const
const quartered = ({ width, height } = SIZE): NonNullable<ClipOptions['pixel']> => {
  const { r, g, b, w } = COLOURS
  return (x, y) => (y < height / 2 ? (x < width / 2 ? r : g) : x < width / 2 ? b : w)
}

/** The quarters as they come out, from the top left, row by row; scaled and cut must agree. */
async function quarters(t: Test, frame: Frame): Promise<string> {
  const { data, width, height } = frame.scaled
  const name = (rgb: Uint8Array) =>
    Object.entries(COLOURS).find(([, colour]) =>
      colour.every((value, i) => Math.abs(value - (rgb[i] as number)) < 80),
    )?.[0] ?? `[${rgb}]`
  let [scaled, cut] = ['', '']
  for (const y of [0.25, 0.75])
    for (const x of [0.25, 0.75]) {
      const at = (Math.floor(y * height) * width + Math.floor(x * width)) * 3
      scaled += name(data.subarray(at, at + 3))
      cut += name(await frame.cut(Math.floor(x * frame.width), Math.floor(y * frame.height), 1, 1))
    }
  t.equal(scaled, cut, 'scaled and cut alike')
  return cut
}

async function first(source: string, more: Record<string, unknown>, look: (frame: Frame) => unknown) {
  const seen = await play(camera(source, more), async (frame) => {
    await look(frame)
    return true
  })
  if (seen.fault) throw seen.fault
}

t.test('interlaced video is played, every frame, and shows no comb', async (t) => {
  const FRAMES = 8
  /** A white bar that moves by 24 pixels from field to field. */
  const pixel = (x: number, _y: number, frame: number) => {
    const left = 20 + frame * 48
    return x >= left && x < left + 120 ? ([255, 255, 255] as const) : ([0, 0, 0] as const)
  }
  const size = { width: 720, height: 576 }
  for (const [name, more] of [
    ['mpeg2.mpg', { codec: 'mpeg2' }],
    ['h264.ts', { codec: 'h264' }],
    ['ffv1.mkv', { codec: 'ffv1', layout: AV_PIX_FMT_YUV422P10LE }],
  ] as const) {
    const file = join(folder, `interlaced-${name}`)
    await writeClip({ ...size, ...more, file, frames: FRAMES, interlaced: true, pixel })
    const seen = await play(camera(file), async (frame) => {
      const { sequence, width, height } = frame
      t.strictSame([width, height], [720, 576])
      if (sequence === 0 || sequence === FRAMES - 1) return // at the ends there is no neighbour in time
      const left = 20 + sequence * 48
      // Where the bar was in one field, and not in the other.
      const strip = await frame.cut(left + 4, 200, 16, 40)
      const rows = Array.from({ length: 40 }, (_, y) => strip[y * 16 * 3 + 8 * 3] as number)
      const combs = rows.filter(
        (value, y) =>
          y > 0 && y < 39 && Math.abs(2 * value - (rows[y - 1] as number) - (rows[y + 1] as number)) > 200,
      )
      t.equal(combs.length, 0, `${name}, frame ${sequence}: ${rows}`)
    })
    t.equal(seen.fault, undefined, name)
    t.strictSame(seen.sequences, [...Array(FRAMES).keys()], name)
  }
  const parts: Buffer[] = []
  for (const [width, height] of [
    [320, 240],
    [160, 96],
  ] as const) {
    const part = join(folder, 'interlaced-part.h264')
    await writeClip({ width, height, file: part, frames: 4, codec: 'h264', interlaced: true })
    parts.push(readFileSync(part))
  }
  const both = join(folder, 'interlaced-both.h264')
  writeFileSync(both, Buffer.concat(parts))
  const widths: number[] = []
  await play(camera(both), ({ width }) => void widths.push(width))
  t.strictSame(widths, [320, 320, 320, 320, 160, 160, 160, 160], 'no frame is lost where the size changes')
  const tiny = join(folder, 'tiny.mkv')
  await writeClip({ file: tiny, width: 4, height: 4, frames: 3, interlaced: true, codec: 'ffv1' })
  t.match(await play(camera(tiny)), { frames: 3, fault: undefined }, 'too small to be deinterlaced')
})

t.test(
  'colours coded in a way that swscale refuses are shown as the nearest, and that is said once',
  async (t) => {
    for (const [name, more, isKnown] of [
      ['YCgCo', { space: AVCOL_SPC_YCGCO }, false],
      ['ICtCp', { space: AVCOL_SPC_ICTCP }, false],
      ['BT.2020 with constant luminance', { space: AVCOL_SPC_BT2020_CL }, false],
      ['a code that is reserved', { space: 3 as never }, true],
      ['RGB that is YUV', { space: AVCOL_SPC_RGB }, false],
      ['a logarithmic transfer', { transfer: AVCOL_TRC_LOG }, true],
      ['a transfer that is reserved', { transfer: 3 as never }, true],
      ['primaries that are reserved', { primaries: 3 as never }, true],
    ] as const) {
      const file = join(folder, 'matrix.mkv')
      await writeClip({ ...SIZE, file, frames: 3, codec: 'ffv1', pixel: quartered(), ...more })
      const said: string[] = []
      const { seen, context } = watch()
      const log = pino(
        { level: 'warn' },
        new Writable({
          write(line, _encoding, done) {
            said.push(String(line))
            done()
          },
        }),
      )
      await using source = await openSource(camera(file), { ...context, log }, new AbortController().signal)
      for await (using frame of source) {
        seen.frames += 1
        near(t, await frame.cut(120, 72, 1, 1), [255, 255, 255], `${name}: white is white`)
      }
      t.equal(seen.frames, 3, name)
      t.equal(said.filter((line) => /unknown colour coding/.test(line)).length, isKnown ? 0 : 1, name)
    }
  },
)

t.test('HDR comes out as SDR, and quickly, at every size', async (t) => {
  /** Grey of 203 cd/m2, which is white in SDR; a tenth of that; what is not in BT.709; black. */
  const greys = { pq: [148, 98], hlg: [191, 105], sdr: [255, 90] }
  for (const [transfer, code] of [
    ['pq', AVCOL_TRC_SMPTE2084],
    ['hlg', AVCOL_TRC_ARIB_STD_B67],
    ['sdr', AVCOL_TRC_BT2020_10],
  ] as const) {
    const [white = 0, dark = 0] = greys[transfer]
    const file = join(folder, `${transfer}.mkv`)
    const size = { width: 640, height: 384 }
    await writeClip({
      ...size,
      file,
      frames: 3,
      codec: 'hevc10',
      space: AVCOL_SPC_BT2020_NCL,
      primaries: AVCOL_PRI_BT2020,
      transfer: code,
      pixel: (x, y) =>
        y < 192
          ? x < 320
            ? [white, white, white]
            : [dark, dark, dark]
          : x < 320
            ? [white, 0, 0]
            : [0, 0, 0],
    })
    const startUs = process.cpuUsage()
    await first(file, {}, async (frame) => {
      const at = async (x: number, y: number) =>
        [...(await frame.cut(x, y, 1, 1))] as [number, number, number]
      const [w, d, r, k] = [await at(100, 90), await at(500, 90), await at(100, 290), await at(500, 290)]
      t.ok(
        Math.max(...w) - Math.min(...w) <= 3 && Math.max(...d) - Math.min(...d) <= 3,
        `greys stay grey: ${w} ${d}`,
      )
      t.ok(w[0] >= 190, `${transfer}: what is white is bright: ${w}`)
      t.ok(d[0] >= 80 && d[0] <= 110, `${transfer}: a tenth of the light is as dark as in SDR: ${d}`)
      t.ok(r[0] >= 190 && r[1] < 60 && r[2] < 60, `${transfer}: red: ${r}`)
      near(t, Uint8Array.from(k), [0, 0, 0], 'black')
      const { data, width } = frame.scaled
      near(t, data.subarray((45 * width + 50) * 3), w, 'scaled as cut')
      // As faces come: never the same size twice.
      for (let i = 0; i < 4; i += 1) await frame.cut(10 + i, 20, 60 + 7 * i, 80 + 5 * i)
    })
    const { user, system } = process.cpuUsage(startUs)
    t.ok(
      user + system < 1_500_000,
      `${transfer}: ${((user + system) / 1e6).toFixed(2)} s of CPU for a frame and its crops`,
    )
  }
  // What phones film in: no HDR, and yet a table for each size if swscale were to convert it.
  const file = join(folder, 'p3.mkv')
  await writeClip({
    ...SIZE,
    file,
    frames: 1,
    codec: 'ffv1',
    primaries: AVCOL_PRI_SMPTE432,
    pixel: quartered(),
  })
  const startUs = process.cpuUsage()
  await first(file, {}, async (frame) => {
    for (let i = 0; i < 5; i += 1) await frame.cut(0, 0, 60 + i, 60)
    near(t, await frame.cut(20, 20, 1, 1), [255, 0, 0], 'red')
  })
  t.ok(process.cpuUsage(startUs).user < 1_000_000)
})

t.test('a display matrix turns and mirrors as FFmpeg does', async (t) => {
  // What FFmpeg itself makes of each: transpose, hflip and vflip, as fftools/ffmpeg_filter.c puts them.
  for (const [matrix, size, expected, name] of [
    [[1, 0, 0, 1], [160, 96], 'rgbw', 'as it is'],
    [[0, 1, -1, 0], [96, 160], 'brwg', 'a quarter to the right'],
    [[-1, 0, 0, -1], [160, 96], 'wbgr', 'half a turn'],
    [[0, -1, 1, 0], [96, 160], 'gwrb', 'a quarter to the left'],
    [[-1, 0, 0, 1], [160, 96], 'grwb', 'left for right'],
    [[1, 0, 0, -1], [160, 96], 'bwrg', 'top for bottom'],
    [[0, 1, 1, 0], [96, 160], 'rbgw', 'along the diagonal'],
    [[0, -1, -1, 0], [96, 160], 'wgbr', 'along the other diagonal'],
    [[0.17, 0.98, -0.98, 0.17], [96, 160], 'brwg', 'eighty degrees: the nearest'],
    [[-2, 0, 0, 2], [160, 96], 'grwb', 'twice as large'],
    [[0, 0, 0, 0], [160, 96], 'rgbw', 'nothing'],
  ] as const) {
    const file = join(folder, 'matrix.mp4')
    await writeClip({ ...SIZE, file, frames: 2, pixel: quartered(), matrix })
    await first(file, {}, async (frame) => {
      t.strictSame([frame.width, frame.height], size, name)
      t.equal(await quarters(t, frame), expected, name)
    })
  }
  // H.264 can say it itself, in a message (display orientation, D.2.27) before each key frame: flipped left for right.
  const spoken = join(folder, 'spoken.h264')
  await writeClip({ ...SIZE, file: spoken, frames: 3, codec: 'h264', pixel: quartered() })
  const bytes = readFileSync(spoken)
  const at = bytes.indexOf(Buffer.from([0, 0, 1, 0x65]))
  const message = Buffer.from([0, 0, 1, 0x06, 47, 3, 0x40, 0x00, 0x09, 0x80])
  writeFileSync(spoken, Buffer.concat([bytes.subarray(0, at), message, bytes.subarray(at)]))
  await first(spoken, {}, async (frame) => t.equal(await quarters(t, frame), 'grwb', 'in the stream itself'))
  const file = join(folder, 'mirrored.mp4')
  await writeClip({ ...SIZE, file, frames: 2, pixel: quartered(), matrix: [-1, 0, 0, 1] })
  await first(file, { rotate: 90 }, async (frame) =>
    t.equal(await quarters(t, frame), 'wgbr', 'mirrored first, then turned as the settings say'),
  )
})

t.test('pixels that are not square are made so, in crops and for the detector', async (t) => {
  for (const [name, codec] of [
    ['mkv', 'ffv1'],
    ['mp4', 'mpeg4'],
    ['ts', 'h264'],
  ] as const)
    for (const [pixelAspect, size] of [
      [
        [2, 1],
        [320, 96],
      ],
      [
        [40, 33],
        [194, 96],
      ],
      [
        [1, 2],
        [160, 192],
      ],
      [
        [1, 1],
        [160, 96],
      ],
    ] as const) {
      const file = join(folder, `sar.${name}`)
      await writeClip({ ...SIZE, file, frames: 10, codec, pixel: quartered(), pixelAspect })
      const what = `${name}, ${pixelAspect}`
      await first(file, {}, async (frame) => {
        t.strictSame([frame.width, frame.height], size, what)
        t.strictSame([frame.scaled.width, frame.scaled.height], size, `${what}: scaled`)
        t.equal(await quarters(t, frame), 'rgbw', what)
      })
      await first(file, { rotate: 90 }, async (frame) => {
        t.strictSame([frame.width, frame.height], size.toReversed(), `${what}: turned`)
        t.equal(await quarters(t, frame), 'brwg', `${what}: turned`)
      })
    }
})

t.test('a crop out of pixels that are not square shows what the picture shows there', async (t) => {
  const file = join(folder, 'gradient.mkv')
  const pixel = (x: number, y: number) => [x, y * 2, 100] as const
  await writeClip({
    ...SIZE,
    file,
    frames: 1,
    codec: 'ffv1',
    layout: AV_PIX_FMT_BGR0,
    space: AVCOL_SPC_RGB,
    pixel,
    pixelAspect: [2, 1],
  })
  const masks = [{ left: 0.5, top: 0, width: 0.1, height: 1 }]
  await first(file, { masks }, async (frame) => {
    const whole = await frame.cut(0, 0, 320, 96)
    const part = await frame.cut(101, 31, 50, 20)
    for (const [x, y] of [
      [0, 0],
      [49, 19],
      [7, 13],
    ] as const)
      t.strictSame(
        part.subarray((y * 50 + x) * 3, (y * 50 + x) * 3 + 3),
        whole.subarray(((31 + y) * 320 + 101 + x) * 3, ((31 + y) * 320 + 101 + x) * 3 + 3),
      )
    near(t, whole.subarray((40 * 320 + 100) * 3), [50, 80, 100], 'half as far in the stored picture', 1)
    // Nothing that a mask hides is mixed into what lies beside it.
    const beside = await frame.cut(150, 40, 60, 1)
    for (let x = 157; x < 195; x += 1) t.equal(beside[(x - 150) * 3 + 2], 0, `${x} is hidden`)
  })
  const region = { left: 0.25, top: 0.25, width: 0.5, height: 0.5 }
  await first(file, { region }, async (frame) => {
    const seen = frame.region ?? { left: 0, top: 0, width: 0, height: 0 }
    t.strictSame(seen, { left: 80, top: 24, width: 160, height: 48 })
    const { data, width } = frame.scaled
    t.strictSame([width, frame.scaled.height], [160, 48])
    near(t, data.subarray((24 * width + 80) * 3), [80, 96, 100], 'the middle of the region', 3)
  })
})

t.test('"aspect" is for cameras that do not say it', async (t) => {
  const file = join(folder, 'anamorphic.mkv')
  await writeClip({ ...SIZE, file, frames: 1, pixel: quartered() })
  await first(file, { aspect: '4:1' }, async (frame) => {
    t.strictSame([frame.width, frame.height], [384, 96])
    t.equal(await quarters(t, frame), 'rgbw')
  })
  await first(file, { aspect: '1:1', rotate: 90 }, (frame) =>
    t.strictSame([frame.width, frame.height], [160, 160]),
  )
  await first(file, { aspect: 'auto' }, (frame) => t.strictSame([frame.width, frame.height], [160, 96]))
  for (const aspect of ['16', '0:9', 'wide', '16:9:1', '-4:3'])
    t.throws(() => camera(file, { aspect }), {
      code: 'CONFIG_INVALID',
      message: /must be auto, or width and height/,
    })
  t.throws(() => camera('testcard', { aspect: '4:3' }), { code: 'CONFIG_INVALID' })
})

t.test('a stream whose size and pixels change in the middle goes on as it then is', async (t) => {
  const parts: Buffer[] = []
  for (const [size, pixelAspect] of [
    [SIZE, [1, 1]],
    [SIZE, [2, 1]],
    [{ width: 320, height: 192 }, [1, 1]],
  ] as const) {
    const file = join(folder, 'part.h264')
    await writeClip({ ...size, file, frames: 5, codec: 'h264', pixel: quartered(size), pixelAspect })
    parts.push(readFileSync(file))
  }
  const file = join(folder, 'changing.h264')
  writeFileSync(file, Buffer.concat(parts))
  const sizes: string[] = []
  const seen = await play(camera(file), async (frame) => {
    sizes.push(`${frame.width}x${frame.height}`)
    t.equal(await quarters(t, frame), 'rgbw')
  })
  t.equal(seen.fault, undefined)
  t.strictSame(
    sizes,
    [160, 320, 320].flatMap((width, i) => Array(5).fill(`${width}x${i < 2 ? 96 : 192}`)),
  )
})

t.test('whatever way pixels are stored, and whatever size they have, they come out', async (t) => {
  for (const [name, layout, isGrey] of [
    ['yuv422p10', AV_PIX_FMT_YUV422P10LE],
    ['yuv444p12', AV_PIX_FMT_YUV444P12LE],
    ['yuv420p10', AV_PIX_FMT_YUV420P10LE],
    ['bgr0', AV_PIX_FMT_BGR0],
    ['gbrp10', AV_PIX_FMT_GBRP10LE],
    ['yuva420p', AV_PIX_FMT_YUVA420P],
    ['gray', AV_PIX_FMT_GRAY8, true],
    ['gray16', AV_PIX_FMT_GRAY16LE, true],
  ] as const) {
    const file = join(folder, `${name}.mkv`)
    await writeClip({
      ...SIZE,
      file,
      frames: 1,
      codec: 'ffv1',
      layout,
      pixel: quartered(),
      ...(/r0|gbrp/.test(name) && { space: AVCOL_SPC_RGB }),
    })
    await first(file, {}, async (frame) => {
      if (!isGrey) return t.equal(await quarters(t, frame), 'rgbw', name)
      const [r, g, b] = await frame.cut(100, 20, 1, 1)
      return t.ok(r === g && g === b && (r as number) > 100, `${name}: green is grey: ${r} ${g} ${b}`)
    })
  }
  for (const [width, height] of [
    [1, 1],
    [3, 5],
    [4096, 16],
    [17, 1001],
  ] as const) {
    const file = join(folder, `${width}x${height}.mkv`)
    const pixel = () => [200, 100, 50] as const
    await writeClip({
      file,
      frames: 1,
      codec: 'ffv1',
      layout: AV_PIX_FMT_BGR0,
      space: AVCOL_SPC_RGB,
      width,
      height,
      pixel,
    })
    await first(file, {}, async (frame) => {
      t.strictSame([frame.width, frame.height], [width, height])
      near(
        t,
        await frame.cut(width - 1, height - 1, 1, 1),
        [200, 100, 50],
        `${width}x${height}: the last pixel`,
        3,
      )
      near(t, frame.scaled.data.subarray(-3), [200, 100, 50], `${width}x${height}: scaled`, 6)
    })
  }
})

t.test('crops, events and whoever looks have places in the picture as shown', async (t) => {
  const file = join(folder, 'shown.mp4')
  await writeClip({
    ...SIZE,
    file,
    frames: 10,
    pixel: quartered(),
    pixelAspect: [2, 1],
    matrix: [-1, 0, 0, 1],
  })
  const config = loadConfig(deviceSchema, {
    overrides: { cameras: [{ name: 'c', source: file, pace: 'asfast', rotate: 90 }], crop: { margin: 0 } },
  })
  const payloads: Buffer[] = []
  const events: FaceEvent[] = []
  const looked = new Set<string>()
  const agent = new Agent({
    config,
    detector: {
      model: 'none',
      runtime: 'none',
      scoreMin: 0.5,
      input: { width: 48, height: 160, fit: 'letterbox' },
      // The upper left quarter, at half the size.
      detect: async ({ width, height }) => [
        { box: [0, 0, width / 2, height / 2], score: 0.9, landmarks: [[12, 40]] },
      ],
      async [Symbol.asyncDispose]() {},
    },
    publisher: {
      offer: ({ payload }) => void payloads.push(payload),
      room: async () => {},
      say: ({ payload }) => void events.push(eventSchema.parse(JSON.parse(payload))),
    },
    meters: openMeters(openMetrics('test')),
    log: openLog('test', 'silent'),
    watchers: [
      {
        wants: () => true,
        async see(_camera, frame, faces) {
          looked.add(`${frame.width}x${frame.height} ${faces?.map(({ box }) => box)}`)
          t.equal((await frame.cut(0, 0, frame.width, frame.height)).length, 96 * 320 * 3)
        },
      },
    ],
    onState() {},
  })
  await agent.run(new AbortController().signal)
  t.strictSame([...looked], ['96x320 0,0,48,160'])
  t.ok(events.length > 0)
  for (const { after } of events)
    t.match(after, { frame: [96, 320], box: [0, 0, 48, 160], region: [0, 0, 48, 160] })
  t.equal(payloads.length, 1)
  const reading = readCrop(payloads[0] as Buffer)
  t.match(reading, {
    crop: { frame: [96, 320], box: [0, 0, 48, 160], region: [0, 0, 48, 160], landmarks: [[24, 80]] },
  })
  const { data, info } = await sharp(payloads[0]).raw().toBuffer({ resolveWithObject: true })
  t.strictSame([info.width, info.height], [48, 160])
  // White: stored at the lower right, mirrored to the lower left, turned to the upper left.
  near(t, data.subarray((80 * 48 + 24) * 3), [255, 255, 255], 'what lies there', 20)
})

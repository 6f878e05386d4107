import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { crc32, deflateSync } from 'node:zlib'
import sharp, { type Sharp } from 'sharp'
import t from 'tap'
import { deviceSchema } from '../../device/config.ts'
import { openSource } from '../../device/sources/open.ts'
import { loadConfig } from '../../lib/config.ts'
import { openLog } from '../../lib/log.ts'

const picture = (width: number, height: number, background: string) =>
  sharp({ create: { width, height, channels: 3, background } })

/** The beginning of a PNG that would be 900 million pixels. */
async function writeFile30k(file: string): Promise<void> {
  const chunk = (type: string, data: Buffer) => {
    const body = Buffer.concat([Buffer.from(type, 'latin1'), data])
    const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)]
    length.writeUInt32BE(data.length)
    sum.writeUInt32BE(crc32(body))
    return Buffer.concat([length, body, sum])
  }
  const header = Buffer.alloc(13)
  header.writeUInt32BE(30_000, 0)
  header.writeUInt32BE(30_000, 4)
  header.set([8, 2, 0, 0, 0], 8)
  const signature = Buffer.from('\x89PNG\r\n\x1a\n', 'latin1')
  const parts = [signature, chunk('IHDR', header), chunk('IDAT', deflateSync(Buffer.alloc(1000)))]
  writeFileSync(file, Buffer.concat([...parts, chunk('IEND', Buffer.alloc(0))]))
}

/** What a folder gives: the sizes of its frames, and how many files could not be read. */
async function read(source: string, more: Record<string, unknown> = {}, frames = Infinity) {
  const camera = loadConfig(deviceSchema, { overrides: { cameras: [{ name: 'c', source, ...more }] } })
    .cameras[0]
  const sizes: string[] = []
  const pixels: string[] = []
  let damaged = 0
  const events = {
    skipped: () => t.fail('photos are never skipped'),
    damaged: () => {
      damaged += 1
    },
  }
  const context = { input: { width: 256, height: 256 }, events, log: openLog('test', 'silent') }
  await using opened = await openSource(camera as never, context, new AbortController().signal)
  for await (const frame of opened) {
    sizes.push(`${frame.width}x${frame.height}`)
    pixels.push([...(await frame.cut(frame.width - 2, 0, 1, 1))].join())
    if (sizes.length >= frames) break
  }
  return { sizes, pixels, damaged, opened }
}

t.test('every photo of a folder and its subfolders is read once, whatever else lies there', async (t) => {
  const dir = t.testdir({ sub: {}, 'c-notes.txt': 'no picture', '.hidden': 'x' })
  await picture(300, 200, 'red').jpeg().toFile(join(dir, 'a.jpg'))
  await picture(40, 30, 'blue').png().toFile(join(dir, 'b.png'))
  await sharp({ create: { width: 20, height: 10, channels: 4, background: '#0000' } })
    .png()
    .toFile(join(dir, 'd-alpha.png'))
  await picture(64, 48, 'lime')
    .webp({ lossless: true })
    .toFile(join(dir, 'sub', 'e.webp'))
  await picture(50, 50, '#777')
    .greyscale()
    .jpeg()
    .toFile(join(dir, 'sub', 'f-grey.jpg'))
  const whole = await picture(600, 400, 'teal').jpeg().toBuffer()
  writeFileSync(join(dir, 'b-cut.jpg'), whole.subarray(0, whole.length / 2))
  const { sizes, damaged, pixels, opened } = await read(dir)
  t.strictSame(sizes, ['300x200', '40x30', '20x10', '64x48', '50x50'])
  t.equal(damaged, 2, 'the note and the photo that is cut off')
  t.match(pixels[0], /^25[345],0,0$/)
  t.equal(opened.live, false)
  t.equal(opened.lossless, true)
})

t.test('a photo is turned upright as its EXIF says', async (t) => {
  const dir = t.testdir()
  const left = await picture(30, 40, 'red').png().toBuffer()
  await picture(60, 40, 'blue')
    .composite([{ input: left, left: 0, top: 0 }])
    .withMetadata({ orientation: 6 })
    .jpeg({ quality: 100 })
    .toFile(join(dir, 'a.jpg'))
  const { sizes, pixels } = await read(dir)
  t.strictSame(sizes, ['40x60'])
  t.match(pixels[0], /^25\d,\d,\d$/, 'what was left is now on top')
})

t.test('all eight ways of EXIF to store a photo are seen the same', async (t) => {
  const dir = t.testdir()
  const rgb = Buffer.alloc(40 * 24 * 3)
  const colours = ['255,0,0', '0,255,0', '0,0,255', '255,255,255'] // top left, top right, bottom left, bottom right
  for (let y = 0, at = 0; y < 24; y += 1)
    for (let x = 0; x < 40; x += 1, at += 3)
      rgb.set((colours[(y < 12 ? 0 : 2) + (x < 20 ? 0 : 1)] ?? '').split(',').map(Number), at)
  const upright = () => sharp(rgb, { raw: { width: 40, height: 24, channels: 3 } })
  // What turns each of them upright, undone.
  const stored = [
    upright(),
    upright().flop(),
    upright().rotate(180),
    upright().flip(),
    sharp(await upright().rotate(270).png().toBuffer()).flip(),
    upright().rotate(270),
    sharp(await upright().rotate(90).png().toBuffer()).flip(),
    upright().rotate(90),
  ]
  for (const [i, it] of stored.entries())
    await it
      .withMetadata({ orientation: i + 1 })
      .png()
      .toFile(join(dir, `${i + 1}.png`))
  const { sizes, pixels } = await read(dir)
  t.strictSame(sizes, Array(8).fill('40x24'))
  t.strictSame(pixels, Array(8).fill('0,255,0'), 'green at the top right')
})

t.test('whatever colours a photo is stored in, red comes out red', async (t) => {
  const dir = t.testdir()
  const red = () => picture(64, 48, 'red')
  const kinds: Record<string, Sharp> = {
    'a-cmyk.jpg': red().toColourspace('cmyk').jpeg({ quality: 100 }),
    'b-16-bits.png': red().toColourspace('rgb16').png(),
    'c-palette.png': red().png({ palette: true }),
    'd-p3.jpg': red().withIccProfile('p3').jpeg({ quality: 100 }),
    'e-lab.tiff': red().toColourspace('lab').tiff(),
    'f-palette.gif': red().gif(),
    'g-alpha.png': red().ensureAlpha(1).png({ palette: true }),
  }
  for (const [name, it] of Object.entries(kinds)) await it.toFile(join(dir, name))
  const moving = Buffer.concat([await red().raw().toBuffer(), await picture(64, 48, 'blue').raw().toBuffer()])
  kinds['h-moving.gif'] = sharp(moving, { raw: { width: 64, height: 96, channels: 3, pageHeight: 48 } }).gif()
  await kinds['h-moving.gif'].toFile(join(dir, 'h-moving.gif'))
  const { sizes, pixels, damaged } = await read(dir)
  t.equal(damaged, 0)
  t.strictSame(sizes, Array(8).fill('64x48'))
  for (const [i, pixel] of pixels.entries()) {
    const [r = 0, g = 0, b = 0] = pixel.split(',').map(Number)
    t.ok(r > 215 && g < 40 && b < 40, `${Object.keys(kinds)[i]}: ${pixel}`)
  }
})

/** What the system, a file manager or a network drive puts beside people's files. */
const HIDDEN = [
  '.Trash-1000/files',
  '.stversions',
  '.thumbnails/large',
  '@eaDir/a.jpg',
  '#recycle',
  '$RECYCLE.BIN',
]

t.test('what lies in hidden folders is never published, at any level', async (t) => {
  const dir = join(t.testdir(), '.photos')
  const photo = await picture(40, 30, 'red').jpeg().toBuffer()
  for (const folder of ['', 'trip', ...HIDDEN, ...HIDDEN.map((it) => join('trip', 'day 1', it))]) {
    mkdirSync(join(dir, folder), { recursive: true })
    writeFileSync(join(dir, folder, 'photo.jpg'), photo)
  }
  t.strictSame((await read(dir)).sizes, ['40x30', '40x30'])
})

t.test('one photo is a source too, also without a name that says so', async (t) => {
  const file = join(t.testdir(), 'photo')
  await picture(80, 60, 'red').jpeg().toFile(file)
  t.strictSame((await read(file)).sizes, ['80x60'])
  t.strictSame((await read(file, { loop: true }, 3)).sizes, ['80x60', '80x60', '80x60'])
})

t.test('what cannot be read at all is an error that names it', async (t) => {
  const dir = t.testdir({ empty: {}, texts: { 'a.txt': 'a' }, nothing: '' })
  await t.rejects(read(join(dir, 'none')), { code: 'SOURCE_NOT_FOUND', message: /none does not exist/ })
  await t.rejects(read(join(dir, 'empty')), { code: 'SOURCE_UNREADABLE', message: /is empty/ })
  await t.rejects(read(join(dir, 'texts')), { code: 'SOURCE_UNREADABLE', message: /No readable picture/ })
  await t.rejects(read(join(dir, 'nothing')), { code: 'SOURCE_UNREADABLE', message: /is empty/ })
  await writeFile30k(join(dir, 'vast.png'))
  await t.rejects(read(join(dir, 'vast.png')), {
    code: 'SOURCE_UNREADABLE',
    message: /vast\.png has 30000 x 30000 pixels; the limit is 64 million\. Make it smaller/,
  })
  await picture(40, 30, 'blue').png().toFile(join(dir, 'z.png'))
  t.match(await read(dir), { sizes: ['40x30'] }, 'in a folder it is passed over')
  await t.rejects(read(join(dir, 'texts', 'a.txt')), {
    code: 'SOURCE_UNREADABLE',
    message: /is not a readable video/,
  })
})

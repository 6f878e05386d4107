import exifReader from 'exif-reader'
import sharp from 'sharp'
import t from 'tap'
import { z } from 'zod'
import {
  type CropMetadata,
  cropMetadataSchema,
  FILE_NAME_UNITS_MAX,
  fileNameOf,
  fittingAttributes,
  readCrop,
  writeCrop,
} from '../../wire/crop.ts'
import { newId } from '../../wire/id.ts'
import { cropMetadata, tinyJpeg } from '../kit/crops.ts'
import { hostileCrop, judgeReading } from '../kit/hostile-crop.ts'

const metadata = cropMetadata({
  landmarks: [
    [1.5, 2.25],
    [3, 4],
  ],
})

/** What any EXIF reader finds in the UserComment, behind its character code. */
function commentOf(exif: Buffer | undefined): unknown {
  const comment = exifReader(exif as Buffer).Photo?.UserComment
  const bytes = Buffer.from(comment as unknown as Uint8Array)
  t.equal(bytes.toString('latin1', 0, 8), 'ASCII\0\0\0')
  return JSON.parse(bytes.toString('latin1', 8))
}

t.test('what is written is read back', async (t) => {
  t.strictSame(readCrop(writeCrop(tinyJpeg, metadata)), { crop: metadata })
  const withoutLandmarks = cropMetadata()
  t.strictSame(readCrop(writeCrop(tinyJpeg, withoutLandmarks)), { crop: withoutLandmarks })
})

t.test('track and quality are read back, and a crop from before there were any is still one', async (t) => {
  const quality = { total: 0.4, size: 0.6, sharpness: 0.7, frontality: 1 }
  const followed = cropMetadata({ track: newId(), quality })
  t.strictSame(readCrop(writeCrop(tinyJpeg, followed)), { crop: followed })
  t.notOk('track' in cropMetadata())
  const write = (changed: object) =>
    readCrop(writeCrop(tinyJpeg, { ...followed, ...changed } as CropMetadata))
  t.match(write({ track: '../../etc' }), { fault: 'invalid metadata' })
  t.match(write({ quality: { ...quality, sharpness: 7 } }), { fault: 'invalid metadata' })
})

t.test(
  'the name of a photo is read back; one that is a path, or orders to a terminal, is refused',
  async (t) => {
    const read = (file: unknown) => readCrop(writeCrop(tinyJpeg, { ...metadata, file } as CropMetadata))
    for (const file of [
      'IMG_2034.JPG',
      'Anna & Café 日本 \u{1f469}\u200d\u{1f467}.jpg',
      '-rf',
      ' ',
      'x'.repeat(255),
    ])
      t.match(read(file), { crop: { file } })
    t.notOk('file' in cropMetadata())
    for (const file of [
      '',
      '../x',
      'a/b',
      'a\\b',
      'x\n',
      '\u001b[2J',
      'x\u202egpj.exe',
      '\ud800',
      'x'.repeat(256),
      7,
    ])
      t.match(read(file), { fault: 'invalid metadata' }, JSON.stringify(file))
  },
)

t.test('of every path a name is made that is taken, or none', async (t) => {
  t.equal(fileNameOf('/home/anna/photos/IMG 1.jpg'), 'IMG 1.jpg')
  t.equal(fileNameOf('C:\\photos\\a.jpg'), 'a.jpg')
  t.equal(fileNameOf('x\u001b[2J\u202e.jpg'), 'x_[2J_.jpg')
  t.equal(fileNameOf('/'), undefined)
  t.equal(fileNameOf(`${'y'.repeat(300)}.jpg`)?.length, FILE_NAME_UNITS_MAX)
  for (const path of [`\u{1f600}${'x'.repeat(254)}`, 'a\ud800b', 'x\u2028', '\ufffd', '\u0000'])
    t.match(readCrop(writeCrop(tinyJpeg, { ...metadata, file: fileNameOf(path) })), {
      crop: { file: fileNameOf(path) },
    })
})

t.test('a reader from before there were names takes the crop all the same', async (t) => {
  const { file: _file, ...shape } = cropMetadataSchema.shape
  t.match(z.object(shape).safeParse({ ...metadata, file: 'a.jpg' }), { success: true })
})

t.test('other programs see the same metadata, and the same picture', async (t) => {
  const crop = writeCrop(tinyJpeg, metadata)
  const seen = await sharp(crop).metadata()
  t.strictSame(commentOf(seen.exif), { format: 'sightline', ...metadata })
  t.match(seen, { format: 'jpeg', width: 16, height: 16 })
  t.ok((await sharp(crop).raw().toBuffer()).equals(await sharp(tinyJpeg).raw().toBuffer()))
})

t.test('a crop that another program has written anew, metadata kept, still says what it is', async (t) => {
  const crop = writeCrop(tinyJpeg, metadata)
  const again = await sharp(crop).keepMetadata().jpeg().toBuffer()
  t.strictSame(readCrop(again), { crop: metadata })
})

t.test('text beyond ASCII survives, and stays ASCII in the file', async (t) => {
  const crop = writeCrop(tinyJpeg, { ...metadata, model: 'модель \u{1f600} é' })
  t.match(readCrop(crop), { crop: { model: 'модель \u{1f600} é' } })
  t.match(commentOf((await sharp(crop).metadata()).exif), { model: 'модель \u{1f600} é' })
})

t.test('EXIF that the picture had before does not hide ours', async (t) => {
  const foreign = await sharp(tinyJpeg)
    .withExif({ IFD0: { Artist: 'somebody' }, IFD2: { UserComment: 'hello' } })
    .toBuffer()
  t.strictSame(readCrop(writeCrop(foreign, metadata)), { crop: metadata })
})

t.test('writing says at once what cannot be written', async (t) => {
  t.throws(() => writeCrop(Buffer.from('no picture'), metadata), TypeError)
  t.throws(() => writeCrop(tinyJpeg, { ...metadata, model: 'x'.repeat(66_000) }), RangeError)
})

t.test('what is no crop is told apart', async (t) => {
  const crop = writeCrop(tinyJpeg, metadata)
  const write = (changed: object) => writeCrop(tinyJpeg, { ...metadata, ...changed } as CropMetadata)
  const faults = {
    'not a JPEG': [
      Buffer.alloc(0),
      Buffer.from([0xff, 0xd8]),
      Buffer.from('hello, this is text'),
      await sharp(tinyJpeg).png().toBuffer(),
      Buffer.concat([crop.subarray(0, 2), Buffer.from('garbage after the start')]),
      Buffer.concat([crop.subarray(0, 4), Buffer.from([0, 0]), crop.subarray(6)]),
      Buffer.concat([
        crop.subarray(0, 2),
        Buffer.alloc(8000, Buffer.from([0xff, 0xe1, 0, 2])),
        crop.subarray(2),
      ]),
    ],
    'truncated JPEG': [
      crop.subarray(0, 100),
      crop.subarray(0, crop.length - 2),
      crop.subarray(0, crop.length - 100),
      Buffer.from([0xff, 0xd8, 0xff, 0xe1]),
    ],
    'no metadata': [
      tinyJpeg,
      await sharp(tinyJpeg)
        .withExif({ IFD0: { Artist: 'x' } })
        .toBuffer(),
    ],
    'foreign metadata': [
      await sharp(tinyJpeg)
        .withExif({ IFD2: { UserComment: 'a comment of another program' } })
        .toBuffer(),
      write({ format: 'another' }),
    ],
    'metadata of a newer version': [write({ v: 2 }), write({ v: 99, id: 'whatever it means then' })],
    'invalid metadata': [
      write({ v: 0 }),
      write({ v: '1' }),
      write({ id: '../../etc/passwd' }),
      write({ id: 'aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa' }),
      write({ site: 'a/b' }),
      write({ camera: '..' }),
      write({ device: 'x'.repeat(64) }),
      write({ capturedAtMs: -1 }),
      write({ capturedAtMs: 8.64e15 }),
      write({ capturedAtMs: 1.5 }),
      write({ score: 1.1 }),
      write({ score: null }),
      write({ box: [1, 2, 3] }),
      write({ frame: [0, 0] }),
      write({ landmarks: Array.from({ length: 129 }, () => [0, 0]) }),
    ],
  }
  for (const [fault, pictures] of Object.entries(faults))
    for (const [n, picture] of pictures.entries()) {
      const reading = readCrop(picture)
      t.match(reading, { fault, detail: /./ }, `${fault} ${n}: ${JSON.stringify(reading)}`)
    }
})

t.test('the order of bytes and the place in the file are the writer’s choice', async (t) => {
  // The same entry, little-endian, as exiftool writes it.
  const comment = Buffer.from(`ASCII\0\0\0${JSON.stringify({ format: 'sightline', ...metadata })}`, 'latin1')
  const tiff = Buffer.alloc(44 + comment.length)
  tiff.write('II*\0', 0, 'latin1')
  tiff.writeUInt32LE(8, 4)
  const entry = (at: number, tag: number, type: number, count: number, value: number) => {
    tiff.writeUInt16LE(1, at)
    tiff.writeUInt16LE(tag, at + 2)
    tiff.writeUInt16LE(type, at + 4)
    tiff.writeUInt32LE(count, at + 6)
    tiff.writeUInt32LE(value, at + 10)
  }
  entry(8, 0x8769, 4, 1, 26)
  entry(26, 0x9286, 7, comment.length, 44)
  comment.copy(tiff, 44)
  const length = 8 + tiff.length
  const picture = Buffer.concat([
    Buffer.from([0xff, 0xd8]),
    Buffer.from([0xff, 0xfe, 0, 6]), // a comment segment first
    Buffer.from('text'),
    Buffer.from([0xff, 0xff, 0xe1, length >> 8, length & 0xff]), // with a fill byte
    Buffer.from('Exif\0\0', 'latin1'),
    tiff,
    tinyJpeg.subarray(2),
  ])
  t.strictSame(readCrop(picture), { crop: metadata })
})

t.test('whatever the bytes: never an error, never long, never metadata that is none', async (t) => {
  const kinds = new Set<string>()
  for (let seed = 0; seed < 1500; seed += 1) {
    const { broken, kind } = judgeReading(hostileCrop(seed))
    if (broken !== undefined) t.fail(`seed ${seed}: ${broken}`)
    kinds.add(kind)
  }
  t.ok(kinds.size >= 6, [...kinds].join())
})

t.test(
  'attributes are cut to what a segment has room for, whatever else is long, and the signature has its room',
  async (t) => {
    const most: CropMetadata = {
      ...metadata,
      site: 'x'.repeat(60),
      landmarks: Array.from({ length: 128 }, () => [-123456.7890123456, -123456.7890123456]),
      zones: Array.from({ length: 16 }, (_, at) => `zone-${at}`.padEnd(60, 'x')),
      file: '名'.repeat(255),
      model: '型'.repeat(200),
    }
    const longest = Array.from({ length: 40 }, (_, at) => ({
      name: `${at}`.padEnd(64, '名'),
      label: '標'.repeat(64),
      score: 0.1234567890123456,
      by: '者'.repeat(160),
    }))
    const attributes = fittingAttributes(most, longest)
    t.ok(attributes.length > 25 && attributes.length < 32, `${attributes.length}`)
    const signed = {
      ...most,
      attributes: [...attributes],
      shot: 'best' as const,
      signer: 'a'.repeat(64),
      previous: 'b'.repeat(64),
    }
    t.strictSame(readCrop(writeCrop(tinyJpeg, signed)), { crop: signed })
    t.throws(() => writeCrop(tinyJpeg, { ...most, attributes: longest.slice(0, 32) }), RangeError)
    const short = longest.map((it) => ({ ...it, name: 'n', label: 'l', by: 'b' }))
    t.equal(fittingAttributes(metadata, short).length, 32, 'no more than there may be')
  },
)

import { execFileSync } from 'node:child_process'
import { readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import sharp from 'sharp'
import t, { type Test } from 'tap'
import { deviceSchema } from '../../device/config.ts'
import { readPhoto } from '../../device/detect/photo.ts'
import { pictureKind, readPicture } from '../../device/picture.ts'
import { sharp as guarded } from '../../device/sharp.ts'
import { openSource } from '../../device/sources/open.ts'
import { loadConfig } from '../../lib/config.ts'
import { openLog } from '../../lib/log.ts'
import { serveFiles } from '../kit/file-server.ts'
import { writeClip } from './clip.ts'
import { camera, play } from './playing.ts'

/** What somebody puts into a folder, or a camera's address, to have the agent open something else. */

const INPUT = { width: 256, height: 256 }
const picture = (width: number, height: number) =>
  sharp({ create: { width, height, channels: 3, background: 'teal' } })
const svg = (inside = '') =>
  `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="90" height="90"><rect width="90" height="90" fill="red"/>${inside}</svg>`

/** Frames of a folder, and what was said of the files that were passed over. */
async function read(source: string) {
  const config = loadConfig(deviceSchema, { overrides: { cameras: [{ name: 'c', source }] } })
  const said: string[] = []
  const log = openLog('test', 'silent')
  log.warn = (_facts: unknown, message?: string) => void said.push(message ?? '')
  const events = { skipped: () => {}, damaged: () => {} }
  const context = { input: INPUT, events, log }
  const sizes: string[] = []
  await using opened = await openSource(config.cameras[0] as never, context, new AbortController().signal)
  for await (const frame of opened) sizes.push(`${frame.width}x${frame.height}`)
  return { sizes, said }
}

t.test('pictures are told by their content, not by their names', async (t) => {
  const dir = t.testdir()
  const formats = ['jpeg', 'png', 'webp', 'gif', 'tiff', 'avif'] as const
  for (const [n, format] of formats.entries())
    await picture(40 + n, 30)
      .toFormat(format)
      .toFile(join(dir, `${n}-${format}.${format === 'png' ? 'jpg' : 'png'}`))
  t.strictSame(await read(dir), { sizes: ['40x30', '41x30', '42x30', '43x30', '44x30', '45x30'], said: [] })
})

t.test('what is no picture that is read is passed over in a sentence, whatever it is called', async (t) => {
  const dir = t.testdir({ 'z-sub': {} })
  const bad: Record<string, string | Buffer> = {
    'b-face.jpg': svg(),
    'c-face.svg': svg('<image xlink:href="file:///etc/passwd" width="9" height="9"/>'),
    'd-xml.png': `<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]>${svg('<text>&x;</text>')}`,
    'e-paper.jpg': '%PDF-1.7\n',
    'f-script.jpg': 'push graphic-context\nviewbox 0 0 1 1\nimage over 0,0 0,0 "/etc/passwd"\n',
    'g-pixels.jpg': 'P6\n1 1\n255\n\0\0\0',
    'h-bitmap.bmp': 'BM\x46\0\0\0\0\0',
    'i-list.jpg': 'ffconcat version 1.0\nfile a-good.jpg\n',
    'j-short.jpg': Buffer.from([0xff, 0xd8]),
  }
  for (const [name, content] of Object.entries(bad)) writeFileSync(join(dir, name), content)
  await picture(64, 48).toFile(join(dir, 'k-vips.jpg').replace('.jpg', '.v'))
  await picture(40, 30).jpeg().toFile(join(dir, 'a-good.jpg'))
  await picture(50, 30).png().toFile(join(dir, 'z-sub/last.jpg'))
  const { sizes, said } = await read(dir)
  t.strictSame(sizes, ['40x30', '50x30'])
  const names = [...Object.keys(bad), 'k-vips.v']
  t.equal(said.length, names.length)
  for (const [n, name] of names.entries()) {
    t.match(said[n], name)
    t.match(said[n], /^skipped: .* is not a supported picture/)
  }
})

t.test('a picture that is cut off, or HEIC, or a pipe, is said to be so', async (t) => {
  const dir = t.testdir()
  const whole = await picture(600, 400).jpeg().toBuffer()
  writeFileSync(join(dir, 'cut.jpg'), whole.subarray(0, whole.length / 2))
  writeFileSync(join(dir, 'phone.jpg'), Buffer.from('\0\0\0\x18ftypheic\0\0\0\0mif1heic', 'latin1'))
  execFileSync('mkfifo', [join(dir, 'pipe.jpg')])
  symlinkSync(join(dir, 'nowhere'), join(dir, 'zlink.jpg'))
  await picture(40, 30).png().toFile(join(dir, 'zz.png'))
  const { sizes, said } = await read(dir)
  t.strictSame(sizes, ['40x30'])
  t.match(said[0], /cut\.jpg is not a readable picture/)
  t.match(said[1], /phone\.jpg is HEIC, which is not supported. Save it as JPEG/)
  t.match(said[2], /pipe\.jpg is not a file/)
  t.match(said[3], /zlink\.jpg/)
})

t.test('the same holds for the bytes of a still, and for `sightline detect`', async (t) => {
  const file = join(t.testdir(), 'face.jpg')
  writeFileSync(file, svg())
  const refused = { code: 'SOURCE_UNREADABLE', message: /is not a supported picture/ }
  await t.rejects(readPicture(Buffer.from(svg()), 'still:TEST'), refused)
  await t.rejects(readPhoto(file, { ...INPUT } as never), refused)
})

t.test('were a file another by the time it is decoded, no other decoder would take it', async (t) => {
  const dir = t.testdir()
  writeFileSync(join(dir, 'face.jpg'), svg())
  await t.rejects(guarded(join(dir, 'face.jpg')).metadata(), /unsupported image format/)
  await picture(9, 9).toFile(join(dir, 'face.v'))
  await t.rejects(guarded(join(dir, 'face.v')).metadata(), /unsupported image format/)
  t.equal((await guarded(Buffer.from(svg())).metadata()).format, 'svg', 'our own drawings are drawn')
})

t.test('a picture’s kind is told from however few bytes', (t) => {
  for (let length = 0; length < 3; length += 1) t.equal(pictureKind(Buffer.alloc(length, 0xff)), undefined)
  t.equal(pictureKind(Buffer.from('xx\x89PNG\r\n\x1a\n', 'latin1').subarray(2)), 'read', 'a view of more')
  t.equal(pictureKind(Buffer.from('GIF88a')), undefined)
  t.end()
})

/** What is played of a file that points to `secret.mp4`; undefined where it is refused. */
async function played(t: Test, file: string) {
  const seen = await play(camera(file)).catch((error: unknown) => ({ fault: error, sequences: [] }))
  t.match(seen.fault, { code: 'SOURCE_UNREADABLE', message: /is not a readable video/ }, file)
  t.strictSame(seen.sequences, [], file)
}

t.test('a video file opens that very file, and nothing that it names', async (t) => {
  const dir = t.testdir()
  await using server = await serveFiles({ '/secret.ts': Buffer.from('x') })
  await writeClip({ file: join(dir, 'secret.mp4'), frames: 5 })
  await writeClip({ file: join(dir, 'secret.ts'), frames: 5 })
  const list = (address: string) =>
    `#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXTINF:1.0,\n${address}\n#EXT-X-ENDLIST\n`
  const bad: Record<string, string> = {
    'concat.mp4': 'ffconcat version 1.0\nfile secret.mp4\n',
    'list.mp4': list('secret.ts'),
    'list.m3u8': list(`file://${dir}/secret.ts`),
    'remote.m3u8': list(`${server.url}/secret.ts`),
    'session.mp4':
      'v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 17999 RTP/AVP 96\na=rtpmap:96 H264/90000\n',
    'drawing.mp4': svg(),
    'dash.mp4': `<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>secret.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>`,
  }
  for (const [name, content] of Object.entries(bad)) writeFileSync(join(dir, name), content)
  for (const name of Object.keys(bad)) await played(t, join(dir, name))
  t.strictSame(server.asked, [], 'nothing was asked for')
  t.equal((await play(camera(join(dir, 'secret.mp4')))).sequences.length, 5)
})

t.test('an address over HTTP leads to no file here, and to no list of another kind', async (t) => {
  const dir = t.testdir()
  const file = join(dir, 'secret.ts')
  await writeClip({ file, frames: 5 })
  const files: Record<string, Buffer> = {
    '/secret.ts': readFileSync(file),
    '/list.m3u8': Buffer.from(
      `#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXTINF:1.0,\nfile://${file}\n#EXT-X-ENDLIST\n`,
    ),
  }
  files['/concat'] = Buffer.from('ffconcat version 1.0\nfile secret.ts\n')
  await using server = await serveFiles(files)
  for (const path of ['/list.m3u8', '/concat']) {
    const seen = await play(camera(`${server.url}${path}`, { timeout: '2s' })).catch((fault: unknown) => ({
      fault,
      sequences: [],
    }))
    t.match(seen.fault, { code: /^SOURCE_/ }, path)
    t.strictSame(seen.sequences, [], path)
  }
  t.notOk(server.asked.includes('/secret.ts'))
  t.equal((await play(camera(`${server.url}/secret.ts`))).sequences.length, 5, 'a recording is read')
})

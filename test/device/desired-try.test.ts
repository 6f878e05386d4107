import { Writable } from 'node:stream'
import pino from 'pino'
import sharp from 'sharp'
import t from 'tap'
import { deviceSchema } from '../../device/config.ts'
import { tryCameras } from '../../device/desired/try.ts'
import type { Detector } from '../../device/detect/detector.ts'
import { openSource } from '../../device/sources/open.ts'
import { failure } from '../../lib/errors.ts'
import { OPENED_PICTURE_BYTES_MAX } from '../../wire/desired.ts'

/** What is seen of a camera that is tried. */

const log = pino({ level: 'silent' }, new Writable({ write: (_chunk, _encoding, done) => done() }))
const detector: Detector = {
  ...{ model: 'none', runtime: 'none', scoreMin: 0.5, input: { width: 320, height: 320, fit: 'letterbox' } },
  detect: async () => [{ box: [10, 10, 60, 60], score: 0.3, landmarks: [] }], // however doubtful
  async [Symbol.asyncDispose]() {},
}
const camera = (settings: object) => {
  const [it] = deviceSchema.parse({ cameras: [{ name: 'a', source: 'testcard', ...settings }] }).cameras
  if (!it) throw new TypeError('no camera')
  return it
}
const tried = async (settings: object, open: typeof openSource = openSource) =>
  (await tryCameras([camera(settings)], { detector, open, log }, new AbortController().signal)).a

/** Pixels of a picture, at its left upper corner (where the face is) and at its right lower one. */
async function corners(picture: string | undefined) {
  const { data, info } = await sharp(Buffer.from(picture ?? '', 'base64'))
    .raw()
    .toBuffer({ resolveWithObject: true })
  const part = (left: number, top: number) =>
    Buffer.concat(
      Array.from({ length: 40 }, (_, row) =>
        data.subarray(((top + row) * info.width + left) * 3, ((top + row) * info.width + left + 60) * 3),
      ),
    )
  return { face: part(20, 20), rest: part(info.width - 70, info.height - 50), bytes: data.length }
}

const difference = (a: Buffer, b: Buffer) =>
  a.reduce((sum, it, at) => sum + Math.abs(it - (b[at] ?? 0)), 0) / a.length

t.test('its picture is small, and hides what its effect hides from viewers', async (t) => {
  const plain = await tried({})
  t.strictSame(plain?.frame, [1280, 720])
  t.ok(Buffer.from(plain?.picture ?? '', 'base64').length <= OPENED_PICTURE_BYTES_MAX)
  const seen = await corners(plain?.picture)
  const hidden = await corners((await tried({ view: { effect: 'pixelate' } }))?.picture)
  t.ok(
    difference(seen.face, hidden.face) > 3 * difference(seen.rest, hidden.rest) + 1,
    'a face, however doubtful',
  )
  const outline = await corners((await tried({ view: { effect: 'outline' } }))?.picture)
  t.ok(difference(seen.rest, outline.rest) > 5, 'all of the scene')
  const turned = await tried({ rotate: 90 })
  t.strictSame(turned?.frame, [720, 1280])
})

t.test('a camera that is paused is opened and not shown', async (t) => {
  t.strictSame(await tried({ paused: true }), { frame: [1280, 720] })
})

t.test('one that gives nothing is given up, and an error is told', async (t) => {
  const startMs = performance.now()
  const silent: typeof openSource = (_camera, _context, signal) =>
    new Promise((_, reject) =>
      signal.addEventListener('abort', () => reject(new Error('stopped')), { once: true }),
    )
  const alive = setInterval(() => {}, 1000) // the deadline alone keeps no program
  t.match(await tried({ timeout: '100ms' }, silent), {
    error: { code: 'SOURCE_UNAVAILABLE', message: /in time/ },
  })
  clearInterval(alive)
  t.ok(performance.now() - startMs < 15_000)
  const away: typeof openSource = async () => {
    throw failure('SOURCE_UNAVAILABLE', 'It is away.')
  }
  t.strictSame(await tried({}, away), { error: { code: 'SOURCE_UNAVAILABLE', message: 'It is away.' } })
})

import { readFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import sharp from 'sharp'
import t from 'tap'
import { ApiDetector, type ApiDetectorOptions, type ApiName } from '../../device/detect/adapters/open.ts'
import type { Picture } from '../../device/detect/detector.ts'
import { overlap } from '../../device/detect/suppress.ts'
import { SERVER_DENIED_MS } from '../../device/limits.ts'
import { openMeters } from '../../device/meters.ts'
import { openLog } from '../../lib/log.ts'
import { openMetrics } from '../../lib/metrics.ts'
import { openAuthority } from '../kit/certificates.ts'
import { until } from '../kit/wait.ts'
import { type Answering, facesIn, json, KEY, serveApi } from './api-servers.ts'
import { PORTRAIT } from './pictures.ts'

const NAMES: readonly ApiName[] = ['compreface', 'codeproject']
const open = (name: ApiName, addresses: readonly string[], more: Partial<ApiDetectorOptions> = {}) =>
  ApiDetector.open({
    name,
    addresses,
    token: () => KEY,
    credentials: () => ({}),
    inFlight: 2,
    deadlineMs: 5000,
    log: openLog('test', 'silent'),
    meters: openMeters(openMetrics('test')),
    ...more,
  })

const BLACK: Picture = { data: new Uint8Array(160 * 120 * 3), width: 160, height: 120 }
const portrait = async (): Promise<Picture> => {
  const { data, info } = await sharp(PORTRAIT)
    .resize(640, 640, { fit: 'inside' })
    .removeAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true })
  return { data, width: info.width, height: info.height }
}

for (const name of NAMES)
  t.test(`${name}: the faces of a frame, in its pixels`, async (t) => {
    await using server = await serveApi(name)
    await using detector = await open(name, [server.url], { scoreMin: 0.5, scoreLow: 0.5 })
    t.match(detector.runtime, server.url.slice('http://'.length), 'it says where it looks')
    t.same([detector.input, detector.scoreMin], [{ width: 640, height: 640, fit: 'letterbox' }, 0.5])
    const picture = await portrait()
    const [here] = (await facesIn(await jpegOf(picture), 0.25)).faces
    const found = await detector.detect(picture)
    const [face] = found
    t.equal(found.length, 1)
    t.ok(here && face && overlap(here.box, face.box) > 0.8, 'where the model sees it')
    t.equal(face?.score, here?.score)
    t.equal(face?.landmarks.length, name === 'compreface' ? here?.landmarks.length : 0)
    const asked = server.asked.at(-1)
    t.same(asked?.size, { width: picture.width, height: picture.height }, 'as large as it was')
    if (name === 'compreface') {
      t.equal(asked?.headers['x-api-key'], KEY)
      t.equal(asked?.url.searchParams.get('det_prob_threshold'), '0.250', 'doubtful faces are asked for')
    } else t.equal(asked?.form.get('min_confidence'), '0.250')
  })

const jpegOf = ({ data, width, height }: Picture) =>
  sharp(data, { raw: { width, height, channels: 3 } })
    .jpeg({ quality: 90 })
    .toBuffer()

for (const name of NAMES)
  t.test(`${name}: nobody there is an answer, not a failure`, async (t) => {
    await using server = await serveApi(name)
    await using detector = await open(name, [server.url])
    t.same(await detector.detect(BLACK), [])
    if (name === 'codeproject') {
      server.answer = (_request, response) =>
        json(response, 200, { success: false, error: 'No face found in image', inferenceMs: 10 })
      t.same(await detector.detect(BLACK), [], 'as some of its versions say it')
    }
    t.ok(detector.pool.isUp)
  })

t.test('pictures that do not fit are told apart before anybody is asked', async (t) => {
  await using server = await serveApi('codeproject')
  await using detector = await open('codeproject', [server.url], { inputSize: { width: 320, height: 320 } })
  const asked = server.asked.length
  await t.rejects(detector.detect({ ...BLACK, width: 400, height: 48 }), RangeError)
  await t.rejects(detector.detect({ ...BLACK, width: 161 }), RangeError)
  t.equal(server.asked.length, asked)
})

/** One face that is right, or is not. */
const face = (more: object = {}) => ({
  compreface: {
    result: [{ box: { probability: 0.9, x_min: 10, y_min: 10, x_max: 60, y_max: 70, ...more } }],
  },
  codeproject: {
    success: true,
    predictions: [{ confidence: 0.9, x_min: 10, y_min: 10, x_max: 60, y_max: 70, ...more }],
  },
})
const many = (count: number) => ({
  compreface: { result: Array.from({ length: count }, () => face().compreface.result[0]) },
  codeproject: {
    success: true,
    predictions: Array.from({ length: count }, () => face().codeproject.predictions[0]),
  },
})
const text =
  (status: number, type: string, body: string, headers = {}): Answering =>
  (_request, response) =>
    void response.writeHead(status, { 'content-type': type, ...headers }).end(body)

interface Bad {
  readonly what: string
  /** JSON with status 200, for each; or how it is answered. */
  readonly answer: { readonly [name in ApiName]: unknown } | Answering
  readonly code: 'INFERENCE_WRONG' | 'INFERENCE_UNAVAILABLE'
  readonly says: RegExp
}

const BAD: readonly Bad[] = [
  {
    what: 'a number that is none',
    answer: text(200, 'application/json', JSON.stringify(face().compreface).replace('0.9', 'NaN')),
    code: 'INFERENCE_WRONG',
    says: /no JSON/,
  },
  { what: 'a box without a side', answer: face({ x_max: null }), code: 'INFERENCE_WRONG', says: /x_max/ },
  { what: 'a box of strings', answer: face({ x_max: '60' }), code: 'INFERENCE_WRONG', says: /x_max/ },
  {
    what: 'a score above one',
    answer: face({ probability: 90, confidence: 90 }),
    code: 'INFERENCE_WRONG',
    says: /probability|confidence/,
  },
  {
    what: 'a box outside the picture',
    answer: face({ x_min: 300, x_max: 310 }),
    code: 'INFERENCE_WRONG',
    says: /160x120/,
  },
  {
    what: 'a box larger than any face',
    answer: face({ x_min: -1000, x_max: 1e9 }),
    code: 'INFERENCE_WRONG',
    says: /160x120/,
  },
  {
    what: 'a box inside out',
    answer: face({ x_min: 60, x_max: 10 }),
    code: 'INFERENCE_WRONG',
    says: /160x120/,
  },
  { what: 'thousands of faces', answer: many(5000), code: 'INFERENCE_WRONG', says: /5000 faces/ },
  {
    what: 'another answer',
    answer: { compreface: [], codeproject: {} },
    code: 'INFERENCE_WRONG',
    says: /wrong/,
  },
  {
    what: 'no faces at all, where there must be a list',
    answer: { compreface: { result: null }, codeproject: { success: true } },
    code: 'INFERENCE_WRONG',
    says: /result|predictions/,
  },
  {
    what: 'a page',
    answer: text(200, 'text/html', '<html><h1>Welcome to nginx</h1></html>'),
    code: 'INFERENCE_WRONG',
    says: /text\/html: .*nginx/,
  },
  { what: 'nothing', answer: text(200, 'application/json', ''), code: 'INFERENCE_WRONG', says: /no JSON/ },
  {
    what: 'deep JSON',
    answer: text(200, 'application/json', '['.repeat(500_000)),
    code: 'INFERENCE_WRONG',
    says: /no JSON/,
  },
  { what: 'no content', answer: text(204, '', ''), code: 'INFERENCE_WRONG', says: /204/ },
  {
    what: 'a refusal',
    answer: text(401, 'text/plain', 'no'),
    code: 'INFERENCE_UNAVAILABLE',
    says: /refuses the API key.*detect\.servers\.token/,
  },
  { what: 'a ban', answer: text(403, 'text/plain', 'no'), code: 'INFERENCE_UNAVAILABLE', says: /refuses/ },
  {
    what: 'that it is not there',
    answer: text(404, 'application/json', `{"message":"Model with api key ${KEY} not found"}`),
    code: 'INFERENCE_UNAVAILABLE',
    says: /no face detection at this address/,
  },
  {
    what: 'that the picture is too large',
    answer: text(413, 'text/plain', `too large, ${KEY}`),
    code: 'INFERENCE_UNAVAILABLE',
    says: /413: too large, \*\*\*/,
  },
  {
    what: 'a fault',
    answer: text(500, 'application/json', `{"message":"\u001b[31mout of memory${'!'.repeat(5000)}"}`),
    code: 'INFERENCE_UNAVAILABLE',
    says: /500: .*out of memory!+\.\.\./,
  },
  {
    what: 'that it has no backend',
    answer: text(503, 'text/html', '<p>x'),
    code: 'INFERENCE_UNAVAILABLE',
    says: /503/,
  },
  {
    what: 'a redirect',
    answer: text(302, 'text/plain', '', { location: 'http://127.0.0.1:1/' }),
    code: 'INFERENCE_UNAVAILABLE',
    says: /redirect/,
  },
  {
    what: 'half an answer',
    answer: (_request, response) => {
      response.writeHead(200, { 'content-length': 1000 }).write('{"result":[')
      setImmediate(() => response.destroy())
    },
    code: 'INFERENCE_UNAVAILABLE',
    says: /does not answer/,
  },
  {
    what: 'another protocol',
    answer: (request) => void request.socket.end('SSH-2.0-OpenSSH_9.6\r\n'),
    code: 'INFERENCE_UNAVAILABLE',
    says: /does not answer/,
  },
]

for (const name of NAMES)
  t.test(`${name}: an answer that is none is never an empty one`, async (t) => {
    await using server = await serveApi(name)
    for (const { what, answer, code, says } of BAD) {
      server.answer = undefined
      await using detector = await open(name, [server.url])
      t.ok(detector.pool.isUp)
      server.answer =
        typeof answer === 'function' ? answer : (_request, response) => json(response, 200, answer[name])
      const error = (await detector.detect(BLACK).then(
        (faces) => t.fail(`${what}: ${JSON.stringify(faces)}`),
        (error: unknown) => error,
      )) as Error & { code: string }
      t.match(error, { code, message: says }, what)
      t.notMatch(error.message, KEY, `${what}: the key is not told`)
      t.notMatch(error.message, /\p{Cc}/u, `${what}: nothing for a terminal`)
      t.ok(error.message.length < 500, `${what}: a sentence`)
      t.match(error.message, /^[^:]+ at http:/, `${what}: who it was`)
    }
  })

t.test('the best face comes first; one whose eyes are elsewhere belongs to another picture', async (t) => {
  await using server = await serveApi('compreface')
  await using detector = await open('compreface', [server.url], { scoreMin: 0.5 })
  const at = (probability: number, landmarks: number[][]) => ({
    box: { probability, x_min: 10, y_min: 10, x_max: 60, y_max: 70 },
    landmarks,
  })
  const answer = (...result: object[]) => {
    server.answer = (_request, response) => json(response, 200, { result })
  }
  answer(at(0.6, [[20, 20]]), at(0.9, []), at(0.7, [[-5, 130]]))
  t.same(
    (await detector.detect(BLACK)).map(({ score }) => score),
    [0.9, 0.7, 0.6],
  )
  for (const point of [
    [20, 1000],
    [-1000, 20],
  ]) {
    await until('it can be asked', () => detector.pool.isUp)
    answer(at(0.9, [[20, 20], point]))
    await t.rejects(detector.detect(BLACK), { code: 'INFERENCE_WRONG', message: /a face at 10, 10/ })
    answer()
  }
})

t.test('what CodeProject.AI calls a failure is one', async (t) => {
  await using server = await serveApi('codeproject')
  for (const error of ['Unable to load the face detector', undefined]) {
    server.answer = undefined
    await using detector = await open('codeproject', [server.url])
    server.answer = (_request, response) => json(response, 200, { success: false, predictions: [], error })
    await t.rejects(detector.detect(BLACK), {
      code: 'INFERENCE_UNAVAILABLE',
      message: error === undefined ? /does not say/ : /Unable to load/,
    })
  }
})

t.test('a gigabyte is not taken, and an answer that never ends is late', async (t) => {
  await using server = await serveApi('compreface')
  let sent = 0
  const pour: Answering = (_request, response) => {
    response.writeHead(200, { 'content-type': 'application/json' })
    const more = () => {
      while (!response.destroyed && response.write(Buffer.alloc(65_536, ' '))) sent += 65_536
    }
    response.on('drain', more)
    more()
  }
  {
    await using detector = await open('compreface', [server.url])
    server.answer = pour
    await t.rejects(detector.detect(BLACK), { code: 'INFERENCE_WRONG', message: /more than 1048576 bytes/ })
    await until('the connection is gone', () => server.connections.size === 0)
    t.ok(sent < 50e6, `${sent} bytes were sent`)
  }
  for (const answer of [
    () => {},
    (_request: IncomingMessage, response: ServerResponse) => void response.writeHead(200).write('{'),
  ]) {
    server.answer = undefined
    await using detector = await open('compreface', [server.url], { deadlineMs: 150 })
    server.answer = answer
    const startMs = performance.now()
    await t.rejects(detector.detect(BLACK), { code: 'INFERENCE_LATE', message: /150 ms/ })
    t.ok(performance.now() - startMs < 1000)
    await until('it is let go of', () => server.connections.size === 0)
  }
})

t.test('one that is busy is left alone for a while, and the other is asked', async (t) => {
  await using busy = await serveApi('compreface')
  await using other = await serveApi('compreface')
  await using detector = await open('compreface', [busy.url, other.url])
  busy.answer = text(503, 'application/json', '{}', { 'retry-after': '1' })
  for (let i = 0; i < 3; i += 1) t.same(await detector.detect(BLACK), [])
  t.same(
    detector.pool.states.map(({ isUp }) => isUp),
    [true, true],
    'busy is not down',
  )
  other.answer = text(429, 'text/plain', '')
  await t.rejects(detector.detect(BLACK), { code: 'INFERENCE_LATE', message: /busy/ }, 'all are')
})

t.test('one that is not there, or whose key is wrong, is asked again until it can be asked', async (t) => {
  await using server = await serveApi('compreface')
  server.answer = text(401, 'text/plain', '')
  const nobody = createTcpServer()
  await new Promise<void>((resolve) => nobody.listen(0, '127.0.0.1', resolve))
  const { port } = nobody.address() as AddressInfo
  await new Promise((resolve) => nobody.close(resolve))
  await using detector = await open('compreface', [`http://127.0.0.1:${port}`, server.url])
  await t.rejects(detector.detect(BLACK), {
    code: 'INFERENCE_UNAVAILABLE',
    message: /connection refused.*refuses the API key/s,
  })
  server.answer = undefined
  await until('it is asked again', () => detector.pool.isUp, SERVER_DENIED_MS + 10_000)
  t.same(await detector.detect(BLACK), [])
})

t.test('a kept connection that the server has closed costs no frame', async (t) => {
  await using server = await serveApi('codeproject')
  await using detector = await open('codeproject', [server.url])
  const seen = new Set<unknown>()
  let resets = 0
  server.answer = (request, response) => {
    // As a server whose idle time is over at this very moment.
    if (seen.has(request.socket)) {
      resets += 1
      request.socket.resetAndDestroy()
      return
    }
    seen.add(request.socket)
    request.resume()
    json(response, 200, { success: true, predictions: [] })
  }
  t.same(await detector.detect(BLACK), [])
  for (let i = 0; i < 5; i += 1) t.same(await detector.detect(BLACK), [])
  t.ok(resets > 0, `${resets} resets`)
  t.ok(detector.pool.isUp)
})

t.test('over TLS, with an authority of its own', async (t) => {
  const authority = await openAuthority(t)
  const { certFile, keyFile } = await authority.server('detection')
  await using server = await serveApi('compreface', {
    cert: readFileSync(certFile),
    key: readFileSync(keyFile),
  })
  {
    await using detector = await open('compreface', [server.url], {
      credentials: () => ({ ca: readFileSync(authority.caFile, 'utf8') }),
    })
    t.same(await detector.detect(BLACK), [])
  }
  await using stranger = await open('compreface', [server.url])
  await t.rejects(stranger.detect(BLACK), { code: 'INFERENCE_UNAVAILABLE', message: /certificate/ })
})

t.test('an address may have a path, a name and a password; they are not told', async (t) => {
  await using server = await serveApi('codeproject')
  const asked: [string | undefined, string | undefined][] = []
  server.answer = (request, response) => {
    asked.push([request.url, request.headers.authorization])
    json(response, 200, { success: true, predictions: [] })
  }
  const url = server.url.replace('http://', 'http://ann:s%3Acret@')
  await using detector = await open('codeproject', [`${url}/ai/`], { token: () => undefined })
  t.same(asked[0], ['/ai/v1/vision/face', `Basic ${Buffer.from('ann:s:cret').toString('base64')}`])
  t.equal(detector.pool.states[0]?.address, `${server.url}/ai`)
  t.notMatch(detector.runtime, /cret/)
})

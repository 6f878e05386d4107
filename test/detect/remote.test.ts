import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { openDetector } from '../../device/detect/open.ts'
import { BYTES_EXTENSION } from '../../wire/inference.ts'
import { temporaryFolder } from '../kit/programs.ts'
import { until } from '../kit/wait.ts'
import { MODEL, type OipServer, openGrpc, openRest } from './oip-server.ts'
import { openRemote } from './remote-kit.ts'

/** Faces looked for at servers that do right, and at servers that do not. The model is real. */

const rounded = (faces: Awaited<ReturnType<Awaited<ReturnType<typeof openRemote>>['look']>>) =>
  faces.map(({ box, score, landmarks }) => ({
    box: box.map(Math.round),
    score: Math.round(score * 1000),
    points: landmarks.flat().map(Math.round),
  }))

for (const [kind, start] of Object.entries({ REST: openRest, gRPC: openGrpc })) {
  t.test(`${kind}: the same faces as here, floats or bytes`, async (t) => {
    await using local = await openDetector({ threads: 1 })
    for (const bytes of [false, true]) {
      const server = await start(t)
      if (bytes) server.wrongs.extensions.push(BYTES_EXTENSION)
      const { detector, picture, look } = await openRemote(t, [server])
      t.match(detector, {
        model: MODEL,
        input: { ...local.input },
        scoreMin: local.scoreMin,
        whereabouts: { on: 'remote', why: null },
      })
      t.same(rounded(await look()), rounded(await local.detect(picture)))
      t.match(server.asked[0]?.inputs, [{ datatype: bytes ? 'UINT8' : 'FP32' }])
      for (let at = 0; at < 12; at += 1) t.equal((await look()).length, 1, 'as many frames as there are')
    }
  })
}

t.test('a server that does not know binary tensors gets JSON', async (t) => {
  const server = await openRest(t)
  server.wrongs.extensions = [BYTES_EXTENSION]
  const { look } = await openRemote(t, [server])
  t.equal((await look()).length, 1)
  t.match(server.asked[0], { binaryOutput: false, inputs: [{ datatype: 'FP32' }] })
  const unsaid = await openRest(t)
  unsaid.wrongs.extensions = []
  unsaid.wrongs.name = 'OpenVINO Model Server'
  await (await openRemote(t, [unsaid])).look()
  t.match(unsaid.asked[0], { binaryOutput: true })
})

const [FIRST, REST] = [0, 1]
const wrongAnswers: Record<string, [OipServer['wrongs']['answer'], RegExp]> = {
  'another model': [(it) => ({ ...it, model: 'yunet' }), /of the model "yunet", not blazeface/],
  "another request's": [(it) => ({ ...it, id: '999999' }), /answer to another request/],
  'a missing output': [(it) => ({ ...it, outputs: it.outputs.slice(REST) }), /output .* is missing/],
  'another type': [
    (it) => ({ ...it, outputs: it.outputs.map((out) => ({ ...out, datatype: 'INT32' })) }),
    /is INT32, not float32/,
  ],
  'another shape': [
    (it) => ({
      ...it,
      outputs: it.outputs.map(({ shape, ...out }) => ({ ...out, shape: [...shape, 1] })),
    }),
    /is \[.*\], not \[/,
  ],
  'half of it': [
    (it) => ({
      ...it,
      outputs: it.outputs.map(({ shape: [one = 1, anchors = 2, ...more], data, ...out }) => ({
        ...out,
        shape: [one, anchors / 2, ...more],
        data: data.subarray(0, data.length / 2),
      })),
    }),
    /which fit no 256x/,
  ],
  NaN: [
    (it) => {
      const [first] = it.outputs
      const data = new Uint8Array(first?.data ?? [])
      new Float32Array(data.buffer)[5] = Number.NaN
      return { ...it, outputs: it.outputs.map((out, at) => (at === FIRST ? { ...out, data } : out)) }
    },
    /a number that is none/,
  ],
  'a long one': [
    (it) => ({
      ...it,
      outputs: it.outputs.map((out) => ({
        ...out,
        shape: [1, 4_000_000, 1],
        data: new Uint8Array(16_000_000),
      })),
    }),
    /more than 33554432 bytes/,
  ],
}

for (const [kind, start] of Object.entries({ REST: openRest, gRPC: openGrpc }))
  t.test(`${kind}: an answer that is none is no "nobody is here"`, async (t) => {
    for (const [what, [answer, says]] of Object.entries(wrongAnswers)) {
      const server = await start(t)
      const { look, failed, detector } = await openRemote(t, [server], { deadline: '10s' })
      server.wrongs.answer = answer
      await t.rejects(look(), { code: 'INFERENCE_WRONG', message: says }, what)
      t.same(await failed(), ['wrong 1'], what)
      t.match(detector.whereabouts, { on: 'none', why: says }, what)
      await detector[Symbol.asyncDispose]()
      await server[Symbol.asyncDispose]()
    }
  })

t.test('HTTP that is no answer', async (t) => {
  const infer = (response: (it: Parameters<OipServer['wrongs']['http']>[1]) => void) =>
    ((request, it) => {
      if (!request.url?.endsWith('/infer')) return false
      response(it)
      return true
    }) satisfies OipServer['wrongs']['http']
  const cases: Record<string, [OipServer['wrongs']['http'], string, RegExp]> = {
    redirect: [
      infer((it) => it.writeHead(302, { location: 'http://127.0.0.1:1/' }).end()),
      'INFERENCE_UNAVAILABLE',
      /redirect \(HTTP 302\), which is not followed/,
    ],
    'an error': [
      infer((it) => it.writeHead(500).end('{"error":"out of\\nmemory"}')),
      'INFERENCE_UNAVAILABLE',
      /HTTP 500: out of memory/,
    ],
    refused: [infer((it) => it.writeHead(400).end('{"error":"no"}')), 'INFERENCE_WRONG', /HTTP 400: no/],
    'no token': [infer((it) => it.writeHead(401).end()), 'INFERENCE_UNAVAILABLE', /refuses the token/],
    'too much asked': [infer((it) => it.writeHead(429).end()), 'INFERENCE_LATE', /busy/],
    busy: [infer((it) => it.writeHead(503, { 'retry-after': '1' }).end()), 'INFERENCE_LATE', /busy/],
    'a page': [infer((it) => it.end('<html>')), 'INFERENCE_WRONG', /not JSON/],
    'half of it': [
      infer((it) => {
        it.writeHead(200, { 'content-length': 1000 }).write('{"model_name":')
        setTimeout(() => it.destroy(), 20)
      }),
      'INFERENCE_UNAVAILABLE',
      /does not answer/,
    ],
    'cut off': [infer((it) => it.destroy()), 'INFERENCE_UNAVAILABLE', /does not answer/],
    'a gigabyte': [
      infer((it) => {
        const more = () => {
          while (!it.destroyed && it.write(Buffer.alloc(1_000_000)));
        }
        it.on('drain', more)
        more()
      }),
      'INFERENCE_WRONG',
      /more than 33554432 bytes/,
    ],
  }
  for (const [what, [http, code, message]] of Object.entries(cases)) {
    const server = await openRest(t)
    const { look, detector } = await openRemote(t, [server])
    await look()
    server.wrongs.http = http
    await t.rejects(look(), { code, message }, what)
    await detector[Symbol.asyncDispose]()
    await server[Symbol.asyncDispose]()
  }
})

t.test('all servers serve the same; another kind of model is none', async (t) => {
  const [one, other] = [await openRest(t), await openGrpc(t)]
  other.wrongs.metadata = (it) => ({
    ...it,
    inputs: it.inputs.map((input) => ({ ...input, shape: [1, 128, 128, 3] })),
  })
  const { detector, look } = await openRemote(t, [one, other])
  t.equal((await look()).length, 1)
  t.equal(other.asked.length, 0)
  const swapped = await openGrpc(t)
  swapped.wrongs.metadata = (it) => ({ ...it, outputs: it.outputs.toReversed() })
  const both = await openRemote(t, [one, swapped])
  for (let at = 0; at < 4; at += 1) t.equal((await both.look()).length, 1)
  t.ok(one.asked.length === 1 || swapped.asked.length === 0, 'one of them is asked, never both')
  await both.detector[Symbol.asyncDispose]()
  await detector[Symbol.asyncDispose]()
  one.wrongs.metadata = (it) => ({ ...it, outputs: it.outputs.slice(REST) })
  const none = await openRemote(t, [one])
  await t.rejects(none.look(), { code: 'INFERENCE_UNAVAILABLE', message: /is not a face detector/ })
  await none.detector[Symbol.asyncDispose]()
  one.wrongs.metadata = (it) => ({ ...it, name: 'yunet' })
  const renamed = await openRemote(t, [one])
  await t.rejects(renamed.look(), { message: /asked about the model blazeface, it tells of "yunet"/ })
})

t.test('where no server is ready at the start, they may come', async (t) => {
  const server = await openRest(t)
  server.wrongs.ready = false
  const { detector, look } = await openRemote(t, [server])
  t.match(detector, {
    input: { width: 256, height: 256, fit: 'letterbox' },
    whereabouts: { on: 'none', why: /is not ready/ },
  })
  await t.rejects(look(), { code: 'INFERENCE_UNAVAILABLE', message: /is not ready/ })
  server.wrongs.ready = true
  await until('it is ready', () => detector.whereabouts?.on === 'remote')
  t.equal((await look()).length, 1)
  server.wrongs.ready = false
  await t.rejects(openRemote(t, [server], { model: 'mine' }), {
    code: 'INFERENCE_UNAVAILABLE',
    message: /set "detect.inputSize"/,
  })
})

t.test('a token is shown, and taken anew from its file; never over plain text', async (t) => {
  const file = join(temporaryFolder(t), 'token')
  writeFileSync(file, 'secret-1\n')
  for (const start of [openRest, openGrpc]) {
    const server = await start(t)
    const { look } = await openRemote(t, [server], { tokenFile: file })
    await look()
    t.ok(server.headers.every(({ authorization }) => authorization === 'Bearer secret-1'))
  }
  const plain = { address: 'http://192.0.2.1:8500' } as OipServer
  await t.rejects(openRemote(t, [plain], { tokenFile: file }), {
    code: 'CONFIG_INVALID',
    message: /192\.0\.2\.1:8500 unencrypted/,
  })
  writeFileSync(file, 'two words')
  await t.rejects(openRemote(t, [plain], { tokenFile: file, plaintext: true }), {
    message: /one line: the token/,
  })
})

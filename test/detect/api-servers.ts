import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'
import sharp from 'sharp'
import type { ApiName } from '../../device/detect/adapters/open.ts'
import type { Detection, Detector } from '../../device/detect/detector.ts'
import { openDetector } from '../../device/detect/open.ts'

/** Servers of CompreFace and CodeProject.AI as their documentation describes them, with a real detector behind. */

export const KEY = '00000000-0000-0000-0000-000000000002'
/** What they find is found by this one. */
let opened: Promise<Detector> | undefined
const modelBehind = () => {
  opened ??= openDetector({ threads: 1 })
  return opened
}

export type Answering = (request: IncomingMessage, response: ServerResponse) => void | Promise<void>

interface Asked {
  readonly url: URL
  readonly headers: IncomingMessage['headers']
  readonly form: FormData
  readonly size: { readonly width: number; readonly height: number }
}

export interface TestServer extends AsyncDisposable {
  readonly url: string
  readonly asked: Asked[]
  /** How it answers instead. */
  answer: Answering | undefined
  readonly connections: Set<unknown>
}

export const json = (response: ServerResponse, status: number, value: unknown, headers = {}) =>
  void response
    .writeHead(status, { 'content-type': 'application/json', ...headers })
    .end(JSON.stringify(value))

export async function facesIn(
  jpeg: Uint8Array,
  scoreMin: number,
): Promise<{ faces: Detection[]; size: Asked['size'] }> {
  const model = await modelBehind()
  const { data, info } = await sharp(jpeg).raw().toBuffer({ resolveWithObject: true })
  const { width, height, format } = { ...info, ...(await sharp(jpeg).metadata()) }
  if (format !== 'jpeg') throw new Error('no JPEG')
  const scale = Math.min(1, model.input.width / width, model.input.height / height)
  const small = { width: Math.round(width * scale), height: Math.round(height * scale) }
  const pixels = await sharp(data, { raw: { width, height, channels: 3 } })
    .resize(small)
    .raw()
    .toBuffer()
  const found = await model.detect({ data: pixels, ...small })
  const back = (value: number) => value / scale
  const faces = found
    .filter(({ score }) => score >= scoreMin)
    .map(({ box, score, landmarks }) => ({
      box: box.map(back) as unknown as Detection['box'],
      score,
      landmarks: landmarks.map(([x, y]) => [back(x), back(y)] as const),
    }))
  return { faces, size: { width, height } }
}

const corners = ([left, top, width, height]: Detection['box']) => ({
  x_min: Math.round(left),
  y_min: Math.round(top),
  x_max: Math.round(left + width),
  y_max: Math.round(top + height),
})

/** As docs/Rest-API-description.md of CompreFace says; errors as its `CommonExceptionCode`. */
async function asCompreface(asked: Asked, response: ServerResponse): Promise<Asked['size'] | undefined> {
  const { url, headers, form } = asked
  if (url.pathname !== '/api/v1/detection/detect') return void json(response, 404, { code: 0, message: 'x' })
  const key = headers['x-api-key']
  if (key === undefined) return void json(response, 400, { code: 20, message: 'Missing header: x-api-key' })
  if (key !== KEY)
    return void json(response, 404, { code: 10, message: `Model with api key ${key} not found` })
  const jpeg = await (form.get('file') as File).bytes()
  const { faces, size } = await facesIn(jpeg, Number(url.searchParams.get('det_prob_threshold')))
  if (faces.length === 0) json(response, 400, { message: 'No face is found in the given image', code: 28 })
  else
    json(response, 200, {
      result: faces.map(({ box, score, landmarks }) => ({
        box: { probability: score, ...corners(box) },
        ...(url.searchParams.get('face_plugins') === 'landmarks' && {
          landmarks: landmarks.map(([x, y]) => [Math.round(x), Math.round(y)]),
        }),
      })),
      plugins_versions: { detector: 'facenet.FaceDetector' },
    })
  return size
}

/** As the API reference of CodeProject.AI says. */
async function asCodeproject(
  { url, form }: Asked,
  response: ServerResponse,
): Promise<Asked['size'] | undefined> {
  if (url.pathname !== '/v1/vision/face') return void response.writeHead(404).end()
  const jpeg = await (form.get('image') as File).bytes()
  const { faces, size } = await facesIn(jpeg, Number(form.get('min_confidence')))
  json(response, 200, {
    success: true,
    predictions: faces.map(({ box, score }) => ({ confidence: score, ...corners(box) })),
    count: faces.length,
    message: `Found ${faces.length} faces`,
    inferenceMs: 12,
    moduleId: 'FaceProcessing',
    command: 'detect',
    analysisRoundTripMs: 15,
  })
  return size
}

const BEHAVES = { compreface: asCompreface, codeproject: asCodeproject }

export async function serveApi(name: ApiName, tls?: { cert: Buffer; key: Buffer }): Promise<TestServer> {
  const handle: Answering = async (request, response) => {
    if (served.answer) return served.answer(request, response)
    const url = new URL(request.url ?? '', 'http://x')
    const body = await buffer(request)
    const form = await new Response(body, {
      headers: { 'content-type': request.headers['content-type'] ?? '' },
    }).formData()
    const asked = { url, headers: request.headers, form, size: { width: 0, height: 0 } }
    const size = await BEHAVES[name](asked, response)
    if (size) served.asked.push({ ...asked, size })
  }
  const listener = (request: IncomingMessage, response: ServerResponse) =>
    void Promise.resolve(handle(request, response)).catch((error: Error) => response.destroy(error))
  const server = tls ? createHttpsServer(tls, listener) : createHttpServer(listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const connections = new Set<unknown>()
  server.on('connection', (socket) => {
    connections.add(socket)
    socket.once('close', () => connections.delete(socket))
  })
  const served: TestServer = {
    url: `${tls ? 'https' : 'http'}://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked: [],
    answer: undefined,
    connections,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
  return served
}

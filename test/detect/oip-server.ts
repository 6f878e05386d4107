import { once } from 'node:events'
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type RequestListener,
  type ServerResponse,
} from 'node:http'
import { createServer as createTlsServer, type ServerOptions } from 'node:https'
import { type AddressInfo, connect } from 'node:net'
import { join } from 'node:path'
import * as grpc from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import type { Test } from 'tap'
import { convertBlazeface } from '../../models/convert.ts'
import { openOnnx } from '../../models/onnx.ts'
import type { Runtime, Tensor } from '../../models/runtime.ts'
import { datatypeOf, fromWire, toWire } from '../../models/wire-tensor.ts'
import {
  BINARY_EXTENSION,
  decodeInferRequest,
  encodeInferResponse,
  fromInferRequestMessage,
  type InferRequest,
  type InferResponse,
  inferResponseMessage,
  isBinaryOutput,
  JSON_LENGTH_HEADER,
  jsonBytesOf,
  type ModelInferRequestMessage,
  type ModelMetadata,
  PROTO_OPTIONS,
  PROTO_SERVICE,
} from '../../wire/inference.ts'

/** Small servers of the Open Inference Protocol around the real BlazeFace, which can be told to do wrong. */

export const MODEL = 'blazeface'

/** How it is now; all may be changed while it runs. */
export interface Wrongs {
  ready: boolean
  hasModel: boolean
  name: string
  extensions: string[]
  /** What it says of the model. */
  metadata: (right: ModelMetadata) => ModelMetadata
  /** What it answers; never, where it does not resolve. */
  answer: (right: InferResponse, request: InferRequest) => InferResponse | Promise<InferResponse>
  /** Before anything else is done with an HTTP request; true: it has answered. */
  http: (request: IncomingMessage, response: ServerResponse) => boolean
}

export interface OipServer extends AsyncDisposable {
  readonly address: string
  readonly port: number
  readonly wrongs: Wrongs
  /** Requests to `infer`, as they came. */
  readonly asked: InferRequest[]
  readonly headers: IncomingHttpHeaders[]
}

const right = (): Wrongs => ({
  ready: true,
  hasModel: true,
  name: 'test',
  extensions: [BINARY_EXTENSION],
  metadata: (it) => it,
  answer: (it) => it,
  http: () => false,
})

let runtime: Promise<Runtime> | undefined
const blazeface = () => {
  runtime ??= convertBlazeface().then((bytes) => openOnnx(bytes, MODEL, 1))
  return runtime
}

async function metadataOf(): Promise<ModelMetadata> {
  const { inputs, outputs } = await blazeface()
  const of = (tensors: Runtime['inputs']) =>
    tensors.map(({ name, type, shape }) => ({
      name,
      datatype: datatypeOf(type) ?? type,
      shape: shape.map((side) => (typeof side === 'number' ? side : -1)),
    }))
  return {
    name: MODEL,
    versions: ['1'],
    platform: 'onnxruntime_onnx',
    inputs: of(inputs),
    outputs: of(outputs),
  }
}

/** One at a time: several servers share it. */
let running: Promise<unknown> = Promise.resolve()

async function infer(request: InferRequest): Promise<InferResponse> {
  const model = await blazeface()
  const inputs = new Map<string, Tensor>(request.inputs.map((it) => [it.name, floats(it)]))
  const result = running.then(() => model.run(inputs))
  running = result.catch(() => {})
  const outputs = [...(await result)].map(([name, tensor]) => toWire(name, tensor))
  return { model: MODEL, version: '1', ...(request.id !== undefined && { id: request.id }), outputs }
}

function floats(input: InferRequest['inputs'][number]): Tensor {
  const tensor = fromWire(input)
  const { scale, offset } = input.parameters ?? {}
  if (tensor.type !== 'uint8') return tensor
  return {
    type: 'float32',
    shape: tensor.shape,
    data: Float32Array.from(tensor.data, (byte) => byte * Number(scale) + Number(offset)),
  }
}

export async function openRest(
  t: Test,
  { port = 0, tls }: { port?: number; tls?: ServerOptions } = {},
): Promise<OipServer> {
  await blazeface()
  const wrongs = right()
  const asked: InferRequest[] = []
  const headers: IncomingHttpHeaders[] = []
  const listener: RequestListener = (request, response) => {
    headers.push(request.headers)
    if (wrongs.http(request, response)) return
    void serve(request, response, wrongs, asked).catch((error: unknown) => {
      response.writeHead(500).end(JSON.stringify({ error: String(error) }))
    })
  }
  const server = tls ? createTlsServer(tls, listener) : createServer(listener)
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  const bound = (server.address() as AddressInfo).port
  const close = async () => {
    server.closeAllConnections()
    if (!server.listening) return
    server.close()
    await once(server, 'close')
  }
  t.teardown(close)
  return {
    address: `http${tls ? 's' : ''}://127.0.0.1:${bound}`,
    port: bound,
    ...{ wrongs, asked, headers },
    [Symbol.asyncDispose]: close,
  }
}

async function serve(
  request: IncomingMessage,
  response: ServerResponse,
  wrongs: Wrongs,
  asked: InferRequest[],
): Promise<void> {
  const json = (status: number, body: object) =>
    void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  switch (request.url) {
    case '/v2/health/ready':
      return void response.writeHead(wrongs.ready ? 200 : 503).end()
    case '/v2':
      return json(200, { name: wrongs.name, version: '1', extensions: wrongs.extensions })
    case `/v2/models/${MODEL}/ready`:
      return void response.writeHead(wrongs.hasModel ? 200 : 404).end()
    case `/v2/models/${MODEL}`:
      return json(200, wrongs.metadata(await metadataOf()))
    case `/v2/models/${MODEL}/infer`: {
      const chunks: Buffer[] = []
      for await (const chunk of request) chunks.push(chunk as Buffer)
      if (!wrongs.hasModel) return json(404, { error: 'no such model' })
      const wanted = decodeInferRequest(
        Buffer.concat(chunks),
        jsonBytesOf(request.headers[JSON_LENGTH_HEADER]),
      )
      asked.push(wanted)
      const answer = await wrongs.answer(await infer(wanted), wanted)
      const { chunks: body, jsonBytes } = encodeInferResponse(answer, (it) => isBinaryOutput(wanted, it))
      if (jsonBytes !== undefined) response.setHeader(JSON_LENGTH_HEADER, jsonBytes)
      return void response.end(Buffer.concat(body))
    }
    default:
      json(404, { error: 'unknown' })
  }
}

export async function openGrpc(
  t: Test,
  {
    port = 0,
    credentials = grpc.ServerCredentials.createInsecure(),
  }: { port?: number; credentials?: grpc.ServerCredentials } = {},
): Promise<OipServer> {
  await blazeface()
  const wrongs = right()
  const asked: InferRequest[] = []
  const headers: IncomingHttpHeaders[] = []
  const proto = join(import.meta.dirname, '..', '..', 'wire', 'inference.proto')
  const service = loadSync(proto, PROTO_OPTIONS)[PROTO_SERVICE] as unknown as grpc.ServiceDefinition
  const server = new grpc.Server({
    'grpc.max_send_message_length': -1,
    'grpc.max_receive_message_length': -1,
  })
  const unary =
    (answer: (message: unknown) => Promise<object>): grpc.handleUnaryCall<unknown, unknown> =>
    (call, done) => {
      headers.push(call.metadata.getMap() as IncomingHttpHeaders)
      answer(call.request).then(
        (it) => done(null, it),
        (error: unknown) => done({ code: grpc.status.INVALID_ARGUMENT, details: String(error) }),
      )
    }
  server.addService(service, {
    ServerReady: unary(async () => ({ ready: wrongs.ready })),
    ServerMetadata: unary(async () => ({ name: wrongs.name, version: '1', extensions: wrongs.extensions })),
    ModelReady: unary(async () => ({ ready: wrongs.hasModel })),
    ModelMetadata: unary(async () => wrongs.metadata(await metadataOf())),
    ModelInfer: unary(async (message) => {
      const wanted = fromInferRequestMessage(message as ModelInferRequestMessage)
      asked.push(wanted)
      return inferResponseMessage(await wrongs.answer(await infer(wanted), wanted))
    }),
  })
  const bound = await new Promise<number>((resolve, reject) => {
    server.bindAsync(`127.0.0.1:${port}`, credentials, (error, at) => (error ? reject(error) : resolve(at)))
  })
  const close = async () => server.forceShutdown()
  t.teardown(close)
  return {
    address: `grpc${credentials._isSecure?.() ? 's' : ''}://127.0.0.1:${bound}`,
    port: bound,
    ...{ wrongs, asked, headers },
    [Symbol.asyncDispose]: close,
  }
}

export const portIsOpen = (port: number) =>
  new Promise<boolean>((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })

import { readFileSync } from 'node:fs'
import { connect as connectHttp2 } from 'node:http2'
import { resolve } from 'node:path'
import {
  type ChannelCredentials,
  credentials,
  loadPackageDefinition,
  Metadata,
  type ServiceClientConstructor,
  type ServiceError,
  status,
} from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import t from 'tap'
import { openAuthority } from '../kit/certificates.ts'
import type { Test } from '../kit/programs.ts'
import { until } from '../kit/wait.ts'
import { identityModel, openServer, slowModel } from './kit.ts'

/** A client made from the protocol's file alone. */
function client(t: Test, url: string | undefined, secure: ChannelCredentials = credentials.createInsecure()) {
  const file = resolve(import.meta.dirname, '..', '..', 'wire', 'inference.proto')
  const { inference } = loadPackageDefinition(loadSync(file, { defaults: true })) as unknown as {
    inference: { GRPCInferenceService: ServiceClientConstructor }
  }
  const made = new inference.GRPCInferenceService((url ?? '').replace(/^grpcs?:\/\//, ''), secure, {
    'grpc.max_receive_message_length': -1,
  })
  t.after(() => made.close())
  return (
    method: string,
    message: object,
    { token, deadlineMs }: { token?: string; deadlineMs?: number } = {},
  ) =>
    new Promise<Record<string, never>>((done, failed) => {
      const metadata = new Metadata()
      if (token !== undefined) metadata.set('authorization', `Bearer ${token}`)
      const options = { deadline: Date.now() + (deadlineMs ?? 20_000) }
      made[method]?.(
        message,
        metadata,
        options,
        (error: ServiceError | null, answer: Record<string, never>) => (error ? failed(error) : done(answer)),
      )
    })
}

const bytes = (...values: number[]) => Buffer.from(Float32Array.from(values).buffer)
const inputs = [{ name: 'input', datatype: 'FP32', shape: [1, 4] }]

t.test('by gRPC it is the same server', async (t) => {
  const { server } = await openServer(t, {
    models: [{ model: identityModel(t), waitingMax: 200 }],
    grpc: { port: 0 },
    payloadMax: '1MB',
  })
  const call = client(t, server.grpc?.url)
  t.match(await call('ServerLive', {}), { live: true })
  t.match(await call('ServerReady', {}), { ready: true })
  t.match(await call('ServerMetadata', {}), {
    name: 'sightline',
    extensions: ['binary_tensor_data', 'sightline_bytes'],
  })
  const { version } = server.service.model('same').opened
  t.match(await call('ModelReady', { name: 'same', version }), { ready: true })
  const metadata = await call('ModelMetadata', { name: 'same' })
  t.match(metadata, { name: 'same', versions: [version], inputs: [{ name: 'input', datatype: 'FP32' }] })
  t.strictSame(((metadata.inputs as unknown as { shape: unknown[] }[])[0]?.shape ?? []).map(Number), [-1, 4])

  const raw = await call('ModelInfer', {
    modelName: 'same',
    id: 'x',
    inputs,
    rawInputContents: [bytes(1, 2, 3, 4)],
  })
  t.match(raw, {
    modelName: 'same',
    modelVersion: version,
    id: 'x',
    outputs: [{ name: 'output', datatype: 'FP32' }],
  })
  t.strictSame((raw.rawOutputContents as unknown as Buffer[])[0], bytes(1, 2, 3, 4))
  const typed = await call('ModelInfer', {
    modelName: 'same',
    inputs: [{ ...inputs[0], contents: { fp32Contents: [5, 6, 7, 8] } }],
  })
  t.strictSame((typed.rawOutputContents as unknown as Buffer[])[0], bytes(5, 6, 7, 8))
  const scaled = await call('ModelInfer', {
    modelName: 'same',
    inputs: [
      {
        ...inputs[0],
        datatype: 'UINT8',
        parameters: { scale: { doubleParam: 0.5 }, offset: { int64Param: 1 } },
      },
    ],
    rawInputContents: [Buffer.of(0, 1, 2, 254)],
  })
  t.strictSame((scaled.rawOutputContents as unknown as Buffer[])[0], bytes(1, 1.5, 2, 128))

  const rejects = (message: object, code: number, says: RegExp) =>
    t.rejects(call('ModelInfer', message), { code, details: says }, String(says))
  await rejects({ modelName: 'nobody', inputs }, status.NOT_FOUND, /no model "nobody"/)
  await rejects({ modelName: 'same', modelVersion: '1', inputs }, status.NOT_FOUND, /version/)
  await rejects({ modelName: 'same' }, status.INVALID_ARGUMENT, /no inputs/)
  await rejects({ modelName: 'same', inputs }, status.INVALID_ARGUMENT, /0 values/)
  await rejects(
    { modelName: 'same', inputs, rawInputContents: [bytes(1)] },
    status.INVALID_ARGUMENT,
    /4 bytes/,
  )
  await rejects(
    { modelName: 'same', inputs, rawInputContents: [Buffer.alloc(4 * 2 ** 20)] },
    status.RESOURCE_EXHAUSTED,
    /larger than max/i,
  )
  // Each its own, however many come at once.
  const many = await Promise.all(
    Array.from({ length: 100 }, (_, at) =>
      call('ModelInfer', {
        modelName: 'same',
        id: `${at}`,
        inputs,
        rawInputContents: [bytes(at, at, at, at)],
      }),
    ),
  )
  t.ok(
    many.every(
      (answer, at) =>
        String(answer.id) === `${at}` &&
        bytes(at, at, at, at).equals((answer.rawOutputContents as unknown as Buffer[])[0] as Buffer),
    ),
  )
})

t.test('by gRPC a flood is refused, and a call past its deadline is not run', async (t) => {
  const { server, registry } = await openServer(t, {
    models: [{ model: slowModel(t), provider: 'cpu', threads: 1, waitingMax: 4 }],
    grpc: { port: 0 },
  })
  const call = client(t, server.grpc?.url)
  const slow = {
    modelName: 'slow',
    inputs: [{ name: 'input', datatype: 'FP32', shape: [1, 1] }],
    rawInputContents: [bytes(0)],
  }
  const results = await Promise.allSettled(Array.from({ length: 20 }, () => call('ModelInfer', slow)))
  const codes = results.map((it) => (it.status === 'rejected' ? it.reason.code : 0))
  t.ok(codes.filter((it) => it === status.RESOURCE_EXHAUSTED).length >= 10)
  t.ok(codes.filter((it) => it === 0).length >= 4)
  const refused = results.find((it) => it.status === 'rejected') as PromiseRejectedResult
  t.strictSame(refused.reason.metadata.get('retry-after'), ['1'])
  const first = call('ModelInfer', slow)
  const model = server.service.model('slow')
  await until('one runs', () => model.underWay === 1 && model.waiting === 0)
  await t.rejects(call('ModelInfer', slow, { deadlineMs: 1 }), { code: status.DEADLINE_EXCEEDED })
  await first
  await until('nothing is under way', () => model.underWay === 0)
  t.notMatch(await registry.metrics(), /outcome="failed"/)
})

t.test('by gRPC over TLS: whom the authority signed, with a token; others are refused', async (t) => {
  const authority = await openAuthority(t)
  const files = await authority.server('inference')
  const own = await authority.client('camera')
  const token = 'a-token-of-sixteen-or-more'
  const { server } = await openServer(t, {
    models: [{ model: identityModel(t) }],
    tokens: [token],
    grpc: { port: 0, tls: { ...files, clientCaFile: authority.caFile } },
  })
  const read = (file: string) => readFileSync(file)
  const ca = read(authority.caFile)
  const call = client(t, server.grpc?.url, credentials.createSsl(ca, read(own.keyFile), read(own.certFile)))
  const request = { modelName: 'same', inputs, rawInputContents: [bytes(1, 2, 3, 4)] }
  t.match(await call('ModelInfer', request, { token }), { modelName: 'same' })
  t.match(await call('ServerReady', {}), { ready: true })
  await t.rejects(call('ModelInfer', request), { code: status.UNAUTHENTICATED })
  await t.rejects(call('ModelInfer', request, { token: `${token}x` }), { code: status.UNAUTHENTICATED })
  const stranger = client(t, server.grpc?.url, credentials.createSsl(ca))
  await t.rejects(stranger('ServerLive', {}, { deadlineMs: 3000 }))
})

t.test('by gRPC connections are counted, and what is no HTTP/2 harms nobody', async (t) => {
  const { server } = await openServer(t, {
    models: [{ model: identityModel(t) }],
    grpc: { port: 0, connectionsMax: 20, connectionsPerAddressMax: 10 },
  })
  const url = (server.grpc?.url ?? '').replace('grpc:', 'http:')
  const call = client(t, server.grpc?.url)
  t.match(await call('ServerLive', {}), { live: true })
  let closed = 0
  for (let at = 0; at < 50; at += 1) {
    const session = connectHttp2(url)
    session.on('error', () => {})
    session.on('close', () => {
      closed += 1
    })
    t.after(() => session.destroy())
  }
  await until('most are refused', () => closed >= 40)
  t.match(await call('ServerLive', {}), { live: true })
})

t.test('by gRPC what is under way is answered at the end', async (t) => {
  const { server } = await openServer(t, {
    models: [{ model: slowModel(t), provider: 'cpu', threads: 1 }],
    grpc: { port: 0 },
  })
  const call = client(t, server.grpc?.url)
  const slow = {
    modelName: 'slow',
    inputs: [{ name: 'input', datatype: 'FP32', shape: [1, 1] }],
    rawInputContents: [bytes(0)],
  }
  const taken = Array.from({ length: 5 }, () => call('ModelInfer', slow))
  const model = server.service.model('slow')
  await until('all are under way', () => model.underWay === 5)
  await server.drain()
  for (const answer of await Promise.all(taken)) t.match(answer, { modelName: 'slow' })
  await t.rejects(call('ModelInfer', slow, { deadlineMs: 2000 }))
})

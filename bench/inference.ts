import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { Agent, request as httpRequest } from 'node:http'
import { availableParallelism, tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { credentials, Metadata, makeGenericClientConstructor } from '@grpc/grpc-js'
import { inferenceSchema } from '../inference/config.ts'
import { InferenceServer } from '../inference/server.ts'
import { inferenceService } from '../lib/inference-service.ts'
import { openLog } from '../lib/log.ts'
import { openMetrics } from '../lib/metrics.ts'
import { encodeOnnx } from '../models/onnx-file.ts'
import {
  type Datatype,
  decodeInferResponse,
  encodeInferRequest,
  fromInferResponseMessage,
  type InferRequest,
  type InferResponse,
  inferRequestMessage,
  JSON_LENGTH_HEADER,
  type ModelInferResponseMessage,
  type WireTensor,
} from '../wire/inference.ts'
import { median } from './stacks.ts'

/**
 * What an inference server costs beside the network that it runs: a frame there and back, over loopback, of a model that does
 * nothing but pick a few values; and what batching gains with eight clients, for each model of the catalogue that takes batches.
 * The server is in this process, its models in threads: a client elsewhere has its own cores.
 */
const SIDE = 320
const ROUNDS = 300
const WARMUP = 50
const CLIENTS = 8
const SECONDS = 4

/** p50 and p95, ms. */
export interface Trip {
  readonly how: string
  readonly p50: number
  readonly p95: number
}
/** Inferences a second. */
export interface Gain {
  readonly model: string
  readonly alone: number
  readonly batched: number
}
export interface InferenceResult {
  readonly trips: readonly Trip[]
  readonly gains: readonly Gain[]
  /** Models that take no batches, or are not here. */
  readonly leftOut: readonly string[]
}

type Ask = (request: InferRequest) => Promise<InferResponse>

/** Every 64th value: there is next to nothing to compute, and an answer as large as a detector's. */
function pickingModel(): Buffer {
  return encodeOnnx({
    name: 'pick',
    producer: 'sightline bench',
    description: 'picks values',
    inputs: [{ name: 'input', type: 'float32', shape: [1, 3, SIDE, SIDE] }],
    outputs: [{ name: 'output', type: 'float32', shape: [1, 3, SIDE / 8, SIDE / 8] }],
    constants: [],
    nodes: [
      {
        operator: 'MaxPool',
        inputs: ['input'],
        output: 'output',
        attributes: { kernel_shape: [1, 1], strides: [8, 8] },
      },
    ],
  })
}

function rest(url: string, model: string, binary: boolean): { ask: Ask; close(): void } {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  const ask: Ask = (request) =>
    new Promise((done, failed) => {
      const { chunks, bytes, jsonBytes } = encodeInferRequest(request, { binary })
      const call = httpRequest(
        `${url}/v2/models/${model}/infer`,
        {
          agent,
          method: 'POST',
          headers: {
            'content-length': bytes,
            ...(jsonBytes !== undefined && { [JSON_LENGTH_HEADER]: jsonBytes }),
          },
        },
        (response) => {
          const parts: Buffer[] = []
          response.on('data', (part: Buffer) => parts.push(part))
          response.once('end', () => {
            const body = Buffer.concat(parts)
            if (response.statusCode !== 200) return failed(new Error(body.toString()))
            const length = response.headers[JSON_LENGTH_HEADER]
            done(decodeInferResponse(body, length === undefined ? undefined : Number(length)))
          })
        },
      )
      call.once('error', failed)
      for (const chunk of chunks) call.write(chunk)
      call.end()
    })
  return { ask, close: () => agent.destroy() }
}

function grpc(url: string, model: string): { ask: Ask; close(): void } {
  const Client = makeGenericClientConstructor(inferenceService(), 'GRPCInferenceService')
  const client = new Client(url.replace('grpc://', ''), credentials.createInsecure(), {
    'grpc.max_receive_message_length': -1,
    'grpc-node.flow_control_window': 4 * 1024 * 1024,
  })
  const call = client.ModelInfer as unknown as (
    message: object,
    metadata: Metadata,
    reply: (error: Error | null, message: ModelInferResponseMessage) => void,
  ) => void
  return {
    ask: (request) =>
      new Promise((done, failed) =>
        call.call(client, inferRequestMessage({ ...request, model }), new Metadata(), (error, message) =>
          error ? failed(error) : done(fromInferResponseMessage(message)),
        ),
      ),
    close: () => client.close(),
  }
}

function tensorOf(name: string, datatype: Datatype, shape: readonly number[]): WireTensor {
  const count = shape.reduce((a, b) => a * b, 1)
  const data =
    datatype === 'UINT8'
      ? Uint8Array.from({ length: count }, (_, at) => (at * 37) % 251)
      : new Uint8Array(Float32Array.from({ length: count }, (_, at) => ((at * 37) % 251) / 251).buffer)
  return {
    name,
    datatype,
    shape,
    data,
    ...(datatype === 'UINT8' && { parameters: { scale: 1 / 255, offset: 0 } }),
  }
}

async function trip(how: string, ask: Ask, input: WireTensor, rounds: number): Promise<Trip> {
  const times: number[] = []
  for (let round = 0; round < rounds + WARMUP; round += 1) {
    const startMs = performance.now()
    const { outputs } = await ask({ id: String(round), inputs: [input] })
    if (outputs[0]?.data.length !== ((3 * SIDE * SIDE) / 64) * 4) throw new Error('another answer')
    if (round >= WARMUP) times.push(performance.now() - startMs)
  }
  times.sort((a, b) => a - b)
  return { how, p50: median(times), p95: times[Math.floor(times.length * 0.95)] as number }
}

async function openServer(folder: string, models: readonly object[], catalog?: string) {
  const config = inferenceSchema.parse({
    models,
    catalog,
    modelFolder: folder,
    rest: { port: 0 },
    grpc: { port: 0 },
    http: { port: 0 },
    log: { level: 'error' },
  })
  return await InferenceServer.open(config, openMetrics('inference'), openLog('inference', 'error'))
}

async function benchTrips(folder: string, rounds: number): Promise<Trip[]> {
  const file = join(folder, 'pick.onnx')
  writeFileSync(file, pickingModel())
  await using server = await openServer(folder, [{ model: file, provider: 'cpu', threads: 1 }])
  const grpcUrl = server.grpc?.url ?? ''
  const shape = [1, 3, SIDE, SIDE]
  const floats = tensorOf('input', 'FP32', shape)
  const bytes = tensorOf('input', 'UINT8', shape)
  const trips: Trip[] = []
  for (const [how, { ask, close }, input, share] of [
    ['REST, binary, FP32', rest(server.rest.url, 'pick', true), floats, 1],
    ['REST, binary, bytes', rest(server.rest.url, 'pick', true), bytes, 1],
    ['gRPC, FP32', grpc(grpcUrl, 'pick'), floats, 1],
    ['gRPC, bytes', grpc(grpcUrl, 'pick'), bytes, 1],
    ['REST, JSON, FP32', rest(server.rest.url, 'pick', false), floats, 0.1],
  ] as const) {
    trips.push(await trip(how, ask, input, Math.ceil(rounds * share)))
    close()
  }
  return trips
}

/** Eight clients, each with one request under way. */
async function throughput(url: string, model: string, input: WireTensor, seconds: number): Promise<number> {
  const clients = Array.from({ length: CLIENTS }, () => rest(url, model, true))
  let answers = 0
  const loop = async (untilMs: number) => {
    await Promise.all(
      clients.map(async ({ ask }) => {
        while (performance.now() < untilMs) {
          await ask({ inputs: [input] })
          answers += 1
        }
      }),
    )
  }
  await loop(performance.now() + 500)
  answers = 0
  const startMs = performance.now()
  await loop(startMs + seconds * 1000)
  const perSecond = (answers * 1000) / (performance.now() - startMs)
  for (const { close } of clients) close()
  return perSecond
}

/** Of the catalogue, and what they take; found by their files. */
const BATCHED = [
  { model: 'yunet-n', side: 320 },
  { model: 'yunet-n', side: 160 },
  { model: 'blazeface', side: 256 },
  { model: 'liveness', side: undefined },
  { model: 'antispoof', side: undefined },
] as const

async function benchGains(
  folder: string,
  modelFolder: string | undefined,
  seconds: number,
): Promise<Pick<InferenceResult, 'gains' | 'leftOut'>> {
  const gains: Gain[] = []
  const leftOut: string[] = []
  for (const { model, side } of BATCHED) {
    const options = { model, provider: 'cpu', threads: Math.min(2, availableParallelism()) }
    const label = side === undefined ? model : `${model} at ${side}x${side}`
    try {
      const ratesOf = new Map<number, number[]>([
        [1, []],
        [CLIENTS, []],
      ])
      // In turn, so that both see the same machine.
      for (const batchMax of [1, CLIENTS, CLIENTS, 1]) {
        await using server = await openServer(modelFolder ?? folder, [{ ...options, batchMax }])
        const { opened } = server.service.model(model)
        if (!opened.batches) throw new Error('takes no batches')
        const [info] = opened.inputs
        const shape = info?.shape.map((it, axis) =>
          typeof it === 'number' ? it : axis === 0 ? 1 : (side ?? 1),
        )
        const input = tensorOf(info?.name ?? '', 'FP32', shape ?? [])
        ratesOf.get(batchMax)?.push(await throughput(server.rest.url, model, input, seconds))
      }
      gains.push({
        model: label,
        alone: median(ratesOf.get(1) ?? []),
        batched: median(ratesOf.get(CLIENTS) ?? []),
      })
    } catch (error) {
      leftOut.push(`${label} (${error instanceof Error ? error.message.split('.')[0] : error})`)
    }
  }
  return { gains, leftOut }
}

/** @param seconds of each measurement of the throughput */
export async function benchInference(seconds = SECONDS, rounds = ROUNDS): Promise<InferenceResult> {
  process.env.ORT_DISABLE_TELEMETRY ??= '1'
  const folder = mkdtempSync(join(tmpdir(), 'sightline-bench-'))
  const data = process.env.SIGHTLINE_TEST_DATA ?? resolve(import.meta.dirname, '..', '..', 'shared', 'data')
  try {
    return {
      trips: await benchTrips(folder, rounds),
      ...(await benchGains(folder, join(data, 'models'), seconds)),
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

const TRIP_MS_MAX = 2
const GAIN_MIN = 1.3

export function printInference({ trips, gains, leftOut }: InferenceResult): void {
  const ratio = ({ alone, batched }: Gain) => batched / alone
  const winners = gains.filter((it) => ratio(it) >= GAIN_MIN).map(({ model }) => model)
  process.stdout.write(
    `\nInference: ${SIDE}x${SIDE} to a local server and back, beside the network's own time (bar: REST, binary, ${TRIP_MS_MAX} ms p50)
${trips.map(({ how, p50, p95 }) => `  ${how.padEnd(20)} p50 ${p50.toFixed(2)} ms, p95 ${p95.toFixed(2)} ms`).join('\n')}
Batching at ${CLIENTS} clients, two threads (bar: ${GAIN_MIN} where the model gains)
${gains.map((it) => `  ${it.model.padEnd(22)} ${it.alone.toFixed(1)} a second one by one, ${it.batched.toFixed(1)} batched: ${ratio(it).toFixed(2)} times`).join('\n')}
  gain ${GAIN_MIN} or more: ${winners.join(', ') || 'none'}${leftOut.length > 0 ? `\n  left out: ${leftOut.join('; ')}` : ''}\n`,
  )
}

if (import.meta.main)
  printInference(await benchInference(Number(process.argv[2] ?? SECONDS), Number(process.argv[3] ?? ROUNDS)))

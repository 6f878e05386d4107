import { writeFileSync } from 'node:fs'
import { type Agent, request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import { join } from 'node:path'
import pino from 'pino'
import { checkInferenceConfig, inferenceSchema } from '../../inference/config.ts'
import { InferenceServer } from '../../inference/server.ts'
import { openMetrics, type Registry } from '../../lib/metrics.ts'
import { encodeOnnx } from '../../models/onnx-file.ts'
import { type Test, temporaryFolder } from '../kit/programs.ts'

/** A client of the protocol, from its documents: it knows nothing of our own codec. */

export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
  /** Of an answer that is JSON, or begins with it. */
  readonly json: Record<string, unknown>
}

export interface AskOptions {
  readonly method?: string
  readonly headers?: Readonly<Record<string, string | number>>
  readonly body?: Uint8Array | string
  readonly agent?: Agent
  readonly signal?: AbortSignal
}

export function ask(url: string, { method, headers, body, agent, signal }: AskOptions = {}): Promise<Answer> {
  return new Promise((done, failed) => {
    const call = httpRequest(
      url,
      {
        method: method ?? (body === undefined ? 'GET' : 'POST'),
        headers: { ...(body !== undefined && { 'content-length': Buffer.byteLength(body) }), ...headers },
        agent,
        signal,
      },
      (response) => {
        const parts: Buffer[] = []
        response.on('data', (part: Buffer) => parts.push(part))
        response.once('error', failed)
        response.once('end', () => {
          const whole = Buffer.concat(parts)
          const length = response.headers['inference-header-content-length']
          const head = length === undefined ? whole : whole.subarray(0, Number(length))
          let json = {}
          try {
            json = JSON.parse(head.toString())
          } catch {
            // no JSON
          }
          done({ status: response.statusCode ?? 0, headers: response.headers, body: whole, json })
        })
      },
    )
    call.once('error', failed)
    call.end(body)
  })
}

/** One FP32 input, as bytes behind the JSON. */
export function binaryRequest(
  name: string,
  shape: readonly number[],
  values: Float32Array | Uint8Array,
  more: { id?: string; scale?: number; offset?: number; outputs?: object[] } = {},
): AskOptions & { body: Buffer; headers: Record<string, string | number> } {
  const { id, scale, offset, outputs } = more
  const data = Buffer.from(values.buffer, values.byteOffset, values.byteLength)
  const head = Buffer.from(
    JSON.stringify({
      id,
      parameters: { binary_data_output: true },
      inputs: [
        {
          name,
          shape,
          datatype: values instanceof Uint8Array ? 'UINT8' : 'FP32',
          parameters: { binary_data_size: data.length, scale, offset },
        },
      ],
      outputs,
    }),
  )
  return { body: Buffer.concat([head, data]), headers: { 'inference-header-content-length': head.length } }
}

/** Outputs that came as bytes, by name. */
export function floatsOf({ json, body, headers }: Answer): Map<string, Float32Array> {
  let at = Number(headers['inference-header-content-length'])
  return new Map(
    (json.outputs as { name: string; parameters: { binary_data_size: number } }[]).map((output) => {
      const size = output.parameters.binary_data_size
      const values = new Float32Array(Uint8Array.from(body.subarray(at, at + size)).buffer)
      at += size
      return [output.name, values] as const
    }),
  )
}

export interface Opened {
  readonly server: InferenceServer
  readonly url: string
  readonly registry: Registry
  readonly lines: { code?: string; msg: string }[]
}

/** A server of these models, and of a folder of its own. Closed at the end of the test. */
export async function openServer(
  t: Test,
  settings: Record<string, unknown> = {},
  folder = temporaryFolder(t),
): Promise<Opened> {
  const { rest, http, ...more } = settings
  const config = inferenceSchema.parse({
    modelFolder: folder,
    ...more,
    rest: { port: 0, ...(rest as object) },
    http: { port: 0, ...(http as object) },
  })
  checkInferenceConfig(config)
  const registry = openMetrics('inference')
  const lines: Opened['lines'] = []
  const log = pino({ level: 'info' }, { write: (line: string) => void lines.push(JSON.parse(line)) })
  const server = await InferenceServer.open(config, registry, log)
  t.after(() => server[Symbol.asyncDispose]())
  return { server, url: server.rest.url, registry, lines }
}

/** Rows of `side` numbers; what comes out is the same. Rows may be mixed up on purpose. */
export function identityModel(
  t: Test,
  {
    name = 'same',
    side = 4,
    rows = 'n',
    folder = temporaryFolder(t),
  }: { name?: string; side?: number; rows?: number | string; folder?: string } = {},
): string {
  const file = join(folder, `${name}.onnx`)
  writeFileSync(
    file,
    encodeOnnx({
      name,
      producer: 'test',
      description: 'the same again',
      inputs: [{ name: 'input', type: 'float32', shape: [rows, side] }],
      outputs: [{ name: 'output', type: 'float32', shape: [rows, side] }],
      constants: [],
      nodes: [{ operator: 'Relu', inputs: ['input'], output: 'output' }],
    }),
  )
  return file
}

/** The same for a model that sums over its rows: it takes several, and mixes them. */
export function mixingModel(t: Test): string {
  const file = join(temporaryFolder(t), 'mixing.onnx')
  writeFileSync(
    file,
    encodeOnnx({
      name: 'mixing',
      producer: 'test',
      description: 'each row, and the mean of all',
      inputs: [{ name: 'input', type: 'float32', shape: ['n', 4] }],
      outputs: [{ name: 'output', type: 'float32', shape: ['n', 4] }],
      constants: [],
      nodes: [
        { operator: 'ReduceMean', inputs: ['input'], output: 'mean', attributes: { axes: [0], keepdims: 1 } },
        { operator: 'Add', inputs: ['input', 'mean'], output: 'output' },
      ],
    }),
  )
  return file
}

/** Slow: so many multiplications of a square matrix. Its rows are free; what comes out is 0 for 0. */
export function slowModel(
  t: Test,
  { times = 40, side = 512 }: { times?: number; side?: number } = {},
): string {
  const file = join(temporaryFolder(t), 'slow.onnx')
  const values = new Float32Array(side * side)
  for (let at = 0; at < side; at += 1) values[at * side + at] = 1
  // A diagonal of ones, which no optimisation sees: many products of it with the input's square.
  writeFileSync(
    file,
    encodeOnnx({
      name: 'slow',
      producer: 'test',
      description: 'the same again, slowly',
      inputs: [{ name: 'input', type: 'float32', shape: [1, 1] }],
      outputs: [{ name: 'output', type: 'float32', shape: [1, side] }],
      constants: [
        { name: 'eye', shape: [side, side], values },
        { name: 'ones', shape: [1, side], values: new Float32Array(side).fill(1) },
      ],
      nodes: [
        { operator: 'Mul', inputs: ['eye', 'input'], output: 'm0' },
        ...Array.from({ length: times }, (_, at) => ({
          operator: 'MatMul',
          inputs: [`m${at}`, 'eye'],
          output: `m${at + 1}`,
        })),
        { operator: 'MatMul', inputs: ['ones', `m${times}`], output: 'output' },
      ],
    }),
  )
  return file
}

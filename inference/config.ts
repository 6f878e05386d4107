import { z } from 'zod'
import { commonShape, duration, httpShape, mutualTlsShape, port, size } from '../lib/config.ts'
import { failure } from '../lib/errors.ts'
import { isLoopback, refuseOpenHttp } from '../lib/http/server.ts'
import { PROVIDERS } from '../models/onnx.ts'
import { TENSOR_BYTES_MAX } from '../wire/inference.ts'

const MODELS_MAX = 64
/** A picture of 1920x1080. */
const VALUES_MAX_DEFAULT = 1920 * 1080 * 3
const TOKENS_MAX = 1000
/** Shorter ones can be guessed. */
export const TOKEN_UNITS_MIN = 16
export const TOKEN_UNITS_MAX = 512
export const TOKEN_PATTERN = /^[\x21-\x7e]+$/

const modelSchema = z.strictObject({
  model: z.string().min(1),
  runtime: z.enum(['auto', 'onnx', 'tfjs']).default('auto'),
  provider: z.enum(['auto', ...PROVIDERS]).default('auto'),
  threads: z.union([z.number().int().min(1).max(64), z.literal('auto')]).default('auto'),
  instances: z.number().int().min(1).max(64).default(1),
  batchMax: z.number().int().min(1).max(256).default(8),
  delayMax: duration().prefault('0ms'),
  waitingMax: z.number().int().min(1).max(10_000).default(64),
})
export type ModelConfig = z.output<typeof modelSchema>

const listenerShape = (portDefault: number) => ({
  host: z.string().min(1).default('127.0.0.1'),
  port: port().default(portDefault),
  tls: mutualTlsShape().optional(),
  plaintext: z.boolean().default(false),
  connectionsMax: z.number().int().positive().default(256),
  connectionsPerAddressMax: z.number().int().positive().default(64),
})

export const inferenceSchema = z.strictObject({
  log: commonShape.log,
  drain: commonShape.drain,
  models: z
    .array(modelSchema)
    .min(1, 'must list at least one model')
    .max(MODELS_MAX)
    .prefault([{ model: 'blazeface' }]),
  modelFolder: z.string().min(1).default('data/models'),
  catalog: z.string().min(1).optional(),
  rest: z.strictObject(listenerShape(8500)).prefault({}),
  grpc: z.strictObject(listenerShape(8501)).optional(),
  tokens: z
    .array(
      z
        .string()
        .min(TOKEN_UNITS_MIN)
        .max(TOKEN_UNITS_MAX)
        .regex(TOKEN_PATTERN, 'must be letters, digits and signs, without spaces'),
    )
    .max(TOKENS_MAX)
    .default([]),
  tokensFile: z.string().min(1).optional(),
  anonymous: z.boolean().default(false),
  payloadMax: size()
    .prefault('64MB')
    .refine((bytes) => bytes >= 1000 && bytes <= TENSOR_BYTES_MAX, {
      error: `must be from 1KB to ${TENSOR_BYTES_MAX / 2 ** 20}MiB`,
    }),
  valuesMax: z.number().int().min(1).max(TENSOR_BYTES_MAX).default(VALUES_MAX_DEFAULT),
  waitingBytesMax: size().prefault('512MB'),
  waitMax: duration()
    .prefault('10s')
    .refine((ms) => ms >= 1, { error: 'must be 1ms or more' }),
  http: httpShape(9105),
})
export type InferenceConfig = z.output<typeof inferenceSchema>
export type ListenerConfig = InferenceConfig['rest']

/** What the schema alone cannot see. Errors: CONFIG_UNSAFE_LISTENER, CONFIG_INVALID. */
export function checkInferenceConfig(config: InferenceConfig): void {
  refuseOpenHttp(config.http)
  refuseOpenListener(config.rest, 'rest', config)
  if (config.grpc) refuseOpenListener(config.grpc, 'grpc', config)
  if (config.waitingBytesMax < config.payloadMax)
    throw failure(
      'CONFIG_INVALID',
      `"waitingBytesMax" (${config.waitingBytesMax} bytes) cannot hold one request of "payloadMax" (${config.payloadMax} bytes). Raise the first or lower the second.`,
    )
  const seen = new Set<string>()
  for (const { model } of config.models) {
    if (seen.has(model)) throw failure('CONFIG_INVALID', `Duplicate model ${model} in "models". Keep one.`)
    seen.add(model)
  }
}

/**
 * Pictures of people go in, and a machine's time is given away: others than this machine need TLS, or a word that the line is
 * safe; and a token or a certificate, or a word that anybody may. Errors: CONFIG_UNSAFE_LISTENER.
 */
function refuseOpenListener(
  { host, tls, plaintext }: ListenerConfig,
  key: string,
  { tokens, tokensFile, anonymous }: InferenceConfig,
): void {
  if (isLoopback(host)) return
  if (!tls && !plaintext)
    throw failure(
      'CONFIG_UNSAFE_LISTENER',
      `"${key}.host" ${host} would receive pictures over the network unencrypted: "${key}.tls" is missing. Give it, use 127.0.0.1, or set "${key}.plaintext: true" on a network that is yours alone.`,
    )
  const asks = tokens.length > 0 || tokensFile !== undefined || tls?.clientCaFile !== undefined
  if (!asks && !anonymous)
    throw failure(
      'CONFIG_UNSAFE_LISTENER',
      `"${key}.host" ${host} would serve whoever reaches it. Give "tokens", "tokensFile" or "${key}.tls.clientCaFile", or set "anonymous: true".`,
    )
}

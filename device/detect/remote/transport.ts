import { failure, type SightlineError } from '../../../lib/errors.ts'
import type { ClientCredentials } from '../../../lib/tls/certificates.ts'
import type { InferRequest, InferResponse, ModelMetadata, ServerMetadata } from '../../../wire/inference.ts'
import { ServerDenied } from './pool.ts'

/**
 * The Open Inference Protocol, to one server. Errors of all: ServerBusy; INFERENCE_WRONG where an answer is none of the
 * protocol; INFERENCE_UNAVAILABLE. Their sentences begin with the server's address.
 */
export interface Transport extends AsyncDisposable {
  /** For people: without user and password. */
  readonly address: string
  serverReady(signal: AbortSignal): Promise<boolean>
  serverMetadata(signal: AbortSignal): Promise<ServerMetadata>
  modelReady(model: string, signal: AbortSignal): Promise<boolean>
  modelMetadata(model: string, signal: AbortSignal): Promise<ModelMetadata>
  /** @param binary tensors as bytes, which only a server takes that says so; by gRPC always */
  infer(
    request: InferRequest & { readonly model: string },
    binary: boolean,
    signal: AbortSignal,
  ): Promise<InferResponse>
}

export interface TransportOptions {
  readonly address: string
  readonly inFlight: number
  /** Asked for at each request: a renewed one holds. */
  readonly token: () => string | undefined
  /** Asked for at each connection. */
  readonly credentials: () => ClientCredentials
  /** Of one answer; what is longer is read no further. */
  readonly answerBytesMax: number
}

export const wrong = (address: string, what: string, cause?: unknown): SightlineError =>
  failure('INFERENCE_WRONG', `The inference server ${address} gives a wrong answer: ${what}`, cause)

export const unavailable = (address: string, what: string, cause?: unknown): SightlineError =>
  failure('INFERENCE_UNAVAILABLE', `The inference server ${address} ${what}`, cause)

export const denied = (address: string, told: string): ServerDenied =>
  new ServerDenied(
    `The inference server ${address} refuses the token or certificate (${told}). Check "detect.servers".`,
  )

/** http, https, grpc or grpcs. Errors: CONFIG_INVALID. */
export async function openTransport(options: TransportOptions): Promise<Transport> {
  const { protocol } = new URL(options.address)
  // What speaks gRPC is loaded only where it is asked for.
  if (protocol === 'grpc:' || protocol === 'grpcs:') {
    const { GrpcTransport } = await import('./grpc.ts')
    return new GrpcTransport(options)
  }
  const { RestTransport } = await import('./rest.ts')
  return new RestTransport(options)
}

import { createSecureContext } from 'node:tls'
import * as grpc from '@grpc/grpc-js'
import type { z } from 'zod'
import { SightlineError } from '../../../lib/errors.ts'
import { inferenceService } from '../../../lib/inference-service.ts'
import { type ClientCredentials, TLS_MIN_VERSION } from '../../../lib/tls/certificates.ts'
import {
  fromInferResponseMessage,
  InferenceFault,
  type InferRequest,
  type InferResponse,
  inferRequestMessage,
  type ModelInferResponseMessage,
  type ModelMetadata,
  modelMetadataSchema,
  type ServerMetadata,
  serverMetadataSchema,
} from '../../../wire/inference.ts'
import { SERVER_BUSY_MS_MAX } from '../../limits.ts'
import { said } from './http.ts'
import { ServerBusy } from './pool.ts'
import { denied, type Transport, type TransportOptions, unavailable, wrong } from './transport.ts'

/** A server that is away is connected to again after so long, ms. */
const RECONNECT_MS_MIN = 200
const RECONNECT_MS_MAX = 2000

/** By gRPC, over one connection. */
export class GrpcTransport implements Transport {
  readonly address: string
  readonly #options: TransportOptions
  readonly #url: URL
  readonly #methods = inferenceService()
  #client: { readonly credentials: ClientCredentials; readonly client: grpc.Client } | undefined

  constructor(options: TransportOptions) {
    this.#options = options
    this.#url = new URL(options.address)
    this.address = `${this.#url.protocol}//${this.#url.host}`
  }

  async serverReady(signal: AbortSignal): Promise<boolean> {
    const { ready } = (await this.#call('ServerReady', {}, signal)) as { readonly ready: boolean }
    return ready
  }

  async serverMetadata(signal: AbortSignal): Promise<ServerMetadata> {
    return this.#read(serverMetadataSchema, await this.#call('ServerMetadata', {}, signal))
  }

  async modelReady(name: string, signal: AbortSignal): Promise<boolean> {
    const { ready } = (await this.#call('ModelReady', { name }, signal)) as { readonly ready: boolean }
    return ready
  }

  async modelMetadata(name: string, signal: AbortSignal): Promise<ModelMetadata> {
    return this.#read(modelMetadataSchema, await this.#call('ModelMetadata', { name }, signal))
  }

  async infer(
    request: InferRequest & { readonly model: string },
    _binary: boolean,
    signal: AbortSignal,
  ): Promise<InferResponse> {
    const message = await this.#call('ModelInfer', inferRequestMessage(request), signal)
    try {
      return fromInferResponseMessage(message as ModelInferResponseMessage)
    } catch (error) {
      if (error instanceof InferenceFault) throw wrong(this.address, error.message, error)
      throw error
    }
  }

  #read<T extends z.ZodType>(schema: T, message: unknown): z.infer<T> {
    const read = schema.safeParse(message)
    if (read.success) return read.data
    throw wrong(this.address, 'its description is not as the Open Inference Protocol says.')
  }

  #call(name: string, message: object, signal: AbortSignal): Promise<unknown> {
    const method = this.#methods[name]
    if (!method) throw new TypeError(`unknown method ${name}`)
    const metadata = new grpc.Metadata()
    const token = this.#options.token()
    if (token !== undefined) metadata.set('authorization', `Bearer ${token}`)
    signal.throwIfAborted()
    return new Promise((resolve, reject) => {
      const call = this.#connected().makeUnaryRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        message,
        metadata,
        (error, answer) => {
          signal.removeEventListener('abort', cancel)
          if (error) reject(signal.aborted ? signal.reason : this.#refused(error))
          else resolve(answer)
        },
      )
      const cancel = () => call.cancel()
      signal.addEventListener('abort', cancel, { once: true })
    })
  }

  /** A renewed certificate is for a new connection. */
  #connected(): grpc.Client {
    const credentials = this.#options.credentials()
    if (this.#client?.credentials === credentials) return this.#client.client
    this.#client?.client.close()
    const isSecure = this.#url.protocol === 'grpcs:'
    const client = new grpc.Client(
      this.#url.host,
      isSecure
        ? grpc.credentials.createFromSecureContext(
            createSecureContext({ ...credentials, minVersion: TLS_MIN_VERSION }),
          )
        : grpc.credentials.createInsecure(),
      {
        'grpc.max_receive_message_length': this.#options.answerBytesMax,
        'grpc.max_send_message_length': -1,
        'grpc.enable_http_proxy': 0,
        'grpc.enable_retries': 0,
        'grpc.service_config_disable_resolution': 1,
        'grpc.use_local_subchannel_pool': 1,
        'grpc.initial_reconnect_backoff_ms': RECONNECT_MS_MIN,
        'grpc.max_reconnect_backoff_ms': RECONNECT_MS_MAX,
      },
    )
    this.#client = { credentials, client }
    return client
  }

  #refused(error: grpc.ServiceError): Error {
    if (error instanceof SightlineError) return error
    const told = said(error.details)
    switch (error.code) {
      case grpc.status.RESOURCE_EXHAUSTED:
        if (/larger than max/i.test(error.details))
          return wrong(this.address, `it has more than ${this.#options.answerBytesMax} bytes.`, error)
        return new ServerBusy(`The inference server ${this.address} is busy.`, SERVER_BUSY_MS_MAX)
      case grpc.status.UNAUTHENTICATED:
      case grpc.status.PERMISSION_DENIED:
        return denied(this.address, told)
      case grpc.status.INVALID_ARGUMENT:
      case grpc.status.OUT_OF_RANGE:
        return wrong(this.address, told, error)
      case grpc.status.UNIMPLEMENTED:
        return unavailable(this.address, 'does not speak the Open Inference Protocol by gRPC.', error)
      case grpc.status.INTERNAL:
        // An answer that is no message of the protocol.
        if (/deserializ|pars/i.test(error.details)) return wrong(this.address, told, error)
        break
      default:
    }
    return unavailable(this.address, `does not answer (${told}).`, error)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#client?.client.close()
  }
}

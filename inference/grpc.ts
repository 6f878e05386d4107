import { createServer, type Server as NetServer, type Socket } from 'node:net'
import { createServer as createTlsServer, type TLSSocket } from 'node:tls'
import {
  type handleUnaryCall,
  Metadata,
  Server,
  ServerCredentials,
  ServerInterceptingCall,
  type ServerInterceptor,
  type ServerUnaryCall,
} from '@grpc/grpc-js'
import { Admission, tcpOf } from '../lib/admission.ts'
import { listenFailure } from '../lib/http/server.ts'
import { inferenceService } from '../lib/inference-service.ts'
import { throttled } from '../lib/log.ts'
import { keepRenewed, readServerFiles, TLS_HANDSHAKE_MS_MAX } from '../lib/tls/certificates.ts'
import {
  fromInferRequestMessage,
  inferResponseMessage,
  type ModelInferRequestMessage,
} from '../wire/inference.ts'
import { GRPC_STREAMS_MAX, GRPC_WINDOW_BYTES, SILENCE_MS_MAX } from './limits.ts'
import { checkMessage } from './message-bounds.ts'
import { asRefusal, isForeseen, Refusal } from './refusal.ts'
import type { ListenerParts } from './rest.ts'

/** A message has names and lengths besides its tensors. */
const MESSAGE_HEAD_BYTES_MAX = 2 ** 20

interface NamedMessage {
  readonly name: string
  readonly version: string
}
type Call<Message> = ServerUnaryCall<Message, object>

/**
 * The Open Inference Protocol by gRPC. Its connections come through a listener of ours: as with HTTP they are counted, and
 * certificates renewed.
 */
export class GrpcListener implements AsyncDisposable {
  readonly url: string
  readonly #listener: NetServer
  readonly #server: Server
  readonly #opened: DisposableStack

  private constructor(listener: NetServer, server: Server, opened: DisposableStack, url: string) {
    this.#listener = listener
    this.#server = server
    this.#opened = opened
    this.url = url
  }

  /** Errors: PORT_TAKEN, PORT_DENIED, CONFIG_INVALID (a certificate). */
  static async open(parts: ListenerParts): Promise<GrpcListener> {
    const { config, meters, log, payloadBytesMax } = parts
    const { host, tls } = config
    const server = new Server({
      'grpc.max_receive_message_length': payloadBytesMax + MESSAGE_HEAD_BYTES_MAX,
      'grpc.max_send_message_length': -1,
      'grpc.max_concurrent_streams': GRPC_STREAMS_MAX,
      'grpc.max_connection_idle_ms': SILENCE_MS_MAX,
      'grpc-node.flow_control_window': GRPC_WINDOW_BYTES,
      interceptors: [strangersOut(parts)],
    })
    const injector = server.createConnectionInjector(ServerCredentials.createInsecure())
    using opened = new DisposableStack()
    const admission = opened.use(
      new Admission({
        ...config,
        where: 'grpc',
        log,
        refused: () => meters.refused.inc({ code: 'TOO_MANY' }),
      }),
    )
    /** By the address and port that a call tells of. */
    const sockets = new Map<string, Socket>()
    const connect = (socket: Socket) => {
      const peer = `${socket.remoteAddress}:${socket.remotePort}`
      sockets.set(peer, tcpOf(socket))
      socket.once('close', () => sockets.delete(peer))
      socket.on('error', () => {}) // 'close' follows
      injector.injectConnection(socket)
    }
    const identity = tls && readServerFiles(tls, 'grpc.tls')
    const mutual = tls?.clientCaFile !== undefined
    const context = { ALPNProtocols: ['h2'] }
    const listener = identity
      ? createTlsServer(
          {
            ...identity.context,
            ...context,
            requestCert: mutual,
            rejectUnauthorized: mutual,
            handshakeTimeout: TLS_HANDSHAKE_MS_MAX,
            noDelay: true,
          },
          (socket: TLSSocket) => connect(socket),
        )
      : createServer({ noDelay: true }, connect)
    listener.on('tlsClientError', (_error: Error, socket: Socket) => {
      meters.refused.inc({ code: 'TLS' })
      socket.destroy()
    })
    admission.guard(listener)
    addHandlers(server, parts, (peer) => {
      const socket = sockets.get(peer)
      if (socket) admission.letIn(socket)
    })
    await new Promise<void>((resolve, reject) => {
      listener.once('error', (error) => reject(listenFailure(error, host, config.port, 'grpc')))
      listener.listen(config.port, host, resolve)
    })
    if (tls && identity)
      keepRenewed(listener as ReturnType<typeof createTlsServer>, tls, {
        ...identity,
        where: 'grpc.tls',
        log,
        context: {},
      })
    const address = listener.address()
    const port = typeof address === 'object' && address ? address.port : config.port
    const url = `${tls ? 'grpcs' : 'grpc'}://${host.includes(':') ? `[${host}]` : host}:${port}`
    return new GrpcListener(listener, server, opened.move(), url)
  }

  /** Answers what is under way, and tells clients to go elsewhere; then it may be disposed of. */
  async drain(): Promise<void> {
    this.#listener.close()
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, SILENCE_MS_MAX)
      this.#server.tryShutdown(() => {
        clearTimeout(timer)
        resolve()
      })
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close()
    this.#server.forceShutdown()
    this.#opened[Symbol.dispose]()
  }
}

/** Before a message is read: whoever may not ask costs nothing but a line. */
const strangersOut =
  ({ tokens, meters }: ListenerParts): ServerInterceptor =>
  ({ path }, call) =>
    new ServerInterceptingCall(call, {
      start: (next) =>
        next({
          onReceiveMetadata: (metadata, go) => {
            if (OPEN_METHODS.has(path.replace(/^.*\//, ''))) return go(metadata)
            try {
              const [authorization] = metadata.get('authorization')
              tokens.check(authorization?.toString(), call.getPeer().replace(/:\d+$/, ''))
            } catch (error) {
              const refusal = asRefusal(error)
              meters.refused.inc({ code: refusal.kind === 'tooManyFailures' ? 'TOO_MANY_FAILURES' : 'TOKEN' })
              return call.sendStatus({
                code: refusal.grpcStatus,
                details: refusal.message,
                metadata: metadataOf(refusal),
              })
            }
            go(metadata)
          },
        }),
    })

/** For whoever watches over it: no login. */
const OPEN_METHODS: ReadonlySet<string> = new Set(['ServerLive', 'ServerReady'])

function metadataOf({ retryAfterS }: Refusal): Metadata {
  const metadata = new Metadata()
  if (retryAfterS !== undefined) metadata.set('retry-after', String(retryAfterS))
  return metadata
}

function addHandlers(
  server: Server,
  { service, log }: Pick<ListenerParts, 'service' | 'log'>,
  letIn: (peer: string) => void,
) {
  let unforeseen: unknown
  const complain = throttled((count) =>
    log.error({ count, error: String(unforeseen) }, 'could not answer a request by gRPC'),
  )
  const handle =
    <Message>(answer: (message: Message, call: Call<Message>) => Promise<object> | object) =>
    async (call: Call<Message>, reply: Parameters<handleUnaryCall<Message, object>>[1]): Promise<void> => {
      try {
        letIn(call.getPeer())
        if (call.request instanceof Error) throw call.request
        reply(null, await answer(call.request, call))
      } catch (error) {
        if (!isForeseen(error)) {
          unforeseen = error
          complain()
        }
        const refusal = asRefusal(error)
        reply({ code: refusal.grpcStatus, details: refusal.message, metadata: metadataOf(refusal) })
      }
    }
  const modelOf = ({ name, version }: NamedMessage) =>
    service.model(name, version === '' ? undefined : version)
  server.addService(boundedService(), {
    ServerLive: handle(() => ({ live: true })),
    ServerReady: handle(() => ({ ready: service.isReady })),
    ServerMetadata: handle(() => service.metadata),
    ModelReady: handle((message: NamedMessage) => ({
      ready: modelOf(message).isReady && !service.isDraining,
    })),
    ModelMetadata: handle((message: NamedMessage) => modelOf(message).metadata),
    ModelInfer: handle(async (message: ModelInferRequestMessage, call) => {
      service.refuseWhileDraining()
      const model = modelOf({ name: message.model_name, version: message.model_version ?? '' })
      const request = fromInferRequestMessage(message)
      using _held = service.hold(request.inputs.reduce((sum, { data }) => sum + data.length, 0))
      const gone = new AbortController()
      call.once('cancelled', () => gone.abort())
      if (call.cancelled) throw new Refusal('gone', 'The client has gone.')
      // The message's memory is not its own: it cannot be given to a thread.
      const inputs = request.inputs.map((tensor) => ({ ...tensor, data: new Uint8Array(tensor.data) }))
      return inferResponseMessage(await model.infer({ ...request, inputs }, gone.signal))
    }),
  })
}

/** The protocol's service; of a message that is too much, reading it gives the fault itself. */
function boundedService(): ReturnType<typeof inferenceService> {
  const service = inferenceService()
  const { ModelInfer } = service
  if (!ModelInfer) throw new TypeError('wire/inference.proto has no ModelInfer')
  const requestDeserialize = (bytes: Buffer): object => {
    try {
      checkMessage(bytes)
    } catch (error) {
      return error as Error
    }
    return ModelInfer.requestDeserialize(bytes)
  }
  return { ...service, ModelInfer: { ...ModelInfer, requestDeserialize } }
}

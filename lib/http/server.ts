import { createServer, maxHeaderSize, type RequestListener, type Server } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { SecureContextOptions, Server as TlsServer } from 'node:tls'
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import type { Registry } from 'prom-client'
import { Admission, type AdmissionLimits, tcpOf } from '../admission.ts'
import { HTTP_CONNECTIONS_MAX, HTTP_CONNECTIONS_PER_ADDRESS_MAX } from '../config.ts'
import { failure, systemCode } from '../errors.ts'
import { type Log, throttled } from '../log.ts'
import { type Counter, counter } from '../metrics.ts'
import { keepRenewed, readServerFiles, type ServerFiles, TLS_HANDSHAKE_MS_MAX } from '../tls/certificates.ts'
import { HttpUsers } from './users.ts'

export interface Health {
  readonly ok: boolean
  /** One entry a thing that can be up or down, in words a person can act on. */
  readonly checks: Readonly<Record<string, string>>
}

/** What decides whether others than this machine may reach it. */
export interface HttpListener {
  readonly host: string
  /** Whose people may look, but those of some sites or cameras only; without it everybody who reaches the listener. */
  readonly usersFile?: string
  /**
   * Instead of a users file, of a program that asks people itself who they are: whether its own state is for whoever asks,
   * `/metrics` and all of `/healthz`. Strangers learn from `/healthz` whether it is well.
   */
  readonly ownLogin?: (request: FastifyRequest) => Promise<boolean>
  /** Its configuration says that passwords and keys may cross the network unencrypted. */
  readonly plaintext?: boolean
  /** Absent: HTTP; given: HTTPS. */
  readonly tls?: Omit<ServerFiles, 'clientCaFile'>
  /**
   * Addresses and blocks of addresses of proxies: whom they name in X-Forwarded-For is the one who asks. Others may write
   * there what they like. Connections are counted by the address that they come from all the same.
   */
  readonly trustedProxies?: readonly string[]
}

export interface HttpOptions extends HttpListener, Partial<AdmissionLimits> {
  /** Needed with a users file: what becomes wrong in it later is said there. */
  readonly log?: Log
  /** 0 takes any free port. */
  readonly port: number
  /** The key of the configuration under which it stands, for errors: `http` */
  readonly where?: string
  readonly metrics: Registry
  readonly health: () => Health
  /** What needs no login where there are users: a public page, an address that carries a good signature. */
  readonly allowed?: (request: FastifyRequest) => boolean
  /** More routes, for programs that serve more than their own state. */
  readonly routes?: (app: FastifyInstance) => void | Promise<void>
}

const BODY_BYTES_MAX = 64 * 1024
/** From the connection, or the end of the request before, to the end of a request's headers. */
const HEADERS_MS_MAX = 10_000
/** To the end of its body. */
const REQUEST_MS_MAX = 30_000
/** Nothing goes either way, because the client does not read, say. */
const SILENCE_MS_MAX = 30_000
/** Between two requests: longer than proxies keep a connection (60 s), so that they close it and no request is lost. */
const KEEP_ALIVE_MS_MAX = 72_000
const CHECK_INTERVAL_MS = 1000
/** For how long a browser that has been here over HTTPS asks for nothing else of this host name: a month. */
const HSTS_SECONDS = 30 * 86_400

/** Of every answer, errors included: nothing here may be run, framed, or read by another site's page. */
const HEADERS = {
  'content-security-policy':
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
}

/**
 * `/healthz` and `/metrics`, which every program serves.
 * Errors: PORT_TAKEN, PORT_DENIED, CONFIG_UNSAFE_LISTENER, CONFIG_INVALID (a certificate), and those of a users file.
 */
export class HttpServer implements AsyncDisposable {
  readonly #app: FastifyInstance
  /** What was opened besides: users, connections. */
  readonly #opened: DisposableStack
  readonly url: string

  private constructor(app: FastifyInstance, opened: DisposableStack, url: string) {
    this.#app = app
    this.#opened = opened
    this.url = url
  }

  static async open(options: HttpOptions): Promise<HttpServer> {
    refuseOpenHttp(options)
    const { tls, log, usersFile, ownLogin, allowed, trustedProxies = [], where = 'http' } = options
    const {
      connectionsMax = HTTP_CONNECTIONS_MAX,
      connectionsPerAddressMax = HTTP_CONNECTIONS_PER_ADDRESS_MAX,
    } = options
    if (usersFile !== undefined && !log) throw new TypeError('a users file needs a log')
    const identity = tls ? readServerFiles(tls, `${where}.tls`) : undefined
    const headers = {
      ...HEADERS,
      ...(tls ? { 'strict-transport-security': `max-age=${HSTS_SECONDS}` } : {}),
    }
    const refused = counterOfRefused(options.metrics)
    using opened = new DisposableStack()
    const admission = opened.use(
      new Admission({
        connectionsMax,
        connectionsPerAddressMax,
        where,
        log,
        refused: () => refused.inc({ code: 'TOO_MANY' }),
      }),
    )
    const app: FastifyInstance = Fastify({
      bodyLimit: BODY_BYTES_MAX,
      trustProxy: trustedProxies.length > 0 && [...trustedProxies],
      forceCloseConnections: true,
      // As long as headers may be: what a part of an address may be, its route says, and not with an answer of another kind.
      routerOptions: { maxParamLength: maxHeaderSize },
      // An address that is none gets past the hooks.
      frameworkErrors: (_error, _request, reply) => notFound((reply as FastifyReply).headers(headers)),
      clientErrorHandler: (error, socket) => {
        const late = LATE.has(error.code)
        if (late) refused.inc({ code: 'TIMEOUT' })
        if (socket.writable)
          socket.write(rawAnswer(late ? '408 Request Timeout' : '400 Bad Request', headers))
        socket.destroy()
      },
      serverFactory: (handler) => {
        const server = listener(handler as RequestListener, identity?.context)
        admission.guard(server)
        // Between two requests a connection may make way.
        server.on('request', ({ socket }, response) => {
          const tcp = tcpOf(socket)
          admission.letIn(tcp)
          response.once('close', () => admission.wait(tcp))
        })
        return server
      },
    })
    app.addHook('onRequest', async (_request, reply) => void reply.headers(headers))
    app.setNotFoundHandler((_request, reply) => notFound(reply))
    let unforeseen: unknown
    const complain = throttled((count) =>
      log?.error({ count, error: String(unforeseen) }, 'could not answer a request over HTTP'),
    )
    app.setErrorHandler((error: { statusCode?: number; code?: string; message: string }, _request, reply) => {
      const status = error.statusCode ?? 500
      reply.headers(headers) // a method that there is not gets past the hooks too
      if (status < 500) return reply.code(status).send({ code: error.code, message: error.message })
      unforeseen = error
      complain()
      return reply.code(status).send({ code: 'UNEXPECTED', message: 'Unexpected error. See the log.' })
    })
    const users =
      usersFile !== undefined && log ? opened.use(await HttpUsers.open(usersFile, log)) : undefined
    // Who cannot be told (its database is away, say) is a stranger: the program's health is asked for then most of all.
    const mayWatch = (request: FastifyRequest) => Promise.resolve(ownLogin?.(request)).catch(() => false)
    const isStranger = (request: FastifyRequest) =>
      users !== undefined && request.headers.authorization === undefined
    await users?.guard(
      app,
      (request) =>
        (isStranger(request) && request.routeOptions.url === '/healthz') || (allowed?.(request) ?? false),
    )
    app.get('/healthz', async (request, reply) => {
      const { ok, checks } = options.health()
      // A load balancer needs the one; the other tells of cameras and brokers.
      const isWhole = ownLogin ? await mayWatch(request) : !isStranger(request)
      return reply.code(ok ? 200 : 503).send(isWhole ? { ok, checks } : { ok })
    })
    app.get('/metrics', async (request, reply) => {
      if (ownLogin && !(await mayWatch(request)))
        return reply.code(401).header('www-authenticate', 'Bearer realm="Sightline"').send({
          code: 'NOT_SIGNED_IN',
          message: 'Metrics need a token with the right "flow": "Authorization: Bearer TOKEN".',
        })
      return reply.type(options.metrics.contentType).send(await options.metrics.metrics())
    })
    const { routes } = options
    // Apart, so that what such a program asks of its own routes is not asked of the two above.
    if (routes && ownLogin) await app.register(async (own) => void (await routes(own)))
    else await routes?.(app)
    try {
      await app.listen({ host: options.host, port: options.port })
    } catch (error) {
      await app.close()
      throw listenFailure(error, options.host, options.port, where)
    }
    if (tls && identity && log)
      keepRenewed(app.server as unknown as TlsServer, tls, {
        ...identity,
        where: `${where}.tls`,
        log,
        context: undefined,
      })
    const address = app.server.address()
    const port = typeof address === 'object' && address ? address.port : options.port
    const host = options.host.includes(':') ? `[${options.host}]` : options.host
    return new HttpServer(app, opened.move(), `${tls ? 'https' : 'http'}://${host}:${port}`)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#opened[Symbol.dispose]()
    await this.#app.close()
  }
}

/** HTTP, or HTTPS where there is a certificate; every wait for a client has an end. */
function listener(handler: RequestListener, context: SecureContextOptions | undefined): Server {
  const options = {
    headersTimeout: HEADERS_MS_MAX,
    requestTimeout: REQUEST_MS_MAX,
    keepAliveTimeout: KEEP_ALIVE_MS_MAX,
    connectionsCheckingInterval: CHECK_INTERVAL_MS,
  }
  const server = context
    ? createTlsServer({ ...options, ...context, handshakeTimeout: TLS_HANDSHAKE_MS_MAX }, handler)
    : createServer(options, handler)
  return server.setTimeout(SILENCE_MS_MAX)
}

/** One for all HTTP servers of a program. */
function counterOfRefused(registry: Registry): Counter<'code'> {
  const made = registry.getSingleMetric('sightline_http_refused_total')
  return (
    (made as Counter<'code'> | undefined) ??
    counter(registry, 'http_refused_total', 'Connections and requests refused', ['code'])
  )
}

const LATE = new Set(['ERR_HTTP_REQUEST_TIMEOUT', 'ERR_TLS_HANDSHAKE_TIMEOUT'])

/** What every address gets that leads nowhere; it repeats nothing of the request. */
export function notFound(reply: FastifyReply): FastifyReply {
  return reply.code(404).type('text/plain; charset=utf-8').send('Not found.\n')
}

/** To what is not even HTTP. */
function rawAnswer(status: string, headers: Readonly<Record<string, string>>): string {
  const lines = Object.entries({ ...headers, 'content-length': '0', connection: 'close' })
  return `HTTP/1.1 ${status}\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`
}

/** What a failed `listen` means, said so that a user knows which key to change. */
export function listenFailure(error: unknown, host: string, port: number, key: string): Error {
  const where = `${host}:${port}`
  switch (systemCode(error)) {
    case 'EADDRINUSE':
      return failure(
        'PORT_TAKEN',
        `${where} is in use by another program. Stop that program, or choose another port under "${key}".`,
        error,
      )
    case 'EACCES':
      return failure(
        'PORT_DENIED',
        `Permission denied to open ${where}. Choose a port above 1023 under "${key}".`,
        error,
      )
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
      return failure(
        'PORT_DENIED',
        `${host} is not an address of this machine. Choose another host under "${key}".`,
        error,
      )
    default:
      return error instanceof Error ? error : new Error(String(error))
  }
}

/**
 * Pages and metrics are for this machine alone, as long as nobody is asked who they are, on a line that nobody else
 * reads. Errors: CONFIG_UNSAFE_LISTENER.
 */
export function refuseOpenHttp({ host, usersFile, ownLogin, tls, plaintext }: HttpListener): void {
  if (plaintext === true) return
  const asks = usersFile !== undefined || ownLogin !== undefined
  if (isLoopback(host) || (asks && tls !== undefined)) return
  const why = !asks
    ? 'would serve other machines without a login'
    : 'would send passwords and faces over the network unencrypted: "http.tls" is missing'
  throw failure(
    'CONFIG_UNSAFE_LISTENER',
    `"http.host" ${host} ${why}. Use 127.0.0.1 and a reverse proxy that authenticates, or give both "http.usersFile" and "http.tls".`,
  )
}

/** True for addresses that only this machine can reach. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host)
}

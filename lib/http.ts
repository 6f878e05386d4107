import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import type { Registry } from 'prom-client'
import { failure, systemCode } from './errors.ts'

export interface Health {
  readonly ok: boolean
  /** One entry a thing that can be up or down, in words a person can act on. */
  readonly checks: Readonly<Record<string, string>>
}

export interface HttpOptions {
  readonly host: string
  /** 0 takes any free port. */
  readonly port: number
  readonly metrics: Registry
  readonly health: () => Health
  /** What needs no login where there are users: a public page, an address that carries a good signature. */
  readonly allowed?: (request: FastifyRequest) => boolean
  /** More routes, for programs that serve more than their own state. */
  readonly routes?: (app: FastifyInstance) => void | Promise<void>
}

const BODY_BYTES_MAX = 64 * 1024
const CONNECTIONS_MAX = 512

/** `/healthz` and `/metrics`, which every program serves. Errors: PORT_TAKEN, PORT_DENIED, CONFIG_UNSAFE_LISTENER. */
export class HttpServer implements AsyncDisposable {
  readonly #app: FastifyInstance
  readonly url: string

  private constructor(app: FastifyInstance, url: string) {
    this.#app = app
    this.url = url
  }

  static async open(options: HttpOptions): Promise<HttpServer> {
    refuseOpenHttp(options.host)
    const app = Fastify({
      bodyLimit: BODY_BYTES_MAX,
      connectionTimeout: 30_000,
      requestTimeout: 30_000,
      forceCloseConnections: true,
    })
    app.server.maxConnections = CONNECTIONS_MAX
    app.get('/healthz', (_request, reply) => {
      const health = options.health()
      return reply.code(health.ok ? 200 : 503).send({ ok: health.ok, checks: health.checks })
    })
    app.get('/metrics', async (_request, reply) => {
      return reply.type(options.metrics.contentType).send(await options.metrics.metrics())
    })
    await options.routes?.(app)
    try {
      await app.listen({ host: options.host, port: options.port })
    } catch (error) {
      await app.close()
      throw listenFailure(error, options.host, options.port, 'http')
    }
    const address = app.server.address()
    const port = typeof address === 'object' && address ? address.port : options.port
    const host = options.host.includes(':') ? `[${options.host}]` : options.host
    return new HttpServer(app, `http://${host}:${port}`)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#app.close()
  }
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
        `${where} may not be opened by this user. Choose a port above 1023 under "${key}".`,
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

/** Pages and metrics are for this machine alone as long as nobody is asked who they are. Errors: CONFIG_UNSAFE_LISTENER. */
export function refuseOpenHttp(host: string): void {
  if (isLoopback(host)) return
  throw failure(
    'CONFIG_UNSAFE_LISTENER',
    `"http.host" ${host} would show what this program serves to other machines without asking who they are. Use 127.0.0.1, and a reverse proxy that authenticates.`,
  )
}

/** True for addresses that only this machine can reach. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host)
}

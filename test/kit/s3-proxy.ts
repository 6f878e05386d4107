import {
  Agent,
  createServer,
  type IncomingMessage,
  request,
  type Server,
  type ServerResponse,
} from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'

/**
 * Stands before a real S3 server (plain HTTP; the Host header goes on unchanged, so that signatures hold) and makes it
 * fail to order, request by request.
 */
export type S3Fault =
  /** In the store's own words: the request does not reach it. */
  | { readonly status: number; readonly code: string; readonly region?: string }
  /** By somebody who is no store. */
  | { readonly status: number; readonly page: string }
  /** The request goes through, and its answer after so long. */
  | { readonly slowMs: number }
  /** The request goes through, and its answer never comes; or the connection is cut instead; or in its middle. */
  | 'silent'
  | 'cut'
  | 'truncated'
  /** To itself. */
  | 'redirect'

export interface S3Request {
  readonly method: string
  readonly path: string
  /** What stands behind the question mark. */
  readonly query: string
  /** The n-th since the proxy was opened. */
  readonly n: number
}

export class S3Proxy implements AsyncDisposable {
  /** Why a request fails, or undefined where it does not. */
  fault: (request: S3Request) => S3Fault | undefined = () => undefined
  /** Called with the key of each object that the store has said it has (200, or 412: had already). */
  onStored: (path: string) => void = () => {}
  requests = 0
  readonly #target: URL
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 64 })
  #server: Server | undefined
  #port = 0

  private constructor(target: URL) {
    this.#target = target
  }

  static async open(target: string): Promise<S3Proxy> {
    const proxy = new S3Proxy(new URL(target))
    await proxy.accept()
    return proxy
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`
  }

  /** Takes connections (again). */
  async accept(): Promise<void> {
    const server = createServer((request, response) => {
      this.#serve(request, response).catch(() => response.destroy())
    })
    this.#server = server
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(this.#port, '127.0.0.1', resolve)
    })
    const address = server.address()
    if (typeof address === 'object' && address) this.#port = address.port
  }

  /** Connections are refused, and those that are open cut. */
  refuse(): void {
    this.#server?.close()
    this.#server?.closeAllConnections()
  }

  async #serve(from: IncomingMessage, to: ServerResponse): Promise<void> {
    this.requests += 1
    const [path = '/', query = ''] = (from.url ?? '/').split(/\?(.*)/s)
    const fault = this.fault({ method: from.method ?? '', path, query, n: this.requests })
    const body = await from.toArray()
    if (fault === 'redirect') {
      to.writeHead(307, { location: `${this.url}${from.url}` }).end()
      return
    }
    if (typeof fault === 'object' && 'status' in fault) {
      const error =
        'page' in fault
          ? fault.page
          : `<Error><Code>${fault.code}</Code><Message>m</Message>${fault.region ? `<Region>${fault.region}</Region>` : ''}</Error>`
      to.writeHead(fault.status, { 'content-type': 'page' in fault ? 'text/html' : 'application/xml' })
      to.end(error)
      return
    }
    const answer = await this.#forward(from, Buffer.concat(body))
    if (typeof fault === 'object') await sleep(fault.slowMs)
    const isStored = from.method === 'PUT' && (answer.status === 200 || answer.status === 412)
    if (isStored && fault === undefined) this.onStored(path)
    if (fault === 'silent') return
    if (fault === 'cut') {
      from.socket.destroy()
      return
    }
    if (fault === 'truncated') {
      to.writeHead(answer.status, { ...answer.headers, 'content-length': answer.body.length + 1000 })
      to.write(answer.body)
      await sleep(10)
      from.socket.destroy()
      return
    }
    to.writeHead(answer.status, answer.headers).end(answer.body)
  }

  #forward(
    { method, url, headers }: IncomingMessage,
    body: Buffer,
  ): Promise<{ status: number; headers: IncomingMessage['headers']; body: Buffer }> {
    return new Promise((resolve, reject) => {
      const { hostname: host, port } = this.#target
      request({ host, port, method, path: url, headers, agent: this.#agent }, (answer) => {
        answer.toArray().then(
          (chunks) =>
            resolve({
              status: answer.statusCode ?? 500,
              headers: answer.headers,
              body: Buffer.concat(chunks),
            }),
          reject,
        )
      })
        .on('error', reject)
        .end(body)
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.refuse()
    this.#agent.destroy()
  }
}

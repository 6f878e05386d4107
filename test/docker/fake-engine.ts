import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { join } from 'node:path'
import { type Test, temporaryFolder } from '../kit/programs.ts'

/** An engine that answers what a test says: for faults that a real one cannot be made to show. */

type Answer =
  | { readonly status?: number; readonly body: unknown }
  | ((request: IncomingMessage, response: ServerResponse) => void)

const WELL: Readonly<Record<string, unknown>> = {
  'GET /_ping': 'OK',
  'GET /version': { Version: '27.3.1', ApiVersion: '1.47', Os: 'linux', Arch: 'amd64' },
  'GET /info': {
    Name: 'jetson',
    OSType: 'linux',
    Architecture: 'x86_64',
    OperatingSystem: 'Ubuntu 22.04',
    DockerRootDir: '/',
    Runtimes: { runc: {} },
    MemoryLimit: true,
  },
  'GET /containers/json': [],
  'GET /networks': [],
  'GET /volumes': { Volumes: [] },
}

export class FakeEngine {
  readonly socket: string
  /** `METHOD /path`, in the order of their coming. */
  readonly asked: string[] = []

  private constructor(socket: string) {
    this.socket = socket
  }

  /** @param answers by `METHOD /path`, in place of those of an engine that is well and empty */
  static async open(t: Test, answers: Readonly<Record<string, Answer>> = {}): Promise<FakeEngine> {
    const engine = new FakeEngine(join(temporaryFolder(t), 'docker.sock'))
    const server = createServer((request, response) => {
      const path = (request.url ?? '').replace(/\?.*/, '')
      const key = `${request.method} ${path}`
      engine.asked.push(key)
      const special = answers[key]
      const answer =
        special ?? (key in WELL ? { body: WELL[key] } : { status: 404, body: { message: 'not there' } })
      if (typeof answer === 'function') {
        answer(request, response)
        return
      }
      request.resume()
      response.writeHead(answer.status ?? 200, { 'content-type': 'application/json' })
      response.end(typeof answer.body === 'string' ? answer.body : JSON.stringify(answer.body))
    })
    await new Promise<void>((resolve) => server.listen(engine.socket, resolve))
    t.after(() => {
      server.closeAllConnections()
      server.close()
    })
    return engine
  }

  get host(): string {
    return `unix://${this.socket}`
  }

  /** What would have made or changed something. */
  get changes(): string[] {
    return this.asked.filter((it) => !it.startsWith('GET ') && !it.startsWith('HEAD '))
  }
}

/** The answer of /info, with these differences. */
export const info = (differences: Record<string, unknown>) => ({
  body: { ...(WELL['GET /info'] as object), ...differences },
})

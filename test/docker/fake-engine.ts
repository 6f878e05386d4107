import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { basename, join } from 'node:path'
import { text } from 'node:stream/consumers'
import { pack } from 'tar-stream'
import { untar } from '../../deploy/untar.ts'
import { type Test, temporaryFolder } from '../kit/programs.ts'

/** An engine that answers what a test says: for faults that a real one cannot be made to show. */

type Answer =
  | { readonly status?: number; readonly body: unknown }
  | ((request: IncomingMessage, response: ServerResponse) => void | Promise<void>)

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
        void answer(request, response)
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

/**
 * Answers of an engine whose volumes are folders below this one, and where one deployment runs: `deploy` reads and
 * writes what it remembers, and a program of the test's can follow what it writes.
 */
export function withVolumes(folder: string, running: object): Readonly<Record<string, Answer>> {
  let used = ''
  const end = (response: ServerResponse, status: number, body: object = {}) => {
    response.writeHead(status, { 'content-type': 'application/json' })
    response.end(JSON.stringify(body))
  }
  const answers: Record<string, Answer> = {
    'GET /containers/json': { body: [running] },
    'POST /volumes/create': async (request, response) => {
      const { Name: name } = JSON.parse(await text(request)) as { Name: string }
      mkdirSync(join(folder, name))
      answers[`GET /volumes/${name}`] = { body: { Name: name } }
      end(response, 201, { Name: name })
    },
    'POST /containers/create': async (request, response) => {
      const { HostConfig: host } = JSON.parse(await text(request)) as {
        HostConfig: { Mounts: { Source: string }[] }
      }
      used = host.Mounts[0]?.Source ?? ''
      end(response, 201, { Id: 'helper' })
    },
    'DELETE /containers/helper': { status: 204, body: '' },
    'PUT /containers/helper/archive': async (request, response) => {
      for (const [name, content] of await untar(request, () => true))
        writeFileSync(join(folder, used, basename(name)), content)
      end(response, 200)
    },
    'GET /containers/helper/archive': (_request, response) => {
      const tar = pack()
      for (const name of readdirSync(join(folder, used)))
        tar.entry({ name: `volume/${name}` }, readFileSync(join(folder, used, name)))
      tar.finalize()
      tar.pipe(response)
    },
  }
  return answers
}

/** The answer of /info, with these differences. */
export const info = (differences: Record<string, unknown>) => ({
  body: { ...(WELL['GET /info'] as object), ...differences },
})

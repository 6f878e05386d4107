import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** An HTTP server of files, with ranges, that can be told to misbehave. */
export interface FileServer extends AsyncDisposable {
  readonly url: string
  /** What was asked for: path and range. */
  readonly asked: string[]
  /** How each request is answered instead of properly; undefined: properly. */
  misbehave: ((request: IncomingMessage, response: ServerResponse) => boolean) | undefined
}

export async function serveFiles(files: Readonly<Record<string, Buffer>>): Promise<FileServer> {
  const asked: string[] = []
  const server = createServer((request, response) => {
    const { range } = request.headers
    asked.push(`${request.url}${range === undefined ? '' : ` ${range}`}`)
    if (served.misbehave?.(request, response)) return
    const file = files[request.url ?? '']
    if (file === undefined) return response.writeHead(404).end()
    const from = Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1] ?? 0)
    if (from >= file.length) return response.writeHead(416).end()
    const part = file.subarray(from)
    response.writeHead(range === undefined ? 200 : 206, {
      'content-length': part.length,
      ...(range !== undefined && { 'content-range': `bytes ${from}-${file.length - 1}/${file.length}` }),
    })
    response.end(part)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const served: FileServer = {
    url: `http://127.0.0.1:${port}`,
    asked,
    misbehave: undefined,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
  return served
}

import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { basename, dirname, join } from 'node:path'

/**
 * Serves a written HLS playlist and its segments, as a recording or, live, as one whose window moves on with the time.
 * With a user it wants Basic authentication, for each request.
 */
export interface HlsOptions {
  /** The .m3u8 of a recording. */
  readonly playlist: string
  readonly live?: boolean
  readonly user?: { readonly name: string; readonly password: string }
}

const WINDOW = 3

export class HlsServer implements AsyncDisposable {
  readonly url: string
  readonly #server: Server

  private constructor(url: string, server: Server) {
    this.url = url
    this.#server = server
  }

  static async open({ playlist, live = false, user }: HlsOptions): Promise<HlsServer> {
    const folder = dirname(playlist)
    const recording = readFileSync(playlist, 'utf8')
    const startMs = performance.now()
    const wanted = user && `Basic ${Buffer.from(`${user.name}:${user.password}`).toString('base64')}`
    const server = createServer((request, response) => {
      const path = (request.url ?? '').replace(/\?.*/, '')
      if (wanted !== undefined && request.headers.authorization !== wanted)
        return response.writeHead(401, { 'www-authenticate': 'Basic realm="camera"' }).end()
      if (path === '/live.m3u8')
        return response.end(live ? windowOf(recording, (performance.now() - startMs) / 1000) : recording)
      if (!/^\/[\w.-]+\.ts$/.test(path)) return response.writeHead(404).end()
      return response.end(readFileSync(join(folder, basename(path))))
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    return new HlsServer(`http://127.0.0.1:${(server.address() as AddressInfo).port}/live.m3u8`, server)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#server, 'close')
    this.#server.close()
    this.#server.closeAllConnections()
    await closed
  }
}

/** The segments that a live playlist has after so many seconds. */
function windowOf(recording: string, seconds: number): string {
  const segments = [...recording.matchAll(/#EXTINF:([\d.]+),\n(.+)/g)].map(([, length = '1', name = '']) => ({
    seconds: Number(length),
    name,
  }))
  const longest = Math.ceil(Math.max(...segments.map((it) => it.seconds)))
  let first = 0
  for (let at = 0; first < segments.length - WINDOW; first += 1) {
    at += segments[first]?.seconds ?? 0
    if (at > seconds) break
  }
  return [
    '#EXTM3U',
    '#EXT-X-VERSION:3',
    `#EXT-X-TARGETDURATION:${longest}`,
    `#EXT-X-MEDIA-SEQUENCE:${first}`,
    ...segments.slice(first, first + WINDOW).flatMap((it) => [`#EXTINF:${it.seconds.toFixed(6)},`, it.name]),
    '',
  ].join('\n')
}

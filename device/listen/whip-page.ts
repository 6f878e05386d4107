import { readFile } from 'node:fs/promises'
import type { FastifyInstance } from 'fastify'

const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; media-src blob: mediastream:; " +
  "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

const OWN = new URL('./page/', import.meta.url)
const SHARED = new URL('../../lib/browser/', import.meta.url)

const PAGE = [
  ['/', new URL('index.html', OWN), 'text/html; charset=utf-8'],
  ['/publish/publish.css', new URL('publish.css', OWN), 'text/css; charset=utf-8'],
  ['/publish/publish.js', new URL('publish.js', OWN), 'text/javascript; charset=utf-8'],
  ['/publish/publisher.js', new URL('publisher.js', SHARED), 'text/javascript; charset=utf-8'],
] as const

/** The page *Publish from this browser*, for whoever has a key and no console. It holds nothing that a stranger may not see. */
export async function servePublishPage(app: FastifyInstance): Promise<void> {
  for (const [path, file, type] of PAGE) {
    const body = await readFile(file)
    app.get(path, (_request, reply) =>
      reply.headers({ 'content-security-policy': POLICY, 'cache-control': 'no-cache' }).type(type).send(body),
    )
  }
}

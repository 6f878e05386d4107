import { createHash } from 'node:crypto'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { asFailure } from '../../lib/errors.ts'
import { notFound } from '../../lib/http.ts'
import { type Bucket, CACHE_IMMUTABLE } from '../buckets/bucket.ts'
import { isKey } from '../buckets/key.ts'
import { INDEX_PREFIX } from './index-files.ts'
import { readPage } from './page.ts'

/**
 * The gallery over HTTP, for a bucket that serves itself to nobody: a folder, or a private S3 bucket (the
 * subscriber then reads for the visitor; who may reach this listener sees the faces). The same page at the same
 * relative addresses as in a public bucket. `@fastify/static` would serve a folder only, and everything in it.
 *
 * Served are the page's files, `*.jpg` and the index, and nothing else that may lie in the bucket. A key has no
 * dot in front of any part (buckets/key.ts), so no address leads out of the bucket.
 */
const PAGE_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

/** Give it to HttpServer as `routes`. */
export function galleryRoutes(bucket: Bucket): (app: FastifyInstance) => Promise<void> {
  return async (app) => {
    const page = await readPage()
    const toGallery = (_request: FastifyRequest, reply: FastifyReply) => reply.redirect('/gallery/', 302)
    app.get('/', toGallery)
    app.get('/gallery', toGallery)
    for (const { key, body, contentType, cacheControl } of page) {
      const serve = (request: FastifyRequest, reply: FastifyReply) =>
        send(request, reply.header('content-security-policy', PAGE_POLICY), body, contentType, cacheControl)
      app.get(`/${key}`, serve)
      if (key === 'gallery/index.html') app.get('/gallery/', serve)
    }
    app.get<{ Params: { '*': string } }>('/*', async (request, reply) => {
      const key = request.params['*']
      const kind = kindOf(key)
      if (!kind) return notFound(reply)
      let body: Uint8Array | undefined
      try {
        body = await bucket.read(key)
      } catch (error) {
        const { code, message } = asFailure(error)
        return reply.code(503).header('retry-after', '5').send({ code, message })
      }
      return body ? send(request, reply, body, kind.contentType, kind.cacheControl) : notFound(reply)
    })
  }
}

function kindOf(key: string): { contentType: string; cacheControl: string } | undefined {
  if (!isKey(key)) return undefined
  if (key.endsWith('.jpg')) return { contentType: 'image/jpeg', cacheControl: CACHE_IMMUTABLE }
  if (key.startsWith(`${INDEX_PREFIX}/`) && key.endsWith('.json'))
    return { contentType: 'application/json', cacheControl: 'no-cache' }
  return undefined
}

function send(
  request: FastifyRequest,
  reply: FastifyReply,
  body: Uint8Array,
  contentType: string,
  cacheControl: string,
): FastifyReply {
  const etag = `"${createHash('sha1').update(body).digest('base64url')}"`
  reply.headers({ etag, 'cache-control': cacheControl })
  // RFC 9110, 13.1.2: a list of entity tags, weak ones compared as if strong, or `*`.
  const known = request.headers['if-none-match']?.split(',').map((tag) => tag.trim().replace(/^W\//, ''))
  if (known?.some((tag) => tag === etag || tag === '*')) return reply.code(304).send()
  return reply.type(contentType).send(body)
}

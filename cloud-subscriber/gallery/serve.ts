import { createHash } from 'node:crypto'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import {
  type Bucket,
  CACHE_CROP_S,
  CACHE_REVALIDATE,
  cacheKept,
  isPrivate,
} from '../../lib/buckets/bucket.ts'
import { isKey } from '../../lib/buckets/key.ts'
import { asFailure } from '../../lib/errors.ts'
import { notFound } from '../../lib/http/server.ts'
import { kindOfKey } from '../../wire/kinds.ts'
import type { LinkQuery, SignedLinks } from '../links.ts'
import { INDEX_PREFIX } from './index-files.ts'
import { readPage } from './page.ts'

/**
 * The gallery over HTTP, for a bucket that serves itself to nobody: a folder, or a private S3 bucket (the
 * subscriber then reads for the visitor; who may reach this listener sees the faces). The same page at the same
 * relative addresses as in a public bucket. `@fastify/static` would serve a folder only, and everything in it.
 *
 * Served are the page's files, crops and the index, and nothing else that may lie in the bucket. A recording is served to
 * whoever has a signed link to it, and is not there for anyone else, whoever has signed in. A key has no dot in front of any
 * part (buckets/key.ts), so no address leads out of the bucket.
 */
const PAGE_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
/** What `galleryRoutes` answers without the bucket: the page, its files, and the ways to it. */
const PAGE_PATH = /^\/(gallery(\/([a-z]+\.(html|css|js|svg))?)?)?$/

export interface GalleryOptions {
  /** Everyone may see crops and gallery. */
  readonly publicRead: boolean
  /** Opens single crops and recordings; none where the store has links of its own. */
  readonly links: SignedLinks | undefined
}

/**
 * Give it to HttpServer as `allowed`: crops and gallery of a public bucket, and a crop or a recording by a link (also one
 * that has expired: the route says so).
 */
export function allowedWithoutLogin({
  publicRead,
  links,
}: GalleryOptions): (request: FastifyRequest) => boolean {
  return ({ url, query }) => {
    const path = url.replace(/\?.*/s, '')
    const key = path.slice(1)
    if (publicRead && (PAGE_PATH.test(path) || (kindOf(key) && !isPrivate(key)))) return true
    if (!links || !isKept(key)) return false
    const { is } = links.check(key, query as LinkQuery, Date.now())
    return is === 'valid' || is === 'expired'
  }
}

/** Give it to HttpServer as `routes`. */
export function galleryRoutes(
  bucket: Bucket,
  { publicRead, links }: GalleryOptions,
): (app: FastifyInstance) => Promise<void> {
  return async (app) => {
    const page = await readPage()
    // Relative, as every address of the page: a proxy may show all of this below a path of its own.
    const toGallery = (_request: FastifyRequest, reply: FastifyReply) => reply.redirect('gallery/', 302)
    app.get('/', toGallery)
    app.get('/gallery', toGallery)
    for (const { key, body, contentType, cacheControl } of page) {
      const serve = (request: FastifyRequest, reply: FastifyReply) =>
        send(request, reply.header('content-security-policy', PAGE_POLICY), body, contentType, cacheControl)
      app.get(`/${key}`, serve)
      if (key === 'gallery/index.html') app.get('/gallery/', serve)
    }
    app.get<{ Params: { '*': string }; Querystring: LinkQuery }>('/*', async (request, reply) => {
      const key = request.params['*']
      const kind = kindOf(key)
      if (!kind) return notFound(reply)
      let { cacheControl } = kind
      if (isKept(key)) {
        const link = links?.check(key, request.query, Date.now()) ?? { is: 'none' }
        if (link.is === 'none' && isPrivate(key)) return notFound(reply)
        if (link.is === 'expired') return refused(reply, 'This link has expired.')
        if (link.is === 'wrong') return refused(reply, 'This link is not valid.')
        cacheControl =
          link.is === 'valid'
            ? `private, max-age=${Math.min(link.leftS, CACHE_CROP_S)}`
            : cacheKept(key, publicRead)
      }
      let body: Uint8Array | undefined
      try {
        body = await bucket.read(key)
      } catch (error) {
        const { code, message } = asFailure(error)
        return reply.code(503).header('retry-after', '5').send({ code, message })
      }
      if (!body) return notFound(reply)
      if (isPrivate(key)) return sendPart(request, reply, body, kind.contentType, cacheControl)
      return send(request, reply, body, kind.contentType, cacheControl)
    })
  }
}

function kindOf(key: string): { contentType: string; cacheControl: string } | undefined {
  if (!isKey(key)) return undefined
  const kept = kindOfKey(key)
  if (kept) return { contentType: kept.mediaType, cacheControl: cacheKept(key, false) }
  if (key.startsWith(`${INDEX_PREFIX}/`) && key.endsWith('.json'))
    return { contentType: 'application/json', cacheControl: CACHE_REVALIDATE }
  return undefined
}

function isKept(key: string): boolean {
  return isKey(key) && kindOfKey(key) !== undefined
}

function refused(reply: FastifyReply, sentence: string): FastifyReply {
  return reply
    .code(403)
    .header('cache-control', 'no-store')
    .type('text/html; charset=utf-8')
    .send(
      `<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>Sightline</title>\n<p>${sentence}</p>\n</html>\n`,
    )
}

/** A video, whole or the one part that a player asks for (RFC 9110, 14.2); Safari plays none that it cannot ask so. */
function sendPart(
  request: FastifyRequest,
  reply: FastifyReply,
  body: Uint8Array,
  contentType: string,
  cacheControl: string,
): FastifyReply {
  reply.header('accept-ranges', 'bytes')
  const [, first = '', last = ''] = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(request.headers.range ?? '') ?? []
  if (first === '' && last === '') return send(request, reply, body, contentType, cacheControl)
  const bytes = body.byteLength
  const from = first === '' ? Math.max(0, bytes - Number(last)) : Number(first)
  const to = first === '' || last === '' ? bytes - 1 : Math.min(Number(last), bytes - 1)
  if (from >= bytes || from > to) return reply.code(416).header('content-range', `bytes */${bytes}`).send()
  return reply
    .code(206)
    .headers({ 'cache-control': cacheControl, 'content-range': `bytes ${from}-${to}/${bytes}` })
    .type(contentType)
    .send(body.subarray(from, to + 1))
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

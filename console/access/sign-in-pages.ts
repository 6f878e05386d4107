import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import rateLimit from '@fastify/rate-limit'
import type { FastifyInstance, FastifyReply } from 'fastify'
import { z } from 'zod'
import { asFailure, failure, type SightlineError } from '../../lib/errors.ts'
import type { Access } from './access.ts'
import { html, sendPage } from './html.ts'
import { CALLBACK_PATH, type OpenId, type Pending, pendingSchema } from './open-id.ts'
import type { SignedInBy } from './sessions.ts'

/** `/signin`: a form that needs no script, the link of a run, and the way to an OpenID provider and back. */

const FORM_BYTES_MAX = 16 * 1024
const NEXT_CHARACTERS_MAX = 2000
/** From one address, which may be that of a proxy before all: each can make the provider be asked, or a password compared. */
const REQUESTS_PER_MINUTE_MAX = 300
/** From leaving for the provider to coming back. */
const PENDING_S_MAX = 600

type Query = Readonly<Record<string, unknown>>

export async function signInPages(app: FastifyInstance, access: Access): Promise<void> {
  await app.register(async (pages) => {
    await pages.register(rateLimit, {
      max: REQUESTS_PER_MINUTE_MAX,
      timeWindow: 60_000,
      errorResponseBuilder: () => failure('TOO_MANY', 'Too many requests. Try again in a minute.'),
    })
    await access.guard(pages)
    pages.removeAllContentTypeParsers()
    pages.addContentTypeParser(
      'application/x-www-form-urlencoded',
      { parseAs: 'string', bodyLimit: FORM_BYTES_MAX },
      (_request, body, done) => done(null, new URLSearchParams(String(body))),
    )
    const open = { config: { isOpen: true } }
    const ask = (reply: FastifyReply, next: string, said?: SightlineError) =>
      askWho(reply, access, next, said)
    pages.setErrorHandler((error, request, reply) => {
      const next = request.body instanceof URLSearchParams ? request.body.get('next') : undefined
      return ask(reply, localPath(next), asFailure(error))
    })

    pages.get<{ Querystring: Query }>('/signin', open, async (request, reply) => {
      const { token } = request.query
      const next = localPath(request.query.next)
      if (typeof token !== 'string') return ask(reply, next)
      const known = await access.signInByRunToken(token, request.ip)
      await access.startSession(request, reply, known)
      return reply.redirect(next, 303)
    })

    pages.post<{ Body: URLSearchParams }>('/signin', open, async (request, reply) => {
      const form = request.body
      const known = await access.signIn(form.get('name') ?? '', form.get('password') ?? '', request.ip)
      await access.startSession(request, reply, known)
      return reply.redirect(localPath(form.get('next')), 303)
    })

    const { openId } = access
    if (openId) openIdPages(pages, access, openId)
  })
}

function openIdPages(pages: FastifyInstance, access: Access, openId: OpenId): void {
  const open = { config: { isOpen: true } }
  const cookie = access.cookieNamed('sightline-openid')
  // Who makes a cookie of his own must not make the console ask the provider.
  const key = randomBytes(32)

  pages.get<{ Querystring: Query }>('/signin/openid', open, async (request, reply) => {
    const { address, pending } = await openId.begin(localPath(request.query.next))
    // In the browser that leaves: who is sent to the way back by somebody else has not left (login CSRF).
    reply.setCookie(cookie, sealed(key, pending), {
      ...access.cookieOptions,
      maxAge: PENDING_S_MAX,
    })
    return reply.header('cache-control', 'no-store').redirect(address, 303)
  })

  pages.get(CALLBACK_PATH, open, async (request, reply) => {
    const pending = readPending(key, request.cookies[cookie])
    reply.clearCookie(cookie, access.cookieOptions)
    if (!pending) {
      return askWho(reply, access, '/', {
        code: 'OPENID_REFUSED',
        message: 'This sign-in was started in another browser, or more than 10 minutes ago. Start again.',
      })
    }
    const known = await access.signInByOpenId(openId, request.url.replace(/^[^?]*/, ''), pending, request.ip)
    await access.startSession(request, reply, known)
    return reply.redirect(localPath(pending.next), 303)
  })
}

const keptSchema = pendingSchema.extend({ endMs: z.number() })

/** `<JSON>.<HMAC>`, both in base64url; with the time at which it ends. */
function sealed(key: Buffer, pending: Pending): string {
  const kept = { ...pending, endMs: Date.now() + PENDING_S_MAX * 1000 }
  const text = Buffer.from(JSON.stringify(kept)).toString('base64url')
  return `${text}.${sealOf(key, text).toString('base64url')}`
}

const sealOf = (key: Buffer, text: string) => createHmac('sha256', key).update(text).digest()

function readPending(key: Buffer, value = ''): Pending | undefined {
  const [text = '', seal = ''] = value.split('.')
  const [is, mustBe] = [Buffer.from(seal, 'base64url'), sealOf(key, text)]
  if (is.length !== mustBe.length || !timingSafeEqual(is, mustBe)) return undefined
  try {
    const { endMs, ...pending } = keptSchema.parse(JSON.parse(Buffer.from(text, 'base64url').toString()))
    return Date.now() < endMs ? pending : undefined
  } catch {
    return undefined // it is none of ours
  }
}

const STATUS_OF: Readonly<Record<string, number>> = {
  PASSWORD_WRONG: 401,
  OPENID_REFUSED: 403,
  CROSS_SITE: 403,
  TOO_MANY: 429,
  OPENID_UNREACHABLE: 502,
}

function askWho(
  reply: FastifyReply,
  access: Access,
  next: string,
  said?: Pick<SightlineError, 'code' | 'message'>,
): FastifyReply {
  const status = said === undefined ? 200 : (STATUS_OF[said.code] ?? 500)
  // Of what was not foreseen, a stranger learns nothing.
  const message = status === 500 ? 'The console cannot answer now. Try again in a moment.' : said?.message
  const ways: readonly SignedInBy[] = access.ways
  const provider = access.openId?.host
  return sendPage(
    reply.code(status),
    'Sign in - Sightline',
    html`<main class="narrow">
<h1>Sightline</h1>
${message === undefined ? '' : html`<p class="wrong" role="alert">${message}</p>`}
${
  ways.includes('password')
    ? html`<form method="post" action="/signin">
<input type="hidden" name="next" value="${next}">
<label>Name <input name="name" autocomplete="username" autocapitalize="none" spellcheck="false" required autofocus maxlength="200"></label>
<label>Password <input type="password" name="password" autocomplete="current-password" required maxlength="1024"></label>
<button>Sign in</button>
</form>`
    : ''
}
${
  provider === undefined
    ? ''
    : html`<p><a class="button second" href="/signin/openid?next=${encodeURIComponent(next)}">Sign in with ${provider}</a></p>`
}
${ways.includes('demo') ? html`<p class="quiet">Or use the sign-in link that the program printed at its start.</p>` : ''}
${ways.length === 0 ? html`<p>Nobody can sign in yet: no users are configured. The log of the console says what to do.</p>` : ''}
</main>`,
  )
}

/** Where to go on: an address of ours, whatever was asked for. */
export function localPath(next: unknown): string {
  if (typeof next !== 'string' || next.length > NEXT_CHARACTERS_MAX || !/^\/[!-~]*$/.test(next)) return '/'
  const here = 'http://here.invalid'
  const url = URL.parse(next, here)
  // Of `//elsewhere` and of `/.//elsewhere` a browser makes another host.
  return url?.origin === here && !/^\/[/\\]/.test(url.pathname) ? `${url.pathname}${url.search}` : '/'
}

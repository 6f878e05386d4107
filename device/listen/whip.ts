import { randomBytes } from 'node:crypto'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Registry } from 'prom-client'
import { HttpServer, isLoopback } from '../../lib/http/server.ts'
import { type Log, throttled } from '../../lib/log.ts'
import { counter, gauge } from '../../lib/metrics.ts'
import type { ServerFiles } from '../../lib/tls/certificates.ts'
import { WHIP_OFFER_BYTES_MAX, WHIP_SESSIONS_MAX } from '../limits.ts'
import type { Doorkeeper, Refusal } from './publication.ts'
import { readOffer } from './whip-offer.ts'
import { servePublishPage } from './whip-page.ts'
import { type WhipPorts, WhipSession } from './whip-session.ts'

export interface WhipOptions extends Omit<WhipPorts, 'loopback'> {
  readonly host: string
  /** 0 takes any free port. */
  readonly port: number
  readonly tls?: Omit<ServerFiles, 'clientCaFile'>
  /** Keys may cross the network unencrypted; the media never do. */
  readonly plaintext?: boolean
  readonly connectionsMax?: number
  readonly connectionsPerAddressMax?: number
  readonly doorkeeper: Doorkeeper
  readonly metrics: Registry
  readonly log: Log
  /** Counts whom it does not let in. */
  readonly refused: (why: string) => void
  /** For tests. */
  readonly mediaMsMax?: number
  readonly silenceMsMax?: number
  readonly sessionsMax?: number
}

const ENDPOINT = '/whip'
const SESSIONS = '/whip/sessions/'
const SDP = 'application/sdp'

/**
 * Any page may publish here: what lets it in is the key, which no browser sends by itself. Browsers ask first, also whether a
 * page of the internet may speak to an address of this network.
 */
const CORS = {
  'access-control-allow-origin': '*',
  'access-control-allow-methods': 'POST, DELETE, OPTIONS',
  'access-control-allow-headers': 'authorization, content-type, if-match',
  'access-control-expose-headers': 'location, etag, retry-after',
  'access-control-allow-private-network': 'true',
  'access-control-max-age': '7200',
}

const REFUSALS: Readonly<Record<Refusal['is'], readonly [number, string, string]>> = {
  'unknown key': [401, 'KEY_UNKNOWN', 'No stream has this key. Check the key, or make a new one.'],
  inactive: [
    403,
    'STREAM_INACTIVE',
    'The stream of this key is switched off. Activate it and publish again.',
  ],
  busy: [
    409,
    'STREAM_BUSY',
    'Somebody publishes with this key already. Stop that publisher first, or let a second one take over in the settings of the stream.',
  ],
}

/**
 * WHIP (RFC 9725): browsers, OBS and others publish over WebRTC. A key admits; then a session receives until either side ends
 * it. ICE restarts and trickled candidates are not taken (501): whoever has lost the way publishes anew.
 */
export class Whip implements AsyncDisposable {
  readonly #options: WhipOptions
  readonly #sessions = new Map<string, WhipSession>()
  readonly #meters: ReturnType<typeof meters>
  readonly #complain: () => void
  #refusal = ''
  #opening = 0
  #isOver = false
  #server: HttpServer | undefined

  private constructor(options: WhipOptions) {
    this.#options = options
    this.#meters = meters(options.metrics, () => this.#sessions.size)
    this.#complain = throttled((count) =>
      options.log.warn({ count, why: this.#refusal }, 'publishers refused over WHIP'),
    )
  }

  /** Errors: PORT_TAKEN, PORT_DENIED, CONFIG_UNSAFE_LISTENER, CONFIG_INVALID (a certificate). */
  static async open(options: WhipOptions): Promise<Whip> {
    const whip = new Whip(options)
    whip.#server = await HttpServer.open({
      ...options,
      where: 'listen.whip',
      health: () => ({ ok: true, checks: {} }),
      // Nobody signs in here, and the agent's own state is not for publishers.
      ownLogin: async () => false,
      routes: (app) => whip.#routes(app),
    })
    return whip
  }

  /** Where it listens, without the endpoint's path. */
  get url(): string {
    return this.#server?.url ?? ''
  }

  async #routes(app: FastifyInstance): Promise<void> {
    app.removeAllContentTypeParsers()
    app.addContentTypeParser(
      [SDP, 'application/trickle-ice-sdpfrag'],
      { parseAs: 'string', bodyLimit: WHIP_OFFER_BYTES_MAX },
      (_request, body, done) => done(null, body),
    )
    app.addHook('onRequest', async (_request, reply) => void reply.headers(CORS))
    app.setErrorHandler((error: { statusCode?: number; code?: string }, request, reply) => {
      const status = error.statusCode ?? 500
      if (status === 413)
        return this.#refuse(reply, 413, 'OFFER_TOO_LARGE', `An offer may have ${WHIP_OFFER_BYTES_MAX} bytes.`)
      if (status === 415)
        return this.#refuse(
          reply,
          415,
          'OFFER_EXPECTED',
          'Send an SDP offer, with the content type application/sdp.',
        )
      if (status < 500)
        return this.#refuse(reply, status, 'REQUEST_INVALID', 'This request cannot be understood.')
      this.#options.log.error(
        { error: String(error), path: request.routeOptions.url },
        'could not answer over WHIP',
      )
      return this.#refuse(reply, 500, 'UNEXPECTED', 'Unexpected error. See the log of the agent.')
    })
    app.options('*', (_request, reply) => reply.code(204).send())
    app.post<{ Body: unknown }>(ENDPOINT, { bodyLimit: WHIP_OFFER_BYTES_MAX }, (request, reply) =>
      this.#publish(request, reply),
    )
    app.delete<{ Params: { id: string } }>(`${SESSIONS}:id`, (request, reply) => {
      const session = this.#sessions.get(request.params.id)
      if (!session) return this.#refuse(reply, 404, 'SESSION_UNKNOWN', 'This session has ended already.')
      session.end('it has stopped')
      return reply.code(200).send()
    })
    app.patch(`${SESSIONS}:id`, (_request, reply) =>
      this.#refuse(
        reply,
        501,
        'NOT_SUPPORTED',
        'Sessions are not changed here: send all candidates with the offer, and publish anew when the network has changed.',
      ),
    )
    // RFC 9725, 4.1: whatever else is asked of an endpoint.
    for (const url of [ENDPOINT, `${SESSIONS}:id`])
      app.route({
        method: url === ENDPOINT ? ['GET', 'PUT', 'PATCH', 'DELETE'] : ['GET', 'PUT', 'POST'],
        url,
        handler: (_request, reply) =>
          this.#refuse(
            reply.header('allow', url === ENDPOINT ? 'POST, OPTIONS' : 'DELETE, OPTIONS'),
            405,
            'METHOD_UNKNOWN',
            'This is the address for publishers (WHIP). Open the address without a path in a browser.',
          ),
      })
    await servePublishPage(app)
  }

  async #publish(request: FastifyRequest<{ Body: unknown }>, reply: FastifyReply): Promise<FastifyReply> {
    const { doorkeeper, log, sessionsMax = WHIP_SESSIONS_MAX } = this.#options
    const loopback = isLoopback(this.#options.host)
    const key = /^Bearer +(\S{1,200})$/i.exec(request.headers.authorization ?? '')?.[1]
    reply.header('cache-control', 'no-store')
    if (key === undefined)
      return this.#refuse(
        reply.header('www-authenticate', 'Bearer realm="Sightline"'),
        401,
        'KEY_MISSING',
        'Publishing needs the key of a stream: "Authorization: Bearer KEY".',
      )
    const admitted = doorkeeper.admit(key, 'whip', request.ip)
    if ('refusal' in admitted) {
      const [status, code, sentence] = REFUSALS[admitted.refusal.is]
      if (status === 401) reply.header('www-authenticate', 'Bearer realm="Sightline", error="invalid_token"')
      return this.#refuse(reply, status, code, sentence)
    }
    const offer =
      typeof request.body === 'string'
        ? readOffer(request.body, { loopback })
        : { wrong: 'An offer is missing in the request.' }
    if ('wrong' in offer) return this.#refuse(reply, 422, 'OFFER_UNSUITABLE', offer.wrong)
    if (this.#sessions.size + this.#opening >= sessionsMax)
      return this.#refuse(
        reply.header('retry-after', '10'),
        503,
        'TOO_MANY',
        `There are ${sessionsMax} publishers already. Try again later.`,
      )
    const { camera } = admitted
    const id = randomBytes(16).toString('base64url')
    let session: WhipSession
    this.#opening += 1
    try {
      session = await WhipSession.open({
        ...this.#options,
        loopback,
        camera,
        from: request.ip,
        offer,
        dropped: (why) => this.#meters.dropped.inc({ camera, reason: why }),
        ended: (why) => {
          if (!this.#sessions.delete(id)) return
          log.info({ camera, from: request.ip, why }, 'a publisher over WHIP has ended')
        },
      })
    } catch (error) {
      log.warn({ camera, from: request.ip, error: String(error) }, 'an offer could not be answered')
      return this.#refuse(
        reply,
        422,
        'OFFER_UNSUITABLE',
        'This offer cannot be answered. See the log of the agent.',
      )
    } finally {
      this.#opening -= 1
    }
    if (this.#isOver) {
      session.end('the agent stops')
      return this.#refuse(reply, 503, 'STOPPING', 'The agent is stopping. Publish again later.')
    }
    this.#sessions.set(id, session)
    this.#meters.published.inc({ camera })
    log.info(
      { camera, from: request.ip, codec: offer.video, sound: offer.audio !== undefined },
      'published over WHIP',
    )
    admitted.publish(session)
    return reply
      .code(201)
      .headers({ location: `${SESSIONS}${id}`, etag: `"${id}"` })
      .type(SDP)
      .send(session.answer)
  }

  /** RFC 9457. */
  #refuse(reply: FastifyReply, status: number, code: string, message: string): FastifyReply {
    if (status !== 405 && status !== 404) {
      this.#options.refused(code)
      this.#refusal = code
      this.#complain()
    }
    return reply
      .code(status)
      .type('application/problem+json; charset=utf-8')
      .send(JSON.stringify({ type: 'about:blank', title: code, status, detail: message, code, message }))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOver = true
    for (const session of [...this.#sessions.values()]) session.end('the agent stops')
    await this.#server?.[Symbol.asyncDispose]()
  }
}

function meters(registry: Registry, sessions: () => number) {
  gauge(registry, 'whip_sessions', 'Publishers over WHIP at the moment', [], (it) => it.set(sessions()))
  return {
    published: counter(registry, 'whip_published_total', 'Publishers that were let in over WHIP', ['camera']),
    dropped: counter(
      registry,
      'whip_dropped_total',
      'Times pictures were dropped up to the next key picture',
      ['camera', 'reason'],
    ),
  }
}

import cookie from '@fastify/cookie'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { FailedLogins, Logins } from '../../lib/access/logins.ts'
import { asFailure, failure } from '../../lib/errors.ts'
import { type Log, throttled } from '../../lib/log.ts'
import type { CameraAddress } from '../../wire/topics.ts'
import type { ConsoleConfig } from '../config.ts'
import { Audit } from './audit.ts'
import { may, type Person, type Right } from './may.ts'
import { OpenId, type Pending } from './open-id.ts'
import { type Known, People, RUN_USER } from './people.ts'
import { refuseOtherSites } from './same-site.ts'
import { fingerprint, limited } from './scope.ts'
import { hashOf } from './secrets.ts'
import { type Session, Sessions, type SignedInBy, type Store } from './sessions.ts'
import { Shares } from './shares.ts'
import { Strangers } from './strangers.ts'
import { type Token, Tokens } from './tokens.ts'

export interface AccessOptions {
  readonly config: Pick<ConsoleConfig, 'access' | 'publicUrl' | 'http'>
  readonly database: Pick<Store, 'read' | 'write'>
  readonly log: Log
  /** Whoever has it is the administrator "demo" for this run: a link signs in with it, and it is a token of the API. */
  readonly runToken?: string
  readonly now?: () => number
  /** How often the users file, and what streams depend on, are looked at. */
  readonly pollIntervalMs?: number
}

/** Somebody who asks, and by what he has shown who he is. */
export interface Caller {
  readonly person: Person
  readonly by: 'session' | 'token' | 'run'
  /** Of the session or the token; no secret. */
  readonly id: string
  readonly address: string
}

/** What an audit entry says beside who and when. */
export interface Deed {
  /** Such as `recording.view`, `camera.command`, `export`, `token.create`. */
  readonly what: string
  readonly target?: string
  readonly detail?: Readonly<Record<string, unknown>>
}

/** Ends when what it was opened with does not hold any more. */
export interface Hold extends Disposable {
  readonly signal: AbortSignal
}

/** What routes ask. */
export type AccessShape = Pick<Access, 'guard' | 'caller' | 'hold' | 'record'>

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Needs no caller: a page for strangers, an address that is a secret itself. */
    isOpen?: boolean
    /** A page: a stranger is sent to sign in, instead of being told that he is one. */
    isPage?: boolean
  }
}

/** What streams depend on is looked at this often, besides at once where it is this program that ends it. */
const HOLD_INTERVAL_MS = 2000
/** Of everybody at an address: who it is, the provider says later. */
const PROVIDER_TRIES = 'openid'
/** For so long a stream goes on though the database does not answer. */
const HOLD_UNKNOWN_MS_MAX = 30_000

interface Held {
  readonly caller: Caller
  readonly right: Right
  readonly camera: CameraAddress | undefined
  readonly print: string
  readonly controller: AbortController
  knownAtMs: number
}

/** Who may come in, and who is who. */
export class Access implements AsyncDisposable {
  readonly people: People
  readonly sessions: Sessions
  readonly tokens: Tokens
  readonly shares: Shares
  readonly audit: Audit
  /** Where it is configured. */
  readonly openId: OpenId | undefined
  readonly #options: AccessOptions
  readonly #logins = new Logins()
  readonly #failedLinks = new FailedLogins()
  readonly #strangers = new Strangers()
  readonly #callers = new WeakMap<FastifyRequest, Caller>()
  readonly #holds = new Set<Held>()
  readonly #timer: NodeJS.Timeout
  readonly #complain: (error: unknown) => void
  #looking: Promise<void> | undefined

  private constructor(options: AccessOptions, store: Store, people: People, openId: OpenId | undefined) {
    const { config, pollIntervalMs = HOLD_INTERVAL_MS } = options
    this.#options = options
    this.people = people
    this.openId = openId
    this.sessions = new Sessions(store, {
      ageMsMax: config.access.sessionMax,
      idleMsMax: config.access.sessionIdleMax,
    })
    this.tokens = new Tokens(store, config.access.tokenMax)
    this.shares = new Shares(store, people)
    this.audit = new Audit(store)
    this.#complain = store.complain
    people.onChange = () => void this.#peopleChanged()
    this.#timer = setInterval(() => {
      if (!this.#looking) void this.#look()
    }, pollIntervalMs).unref()
  }

  /** Errors: those of a users file, CONFIG_INVALID, and those of the database. */
  static async open(options: AccessOptions): Promise<Access> {
    const { config, database, log, runToken, now = Date.now, pollIntervalMs } = options
    const { usersFile, openId, sessionMax } = config.access
    const complain = throttled<unknown>((count, error) =>
      log.warn({ count, error: String(error) }, 'could not write down who uses the console'),
    )
    const store: Store = { read: database.read, write: database.write, complain, now }
    const { publicUrl } = config
    // Without an address of ours there is no way back from the provider (console/config.ts).
    const provider = openId && publicUrl !== undefined ? OpenId.open(openId, publicUrl) : undefined
    const people = await People.open({
      store,
      log,
      usersFile,
      runToken,
      openIdMsMax: openId === undefined ? undefined : sessionMax,
      hasOpenIdAdmins: Object.values(openId?.roles ?? {}).includes('admin'),
      pollIntervalMs,
    })
    if (!people.havePasswords && openId === undefined && runToken === undefined)
      log.warn(
        usersFile === undefined
          ? 'nobody can sign in to the console, not even from this machine: it knows no users. Give "access.usersFile" or "access.openId", or a token of this run'
          : `nobody can sign in to the console: ${usersFile} has nobody with a password and one of the roles viewer, analyst, operator and admin. Add one: sightline users add ${usersFile} NAME --role admin`,
      )
    const access = new Access(options, store, people, provider)
    // Of earlier runs: its token was another. A user of the file may have that name where there is none.
    if (!people.names.has(RUN_USER)) await access.#forgetUser(RUN_USER)
    await access.#forgetRemoved()
    return access
  }

  /**
   * From then on each route of the app needs a caller, but those with `config: { isOpen: true }`; and what changes something
   * comes from a page of ours or has a token. Before the routes. What it refuses it throws: NOT_SIGNED_IN, CROSS_SITE.
   */
  async guard(app: FastifyInstance): Promise<void> {
    if (!app.hasRequestDecorator('cookies')) await app.register(cookie)
    // Which a form of another site can send; an answer in JSON is asked for first (CORS), and refused.
    app.removeContentTypeParser('text/plain')
    app.addHook('onRequest', async (request, reply) => {
      const { isOpen = false, isPage = false } = request.routeOptions.config
      const { authorization } = request.headers
      // What another site's page sends has the cookie, and never this header.
      if (authorization === undefined) refuseOtherSites(request, this.#options.config.publicUrl)
      const caller = await this.identify(request).catch((error: unknown) => {
        // What strangers may see too, whoever comes with an old cookie may see.
        if (isOpen && asFailure(error).code === 'TOO_MANY') return undefined
        throw error
      })
      if (caller) this.#callers.set(request, caller)
      else if (isPage && authorization === undefined)
        return reply.redirect(`/signin?next=${encodeURIComponent(request.url)}`, 303)
      else if (!isOpen) {
        reply.header('www-authenticate', 'Bearer realm="Sightline"')
        throw failure(
          'NOT_SIGNED_IN',
          authorization === undefined
            ? 'Sign in first, or send a token: "Authorization: Bearer TOKEN".'
            : 'This token is unknown, revoked or expired, or its user is gone.',
        )
      }
    })
    app.addHook('onSend', async (request, reply) => {
      if (request.routeOptions.config.isOpen) return
      // What one person may see must not be kept by a proxy for the next (RFC 9111, 3.5).
      const caching = reply.getHeader('cache-control')
      reply.header(
        'cache-control',
        typeof caching === 'string' ? caching.replace(/\bpublic\b/, 'private') : 'no-store',
      )
    })
  }

  /** Errors: NOT_SIGNED_IN */
  caller(request: FastifyRequest): Caller {
    const caller = this.#callers.get(request)
    if (!caller) throw failure('NOT_SIGNED_IN', 'Sign in first.')
    return caller
  }

  /** Who asks, by token or cookie; undefined: a stranger. Errors: TOO_MANY, and those of the database. */
  async identify(request: FastifyRequest): Promise<Caller | undefined> {
    const { authorization } = request.headers
    const address = request.ip
    if (authorization !== undefined) {
      const [, bearer] = /^Bearer +([\w.~+/-]+=*)$/i.exec(authorization) ?? []
      return bearer === undefined
        ? undefined
        : this.#counted(bearer, address, () => this.#byBearer(bearer, address))
    }
    const secret = this.#sessionSecret(request)
    if (secret === undefined) return undefined
    return this.#counted(secret, address, async () =>
      this.#bySession(await this.sessions.find(secret), address),
    )
  }

  async #counted(secret: string, address: string, find: () => Promise<Caller | undefined>) {
    if (this.#strangers.tooMany(address, secret))
      throw failure('TOO_MANY', 'Too many unknown tokens and sessions from here. Try again in a minute.')
    const caller = await find()
    if (caller) this.#strangers.succeeded(secret)
    else this.#strangers.failed(address, secret)
    return caller
  }

  #sessionSecret(request: FastifyRequest): string | undefined {
    return request.cookies[this.#cookieName]
  }

  async #byBearer(bearer: string, address: string): Promise<Caller | undefined> {
    if (this.people.isRunToken(bearer)) return this.#byRun(address)
    return this.#byToken(await this.tokens.find(bearer), address)
  }

  async #byRun(address: string): Promise<Caller | undefined> {
    const known = await this.people.find(RUN_USER)
    return known && { person: known.person, by: 'run', id: RUN_USER, address }
  }

  async #byToken(token: Token | undefined, address: string): Promise<Caller | undefined> {
    const known = token && (await this.people.find(token.user))
    if (!token || !known) return undefined
    return { person: limited(known.person, token.rights, token), by: 'token', id: token.id, address }
  }

  async #bySession(session: Session | undefined, address: string): Promise<Caller | undefined> {
    const known = session && (await this.people.find(session.user))
    if (!session || known?.by !== session.by || known.fingerprint !== session.fingerprint) return undefined
    return { person: known.person, by: 'session', id: session.id, address }
  }

  /** @returns the caller as he is now; undefined where he may not come in any more */
  async #again({ by, id, address }: Caller): Promise<Caller | undefined> {
    if (by === 'run') return this.#byRun(address)
    if (by === 'token') return this.#byToken(await this.tokens.byId(id), address)
    return this.#bySession(await this.sessions.byId(id), address)
  }

  /**
   * For a stream, which outlives its request's check: ends within seconds when the session or token ends or its user's
   * rights change. Who may still then comes again by himself.
   */
  hold(caller: Caller, right: Right, camera?: CameraAddress): Hold {
    const controller = new AbortController()
    const held: Held = {
      caller,
      right,
      camera,
      print: fingerprint(caller.person),
      controller,
      knownAtMs: performance.now(),
    }
    this.#holds.add(held)
    // It may have ended between the request's check and now.
    void this.#look()
    return { signal: controller.signal, [Symbol.dispose]: () => void this.#holds.delete(held) }
  }

  /** After a look that is under way: that may have been too early. */
  #look(): Promise<void> {
    const look = (this.#looking ?? Promise.resolve()).then(() => this.#lookOnce())
    this.#looking = look
    return look.finally(() => {
      if (this.#looking === look) this.#looking = undefined
    })
  }

  async #lookOnce(): Promise<void> {
    const asked = new Map<string, Promise<Caller | undefined>>()
    const ask = (caller: Caller) => {
      const key = `${caller.by} ${caller.id}`
      const answer = asked.get(key) ?? this.#again(caller)
      asked.set(key, answer)
      return answer
    }
    await Promise.all([...this.#holds].map((held) => this.#check(held, ask)))
  }

  async #check(held: Held, ask: (caller: Caller) => Promise<Caller | undefined>): Promise<void> {
    try {
      const now = await ask(held.caller)
      if (now && fingerprint(now.person) === held.print && may(now.person, held.right, held.camera)) {
        held.knownAtMs = performance.now()
        return
      }
    } catch (error) {
      this.#complain(error)
      if (performance.now() < held.knownAtMs + HOLD_UNKNOWN_MS_MAX) return
    }
    this.#holds.delete(held)
    held.controller.abort()
  }

  /** Streams of whatever has just been ended end with it. */
  async ended(): Promise<void> {
    await this.#look()
  }

  /** Writes down what somebody does. Throws where that is not possible: then it must not be done. */
  async record({ person, by, id, address }: Caller, { what, target, detail }: Deed): Promise<void> {
    await this.audit.add({
      user: person.name,
      by: by === 'token' ? `token ${id}` : by,
      address,
      action: what,
      subject: target,
      details: detail,
    })
  }

  /** Whether the program's own state is for him: `/healthz` in full, `/metrics`. By a token alone, as monitors come. */
  async mayWatch(request: FastifyRequest): Promise<boolean> {
    if (request.headers.authorization === undefined) return false
    const caller = await this.identify(request)
    return caller !== undefined && may(caller.person, 'flow')
  }

  /** @returns who it is. Errors: PASSWORD_WRONG, TOO_MANY */
  async signIn(name: string, password: string, address: string): Promise<Known> {
    const secret = this.people.secretOf(name)
    const verdict = await this.#logins.check({ name, password: Buffer.from(password), secret, address })
    if (verdict === 'busy') throw failure('TOO_MANY', 'Too many tries to sign in. Try again in a minute.')
    const known = verdict === 'right' ? await this.people.find(name) : undefined
    // While the password was compared, it or the user may have been changed.
    if (known?.by !== 'password' || this.people.secretOf(name) !== secret) {
      await this.#recordFailure(name, 'password', address)
      throw failure('PASSWORD_WRONG', 'Wrong name or password.')
    }
    return known
  }

  /** The same with the token of the run, of the link that the program shows. Errors: PASSWORD_WRONG, TOO_MANY */
  async signInByRunToken(token: string, address: string): Promise<Known> {
    if (this.#failedLinks.tooMany(address, RUN_USER))
      throw failure('TOO_MANY', 'Too many tries to sign in. Try again in a minute.')
    const known = this.people.isRunToken(token) ? await this.people.find(RUN_USER) : undefined
    if (!known) {
      this.#failedLinks.add(address, RUN_USER)
      await this.#recordFailure(RUN_USER, 'demo', address)
    }
    if (!known)
      throw failure(
        'PASSWORD_WRONG',
        'This link is no longer valid. Use the one that the program printed at its latest start.',
      )
    return known
  }

  /** The same with what the provider says. Errors: OPENID_REFUSED, OPENID_UNREACHABLE, TOO_MANY */
  async signInByOpenId(openId: OpenId, query: string, pending: Pending, address: string): Promise<Known> {
    // Each one makes the console ask the provider.
    if (this.#failedLinks.tooMany(address, PROVIDER_TRIES))
      throw failure('TOO_MANY', 'Too many tries to sign in. Try again in a minute.')
    try {
      const person = await openId.finish(query, pending)
      await this.people.rememberOpenId(person, () => this.forget(person.name))
      const known = await this.people.find(person.name)
      if (!known)
        throw failure('OPENID_REFUSED', 'The users file has changed during the sign-in. Start again.')
      return known
    } catch (error) {
      const { code, message } = asFailure(error)
      this.#failedLinks.add(address, PROVIDER_TRIES)
      await this.#recordFailure('', 'oidc', address, { code, message })
      throw error
    }
  }

  /** Nobody gets in by it, so that it may be missing where the database does not answer. */
  async #recordFailure(
    user: string,
    by: SignedInBy,
    address: string,
    details?: Readonly<Record<string, unknown>>,
  ): Promise<void> {
    await this.audit.add({ user, by, address, action: 'sign-in.failed', details }).catch(this.#complain)
  }

  /** How anybody can sign in at all. */
  get ways(): readonly SignedInBy[] {
    return [
      ...(this.people.havePasswords ? (['password'] as const) : []),
      ...(this.openId ? (['oidc'] as const) : []),
      ...(this.#options.runToken === undefined ? [] : (['demo'] as const)),
    ]
  }

  /** Gives somebody who has just shown who he is a session; one that the browser had before ends. */
  async startSession(request: FastifyRequest, reply: FastifyReply, known: Known): Promise<void> {
    const { name } = known.person
    const before = this.#sessionSecret(request)
    await this.audit.add({ user: name, by: known.by, address: request.ip, action: 'sign-in' })
    const secret = await this.sessions.start(name, known.by, known.fingerprint)
    this.#strangers.succeeded(secret)
    if (before !== undefined) await this.sessions.end(hashOf(before).toString('base64url'))
    reply.setCookie(this.#cookieName, secret, {
      ...this.cookieOptions,
      maxAge: Math.floor(this.#options.config.access.sessionMax / 1000),
    })
  }

  async endSession(reply: FastifyReply, caller: Caller): Promise<void> {
    if (caller.by === 'session') await this.sessions.end(caller.id)
    reply.clearCookie(this.#cookieName, this.cookieOptions)
    await this.record(caller, { what: 'sign-out' })
    await this.ended()
  }

  /** Whether browsers reach it over TLS alone. */
  get isSecure(): boolean {
    const { publicUrl, http } = this.#options.config
    return http.tls !== undefined || (publicUrl !== undefined && new URL(publicUrl).protocol === 'https:')
  }

  /** With that prefix no other host of the domain can set it (RFC 6265bis, 4.1.3.2). */
  cookieNamed(name: string): string {
    return this.isSecure ? `__Host-${name}` : name
  }

  get cookieOptions() {
    return { path: '/', httpOnly: true, sameSite: 'lax', secure: this.isSecure } as const
  }

  get #cookieName(): string {
    return this.cookieNamed('sightline')
  }

  /** Takes everything from somebody who is gone, so that nobody of the same name gets it later. */
  async forget(user: string): Promise<void> {
    await this.#forgetUser(user)
    await this.ended()
  }

  async #forgetUser(user: string): Promise<void> {
    await this.sessions.endAllOf(user)
    await this.tokens.revokeAllOf(user)
    await this.shares.revokeAllOf(user)
    const { write } = this.#options.database
    await write.deleteFrom('push_subscriptions').where('user', '=', user).execute()
    await write.deleteFrom('reviews').where('user', '=', user).execute()
  }

  async #peopleChanged(): Promise<void> {
    this.#logins.keepOnly(this.people.names)
    await this.#forgetRemoved().catch(this.#complain)
    await this.#look()
  }

  /** Whoever was taken out of the users file otherwise than by this program. */
  async #forgetRemoved(): Promise<void> {
    if (!this.people.hasFile) return
    // Whose name the file now has is another: what was the one's must not become the other's.
    for (const user of await this.people.dropNamesakes()) await this.#forgetUser(user)
    for (const user of await this.#owners()) if (!(await this.people.find(user))) await this.#forgetUser(user)
  }

  async #owners(): Promise<ReadonlySet<string>> {
    const browsers = this.#options.database.read.selectFrom('push_subscriptions').select('user').distinct()
    const owners = await Promise.all([
      this.sessions.owners(),
      this.tokens.owners(),
      this.shares.owners(),
      browsers.execute().then((rows) => rows.map(({ user }) => user)),
    ])
    return new Set(owners.flat())
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer)
    this.people[Symbol.dispose]()
    for (const { controller } of this.#holds) controller.abort()
    this.#holds.clear()
  }
}

import basicAuth from '@fastify/basic-auth'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { Logins } from '../access/logins.ts'
import { type Account, UsersFile } from '../access/users.ts'
import type { Log } from '../log.ts'

/** Who may look at what a program serves over HTTP: the people of a users file who see all sites, with HTTP's basic login. */
export class HttpUsers implements Disposable {
  readonly #file: UsersFile
  readonly #logins = new Logins()
  #accounts: ReadonlyMap<string, Account>

  private constructor(file: UsersFile) {
    this.#file = file
    this.#accounts = byName(file.accounts)
    file.onChange = (accounts) => {
      this.#accounts = byName(accounts)
      this.#logins.keepOnly(new Set(this.#accounts.keys()))
    }
  }

  /** Errors: those of a users file. */
  static async open(file: string, log: Log): Promise<HttpUsers> {
    return new HttpUsers(await UsersFile.open({ file, log }))
  }

  /** From then on every route needs a login, but what `isOpen` lets through. Before the routes are named. */
  async guard(app: FastifyInstance, isOpen: (request: FastifyRequest) => boolean): Promise<void> {
    await app.register(basicAuth, {
      authenticate: { realm: 'Sightline' },
      validate: (name, password, request) => this.#validate(name, password, request.ip),
    })
    const login = app.basicAuth
    const open = new WeakSet<FastifyRequest>()
    app.addHook('onRequest', function (request, reply, done) {
      if (isOpen(request)) {
        open.add(request)
        done()
      } else login.call(this, request, reply, done)
    })
    app.addHook('onSend', async (request, reply) => {
      if (open.has(request)) return
      // What one person may see must not be kept by a proxy for the next (RFC 9111, 3.5).
      const caching = reply.getHeader('cache-control')
      reply.header(
        'cache-control',
        typeof caching === 'string' ? caching.replace(/\bpublic\b/, 'private') : 'no-store',
      )
    })
  }

  async #validate(name: string, password: string, address: string): Promise<void> {
    const account = this.#accounts.get(name)
    const verdict = await this.#logins.check({
      name,
      password: Buffer.from(password),
      secret: account?.secret,
      address,
    })
    if (verdict === 'busy') throw refusal(429, 'Too many logins. Try again in a minute.')
    if (verdict === 'wrong') throw refusal(401, 'Wrong user name or password.')
    const now = this.#accounts.get(name)
    if (now?.secret !== account?.secret) throw refusal(401, 'The users have changed. Log in again.')
    if (!now?.rights.pages)
      throw refusal(
        403,
        'This user may not view pages: that needs the role viewer, analyst, operator or admin, and no "sites" or "cameras".',
      )
  }

  [Symbol.dispose](): void {
    this.#file[Symbol.dispose]()
  }
}

const refusal = (statusCode: number, message: string) => Object.assign(new Error(message), { statusCode })

const byName = (accounts: readonly Account[]) => new Map(accounts.map((account) => [account.name, account]))

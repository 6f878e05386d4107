import { QlobberTrue } from 'qlobber'
import { Logins } from '../lib/access/logins.ts'
import type { Account } from '../lib/access/users.ts'
import { TOPIC_MATCHING } from './sessions.ts'

/** Who may connect, publish and subscribe where. */

export interface AccessOptions {
  readonly accounts: readonly Account[]
  /** Whether a client without a user name may do everything. Only ever on loopback: config.ts sees to it. */
  readonly anonymous: boolean
}

export interface Credentials {
  /** undefined where the client gave none */
  readonly username: string | undefined
  readonly password: Buffer | undefined
  /** The common name of a client certificate that TLS has verified. */
  readonly certificateName: string | undefined
  /** The client's IP address. */
  readonly address: string
}

/** `user` is undefined for an anonymous client. Busy: too many logins at once, or too many failures from there. */
export type Admission = { readonly user: string | undefined } | { readonly refused: 'denied' | 'busy' }

interface Rights {
  readonly account: Account
  readonly publish: QlobberTrue
  readonly subscribe: ReadonlySet<string>
  readonly subscribeMatcher: QlobberTrue
}

export class Access {
  readonly #logins = new Logins()
  readonly #anonymous: boolean
  #rights: ReadonlyMap<string, Rights>

  constructor({ accounts, anonymous }: AccessOptions) {
    this.#anonymous = anonymous
    this.#rights = rightsByName(accounts)
  }

  /** Never rejects. */
  async authenticate({ username, password, certificateName, address }: Credentials): Promise<Admission> {
    if (certificateName !== undefined) {
      // Removing the user is how a certificate is revoked.
      const known = mayUseMqtt(this.#rights.get(certificateName))
      const same = username === undefined || username === certificateName
      return known && same ? { user: certificateName } : { refused: 'denied' }
    }
    if (username === undefined) return this.#anonymous ? { user: undefined } : { refused: 'denied' }
    const rights = this.#rights.get(username)
    const verdict = await this.#logins.check({
      name: username,
      password: password ?? Buffer.alloc(0),
      secret: rights?.account.secret,
      address,
    })
    if (verdict !== 'right') return { refused: verdict === 'busy' ? 'busy' : 'denied' }
    // The users may have changed meanwhile: then it has to ask again.
    const now = this.#rights.get(username)
    if (now?.account.secret !== rights?.account.secret) return { refused: 'busy' }
    return mayUseMqtt(now) ? { user: username } : { refused: 'denied' }
  }

  /**
   * Other accounts from now on.
   * @returns the users whose connections have to go (removed, with another password, or with less rights), and whether
   * they had the right to publish to a topic
   */
  replace(accounts: readonly Account[]): ReadonlyMap<string, (topic: string) => boolean> {
    const before = this.#rights
    this.#rights = rightsByName(accounts)
    this.#logins.keepOnly(new Set(this.#rights.keys()))
    const gone = new Map<string, (topic: string) => boolean>()
    for (const [name, { account, publish }] of before) {
      const now = this.#rights.get(name)?.account
      if (!now || now.secret !== account.secret || !includes(now.rights, account.rights))
        gone.set(name, (topic) => !topic.startsWith('$') && publish.test(topic))
    }
    return gone
  }

  /** Whether there is such a user still. */
  knows(user: string): boolean {
    return this.#rights.has(user)
  }

  /** Whether the user is a bridge's, by its role. */
  isBridge(user: string): boolean {
    return this.#rights.get(user)?.account.rights.handsOn ?? false
  }

  mayPublish(user: string | undefined, topic: string): boolean {
    if (topic.startsWith('$')) return false
    return user === undefined ? this.#anonymous : (this.#rights.get(user)?.publish.test(topic) ?? false)
  }

  /** A filter is allowed where it is one of the user's, or narrower than one of them. */
  maySubscribe(user: string | undefined, filter: string): boolean {
    if (filter.startsWith('$')) return false
    if (user === undefined) return this.#anonymous
    const rights = this.#rights.get(user)
    // A filter's wildcards match as literal levels: `a/+` is within `a/#`, and `a/#` is not within `a/+`.
    return (
      rights !== undefined &&
      (rights.subscribe.has(filter) ||
        (!filter.includes('#') && rights.subscribeMatcher.test(filter)) ||
        isBelow(filter, rights.subscribe))
    )
  }
}

/** `a/b/#` lies below `a/#`. */
function isBelow(filter: string, allowed: ReadonlySet<string>): boolean {
  for (const wide of allowed)
    if (wide === '#' || (wide.endsWith('/#') && !/[+]/.test(wide) && filter.startsWith(wide.slice(0, -1))))
      return true
  return false
}

function matcher(filters: readonly string[]): QlobberTrue {
  const all = new QlobberTrue(TOPIC_MATCHING)
  for (const filter of filters) all.add(filter)
  return all
}

function rightsByName(accounts: readonly Account[]): ReadonlyMap<string, Rights> {
  return new Map(
    accounts.map((account) => {
      const { publish, subscribe } = account.rights
      return [
        account.name,
        {
          account,
          publish: matcher(publish),
          subscribe: new Set(subscribe),
          subscribeMatcher: matcher(subscribe),
        },
      ]
    }),
  )
}

/** Not where the user has no rights but to look at pages. */
function mayUseMqtt(rights: Rights | undefined): boolean {
  return rights !== undefined && rights.account.rights.publish.length + rights.subscribe.size > 0
}

/** Filter by filter: a user who has got a wider one in place of several is asked to come again, which does no harm. */
function includes(wider: Account['rights'], narrower: Account['rights']): boolean {
  return (['publish', 'subscribe'] as const).every((what) =>
    narrower[what].every((filter) => wider[what].includes(filter)),
  )
}

import { createHash, timingSafeEqual } from 'node:crypto'
import { QlobberTrue } from 'qlobber'
import { TOPIC_MATCHING } from './sessions.ts'

/** Who may connect, publish and subscribe where. */
export interface User {
  readonly name: string
  /** Without one a certificate alone opens. */
  readonly password?: string
  /** Topic filters. */
  readonly publish: readonly string[]
  readonly subscribe: readonly string[]
}

export interface AccessOptions {
  readonly users: readonly User[]
  /** Whether a client without a user name may do everything. Only ever on loopback: config.ts sees to it. */
  readonly anonymous: boolean
}

interface Rights {
  readonly passwordHash: Buffer | undefined
  readonly publish: QlobberTrue
  readonly subscribe: ReadonlySet<string>
  readonly subscribeMatcher: QlobberTrue
}

export class Access {
  readonly #rights = new Map<string, Rights>()
  readonly #anonymous: boolean

  constructor({ users, anonymous }: AccessOptions) {
    this.#anonymous = anonymous
    for (const { name, password, publish, subscribe } of users) {
      this.#rights.set(name, {
        passwordHash: password === undefined ? undefined : digest(password),
        publish: matcher(publish),
        subscribe: new Set(subscribe),
        subscribeMatcher: matcher(subscribe),
      })
    }
  }

  /** @param user undefined where the client gave none */
  mayConnect(user: string | undefined, password: Buffer | undefined): boolean {
    if (user === undefined) return this.#anonymous
    const rights = this.#rights.get(user)
    // Compared for unknown users too, so that time does not tell which names exist.
    const matches = timingSafeEqual(digest(password ?? ''), rights?.passwordHash ?? digest('\0'))
    return rights?.passwordHash !== undefined && matches
  }

  /** @param name what a verified certificate says */
  mayConnectByCertificate(name: string): boolean {
    return this.#rights.has(name)
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

const digest = (secret: string | Buffer) => createHash('sha256').update(secret).digest()

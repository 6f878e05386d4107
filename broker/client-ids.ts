import { SteadyClock } from '../lib/steady-clock.ts'
import type { Store } from '../store/store.ts'

/**
 * Whose each client id is. MQTT gives the session under an id to whoever connects with it, and ends the connection that has
 * it [MQTT-3.1.4-2]. Here an id belongs to the user who uses it: while it is connected, as long as there is a session under
 * it, and for a week after it was last there, so that nobody takes it while its client is away. Another user is
 * refused. It is free again when its user is removed.
 */

/** Since it was last used, without a session. */
const HELD_MS_MAX = 7 * 24 * 3600 * 1000
/** Ids of one user that are neither connected nor have a session; the oldest go. */
const IDLE_PER_USER_MAX = 100
/** What is on disk may be so much older. */
const SAVE_INTERVAL_MS = 3600 * 1000
const TABLE = 'clientIds'

interface Holder {
  readonly clientId: string
  readonly user: string
  connections: number
  usedAtMs: number
  savedAtMs: number
}

export interface ClientIdsOptions {
  readonly store: Store
  readonly hasSession: (clientId: string) => boolean
  readonly isUser: (name: string) => boolean
  /** Milliseconds since 1970. */
  readonly nowMs?: () => number
}

export class ClientIds implements Disposable {
  readonly #options: ClientIdsOptions
  readonly #nowMs: () => number
  readonly #holders = new Map<string, Holder>()
  /** By user, the one used last at the end. */
  readonly #idle = new Map<string, Set<Holder>>()
  #saving: NodeJS.Timeout | undefined

  private constructor(options: ClientIdsOptions) {
    this.#options = options
    const clock = new SteadyClock()
    this.#nowMs = options.nowMs ?? (() => clock.nowMs())
  }

  static open(options: ClientIdsOptions): ClientIds {
    const ids = new ClientIds(options)
    const known = [...options.store.entries(TABLE)].map(({ key, value }) => {
      const { user, usedAtMs } = JSON.parse(Buffer.from(value).toString()) as Holder
      return { clientId: String(key), user, connections: 0, usedAtMs, savedAtMs: usedAtMs }
    })
    for (const holder of known.sort((a, b) => a.usedAtMs - b.usedAtMs)) {
      ids.#holders.set(holder.clientId, holder)
      ids.#leave(holder)
    }
    ids.#saving = setInterval(() => ids.saveConnected(), SAVE_INTERVAL_MS).unref()
    return ids
  }

  /** A broker that is killed knows of nobody who was connected: what is on disk must not be old. Called once an hour. */
  saveConnected(): void {
    for (const holder of this.#holders.values()) if (holder.connections > 0) this.#save(holder)
  }

  [Symbol.dispose](): void {
    clearInterval(this.#saving)
  }

  /** @returns the user to whom a client id belongs; undefined where it is free */
  holderOf(clientId: string): string | undefined {
    const holder = this.#holders.get(clientId)
    return holder && this.#isHeld(holder) ? holder.user : undefined
  }

  #isHeld({ clientId, user, connections, usedAtMs }: Holder): boolean {
    const { isUser, hasSession } = this.#options
    return isUser(user) && (connections > 0 || hasSession(clientId) || this.#nowMs() - usedAtMs < HELD_MS_MAX)
  }

  /**
   * Takes a client id for a connection of this user, to whom it belongs from now on: whoever calls this has looked at
   * `holderOf`.
   * @returns to be called when the connection is over
   */
  take(clientId: string, user: string): () => void {
    const before = this.#holders.get(clientId)
    if (before) this.#idle.get(before.user)?.delete(before)
    const holder =
      before?.user === user ? before : { clientId, user, connections: 0, usedAtMs: 0, savedAtMs: 0 }
    this.#holders.set(clientId, holder)
    holder.connections += 1
    this.#save(holder)
    return () => {
      holder.connections -= 1
      if (holder.connections > 0 || this.#holders.get(clientId) !== holder) return
      this.#save(holder)
      this.#leave(holder)
    }
  }

  #save(holder: Holder): void {
    holder.usedAtMs = this.#nowMs()
    if (Math.abs(holder.usedAtMs - holder.savedAtMs) < SAVE_INTERVAL_MS) return
    holder.savedAtMs = holder.usedAtMs
    const { clientId, user, usedAtMs } = holder
    // Where the disk is full it holds until the next start.
    this.#options.store.put(TABLE, clientId, Buffer.from(JSON.stringify({ user, usedAtMs }))).catch(() => {})
  }

  /** Nobody is connected under it any more. */
  #leave(holder: Holder): void {
    if (this.#options.hasSession(holder.clientId)) return
    let idle = this.#idle.get(holder.user)
    if (!idle) {
      idle = new Set()
      this.#idle.set(holder.user, idle)
    }
    idle.add(holder)
    for (const oldest of idle) {
      if (idle.size <= IDLE_PER_USER_MAX && this.#isHeld(oldest)) return
      idle.delete(oldest)
      this.#holders.delete(oldest.clientId)
      this.#options.store.remove(TABLE, oldest.clientId).catch(() => {})
    }
  }
}

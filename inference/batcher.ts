import { Refusal } from './refusal.ts'

/** What waits for its turn. Jobs of the same `key` may run together: their tensors differ in the number of rows only. */
export interface Job {
  readonly key: string
  /** 1 or more: the first side of its tensors. */
  readonly rows: number
  /** Of its tensors, as the model takes them. */
  readonly bytes: number
  reject(why: Refusal): void
}

export interface BatcherOptions {
  /** Rows that run together; 1: each job alone. */
  readonly batchMax: number
  /** Of what runs together: the network's own memory grows with it. One job alone may have more. */
  readonly bytesMax: number
  /** A job that could run waits so long for others to run with, ms. */
  readonly delayMsMax: number
  /** Jobs that wait. */
  readonly waitingMax: number
  /** How long one may, ms. */
  readonly waitMsMax: number
  /** When to come again, s. */
  readonly retryAfterS: () => number
}

interface Entry<J> {
  readonly job: J
  readonly sinceMs: number
  readonly late: NodeJS.Timeout
}

/**
 * A queue that hands out what fits together, the oldest first: whoever runs a model takes a batch, runs it, and takes the next.
 * What comes meanwhile is the next batch, so that batches grow with the load, and nobody waits where there is none.
 */
export class Batcher<J extends Job> implements Disposable {
  readonly #options: BatcherOptions
  /** In the order in which they came. */
  readonly #waiting = new Map<J, Entry<J>>()
  readonly #takers = new Map<object, (batch: J[] | undefined) => void>()
  #timer: NodeJS.Timeout | undefined
  #isSoon = false

  constructor(options: BatcherOptions) {
    this.#options = options
  }

  get waiting(): number {
    return this.#waiting.size
  }

  /** Errors: Refusal (busy). A job that waits too long is refused in the same way. */
  add(job: J): void {
    const { waitingMax, waitMsMax, retryAfterS } = this.#options
    if (this.#waiting.size >= waitingMax)
      throw new Refusal(
        'busy',
        `${this.#waiting.size} requests wait already. Come again later.`,
        retryAfterS(),
      )
    const late = setTimeout(() => {
      this.#waiting.delete(job)
      job.reject(
        new Refusal('busy', `The request waited ${waitMsMax} ms without a turn. Come again.`, retryAfterS()),
      )
    }, waitMsMax)
    this.#waiting.set(job, { job, sinceMs: performance.now(), late })
    this.#look()
  }

  /** @returns whether it waited still: it does not run then */
  remove(job: J): boolean {
    const entry = this.#waiting.get(job)
    if (!entry) return false
    clearTimeout(entry.late)
    return this.#waiting.delete(job)
  }

  /**
   * The next batch, once there is one: of one key, its rows at most `batchMax`, unless one job alone has more. Undefined where
   * `taker` is sent away meanwhile.
   */
  take(taker: object): Promise<J[] | undefined> {
    return new Promise((resolve) => {
      this.#takers.set(taker, resolve)
      this.#look()
    })
  }

  /** It takes no more. */
  sendAway(taker: object): void {
    this.#takers.get(taker)?.(undefined)
    this.#takers.delete(taker)
  }

  /** All that wait are refused. */
  refuse(why: () => Refusal): void {
    for (const job of [...this.#waiting.keys()]) {
      this.remove(job)
      job.reject(why())
    }
  }

  /** Once more when what arrives with this one has arrived too: several requests come in one turn of the event loop. */
  #look(): void {
    if (this.#isSoon || this.#takers.size === 0 || this.#waiting.size === 0) return
    this.#isSoon = true
    setImmediate(() => {
      this.#isSoon = false
      this.#serve()
    })
  }

  #serve(): void {
    clearTimeout(this.#timer)
    for (const [taker, give] of this.#takers) {
      const [oldest] = this.#waiting.values()
      if (!oldest) return
      const batch = this.#batchOf(oldest.job)
      const rows = batch.reduce((sum, job) => sum + job.rows, 0)
      const leftMs = oldest.sinceMs + this.#options.delayMsMax - performance.now()
      if (rows < this.#options.batchMax && leftMs > 0) {
        this.#timer = setTimeout(() => this.#serve(), Math.ceil(leftMs))
        return
      }
      for (const job of batch) this.remove(job)
      this.#takers.delete(taker)
      give(batch)
    }
  }

  #batchOf(first: J): J[] {
    const { batchMax, bytesMax } = this.#options
    const batch = [first]
    let { rows, bytes } = first
    for (const job of this.#waiting.keys()) {
      if (rows >= batchMax) break
      if (job === first || job.key !== first.key) continue
      if (rows + job.rows > batchMax || bytes + job.bytes > bytesMax) continue
      batch.push(job)
      rows += job.rows
      bytes += job.bytes
    }
    return batch
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.refuse(() => new Refusal('away', 'The server ends.'))
  }
}

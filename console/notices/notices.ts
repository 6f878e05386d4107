import type { Transaction } from 'kysely'
import type { Log } from '../../lib/log.ts'
import { NOTICE_VERSION, type Notice } from '../../wire/notice.ts'
import type { NoticeBook } from '../context.ts'
import type { Database } from '../database/database.ts'
import type { Tables } from '../database/tables.ts'
import type { NewNotice } from '../rules/fact.ts'
import { Book } from './book.ts'
import type { Guard } from './guard.ts'
import type { Settled } from './ledger.ts'
import { type Due, Outbox, type OutboxParts } from './outbox.ts'
import type { Outcome } from './outcome.ts'
import { send } from './request.ts'
import { renderWebhook } from './templates.ts'

/** Notices: what is written down, and what becomes of it. */

export interface NoticesParts {
  readonly database: Database
  readonly guard: Guard
  readonly log: Log
  readonly onSettled?: (settled: readonly Settled[]) => void
  readonly now?: () => number
  readonly retry?: OutboxParts['retry']
}

export class Notices implements NoticeBook, AsyncDisposable {
  readonly #parts: NoticesParts
  readonly #book: Book
  readonly #outbox: Outbox

  private constructor(parts: NoticesParts) {
    this.#parts = parts
    this.#book = new Book({ now: parts.now, onWake: () => this.#outbox.wake() })
    this.#outbox = Outbox.open({
      database: parts.database,
      deliver: (due, signal) => this.#deliver(due, signal),
      onSettled: (settled) => parts.onSettled?.(settled),
      log: parts.log,
      now: parts.now,
      retry: parts.retry,
    })
  }

  static open(parts: NoticesParts): Notices {
    return new Notices(parts)
  }

  get fault(): string | undefined {
    return this.#outbox.fault
  }

  write(transaction: Transaction<Tables>, notices: readonly NewNotice[]): Promise<void> {
    return this.#book.write(transaction, notices)
  }

  wake(): void {
    this.#book.wake()
  }

  async #deliver(
    { delivery, channel, notice: kept, changedAtMs }: Due,
    signal: AbortSignal,
  ): Promise<Outcome> {
    const notice: Notice = {
      v: NOTICE_VERSION,
      ...kept,
      is: delivery.revision === 0 && kept.is !== 'test' ? 'new' : kept.is,
      revision: delivery.revision,
      madeAtMs: changedAtMs,
    }
    if (channel.type !== 'webhook') return { is: 'not sent', why: 'This way is not there yet.' }
    const out = renderWebhook({ channel, notice, picture: undefined, nowMs: Date.now() })
    return send(this.#parts.guard, out, signal)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#outbox[Symbol.asyncDispose]()
  }
}

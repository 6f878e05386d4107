import { once } from 'node:events'
import { isMainThread, parentPort, type TransferListItem, Worker, workerData } from 'node:worker_threads'
import { asFailure, type ErrorCode, failure, failureOf, type SightlineError } from './errors.ts'

/**
 * A worker thread that answers calls: what blocks, throws or leaks there does so there. One module is both sides: it opens the
 * thread with its own address, and at its end calls `serveThread`, which does nothing but in that thread.
 *
 *     this side                          the thread
 *     Thread.open         -- data    ->  open
 *                        <-  opened  --
 *     call                -- value   ->  call; several at a time, as they come
 *                        <-  answer  --
 *     dispose             -- close   ->  close, then the thread ends
 *     kill                               it ends at once, whatever it does
 */
export interface ThreadOptions {
  /** Of the module: `import.meta.url`. */
  readonly url: string
  /** Marks its thread, so that importing the module from another thread starts nothing. */
  readonly role: string
  /** What `open` is given: anything that can be cloned. */
  readonly data: unknown
  readonly openMsMax?: number
  /** Of its stack, megabytes. */
  readonly stackMb?: number
  /**
   * It is ended where it holds more, looked at several times a second. V8's own limit would be no limit: what goes beyond that in
   * one step, such as a list that grows, ends the whole process.
   */
  readonly memory?: MemoryLimits
  /**
   * It is never cut off, but left to end by itself once its calls are over: ONNX Runtime ends the whole process where its thread is
   * terminated while a network runs (Napi::Error without a catch).
   */
  readonly isUncut?: boolean
  /** Its environment; the process's where absent. */
  readonly env?: Readonly<Record<string, string>>
  /** What it prints; where absent, it goes where the process's own output goes. */
  readonly onPrinted?: (text: string) => void
  /** What the thread sends unasked. */
  readonly onSaid?: (said: unknown) => void
}

export interface MemoryLimits {
  readonly heapBytesMax: number
  /** The contents of buffers. */
  readonly outsideBytesMax: number
}

type ToThread = { readonly id: number; readonly value: unknown } | { readonly close: true }
interface Failed {
  readonly code: ErrorCode
  readonly message: string
}
type FromThread =
  | { readonly opened: unknown }
  | { readonly id: number; readonly answer: unknown }
  | { readonly said: unknown }
  | { readonly id?: number; readonly failed: Failed }

/** Why one failed that ended by itself, without an error. */
export const THREAD_ENDED = 'The thread has ended.'
/** Its memory is looked at so often, ms. */
const MEMORY_LOOK_MS = 200
/** What its heap may have until then: at a gigabyte a second it is ended long before. */
const HEAP_MB_HARD_MAX = 8192
/** An end that was asked for, and does not come, is brought about, ms. */
const CLOSE_MS_MAX = 5000

export class Thread implements AsyncDisposable {
  /** What the thread's `open` has said. */
  readonly opened: unknown
  /** Resolves when it has ended, however: with why, or undefined where it was disposed of. */
  readonly ended: Promise<Error | undefined>
  readonly #worker: Worker
  readonly #isUncut: boolean
  readonly #ending = Promise.withResolvers<Error | undefined>()
  readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>()
  #nextId = 0
  #fault: Error | undefined
  #isClosed = false
  #isAsked = false

  private constructor(worker: Worker, opened: unknown, { onSaid, isUncut = false }: ThreadOptions) {
    this.#worker = worker
    this.#isUncut = isUncut
    this.opened = opened
    worker.on('message', (message: unknown) => {
      if (!isReply(message)) return
      if ('said' in message) onSaid?.(message.said)
      else this.#settle(message)
    })
    worker.on('error', (error) => this.#end(asFailure(error)))
    this.ended = this.#ending.promise
    worker.once('exit', () => {
      this.#end(failure('UNEXPECTED', THREAD_ENDED))
      this.#over()
    })
  }

  /** Errors: those of the thread's `open`; UNEXPECTED, where it ends by itself; PROCESSOR_LATE after `openMsMax`. */
  static async open(options: ThreadOptions): Promise<Thread> {
    const { url, role, data, openMsMax, memory, stackMb, env, onPrinted, onSaid } = options
    const resourceLimits = {
      ...(memory && { maxOldGenerationSizeMb: HEAP_MB_HARD_MAX }),
      ...(stackMb !== undefined && { stackSizeMb: stackMb }),
    }
    const [stdout, stderr] = [onPrinted !== undefined, onPrinted !== undefined]
    const worker = new Worker(new URL(url), {
      ...{ workerData: { role, data }, name: role, resourceLimits, stdout, stderr },
      ...(env && { env: { ...env } }),
    })
    if (onPrinted)
      for (const stream of [worker.stdout, worker.stderr])
        stream.setEncoding('utf8').on('data', (text: string) => onPrinted(text))
    let thread: Thread | undefined
    let tooMuch: SightlineError | undefined
    if (memory)
      watchMemory(worker, memory, (error) => {
        tooMuch = error
        if (thread) void thread.kill(error)
        else void worker.terminate()
      })
    using late = new DisposableStack()
    const ended = once(worker, 'exit').then(() => [undefined])
    const first = Promise.race([firstReply(worker, onSaid), ended])
    const reply = (await (openMsMax === undefined
      ? first
      : Promise.race([
          first,
          new Promise((resolve) => {
            const timer = setTimeout(resolve, openMsMax, ['late'])
            late.defer(() => clearTimeout(timer))
          }),
        ]))) as [FromThread | 'late' | undefined]
    const [told] = reply
    if (typeof told === 'object' && 'opened' in told) {
      thread = new Thread(worker, told.opened, options)
      return thread
    }
    // What was slow to open may still be within its network's first run; the thread reads this once it has opened.
    if (told === 'late' && options.isUncut) worker.postMessage({ close: true } satisfies ToThread)
    else await worker.terminate()
    if (told === 'late')
      throw failure('PROCESSOR_LATE', `The thread "${role}" did not start within ${openMsMax} ms.`)
    if (told && 'failed' in told) throw failureOf(told.failed.code, told.failed.message)
    throw tooMuch ?? failure('UNEXPECTED', THREAD_ENDED)
  }

  /**
   * What the thread answers. After `msMax` it is not waited for any longer; the thread goes on.
   * @param transfer what of `value` is given away instead of copied
   * Errors: what it throws there, by code and sentence; PROCESSOR_LATE; UNEXPECTED, where the thread has ended.
   */
  async call(
    value: unknown,
    {
      transfer = [],
      msMax,
    }: { readonly transfer?: readonly TransferListItem[]; readonly msMax?: number } = {},
  ): Promise<unknown> {
    if (this.#fault) throw this.#fault
    const id = this.#nextId
    this.#nextId += 1
    const waiting = Promise.withResolvers<unknown>()
    this.#waiting.set(id, waiting)
    const timer =
      msMax === undefined
        ? undefined
        : setTimeout(() => {
            this.#waiting.delete(id)
            waiting.reject(failure('PROCESSOR_LATE', `No answer within ${msMax} ms.`))
          }, msMax)
    try {
      this.#post({ id, value }, transfer)
      return await waiting.promise
    } finally {
      clearTimeout(timer)
      this.#waiting.delete(id)
    }
  }

  /** Ends it at once, or lets go of one that is never cut off; what it was asked fails. */
  async kill(why: Error): Promise<void> {
    this.#end(why)
    if (!this.#isUncut) return void (await this.#worker.terminate())
    this.#askToClose()
    this.#over()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true
    this.#askToClose()
    const timer = setTimeout(() => {
      if (this.#isUncut) this.#over()
      else void this.#worker.terminate()
    }, CLOSE_MS_MAX).unref()
    await this.ended
    clearTimeout(timer)
  }

  #askToClose(): void {
    if (this.#isAsked) return
    this.#isAsked = true
    this.#post({ close: true })
  }

  /** It counts as ended. */
  #over(): void {
    this.#ending.resolve(this.#isClosed ? undefined : this.#fault)
  }

  #post(message: ToThread, transfer: readonly TransferListItem[] = []): void {
    this.#worker.postMessage(message, transfer)
  }

  #settle(reply: Exclude<FromThread, { said: unknown }>): void {
    if (!('id' in reply) || reply.id === undefined) return
    const waiting = this.#waiting.get(reply.id)
    if ('answer' in reply) waiting?.resolve(reply.answer)
    else waiting?.reject(failureOf(reply.failed.code, reply.failed.message))
  }

  #end(error: Error): void {
    this.#fault ??= error
    for (const waiting of this.#waiting.values()) waiting.reject(this.#fault)
    this.#waiting.clear()
  }
}

/** Code in the thread that is not ours can send anything. */
function isReply(message: unknown): message is FromThread {
  if (typeof message !== 'object' || message === null) return false
  if (!('failed' in message)) return 'opened' in message || 'answer' in message || 'said' in message
  const { failed } = message
  return (
    typeof failed === 'object' &&
    failed !== null &&
    'code' in failed &&
    typeof failed.code === 'string' &&
    'message' in failed &&
    typeof failed.message === 'string'
  )
}

/** Whether it has opened; it may say something before. Rejects with what ends it. */
async function firstReply(worker: Worker, onSaid: ThreadOptions['onSaid']): Promise<[FromThread]> {
  const reply = Promise.withResolvers<[FromThread]>()
  const take = (message: unknown) => {
    if (!isReply(message)) return
    if ('said' in message) onSaid?.(message.said)
    else reply.resolve([message])
  }
  worker.on('message', take).once('error', reply.reject)
  try {
    return await reply.promise
  } finally {
    worker.off('message', take).off('error', reply.reject)
  }
}

/** An answer, and what of it is given away instead of copied. */
export interface Answer {
  readonly value: unknown
  readonly transfer?: readonly TransferListItem[]
}

export interface Served {
  /** What `Thread.opened` is to be. */
  readonly opened: unknown
  call(value: unknown): Promise<Answer>
  /** After the last call has been answered. */
  close(): Promise<void>
}

/** The thread's side. @param say sends something unasked */
export async function serveThread(
  role: string,
  open: (data: never, say: (said: unknown) => void) => Promise<Served>,
): Promise<void> {
  const given = workerData as { readonly role?: string; readonly data?: unknown } | null
  const port = parentPort
  if (isMainThread || !port || given?.role !== role) return
  const send = (message: FromThread, transfer: readonly TransferListItem[] = []) =>
    port.postMessage(message, transfer)
  const failedOf = (error: unknown): Failed => {
    const { code, message } = asFailure(error)
    return { code, message }
  }
  let served: Served
  try {
    served = await open(given.data as never, (said) => send({ said }))
  } catch (error) {
    send({ failed: failedOf(error) })
    return
  }
  const running = new Set<Promise<void>>()
  const answer = async ({ id, value }: { readonly id: number; readonly value: unknown }) => {
    try {
      const { value: answered, transfer } = await served.call(value)
      send({ id, answer: answered }, transfer)
    } catch (error) {
      send({ id, failed: failedOf(error) })
    }
  }
  port.on('message', async (message: ToThread) => {
    if ('close' in message) {
      await Promise.all(running)
      await served.close()
      port.close()
      return
    }
    const done = answer(message).then(() => void running.delete(done))
    running.add(done)
  })
  send({ opened: served.opened })
}

const MEGABYTE = 1024 * 1024

/** Until it ends. @param tooMuch called once */
function watchMemory(
  worker: Worker,
  { heapBytesMax, outsideBytesMax }: MemoryLimits,
  tooMuch: (error: SightlineError) => void,
): void {
  const watch = setInterval(async () => {
    const held = await worker.getHeapStatistics().catch(() => undefined) // it has ended
    if (!held) return
    const { used_heap_size: heapBytes, external_memory: outsideBytes } = held
    const megabytes = (bytes: number) => Math.round(bytes / MEGABYTE)
    const over =
      heapBytes > heapBytesMax
        ? `It used more memory than ${megabytes(heapBytesMax)} MB.`
        : outsideBytes > outsideBytesMax
          ? `It holds ${megabytes(outsideBytes)} MB in buffers; at most ${megabytes(outsideBytesMax)} MB are allowed.`
          : undefined
    if (over === undefined) return
    clearInterval(watch)
    tooMuch(failure('PROCESSOR_FAILED', over))
  }, MEMORY_LOOK_MS).unref()
  worker.once('exit', () => clearInterval(watch))
}

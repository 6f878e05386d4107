import { once } from 'node:events'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { asFailure, type ErrorCode, failure } from '../../lib/errors.ts'
import type { Detection, Detector, Picture } from './detector.ts'
import { type DetectorOptions, openDetector } from './open.ts'

/**
 * A detector in a thread of its own. ONNX Runtime's `run` for Node is synchronous behind its promise: it holds
 * the thread that calls it for the whole inference, 5 to 30 ms a frame here, 100 ms on a small board, while no
 * packet is read and no decoded frame taken. A picture is copied on its way there (320x180: 0.05 ms).
 *
 *     this thread                       detector's thread
 *     openDetectorThread  -- options -> openDetector
 *                        <-  opened  --
 *     detect              -- picture -> detect, one after the other
 *                        <-  faces   --
 *     dispose             -- close   -> dispose, then the thread ends
 */
type ToThread = { readonly id: number; readonly picture: Picture } | { readonly close: true }
/** What is told of a detector that is open. */
type Opened = Pick<Detector, 'model' | 'runtime' | 'input' | 'scoreMin' | 'measured'>
type FromThread =
  | { readonly opened: Opened }
  | { readonly id: number; readonly detections: Detection[] }
  | { readonly id?: number; readonly failed: { readonly code: ErrorCode; readonly message: string } }

/** Marks this file's worker, so that importing the file from another worker starts nothing. */
const ROLE = 'sightline detector'
const THREAD_ENDED = 'The detector thread has ended.'

/** As `openDetector`, in a thread of its own. Errors: the same. */
export async function openDetectorThread(options: DetectorOptions = {}): Promise<Detector> {
  const worker = new Worker(new URL(import.meta.url), { workerData: { role: ROLE, options }, name: ROLE })
  const exited = new Promise<void>((resolve) => worker.once('exit', () => resolve()))
  const ended = exited.then(() => [undefined])
  const [reply] = (await Promise.race([once(worker, 'message'), ended])) as [FromThread | undefined]
  if (reply && 'opened' in reply) return new ThreadDetector(worker, exited, reply.opened)
  await exited
  if (reply && 'failed' in reply) throw failure(reply.failed.code, reply.failed.message)
  throw failure('UNEXPECTED', THREAD_ENDED)
}

class ThreadDetector implements Detector {
  readonly model: string
  readonly runtime: string
  readonly input: Detector['input']
  readonly scoreMin: number
  readonly measured: Detector['measured']
  readonly #worker: Worker
  readonly #exited: Promise<unknown>
  readonly #waiting = new Map<number, PromiseWithResolvers<Detection[]>>()
  #nextId = 0
  #ended: Error | undefined

  constructor(worker: Worker, exited: Promise<unknown>, opened: Opened) {
    this.model = opened.model
    this.runtime = opened.runtime
    this.input = opened.input
    this.scoreMin = opened.scoreMin
    this.measured = opened.measured
    this.#worker = worker
    this.#exited = exited
    worker.on('message', (reply: FromThread) => this.#settle(reply))
    worker.on('error', (error) => this.#end(asFailure(error)))
    worker.on('exit', () => this.#end(failure('UNEXPECTED', THREAD_ENDED)))
  }

  detect(picture: Picture): Promise<Detection[]> {
    if (this.#ended) return Promise.reject(this.#ended)
    const id = this.#nextId
    this.#nextId += 1
    const waiting = Promise.withResolvers<Detection[]>()
    this.#waiting.set(id, waiting)
    const { data, width, height } = picture
    this.#post({ id, picture: { data, width, height } })
    return waiting.promise
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#post({ close: true })
    await this.#exited
  }

  #post(message: ToThread): void {
    this.#worker.postMessage(message)
  }

  #settle(reply: FromThread): void {
    if (!('id' in reply) || reply.id === undefined) return
    const waiting = this.#waiting.get(reply.id)
    this.#waiting.delete(reply.id)
    if ('detections' in reply) waiting?.resolve(reply.detections)
    else waiting?.reject(failure(reply.failed.code, reply.failed.message))
  }

  #end(error: Error): void {
    this.#ended ??= error
    for (const waiting of this.#waiting.values()) waiting.reject(this.#ended)
    this.#waiting.clear()
  }
}

/** The other side: runs in the thread. */
async function serve(options: DetectorOptions): Promise<void> {
  const port = parentPort
  if (!port) return
  const send = (message: FromThread) => port.postMessage(message)
  const failed = (error: unknown) => {
    const { code, message } = asFailure(error)
    return { code, message }
  }
  let detector: Detector
  try {
    detector = await openDetector(options)
  } catch (error) {
    send({ failed: failed(error) })
    return
  }
  port.on('message', async (message: ToThread) => {
    if ('close' in message) {
      await detector[Symbol.asyncDispose]()
      port.close()
      return
    }
    try {
      send({ id: message.id, detections: await detector.detect(message.picture) })
    } catch (error) {
      send({ id: message.id, failed: failed(error) })
    }
  })
  const { model, runtime, input, scoreMin, measured } = detector
  send({ opened: { model, runtime, input, scoreMin, measured } })
}

if (!isMainThread && (workerData as { role?: string } | null)?.role === ROLE)
  await serve((workerData as { options: DetectorOptions }).options)

import { Backoff } from '../lib/backoff.ts'
import { asFailure, failure } from '../lib/errors.ts'
import type { Log } from '../lib/log.ts'
import type { Thread } from '../lib/thread.ts'
import type { TensorInfo } from '../models/runtime.ts'
import { datatypeOf } from '../models/wire-tensor.ts'
import {
  countOf,
  type InferRequest,
  type InferResponse,
  type ModelMetadata,
  type WireTensor,
} from '../wire/inference.ts'
import { Batcher, type Job } from './batcher.ts'
import type { ModelConfig } from './config.ts'
import { BATCH_BYTES_MAX, REOPEN_DELAY, RETRY_AFTER_S, RETRY_AFTER_S_MAX, RUN_MS_MAX } from './limits.ts'
import type { Meters } from './meters.ts'
import { type BatchOutputs, type ModelOpened, type ModelOptions, openModelThread } from './model-thread.ts'
import { Refusal } from './refusal.ts'

/** How much of the average an inference's time is. */
const AVERAGE_SHARE = 0.1

interface InferJob extends Job {
  readonly inputs: readonly WireTensor[]
  readonly sinceMs: number
  resolve(outputs: readonly WireTensor[]): void
}

export interface ModelParts {
  readonly options: ModelOptions
  readonly config: ModelConfig
  readonly waitMsMax: number
  /** Of one request's tensors, as the model takes them. */
  readonly payloadBytesMax: number
  /** Of one request's tensors; a model of a fixed size takes one of that size in any case. */
  readonly valuesMax: number
  readonly openThread?: typeof openModelThread
  readonly meters: Meters
  readonly log: Log
}

/** One model: its threads, and what waits for them. */
export class Model implements AsyncDisposable {
  readonly opened: ModelOpened
  readonly #parts: ModelParts
  readonly #batcher: Batcher<InferJob>
  readonly #lanes: Promise<void>[] = []
  readonly #closing = new AbortController()
  #running = 0
  /** Lanes whose thread is there. */
  #up = 0
  /** Of one inference, a moving average, ms. */
  #runMs = 10

  private constructor(opened: ModelOpened, parts: ModelParts) {
    this.opened = opened
    this.#parts = parts
    const { batchMax, delayMax, waitingMax } = parts.config
    this.#batcher = new Batcher({
      batchMax: opened.batches ? batchMax : 1,
      bytesMax: BATCH_BYTES_MAX,
      delayMsMax: opened.batches && batchMax > 1 ? delayMax : 0,
      waitingMax,
      waitMsMax: parts.waitMsMax,
      retryAfterS: () => this.#retryAfterS(),
    })
  }

  /** Errors: those of openModelThread. */
  static async open(parts: ModelParts): Promise<Model> {
    const first = await (parts.openThread ?? openModelThread)(parts.options)
    const opened = first.opened as ModelOpened
    const model = new Model(opened, parts)
    model.#lanes.push(model.#lane(first))
    try {
      for (let count = 1; count < parts.config.instances; count += 1)
        model.#lanes.push(model.#lane(await model.#openThread()))
    } catch (error) {
      await model[Symbol.asyncDispose]()
      throw error
    }
    return model
  }

  get name(): string {
    return this.opened.name
  }

  get isReady(): boolean {
    return this.#up > 0 && !this.#closing.signal.aborted
  }

  get waiting(): number {
    return this.#batcher.waiting
  }

  /** Requests that wait or run. */
  get underWay(): number {
    return this.#batcher.waiting + this.#running
  }

  get metadata(): ModelMetadata {
    const { name, version, platform, inputs, outputs } = this.opened
    return {
      name,
      versions: [version],
      platform,
      inputs: inputs.map(metadataOf),
      outputs: outputs.map(metadataOf),
    }
  }

  /**
   * What the model makes of it. Data that lies in memory of its own is given away.
   * @param signal aborted when nobody waits for the answer any longer: then it does not run, if it does not yet
   * Errors: Refusal
   */
  async infer(request: InferRequest, signal: AbortSignal): Promise<InferResponse> {
    const { name, version } = this.opened
    let outcome = 'failed'
    try {
      const inputs = this.#inputsOf(request)
      const wanted = this.#wantedOf(request)
      this.#checkValues(inputs)
      const { payloadBytesMax } = this.#parts
      if (this.#bytesOf(inputs) > payloadBytesMax)
        throw new Refusal('tooLarge', `The inputs have more than ${payloadBytesMax} bytes as floats.`)
      if (!this.isReady) throw this.#away()
      const outputs = await this.#run(inputs, signal)
      outcome = 'ok'
      return {
        model: name,
        version,
        ...(request.id !== undefined && { id: request.id }),
        outputs: wanted.map((it) => {
          const output = outputs.find((given) => given.name === it)
          if (!output) throw new Refusal('failed', `The model ${name} gave no output "${it}".`)
          return output
        }),
      }
    } catch (error) {
      outcome = error instanceof Refusal ? error.kind : 'failed'
      throw error
    } finally {
      this.#parts.meters.requests.inc({ model: name, outcome })
    }
  }

  #run(inputs: readonly WireTensor[], signal: AbortSignal): Promise<readonly WireTensor[]> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(gone())
      const { rows, key } = this.#shapeOf(inputs)
      const end = () => signal.removeEventListener('abort', leave)
      const job: InferJob = {
        inputs,
        key,
        rows,
        bytes: this.#bytesOf(inputs),
        sinceMs: performance.now(),
        resolve: (outputs) => {
          end()
          resolve(outputs)
        },
        reject: (why) => {
          end()
          reject(why)
        },
      }
      const leave = () => {
        this.#batcher.remove(job)
        job.reject(gone())
      }
      this.#batcher.add(job)
      signal.addEventListener('abort', leave)
    })
  }

  /** As the model takes them: what came as bytes in the place of floats is four times as large. */
  #bytesOf(inputs: readonly WireTensor[]): number {
    return inputs.reduce(
      (sum, { data, parameters }) => sum + data.length * (parameters?.scale === undefined ? 1 : 4),
      0,
    )
  }

  /** How long an inference takes grows with them, and nothing ends one that has begun. Errors: Refusal (tooLarge). */
  #checkValues(inputs: readonly WireTensor[]): void {
    const ownOf = ({ shape }: TensorInfo) =>
      countOf(shape.map((side) => (typeof side === 'number' ? side : 1)))
    const own = this.opened.inputs.reduce((sum, info) => sum + ownOf(info), 0)
    const valuesMax = Math.max(this.#parts.valuesMax, own)
    const values = inputs.reduce((sum, { shape }) => sum + countOf(shape), 0)
    if (values > valuesMax)
      throw new Refusal(
        'tooLarge',
        `The inputs have ${values} values; the limit is ${valuesMax} ("valuesMax"). Send smaller pictures, or fewer at a time.`,
      )
  }

  /** Equal keys: the same sides but for the first. */
  #shapeOf(inputs: readonly WireTensor[]): { rows: number; key: string } {
    const rows = inputs[0]?.shape[0] ?? 1
    if (!this.opened.batches || inputs.some(({ shape }) => shape[0] !== rows)) return { rows: 1, key: '' }
    return { rows, key: inputs.map(({ name, shape }) => `${name} ${shape.slice(1)}`).join() }
  }

  /** In the model's order. Errors: Refusal. */
  #inputsOf({ inputs }: InferRequest): readonly WireTensor[] {
    const wanted = this.opened.inputs
    const stranger = inputs.find(({ name }) => !wanted.some((it) => it.name === name))
    if (stranger)
      throw wrong(`The model ${this.name} has no input ${quoted(stranger.name)}; it has ${names(wanted)}.`)
    return wanted.map((info) => {
      const tensor = inputs.find(({ name }) => name === info.name)
      if (!tensor) throw wrong(`The input ${quoted(info.name)} of the model ${this.name} is missing.`)
      checkTensor(tensor, info)
      return tensor
    })
  }

  #wantedOf({ outputs }: InferRequest): readonly string[] {
    const has = this.opened.outputs
    if (!outputs) return has.map(({ name }) => name)
    const stranger = outputs.find(({ name }) => !has.some((it) => it.name === name))
    if (stranger)
      throw wrong(`The model ${this.name} has no output ${quoted(stranger.name)}; it has ${names(has)}.`)
    return outputs.map(({ name }) => name)
  }

  /** Takes batches for one thread, and opens it again when it has ended. */
  async #lane(first: Thread): Promise<void> {
    const { signal } = this.#closing
    const backoff = new Backoff(REOPEN_DELAY)
    let thread: Thread | undefined = first
    while (!signal.aborted) {
      if (thread) {
        this.#up += 1
        const ended = await this.#serve(thread)
        this.#up -= 1
        await thread[Symbol.asyncDispose]()
        if (signal.aborted) return
        this.#parts.meters.restarts.inc({ model: this.name })
        const { code, message } = asFailure(ended)
        this.#parts.log.error(
          { code, model: this.name },
          `the model's thread has ended, and is opened again: ${message}`,
        )
        if (this.#up === 0) this.#batcher.refuse(() => this.#away())
      }
      thread = undefined
      try {
        await backoff.wait(signal)
        thread = await this.#openThread()
        backoff.reset()
      } catch (error) {
        if (signal.aborted) return
        const { code, message } = asFailure(error)
        this.#parts.log.error({ code, model: this.name }, message)
      }
    }
    await thread?.[Symbol.asyncDispose]()
  }

  async #openThread(): Promise<Thread> {
    const { provider, threads, version } = this.opened
    const { options, openThread = openModelThread } = this.#parts
    const thread = await openThread({ ...options, provider, threads })
    const again = thread.opened as ModelOpened
    if (again.version === version) return thread
    await thread[Symbol.asyncDispose]()
    throw failure(
      'CHECKSUM_WRONG',
      `The file of the model ${this.name} has changed (${again.version}, was ${version}). Restart the server, so that clients learn of it.`,
    )
  }

  /** Until the thread ends, or the server. */
  async #serve(thread: Thread): Promise<Error | undefined> {
    let over: { readonly why: Error | undefined } | undefined
    const end = (why?: Error) => {
      over ??= { why }
      this.#batcher.sendAway(thread)
    }
    void thread.ended.then(end)
    const { signal } = this.#closing
    signal.addEventListener('abort', () => end(), { once: true })
    while (!over && !signal.aborted) {
      const batch = await this.#batcher.take(thread)
      if (batch) await this.#runBatch(thread, batch)
    }
    return over?.why
  }

  async #runBatch(thread: Thread, batch: readonly InferJob[]): Promise<void> {
    const { meters } = this.#parts
    const model = this.name
    const rows = batch.reduce((sum, job) => sum + job.rows, 0)
    const startMs = performance.now()
    for (const { sinceMs } of batch) meters.waitSeconds.observe({ model }, (startMs - sinceMs) / 1000)
    this.#running += batch.length
    try {
      const requests = batch.map(({ inputs }) =>
        inputs.map(({ name, datatype, shape, data, parameters }) => ({
          name,
          datatype,
          shape,
          data,
          parameters,
        })),
      )
      const transfer = [...new Set(requests.flat().map(({ data }) => data.buffer as ArrayBuffer))]
      const { outputs, ms } = (await thread.call(
        { requests },
        { transfer, msMax: RUN_MS_MAX },
      )) as BatchOutputs
      meters.runSeconds.observe({ model }, ms / 1000)
      meters.batchRows.observe({ model }, rows)
      this.#runMs += (ms - this.#runMs) * AVERAGE_SHARE
      const parts =
        batch.length === 1
          ? [outputs]
          : splitRows(
              outputs,
              batch.map((job) => job.rows),
            )
      for (const [index, job] of batch.entries()) job.resolve(parts[index] as readonly WireTensor[])
    } catch (error) {
      const { code, message } = asFailure(error)
      if (code === 'PROCESSOR_LATE')
        await thread.kill(failure('PROCESSOR_LATE', `The model ${model} hung: ${message}`))
      const away = code === 'PROCESSOR_LATE' || this.#closing.signal.aborted
      this.#parts.log.error({ code, model, requests: batch.length }, `an inference failed: ${message}`)
      for (const job of batch)
        job.reject(
          away ? this.#away() : new Refusal('failed', `The model ${model} failed on this input: ${message}`),
        )
    } finally {
      this.#running -= batch.length
    }
  }

  #away(): Refusal {
    return new Refusal(
      'away',
      `The model ${this.name} does not run at the moment. Come again.`,
      RETRY_AFTER_S,
    )
  }

  #retryAfterS(): number {
    const rounds = Math.ceil(this.#batcher.waiting / Math.max(1, this.#up))
    return Math.min(RETRY_AFTER_S_MAX, Math.max(RETRY_AFTER_S, Math.ceil((rounds * this.#runMs) / 1000)))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort()
    this.#batcher[Symbol.dispose]()
    await Promise.all(this.#lanes)
  }
}

const quoted = (text: string) => JSON.stringify(text)
const names = (tensors: readonly TensorInfo[]) => tensors.map(({ name }) => name).join(', ')
const wrong = (sentence: string) => new Refusal('wrong', sentence)
const gone = () => new Refusal('gone', 'The client has gone.')

const metadataOf = ({ name, type, shape }: TensorInfo) => ({
  name,
  datatype: datatypeOf(type) ?? 'BYTES',
  shape: shape.map((side) => (typeof side === 'number' ? side : -1)),
})

/** Errors: Refusal, where it is not what the model takes. */
function checkTensor(tensor: WireTensor, info: TensorInfo): void {
  const label = `The input ${quoted(tensor.name)}`
  const datatype = datatypeOf(info.type)
  const { scale, offset } = tensor.parameters ?? {}
  if (scale !== undefined || offset !== undefined) {
    if (tensor.datatype !== 'UINT8' || datatype !== 'FP32')
      throw wrong(`${label} has "scale" or "offset", which are for UINT8 in the place of FP32.`)
    for (const [key, value] of Object.entries({ scale, offset }))
      if (typeof value !== 'number' || !Number.isFinite(value))
        throw wrong(`${label} needs the number "${key}": bytes stand for byte * scale + offset.`)
  } else if (tensor.datatype !== datatype)
    throw wrong(
      `${label} is ${tensor.datatype}, but the model takes ${datatype}${
        tensor.datatype === 'UINT8' && datatype === 'FP32'
          ? ', or UINT8 with the parameters "scale" and "offset"'
          : ''
      }.`,
    )
  const { shape } = info
  const fits =
    tensor.shape.length === shape.length &&
    shape.every((side, axis) =>
      typeof side === 'number' ? tensor.shape[axis] === side : (tensor.shape[axis] as number) > 0,
    )
  if (!fits)
    throw wrong(
      `${label} has the shape [${tensor.shape.join(', ')}], but the model takes [${shape.map((side) => (typeof side === 'number' ? side : -1)).join(', ')}], where -1 is any number above 0.`,
    )
}

/** To each its rows of all outputs. Errors: Error, where the outputs have other rows than went in: then nobody gets any. */
export function splitRows(outputs: readonly WireTensor[], rows: readonly number[]): WireTensor[][] {
  const all = rows.reduce((sum, it) => sum + it, 0)
  const wrongOne = outputs.find(({ shape }) => shape[0] !== all)
  if (wrongOne) throw new Error(`its output ${wrongOne.name} has ${wrongOne.shape[0] ?? 'no'} rows of ${all}`)
  let from = 0
  return rows.map((count) => {
    const start = from
    from += count
    return outputs.map(({ name, datatype, shape, data }) => {
      const rowBytes = data.length / all
      return {
        name,
        datatype,
        shape: [count, ...shape.slice(1)],
        data: data.subarray(start * rowBytes, (start + count) * rowBytes),
      }
    })
  })
}

import { failure, SightlineError } from '../../lib/errors.ts'
import {
  choose,
  type Measured,
  type Subject,
  THREADS_DEFAULT,
  unavailable,
  type Wanted,
} from '../../models/choose.ts'
import { type Located, type LocateOptions, locate } from '../../models/locate.ts'
import { openOnnx, type ProviderName } from '../../models/onnx.ts'
import type { Bytes, Runtime, Signature } from '../../models/runtime.ts'
import { checkSignature } from '../../models/signature.ts'
import { type Fill, fillBlack, fillOf, isUniform, shapeOf } from '../../models/tensor.ts'
import { openTfjs } from '../../models/tfjs.ts'
import { blazeface } from './blazeface.ts'
import type { Detection, Detector, Input, Picture } from './detector.ts'
import type { Head, HeadKind, Size } from './head.ts'
import { suppress } from './suppress.ts'
import { ultraface } from './ultraface.ts'
import { yunet } from './yunet.ts'

export const HEADS = { yunet, blazeface, ultraface } as const satisfies Record<string, HeadKind>
export type HeadName = keyof typeof HEADS
export const RUNTIMES = ['onnx', 'tfjs'] as const
/** Where faces are looked for elsewhere: by the Open Inference Protocol, or by what people run already. */
export const REMOTE_RUNTIMES = ['remote', 'compreface', 'codeproject'] as const
export type RemoteRuntimeName = (typeof REMOTE_RUNTIMES)[number]
export type RuntimeName = (typeof RUNTIMES)[number]

export interface DetectorOptions extends LocateOptions {
  /** The family of models; `auto` recognises it from the model's inputs and outputs. */
  readonly head?: HeadName | 'auto'
  /** ONNX Runtime's execution provider; `auto` measures which is fastest. The CPU where absent. */
  readonly provider?: ProviderName | 'auto'
  /** Threads of one inference; `auto` measures how many are worth it. Two at most where absent. */
  readonly threads?: number | 'auto'
  /** 0 to 1: what scores below is no face. The head has a default. */
  readonly scoreMin?: number
  /** A part of `scoreMin`, 0 to 1: doubtful faces down to it are given too, for those who follow faces. Default 1. */
  readonly scoreLow?: number
  /** For models whose input size is free: pixels, multiples of 32. Larger finds smaller faces, and takes longer. */
  readonly inputSize?: Size
}

/** The largest stride of every head here. */
const SIDE_MULTIPLE = 32
/** A tensor of 4096 x 4096 is 200 MB; beyond, it is a mistake. */
const SIDE_MAX = 4096

/** What a detector is made of. */
export interface DetectorParts {
  readonly model: string
  readonly headName: HeadName
  readonly runtime: Runtime
  readonly head: Head
  readonly input: Input
  readonly scoreMin: number
  readonly scoreLow: number
  readonly measured?: Measured
  /** The ONNX file's; undefined for a model of TensorFlow.js. */
  readonly bytes?: Uint8Array
}

/**
 * Opens a model. Errors: MODEL_NOT_FOUND, MODEL_UNUSABLE, CHECKSUM_WRONG, PROVIDER_UNAVAILABLE; those of the user's
 * catalogue (CONFIG_*), FOLDER_UNWRITABLE.
 */
export async function openDetector(options: DetectorOptions = {}): Promise<FaceDetector> {
  return new FaceDetector(await openParts(options))
}

/** The parts of the detector that `options` describe; the runtime is the caller's to dispose of. */
export async function openParts(options: DetectorOptions = {}): Promise<DetectorParts> {
  const model = await locate(options)
  if (model.entry?.classify)
    throw failure(
      'MODEL_UNUSABLE',
      `The model ${model.name} is a classifier, not a face detector. Name it under "process", and a detector as "detect.model".`,
    )
  const wanted: Wanted = { provider: options.provider ?? 'cpu', threads: options.threads ?? THREADS_DEFAULT }
  let runtime = await openFirst(model, wanted)
  try {
    checkSignature(runtime, model.entry, model.label)
    const { size, ...recognised } = partsOf(runtime, model, options)
    const parts = { ...recognised, bytes: model.bytes }
    const { head } = parts
    let measured: Measured | undefined
    if (model.bytes && (wanted.provider !== 'cpu' || wanted.threads === 'auto')) {
      const subject: Subject = { bytes: model.bytes, name: model.label, shape: shapeOf(head.format, size) }
      const choice = await choose(wanted, subject, options.modelFolder)
      measured = choice.measured
      await runtime[Symbol.asyncDispose]()
      runtime = await openChosen(choice, wanted, subject)
    }
    await tryOut(runtime, head, size, model.label)
    return { ...parts, runtime, measured }
  } catch (error) {
    await runtime[Symbol.asyncDispose]()
    throw error
  }
}

/**
 * What kind of detector a network is by what it says of itself; nothing is run. `size` is that of the input tensor.
 * Errors: MODEL_UNUSABLE; CONFIG_INVALID where its catalogue entry names an unknown family.
 */
export function partsOf(
  signature: Signature,
  model: Pick<Located, 'name' | 'label' | 'head' | 'scoreMin' | 'inputSize'>,
  options: Pick<DetectorOptions, 'head' | 'inputSize' | 'scoreMin' | 'scoreLow'>,
): Omit<DetectorParts, 'runtime'> & { readonly size: Size } {
  const { head, headName } = recognise(signature, options.head ?? 'auto', model)
  const size = inputSize(head, options.inputSize ?? model.inputSize, model.label)
  return {
    model: model.name,
    head,
    headName,
    input: { ...size, fit: head.fit },
    scoreLow: options.scoreLow ?? 1,
    scoreMin: options.scoreMin ?? model.scoreMin ?? head.scoreMinDefault,
    size,
  }
}

/** Opened on the CPU, as far as nothing else was said: what the model is like must be known before anything is measured. */
async function openFirst(model: Located, wanted: Wanted): Promise<Runtime> {
  if (model.bytes)
    return await openOnnx(model.bytes, model.label, wanted.threads === 'auto' ? 1 : wanted.threads)
  if (wanted.provider !== 'auto' && wanted.provider !== 'cpu')
    throw failure(
      'PROVIDER_UNAVAILABLE',
      `The provider ${wanted.provider} belongs to ONNX Runtime, but ${model.label} runs on TensorFlow.js, which chooses its own. Set "detect.provider" to auto.`,
    )
  return await openTfjs(model.tfjsFile as string)
}

async function openChosen(
  choice: { readonly provider: ProviderName; readonly threads: number },
  wanted: Wanted,
  subject: Subject,
): Promise<Runtime> {
  try {
    return await openOnnx(subject.bytes, subject.name, choice.threads, choice.provider)
  } catch (error) {
    if (wanted.provider === 'auto' || choice.provider === 'cpu') throw error
    throw await unavailable(choice.provider, error instanceof Error ? error.message : String(error), subject)
  }
}

function recognise(
  runtime: Signature,
  wanted: HeadName | 'auto',
  model: Pick<Located, 'name' | 'label' | 'head'>,
): { readonly head: Head; readonly headName: HeadName } {
  const named = wanted === 'auto' ? (model.head ?? 'auto') : wanted
  if (named !== 'auto' && !Object.hasOwn(HEADS, named))
    throw failure(
      'CONFIG_INVALID',
      `Unknown head "${named}" in the catalogue's entry ${model.name}. Use one of: auto, ${Object.keys(HEADS).join(', ')}.`,
    )
  const names = named === 'auto' ? (Object.keys(HEADS) as HeadName[]) : [named as HeadName]
  const [input] = runtime.inputs
  const one = runtime.inputs.length === 1 && (typeof input?.shape[0] !== 'number' || input.shape[0] === 1)
  for (const name of names) {
    const head = HEADS[name].recognise(runtime)
    if (head && one && input?.type === 'float32') return { head, headName: name }
  }
  const has = [...runtime.inputs, ...runtime.outputs].map(
    ({ name, type, shape }) => `${name} [${shape.join(' x ')}]${type === 'float32' ? '' : ` of ${type}`}`,
  )
  throw new NoDetector(
    `${model.label} is not a face detector that Sightline supports. It has ${has.slice(0, 8).join(', ')}${has.length > 8 ? ', ...' : ''}. Supported: ${names.map((name) => `${name} (${HEADS[name].expects})`).join('; ')}.`,
  )
}

function inputSize(head: Head, wanted: Size | undefined, model: string): Size {
  const size = wanted ?? head.inputSize ?? head.inputSizeDefault
  const fixed = head.inputSize
  if (fixed && (size.width !== fixed.width || size.height !== fixed.height))
    throw failure(
      'MODEL_UNUSABLE',
      `${model} accepts pictures of ${fixed.width}x${fixed.height} only, not ${size.width}x${size.height}. Remove the input size, or use a model with a free input size.`,
    )
  for (const side of [size.width, size.height]) {
    const fits = fixed !== undefined || Number.isInteger(side / SIDE_MULTIPLE)
    if (!fits || !(side >= 1) || side > SIDE_MAX)
      throw failure(
        'MODEL_UNUSABLE',
        `The input size ${size.width}x${size.height} does not fit ${model}: both sides must be multiples of ${SIDE_MULTIPLE}, up to ${SIDE_MAX}.`,
      )
  }
  return size
}

/** Runs it once on black: a model may look right and still not run at this size, or give something else than it says. */
async function tryOut(runtime: Runtime, head: Head, size: Size, model: string): Promise<void> {
  try {
    const data = new Float32Array(size.width * size.height * 3)
    fillBlack(data, head.format)
    const shape = shapeOf(head.format, size)
    const outputs = await runtime.run(new Map([[inputName(runtime), { type: 'float32', shape, data }]]))
    head.decode(outputs, size, 1)
  } catch (error) {
    throw failure(
      'MODEL_UNUSABLE',
      `${model} fails on pictures of ${size.width}x${size.height} (${error instanceof Error ? error.message : String(error)}). Set another "detect.inputSize", or use another model.`,
      error,
    )
  }
}

/** The model is a good one, and of no family of detectors: whoever takes others too can tell. */
export class NoDetector extends SightlineError {
  constructor(message: string) {
    super('MODEL_UNUSABLE', message)
  }
}

const inputName = ({ inputs }: Runtime) => inputs[0]?.name ?? ''

/** An input tensor, reused. `size` is its size, `filled` the picture's in it. */
interface Slot {
  readonly fill: Fill
  tensor: Float32Array | Uint8Array
  size: Size
  filled: Size
}

export class FaceDetector implements Detector {
  readonly model: string
  readonly runtime: string
  readonly input: Input
  readonly scoreMin: number
  readonly measured: Measured | undefined
  /** The family it belongs to, and whether it takes inputs of other sizes. */
  readonly head: HeadName
  readonly inputFree: boolean
  readonly #runtime: Runtime
  readonly #head: Head
  readonly #scoreFloor: number
  readonly #bytes: Bytes | undefined
  /** Those that are not in use; who waits for one, first come, first served. */
  readonly #free: Slot[]
  readonly #waiting: ((slot: Slot) => void)[] = []
  readonly #running = new Set<Promise<unknown>>()
  #closed: Promise<void> | undefined

  constructor({ model, runtime, head, headName, input, scoreMin, scoreLow, measured }: DetectorParts) {
    this.model = model
    this.runtime = runtime.description
    this.input = input
    this.scoreMin = scoreMin
    this.measured = measured
    this.head = headName
    this.inputFree = head.inputSize === undefined
    this.#runtime = runtime
    this.#head = head
    this.#scoreFloor = scoreMin * scoreLow
    const { format } = head
    const asBytes = runtime.takesBytes === true && isUniform(format)
    this.#bytes = asBytes ? { scale: format.scale as number, offset: format.offset as number } : undefined
    this.#free = Array.from({ length: runtime.concurrency ?? 1 }, () => ({
      fill: fillOf(format),
      tensor: asBytes ? new Uint8Array(0) : new Float32Array(0),
      size: { width: 0, height: 0 },
      filled: { width: 0, height: 0 },
    }))
  }

  /** In the order of the calls, as many at a time as the runtime takes. The picture must stay as it is until its turn is over. */
  async detect(picture: Picture): Promise<Detection[]> {
    const { data, width, height } = picture
    if (width > this.input.width || height > this.input.height)
      throw new RangeError(
        `a picture of ${width}x${height} does not fit the detector's input of ${this.input.width}x${this.input.height}`,
      )
    if (this.input.fit === 'stretch' && !same(picture, this.input))
      throw new RangeError(
        `a picture of ${width}x${height} is not stretched to the detector's input of ${this.input.width}x${this.input.height}`,
      )
    if (!(width > 0 && height > 0 && data.length === width * height * 3))
      throw new RangeError(`${data.length} bytes are not an RGB picture of ${width}x${height}`)
    if (this.#closed) throw new Error('the detector is closed')
    const result = this.#detect(picture)
    const running = result.catch(() => {}).then(() => void this.#running.delete(running))
    this.#running.add(running)
    return result
  }

  async #detect(picture: Picture): Promise<Detection[]> {
    const slot = this.#free.pop() ?? (await new Promise<Slot>((resolve) => this.#waiting.push(resolve)))
    try {
      const size = this.#head.inputSize ?? {
        // Only as much as the picture needs: a 16:9 frame takes 60 % of a square's time.
        width: Math.ceil(picture.width / SIDE_MULTIPLE) * SIDE_MULTIPLE,
        height: Math.ceil(picture.height / SIDE_MULTIPLE) * SIDE_MULTIPLE,
      }
      this.#fill(slot, picture, size)
      const shape = shapeOf(this.#head.format, size)
      const { tensor } = slot
      const input =
        tensor instanceof Uint8Array
          ? ({ type: 'uint8', shape, data: tensor } as const)
          : ({ type: 'float32', shape, data: tensor } as const)
      const outputs = await this.#runtime.run(new Map([[inputName(this.#runtime), input]]), this.#bytes)
      return suppress(this.#head.decode(outputs, size, this.#scoreFloor), this.#head.overlapMax)
    } finally {
      const next = this.#waiting.shift()
      if (next) next(slot)
      else this.#free.push(slot)
    }
  }

  #fill(slot: Slot, picture: Picture, size: Size): void {
    if (!same(size, slot.size)) {
      const values = size.width * size.height * 3
      slot.size = size
      slot.tensor = this.#bytes ? new Uint8Array(values) : new Float32Array(values)
      fillBlack(slot.tensor, this.#head.format)
    } else if (!same(picture, slot.filled)) fillBlack(slot.tensor, this.#head.format)
    slot.filled = { width: picture.width, height: picture.height }
    slot.fill(slot.tensor, picture, size)
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closed ??= Promise.all(this.#running).then(() => this.#runtime[Symbol.asyncDispose]())
    return this.#closed
  }
}

const same = (a: Size, b: Size) => a.width === b.width && a.height === b.height

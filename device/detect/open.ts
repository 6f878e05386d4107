import { readFile } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { basename, extname } from 'node:path'
import { failure, systemCode } from '../../lib/errors.ts'
import { BLAZEFACE, convertBlazeface, keptBlazeface } from '../../models/convert.ts'
import { blazeface } from './blazeface.ts'
import type { Detection, Detector, Picture } from './detector.ts'
import type { Head, HeadKind, Size } from './head.ts'
import { openOnnx, type Runtime } from './onnx.ts'
import { suppress } from './suppress.ts'
import { yunet } from './yunet.ts'

export const HEADS = { yunet, blazeface } as const satisfies Record<string, HeadKind>
export type HeadName = keyof typeof HEADS

export interface DetectorOptions {
  /** `blazeface` (comes with Sightline) or the path of an ONNX file. */
  readonly model?: string
  /** Where the model that comes with Sightline is kept once it is made; made anew each time where absent. */
  readonly modelFolder?: string
  /** The family of models; `auto` recognises it from the model's inputs and outputs. */
  readonly head?: HeadName | 'auto'
  /** Threads of one inference. */
  readonly threads?: number
  /** 0 to 1: what scores below is no face. The head has a default. */
  readonly scoreMin?: number
  /** A part of `scoreMin`, 0 to 1: doubtful faces down to it are given too, for those who follow faces. Default 1. */
  readonly scoreLow?: number
  /** For models whose input size is free: pixels, multiples of 32. Larger finds smaller faces, and takes longer. */
  readonly inputSize?: Size
}

const MODEL_DEFAULT = 'blazeface'
/** The largest stride of every head here. */
const SIDE_MULTIPLE = 32
/** A tensor of 4096 x 4096 is 200 MB; beyond, it is a mistake. */
const SIDE_MAX = 4096
/** The networks are small: a second thread saves a third of the time at best; two cores are better left to the rest. */
const THREADS_DEFAULT = availableParallelism() >= 4 ? 2 : 1

/** Opens a model. Errors: MODEL_NOT_FOUND, MODEL_UNUSABLE. */
export async function openDetector(options: DetectorOptions = {}): Promise<Detector> {
  const wanted = options.model ?? MODEL_DEFAULT
  const threads = options.threads ?? THREADS_DEFAULT
  const own = wanted === MODEL_DEFAULT || wanted === BLAZEFACE
  const name = own ? BLAZEFACE : basename(wanted, extname(wanted))
  const bytes = !own
    ? await readModel(wanted)
    : await (options.modelFolder ? keptBlazeface(options.modelFolder) : convertBlazeface())
  const runtime = await openOnnx(bytes, wanted, threads)
  try {
    const head = recognise(runtime, options.head ?? 'auto', wanted)
    return new FaceDetector(name, runtime, head, inputSize(head, options.inputSize, wanted), options)
  } catch (error) {
    await runtime[Symbol.asyncDispose]()
    throw error
  }
}

async function readModel(file: string): Promise<Uint8Array> {
  try {
    return await readFile(file)
  } catch (error) {
    const why =
      { ENOENT: 'does not exist', EISDIR: 'is a folder' }[systemCode(error) ?? ''] ?? 'cannot be read'
    throw failure(
      'MODEL_NOT_FOUND',
      `The model ${file} ${why}. Give the path of an ONNX file, or "${MODEL_DEFAULT}" for the model that comes with Sightline.`,
      error,
    )
  }
}

function recognise(runtime: Runtime, wanted: HeadName | 'auto', model: string): Head {
  const names = wanted === 'auto' ? (Object.keys(HEADS) as HeadName[]) : [wanted]
  for (const name of names) {
    const head = HEADS[name].recognise(runtime)
    if (head && runtime.inputs.length === 1 && runtime.inputs[0]?.type === 'float32') return head
  }
  const has = [...runtime.inputs, ...runtime.outputs].map(
    ({ name, shape }) => `${name} [${shape.join(' x ')}]`,
  )
  throw failure(
    'MODEL_UNUSABLE',
    `${model} is no face detector of a kind that Sightline knows. It has ${has.slice(0, 8).join(', ')}${has.length > 8 ? ', ...' : ''}. Known: ${names.map((name) => `${name} (${HEADS[name].expects})`).join('; ')}.`,
  )
}

function inputSize(head: Head, wanted: Size | undefined, model: string): Size {
  const size = wanted ?? head.inputSize ?? head.inputSizeDefault
  const fixed = head.inputSize
  if (fixed && (size.width !== fixed.width || size.height !== fixed.height))
    throw failure(
      'MODEL_UNUSABLE',
      `${model} takes pictures of ${fixed.width}x${fixed.height} only, not ${size.width}x${size.height}. Leave the input size out, or take a model whose input size is free.`,
    )
  for (const side of [size.width, size.height])
    if (!Number.isInteger(side / SIDE_MULTIPLE) || side < SIDE_MULTIPLE || side > SIDE_MAX)
      throw failure(
        'MODEL_UNUSABLE',
        `The input size ${size.width}x${size.height} does not fit ${model}: both sides must be multiples of ${SIDE_MULTIPLE}, up to ${SIDE_MAX}.`,
      )
  return size
}

class FaceDetector implements Detector {
  readonly model: string
  readonly runtime: string
  readonly input: Size
  readonly #runtime: Runtime
  readonly #head: Head
  readonly scoreMin: number
  readonly #scoreFloor: number
  /** The input tensor, reused: one inference at a time. `#size` is its size, `#filled` the picture's in it. */
  #tensor = new Float32Array(0)
  #size: Size = { width: 0, height: 0 }
  #filled: Size = { width: 0, height: 0 }
  #last: Promise<unknown> = Promise.resolve()
  #closed: Promise<void> | undefined

  constructor(
    model: string,
    runtime: Runtime,
    head: Head,
    input: Size,
    { scoreMin = head.scoreMinDefault, scoreLow = 1 }: DetectorOptions,
  ) {
    this.model = model
    this.runtime = runtime.description
    this.input = input
    this.#runtime = runtime
    this.#head = head
    this.scoreMin = scoreMin
    this.#scoreFloor = scoreMin * scoreLow
  }

  /** One after the other, in the order of the calls. The picture must stay as it is until its turn is over. */
  async detect(picture: Picture): Promise<Detection[]> {
    const { data, width, height } = picture
    if (width > this.input.width || height > this.input.height)
      throw new RangeError(
        `a picture of ${width}x${height} does not fit the detector's input of ${this.input.width}x${this.input.height}`,
      )
    if (!(width > 0 && height > 0 && data.length === width * height * 3))
      throw new RangeError(`${data.length} bytes are no RGB picture of ${width}x${height}`)
    if (this.#closed) throw new Error('the detector is closed')
    const result = this.#last.then(() => this.#detect(picture))
    this.#last = result.catch(() => {})
    return result
  }

  async #detect(picture: Picture): Promise<Detection[]> {
    const size = this.#head.inputSize ?? {
      // Only as much as the picture needs: a 16:9 frame takes 60 % of a square's time.
      width: Math.ceil(picture.width / SIDE_MULTIPLE) * SIDE_MULTIPLE,
      height: Math.ceil(picture.height / SIDE_MULTIPLE) * SIDE_MULTIPLE,
    }
    if (!same(size, this.#size)) {
      this.#size = size
      this.#tensor = new Float32Array(size.width * size.height * 3).fill(this.#head.padding)
    } else if (!same(picture, this.#filled)) this.#tensor.fill(this.#head.padding)
    this.#filled = { width: picture.width, height: picture.height }
    this.#head.fill(this.#tensor, picture, size)
    const outputs = await this.#runtime.run(this.#tensor, this.#head.inputShape(size))
    return suppress(this.#head.decode(outputs, size, this.#scoreFloor), this.#head.overlapMax)
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closed ??= this.#last.then(() => this.#runtime[Symbol.asyncDispose]())
    return this.#closed
  }
}

const same = (a: Size, b: Size) => a.width === b.width && a.height === b.height

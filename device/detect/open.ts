import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import { basename, extname, join } from 'node:path'
import { failure, SightlineError, systemCode } from '../../lib/errors.ts'
import { findEntry, MODEL_FOLDER_DEFAULT, readCatalog } from '../../models/catalog.ts'
import { BLAZEFACE, blazefaceTfjsFile, convertBlazeface, keptBlazeface } from '../../models/convert.ts'
import { MODEL_BYTES_MAX } from '../limits.ts'
import { blazeface } from './blazeface.ts'
import { choose, type Subject, THREADS_DEFAULT, unavailable, type Wanted } from './choose.ts'
import type { Detection, Detector, Input, Measured, Picture } from './detector.ts'
import type { Head, HeadKind, Size } from './head.ts'
import { openOnnx, type ProviderName } from './onnx.ts'
import type { Runtime } from './runtime.ts'
import { suppress } from './suppress.ts'
import { openTfjs } from './tfjs.ts'
import { ultraface } from './ultraface.ts'
import { yunet } from './yunet.ts'

export const HEADS = { yunet, blazeface, ultraface } as const satisfies Record<string, HeadKind>
export type HeadName = keyof typeof HEADS
export const RUNTIMES = ['onnx', 'tfjs'] as const
export type RuntimeName = (typeof RUNTIMES)[number]

export interface DetectorOptions {
  /**
   * A name of the catalogue (`blazeface` comes with Sightline), or the path of an ONNX file or of a graph model of
   * TensorFlow.js (model.json).
   */
  readonly model?: string
  /**
   * Where models lie that were pulled, the one that comes with Sightline is kept once it is made (made anew each time
   * where absent), and what was measured is remembered (nothing is, where absent).
   */
  readonly modelFolder?: string
  /** The user's own catalogue; `catalog.yaml` in the folder of the models where absent. */
  readonly catalog?: string
  /** The family of models; `auto` recognises it from the model's inputs and outputs. */
  readonly head?: HeadName | 'auto'
  /** `auto`: TensorFlow.js for its own files, ONNX Runtime for all others. */
  readonly runtime?: RuntimeName | 'auto'
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

const MODEL_DEFAULT = BLAZEFACE
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
  const wanted: Wanted = { provider: options.provider ?? 'cpu', threads: options.threads ?? THREADS_DEFAULT }
  let runtime = await openFirst(model, wanted)
  try {
    const { head, headName } = recognise(runtime, options.head ?? 'auto', model)
    const size = inputSize(head, options.inputSize ?? model.inputSize, model.label)
    const parts = {
      model: model.name,
      bytes: model.bytes,
      head,
      headName,
      input: { ...size, fit: head.fit },
      scoreLow: options.scoreLow ?? 1,
      scoreMin: options.scoreMin ?? model.scoreMin ?? head.scoreMinDefault,
    }
    let measured: Measured | undefined
    if (model.bytes && (wanted.provider !== 'cpu' || wanted.threads === 'auto')) {
      const subject: Subject = { bytes: model.bytes, name: model.label, shape: head.inputShape(size) }
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

/** Where a model was found, and what its catalogue entry says of it. One of `bytes` (ONNX) and `tfjsFile` is there. */
interface Located {
  /** In crops' metadata. */
  readonly name: string
  /** What to call it in errors. */
  readonly label: string
  readonly bytes?: Uint8Array
  readonly tfjsFile?: string
  readonly head?: string
  readonly scoreMin?: number
  readonly inputSize?: Size
}

async function locate(options: DetectorOptions): Promise<Located> {
  const wanted = options.model ?? MODEL_DEFAULT
  if (wanted === MODEL_DEFAULT) {
    const own = { name: BLAZEFACE, label: BLAZEFACE }
    if (options.runtime === 'tfjs') return { ...own, tfjsFile: blazefaceTfjsFile() }
    return {
      ...own,
      bytes: await (options.modelFolder ? keptBlazeface(options.modelFolder) : convertBlazeface()),
    }
  }
  if (!isPath(wanted)) return await locateByName(wanted, options)
  const found = { name: basename(wanted, extname(wanted)), label: wanted }
  const tfjs = extname(wanted).toLowerCase() === '.json'
  if (options.runtime !== undefined && options.runtime !== 'auto' && tfjs !== (options.runtime === 'tfjs'))
    throw failure(
      'MODEL_UNUSABLE',
      tfjs
        ? `${wanted} is a TensorFlow.js file, but "detect.runtime" is onnx. Set it to auto or tfjs, or name an ONNX file.`
        : `${wanted} is not a TensorFlow.js model.json, but "detect.runtime" is tfjs. Set it to auto or onnx, or name a model.json.`,
    )
  return tfjs ? { ...found, tfjsFile: wanted } : { ...found, bytes: await readModel(wanted) }
}

/** What names a file: it has a folder or an extension in it, or is there. */
function isPath(model: string): boolean {
  return /[/\\]|\.(onnx|json|ort)$/i.test(model) || existsSync(model)
}

async function locateByName(name: string, options: DetectorOptions): Promise<Located> {
  const folder = options.modelFolder ?? MODEL_FOLDER_DEFAULT
  const entry = findEntry(readCatalog(folder, options.catalog), name)
  if (entry.file === undefined)
    throw failure('CONFIG_INVALID', `The catalogue's entry ${name} has no file. Add one.`)
  const file = join(folder, entry.file)
  if (!existsSync(file))
    throw failure(
      'MODEL_NOT_FOUND',
      entry.sources.length > 0
        ? `Model ${name} not found: ${file} is missing. Run "sightline models pull ${name}".`
        : `Model ${name} not found: ${file} is missing. Put it there.`,
    )
  if (options.runtime === 'tfjs')
    throw failure(
      'MODEL_UNUSABLE',
      `The model ${name} is an ONNX file, but "detect.runtime" is tfjs. Set it to auto or onnx.`,
    )
  const bytes = await readModel(file)
  if (entry.sha256 !== undefined && createHash('sha256').update(bytes).digest('hex') !== entry.sha256)
    throw failure(
      'CHECKSUM_WRONG',
      `Checksum mismatch: ${file} is not the model ${name} of the catalogue. ${entry.sources.length > 0 ? `Run "sightline models pull ${name}", which downloads it again.` : 'Copy it again, or correct "sha256" in its entry.'}`,
    )
  return {
    name,
    label: `the model ${name}`,
    bytes,
    head: entry.head,
    scoreMin: entry.scoreMin,
    inputSize: entry.input && { width: entry.input.width, height: entry.input.height },
  }
}

async function readModel(file: string): Promise<Uint8Array> {
  try {
    const { size } = await stat(file)
    if (size > MODEL_BYTES_MAX)
      throw failure('MODEL_UNUSABLE', `${file} has ${size} bytes; the limit is ${MODEL_BYTES_MAX}.`)
    const bytes = await readFile(file)
    if (bytes.length === 0) throw failure('MODEL_UNUSABLE', `The model ${file} is empty. Copy it again.`)
    return bytes
  } catch (error) {
    if (systemCode(error) === undefined || error instanceof SightlineError) throw error
    const why =
      { ENOENT: 'does not exist', EISDIR: 'is a folder' }[systemCode(error) ?? ''] ?? 'cannot be read'
    throw failure(
      'MODEL_NOT_FOUND',
      `The model ${file} ${why}. Give the path of an ONNX file, or "${MODEL_DEFAULT}" for the model that comes with Sightline; "sightline models list" names others.`,
      error,
    )
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
  runtime: Runtime,
  wanted: HeadName | 'auto',
  model: Located,
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
  throw failure(
    'MODEL_UNUSABLE',
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
    const outputs = await runtime.run(
      new Float32Array(size.width * size.height * 3).fill(head.padding),
      head.inputShape(size),
    )
    head.decode(outputs, size, 1)
  } catch (error) {
    throw failure(
      'MODEL_UNUSABLE',
      `${model} fails on pictures of ${size.width}x${size.height} (${error instanceof Error ? error.message : String(error)}). Set another "detect.inputSize", or use another model.`,
      error,
    )
  }
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
  /** The input tensor, reused: one inference at a time. `#size` is its size, `#filled` the picture's in it. */
  #tensor = new Float32Array(0)
  #size: Size = { width: 0, height: 0 }
  #filled: Size = { width: 0, height: 0 }
  #last: Promise<unknown> = Promise.resolve()
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
  }

  /** One after the other, in the order of the calls. The picture must stay as it is until its turn is over. */
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

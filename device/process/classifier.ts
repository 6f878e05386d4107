import { createHash } from 'node:crypto'
import { failure } from '../../lib/errors.ts'
import type { Classify } from '../../models/catalog.ts'
import { batchShape, best, type ClassifierHead, classifierHead, type Said } from '../../models/classify.ts'
import { type Located, type LocateOptions, locate } from '../../models/locate.ts'
import { openOnnx } from '../../models/onnx.ts'
import type { Runtime } from '../../models/runtime.ts'
import { checkSignature } from '../../models/signature.ts'
import { fillOf, type Rgb } from '../../models/tensor.ts'
import { openMaskDetector } from './mask-detector.ts'
import { fitted } from './shown.ts'
import { checkActivation, tryClassifier } from './trial.ts'

export interface ClassifierOptions extends Pick<LocateOptions, 'modelFolder' | 'catalog' | 'entry'> {
  /** A name of the catalogue, or the path of a detector that tells masked faces from others. */
  readonly model: string
}

/** Tells what a face is: a model of the catalogue with `classify`, or a detector with classes. */
export interface Classifier extends AsyncDisposable {
  /** The model and its version: `liveness@0f3a5c9b1d2e`. */
  readonly by: string
  /** What it runs on, for people. */
  readonly runtime: string
  readonly labels: readonly string[]
  /** What scores less is not said, where nobody says otherwise. */
  readonly threshold: number
  /** How much beside the face's box it is shown, as a fraction of the box; undefined: the whole crop. */
  readonly margin: number | undefined
  /** Pixels, and how a picture of another shape is fitted. */
  readonly input: { readonly width: number; readonly height: number; readonly fit: Classify['fit'] }
  /**
   * The best label, however little it scores; undefined where it sees no face.
   * Errors: INFERENCE_WRONG, where the model's answer is none.
   */
  look(picture: Rgb): Promise<Said | undefined>
}

/** One thread: these networks are small, and the cores are the detector's. */
const THREADS = 1
const VERSION_DIGITS = 12

export const byOf = (model: string, bytes: Uint8Array | undefined): string =>
  bytes === undefined
    ? model
    : `${model}@${createHash('sha256').update(bytes).digest('hex').slice(0, VERSION_DIGITS)}`

/**
 * Opens a classifier in this thread. Errors: MODEL_NOT_FOUND, MODEL_UNUSABLE, CHECKSUM_WRONG, FOLDER_UNWRITABLE; those of the
 * user's catalogue (CONFIG_*).
 */
export async function openClassifier(options: ClassifierOptions): Promise<Classifier> {
  const model = await locate(options)
  const classify = model.entry?.classify
  if (classify === undefined) return await openMaskDetector(options)
  if (model.bytes === undefined) throw new Error(`${model.label} has no bytes`)
  const runtime = await openOnnx(model.bytes, model.label, THREADS)
  try {
    checkSignature(runtime, model.entry, model.label)
    const head = classifierHead(runtime, classify, model.inputSize, model.label)
    checkActivation(classify.activation, await tryClassifier(runtime, head, model.label), model.label)
    return new NetworkClassifier(runtime, head, classify, model)
  } catch (error) {
    await runtime[Symbol.asyncDispose]()
    throw error
  }
}

class NetworkClassifier implements Classifier {
  readonly by: string
  readonly runtime: string
  readonly labels: readonly string[]
  readonly threshold: number
  readonly margin: number | undefined
  readonly input: Classifier['input']
  readonly #runtime: Runtime
  readonly #head: ClassifierHead
  readonly #fill: ReturnType<typeof fillOf>
  readonly #label: string

  constructor(runtime: Runtime, head: ClassifierHead, { fit, margin }: Classify, model: Located) {
    this.by = byOf(model.name, model.bytes)
    this.runtime = runtime.description
    this.labels = head.labels
    this.threshold = head.threshold
    this.margin = margin
    this.input = { ...head.size, fit }
    this.#runtime = runtime
    this.#head = head
    this.#fill = fillOf(head.format)
    this.#label = model.label
  }

  async look(picture: Rgb): Promise<Said> {
    const bytes = fitted(picture, this.input)
    const { size } = this.#head
    const data = new Float32Array(3 * size.width * size.height)
    this.#fill(data, { data: bytes, ...size }, size)
    try {
      const outputs = await this.#runtime.run(
        new Map([[this.#head.inputName, { type: 'float32', shape: batchShape(this.#head, 1), data }]]),
      )
      const [scores] = this.#head.decode(outputs, 1)
      const said = scores && best(this.#head.labels, scores, 0)
      if (said === undefined) throw new Error('it gives no scores')
      return said
    } catch (error) {
      throw failure(
        'INFERENCE_WRONG',
        `The answer of ${this.#label} is none: ${error instanceof Error ? error.message : String(error)}.`,
        error,
      )
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#runtime[Symbol.asyncDispose]()
  }
}

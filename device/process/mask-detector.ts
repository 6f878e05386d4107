import { failure } from '../../lib/errors.ts'
import type { Said } from '../../models/classify.ts'
import type { Rgb } from '../../models/tensor.ts'
import type { Detection } from '../detect/detector.ts'
import { type DetectorParts, FaceDetector, NoDetector, openParts } from '../detect/open.ts'
import { byOf, type Classifier, type ClassifierOptions } from './classifier.ts'
import { fitted } from './shown.ts'

const WITH_MASK = 'with mask'
const WITHOUT_MASK = 'without mask'
export const MASK_LABELS: readonly string[] = [WITH_MASK, WITHOUT_MASK]
/**
 * A detector that tells masked faces from others, as a classifier: it looks at the crop, stretched to its input as a frame is, and
 * the face nearest the middle says what it is. Errors: as `openClassifier`.
 */
export async function openMaskDetector(options: ClassifierOptions): Promise<Classifier> {
  const parts = await openParts({ ...options, threads: 1 }).catch((error: unknown) => {
    if (error instanceof NoDetector)
      throw failure(
        'MODEL_UNUSABLE',
        `${options.model} cannot look at crops: it has no catalogue entry with "classify", and is no detector that tells masked faces from others. Make an entry: sightline models import FILE --labels LABEL,LABEL.`,
        error,
      )
    throw error
  })
  if (!parts.head.tellsMasks) {
    await parts.runtime[Symbol.asyncDispose]()
    throw failure(
      'MODEL_UNUSABLE',
      `${parts.model} finds faces, but says nothing of them. Use a classifier ("sightline models list"), or a detector that tells masked faces from others, such as ultraface-rfb-640-masked.`,
    )
  }
  return new MaskDetector(parts)
}

class MaskDetector implements Classifier {
  readonly by: string
  readonly runtime: string
  readonly labels = MASK_LABELS
  readonly threshold: number
  readonly margin = undefined
  readonly input: Classifier['input']
  readonly #detector: FaceDetector

  constructor(parts: DetectorParts) {
    this.#detector = new FaceDetector(parts)
    this.by = byOf(parts.model, parts.bytes)
    this.runtime = this.#detector.runtime
    this.threshold = this.#detector.scoreMin
    const { width, height } = this.#detector.input
    // The only family that tells masks stretches its pictures.
    this.input = { width, height, fit: 'stretch' }
  }

  async look(picture: Rgb): Promise<Said | undefined> {
    const { width, height } = this.input
    const data = fitted(picture, this.input)
    const face = nearest(await this.#detector.detect({ data, width, height }), [width / 2, height / 2])
    if (face?.masked === undefined) return undefined
    return { label: face.masked ? WITH_MASK : WITHOUT_MASK, score: face.score }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#detector[Symbol.asyncDispose]()
  }
}

function nearest(faces: readonly Detection[], [x, y]: readonly [number, number]): Detection | undefined {
  const away = ({ box: [left, top, width, height] }: Detection) =>
    Math.hypot(left + width / 2 - x, top + height / 2 - y)
  return faces.toSorted((a, b) => away(a) - away(b))[0]
}

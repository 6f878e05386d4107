import { failure } from '../../lib/errors.ts'
import type { Classify } from '../../models/catalog.ts'
import { batchShape, type ClassifierHead, guessActivation } from '../../models/classify.ts'
import type { Runtime } from '../../models/runtime.ts'
import { fillOf } from '../../models/tensor.ts'

/** Bytes of pictures that are as unlike as can be: what a model makes of them tells probabilities from other numbers. */
const TRIALS: readonly ((index: number) => number)[] = [
  () => 0,
  (index) => (index * 37) % 256,
  (index) => (index * index * 7 + (index >> 5)) % 256,
  () => 255,
]

/**
 * Runs a classifier on a few pictures: a model may look right and still not run, or give something else than its entry says.
 * @param label the model's, for people
 * @returns what its outputs look like. Errors: MODEL_UNUSABLE.
 */
export async function tryClassifier(
  runtime: Runtime,
  head: ClassifierHead,
  label: string,
): Promise<Classify['activation']> {
  const { size, format, outputName } = head
  const fill = fillOf(format)
  const values = 3 * size.width * size.height
  const raw: Float32Array[] = []
  try {
    for (const trial of TRIALS) {
      const picture = Uint8Array.from({ length: values }, (_, index) => trial(index))
      const data = new Float32Array(values)
      fill(data, { data: picture, ...size }, size)
      const outputs = await runtime.run(
        new Map([[head.inputName, { type: 'float32', shape: batchShape(head, 1), data }]]),
      )
      head.decode(outputs, 1)
      const output = outputs.get(outputName)
      if (output?.type === 'float32') raw.push(output.data)
    }
  } catch (error) {
    throw unusable(label, error instanceof Error ? error.message : String(error), error)
  }
  return guessActivation(raw)
}

/** Errors: MODEL_UNUSABLE, where probabilities would be made of probabilities. */
export function checkActivation(
  wanted: Classify['activation'],
  looksLike: Classify['activation'],
  label: string,
): void {
  if (wanted === 'softmax' && looksLike === 'none')
    throw unusable(label, 'its output is probabilities already: "activation" must be none')
}

const unusable = (label: string, why: string, cause?: unknown) =>
  failure(
    'MODEL_UNUSABLE',
    `${label} fails on a trial (${why}). Correct "classify" in its catalogue entry, or use another model.`,
    cause,
  )

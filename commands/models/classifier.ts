import type { z } from 'zod'
import { tryClassifier } from '../../device/process/trial.ts'
import { failure } from '../../lib/errors.ts'
import { type Classify, classifySchema } from '../../models/catalog.ts'
import { classifierHead } from '../../models/classify.ts'
import { readModel } from '../../models/locate.ts'
import { openOnnx } from '../../models/onnx.ts'

/** What the command line says of a classifier. */
export interface ClassifierTold {
  readonly head?: string
  readonly activation?: string
  readonly channels?: string
  readonly mean?: string
  readonly scale?: string
  readonly input?: string
}

/**
 * What is needed of a classifier's file for its entry; it is tried. An activation that was not given is what the trial shows.
 * Errors: USAGE, MODEL_NOT_FOUND, MODEL_UNUSABLE.
 */
export async function classifierIn(path: string, labels: string, told: ClassifierTold) {
  if (told.head !== undefined)
    throw failure('USAGE', '--head is for detectors: a classifier (--labels) has none.')
  const given = parsed(labels, told)
  const bytes = await readModel(path)
  await using runtime = await openOnnx(bytes, path, 1)
  const size = told.input === undefined ? undefined : sizeOf(told.input)
  // A model's shape fits sigmoid where it fits any activation; its numbers are what they are.
  const trial = classifierHead(
    runtime,
    { ...given, activation: told.activation ? given.activation : 'sigmoid' },
    size,
    path,
  )
  const looksLike = await tryClassifier(runtime, trial, path)
  const activation = told.activation === undefined ? looksLike : given.activation
  if (activation === 'softmax' && looksLike === 'none')
    throw failure(
      'USAGE',
      `${path} gives probabilities already, which softmax would blur. Use --activation none, or leave it out.`,
    )
  const head = classifierHead(runtime, { ...given, activation }, size, path)
  const classify: z.input<typeof classifySchema> = {
    labels: given.labels,
    activation,
    channels: given.channels,
    mean: given.mean,
    scale: given.scale,
  }
  return {
    kind: 'classifier',
    bytes,
    input: { ...head.size },
    inputs: runtime.inputs.map(({ name, type, shape }) => ({ name, type, shape })),
    classify,
  }
}

function parsed(labels: string, { activation, channels, mean, scale }: ClassifierTold): Classify {
  const listed = labels.split(',').map((label) => label.trim())
  if (listed.includes(''))
    throw failure(
      'USAGE',
      `--labels needs names with commas between them, e.g. "no hat,hat", not "${labels}".`,
    )
  const result = classifySchema.safeParse({
    labels: listed,
    activation,
    channels,
    mean: mean === undefined ? undefined : numbersOf('--mean', mean),
    scale: scale === undefined ? undefined : numbersOf('--scale', scale),
  })
  if (result.success) return result.data
  const issue = result.error.issues[0]
  throw failure('USAGE', `--${String(issue?.path[0] ?? 'labels')}: ${issue?.message ?? 'it is wrong'}.`)
}

function numbersOf(option: string, text: string): number | [number, number, number] {
  const numbers = text.split(',').map((part) => (part.trim() === '' ? NaN : Number(part)))
  const [first = NaN, second, third] = numbers
  if (numbers.every(Number.isFinite)) {
    if (numbers.length === 1) return first
    if (numbers.length === 3) return [first, second as number, third as number]
  }
  throw failure(
    'USAGE',
    `${option} needs a number, or three for red, green and blue: 123.7,116.3,103.5, not "${text}".`,
  )
}

function sizeOf(text: string): { width: number; height: number } {
  const [, width, height] = /^(\d{1,4})x(\d{1,4})$/.exec(text) ?? []
  if (!width || !height) throw failure('USAGE', `--input needs a size, e.g. 112x112, not "${text}".`)
  return { width: Number(width), height: Number(height) }
}

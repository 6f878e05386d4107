import { failure } from '../lib/errors.ts'
import type { Classify } from './catalog.ts'
import type { Signature, TensorInfo, Tensors } from './runtime.ts'
import { described } from './signature.ts'
import { type InputFormat, type Sides, shapeOf } from './tensor.ts'

/** A classifier's input side, pixels: beyond, the entry is a mistake. */
const SIDE_MAX = 2048
/** Probabilities of one picture add up to 1, but for what float32 rounds off. */
const SUM_SLACK = 1e-3

/** What a classifier makes of one picture: each label's score, 0 to 1, in the labels' order. */
export type Scores = readonly number[]

export interface Said {
  readonly label: string
  readonly score: number
}

/** What an entry's `classify` means for this file: how pictures go in, and how labels come out. Pure. */
export interface ClassifierHead {
  readonly labels: readonly string[]
  readonly threshold: number
  readonly format: InputFormat
  readonly size: Sides
  readonly inputName: string
  readonly outputName: string
  /** Scores of each picture. @param batch pictures that were shown. Errors: Error, where it is no answer. */
  decode(outputs: Tensors, batch: number): Scores[]
}

/**
 * @param size the entry's input size, where it has one
 * @param label the model's, for people
 * Errors: MODEL_UNUSABLE, where the entry does not fit the file.
 */
export function classifierHead(
  signature: Signature,
  classify: Classify,
  size: Sides | undefined,
  label: string,
): ClassifierHead {
  const [input, ...more] = signature.inputs
  const shape = input?.shape ?? []
  const [batch] = shape
  if (
    !input ||
    more.length > 0 ||
    input.type !== 'float32' ||
    shape.length !== 4 ||
    (typeof batch === 'number' && batch !== 1)
  )
    throw unfit(
      label,
      `its input must be one picture of float32[1 x 3 x height x width] or [1 x height x width x 3], but is ${signature.inputs.map(described).join(', ') || 'missing'}`,
    )
  const layout = classify.layout ?? layoutOf(shape)
  if (layout === undefined)
    throw unfit(
      label,
      `its input ${described(input)} does not tell where the colours are. Set "classify.layout" to nchw or nhwc`,
    )
  const [height, width, colours] =
    layout === 'nchw' ? [shape[2], shape[3], shape[1]] : [shape[1], shape[2], shape[3]]
  if (typeof colours === 'number' && colours !== 3)
    throw unfit(
      label,
      `its input ${described(input)} has ${colours} channels as ${layout}; pictures have 3. Set "classify.layout" to ${layout === 'nchw' ? 'nhwc' : 'nchw'}, or use another model`,
    )
  const sides = {
    width: typeof width === 'number' ? width : size?.width,
    height: typeof height === 'number' ? height : size?.height,
  }
  if (sides.width === undefined || sides.height === undefined)
    throw unfit(
      label,
      `its input size is free. Say which (import: --input WxH; an entry: "input: { width, height }")`,
    )
  if (size && (size.width !== sides.width || size.height !== sides.height))
    throw unfit(
      label,
      `it takes pictures of ${sides.width}x${sides.height}, not ${size.width}x${size.height}. Correct "input" (import: --input)`,
    )
  if (sides.width > SIDE_MAX || sides.height > SIDE_MAX)
    throw unfit(
      label,
      `its input of ${sides.width}x${sides.height} is larger than ${SIDE_MAX} pixels a side. Use a smaller one`,
    )
  const output = outputOf(signature.outputs, classify.output, label)
  const numbers = numbersOf(output)
  const { labels, activation } = classify
  const isOne = labels.length === 2 && numbers === 1 && activation !== 'softmax'
  if (numbers !== undefined && numbers !== labels.length && !isOne)
    throw unfit(
      label,
      numbers === 1
        ? `its output ${described(output)} is one number, which needs two labels and "activation: sigmoid" (or none), not ${labels.length} labels with ${activation}`
        : `its output ${described(output)} has ${numbers} numbers, but ${labels.length} labels are given: ${listed(labels)}. List one for each, in their order`,
    )
  const both = (each: number | readonly [number, number, number]) =>
    typeof each === 'number' ? ([each, each, each] as const) : each
  const mean = both(classify.mean)
  const scale = both(classify.scale)
  const isUniform = typeof classify.mean === 'number' && typeof classify.scale === 'number'
  return {
    labels,
    threshold: classify.threshold,
    format: {
      layout,
      channels: classify.channels,
      scale: isUniform ? scale[0] : scale,
      offset: isUniform
        ? -mean[0] * scale[0]
        : [-mean[0] * scale[0], -mean[1] * scale[1], -mean[2] * scale[2]],
    },
    size: { width: sides.width, height: sides.height },
    inputName: input.name,
    outputName: output.name,
    decode: (outputs, pictures) => decode(outputs, output.name, pictures, classify),
  }
}

/** The shape of the input for so many pictures. */
export const batchShape = ({ format, size }: ClassifierHead, pictures: number): number[] => [
  pictures,
  ...shapeOf(format, size).slice(1),
]

/** The best label; undefined where none scores enough. */
export function best(labels: readonly string[], scores: Scores, threshold: number): Said | undefined {
  let at = 0
  for (let index = 1; index < scores.length; index += 1)
    if ((scores[index] as number) > (scores[at] as number)) at = index
  const score = scores[at]
  const label = labels[at]
  return label !== undefined && score !== undefined && score >= threshold ? { label, score } : undefined
}

/**
 * What has to be done with a model's outputs, as far as those for several pictures tell: probabilities are left as they are.
 * @param raw the output's values of each picture, as they came
 */
export function guessActivation(raw: readonly Float32Array[]): Classify['activation'] {
  const isOne = raw.every(({ length }) => length === 1)
  const isProbabilities = raw.every(
    (values) =>
      values.every((value) => value >= 0 && value <= 1) &&
      (isOne || Math.abs(values.reduce((a, b) => a + b, 0) - 1) <= SUM_SLACK),
  )
  if (isProbabilities) return 'none'
  return isOne ? 'sigmoid' : 'softmax'
}

function decode(
  outputs: Tensors,
  name: string,
  pictures: number,
  { labels, activation }: Classify,
): Scores[] {
  const tensor = outputs.get(name)
  if (tensor?.type !== 'float32')
    throw new Error(
      tensor ? `the output ${name} is ${tensor.type}, not float32` : `the output ${name} is missing`,
    )
  const { data, shape } = tensor
  const numbers = data.length / pictures
  const isOne = numbers === 1 && labels.length === 2 && activation !== 'softmax'
  if (numbers !== labels.length && !isOne)
    throw new Error(
      `the output ${name} is [${shape.join(' x ')}] for ${pictures} ${pictures === 1 ? 'picture' : 'pictures'}, which is not ${labels.length} numbers each`,
    )
  return Array.from({ length: pictures }, (_, picture) => {
    const values = [...data.subarray(picture * numbers, (picture + 1) * numbers)]
    if (!values.every(Number.isFinite)) throw new Error(`the output ${name} is not a number`)
    const scores = activated(values, activation)
    const outside = scores.find((score) => score < -SUM_SLACK || score > 1 + SUM_SLACK)
    if (outside !== undefined)
      throw new Error(
        `the output ${name} is ${outside.toFixed(3)}, not 0 to 1 as "activation: none" says; softmax or sigmoid may be meant`,
      )
    const clamped = scores.map((score) => Math.min(1, Math.max(0, score)))
    return isOne ? [1 - (clamped[0] as number), clamped[0] as number] : clamped
  })
}

function activated(values: readonly number[], activation: Classify['activation']): readonly number[] {
  if (activation === 'none') return values
  if (activation === 'sigmoid') return values.map((value) => 1 / (1 + Math.exp(-value)))
  const most = Math.max(...values)
  const powers = values.map((value) => Math.exp(value - most))
  const sum = powers.reduce((a, b) => a + b, 0)
  return powers.map((power) => power / sum)
}

function layoutOf(shape: TensorInfo['shape']): 'nchw' | 'nhwc' | undefined {
  if (shape[1] === 3 && shape[3] !== 3) return 'nchw'
  if (shape[3] === 3 && shape[1] !== 3) return 'nhwc'
  return undefined
}

function outputOf(outputs: readonly TensorInfo[], name: string | undefined, label: string): TensorInfo {
  const found = name === undefined ? outputs : outputs.filter((it) => it.name === name)
  const [output, ...more] = found
  if (output === undefined)
    throw unfit(label, `it has no output ${name ?? ''} (it has ${outputs.map(described).join(', ')})`)
  if (more.length > 0)
    throw unfit(
      label,
      `it has several outputs: ${outputs.map(described).join(', ')}. Name one in "classify.output"`,
    )
  if (output.type !== 'float32')
    throw unfit(label, `its output ${described(output)} must be float32. Use another model`)
  return output
}

/** The numbers that it has for each picture; undefined where that is not written in the file. */
function numbersOf({ shape }: TensorInfo): number | undefined {
  let numbers = 1
  // Without an axis for pictures it has one for labels.
  for (const side of shape.length > 1 ? shape.slice(1) : shape) {
    if (typeof side !== 'number') return undefined
    numbers *= side
  }
  return shape.length === 0 ? undefined : numbers
}

const LABELS_TOLD_MAX = 8
const listed = (labels: readonly string[]) =>
  `${labels.slice(0, LABELS_TOLD_MAX).join(', ')}${labels.length > LABELS_TOLD_MAX ? ', ...' : ''}`

const unfit = (label: string, why: string) =>
  failure('MODEL_UNUSABLE', `${capitalised(label)} cannot be used as a classifier: ${why}.`)

const capitalised = (text: string) => text.charAt(0).toUpperCase() + text.slice(1)

import { createHash } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { CropPixels } from '../../device/process/processor.ts'
import { encodeOnnx, type OnnxConstant, type OnnxNode } from '../../models/onnx-file.ts'
import type { CropMetadata } from '../../wire/crop.ts'

/** Classifiers of a few nodes each, whose answers can be told beforehand. */

export const SIDE = 8

interface Tiny {
  readonly layout?: 'nchw' | 'nhwc'
  /** From the means of the three channels, `means` of 1 x 3, to `out`. */
  readonly nodes: readonly OnnxNode[]
  readonly constants?: readonly OnnxConstant[]
  readonly output?: readonly (number | string)[]
  readonly input?: readonly (number | string)[]
}

/** A model that sees each channel's mean. */
export function tinyModel({ layout = 'nchw', nodes, constants = [], output, input }: Tiny): Buffer {
  const nchw = layout === 'nchw'
  return encodeOnnx({
    name: 'tiny',
    producer: 'test',
    description: 'a test',
    inputs: [
      { name: 'in', type: 'float32', shape: input ?? (nchw ? [1, 3, SIDE, SIDE] : [1, SIDE, SIDE, 3]) },
    ],
    outputs: [{ name: 'out', type: 'float32', shape: output ?? [1, 3] }],
    constants,
    nodes: [
      ...(nchw
        ? []
        : [{ operator: 'Transpose', inputs: ['in'], output: 'first', attributes: { perm: [0, 3, 1, 2] } }]),
      { operator: 'GlobalAveragePool', inputs: [nchw ? 'in' : 'first'], output: 'pooled' },
      { operator: 'Flatten', inputs: ['pooled'], output: 'means' },
      ...nodes,
    ],
  })
}

export const number = (name: string, value: number): OnnxConstant => ({
  name,
  shape: [1],
  values: Float32Array.of(value),
})

/** The means, ten times as they are: which channel is the brightest, as logits. */
export const COLOURS: Tiny = {
  constants: [number('ten', 10)],
  nodes: [{ operator: 'Mul', inputs: ['means', 'ten'], output: 'out' }],
}

/** No number for a picture whose channels are about a quarter bright, as none is on which a model is tried. */
export const NAN_AT_A_QUARTER: Tiny = {
  constants: [number('quarter', 0.25), number('near', 0.0225)],
  nodes: [
    { operator: 'Sub', inputs: ['means', 'quarter'], output: 'from' },
    { operator: 'Mul', inputs: ['from', 'from'], output: 'squared' },
    { operator: 'Sub', inputs: ['squared', 'near'], output: 'beyond' },
    { operator: 'Sqrt', inputs: ['beyond'], output: 'out' },
  ],
}

/** Leaves out numbers that are about a quarter. */
export const FEWER_AT_A_QUARTER: Tiny = {
  constants: [
    number('low', 0.1),
    number('high', 0.4),
    { name: 'flat', shape: [1], values: BigInt64Array.of(-1n) },
  ],
  output: ['some'],
  nodes: [
    { operator: 'Reshape', inputs: ['means', 'flat'], output: 'three' },
    { operator: 'Less', inputs: ['three', 'low'], output: 'dark' },
    { operator: 'Greater', inputs: ['three', 'high'], output: 'bright' },
    { operator: 'Or', inputs: ['dark', 'bright'], output: 'kept' },
    { operator: 'Compress', inputs: ['three', 'kept'], output: 'out' },
  ],
}

/** Keeps a model in a folder with its entry in the catalogue there; what `detect` is to say of both. */
export function kept(folder: string, models: Readonly<Record<string, { bytes: Buffer; entry: object }>>) {
  mkdirSync(folder, { recursive: true })
  const entries = Object.entries(models).map(([name, { bytes, entry }]) => {
    writeFileSync(join(folder, `${name}.onnx`), bytes)
    const sha256 = createHash('sha256').update(bytes).digest('hex')
    return { name, file: `${name}.onnx`, sha256, ...entry }
  })
  writeFileSync(join(folder, 'catalog.yaml'), JSON.stringify({ models: entries }))
  return { modelFolder: folder, catalog: undefined }
}

/** A crop of one colour, its face in the middle half in another. */
export function crop(
  outer: readonly [number, number, number],
  inner: readonly [number, number, number] = outer,
  side = 40,
): CropPixels {
  const rgb = new Uint8Array(side * side * 3)
  const isInner = (at: number) => at >= side / 4 && at < (side * 3) / 4
  for (let y = 0; y < side; y += 1)
    for (let x = 0; x < side; x += 1) rgb.set(isInner(x) && isInner(y) ? inner : outer, (y * side + x) * 3)
  const metadata = {
    box: [100 + side / 4, 50 + side / 4, side / 2, side / 2],
    region: [100, 50, side, side],
  } as unknown as CropMetadata
  return { camera: 'door', rgb, width: side, height: side, metadata }
}

import { createHash } from 'node:crypto'
import { encodeOnnx } from '../../models/onnx-file.ts'
import { type CropMetadata, readCrop } from '../../wire/crop.ts'
import type { Message } from './commanded.ts'

/** Models small enough to be made here, and what crops say of them. */

export const LABELS = ['red', 'green', 'blue']

/** Tells the brightest colour of what it is shown. @param seed another file that does the same */
export const colourModel = (seed = 0): Buffer =>
  encodeOnnx({
    name: `colours ${seed}`,
    producer: 'test',
    description: 'a test',
    inputs: [{ name: 'in', type: 'float32', shape: [1, 3, 8, 8] }],
    outputs: [{ name: 'out', type: 'float32', shape: [1, 3] }],
    constants: [{ name: 'ten', shape: [1], values: Float32Array.of(10) }],
    nodes: [
      { operator: 'GlobalAveragePool', inputs: ['in'], output: 'pooled' },
      { operator: 'Flatten', inputs: ['pooled'], output: 'means' },
      { operator: 'Mul', inputs: ['means', 'ten'], output: 'out' },
    ],
  })

export const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

/** What crops say of their faces. */
export const attributesOf = ({ payload }: Message): NonNullable<CropMetadata['attributes']> => {
  const read = readCrop(payload)
  return 'crop' in read ? (read.crop.attributes ?? []) : []
}

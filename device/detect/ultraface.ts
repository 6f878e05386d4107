import { floatsOf, type Signature, type Tensors } from '../../models/runtime.ts'
import type { Detection } from './detector.ts'
import type { Head, HeadKind, Size } from './head.ts'

/**
 * UltraFace (Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB: "slim" and "RFB"), an SSD whose network ends in
 * softmax and in decoded boxes. Input: RGB, (v - 127) / 128, NCHW, the picture stretched to it. Outputs: scores of
 * background, face and, in the masked-face models, masked face; boxes as left, top, right, bottom, 0 to 1 of the
 * input's sides. No landmarks.
 */
const CLASSES_MIN = 2
const CLASSES_MAX = 3
const CORNERS = 4

export const ultraface: HeadKind = {
  expects:
    'an input of 1 x 3 x height x width and two outputs: scores of 1 x anchors x 2 (or 3, the last masked faces) and boxes of 1 x anchors x 4',
  recognise({ inputs, outputs }: Signature) {
    const [input] = inputs
    const [, channels, height, width] = input?.shape ?? []
    const last = (shape: readonly (number | string)[]) => (shape.length === 3 ? Number(shape[2]) : 0)
    const scores = outputs.find(({ shape }) => last(shape) >= CLASSES_MIN && last(shape) <= CLASSES_MAX)
    const boxes = outputs.find(({ shape }) => last(shape) === CORNERS)
    if (input?.shape.length !== 4 || channels !== 3 || outputs.length !== 2 || !scores || !boxes)
      return undefined
    return ultrafaceHead(
      typeof width === 'number' && typeof height === 'number' ? { width, height } : undefined,
      { scores: scores.name, boxes: boxes.name, classes: last(scores.shape) },
    )
  },
}

interface Outputs {
  readonly scores: string
  readonly boxes: string
  readonly classes: number
}

function ultrafaceHead(inputSize: Size | undefined, names: Outputs): Head {
  return {
    inputSize,
    fit: 'stretch',
    inputSizeDefault: { width: 320, height: 256 },
    scoreMinDefault: 0.7,
    overlapMax: 0.35,
    tellsMasks: names.classes === CLASSES_MAX,
    format: { layout: 'nchw', channels: 'rgb', scale: 1 / 128, offset: -127 / 128 },
    decode: (outputs, size, scoreMin) => decode(names, outputs, size, scoreMin),
  }
}

function decode(
  { scores: scoresName, boxes: boxesName, classes }: Outputs,
  outputs: Tensors,
  { width, height }: Size,
  scoreMin: number,
): Detection[] {
  const scores = floatsOf(outputs, scoresName)
  const boxes = floatsOf(outputs, boxesName, (scores.length / classes) * CORNERS)
  const found: Detection[] = []
  const tellsMasks = classes === CLASSES_MAX
  for (let anchor = 0, at = 0; at < scores.length; anchor += 1, at += classes) {
    const bare = scores[at + 1] as number
    const covered = tellsMasks ? (scores[at + 2] as number) : 0
    const score = Math.max(covered, bare)
    if (!(score >= scoreMin)) continue
    const corner = (index: number) => boxes[anchor * CORNERS + index] as number
    const left = corner(0) * width
    const top = corner(1) * height
    found.push({
      box: [left, top, corner(2) * width - left, corner(3) * height - top],
      score: Math.min(score, 1),
      landmarks: [],
      ...(tellsMasks && { masked: covered > bare }),
    })
  }
  return found
}

import { floatsOf, type Signature, type Tensors } from '../../models/runtime.ts'
import type { Detection } from './detector.ts'
import type { Head, HeadKind, Size } from './head.ts'

/**
 * BlazeFace (Bazarevsky et al.: "BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs", 2019), MediaPipe's
 * "back" (256 pixels) and "front" (128). Input: RGB, v / 127.5 - 1, NHWC. Two grids of cells, two anchors a cell
 * in the fine one, six in the coarse one; every anchor is a point in its cell's middle (MediaPipe's
 * `fixed_anchor_size`), and gives a logit and 16 numbers in pixels of the input: the box's centre as seen from the
 * anchor, width, height, six landmarks (right eye, left eye, nose, mouth, right ear, left ear).
 */
const ANCHORS_FINE = 2
const ANCHORS_COARSE = 6
const NUMBERS = 16
const LANDMARKS = 6

interface Grid {
  readonly scores: string
  readonly boxes: string
  readonly anchors: number
}

export const blazeface: HeadKind = {
  expects:
    'an input of 1 x height x width x 3 and four outputs: scores of 1 x anchors x 1 and boxes of 1 x anchors x 16, for two grids',
  recognise({ inputs, outputs }: Signature) {
    const [input] = inputs
    const [, height, width, channels] = input?.shape ?? []
    const [fineScores, coarseScores, ...moreScores] = finerFirst(outputs, 1)
    const [fineBoxes, coarseBoxes, ...moreBoxes] = finerFirst(outputs, NUMBERS)
    if (input?.shape.length !== 4 || channels !== 3 || outputs.length !== 4) return undefined
    if (!fineScores || !coarseScores || !fineBoxes || !coarseBoxes) return undefined
    if (moreScores.length > 0 || moreBoxes.length > 0) return undefined
    return blazefaceHead(
      typeof width === 'number' && typeof height === 'number' ? { width, height } : undefined,
      [
        { scores: fineScores.name, boxes: fineBoxes.name, anchors: ANCHORS_FINE },
        { scores: coarseScores.name, boxes: coarseBoxes.name, anchors: ANCHORS_COARSE },
      ],
    )
  },
}

/** The outputs with so many numbers an anchor; the finer grid has more anchors. Where sizes are free, as they come. */
function finerFirst(outputs: Signature['outputs'], numbers: number): Signature['outputs'] {
  const anchors = ({ shape }: Signature['outputs'][number]) => (typeof shape[1] === 'number' ? shape[1] : 0)
  return outputs.filter(({ shape }) => shape.at(-1) === numbers).toSorted((a, b) => anchors(b) - anchors(a))
}

function blazefaceHead(inputSize: Size | undefined, grids: readonly Grid[]): Head {
  return {
    inputSize,
    fit: 'letterbox',
    inputSizeDefault: { width: 256, height: 256 },
    scoreMinDefault: 0.6,
    overlapMax: 0.3,
    format: { layout: 'nhwc', channels: 'rgb', scale: 1 / 127.5, offset: -1 },
    decode: (outputs, size, scoreMin) => grids.flatMap((grid) => decodeGrid(grid, outputs, size, scoreMin)),
  }
}

function decodeGrid(grid: Grid, outputs: Tensors, { width, height }: Size, scoreMin: number): Detection[] {
  const logits = floatsOf(outputs, grid.scores)
  const boxes = floatsOf(outputs, grid.boxes, logits.length * NUMBERS)
  const found: Detection[] = []
  // The sigmoid grows with the logit: compare logits, take the sigmoid of the few that pass.
  const logitMin = Math.log(scoreMin / (1 - scoreMin))
  // The front model's strides are 8 and 16, the back model's 16 and 32; the number of cells tells.
  const stride = Math.round(Math.sqrt((width * height * grid.anchors) / logits.length))
  const columns = width / stride
  if (grid.anchors * columns * (height / stride) !== logits.length)
    throw new Error(`the output ${grid.scores} has ${logits.length} values, which fit no ${width}x${height}`)
  for (let anchor = 0; anchor < logits.length; anchor += 1) {
    const logit = logits[anchor] as number
    if (!(logit >= logitMin)) continue
    const cell = Math.floor(anchor / grid.anchors)
    const x = ((cell % columns) + 0.5) * stride
    const y = (Math.floor(cell / columns) + 0.5) * stride
    const at = (index: number) => boxes[anchor * NUMBERS + index] as number
    const landmarks: [number, number][] = []
    for (let point = 4; landmarks.length < LANDMARKS; point += 2)
      landmarks.push([x + at(point), y + at(point + 1)])
    found.push({
      box: [x + at(0) - at(2) / 2, y + at(1) - at(3) / 2, at(2), at(3)],
      score: 1 / (1 + Math.exp(-logit)),
      landmarks,
    })
  }
  return found
}

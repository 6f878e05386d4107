import { floatsOf, type Tensors } from '../../models/runtime.ts'
import type { Detection } from './detector.ts'
import type { Head, HeadKind, Size } from './head.ts'

/**
 * YuNet (Wu, Peng, Yu: "YuNet: A Tiny Millisecond-level Face Detector", 2023), as ShiqiYu/libfacedetection.train
 * exports it; `yunet_s_640_640.onnx` is OpenCV's `face_detection_yunet_2023mar.onnx`. Input: BGR, 0 to 255, NCHW.
 * Anchor-free: each cell of the grids of stride 8, 16 and 32 gives class, objectness, box and five landmarks
 * (right eye, left eye, nose, right and left corner of the mouth). Decoding as OpenCV's FaceDetectorYN.
 */
const STRIDES = [8, 16, 32] as const
const LANDMARKS = 5
/** Numbers a cell. */
const NUMBERS = { cls: 1, obj: 1, bbox: 4, kps: 2 * LANDMARKS } as const

export const yunet: HeadKind = {
  expects: 'an input of 1 x 3 x height x width and the outputs cls_8, obj_8, bbox_8, kps_8, ..._16, ..._32',
  recognise({ inputs, outputs }) {
    const [input] = inputs
    const [, channels, height, width] = input?.shape ?? []
    const numbers = new Map(outputs.map(({ name, shape }) => [name, shape.at(-1)]))
    const complete = STRIDES.every((stride) =>
      Object.entries(NUMBERS).every(([part, count]) => numbers.get(`${part}_${stride}`) === count),
    )
    if (!complete || input?.shape.length !== 4 || channels !== 3) return undefined
    return yunetHead(typeof width === 'number' && typeof height === 'number' ? { width, height } : undefined)
  },
}

function yunetHead(inputSize: Size | undefined): Head {
  return {
    inputSize,
    fit: 'letterbox',
    inputSizeDefault: { width: 320, height: 320 },
    scoreMinDefault: 0.7,
    overlapMax: 0.3,
    format: { layout: 'nchw', channels: 'bgr', scale: 1, offset: 0 },
    decode,
  }
}

function decode(outputs: Tensors, { width, height }: Size, scoreMin: number): Detection[] {
  const found: Detection[] = []
  // The score is the root of class times objectness: compare squares, take the root of the few that pass.
  const productMin = scoreMin * scoreMin
  for (const stride of STRIDES) {
    const columns = width / stride
    const cells = columns * (height / stride)
    const classes = floatsOf(outputs, `cls_${stride}`, cells)
    const objectness = floatsOf(outputs, `obj_${stride}`, cells)
    const boxes = floatsOf(outputs, `bbox_${stride}`, cells * 4)
    const points = floatsOf(outputs, `kps_${stride}`, cells * LANDMARKS * 2)
    for (let cell = 0; cell < cells; cell += 1) {
      const product = (classes[cell] as number) * (objectness[cell] as number)
      if (!(product >= productMin)) continue
      const column = cell % columns
      const row = (cell - column) / columns
      const at = (array: Float32Array, index: number) => array[index] as number
      const boxWidth = Math.exp(at(boxes, cell * 4 + 2)) * stride
      const boxHeight = Math.exp(at(boxes, cell * 4 + 3)) * stride
      const left = (column + at(boxes, cell * 4)) * stride - boxWidth / 2
      const top = (row + at(boxes, cell * 4 + 1)) * stride - boxHeight / 2
      const landmarks: [number, number][] = []
      for (let point = cell * LANDMARKS * 2; landmarks.length < LANDMARKS; point += 2)
        landmarks.push([(column + at(points, point)) * stride, (row + at(points, point + 1)) * stride])
      found.push({
        box: [left, top, boxWidth, boxHeight],
        score: Math.min(Math.sqrt(product), 1),
        landmarks,
      })
    }
  }
  return found
}

import t from 'tap'
import type { Head } from '../../device/detect/head.ts'
import { HEADS } from '../../device/detect/open.ts'
import type { Signature, Tensors } from '../../models/runtime.ts'
import { fillBlack, fillOf } from '../../models/tensor.ts'

const tensor = (name: string, shape: readonly (number | string)[]) => ({ name, type: 'float32', shape })

function yunet(width: number | string, height: number | string): Signature {
  const parts = { cls: 1, obj: 1, bbox: 4, kps: 10 }
  return {
    inputs: [tensor('input', [1, 3, height, width])],
    outputs: [8, 16, 32].flatMap((stride) =>
      Object.entries(parts).map(([part, numbers]) => tensor(`${part}_${stride}`, [1, 'cells', numbers])),
    ),
  }
}
const BLAZEFACE: Signature = {
  inputs: [tensor('x', [1, 256, 256, 3])],
  outputs: [
    tensor('s', [1, 512, 1]),
    tensor('t', [1, 384, 1]),
    tensor('b', [1, 512, 16]),
    tensor('c', [1, 384, 16]),
  ],
}

function ultraface(classes: number, names = ['scores', 'boxes']): Signature {
  return {
    inputs: [tensor('input', [1, 3, 240, 320])],
    outputs: [tensor(names[0] as string, [1, 4420, classes]), tensor(names[1] as string, [1, 4420, 4])],
  }
}

const tensors = (outputs: ReadonlyMap<string, Float32Array>): Tensors =>
  new Map([...outputs].map(([name, data]) => [name, { type: 'float32', shape: [data.length], data }]))

t.test('a head takes the models of its family and no others', async (t) => {
  t.same(HEADS.yunet.recognise(yunet(320, 192))?.inputSize, { width: 320, height: 192 })
  t.equal(HEADS.yunet.recognise(yunet('w', 'h'))?.inputSize, undefined, 'the size is free')
  t.ok(HEADS.yunet.recognise(yunet('w', 'h')))
  t.notOk(HEADS.yunet.recognise(BLAZEFACE))
  t.same(HEADS.blazeface.recognise(BLAZEFACE)?.inputSize, { width: 256, height: 256 })
  t.notOk(HEADS.blazeface.recognise(yunet(320, 320)))
  t.notOk(
    HEADS.blazeface.recognise({ ...BLAZEFACE, outputs: BLAZEFACE.outputs.slice(1) }),
    'an output too few',
  )
  t.same(HEADS.ultraface.recognise(ultraface(2))?.inputSize, { width: 320, height: 240 })
  t.ok(HEADS.ultraface.recognise(ultraface(3)), 'with masked faces')
  t.notOk(HEADS.ultraface.recognise(ultraface(80)), 'eighty kinds of things')
  t.notOk(HEADS.yunet.recognise(ultraface(2)))
  t.notOk(HEADS.blazeface.recognise(ultraface(2)))
  t.notOk(HEADS.ultraface.recognise(BLAZEFACE))
  t.notOk(HEADS.ultraface.recognise(yunet(320, 240)))
  const narrow = yunet(320, 320)
  const outputs = narrow.outputs.map((it) => (it.name === 'kps_16' ? tensor('kps_16', [1, 'cells', 4]) : it))
  t.notOk(HEADS.yunet.recognise({ ...narrow, outputs }), 'landmarks of another number')
  const mixed = { ...BLAZEFACE, outputs: BLAZEFACE.outputs.toReversed() }
  t.ok(HEADS.blazeface.recognise(mixed), 'outputs in another order')
})

t.test(
  'YuNet sees blue, green and red planes, 0 to 255, at the top left, whatever the size and alignment',
  async (t) => {
    const head = HEADS.yunet.recognise(yunet('w', 'h')) as Head
    for (const [width, height, offset] of [
      [32, 32, 0],
      [31, 17, 0],
      [5, 3, 1],
      [1, 1, 3],
      [32, 7, 2],
    ] as const) {
      const size = { width: 32, height: 32 }
      const data = new Uint8Array(offset + width * height * 3).subarray(offset)
      for (let i = 0; i < data.length; i += 1) data[i] = (i * 37 + 11) % 256
      const expected = new Float32Array(3 * 32 * 32).fill(-7)
      for (let y = 0; y < height; y += 1)
        for (let x = 0; x < width; x += 1)
          for (let channel = 0; channel < 3; channel += 1)
            expected[(2 - channel) * 1024 + y * 32 + x] = data[(y * width + x) * 3 + channel] as number
      const filled = new Float32Array(3 * 32 * 32).fill(-7)
      fillOf(head.format)(filled, { data, width, height }, size)
      t.ok(
        Buffer.from(filled.buffer).equals(Buffer.from(expected.buffer)),
        `${width}x${height}, offset ${offset}`,
      )
    }
  },
)

t.test('BlazeFace sees red, green, blue in turn, -1 to 1, at the top left', async (t) => {
  const head = HEADS.blazeface.recognise(BLAZEFACE) as Head
  const filled = new Float32Array(4 * 2 * 3).fill(9)
  fillOf(head.format)(
    filled,
    { data: Uint8Array.of(0, 255, 51), width: 1, height: 1 },
    { width: 4, height: 2 },
  )
  t.equal(filled[0], -1)
  t.equal(filled[1], 1)
  t.ok(Math.abs((filled[2] as number) + 0.6) < 1e-6)
  t.ok(filled.subarray(3).every((value) => value === 9))
  const black = new Float32Array(6)
  fillBlack(black, head.format)
  t.ok(
    black.every((value) => value === -1),
    'where the picture does not reach it is black',
  )
})

t.test('black is black in each colour of its own', (t) => {
  const format = { channels: 'bgr', scale: [1, 1, 1], offset: [-1, -2, -3] } as const
  const interleaved = new Float32Array(6)
  fillBlack(interleaved, { ...format, layout: 'nhwc' })
  t.same([...interleaved], [-3, -2, -1, -3, -2, -1])
  const planar = new Float32Array(6)
  fillBlack(planar, { ...format, layout: 'nchw' })
  t.same([...planar], [-3, -3, -2, -2, -1, -1])
  const bytes = new Uint8Array(6).fill(9)
  fillBlack(bytes, { ...format, layout: 'nhwc' })
  t.same([...bytes], [0, 0, 0, 0, 0, 0])
  t.end()
})

t.test('YuNet: a cell gives its score, box and landmarks', async (t) => {
  const head = HEADS.yunet.recognise(yunet(64, 32)) as Head
  const outputs = new Map<string, Float32Array>()
  for (const stride of [8, 16, 32]) {
    const cells = (64 / stride) * (32 / stride)
    for (const [part, numbers] of [
      ['cls', 1],
      ['obj', 1],
      ['bbox', 4],
      ['kps', 10],
    ] as const)
      outputs.set(`${part}_${stride}`, new Float32Array(cells * numbers))
  }
  // Stride 16: 4 columns, 2 rows; cell 6 is column 2 of row 1.
  const set = (name: string, index: number, values: number[]) =>
    outputs.get(name)?.set(values, index * values.length)
  set('cls_16', 6, [0.9])
  set('obj_16', 6, [0.4])
  set('bbox_16', 6, [0.5, 0.25, Math.log(2), Math.log(3)])
  set('kps_16', 6, [0, 0, 1, 0, 0.5, 0.5, 0, 1, 1, 1])
  const [face, ...more] = head.decode(tensors(outputs), { width: 64, height: 32 }, 0.59)
  t.same(more, [])
  t.ok(Math.abs((face?.score ?? 0) - 0.6) < 1e-6)
  t.same(
    face?.box.map((value) => Number(value.toFixed(4))),
    [40 - 16, 20 - 24, 32, 48],
  )
  t.same(face?.landmarks, [
    [32, 16],
    [48, 16],
    [40, 24],
    [32, 32],
    [48, 32],
  ])
  t.same(head.decode(tensors(outputs), { width: 64, height: 32 }, 0.61), [])
})

t.test('BlazeFace: an anchor gives its score, box and landmarks, in both grids', async (t) => {
  const head = HEADS.blazeface.recognise(BLAZEFACE) as Head
  const outputs = new Map([
    ['s', new Float32Array(512).fill(-9)],
    ['t', new Float32Array(384).fill(-9)],
    ['b', new Float32Array(512 * 16)],
    ['c', new Float32Array(384 * 16)],
  ])
  // Fine grid: stride 16, 16 columns, 2 anchors a cell. Coarse: stride 32, 8 columns, 6 anchors.
  const fine = (3 * 16 + 5) * 2 + 1
  const coarse = (2 * 8 + 1) * 6 + 5
  const numbers = [4, -2, 20, 30, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
  outputs.get('s')?.fill(2, fine, fine + 1)
  outputs.get('b')?.set(numbers, fine * 16)
  outputs.get('t')?.fill(0, coarse, coarse + 1)
  outputs.get('c')?.set(numbers, coarse * 16)
  const [first, second, ...more] = head.decode(tensors(outputs), { width: 256, height: 256 }, 0.5)
  t.same(more, [])
  t.same(first?.box, [88 + 4 - 10, 56 - 2 - 15, 20, 30])
  t.ok(Math.abs((first?.score ?? 0) - 1 / (1 + Math.exp(-2))) < 1e-9)
  t.same(first?.landmarks, [
    [89, 58],
    [91, 60],
    [93, 62],
    [95, 64],
    [97, 66],
    [99, 68],
  ])
  t.same(second?.box, [48 + 4 - 10, 80 - 2 - 15, 20, 30])
  t.equal(second?.score, 0.5)
  t.equal(head.decode(tensors(outputs), { width: 256, height: 256 }, 0.51).length, 1)
})

t.test('BlazeFace: which grid is which does not follow from the order of the outputs', async (t) => {
  const reversed = { ...BLAZEFACE, outputs: BLAZEFACE.outputs.toReversed() }
  const outputs = new Map([
    ['s', new Float32Array(512).fill(-9).fill(2, 0, 1)],
    ['t', new Float32Array(384).fill(-9)],
    ['b', new Float32Array(512 * 16)],
    ['c', new Float32Array(384 * 16)],
  ])
  const [face] = (HEADS.blazeface.recognise(reversed) as Head).decode(
    tensors(outputs),
    { width: 256, height: 256 },
    0.5,
  )
  t.same(face?.box, [8, 8, 0, 0], 'the middle of a cell of 16 pixels')
})

t.test('UltraFace sees red, green and blue planes, about -1 to 1, stretched', async (t) => {
  const head = HEADS.ultraface.recognise(ultraface(2)) as Head
  t.equal(head.fit, 'stretch')
  const size = { width: 6, height: 2 }
  const data = Uint8Array.from({ length: 36 }, (_, i) => (i * 37 + 11) % 256)
  const filled = new Float32Array(36)
  fillOf(head.format)(filled, { data, ...size }, size)
  for (let pixel = 0; pixel < 12; pixel += 1)
    for (let channel = 0; channel < 3; channel += 1) {
      const value = ((data[pixel * 3 + channel] as number) - 127) / 128
      t.ok(Math.abs((filled[channel * 12 + pixel] as number) - value) < 1e-6)
    }
})

t.test('UltraFace: corners are shares of the input; the better of face and masked face counts', async (t) => {
  const boxes = Float32Array.of(0, 0, 1, 1, 0.25, 0.5, 0.5, 0.75, 0.1, 0.1, 0.2, 0.2)
  const size = { width: 320, height: 240 }
  const two = HEADS.ultraface.recognise(ultraface(2, ['a', 'b'])) as Head
  const scores = Float32Array.of(0.9, 0.1, 0.25, 0.75, 0.5, 0.5)
  const found = two.decode(
    tensors(
      new Map([
        ['a', scores],
        ['b', boxes],
      ]),
    ),
    size,
    0.7,
  )
  t.strictSame(found, [{ box: [80, 120, 80, 60], score: 0.75, landmarks: [] }], 'it cannot tell of masks')
  const three = HEADS.ultraface.recognise(ultraface(3, ['a', 'b'])) as Head
  const masks = Float32Array.of(0.9, 0.1, 0, 0, 0.25, 0.75, 0, 0.875, 0.125)
  const faces = three.decode(
    tensors(
      new Map([
        ['a', masks],
        ['b', boxes],
      ]),
    ),
    size,
    0.7,
  )
  t.same(
    faces.map(({ score, masked }) => [score, masked]),
    [
      [0.75, true],
      [0.875, false],
    ],
  )
})

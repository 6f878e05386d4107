import { createHash } from 'node:crypto'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join, resolve } from 'node:path'
import { failure, systemCode } from '../lib/errors.ts'
import { keepFile } from '../lib/keep-file.ts'
import { encodeOnnx, type OnnxConstant, type OnnxNode } from './onnx-file.ts'

/**
 * Turns models out of the TensorFlow.js files in the npm package `@vladmandic/human` into ONNX, so that a fresh machine has a
 * real face detector, and two classifiers, with nothing but npm.
 *
 *     TensorFlow.js, NHWC            ONNX, NCHW inside
 *     input 1x256x256x3       ->     input batch x height x width x 3, Transpose
 *     (Fused)Conv2D, Depthwise ->    Conv (weights transposed once, here), Relu
 *     FusedMatMul             ->     Gemm, Relu
 *     MaxPool, Pad, Mul, Add, Relu, Sigmoid, Softmax -> the same
 *     Reshape to 1x512x16     ->     Transpose back, Reshape to batch x -1 x 16
 *
 * BlazeFace's layers are all convolutions, so it takes any size whose sides are multiples of 32 (the largest
 * stride): the height and the width of its ONNX input are free. The batch is free in all. `test/detect/convert.test.ts`
 * compares their outputs with TensorFlow.js's.
 *
 * A conversion takes about 35 ms. What it makes is kept beside the program's other data, under a name with its
 * checksum: a torn or changed file is seen and made again.
 */

/** The default model's one name: in the configuration, in the catalogue and in a crop's metadata. */
export const BLAZEFACE = 'blazeface'

interface Convertible {
  /** In the package's folder of models. */
  readonly file: string
  readonly description: string
  /** Beyond the batch. */
  readonly input: readonly (number | string)[]
  /** By TensorFlow's names: what they are called here, and their shapes beyond the batch. */
  readonly outputs: Readonly<
    Record<string, { readonly name: string; readonly shape: readonly (number | string)[] }>
  >
}

const CONVERTIBLE = {
  /** MediaPipe's "back". Outputs by what they are and their stride in pixels. */
  [BLAZEFACE]: {
    file: 'blazeface.json',
    description:
      'MediaPipe BlazeFace back (Apache-2.0), from @vladmandic/human. Input: RGB as v / 127.5 - 1, sides multiples of 32.',
    input: ['height', 'width', 3],
    outputs: {
      Identity: { name: 'scores_16', shape: ['anchors_16', 1] },
      Identity_1: { name: 'scores_32', shape: ['anchors_32', 1] },
      Identity_2: { name: 'boxes_16', shape: ['anchors_16', 16] },
      Identity_3: { name: 'boxes_32', shape: ['anchors_32', 16] },
    },
  },
  liveness: {
    file: 'liveness.json',
    description: 'LivenessNet (leokwu/livenessnet), from @vladmandic/human. Input: v / 255.',
    input: [32, 32, 3],
    outputs: { Identity: { name: 'probabilities', shape: [2] } },
  },
  antispoof: {
    file: 'antispoof.json',
    description: 'Fake face detection (anku420), from @vladmandic/human. Input: RGB as v / 255.',
    input: [128, 128, 3],
    outputs: { Identity: { name: 'probability', shape: [1] } },
  },
} as const satisfies Record<string, Convertible>

/** Models that are made here. */
export type MadeName = keyof typeof CONVERTIBLE
export const MADE = Object.keys(CONVERTIBLE) as readonly MadeName[]
export const isMade = (name: string): name is MadeName => Object.hasOwn(CONVERTIBLE, name)

const NHWC_TO_NCHW = [0, 3, 1, 2]
const NCHW_TO_NHWC = [0, 2, 3, 1]
const INPUT = 'input'
const INPUT_NCHW = 'input/nchw'

interface TfjsModel {
  readonly modelTopology: { readonly node: readonly TfjsNode[] }
  readonly weightsManifest: readonly {
    readonly paths: readonly string[]
    readonly weights: readonly {
      readonly name: string
      readonly shape: readonly number[]
      readonly dtype: string
      readonly quantization?: { readonly dtype: string }
    }[]
  }[]
}
interface TfjsNode {
  readonly name: string
  readonly op: string
  readonly input?: readonly string[]
  readonly attr?: Readonly<
    Record<
      string,
      {
        readonly s?: string
        readonly b?: boolean
        readonly list?: { readonly s?: string[]; readonly i?: string[] }
      }
    >
  >
}
interface Weight {
  readonly shape: readonly number[]
  readonly values: Float32Array | Int32Array
}

/** Where npm put a TensorFlow.js model. Errors: MODEL_NOT_FOUND. */
export function tfjsFileOf(name: MadeName): string {
  try {
    const entry = createRequire(import.meta.url).resolve('@vladmandic/human')
    return resolve(dirname(entry), '..', 'models', CONVERTIBLE[name].file)
  } catch (error) {
    throw failure(
      'MODEL_NOT_FOUND',
      name === BLAZEFACE
        ? 'The default face detector comes with the npm package @vladmandic/human, which is not installed. Run "npm install", or name a model file of your own.'
        : `The model ${name} comes with the npm package @vladmandic/human, which is not installed. Run "npm install", or use another model.`,
      error,
    )
  }
}

/** Where npm put BlazeFace. Errors: MODEL_NOT_FOUND. */
export const blazefaceTfjsFile = (): string => tfjsFileOf(BLAZEFACE)

/** Where packages and images have it, made when they were. */
const SHIPPED_FOLDER = import.meta.dirname

/** BlazeFace "back" as an ONNX file's bytes, the same at each call. Errors: MODEL_NOT_FOUND, MODEL_UNUSABLE. */
export const convertBlazeface = (): Promise<Uint8Array> => convertModel(BLAZEFACE)

/** A model as an ONNX file's bytes, the same at each call. Errors: MODEL_NOT_FOUND, MODEL_UNUSABLE. */
export async function convertModel(name: MadeName): Promise<Uint8Array> {
  const shipped = await keptIn(SHIPPED_FOLDER, name)
  if (shipped !== undefined) return shipped
  const file = tfjsFileOf(name)
  try {
    const model = JSON.parse(await readFile(file, 'utf8')) as TfjsModel
    const [group] = model.weightsManifest
    const paths = (group?.paths ?? []).map((path) => join(dirname(file), path))
    const bytes = Buffer.concat(await Promise.all(paths.map((path) => readFile(path))))
    return convert(name, CONVERTIBLE[name], model, readWeights(group?.weights ?? [], bytes))
  } catch (error) {
    if (systemCode(error) === 'ENOENT')
      throw failure('MODEL_NOT_FOUND', `${file} or its weights are missing. Run "npm install" again.`, error)
    const why = error instanceof Error ? error.message : String(error)
    throw failure('MODEL_UNUSABLE', `${file} cannot be converted: ${why}. Run "npm install" again.`, error)
  }
}

function readWeights(
  manifest: TfjsModel['weightsManifest'][number]['weights'],
  bytes: Buffer,
): Map<string, Weight> {
  const weights = new Map<string, Weight>()
  let at = 0
  for (const { name, shape, dtype, quantization } of manifest) {
    const kind = quantization?.dtype ?? dtype
    if (kind !== 'float32' && kind !== 'int32' && kind !== 'float16')
      throw new Error(`the weight ${name} is ${quantization ? 'quantised as ' : ''}${kind}`)
    const length = shape.reduce((product, size) => product * size, 1) * (kind === 'float16' ? 2 : 4)
    if (at + length > bytes.length) throw new Error(`the weights end at byte ${bytes.length}, inside ${name}`)
    // A copy, because a typed array must start at a multiple of its element's size.
    const buffer = new Uint8Array(bytes.subarray(at, at + length)).buffer
    weights.set(name, {
      shape,
      values:
        kind === 'int32'
          ? new Int32Array(buffer)
          : kind === 'float32'
            ? new Float32Array(buffer)
            : Float32Array.from(new Uint16Array(buffer), halfToFloat),
    })
    at += length
  }
  if (at !== bytes.length) throw new Error(`the weights are ${bytes.length} bytes, ${at} are described`)
  return weights
}

/** IEEE 754 binary16: a sign, 5 bits of exponent, 10 of fraction. */
function halfToFloat(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >> 10) & 0x1f
  const fraction = bits & 0x3ff
  if (exponent === 0x1f) return fraction === 0 ? sign * Infinity : NaN
  if (exponent === 0) return sign * fraction * 2 ** -24
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
}

/** Axes of a picture's tensor inside, which are NCHW; all others are as TensorFlow has them. */
const PICTURE_RANK = 4

function convert(
  name: MadeName,
  plan: Convertible,
  model: TfjsModel,
  weights: ReadonlyMap<string, Weight>,
): Uint8Array {
  const nodes: OnnxNode[] = []
  const constants: OnnxConstant[] = []
  const made = new Set<string>()
  /** How many axes a tensor has; those that are not here are pictures. */
  const ranks = new Map<string, number>()
  const rankOf = (tensor: string) => ranks.get(tensor) ?? PICTURE_RANK
  let placeholder: string | undefined

  const weight = (name: string | undefined): Weight => {
    const found = weights.get(name ?? '')
    if (!found) throw new Error(`the constant ${name} has no weights`)
    return found
  }
  const addConstant = (name: string, shape: readonly number[], values: Float32Array | BigInt64Array) => {
    constants.push({ name, shape, values })
    return name
  }
  const addNode = (
    operator: string,
    inputs: readonly string[],
    output: string,
    attributes?: OnnxNode['attributes'],
  ) => {
    nodes.push({ operator, inputs, output, attributes })
    return output
  }
  /** A layer and the Relu that TensorFlow has fused with it; its bias among the inputs. */
  const addFused = (
    operator: string,
    node: TfjsNode,
    inputs: readonly string[],
    attributes?: OnnxNode['attributes'],
  ) => {
    const fused = (node.attr?.fused_ops?.list?.s ?? []).map(decodeText)
    const biased = [...inputs]
    if (fused[0] === 'BiasAdd') {
      const bias = weight(node.input?.[2])
      biased.push(addConstant(`${node.name}/bias`, bias.shape, floats(bias)))
    }
    const relu = fused.at(-1) === 'Relu'
    if (fused.some((it) => it !== 'BiasAdd' && it !== 'Relu'))
      throw new Error(`${node.name} is fused with ${fused.join(', ')}`)
    addNode(operator, biased, relu ? `${node.name}/linear` : node.name, attributes)
    if (relu) addNode('Relu', [`${node.name}/linear`], node.name)
  }

  for (const node of model.modelTopology.node) {
    const [source = '', second = ''] = node.input ?? []
    const first = source === placeholder ? INPUT_NCHW : source
    switch (node.op) {
      case 'Const':
        break
      case 'Placeholder':
        placeholder = node.name
        addNode('Transpose', [INPUT], INPUT_NCHW, { perm: NHWC_TO_NCHW })
        break
      case '_FusedConv2D':
      case 'DepthwiseConv2dNative': {
        const depthwise = node.op === 'DepthwiseConv2dNative'
        const kernel = weight(second)
        const [height = 0, width = 0, channels = 0, filters = 0] = kernel.shape
        const inputs = [
          first,
          addConstant(
            `${node.name}/kernel`,
            depthwise ? [channels * filters, 1, height, width] : [filters, channels, height, width],
            depthwise ? toChannelsFirst(kernel, [2, 3, 0, 1]) : toChannelsFirst(kernel, [3, 2, 0, 1]),
          ),
        ]
        const strides = spatial(node, 'strides')
        addFused('Conv', node, inputs, {
          group: depthwise ? channels : 1,
          kernel_shape: [height, width],
          strides,
          pads: padding(node, [height, width], strides),
        })
        break
      }
      case '_FusedMatMul': {
        if (node.attr?.transpose_a?.b || node.attr?.transpose_b?.b)
          throw new Error(`${node.name} transposes what it multiplies`)
        const matrix = weight(second)
        const inputs = [first, addConstant(`${node.name}/matrix`, matrix.shape, floats(matrix))]
        addFused('Gemm', node, inputs)
        ranks.set(node.name, 2)
        break
      }
      case 'MaxPool': {
        const kernel = spatial(node, 'ksize')
        const strides = spatial(node, 'strides')
        addNode('MaxPool', [first], node.name, {
          kernel_shape: kernel,
          strides,
          pads: padding(node, kernel, strides),
        })
        break
      }
      case 'Pad': {
        // Rows of [before, after] by NHWC axis; ONNX wants all befores, then all afters, by NCHW axis.
        const { values } = weight(second)
        const pads = [0, 1].flatMap((side) =>
          NHWC_TO_NCHW.map((axis) => BigInt(values[axis * 2 + side] ?? 0)),
        )
        const amount = addConstant(`${node.name}/pads`, [pads.length], BigInt64Array.from(pads))
        addNode('Pad', [first, amount], node.name)
        break
      }
      case 'Mul':
      case 'Add':
      case 'AddV2': {
        const rank = rankOf(first)
        const constant = weights.get(second)
        // One number a channel, which is TensorFlow's last axis and here the second.
        if (constant && constant.shape.length !== 1)
          throw new Error(`${node.name} takes a constant of ${constant.shape.length} axes`)
        const other = constant
          ? addConstant(
              `${node.name}/constant`,
              rank === PICTURE_RANK ? [...constant.shape, 1, 1] : constant.shape,
              floats(constant),
            )
          : second
        addNode(node.op === 'Mul' ? 'Mul' : 'Add', [first, other], node.name)
        ranks.set(node.name, rank)
        break
      }
      case 'Relu':
      case 'Sigmoid':
        addNode(node.op, [first], node.name)
        ranks.set(node.name, rankOf(first))
        break
      case 'Softmax':
        if (rankOf(first) === PICTURE_RANK) throw new Error(`${node.name} is over a picture`)
        addNode('Softmax', [first], node.name)
        ranks.set(node.name, rankOf(first))
        break
      case 'Reshape': {
        const channelsLast = addNode('Transpose', [first], `${node.name}/nhwc`, { perm: NCHW_TO_NHWC })
        const { values } = weight(second)
        const last = BigInt(values.at(-1) ?? 0)
        // 0 is the batch, as it came. Between it and the last axis: as many as the input's size makes.
        const sizes = values.length === 2 ? [0n, last] : [0n, -1n, last]
        const shape = addConstant(`${node.name}/shape`, [sizes.length], BigInt64Array.from(sizes))
        addNode('Reshape', [channelsLast, shape], node.name)
        ranks.set(node.name, sizes.length)
        break
      }
      case 'Identity': {
        const output = plan.outputs[node.name]
        if (output === undefined) throw new Error(`the output ${node.name} is not one of ${name}'s`)
        made.add(addNode('Identity', [first], output.name))
        break
      }
      default:
        throw new Error(`unknown operator ${node.op} of ${node.name}`)
    }
  }
  const outputs = Object.values(plan.outputs)
  const missing = outputs.filter((it) => !made.has(it.name))
  if (missing.length > 0)
    throw new Error(`the outputs ${missing.map((it) => it.name).join(', ')} are missing`)
  return encodeOnnx({
    name,
    producer: 'sightline models/convert.ts',
    description: plan.description,
    inputs: [{ name: INPUT, type: 'float32', shape: ['batch', ...plan.input] }],
    outputs: outputs.map((it) => ({ name: it.name, type: 'float32', shape: ['batch', ...it.shape] })),
    constants,
    nodes,
  })
}

function floats({ values }: Weight): Float32Array {
  if (values instanceof Float32Array) return values
  throw new Error('a weight has integers instead of fractions')
}

/** The transpose of a kernel of four axes. */
function toChannelsFirst(kernel: Weight, axes: readonly [number, number, number, number]): Float32Array {
  const values = floats(kernel)
  const strides = kernel.shape.map((_, axis) => kernel.shape.slice(axis + 1).reduce((a, b) => a * b, 1))
  const [a, b, c, d] = axes.map((axis) => ({ size: kernel.shape[axis] ?? 0, stride: strides[axis] ?? 0 }))
  const out = new Float32Array(values.length)
  if (!a || !b || !c || !d) return out
  let at = 0
  for (let i = 0; i < a.size; i += 1)
    for (let j = 0; j < b.size; j += 1)
      for (let k = 0; k < c.size; k += 1)
        for (let l = 0; l < d.size; l += 1) {
          out[at] = values[i * a.stride + j * b.stride + k * c.stride + l * d.stride] as number
          at += 1
        }
  return out
}

const decodeText = (base64: string) => Buffer.from(base64, 'base64').toString('latin1')

/** Height and width of an attribute with an entry for each NHWC axis. */
function spatial(node: TfjsNode, attribute: string): [number, number] {
  const [, height, width] = (node.attr?.[attribute]?.list?.i ?? []).map(Number)
  if (!height || !width) throw new Error(`${node.name} has no ${attribute}`)
  return [height, width]
}

/**
 * TensorFlow's padding as ONNX pads: top, left, bottom, right. SAME pads so that the output is ceil(input /
 * stride), the odd pixel at the end. Each layer's input is a multiple of its stride here, because the
 * network's is a multiple of 32: the amount depends on kernel and stride alone.
 */
function padding(
  node: TfjsNode,
  kernel: readonly [number, number],
  strides: readonly [number, number],
): number[] {
  const kind = decodeText(node.attr?.padding?.s ?? '')
  if (kind === 'VALID') return [0, 0, 0, 0]
  if (kind !== 'SAME') throw new Error(`${node.name} has the padding "${kind}"`)
  const total = kernel.map((size, axis) => Math.max(size - (strides[axis] as number), 0))
  const before = total.map((pixels) => Math.floor(pixels / 2))
  return [...before, ...total.map((pixels, axis) => pixels - (before[axis] as number))]
}

/** Raised when the conversion makes something else of the same source. */
const CONVERSION = 'v2'
const CHECKSUM_DIGITS = 16

/** The default model, as `keptModel`. */
export const keptBlazeface = (folder: string): Promise<Uint8Array> => keptModel(BLAZEFACE, folder)

/**
 * A model, where it was shipped, or else out of a folder where it is kept; made and put there on first use.
 * Errors: FOLDER_UNWRITABLE, DISK_FULL, MODEL_NOT_FOUND, MODEL_UNUSABLE.
 */
export async function keptModel(name: MadeName, folder: string): Promise<Uint8Array> {
  const kept = (await keptIn(SHIPPED_FOLDER, name)) ?? (await keptIn(folder, name))
  if (kept !== undefined) return kept
  const bytes = await convertModel(name)
  keepFile(bytes, join(folder, `${name}-${CONVERSION}-${checksum(bytes)}.onnx`))
  return bytes
}

/** All of them into a folder: what packages and images are made with. Errors: as `keptModel`. */
export async function keepModels(folder: string): Promise<void> {
  for (const name of MADE) await keptModel(name, folder)
}

/** A whole one out of a folder; undefined where there is none. */
async function keptIn(folder: string, model: MadeName): Promise<Uint8Array | undefined> {
  const kept = new RegExp(`^${model}-${CONVERSION}-([0-9a-f]{${CHECKSUM_DIGITS}})\\.onnx$`)
  for (const name of await readdir(folder).catch(() => [])) {
    const wanted = kept.exec(name)?.[1]
    if (wanted === undefined) continue
    const bytes = await readFile(join(folder, name)).catch(() => new Uint8Array())
    if (checksum(bytes) === wanted) return bytes
  }
  return undefined
}

function checksum(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex').slice(0, CHECKSUM_DIGITS)
}

if (import.meta.main) {
  const [, , out, name = BLAZEFACE] = process.argv
  if (out === undefined || !isMade(name))
    throw failure('USAGE', `Write: node models/convert.ts OUT.onnx [${MADE.join(' | ')}]`)
  await writeFile(out, await convertModel(name))
}

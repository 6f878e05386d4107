import { createHash } from 'node:crypto'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join, resolve } from 'node:path'
import { failure, systemCode } from '../lib/errors.ts'
import { keepFile } from '../lib/keep-file.ts'
import { encodeOnnx, type OnnxConstant, type OnnxNode } from './onnx-file.ts'

/**
 * Turns MediaPipe's BlazeFace "back" (Apache-2.0) out of the TensorFlow.js files in the npm package
 * `@vladmandic/human` into ONNX, so that a fresh machine has a real face detector with nothing but npm.
 *
 *     TensorFlow.js, NHWC            ONNX, NCHW inside
 *     input 1x256x256x3       ->     input 1 x height x width x 3, Transpose
 *     (Fused)Conv2D, Depthwise ->    Conv (weights transposed once, here), Relu
 *     MaxPool, Pad, AddV2, Relu ->   the same
 *     Reshape to 1x512x16     ->     Transpose back, Reshape to 1 x -1 x 16
 *
 * Every layer is a convolution, so the network takes any size whose sides are multiples of 32 (the largest
 * stride): the height and the width of the ONNX input are free. `test/detect/convert.test.ts` compares its
 * outputs with TensorFlow.js's.
 *
 * The conversion takes about 35 ms. What it makes is kept beside the program's other data, under a name with its
 * checksum: a torn or changed file is seen and made again.
 */

/** The model's one name: in the configuration, in the catalogue and in a crop's metadata. */
export const BLAZEFACE = 'blazeface'

/** The four outputs by what they are and their stride in pixels. */
const OUTPUTS = {
  Identity: 'scores_16',
  Identity_1: 'scores_32',
  Identity_2: 'boxes_16',
  Identity_3: 'boxes_32',
} as const
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
      readonly quantization?: unknown
    }[]
  }[]
}
interface TfjsNode {
  readonly name: string
  readonly op: string
  readonly input?: readonly string[]
  readonly attr?: Readonly<
    Record<string, { readonly s?: string; readonly list?: { readonly s?: string[]; readonly i?: string[] } }>
  >
}
interface Weight {
  readonly shape: readonly number[]
  readonly values: Float32Array | Int32Array
}

/** Where npm put the TensorFlow.js model. Errors: MODEL_NOT_FOUND. */
export function blazefaceTfjsFile(): string {
  try {
    const entry = createRequire(import.meta.url).resolve('@vladmandic/human')
    return resolve(dirname(entry), '..', 'models', 'blazeface.json')
  } catch (error) {
    throw failure(
      'MODEL_NOT_FOUND',
      'The default face detector comes with the npm package @vladmandic/human, which is not installed. Run "npm install", or name a model file of your own.',
      error,
    )
  }
}

/** Where packages and images have it, made when they were. */
const SHIPPED_FOLDER = import.meta.dirname

/** BlazeFace "back" as an ONNX file's bytes, the same at each call. Errors: MODEL_NOT_FOUND, MODEL_UNUSABLE. */
export async function convertBlazeface(): Promise<Uint8Array> {
  const shipped = await keptIn(SHIPPED_FOLDER)
  if (shipped !== undefined) return shipped
  const file = blazefaceTfjsFile()
  try {
    const model = JSON.parse(await readFile(file, 'utf8')) as TfjsModel
    const [group] = model.weightsManifest
    const paths = (group?.paths ?? []).map((path) => join(dirname(file), path))
    const bytes = Buffer.concat(await Promise.all(paths.map((path) => readFile(path))))
    return convert(model, readWeights(group?.weights ?? [], bytes))
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
    if (quantization !== undefined || (dtype !== 'float32' && dtype !== 'int32'))
      throw new Error(`the weight ${name} is ${quantization ? 'quantised' : dtype}`)
    const length = shape.reduce((product, size) => product * size, 1) * 4
    if (at + length > bytes.length) throw new Error(`the weights end at byte ${bytes.length}, inside ${name}`)
    // A copy, because a typed array must start at a multiple of its element's size.
    const buffer = new Uint8Array(bytes.subarray(at, at + length)).buffer
    weights.set(name, {
      shape,
      values: dtype === 'int32' ? new Int32Array(buffer) : new Float32Array(buffer),
    })
    at += length
  }
  if (at !== bytes.length) throw new Error(`the weights are ${bytes.length} bytes, ${at} are described`)
  return weights
}

function convert(model: TfjsModel, weights: ReadonlyMap<string, Weight>): Uint8Array {
  const nodes: OnnxNode[] = []
  const constants: OnnxConstant[] = []
  const outputs: string[] = []

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

  for (const node of model.modelTopology.node) {
    const [source = '', second, third] = node.input ?? []
    const first = source === INPUT ? INPUT_NCHW : source
    switch (node.op) {
      case 'Const':
        break
      case 'Placeholder':
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
        const fused = (node.attr?.fused_ops?.list?.s ?? []).map(decodeText)
        if (fused[0] === 'BiasAdd') {
          const bias = weight(third)
          inputs.push(addConstant(`${node.name}/bias`, bias.shape, floats(bias)))
        }
        const relu = fused.at(-1) === 'Relu'
        if (fused.some((operator) => operator !== 'BiasAdd' && operator !== 'Relu'))
          throw new Error(`${node.name} is fused with ${fused.join(', ')}`)
        const strides = spatial(node, 'strides')
        addNode('Conv', inputs, relu ? `${node.name}/linear` : node.name, {
          group: depthwise ? channels : 1,
          kernel_shape: [height, width],
          strides,
          pads: padding(node, [height, width], strides),
        })
        if (relu) addNode('Relu', [`${node.name}/linear`], node.name)
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
      case 'AddV2':
        addNode('Add', [first, second ?? ''], node.name)
        break
      case 'Relu':
        addNode('Relu', [first], node.name)
        break
      case 'Reshape': {
        const channelsLast = addNode('Transpose', [first], `${node.name}/nhwc`, { perm: NCHW_TO_NHWC })
        const last = BigInt(weight(second).values.at(-1) ?? 0)
        const shape = addConstant(`${node.name}/shape`, [3], BigInt64Array.of(1n, -1n, last))
        addNode('Reshape', [channelsLast, shape], node.name)
        break
      }
      case 'Identity': {
        const name = OUTPUTS[node.name as keyof typeof OUTPUTS]
        if (name === undefined) throw new Error(`the output ${node.name} is not one of BlazeFace's`)
        outputs.push(addNode('Identity', [first], name))
        break
      }
      default:
        throw new Error(`unknown operator ${node.op} of ${node.name}`)
    }
  }
  const missing = Object.values(OUTPUTS).filter((name) => !outputs.includes(name))
  if (missing.length > 0) throw new Error(`the outputs ${missing.join(', ')} are missing`)
  return encodeOnnx({
    name: BLAZEFACE,
    producer: 'sightline models/convert.ts',
    description:
      'MediaPipe BlazeFace back (Apache-2.0), from @vladmandic/human. Input: RGB as v / 127.5 - 1, sides multiples of 32.',
    inputs: [{ name: INPUT, type: 'float32', shape: [1, 'height', 'width', 3] }],
    outputs: Object.values(OUTPUTS).map((name) => ({
      name,
      type: 'float32',
      shape: [1, `anchors_${name.slice(-2)}`, name.startsWith('boxes') ? 16 : 1],
    })),
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
const CONVERSION = 'v1'
const CHECKSUM_DIGITS = 16

/**
 * The default model, where it was shipped, or else out of a folder where it is kept; made and put there on first use.
 * Errors: FOLDER_UNWRITABLE, DISK_FULL, MODEL_NOT_FOUND.
 */
export async function keptBlazeface(folder: string): Promise<Uint8Array> {
  const kept = (await keptIn(SHIPPED_FOLDER)) ?? (await keptIn(folder))
  if (kept !== undefined) return kept
  const bytes = await convertBlazeface()
  keepFile(bytes, join(folder, `${BLAZEFACE}-${CONVERSION}-${checksum(bytes)}.onnx`))
  return bytes
}

/** A whole one out of a folder; undefined where there is none. */
async function keptIn(folder: string): Promise<Uint8Array | undefined> {
  const kept = new RegExp(`^${BLAZEFACE}-${CONVERSION}-([0-9a-f]{${CHECKSUM_DIGITS}})\\.onnx$`)
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
  const [, , out] = process.argv
  if (out === undefined) throw failure('USAGE', 'Write: node models/convert.ts OUT.onnx')
  await writeFile(out, await convertBlazeface())
}

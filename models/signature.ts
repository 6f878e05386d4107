import { failure } from '../lib/errors.ts'
import type { CatalogEntry } from './catalog.ts'
import type { Signature, TensorInfo } from './runtime.ts'

/**
 * Holds a file against what its catalogue entry says of its tensors. A dimension that the entry gives by name may be any;
 * one that it gives as a number must be that number, or free in the file.
 * @param label the model's, for people
 * Errors: MODEL_UNUSABLE.
 */
export function checkSignature(
  has: Signature,
  entry: Pick<CatalogEntry, 'inputs' | 'outputs'> | undefined,
  label: string,
): void {
  const kinds = [
    ['input', entry?.inputs, has.inputs],
    ['output', entry?.outputs, has.outputs],
  ] as const
  for (const [kind, wanted, found] of kinds) {
    if (wanted === undefined) continue
    for (const tensor of wanted) {
      const it = found.find(({ name }) => name === tensor.name)
      if (it && it.type === tensor.type && fits(it.shape, tensor.shape)) continue
      throw failure(
        'MODEL_UNUSABLE',
        `${label} is not what its catalogue entry says: the ${kind} ${described(tensor)} is ${it ? described(it) : `missing (it has ${found.map(described).join(', ')})`}. Correct the entry, or use the right file.`,
      )
    }
    const more = found.find(({ name }) => !wanted.some((it) => it.name === name))
    if (more && kind === 'input')
      throw failure(
        'MODEL_UNUSABLE',
        `${label} is not what its catalogue entry says: it has another input, ${described(more)}. Correct the entry, or use the right file.`,
      )
  }
}

/** For people: `input float32[1 x 3 x height x width]`. */
export const described = ({ name, type, shape }: TensorInfo): string =>
  `${name} ${type}[${shape.join(' x ')}]`

const fits = (has: TensorInfo['shape'], wanted: TensorInfo['shape']): boolean =>
  has.length === wanted.length &&
  has.every(
    (side, axis) => typeof side !== 'number' || typeof wanted[axis] !== 'number' || side === wanted[axis],
  )

import type { DesiredContent } from './device-types.ts'

/** Second looks and models by address, as documents have them, and as they are typed. Pure. */

export type Look = NonNullable<DesiredContent['process']>[number]
export type ByAddress = NonNullable<DesiredContent['models']>[number]
type Tensor = NonNullable<ByAddress['inputs']>[number]

/** As they were typed, one a line. */
export const linesOf = (text: string): string[] =>
  text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')

/** `a, b` */
export const listOf = (text: string): string[] =>
  text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '')

/** `input float32 1 x 3 x 112 x 112`; undefined where a line is none. */
export function tensorsOf(text: string): Tensor[] | undefined {
  const read = linesOf(text).map((line): Tensor | undefined => {
    const [, name, type, sides] = /^(\S+)\s+([a-z]+\d*)\s*\[?([^[\]]*)\]?$/.exec(line) ?? []
    if (name === undefined || type === undefined || sides === undefined) return undefined
    const shape = sides
      .split(/\s*[x,]\s*|\s+/)
      .filter((side) => side !== '')
      .map((side) => (/^\d+$/.test(side) ? Number(side) : side))
    return { name, type, shape }
  })
  return read.includes(undefined) ? undefined : (read as Tensor[])
}

export const tensorWords = (tensors: readonly Tensor[] | undefined): string =>
  (tensors ?? []).map(({ name, type, shape }) => `${name} ${type} ${shape.join(' x ')}`.trim()).join('\n')

/** A number for all colours, or one for each; undefined where it is neither. */
export function channelsOf(text: string): number | number[] | undefined {
  const numbers = listOf(text).map(Number)
  if (numbers.some((it) => !Number.isFinite(it))) return undefined
  return numbers.length === 1 ? numbers[0] : numbers.length === 3 ? numbers : undefined
}

/** Without what is undefined: a document has no such fields. */
export function plain<It extends object>(it: It): It {
  return Object.fromEntries(Object.entries(it).filter(([, value]) => value !== undefined)) as It
}

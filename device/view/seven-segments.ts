/** Digits and a to f in seven segments, since no font need be installed: a top, b and c right, d bottom, e and f left, g middle. */
export const SEGMENTS: Readonly<Record<string, string>> = {
  0: 'abcdef',
  1: 'bc',
  2: 'abged',
  3: 'abgcd',
  4: 'fgbc',
  5: 'afgcd',
  6: 'afgedc',
  7: 'abc',
  8: 'abcdefg',
  9: 'abcdfg',
  a: 'abcefg',
  b: 'fgedc',
  c: 'afed',
  d: 'bcdeg',
  e: 'afged',
  f: 'afge',
}

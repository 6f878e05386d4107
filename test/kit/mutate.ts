import { seeded } from './wait.ts'

/**
 * Hostile bytes from a seed: what was valid, changed in the ways that break readers, and noise. The same seed gives the
 * same bytes, so that an input that broke something can be had again by its number.
 */
export class Mutator {
  readonly random: () => number

  constructor(seed: number) {
    this.random = seeded(seed)
  }

  /** A whole number from 0 to `count - 1`. */
  pick(count: number): number {
    return Math.floor(this.random() * count)
  }

  chance(share: number): boolean {
    return this.random() < share
  }

  of<T>(list: readonly T[]): T {
    return list[this.pick(list.length)] as T
  }

  /** Mostly few, now and then the most. */
  few(countMax: number): number {
    return Math.floor(this.random() ** 3 * (countMax + 1))
  }

  noise(bytes: number): Buffer {
    return Buffer.from(Array.from({ length: bytes }, () => this.pick(256)))
  }

  /** A number that a reader's arithmetic may stumble over, in so many bytes. */
  edge(bytes: 1 | 2 | 4): number {
    const max = 2 ** (8 * bytes)
    return this.of([0, 1, max - 1, max / 2, max / 2 - 1, this.pick(max), this.pick(Math.min(max, 300))])
  }

  /** Names, topics and values that have broken programs before. */
  text(): string {
    return this.of([
      () => '',
      () => this.of(NASTY),
      () => this.of(NASTY) + this.of(NASTY),
      () => '/'.repeat(this.few(300)),
      () => 'a/'.repeat(this.few(200)),
      () => this.of(NASTY).repeat(this.few(2000)).slice(0, 70_000),
      () => String.fromCharCode(...Array.from({ length: this.few(60) }, () => this.pick(0xffff))),
      () => this.noise(this.few(60)).toString('latin1'),
      () => 'x'.repeat(this.of([22, 23, 24, 63, 64, 255, 256, 257, 511, 512, 513, 65_535])),
    ])()
  }

  /** Some changes; `others` are what pieces are spliced in from. `frontShare` of them near the front, where headers are. */
  bytes(valid: Buffer, others: readonly Buffer[] = [], frontBytes = valid.length): Buffer {
    let bytes: Buffer = Buffer.from(valid)
    for (let change = this.few(7); change >= 0; change -= 1) bytes = this.#change(bytes, others, frontBytes)
    return bytes
  }

  #change(bytes: Buffer, others: readonly Buffer[], frontBytes: number): Buffer {
    if (bytes.length === 0) return this.noise(this.pick(20))
    const at = this.chance(0.7) ? this.pick(Math.min(frontBytes, bytes.length)) : this.pick(bytes.length)
    const end = Math.min(bytes.length, at + 1 + this.few(200))
    const cut = (insert: Buffer, to = at) =>
      Buffer.concat([bytes.subarray(0, at), insert, bytes.subarray(Math.max(at, to))])
    return this.of<() => Buffer>([
      () => {
        bytes[at] = (bytes[at] as number) ^ (1 << this.pick(8))
        return bytes
      },
      () => {
        bytes[at] = this.edge(1)
        return bytes
      },
      () => {
        if (at + 2 <= bytes.length) bytes.writeUInt16BE(this.edge(2), at)
        return bytes
      },
      () => {
        if (at + 4 <= bytes.length) bytes.writeUInt32BE(this.edge(4), at)
        return bytes
      },
      () => bytes.subarray(0, at),
      () => bytes.subarray(at),
      () => cut(this.noise(this.few(40))),
      () => cut(Buffer.alloc(0), end),
      () => cut(bytes.subarray(at, end)), // said twice
      () => cut(Buffer.from(this.of(NASTY))),
      () => {
        const other = others.length > 0 ? this.of(others) : bytes
        const from = this.pick(other.length + 1)
        return cut(other.subarray(from, from + this.few(other.length)), this.chance(0.5) ? end : at)
      },
    ])()
  }
}

const NASTY: readonly string[] = [
  '..',
  '../',
  '../../../../etc/passwd',
  '/',
  '\0',
  'a\0b',
  '\x1b[2J\x1b]0;owned\x07',
  '\r\nX: y\r\n',
  '%2e%2e%2f',
  '#',
  '+',
  '+/+/+',
  'a/#/b',
  'a+',
  '$SYS/#',
  '$share/a/b',
  '__proto__',
  'constructor',
  'toString',
  'hasOwnProperty',
  '<script>alert(1)</script>',
  '"\'`\\',
  '{"a":1}',
  '\ud800',
  '\ufffd',
  '\ufeff',
  '\u202e',
  '\u{1f600}',
  'sightline/v1/+/+/+/crop',
  '-1',
  '1e999',
  'NaN',
]

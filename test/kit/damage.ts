import { closeSync, fstatSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs'

/** What power cuts, bad disks and bad copies do to a file. */
export type Damage = (file: DamagedFile) => void

export interface DamageOptions {
  readonly random: () => number
  /** The same file, as it was a while before. */
  readonly older?: string
}

const PAGE_BYTES = 4096
const SECTOR_BYTES = 512

class DamagedFile implements Disposable {
  readonly #file: number
  readonly random: () => number
  readonly older: string | undefined

  constructor(path: string, { random, older }: DamageOptions) {
    this.#file = openSync(path, 'r+')
    this.random = random
    this.older = older
  }

  [Symbol.dispose](): void {
    closeSync(this.#file)
  }

  get bytes(): number {
    return fstatSync(this.#file).size
  }

  /** A whole number below the one given. */
  pick(below: number): number {
    return Math.floor(this.random() * below)
  }

  /** The beginning of a page, or of a sector. */
  place(unit = PAGE_BYTES): number {
    return this.pick(Math.floor(this.bytes / unit)) * unit
  }

  read(at: number, length: number): Buffer {
    const bytes = Buffer.alloc(length)
    readSync(this.#file, bytes, 0, length, at)
    return bytes
  }

  write(bytes: Buffer, at: number): void {
    writeSync(this.#file, bytes, 0, bytes.length, at)
  }

  flip(at: number): void {
    const [byte = 0] = this.read(at, 1)
    this.write(Buffer.of(byte ^ (1 << this.pick(8))), at)
  }

  noise(length: number): Buffer {
    return Buffer.from(Array.from({ length }, () => this.pick(256)))
  }

  cut(bytes: number): void {
    ftruncateSync(this.#file, bytes)
  }

  times(max: number, act: () => void): void {
    for (let left = 1 + this.pick(max); left > 0; left -= 1) act()
  }
}

export const DAMAGES: Readonly<Record<string, Damage>> = {
  'bits flipped anywhere': (file) => file.times(8, () => file.flip(file.pick(file.bytes))),
  'bits flipped where pages begin': (file) => file.times(3, () => file.flip(file.place() + file.pick(40))),
  'pages zeroed': (file) => file.times(4, () => file.write(Buffer.alloc(PAGE_BYTES), file.place())),
  'pages overwritten with noise': (file) =>
    file.times(4, () => file.write(file.noise(PAGE_BYTES), file.place())),
  'a sector overwritten': (file) => file.write(file.noise(SECTOR_BYTES), file.place(SECTOR_BYTES)),
  'two pages swapped': (file) => {
    const [a, b] = [file.place(), file.place()]
    const page = file.read(a, PAGE_BYTES)
    file.write(file.read(b, PAGE_BYTES), a)
    file.write(page, b)
  },
  'cut short': (file) => file.cut(Math.ceil(file.bytes * (0.05 + 0.95 * file.random()))),
  'one page that says where all is': (file) => file.write(file.noise(PAGE_BYTES), file.pick(2) * PAGE_BYTES),
  'both pages that say where all is': (file) => file.write(Buffer.alloc(2 * PAGE_BYTES), 0),
  'old pages mixed in': (file) => {
    using old = new DamagedFile(file.older ?? '', { random: file.random })
    const share = file.random() ** 2
    const bytes = Math.min(old.bytes, file.bytes)
    for (let at = 2 * PAGE_BYTES; at < bytes; at += PAGE_BYTES)
      if (file.random() < share) file.write(old.read(at, PAGE_BYTES), at)
  },
}

/** Damages a file in one of these ways, at places that follow from `random`. */
export function damage(path: string, how: Damage, options: DamageOptions): void {
  using file = new DamagedFile(path, options)
  how(file)
}

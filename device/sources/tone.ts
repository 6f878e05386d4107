/**
 * Pictures of high dynamic range and wide gamut as sRGB. In JavaScript, on what is at the detector's size or cut out:
 * swscale does it with a table that it makes again for each new size, which takes 1.5 s of a thread; this takes 6 ns a
 * pixel (0.35 ms at 320 x 180) and a table of 160 KB, once.
 */
export type Transfer = 'pq' | 'hlg' | 'sdr'

/** Cd/m2: of white in SDR (ITU-R BT.2408), and of the brightest that is still told apart. */
const WHITE = 203
const PEAK = 1000
/** Up to here (1 is white) brightness stays as it is; beyond, it is pressed together. */
const KNEE = 0.3
/** ITU-R BT.2087: linear light of BT.2020 in BT.709. */
const GAMUT = [
  [1.6605, -0.5876, -0.0728],
  [-0.1246, 1.1329, -0.0083],
  [-0.0182, -0.1006, 1.1187],
] as const
/** Light in whole numbers, of which the brightest is; and how far the matrix goes below 0 and above it. */
const STEPS = 0x10000
const [LEAST, MOST] = [-0.75, 1.75]

export class Tone {
  /** For each channel of the result, what each value of red, green and blue adds to its light: 3 x 3 x 256. */
  readonly #light = new Int32Array(9 * 256)
  /** Of each light, from `LEAST` to `MOST`, the value that shows it. */
  readonly #shown = new Uint8Array(Math.ceil((MOST - LEAST) * STEPS))

  /** Of BT.2020 with that transfer. */
  constructor(transfer: Transfer) {
    const brightest = transfer === 'sdr' ? 1 : PEAK / WHITE
    for (let value = 0; value < 256; value += 1) {
      const light = Math.min(1, LIGHT[transfer](value / 255) / brightest)
      // The first of each three also carries where 0 is in `#shown`.
      for (const [i, share] of GAMUT.flat().entries())
        this.#light[i * 256 + value] = Math.round((share * light - (i % 3 === 0 ? LEAST : 0)) * STEPS)
    }
    for (let i = 0; i < this.#shown.length; i += 1) {
      const light = Math.min(1, Math.max(0, i / STEPS + LEAST)) * brightest
      this.#shown[i] = Math.round(255 * pressed(light, brightest) ** (1 / 2.2))
    }
  }

  /** Changes RGB in place. */
  apply(rgb: Uint8Array): void {
    const light = this.#light
    const shown = this.#shown
    const { length } = rgb
    for (let i = 0; i < length; i += 3) {
      const r = rgb[i] as number
      const g = rgb[i + 1] as number
      const b = rgb[i + 2] as number
      rgb[i] = shown[at(light, r) + at(light, 256 + g) + at(light, 512 + b)] as number
      rgb[i + 1] = shown[at(light, 768 + r) + at(light, 1024 + g) + at(light, 1280 + b)] as number
      rgb[i + 2] = shown[at(light, 1536 + r) + at(light, 1792 + g) + at(light, 2048 + b)] as number
    }
  }
}

const at = (table: Int32Array, index: number) => table[index] as number

/** Linear light of a signal of 0 to 1; 1 is white. ITU-R BT.2100, and BT.1886 with the gamma of a usual screen. */
const LIGHT: Record<Transfer, (signal: number) => number> = {
  pq(signal) {
    const p = signal ** (32 / 2523)
    return (10_000 * (Math.max(0, p - 107 / 128) / (2413 / 128 - (2392 / 128) * p)) ** (8192 / 1305)) / WHITE
  },
  hlg(signal) {
    const scene =
      signal <= 0.5 ? signal ** 2 / 3 : (Math.exp((signal - 0.55991073) / 0.17883277) + 0.28466892) / 12
    return (PEAK * scene ** 1.2) / WHITE
  },
  sdr: (signal) => signal ** 2.2,
}

/** Möbius' curve, as FFmpeg's filter "tonemap" has it: straight up to the knee, then bent so that the brightest is 1. */
function pressed(light: number, brightest: number): number {
  if (brightest <= 1 || light <= KNEE) return Math.min(1, light)
  const a = (-(KNEE ** 2) * (brightest - 1)) / (KNEE ** 2 - 2 * KNEE + brightest)
  const b = (KNEE ** 2 - 2 * KNEE * brightest + brightest) / (brightest - 1)
  return Math.min(1, (((b * b + 2 * b * KNEE + KNEE * KNEE) / (b - a)) * (light + a)) / (light + b))
}

/**
 * Pictures of high dynamic range and wide gamut as sRGB. In JavaScript, on what is at the detector's size or cut out:
 * swscale does it with a table that it makes again for each new size, which takes 1.5 s of a thread; this takes 7 ns a
 * pixel (0.4 ms at 320 x 180) and a table of 64 KB, once.
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
const STEPS = 0x10000

export class Tone {
  /** Linear light of each of 256 values; where 1 is the brightest. */
  readonly #light: Float32Array
  readonly #shown = new Uint8Array(STEPS)

  /** Of BT.2020 with that transfer. */
  constructor(transfer: Transfer) {
    const brightest = transfer === 'sdr' ? 1 : PEAK / WHITE
    this.#light = Float32Array.from({ length: 256 }, (_, i) =>
      Math.min(1, LIGHT[transfer](i / 255) / brightest),
    )
    for (let i = 0; i < STEPS; i += 1)
      this.#shown[i] = Math.round(255 * pressed((i / (STEPS - 1)) * brightest, brightest) ** (1 / 2.2))
  }

  /** Changes RGB in place. */
  apply(rgb: Uint8Array): void {
    const light = this.#light
    const shown = this.#shown
    const [[rr, rg, rb], [gr, gg, gb], [br, bg, bb]] = GAMUT
    const show = (value: number) =>
      shown[value <= 0 ? 0 : value >= 1 ? STEPS - 1 : (value * (STEPS - 1)) | 0] as number
    for (let i = 0; i + 2 < rgb.length; i += 3) {
      const r = light[rgb[i] as number] as number
      const g = light[rgb[i + 1] as number] as number
      const b = light[rgb[i + 2] as number] as number
      rgb[i] = show(rr * r + rg * g + rb * b)
      rgb[i + 1] = show(gr * r + gg * g + gb * b)
      rgb[i + 2] = show(br * r + bg * g + bb * b)
    }
  }
}

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

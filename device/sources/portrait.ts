/**
 * Drawn portraits for the test card: a shaded head with hair, brows, eyes, nose and mouth, as SVG, different for
 * each seed. Nobody's picture. Drawn so that real face detectors take them for faces (BlazeFace and YuNet score
 * them above 0.85), which makes the whole line testable without a camera and without anyone's face.
 */

/** What is seen of the drawing, in its own units. */
const VIEW = { left: 32, top: 28, width: 136, height: 164 } as const

/** The face (forehead to chin, cheek to cheek) inside the drawing, as fractions of its width and height. */
export const FACE_BOX = {
  left: (55 - VIEW.left) / VIEW.width,
  top: (78 - VIEW.top) / VIEW.height,
  width: 90 / VIEW.width,
  height: 94 / VIEW.height,
} as const
/** Height of a portrait for a width of 1. */
export const PORTRAIT_ASPECT = VIEW.height / VIEW.width

const SKIN = [
  ['#f6d3bd', '#d99e7f'],
  ['#f0c5a3', '#c98b63'],
  ['#e3b088', '#b07a50'],
  ['#c98f63', '#8f5d3a'],
  ['#a9744c', '#70452a'],
  ['#8a5a3b', '#573422'],
] as const
const HAIR = ['#2a1c14', '#4a2f1d', '#6d4424', '#a8763e', '#1b1b20', '#8d8d8d', '#7a3420'] as const
const HAIR_DARK = ['#2a1c14', '#1b1b20', '#3a261a', '#8d8d8d'] as const
const CLOTH = ['#3d5a73', '#7a4b4b', '#4f6b4a', '#6a5a86', '#a07a3c', '#37474f'] as const
const WALL = ['#dfe6ea', '#e8e0d2', '#d8e2d6', '#e6dbe0', '#cfd9e4'] as const
const IRIS = ['#4a2f1b', '#2f5d7c', '#3f6b45', '#5b4a2c'] as const

/** A small generator with a seed (mulberry32, Tommy Ettinger, public domain): the same seed, the same numbers. */
export function random(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
}

/** One portrait as SVG, `width` pixels wide. */
export function portraitSvg(seed: number, width: number): string {
  const next = random(seed * 7919 + 17)
  const pick = <T>(list: readonly T[]): T => list[Math.floor(next() * list.length)] as T
  const [skin, shade] = pick(SKIN)
  // Dark skin with dark or grey hair, light skin with any.
  const hair = pick(SKIN.findIndex(([light]) => light === skin) < 3 ? HAIR : HAIR_DARK)
  const cloth = pick(CLOTH)
  const wall = pick(WALL)
  const iris = pick(IRIS)
  const long = next() < 0.45
  const beard = !long && next() < 0.3
  const glasses = next() < 0.2
  const lips = long ? '#b5525a' : '#a8625a'
  const rx = 44 + next() * 3
  const smile = 3 + next() * 5
  const browY = 96 + next() * 2
  const part = 84 + next() * 32

  const eye = (x: number) => `
    <ellipse cx="${x}" cy="109.5" rx="14" ry="10" fill="${shade}" opacity=".8" filter="url(#b)"/>
    <path d="M${x - 9.5} 111.5 Q${x} 103.5 ${x + 9.5} 111.5 Q${x} 117.5 ${x - 9.5} 111.5Z" fill="#f7f4ef"/>
    <circle cx="${x}" cy="110.7" r="5.2" fill="${iris}"/><circle cx="${x}" cy="110.7" r="3" fill="#0c0a09"/>
    <circle cx="${x + 1.5}" cy="109.2" r="1.1" fill="#fff"/>
    <path d="M${x - 10} 111.5 Q${x} 102.8 ${x + 10} 111.5" fill="none" stroke="#1d120c" stroke-width="2.8"/>`
  const brow = (x: number, side: number) =>
    `<path d="M${x - 11 * side} ${browY + 2} Q${x} ${browY - 5} ${x + 12 * side} ${browY + 2.5}" fill="none"
      stroke="${hair}" stroke-width="4.2" stroke-linecap="round" opacity=".92"/>`

  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${Math.round(width * PORTRAIT_ASPECT)}"
  viewBox="${VIEW.left} ${VIEW.top} ${VIEW.width} ${VIEW.height}">
  <defs>
    <radialGradient id="s" cx=".46" cy=".42" r=".62"><stop offset="0" stop-color="${skin}"/>
      <stop offset=".68" stop-color="${skin}"/><stop offset="1" stop-color="${shade}"/></radialGradient>
    <linearGradient id="w" x2=".3" y2="1"><stop offset="0" stop-color="#fff" stop-opacity=".35"/>
      <stop offset="1" stop-color="#000" stop-opacity=".16"/></linearGradient>
    <linearGradient id="n" y2="1" x2="0"><stop offset="0" stop-color="${shade}"/>
      <stop offset="1" stop-color="${skin}"/></linearGradient>
    <filter id="b" x="-40%" y="-40%" width="180%" height="180%"><feGaussianBlur stdDeviation="2.6"/></filter>
    <filter id="c" x="-40%" y="-40%" width="180%" height="180%"><feGaussianBlur stdDeviation="1.1"/></filter>
  </defs>
  <rect width="200" height="240" fill="${wall}"/><rect width="200" height="240" fill="url(#w)"/>
  ${
    long
      ? `<path d="M46 104 Q44 42 100 40 Q156 42 154 104 L160 182 Q132 198 100 196 Q68 198 40 182Z" fill="${hair}"/>`
      : ''
  }
  <path d="M14 240 Q18 196 66 188 L134 188 Q182 196 186 240Z" fill="${cloth}"/>
  <path d="M80 150 L80 190 Q100 206 120 190 L120 150Z" fill="url(#n)" opacity=".85"/>
  <path d="M76 187 Q100 214 124 187 L131 189 Q100 228 69 189Z" fill="#fff" opacity=".8"/>
  <ellipse cx="${100 - rx}" cy="118" rx="7" ry="12" fill="${shade}"/>
  <ellipse cx="${100 + rx}" cy="118" rx="7" ry="12" fill="${shade}"/>
  <path d="M${100 - rx} 104 Q${100 - rx} 58 100 58 Q${100 + rx} 58 ${100 + rx} 104
    Q${100 + rx - 1} 136 ${100 + rx * 0.62} 156 Q100 180 ${100 - rx * 0.62} 156
    Q${100 - rx + 1} 136 ${100 - rx} 104Z" fill="url(#s)"/>
  ${
    beard
      ? `<path d="M60 126 Q64 150 78 159 Q100 182 122 159 Q136 150 140 126 Q134 142 118 143 Q100 136 82 143
         Q66 142 60 126Z" fill="${hair}" opacity=".36" filter="url(#c)"/>`
      : ''
  }
  <ellipse cx="70" cy="132" rx="11" ry="8" fill="#d4685f" opacity=".22" filter="url(#b)"/>
  <ellipse cx="130" cy="132" rx="11" ry="8" fill="#d4685f" opacity=".22" filter="url(#b)"/>
  ${eye(80)}${eye(120)}${brow(80, -1)}${brow(120, 1)}
  <path d="M94 108 Q95 124 90 132 Q93 139 100 139 Q107 139 110 132 Q105 124 106 108Z" fill="${shade}"
    opacity=".5" filter="url(#b)"/>
  <path d="M91 134 Q95 139 100 138.5 Q105 139 109 134" fill="none" stroke="${shade}" stroke-width="2.4"/>
  <path d="M93 136.5h3.5M103.5 136.5h3.5" stroke="#2b1712" stroke-width="2.2" stroke-linecap="round" opacity=".7"/>
  <path d="M98 110 L98.5 130" stroke="#fff" stroke-width="3" opacity=".22" filter="url(#c)"/>
  <path d="M81 149.5 Q91 149 100 150.5 Q109 149 119 149.5 Q100 ${156 + smile * 1.5} 81 149.5Z" fill="${lips}"/>
  <path d="M81 149.5 Q100 ${150 + smile * 1.1} 119 149.5" fill="none" stroke="#4a1f1e" stroke-width="2.2"/>
  <ellipse cx="100" cy="${163 + smile * 0.3}" rx="12" ry="2.6" fill="${shade}" opacity=".55" filter="url(#c)"/>
  <path d="M${99 - rx} 108 Q${96 - rx} 46 100 42 Q${104 + rx} 46 ${101 + rx} 108
    Q${99 + rx} 90 ${93 + rx} 82 Q${part + 18} 84 ${part} 70 Q${part - 22} 84 ${107 - rx} 82
    Q${101 - rx} 90 ${99 - rx} 108Z" fill="${hair}"/>
  <path d="M66 62 Q92 46 130 58" fill="none" stroke="#fff" stroke-width="5" opacity=".13" filter="url(#b)"/>
  ${
    glasses
      ? `<g fill="none" stroke="#3a3a40" stroke-width="1.3" opacity=".7"><circle cx="80" cy="112" r="14"/>
         <circle cx="120" cy="112" r="14"/><path d="M94 110 Q100 106 106 110 M66 110 L57 107 M134 110 L143 107"/></g>`
      : ''
  }
</svg>`
}

import sharp, { type Sharp } from 'sharp'
import type { Picture } from '../../device/detect/detector.ts'
import type { Size } from '../../device/detect/head.ts'

/** A photo fitted into the detector's input; `scale` is pixels of the picture per pixel of the photo. */
export async function fitted(
  photo: string | Buffer,
  input: Size,
): Promise<{ picture: Picture; scale: number }> {
  const { width, height } = await sharp(photo).metadata()
  const scale = Math.min(input.width / width, input.height / height)
  // (A model that wants its pictures stretched: test/detect/faces.test.ts reads photos as the agent does.)
  return {
    picture: await picture(
      sharp(photo).resize(Math.round(width * scale), Math.round(height * scale), { fit: 'fill' }),
    ),
    scale,
  }
}

export async function picture(image: Sharp): Promise<Picture> {
  const { data, info } = await image
    .removeAlpha()
    .toColourspace('srgb')
    .raw()
    .toBuffer({ resolveWithObject: true })
  return { data, width: info.width, height: info.height }
}

/** A face drawn with a few shapes, in a picture of 480x360: between x 160 and 320, y 80 and 290. */
export const PORTRAIT = Buffer.from(`
<svg xmlns="http://www.w3.org/2000/svg" width="480" height="360">
  <defs>
    <radialGradient id="skin" cx="0.45" cy="0.4" r="0.65">
      <stop offset="0" stop-color="#f2c9a8"/><stop offset="0.7" stop-color="#dba47c"/><stop offset="1" stop-color="#a8704c"/>
    </radialGradient>
  </defs>
  <rect width="480" height="360" fill="#7f8f9f"/>
  <path d="M110 360 Q120 300 200 285 L280 285 Q360 300 370 360 Z" fill="#34506e"/>
  <rect x="208" y="240" width="64" height="60" fill="#b98560"/>
  <ellipse cx="240" cy="165" rx="88" ry="108" fill="#3a2618"/>
  <ellipse cx="240" cy="185" rx="74" ry="98" fill="url(#skin)"/>
  <path d="M166 160 Q180 95 240 98 Q300 95 314 160 Q290 118 240 120 Q190 118 166 160 Z" fill="#3a2618"/>
  <path d="M190 160 Q208 150 226 159" stroke="#3a2618" stroke-width="6" fill="none"/>
  <path d="M254 159 Q272 150 290 160" stroke="#3a2618" stroke-width="6" fill="none"/>
  <ellipse cx="208" cy="177" rx="15" ry="8" fill="#fbf7f2"/><ellipse cx="272" cy="177" rx="15" ry="8" fill="#fbf7f2"/>
  <circle cx="208" cy="177" r="7" fill="#2e1d12"/><circle cx="272" cy="177" r="7" fill="#2e1d12"/>
  <path d="M240 180 L232 216 Q240 224 250 216" stroke="#9a6544" stroke-width="4" fill="none"/>
  <path d="M210 243 Q240 236 270 243 Q240 264 210 243 Z" fill="#a34a46"/>
</svg>`)

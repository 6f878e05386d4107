import type { Region, Size } from '../faces/crop.ts'
import type { Frame } from '../frame.ts'
import type { Picture } from '../picture.ts'
import { sharp } from '../sharp.ts'
import { View, type ViewSettings } from './view.ts'

/** A picture as a frame. */
export async function frameOf(
  picture: Picture,
  { settings, input }: { readonly settings: ViewSettings; readonly input: Size },
  when: Pick<Frame, 'sequence' | 'capturedAtMs' | 'atMs' | 'file'>,
): Promise<Frame> {
  const { data, width, height } = picture
  const view = new View(settings, picture)
  const fitted = view.scaledSize(input)
  const scaled = await sharp(data, { raw: { width, height, channels: 3 }, limitInputPixels: false })
    .extract(view.storedRegion)
    .resize({ ...fitted.stored, fit: 'fill' })
    .raw()
    .toBuffer()
  return {
    ...when,
    ...view.size,
    ...(!view.isWhole && { region: view.region }),
    scaled: { data: view.finish(scaled, fitted.stored), ...fitted.turned },
    cut: async (left, top, wide, high) =>
      view.cut({ left, top, width: wide, height: high }, (region) => cutRgb(picture, region)),
    [Symbol.dispose]() {},
  }
}

/** A region of a picture, copied. */
function cutRgb({ data, width: stride }: Picture, { left, top, width, height }: Region): Uint8Array {
  const rgb = new Uint8Array(width * height * 3)
  for (let y = 0; y < height; y += 1) {
    const from = ((top + y) * stride + left) * 3
    rgb.set(data.subarray(from, from + width * 3), y * width * 3)
  }
  return rgb
}

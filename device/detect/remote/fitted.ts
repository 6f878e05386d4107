import { sharp } from '../../sharp.ts'
import type { Detection, Detector, Input, Picture } from '../detector.ts'
import type { Size } from '../head.ts'

/** A detector that is given pictures for another's input: they are resized on their way, and what it finds is taken back. */
export function fitted(detector: Pick<Detector, 'detect' | 'input'>, input: Input): Pick<Detector, 'detect'> {
  const own = detector.input
  if (own.width === input.width && own.height === input.height && own.fit === input.fit) return detector
  return {
    async detect(picture: Picture): Promise<Detection[]> {
      const size = sizeIn(own, picture)
      if (size.width === picture.width && size.height === picture.height)
        return await detector.detect(picture)
      const { data, width, height } = picture
      const resized = await sharp(data, { raw: { width, height, channels: 3 } })
        .resize(size.width, size.height, { fit: 'fill' })
        .raw()
        .toBuffer()
      const faces = await detector.detect({ data: resized, ...size })
      const [x, y] = [width / size.width, height / size.height]
      return faces.map(({ box: [left, top, wide, high], landmarks, ...rest }) => ({
        ...rest,
        box: [left * x, top * y, wide * x, high * y],
        landmarks: landmarks.map(([px, py]) => [px * x, py * y] as const),
      }))
    },
  }
}

function sizeIn(input: Input, { width, height }: Size): Size {
  if (input.fit === 'stretch') return { width: input.width, height: input.height }
  const scale = Math.min(input.width / width, input.height / height)
  const side = (of: number, max: number) => Math.min(max, Math.max(1, Math.round(of * scale)))
  return { width: side(width, input.width), height: side(height, input.height) }
}

import sharp from 'sharp'
import type { Receipt } from '../../cloud-subscriber/filed-at.ts'
import { type CropMetadata, writeCrop } from '../../wire/crop.ts'
import { newId } from '../../wire/id.ts'
import { cropTopic, TOPIC_PREFIX_DEFAULT } from '../../wire/topics.ts'

/** A real JPEG, as small as they come. */
export const tinyJpeg: Buffer = await sharp({
  create: { width: 16, height: 16, channels: 3, background: '#a86' },
})
  .jpeg({ quality: 50 })
  .toBuffer()

export function cropMetadata(settings: Partial<CropMetadata> = {}): CropMetadata {
  return {
    v: 1,
    id: newId(),
    site: 'home',
    device: 'pi',
    camera: 'door',
    capturedAtMs: Date.now(),
    clockSane: true,
    box: [10, 20, 30, 40],
    region: [5, 10, 40, 60],
    score: 0.9,
    model: 'blazeface',
    frame: [640, 360],
    ...settings,
  }
}

/** When a crop came, by a clock that does not leap. */
export const received = (atMs = Date.now()): Receipt => ({ atMs, steadyMs: atMs })

/** A crop and the topic it belongs to. */
export function makeCrop(settings: Partial<CropMetadata> = {}): {
  readonly metadata: CropMetadata
  readonly topic: string
  readonly payload: Buffer
} {
  const metadata = cropMetadata(settings)
  return {
    metadata,
    topic: cropTopic(TOPIC_PREFIX_DEFAULT, metadata),
    payload: writeCrop(tinyJpeg, metadata),
  }
}

import type { CropMetadata } from './crop.ts'

/**
 * `<site>/<device>/<camera>/2026/11/20/13/<uuid>.jpg`, in UTC. The same crop always gets the same key, so that a
 * crop delivered twice writes one object twice.
 * @param filedAtMs the hour it is filed under: the capture time, or, where the device's clock was not sane, the
 *   time the subscriber first received it (which the caller remembers by id)
 */
export function objectKey(
  crop: Pick<CropMetadata, 'id' | 'site' | 'device' | 'camera'>,
  filedAtMs: number,
): string {
  const [year, month, day, hour] = new Date(filedAtMs).toISOString().split(/[-T:]/)
  return `${crop.site}/${crop.device}/${crop.camera}/${year}/${month}/${day}/${hour}/${crop.id}.jpg`
}

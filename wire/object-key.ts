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
  return `${crop.site}/${crop.device}/${crop.camera}/${hourPath(filedAtMs)}/${crop.id}.jpg`
}

let lastHour = -1
let lastHourPath = ''

/** `2026/11/20/13`; crops of one hour come together, so the last one is remembered. */
function hourPath(atMs: number): string {
  const hour = Math.floor(atMs / 3_600_000)
  if (hour !== lastHour) {
    lastHourPath = new Date(atMs).toISOString().slice(0, 13).replace(/[-T]/g, '/')
    lastHour = hour
  }
  return lastHourPath
}

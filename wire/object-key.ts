import type { CropMetadata } from './crop.ts'

/**
 * `<site>/<device>/<camera>/2026/11/20/13/<uuid>.jpg`, in UTC. The same crop always gets the same key, so that a
 * crop delivered twice writes one object twice.
 * @param filedAtMs the hour it is filed under: the capture time, or, where the device's clock cannot be right, the
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

/** The UTC day that a time belongs to: `2026-11-20`. */
export const dayOf = (atMs: number) => new Date(atMs).toISOString().split('T')[0] as string

const KEY_PATTERN =
  /^(?<site>[^/]+)\/(?<device>[^/]+)\/(?<camera>[^/]+)\/(?<day>\d{4}\/\d\d\/\d\d)\/\d\d\/(?<id>[0-9a-f-]{36})\.jpg$/

/** What a crop's key says, the day as `2026-11-20`; undefined for what is no crop's (the gallery's files). */
export function parseObjectKey(
  key: string,
): { site: string; device: string; camera: string; day: string; id: string } | undefined {
  const groups = KEY_PATTERN.exec(key)?.groups
  if (!groups) return undefined
  const { site = '', device = '', camera = '', day = '', id = '' } = groups
  return { site, device, camera, day: day.replaceAll('/', '-'), id }
}

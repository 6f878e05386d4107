import { CROP, type KeptMetadata, KINDS, type Kind } from './kinds.ts'

/**
 * `<site>/<device>/<camera>/2026/11/20/13/<uuid>.jpg`, in UTC. The same crop always gets the same key, so that one
 * delivered twice writes one object twice.
 * @param filedAtMs the hour it is filed under: the capture time, or, where the device's clock cannot be right, the
 *   time the subscriber first received it (which the caller remembers by id)
 */
export function objectKey(
  kept: Pick<KeptMetadata, 'id' | 'site' | 'device' | 'camera'>,
  filedAtMs: number,
  { extension }: Pick<Kind, 'extension'> = CROP,
): string {
  return `${kept.site}/${kept.device}/${kept.camera}/${hourPath(filedAtMs)}/${kept.id}.${extension}`
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

const KEY_PATTERN = new RegExp(
  `^(?<site>[^/]+)/(?<device>[^/]+)/(?<camera>[^/]+)/(?<day>\\d{4}/\\d\\d/\\d\\d)/\\d\\d/(?<id>[0-9a-f-]{36})\\.(?:${KINDS.map(({ extension }) => extension).join('|')})$`,
)

/** What the key of something kept says, the day as `2026-11-20`; undefined for other keys (the gallery's files). */
export function parseObjectKey(
  key: string,
): { site: string; device: string; camera: string; day: string; id: string } | undefined {
  const groups = KEY_PATTERN.exec(key)?.groups
  if (!groups) return undefined
  const { site = '', device = '', camera = '', day = '', id = '' } = groups
  return { site, device, camera, day: day.replaceAll('/', '-'), id }
}

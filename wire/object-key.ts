import { type AnyKind, CROP, type KeptMetadata, KINDS, type Kind } from './kinds.ts'

/**
 * `<site>/<device>/<camera>/2026/11/20/13/<uuid>.jpg`, in UTC; of a clip `recordings.private/<site>/.../<uuid>.mp4`. The same crop always gets the same key, so that one
 * delivered twice writes one object twice.
 * @param filedAtMs the hour it is filed under: the capture time, or, where the device's clock cannot be right, the
 *   time the subscriber first received it (which the caller remembers by id)
 */
export function objectKey(
  kept: Pick<KeptMetadata, 'id' | 'site' | 'device' | 'camera'>,
  filedAtMs: number,
  { root, extension }: Pick<Kind, 'root' | 'extension'> = CROP,
): string {
  return `${root}${kept.site}/${kept.device}/${kept.camera}/${hourPath(filedAtMs)}/${kept.id}.${extension}`
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

const DIGITS = '(?<day>\\d{4}/\\d\\d/\\d\\d)/\\d\\d'
const PATTERNS = KINDS.map((kind) => ({
  kind,
  pattern: new RegExp(
    `^${kind.root.replaceAll('.', '\\.')}(?<site>[^/.]+)/(?<device>[^/]+)/(?<camera>[^/]+)/${DIGITS}/(?<id>[0-9a-f-]{36})\\.${kind.extension}$`,
  ),
}))

/** What the key of something kept says, the day as `2026-11-20`; undefined for other keys (the gallery's files). */
export function parseObjectKey(key: string):
  | {
      readonly kind: AnyKind
      readonly site: string
      readonly device: string
      readonly camera: string
      readonly day: string
      readonly id: string
    }
  | undefined {
  for (const { kind, pattern } of PATTERNS) {
    const groups = pattern.exec(key)?.groups
    if (!groups) continue
    const { site = '', device = '', camera = '', day = '', id = '' } = groups
    return { kind, site, device, camera, day: day.replaceAll('/', '-'), id }
  }
  return undefined
}

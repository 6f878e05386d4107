import { isName } from './names.ts'

/**
 * `<prefix>/<site>/<device>/<camera>/crop` carries one JPEG, `<prefix>/<site>/<device>/<camera>/event` JSON of what
 * happens to a face that is followed, and `<prefix>/<site>/<device>/status` retained JSON.
 */
export const TOPIC_PREFIX_DEFAULT = 'sightline/v1'
export const TOPIC_PREFIX_PATTERN = /^[A-Za-z0-9_-]+(\/[A-Za-z0-9_-]+)*$/

export interface CameraAddress {
  readonly site: string
  readonly device: string
  readonly camera: string
}

export function cropTopic(prefix: string, { site, device, camera }: CameraAddress): string {
  return `${prefix}/${site}/${device}/${camera}/crop`
}

export function eventTopic(prefix: string, { site, device, camera }: CameraAddress): string {
  return `${prefix}/${site}/${device}/${camera}/event`
}

export function statusTopic(prefix: string, { site, device }: Omit<CameraAddress, 'camera'>): string {
  return `${prefix}/${site}/${device}/status`
}

/** The filter that matches every crop under a prefix. */
export function cropFilter(prefix: string): string {
  return `${prefix}/+/+/+/crop`
}

/** Where a crop topic says it comes from, or undefined where the topic is none of ours. */
export function parseCropTopic(prefix: string, topic: string): CameraAddress | undefined {
  if (!topic.startsWith(`${prefix}/`)) return undefined
  const [site, device, camera, kind, ...rest] = topic.slice(prefix.length + 1).split('/')
  if (kind !== 'crop' || rest.length > 0 || !isName(site) || !isName(device) || !isName(camera))
    return undefined
  return { site, device, camera }
}

/**
 * Below `<prefix>/<site>/<device>`:
 *
 *     <camera>/crop         one JPEG
 *     <camera>/clip         one chunk of a recording
 *     <camera>/event        JSON: what happens to a face that is followed
 *     <camera>/state        JSON, retained: how the camera is, and what has been set (camera-state.ts)
 *     <camera>/snapshot     a JPEG of the whole frame, where somebody asked for one
 *     <camera>/live         JPEGs with the faces marked, while somebody looks (QoS 0); with the camera's effect
 *     <camera>/original     the same without the effect, while somebody looks who may
 *     <camera>/set/<what>   commands to the device (commands.ts)
 *     status                JSON, retained; the last will says offline
 *     desired               JSON, retained: what the device shall be (desired.ts)
 *     reported              JSON, retained: its answer, and what holds
 *
 * Beside the sites, with two levels below the prefix (a camera's have four):
 *
 *     stored/<subscriber>   what the bucket has (stored.ts)
 *     forget/<subscriber>   what it is asked to forget
 *     keep/<subscriber>     what of the recordings it is asked to keep (keep.ts)
 *     notices/<scenario>    what somebody wanted to hear of (notice.ts)
 *     keepers/<keeper>      a program's health and books, retained (keepers.ts)
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

export function stateTopic(prefix: string, { site, device, camera }: CameraAddress): string {
  return `${prefix}/${site}/${device}/${camera}/state`
}

export function snapshotTopic(prefix: string, { site, device, camera }: CameraAddress): string {
  return `${prefix}/${site}/${device}/${camera}/snapshot`
}

export function liveTopic(prefix: string, { site, device, camera }: CameraAddress): string {
  return `${prefix}/${site}/${device}/${camera}/live`
}

export function originalTopic(prefix: string, { site, device, camera }: CameraAddress): string {
  return `${prefix}/${site}/${device}/${camera}/original`
}

export function statusTopic(prefix: string, { site, device }: Omit<CameraAddress, 'camera'>): string {
  return `${prefix}/${site}/${device}/status`
}

/** The filter that matches every crop under a prefix. */
export function cropFilter(prefix: string): string {
  return `${prefix}/+/+/+/crop`
}

/** Whether a topic exists that both filters match. */
export function filtersOverlap(one: string, other: string): boolean {
  const [a, b] = [one.split('/'), other.split('/')]
  for (let at = 0; ; at += 1) {
    const [x, y] = [a[at], b[at]]
    if (x === '#' || y === '#') return true // `a/#` matches `a` too [MQTT-4.7.1-2]
    if (x === undefined || y === undefined) return x === y
    if (x !== y && x !== '+' && y !== '+') return false
  }
}

export function commandTopic(
  prefix: string,
  { site, device, camera }: CameraAddress,
  command: string,
): string {
  return `${prefix}/${site}/${device}/${camera}/set/${command}`
}

/** The filter that matches every command to a device; `+` stands for all sites or devices. */
export function commandFilter(prefix: string, { site, device }: Omit<CameraAddress, 'camera'>): string {
  return commandTopic(prefix, { site, device, camera: '+' }, '+')
}

/** What a topic commands a device to do, in the sender's words; undefined where it is no command to that device. */
export function parseCommandTopic(
  prefix: string,
  { site, device }: Omit<CameraAddress, 'camera'>,
  topic: string,
): { readonly camera: string; readonly command: string } | undefined {
  const base = `${prefix}/${site}/${device}/`
  if (!topic.startsWith(base)) return undefined
  const [camera, set, command, ...rest] = topic.slice(base.length).split('/')
  if (camera === undefined || set !== 'set' || command === undefined || rest.length > 0) return undefined
  return { camera, command }
}

/** Home Assistant's own default. */
export const DISCOVERY_PREFIX_DEFAULT = 'homeassistant'

/**
 * Names a device where only letters, digits, dash and underscore may stand. The length of the site tells where it ends,
 * since names may hold underscores too.
 */
export function discoveryId({ site, device }: Omit<CameraAddress, 'camera'>): string {
  return `sightline_${site.length}_${site}_${device}`
}

/** Where Home Assistant looks for what a device has. */
export function discoveryTopic(prefix: string, address: Omit<CameraAddress, 'camera'>): string {
  return `${prefix}/device/${discoveryId(address)}/config`
}

/** Where Home Assistant looks for what a scenario has to say. */
export function eventDiscoveryTopic(prefix: string, scenario: string): string {
  return `${prefix}/event/sightline_${scenario}/config`
}

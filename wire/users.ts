import { z } from 'zod'
import { COMMAND_NAMES } from './commands.ts'
import { desiredTopic, reportedTopic } from './desired.ts'
import { keepTopic } from './keep.ts'
import { deviceKeeper, keeperTopic } from './keepers.ts'
import { type AnyKind, KINDS, keptTopic } from './kinds.ts'
import { isName, NAME_RULE } from './names.ts'
import { noticeTopic } from './notice.ts'
import { forgetTopic, storedTopic } from './stored.ts'
import {
  type CameraAddress,
  commandFilter,
  commandTopic,
  DISCOVERY_PREFIX_DEFAULT,
  discoveryTopic,
  eventTopic,
  liveTopic,
  originalTopic,
  snapshotTopic,
  stateTopic,
  statusTopic,
  TOPIC_PREFIX_DEFAULT,
  TOPIC_PREFIX_PATTERN,
} from './topics.ts'

/** Who the users are and what each may do: the same in the broker's configuration and in users files. Pure. */

export const ROLES = [
  'device',
  'bridge',
  'subscriber',
  'console',
  'viewer',
  'analyst',
  'operator',
  'admin',
] as const
/** Those of people: what they may see and do in the console. */
export const PERSON_ROLES = ['viewer', 'analyst', 'operator', 'admin'] as const
export type PersonRole = (typeof PERSON_ROLES)[number]
/** Rights of their own, beside what a role may. */
export const EXTRA_RIGHTS = ['live', 'recordings', 'export'] as const
export type ExtraRight = (typeof EXTRA_RIGHTS)[number]

export interface User {
  readonly name: string
  readonly role?: (typeof ROLES)[number]
  readonly site?: string
  readonly device?: string
  /** A person's: only what these sites, and these cameras (`site/device/camera`), have; absent: everything. */
  readonly sites?: readonly string[]
  readonly cameras?: readonly string[]
  /** A person's, instead of those of the role (EXTRA_RIGHTS_OF). */
  readonly rights?: readonly ExtraRight[]
  /** Topic filters, of a user without a role. */
  readonly publish?: readonly string[]
  readonly subscribe?: readonly string[]
}

export interface Rights {
  /** Topic filters. */
  readonly publish: readonly string[]
  readonly subscribe: readonly string[]
  /** Whether the user may look at what is served over HTTP. */
  readonly pages: boolean
  /** A bridge: what it publishes is other senders', and no share of one sender's holds it up. */
  readonly handsOn: boolean
}

/** `+` and `#` stand for a whole level, `#` for the last [MQTT-4.7.1-2, MQTT-4.7.1-3]. */
const FILTER_PATTERN = /^(?:(?:[^/#+\0]*|\+)\/)*(?:[^/#+\0]*|\+|#)$/
const filters = () =>
  z
    .array(
      z
        .string()
        .min(1)
        .max(1024)
        .regex(FILTER_PATTERN, 'must be a topic filter, in which + and # stand alone between slashes'),
    )
    .max(1000)

/** `site/device/camera` */
export function isCameraPath(text: string): boolean {
  const names = text.split('/')
  return names.length === 3 && names.every(isName)
}

const name = () => z.string().refine(isName, `must be a name: ${NAME_RULE}`)

/** Control characters would drive a terminal, and a colon ends the name in HTTP's basic authentication. */
const USER_NAME_PATTERN = /^[^\p{C}:]+$/u

/** To be made whole by a `password` of its own kind and `checkUser`. */
export const userShape = {
  name: z
    .string()
    .min(1)
    .max(200)
    .regex(USER_NAME_PATTERN, 'must be printable characters, and no colon among them'),
  role: z.enum(ROLES, `must be one of ${ROLES.join(', ')}`).optional(),
  site: name().optional(),
  device: name().optional(),
  sites: z.array(name()).max(1000).optional(),
  cameras: z
    .array(z.string().refine(isCameraPath, 'must be a camera, as site/device/camera'))
    .max(1000)
    .optional(),
  rights: z.array(z.enum(EXTRA_RIGHTS, `must be one of ${EXTRA_RIGHTS.join(', ')}`)).optional(),
  publish: filters().optional(),
  subscribe: filters().optional(),
}

export const topicPrefixSchema = () =>
  z
    .string()
    .regex(TOPIC_PREFIX_PATTERN, 'must be topic levels without +, # and spaces')
    .max(200)
    .default(TOPIC_PREFIX_DEFAULT)

/** What a user's keys must be to each other; for `superRefine`. */
export function checkUser(user: User, context: z.core.$RefinementCtx): void {
  const complain = (key: keyof User, message: string) =>
    context.addIssue({ code: 'custom', path: [key], message })
  const { role, site, device, publish, subscribe } = user
  if (role === undefined) {
    if (publish === undefined && subscribe === undefined)
      complain('name', `belongs to a user who has neither a role (${ROLES.join(', ')}) nor filters`)
  } else {
    if (publish !== undefined) complain('publish', 'must not be given together with a role')
    if (subscribe !== undefined) complain('subscribe', 'must not be given together with a role')
  }
  if (role === 'device' && site === undefined) complain('role', 'is "device", which also needs its "site"')
  if (role === 'device' && device === undefined && !isName(user.name))
    complain('name', `is not a device name (${NAME_RULE}). Give the device under "device"`)
  if (site !== undefined && role !== 'device' && role !== 'bridge')
    complain('site', 'is only for the roles device and bridge')
  if (device !== undefined && role !== 'device') complain('device', 'is only for the role device')
  for (const key of ['sites', 'cameras', 'rights'] as const)
    if (user[key] !== undefined && !isPersonRole(role))
      complain(key, `is only for the roles ${PERSON_ROLES.join(', ')}`)
  if (role === 'admin' && (user.sites !== undefined || user.cameras !== undefined))
    complain(
      'role',
      'is "admin", who sees every site and camera: give another role, or neither "sites" nor "cameras"',
    )
}

export const isPersonRole = (role: User['role']): role is PersonRole =>
  (PERSON_ROLES as readonly unknown[]).includes(role)

/** What each role has where its user names no `rights`. */
export const EXTRA_RIGHTS_OF: Readonly<Record<PersonRole, readonly ExtraRight[]>> = {
  viewer: [],
  analyst: ['export'],
  operator: ['live', 'recordings', 'export'],
  admin: ['live', 'recordings', 'export'],
}

/** What a person may beside the role. */
export const extraRightsOf = (role: PersonRole, rights: User['rights']): readonly ExtraRight[] =>
  rights ?? EXTRA_RIGHTS_OF[role]

/** Whether a person has less than all sites. */
export const isConfined = ({ sites, cameras }: Pick<User, 'sites' | 'cameras'>): boolean =>
  sites !== undefined || cameras !== undefined

export function rightsOf(user: User, topicPrefix = TOPIC_PREFIX_DEFAULT): Rights {
  const every = (site: string): CameraAddress => ({ site, device: '+', camera: '+' })
  const kept = (at: CameraAddress, kinds: readonly AnyKind[] = KINDS) =>
    kinds.map((kind) => keptTopic(topicPrefix, kind, at))
  const told = (at: CameraAddress) => [eventTopic(topicPrefix, at), statusTopic(topicPrefix, at)]
  const everything = (site: string) => [...kept(every(site)), ...told(every(site))]
  const state = (at: CameraAddress) => stateTopic(topicPrefix, at)
  /** Whole pictures. */
  const pictures = (at: CameraAddress) =>
    [snapshotTopic, liveTopic, originalTopic].map((topic) => topic(topicPrefix, at))
  const commands = (site: string) => commandFilter(topicPrefix, { site, device: '+' })
  const keepers = keeperTopic(topicPrefix, '+')
  const none = { publish: [], subscribe: [], pages: false, handsOn: false }
  switch (user.role) {
    // What the agent publishes, topic by topic: not the commands that it takes.
    case 'device': {
      const address = { site: user.site as string, device: user.device ?? user.name }
      const camera = { ...address, camera: '+' }
      return {
        ...none,
        publish: [
          ...kept(camera),
          ...[eventTopic, stateTopic, snapshotTopic, liveTopic, originalTopic].map((topic) =>
            topic(topicPrefix, camera),
          ),
          statusTopic(topicPrefix, address),
          reportedTopic(topicPrefix, address),
          keeperTopic(topicPrefix, deviceKeeper(address)),
          discoveryTopic(DISCOVERY_PREFIX_DEFAULT, address),
        ],
        subscribe: [commandFilter(topicPrefix, address), desiredTopic(topicPrefix, address)],
      }
    }
    // Up go crops and what is told of them, down come commands. Reports too: a filter cannot say whose of a site.
    case 'bridge': {
      const site = user.site ?? '+'
      return {
        ...none,
        publish: [
          ...everything(site),
          state(every(site)),
          ...pictures(every(site)),
          reportedTopic(topicPrefix, every(site)),
          keepers,
        ],
        subscribe: [commands(site), desiredTopic(topicPrefix, every(site))],
        handsOn: true,
      }
    }
    // Says what the bucket has, and takes requests to forget.
    case 'subscriber':
      return {
        ...none,
        publish: [storedTopic(topicPrefix, '+'), keepers],
        subscribe: [...everything('+'), forgetTopic(topicPrefix, '+'), keepTopic(topicPrefix, '+')],
      }
    // Crops come to it from the bucket.
    case 'console':
      return {
        ...none,
        publish: [
          commands('+'),
          forgetTopic(topicPrefix, '+'),
          keepTopic(topicPrefix, '+'),
          desiredTopic(topicPrefix, every('+')),
          noticeTopic(topicPrefix, '+'),
          // What Home Assistant is told of scenarios; no name within a level can be asked for.
          `${DISCOVERY_PREFIX_DEFAULT}/event/+/config`,
          keepers,
        ],
        subscribe: [
          storedTopic(topicPrefix, '+'),
          keepers,
          reportedTopic(topicPrefix, every('+')),
          ...told(every('+')),
          state(every('+')),
          ...pictures(every('+')),
        ],
      }
    // A person's dashboard, or Home Assistant: sees what devices publish, and may command them.
    case 'operator': {
      const rights = extraRightsOf(user.role, user.rights)
      const live = rights.includes('live')
      const sites = isConfined(user) ? (user.sites ?? []).map(every) : [every('+')]
      const at = [...sites, ...(user.cameras ?? []).map(cameraAddress)]
      // Without that right no whole picture, and no command that makes one.
      const named = COMMAND_NAMES.filter(
        (name) =>
          (live || !['snapshot', 'live', 'original'].includes(name)) &&
          // What shows or keeps the scene as it is, in spite of an effect.
          (rights.includes('recordings') || !['original', 'record', 'effect', 'stream'].includes(name)),
      )
      const mayCommand = named.length === COMMAND_NAMES.length ? ['+'] : named
      // What Home Assistant is told names all cameras of a device.
      const discovery = isConfined(user) ? [] : [DISCOVERY_PREFIX_DEFAULT]
      return {
        publish: [
          ...at.flatMap((camera) => mayCommand.map((name) => commandTopic(topicPrefix, camera, name))),
          ...discovery.map((prefix) => `${prefix}/status`),
        ],
        subscribe: [
          ...at.flatMap((camera) => [
            ...kept(camera, rights.includes('recordings') ? KINDS : KINDS.filter((kind) => !kind.private)),
            eventTopic(topicPrefix, camera),
            state(camera),
            ...(live
              ? pictures(camera).filter(
                  (it) => named.includes('original') || it !== originalTopic(topicPrefix, camera),
                )
              : []),
          ]),
          // Of the whole device: it names its other cameras.
          ...sites.map((site) => statusTopic(topicPrefix, site)),
          ...(isConfined(user) ? [] : [noticeTopic(topicPrefix, '+')]),
          ...discovery.map((prefix) => `${prefix}/#`),
        ],
        pages: !isConfined(user),
        handsOn: false,
      }
    }
    // The pages show all sites.
    case 'viewer':
    case 'analyst':
      return { ...none, pages: !isConfined(user) }
    case 'admin':
      return { publish: ['#'], subscribe: ['#'], pages: true, handsOn: false }
    default:
      return { ...none, publish: user.publish ?? [], subscribe: user.subscribe ?? [] }
  }
}

/** Of a path that `isCameraPath`. */
function cameraAddress(path: string): CameraAddress {
  const [site, device, camera] = path.split('/') as [string, string, string]
  return { site, device, camera }
}

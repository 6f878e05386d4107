import { z } from 'zod'
import { KINDS, keptTopic } from './kinds.ts'
import { isName, NAME_RULE } from './names.ts'
import {
  commandFilter,
  DISCOVERY_PREFIX_DEFAULT,
  discoveryTopic,
  eventTopic,
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

export function rightsOf(user: User, topicPrefix = TOPIC_PREFIX_DEFAULT): Rights {
  const everything = (site: string) => [
    ...KINDS.map((kind) => keptTopic(topicPrefix, kind, { site, device: '+', camera: '+' })),
    eventTopic(topicPrefix, { site, device: '+', camera: '+' }),
    statusTopic(topicPrefix, { site, device: '+' }),
  ]
  const looks = (site: string) => [
    stateTopic(topicPrefix, { site, device: '+', camera: '+' }),
    snapshotTopic(topicPrefix, { site, device: '+', camera: '+' }),
  ]
  const commands = (site: string) => commandFilter(topicPrefix, { site, device: '+' })
  const none = { publish: [], subscribe: [], pages: false, handsOn: false }
  switch (user.role) {
    // What the agent publishes, topic by topic: not the commands that it takes.
    case 'device': {
      const address = { site: user.site as string, device: user.device ?? user.name }
      const camera = { ...address, camera: '+' }
      return {
        ...none,
        publish: [
          ...KINDS.map((kind) => keptTopic(topicPrefix, kind, camera)),
          ...[eventTopic, stateTopic, snapshotTopic].map((topic) => topic(topicPrefix, camera)),
          statusTopic(topicPrefix, address),
          discoveryTopic(DISCOVERY_PREFIX_DEFAULT, address),
        ],
        subscribe: [commandFilter(topicPrefix, address)],
      }
    }
    // Up go crops and what is told of them, down come commands.
    case 'bridge': {
      const site = user.site ?? '+'
      return {
        ...none,
        publish: [...everything(site), ...looks(site)],
        subscribe: [commands(site)],
        handsOn: true,
      }
    }
    // A person's dashboard, or Home Assistant: sees all devices, and may command them.
    case 'operator':
      return {
        ...none,
        publish: [commands('+'), `${DISCOVERY_PREFIX_DEFAULT}/status`],
        subscribe: [...everything('+'), ...looks('+'), `${DISCOVERY_PREFIX_DEFAULT}/#`],
      }
    case 'subscriber':
      return { ...none, subscribe: everything('+') }
    case 'viewer':
      return { ...none, pages: true }
    case 'admin':
      return { publish: ['#'], subscribe: ['#'], pages: true, handsOn: false }
    default:
      return { ...none, publish: user.publish ?? [], subscribe: user.subscribe ?? [] }
  }
}

import type Dockerode from 'dockerode'
import { stringify } from 'yaml'
import type { FileUser } from '../lib/access/users.ts'
import { desiredTopic, reportedTopic } from '../wire/desired.ts'
import { keeperTopic } from '../wire/keepers.ts'
import { KINDS, keptFilters } from '../wire/kinds.ts'
import { isName } from '../wire/names.ts'
import { storedTopic } from '../wire/stored.ts'
import {
  commandFilter,
  eventTopic,
  liveTopic,
  originalTopic,
  snapshotTopic,
  stateTopic,
  statusTopic,
  TOPIC_PREFIX_DEFAULT,
} from '../wire/topics.ts'
import type { User } from '../wire/users.ts'
import {
  ADMIN_USER,
  adminUser,
  CONSOLE_USER,
  consoleUser,
  deviceUser,
  edgeName,
  edgeUser,
  SUBSCRIBER_USER,
  subscriberUser,
  VIEWER_USER,
  viewerUser,
} from './edge-users.ts'
import type { Uplink } from './join-file.ts'
import {
  LOG_FILE_SIZE,
  LOG_FILES,
  MEMORY_BYTES,
  MEMORY_BYTES_GPU,
  PROCESSES_MAX,
  STOP_SECONDS_MAX,
  TEMPORARY_BYTES,
} from './limits.ts'
import {
  bucketVolume,
  DEVICE_USER,
  dataVolume,
  EDGE_USER,
  INFERENCE_PORT,
  INFERENCE_USER,
  networkName,
  PARTS,
  type Part,
  usersVolume,
} from './names.ts'
import type { Secrets } from './secrets.ts'
import { CONFIG_FOLDER, consoleOf, DATA_FOLDER, givenPeople, givenUsers, type Settings } from './settings.ts'

/** What is to run, out of settings, secrets and what the machine has. Pure. */

/** One container, but for its image, its name and its volume of configuration. */
export interface Composed {
  readonly part: Part
  /** By name in CONFIG_FOLDER. */
  readonly files: Readonly<Record<string, Buffer>>
  readonly config: Tree
  readonly create: Dockerode.ContainerCreateOptions
  /** Volumes that must survive, and where they are mounted. */
  readonly volumes: readonly { readonly name: string; readonly path: string }[]
  /** Where people look, and what they see there. */
  readonly look?: string
}

export interface Facts {
  readonly architecture: 'amd64' | 'arm64'
  /** The machine's, from which a device without a name gets one. */
  readonly machineName: string
  /** Under which a browser reaches it. */
  readonly host: string
  /** The group that may open each camera at the machine. */
  readonly cameraGroups: Readonly<Record<string, number>>
}

type Tree = Record<string, unknown>

/** Within a deployment's network, which no other container is on. */
const PORT_PLAIN = 1883
const PORT_TLS = 8883
const PORT_GALLERY = 8080
const PORT_CONSOLE = 8444
const USER_ID = 1000
const USERS_FOLDER = '/etc/sightline-users'
export const USERS_FILE = 'users.yaml'
/** Who may look at the gallery and sign in to the console. */
const PEOPLE_FILE = 'people.yaml'
const BUCKET_FOLDER = '/var/lib/sightline-bucket'
const SUBSCRIBER_CLIENT_ID = 'sightline-subscriber'
const CONSOLE_CLIENT_ID = 'sightline-console'
/** Of what the bucket has, and the console has not read: some three million faces. */
const CONSOLE_QUEUE_BYTES = '2GB'

export const OWNER = { uid: USER_ID, gid: USER_ID } as const

/** @returns the parts in the order of starting */
export function compose(deployment: string, settings: Settings, secrets: Secrets, facts: Facts): Composed[] {
  return PARTS[settings.kind].map((part) => {
    if (part.program === 'device') return device(deployment, part, settings, secrets, facts)
    if (part.program === 'subscriber') return subscriber(deployment, part, settings, secrets, facts)
    if (part.program === 'console') return consoleProgram(deployment, part, settings, secrets, facts)
    if (part.program === 'inference') return inferenceServer(deployment, part, settings, secrets, facts)
    return part.end === 'edge'
      ? edgeBroker(deployment, part, settings, secrets, facts)
      : cloudBroker(deployment, part, settings, secrets)
  })
}

/** As the configuration has it, or the cloud that invited the edge. */
export function siteOf({ configs, uplink }: Settings): string {
  const { site } = configs.device?.tree ?? {}
  return typeof site === 'string' ? site : (uplink?.site ?? 'home')
}

/** Site and device as the configuration has them, or after the machine. */
export function deviceNames(settings: Settings, machineName: string): { site: string; device: string } {
  const { device } = settings.configs.device?.tree ?? {}
  const byMachine = machineName
    .replace(/\..*$/, '')
    .replace(/[^A-Za-z0-9_-]/g, '-')
    .replace(/^-+/, '')
    .slice(0, 63)
  return {
    site: siteOf(settings),
    device: typeof device === 'string' ? device : isName(byMachine) ? byMachine : 'device',
  }
}

function device(
  deployment: string,
  part: Part,
  settings: Settings,
  secrets: Secrets,
  facts: Facts,
): Composed {
  const given = settings.configs.device
  const tree = given?.tree ?? {}
  const password = 'broker.password'
  const broker = settings.kind === 'demo' ? 'edge-broker' : 'broker'
  const config: Tree = {
    ...tree,
    ...deviceNames(settings, facts.machineName),
    detect: { ...branch(tree.detect), modelFolder: `${DATA_FOLDER}/models`, ...remote(settings) },
    broker: {
      ...without(branch(tree.broker), 'caFile', 'certFile', 'keyFile', 'password'),
      url: `mqtt://${broker}:${PORT_PLAIN}`,
      username: DEVICE_USER,
      passwordFile: `${CONFIG_FOLDER}/${password}`,
    },
    http: { port: 9101 },
  }
  const groups = Object.values(facts.cameraGroups)
  return container(deployment, part, {
    config,
    files: { ...decoded(given?.files), [password]: secretOf(secrets, DEVICE_USER), ...remoteFiles(settings) },
    mounts: foldersOf(settings),
    memoryBytes: settings.gpu ? MEMORY_BYTES_GPU : MEMORY_BYTES.device,
    host: {
      Devices: Object.keys(facts.cameraGroups).map((path) => ({
        PathOnHost: path,
        PathInContainer: path,
        CgroupPermissions: 'rw',
      })),
      GroupAdd: [...new Set(groups)].map(String),
      ...(settings.gpu ? gpu(facts.architecture) : {}),
    },
    env: gpuVariables(settings, facts),
  })
}

const foldersOf = ({ mounts }: Settings): Dockerode.MountSettings[] =>
  mounts.map((path) => ({ Type: 'bind', Source: path, Target: path, ReadOnly: true }))

const gpuVariables = ({ gpu }: Settings, { architecture }: Facts): string[] =>
  gpu && architecture === 'arm64' ? ['NVIDIA_VISIBLE_DEVICES=all', 'NVIDIA_DRIVER_CAPABILITIES=all'] : []

const LOOKING_TOKEN = 'inference.token'
const LOOKING_CA = 'inference.ca.pem'

/** What of `detect` follows from the servers that an edge was given; what else is set of them stays. */
function remote({ looking, configs }: Settings): Tree {
  if (!looking) return {}
  const { servers } = branch(configs.device?.tree.detect)
  return {
    runtime: 'remote',
    servers: {
      ...without(branch(servers), 'token', 'certFile', 'keyFile'),
      addresses: looking.addresses,
      tokenFile: `${CONFIG_FOLDER}/${LOOKING_TOKEN}`,
      caFile: `${CONFIG_FOLDER}/${LOOKING_CA}`,
    },
  }
}

const remoteFiles = ({ looking }: Settings): Record<string, Buffer> =>
  looking ? { [LOOKING_TOKEN]: Buffer.from(looking.token), [LOOKING_CA]: Buffer.from(looking.ca) } : {}

/** Looks at the frames of edges: over TLS, for who shows its token. */
function inferenceServer(
  deployment: string,
  part: Part,
  settings: Settings,
  secrets: Secrets,
  facts: Facts,
): Composed {
  const given = settings.configs.inference
  const tree = given?.tree ?? {}
  const port = settings.inferencePort ?? INFERENCE_PORT
  const tokens = 'tokens'
  const config: Tree = {
    ...tree,
    modelFolder: `${DATA_FOLDER}/models`,
    rest: {
      ...branch(tree.rest),
      host: '0.0.0.0',
      port: INFERENCE_PORT,
      plaintext: false,
      tls: {
        ...branch(branch(tree.rest).tls),
        certFile: `${CONFIG_FOLDER}/server.pem`,
        keyFile: `${CONFIG_FOLDER}/server.key`,
      },
    },
    tokensFile: `${CONFIG_FOLDER}/${tokens}`,
    anonymous: false,
    http: { port: 9105 },
  }
  const listed =
    typeof tree.tokensFile === 'string' ? given?.files[tree.tokensFile.split('/').at(-1) ?? ''] : ''
  const own = Buffer.from(
    `${Buffer.from(listed ?? '', 'base64')
      .toString('utf8')
      .trim()}\n${secretOf(secrets, INFERENCE_USER)}\n`,
  )
  return container(deployment, part, {
    config,
    files: { ...decoded(given?.files), ...serverFiles(secrets), [tokens]: own },
    mounts: foldersOf(settings),
    memoryBytes: settings.gpu ? MEMORY_BYTES_GPU : MEMORY_BYTES.inference,
    host: settings.gpu ? gpu(facts.architecture) : {},
    env: gpuVariables(settings, facts),
    ports: [{ inside: INFERENCE_PORT, address: '0.0.0.0', port }],
    look: `inference https://${bracketed(facts.host)}:${port}/v2`,
  })
}

/** A Jetson's GPU is no device of its own: its runtime mounts what JetPack has. */
function gpu(architecture: Facts['architecture']): Partial<Dockerode.HostConfig> {
  return architecture === 'arm64'
    ? { Runtime: 'nvidia' }
    : { DeviceRequests: [{ Driver: 'nvidia', Count: -1, Capabilities: [['gpu']] }] }
}

function edgeBroker(
  deployment: string,
  part: Part,
  settings: Settings,
  secrets: Secrets,
  facts: Facts,
): Composed {
  const given = settings.configs.broker
  const tree = given?.tree ?? {}
  const names = deviceNames(settings, facts.machineName)
  const files: Record<string, Buffer> = { ...decoded(given?.files) }
  const uplink: Uplink | undefined =
    settings.kind === 'demo'
      ? {
          url: `mqtts://cloud-broker:${PORT_TLS}`,
          site: names.site,
          username: edgeName(names.site),
          password: secrets.users[EDGE_USER]?.password ?? '',
          ca: secrets.authority?.cert,
        }
      : settings.uplink
  const bridges = Array.isArray(tree.bridges) ? (tree.bridges as Tree[]) : []
  const config: Tree = {
    ...tree,
    // Its bridge's client id follows from it, and no two edges may have the same: several may be given one configuration.
    name:
      uplink?.site === undefined
        ? (tree.name ?? `edge-${names.site}-${names.device}`.slice(0, 63))
        : edgeName(uplink.site),
    listeners: [{ host: '0.0.0.0', port: PORT_PLAIN, plaintext: true }],
    users: [
      ...(Array.isArray(tree.users) ? tree.users : []),
      deviceUser(DEVICE_USER, names, secrets.users[DEVICE_USER]?.hash ?? ''),
    ],
    store: { folder: DATA_FOLDER },
    bridges: uplink ? withUplink(bridges, uplink, files) : bridges,
    http: { port: 9102 },
  }
  return container(deployment, part, { config, files })
}

/** The bridge "cloud", as it was given or new, leads there. */
function withUplink(bridges: readonly Tree[], uplink: Uplink, files: Record<string, Buffer>): Tree[] {
  const at = bridges.findIndex(({ name }) => name === undefined || name === 'cloud')
  files['uplink.password'] = Buffer.from(uplink.password)
  if (uplink.ca !== undefined) files['uplink.ca.pem'] = Buffer.from(uplink.ca)
  const bridge: Tree = {
    topics: edgeTopics(uplink.site ?? '+'),
    ...without(bridges[at] ?? {}, 'password', 'caFile', 'certFile', 'keyFile'),
    name: 'cloud',
    url: uplink.url,
    username: uplink.username,
    passwordFile: `${CONFIG_FOLDER}/uplink.password`,
    ...(uplink.ca === undefined ? {} : { caFile: `${CONFIG_FOLDER}/uplink.ca.pem` }),
  }
  return at < 0 ? [...bridges, bridge] : bridges.map((it, place) => (place === at ? bridge : it))
}

/** What goes over an edge's bridge: up what it keeps and what is said there, down what is for devices of its site. */
function edgeTopics(site: string): Tree[] {
  const any = { site: '+', device: '+', camera: '+' }
  return [
    ...keptFilters(TOPIC_PREFIX_DEFAULT),
    stateTopic(TOPIC_PREFIX_DEFAULT, any),
    eventTopic(TOPIC_PREFIX_DEFAULT, any),
    statusTopic(TOPIC_PREFIX_DEFAULT, any),
    reportedTopic(TOPIC_PREFIX_DEFAULT, any),
    keeperTopic(TOPIC_PREFIX_DEFAULT, '+'),
    snapshotTopic(TOPIC_PREFIX_DEFAULT, any),
    liveTopic(TOPIC_PREFIX_DEFAULT, any),
    originalTopic(TOPIC_PREFIX_DEFAULT, any),
  ]
    .map((filter): Tree => ({ filter }))
    .concat(
      [commandFilter, desiredTopic].map((of) => ({
        filter: of(TOPIC_PREFIX_DEFAULT, { site, device: '+' }),
        direction: 'down',
      })),
    )
}

/** Of a cloud's broker, as its users file has them: those of the configuration's own file among them. */
export function cloudUsers(settings: Settings, secrets: Secrets): FileUser[] {
  const { broker } = settings.configs
  const hash = (name: string) => secrets.users[name]?.hash ?? ''
  const common: FileUser = { name: EDGE_USER, role: 'bridge', password: hash(EDGE_USER) }
  return [
    ...(broker === undefined ? [] : (givenUsers(broker)?.users ?? [])),
    subscriberUser(hash(SUBSCRIBER_USER)),
    // What an earlier version remembers has none.
    ...(secrets.users[CONSOLE_USER] === undefined ? [] : [consoleUser(hash(CONSOLE_USER))]),
    ...(settings.kind === 'demo'
      ? [edgeUser(siteOf(settings), hash(EDGE_USER))]
      : secrets.users[EDGE_USER] === undefined
        ? []
        : [common]),
    ...(secrets.edges ?? []),
  ]
}

/** Those that the configuration of a cloud's broker names itself. */
export function inlineUsers({ configs }: Settings): User[] {
  const { users } = configs.broker?.tree ?? {}
  return Array.isArray(users) ? (users as User[]) : []
}

function cloudBroker(deployment: string, part: Part, settings: Settings, secrets: Secrets): Composed {
  const given = settings.configs.broker
  const tree = given?.tree ?? {}
  const { clientId } = branch(settings.configs.subscriber?.tree.broker)
  const config: Tree = {
    ...tree,
    name: tree.name ?? 'cloud',
    listeners: [
      {
        host: '0.0.0.0',
        port: PORT_TLS,
        tls: { certFile: `${CONFIG_FOLDER}/server.pem`, keyFile: `${CONFIG_FOLDER}/server.key` },
      },
    ],
    usersFile: `${USERS_FOLDER}/${USERS_FILE}`,
    store: { folder: DATA_FOLDER },
    queues: [
      ...(Array.isArray(tree.queues)
        ? (tree.queues as Tree[])
        : subscriberQueues(String(clientId ?? SUBSCRIBER_CLIENT_ID))),
      ...consoleQueue(settings, tree.queues),
    ],
    http: { port: 9102 },
  }
  return container(deployment, part, {
    config,
    files: { ...decoded(given?.files), ...serverFiles(secrets) },
    mounts: [
      {
        Type: 'volume',
        Source: usersVolume(deployment),
        Target: USERS_FOLDER,
        ReadOnly: true,
        VolumeOptions: { NoCopy: true } as never,
      },
    ],
    ports:
      settings.kind === 'demo' ? [] : [{ inside: PORT_TLS, address: '0.0.0.0', port: settings.mqttPort }],
  })
}

/** What is bulky comes to it over a second connection. */
const subscriberQueues = (clientId: string): Tree[] => {
  const queue = (clientId: string, bulky: boolean) => ({
    clientId,
    topics: keptFilters(
      TOPIC_PREFIX_DEFAULT,
      KINDS.filter((kind) => kind.bulky === bulky),
    ),
  })
  return [queue(clientId, false), queue(`${clientId}-clips`, true)]
}

/** Also beside queues that somebody has set: without it the console would miss what happens while it is away. */
function consoleQueue({ configs }: Settings, queues: unknown): Tree[] {
  const { clientId = CONSOLE_CLIENT_ID } = branch(configs.console?.tree.broker)
  if (Array.isArray(queues) && queues.some((it) => branch(it).clientId === clientId)) return []
  return [{ clientId, topics: [storedTopic(TOPIC_PREFIX_DEFAULT, '+')], bytesMax: CONSOLE_QUEUE_BYTES }]
}

function subscriber(
  deployment: string,
  part: Part,
  settings: Settings,
  secrets: Secrets,
  facts: Facts,
): Composed {
  const given = settings.configs.subscriber
  const tree = given?.tree ?? {}
  const { gallery } = settings
  const password = 'broker.password'
  const folder = branch(tree.bucket).type !== 's3'
  const broker = settings.kind === 'demo' ? 'cloud-broker' : 'broker'
  const http = branch(tree.http)
  const ownUsers = http.usersFile === undefined
  const config: Tree = {
    ...tree,
    announce: { ...branch(tree.announce), enabled: true },
    broker: {
      ...without(branch(tree.broker), 'password', 'certFile', 'keyFile'),
      url: `mqtts://${broker}:${PORT_TLS}`,
      username: SUBSCRIBER_USER,
      passwordFile: `${CONFIG_FOLDER}/${password}`,
      caFile: `${CONFIG_FOLDER}/ca.pem`,
    },
    inbox: { ...branch(tree.inbox), folder: DATA_FOLDER },
    ...(folder ? { bucket: { ...branch(tree.bucket), type: 'folder', path: BUCKET_FOLDER } } : {}),
    http: {
      host: '0.0.0.0',
      port: PORT_GALLERY,
      usersFile: http.usersFile ?? `${CONFIG_FOLDER}/${PEOPLE_FILE}`,
      tls: http.tls ?? { certFile: `${CONFIG_FOLDER}/server.pem`, keyFile: `${CONFIG_FOLDER}/server.key` },
    },
  }
  return container(deployment, part, {
    config,
    files: {
      ...decoded(given?.files),
      ...serverFiles(secrets),
      'ca.pem': Buffer.from(secrets.authority?.cert ?? ''),
      [password]: secretOf(secrets, SUBSCRIBER_USER),
      ...(ownUsers ? { [PEOPLE_FILE]: peopleFile(settings, secrets) } : {}),
      ...s3Files(settings),
    },
    env: s3Variables(settings),
    volumes: folder ? [{ name: bucketVolume(deployment), path: BUCKET_FOLDER }] : [],
    ports: [{ inside: PORT_GALLERY, ...gallery }],
    look: `gallery   ${addressOf(gallery, facts)}`,
  })
}

/** Reads what the subscriber writes: its bucket, and nothing else of it. */
function consoleProgram(
  deployment: string,
  part: Part,
  settings: Settings,
  secrets: Secrets,
  facts: Facts,
): Composed {
  const given = settings.configs.console
  const tree = given?.tree ?? {}
  const opened = consoleOf(settings)
  const password = 'broker.password'
  const bucket = branch(tree.bucket ?? settings.configs.subscriber?.tree.bucket)
  const folder = bucket.type !== 's3'
  const broker = settings.kind === 'demo' ? 'cloud-broker' : 'broker'
  const http = branch(tree.http)
  const access = branch(tree.access)
  const database = branch(tree.database)
  const config: Tree = {
    // Of links in notices. At another address of the same console people sign in all the same.
    publicUrl: addressOf(opened, facts).replace(/\/$/, ''),
    ...tree,
    broker: {
      ...without(branch(tree.broker), 'password', 'certFile', 'keyFile'),
      url: `mqtts://${broker}:${PORT_TLS}`,
      username: CONSOLE_USER,
      passwordFile: `${CONFIG_FOLDER}/${password}`,
      caFile: `${CONFIG_FOLDER}/ca.pem`,
    },
    inbox: { ...branch(tree.inbox), folder: DATA_FOLDER },
    database:
      database.type === 'postgres'
        ? database
        : { ...database, type: 'sqlite', path: `${DATA_FOLDER}/console.sqlite` },
    bucket: folder ? { ...bucket, type: 'folder', path: BUCKET_FOLDER } : bucket,
    access: { ...access, usersFile: access.usersFile ?? `${CONFIG_FOLDER}/${PEOPLE_FILE}` },
    http: {
      ...http,
      host: '0.0.0.0',
      port: PORT_CONSOLE,
      tls: http.tls ?? { certFile: `${CONFIG_FOLDER}/server.pem`, keyFile: `${CONFIG_FOLDER}/server.key` },
    },
  }
  return container(deployment, part, {
    config,
    files: {
      ...decoded(given?.files),
      ...serverFiles(secrets),
      'ca.pem': Buffer.from(secrets.authority?.cert ?? ''),
      [password]: secretOf(secrets, CONSOLE_USER),
      ...(access.usersFile === undefined ? { [PEOPLE_FILE]: peopleFile(settings, secrets) } : {}),
      ...s3Files(settings),
    },
    env: s3Variables(settings),
    mounts: folder
      ? [
          {
            Type: 'volume',
            Source: bucketVolume(deployment),
            Target: BUCKET_FOLDER,
            ReadOnly: true,
            VolumeOptions: { NoCopy: true } as never,
          },
        ]
      : [],
    ports: [{ inside: PORT_CONSOLE, ...opened }],
    look: `console   ${addressOf(opened, facts)}`,
  })
}

/** Those of a users file that was given, and the two that deploy makes: an admin who may everything, a viewer. */
function peopleFile(settings: Settings, secrets: Secrets): Buffer {
  const hash = (name: string) => secrets.users[name]?.hash ?? ''
  const given = givenPeople(settings.configs)?.users ?? []
  const taken = new Set(given.map(({ name }) => name))
  const made = [adminUser(hash(ADMIN_USER)), ...(given.length > 0 ? [] : [viewerUser(hash(VIEWER_USER))])]
  return Buffer.from(stringify({ users: [...given, ...made.filter(({ name }) => !taken.has(name))] }))
}

const s3Files = ({ s3Credentials }: Settings): Record<string, Buffer> =>
  s3Credentials === undefined ? {} : { 'aws-credentials': Buffer.from(s3Credentials) }

const s3Variables = ({ s3Credentials }: Settings) =>
  s3Credentials === undefined ? [] : [`AWS_SHARED_CREDENTIALS_FILE=${CONFIG_FOLDER}/aws-credentials`]

const addressOf = ({ address, port }: Settings['gallery'], { host }: Facts) =>
  `https://${address === '127.0.0.1' ? address : bracketed(host)}:${port}/`

function container(
  deployment: string,
  part: Part,
  it: {
    readonly config: Tree
    readonly files: Readonly<Record<string, Buffer>>
    readonly volumes?: readonly { readonly name: string; readonly path: string }[]
    readonly ports?: readonly { readonly inside: number; readonly address: string; readonly port: number }[]
    readonly mounts?: readonly Dockerode.MountSettings[]
    readonly memoryBytes?: number
    readonly host?: Partial<Dockerode.HostConfig>
    readonly env?: readonly string[]
    readonly look?: string
  },
): Composed {
  const { program } = part
  const network = networkName(deployment)
  const volumes = [{ name: dataVolume(deployment, part.name), path: DATA_FOLDER }, ...(it.volumes ?? [])]
  const memory = it.memoryBytes ?? MEMORY_BYTES[program]
  const ports = it.ports ?? []
  return {
    part,
    config: it.config,
    files: { ...it.files, [`${program}.yaml`]: Buffer.from(stringify(it.config)) },
    volumes,
    look: it.look,
    create: {
      Cmd: [program, '--config', `${CONFIG_FOLDER}/${program}.yaml`],
      User: `${USER_ID}:${USER_ID}`,
      Env: [...(it.env ?? [])],
      ExposedPorts: Object.fromEntries(ports.map(({ inside }) => [`${inside}/tcp`, {}])),
      StopTimeout: STOP_SECONDS_MAX,
      HostConfig: {
        // Not `unless-stopped`: an engine that was killed takes what still runs for stopped by hand, and leaves it (20.10).
        RestartPolicy: { Name: 'always' },
        ReadonlyRootfs: true,
        SecurityOpt: ['no-new-privileges'],
        CapDrop: ['ALL'],
        Memory: memory,
        MemorySwap: memory,
        PidsLimit: PROCESSES_MAX,
        LogConfig: {
          Type: 'json-file',
          Config: { 'max-size': LOG_FILE_SIZE, 'max-file': String(LOG_FILES) },
        },
        Tmpfs: { '/tmp': `rw,noexec,nosuid,nodev,size=${TEMPORARY_BYTES}` },
        NetworkMode: network,
        PortBindings: Object.fromEntries(
          ports.map(({ inside, address, port }) => [
            `${inside}/tcp`,
            [{ HostIp: address, HostPort: String(port) }],
          ]),
        ),
        Mounts: [
          ...volumes.map(({ name, path }) => ({ Type: 'volume' as const, Source: name, Target: path })),
          ...(it.mounts ?? []),
        ],
        ...it.host,
      },
      NetworkingConfig: { EndpointsConfig: { [network]: { Aliases: [part.name] } } },
    },
  }
}

const serverFiles = ({ server }: Secrets) => ({
  'server.pem': Buffer.from(server?.cert ?? ''),
  'server.key': Buffer.from(server?.key ?? ''),
})

const secretOf = ({ users }: Secrets, name: string) => Buffer.from(users[name]?.password ?? '')

const decoded = (files: Readonly<Record<string, string>> = {}) =>
  Object.fromEntries(Object.entries(files).map(([name, base64]) => [name, Buffer.from(base64, 'base64')]))

const branch = (node: unknown): Tree => (typeof node === 'object' && node !== null ? (node as Tree) : {})

const without = (tree: Tree, ...keys: readonly string[]): Tree =>
  Object.fromEntries(Object.entries(tree).filter(([key]) => !keys.includes(key)))

export const bracketed = (host: string) => (host.includes(':') ? `[${host}]` : host)

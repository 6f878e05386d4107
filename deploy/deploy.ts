import { setTimeout as sleep } from 'node:timers/promises'
import { failure } from '../lib/errors.ts'
import { parseBrokerUrl } from '../lib/mqtt/link.ts'
import { TOPIC_PREFIX_DEFAULT } from '../wire/topics.ts'
import { apply, containersOf, nameOf, type Outcome, settle, takeDown } from './apply.ts'
import { bracketed, cloudUsers, compose, type Facts, inlineUsers, siteOf } from './compose.ts'
import { demux } from './demux.ts'
import { ADMIN_USER, VIEWER_USER } from './edge-users.ts'
import { type Cloud, inviteEdge, removeEdge, sayEdges, writeUsers } from './edges.ts'
import { Engine, type EngineAddress } from './engine.ts'
import { checkSource, ensureImages, type ImageSource, type Images } from './images.ts'
import { DISK_BYTES_TO_BUILD, DISK_BYTES_TO_RUN } from './limits.ts'
import { writeLooking } from './looking-file.ts'
import {
  DEPLOYMENT,
  EDGE_USER,
  HELPER,
  INFERENCE_PORT,
  INFERENCE_USER,
  KIND,
  type Kind,
  PARTS,
  ROLE,
} from './names.ts'
import type { Say } from './say.ts'
import { completeSecrets, placeholders, type Secrets } from './secrets.ts'
import {
  camerasOf,
  checkTree,
  consoleOf,
  givenPeople,
  givenUsers,
  hasOwnPeople,
  isBelow,
  type Settings,
} from './settings.ts'
import type { SshOptions } from './ssh.ts'
import { newState, readState, type State, writeState } from './state.ts'
import { showStatus } from './status.ts'
import { type Survey, survey } from './survey.ts'
import { Volumes } from './volumes.ts'

/** `sightline deploy`: what each verb does, from the first look to the last word. */

export interface Where {
  readonly address: EngineAddress
  readonly ssh: SshOptions
  /** The deployment's. */
  readonly name: string
}

export interface DeployOptions extends Where {
  readonly settings: Settings
  readonly source: ImageSource
  readonly healthyMsMax: number
  readonly signal: AbortSignal
  readonly say: Say
}

/** Errors: those of everything that it does */
export async function deploy(options: DeployOptions): Promise<void> {
  const { settings, source, name, say } = options
  checkSettings(name, settings)
  await checkSource(source)
  using engine = await Engine.open(options.address, options.ssh)
  const found = await survey(engine, {
    name,
    kind: settings.kind,
    gpu: settings.gpu,
    devices: devicesOf(settings),
    ports: portsOf(settings),
    diskBytesMin: source.kind === 'build' ? DISK_BYTES_TO_BUILD : DISK_BYTES_TO_RUN,
  })
  for (const line of planOf(engine, name, settings, source, found)) say(line)
  const images = await ensureImages(
    engine,
    { kind: settings.kind, gpu: settings.gpu, architecture: found.architecture, source },
    say,
  )
  await bringUp(engine, options, settings, found, images)
}

export interface UpgradeOptions extends Omit<DeployOptions, 'settings'> {}

/** The same settings and secrets, other images. Errors: DEPLOYMENT_NOT_FOUND, and those of deploy */
export async function upgrade(options: UpgradeOptions): Promise<void> {
  const { name, source, say } = options
  await checkSource(source)
  using engine = await Engine.open(options.address, options.ssh)
  const { kind, image } = await known(engine, name)
  await settle(engine, name, say)
  const state = await stateOf(new Volumes(engine, { name, kind }, image), { name, kind })
  const { settings } = state
  const found = await survey(engine, {
    name,
    kind,
    gpu: settings.gpu,
    devices: [], // a camera that is unplugged for now does not stop an upgrade
    ports: portsOf(settings),
    diskBytesMin: source.kind === 'build' ? DISK_BYTES_TO_BUILD : DISK_BYTES_TO_RUN,
  })
  const images = await ensureImages(
    engine,
    { kind, gpu: settings.gpu, architecture: found.architecture, source },
    say,
  )
  await bringUp(engine, options, settings, found, images)
}

async function bringUp(
  engine: Engine,
  options: UpgradeOptions,
  settings: Settings,
  found: Survey,
  images: Images,
): Promise<void> {
  const { name, say, signal, healthyMsMax } = options
  const { kind } = settings
  await settle(engine, name, say)
  const [image] = Object.values(images)
  const volumes = new Volumes(engine, { name, kind }, image?.id ?? '')
  const had = await readState(volumes, name)
  const secrets = await completeSecrets(kind, hostsOf(settings), had?.secrets)
  await writeState(volumes, name, newState(settings, secrets))
  if (hasUsers(kind)) await writeUsers(volumes, name, cloudUsers(settings, secrets))
  const facts: Facts = {
    architecture: found.architecture,
    machineName: found.name,
    host: hostOf(engine, settings),
    cameraGroups: await cameraGroups(engine, settings, found),
  }
  const composed = compose(name, settings, secrets, facts)
  for (const { part, config } of composed) checkTree(part.program, config)
  signal.throwIfAborted()
  const outcomes = await apply({
    engine,
    deployment: { name, kind },
    composed,
    images,
    labelKey: secrets.labelKey,
    healthyMsMax,
    signal,
    say,
  })
  say(summary(name, outcomes))
  for (const { look } of composed) if (look !== undefined) say(look)
  const people = peopleOf(settings, secrets)
  const isNew = (name: string) => had?.secrets.users[name] === undefined
  for (const [name, password] of people)
    say(isNew(name) ? `          user ${name}, password ${password}` : `          user ${name}`)
  if (people.some(([name]) => !isNew(name)))
    say(`          the passwords again: sightline deploy login${flags(options)}`)
  if (people.length > 0)
    say("          (the certificate is from this deployment's own authority: the browser asks once)")
  say(`logs      sightline deploy logs -f${flags(options)}`)
  if (kind === 'inference')
    say(`next      an edge: sightline deploy token${flags(options)} writes a join file for it (--inference)`)
  if (kind === 'cloud') for (const line of sayEdges(secrets, flags(options))) say(line)
  const before = had && siteOf(had.settings)
  if (kind === 'edge' && before !== undefined && before !== siteOf(settings))
    say(
      `note      This edge belonged to the site "${before}". The cloud refuses what it still keeps of that site: it is quarantined (sightline quarantine), not lost.`,
    )
}

function summary(name: string, outcomes: readonly Outcome[]): string {
  const changed = outcomes.filter(({ change }) => change !== 'unchanged')
  if (changed.length === 0) return `"${name}" is up to date: nothing to do.`
  return `"${name}" runs: ${outcomes.map(({ part, change }) => `${part} ${change}`).join(', ')}.`
}

/** Errors: DEPLOYMENT_NOT_FOUND. @returns whether everything is well */
export async function status(
  options: Omit<Where, 'name'> & { readonly name: string | undefined },
): Promise<{ text: string; ok: boolean }> {
  using engine = await Engine.open(options.address, options.ssh)
  return await showStatus(engine, options.name) // the connection is closed with this block
}

/** The name of what is deployed there, where that is one. Errors: DEPLOYMENT_NOT_FOUND, USAGE */
export async function onlyOne(where: Omit<Where, 'name'>): Promise<string> {
  using engine = await Engine.open(where.address, where.ssh)
  const { docker } = engine
  const filters = { label: [DEPLOYMENT] }
  const [containers, { Volumes: volumes }] = await engine.do('listing deployments', () =>
    Promise.all([docker.listContainers({ all: true, filters }), docker.listVolumes({ filters })]),
  )
  const names = new Set([...containers, ...(volumes ?? [])].map(({ Labels }) => Labels[DEPLOYMENT] ?? ''))
  const [one, ...others] = names
  if (one === undefined)
    throw failure('DEPLOYMENT_NOT_FOUND', `Nothing is deployed on ${engine.machine.description}.`)
  if (others.length > 0)
    throw failure(
      'USAGE',
      `There are several deployments: ${[...names].sort().join(', ')}. Choose one: --name`,
    )
  return one
}

/** Who may look at gallery and console, of those that deploy makes; a name and a password each. */
function peopleOf({ kind, configs }: Settings, { users }: Secrets): (readonly [string, string])[] {
  if (!hasUsers(kind) || hasOwnPeople(configs)) return []
  const given = givenPeople(configs)?.users
  return (given === undefined ? [ADMIN_USER, VIEWER_USER] : [ADMIN_USER]).flatMap((name) => {
    const login = given?.some((user) => user.name === name) ? undefined : users[name]
    return login ? [[name, login.password] as const] : []
  })
}

/** What a person needs to look at console and gallery. Errors: DEPLOYMENT_NOT_FOUND */
export async function login(options: Where): Promise<string> {
  using engine = await Engine.open(options.address, options.ssh)
  const { kind, image } = await known(engine, options.name)
  const { settings, secrets } = await stateOf(new Volumes(engine, { name: options.name, kind }, image), {
    name: options.name,
    kind,
  })
  if (!hasUsers(kind))
    throw failure(
      'DEPLOYMENT_NOT_FOUND',
      kind === 'edge'
        ? `"${options.name}" has no console and no gallery: its cloud has them.`
        : `"${options.name}" is an inference server, which nobody logs in to. What an edge needs: sightline deploy token${flags(options)}`,
    )
  const people = peopleOf(settings, secrets)
  if (people.length === 0) return 'Only those of the users files that were given.\n'
  return people.map(([name, password]) => `user ${name}, password ${password}\n`).join('')
}

/** A user and a join file for one more edge. Errors: DEPLOYMENT_NOT_FOUND, and those of inviteEdge */
export async function invite(
  options: Where & { readonly site: string; readonly joinFile: string },
): Promise<void> {
  using engine = await Engine.open(options.address, options.ssh)
  await inviteEdge(await cloudOf(engine, options), options.site, options.joinFile)
}

/** What edges need to use an inference server. Errors: DEPLOYMENT_NOT_FOUND, FILE_EXISTS, FOLDER_UNWRITABLE */
export async function shareInference(options: Where & { readonly joinFile: string }): Promise<void> {
  using engine = await Engine.open(options.address, options.ssh)
  const { name } = options
  const { kind, image } = await known(engine, name)
  if (kind !== 'inference')
    throw failure(
      'USAGE',
      `"${name}" is no inference server, but: ${kind}. For an edge's own join file write: sightline deploy invite SITE`,
    )
  const { settings, secrets } = await stateOf(new Volumes(engine, { name, kind }, image), { name, kind })
  const port = settings.inferencePort ?? INFERENCE_PORT
  const [host = hostOf(engine, settings)] = settings.addresses
  writeLooking(options.joinFile, {
    addresses: [`https://${bracketed(host)}:${port}`],
    token: secrets.users[INFERENCE_USER]?.password ?? '',
    ca: secrets.authority?.cert ?? '',
  })
}

/** Errors: DEPLOYMENT_NOT_FOUND, and those of removeEdge */
export async function remove(options: Where & { readonly site: string | undefined }): Promise<void> {
  using engine = await Engine.open(options.address, options.ssh)
  await removeEdge(await cloudOf(engine, options), options.site)
}

async function cloudOf(engine: Engine, where: Where): Promise<Cloud> {
  const { name } = where
  const { kind, image } = await known(engine, name)
  if (kind !== 'cloud')
    throw failure('DEPLOYMENT_NOT_FOUND', `"${name}" is not a cloud that edges join, but: ${kind}.`)
  const volumes = new Volumes(engine, { name, kind }, image)
  const state = await stateOf(volumes, { name, kind })
  return { engine, volumes, name, state, flags: flags(where) }
}

/** Errors: DEPLOYMENT_NOT_FOUND. @returns the volumes that are kept */
export async function down(
  options: Where & { readonly purge: boolean; readonly say: Say },
): Promise<string[]> {
  using engine = await Engine.open(options.address, options.ssh)
  const kept = async () => {
    const filters = { label: [`${DEPLOYMENT}=${options.name}`] }
    const { Volumes: volumes } = await engine.do('looking for volumes', () =>
      engine.docker.listVolumes({ filters }),
    )
    return (volumes ?? []).map(({ Name }) => Name).sort()
  }
  const containers = await containersOf(engine, options.name)
  if (containers.length === 0 && (await kept()).length === 0) throw nothingThere(options.name)
  await takeDown(engine, options.name, options.purge)
  return await kept()
}

/** How long a log that ended is waited for: a container that is replaced, or started again. */
const LOG_AGAIN_MS = 1000

/** Errors: DEPLOYMENT_NOT_FOUND */
export async function logs(
  options: Where & {
    readonly part: string | undefined
    readonly follow: boolean
    readonly tail: number
    readonly signal: AbortSignal
    readonly write: (part: string, chunk: Buffer, isError: boolean) => void
  },
): Promise<void> {
  using engine = await Engine.open(options.address, options.ssh)
  const containers = (await containersOf(engine, options.name)).filter(
    ({ Labels, Names }) => Labels[ROLE] !== HELPER && !nameOf(Names).endsWith('.previous'),
  )
  if (containers.length === 0) throw nothingThere(options.name)
  const parts = containers.map(({ Labels }) => Labels[ROLE] as string).sort()
  if (options.part !== undefined && !parts.includes(options.part))
    throw failure(
      'DEPLOYMENT_NOT_FOUND',
      `"${options.name}" has no part "${options.part}". It has: ${parts.join(', ')}.`,
    )
  const wanted = options.part === undefined ? parts : [options.part]
  await Promise.all(wanted.map((part) => logOf(engine, part, options)))
}

async function logOf(
  engine: Engine,
  part: string,
  { name, follow, tail, signal, write }: Parameters<typeof logs>[0],
): Promise<void> {
  const { docker } = engine
  let since: number | undefined
  for (;;) {
    const [found] = (await containersOf(engine, name)).filter(
      ({ Labels, Names }) => Labels[ROLE] === part && !nameOf(Names).endsWith('.previous'),
    )
    if (found) {
      const container = docker.getContainer(found.Id)
      const asked = { stdout: true, stderr: true, ...(since === undefined ? { tail } : { since }) }
      if (!follow) {
        const raw = (await engine.do('reading a log', () =>
          container.logs({ ...asked, follow: false }),
        )) as unknown as Buffer
        demux()(raw, (chunk, isError) => write(part, chunk, isError))
        return
      }
      const stream = await engine.do('reading a log', () => container.logs({ ...asked, follow: true }))
      const feed = demux()
      const end = () => (stream as unknown as { destroy(): void }).destroy()
      signal.addEventListener('abort', end, { once: true })
      try {
        for await (const chunk of stream as AsyncIterable<Buffer>)
          feed(chunk, (line, isError) => write(part, line, isError))
      } catch (error) {
        if (!signal.aborted) throw engine.failure('reading a log', error)
      } finally {
        signal.removeEventListener('abort', end)
      }
      since = Math.floor(Date.now() / 1000)
    }
    if (signal.aborted || !follow) return
    await sleep(LOG_AGAIN_MS, undefined, { signal }).catch(() => {})
  }
}

/** What is wrong with what is wanted, before anybody is asked. Errors: CONFIG_INVALID, USAGE, CONFIG_UNSAFE_LISTENER */
function checkSettings(name: string, settings: Settings): void {
  const facts: Facts = { architecture: 'amd64', machineName: 'machine', host: 'host', cameraGroups: {} }
  for (const { part, config } of compose(name, settings, placeholders(settings.kind), facts)) {
    checkTree(part.program, config)
    if (part.end === 'edge' && !(Array.isArray(config.bridges) && config.bridges.length > 0))
      throw failure(
        'USAGE',
        'Missing: the cloud that receives the crops of the edge. Give --join FILE (as "deploy cloud" writes it), or --cloud mqtts://HOST:8883 with --user-file and --ca.',
      )
  }
  checkUsers(settings)
  if (settings.configs.inference?.tree.grpc !== undefined)
    throw failure(
      'CONFIG_INVALID',
      'deploy opens an inference server by REST alone. Remove "grpc" from its configuration, or use Compose (docs/inference.md).',
    )
  const { site } = settings.configs.device?.tree ?? {}
  const own = settings.uplink?.site
  if (own !== undefined && site !== undefined && site !== own)
    throw failure(
      'CONFIG_INVALID',
      `The device's configuration names the site "${site}", but the join file is for the site "${own}", the only one that its user may publish. Make them the same, or remove "site" from the configuration.`,
    )
  if (!hasCameras(settings.kind)) return
  for (const { name: camera, source } of camerasOf(settings.configs.device?.tree ?? {})) {
    if (source === 'testcard' || /^[a-z][a-z0-9+.-]*:\/\//i.test(source) || isDevice(source)) continue
    if (!isBelow(source, settings.mounts))
      throw failure(
        'CONFIG_INVALID',
        `The camera "${camera}" reads ${source}, which its container cannot see. Give its folder on the engine's machine with --mount, and the full path as source.`,
      )
  }
}

/** Of a configuration of the cloud's broker that brings users along. Errors: CONFIG_INVALID */
function checkUsers(settings: Settings): void {
  const { broker } = settings.configs
  if (settings.kind !== 'cloud' || broker === undefined) return
  const given = givenUsers(broker)
  if (given !== undefined && given.topicPrefix !== TOPIC_PREFIX_DEFAULT)
    throw failure(
      'CONFIG_INVALID',
      `deploy gives users rights below ${TOPIC_PREFIX_DEFAULT} only. Remove "topicPrefix" from the users file.`,
    )
  const names = [...inlineUsers(settings), ...cloudUsers(settings, placeholders(settings.kind))].map(
    ({ name }) => name,
  )
  const twice = names.find((name, at) => names.indexOf(name) < at)
  if (twice !== undefined)
    throw failure(
      'CONFIG_INVALID',
      `Duplicate user "${twice}" in the broker's configuration or users file, or one with the name of a user that deploy creates. Rename it.`,
    )
}

/** Whether people and edges log in to it. */
const hasUsers = (kind: Kind) => kind === 'cloud' || kind === 'demo'
const hasCameras = (kind: Kind) => kind === 'edge' || kind === 'demo'

const isDevice = (source: string) => source.startsWith('/dev/')

const devicesOf = (settings: Settings) =>
  !hasCameras(settings.kind)
    ? []
    : camerasOf(settings.configs.device?.tree ?? {})
        .map(({ source }) => source)
        .filter(isDevice)

async function cameraGroups(
  engine: Engine,
  settings: Settings,
  found: Survey,
): Promise<Record<string, number>> {
  const groups: Record<string, number> = {}
  for (const device of devicesOf(settings)) {
    const listed = found.cameras.find(({ path }) => path === device)?.group
    const { status: absent, stdout } = await engine.machine.run(['stat', '-L', '-c', '%g', device])
    const group = listed ?? Number(stdout.trim())
    if (listed !== undefined || (absent === 0 && Number.isInteger(group))) groups[device] = group
  }
  return groups
}

function portsOf(settings: Settings) {
  const { kind, mqttPort, gallery } = settings
  const web = [
    { ...gallery, option: '--gallery-port' },
    { ...consoleOf(settings), option: '--console-port' },
  ]
  if (kind === 'inference')
    return [
      { address: '0.0.0.0', port: settings.inferencePort ?? INFERENCE_PORT, option: '--inference-port' },
    ]
  if (kind === 'cloud') return [{ address: '0.0.0.0', port: mqttPort, option: '--mqtt-port' }, ...web]
  return kind === 'demo' ? web : []
}

/** Of the cloud's certificate: within the deployment, on its machine, and from outside. */
const hostsOf = ({ kind, addresses }: Settings) =>
  kind === 'edge'
    ? []
    : kind === 'inference'
      ? [...new Set(['inference', 'localhost', '127.0.0.1', ...addresses])]
      : [...new Set(['broker', 'cloud-broker', 'localhost', '127.0.0.1', ...addresses])]

const hostOf = (engine: Engine, { addresses }: Settings) => addresses[0] ?? engine.hostName ?? '127.0.0.1'

function planOf(
  engine: Engine,
  name: string,
  settings: Settings,
  source: ImageSource,
  found: Survey,
): string[] {
  const { kind, uplink } = settings
  const from =
    source.kind === 'build'
      ? 'built there from these files'
      : source.kind === 'file'
        ? source.file
        : source.reference
  const cameras = found.cameras.map(({ path }) => path)
  const unused = cameras.filter((path) => !devicesOf(settings).includes(path))
  return [
    `engine    Docker ${found.version} on ${engine.machine.description}: ${found.system}, ${found.architecture}${found.diskBytesFree === undefined ? '' : `, ${(found.diskBytesFree / 1e9).toFixed(0)} GB free`}`,
    `deploy    "${name}": ${PARTS[kind].map((part) => part.name).join(', ')}; images ${from}`,
    ...(!hasCameras(kind)
      ? []
      : [
          `cameras   ${camerasOf(settings.configs.device?.tree ?? {})
            .map(({ source: it }) => withoutPassword(it))
            .join(
              ', ',
            )}${unused.length > 0 ? ` (also found: ${unused.join(', ')}; choose one with --camera)` : ''}`,
        ]),
    ...(kind === 'edge' && settings.looking
      ? [`looks     elsewhere: ${settings.looking.addresses.join(', ')}`]
      : []),
    ...(kind === 'edge' && uplink
      ? [
          `cloud     ${parseBrokerUrl(uplink.url).host}, as ${uplink.username}`,
          ...(uplink.site === undefined && uplink.username === EDGE_USER
            ? [
                'note      This join file is for one user of all edges. It still works. For a user of its own, which can be removed alone: sightline deploy invite SITE, at the cloud',
              ]
            : []),
        ]
      : []),
    ...portsOf(settings).map(({ address, port }) => `opens     ${address}:${port}`),
    ...(found.hasMemoryLimit
      ? []
      : [
          'note      this system limits no container\'s memory (on a Raspberry Pi: add "cgroup_enable=memory" to /boot/firmware/cmdline.txt)',
        ]),
  ]
}

const withoutPassword = (source: string) => source.replace(/\/\/[^/@]*@/, '//…@')

/** A deployment that runs, or that was stopped. Errors: DEPLOYMENT_NOT_FOUND */
async function known(engine: Engine, name: string): Promise<{ kind: Kind; image: string }> {
  const containers = await containersOf(engine, name)
  const one = containers.find(({ Labels }) => Labels[ROLE] !== HELPER)
  if (!one) throw nothingThere(name)
  return { kind: one.Labels[KIND] as Kind, image: one.ImageID }
}

const nothingThere = (name: string) =>
  failure(
    'DEPLOYMENT_NOT_FOUND',
    `Deployment "${name}" not found on that engine. List them with "sightline deploy status", or choose one: --name`,
  )

async function stateOf(volumes: Volumes, deployment: { name: string; kind: Kind }): Promise<State> {
  const state = await readState(volumes, deployment.name)
  if (!state)
    throw failure(
      'DEPLOYMENT_NOT_FOUND',
      `The saved state of "${deployment.name}" is missing. Deploy it again: sightline deploy ${deployment.kind}`,
    )
  return state
}

function flags({ address, name }: Where): string {
  const host =
    address.kind === 'ssh'
      ? ` --host ssh://${address.user}@${bracketed(address.host)}${address.port === 22 ? '' : `:${address.port}`}`
      : address.path === '/var/run/docker.sock'
        ? ''
        : ` --host unix://${address.path}`
  return `${host} --name ${name}`
}

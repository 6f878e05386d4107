import { createHmac } from 'node:crypto'
import type Dockerode from 'dockerode'
import { failure } from '../lib/errors.ts'
import type { Composed } from './compose.ts'
import { type Engine, orNone, statusOf } from './engine.ts'
import { healthOf, lastLines, untilHealthy } from './health.ts'
import type { Image, Images } from './images.ts'
import { LOG_LINES_SHOWN, STOP_SECONDS_MAX } from './limits.ts'
import {
  CONFIG,
  configVolume,
  containerName,
  DEPLOYMENT,
  HELPER,
  LOOK,
  networkName,
  previousName,
  ROLE,
  SOURCE,
} from './names.ts'
import type { Say } from './say.ts'
import { CONFIG_FOLDER } from './settings.ts'
import { type Deployment, labelsOf, Volumes } from './volumes.ts'

/**
 * Makes what runs be what is wanted, one container after the other. One that is as it should be is left alone. Another
 * one is stopped and put aside under the name `….previous`, its successor takes its place and has to become well; then
 * the old one goes, and where the new one does not become well the old one comes back. So at every moment it can be told
 * from the names alone how far an interrupted run came: `settle` ends what it began.
 */

/** What became of a part. */
export type Change = 'unchanged' | 'started' | 'made' | 'replaced'

export interface Outcome {
  readonly part: string
  readonly change: Change
}

export interface ApplyOptions {
  readonly engine: Engine
  readonly deployment: Deployment
  readonly composed: readonly Composed[]
  readonly images: Images
  /** For the labels that say what a container was made from. */
  readonly labelKey: string
  readonly healthyMsMax: number
  readonly signal: AbortSignal
  readonly say: Say
}

/** Errors: DEPLOYMENT_UNHEALTHY, ROLLED_BACK, and those of the engine */
export async function apply(options: ApplyOptions): Promise<Outcome[]> {
  const { engine, deployment, composed, images, say } = options
  const outcomes: Outcome[] = []
  const isNew = (await containersOf(engine, deployment.name)).every((it) => it.Labels[ROLE] === HELPER)
  await ensureNetwork(engine, deployment)
  for (const part of composed) {
    const name = containerName(deployment.name, part.part.name)
    const image = images[part.part.program] as Image
    try {
      const change = await applyPart(options, part, name, image)
      outcomes.push({ part: part.part.name, change })
      if (change !== 'unchanged') say(`${name}: ${change === 'started' ? 'restarted' : change}, and healthy`)
    } catch (error) {
      // Of a deployment that did not exist before nothing runs on: half of one would only confuse.
      if (isNew && !options.signal.aborted) await undo(engine, deployment, say)
      throw error
    }
  }
  await removeStrays(options)
  await removeReplacedImages(engine)
  return outcomes
}

/** What an interrupted run has left: a container that served for moments, one that was put aside. */
export async function settle(engine: Engine, deployment: string, say: Say): Promise<void> {
  const { docker } = engine
  const containers = await containersOf(engine, deployment)
  for (const { Id, Labels } of containers)
    if (Labels[ROLE] === HELPER)
      await engine.do('cleaning up', () => orNone(docker.getContainer(Id).remove({ force: true, v: true })))
  for (const { Id, Names } of containers) {
    const name = nameOf(Names)
    if (!name.endsWith('.previous')) continue
    const place = name.slice(0, -'.previous'.length)
    const successor = containers.find((it) => nameOf(it.Names) === place)
    if (successor && (await healthOf(engine, docker.getContainer(successor.Id))).ok) {
      say(`${place}: an earlier run was interrupted; removing what it replaced`)
      await remove(engine, docker.getContainer(Id))
    } else {
      say(`${place}: an earlier run was interrupted; restoring what ran before`)
      if (successor) await remove(engine, docker.getContainer(successor.Id))
      await engine.do(`restoring ${place}`, async () => {
        await docker.getContainer(Id).rename({ name: place })
        await startIfStopped(docker.getContainer(Id))
      })
    }
  }
}

export function containersOf(engine: Engine, deployment: string): Promise<Dockerode.ContainerInfo[]> {
  return engine.do('listing containers', () =>
    engine.docker.listContainers({ all: true, filters: { label: [`${DEPLOYMENT}=${deployment}`] } }),
  )
}

export const nameOf = (names: readonly string[]) => (names[0] ?? '').replace(/^\//, '')

async function applyPart(
  options: ApplyOptions,
  composed: Composed,
  name: string,
  image: Image,
): Promise<Change> {
  const { engine, deployment, labelKey, say } = options
  const { docker } = engine
  const role = composed.part.name
  const filesHash = hash(
    labelKey,
    Object.entries(composed.files).map(([file, content]) => [file, content.toString('base64')]),
  )
  const config = configVolume(deployment.name, role, filesHash)
  const wanted = withConfig(composed, config)
  const configHash = hash(labelKey, wanted)
  const old = await engine.do(`inspecting ${name}`, () => orNone(docker.getContainer(name).inspect()))
  const current = docker.getContainer(name)
  if (old?.Config.Labels[CONFIG] === configHash && old.Image === image.id) {
    if (old.State.Running) {
      const health = await healthOf(engine, current)
      if (!health.ok) say(`${name}: up to date, but unhealthy: ${health.said}`)
      return 'unchanged'
    }
    say(`${name}: restarting it`)
    await engine.do(`starting ${name}`, () => startIfStopped(current))
    await becomeHealthy(options, current, name)
    return 'started'
  }
  const volumes = new Volumes(engine, deployment, image.id)
  for (const volume of composed.volumes) await volumes.ensure(volume.name, role)
  if (!(old?.Mounts ?? []).some((mount) => mount.Name === config))
    await volumes.write(config, role, composed.files)
  const create = () =>
    engine.do(`creating ${name}`, () =>
      docker.createContainer({
        ...wanted,
        name,
        Image: image.reference,
        Labels: {
          ...labelsOf(deployment, role),
          [CONFIG]: configHash,
          ...(composed.look === undefined ? {} : { [LOOK]: composed.look }),
        },
      }),
    )
  if (!old) {
    say(`${name}: starting it`)
    const made = await create()
    await startOrRemove(engine, made, name)
    await becomeHealthy(options, made, name)
    return 'made'
  }
  say(`${name}: stopping the old one`)
  await engine.do(`stopping ${name}`, async () => {
    await stop(current)
    await current.rename({ name: previousName(name) })
  })
  try {
    say(`${name}: starting the new one`)
    const made = await create()
    await startOrRemove(engine, made, name)
    await becomeHealthy(options, made, name)
  } catch (error) {
    if (options.signal.aborted) throw error // the next run settles it
    await rollBack(options, name, error as Error)
  }
  await remove(engine, docker.getContainer(old.Id))
  return 'replaced'
}

/** Throws in any case. */
async function rollBack(
  { engine, say, healthyMsMax, signal }: ApplyOptions,
  name: string,
  reason: Error,
): Promise<never> {
  const { docker } = engine
  say(`${name}: the new one did not become healthy; restoring the old one`)
  const failed = await engine.do(`inspecting ${name}`, () => orNone(docker.getContainer(name).inspect()))
  if (failed) await remove(engine, docker.getContainer(failed.Id))
  const old = docker.getContainer(previousName(name))
  await engine.do(`restoring ${name}`, async () => {
    await old.rename({ name })
    await startIfStopped(docker.getContainer(name))
  })
  const back = await untilHealthy(
    engine,
    docker.getContainer(name),
    { name, msMax: healthyMsMax, signal },
    say,
  )
  throw failure(
    'ROLLED_BACK',
    `${reason.message}\nThe previous one is restored${back === undefined ? ' and healthy' : `, but unhealthy too: ${back}`}. The parts after it were not changed.`,
    reason,
  )
}

/** Errors: DEPLOYMENT_UNHEALTHY */
async function becomeHealthy(
  { engine, healthyMsMax, signal, say }: ApplyOptions,
  container: Dockerode.Container,
  name: string,
): Promise<void> {
  const fault = await untilHealthy(engine, container, { name, msMax: healthyMsMax, signal }, say)
  if (fault === undefined) return
  const lines = await lastLines(engine, container, LOG_LINES_SHOWN).catch(() => [])
  throw failure(
    'DEPLOYMENT_UNHEALTHY',
    `${name} did not become healthy: ${fault}.${lines.length > 0 ? `\nThe last lines of its log:\n${lines.map((line) => `  ${line}`).join('\n')}` : ''}`,
  )
}

/** One that cannot even be started (a port, a device) would be in the way of the next run. */
async function startOrRemove(engine: Engine, container: Dockerode.Container, name: string): Promise<void> {
  try {
    await engine.do(`starting ${name}`, () => container.start())
  } catch (error) {
    await remove(engine, container)
    throw error
  }
}

async function startIfStopped(container: Dockerode.Container): Promise<void> {
  await container.start().catch((error: unknown) => {
    if (statusOf(error) !== 304) throw error
  })
}

async function stop(container: Dockerode.Container): Promise<void> {
  await container.stop({ t: STOP_SECONDS_MAX }).catch((error: unknown) => {
    if (statusOf(error) !== 304) throw error
  })
}

async function remove(engine: Engine, container: Dockerode.Container): Promise<void> {
  await engine.do('removing a container', () => orNone(container.remove({ force: true })))
}

function withConfig({ create }: Composed, volume: string): Dockerode.ContainerCreateOptions {
  const { HostConfig: host } = create
  return {
    ...create,
    HostConfig: {
      ...host,
      Mounts: [
        ...(host?.Mounts ?? []),
        {
          Type: 'volume',
          Source: volume,
          Target: CONFIG_FOLDER,
          ReadOnly: true,
          VolumeOptions: { NoCopy: true } as never,
        },
      ],
    },
  }
}

async function ensureNetwork(engine: Engine, deployment: Deployment): Promise<void> {
  const { docker } = engine
  const name = networkName(deployment.name)
  const found = await engine.do(`looking for the network ${name}`, () =>
    orNone(docker.getNetwork(name).inspect()),
  )
  if (found) return
  await engine.do(`creating the network ${name}`, () =>
    docker.createNetwork({
      Name: name,
      Driver: 'bridge',
      CheckDuplicate: true,
      Labels: labelsOf(deployment, 'network'),
    }),
  )
}

/** Of a first deployment that failed; data and what deploy remembers stay, and serve the next run. */
async function undo(engine: Engine, deployment: Deployment, say: Say): Promise<void> {
  say('removing what was started; data are kept')
  await takeDown(engine, deployment.name, false)
}

/** Containers and network of a deployment; with `purge` its volumes too. */
export async function takeDown(engine: Engine, deployment: string, purge: boolean): Promise<void> {
  const { docker } = engine
  const containers = await containersOf(engine, deployment)
  // The agent first, so that what it still delivers is taken.
  for (const { Id, Names } of [...containers].reverse()) {
    const name = nameOf(Names)
    await engine.do(`stopping ${name}`, () => stop(docker.getContainer(Id)))
    await remove(engine, docker.getContainer(Id))
  }
  const filters = { label: [`${DEPLOYMENT}=${deployment}`] }
  const networks = await engine.do('looking for networks', () => docker.listNetworks({ filters }))
  for (const { Id, Name } of networks)
    await engine.do(`removing the network ${Name}`, () => orNone(docker.getNetwork(Id).remove()))
  await removeVolumes(engine, deployment, ({ Name }) => purge || isConfig(deployment, Name))
}

/** Configurations that no container has any more. */
async function removeStrays({ engine, deployment }: ApplyOptions): Promise<void> {
  const used = new Set<string>()
  for (const { Mounts } of await containersOf(engine, deployment.name))
    for (const { Name } of Mounts) if (Name !== undefined) used.add(Name)
  await removeVolumes(
    engine,
    deployment.name,
    ({ Name }) => isConfig(deployment.name, Name) && !used.has(Name),
  )
}

/** Images that were built by deploy, and whose name a newer one has taken. */
async function removeReplacedImages(engine: Engine): Promise<void> {
  const filters = { dangling: ['true'], label: [SOURCE] }
  await engine.do('removing images that were replaced', () => engine.docker.pruneImages({ filters }))
}

async function removeVolumes(
  engine: Engine,
  deployment: string,
  goes: (volume: Dockerode.VolumeInspectInfo) => boolean,
): Promise<void> {
  const { docker } = engine
  const filters = { label: [`${DEPLOYMENT}=${deployment}`] }
  const { Volumes: volumes } = await engine.do('looking for volumes', () => docker.listVolumes({ filters }))
  for (const volume of volumes ?? [])
    if (goes(volume))
      await engine.do(`removing the volume ${volume.Name}`, () =>
        orNone(docker.getVolume(volume.Name).remove()),
      )
}

const isConfig = (deployment: string, volume: string) =>
  volume.startsWith(`sightline-${deployment}-`) && /-config-[0-9a-f]+$/.test(volume)

const HASH_CHARACTERS = 20

/** Of anything that JSON can say, whatever the order of its keys. */
function hash(key: string, value: unknown): string {
  return createHmac('sha256', key)
    .update(JSON.stringify(value, inOrder))
    .digest('hex')
    .slice(0, HASH_CHARACTERS)
}

const inOrder = (_key: string, value: unknown) =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
    ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
    : value

import { failure, type SightlineError } from '../lib/errors.ts'
import type { Engine } from './engine.ts'
import { API_VERSION_MIN } from './limits.ts'
import { bytesFree, isTaken, takenPorts, type VideoDevice, videoDevices } from './machine.ts'
import { DEPLOYMENT, KIND, type Kind, namesOf } from './names.ts'

/** What an engine and its machine have, looked at before anything is made. */

export interface Survey {
  readonly version: string
  /** As images name it. */
  readonly architecture: 'amd64' | 'arm64'
  /** Of the machine. */
  readonly name: string
  readonly system: string
  readonly hasNvidia: boolean
  readonly hasMemoryLimit: boolean
  readonly cameras: readonly VideoDevice[]
  readonly diskBytesFree: number | undefined
}

export interface Wanted {
  readonly name: string
  readonly kind: Kind
  readonly gpu: boolean
  /** Cameras at the machine, /dev/video0 or a link to such a one. */
  readonly devices: readonly string[]
  readonly ports: readonly { readonly address: string; readonly port: number; readonly option: string }[]
  readonly diskBytesMin: number
}

const ARCHITECTURES: Readonly<Record<string, 'amd64' | 'arm64'>> = {
  x86_64: 'amd64',
  amd64: 'amd64',
  aarch64: 'arm64',
  arm64: 'arm64',
}

/** Errors: ENGINE_UNSUITABLE, SOURCE_NOT_FOUND, PORT_TAKEN, DISK_FULL, DEPLOYMENT_CONFLICT; all of them in one */
export async function survey(engine: Engine, wanted: Wanted): Promise<Survey> {
  const { docker, machine } = engine
  const [version, info] = await engine.do('reading its version', () =>
    Promise.all([docker.version(), docker.info()]),
  )
  if (isOlder(version.ApiVersion, API_VERSION_MIN))
    throw failure(
      'ENGINE_UNSUITABLE',
      `The Docker engine is too old: ${version.Version} (API ${version.ApiVersion}). Sightline needs Docker 19.03 (API ${API_VERSION_MIN}) or newer: update it there.`,
    )
  const architecture = ARCHITECTURES[info.Architecture]
  if (architecture === undefined || info.OSType !== 'linux')
    throw failure(
      'ENGINE_UNSUITABLE',
      `The engine runs ${info.OSType} on ${info.Architecture}, but images exist for Linux on amd64 and arm64 only.${/^arm/.test(info.Architecture) ? ' On a Raspberry Pi install the 64-bit system.' : ''}`,
    )
  const faults: SightlineError[] = []
  const hasNvidia = Object.hasOwn(info.Runtimes ?? {}, 'nvidia')
  if (wanted.gpu && !hasNvidia)
    faults.push(
      failure(
        'ENGINE_UNSUITABLE',
        `--gpu needs the NVIDIA runtime, but the engine has none (${Object.keys(info.Runtimes ?? {}).join(', ')}). Install the NVIDIA Container Toolkit there, then: sudo nvidia-ctk runtime configure --runtime=docker; sudo systemctl restart docker. Or leave --gpu out: detection then runs on the CPU.`,
      ),
    )
  const cameras = await videoDevices(machine)
  for (const device of wanted.devices) {
    if (cameras.some(({ path }) => path === device)) continue
    const { status } = await machine.run(['test', '-c', device])
    if (status !== 0)
      faults.push(
        failure(
          'SOURCE_NOT_FOUND',
          `Camera ${device} not found on ${machine.description}. ${cameras.length === 0 ? 'There are no cameras: is it plugged in' : `There are: ${cameras.map(({ path }) => path).join(', ')}`}${cameras.length === 0 ? '?' : '.'}`,
        ),
      )
  }
  const diskBytesFree = await bytesFree(machine, info.DockerRootDir)
  if (diskBytesFree !== undefined && diskBytesFree < wanted.diskBytesMin)
    faults.push(
      failure(
        'DISK_FULL',
        `The engine's disk (${info.DockerRootDir}) has ${gigabytes(diskBytesFree)} left, and this needs ${gigabytes(wanted.diskBytesMin)}. Free some space: docker system df shows what uses it. Or give saved images, which need less: --images FILE.`,
      ),
    )
  faults.push(...(await conflicts(engine, wanted)))
  const [first] = faults
  if (first)
    throw faults.length === 1 ? first : failure(first.code, faults.map(({ message }) => message).join('\n'))
  return {
    version: version.Version,
    architecture,
    name: info.Name,
    system: info.OperatingSystem,
    hasNvidia,
    hasMemoryLimit: info.MemoryLimit !== false,
    cameras,
    diskBytesFree,
  }
}

/** Names and ports that others have. */
async function conflicts(engine: Engine, wanted: Wanted): Promise<SightlineError[]> {
  const { docker, machine } = engine
  const faults: SightlineError[] = []
  const [containers, networks, { Volumes: volumes }] = await engine.do('listing what it holds', () =>
    Promise.all([docker.listContainers({ all: true }), docker.listNetworks(), docker.listVolumes()]),
  )
  const others: string[] = []
  const own = (labels: Record<string, string> | null | undefined) => labels?.[DEPLOYMENT] === wanted.name
  const names = namesOf(wanted.name, wanted.kind)
  for (const { Names, Labels } of containers)
    for (const name of Names.map((it) => it.replace(/^\//, '')))
      if (names.containers.includes(name) && !own(Labels)) others.push(`the container ${name}`)
  for (const { Name, Labels } of networks)
    if (Name === names.network && !own(Labels)) others.push(`the network ${Name}`)
  for (const { Name, Labels } of volumes ?? [])
    if (names.volumes.includes(Name) && !own(Labels)) others.push(`the volume ${Name}`)
  if (others.length > 0)
    faults.push(
      failure(
        'DEPLOYMENT_CONFLICT',
        `The engine has ${others.join(', ')}, not created by deploy and left unchanged. Choose another name for this deployment: --name`,
      ),
    )
  const kinds = [...containers, ...networks, ...(volumes ?? [])].flatMap(({ Labels }) =>
    own(Labels) && Labels?.[KIND] !== undefined ? [Labels[KIND]] : [],
  )
  const other = kinds.find((kind) => kind !== wanted.kind)
  if (other !== undefined)
    faults.push(
      failure(
        'DEPLOYMENT_CONFLICT',
        `"${wanted.name}" is a deployment of another kind there: ${other}. Choose another name (--name), or remove that one: sightline deploy down --name ${wanted.name}`,
      ),
    )
  const ownPorts = containers.flatMap((it) =>
    own(it.Labels) ? it.Ports.map(({ PublicPort }) => PublicPort) : [],
  )
  const taken = await takenPorts(machine)
  for (const { address, port, option } of wanted.ports) {
    if (ownPorts.includes(port)) continue
    const holder = containers.find((it) => it.Ports.some(({ PublicPort }) => PublicPort === port))
    if (holder === undefined && !isTaken(taken, address, port)) continue
    faults.push(
      failure(
        'PORT_TAKEN',
        `Port ${port} is in use on ${machine.description}${holder ? ` by the container ${holder.Names[0]?.replace(/^\//, '')}` : ''}. Stop what uses it, or choose another with ${option}.`,
      ),
    )
  }
  return faults
}

function isOlder(version: string, than: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  const [majorMin = 0, minorMin = 0] = than.split('.').map(Number)
  return major < majorMin || (major === majorMin && minor < minorMin)
}

const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(1)} GB`

import { createSocket } from 'node:dgram'
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { createServer } from 'node:net'
import { basename } from 'node:path'
import type { DeviceConfig } from '../../device/config.ts'
import type { InferenceConfig } from '../../inference/config.ts'
import { systemCode } from '../../lib/errors.ts'
import { listenFailure } from '../../lib/http/server.ts'
import { inOneLine } from '../../lib/table.ts'
import { askOwn } from '../ask.ts'
import { type Configuration, nameOf } from './configuration.ts'
import { type Finding, fail, failed, ok, skip, warn } from './finding.ts'

/** Ports that a program listens on: free, its own, or somebody else's. */

interface Listening {
  readonly host: string
  readonly port: number
  /** Where it is set. */
  readonly key: string
}

/** A Sightline program that answers at the address that a configuration has under `http`. */
export interface Running {
  readonly ok: boolean
  /** Absent where it tells them only to who logs in. */
  readonly checks: Readonly<Record<string, unknown>>
  /** As its metrics have it; undefined where it does not tell. */
  readonly name: string | undefined
}

export function listeningOf({ program, config }: Configuration): Listening[] {
  const { host, port } = config.http
  return [
    ...(program === 'broker'
      ? config.listeners.map((it, at) => ({ host: it.host, port: it.port, key: `listeners.${at}` }))
      : []),
    ...(program === 'device' ? publisherListeners(config.listen) : []),
    ...(program === 'inference' ? inferenceListeners(config) : []),
    { host, port, key: 'http' },
  ]
}

const inferenceListeners = ({ rest, grpc }: InferenceConfig): Listening[] => [
  { host: rest.host, port: rest.port, key: 'rest' },
  ...(grpc ? [{ host: grpc.host, port: grpc.port, key: 'grpc' }] : []),
]

const publisherListeners = ({ rtmp, whip, http }: DeviceConfig['listen']): Listening[] =>
  Object.entries({ rtmp, whip, http }).flatMap(([name, it]) =>
    it ? [{ host: it.host, port: it.port, key: `listen.${name}` }] : [],
  )

/** UDP ports for the media of WHIP. @param isOurs the agent runs, and may have some of them */
async function checkUdpPorts(
  { host, udpPorts }: NonNullable<DeviceConfig['listen']['whip']>,
  isOurs: boolean,
): Promise<Finding[]> {
  if (!udpPorts) return []
  const { from, to } = udpPorts
  const what = `UDP ports ${from} to ${to}`
  const any = host.includes(':') ? '::' : '0.0.0.0'
  let free = 0
  for (let port = from; port <= to; port += 1) if (await isUdpFree(any, port)) free += 1
  const all = to - from + 1
  const found = free === all ? `${all}, all free` : `${free} of ${all} free`
  const each = `each publisher by WHIP takes one for each address of this machine`
  if (free === all || (isOurs && free > 0)) return [ok(what, `${found}; ${each}`)]
  const todo = 'Give "listen.whip.udpPorts" a range that no other program uses, or a larger one.'
  if (free > 0) return [warn(what, `${found}; ${each}`, todo)]
  return [
    isOurs ? warn(what, 'none free: no further publisher gets in', todo) : fail(what, 'none free', todo),
  ]
}

function isUdpFree(address: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createSocket(address === '::' ? 'udp6' : 'udp4')
    socket.once('error', () => socket.close(() => resolve(false)))
    socket.bind({ address, port, exclusive: true }, () => socket.close(() => resolve(true)))
  })
}

/** Whether two ask for the same port at an address that they share. */
export function collide(a: Listening, b: Listening): boolean {
  const everywhere = (host: string) => host === '0.0.0.0' || host === '::'
  return a.port !== 0 && a.port === b.port && (a.host === b.host || everywhere(a.host) || everywhere(b.host))
}

/** @param others what other configurations want */
export async function checkPorts(
  configuration: Configuration,
  running: Running | undefined,
  others: readonly (Listening & { readonly file: string })[],
): Promise<Finding[]> {
  const findings: Finding[] = []
  const wanted = listeningOf(configuration)
  const isOurs = isProgramOf(configuration, running)
  for (const [at, listening] of wanted.entries()) {
    const { host, port, key } = listening
    const what = `port ${host}:${port}`
    const rival =
      others.find((other) => collide(listening, other))?.file ??
      wanted.slice(0, at).find((other) => collide(listening, other))?.key
    if (rival !== undefined) {
      findings.push(fail(what, `${rival} uses it too`, `Choose another port under "${key}" in one of them.`))
      continue
    }
    findings.push(await checkPort(listening, what, running, isOurs))
  }
  if (configuration.program === 'device' && configuration.config.listen.whip)
    findings.push(...(await checkUdpPorts(configuration.config.listen.whip, isOurs)))
  if (running && isOurs) findings.push(...health(configuration, running))
  return findings
}

/** Whether who runs is the program of this configuration, as far as it tells. */
const isProgramOf = (configuration: Configuration, running: Running | undefined): boolean =>
  running !== undefined && (running.name === undefined || running.name === nameOf(configuration))

async function checkPort(
  { host, port, key }: Listening,
  what: string,
  running: Running | undefined,
  isOurs: boolean,
): Promise<Finding> {
  if (port === 0) return skip(what, 'a free port is chosen at the start')
  const error = await tryToListen(host, port)
  if (error === undefined) return ok(what, 'free')
  if (systemCode(error) !== 'EADDRINUSE')
    return failed(what, listenFailure(error, host, port, key), `Choose another address under "${key}".`)
  const holder = holderOfPort(port)
  const whose = holder === undefined ? 'a process that this user cannot see' : holder
  if (isOurs) return ok(what, `in use by this program, which is running: ${whose}`)
  const program = key === 'http' ? running?.name : undefined
  const found =
    program === undefined
      ? `in use by ${whose}`
      : `in use by the Sightline program "${inOneLine(program)}": ${whose}`
  const look = holder === undefined ? ` To find it: sudo ss -ltnp sport = :${port}` : ''
  return fail(what, found, `Stop that program, or choose another port under "${key}".${look}`)
}

/** @returns why it is not to be had */
function tryToListen(host: string, port: number): Promise<Error | undefined> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', resolve)
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(undefined)))
  })
}

function health(configuration: Configuration, { ok: isWell, checks }: Running): Finding[] {
  const what = `running ${configuration.program}`
  const said = Object.entries(checks)
    .map(([name, state]) => `${name}: ${state}`)
    .join('; ')
  const found = said === '' ? 'details are shown only after login' : inOneLine(said)
  if (isWell) return [ok(what, found)]
  return [
    warn(
      what,
      found,
      'It is running, but something that it needs is unavailable. See its log for since when and why.',
    ),
  ]
}

/** Asks whoever listens at the address under `http`. @returns undefined where that is no Sightline program */
export async function whoRuns({ config }: Configuration): Promise<Running | undefined> {
  if (config.http.port === 0) return undefined
  try {
    const { ok, checks } = JSON.parse(await askOwn(config.http, '/healthz')) as Running
    if (typeof ok !== 'boolean') return undefined
    const metrics = await askOwn(config.http, '/metrics')
    const name = /^sightline_memory_bytes\{[^}]*program="([^"]*)"/m.exec(metrics)?.[1]
    return { ok, checks: checks ?? {}, name }
  } catch {
    return undefined // nothing, or something else, answers there
  }
}

/** The process that listens on a port, out of /proc: `process 123 (node main.ts)`. Only own processes, unless one is root. */
function holderOfPort(port: number): string | undefined {
  const inodes = new Set(['/proc/net/tcp', '/proc/net/tcp6'].flatMap((table) => listeners(table, port)))
  if (inodes.size === 0) return undefined
  for (const pid of names('/proc')) {
    if (!/^\d+$/.test(pid)) continue
    for (const fd of names(`/proc/${pid}/fd`)) {
      try {
        if (inodes.has(readlinkSync(`/proc/${pid}/fd/${fd}`))) return `process ${pid} (${commandOf(pid)})`
      } catch {
        // closed meanwhile
      }
    }
  }
  return undefined
}

/** Sockets in state LISTEN (0A) on a port, as links in /proc name them. */
function listeners(table: string, port: number): string[] {
  const wanted = port.toString(16).toUpperCase().padStart(4, '0')
  let text: string
  try {
    text = readFileSync(table, 'utf8')
  } catch {
    return [] // no /proc on this system
  }
  return text.split('\n').flatMap((line) => {
    const [, local, , state, , , , , , inode] = line.trim().split(/\s+/)
    return state === '0A' && local?.endsWith(`:${wanted}`) ? [`socket:[${inode}]`] : []
  })
}

function names(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}

/** The program and its script, and not what else stands on a command line: that may be secret. */
function commandOf(pid: string): string {
  try {
    const [program = '', ...rest] = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
    const script = rest.find((argument) => /\.[cm]?[jt]s$|\.py$/.test(argument))
    return inOneLine(
      [program, ...(script === undefined ? [] : [script])].map((path) => basename(path)).join(' '),
    )
  } catch {
    return 'exited meanwhile'
  }
}

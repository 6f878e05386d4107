import { execFile } from 'node:child_process'
import { dirname } from 'node:path'
import { COMMAND_MS_MAX, OUTPUT_BYTES_MAX } from './limits.ts'

/** The machine that an engine runs on, looked at with commands that every Linux has. */
export interface Machine {
  /** As a person would say it. */
  readonly description: string
  /** Runs a command there; one that does not exist ends with another status than 0. */
  run(command: readonly string[]): Promise<Outcome>
}

export interface Outcome {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

export const thisMachine: Machine = {
  description: 'this machine',
  run: ([file = '', ...args]) =>
    new Promise((resolve) => {
      execFile(
        file,
        args,
        { timeout: COMMAND_MS_MAX, maxBuffer: OUTPUT_BYTES_MAX },
        (error, stdout, stderr) => {
          const status = error === null ? 0 : typeof error.code === 'number' ? error.code : null
          resolve({ status, stdout, stderr })
        },
      )
    }),
}

export interface VideoDevice {
  readonly path: string
  /** The group that may open it. */
  readonly group: number
}

/** `/dev/video*`, in order. */
export async function videoDevices(machine: Machine): Promise<VideoDevice[]> {
  const { stdout } = await machine.run([
    'find',
    '/dev',
    '-maxdepth',
    '1',
    '-type',
    'c',
    '-name',
    'video[0-9]*',
    '-printf',
    '%p %G\n',
  ])
  return stdout
    .split('\n')
    .flatMap((line) => {
      const match = /^(\/dev\/video\d+) (\d+)$/.exec(line)
      return match ? [{ path: match[1] as string, group: Number(match[2]) }] : []
    })
    .sort((a, b) => a.path.localeCompare(b.path, 'en', { numeric: true }))
}

/** Of the file system that a folder is on; undefined where the machine does not say. */
export async function bytesFree(machine: Machine, folder: string): Promise<number | undefined> {
  // The engine's folder is closed to others than root; the one above it is on the same disk, as a rule.
  for (let at = folder; ; at = dirname(at)) {
    const { status, stdout } = await machine.run(['df', '-Pk', at])
    const kilobytes = /\s(\d+)\s+\d+%\s/.exec(stdout.split('\n')[1] ?? '')?.[1]
    if (status === 0 && kilobytes !== undefined) return Number(kilobytes) * 1024
    if (at === '/' || at === '.') return undefined
  }
}

/** TCP ports that somebody listens on, by address. */
export interface TakenPort {
  /** `0.0.0.0` and `::` stand for all. */
  readonly address: string
  readonly port: number
}

/** Out of /proc/net/tcp: local addresses in hexadecimal, in the machine's byte order; state 0A is LISTEN. */
export async function takenPorts(machine: Machine): Promise<TakenPort[]> {
  const { stdout } = await machine.run(['cat', '/proc/net/tcp', '/proc/net/tcp6'])
  return stdout.split('\n').flatMap((line) => {
    const match = /^\s*\d+: ([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4}) \S+ 0A /.exec(line)
    if (!match) return []
    const [, hex = '', port = ''] = match
    const bytes =
      hex.length === 8 ? (hex.match(/../g) ?? []).reverse().map((it) => Number.parseInt(it, 16)) : []
    const address = bytes.length === 4 ? bytes.join('.') : /^0+$/.test(hex) ? '::' : 'another'
    return [{ address, port: Number.parseInt(port, 16) }]
  })
}

/** Whether a listener on one of them is in the way of one on `address`. */
export function isTaken(taken: readonly TakenPort[], address: string, port: number): boolean {
  return taken.some(
    (it) =>
      it.port === port &&
      (address === '0.0.0.0' || it.address === address || it.address === '0.0.0.0' || it.address === '::'),
  )
}

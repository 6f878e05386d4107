import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { promisify } from 'node:util'
import type { Test } from '../kit/programs.ts'

/** The engine of this machine, over its command line. */

const run = promisify(execFile)
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024

/** @returns what it printed. Rejects where it fails. */
export async function docker(...args: string[]): Promise<string> {
  const { stdout } = await run('docker', args, { maxBuffer: OUTPUT_BYTES_MAX })
  return stdout.trim()
}

export interface Ended {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

/** The same for what may fail, with something to read. */
export async function command(
  program: string,
  args: readonly string[],
  {
    input = '',
    env = {},
    cwd,
  }: { input?: string; env?: Readonly<Record<string, string>>; cwd?: string } = {},
): Promise<Ended> {
  const child = spawn(program, args, { env: { ...process.env, ...env }, cwd, stdio: 'pipe' })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  child.stdin.end(input)
  const [status] = (await once(child, 'close')) as [number | null]
  return { status, stdout, stderr }
}

/** As Compose runs them. */
export const CONFINED = [
  '--read-only',
  '--tmpfs=/tmp:size=64m,mode=1777',
  '--cap-drop=ALL',
  '--security-opt=no-new-privileges:true',
]

/** Starts a container, removed with its volumes at the end of the test. @returns its id */
export async function container(t: Test, ...args: string[]): Promise<string> {
  const id = await docker('run', '--detach', ...args)
  t.after(async () => void (await docker('rm', '--force', '--volumes', id)))
  return id
}

export interface LogLine {
  readonly msg?: string
  readonly code?: string
  readonly [key: string]: unknown
}

/** What a container has logged: lines of JSON. */
export async function logOf(id: string): Promise<LogLine[]> {
  const { stdout, stderr } = await command('docker', ['logs', id])
  return `${stdout}${stderr}`.split('\n').flatMap((line) => {
    try {
      return [JSON.parse(line) as LogLine]
    } catch {
      return []
    }
  })
}

/** Its own health check, now. */
export async function isWell(id: string): Promise<boolean> {
  const health = JSON.parse(
    await docker('inspect', '--format={{json .Config.Healthcheck.Test}}', id),
  ) as string[]
  return (await command('docker', ['exec', id, ...health.slice(1)])).status === 0
}

import { execFile } from 'node:child_process'
import { readFileSync, statSync } from 'node:fs'
import { findPackageJSON } from 'node:module'
import { promisify } from 'node:util'
import { NODE_MAJOR_MIN } from '../../bin/runtime.js'
import { CLOCK_YEAR_MIN } from '../../device/limits.ts'
import { systemCode } from '../../lib/errors.ts'
import { type Check, type Finding, fail, ok, skip, warn } from './finding.ts'
import { freeSpace } from './folders.ts'

/** What every program needs of its machine. */

/** An image has only what its program needs, and says so in its package.json. */
const OWN = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  readonly dependencies: Readonly<Record<string, string>>
}

const PACKAGES = [
  { name: 'sharp', of: 'pictures', load: () => import('sharp') },
  { name: 'onnxruntime-node', of: 'face detection', load: () => import('onnxruntime-node') },
  { name: 'node-av', of: 'videos and cameras', load: () => import('node-av/lib') },
  { name: 'lmdb', of: 'stores', load: () => import('lmdb') },
] as const

export function machineChecks(): Check[] {
  return [
    { what: 'Node', msMax: 1000, run: async () => [node()] },
    ...PACKAGES.filter(({ name }) => name in OWN.dependencies).map(({ name, of, load }) => ({
      what: name,
      msMax: 30_000,
      isHeavy: true,
      run: async () => [await packageLoads(name, of, load)],
    })),
    { what: 'clock', msMax: 5000, run: async (signal) => [clock(Date.now()), await timeService(signal)] },
    { what: 'disk', msMax: 5000, run: async () => [freeSpace('disk of this folder', '.', 0)] },
  ]
}

function node(): Finding {
  const { node: version } = process.versions
  const found = `${version}, ${process.platform} ${process.arch}`
  return Number(version.split('.')[0]) >= NODE_MAJOR_MIN
    ? ok('Node', found)
    : fail('Node', `${found}, but ${NODE_MAJOR_MIN} is needed`, `Install Node ${NODE_MAJOR_MIN} or newer.`)
}

async function packageLoads(name: string, of: string, load: () => Promise<unknown>): Promise<Finding> {
  try {
    await load()
    return ok(name, `${versionOf(name)} loads (${of})`)
  } catch (error) {
    const said = error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error)
    return fail(
      name,
      `does not load (needed for ${of}): ${said}`,
      `Run "npm install" again in Sightline's folder, on this machine: the package includes a binary for ${process.platform} ${process.arch}.`,
    )
  }
}

function versionOf(name: string): string {
  const file = findPackageJSON(name, import.meta.url)
  return file === undefined ? '' : (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version
}

/** A clock that stands before the program was installed was never set, or was set wrong. */
function clock(nowMs: number): Finding {
  const installedMs = statSync(new URL('../../package.json', import.meta.url)).mtimeMs
  const leastMs = Math.max(installedMs, Date.UTC(CLOCK_YEAR_MIN))
  const now = new Date(nowMs).toISOString().replace(/\.\d+Z$/, 'Z')
  if (nowMs >= leastMs) return ok('clock', now)
  return fail(
    'clock',
    `shows ${now}, before Sightline was installed here (${new Date(leastMs).toISOString().slice(0, 10)})`,
    'Set the clock, preferably with NTP. Crops would be filed under the wrong day, and S3 and TLS refuse wrong clocks.',
  )
}

async function timeService(signal: AbortSignal): Promise<Finding> {
  const what = 'time service'
  let said: string
  try {
    const { stdout } = await promisify(execFile)(
      'timedatectl',
      ['show', '-p', 'NTPSynchronized', '--value'],
      {
        signal,
        timeout: 3000,
      },
    )
    said = stdout.trim()
  } catch (error) {
    return skip(
      what,
      systemCode(error) === 'ENOENT'
        ? 'timedatectl not found, so it is unknown whether the clock is synchronised'
        : 'timedatectl does not answer (a container?): the host keeps the clock',
    )
  }
  if (said === 'yes') return ok(what, 'the clock is synchronised')
  return warn(
    what,
    'the clock is not synchronised',
    'Turn it on: sudo timedatectl set-ntp true. Crop times, retention and S3 depend on the clock.',
  )
}

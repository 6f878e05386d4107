import { accessSync, constants, readFileSync, statSync } from 'node:fs'
import { userInfo } from 'node:os'
import type { CameraConfig } from '../../device/config.ts'
import { kindOf, nameOf } from '../../device/sources/address.ts'
import { openSource } from '../../device/sources/open.ts'
import { systemCode } from '../../lib/errors.ts'
import { openLog } from '../../lib/log.ts'
import { type Finding, fail, failed, ok, skip, timed } from './finding.ts'
import type { Running } from './ports.ts'

/** A camera: whether it opens, and gives a frame. */

/** Any detector's; nothing is detected. */
const INPUT = { width: 320, height: 320 }

/** @param running the agent, where it runs: what it has open stays its own */
export async function checkCamera(
  camera: CameraConfig,
  running: Running | undefined,
  signal: AbortSignal,
): Promise<Finding[]> {
  const { name, source } = camera
  const what = `camera ${name}`
  const kind = kindOf(source)
  const shown = nameOf(source)
  if (kind === 'testcard') return [ok(what, 'testcard: drawn, needs no camera')]
  if (running && kind !== 'path') {
    const state = running.checks[what]
    return [
      skip(
        what,
        `${shown} is in use by the running agent${state === undefined ? '' : `, which reports: ${state}`}`,
      ),
    ]
  }
  if (kind === 'path' && statSync(source, { throwIfNoEntry: false })?.isFIFO())
    return [skip(what, `${shown} is a pipe: opening it would consume its data`)]
  if (kind === 'camera') {
    const denied = permission(what, source)
    if (denied) return [denied]
  }
  try {
    const context = {
      input: INPUT,
      events: { skipped() {}, damaged() {} },
      log: openLog('doctor', 'silent'),
    }
    const opened = await timed(() => openSource(camera, context, signal))
    await using device = opened.value
    if (kind === 'path') return [ok(what, `${shown} opens in ${opened.ms} ms`)]
    const first = await timed(async () => {
      for await (using frame of device) return { width: frame.width, height: frame.height }
      return undefined
    })
    if (!first.value)
      return [
        fail(what, `${shown} opens but sends no frame`, 'Is it switched on, and does it send a picture?'),
      ]
    const { width, height } = first.value
    return [ok(what, `${shown} opens in ${opened.ms} ms, a frame of ${width}x${height} after ${first.ms} ms`)]
  } catch (error) {
    return [failed(what, error, 'Correct "source" in the configuration.')]
  }
}

function permission(what: string, device: string): Finding | undefined {
  try {
    accessSync(device, constants.R_OK | constants.W_OK)
    return undefined
  } catch (error) {
    if (systemCode(error) !== 'EACCES') return undefined // opening it says what is wrong
    const group = groupName(statSync(device).gid)
    return fail(
      what,
      `permission denied for ${device}; it belongs to the group "${group}"`,
      `Join it, and log in again: sudo usermod -aG ${group} ${userInfo().username}`,
    )
  }
}

function groupName(gid: number): string {
  try {
    const line = readFileSync('/etc/group', 'utf8')
      .split('\n')
      .find((entry) => entry.split(':')[2] === String(gid))
    return line?.split(':')[0] ?? String(gid)
  } catch {
    return String(gid)
  }
}

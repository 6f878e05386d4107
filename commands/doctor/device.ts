import { accessSync, constants, existsSync } from 'node:fs'
import { dirname } from 'node:path'
import type { DeviceConfig } from '../../device/config.ts'
import { DesiredSigners } from '../../device/desired/signers.ts'
import { outboxFolder } from '../../device/link/outbox.ts'
import { readSigner } from '../../device/link/sign.ts'
import { readStreams } from '../../device/listen/streams-file.ts'
import { checked, GROUP_AND_OTHERS, OTHERS, secrecy, validity } from './files.ts'
import { type Finding, ok, skip, warn } from './finding.ts'
import { checkFolder, freeSpace } from './folders.ts'
import { checkStore } from './stores.ts'

/** What belongs to a device alone: the streams that come to it, its key for signatures, its outbox. */

export function checkStreams({ listen, cameras }: DeviceConfig): Finding[] {
  const file = listen.streamsFile
  if (file === undefined) return []
  const what = `streams ${file}`
  const list = checked(what, () => {
    const streams = readStreams(file, new Set(cameras.map(({ name }) => name)))
    const active = streams.filter((it) => it.active).length
    if (streams.length === 0)
      return warn(what, 'has no streams', `Nobody can publish. Add one: sightline streams add ${file} CAMERA`)
    if (!listen.rtmp && !listen.whip && !listen.http)
      return warn(
        what,
        'nothing listens for them',
        'Name at least one of "listen.rtmp", "listen.whip" and "listen.http".',
      )
    if (active === 0)
      return warn(
        what,
        'has no active stream',
        `Nobody can publish. Activate one: sightline streams activate ${file} CAMERA`,
      )
    return ok(what, `${streams.length} ${streams.length === 1 ? 'stream' : 'streams'}, ${active} active`)
  })
  return [list, ...secrecy(file, GROUP_AND_OTHERS), ...(list.level === 'FAIL' ? [] : folderOf(file, listen))]
}

/** Changes from afar, and what was seen of streams, are written beside the file. */
function folderOf(file: string, { remote }: DeviceConfig['listen']): Finding[] {
  try {
    accessSync(dirname(file), constants.W_OK)
    return []
  } catch {
    return [
      warn(
        `streams ${file}`,
        `its folder is not writable by this user: who published last is not kept${remote ? ', and commands cannot change streams ("listen.remote")' : ''}`,
        "Give this user the right to write there, or run this as the program's user.",
      ),
    ]
  }
}

export async function checkSigning({ signing, site, device }: DeviceConfig): Promise<Finding[]> {
  if (!signing) return []
  const what = `signing ${signing.certFile}`
  const pair = checked(what, () => {
    const { certificate } = readSigner(signing, { site, device })
    return validity(what, certificate, 'signing', Date.now())
  })
  const folder = await checkFolder(`folder ${signing.folder}`, signing.folder, 'signing.folder')
  return [pair, ...secrecy(signing.keyFile, OTHERS), ...folder]
}

/** Who may sign what this device shall be. */
export function checkDesiredSigners({ remote }: DeviceConfig): Finding[] {
  const { enabled, signers } = remote.desired
  if (!remote.enabled || !enabled || signers === undefined) return []
  const what = `signers ${signers}`
  return [
    checked(what, () => {
      DesiredSigners.open(signers)
      return ok(what, 'configurations that these have signed are taken, and no others')
    }),
  ]
}

function streamsOf({ streamsFile }: DeviceConfig['listen']) {
  try {
    return streamsFile === undefined ? [] : readStreams(streamsFile)
  } catch {
    return [] // said by checkStreams
  }
}

export async function checkOutbox(config: DeviceConfig): Promise<Finding[]> {
  const { outbox, cameras, listen } = config
  const folder = outboxFolder(outbox.folder, config)
  const what = `store ${folder}`
  if (!outbox.enabled) return []
  if (!existsSync(folder) && ![...cameras, ...streamsOf(listen)].some(({ record }) => record.mode !== 'off'))
    return [skip(what, 'no camera records: it is made when one does')]
  if (existsSync(folder)) return checkStore({ folder, key: 'outbox.folder', bytesMax: outbox.bytesMax })
  // Its own folder is made below the one that is set.
  const findings = await checkFolder(what, outbox.folder, 'outbox.folder')
  if (findings.some(({ level }) => level === 'FAIL')) return findings
  return [...findings, freeSpace(what, outbox.folder, outbox.bytesMax)]
}

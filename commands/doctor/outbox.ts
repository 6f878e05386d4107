import { existsSync } from 'node:fs'
import type { DeviceConfig } from '../../device/config.ts'
import { outboxFolder } from '../../device/link/outbox.ts'
import { readStreams, type Stream } from '../../device/listen/streams-file.ts'
import { type Finding, skip } from './finding.ts'
import { checkFolder, freeSpace } from './folders.ts'
import { checkStore } from './stores.ts'

/** An agent's outbox: where recordings wait for the broker. It is made once something is recorded. */
export async function checkOutbox(config: DeviceConfig): Promise<readonly Finding[]> {
  const { enabled, folder, bytesMax } = config.outbox
  if (!enabled) return [skip('outbox', 'switched off: recordings wait in memory')]
  const own = outboxFolder(folder, config)
  const cameras = [...config.cameras, ...streamsOf(config.listen.streamsFile)]
  if (cameras.every(({ record }) => record.mode === 'off') && !existsSync(own))
    return [skip('outbox', 'no camera records')]
  const key = 'outbox.folder'
  if (existsSync(own)) return await checkStore({ folder: own, key, bytesMax })
  const what = `outbox ${folder}`
  const findings = await checkFolder(what, folder, key)
  return findings.some(({ level }) => level === 'FAIL')
    ? findings
    : [...findings, freeSpace(what, folder, bytesMax)]
}

/** What is wrong with the file is said where files are checked. */
function streamsOf(file: string | undefined): readonly Stream[] {
  try {
    return file === undefined ? [] : readStreams(file)
  } catch {
    return []
  }
}

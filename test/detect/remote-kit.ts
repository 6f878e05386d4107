import type { Test } from 'tap'
import { deviceSchema } from '../../device/config.ts'
import { openRemoteDetector, type RemoteConfig } from '../../device/detect/remote/open.ts'
import { openMeters } from '../../device/meters.ts'
import { loadConfig } from '../../lib/config.ts'
import { openLog } from '../../lib/log.ts'
import { openMetrics } from '../../lib/metrics.ts'
import type { OipServer } from './oip-server.ts'
import { fitted, PORTRAIT } from './pictures.ts'

/** A detector that looks at these servers; nobody takes over unless `settings` say so. */
export async function openRemote(
  t: Test,
  servers: readonly OipServer[],
  settings: Record<string, unknown> = {},
) {
  const { detect } = loadConfig(deviceSchema, {
    overrides: {
      detect: {
        ...{ runtime: 'remote', threads: 1, provider: 'cpu' },
        servers: {
          ...{ addresses: servers.map(({ address }) => address), local: 'none', deadline: '2s' },
          ...settings,
        },
      },
    },
  })
  const meters = openMeters(openMetrics('test'))
  const detector = await openRemoteDetector(detect as RemoteConfig, {
    log: openLog('test', 'silent'),
    meters,
  })
  t.teardown(() => detector[Symbol.asyncDispose]())
  const failed = async () =>
    (await meters.inferenceFailed.get()).values.map(({ labels, value }) => `${labels.reason} ${value}`)
  const { picture } = await fitted(PORTRAIT, detector.input)
  return { detector, failed, picture, look: () => detector.detect(picture) }
}

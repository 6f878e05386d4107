import type { Health } from '../../lib/http/server.ts'
import { KeeperReporter } from '../../lib/keeper-report.ts'
import type { Log } from '../../lib/log.ts'
import { total } from '../../lib/metrics.ts'
import { deviceKeeper } from '../../wire/keepers.ts'
import type { DeviceConfig } from '../config.ts'
import type { Meters } from '../meters.ts'
import type { ClipSender } from './clip-sender.ts'
import type { Outbox } from './outbox.ts'
import type { Publisher } from './publish.ts'

/** The agent's report: the crops that wait, its link to the broker, what it saw. Kept as its states are. */
export function deviceReport({
  config,
  publisher,
  outbox,
  clips,
  health,
  meters,
  log,
}: {
  readonly config: DeviceConfig
  readonly publisher: Publisher
  readonly outbox?: Outbox
  readonly clips?: () => ClipSender | undefined
  readonly health: () => Health
  readonly meters: Meters
  readonly log: Log
}): KeeperReporter {
  const { topicPrefix, site, device, report } = config
  const { hostname, host, port, protocol } = new URL(config.broker.url)
  const to = port === '' ? `${host || hostname}:${PORTS[protocol] ?? ''}` : host
  return KeeperReporter.open({
    topicPrefix,
    keeper: deviceKeeper({ site, device }),
    program: 'device',
    name: `${site}/${device}`,
    everyMs: report.every,
    health,
    queues: () => {
      const { offered, acknowledged, pending, dropped, bytes, oldestAtMs } = publisher.books
      return [
        {
          name: 'pending',
          accepted: offered,
          forwarded: acknowledged,
          pending,
          dropped: { ...dropped },
          bytes,
          oldestAtMs,
        },
        ...(outbox?.books ?? []),
      ]
    },
    links: () => {
      const sender = clips?.()
      return [
        { name: 'broker', to, connected: publisher.trouble === undefined, clientId: publisher.clientId },
        ...(sender ? [{ name: 'clips', to, connected: sender.connected, clientId: sender.clientId }] : []),
      ]
    },
    counts: async () => ({
      frames: await total(meters.framesCaptured),
      faces: await total(meters.facesDetected),
      crops_made: await total(meters.cropsMade),
      faces_passed_over: await total(meters.facesPassedOver),
    }),
    publish: async (topic, payload) => publisher.keep(topic, payload),
    log,
  })
}

const PORTS: Readonly<Record<string, number>> = { 'mqtt:': 1883, 'mqtts:': 8883, 'ws:': 80, 'wss:': 443 }

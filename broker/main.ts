import { QlobberTrue } from 'qlobber'
import { loadConfig, readNamedFile, readSecret } from '../lib/config.ts'
import { HttpServer } from '../lib/http.ts'
import { openLog } from '../lib/log.ts'
import { booksOf, counter, gauge, measureQueues, openMetrics } from '../lib/metrics.ts'
import { Store, toBounds } from '../lib/queue.ts'
import { aborted, type RunOptions, runFromCommandLine, runService } from '../lib/service.ts'
import { reportDamage, storeHealth } from '../lib/store-report.ts'
import { Access } from './access.ts'
import { Bridge } from './bridge.ts'
import { brokerSchema, checkBrokerConfig } from './config.ts'
import { Custody } from './custody.ts'
import { Persistence } from './persistence.ts'
import { BRIDGE_CLIENT_ID_PREFIX, BrokerServer } from './server.ts'
import { Sessions, TOPIC_MATCHING } from './sessions.ts'

/** The broker, at the edge or in the cloud: the configuration makes the difference. @returns the exit status */
export async function runBroker(options: RunOptions): Promise<number> {
  const config = loadConfig(brokerSchema, {
    file: options.config,
    env: process.env,
    overrides: options.overrides,
  })
  checkBrokerConfig(config)
  const log = openLog(config.name, config.log.level)
  const bridgeClientId = ({ name, clientId }: { name: string; clientId?: string }) =>
    clientId ?? `${BRIDGE_CLIENT_ID_PREFIX}${config.name}-${name}`
  return runService({ log, drainMsMax: config.drain.deadline }, async (signal) => {
    const metrics = openMetrics(config.name)
    await using store = await Store.open({ folder: config.store.folder })
    reportDamage(log, store)
    using farewell = new DisposableStack()
    farewell.defer(() => log.info({ queues: booksOf(store) }, 'books'))
    const sessions = Sessions.open({
      store,
      declared: config.queues.map((queue) => ({
        clientId: queue.clientId,
        filters: queue.topics,
        bounds: toBounds(queue),
        inFlightMax: queue.inFlightMax,
      })),
      bounds: toBounds(config.sessions),
      inFlightMax: config.sessions.inFlightMax,
    })
    const persistence = new Persistence({ store, sessions, custody: true })
    await using bridges = new AsyncDisposableStack()
    const uplinks = config.bridges.map((bridge) =>
      bridges.use(
        Bridge.open({
          name: bridge.name,
          link: {
            url: bridge.url,
            clientId: bridgeClientId(bridge),
            protocol: 4,
            clean: true,
            packetBytesMax: config.limits.packetMax,
            keepaliveS: Math.ceil(bridge.keepalive / 1000),
            connectMsMax: bridge.connectTimeout,
            username: bridge.username,
            password: readSecret(`bridge "${bridge.name}"`, bridge),
            ca: readNamedFile(bridge.caFile, 'bridges.caFile')?.toString(),
          },
          topics: bridge.topics,
          inFlightMax: bridge.inFlightMax,
          reconnectMsMin: bridge.reconnectMin,
          reconnectMsMax: bridge.reconnectMax,
          acknowledgeMsMax: bridge.acknowledgeTimeout,
          queue: store.queue(`bridge/${bridge.name}`, toBounds(bridge)),
          log,
        }),
      ),
    )
    const refused = counter(metrics, 'broker_refused_total', 'Messages and connections refused', ['code'])
    const skipped = counter(
      metrics,
      'broker_skipped_total',
      'Live QoS 0 messages that a slow reader did not get',
    )
    await using server = await BrokerServer.open({
      listeners: config.listeners,
      access: new Access({
        users: config.users.map((user) => ({
          ...user,
          password: readSecret(`user "${user.name}"`, user) ?? '',
        })),
        anonymous: config.users.length === 0,
      }),
      custody: new Custody({
        store,
        sessions,
        persistence,
        uplinks,
        mustBeKept: anyOf(config.mustBeKept),
        topicBytesMax: config.limits.topicBytesMax,
      }),
      persistence,
      sessions,
      limits: {
        connectionsMax: config.limits.connectionsMax,
        packetBytesMax: config.limits.packetMax,
        clientIdBytesMax: config.limits.clientIdBytesMax,
        topicBytesMax: config.limits.topicBytesMax,
        slowReaderBytesMax: config.limits.slowReaderMax,
      },
      log,
      events: { refused: (code) => refused.inc({ code }), skipped: () => skipped.inc() },
      ownBridgeIds: new Set(config.bridges.map(bridgeClientId)),
    })
    gauge(metrics, 'broker_connections', 'Clients connected', [], (made) => made.set(server.connections))
    gauge(metrics, 'bridge_up', 'Whether a bridge is connected', ['bridge'], (made) => {
      for (const bridge of uplinks) made.set({ bridge: bridge.name }, bridge.connected ? 1 : 0)
    })
    measureQueues(metrics, store)
    await using http = await HttpServer.open({
      ...config.http,
      metrics,
      health: () => ({
        ok: store.fault === undefined,
        checks: {
          store: storeHealth(store),
          ...Object.fromEntries(
            uplinks.map((bridge) => [
              `bridge ${bridge.name}`,
              bridge.connected
                ? `connected, ${bridge.queue.size} waiting`
                : `away (${bridge.fault}), ${bridge.queue.size} waiting`,
            ]),
          ),
        },
      }),
    })
    log.info(
      {
        listeners: server.ports.map((port, at) => `${config.listeners[at]?.host}:${port}`),
        http: http.url,
        store: config.store.folder,
        waiting: pending(store),
      },
      'broker ready',
    )
    await aborted(signal)
  })
}

function pending(store: Store): number {
  let count = 0
  for (const queue of store.queues.values()) count += queue.size
  return count
}

function anyOf(filters: readonly string[]): (topic: string) => boolean {
  const matcher = new QlobberTrue(TOPIC_MATCHING)
  for (const filter of filters) matcher.add(filter)
  return (topic) => matcher.test(topic)
}

if (import.meta.main) process.exitCode = await runFromCommandLine(runBroker)

import { randomBytes } from 'node:crypto'
import { QlobberTrue } from 'qlobber'
import { warnOfOpenPassword } from '../lib/access/open-password.ts'
import { loadConfig, readSecret } from '../lib/config.ts'
import { ControlServer } from '../lib/control.ts'
import type { SightlineError } from '../lib/errors.ts'
import { HttpServer } from '../lib/http/server.ts'
import { KeeperReporter } from '../lib/keeper-report.ts'
import { ready } from '../lib/launcher.ts'
import { openLog, throttled } from '../lib/log.ts'
import { counter, gauge, openMetrics } from '../lib/metrics.ts'
import { type LinkOptions, parseBrokerUrl } from '../lib/mqtt/link.ts'
import { rateAt } from '../lib/rate-schedule.ts'
import { aborted, type RunOptions, runFromCommandLine, runService } from '../lib/service.ts'
import { followClientFiles } from '../lib/tls/certificates.ts'
import { misspeltIn } from '../lib/variables.ts'
import { booksOf, measureQueues, queueBooks } from '../store/metrics.ts'
import { QUARANTINE_COMMAND } from '../store/quarantine.ts'
import { toBounds } from '../store/queue.ts'
import { openStore, storeHealth } from '../store/report.ts'
import type { Store } from '../store/store.ts'
import { desiredTopic, reportedTopic } from '../wire/desired.ts'
import { FORGET_COMMAND } from '../wire/forget.ts'
import { keeperName, keeperTopic } from '../wire/keepers.ts'
import { KINDS, keptFilters } from '../wire/kinds.ts'
import { filtersOverlap, liveTopic, originalTopic, stateTopic, statusTopic } from '../wire/topics.ts'
import { Bridge } from './bridge.ts'
import { ClientIds } from './client-ids.ts'
import { brokerSchema, checkBrokerConfig } from './config.ts'
import { Custody } from './custody.ts'
import { Downlink } from './downlink.ts'
import { brokerForget } from './forget.ts'
import type { LiveLoss } from './live-lane.ts'
import { sendersBelow } from './message.ts'
import { NewestDesired } from './newest-desired.ts'
import { Persistence } from './persistence.ts'
import { brokerQuarantine } from './quarantine.ts'
import { BrokerServer } from './server.ts'
import { Sessions, TOPIC_MATCHING } from './sessions.ts'
import { Users } from './users.ts'
import { BROKER_ID_BYTES, NOWHERE } from './via.ts'

/** The broker, at the edge or in the cloud: the configuration makes the difference. @returns the exit status */
export async function runBroker(options: RunOptions): Promise<number> {
  const config = loadConfig(brokerSchema, {
    file: options.config,
    env: process.env,
    overrides: options.overrides,
  })
  checkBrokerConfig(config)
  const log = openLog(config.name, config.log.level)
  for (const sentence of misspeltIn(brokerSchema, process.env)) log.warn(sentence)
  const senders = sendersBelow(config.topicPrefix)
  return runService({ log, drainMsMax: config.drain.deadline }, async (signal) => {
    const metrics = openMetrics(config.name)
    await using store = await openStore(log, {
      folder: config.store.folder,
      senderOf: senders.ofHeader,
    })
    const brokerId = ownId(store)
    // Nobody who does not know it can be there first under the id of a bridge.
    const bridgeClientId = ({ name, clientId }: { name: string; clientId?: string }) =>
      clientId ?? `sightline-bridge-${config.name}-${name}-${brokerId}`
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
    using users = await Users.open(config, log)
    using clientIds = ClientIds.open({
      store,
      hasSession: (clientId) => sessions.get(clientId) !== undefined,
      isUser: (name) => users.access.knows(name),
    })
    const persistence = new Persistence({
      store,
      sessions,
      retained: config.retained,
      senderOf: senders.ofTopic,
      userOf: (clientId) => clientIds.holderOf(clientId),
    })
    for (const bridge of config.bridges)
      warnOfOpenPassword(log, { url: bridge.url, password: bridge.password ?? bridge.passwordFile })
    const live = counter(metrics, 'bridge_live_total', 'Messages at QoS 0 for a bridge', [
      'bridge',
      'outcome',
    ])
    const anyCamera = { site: '+', device: '+', camera: '+' }
    const isPicture = anyOf([liveTopic, originalTopic].map((topic) => topic(config.topicPrefix, anyCamera)))
    const isLatest = anyOf([
      stateTopic(config.topicPrefix, anyCamera),
      statusTopic(config.topicPrefix, anyCamera),
      reportedTopic(config.topicPrefix, anyCamera),
      desiredTopic(config.topicPrefix, anyCamera),
      keeperTopic(config.topicPrefix, '+'),
    ])
    const isDesired = anyOf([desiredTopic(config.topicPrefix, anyCamera)])
    await using bridges = new AsyncDisposableStack()
    const links = config.bridges.map((bridge, at) => ({
      url: bridge.url,
      clientId: bridgeClientId(bridge),
      protocol: bridge.mqttVersion,
      clean: true,
      packetBytesMax: config.limits.packetMax,
      keepaliveS: Math.ceil(bridge.keepalive / 1000),
      connectMsMax: bridge.connectTimeout,
      username: bridge.username,
      password: readSecret(`bridge "${bridge.name}"`, bridge),
      credentials: followClientFiles(bridge, `bridges.${at}`, log),
    }))
    const bulky = keptFilters(
      config.topicPrefix,
      KINDS.filter((kind) => kind.bulky),
    )
    const isBulky = anyOf(bulky)
    const mains = config.bridges.map((bridge, at) => {
      const topics = bridge.topics.filter(({ direction }) => direction === 'up')
      const common = {
        topics,
        inFlightMax: bridge.inFlightMax,
        reconnectMsMin: bridge.reconnectMin,
        reconnectMsMax: bridge.reconnectMax,
        acknowledgeMsMax: bridge.acknowledgeTimeout,
        store,
        brokerId,
        senderOf: senders.ofTopic,
        isLatest,
        isPicture,
        events: {
          liveSent: () => live.inc({ bridge: bridge.name, outcome: 'sent' }),
          liveLost: (why: LiveLoss) => live.inc({ bridge: bridge.name, outcome: why }),
        },
        log,
      }
      const link = links[at] as LinkOptions
      const hasClips = topics.some(({ filter }) => bulky.some((it) => filtersOverlap(filter, it)))
      const main = bridges.use(
        Bridge.open({
          ...common,
          name: bridge.name,
          link,
          takes: hasClips ? (topic) => !isBulky(topic) : undefined,
          queue: store.queue(`bridge/${bridge.name}`, toBounds(bridge)),
          quarantine: store.queue(`quarantine/${bridge.name}`, toBounds(bridge.quarantine)),
        }),
      )
      if (!hasClips) return { main, link, clips: undefined }
      const name = `${bridge.name}/clips`
      const clipsLink = { ...link, clientId: `${link.clientId}-clips` }
      const clips = bridges.use(
        Bridge.open({
          ...common,
          name,
          link: clipsLink,
          takes: isBulky,
          yields: { to: main, rateMax: () => rateAt(bridge.clips, Date.now()) },
          queue: store.queue(`bridge/${name}`, toBounds(bridge.clips)),
          quarantine: store.queue(`quarantine/${name}`, toBounds(bridge.clips.quarantine)),
        }),
      )
      return { main, link, clips: { bridge: clips, link: clipsLink } }
    })
    /** With their lanes. */
    const uplinks = mains.flatMap(({ main, clips }) => (clips ? [main, clips.bridge] : [main]))
    const refused = counter(metrics, 'broker_refused_total', 'Messages and connections refused', ['code'])
    const skipped = counter(
      metrics,
      'broker_skipped_total',
      'Live QoS 0 messages that a slow reader did not get',
    )
    const cameBack = counter(
      metrics,
      'broker_came_back_total',
      'Messages dropped because they had been here before: brokers form a loop',
    )
    let last: SightlineError | undefined
    const warn = throttled((count) => log.warn({ code: last?.code, count }, last?.message))
    const notKept = (fault: SightlineError) => {
      refused.inc({ code: fault.code })
      last = fault
      warn()
    }
    await using server = await BrokerServer.open({
      listeners: config.listeners,
      access: users.access,
      custody: new Custody({
        store,
        sessions,
        persistence,
        uplinks,
        mustBeKept: anyOf(config.mustBeKept ?? keptFilters(config.topicPrefix)),
        isLatest,
        isLatestForSessions: isDesired,
        topicBytesMax: config.limits.topicBytesMax,
        notRetained: notKept,
        notBridged: notKept,
      }),
      persistence,
      sessions,
      clientIds,
      brokerId,
      topicPrefix: config.topicPrefix,
      limits: {
        connectionsMax: config.limits.connectionsMax,
        connectionsPerAddressMax: config.limits.connectionsPerAddressMax,
        connectMsMax: config.limits.connectTimeout,
        packetsPerSecondMax: config.limits.packetsPerSecondMax,
        bytesPerSecondMax: config.limits.bytesPerSecondMax,
        sessionsMax: config.sessions.countMax,
        subscriptionsPerSessionMax: config.sessions.subscriptionsMax,
        packetBytesMax: config.limits.packetMax,
        clientIdBytesMax: config.limits.clientIdBytesMax,
        topicBytesMax: config.limits.topicBytesMax,
        slowReaderBytesMax: config.limits.slowReaderMax,
      },
      log,
      events: {
        refused: (code) => refused.inc({ code }),
        skipped: () => skipped.inc(),
        cameBack: () => cameBack.inc(),
      },
    })
    users.onGone = (gone) => server.disconnect(gone)
    const desired = new NewestDesired({
      retained: (topic) => persistence.retainedPayload(topic),
      older: (topic, version, versionHere) =>
        log.info({ topic, version, versionHere }, 'ignored a desired configuration older than the one here'),
    })
    await using downlinkStack = new AsyncDisposableStack()
    const downlinks = new Map<string, Downlink>()
    for (const [at, bridge] of config.bridges.entries()) {
      const topics = bridge.topics.filter(({ direction }) => direction === 'down')
      if (topics.length === 0) continue
      const clientId = `${bridgeClientId(bridge)}-down`
      const downlink = new Downlink({
        name: bridge.name,
        link: { ...(links[at] as LinkOptions), clientId, clean: false, sessionExpiryS: DOWNLINK_SESSION_S },
        topics,
        reconnectMsMin: bridge.reconnectMin,
        reconnectMsMax: bridge.reconnectMax,
        farBroker: () => (mains[at] as { main: Bridge }).main.farBroker,
        brokerId,
        deliver: async (message, via) => {
          const deliver = (retain: boolean) =>
            server.deliver({ cmd: 'publish', ...message, retain }, { clientId, handedOn: true, via })
          if (isDesired(message.topic))
            await desired.take(message.topic, message.payload, () => deliver(true))
          else await deliver(false)
        },
        log,
      })
      downlinks.set(bridge.name, downlinkStack.use(downlink))
    }
    const health = () => ({
      ok: store.fault === undefined,
      checks: {
        store: storeHealth(store),
        ...Object.fromEntries(
          uplinks.map((bridge) => [
            `bridge ${bridge.name}`,
            [
              bridge.isIdle
                ? 'connects when there is something to carry'
                : bridge.connected
                  ? `connected, ${bridge.queue.size} waiting`
                  : `disconnected (${bridge.fault}), ${bridge.queue.size} waiting`,
              ...(bridge.connected && bridge.fault !== undefined ? [bridge.fault] : []),
              ...(bridge.bytesPerSecond === 0 ? ['paused by "clips.rateMax" or its schedule'] : []),
              ...saidOf(downlinks.get(bridge.name)),
              ...(bridge.quarantine.size > 0 ? [`${bridge.quarantine.size} in quarantine`] : []),
            ].join('; '),
          ]),
        ),
      },
    })
    await using _control = await ControlServer.open({
      folder: config.store.folder,
      handlers: {
        [QUARANTINE_COMMAND]: brokerQuarantine(store, new Set(uplinks.map(({ name }) => name))),
        [FORGET_COMMAND]: brokerForget(store, persistence),
      },
      health,
      log,
    })
    gauge(metrics, 'broker_connections', 'Clients connected', [], (made) => made.set(server.connections))
    gauge(metrics, 'bridge_up', 'Whether a bridge is connected', ['bridge'], (made) => {
      for (const bridge of uplinks)
        if (!bridge.isIdle) made.set({ bridge: bridge.name }, bridge.connected ? 1 : 0)
    })
    gauge(metrics, 'downlink_up', 'Whether the downlink of a bridge is connected', ['bridge'], (made) => {
      for (const [bridge, { connected }] of downlinks) made.set({ bridge }, connected ? 1 : 0)
    })
    measureQueues(metrics, store)
    await using http = await HttpServer.open({
      ...config.http,
      log,
      metrics,
      health,
    })
    await using _report = config.report.enabled
      ? KeeperReporter.open({
          topicPrefix: config.topicPrefix,
          keeper: keeperName('broker', config.name, brokerId),
          program: 'broker',
          name: config.name,
          everyMs: config.report.every,
          health,
          queues: () => queueBooks(store),
          links: () =>
            mains.flatMap(({ main: { name, connected }, link: { url, clientId }, clips }) => {
              const { host, port } = parseBrokerUrl(url)
              const to = `${host}:${port}`
              const down = downlinks.get(name)
              const more = (name: string, connected: boolean, clientId: string) => ({
                name,
                to,
                connected,
                clientId,
              })
              return [
                more(`bridge/${name}`, connected, clientId),
                ...(clips && !clips.bridge.isIdle
                  ? [more(`bridge/${clips.bridge.name}`, clips.bridge.connected, clips.link.clientId)]
                  : []),
                ...(down ? [more(`downlink/${name}`, down.connected, `${clientId}-down`)] : []),
              ]
            }),
          publish: (topic, payload) =>
            server.deliver(
              { cmd: 'publish', topic, payload: Buffer.from(payload), qos: 1, retain: true },
              { clientId: '', handedOn: false, via: NOWHERE },
            ),
          log,
        })
      : undefined
    log.info(
      {
        listeners: server.ports.map((port, at) => `${config.listeners[at]?.host}:${port}`),
        http: http.url,
        store: config.store.folder,
        waiting: pending(store),
      },
      'broker ready',
    )
    ready()
    await aborted(signal)
  })
}

const saidOf = (downlink: Downlink | undefined) =>
  downlink?.fault === undefined ? [] : [`downlink: ${downlink.fault}`]

/** How long the other broker keeps what is for us (MQTT 5; one that speaks 3.1.1 decides itself). */
const DOWNLINK_SESSION_S = 7 * 24 * 3600

/** This broker's, to others (via.ts): made at the first start. Where the disk is full it holds until the next one. */
function ownId(store: Store): string {
  const known = store.get(TABLE_SELF, 'id')
  if (known) return Buffer.from(known).toString()
  const id = randomBytes(BROKER_ID_BYTES).toString('base64url')
  store.put(TABLE_SELF, 'id', Buffer.from(id)).catch(() => {})
  return id
}
const TABLE_SELF = 'self'

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

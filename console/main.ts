import { warnOfOpenPassword } from '../lib/access/open-password.ts'
import { openBucket } from '../lib/buckets/open.ts'
import { loadConfig, readSecret } from '../lib/config.ts'
import { ControlServer } from '../lib/control.ts'
import { asFailure } from '../lib/errors.ts'
import { HttpServer } from '../lib/http/server.ts'
import { KeeperReporter } from '../lib/keeper-report.ts'
import { ready } from '../lib/launcher.ts'
import { type Log, openLog } from '../lib/log.ts'
import { openMetrics } from '../lib/metrics.ts'
import { parseBrokerUrl } from '../lib/mqtt/link.ts'
import { aborted, type RunOptions, runFromCommandLine, runService } from '../lib/service.ts'
import { followClientFiles } from '../lib/tls/certificates.ts'
import { misspeltIn } from '../lib/variables.ts'
import { Intake } from '../store/intake.ts'
import { booksOf, measureQueues, queueBooks } from '../store/metrics.ts'
import { QUARANTINE_COMMAND } from '../store/quarantine.ts'
import { openStore, storeHealth } from '../store/report.ts'
import { reportedTopic } from '../wire/desired.ts'
import { keeperName } from '../wire/keepers.ts'
import { LIVE_BYTES_MAX, readLive } from '../wire/live.ts'
import { isName } from '../wire/names.ts'
import { storedTopic } from '../wire/stored.ts'
import {
  commandTopic,
  eventTopic,
  liveTopic,
  originalTopic,
  snapshotTopic,
  stateTopic,
  statusTopic,
} from '../wire/topics.ts'
import { Access } from './access/access.ts'
import { sharePages } from './access/share-pages.ts'
import { signInPages } from './access/sign-in-pages.ts'
import { consoleApi } from './api/server.ts'
import { checkConsoleConfig, consoleSchema } from './config.ts'
import type { Database } from './database/database.ts'
import { openDatabase } from './database/open.ts'
import { DesiredBook } from './desired/desired.ts'
import { DesiredSigner } from './desired/signing.ts'
import { LiveFleet } from './fleet.ts'
import { HealthEvents } from './health-events.ts'
import { Indexer, keepAnnouncement } from './indexer.ts'
import { LineOut } from './line.ts'
import { LineLink } from './link.ts'
import { isSeenOtherwise, LivePictures, PICTURE_BYTES_MAX } from './live.ts'
import { measureConsole, openMeters } from './meters.ts'
import { NewsRing } from './news.ts'
import { Nightly } from './nightly.ts'
import { HomeAssistant } from './notices/home-assistant.ts'
import { linkPages } from './notices/links.ts'
import { openNotices } from './notices/open.ts'
import { servePages } from './pages.ts'
import { consoleQuarantine, markConsoleStore } from './quarantine.ts'
import { reconcile } from './reconcile.ts'
import { signedOriginOf } from './recordings/signed-origin.ts'
import { reindex } from './reindex.ts'
import { FaceEvents } from './rules/events.ts'
import { Rules } from './rules/rules.ts'
import { Documents } from './scenarios/documents.ts'
import { LiveScenarios } from './scenarios/scenarios.ts'
import { isActive, nextChange } from './scenarios/schedule.ts'

/** Of one message: a batch of announcements is at most 256 KB, a picture at most 2 MB. */
const PACKET_BYTES_MAX = 4 * 1024 * 1024
const SUBSCRIBERS_MAX = 1000
const QUARANTINE = { bytesMax: 100_000_000, entriesMax: 10_000, ageMsMax: 30 * 86_400_000 }

/** Announcements -> inbox -> database -> API and pages; and what runs, from what it says of itself. @returns the exit status */
export async function runConsole(options: RunOptions): Promise<number> {
  const config = loadConfig(consoleSchema, {
    file: options.config,
    env: process.env,
    overrides: options.overrides,
  })
  checkConsoleConfig(config)
  const runToken = process.env.CONSOLE_RUN_TOKEN
  const log = openLog(config.name, config.log.level)
  for (const sentence of misspeltIn(consoleSchema, process.env)) log.warn(sentence)
  return runService({ log, drainMsMax: config.drain.deadline }, async (signal) => {
    const metrics = openMetrics(config.name)
    const meters = openMeters(metrics)

    const { broker, topicPrefix } = config
    await using store = await openStore(log, { folder: config.inbox.folder })
    using farewell = new DisposableStack()
    farewell.defer(() => log.info({ queues: booksOf(store) }, 'books'))
    const inbox = store.queue('inbox', {
      ...config.inbox,
      ageMsMax: Number.POSITIVE_INFINITY,
      whenFull: 'reject',
    })
    const quarantine = store.queue('quarantine', { ...QUARANTINE, whenFull: 'drop-oldest' })
    await markConsoleStore(store)
    const password = readSecret('"broker"', broker)
    warnOfOpenPassword(log, { url: broker.url, password })
    const link = {
      url: broker.url,
      protocol: 4 as const,
      packetBytesMax: PACKET_BYTES_MAX,
      keepaliveS: Math.ceil(broker.keepalive / 1000),
      connectMsMax: broker.connectTimeout,
      username: broker.username,
      password,
      credentials: followClientFiles(broker, 'broker', log),
    }
    const reconnect = { reconnectMsMin: broker.reconnectMin, reconnectMsMax: broker.reconnectMax }
    const keep = keepAnnouncement(store, inbox)
    await using intake = Intake.open({
      link: { ...link, clientId: broker.clientId, clean: false },
      filters: [storedTopic(topicPrefix, '+')],
      ...reconnect,
      store,
      inbox,
      keep: (packet) => {
        meters.received.inc()
        return keep(packet)
      },
      log,
    })

    // A database that is away at the start holds nothing up: the inbox takes what comes meanwhile.
    await using database = await openDatabase(config.database, log, signal)
    await using bucket = await openBucket(config, signal, 'read')
    const news = new NewsRing()
    await using health = await HealthEvents.open({
      database,
      onChange: (id, camera) => news.add({ is: 'health', id, camera }),
      log,
    })
    const documents = new Documents(database)
    await using scenarios = await LiveScenarios.open({ documents, log })
    // Rules go on from what the fleet knows: they are opened behind it, and told what it hears from then on.
    let watching: Rules | undefined
    await using fleet = await LiveFleet.open({
      topicPrefix,
      database,
      events: {
        keeper: (keeper, before) => {
          news.add({ is: 'keeper', keeper })
          health.keeper(keeper, before)
          watching?.take({ is: 'keeper', keeper })
        },
        camera: (camera, before) => {
          if (isSeenOtherwise(camera.state, before?.state))
            for (const pictures of [live, original]) pictures.forget(camera)
          news.add({ is: 'camera', camera })
          health.camera(camera)
          desired?.camera(camera, before)
          watching?.take({ is: 'camera', camera })
        },
        device: (device) => {
          news.add({ is: 'device', site: device.site, device: device.device })
          health.device(device)
          watching?.take({ is: 'device', device })
          if (device.isOnline) desired?.returned(device)
        },
        keeperGone: (keeper) => health.gone(keeper),
      },
      log,
    })
    const pictures = (command: 'live' | 'original') =>
      new LivePictures({
        viewersMax: config.live.viewersMax,
        // Without a connection it is asked again with the next one.
        ask: (camera, forS) =>
          lineLink.publishLive(commandTopic(topicPrefix, camera, command), Buffer.from(String(forS))),
        metadataOf: (jpeg) => readLive(jpeg, PICTURE_BYTES_MAX),
        stateOf: (camera) => fleet.camera(camera)?.state,
        isOriginal: command === 'original',
      })
    using live = pictures('live')
    using original = pictures('original')
    // Those that have announced something: only the role subscriber may. Each says at its start what retention has expired.
    const subscribers = new Set(
      (await database.read.selectFrom('horizons').select('subscriber').execute()).map(
        (row) => row.subscriber,
      ),
    )
    const line = new LineOut({
      topicPrefix,
      fleet,
      subscribers: () => [...subscribers],
      publish: (topic, payload) => lineLink.publish(topic, payload),
      isConnected: () => lineLink.connected,
    })
    await using desired = config.desired.enabled
      ? await DesiredBook.open({
          topicPrefix,
          database,
          documents,
          scenarios,
          fleet,
          publish: (topic, payload) => lineLink.publish(topic, payload, { retain: true }),
          signer: config.desired.signing && DesiredSigner.open(config.desired.signing),
          events: {
            changed: ({ site, device }) => news.add({ is: 'device', site, device }),
            refused: (device, why) => health.desired(device, why),
            dropped: (why) => meters.answersDropped.inc({ why }),
          },
          log,
        })
      : undefined
    const all = { site: '+', device: '+', camera: '+' }
    const faceEvents = new FaceEvents()
    const prefixLevels = topicPrefix.split('/').length
    let isConnected = false
    let homeAssistant: HomeAssistant | undefined
    await using lineLink = LineLink.open({
      link: { ...link, clientId: `${broker.clientId}-live`, clean: true },
      filters: [
        `${topicPrefix}/keepers/+`,
        statusTopic(topicPrefix, all),
        stateTopic(topicPrefix, all),
        eventTopic(topicPrefix, all),
        snapshotTopic(topicPrefix, all),
        liveTopic(topicPrefix, all),
        originalTopic(topicPrefix, all),
        ...(desired ? [reportedTopic(topicPrefix, all)] : []),
      ],
      ...reconnect,
      onMessage: (topic, payload) => {
        const [site = '', device = '', camera = '', what] = topic.split('/').slice(prefixLevels)
        if (what === undefined && camera === 'reported') desired?.take({ site, device }, payload)
        else if (what === 'event') {
          const address = { site, device, camera }
          if (!watching?.wantsEvents || !fleet.camera(address)) return
          const event = faceEvents.take(address, payload)
          if (event) watching.take({ is: 'event', event })
        } else if (what === 'live' || what === 'original' || what === 'snapshot') {
          const address = { site, device, camera }
          // Of a camera that is not known, anybody could have invented it.
          if (!fleet.camera(address) || (what !== 'snapshot' && payload.length > LIVE_BYTES_MAX)) return
          const taken = what === 'original' ? original : live
          taken.take(address, payload)
          if (what === 'snapshot') line.takeSnapshot(address)
        } else if (fleet.take(topic, payload) && what === 'state') {
          if (payload.length > 0) line.takeState(payload)
          else line.takeGone({ site, device, camera })
        }
      },
      onConnected: () => {
        live.askAgain()
        original.askAgain()
        desired?.connected()
        isConnected = true
        homeAssistant?.connected()
      },
      log,
    })
    await using access = await Access.open({ config, database, log, runToken })
    await using opened = await openNotices({
      config,
      database,
      bucket,
      access,
      publish: (topic, payload, options) => lineLink.publish(topic, payload, options),
      onNews: (item) => news.add(item),
      log,
      metrics,
    })
    const { notices } = opened
    await using told = HomeAssistant.open({ database, documents, scenarios, mqtt: opened.mqtt, log })
    homeAssistant = told
    if (isConnected) told.connected()
    await using rules = await Rules.open({
      database,
      scenarios,
      notices,
      fleet,
      schedule: { holds: isActive, changesAtMs: nextChange },
      log,
    })
    watching = rules
    await using indexer = Indexer.open({
      store,
      inbox,
      quarantine,
      database,
      news,
      rules,
      log,
      events: {
        applied: ({ added, addedClips, repeated: again, removed: gone, removedClips }, subscriber) => {
          if (isName(subscriber) && subscribers.size < SUBSCRIBERS_MAX) subscribers.add(subscriber)
          meters.indexed.inc(added.length)
          meters.indexedClips.inc(addedClips.length)
          meters.repeated.inc(again)
          meters.removed.inc(gone.length + removedClips.length)
          for (const clip of addedClips) fleet.detected(clip)
          for (const detection of added) {
            fleet.detected(detection)
            meters.latency.observe(Math.max(0, Date.now() - detection.storedAtMs) / 1000)
          }
        },
        forgot: (answer) => line.takeForgot(answer),
        kept: (answer) => line.takeKept(answer),
        invalid: (lines) => meters.invalid.inc(lines),
      },
    })
    const subscriber = () => [...subscribers][0] ?? 'subscriber'
    await using nightly = Nightly.open({
      atHour: config.reconcile.atHour,
      run: async (night) => {
        const found = await reconcile(database, bucket, { fix: true, subscriber: subscriber() }, night)
        const { examples, ...counts } = found
        const differing = found.missingInDatabase + found.missingInBucket + found.different
        if (differing > 0)
          log.warn({ ...counts, examples }, 'the database differed from the bucket, and was mended')
        else log.info(counts, 'the database equals the bucket')
      },
      log,
    })
    // A database that was damaged is a new one: the bucket has what was in it.
    await using _refill = refill(database, log, async (refilling) => {
      const { looked, added } = await reindex(database, bucket, { subscriber: subscriber() }, refilling)
      log.info({ looked, added }, 'the database was filled from the bucket')
    })
    const state = () => ({
      ok: intake.connected && lineLink.connected && indexer.fault === undefined && store.fault === undefined,
      checks: {
        broker: intake.connected ? 'connected' : `disconnected (${intake.fault})`,
        line: lineLink.connected
          ? ['connected', ...(lineLink.fault === undefined ? [] : [lineLink.fault])].join('; ')
          : `disconnected (${lineLink.fault})`,
        database: indexer.fault ?? (database.damage ? `was damaged: ${database.damage.why}` : 'ok'),
        inbox: `${inbox.size} waiting`,
        store: storeHealth(store),
        quarantine: `${quarantine.size} messages`,
        reconciliation: nightly.fault ?? 'ok',
        rules: rules.fault ?? 'ok',
        notices: notices.fault ?? `${notices.books.pending} waiting`,
      },
    })
    const { host, port } = parseBrokerUrl(broker.url)
    await using _report = config.report.enabled
      ? KeeperReporter.open({
          topicPrefix,
          keeper: keeperName('console', config.name),
          program: 'console',
          name: config.name,
          everyMs: config.report.every,
          health: state,
          queues: () => [...queueBooks(store), notices.books],
          links: () => [
            {
              name: 'broker',
              to: `${host}:${port}`,
              connected: intake.connected && lineLink.connected,
              clientId: broker.clientId,
            },
          ],
          // Until there is a connection health says so; and with it a link comes, which is reported at once.
          publish: async (topic, payload) => {
            if (lineLink.connected) await lineLink.publish(topic, Buffer.from(payload), { retain: true })
          },
          log,
        })
      : undefined
    await using _control = await ControlServer.open({
      folder: config.inbox.folder,
      handlers: { [QUARANTINE_COMMAND]: consoleQuarantine({ store, inbox, quarantine }) },
      health: state,
      log,
    })
    measureConsole(metrics, {
      isConnected: () => intake.connected && lineLink.connected,
      isWritten: () => indexer.fault === undefined,
      readers: () => news.readers,
      viewers: () => live.viewers + original.viewers,
      desired: () => desired?.counts(),
      eventsDropped: () => faceEvents.dropped,
    })
    measureQueues(metrics, store)
    const context = {
      config,
      log,
      database,
      bucket,
      access,
      fleet,
      live,
      original,
      news,
      line,
      documents,
      scenarios,
      desired,
      notices,
      rules,
    }
    await using http = await HttpServer.open({
      ...config.http,
      ownLogin: (request) => access.mayWatch(request),
      log,
      metrics,
      health: state,
      routes: async (app) => {
        await consoleApi(app, context)
        await signInPages(app, access)
        await sharePages(app, {
          shares: access.shares,
          database,
          bucket,
          log,
          requestsPerMinuteMax: config.limits.requestsPerMinuteMax,
          exportBytesMax: config.recordings.exportBytesMax,
        })
        await linkPages(app, opened.links, config.limits)
        await servePages(
          app,
          config.publish,
          config.recordings.signedAddresses ? await signedOriginOf(bucket) : undefined,
        )
      },
    })
    log.info(
      { broker: broker.url, database: database.description, http: http.url, waiting: inbox.size },
      'console ready',
    )
    ready()
    notices.start()
    // Wrong credentials at the start end the program; a broker that is away does not.
    await Promise.race([intake.subscribed.then(() => aborted(signal)), aborted(signal)])
  })
}

/** Goes on beside everything else, and ends with the program. */
function refill(database: Database, log: Log, run: (signal: AbortSignal) => Promise<void>): AsyncDisposable {
  const abort = new AbortController()
  const running = database.damage
    ? run(abort.signal).catch((error: unknown) => {
        const { code, message } = asFailure(error)
        if (!abort.signal.aborted)
          log.error({ code }, `${message} Fill the database with: sightline console reindex`)
      })
    : Promise.resolve()
  return {
    async [Symbol.asyncDispose]() {
      abort.abort()
      await running
    },
  }
}

if (import.meta.main) process.exitCode = await runFromCommandLine(runConsole)

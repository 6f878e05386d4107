import { warnOfOpenPassword } from '../lib/access/open-password.ts'
import { Backoff } from '../lib/backoff.ts'
import { type Bucket, cacheCrop } from '../lib/buckets/bucket.ts'
import { openBucket } from '../lib/buckets/open.ts'
import { loadConfig, readSecret } from '../lib/config.ts'
import { ControlServer } from '../lib/control.ts'
import { asFailure } from '../lib/errors.ts'
import { HttpServer } from '../lib/http/server.ts'
import { KeeperReporter } from '../lib/keeper-report.ts'
import { ready } from '../lib/launcher.ts'
import { type Log, openLog, throttled } from '../lib/log.ts'
import { counter, gauge, histogram, openMetrics } from '../lib/metrics.ts'
import { parseBrokerUrl } from '../lib/mqtt/link.ts'
import { aborted, type RunOptions, runFromCommandLine, runService } from '../lib/service.ts'
import { followClientFiles } from '../lib/tls/certificates.ts'
import { misspeltIn } from '../lib/variables.ts'
import { Intake } from '../store/intake.ts'
import { booksOf, measureQueues, queueBooks } from '../store/metrics.ts'
import { QUARANTINE_COMMAND } from '../store/quarantine.ts'
import { openStore, storeHealth } from '../store/report.ts'
import { FORGET_COMMAND } from '../wire/forget.ts'
import { keeperName } from '../wire/keepers.ts'
import { keptFilters } from '../wire/kinds.ts'
import { forgetTopic, storedTopic } from '../wire/stored.ts'
import { Announcer } from './announce.ts'
import { Announcements } from './announcements.ts'
import { checkSubscriberConfig, type SubscriberConfig, subscriberSchema } from './config.ts'
import { type InboxHeader, isFiledByReceipt, senderOf } from './entry.ts'
import { subscriberForget } from './forget.ts'
import { ForgetRequests, ignoreForgetRequests } from './forget-requests.ts'
import { IndexWriter } from './gallery/index-files.ts'
import { publishGallery } from './gallery/publish.ts'
import { allowedWithoutLogin, galleryRoutes } from './gallery/serve.ts'
import { takeCustody } from './keep.ts'
import { SignedLinks } from './links.ts'
import { saveRules, subscriberQuarantine } from './quarantine.ts'
import { RecentIds } from './recent-ids.ts'
import { Retention } from './retention.ts'
import { Storer } from './store.ts'

/** Fine where a line on one machine lies, coarse up to an outage of hours. */
const LATENCY_SECONDS = [
  0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10, 30, 60, 600, 3600,
]

const CLOCK_WARNING_MS = 10 * 60_000

/** Nothing is published to it. */
const ANNOUNCER_PACKET_BYTES_MAX = 2048

const BUCKET_DELAY = { delayMsMin: 500, delayMsMax: 15_000 }

/** MQTT -> inbox -> bucket, and the gallery. @returns the exit status */
export async function runSubscriber(options: RunOptions): Promise<number> {
  const config = loadConfig(subscriberSchema, {
    file: options.config,
    env: process.env,
    overrides: options.overrides,
  })
  checkSubscriberConfig(config)
  const log = openLog(config.name, config.log.level)
  for (const sentence of misspeltIn(subscriberSchema, process.env)) log.warn(sentence)
  return runService({ log, drainMsMax: config.drain.deadline }, async (signal) => {
    const metrics = openMetrics(config.name)
    const received = counter(metrics, 'subscriber_received_total', 'Messages received')
    const duplicates = counter(metrics, 'subscriber_duplicates_total', 'Crops received again')
    const quarantined = counter(metrics, 'subscriber_quarantined_total', 'Messages that are not crops', [
      'reason',
    ])
    const stored = counter(metrics, 'subscriber_stored_total', 'Crops written to the bucket')
    const alreadyThere = counter(metrics, 'subscriber_already_there_total', 'Crops already in the bucket')
    const failed = counter(metrics, 'subscriber_failed_total', 'Writes that failed and are retried', ['code'])
    const expired = counter(
      metrics,
      'subscriber_expired_total',
      'Crops that this program deleted because of their age; what a store deletes by its own rule is not counted',
    )
    const clockWrong = counter(
      metrics,
      'subscriber_clock_wrong_total',
      'Crops filed by time of receipt, since the clock of their device is wrong',
    )
    const announcedBatches = counter(
      metrics,
      'subscriber_announced_batches_total',
      'Batches of announcements that the broker acknowledged',
    )
    const announced = counter(
      metrics,
      'subscriber_announced_total',
      'Announcements that the broker acknowledged: of what was stored, and of what was removed',
    )
    const latency = histogram(
      metrics,
      'subscriber_latency_seconds',
      'From capture to object',
      LATENCY_SECONDS,
    )

    await using bucket = await bucketOnceThere(config, log, signal)
    await using store = await openStore(log, { folder: config.inbox.folder, senderOf })
    using farewell = new DisposableStack()
    farewell.defer(() => log.info({ queues: booksOf(store) }, 'books'))
    const inbox = store.queue('inbox', {
      ...config.inbox,
      ageMsMax: Number.POSITIVE_INFINITY,
      whenFull: 'reject',
    })
    const quarantine = store.queue('quarantine', {
      ...config.quarantine,
      ageMsMax: config.quarantine.ageMax,
      whenFull: 'drop-oldest',
    })
    const recent = new RecentIds(store, config.inbox.recentIdsMax)
    const { gallery, announce } = config
    if (!announce.enabled) await Announcements.discard(store)
    const announcements = announce.enabled ? Announcements.open(store) : undefined
    if (gallery.enabled && config.bucket.type === 's3') await publishGallery(bucket, signal)
    await using index = gallery.enabled
      ? await IndexWriter.open({ bucket, writer: config.name, log })
      : undefined
    await using retention = Retention.open({
      bucket,
      ageMsMax: config.retention.ageMax,
      index,
      announcements,
      log,
      events: { expired: (crops) => expired.inc(crops) },
    })
    const { broker } = config
    const password = readSecret('"broker"', broker)
    warnOfOpenPassword(log, { url: broker.url, password })
    const link = {
      url: broker.url,
      protocol: broker.mqttVersion,
      keepaliveS: Math.ceil(broker.keepalive / 1000),
      connectMsMax: broker.connectTimeout,
      username: broker.username,
      password,
      credentials: followClientFiles(broker, 'broker', log),
    }
    const reconnect = { reconnectMsMin: broker.reconnectMin, reconnectMsMax: broker.reconnectMax }
    await using announcer = announcements
      ? Announcer.open({
          link: {
            ...link,
            clientId: `${broker.clientId}-announce`,
            clean: true,
            packetBytesMax: ANNOUNCER_PACKET_BYTES_MAX,
          },
          topic: storedTopic(config.topicPrefix, config.name),
          acknowledgeMsMax: announce.acknowledgeTimeout,
          ...reconnect,
          queue: announcements.queue,
          log,
          events: {
            acknowledged: (count) => {
              announcedBatches.inc()
              announced.inc(count)
            },
          },
        })
      : undefined
    const warnOfClock = clockWarning(log)
    await using storer = Storer.open({
      store,
      inbox,
      quarantine,
      recent,
      bucket,
      index,
      announce: announcer,
      cacheControl: cacheCrop(config.bucket.publicRead),
      writesMax: config.bucket.writesMax,
      topicPrefix: config.topicPrefix,
      log,
      events: {
        stored: (header) => {
          stored.inc()
          retention.seen(header.site)
          if (isFiledByReceipt(header)) {
            clockWrong.inc()
            warnOfClock(header)
          } else latency.observe(Math.max(0, Date.now() - header.capturedAtMs) / 1000)
        },
        alreadyThere: () => alreadyThere.inc(),
        failed: (code) => failed.inc({ code }),
      },
    })
    const rules = { topicPrefix: config.topicPrefix, payloadBytesMax: config.payloadMax }
    await saveRules(store, rules)
    const forget = subscriberForget({
      store,
      inbox,
      quarantine,
      recent,
      bucket,
      writer: config.name,
      storer,
      index,
      announcements,
      log,
    })
    await using control = await ControlServer.open({
      folder: config.inbox.folder,
      handlers: {
        [QUARANTINE_COMMAND]: subscriberQuarantine({ store, inbox, quarantine, recent }, rules),
        [FORGET_COMMAND]: forget,
      },
      health: () => health(),
      log,
    })
    await using requests = announcements
      ? ForgetRequests.open({ store, announcements, handler: forget, control, log })
      : undefined
    const shared = broker.shareGroup === undefined ? '' : `$share/${broker.shareGroup}/`
    await using intake = Intake.open({
      link: {
        ...link,
        clientId: broker.clientId,
        clean: false,
        sessionExpiryS: Math.round(broker.sessionExpiry / 1000),
        receiveMax: broker.inFlightMax,
        packetBytesMax: config.payloadMax + 2048,
      },
      filters: keptFilters(config.topicPrefix).map((filter) => shared + filter),
      requests: {
        topic: forgetTopic(config.topicPrefix, config.name),
        wanted: requests !== undefined,
        take: (payload) => requests?.take(payload) ?? ignoreForgetRequests(log),
      },
      ...reconnect,
      store,
      inbox,
      keep: takeCustody({
        ...rules,
        store,
        inbox,
        quarantine,
        recent,
        log,
        events: {
          received: () => received.inc(),
          duplicate: () => duplicates.inc(),
          quarantined: (reason) => quarantined.inc({ reason }),
        },
      }),
      log,
    })
    const health = () => ({
      ok: intake.connected && storer.fault === undefined && store.fault === undefined,
      checks: {
        broker: intake.connected ? 'connected' : `disconnected (${intake.fault})`,
        bucket: storer.fault ?? 'ok',
        inbox: `${storer.waiting} waiting`,
        store: storeHealth(store),
        quarantine: `${quarantine.size} messages`,
        retention: retention.fault ?? 'ok',
        announcements: announcer
          ? [announcer.health, intake.requestsFault].filter(Boolean).join('; ')
          : 'off',
      },
    })
    const { host, port } = parseBrokerUrl(broker.url)
    await using _report =
      announcer && config.report.enabled
        ? KeeperReporter.open({
            topicPrefix: config.topicPrefix,
            keeper: keeperName('subscriber', config.name),
            program: 'subscriber',
            name: config.name,
            everyMs: config.report.every,
            health,
            queues: () => queueBooks(store),
            links: () => [
              {
                name: 'broker',
                to: `${host}:${port}`,
                connected: intake.connected && announcer.connected,
                clientId: broker.clientId,
              },
            ],
            publish: (topic, payload) => announcer.say(topic, Buffer.from(payload)),
            log,
          })
        : undefined
    gauge(metrics, 'subscriber_up', 'Whether the broker is connected', [], (made) =>
      made.set(intake.connected ? 1 : 0),
    )
    gauge(metrics, 'subscriber_waiting', 'Crops that are not in the bucket yet', [], (made) =>
      made.set(storer.waiting),
    )
    gauge(
      metrics,
      'subscriber_announcements_waiting',
      'Announcements that the broker has not acknowledged',
      [],
      (made) => made.set(announcer?.waiting ?? 0),
    )
    measureQueues(metrics, store)
    const access = {
      publicRead: config.bucket.publicRead,
      links: config.bucket.type === 'folder' ? SignedLinks.open(config.inbox.folder) : undefined,
    }
    await using http = await HttpServer.open({
      ...config.http,
      log,
      metrics,
      allowed: gallery.enabled ? allowedWithoutLogin(access) : undefined,
      routes: gallery.enabled ? galleryRoutes(bucket, access) : undefined,
      health,
    })
    log.info(
      { broker: broker.url, bucket: bucket.description, http: http.url, waiting: inbox.size },
      'subscriber ready',
    )
    ready()
    // Wrong credentials at the start end the program; a broker that is away does not.
    await Promise.race([intake.subscribed.then(() => aborted(signal)), aborted(signal)])
  })
}

/** Names one of the devices, now and then: each crop of theirs would be a line. */
function clockWarning(log: Log): (header: InboxHeader) => void {
  let last: InboxHeader | undefined
  const warn = throttled((count) => {
    if (!last) return
    const { site, device, capturedAtMs } = last
    log.warn(
      { site, device, says: new Date(capturedAtMs).toISOString(), count },
      "a device's clock is wrong: its crops are filed by time of receipt. Set it, best by NTP",
    )
  }, CLOCK_WARNING_MS)
  return (header) => {
    last = header
    warn()
  }
}

/**
 * The bucket, once it can be reached: after a power cut everything starts at once, and the broker keeps the crops
 * meanwhile. Whatever trying again does not cure ends the program. Errors: those of the bucket.
 */
async function bucketOnceThere(config: SubscriberConfig, log: Log, signal: AbortSignal): Promise<Bucket> {
  const backoff = new Backoff(BUCKET_DELAY)
  for (;;) {
    try {
      return await openBucket(config, signal)
    } catch (error) {
      signal.throwIfAborted()
      const { code, message } = asFailure(error)
      if (code !== 'BUCKET_UNREACHABLE') throw error
      log.warn({ code }, `${message} Trying again; the broker keeps the crops meanwhile.`)
      ready() // the rest is up to the bucket
      await backoff.wait(signal).catch(() => signal.throwIfAborted())
    }
  }
}

if (import.meta.main) process.exitCode = await runFromCommandLine(runSubscriber)

import { warnOfOpenPassword } from '../lib/access/open-password.ts'
import { Backoff } from '../lib/backoff.ts'
import type { Bucket } from '../lib/buckets/bucket.ts'
import { openBucket } from '../lib/buckets/open.ts'
import { loadConfig, readSecret } from '../lib/config.ts'
import { ControlServer } from '../lib/control.ts'
import { asFailure, type ErrorCode } from '../lib/errors.ts'
import { HttpServer } from '../lib/http/server.ts'
import { KeeperReporter } from '../lib/keeper-report.ts'
import { ready } from '../lib/launcher.ts'
import { type Log, openLog, throttled } from '../lib/log.ts'
import { type Counter, counter, gauge, histogram, openMetrics, total } from '../lib/metrics.ts'
import { parseBrokerUrl } from '../lib/mqtt/link.ts'
import { aborted, type RunOptions, runFromCommandLine, runService } from '../lib/service.ts'
import { followClientFiles } from '../lib/tls/certificates.ts'
import { misspeltIn } from '../lib/variables.ts'
import { Intake } from '../store/intake.ts'
import { booksOf, measureQueues, queueBooks } from '../store/metrics.ts'
import { QUARANTINE_COMMAND } from '../store/quarantine.ts'
import { openStore, storeHealth } from '../store/report.ts'
import { FORGET_COMMAND } from '../wire/forget.ts'
import { keepTopic } from '../wire/keep.ts'
import { keeperName } from '../wire/keepers.ts'
import { CROP, keptFilters, kindOfKey } from '../wire/kinds.ts'
import { forgetTopic, storedTopic } from '../wire/stored.ts'
import { Announcer } from './announce.ts'
import { Announcements } from './announcements.ts'
import { Arrivals } from './arrivals.ts'
import { checkSubscriberConfig, type SubscriberConfig, subscriberSchema } from './config.ts'
import { type InboxHeader, isFiledByReceipt, senderOf } from './entry.ts'
import { subscriberForget } from './forget.ts'
import { ForgetRequests } from './forget-requests.ts'
import { IndexWriter } from './gallery/index-files.ts'
import { publishGallery } from './gallery/publish.ts'
import { allowedWithoutLogin, galleryRoutes } from './gallery/serve.ts'
import { takeCustody } from './keep.ts'
import { kindsOfLane, type Lanes, openLanes } from './lanes.ts'
import { SignedLinks } from './links.ts'
import { saveRules, subscriberQuarantine } from './quarantine.ts'
import { KeepMarks } from './recordings/keep-marks.ts'
import { KeepRequests } from './recordings/keep-requests.ts'
import { limitsOf } from './recordings/limits.ts'
import { RecordingRetention } from './recordings/retention.ts'
import { Retention } from './retention.ts'
import { Storer } from './store.ts'

/** Fine where a line on one machine lies, coarse up to an outage of hours. */
const LATENCY_SECONDS = [
  0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10, 30, 60, 600, 3600,
]

const CLOCK_WARNING_MS = 10 * 60_000

/** Clips on their way from the broker to the disk: crops are written in the same transactions, and wait for these bytes. */
const CLIP_KEEPING_BYTES_MAX = 8 * 1024 * 1024
/** From there to the bucket. */
const CLIP_WRITING_BYTES_MAX = 32 * 1024 * 1024

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
    const byKind = (name: string, help: string) => counter(metrics, `subscriber_${name}`, help, ['kind'])
    const received = byKind('received_total', 'Messages received')
    const duplicates = byKind('duplicates_total', 'Crops and clips received again')
    const quarantined = counter(
      metrics,
      'subscriber_quarantined_total',
      'Messages that are neither crops nor clips',
      ['reason'],
    )
    const stored = byKind('stored_total', 'Crops and clips written to the bucket')
    const storedBytes = byKind('stored_bytes_total', 'Bytes of them')
    const alreadyThere = byKind('already_there_total', 'Crops and clips already in the bucket')
    const failed = counter(metrics, 'subscriber_failed_total', 'Writes that failed and are retried', ['code'])
    const expired = byKind(
      'expired_total',
      'Crops and clips that this program deleted by its retention; what a store deletes by its own rule is not counted',
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
    const { recordings } = config
    const lanes = openLanes(store, { crops: config.inbox, clips: recordings.inbox })
    const quarantine = store.queue('quarantine', {
      ...config.quarantine,
      ageMsMax: config.quarantine.ageMax,
      whenFull: 'drop-oldest',
    })
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
      events: { expired: (crops) => expired.inc({ kind: 'crop' }, crops) },
    })
    const keep = KeepMarks.open({ bucket, store, announcements })
    await using recordingRetention = RecordingRetention.open({
      bucket,
      limitsOf: (camera) => limitsOf(recordings.retention, camera),
      keep,
      announcements,
      log,
      events: { expired: (chunks) => expired.inc({ kind: 'clip' }, chunks) },
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
    const { publicRead } = config.bucket
    const links = config.bucket.type === 'folder' ? SignedLinks.open(config.inbox.folder) : undefined
    const arrivals = config.arrivals.log
      ? Arrivals.open({ bucket, signedUrlMs: config.arrivals.signedUrl, publicRead, links, log })
      : undefined
    const storing = {
      store,
      quarantine,
      announce: announcer,
      publicRead,
      arrivals,
      topicPrefix: config.topicPrefix,
      log,
      events: {
        stored: (header: InboxHeader, bytes: number) => {
          const kind = kindNameOf(header)
          stored.inc({ kind })
          storedBytes.inc({ kind }, bytes)
          if (kind === 'clip') recordingRetention.stored(header, bytes)
          else retention.seen(header.site)
          if (isFiledByReceipt(header)) {
            clockWrong.inc()
            warnOfClock(header)
          } else if (kind === 'crop') latency.observe(Math.max(0, Date.now() - header.capturedAtMs) / 1000)
        },
        alreadyThere: (header: InboxHeader) => alreadyThere.inc({ kind: kindNameOf(header) }),
        failed: (code: ErrorCode) => failed.inc({ code }),
      },
    }
    await using storer = Storer.open({
      ...storing,
      ...lanes.crops,
      bucket,
      index,
      writesMax: config.bucket.writesMax,
    })
    // A bucket of its own: a folder's thread, and its flushes, would make crops wait for what is large.
    await using clipBucket =
      recordings.enabled || lanes.clips.inbox.size > 0
        ? await bucketOnceThere({ ...config, bucket: { ...config.bucket, publicRead: false } }, log, signal)
        : undefined
    // Also where no clips are wanted any more: what was accepted goes on.
    await using clipStorer = Storer.open({
      ...storing,
      ...lanes.clips,
      bucket: clipBucket ?? bucket,
      index: undefined,
      writesMax: recordings.writesMax,
      writingBytesMax: CLIP_WRITING_BYTES_MAX,
    })
    const rules = {
      topicPrefix: config.topicPrefix,
      payloadBytesMax: config.payloadMax,
      clipBytesMax: recordings.payloadMax,
    }
    await saveRules(store, rules)
    const forget = subscriberForget({
      store,
      lanes,
      quarantine,
      bucket,
      keep,
      writer: config.name,
      storers: { crops: storer, clips: clipStorer },
      removed: (keys) => recordingRetention.removed(keys),
      index,
      announcements,
      log,
    })
    await using control = await ControlServer.open({
      folder: config.inbox.folder,
      handlers: {
        [QUARANTINE_COMMAND]: subscriberQuarantine({ store, lanes, quarantine }, rules),
        [FORGET_COMMAND]: forget,
      },
      health: () => health(),
      log,
    })
    await using requests = announcements
      ? ForgetRequests.open({ store, announcements, handler: forget, control, log })
      : undefined
    await using keepRequests = announcements ? KeepRequests.open({ store, marks: keep, log }) : undefined
    const shared = broker.shareGroup === undefined ? '' : `$share/${broker.shareGroup}/`
    const filtersOf = (lane: keyof Lanes) =>
      keptFilters(config.topicPrefix, kindsOfLane(lane)).map((filter) => shared + filter)
    const session = { ...link, clean: false, sessionExpiryS: Math.round(broker.sessionExpiry / 1000) }
    const take = takeCustody({
      ...rules,
      store,
      lanes,
      quarantine,
      log,
      events: {
        received: (kind) => received.inc({ kind }),
        duplicate: (kind) => duplicates.inc({ kind }),
        quarantined: (reason) => quarantined.inc({ reason }),
      },
    })
    await using intake = Intake.open({
      link: {
        ...session,
        clientId: broker.clientId,
        receiveMax: broker.inFlightMax,
        packetBytesMax: config.payloadMax + 2048,
      },
      filters: filtersOf('crops'),
      requests: [
        {
          topic: forgetTopic(config.topicPrefix, config.name),
          wanted: requests !== undefined,
          take: (payload) => requests?.take(payload) ?? ignoreRequest(log, 'forget'),
        },
        {
          topic: keepTopic(config.topicPrefix, config.name),
          wanted: keepRequests !== undefined,
          take: (payload) => keepRequests?.take(payload) ?? ignoreRequest(log, 'keep recordings'),
        },
      ],
      ...reconnect,
      store,
      inbox: lanes.crops.inbox,
      keep: take,
      log,
    })
    await using clipIntake = recordings.enabled
      ? Intake.open({
          link: {
            ...session,
            clientId: `${broker.clientId}-clips`,
            receiveMax: recordings.inFlightMax,
            packetBytesMax: recordings.payloadMax + 2048,
          },
          filters: filtersOf('clips'),
          writingBytesMax: CLIP_KEEPING_BYTES_MAX,
          ...reconnect,
          store,
          inbox: lanes.clips.inbox,
          keep: take,
          log: log.child({ lane: 'clips' }),
        })
      : undefined
    const ofRecordings = () => {
      const waiting = `${clipStorer.waiting} waiting`
      const intake = !clipIntake ? 'off' : clipIntake.connected ? 'connected' : clipIntake.fault
      return [intake, waiting, clipStorer.fault, recordingRetention.fault].filter(Boolean).join('; ')
    }
    const health = () => ({
      // Without its clips it is no worse a subscriber of crops: a broker may not let them come.
      ok: intake.connected && storer.fault === undefined && store.fault === undefined,
      checks: {
        broker: intake.connected ? 'connected' : `disconnected (${intake.fault})`,
        bucket: storer.fault ?? 'ok',
        inbox: `${storer.waiting} waiting`,
        recordings: ofRecordings(),
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
              ...(clipIntake
                ? [
                    {
                      name: 'broker, clips',
                      to: `${host}:${port}`,
                      connected: clipIntake.connected,
                      clientId: `${broker.clientId}-clips`,
                    },
                  ]
                : []),
            ],
            counts: async () => ({
              stored: await total(stored),
              stored_clips: await countOf(stored, 'clip'),
              stored_clip_bytes: await countOf(storedBytes, 'clip'),
              expired_clips: await countOf(expired, 'clip'),
            }),
            publish: (topic, payload) => announcer.say(topic, Buffer.from(payload)),
            log,
          })
        : undefined
    gauge(metrics, 'subscriber_up', 'Whether the broker is connected', [], (made) =>
      made.set(intake.connected ? 1 : 0),
    )
    gauge(metrics, 'subscriber_clips_up', 'Whether the broker is connected for clips', [], (made) =>
      made.set(clipIntake?.connected ? 1 : 0),
    )
    gauge(metrics, 'subscriber_waiting', 'Crops that are not in the bucket yet', [], (made) =>
      made.set(storer.waiting),
    )
    gauge(metrics, 'subscriber_clips_waiting', 'Clips that are not in the bucket yet', [], (made) =>
      made.set(clipStorer.waiting),
    )
    gauge(
      metrics,
      'subscriber_announcements_waiting',
      'Announcements that the broker has not acknowledged',
      [],
      (made) => made.set(announcer?.waiting ?? 0),
    )
    measureQueues(metrics, store)
    const access = { publicRead, links }
    await using http = await HttpServer.open({
      ...config.http,
      log,
      metrics,
      allowed: gallery.enabled ? allowedWithoutLogin(access) : undefined,
      routes: gallery.enabled ? galleryRoutes(bucket, access) : undefined,
      health,
    })
    log.info(
      {
        broker: broker.url,
        bucket: bucket.description,
        http: http.url,
        waiting: lanes.crops.inbox.size,
        clips: lanes.clips.inbox.size,
      },
      'subscriber ready',
    )
    ready()
    // Wrong credentials at the start end the program; a broker that is away does not.
    await Promise.race([intake.subscribed.then(() => aborted(signal)), aborted(signal)])
  })
}

const kindNameOf = ({ key }: InboxHeader) => (kindOfKey(key) ?? CROP).name

async function countOf(counter: Counter<'kind'>, kind: string): Promise<number> {
  return (await counter.get()).values.find(({ labels }) => labels.kind === kind)?.value ?? 0
}

/** Where nothing is announced nobody would hear the answer. What comes is from when it was. */
async function ignoreRequest(log: Log, what: string): Promise<void> {
  log.warn({ code: 'NOT_ALLOWED' }, `ignored a request to ${what}: "announce.enabled" is false`)
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

import { warnOfOpenPassword } from '../lib/access/open-password.ts'
import { loadConfig, readNamedFile } from '../lib/config.ts'
import { failure } from '../lib/errors.ts'
import { HttpServer } from '../lib/http/server.ts'
import { ready } from '../lib/launcher.ts'
import { openLog } from '../lib/log.ts'
import { openMetrics, total } from '../lib/metrics.ts'
import { type RunOptions, runFromCommandLine, runService } from '../lib/service.ts'
import { followClientFiles } from '../lib/tls/certificates.ts'
import { misspeltIn } from '../lib/variables.ts'
import { commandFilter, statusTopic } from '../wire/topics.ts'
import { Agent } from './agent.ts'
import { checkDeviceConfig, type DeviceConfig, deviceSchema } from './config.ts'
import { detectorOptions } from './detect/options.ts'
import { openDetectorThread } from './detect/thread.ts'
import { FAREWELL_MS_MAX, SCORE_LOW } from './limits.ts'
import { Commanded } from './link/commanded.ts'
import { discovery } from './link/home-assistant.ts'
import { Publisher } from './link/publish.ts'
import { Remote } from './link/remote.ts'
import { deviceReport } from './link/report.ts'
import { openListeners } from './listen/listeners.ts'
import { type Meters, measurePending, openMeters } from './meters.ts'
import { Live } from './view/live.ts'
import { Preview } from './view/preview.ts'

/**
 * The capture agent as a program: reads its configuration, runs until its sources end or it is told to stop, drains.
 * @returns the exit status
 */
export async function runDevice(options: RunOptions): Promise<number> {
  // ONNX Runtime reports to Microsoft unless this is set by the time it is loaded. It must be this thread that sets it.
  process.env.ORT_DISABLE_TELEMETRY ??= '1'
  const config = loadConfig(deviceSchema, {
    file: options.config,
    env: process.env,
    overrides: options.overrides,
  })
  checkDeviceConfig(config)
  const log = openLog('device', config.log.level)
  for (const sentence of misspeltIn(deviceSchema, process.env)) log.warn(sentence)
  return await runService({ log, drainMsMax: config.drain.deadline }, async (signal) => {
    const registry = openMetrics('device')
    const meters = openMeters(registry)
    await using publisher = new Publisher(publisherOptions(config, meters, log))
    measurePending(registry, publisher)
    await using detector = await openDetectorThread({
      ...detectorOptions(config.detect),
      scoreLow: SCORE_LOW,
    })
    log.info(
      {
        model: detector.model,
        runtime: detector.runtime,
        input: detector.input,
        ...(detector.measured && { measured: detector.measured }),
      },
      'detector opened',
    )
    await using listeners = await openListeners({ config, registry, log })
    const streams = listeners?.streams
    using live = new Live({
      config,
      publisher,
      isPaused: (camera) => remote?.settings(camera).paused ?? false,
      meters,
      log,
    })
    await using remote: Remote | undefined =
      config.remote.enabled || config.homeAssistant.enabled
        ? new Remote({
            config,
            scoreMin: detector.scoreMin,
            scoreFloor: detector.scoreMin * SCORE_LOW,
            commanded: new Commanded(config.remote.folder, config, log),
            publisher,
            live,
            streams,
            meters,
            log,
          })
        : undefined
    publisher.onCommand = (message) => remote?.take(message)
    const discover = () => {
      if (!config.homeAssistant.enabled) return
      const cameras = [...config.cameras, ...(streams?.cameras ?? [])]
      const { topic, payload } = discovery({ ...config, cameras }, detector.model)
      publisher.keep(topic, payload)
    }
    discover()
    /** By camera. */
    const states = new Map<string, string>()
    using preview = config.preview.enabled
      ? new Preview({
          ...config.preview,
          cameras: config.cameras.map(({ name }) => name),
          title: `${config.site} / ${config.device}`,
          look: (camera) => ({
            state: states.get(camera) ?? 'opening',
            paused: remote?.settings(camera).paused ?? false,
          }),
          meters,
          log,
        })
      : undefined
    for (const { name } of streams?.cameras ?? []) {
      live.add(name)
      preview?.add(name)
    }
    const agent = new Agent({
      config,
      streams,
      states,
      detector,
      publisher,
      meters,
      log,
      remote,
      watchers: [remote, live, preview].filter((it) => it !== undefined),
      onCrop: (crop) => remote?.cropMade(crop),
      onState: () => {
        publisher.setStatus({ model: detector.model, cameras: Object.fromEntries(states) })
        remote?.states(states)
      },
    })
    if (streams) {
      streams.onState = (camera) => remote?.streamChanged(camera)
      streams.onCameras = ({ added, removed }) => {
        for (const { name } of added) for (const it of [live, preview, remote]) it?.add(name)
        for (const name of removed)
          void agent.remove(name).then(() => {
            if (!streams.has(name)) for (const it of [live, preview, remote]) it?.remove(name)
          })
        for (const camera of added) agent.add(camera)
        discover()
      }
    }
    const health = () => ({
      ok: publisher.trouble === undefined && ![...states.values()].some((it) => it.startsWith('down')),
      checks: {
        broker: publisher.trouble ?? 'connected',
        ...Object.fromEntries([...states].map(([name, state]) => [`camera ${name}`, state])),
      },
    })
    await using server = await HttpServer.open({
      ...config.http,
      log,
      metrics: registry,
      routes: preview && ((app) => preview.routes(app)),
      health,
    })
    log.info({ url: server.url }, 'health and metrics are served')
    await using _report = config.report.enabled
      ? deviceReport({ config, publisher, health, meters, log })
      : undefined
    await listeners?.listen()
    ready()

    const refused = new AbortController()
    publisher.run().catch((error: unknown) => refused.abort(error))
    let failed: unknown
    await agent.run(AbortSignal.any([signal, refused.signal])).catch((error: unknown) => {
      failed = error
    })
    const lost = await publisher.drain(AbortSignal.any([refused.signal, late(signal, config)]))
    log.info(await booksOf(meters), 'books')
    refused.signal.throwIfAborted()
    if (failed !== undefined) throw failed
    if (lost > 0)
      throw failure(
        'DRAIN_TIMEOUT',
        `${lost} crops were lost: ${config.broker.url} did not acknowledge them in time${publisher.trouble === undefined ? '. Raise drain.deadline.' : ` (${publisher.trouble}).`}`,
      )
  })
}

/** What became of everything that was seen; `made = published + dropped` once nothing is pending. */
async function booksOf(meters: Meters) {
  return {
    captured: await total(meters.framesCaptured),
    detected: await total(meters.facesDetected),
    made: await total(meters.cropsMade),
    published: await total(meters.cropsPublished),
    dropped: await total(meters.cropsDropped),
  }
}

/** Aborted shortly before the deadline that starts when `signal` is aborted; never, where it is not. */
function late(signal: AbortSignal, config: DeviceConfig): AbortSignal {
  const controller = new AbortController()
  const start = () =>
    setTimeout(() => controller.abort(), Math.max(0, config.drain.deadline - 2 * FAREWELL_MS_MAX)).unref()
  if (signal.aborted) start()
  else signal.addEventListener('abort', start, { once: true })
  return controller.signal
}

function publisherOptions(config: DeviceConfig, meters: Meters, log: ReturnType<typeof openLog>) {
  const { broker, site, device, topicPrefix, pending } = config
  const passwordFile = readNamedFile(broker.passwordFile, 'broker.passwordFile')
  const password = passwordFile?.toString('utf8').replace(/\r?\n$/, '') ?? broker.password
  warnOfOpenPassword(log, { url: broker.url, password })
  return {
    url: broker.url,
    clientId: broker.clientId ?? `sightline-device-${site}-${device}`,
    username: broker.username,
    password,
    credentials: followClientFiles(broker, 'broker', log),
    keepaliveMs: broker.keepalive,
    window: broker.window,
    payloadBytesMax: broker.payloadMax,
    backoff: { delayMsMin: broker.backoff.min, delayMsMax: broker.backoff.max },
    pending,
    statusTopic: statusTopic(topicPrefix, { site, device }),
    commands: config.remote.enabled ? { filter: commandFilter(topicPrefix, { site, device }) } : undefined,
    log,
    events: {
      acknowledged: (camera: string) => meters.cropsPublished.inc({ camera }),
      dropped: (camera: string, reason: string) => meters.cropsDropped.inc({ camera, reason }),
      said: (camera: string) => meters.eventsSent.inc({ camera }),
      unsaid: (camera: string, reason: string) => meters.eventsDropped.inc({ camera, reason }),
    },
  }
}

if (import.meta.main) process.exitCode = await runFromCommandLine(runDevice)

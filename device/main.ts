import { warnOfOpenPassword } from '../lib/access/open-password.ts'
import { loadConfig, readNamedFile } from '../lib/config.ts'
import { ControlServer } from '../lib/control.ts'
import { asFailure, failure } from '../lib/errors.ts'
import { type Health, HttpServer } from '../lib/http/server.ts'
import { ready } from '../lib/launcher.ts'
import { openLog } from '../lib/log.ts'
import { openMetrics, total } from '../lib/metrics.ts'
import { type RunOptions, runFromCommandLine, runService } from '../lib/service.ts'
import { followClientFiles } from '../lib/tls/certificates.ts'
import { misspeltIn } from '../lib/variables.ts'
import { measureQueues } from '../store/metrics.ts'
import { QUARANTINE_COMMAND } from '../store/quarantine.ts'
import type { Store } from '../store/store.ts'
import type { ClipMetadata } from '../wire/clip.ts'
import { desiredTopic } from '../wire/desired.ts'
import { FORGET_COMMAND } from '../wire/forget.ts'
import { commandFilter, eventTopic, statusTopic } from '../wire/topics.ts'
import { Agent } from './agent.ts'
import { Cameras } from './cameras.ts'
import { type CameraConfig, checkDeviceConfig, type DeviceConfig, deviceSchema } from './config.ts'
import { DesiredConfiguration } from './desired/desired.ts'
import { Detectors } from './desired/detectors.ts'
import { Holding } from './desired/holding.ts'
import { tryProcessor } from './desired/models.ts'
import { Networks } from './desired/networks.ts'
import { DesiredSigners } from './desired/signers.ts'
import { StoredDesired } from './desired/stored.ts'
import type { Detector } from './detect/detector.ts'
import type { RemoteParts } from './detect/remote/open.ts'
import { CONNECT_MS_MAX, FAREWELL_MS_MAX } from './limits.ts'
import { ClipSender, clipsClientId } from './link/clip-sender.ts'
import { Commanded } from './link/commanded.ts'
import { discovery } from './link/home-assistant.ts'
import { type OpenOutbox, Outbox, outboxFolder } from './link/outbox.ts'
import { outboxForget, outboxQuarantine } from './link/outbox-commands.ts'
import { Publisher, type PublisherOptions } from './link/publish.ts'
import { publisherSink } from './link/publisher-sink.ts'
import { Remote } from './link/remote.ts'
import { deviceReport } from './link/report.ts'
import { PLAIN_SEAL } from './link/seal.ts'
import { SigningSeal } from './link/sign.ts'
import { openListeners } from './listen/listeners.ts'
import { readStreams } from './listen/streams-file.ts'
import { type Meters, measurePending, openMeters } from './meters.ts'
import { openProcessor } from './process/open.ts'
import { Processing } from './process/processing.ts'
import { Recorder } from './record/recorder.ts'
import { openSource } from './sources/open.ts'
import { Effects } from './view/effects.ts'
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
    using signing = config.signing && SigningSeal.open(config.signing, config, log)
    const seal = signing ?? PLAIN_SEAL
    if (signing) log.info({ key: signing.key }, 'crops and clips are signed')
    const registry = openMetrics('device')
    const meters = openMeters(registry)
    const told = desiredParts(config, log)
    const { holding } = told
    const publishing = publisherOptions(config, meters, log)
    await using publisher = new Publisher(publishing)
    measurePending(registry, publisher)
    const serving = new AsyncDisposableStack() // what works on the outbox
    let health: () => Health = () => ({ ok: true, checks: {} })
    let clips: ClipSender | undefined
    const serveOutbox = async ({ store, queue, quarantine }: OpenOutbox, stack: AsyncDisposableStack) => {
      measureQueues(registry, store)
      clips = stack.use(
        ClipSender.open({
          outbox: { store, queue, quarantine },
          link: clipsLink(config, publishing, store),
          backoff: publishing.backoff,
          crops: publisher,
          log,
          acknowledged: (topic) => meters.clipsPublished.inc({ camera: topic.split('/').at(-2) ?? '' }),
        }),
      )
      const control = await ControlServer.open({
        folder: store.folder,
        handlers: {
          [FORGET_COMMAND]: outboxForget(store),
          [QUARANTINE_COMMAND]: outboxQuarantine(store),
        },
        health: () => health(),
        log,
      })
      if (stack.disposed) await control[Symbol.asyncDispose]()
      else stack.use(control)
    }
    // Whom it concerns is opened after the outbox.
    let outboxChanged = () => {}
    let chunkLost: (clip: ClipMetadata) => void = () => {}
    const isOverTcp = /^mqtts?:/.test(config.broker.url)
    const folder = outboxFolder(config.outbox.folder, config)
    await using outbox =
      config.outbox.enabled && isOverTcp
        ? await Outbox.open(
            {
              folder,
              bytesMax: config.outbox.bytesMax,
              entriesMax: config.outbox.entriesMax,
              ageMsMax: config.outbox.ageMax,
              topicPrefix: config.topicPrefix,
              log,
              events: {
                refused: (clip, reason) => {
                  meters.clipsDropped.inc({ camera: clip.camera, reason })
                  chunkLost(clip)
                },
                opened: (opened) =>
                  void serveOutbox(opened, serving).catch((error: unknown) =>
                    log.error({ code: asFailure(error).code }, asFailure(error).message),
                  ),
                changed: () => outboxChanged(),
              },
            },
            holding.effective.cameras.some(({ record }) => record.mode !== 'off'),
          )
        : undefined
    await using _serving = serving // before the outbox is closed
    if (config.outbox.enabled && !isOverTcp)
      log.info('Recordings wait in memory: the outbox needs a broker at mqtt:// or mqtts://.')
    // Whom it concerns is opened after the detectors.
    let whereaboutsChanged = () => {}
    const elsewhere = { log, meters, changed: () => whereaboutsChanged() }
    await using detectors = await openDetectors(config, holding, elsewhere)
    const detector = detectors.current
    log.info(
      {
        model: detector.model,
        runtime: detector.runtime,
        input: detector.input,
        ...(detector.measured && { measured: detector.measured }),
      },
      'detector opened',
    )
    /** Names that no stream may have. */
    const taken = new Set(holding.effective.cameras.map(({ name }) => name))
    await using listeners = await openListeners({ config, taken, registry, log })
    const streams = listeners?.streams
    const wanted = () => holding.cameras(streams?.cameras ?? [])
    const initial = [...wanted().values()]
    const effects = new Effects(
      (camera) => remote?.settings(camera).effect ?? wanted().get(camera)?.view.effect ?? 'none',
    )
    await using recorder = await Recorder.open({
      config: { ...config, cameras: initial },
      seal,
      sink: outbox ?? publisherSink(config.topicPrefix, publisher),
      meters,
      log,
      changed: (camera) => remote?.recordChanged(camera),
    })
    chunkLost = (clip) => recorder.lost(clip)
    const zones = (camera: string) => wanted().get(camera)?.zones ?? []
    await using processing = await Processing.open({
      processors: holding.effective.process,
      camera: (name) => wanted().get(name),
      open: (it) => openProcessor(it, config.detect, log),
      onEvent: (event) => {
        const { topicPrefix, site, device, events } = config
        const payload = JSON.stringify({ ...event, site, device })
        const topic = eventTopic(topicPrefix, { site, device, camera: event.camera })
        if (events.enabled) publisher.say({ camera: event.camera, topic, payload, qos: events.qos })
      },
      onState: () => remote?.processChanged(),
      meters,
      log,
    })
    using live = new Live({
      config: { ...config, cameras: initial },
      zones,
      effects,
      redraw: processing,
      publisher,
      isPaused: (camera) => remote?.settings(camera).paused ?? false,
      meters,
      log,
    })
    await using remote: Remote | undefined =
      config.remote.enabled || config.homeAssistant.enabled
        ? new Remote({
            config,
            cameras: initial,
            detector: () => detectors.current,
            commanded: new Commanded(config.remote.folder, config, log),
            publisher,
            live,
            effects,
            redraw: processing,
            processing,
            streams,
            recorder: {
              state: (camera) => {
                const state = recorder.state(camera)
                return state && { ...state, why: state.why ?? outbox?.trouble ?? null }
              },
            },
            meters,
            log,
          })
        : undefined
    publisher.onCommand = (message) => remote?.take(message)
    whereaboutsChanged = () => remote?.whereaboutsChanged()
    outboxChanged = () => {
      for (const name of wanted().keys()) remote?.recordChanged(name)
    }
    const discover = () => {
      if (!config.homeAssistant.enabled) return
      const cameras = [...wanted().values()]
      const { topic, payload } = discovery({ ...config, cameras }, detectors.current.model)
      publisher.keep(topic, payload)
    }
    discover()
    /** By camera. */
    const states = new Map<string, string>()
    using preview = config.preview.enabled
      ? new Preview({
          ...config.preview,
          cameras: initial.map(({ name }) => name),
          title: `${config.site} / ${config.device}`,
          look: (camera) => ({
            state: states.get(camera) ?? 'opening',
            paused: remote?.settings(camera).paused ?? false,
            zones: zones(camera),
          }),
          effects,
          redraw: processing,
          meters,
          log,
        })
      : undefined
    const sayStatus = () => {
      const { model, runtime } = detectors.current
      publisher.setStatus({ model, runtime, cameras: Object.fromEntries(states) })
    }
    const agent: Agent = new Agent({
      config,
      seal,
      effects,
      streams,
      cameras: initial,
      stays: streams !== undefined || (told.isOn && config.remote.desired.cameras),
      settled: () => cameras.settled(),
      open: async (camera, context, until) => {
        const isFromAfar = holding.effective.fromAfar.has(camera.name)
        if (isFromAfar) await told.networks.check(camera.source)
        return await openSource(camera, { ...context, isFromAfar }, until)
      },
      states,
      detector,
      publisher,
      meters,
      log,
      remote,
      recorder,
      processing,
      watchers: [remote, live, preview, recorder, processing].filter((it) => it !== undefined),
      onCrop: (crop) => remote?.cropMade(crop),
      onView: (camera, view) => {
        if (view && view.is !== 'clear')
          log.warn({ camera, view: view.is }, 'the camera does not see its scene')
        else if (view) log.info({ camera, view: view.is }, 'the camera sees its scene')
        remote?.viewChanged(camera, view)
      },
      onPresent: (camera, present) => remote?.presentChanged(camera, present),
      onState: () => {
        sayStatus()
        remote?.states(states)
      },
    })
    const looks = [live, preview].map((it) => ({
      add: ({ name }: CameraConfig) => it?.add(name),
      remove: (name: string) => it?.remove(name),
    }))
    const cameras = new Cameras(
      {
        agent,
        recorder,
        others: [...(remote ? [remote] : []), ...looks],
        wanted,
        replaced: (before, after) => remote?.forget(before, after),
        log,
      },
      initial,
    )
    if (streams) {
      streams.onState = (camera) => remote?.streamChanged(camera)
      streams.onCameras = ({ added, removed }) => {
        for (const name of new Set([...removed, ...added.map((it) => it.name)])) void cameras.changed(name)
        discover()
        desired?.camerasChanged()
      }
    }
    const changed = () => {
      discover()
      sayStatus()
      remote?.processChanged()
    }
    await using desired =
      told.isOn && remote
        ? new DesiredConfiguration({
            ...{ local: config, ...told },
            ...{ streams, taken, cameras, agent, remote, detectors, processing, publisher, meters, log },
            open: openSource,
            changed,
          })
        : undefined
    publisher.onDesired = (payload) => desired?.take(payload)
    health = () => ({
      ok:
        publisher.trouble === undefined &&
        processing.isWell &&
        ![...states.values()].some((it) => it.startsWith('down')),
      checks: {
        broker: publisher.trouble ?? 'connected',
        ...saidOfDetector(detectors.current),
        ...(outbox && saidOfOutbox(outbox, clips)),
        ...(desired?.trouble !== undefined && { desired: desired.trouble }),
        ...Object.fromEntries([...states].map(([name, state]) => [`camera ${name}`, state])),
        ...processing.checks,
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
      ? deviceReport({ config, publisher, outbox, clips: () => clips, health, meters, log })
      : undefined
    await listeners?.listen()
    await desired?.start()
    log.info({ http: server.url, cameras: holding.effective.cameras.map(({ name }) => name) }, 'device ready')
    ready()

    const refused = new AbortController()
    publisher.run().catch((error: unknown) => refused.abort(error))
    let failed: unknown
    await agent.run(AbortSignal.any([signal, refused.signal])).catch((error: unknown) => {
      failed = error
    })
    await recorder[Symbol.asyncDispose]()
    const drained = AbortSignal.any([refused.signal, late(signal, config)])
    await outbox?.settled()
    const [lost] = await Promise.all([publisher.drain(drained), clips?.drain(drained)])
    if (outbox) log.info({ queues: outbox.books }, 'books of the outbox')
    await serving[Symbol.asyncDispose]()
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

/** What the console may make of this device, and what it has made of it. Errors: those of its signers' certificates. */
function desiredParts(config: DeviceConfig, log: ReturnType<typeof openLog>) {
  const { enabled, folder, desired } = config.remote
  const networks = new Networks(desired.networks)
  const stored = new StoredDesired(folder, config)
  const isOn = enabled && desired.enabled
  const signers = isOn && desired.signers !== undefined ? DesiredSigners.open(desired.signers) : undefined
  const { streamsFile } = config.listen
  const holding = isOn
    ? Holding.open({
        ...{ local: config, stored, networks, signers, log },
        streams: new Set(streamsFile === undefined ? [] : readStreams(streamsFile).map(({ name }) => name)),
      })
    : Holding.ofFile(config)
  return { isOn, networks, stored, signers, holding }
}

/** By what the device was told, or where that, or a classifier of it, cannot be loaded, by its own file. Errors: those of openDetector. */
async function openDetectors(config: DeviceConfig, holding: Holding, looks: RemoteParts) {
  if (holding.applied) {
    const { process, processFromAfar, detect } = holding.effective
    try {
      for (const it of process)
        if (processFromAfar.has(it.name)) await tryProcessor(it, detect, new AbortController().signal)
      return await Detectors.open(detect, looks)
    } catch (error) {
      holding.fallBack(asFailure(error), looks.log)
    }
  }
  return await Detectors.open(config.detect, looks)
}

/** For `/healthz`: of a detector that may look elsewhere. */
function saidOfDetector({ whereabouts }: Detector): Record<string, string> {
  if (!whereabouts) return {}
  const { on, why } = whereabouts
  return { detector: why === null ? on : `${on}: ${why}` }
}

/** For `/healthz`. */
function saidOfOutbox(outbox: Outbox, clips: ClipSender | undefined): Record<string, string> {
  const { queue, quarantine } = outbox.opened ?? {}
  if (outbox.trouble === undefined && !queue) return {}
  const said = [
    outbox.trouble ?? 'ok',
    ...(queue ? [`${queue.size} waiting`] : []),
    ...(clips?.trouble === undefined ? [] : [clips.trouble]),
    ...(quarantine && quarantine.size > 0 ? [`${quarantine.size} in quarantine`] : []),
  ]
  return { outbox: said.join('; ') }
}

/** The way of clips: as the crops', under a client id of its own. */
function clipsLink(config: DeviceConfig, publishing: PublisherOptions, store: Store) {
  const { broker, site, device } = config
  const { url, username, password, credentials } = publishing
  return {
    url,
    clientId: clipsClientId(store, { site, device, clientId: broker.clientId }),
    username,
    password,
    credentials,
    packetBytesMax: 1024 * 1024, // of what comes
    keepaliveS: Math.max(1, Math.round(publishing.keepaliveMs / 1000)),
    connectMsMax: CONNECT_MS_MAX,
  }
}

/** What became of everything that was seen; `made = published + dropped` once nothing is pending. */
async function booksOf(meters: Meters) {
  return {
    captured: await total(meters.framesCaptured),
    detected: await total(meters.facesDetected),
    made: await total(meters.cropsMade),
    published: await total(meters.cropsPublished),
    dropped: await total(meters.cropsDropped),
    clips: await total(meters.clipsMade),
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

function publisherOptions(
  config: DeviceConfig,
  meters: Meters,
  log: ReturnType<typeof openLog>,
): PublisherOptions {
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
    desiredTopic:
      config.remote.enabled && config.remote.desired.enabled
        ? desiredTopic(topicPrefix, { site, device })
        : undefined,
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

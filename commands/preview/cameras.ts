import { Agent } from '../../device/agent.ts'
import { checkDeviceConfig, deviceSchema } from '../../device/config.ts'
import { detectorOptions } from '../../device/detect/options.ts'
import { openDetectorThread } from '../../device/detect/thread.ts'
import { SCORE_LOW } from '../../device/limits.ts'
import { openMeters } from '../../device/meters.ts'
import { openProcessor } from '../../device/process/open.ts'
import { Processing } from '../../device/process/processing.ts'
import { configuredEffect } from '../../device/settings.ts'
import { checkSource } from '../../device/sources/check.ts'
import { Effects } from '../../device/view/effects.ts'
import { Preview } from '../../device/view/preview.ts'
import { loadConfig } from '../../lib/config.ts'
import { failure } from '../../lib/errors.ts'
import { HttpServer } from '../../lib/http/server.ts'
import { openLog } from '../../lib/log.ts'
import { openMetrics } from '../../lib/metrics.ts'
import { aborted, runService } from '../../lib/service.ts'
import { portOf } from '../command.ts'

const PORT_DEFAULT = 8090

export interface PreviewArguments {
  readonly config?: string
  readonly source?: string
  readonly rate?: string
  readonly port?: string
}

/** `sightline preview`: the capture agent without a broker. @returns the exit status */
export async function previewCameras({
  config: file,
  source,
  rate,
  port,
}: PreviewArguments): Promise<number> {
  process.env.ORT_DISABLE_TELEMETRY ??= '1' // as in device/main.ts
  const config = loadConfig(deviceSchema, {
    file,
    env: process.env,
    overrides: {
      'http.port': portOf(port, PORT_DEFAULT) ?? PORT_DEFAULT,
      ...(source !== undefined && { cameras: [{ name: 'camera', source, loop: true }] }),
    },
  })
  checkDeviceConfig(config)
  const rateMax = rate === undefined ? undefined : toRate(rate)
  const cameras = config.cameras.map((camera) => ({ ...camera, rateMax: rateMax ?? camera.rateMax }))
  const log = openLog('preview', config.log.level)
  return await runService({ log, drainMsMax: config.drain.deadline }, async (signal) => {
    for (const camera of source === undefined ? [] : cameras)
      await checkSource(camera, openLog('preview', 'silent'), signal)
    const registry = openMetrics('preview')
    const meters = openMeters(registry)
    await using detector = await openDetectorThread({
      ...detectorOptions(config.detect),
      scoreLow: SCORE_LOW,
    })
    const effects = new Effects((camera) => configuredEffect(config.cameras, camera))
    await using processing = await Processing.open({
      processors: config.process,
      camera: (camera) => cameras.find(({ name }) => name === camera),
      open: (it) => openProcessor(it, config.detect, log),
      onEvent: ({ camera, plugin, name, label, score }) =>
        log.info({ camera, plugin, name, label, score }, 'event of a plugin'),
      meters,
      log,
    })
    using preview = new Preview({
      ...config.preview,
      cameras: config.cameras.map(({ name }) => name),
      title: `${config.site} / ${config.device}`,
      look: (camera) => ({
        state: agent.states.get(camera) ?? 'opening',
        paused: false,
        zones: cameras.find(({ name }) => name === camera)?.zones ?? [],
      }),
      effects,
      redraw: processing,
      meters,
      log,
    })
    const agent: Agent = new Agent({
      config: { ...config, cameras },
      detector,
      // Crops are made as they would be, and go nowhere.
      publisher: {
        offer: ({ camera }) => meters.cropsDropped.inc({ camera, reason: 'preview' }),
        room: async () => {},
        say: ({ camera }) => meters.eventsDropped.inc({ camera, reason: 'preview' }),
      },
      meters,
      log,
      effects,
      processing,
      watchers: [preview, processing],
      onState: () => {},
    })
    await using server = await HttpServer.open({
      ...config.http,
      log,
      metrics: registry,
      routes: (app) => preview.routes(app),
      health: () => ({ ok: true, checks: { ...Object.fromEntries(agent.states), ...processing.checks } }),
    })
    process.stdout.write(`${server.url}/preview\n`)
    log.info({ url: `${server.url}/preview` }, 'the preview is served; nothing is published')
    await agent.run(signal)
    if (!signal.aborted) log.info('all sources have ended; the last pictures stay visible until Ctrl-C')
    await aborted(signal)
  })
}

function toRate(text: string): number {
  const rate = Number(text)
  if (!/^\d{1,4}(\.\d{1,3})?$/.test(text) || rate === 0)
    throw failure('USAGE', `--rate needs a number of frames per second, e.g. 0.5, not "${text}".`)
  return rate
}

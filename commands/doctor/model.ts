import { existsSync } from 'node:fs'
import type { DeviceConfig } from '../../device/config.ts'
import type { Detector } from '../../device/detect/detector.ts'
import { detectorOptions, isRemote } from '../../device/detect/options.ts'
import { openRemoteDetector, type RemoteConfig } from '../../device/detect/remote/open.ts'
import { openDetectorThread } from '../../device/detect/thread.ts'
import { openMeters } from '../../device/meters.ts'
import { Testcard } from '../../device/sources/testcard.ts'
import { openLog } from '../../lib/log.ts'
import { openMetrics } from '../../lib/metrics.ts'
import { type Finding, fail, failed, ok, timed, warn } from './finding.ts'

/** The face detector, here and at inference servers: whether it is there, and finds faces that are drawn. */

const DRAWN_FRAMES = 3

/** The detector that runs here: always, or where no server can be asked. */
export async function checkModel({ detect }: DeviceConfig, signal: AbortSignal): Promise<Finding[]> {
  const local = isRemote(detect.runtime) ? detect.servers?.local : undefined
  if (local === 'none') return []
  const isOther = local !== undefined && local !== 'auto' && local !== detect.model
  const model = isOther ? local : detect.model
  const what = `model ${model}`
  try {
    const opened = await timed(() =>
      openDetectorThread({
        ...detectorOptions({
          ...detect,
          model,
          ...(isOther && { head: 'auto' as const, inputSize: undefined }),
        }),
        // Made anew where it is not there yet: the folder is the agent's to make.
        modelFolder: existsSync(detect.modelFolder) ? detect.modelFolder : undefined,
      }),
    )
    await using detector = opened.value
    return [await lookedAt(what, detector, opened.ms, signal)]
  } catch (error) {
    const finding = failed(what, error, 'Correct "detect" in the configuration.')
    if (local !== 'auto') return [finding]
    const todo = `${finding.todo} Or say with "detect.servers.local: none" that nobody here takes over.`
    return [warn(what, finding.found, todo)]
  }
}

/** One of `detect.servers.addresses`. */
export async function checkServer(
  { detect }: DeviceConfig,
  address: string,
  signal: AbortSignal,
): Promise<Finding[]> {
  const { protocol, host } = new URL(address)
  const what = `inference server ${protocol}//${host}`
  const { servers } = detect as RemoteConfig
  const todo = 'Start it there, or correct "detect.servers" in the configuration.'
  try {
    const opened = await timed(() =>
      openRemoteDetector(
        { ...(detect as RemoteConfig), servers: { ...servers, addresses: [address], local: 'none' } },
        { log: openLog('doctor', 'silent'), meters: openMeters(openMetrics('doctor')) },
      ),
    )
    await using detector = opened.value
    const { whereabouts } = detector
    if (whereabouts?.on !== 'remote') return [fail(what, oneLine(whereabouts?.why ?? 'is not ready'), todo)]
    return [await lookedAt(what, detector, opened.ms, signal, detect.runtime !== 'remote')]
  } catch (error) {
    return [failed(what, error, todo)]
  }
}

/** Of one server: what is wrong with it. */
const oneLine = (why: string) =>
  why.replace(/^No inference server can be asked\. (?=.)/s, '').replace(/\.$/, '')

/** @param isProduct its model is its own affair, and may know that a drawing is none */
async function lookedAt(
  what: string,
  detector: Detector,
  openMs: number,
  signal: AbortSignal,
  isProduct = false,
): Promise<Finding> {
  const context = {
    input: detector.input,
    events: { skipped() {}, damaged() {} },
    log: openLog('doctor', 'silent'),
  }
  await using card = await Testcard.open({ frames: DRAWN_FRAMES }, context, signal)
  let drawn = 0
  let found = 0
  let ms = Number.POSITIVE_INFINITY
  for await (using frame of card) {
    const detection = await timed(() => detector.detect(frame.scaled))
    drawn += frame.truth?.length ?? 0
    found += detection.value.length
    ms = Math.min(ms, detection.ms)
  }
  const { width, height } = detector.input
  const on = `${detector.runtime}, ${width}x${height}`
  if (found === 0 && isProduct)
    return ok(what, `answers in ${ms} ms per picture (${on}); it takes none of ${drawn} drawn faces for one`)
  if (found === 0)
    return fail(
      what,
      `loads (${on}), but finds none of ${drawn} drawn faces`,
      'Is it a face detector? Is "detect.head" its family? Is "detect.scoreMin" too high?',
    )
  return ok(
    what,
    `loads in ${openMs} ms, and finds ${found} of ${drawn} drawn faces (some half outside the picture), ${ms} ms per picture (${on})`,
  )
}

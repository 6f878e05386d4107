import { existsSync } from 'node:fs'
import type { DeviceConfig } from '../../device/config.ts'
import { detectorOptions } from '../../device/detect/options.ts'
import { openDetectorThread } from '../../device/detect/thread.ts'
import { Testcard } from '../../device/sources/testcard.ts'
import { openLog } from '../../lib/log.ts'
import { type Finding, fail, failed, ok, timed } from './finding.ts'

/** The face detector: whether it loads, and finds faces that are drawn. */

const DRAWN_FRAMES = 3

export async function checkModel({ detect }: DeviceConfig, signal: AbortSignal): Promise<Finding[]> {
  const what = `model ${detect.model}`
  try {
    const opened = await timed(() =>
      openDetectorThread({
        ...detectorOptions(detect),
        // Made anew where it is not there yet: the folder is the agent's to make.
        modelFolder: existsSync(detect.modelFolder) ? detect.modelFolder : undefined,
      }),
    )
    await using detector = opened.value
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
    if (found === 0)
      return [
        fail(
          what,
          `loads (${on}), but finds none of ${drawn} drawn faces`,
          'Is it a face detector? Is "detect.head" its family? Is "detect.scoreMin" too high?',
        ),
      ]
    return [
      ok(
        what,
        `loads in ${opened.ms} ms, and finds ${found} of ${drawn} drawn faces (some half outside the picture), ${ms} ms per picture (${on})`,
      ),
    ]
  } catch (error) {
    return [failed(what, error, 'Correct "detect" in the configuration.')]
  }
}

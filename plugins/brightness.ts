import type { Plugin } from 'sightline/plugin'

/**
 * An alarm for light that goes out, or comes on: the event `dark` when a camera's picture becomes darker than `darkBelow`,
 * `light` when it is brighter than `lightAbove` again. Between the two nothing changes (hysteresis), so that a picture at the
 * threshold does not say something with each frame. Levels are 0 (black) to 255 (white).
 *
 *     process:
 *       - { name: brightness, module: plugins/brightness.ts, settings: { darkBelow: 40, lightAbove: 60 } }
 */

/** Of the pixels, every so many are looked at: the mean of thousands says as much as that of all. */
const STEP = 7

export default {
  version: '1',
  open({ settings, log }) {
    const darkBelow = levelOf('darkBelow', settings.darkBelow ?? 40)
    const lightAbove = levelOf('lightAbove', settings.lightAbove ?? darkBelow + 20)
    if (lightAbove <= darkBelow) throw new Error('settings.lightAbove must be above settings.darkBelow')
    /** By camera. */
    const isDark = new Map<string, boolean>()
    return {
      frame({ camera, rgb }) {
        const mean = brightnessOf(rgb)
        const was = isDark.get(camera)
        const is = mean < darkBelow || (was === true && mean <= lightAbove)
        isDark.set(camera, is)
        // A camera that begins in the light has nothing to say.
        if (is === (was ?? false)) return undefined
        log.info(is ? 'it is dark' : 'it is light again', { camera, mean: Math.round(mean) })
        return { events: [{ name: is ? 'dark' : 'light', data: { mean: Math.round(mean) } }] }
      },
    }
  },
} satisfies Plugin

function levelOf(name: string, value: unknown): number {
  if (typeof value === 'number' && value >= 0 && value <= 255) return value
  throw new Error(`settings.${name} must be a number from 0 to 255`)
}

/** The mean of what the eye sees, 0 to 255 (ITU-R BT.601). */
function brightnessOf(rgb: Uint8Array): number {
  let sum = 0
  let count = 0
  for (let at = 0; at + 2 < rgb.length; at += 3 * STEP) {
    sum += 0.299 * (rgb[at] ?? 0) + 0.587 * (rgb[at + 1] ?? 0) + 0.114 * (rgb[at + 2] ?? 0)
    count += 1
  }
  return count === 0 ? 0 : sum / count
}

import { asFailure, failure } from '../../lib/errors.ts'
import type { Log } from '../../lib/log.ts'
import { OPENED_PICTURE_BYTES_MAX, type Reported } from '../../wire/desired.ts'
import type { CameraConfig } from '../config.ts'
import type { Detector } from '../detect/detector.ts'
import { type Box, toFrame } from '../faces/crop.ts'
import type { Frame } from '../frame.ts'
import { TRIED_AT_ONCE_MAX, TRIED_PICTURE_QUALITIES, TRIED_PICTURE_WIDTHS, TRY_MS_BEYOND } from '../limits.ts'
import { sharp } from '../sharp.ts'
import type { openSource } from '../sources/open.ts'
import { Effects } from '../view/effects.ts'
import type { Redraw } from '../view/redraw.ts'

/** What is tried before a configuration is kept: cameras are opened. */

type Opened = NonNullable<Reported['opened']>[string]

export interface TryOptions {
  /** Looks where a camera's effect has to hide faces. */
  readonly detector: Detector
  /** A camera whose picture a plugin changes for viewers is tried without one: nobody has changed it. */
  readonly redraw?: Pick<Redraw, 'redrawnBy'>
  /** Checks where it leads, and opens it. */
  readonly open: typeof openSource
  readonly log: Log
}

/**
 * Opens each of the cameras, and takes a picture. What an operator would not see of it live is not in that either: masks, and
 * the camera's effect.
 */
export async function tryCameras(
  cameras: readonly CameraConfig[],
  options: TryOptions,
  signal: AbortSignal,
): Promise<Record<string, Opened>> {
  const waiting = [...cameras]
  const opened: [string, Opened][] = []
  const work = async () => {
    for (let camera = waiting.shift(); camera; camera = waiting.shift())
      opened.push([camera.name, await tryCamera(camera, options, signal)])
  }
  await Promise.all(Array.from({ length: TRIED_AT_ONCE_MAX }, work))
  return Object.fromEntries(opened)
}

async function tryCamera(camera: CameraConfig, options: TryOptions, signal: AbortSignal): Promise<Opened> {
  const late = AbortSignal.timeout(camera.timeout + TRY_MS_BEYOND)
  const events = { skipped: () => {}, damaged: () => {} }
  const context = { input: options.detector.input, events, log: options.log }
  const either = AbortSignal.any([signal, late])
  try {
    await using source = await options.open(camera, context, either)
    for await (const frame of source) {
      using taken = frame
      const isShown = !camera.paused && !options.redraw?.redrawnBy(camera.name)
      const picture = !isShown ? undefined : await pictureOf(camera, taken, options.detector)
      return {
        frame: [taken.width, taken.height],
        ...(picture && { picture: picture.toString('base64') }),
      }
    }
    throw failure('SOURCE_UNAVAILABLE', `The camera "${camera.name}" gave no picture.`)
  } catch (error) {
    const { code, message } = late.aborted
      ? failure('SOURCE_UNAVAILABLE', `The camera "${camera.name}" gave no picture in time.`)
      : asFailure(error)
    return { error: { code, message: message.slice(0, 2000) } }
  }
}

/** A small JPEG of what viewers would see; undefined where none is small enough. */
async function pictureOf(
  camera: CameraConfig,
  frame: Frame,
  detector: Detector,
): Promise<Buffer | undefined> {
  const { width, height } = frame
  const { name, view } = camera
  const effects = new Effects(() => view.effect)
  if (view.effect !== 'none') {
    const faces = await detector.detect(frame.scaled)
    const seen = faces.map(({ box, score }) => ({
      ...{ box: toFrame(box as Box, frame.scaled, frame), score },
      sure: score >= detector.scoreMin,
    }))
    effects.looked(name, frame, seen, [])
  }
  const rgb = await frame.cut(0, 0, width, height)
  effects.apply(name, rgb, { width, height })
  for (const widthMax of TRIED_PICTURE_WIDTHS)
    for (const quality of TRIED_PICTURE_QUALITIES) {
      const jpeg = await sharp(rgb, { raw: { width, height, channels: 3 } })
        .resize({ width: widthMax, height: widthMax, fit: 'inside', withoutEnlargement: true })
        .jpeg({ quality })
        .toBuffer()
      if (jpeg.length <= OPENED_PICTURE_BYTES_MAX) return jpeg
    }
  return undefined
}

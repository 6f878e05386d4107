import { dirname, resolve } from 'node:path'
import type { Area, Attribute, Crop, Face, Frame, FrameAnswer, Picture, Plugin, PluginLog } from './plugin.ts'
import { readAttributes, readFrameSaid, readPicture } from './plugin-answers.ts'

/**
 * For tests of a plugin, with any test runner:
 *
 *     import { openForTest, pixels } from 'sightline/plugin-testing'
 *     import plugin from './my-plugin.ts'
 *
 *     const mine = await openForTest(plugin, { settings: { darkBelow: 40 } })
 *     const { events } = await mine.frame({ ...pixels(320, 180, [0, 0, 0]) })
 *
 * Answers are checked as the agent checks them: what it would refuse throws here. No thread, no time limit.
 */
export interface TestOptions {
  readonly name?: string
  readonly settings?: Readonly<Record<string, unknown>>
  /** What is in `context.folder`; the working directory where absent. */
  readonly folder?: string
}

/** A picture, whatever else is not given being as of a camera without anybody before it. */
export type Given<T> = Partial<T> & Pick<Crop, 'rgb' | 'width' | 'height'>

export interface PluginUnderTest extends AsyncDisposable {
  /** What it has logged. */
  readonly logged: readonly string[]
  crop(crop: Given<Crop>): Promise<readonly Attribute[]>
  frame(frame: Given<Frame>): Promise<Required<FrameAnswer>>
  picture(picture: Given<Picture>): Promise<Uint8Array>
}

/** Errors: what `open` throws. */
export async function openForTest(plugin: Plugin, options: TestOptions = {}): Promise<PluginUnderTest> {
  const { name = 'test', settings = {}, folder = dirname(resolve('package.json')) } = options
  const logged: string[] = []
  const write: PluginLog['info'] = (sentence) => void logged.push(sentence)
  const looks = await plugin.open({ name, settings, folder, log: { info: write, warn: write } })
  return {
    logged,
    async crop(crop) {
      const box = [0, 0, crop.width, crop.height] as const
      return readAttributes(await looks.crop?.({ camera: 'door', box, landmarks: [], metadata: {}, ...crop }))
    },
    async frame(frame) {
      const faces: readonly Face[] = frame.faces ?? []
      const said = await looks.frame?.({ camera: 'door', capturedAtMs: Date.now(), ...frame, faces })
      const { events, attributes } = readFrameSaid(said, faces.length)
      return { events, attributes }
    },
    async picture(picture) {
      const { width, height, faces = [] } = picture
      const areas: readonly Area[] =
        picture.areas ?? faces.map(({ box: [left, top, w, h] }) => ({ left, top, width: w, height: h }))
      return readPicture(await looks.picture?.({ camera: 'door', ...picture, faces, areas }), width, height)
    },
    async [Symbol.asyncDispose]() {
      await looks.close?.()
    },
  }
}

/** A picture of one colour, or of noise that is the same each time. */
export function pixels(
  width: number,
  height: number,
  colour: readonly [number, number, number] | 'noise' = 'noise',
): Pick<Crop, 'rgb' | 'width' | 'height'> {
  const rgb = Uint8Array.from({ length: width * height * 3 }, (_, at) =>
    colour === 'noise' ? Math.imul(at + 1, 2654435761) >>> 24 : (colour[at % 3] ?? 0),
  )
  return { rgb, width, height }
}

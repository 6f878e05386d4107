/**
 * What a plugin is: the contract between Sightline and a module of yours. Write
 *
 *     import type { Plugin } from 'sightline/plugin'
 *
 *     export default {
 *       version: '1',
 *       open({ settings, log }) {
 *         return {
 *           crop: ({ rgb, width, height }) => [{ name: 'colour', label: 'red', score: 0.9 }],
 *         }
 *       },
 *     } satisfies Plugin
 *
 * or `export default definePlugin({ ... })`, which is the same. docs/plugins.md explains it.
 *
 * Pictures are RGB, 8 bits, rows from the top without padding: pixel (x, y) begins at `(y * width + x) * 3`. They are the
 * plugin's own: it may keep and change them. One call at a time: the next comes when this has been answered.
 */
export interface Plugin {
  /** Up to 64 printable characters. It travels with what the plugin says, as `name@version`. */
  readonly version: string
  /** Frames as large as the detector sees them (`scaled`, the default), or as the camera gives them (`full`). */
  readonly frames?: 'scaled' | 'full'
  /** Called once, in the plugin's thread. Whoever throws here is wrongly configured: Sightline does not start. */
  open(context: PluginContext): Looks | Promise<Looks>
}

/** What a plugin is opened with. */
export interface PluginContext {
  /** As the configuration names it. */
  readonly name: string
  /** `settings` of the configuration, as they are: check them. */
  readonly settings: Readonly<Record<string, unknown>>
  /** The folder of the module, for files beside it. */
  readonly folder: string
  /** Sightline's log: sentences of up to 500 characters, and some fields. Where there are many, only the last of each second. */
  readonly log: PluginLog
}

export interface PluginLog {
  info(sentence: string, fields?: Readonly<Record<string, unknown>>): void
  warn(sentence: string, fields?: Readonly<Record<string, unknown>>): void
}

/** What a plugin does. All are optional. Whatever it throws is counted and said, and the line goes on without it. */
export interface Looks {
  /** Called for each crop before it is published, and only for those. @returns what to say of this face */
  crop?(crop: Crop): Answer<readonly Attribute[]>
  /** Called for frames in which faces were looked for; those that come while the plugin is busy are passed over. */
  frame?(frame: Frame): Answer<FrameAnswer>
  /** What viewers see (live, preview, snapshots) in the place of this picture. @returns it, changed, or another as large */
  picture?(picture: Picture): Answer<Uint8Array>
  /** The last call. */
  close?(): unknown
}

/** At once or later; nothing is nothing to say. */
export type Answer<T> = T | undefined | Promise<T | undefined>

export interface Pixels {
  readonly camera: string
  readonly rgb: Uint8Array
  /** Pixels. */
  readonly width: number
  readonly height: number
}

export interface Crop extends Pixels {
  /** Where the face is, in pixels of this crop: left, top, width, height. */
  readonly box: Box
  /** Eyes, nose, mouth: as many as the model gives, in pixels of this crop. */
  readonly landmarks: readonly (readonly [number, number])[]
  /** As it will be published: id, time, zones, score, track and so on. */
  readonly metadata: Readonly<Record<string, unknown>>
}

export interface Frame extends Pixels {
  /** Milliseconds since 1970. */
  readonly capturedAtMs: number
  readonly faces: readonly Face[]
}

export interface Picture extends Pixels {
  readonly faces: readonly Face[]
  /**
   * Where faces are, were a moment ago or may be, with a margin; where nobody looked for any, all of it. Whoever hides faces hides
   * these, whole pixels.
   */
  readonly areas: readonly Area[]
}

export interface Face {
  /** In pixels of this picture: left, top, width, height. Parts of it may be outside. */
  readonly box: Box
  /** The detector's, 0 to 1. */
  readonly score: number
  /** Whether it scores enough to be a face by itself. */
  readonly sure: boolean
  /** The face that is followed; absent until it is sure. */
  readonly track?: string
}

export type Box = readonly [left: number, top: number, width: number, height: number]

export interface Area {
  readonly left: number
  readonly top: number
  readonly width: number
  readonly height: number
}

/** What is said of a face: `{ name: 'mask', label: 'with mask', score: 0.93 }`. */
export interface Attribute {
  /** What it is about. Name and label: 1 to 64 characters without control characters. */
  readonly name: string
  /** What it is. */
  readonly label: string
  /** 0 to 1. */
  readonly score: number
}

export interface FrameAnswer {
  /** Published at once, on the camera's topic of events; of one plugin at most some a second. */
  readonly events?: readonly PluginEvent[]
  /** Of faces of this frame: goes into the next crops of the same face. The newest of a name holds. */
  readonly attributes?: readonly (Attribute & {
    /** Its place in `faces`, from 0. */
    readonly face: number
  })[]
}

export interface PluginEvent {
  /** What happened: `dark`. Name and label: 1 to 64 characters without control characters. */
  readonly name: string
  readonly label?: string
  /** 0 to 1. */
  readonly score?: number
  /** Anything that JSON can say, up to 2 KB. */
  readonly data?: unknown
  /** The face that it is about: its place in `faces`, from 0. */
  readonly face?: number
}

/** The same plugin, with its types checked. */
export function definePlugin(plugin: Plugin): Plugin {
  return plugin
}

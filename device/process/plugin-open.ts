import { stat } from 'node:fs/promises'
import { extname, resolve } from 'node:path'
import { failure, printable, SightlineError } from '../../lib/errors.ts'
import { type Log, throttled } from '../../lib/log.ts'
import { THREAD_ENDED, Thread } from '../../lib/thread.ts'
import type { Attribute } from '../../wire/attributes.ts'
import type { ProcessorConfig } from '../config.ts'
import {
  PLUGIN_HEAP_MB_MAX,
  PLUGIN_OPEN_MS_MAX,
  PLUGIN_OUTSIDE_BYTES_MAX,
  PLUGIN_SENTENCE_CHARACTERS_MAX,
} from '../limits.ts'
import type { Crop } from './plugin.ts'
import { readAttributes, readFrameSaid, readPicture } from './plugin-answers.ts'
import { sentenceOf } from './plugin-fault.ts'
import { type Asked, type Opened, type PluginData, ROLE, type Said } from './plugin-thread.ts'
import type { CropPixels, Processor } from './processor.ts'

/**
 * A plugin in a thread of its own: code of the user's. What blocks, leaks or ends there does so there, and the thread can be
 * ended from here whatever it does. It is no sandbox: it may do what the agent may. It gets no environment, nothing to read
 * on its standard input, and nothing of the configuration but its settings; what it prints goes into the log.
 */
const THREAD = new URL(`./plugin-thread${extname(import.meta.url)}`, import.meta.url)
/** What a module may be called. */
const EXTENSIONS = ['.ts', '.mts', '.js', '.mjs']
const MEGABYTE = 1024 * 1024

/** For tests. */
export interface PluginLimits {
  readonly openMsMax?: number
  readonly heapMbMax?: number
  readonly outsideBytesMax?: number
}

/** Errors: PLUGIN_NOT_FOUND, PLUGIN_UNUSABLE. */
export async function openPlugin(
  { name, module = '', settings = {} }: Pick<ProcessorConfig, 'name' | 'module' | 'settings'>,
  log: Log,
  limits: PluginLimits = {},
): Promise<Processor> {
  const {
    openMsMax = PLUGIN_OPEN_MS_MAX,
    heapMbMax = PLUGIN_HEAP_MB_MAX,
    outsideBytesMax = PLUGIN_OUTSIDE_BYTES_MAX,
  } = limits
  const file = await fileOf(name, module)
  const logged = logOf(name, log)
  let thread: Thread
  try {
    thread = await Thread.open({
      url: THREAD.href,
      role: ROLE,
      data: { name, file, settings } satisfies PluginData,
      env: {},
      openMsMax,
      stackMb: 4,
      memory: { heapBytesMax: heapMbMax * MEGABYTE, outsideBytesMax },
      onSaid: logged.said,
      onPrinted: logged.printed,
    })
  } catch (error) {
    if (error instanceof SightlineError && error.code === 'PLUGIN_UNUSABLE') throw error
    const why =
      error instanceof SightlineError && error.code === 'PROCESSOR_LATE'
        ? `It did not open within ${openMsMax} ms.`
        : whyEnded(error, heapMbMax)
    throw failure('PLUGIN_UNUSABLE', `The plugin "${name}" (${file}) cannot be used: ${why}`, error)
  }
  const { version, frames, has } = thread.opened as Opened
  const by = `${name}@${version}`
  const ended = thread.ended.then(
    (error) => error && failure('PROCESSOR_FAILED', whyEnded(error, heapMbMax), error),
  )
  const ask = async (asked: Asked, rgb: Uint8Array<ArrayBuffer>) => {
    const transfer = rgb.byteLength === rgb.buffer.byteLength ? [rgb.buffer] : []
    return await thread.call(asked, { transfer }).catch((error: unknown) => {
      if (error instanceof SightlineError && error.code === 'PROCESSOR_FAILED') throw error
      throw failure('PROCESSOR_FAILED', whyEnded(error, heapMbMax), error)
    })
  }
  return {
    name,
    by,
    frames,
    ended,
    kill: (why) => thread.kill(why),
    ...(has.crop && {
      async attributes(pixels) {
        const crop = cropOf(pixels)
        const said = readAttributes(await ask({ is: 'crop', crop }, crop.rgb))
        return said.map((it): Attribute => ({ ...it, by }))
      },
    }),
    ...(has.frame && {
      async see(frame) {
        const { faces } = frame
        const said = readFrameSaid(await ask({ is: 'frame', frame }, frame.rgb), faces.length)
        return {
          events: said.events.map(({ face, ...event }) => ({
            ...event,
            track: face === undefined ? undefined : faces[face]?.track,
          })),
          attributes: said.attributes.flatMap(({ face, ...it }) => {
            const track = faces[face]?.track
            return track === undefined ? [] : [{ track, attribute: { ...it, by } }]
          }),
        }
      },
    }),
    ...(has.picture && {
      async picture(picture) {
        const { rgb, width, height } = picture
        return readPicture(await ask({ is: 'picture', picture }, rgb), width, height)
      },
    }),
    [Symbol.asyncDispose]: () => thread[Symbol.asyncDispose](),
  }
}

/** Relative to the working directory, as all paths of the configuration. Errors: PLUGIN_NOT_FOUND, PLUGIN_UNUSABLE. */
async function fileOf(name: string, module: string): Promise<string> {
  const file = resolve(module)
  const found = await stat(file).catch(() => undefined)
  if (!found)
    throw failure(
      'PLUGIN_NOT_FOUND',
      `The module of the plugin "${name}" does not exist: ${file}. Check "module" in "process"; it is relative to the working directory.`,
    )
  if (!found.isFile() || !EXTENSIONS.includes(extname(file)))
    throw failure(
      'PLUGIN_UNUSABLE',
      `The module of the plugin "${name}" must be one file (${EXTENSIONS.join(', ')}): ${file}.`,
    )
  return file
}

/** The pixels are copied: the agent still needs them. */
function cropOf({ camera, rgb, width, height, metadata }: CropPixels) {
  const [left, top] = metadata.region
  const [x, y, w, h] = metadata.box
  return {
    ...{ camera, width, height, metadata },
    rgb: new Uint8Array(rgb),
    box: [x - left, y - top, w, h] as const,
    landmarks: (metadata.landmarks ?? []).map(([px, py]) => [px - left, py - top] as const),
  } satisfies Crop
}

/** Why its thread is no more. */
function whyEnded(error: unknown, heapMbMax: number): string {
  const cause = error instanceof SightlineError && error.cause !== undefined ? error.cause : error
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
  if (code === 'ERR_WORKER_OUT_OF_MEMORY') return `It used more memory than ${heapMbMax} MB.`
  if (cause instanceof SightlineError)
    return cause.message === THREAD_ENDED
      ? 'Its thread ended by itself (does it call process.exit?).'
      : cause.message
  return `It threw outside of any call: ${sentenceOf(cause)}`
}

/** What it logs and prints, a line a second at most. */
function logOf(name: string, log: Log) {
  const fields = { processor: name }
  const info = throttled<Said>((count, { log: said, more }) => log.info({ ...fields, more, count }, said))
  const warn = throttled<Said>((count, { log: said, more }) => log.warn({ ...fields, more, count }, said))
  const printed = throttled<string>((count, text) =>
    log.info({ ...fields, count }, `printed: ${clean(text.trimEnd())}`),
  )
  return {
    printed,
    said(said: unknown) {
      const { level, log, more } = (said ?? {}) as Partial<Said>
      if (typeof log === 'string') (level === 'warn' ? warn : info)({ level, log: clean(log), more })
    },
  }
}

const clean = (text: string) => printable(text.slice(0, PLUGIN_SENTENCE_CHARACTERS_MAX))

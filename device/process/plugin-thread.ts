import { registerHooks } from 'node:module'
import { dirname, extname } from 'node:path'
import { pathToFileURL } from 'node:url'
import { failure, SightlineError } from '../../lib/errors.ts'
import { serveThread } from '../../lib/thread.ts'
import { attributeSchema } from '../../wire/attributes.ts'
import { PLUGIN_FIELDS_CHARACTERS_MAX, PLUGIN_SENTENCE_CHARACTERS_MAX } from '../limits.ts'
import type { Crop, Frame, Looks, Picture, PluginLog } from './plugin.ts'
import { readAttributes, readFrameSaid, readPicture } from './plugin-answers.ts'
import { sentenceOf } from './plugin-fault.ts'

/** The plugin's side of its thread: the module is loaded and opened here, and asked one thing at a time. */
export const ROLE = 'sightline plugin'
/** Where `import ... from 'sightline/plugin'` leads, wherever the module lies. */
const CONTRACT = 'sightline/plugin'

export interface PluginData {
  readonly name: string
  readonly file: string
  readonly settings: Readonly<Record<string, unknown>>
}

/** What of a plugin is known once it is open. */
export interface Opened {
  readonly version: string
  readonly frames: 'scaled' | 'full'
  readonly has: Readonly<Record<'crop' | 'frame' | 'picture', boolean>>
}

export type Asked =
  | { readonly is: 'crop'; readonly crop: Crop }
  | { readonly is: 'frame'; readonly frame: Frame }
  | { readonly is: 'picture'; readonly picture: Picture }

export interface Said {
  readonly level: 'info' | 'warn' | undefined
  readonly log: string
  /** JSON. */
  readonly more: string | undefined
}

const isRecord = (value: unknown): value is Record<string, unknown> & { open: (context: unknown) => never } =>
  typeof value === 'object' && value !== null

await serveThread(ROLE, async ({ name, file, settings }: PluginData, say) => {
  const contract = new URL(`./plugin${extname(import.meta.url)}`, import.meta.url).href
  registerHooks({
    resolve: (specifier, context, next) =>
      specifier === CONTRACT ? { url: contract, shortCircuit: true } : next(specifier, context),
  })
  const unusable = (why: string) =>
    failure('PLUGIN_UNUSABLE', `The plugin "${name}" (${file}) cannot be used: ${why}`)
  const tell =
    (level: 'info' | 'warn'): PluginLog['info'] =>
    (sentence, fields) => {
      const more = fields === undefined ? undefined : JSON.stringify(fields)
      say({
        level,
        log: String(sentence).slice(0, PLUGIN_SENTENCE_CHARACTERS_MAX),
        more: more?.slice(0, PLUGIN_FIELDS_CHARACTERS_MAX),
      } satisfies Said)
    }
  const module = await import(pathToFileURL(file).href).catch((error: unknown) => {
    throw unusable(`It cannot be loaded: ${sentenceOf(error)}`)
  })
  const plugin: unknown = (module as { readonly default?: unknown }).default
  if (!isRecord(plugin) || typeof plugin.open !== 'function')
    throw unusable('It has no "export default { version, open }".')
  const version = attributeSchema.shape.label.safeParse(plugin.version).data
  if (version === undefined)
    throw unusable('Its "version" must be a text of 1 to 64 characters without control characters.')
  const { frames = 'scaled' } = plugin
  if (frames !== 'scaled' && frames !== 'full')
    throw unusable('Its "frames" must be "scaled" or "full", or be left out.')
  let looks: Looks
  try {
    const log = { info: tell('info'), warn: tell('warn') }
    looks = await plugin.open({ name, settings, folder: dirname(file), log })
  } catch (error) {
    throw unusable(`open() failed: ${sentenceOf(error)}`)
  }
  if (!isRecord(looks)) throw unusable('open() gave no object with crop, frame or picture.')
  for (const what of ['crop', 'frame', 'picture', 'close'] as const)
    if (looks[what] !== undefined && typeof looks[what] !== 'function')
      throw unusable(`"${what}" of what open() gave is no function.`)
  const has = {
    crop: looks.crop !== undefined,
    frame: looks.frame !== undefined,
    picture: looks.picture !== undefined,
  }
  if (!Object.values(has).includes(true))
    throw unusable('open() gave neither crop, nor frame, nor picture: it would do nothing.')
  const answer = async (asked: Asked) => {
    try {
      switch (asked.is) {
        case 'crop':
          return { value: readAttributes(await looks.crop?.(asked.crop)) }
        case 'frame':
          return { value: readFrameSaid(await looks.frame?.(asked.frame), asked.frame.faces.length) }
        case 'picture': {
          const { width, height } = asked.picture
          // A copy: it may keep what it gave.
          const rgb = new Uint8Array(readPicture(await looks.picture?.(asked.picture), width, height))
          return { value: rgb, transfer: [rgb.buffer] }
        }
      }
    } catch (error) {
      if (error instanceof SightlineError) throw error
      throw failure('PROCESSOR_FAILED', `${asked.is}() failed: ${sentenceOf(error)}`)
    }
  }
  let last: Promise<unknown> = Promise.resolve()
  return {
    opened: { version, frames, has } satisfies Opened,
    call: async (value) => {
      const turn = last.then(() => answer(value as Asked))
      last = turn.catch(() => {}) // told to whoever has asked
      return await turn
    },
    close: async () => void (await looks.close?.()),
  }
})

import { STREAM_CHANGE_BYTES_MAX, type StreamChange, streamChangeSchema } from './stream.ts'

/**
 * What a camera can be told, and how: the last level of the topic is the command, the payload its value. Pure.
 */
export type Command =
  | { readonly is: 'pause'; readonly paused: boolean }
  /** A score, 0 to 1. */
  | { readonly is: 'threshold'; readonly threshold: number | 'auto' }
  /** Crops a second. */
  | { readonly is: 'rate'; readonly rate: number | 'unlimited' }
  | { readonly is: 'snapshot' }
  /** Pictures on the camera's `live` topic for so many seconds from now; 0 ends them. Asked for again while somebody looks. */
  | { readonly is: 'live'; readonly forS: number }
  /** The same without the camera's effect, on its `original` topic. */
  | { readonly is: 'original'; readonly forS: number }
  | { readonly is: 'effect'; readonly effect: Effect }
  | { readonly is: 'record'; readonly mode: RecordMode }
  /** Of a camera that comes to the device (stream.ts). */
  | { readonly is: 'stream'; readonly change: StreamChange }

/** What viewers see instead of the scene as it is: faces pixelated, or nothing but outlines. */
export const EFFECTS = ['none', 'pixelate', 'outline'] as const
export type Effect = (typeof EFFECTS)[number]
/** Which stretches are recorded: none, all, or those with faces and some seconds before and after. */
export const RECORD_MODES = ['off', 'always', 'faces'] as const
export type RecordMode = (typeof RECORD_MODES)[number]

export type CommandName = keyof typeof COMMANDS

export const COMMAND_BYTES_MAX = 64
/** Of those that take JSON. */
const JSON_BYTES_MAX = STREAM_CHANGE_BYTES_MAX
export const COMMAND_RATE_MAX = 1000
/** A viewer that is gone costs no more. */
export const LIVE_SECONDS_MAX = 60

/** By the last level of its topic: what is taken, for people, and what it means. */
const COMMANDS = {
  pause: {
    takes: 'nothing or ON, which pause, or OFF, which resumes',
    read: (text: string): Command | undefined =>
      text === '' || text === 'on' || text === 'off' ? { is: 'pause', paused: text !== 'off' } : undefined,
  },
  resume: {
    takes: 'nothing or ON',
    read: (text: string): Command | undefined =>
      text === '' || text === 'on' ? { is: 'pause', paused: false } : undefined,
  },
  threshold: {
    takes: 'a number from 0 to 1, or auto',
    read: (text: string): Command | undefined => {
      if (text === 'auto') return { is: 'threshold', threshold: text }
      const threshold = decimal(text)
      return threshold !== undefined && threshold <= 1 ? { is: 'threshold', threshold } : undefined
    },
  },
  rate: {
    takes: `crops a second, above 0 and up to ${COMMAND_RATE_MAX}, or unlimited`,
    read: (text: string): Command | undefined => {
      if (text === 'unlimited') return { is: 'rate', rate: text }
      const rate = decimal(text)
      return rate !== undefined && rate > 0 && rate <= COMMAND_RATE_MAX ? { is: 'rate', rate } : undefined
    },
  },
  snapshot: {
    takes: 'nothing, ON or PRESS',
    read: (text: string): Command | undefined =>
      text === '' || text === 'on' || text === 'press' ? { is: 'snapshot' } : undefined,
  },
  live: {
    takes: `whole seconds, up to ${LIVE_SECONDS_MAX}; 0 ends it`,
    read: (text: string): Command | undefined =>
      /^\d{1,4}$/.test(text) && Number(text) <= LIVE_SECONDS_MAX
        ? { is: 'live', forS: Number(text) }
        : undefined,
  },
  original: {
    takes: `whole seconds, up to ${LIVE_SECONDS_MAX}; 0 ends it`,
    read: (text: string): Command | undefined =>
      /^\d{1,4}$/.test(text) && Number(text) <= LIVE_SECONDS_MAX
        ? { is: 'original', forS: Number(text) }
        : undefined,
  },
  effect: {
    takes: `one of ${EFFECTS.join(', ')}`,
    read: (text: string): Command | undefined => {
      const effect = EFFECTS.find((it) => it === text)
      return effect && { is: 'effect', effect }
    },
  },
  record: {
    takes: `one of ${RECORD_MODES.join(', ')}`,
    read: (text: string): Command | undefined => {
      const mode = RECORD_MODES.find((it) => it === text)
      return mode && { is: 'record', mode }
    },
  },
  stream: {
    takes: 'JSON: what to do with a stream and its key',
    takesJson: true,
    read: (text: string): Command | undefined => {
      try {
        const change = streamChangeSchema.safeParse(JSON.parse(text)).data
        return change && { is: 'stream', change }
      } catch {
        return undefined
      }
    },
  },
} as const satisfies Record<
  string,
  {
    readonly takes: string
    readonly takesJson?: true
    readonly read: (text: string) => Command | undefined
  }
>

export const COMMAND_NAMES = Object.keys(COMMANDS) as readonly CommandName[]

export function isCommandName(name: string): name is CommandName {
  return Object.hasOwn(COMMANDS, name)
}

/** @returns the command, or in words what would have been taken */
export function readCommand(
  name: CommandName,
  payload: Uint8Array,
): Command | { readonly is: 'wrong'; readonly takes: string } {
  const { takes, read, takesJson }: (typeof COMMANDS)[CommandName] & { readonly takesJson?: true } =
    COMMANDS[name]
  const bytesMax = takesJson ? JSON_BYTES_MAX : COMMAND_BYTES_MAX
  if (payload.length > bytesMax) return { is: 'wrong', takes }
  const text = Buffer.from(payload).toString('utf8').trim()
  return read(takesJson ? text : text.toLowerCase()) ?? { is: 'wrong', takes }
}

/** Digits and one point; no sign, no exponent. */
function decimal(text: string): number | undefined {
  return /^(\d{1,9}(\.\d{0,12})?|\.\d{1,12})$/.test(text) ? Number(text) : undefined
}

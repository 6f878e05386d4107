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

export type CommandName = keyof typeof COMMANDS

export const COMMAND_BYTES_MAX = 64
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
} as const

export const COMMAND_NAMES = Object.keys(COMMANDS) as readonly CommandName[]

export function isCommandName(name: string): name is CommandName {
  return Object.hasOwn(COMMANDS, name)
}

/** @returns the command, or in words what would have been taken */
export function readCommand(
  name: CommandName,
  payload: Uint8Array,
): Command | { readonly is: 'wrong'; readonly takes: string } {
  const { takes, read } = COMMANDS[name]
  const text = payload.length > COMMAND_BYTES_MAX ? undefined : Buffer.from(payload).toString('utf8')
  return (text === undefined ? undefined : read(text.trim().toLowerCase())) ?? { is: 'wrong', takes }
}

/** Digits and one point; no sign, no exponent. */
function decimal(text: string): number | undefined {
  return /^(\d{1,9}(\.\d{0,12})?|\.\d{1,12})$/.test(text) ? Number(text) : undefined
}

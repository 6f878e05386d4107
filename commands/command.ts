import { failure } from '../lib/errors.ts'

/** What `sightline <name>` does. Light to load: `run` imports what it needs. */
export interface Command {
  /** A line of `sightline --help`. */
  readonly summary: string
  readonly help: string
  /** @param argv what follows the command's name. @returns the exit status */
  run(argv: string[]): Promise<number>
  /** Whether it goes on until it is told to stop: then the end of whoever reads what it says is its end too. */
  isEndless?(argv: readonly string[]): boolean
}

/** What `parseArgs` throws, said as usage. */
export function parse<T>(command: string, args: () => T): T {
  try {
    return args()
  } catch (error) {
    const said = (error instanceof Error ? error.message : String(error)).replace(/\.?$/, '.')
    throw failure('USAGE', `${said} See sightline ${command} --help.`, error)
  }
}

/** @param usage as help has it: "Usage: sightline ..." and more lines below that. Errors: USAGE, always */
export function writeOneOf(command: string, usage: string): never {
  const ways = usage
    .replace(/^Usage: /, '')
    .trimEnd()
    .split('\n')
  throw failure(
    'USAGE',
    `Usage (more: sightline ${command} --help):\n${ways.map((way) => `  ${way.trim()}`).join('\n')}`,
  )
}

/** The value of `--max`. */
export function maxOf(text: string | undefined, fallback: number): number {
  if (text === undefined) return fallback
  if (!/^[1-9]\d{0,8}$/.test(text))
    throw failure('USAGE', `--max needs a whole number, e.g. 100, not "${text}".`)
  return Number(text)
}

const PORT_MAX = 65_535

/** The value of `--port`. @param example of a number, for people */
export function portOf(text: string | undefined, example: number): number | undefined {
  if (text === undefined) return undefined
  if (!/^\d{1,5}$/.test(text) || Number(text) > PORT_MAX)
    throw failure(
      'USAGE',
      `Invalid port "${text}". Write a number up to ${PORT_MAX}, e.g. --port ${example}; 0 takes any free port.`,
    )
  return Number(text)
}

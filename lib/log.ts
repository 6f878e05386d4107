import { styleText } from 'node:util'
import pino from 'pino'
import { printable } from './errors.ts'

export type Log = pino.Logger

/** Keys whose values never reach a log line, wherever they stand. */
const SECRET_KEYS = [
  'password',
  '*.password',
  '*.*.password',
  'secretAccessKey',
  '*.secretAccessKey',
  'token',
  '*.token',
]

/**
 * Structured logs, one JSON object a line, on standard error: standard output belongs to the program's answer.
 * Where standard error is a terminal, lines for a person instead.
 * @param level `fatal | error | warn | info | debug | trace | silent`
 */
export function openLog(program: string, level: string): Log {
  return pino(
    {
      name: program,
      level,
      base: { program },
      redact: { paths: SECRET_KEYS, censor: '***' },
      timestamp: pino.stdTimeFunctions.isoTime,
    },
    process.stderr.isTTY
      ? { write: (line: string) => process.stderr.write(readable(line, new Date())) }
      : pino.destination({ dest: 2, sync: true }),
  )
}

const COLOURS = { fatal: 'red', error: 'red', warn: 'yellow', info: 'green' } as const

/** A line of the log, for a person: when, how serious, what, and the rest as key=value. Pure. */
export function readable(line: string, now: Date): string {
  const { level, time, msg, code, program, name, ...rest } = JSON.parse(line) as Record<string, unknown>
  const label = pino.levels.labels[Number(level)] ?? 'info'
  const colour = COLOURS[label as keyof typeof COLOURS] ?? 'dim'
  const clock = now.toTimeString().slice(0, 8)
  const details = Object.entries(rest)
    .filter(([, value]) => value !== undefined)
    .map(
      ([key, value]) =>
        `${key}=${typeof value === 'string' ? value.replaceAll('\n', '\\n') : JSON.stringify(value)}`,
    )
  return [
    styleText('dim', clock, { stream: process.stderr }),
    styleText(colour, label.padEnd(5), { stream: process.stderr }),
    printable(code === undefined ? `${msg}` : `${code}: ${msg}`),
    ...(details.length === 0
      ? []
      : [styleText('dim', printable(details.join(' ')), { stream: process.stderr })]),
  ]
    .join(' ')
    .concat('\n')
}

/**
 * A line a second for an event that repeats, with how often it happened and the details of the last one, instead of a
 * line an event. @returns a function to call at each event
 */
export function throttled<Details = void>(
  write: (count: number, last: Details) => void,
  intervalMs = 1000,
): (details: Details) => void {
  let count = 0
  let last: Details
  let timer: NodeJS.Timeout | undefined
  const flush = () => {
    timer = undefined
    if (count === 0) return
    const events = count
    count = 0
    write(events, last)
    timer = setTimeout(flush, intervalMs).unref()
  }
  return (details) => {
    last = details
    count += 1
    if (timer === undefined) flush()
  }
}

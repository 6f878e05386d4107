import pino from 'pino'

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
    pino.destination({ dest: 2, sync: true }),
  )
}

/**
 * A line a second for an event that repeats, with how often it happened, instead of a line an event.
 * @returns a function to call at each event
 */
export function throttled(write: (count: number) => void, intervalMs = 1000): () => void {
  let count = 0
  let timer: NodeJS.Timeout | undefined
  const flush = () => {
    timer = undefined
    if (count === 0) return
    const events = count
    count = 0
    write(events)
    timer = setTimeout(flush, intervalMs).unref()
  }
  return () => {
    count += 1
    if (timer === undefined) flush()
  }
}

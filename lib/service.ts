import { parseArgs } from 'node:util'
import { asFailure } from './errors.ts'
import { keepAlive, whenLauncherGone } from './launcher.ts'
import type { Log } from './log.ts'

export interface ServiceOptions {
  readonly log: Log
  /** How long draining may take after SIGTERM before the program gives up and says so, ms. */
  readonly drainMsMax: number
}

/** A terminal's Ctrl-C reaches the launcher and the program, and the launcher passes its own on: one wish, twice said. */
const SAME_WISH_MS_MAX = 1000

/**
 * Runs a program until it ends by itself or is told to stop: the signal given to `main` is aborted by SIGTERM
 * or SIGINT, or when its launcher is gone, and `main` then drains and returns. A second signal, or a drain past its
 * deadline, ends it at once. While its event loop turns the launcher is told so.
 * @returns the exit status
 */
export async function runService(
  options: ServiceOptions,
  main: (signal: AbortSignal) => Promise<void>,
): Promise<number> {
  const { log, drainMsMax } = options
  const controller = new AbortController()
  let deadline: NodeJS.Timeout | undefined
  let toldAtMs = 0
  const drain = (why: string) => {
    toldAtMs = performance.now()
    log.info({ signal: why, deadlineMs: drainMsMax }, 'draining')
    deadline = setTimeout(() => {
      log.fatal(
        { code: 'DRAIN_TIMEOUT' },
        `draining took longer than ${drainMsMax} ms; what was accepted is on disk; delivery resumes at the next start`,
      )
      process.exit(75)
    }, drainMsMax).unref()
    controller.abort(new Error(`stopped by ${why}`))
  }
  const stop = (name: NodeJS.Signals) => {
    if (!controller.signal.aborted) return drain(name)
    if (performance.now() - toldAtMs < SAME_WISH_MS_MAX) return
    log.fatal({ signal: name }, 'second stop signal: ending now')
    process.exit(75)
  }
  using _alive = keepAlive()
  whenLauncherGone(() => {
    if (!controller.signal.aborted) drain('launcher exit')
  })
  process.on('SIGTERM', stop)
  process.on('SIGINT', stop)
  try {
    await main(controller.signal)
    log.info('stopped')
    return 0
  } catch (error) {
    if (controller.signal.aborted && error === controller.signal.reason) {
      log.info('stopped')
      return 0
    }
    const fault = asFailure(error)
    log.fatal({ code: fault.code, cause: causeOf(fault) }, fault.message)
    return fault.exitStatus
  } finally {
    clearTimeout(deadline)
    // Where it was told to stop, the launcher's word of the same wish may still come, and would end it with 130 (seen).
    if (!controller.signal.aborted) {
      process.off('SIGTERM', stop)
      process.off('SIGINT', stop)
    }
  }
}

function causeOf(error: Error): string | undefined {
  return error.cause instanceof Error
    ? `${error.cause.name}: ${error.cause.message}`
    : error.cause === undefined
      ? undefined
      : String(error.cause)
}

/** How a program is started: by the command line, by the demo, by a test. */
export interface RunOptions {
  /** A YAML file. */
  readonly config?: string
  /** Settings by path (`bucket.region`), which win over the file and the environment. */
  readonly overrides?: Readonly<Record<string, unknown>>
}

/** For a `main.ts` that is started by itself. @returns the exit status */
export async function runFromCommandLine(run: (options: RunOptions) => Promise<number>): Promise<number> {
  try {
    const { values } = parseArgs({ options: { config: { type: 'string' } } })
    return await run(values)
  } catch (error) {
    const fault = asFailure(error)
    process.stderr.write(`${fault.code}: ${fault.message}\n`)
    return fault.exitStatus
  }
}

/** Resolves when the signal is aborted. */
export function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}

import { asFailure } from '../../lib/errors.ts'

/** What a check found out, and how checks are run. */

export type Level = 'ok' | 'warn' | 'FAIL' | 'skip'

export interface Finding {
  readonly level: Level
  /** The thing: `port 127.0.0.1:1883`. */
  readonly what: string
  readonly found: string
  /** Below a FAIL or a warn: what to do. */
  readonly todo?: string
}

export interface Check {
  readonly what: string
  /** What has not answered by then is given up. */
  readonly msMax: number
  /** It keeps this thread busy: it comes after the others, whose times would be wrong. */
  readonly isHeavy?: boolean
  run(signal: AbortSignal): Promise<readonly Finding[]>
}

export interface Outcome {
  readonly findings: readonly Finding[]
  /** It did not heed its signal, and may still hold something. */
  readonly late: boolean
}

export const ok = (what: string, found: string): Finding => ({ level: 'ok', what, found })
export const skip = (what: string, found: string): Finding => ({ level: 'skip', what, found })
export const warn = (what: string, found: string, todo: string): Finding => ({
  level: 'warn',
  what,
  found,
  todo,
})
export const fail = (what: string, found: string, todo: string): Finding => ({
  level: 'FAIL',
  what,
  found,
  todo,
})

/** Our errors say what is wrong in their first sentence, and what to do in the others. */
export function failed(what: string, error: unknown, todo: string): Finding {
  const { message } = asFailure(error)
  const [, first = message, rest] = /^(.+?[.])\s+(?=\p{Lu})(.+)$/su.exec(message) ?? []
  return fail(what, first.replace(/\.$/, ''), rest ?? todo)
}

/** Never rejects. */
export async function runCheck({ what, msMax, run }: Check): Promise<Outcome> {
  const controller = new AbortController()
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<Outcome>((resolve) => {
    timer = setTimeout(() => {
      controller.abort()
      const found = `timed out after ${msMax / 1000} s`
      const todo = 'Something here takes too long or hangs: a disk, a network mount, a camera. Try again.'
      resolve({ findings: [fail(what, found, todo)], late: true })
    }, msMax)
  })
  const done = run(controller.signal).then(
    (findings) => ({ findings, late: false }),
    (error: unknown) => ({ findings: [failed(what, error, 'See the message.')], late: false }),
  )
  const outcome = await Promise.race([done, late])
  clearTimeout(timer)
  return outcome
}

/** Runs something and says how long it took, ms. */
export async function timed<T>(run: () => Promise<T>): Promise<{ value: T; ms: number }> {
  const startMs = performance.now()
  const value = await run()
  return { value, ms: Math.round(performance.now() - startMs) }
}

import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { httpShape, loadConfig } from '../lib/config.ts'
import { failure } from '../lib/errors.ts'
import { ask } from './ask.ts'
import { inOneLine } from './table.ts'

/** `sightline healthcheck`. It runs twice a minute beside the program, so it loads nothing of it. */

const PORT_DEFAULT = { device: 9101, broker: 9102, subscriber: 8080 } as const

export type HealthProgram = keyof typeof PORT_DEFAULT

export const isHealthProgram = (name: string): name is HealthProgram => Object.hasOwn(PORT_DEFAULT, name)

export interface Answer {
  readonly ok: boolean
  /** In a line. */
  readonly said: string
}

/** Errors: CONFIG_NOT_FOUND, CONFIG_SYNTAX, CONFIG_INVALID (of "http" alone), USAGE. */
export async function askHealth(
  program: HealthProgram,
  file: string | undefined,
  env: NodeJS.ProcessEnv,
): Promise<Answer> {
  const { http } = loadConfig(z.object({ http: httpShape(PORT_DEFAULT[program]) }), { file, env })
  const { host, port, tls } = http
  if (port === 0)
    throw failure('USAGE', '"http.port" is 0, any free one, so it is not known where to ask. Set a number.')
  const url = `${tls ? 'https' : 'http'}://${host}:${port}/healthz`
  try {
    const options = {
      host: host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host,
      port,
      path: '/healthz',
      // Whom we ask shows our own file: it stands for itself, whatever name and authority it has.
      ...(tls
        ? {
            ca: readFileSync(tls.certFile),
            allowPartialTrustChain: true,
            checkServerIdentity: () => undefined,
          }
        : {}),
    }
    const { ok, checks } = JSON.parse(await ask(options, tls !== undefined)) as {
      ok?: unknown
      checks?: Record<string, unknown>
    }
    if (typeof ok !== 'boolean') return { ok: false, said: `${url} is not answered by a Sightline program.` }
    const said = Object.entries(checks ?? {}).map(([name, state]) => `${name}: ${state}`)
    return { ok, said: inOneLine([ok ? 'well' : 'not well', ...said].join('; ')) }
  } catch (error) {
    return { ok: false, said: inOneLine(`${url} does not answer: ${(error as Error).message}`) }
  }
}

import { z } from 'zod'
import { httpShape, loadConfig } from '../../lib/config.ts'
import { callProgram, HEALTH_COMMAND } from '../../lib/control.ts'
import { failure } from '../../lib/errors.ts'
import { inOneLine } from '../../lib/table.ts'
import { askOwn } from '../ask.ts'

/** `sightline healthcheck`. It runs twice a minute beside the program, so it loads nothing of it. */

/** Where each answers over HTTP, and which folder its control socket is in. */
const PROGRAMS = {
  device: { port: 9101, store: undefined },
  broker: { port: 9102, store: { key: 'store', folder: 'data/broker' } },
  subscriber: { port: 8080, store: { key: 'inbox', folder: 'data/subscriber' } },
  console: { port: 8090, store: { key: 'inbox', folder: 'data/console' } },
  inference: { port: 9105, store: undefined },
} as const

export type HealthProgram = keyof typeof PROGRAMS

export const isHealthProgram = (name: string): name is HealthProgram => Object.hasOwn(PROGRAMS, name)

export interface Answer {
  readonly ok: boolean
  /** In a line. */
  readonly said: string
}

interface Health {
  readonly ok?: unknown
  readonly checks?: Readonly<Record<string, unknown>>
}

/** Errors: CONFIG_NOT_FOUND, CONFIG_SYNTAX, CONFIG_INVALID (of "http" and the store's folder alone), USAGE. */
export async function askHealth(
  program: HealthProgram,
  file: string | undefined,
  env: NodeJS.ProcessEnv,
): Promise<Answer> {
  const { port: portDefault, store } = PROGRAMS[program]
  const { http } = loadConfig(z.object({ http: httpShape(portDefault) }), { file, env })
  const { host, port, tls } = http
  if (port === 0)
    throw failure('USAGE', '"http.port" is 0 (any free port), so the address is unknown. Set a number.')
  const url = `${tls ? 'https' : 'http'}://${host}:${port}/healthz`
  try {
    const { ok, checks } = JSON.parse(await askOwn(http, '/healthz')) as Health
    if (typeof ok !== 'boolean') return { ok: false, said: `${url} is not a Sightline program.` }
    const said = Object.entries(checks ?? (await checksOf(store, file, env)) ?? HIDDEN).map(
      ([name, state]) => `${name}: ${state}`,
    )
    return { ok, said: inOneLine([ok ? 'healthy' : 'unhealthy', ...said].join('; ')) }
  } catch (error) {
    return { ok: false, said: inOneLine(`${url} does not answer: ${(error as Error).message}`) }
  }
}

const HIDDEN = { why: 'shown only to users ("http.usersFile"): see its log' }

/**
 * Where there are users, HTTP tells a stranger no more than whether a program is well. Whoever may write its store is
 * none: its control socket tells the rest. @returns undefined where it does not
 */
async function checksOf(
  store: { readonly key: string; readonly folder: string } | undefined,
  file: string | undefined,
  env: NodeJS.ProcessEnv,
): Promise<Health['checks']> {
  if (!store) return undefined
  const folder = z.object({ folder: z.string().default(store.folder) }).prefault({})
  const config = loadConfig(z.object({ [store.key]: folder }), { file, env }) as Record<
    string,
    { folder: string }
  >
  const answer = await callProgram(config[store.key]?.folder ?? store.folder, HEALTH_COMMAND, {}).catch(
    () => undefined,
  )
  for await (const health of answer ?? []) return (health as Health).checks
  return undefined
}
